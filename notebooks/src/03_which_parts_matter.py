# %% [markdown]
# # 3 · Which parts matter?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/03_which_parts_matter.ipynb)
#
# **The question.** A frame may look at a few earlier frames ([notebook 2](02_which_frames_matter.ipynb)). But what is a token on the left hand
# to learn from the *wall* of an earlier frame? Which tokens of that frame are worth a look, and who tells us where they are?
#
# **You will be able to**
# - carry any place of a picture along with a moving body, by rigid moving least squares (MLS);
# - turn a pose into region bits of tokens, and bits into the paper's local mask;
# - write the whole mask $M = M_\text{global} + M_\text{local}$;
# - predict its density with a formula, count it, and explain the difference.
#
# **Time** 50 minutes. **Needs** notebook 2 or its summary. No GPU. **Paper** [arXiv 2510.02617](https://arxiv.org/abs/2510.02617), section 3.2, local mask;
# [Schaefer, McPhail and Warren 2006](https://doi.org/10.1145/1141911.1141920).

# %% tags=["setup"]
# setup

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from ipywidgets import FloatSlider, IntSlider, interact

from iasa.grid import TokenGrid
from iasa.keypoints import REGIONS, Keypoints, fill_latent, load_keypoints, pool_to_latent
from iasa.masks.plot import REGION_COLOURS, paint_tokens
from iasa.masks.regions import region_bits
from iasa.paths import POSES
from iasa.pose.skeleton import draw_pose

plt.style.use(root / "notebooks" / "course.mplstyle")
video = load_keypoints(POSES / "welcome.npz")
poses = pool_to_latent(fill_latent(video))
grid = TokenGrid(len(poses), rows=16, cols=16)

fig, axis = plt.subplots(figsize=(5, 5))
axis.imshow(draw_pose(poses[70:71], 480)[0], extent=(0, 16, 16, 0))  # show the tokens on one frame
axis.set(xticks=range(17), yticks=range(17), xticklabels=[], yticklabels=[])
axis.set_title("frame 70: 16 x 16 tokens")
axis.grid(color="white", alpha=0.4, linewidth=0.7)
plt.show()

# %% [markdown]
# Each square is one token: 16 x 16 pixels of a 256 x 256 picture. Most of them show wall. The paper names five **regions**: face, hands,
# arms, body, shoulders. Between two frames, token $i$ may attend token $j$ only if *some region holds both*:
#
# $$ M_\text{local}(t_q, i, t_k, j) = 0 \iff \exists r:\ i \in I_r(t_q)\ \text{and}\ j \in I_r(t_k), \qquad -\infty\ \text{otherwise.} $$
#
# But the network has not drawn anything yet. All that is known is the pose. So: from keypoints to regions.
#
# ## A body that bends, locally rigid
# Outline the face, the hands, ... once, on the reference pose. For another pose, ask of each token: *where on the reference would this place
# be?* If that place lies in the outline of the hand, the token shows the hand.
#
# **Rigid moving least squares** answers. Around each place $v$ fit the best rigid motion of the keypoints, as in notebook 2, but let near
# keypoints count more:
#
# $$ w_i = \frac{1}{\lVert p_i - v \rVert^2} . $$
#
# ## Exercise 1: the weights
# Write `mls_weights(place, controls)`: the inverse squared distances, divided by their sum. A place may *meet* a control point; keep the squared
# distance at $10^{-6}$ or more.
#
# | | |
# |---|---|
# | `place` | float array `[2]` |
# | `controls` | float array `[p, 2]` |
# | returns | float array `[p]`, positive, sum 1 |

