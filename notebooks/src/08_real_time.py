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
# - set our pattern beside those of its neighbours, on real queries and keys;
# - say what must accompany a machine that makes people talk.
#
# **Time** 60 minutes. **Needs** notebooks 2 to 4. No GPU. **Paper** sections 3 (causal student, long video) and 4 (speed).

# %% tags=["setup"]
# setup

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from ipywidgets import FloatSlider, interact

from iasa.paths import WEIGHTS
from iasa.config import MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import concat_keypoints, fill_latent, load_keypoints, pool_to_latent
from iasa.masks import AttentionPlan, make_plan

plt.style.use(root / "notebooks" / "course.mplstyle")
video = concat_keypoints(*(load_keypoints(root / "iasa" / "assets" / "poses" / f"{name}.npz") for name in ("welcome", "library")))
poses = pool_to_latent(fill_latent(video))
plan = make_plan(poses, TokenGrid(len(poses)))
frames = np.arange(len(poses))
ours = np.array([256 * (1 + (t > 0)) + len(plan.past_tokens(t)) for t in frames])
fig, axis = plt.subplots(figsize=(9, 3.8))  # show
axis.plot(frames / 12.5, 256 * (frames + 1), "--", label="dense, causal: everything so far")
axis.plot(frames / 12.5, ours, label="ours: own frame, reference, chosen regions")
axis.set(xlabel="time in the video (s)", ylabel="keys read for a frame", yscale="log", ylim=(100, 1e5))
axis.legend()
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

# %%
def held_frames(table):
    """Frames whose keys are still needed after each frame."""
    use = {past: t for t, row in enumerate(table.tolist()) for past in row if past >= 0}
    return [sum(past <= t < last for past, last in use.items()) for t in range(len(table))]


fig, axis = plt.subplots(figsize=(9, 3.4))
axis.plot(frames / 12.5, frames, "k:", label="everything")
for reach, style in ((125, "-"), (25, "--")):
    some = make_plan(poses, TokenGrid(len(poses)), MaskOptions(reach=reach))
    axis.plot(frames / 12.5, held_frames(some.frame_table), style, label=f"reach {reach / 12.5:g} s")
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
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.warp.reference_warp import warp_reference
from iasa.models.checkpoint import load_weights
from iasa.avatar.speaker import load_speaker

codec, student = load_weights(Autoencoder, WEIGHTS / "autoencoder"), load_weights(VideoTransformer, WEIGHTS / "student")
speaker = load_speaker("bruno")


@torch.inference_mode()
def make_condition(clip):
    """What the student is told of the reference (frame 0) and of each latent frame of a clip of poses."""
    still = speaker.keypoints[np.zeros(2, int)]
    image = torch.from_numpy(speaker.image.copy()).movedim(-1, 0)[None] / 127.5 - 1
    xy, seen = torch.from_numpy(clip.xy)[None], torch.from_numpy(clip.confidence)[None]
    still_xy, still_seen = torch.from_numpy(still.xy)[None], torch.from_numpy(still.confidence)[None]
    warped = warp_reference(image, still_xy[:, 0], still_seen[:, 0], xy, seen)
    base = codec.encode(torch.cat([image[None].expand(1, 2, -1, -1, -1), warped], 1))
    both = [torch.cat(pair, 1).unflatten(1, (-1, 2)) for pair in ((still_xy, xy), (still_seen, seen))]
    return student.condition(base, image, *both)

# %%
length = 4 if FAST else 36  # latent frames
some = concat_keypoints(speaker.keypoints[np.zeros(2, int)], video[: 2 * length])
sparse = make_plan(pool_to_latent(some), TokenGrid(length + 1))
everything = torch.tensor([[s if 0 < s < t else -1 for s in range(length + 1)] for t in range(length + 1)])
dense = AttentionPlan(sparse.grid, everything, torch.full_like(sparse.region_bits, 31))
condition = make_condition(video[: 2 * length])

# %% [markdown]
# **Predict**: the curves of time per frame. Where do they part? (The linear layers cost the same in both.)

# %%
import time

from iasa.inference.rollout import CausalStudent


def roll_out(some_plan, steps=1):
    """Seconds for every latent frame of a roll-out."""
    generator = torch.Generator().manual_seed(0)
    roll, seconds = CausalStudent(student, condition, some_plan), []
    for _ in range(length):
        start = time.perf_counter()
        roll.next_frame(steps, generator)
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)


