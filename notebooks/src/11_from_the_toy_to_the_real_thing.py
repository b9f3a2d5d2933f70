# %% [markdown]
# # 11 · From the toy to the real thing
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/11_from_the_toy_to_the_real_thing.ipynb)
#
# **The question.** All notebooks so far ran networks of some ten million weights on pictures of 256 x 256. The models that people use have a hundred to a thousand times as many, draw 480 x 832, and were never trained for a mask. The same twenty lines put the
# plan under both. What carries over, what can be *proved* on a laptop, and what will only an hour of a GPU tell?
#
# **You will be able to**
# - say where pictures, pixels and poses end up on a video model's lattice of tokens;
# - count the operations of a denoising step, and bound a speed-up before anybody builds it;
# - put the plan under an unmodified pipeline of diffusers, and prove that it computes what it should;
# - keep apart what was computed, what was measured and what is not known.
#
# **Time** 60 minutes. **Needs** notebooks [3](03_which_parts_matter.ipynb) and [4](04_from_mask_to_speed.ipynb). No GPU: random weights of the real class run on two cores. With weights of your own and a GPU the same cells make a real video.
# **Papers** [input-aware](https://arxiv.org/abs/2510.02617), [Wan](https://arxiv.org/abs/2503.20314), [VACE](https://arxiv.org/abs/2503.07598), [rotary embedding](https://arxiv.org/abs/2104.09864).

# %% tags=["setup"]
# setup

# %%
WEIGHTS = None  # yours: VACE, a folder of diffusers' layout or a name on the Hub; None: random

import matplotlib.pyplot as plt
import numpy as np
import torch

from iasa.avatar.speaker import load_speaker
from iasa.backbones.speech_scene import make_scene
from iasa.backbones.wan_plan import fit_poses
from iasa.keypoints import REGIONS, Keypoints, load_keypoints
from iasa.paths import POSES

plt.style.use(root / "notebooks" / "course.mplstyle")
needed = ["diffusers", "transformers", "cv2"] + (["ftfy"] if WEIGHTS else [])
absent = [name for name in needed if importlib.util.find_spec(name) is None]
HAS_WAN = not absent
SKIPPED = f"Skipped: Wan's pipeline needs {', '.join(absent)} (pip install 'iasa[backbone,pose]')."
speaker, motion = load_speaker("alba"), load_keypoints(POSES / "welcome.npz")
HEIGHT, WIDTH, PICTURES = 480, 832, 17 if FAST else 81  # 81 pictures: 5 s at 16 a second
scene = make_scene(speaker, motion, HEIGHT, WIDTH)
poses = fit_poses(scene.keypoints, 16.0)[:PICTURES]
print("Wan's pipeline is here." if HAS_WAN else SKIPPED)

# %%
def show_lattice(axis, picture, rows, cols, title):
    """A picture with the lines between its tokens."""
    high, wide = picture.shape[:2]
    axis.imshow(picture)
    axis.set_xticks(np.arange(0, wide + 1, wide / cols), [])
    axis.set_yticks(np.arange(0, high + 1, high / rows), [])
    axis.tick_params(length=0)
    axis.grid(color="white", linewidth=0.5, alpha=0.6)
    axis.set_title(title, fontsize=11)


fig, axes = plt.subplots(1, 2, figsize=(10, 3.9), width_ratios=(1, 832 / 480))
show_lattice(axes[0], speaker.image, 16, 16, "the toy: 16 x 16 tokens, two pictures each")
show_lattice(axes[1], scene.picture, 30, 52, "Wan: 30 x 52 tokens, four pictures each")
plt.show()