# %% tags=["exercise"]
def mls_weights(place: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """How much each control point [p, 2] says at a place [2]: [p], sum 1."""
    ### BEGIN SOLUTION
    squared = ((controls - place) ** 2).sum(1)
    weights = 1 / np.maximum(squared, 1e-6)
    return weights / weights.sum()
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_mls_weights

check_mls_weights(mls_weights)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `((controls - place) ** 2).sum(1)` is the squared distance (no root needed), and `np.maximum(..., 1e-6)` keeps it above zero.
# </details>
#
# ## Exercise 2: the warp
# With the weights, the weighted means $p_*, q_*$ of source and target, and the weighted sums
#
# $$ c = \sum_i w_i\,(p_i - p_*) \cdot (q_i - q_*), \qquad s = \sum_i w_i\,(p_i - p_*) \times (q_i - q_*), \qquad
# v' = q_* + \frac{1}{\sqrt{c^2+s^2}}\begin{pmatrix} c & -s \\ s & c \end{pmatrix} (v - p_*), $$
#
# where $a \times b = a_x b_y - a_y b_x$. Write `warp_place(place, source, target)`.
#
# | | |
# |---|---|
# | `place` | float array `[2]`, in the picture where `source` lies |
# | `source`, `target` | float arrays `[p, 2]`, the same keypoints in two poses |
# | returns | float array `[2]`: where the place goes in the target's picture |

# %% tags=["exercise"]
def warp_place(place: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A place carried by the local rigid motion of the control points: [2]."""
    ### BEGIN SOLUTION
    w = 1 / np.maximum(((source - place) ** 2).sum(1), 1e-6)
    w = w / w.sum()
    p_mean, q_mean = w @ source, w @ target
    p, q = source - p_mean, target - q_mean
    c = (w * (p * q).sum(1)).sum()
    s = (w * (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])).sum()
    turn = np.array([[c, -s], [s, c]]) / np.hypot(c, s)
    return q_mean + turn @ (place - p_mean)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_warp_place

check_warp_place(warp_place)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `w @ source` is a weighted mean when the weights add up to 1. Subtract the *weighted* means: with plain means the control points do not land
# on their mates. Dividing by $\sqrt{c^2+s^2}$ makes the matrix a pure rotation.
# </details>
#
# ### See it bend
# Sheets of places on the reference pose, carried to later frames by your function: one for the hand, whose 21 keypoints are its control
# points, and one for the forearm, which has two. **Predict**: which of the two sheets bends, and which stays flat?
#
# <details><summary>Answer</summary>
#
# The hand's, a little, with its fingers. The forearm's can only turn and move as one piece: two points define a single rigid motion
# (and where elbow and wrist come nearer to each other in the picture, a shift in between).
# </details>

# %%
from iasa.teaching import yours

carry = yours(warp_place)
parts = {"hand": (list(range(112, 133)), "#E69F00"), "forearm": ([8, 10], "#56B4E9")}
fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.8))
for axis, t in zip(axes, (0, 30, 70), strict=True):
    axis.imshow(draw_pose(poses[t : t + 1], 300)[0], extent=(0, 1, 1, 0))
    for controls, colour in parts.values():
        start, end = poses.xy[0, controls], poses.xy[t, controls]
        low, high = start.min(0) - 0.03, start.max(0) + 0.03
        x, y = np.meshgrid(np.linspace(low[0], high[0], 9), np.linspace(low[1], high[1], 9))
        sheet = [carry(place, start, end) for place in np.stack([x.ravel(), y.ravel()], 1)]
        x, y = np.reshape(sheet, (9, 9, 2)).transpose(2, 0, 1)
        axis.plot(x, y, color=colour, linewidth=0.8)
        axis.plot(x.T, y.T, color=colour, linewidth=0.8)
    axis.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[])
    axis.set_title("reference" if t == 0 else f"frame {t}")
plt.show()

# %% [markdown]
# That is all the anatomy there is. The package does the same part by part (two hands, two upper arms, two forearms, face, body, shoulders: `PARTS` in
# [iasa/masks/regions.py](../iasa/masks/regions.py)), and the other way round: it carries each *token* back to the reference pose. A warp of this
# kind is not one-to-one: where fingers close, the sheet folds over itself, and a token may then be claimed by two places.
#
# ### From outlines to bits
# `region_bits` does this for every part and every frame: it carries each token's centre to the reference pose and asks whether it lies in the
# part's outline. The result is one byte per token: bit 0 face, 1 hands, 2 arms, 3 body, 4 shoulders. A token can be in several. **Predict**: which of the five regions covers the most tokens, and
# where do two overlap?
#
# <details><summary>Answer</summary>
#
# The body, by far. Regions overlap where parts meet: shoulders with arms and body, a hand with its forearm, and wherever a hand
# passes in front of the body.
# </details>

# %% tags=["cover"]
bits = region_bits(poses, grid)  # uint8 [f, n]


def show_tokens(axis, frame_bits, lit=True):
    """Tokens in their regions' colours, striped where these overlap; dark where not `lit`."""
    picture = paint_tokens(np.asarray(frame_bits), 16, 16)  # [192, 192, 3]
    bright = np.kron(np.broadcast_to(lit, (16, 16)), np.ones((12, 12), bool))[..., None]
    axis.imshow(np.where(bright, picture, picture // 4), extent=(-0.5, 15.5, 15.5, -0.5))
    axis.axis("off")


fig, axes = plt.subplots(1, 4, figsize=(10.5, 3.2))
for axis, t in zip(axes, (0, 30, 70, 100), strict=True):
    show_tokens(axis, bits[t])
    axis.set_title(f"frame {t}")
for name, colour in zip(REGIONS, REGION_COLOURS, strict=True):
    axes[0].scatter([], [], marker="s", color=np.array(colour) / 255, label=name)
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
plt.show()

# %% [markdown]
# ### Play: drag a hand
# Move the right hand with the sliders. **Predict**: lift the hand to the face. Which tokens become striped, and what does that mean for the mask?
#
# <details><summary>Answer</summary>
#
# Those where the hand covers the face: they carry both bits. A token with two bits may look at the hands *and* the faces of the chosen
# frames; what is in front does not matter to the mask.
# </details>

# %%
def drag_hand(across=0.0, up=0.0, t=70):
    """Frame t with its right hand moved (its elbow half as far), and its regions."""
    xy = poses.xy[t : t + 1].copy()
    move = np.array([across, -up], np.float32)
    xy[:, [10, *range(112, 133)]] += move
    xy[:, 8] += move / 2
    moved = Keypoints(xy, poses.confidence[t : t + 1], poses.fps)
    fig, axes = plt.subplots(1, 2, figsize=(8, 4))
    axes[0].imshow(draw_pose(moved, 360)[0])
    axes[0].axis("off")
    show_tokens(axes[1], region_bits(moved, grid, reference=poses)[0])
    plt.show()


sideways = FloatSlider(0, min=-0.3, max=0.3, step=0.02)
upwards = FloatSlider(0, min=-0.2, max=0.5, step=0.02)
interact(drag_hand, across=sideways, up=upwards, t=IntSlider(70, max=len(poses) - 1));

# %%
drag_hand(across=0.06, up=0.3)

# %% [markdown]
# ## Exercise 3: the local mask between two frames
# Write `share_region(query_bits, key_bits)`: True where the two tokens have a region in common. Background tokens (bits 0) share nothing. With the bits $b$ as numbers and $\&$
# the bitwise *and*,
#
# $$ \text{share}_{ij} = \big[\, b_i \mathbin{\&} b_j \ne 0 \,\big] . $$
#
# | | |
# |---|---|
# | `query_bits` | uint8 array `[n]` |
# | `key_bits` | uint8 array `[m]` |
# | returns | bool array `[n, m]` |

# %% tags=["exercise"]
def share_region(query_bits: np.ndarray, key_bits: np.ndarray) -> np.ndarray:
    """Whether a query token and a key token lie in a common region: bool [n, m]."""
    ### BEGIN SOLUTION
    return (query_bits[:, None] & key_bits[None, :]) != 0
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_share_region

check_share_region(share_region)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `a & b` on integers keeps the bits that both have. Equality is the wrong question: a token of hands *and* arms meets a token of hands.
# </details>
#
# ## Exercise 4: the whole mask
# The paper writes masks as numbers that are *added* to the logits: 0 where a pair is allowed, $-\infty$ where it is not, since $e^{-\infty} = 0$.
# Adding two masks is then a logical *and*:
#
# $$ M = M_\text{global} + M_\text{local}, \qquad
# M_\text{global}(t_q, t_k) = \begin{cases} 0 & t_k \in \text{table}_{t_q} \cup \{t_q\} \\ -\infty & \text{otherwise,} \end{cases} $$
#
# with $M_\text{local} = 0$ inside a frame ($t_q = t_k$), whatever the regions. We add one term, the reference: frame 0 is seen whole by all. In words:
# token $i$ of frame $t_q$ may attend token $j$ of frame $t_k$ if
# - $t_k = t_q$ (the own frame is dense), or
# - $t_k = 0$ (the reference; our addition to the paper), or
# - $t_k$ stands in row $t_q$ of the frame table **and** the two tokens share a region.
#
# | | |
# |---|---|
# | `table` | int array `[f, k]`, -1 pads |
# | `bits` | uint8 array `[f, n]` |
# | returns | bool array `[f * n, f * n]`; token $i$ of frame $t$ is row $t n + i$ |

# %% tags=["exercise"]
def token_mask(table: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """The input-aware mask of a clip, pair by pair: bool [f * n, f * n]."""
    ### BEGIN SOLUTION
    f, n = bits.shape
    mask = np.zeros((f, n, f, n), bool)
    for t in range(f):
        for past in table[t][table[t] >= 0]:
            mask[t, :, past] = (bits[t][:, None] & bits[past]) != 0
        mask[t, :, t] = True
        mask[t, :, 0] = True
    return mask.reshape(f * n, f * n)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_token_mask

check_token_mask(token_mask)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Work in four axes, `mask = np.zeros((f, n, f, n), bool)`, so that `mask[t, :, past]` is one `[n, n]` piece; reshape at the end. Write the dense
# pieces last, so that nothing overwrites them.
# </details>
#
# ### Look through one token's eyes
# The package keeps the mask as a frame table and bits (some kilobytes) and answers for any pair. Choose a token. **Predict**: what lights up for
# a token of the face, and what for one of the hands?
#
# <details><summary>Answer</summary>
#
# For the face: all of its own frame and the reference, and the faces of the four chosen frames. For the hand: the same, with their
# hands, and also arms or body if the token lies in those regions too.
# </details>

# %%
from iasa.config import MaskOptions
from iasa.masks import make_plan

plan = make_plan(poses, grid, MaskOptions(top_k=4, window=0))


def look(frame=76, row=10, col=5):
    """All that one token may attend to, in every frame that it sees."""
    query = frame * 256 + row * 16 + col
    frames = [0, *plan.past_frames(frame), frame]
    fig, axes = plt.subplots(1, len(frames), figsize=(1.8 * len(frames), 2.2))
    for axis, t in zip(axes, frames, strict=True):
        lit = plan.allowed(query, torch.arange(t * 256, (t + 1) * 256)).view(16, 16).numpy()
        show_tokens(axis, bits[t], lit)
        axis.set_title({0: "reference", frame: f"own {t}"}.get(t, f"past {t}"))
    axes[-1].plot(col, row, "kx", markersize=11, markeredgewidth=4)
    plt.show()


when = IntSlider(76, min=1, max=len(poses) - 1)
interact(look, frame=when, row=IntSlider(10, max=15), col=IntSlider(5, max=15));

# %%
for region in (1, 2):  # a token of the face, then one of the hands
    token = int(np.flatnonzero(bits[76].numpy() & region)[3])
    look(76, token // 16, token % 16)

# %% [markdown]
# A face token sees faces. A token that shows hand, arm and body at once sees all three: regions overlap, and 16 pixels are coarse.
#
# ### Drag a hand with the mouse
# The mask explorer recomputes everything in the browser. Point at a patch to see whom it may attend to; drag a wrist and watch regions, chosen frames
# and density follow; change $K$ and the block size.

# %%
from IPython.display import HTML

from iasa.explorer import explorer_frame, explorer_html

few = poses[::5][:20]
page = explorer_html(make_plan(few, TokenGrid(len(few)), MaskOptions(window=0)), few)
HTML(explorer_frame(page, height=900))

# %% [markdown]
# ## Exercise 5: how dense is it?
# With $f$ frames, $K$ of them chosen, and $f_r$ the share of a frame's tokens in region $r$, and if no token lies in two regions,
#
# $$ \text{density} \;\approx\; \underbrace{\frac{1}{f}}_{\text{own frame}} + \underbrace{\frac{K}{f} \sum_r f_r^2}_{\text{regions of the past}} . $$
#
# (Our estimate; the paper gives no formula. It leaves out the reference frame.) Write `density_formula(f, k, shares)`.
#
# | | |
# |---|---|
# | `f`, `k` | ints |
# | `shares` | float array `[r]` |
# | returns | float |

# %% tags=["exercise"]
def density_formula(f: int, k: int, shares: np.ndarray) -> float:
    """Estimated share of token pairs that the mask allows."""
    ### BEGIN SOLUTION
    return float(1 / f + k / f * (np.asarray(shares) ** 2).sum())
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_density_formula

check_density_formula(density_formula)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Read the second term from the right: a token of region $r$ (share $f_r$ of the queries) meets share $f_r$ of the keys, in $K$ of $f$ frames.
# </details>
#
# **Predict** before you count: tokens *do* lie in two regions (hand over body, shoulders over arms). Does the count come out above or below the formula?
# And the reference frame, which the formula leaves out?
#
# <details><summary>Answer</summary>
#
# Below: 1.23 % against 1.33 %. A pair that shares two regions counts once, though the formula counts it twice, and the first frames
# have fewer than four past frames. The reference adds nearly another $1/f$, as much as the own frames.
# </details>

# %%
member = ((bits[..., None] >> torch.arange(5, dtype=torch.uint8)) & 1).double()  # [f, n, r]
shares = member.mean((0, 1)).numpy()
f = len(poses)
estimate = yours(density_formula)(f, 4, shares)
without_sink = make_plan(poses, grid, MaskOptions(top_k=4, window=0, sink=False)).density()

fig, axes = plt.subplots(1, 2, figsize=(11, 3.8))
axes[0].bar(REGIONS, shares * 100, color=np.array(REGION_COLOURS) / 255)
axes[0].tick_params(axis="x", labelsize=11)
axes[0].set_ylabel("share of the tokens (%)")
axes[0].set_title(f"{(bits == 0).double().mean():.0%} are background")
names = ["dense", "global mask", "formula", "count", "count + sink"]
values = [1, 5 / f, estimate, without_sink, plan.density()]
axes[1].barh(names[::-1], np.array(values[::-1]) * 100, color="#0072B2")
axes[1].set(xscale="log", xlabel="token pairs kept (%)", title=f"{f} frames, K = 4")
for y, value in enumerate(values[::-1]):
    axes[1].annotate(f" {value:.2%}", (value * 100, y), va="center")
axes[1].margins(x=0.25)
plt.show()

# %%
assert REGIONS[shares.argmax()] == "body", "the body covers the most tokens"
assert without_sink < estimate, "pairs that share two regions count once"
assert 0.8 / f < plan.density() - without_sink < 1 / f, "the reference adds nearly another 1 / f"

# %% [markdown]
# Region by region the local mask is a small addition to the dense own frame: most of what is left is *inside* the frames. Remember that for the
# next notebook, where it decides how the computation is arranged.
#
# **Predict**: how does the density fall with the length of the clip, with and without the masks?
#
# <details><summary>Answer</summary>
#
# As $1/f$, with both masks and with the global one alone: straight lines of slope $-1$ on these axes once the clip is longer than a
# few times $K$ frames. Without masks it stays at 100 %.
# </details>

# %%
lengths = [8, 16, 32, 64, len(poses)] if not FAST else [8, 32]
rows = {"local + global": [], "global only": []}
for length in lengths:
    some = make_plan(poses[:length], TokenGrid(length), MaskOptions(top_k=4, window=0))
    rows["local + global"].append(some.density() * 100)
    rows["global only"].append((some.visible.sum() + 2 * length - 1).item() / length**2 * 100)

fig, axis = plt.subplots(figsize=(8, 3.6))
for (name, values), marker in zip(rows.items(), "os", strict=True):
    axis.loglog(np.array(lengths) / 12.5, values, marker=marker, label=name)
axis.set(xlabel="length of the clip (s)", ylabel="token pairs kept (%)")
axis.set_title("density on the bundled poses")
axis.set_yticks([2, 5, 10, 20, 50], labels=["2", "5", "10", "20", "50"], minor=False)
axis.set_yticks([], minor=True)
axis.legend()
plt.show()

# %% [markdown]
# ## Your mask at work
# Now hand your matrix to the network. The shipped student paints six latent frames from pure noise, four times: attending to everything up to its own frame, by your
# mask, by your mask with an empty table (own frame and reference alone), and within its own frame only. **Predict**: how much will the pictures differ from those of dense attention?
#
# <details><summary>Answer</summary>
#
# Little with your mask (48 dB, invisible), and hardly more without any past (47 dB); the reference matters more (36 dB without it). Read it as it
# stands: *this* student is handed the reference already warped to each pose, which leaves the past little to say. A mask that
# costs nothing in quality here would have to be tested anew on a network that leans on its past.
# </details>

# %%
import torch.nn.functional as F

from iasa.avatar.speaker import load_speaker
from iasa.keypoints import concat_keypoints
from iasa.pipeline import CoSpeechPipeline

count = 2 if FAST else 6
pipeline = CoSpeechPipeline.from_pretrained(teacher=None, dtype="float32")
speaker = load_speaker("dana")
clip = video[np.concatenate([[i, i + 1] for i in range(100, 100 + 10 * count, 10)])]
told = pipeline.condition(clip, speaker, "student")  # frame 0 is the reference
whole = concat_keypoints(speaker.keypoints[np.zeros(2, int)], clip)
small = make_plan(pool_to_latent(whole), TokenGrid(count + 1), MaskOptions(top_k=2, window=0))
table, small_bits = small.frame_table.numpy(), small.region_bits.numpy()
make_mask, frame = yours(token_mask), np.arange(256 * (count + 1)) // 256
masks = {"dense": frame[:, None] >= frame, "your mask": make_mask(table, small_bits)}
masks |= {"no past": make_mask(table * 0 - 1, small_bits), "own frame": frame[:, None] == frame}


# %%
@torch.inference_mode()
def paint(mask):
    """The clip by the student, in one masked step from noise: uint8 [2 * count, 256, 256, 3]."""

    def attend(layer, q, k, v):  # [1, nh, f, n, d]
        q, k, v = (x.flatten(2, 3) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=torch.from_numpy(mask))
        return out.unflatten(2, (count + 1, 256))

    noise = torch.randn(told.base.shape, generator=torch.Generator().manual_seed(0))
    noise[:, 0] = told.base[:, 0]  # the reference is clean, at level 0
    latents = pipeline.student(noise, torch.tensor([[0.0] + [1.0] * count]), told, attend)
    return pipeline.decode(latents[:, 1:], clip, speaker)


painted = {name: paint(mask) for name, mask in masks.items()}
fig, axes = plt.subplots(1, 4, figsize=(10.5, 3))
for axis, (name, frames) in zip(axes, painted.items(), strict=True):
    error = ((frames.astype(float) - painted["dense"]) ** 2).mean()
    axis.imshow(frames[-1])
    axis.set_title(f"{name}: {10 * np.log10(255**2 / error):.0f} dB" if error else name)
    axis.axis("off")
plt.show()

# %% [markdown]
# The package's own ablation says the same over 64 clips: 31.27 dB with dense attention, 31.31 with the global mask, 31.27 with both
# ([docs/results/ablation.md](../docs/results/ablation.md)); the paper measures 24.01, 23.89 and 23.89 dB on filmed people.
#
# ## Summary
# - The local rigid motion at a place is the fit of notebook 2 with weights: [`warp_rigid` in iasa/masks/regions.py](../iasa/masks/regions.py).
# - Outlines on the reference pose, carried to each frame, give region bits: [`region_bits` in iasa/masks/regions.py](../iasa/masks/regions.py).
# - The whole mask is a frame table and these bits: [`AttentionPlan`, `make_plan` in iasa/masks/plan.py](../iasa/masks/plan.py); its rule is `allowed`, its count
#   is `density`, which never builds the matrix.
# - A pair must pass the global *and* the local mask; the own frame always passes. In the paper's ablation (section 4) the local mask takes the teacher from
#   3.28 to 4.42 frames a second.
#
# ## Further questions
# 1. `density` counts pairs without a matrix: it sorts tokens by their bits, of which there are only 32 kinds. Write it down.
# 2. A hand in front of the body belongs to both. Would it be better if the nearer part won? What would the mask lose?
# 3. `MaskOptions(method="hull")` draws polygons around each frame's own keypoints instead. Compare the two near the wrists. Which one is steadier
#    when a keypoint jumps?
# 4. Background tokens see only their own frame and the reference. When the *camera* moves, what breaks?
#
# **Next**: a mask with 3 % of the pairs does not yet run one bit faster. [From mask to speed](04_from_mask_to_speed.ipynb).