took = {"all of the past": roll_out(dense), "our plan": roll_out(sparse)}
fig, axis = plt.subplots(figsize=(9, 3.6))
for (name, seconds), style in zip(took.items(), ("--", "-"), strict=True):
    axis.plot((np.arange(length) + 1) / 12.5, seconds * 1e3, style, label=name)
axis.set(xlabel="time in the video (s)", ylabel="one latent frame (ms)", title="the student's one step, measured here, float32", ylim=0)
axis.legend()
plt.show()

# %% [markdown]
# The curves are jagged: other programs run, memory is allocated, processors change their clocks. How fast is it, then?
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
#
# ### What a frame rate leaves out
# *"25 frames a second"* is not yet a statement. Ask: on which device and number type? at which size, with how many steps? with the decoder and the speech stage, or the network alone? over how long a video? the first run or the tenth? with what else
# running? The paper's 25.31 FPS: one H100, 512 x 512, without input and output (section 4). Ours, above: the network alone, one step, 256 x 256, float32, this machine.
#
# The whole path is another matter. The pipeline streams: poses in, pairs of frames out, its stages in threads of their own. We note *when* each pair is done.

# %%
from iasa.pipeline import CoSpeechPipeline

pipeline = CoSpeechPipeline.from_pretrained(teacher=None)
count = 6 if FAST else 60  # video frames
began, done_at = time.perf_counter(), []
pieces = (video[i : i + 2] for i in range(0, count, 2))
generation = pipeline.stream(image=speaker, keypoints=pieces)  # one denoising step, the default
for pair in generation.frames:
    done_at += [time.perf_counter() - began] * len(pair)
done_at = np.array(done_at)
print(f"first frame after {done_at[0]:.2f} s; {len(done_at) / done_at[-1]:.1f} frames a second in all, decoding included")

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

# %%
def play(speed=20.0, fps=25.0):
    """When frames of a clip of 20 s are done, and when they are shown."""
    done = 0.4 + np.arange(500) / speed
    wait = max(0.0, (done - np.arange(500) / fps).max())
    fig, axis = plt.subplots(figsize=(8, 3.4))
    axis.plot(done, np.arange(500), label="done")
    axis.plot(wait + np.arange(500) / fps, np.arange(500), "--", label="shown")
    axis.set(xlabel="time since the request (s)", ylabel="frame", title=f"{speed:g} frames a second made: play after {wait:.1f} s")
    axis.legend()
    plt.show()


interact(play, speed=FloatSlider(20, min=5, max=40, step=1), fps=FloatSlider(25, min=10, max=30, step=5));

# %%
play(20)
play(26)

# %% [markdown]
# Real time is a threshold. Above it the delay is that of the first frame, for ever; below it the delay grows with the clip, and no buffer saves a live conversation.
#
# ## The neighbours
# Others choose blocks too, but differently. On the student's own queries and keys we compare, **with the same number of blocks**, how much of the attention that goes to past frames each choice keeps:
#
# | choice | how |
# |---|---|
# | ours | by pose, before the network runs, once for all layers and heads |
# | window | blocks of the most recent frames |
# | pooled top-k | by products of mean query and mean key, anew in every layer and head (the choice inside the window of *Sparse Forcing*; SVG2 does it with clusters) |
# | random | a control |
# | oracle | the blocks with the largest true attention: the best there is, and too dear to find |
#
# ## Exercise 5: pooled top-k
# Average queries and keys over each block, multiply the means (divide by $\sqrt d$), and keep for each row its own block and the `keep` best **earlier** ones.
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
# Now the experiment: frames 0.4 s apart, so that poses differ; dense causal attention, whose weights we record. Own frame and reference are left out of the count: all patterns keep them.

# %%
gap, few = 10, 3 if FAST else 10
chosen = np.concatenate([[i, i + 1] for i in range(20, 20 + few * gap, gap)])
clip = video[chosen]
told = make_condition(clip)
whole = concat_keypoints(speaker.keypoints[np.zeros(2, int)], clip)
test_plan = make_plan(pool_to_latent(whole), TokenGrid(few + 1), MaskOptions(top_k=3, window=0))
order, frame_of = test_plan.permutation(), torch.arange(test_plan.grid.tokens) // 256
causal = frame_of[:, None] >= frame_of
recorded = []


