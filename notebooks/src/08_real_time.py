# %% [markdown]
# # 8 · Real time
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/08_real_time.ipynb)
#
# **The question.** A talk lasts ten minutes: 15,000 frames. Frame 15,000 may be as late as frame 10, and no later. What must the machine remember of the 14,999 frames before,
# and how do you *measure* whether it keeps up, without fooling yourself?
#
# **You will be able to**
# - count what a causal roll-out reads for each frame, and what its cache may forget;
# - measure cost against length, and report a frame rate that others can believe;
# - compute how long a player must wait so that nothing stutters;
# - compare our pattern with its neighbours' on real queries and keys, with controls that could prove it useless;
# - say what must accompany a machine that makes people talk.
#
# **Time** 60 minutes. **Needs** notebooks 2 to 4. No GPU. **Paper** [arXiv 2510.02617](https://arxiv.org/abs/2510.02617), sections 3 (causal
# student, long video) and 4 (speed); causal students: [CausVid](https://arxiv.org/abs/2412.07772), [Self-Forcing](https://arxiv.org/abs/2506.08009).

# %% tags=["setup"]
# setup

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from ipywidgets import FloatSlider, interact

from iasa.config import MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import concat_keypoints, fill_latent, load_keypoints, pool_to_latent
from iasa.masks import AttentionPlan, make_plan
from iasa.paths import POSES

plt.style.use(root / "notebooks" / "course.mplstyle")
video = concat_keypoints(*(load_keypoints(POSES / f"{n}.npz") for n in ("welcome", "library")))
poses = pool_to_latent(fill_latent(video))
frames = np.arange(len(poses))
plt.figure(figsize=(9, 3))
plt.plot(frames / 12.5, 256 * (frames + 1), "--")
plt.xlabel("time in the video (s)")
plt.ylabel("keys read")
plt.title("causal and dense: a frame reads everything so far")
plt.show()

# %% [markdown]
# ## One frame after another
# The student is **causal**: it makes a latent frame, keeps the keys and values of each layer, and goes on. What it reads for the next frame is in this **cache**. Dense attention reads all of it, and the reading
# grows with every frame. The plan reads the frame itself, the reference, and of the $K$ chosen past frames only tokens in regions that the new frame has.
#
# ## Exercise 1: count the keys
# For frame $t$: its own $n$ tokens; the $n$ of frame 0 (the reference) if $t > 0$; and of every frame in its row of the table those tokens that share a region with *some* token of frame $t$:
#
# $$ \text{keys}_t = n + n\,[t > 0] + \sum_{s \in \text{table}_t} \big|\{\, j : b_{s,j} \mathbin{\&} B_t \ne 0 \,\}\big|, \qquad B_t = \text{all bits of frame } t . $$
#
# | | |
# |---|---|
# | `table` | int array `[f, k]`, -1 pads, frame 0 is never in it |
# | `bits` | uint8 array `[f, n]`, region bits |
# | returns | int array `[f]` |