# %% [markdown]
# Both models have an autoencoder that turns $16 \times 16$ pixels into one token, and several pictures into one **latent frame**. The toy takes two pictures at a time. Wan takes the **first picture alone** and then four at a time, so that a clip of $4n + 1$ pictures has $n + 1$ latent
# frames, and one picture is a clip too. In front stands the reference picture, as a latent frame of its own, just as in the toy.
#
# ## Exercise 1: a pose for each latent frame
# The plan needs one pose a latent frame. With points $x_{t,p}$ of confidence $c_{t,p}$ in picture $t$, each point the weighted mean over the pictures of its latent frame:
#
# $$ y_{0,p} = x_{0,p}, \qquad y_{j,p} = \frac{\sum_{t=4j-3}^{4j} c_{t,p}\, x_{t,p}}{\sum_{t=4j-3}^{4j} c_{t,p}} \quad (j \ge 1), \qquad 0 \text{ for a point that none of them shows.} $$
#
# | | |
# |---|---|
# | `xy` | float array `[4 n + 1, p, 2]` |
# | `confidence` | float array `[4 n + 1, p]`, 0..1 |
# | returns | float array `[n + 1, p, 2]` (what stands in row 0 for an unseen point does not matter) |

# %% tags=["exercise"]
def pool_poses(xy: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """The pose of each latent frame: [n + 1, p, 2]."""
    ### BEGIN SOLUTION
    fours = xy[1:].reshape(-1, 4, *xy.shape[1:])  # [n, 4, p, 2]
    weight = confidence[1:].reshape(-1, 4, xy.shape[1], 1)
    mean = (weight * fours).sum(1) / np.maximum(weight.sum(1), 1e-6)
    return np.concatenate([xy[:1], mean])
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_pool_poses

check_pool_poses(pool_poses)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `xy[1:].reshape(-1, 4, p, 2)` groups the pictures by four. Give the confidences a last axis of 1, so that they multiply both coordinates, and keep the sum in the denominator above a tiny number.
# </details>
#
# The rest is notebooks 2 and 3: distances, the K nearest, regions, all from poses. **Predict**: in a wide picture of one speaker, what share of Wan's tokens belongs to *no* part of the body? (In the toy: six of ten.) What does that mean for a model that was never trained for the mask?
#
# <details><summary>Answer</summary>
#
# Three quarters; hands, which the paper is about, are 4 %. Under the paper's mask these tokens see their own frame and the reference and nothing else, in a model that has always let them see everything: walls that flicker. Hence two plans: the **paper's**, for weights that are fine-tuned under it, and a **training-free** one
# that looks both ways and lets every token see the two neighbouring frames whole.
# </details>

# %%
from iasa.backbones.wan_plan import TRAINING_FREE, VideoSize
from iasa.config import MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import concat_keypoints, pool_to_latent
from iasa.masks import make_plan
from iasa.teaching import yours

latent = yours(pool_poses)(poses.xy, poses.confidence).astype(np.float32)
sure = np.concatenate([poses.confidence[:1], poses.confidence[1:].reshape(-1, 4, 133).mean(1)])
latent = concat_keypoints(scene.pose, Keypoints(latent, sure, 4.0))  # the reference in front
size = VideoSize(PICTURES, HEIGHT, WIDTH, references=1)
toy_poses = concat_keypoints(speaker.keypoints, pool_to_latent(motion[: 2 * (len(latent) - 1)]))
plans = {
    "toy, the paper's": make_plan(toy_poses, TokenGrid(len(latent)), MaskOptions()),
    "Wan, the paper's": make_plan(latent, size.grid, MaskOptions(block=128)),
    "Wan, training-free": make_plan(latent, size.grid, TRAINING_FREE),
}

# %% tags=["cover"]
fig, axes = plt.subplots(1, 2, figsize=(10, 3.9), width_ratios=(1, 832 / 480))
both = {"toy, the paper's": speaker.image, "Wan, the paper's": scene.picture}
for axis, (name, picture) in zip(axes, both.items(), strict=True):
    plan = plans[name]
    bits = plan.region_bits[0].view(plan.grid.rows, -1)
    high, wide = picture.shape[:2]
    axis.imshow(picture, alpha=0.5)
    first = [next((r for r in range(5) if bit >> r & 1), np.nan) for bit in bits.flatten().tolist()]
    look = dict(cmap="tab10", vmin=0, vmax=9, alpha=0.55, extent=(0, wide, high, 0))
    axis.imshow(np.array(first, float).reshape(bits.shape), interpolation="none", **look)
    axis.axis("off")
    nobody = float((plan.region_bits == 0).double().mean())
    axis.set_title(f"{name.split(',')[0]}: {nobody:.0%} of the tokens in no region", fontsize=11)
fig.supxlabel("blue: face; orange: hands; green: arms; red: body; purple: shoulders", fontsize=11)
plt.show()
for name in both:
    bits = plans[name].region_bits
    part = [float((bits >> r & 1).double().mean()) for r in range(len(REGIONS))]
    told = [f"{region} {share:.0%}" for region, share in zip(REGIONS, part, strict=True)]
    print(f"{name.split(',')[0]}: {', '.join(told)}")
if not FAST:
    empty = [float((plan.region_bits == 0).double().mean()) for plan in plans.values()]
    assert empty[0] < 0.6 and 0.7 < empty[1] < 0.8

# %% [markdown]
# ## What the plan costs
# It is made once a clip, for all layers, heads, steps and branches of guidance. **Predict**: the toy's plan takes some hundredths of a second. Wan's has the same number of frames and six times the tokens. How long does it take, and what share of the blocks do the two plans keep?
#
# <details><summary>Answer</summary>
#
# A few tenths of a second of one core: nothing beside minutes of denoising. Distances are between poses and do not grow with the picture; regions and blocks grow with the tokens. The paper's plan keeps a tenth of the blocks, the training-free one not quite a fifth. Blocks keep more than
# pairs do, as in notebook 4, but little more: a frame of 1,560 tokens has many blocks of one region.
# </details>

# %%
import time

blocks = {}
print("                     tokens   plan (s)   pairs   blocks")
for name, plan in plans.items():
    began = time.perf_counter()
    made = make_plan(toy_poses if name.startswith("toy") else latent, plan.grid, plan.options)
    kept = blocks[name] = made.block_csr().density()
    seconds = time.perf_counter() - began  # measured here
    print(f"{name:20s} {plan.grid.tokens:6,}  {seconds:8.2f}", end="  ")
    print(f"{made.density():7.1%}  {kept:6.1%}")
if not FAST:
    assert 0.08 < blocks["Wan, the paper's"] < 0.13 < blocks["Wan, training-free"] < 0.22

# %% [markdown]
# ## What it can save
# Count before you hope. A block of Wan has self-attention, cross-attention to the text, and a feed-forward layer.
#
# ## Exercise 2: the operations of a step
# For $L$ blocks of width $d$ with feed-forward width $h$, $n$ tokens and a text of $m$ tokens, two operations for each product and sum (what normalises and adds is left out, and so are the text's own keys and values):
#
# $$ \text{linear} = 2 L n\,(\underbrace{4 d^2}_{q, k, v, \text{out}} + \underbrace{2 d^2}_{q, \text{out of cross}} + \underbrace{2 d h}_{\text{feed-forward}}), \qquad \text{attention} = 4 L n^2 d, \qquad \text{cross} = 4 L n m d . $$
#
# | | |
# |---|---|
# | `tokens`, `width`, `ffn`, `blocks`, `text` | ints $n, d, h, L, m$ |
# | returns | `(linear, attention, cross)`, operations of one pass |

# %% tags=["exercise"]
def step_flops(tokens: int, width: int, ffn: int, blocks: int, text: int = 512):
    """Operations of one pass: linear layers, self-attention, cross-attention."""
    ### BEGIN SOLUTION
    linear = blocks * tokens * (12 * width**2 + 4 * width * ffn)
    attention = 4 * blocks * tokens**2 * width
    cross = 4 * blocks * tokens * text * width
    return linear, attention, cross
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_step_flops

check_step_flops(step_flops)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A layer from $a$ to $b$ costs $2ab$ operations a token. Attention has two products of $n \times n \times d$ in each block: queries with keys, and weights with values.
# </details>
#
# **Predict**: the larger the model, the larger the share of self-attention? Compare the toy, VACE 1.3B and VACE 14B, each at its own size.
#
# <details><summary>Answer</summary>
#
# No. Linear layers grow with $d^2$, attention with $d$: at one length of clip the *larger* model has the *smaller* share, 71 % for 1.3B and 54 % for 14B. The toy, a fifth as wide, reaches 70 % with a sixth of the tokens. What makes attention dear is length: its share is one half at $n = 3d + h + m$ tokens.
# </details>

# %%
shapes = {  # width, feed-forward, blocks with those of VACE's control
    "toy": (320, 960, 8),
    "VACE 1.3B": (1536, 8960, 45),
    "VACE 14B": (5120, 13824, 48),
}
wide = list(shapes)[1:]
here = {"toy": plans["toy, the paper's"].grid.tokens} | dict.fromkeys(wide, size.grid.tokens)
lengths = np.geomspace(1000, 150_000, 40).astype(int).tolist()


def attention_share(name, tokens):
    parts = yours(step_flops)(tokens, *shapes[name])
    return parts[1] / sum(parts)


for name in shapes:
    total = sum(yours(step_flops)(here[name], *shapes[name])) / 1e12
    print(f"{name:10s} {here[name]:6,} tokens, {total:8.2f} TFLOP a step,", end=" ")
    print(f"of which attention {attention_share(name, here[name]):.0%} (computed)")

# %%
for name in shapes:
    (line,) = plt.plot(lengths, [100 * attention_share(name, n) for n in lengths], label=name)
    plt.plot(here[name], 100 * attention_share(name, here[name]), "o", color=line.get_color())
plt.gca().set(xscale="log", xlabel="tokens", ylabel="attention (%)", ylim=(0, 100))
plt.title("self-attention's share of a step's operations (computed); dots: this clip")
plt.legend()
plt.show()
if not FAST:
    shares = [attention_share(name, here[name]) for name in shapes]
    assert 0.68 < shares[1] < 0.74 and 0.5 < shares[2] < 0.57

# %% [markdown]
# ## Exercise 3: Amdahl's law
# Self-attention takes the share $a$ of a dense step's time. The plan keeps $\rho$ of it, and the sparse kernel multiplies at $r$ times the dense kernel's rate ($r < 1$: gathering blocks is not free):
#
# $$ \text{speed-up} = \frac{1}{(1 - a) + a\, \rho / r} \;\le\; \frac{1}{1 - a} . $$
#
# | | |
# |---|---|
# | `share`, `kept`, `rate` | floats $a$, $\rho$, $r$ |
# | returns | float |

# %% tags=["exercise"]
def speed_up(share: float, kept: float, rate: float = 1.0) -> float:
    """How many times faster a step is."""
    ### BEGIN SOLUTION
    return 1 / (1 - share + share * kept / rate)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_speed_up

check_speed_up(speed_up)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Let the dense step take time 1. What is left of it?
# </details>
#
# **Predict**: the plan leaves out eight of ten blocks of VACE 14B. How many times faster is a step? And if attention cost nothing at all?
#
# <details><summary>Answer</summary>
#
# 1.7 times; nothing at all would be 2.2 times. Whoever promises five times, from leaving out four fifths, has forgotten the rest. Longer clips and smaller models gain more; whole videos gain less, since the autoencoder is not in this count.
# </details>

# %%
def show_gain(kept=0.19, rate=0.75):
    """Speed-up of a step over the length of a clip, and its ceiling; all of it computed."""
    plt.figure(figsize=(8, 3.6))
    for name in wide:
        shares = [attention_share(name, n) for n in lengths]
        gains = [[yours(speed_up)(a, some, rate) for a in shares] for some in (kept, 0.0)]
        (line,) = plt.plot(lengths, gains[0], label=name)
        plt.plot(lengths, gains[1], "--", color=line.get_color())
    plt.axvline(size.grid.tokens, color="grey", linewidth=1)
    axis = plt.gca()
    axis.set(xscale="log", xlabel="tokens (grey: this clip)", ylim=(0, 6))
    axis.set_ylabel("speed-up of a step")
    plt.title(f"computed: {kept:.0%} of blocks at {rate:.0%} of the rate; dashed: free attention")
    plt.legend()
    plt.show()


from ipywidgets import FloatSlider, interact

kept = FloatSlider(0.19, min=0.0, max=1.0, step=0.01)
rate = FloatSlider(0.75, min=0.25, max=1.0, step=0.05)
interact(show_gain, kept=kept, rate=rate);

# %%
show_gain()
for name in wide:
    a = attention_share(name, size.grid.tokens)
    some = [blocks["Wan, the paper's"], blocks["Wan, training-free"], 0.0]
    gains = [yours(speed_up)(a, kept, 0.75) for kept in some]
    print(f"{name}: the paper's plan {gains[0]:.2f}x, training-free {gains[1]:.2f}x,", end=" ")
    print(f"free attention {gains[2]:.2f}x (computed: operations taken for time)")
    if not FAST:
        assert 1.4 < gains[1] < gains[0] < gains[2] < 3.6

# %% [markdown]
# ## What a laptop can prove
# You cannot judge a video of weights that you do not have. You *can* prove that the plan, put under the unmodified pipeline, computes what masked attention computes: equality does not depend on what the weights are, if they are large enough for attention to matter. diffusers' own classes, made
# tiny and random, run on two cores.
#
# ## Exercise 4: attention as Wan computes it
# Wan tells places apart by **rotary embedding**: coordinates $(2i, 2i + 1)$ of each query and key are turned by an angle $\theta_{n,i}$ that the token's frame, row and column give. Only then comes the product, over the allowed pairs:
#
# $$ \begin{pmatrix} q'_{2i} \\ q'_{2i+1} \end{pmatrix} = \begin{pmatrix} \cos\theta_i & -\sin\theta_i \\ \sin\theta_i & \cos\theta_i \end{pmatrix} \begin{pmatrix} q_{2i} \\ q_{2i+1} \end{pmatrix}, \quad k' \text{ alike}, \qquad o_n = \sum_{m:\, A_{nm}} \operatorname{softmax}_m\!\Big( \tfrac{q'_n \cdot k'_m}{\sqrt d} \Big) v_m . $$
#
# | | |
# |---|---|
# | `q`, `k`, `v` | float tensors `[n, d]`, one head |
# | `angle` | float tensor `[n, d / 2]` |
# | `allowed` | bool tensor `[n, n]`, $A$ |
# | returns | float tensor `[n, d]` |

# %% tags=["exercise"]
def attend(q, k, v, angle, allowed) -> torch.Tensor:
    """Rotary embedding, then attention over the allowed pairs: [n, d]."""
    ### BEGIN SOLUTION
    def turn(x):
        even, odd = x[:, 0::2], x[:, 1::2]
        turned = (even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos())
        return torch.stack(turned, -1).flatten(1)

    logits = turn(q) @ turn(k).T / q.shape[1] ** 0.5
    return logits.masked_fill(~allowed, -torch.inf).softmax(1) @ v
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_attend

check_attend(attend)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `x[:, 0::2]` are the even coordinates. `torch.stack([a, b], -1).flatten(1)` puts two halves back as neighbours.
# </details>
#
# Now the twenty lines, and your function as the judge. `apply_iasa` gives every self-attention of the transformer, those of VACE's control branch too, a processor that follows the plan. `Judge` does what your function says, pair by pair. **Predict** three differences: plan against your masked attention; a plan that allows *everything*
# against the untouched model; after `remove_iasa` against the untouched model.
#
# <details><summary>Answer</summary>
#
# Less than a millionth; less than a millionth, and here even 0; exactly 0. The first sums in another order, so the last bits differ. A plan of everything is the same sum, in the same order or not; after removal it is the same code. If the first were a thousandth, a pair would be missing somewhere.
# </details>

# %%
from iasa.backbones import apply_iasa, full_plan, plan_for, remove_iasa, tiny_models
from iasa.backbones.wan_attention import output, project, self_attentions


class Judge:
    """A processor of Wan's self-attention, by your function."""

    def __init__(self, allowed):
        self.allowed = allowed

    def __call__(self, attn, hidden, encoder=None, mask=None, rotary_emb=None):
        q, k, v = project(attn, hidden, None)  # [1, heads, n, d], not turned yet
        cos, sin = (x[0, :, 0].float() for x in rotary_emb)  # [n, d], each number twice
        angle = torch.atan2(sin[:, 1::2], cos[:, 0::2])
        heads = zip(q[0], k[0], v[0], strict=True)
        made = torch.stack([yours(attend)(*one, angle, self.allowed) for one in heads])
        return output(attn, made[None], hidden)


small = make_scene(speaker, motion, 64, 96)  # tiny pictures for a tiny model
small_poses = fit_poses(small.keypoints, 16.0)[:17]

# %%
def differences():
    """Largest differences of a tiny VACE's output, as shares of its largest value."""
    pipe = tiny_models.tiny_vace()
    model, noise = pipe.transformer, torch.Generator().manual_seed(0)
    hidden, control = (torch.randn(1, c, 6, 8, 12, generator=noise) for c in (16, 96))
    told = dict(hidden_states=hidden, control_hidden_states=control, timestep=torch.tensor([500.0]))
    told |= dict(encoder_hidden_states=tiny_models.text_embedding(), return_dict=False)
    with torch.no_grad():
        plain = model(**told)[0]
        plan = plan_for(pipe, small_poses, 64, 96, reference_pose=small.pose)
        apply_iasa(pipe, plan)
        sparse = model(**told)[0]
        apply_iasa(pipe, full_plan(VideoSize(17, 64, 96, references=1)))
        full = model(**told)[0]
        remove_iasa(pipe)
        removed = model(**told)[0]
        for attn in self_attentions(model).values():
            attn.set_processor(Judge(plan.dense()))
        judged = model(**told)[0]
    pairs = {"plan, your masked attention": (sparse, judged), "full plan, untouched": (full, plain)}
    pairs |= {"removed, untouched": (removed, plain), "plan, untouched": (sparse, plain)}
    return {name: float((a - b).abs().max() / b.abs().max()) for name, (a, b) in pairs.items()}

# %%
if HAS_WAN:
    off = differences()
    plt.figure(figsize=(8, 2.4))
    length = [max(value, 1e-9) for value in off.values()]
    plt.barh(list(off), length, color=["#0072B2"] * 3 + ["#D55E00"])
    plt.xscale("log")
    plt.gca().invert_yaxis()
    plt.xlabel("largest difference (share of the largest value; 0 is drawn at 1e-9)")
    plt.show()
    print({name: f"{value:.1e}" for name, value in off.items()})
    assert off["plan, your masked attention"] < 1e-5 and off["full plan, untouched"] < 1e-5
    assert off["removed, untouched"] == 0 and off["plan, untouched"] > 1e-3
else:
    print(SKIPPED)

# %% [markdown]
# The vermilion bar is the control: under these weights the mask *does* change the output, a hundred thousand times more than the errors above. Without it three tiny bars would prove nothing, for attention might not matter at all.
#
# ## The same lines on both
# The toy first: the shipped student, dense and under the paper's plan. Then Wan, by `generate_video`: speech and picture become poses, poses a plan and skeletons, and the pipeline runs as it is.

# %%
from iasa.backbones.wan_generate import WanSettings, compare_videos, generate_video
from iasa.backbones.wan_weights import load_pipeline
from iasa.device import pick_device, pick_precision
from iasa.pipeline import CoSpeechPipeline


def toy_video(attention):
    toy = CoSpeechPipeline.from_pretrained(teacher=None, dtype="float32")
    told = dict(image=speaker, keypoints=motion[: 4 if FAST else 16], attention=attention)
    return np.concatenate(list(toy.stream(**told).frames))


def wan_videos():
    """(under the plan, dense, the scene)."""
    if WEIGHTS:
        dtype, tokens = pick_precision().dtype, size.grid.tokens
        pipe = load_pipeline(WEIGHTS, "vace", pick_device(), dtype, tokens)
    else:
        pipe = tiny_models.tiny_vace(text=True)
    pipe.set_progress_bar_config(disable=not WEIGHTS)
    high, wide, steps = (HEIGHT, WIDTH, 20) if WEIGHTS else (64, 96, 2)
    shot = make_scene(speaker, motion[: 126 if WEIGHTS else 25], high, wide)
    kinds = (WanSettings(high, wide, steps, attention=a) for a in ("input_aware", "dense"))
    return *(generate_video(pipe, shot, settings) for settings in kinds), shot

# %% [markdown]
# **Predict**: what will the comparison of the two Wan videos say about *quality*?
#
# <details><summary>Answer</summary>
#
# With random weights: nothing. They draw noise, densely or sparsely, and a number of dB between two kinds of noise says that the mask changed something, which you knew. Quality under true weights is **not measured here**. What is measured, above, is that the computation is right; what you see
# with weights of your own, you may report, with its seed and its settings. And the toy's high number is no evidence either: notebook 9's controls showed that this student needs attention for little.
# </details>

# %%
toys = {name: toy_video(name) for name in ("dense", "input_aware")}
error = np.square(np.subtract(*toys.values(), dtype=float)).mean()
print(f"toy: {10 * np.log10(255**2 / error):.1f} dB between dense and planned")
shown = {"toy, dense": toys["dense"][-1], "toy, planned": toys["input_aware"][-1]}
if HAS_WAN:
    planned, dense, shot = wan_videos()
    figures = compare_videos(planned, dense, shot.keypoints)
    kind = "Wan" if WEIGHTS else "random Wan"
    shown |= {f"{kind}, dense": dense.frames[-1], f"{kind}, planned": planned.frames[-1]}
    print({name: round(value, 1) for name, value in figures.items() if "psnr" in name and value})
    print("" if WEIGHTS else "Random weights: of quality these figures say nothing.")
else:
    print(SKIPPED)
fig, axes = plt.subplots(1, len(shown), figsize=(10, 2.6), squeeze=False)
for axis, (name, picture) in zip(axes[0], shown.items(), strict=True):
    axis.imshow(picture)
    axis.set_title(name, fontsize=11)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## What an hour of a GPU buys
# An estimate, from your counts and assumed rates of one H100 (`Machine` in `wan_cost`: 650 TFLOPS in linear layers, 600 in dense attention, 450 on kept blocks; 250 in the autoencoder, which encodes and decodes 81 pictures of 832 x 480 in some 440 TFLOP). **Nothing of it is measured.** The first step
# runs dense. Guidance runs every step twice; distilled weights need neither guidance nor many steps.
#
# **Predict**: which changes more, the plan or the distillation to four steps? And how much of a short run is then left for the plan to save?
#
# <details><summary>Answer</summary>
#
# Distillation, by far: 25 times fewer passes (50 steps with guidance to 4 without), where the plan halves each. But then the autoencoder, which neither touches, takes a third of the time, the first step is still dense, and the plan's gain on the whole video shrinks, from 2 times to 1.3 for 1.3B. First fewer steps, then cheaper steps, then the decoder.
# </details>

# %%
from iasa.backbones.wan_cost import SHAPES, Machine, step_cost

CODER = 440e12 / 250e12  # seconds of the autoencoder, a clip of 81 pictures
tokens = VideoSize(81, HEIGHT, WIDTH, references=1).grid.tokens


def clips_an_hour(name, steps, branches, kept=None):
    """Clips of five seconds that one GPU makes in an hour: computed."""
    cost, machine = step_cost(SHAPES[name], tokens), Machine()
    first = cost.seconds(machine)
    later = cost.seconds(machine, kept)
    return 3600 / (branches * (first + (steps - 1) * later) + CODER)


bought = {}
for name in ("VACE 1.3B", "VACE 14B"):
    for steps, branches in ((50, 2), (4, 1)):
        for plan, kept in (("dense", None), ("planned", blocks["Wan, training-free"])):
            bought[name, steps, plan] = clips_an_hour(name, steps, branches, kept)

# %%
fig, axis = plt.subplots(figsize=(8, 3.6))
labels = [f"{name}, {steps} steps, {plan}" for name, steps, plan in bought]
colours = ["#0072B2" if plan == "planned" else "#999999" for *_, plan in bought]
axis.barh(labels, [clips * 81 / 16 / 60 for clips in bought.values()], color=colours)
axis.invert_yaxis()
axis.set(xscale="log", xlabel="minutes of video an hour of one H100 makes")
axis.set_title("computed from assumed rates, not measured")
plt.show()
for (name, steps, plan), clips in bought.items():
    gain = clips / bought[name, steps, "dense"]
    print(f"{name}, {steps:2d} steps, {plan:7s}: {clips:6.0f} clips of 5 s, {gain:.2f}x (computed)")
if not FAST:
    less = {n: bought["VACE 1.3B", n, "dense"] for n in (4, 50)}
    few, many = (bought["VACE 1.3B", n, "planned"] / less[n] for n in (4, 50))
    assert few < 1.5 < 1.8 < many and less[4] / less[50] > 5 * many

# %% [markdown]
# On a machine with a GPU, put measurements in place of these: `python -m iasa bench backbone --minutes 8 --out T.json` measures every row that stands here as an assumption, with random weights at the true shapes; [docs/results/bench_backbone.json](../docs/results/bench_backbone.json) says which cells nobody has measured yet.
#
# ## Summary
# - The plan on a video model: [`plan_for`, `video_plan`, `to_latent_rate` in iasa/backbones/wan_plan.py](../iasa/backbones/wan_plan.py); under its layers: [`apply_iasa`, `PlanProcessor`, `rotate` in iasa/backbones/wan_attention.py](../iasa/backbones/wan_attention.py); what it costs: [`step_cost`, `Machine` in iasa/backbones/wan_cost.py](../iasa/backbones/wan_cost.py).
# - Poses know nothing of the model: the same plan serves the toy and 14 billion weights, and is made in tenths of a second.
# - Attention's share bounds what any mask can save: count it first.
# - Equality can be proved on random weights, with a control that shows that the mask matters. Quality cannot.
# - Computed, measured and not known are three columns. [docs/backbones.md](../docs/backbones.md) keeps them apart, names the weights and their licences, and goes on to streaming and distillation.
#
# ## Further questions
# 1. For which clip length does VACE 14B spend nine tenths of a step in attention, and how many seconds of video are that? What would you change in the plan for such a clip?
# 2. The training-free plan keeps the two neighbouring frames whole. Leave that out (`whole_window=False`): what share of blocks is saved, and which tokens pay for it?
# 3. Add `text_keys`, $4 L m d^2$, to exercise 2. When does it matter, and why may one leave it out over fifty steps?
# 4. Somebody reports "2.3 times faster at the same quality" for a plan under Wan. Write down the five things that you would ask.
#
# **On to** [a training lab](12_a_training_lab.ipynb), or `python -m examples.use_in_diffusers --weights W`.