def look_on(layer, q, k, v):
    """Dense causal attention over [1, nh, f, n, d], whose sorted queries and keys are kept."""
    q, k, v = (x.flatten(2, 3) for x in (q, k, v))
    recorded.append((q[0][:, order], k[0][:, order]))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=causal).unflatten(2, (few + 1, 256))


noisy = 0.5 * told.base + 0.5 * torch.randn(told.base.shape, generator=torch.Generator().manual_seed(0))
noisy[:, 0] = told.base[:, 0]
levels = torch.tensor([[0.0] + [0.5] * few])
with torch.inference_mode():
    student(noisy, levels, told, look_on)

# %%
BLOCK = 32
blocks = test_plan.grid.tokens // BLOCK
frame = torch.arange(blocks) // (256 // BLOCK)  # of each block
past = (frame[:, None] > frame) & (frame > 0)  # what is chosen among: earlier frames, not the reference
csr = test_plan.block_csr(BLOCK)
mine = torch.zeros(blocks, blocks, dtype=torch.bool)
mine[csr.rows, csr.columns] = True
mine &= past
budget = mine.sum(1)  # blocks that each row may choose


def best(scores):
    """For each row its budget of past blocks with the highest scores."""
    rank = scores.masked_fill(~past, -torch.inf).argsort(1, descending=True).argsort(1)
    return (rank < budget[:, None]) & past


def recalls(q, k):
    """Kept share of one head's attention to past frames, for each choice."""
    logits = (q @ k.T / q.shape[1] ** 0.5).masked_fill(~causal, -torch.inf)
    mass = logits.softmax(1).view(blocks, BLOCK, blocks, BLOCK).sum((1, 3)) * past
    means = [x.view(blocks, BLOCK, -1).mean(1) for x in (q, k)]
    recent, chance = frame + torch.rand(blocks, blocks), torch.rand(blocks, blocks)
    choices = {"ours": mine, "window": best(recent), "pooled top-k": best(means[0] @ means[1].T), "random": best(chance), "oracle": best(mass)}
    return {name: (mass * kept).sum().item() / mass.sum().item() for name, kept in choices.items()}

# %% [markdown]
# **Predict** the order of the five before you run the cell. Ours never looks at queries and keys: can it beat one that does?

# %% tags=["cover"]
torch.manual_seed(0)
with torch.inference_mode():
    results = [recalls(q, k) for layer in recorded for q, k in zip(*layer, strict=True)]
names = list(results[0])
values = np.array([[r[name] for name in names] for r in results]) * 100  # [layers * heads, choices]
plt.figure(figsize=(9, 3.6))
plt.boxplot(values, orientation="horizontal", tick_labels=names, medianprops={"color": "#D55E00"})
plt.gca().invert_yaxis()
plt.xlabel("attention to past frames that is kept (%)")
plt.title(f"{budget.sum() / past.sum():.0%} of the past blocks, {len(values)} heads of all layers")
plt.xlim(0)
plt.show()
print({name: f"{value:.0f} %" for name, value in zip(names, values.mean(0), strict=True)})

# %% [markdown]
# Read it with care. The recall of attention is not the quality of a picture. Ours is chosen once a clip and costs nothing per layer; pooled top-k pays for its choice in every layer, head and step. The student was trained *with* our pattern, which favours it. And
# two neighbours do not fit into this figure: *MonarchRT* is no mask but a factorisation, and *Pyramid Attention Broadcast* reuses outputs between steps, of which a student of one step has none to spare.
#
# ## With care
# A machine that makes a person say anything needs more than speed.
# - **Consent**: make videos only of yourself, or of people who agreed to *this* use.
# - **Disclosure**: say that it is generated. Every file written by the package carries a mark in its metadata. Look:

# %%
import tempfile

from iasa.media.reader import read_metadata
from iasa.media.writer import write_video

film = Path(tempfile.mkdtemp()) / "mark.mp4"
write_video(film, np.zeros((25, 64, 64, 3), np.uint8) + 90)
for key, value in read_metadata(film).items():
    print(f"{key}: {value}")

# %% [markdown]
# - A mark in metadata is removed by the next messenger that re-encodes the file. What would survive? (A visible mark; signed credentials; none of them everything.)
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
# **Back to** [the first notebook](01_a_talking_video_as_tokens.ipynb), or on to the code.