# %% tags=["exercise"]
def count_keys(table: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Keys that a roll-out reads for every frame: int [f]."""
    ### BEGIN SOLUTION
    f, n = bits.shape
    counts = np.full(f, n)
    counts[1:] += n
    for t in range(f):
        present = np.bitwise_or.reduce(bits[t])  # all regions that the frame shows
        for past in table[t][table[t] >= 0]:
            counts[t] += ((bits[past] & present) != 0).sum()
    return counts
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_count_keys

check_count_keys(count_keys)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `np.bitwise_or.reduce(bits[t])` holds every region that frame `t` shows. A past token counts if its bits and this number have a bit in common.
# </details>
#
# **Predict**: how many keys does a frame read by the plan, and how does the number grow with the clip?
#
# <details><summary>Answer</summary>
#
# Some 940, of which 512 are its own tokens and the reference's. It does not grow: after a few frames there are always $K$ (and the
# frame just before, our window) to read from.
# </details>

# %%
from iasa.teaching import yours

plan = make_plan(poses, TokenGrid(len(poses)))  # K = 4, and a window of 1, which is ours
ours = yours(count_keys)(plan.frame_table.numpy(), plan.region_bits.numpy())
plt.figure(figsize=(9, 3.4))
plt.plot(frames / 12.5, 256 * (frames + 1), "--", label="dense, causal: everything so far")
plt.plot(frames / 12.5, ours, label="by the plan: own frame, reference, chosen regions")
plt.xlabel("time in the video (s)")
plt.ylabel("keys read")
plt.yscale("log")
plt.ylim(100, 1e5)
plt.legend()
plt.show()
print(f"by the plan {ours[1:].mean():.0f} keys a frame on average, at most {ours.max()}")

# %% [markdown]
# `MaskOptions` adds the frame just before to every row (`window=1`), which is our choice and not the paper's: these counts hold one frame more than the paper's rule would.
#
# ## What may be forgotten?
# Keys and values of a frame must stay until the last frame that chooses it. If the poses are known, so is the table, and every frame's last use.
#
# ## Exercise 2: the last use
# $$ \text{use}_s = \max \{\, t : s \in \text{table}_t \,\}, \qquad -1 \text{ if there is no such } t . $$
#
# | | |
# |---|---|
# | `table` | int array `[f, k]`, -1 pads |
# | returns | int array `[f]`: the last frame whose row names this frame, -1 if there is none |

# %% tags=["exercise"]
def last_use(table: np.ndarray) -> np.ndarray:
    """The last frame that chose each frame, -1 where none did: int [f]."""
    ### BEGIN SOLUTION
    use = np.full(len(table), -1)
    for t, row in enumerate(table):
        use[row[row >= 0]] = t  # later rows overwrite earlier ones
    return use
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_last_use

check_last_use(last_use)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Go through the rows in order and write `t` at every frame that is named; what stands there in the end is the last. Leave the $-1$ out: it would index the last frame.
# </details>
#
# **Predict**: a cache that forgets in this way, how many frames does it hold after 5 seconds, after 15? Does a *reach* of 2 s (older frames may not be chosen) change it?
#
# <details><summary>Answer</summary>
#
# With a reach of 10 s some tens of frames, and more as the clip goes on, since any frame may still be the twin of one to come. With a reach
# of 2 s never more than 25.
# </details>

# %%
def held_frames(table):
    """Frames whose keys are still needed after each frame."""
    use = yours(last_use)(table.numpy())
    return [((frames <= t) & (t < use)).sum() for t in range(len(table))]


fig, axis = plt.subplots(figsize=(9, 3.4))
axis.plot(frames / 12.5, frames, "k:", label="everything")
for reach, style in ((125, "-"), (25, "--")):
    some = make_plan(poses, TokenGrid(len(poses)), MaskOptions(reach=reach))
    held = held_frames(some.frame_table)
    axis.plot(frames / 12.5, held, style, label=f"reach {reach / 12.5:g} s")
axis.set(xlabel="time in the video (s)", ylabel="frames in the cache", ylim=(0, 130))
axis.legend()
plt.show()
# keys and values, the student's 4 layers, 256 tokens of width 320, 2 bytes a number
print(f"a frame in the cache takes {2 * 4 * 256 * 320 * 2 / 2**20:.1f} MiB")

# %% [markdown]
# The reach bounds memory however long the talk: a rule that a live system needs, since there the poses of the future are *not* known.
#
# ## Measure it
# Now the shipped student itself, frame by frame, on this machine: once with the plan, once reading *all* past tokens (a plan in which every token lies in every region and every past frame is chosen). The student takes one denoising step
# a latent frame, the default (`DEFAULT_STEPS` in [iasa/config.py](../iasa/config.py)).

# %%
from iasa.avatar.speaker import load_speaker
from iasa.pipeline import CoSpeechPipeline

pipeline = CoSpeechPipeline.from_pretrained(teacher=None, dtype="float32")
student, speaker = pipeline.student, load_speaker("bruno")
length = 4 if FAST else 36  # latent frames
clip = video[: 2 * length]
condition = pipeline.condition(clip, speaker, "student")  # frame 0 is the reference
still = speaker.keypoints[np.zeros(2, int)]
sparse = make_plan(pool_to_latent(concat_keypoints(still, clip)), TokenGrid(length + 1))
t, s = torch.meshgrid(torch.arange(length + 1), torch.arange(length + 1), indexing="ij")
everything = torch.where((s > 0) & (s < t), s, -1)  # row t: every past frame but the reference
dense = AttentionPlan(sparse.grid, everything, torch.full_like(sparse.region_bits, 31))

# %% [markdown]
# **Predict**: the curves of time per frame. Where do they part? (The linear layers cost the same in both.)
#
# <details><summary>Answer</summary>
#
# They start together, since early frames have little past, and part after about a second: dense grows with every frame, sparse stays flat.
# The linear layers put a floor under both.
# </details>

# %%
import time

from tqdm.auto import trange

from iasa.inference.rollout import CausalStudent


def roll_out(plan):
    """Latent frames [1, f, c, h, w], by a cache that forgets by `last_use`; seconds of each."""
    generator = torch.Generator().manual_seed(0)
    roll, made, seconds = CausalStudent(student, condition, plan), [], []
    roll.cache.last_use = dict(enumerate(yours(last_use)(plan.frame_table.numpy()).tolist()))
    for _ in trange(length, desc="latent frames"):
        start = time.perf_counter()
        made.append(roll.next_frame(1, generator))
        seconds.append(time.perf_counter() - start)
    return torch.stack(made, 1), np.array(seconds)


latents, took = {}, {}
for name, plan in (("all of the past", dense), ("our plan", sparse)):
    latents[name], took[name] = roll_out(plan)

# %%
fig, axis = plt.subplots(figsize=(9, 3.6))
for (name, seconds), style in zip(took.items(), ("--", "-"), strict=True):
    axis.plot((np.arange(length) + 1) / 12.5, seconds * 1e3, style, label=name)
axis.set(xlabel="time in the video (s)", ylabel="one latent frame (ms)", ylim=0)
axis.set_title("the student's one step, measured here, float32")
axis.legend()
plt.show()

# %% [markdown]
# Your cache made a video on the way. Here are frames of it, beside those that had the whole past to read. **Predict**: can you tell which is which?
#
# <details><summary>Answer</summary>
#
# No: they agree to some 45 dB. What a frame reads of its past matters little to *this* student, which is handed the reference
# warped to every pose; the experiment below asks why.
# </details>

# %%
films = {name: pipeline.decode(made, clip, speaker) for name, made in latents.items()}
fig, axes = plt.subplots(2, 4, figsize=(9, 4.8))
for row, (name, film) in zip(axes, films.items(), strict=True):
    for axis, t in zip(row, np.linspace(1, len(film) - 1, 4).astype(int), strict=True):
        axis.imshow(film[t])
        axis.set_title(f"{name}, {t / 25:.1f} s", fontsize=11)
        axis.axis("off")
plt.show()
error = np.square(np.subtract(*films.values(), dtype=float)).mean()
print(f"PSNR of one against the other: {10 * np.log10(255**2 / error):.1f} dB")

# %% [markdown]
# The time curves are jagged: other programs run, memory is allocated, processors change their clocks. How fast is it, then?
#
# ## Exercise 3: an honest rate
# Leave out the first `warm_up` measurements, take the **median** of the rest (not the best, not the mean that one hiccup spoils), and turn it into video frames a second:
#
# $$ \text{rate} = \frac{\text{video frames in a latent frame}}{\operatorname{median}(\text{seconds after the warm-up})} . $$
#
# | | |
# |---|---|
# | `seconds` | float array `[m]`, one number for each latent frame |
# | `per_latent` | int, video frames in a latent frame |
# | `warm_up` | int |
# | returns | float, frames a second |

# %% tags=["exercise"]
def frame_rate(seconds: np.ndarray, per_latent: int, warm_up: int) -> float:
    """Video frames a second, by the median after a warm-up."""
    ### BEGIN SOLUTION
    return float(per_latent / np.median(seconds[warm_up:]))
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_frame_rate

check_frame_rate(frame_rate)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `per_latent / np.median(seconds[warm_up:])`. Invert once, at the end: the median of inverses is another number for an even count.
# </details>

# %%
for name, seconds in took.items():
    rate = yours(frame_rate)(seconds, per_latent=2, warm_up=1 if FAST else 5)
    print(f"{name}: {rate:.1f} video frames a second, the network alone")

# %% [markdown]
# ### What a frame rate leaves out
# *"25 frames a second"* is not yet a statement. Ask: on which device and number type? at which size, with how many steps? with the decoder and the speech stage, or the network alone? over how long a video? the first run or the tenth? with what else
# running? The paper's 25.31 FPS: one H100, 512 x 512, without input and output (section 4). Ours, above: the network alone, one step, 256 x 256, float32, this machine.
#
# The whole path is another matter. The pipeline streams: poses in, pairs of frames out, its stages in threads of their own. We note *when* each pair is done.

# %%
whole = CoSpeechPipeline.from_pretrained(teacher=None)  # in the number type that is fastest here
count = 6 if FAST else 60  # video frames
began, done_at = time.perf_counter(), []
pieces = (video[i : i + 2] for i in range(0, count, 2))
generation = whole.stream(image=speaker, keypoints=pieces)  # one denoising step, the default
for pair in generation.frames:
    done_at += [time.perf_counter() - began] * len(pair)
done_at = np.array(done_at)
rate = len(done_at) / done_at[-1]
print(f"first frame after {done_at[0]:.2f} s; {rate:.1f} frames a second, decoding included")

# %% [markdown]
# ## Exercise 4: when may the player start?
# Frame $i$ is done at `done_at[i]` and shown at $d + i/\text{fps}$. What is the smallest delay $d \ge 0$ with which no frame is late?
#
# | | |
# |---|---|
# | `done_at` | float array `[f]`, seconds since the start |
# | `fps` | float |
# | returns | float, seconds |

# %% tags=["exercise"]
def start_delay(done_at: np.ndarray, fps: float) -> float:
    """Seconds to wait before playing, so that no frame is late."""
    ### BEGIN SOLUTION
    due = np.arange(len(done_at)) / fps
    return float(max(0.0, (done_at - due).max()))
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_start_delay

check_start_delay(start_delay)

# %% [markdown]
# <details><summary>Hint</summary>
#
# For each frame the wait is at least `done_at[i] - i / fps`. The delay must satisfy all of them.
# </details>
#
# **Predict**: for a machine that makes 20 frames a second where 25 are shown, how does the delay grow with the length of the clip? And for one that makes 26?
#
# <details><summary>Answer</summary>
#
# Frame $i$ is done at $i/20$ and due at $i/25$: it falls behind by $i/100$ s, so the wait is a fifth of the time it takes to make the clip,
# 5 s for 20 s of video. At 26 frames a second it is that of the first frame, however long the clip.
# </details>

# %%
def play(speed=20.0, fps=25.0):
    """When frames of a clip of 20 s are done, and when they are shown."""
    done = 0.4 + np.arange(500) / speed
    wait = yours(start_delay)(done, fps)
    fig, axis = plt.subplots(figsize=(8, 3.4))
    axis.plot(done, np.arange(500), label="done")
    axis.plot(wait + np.arange(500) / fps, np.arange(500), "--", label="shown")
    axis.set(xlabel="time since the request (s)", ylabel="frame")
    axis.set_title(f"{speed:g} frames a second made: play after {wait:.1f} s")
    axis.legend()
    plt.show()


speeds = FloatSlider(20, min=5, max=40, step=1)
interact(play, speed=speeds, fps=FloatSlider(25, min=10, max=30, step=5));

# %%
play(20)
play(26)
print(f"this machine, just measured: play after {yours(start_delay)(done_at, 25.0):.2f} s")

# %% [markdown]
# Real time is a threshold. Above it the delay is that of the first frame, for ever; below it the delay grows with the clip, and no buffer saves a live conversation.
#
# ## The neighbours, with controls
# Others choose what to attend to as well, but differently: [Sparse Forcing](https://arxiv.org/abs/2604.21221) by products of mean queries and mean keys, anew in every layer and head;
# [Sparse VideoGen2](https://arxiv.org/abs/2505.18875) by clusters of them. To compare choices, take the student's own queries and keys and ask **how much of the attention that goes to past
# frames each choice keeps**. Our choice has two parts, *which frames* (by pose) and *which tokens of them* (by region). An honest comparison changes one part at a time:
#
# | choice of frames | tokens of those frames | |
# |---|---|---|
# | by pose | by region | ours |
# | the last three | by region | control: is the pose needed? |
# | three at random | by region | control: is any choice needed? |
# | the three *least* similar | by region | control: the opposite of ours |
# | by pooled queries and keys | by region | the neighbours' idea, for frames |
# | none | the most recent blocks; random blocks | controls: are regions needed? |
# | none | blocks by pooled queries and keys | the neighbours' |
# | none | the blocks with the largest true attention | an oracle: the best there is, too expensive to find |
#
# ## Exercise 5: pooled top-k
# The neighbours' choice. Average queries and keys over each block, multiply the means (divide by $\sqrt d$), and keep for each row its own block and the `keep` best **earlier** ones.
#
# $$ \text{score}_{ab} = \bar q_a \cdot \bar k_b / \sqrt d . $$
#
# | | |
# |---|---|
# | `q`, `k` | float tensors `[t, d]` |
# | `block`, `keep` | ints |
# | returns | bool tensor `[t / block, t / block]` |

# %% tags=["exercise"]
def choose_blocks(q: torch.Tensor, k: torch.Tensor, block: int, keep: int) -> torch.Tensor:
    """Own block and the `keep` earlier blocks with the highest pooled scores: bool [nb, nb]."""
    ### BEGIN SOLUTION
    q, k = (x.view(-1, block, x.shape[1]).mean(1) for x in (q, k))
    scores = q @ k.T / q.shape[1] ** 0.5
    kept = torch.eye(len(q), dtype=torch.bool)
    for row in range(1, len(q)):
        kept[row, scores[row, :row].topk(min(keep, row)).indices] = True
    return kept
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_choose_blocks

check_choose_blocks(choose_blocks)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `x.view(-1, block, d).mean(1)` are the means. `scores[row, :row].topk(min(keep, row)).indices` are the best earlier blocks.
# </details>
#
# Now the experiment: frames 0.4 s apart, so that poses differ; dense causal attention, whose queries and keys we record. Own frame and reference are left out of the count: all choices keep them.
# ($K = 3$, and no window.)

# %%
few = 4 if FAST else 12
chosen = np.concatenate([[i, i + 1] for i in range(20, 20 + 10 * few, 10)])
told = pipeline.condition(video[chosen], speaker, "student")
poses = pool_to_latent(concat_keypoints(still, video[chosen]))
test = make_plan(poses, TokenGrid(few + 1), MaskOptions(top_k=3, window=0))
order, frame_of = test.permutation(), torch.arange(test.grid.tokens) // 256
causal = frame_of[:, None] >= frame_of
recorded = []


def look_on(layer, q, k, v):
    """Dense causal attention over [1, nh, f, n, d], whose sorted queries and keys are kept."""
    q, k, v = (x.flatten(2, 3) for x in (q, k, v))
    recorded.extend(zip(q[0][:, order], k[0][:, order], strict=True))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=causal).unflatten(2, (few + 1, 256))


noise = torch.randn(told.base.shape, generator=torch.Generator().manual_seed(0))
noise[:, 0] = told.base[:, 0]
with torch.inference_mode():
    student(noise, torch.tensor([[0.0] + [1.0] * few]), told, look_on)

# %%
BLOCK = 32
blocks = test.grid.tokens // BLOCK
frame = torch.arange(blocks) // (256 // BLOCK)  # of each block
past = (frame[:, None] > frame) & (frame > 0)  # candidates: earlier frames, not the reference


def region_blocks(table):
    """Past blocks that hold a pair of the plan with this frame table: bool [blocks, blocks]."""
    csr = AttentionPlan(test.grid, table, test.region_bits, options=test.options).block_csr(BLOCK)
    kept = torch.zeros(blocks, blocks, dtype=torch.bool)
    kept[csr.rows, csr.columns] = True
    return kept & past


def top_frames(score):
    """A frame table: for each frame the three past ones of the highest score [f, f]."""
    table = torch.full((few + 1, 3), -1)
    for t in range(2, few + 1):
        best = score[t, 1:t].argsort(descending=True)[:3] + 1
        table[t, : len(best)] = best
    return table

# %%
chance = torch.rand(test.distance.shape, generator=torch.Generator().manual_seed(0))
scores = {"by pose": -test.distance, "last": torch.arange(few + 1.0).expand_as(chance)}
scores |= {"random": chance, "least similar": test.distance}
by_region = {f"frames {name}": region_blocks(top_frames(score)) for name, score in scores.items()}
budget = by_region["frames by pose"].sum(1)  # blocks that each row may choose


def top_blocks(score):
    """For each row its budget of past blocks of the highest score."""
    rank = score.masked_fill(~past, -torch.inf).argsort(1, descending=True).argsort(1)
    return (rank < budget[:, None]) & past


def recalls(q, k):
    """Kept share of one head's attention to past frames [tokens, d], for each choice."""
    logits = (q @ k.T / q.shape[1] ** 0.5).masked_fill(~causal, -torch.inf)
    mass = logits.softmax(1).view(blocks, BLOCK, blocks, BLOCK).sum((1, 3)) * past
    frames = yours(choose_blocks)(q[256:], k[256:], 256, 3)  # a frame as one block, no reference
    seen = F.pad(frames.tril(-1), (1, 0, 1, 0)).float()
    choices = by_region | {"frames by pooled q, k": region_blocks(top_frames(seen))}
    pooled = [x.view(blocks, BLOCK, -1).mean(1) for x in (q, k)]
    free = {"recent": frame + torch.rand(mass.shape), "random": torch.rand(mass.shape)}
    free |= {"pooled q, k": pooled[0] @ pooled[1].T, "oracle's": mass}
    choices |= {f"{name} blocks": top_blocks(score) for name, score in free.items()}
    return {name: (mass * kept).sum().item() / mass.sum().item() for name, kept in choices.items()}

# %% [markdown]
# **Predict** before you run the cell: which of the two parts of our choice, frames by pose or tokens by region, keeps more of the attention? Where will "least similar" end up?
#
# <details><summary>Answer</summary>
#
# The regions do nearly all of it. With them, *any* choice of three frames keeps about 16 % of the attention in 8.5 % of the blocks, whether the
# frames are the most similar, the last, random, or even the least similar ones; without them random or recent blocks keep 10 %.
# Blocks chosen by pooled queries and keys come near the oracle, and cost a choice in every layer, head and step.
# </details>

# %% tags=["cover"]
torch.manual_seed(0)
with torch.inference_mode():
    results = [recalls(q, k) for q, k in recorded]
names = list(results[0])
values = np.array([[r[name] for name in names] for r in results]) * 100  # [layers * heads, choices]
plt.figure(figsize=(9, 4.6))
plt.boxplot(values, orientation="horizontal", tick_labels=names, medianprops={"color": "#D55E00"})
plt.gca().invert_yaxis()
plt.xlabel("attention to past frames that is kept (%)")
plt.title(f"{budget.sum() / past.sum():.1%} of the past blocks, {len(values)} heads of all layers")
plt.xlim(0)
plt.show()
mean = dict(zip(names, values.mean(0), strict=True))
print("\n".join(f"{name:22s} {value:5.1f} %" for name, value in mean.items()))
if not FAST:  # regions matter, the choice of frames does not
    assert abs(mean["frames by pose"] - mean["frames random"]) < 1
    assert mean["frames random"] > 1.4 * mean["random blocks"]

# %% [markdown]
# So on this student the pose chooses frames no better than chance does. Before you conclude that the paper is wrong, ask what this experiment can show:
# - The student is small, is handed the reference *warped to every pose*, and carries no clock in its keys. It spreads its attention to the past evenly over frames, because it needs little
#   from any of them. A network that must *remember* what a turned hand looked like may not.
# - The recall of attention is not the quality of a picture, and the student was trained *with* our pattern, which favours regions.
# - The clip is five seconds long. A choice by pose is made for gestures that return after a minute, when a window has long forgotten them.
#
# What the choice by pose does give, here and there alike: it is known before the network runs, once for all layers, heads and steps. Two neighbours do not fit
# into this figure: [MonarchRT](https://arxiv.org/abs/2602.12271) is no mask but a factorisation, and [Pyramid Attention Broadcast](https://arxiv.org/abs/2408.12588) reuses outputs between
# steps, of which a student of one step has none to spare.
#
# ## With care
# A machine that makes a person say anything needs more than speed.
# - **Consent**: make videos only of yourself, or of people who agreed to *this* use.
# - **Disclosure**: say that it is generated. Every file written by the package carries a mark in its metadata. Look:

# %%
import tempfile

import imageio.v3 as iio

from iasa.media.reader import read_metadata
from iasa.media.writer import write_video

film = Path(tempfile.mkdtemp()) / "mark.mp4"
write_video(film, np.zeros((25, 64, 64, 3), np.uint8) + 90)
for key, value in read_metadata(film).items():
    print(f"{key}: {value}")
again = film.with_name("again.mp4")
iio.imwrite(again, iio.imread(film, plugin="pyav"), plugin="pyav", codec="libx264", fps=25)
print("after re-encoding:", read_metadata(again) or "no mark")

# %% [markdown]
# - A mark in metadata is gone as soon as somebody re-encodes the file, as imageio just did. What would survive? (A visible mark; an invisible watermark in the pixels; signed credentials, for those who check them. None of these survives everything.)
# - **Limits**: our networks draw invented speakers; a photograph is only carried by its pose. The *method* does not care, and others' weights can.
#
# ## Summary
# - A causal roll-out with a cache chosen by pose: [`CausalStudent`, `KeyCache` in iasa/inference/rollout.py](../iasa/inference/rollout.py), as it streams [`StudentStream` in iasa/inference/streaming_rollout.py](../iasa/inference/streaming_rollout.py); its plan row by row: [`PlanStream` in iasa/masks/plan_stream.py](../iasa/masks/plan_stream.py).
# - Keys per frame do not grow with the clip; a reach bounds the cache.
# - Long video with the bidirectional teacher, by overlapping windows: [`denoise_windows` in iasa/inference/windows.py](../iasa/inference/windows.py).
# - A rate is a median after warm-up, with all its conditions; real time is a threshold.
#
# ## Further questions
# 1. With a memory of 20 past frames in place of all within reach, which would you forget? Read the rule in `iasa/masks/plan_stream.py` and find a gesture for which it is wrong.
# 2. In a live conversation the listener's patience is some 200 ms. List everything between microphone and screen that delays, and what each needs to hear in advance.
# 3. Which of the five choices would you expect to win for a video with a moving camera?
# 4. Somebody asks you to animate a photograph of a politician, as satire. Write down the questions you would ask before you answer.
#
# **Next**: the neighbours of this figure, [each written by hand](09_the_neighbours_by_hand.ipynb).
