# %% [markdown]
# # 10 · What the past is for
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/10_what_the_past_is_for.ipynb)
#
# **The question.** Notebook 8 ended with a doubt: on the package's own speakers it hardly matters *which* past frames a network remembers. Of course not: the warped reference shows it
# everything it needs. What if a speaker wears a badge that the reference picture hides? Then the past is the only place to look it up, and remembering the wrong frames has a price. How high is it,
# and does the paper's choice by pose pay it?
#
# **You will be able to**
# - build a task in which memory decides, and say which pixels the past decides;
# - find who showed a detail first, and the frames that an oracle would remember;
# - measure whether a detail stays the same, and whether it is the right one;
# - compare two methods over clips that differ far more than the methods do.
#
# **Time** 50 minutes. **Needs** notebooks 2 and 5. No GPU. **Paper** [arXiv 2510.02617](https://arxiv.org/abs/2510.02617), section 3.2 (the choice of frames).

# %% tags=["setup"]
# setup

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from ipywidgets import IntSlider, interact

from iasa.avatar.details import DETAILS
from iasa.config import HELDOUT_IDENTITY
from iasa.training.memory_data import RATE, MemoryClip, make_clip

plt.style.use(root / "notebooks" / "course.mplstyle")
length = 12 if FAST else 36  # frames, 2.5 a second


def make(seed):
    """A speaker nobody has trained on."""
    frames, warped, masks, xy, confidence = make_clip(HELDOUT_IDENTITY + seed, length)
    bits = np.packbits(masks.reshape(*masks.shape[:2], -1), axis=-1)
    return MemoryClip(frames, warped, bits, xy, confidence)


clip = make(1)

# %%
fig, axes = plt.subplots(2, 6, figsize=(10, 3.6))
most = np.sort(np.argsort(clip.masks.sum((1, 2, 3)))[-5:])  # frames in which most is to be seen
for column, t in zip(axes.T, [0, *most], strict=True):
    for axis, picture in zip(column, (clip.frames[t], clip.warped[t]), strict=True):
        axis.imshow(picture)
        axis.axis("off")
    column[0].set_title("reference" if t == 0 else f"{t / RATE:.1f} s", fontsize=11)
fig.suptitle("above: the speaker; below: the reference, warped to each pose")
plt.show()

# %% [markdown]
# ## Things that the reference hides
# Five details are drawn at random for every speaker: a print behind the folded hands, a mark in one palm, a watch and a coloured lining under the sleeves, a clip in the hair. The reference shows none of
# them. The speaker shows them, covers them, and shows them again seconds later. The first time, nothing tells what the badge looks like: a network can only invent it. **The second time, the past decides.**
#
# We know every detail's pixels exactly, for we drew them: `clip.masks` is `[f, 5, H, W]`, and their sums are the areas $a_{t,d}$.
#
# ## Exercise 1: who showed it first?
# A frame *shows* detail $d$ if at least $\ell_d$ of its pixels are seen. The earliest frame up to $t$ that did:
#
# $$ \text{first}_{t,d} = \min \{\, s \le t : a_{s,d} \ge \ell_d \,\}, \qquad -1 \text{ if there is none.} $$
#
# | | |
# |---|---|
# | `areas` | int array `[f, d]`, pixels of each detail in each frame |
# | `least` | array `[d]` |
# | returns | int array `[f, d]` |


# %% tags=["exercise"]
def first_shown(areas: np.ndarray, least: np.ndarray) -> np.ndarray:
    """The earliest frame, up to each, that showed enough of each detail, else -1."""
    ### BEGIN SOLUTION
    seen, rows = areas >= least, []
    for t in range(len(areas)):
        rows.append(np.where(seen[: t + 1].any(0), seen[: t + 1].argmax(0), -1))
    return np.stack(rows)
    ### END SOLUTION


# %% tags=["check"]
from iasa.teaching import check_first_shown

check_first_shown(first_shown)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `seen = areas >= least` is boolean `[f, d]`; `seen[: t + 1].argmax(0)` is the first True of each column, and 0 where there is none, so ask `any(0)` too.
# </details>
#
# **Predict**: of the frames that show a detail, how many show one that an earlier frame has shown already? (The rest must be invented.)
#
# <details><summary>Answer</summary>
#
# Most: every detail has one first showing, and several later ones of some frames each. That is what makes this a bed for memory: in
# the later ones a network that remembers can be right, and one that does not is only guessing.
# </details>

# %%
from iasa.metrics.memory_quality import least_area
from iasa.teaching import yours

areas = clip.masks.sum((-2, -1))  # [1 + f, 5]
least = least_area(areas)
first = yours(first_shown)(areas, least)
shown = areas >= least
again = shown & (first >= 0) & (first < np.arange(len(areas))[:, None])
fig, axis = plt.subplots(figsize=(9, 2.6))
for d, name in enumerate(DETAILS):
    for style, where in (("o", shown[:, d] & ~again[:, d]), ("s", again[:, d])):
        color = "#D55E00" if style == "o" else "#0072B2"
        axis.plot(np.flatnonzero(where) / RATE, np.full(where.sum(), d), style, color=color)
axis.set(yticks=range(5), yticklabels=DETAILS, xlabel="time in the clip (s)", ylim=(-0.5, 4.5))
axis.set_title("orange discs: shown for the first time; blue squares: seen before")
plt.show()
print(f"{shown.sum()} showings of a detail in a frame, {again.sum()} of something seen before")

# %% [markdown]
# ## What should be remembered?
# If we could ask the masks, we would remember for frame $t$ those past frames that show what it will show. Such an **oracle** is of no use in practice, and of great use in an experiment: it says how much a choice of frames *can* bring.
#
# ## Exercise 2: the oracle's frames
# Begin with nothing covered, $c_d = 0$. Then $k$ times: take the past frame that adds most,
#
# $$ s^* = \arg\max_{0 < s < t} \sum_d \max\big(0,\; \min(a_{s,d}, a_{t,d}) - c_d\big), \qquad c_d \leftarrow \max\big(c_d, \min(a_{s^*,d}, a_{t,d})\big), $$
#
# among equals the later one. Frame 0, the reference, is seen by all frames and never chosen.
#
# | | |
# |---|---|
# | `areas` | int array `[f, d]` |
# | `frame`, `k` | ints |
# | returns | int array `[k]`: the chosen frames in order, -1 where there are no more |


# %% tags=["exercise"]
def oracle_frames(areas: np.ndarray, frame: int, k: int) -> np.ndarray:
    """Past frames that together show most of what `frame` shows: int [k], -1 pads."""
    ### BEGIN SOLUTION
    row = np.full(k, -1)
    left, covered = list(range(frame - 1, 0, -1)), np.zeros(areas.shape[1])  # the later first
    for place in range(min(k, len(left))):
        found = {s: np.minimum(areas[s], areas[frame]) for s in left}
        gains = [np.maximum(found[s] - covered, 0).sum() for s in left]
        best = left.pop(int(np.argmax(gains)))
        covered, row[place] = np.maximum(covered, found[best]), best
    return row
    ### END SOLUTION


# %% tags=["check"]
from iasa.teaching import check_oracle_frames

check_oracle_frames(oracle_frames)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `np.minimum(areas[s], areas[frame])` is what frame `s` shows of what is needed. Go through the past from the latest frame on: `argmax` takes the first of equals.
# </details>
#
# Now the choices themselves, without any network: what share of the pixels that are needed does each memory of $K$ frames hold?
#
# **Predict** the order of: the frames alike by pose, the last ones, random ones, the *least* alike, the oracle's. (Think of what the body does when a palm is shown.)
#
# <details><summary>Answer</summary>
#
# With one frame in memory: oracle 96 %, pose 93 %, last 68 %, random 25 %, least alike 8 %. A body that shows its palm stands as it did when
# it showed the palm before: pose *is* the index of what can be seen. The last frame is right while a showing goes on, and of no use at its beginning. With $K = 8$ even random frames hit.
# </details>

# %%
from iasa.evaluation.memory_report import later_showings
from iasa.keypoints import Keypoints
from iasa.masks.frame_choice import choose_frames

CHOICES = ("oracle", "pose", "last", "random", "unlike")


def table(clip, choice, k):
    """Frames that each frame remembers, of 10 s: int [1 + f, k], -1 pads."""
    areas = clip.masks.sum((-2, -1))
    if choice == "oracle":
        return np.stack([yours(oracle_frames)(areas, t, k) for t in range(len(areas))])
    return choose_frames(choice, Keypoints(clip.xy, clip.confidence, RATE), k, 25).numpy()


def covered(clip, choice, k):
    """Share of the details' pixels in later showings that the memory holds."""
    areas, needed, held = clip.masks.sum((-2, -1)), 0, 0
    for t in later_showings(clip):
        rows = [np.minimum(areas[s], areas[t]) for s in table(clip, choice, k)[t] if s > 0]
        needed, held = needed + areas[t].sum(), held + np.max([*rows, 0 * areas[t]], 0).sum()
    return held / max(needed, 1)


clips = [clip, *(make(seed) for seed in range(2, 3 if FAST else 9))]

# %% tags=["cover"]
sizes = (1, 2, 4, 8)
fig, axis = plt.subplots(figsize=(8, 3.8))
shares = {c: [np.mean([covered(one, c, k) for one in clips]) for k in sizes] for c in CHOICES}
for (choice, values), style in zip(shares.items(), ("k:", "-", "--", "-.", ":"), strict=True):
    axis.plot(range(4), np.array(values) * 100, style, marker="o", label=choice)
axis.set(xticks=range(4), xticklabels=sizes, xlabel="frames remembered, K", ylim=(0, 100))
axis.set_ylabel("needed pixels in memory (%)")
axis.set_title(f"what a memory of K frames holds ({len(clips)} speakers)")
axis.legend()
plt.show()
print({choice: f"{values[0]:.0%} with one frame" for choice, values in shares.items()})
if not FAST:
    assert shares["oracle"][0] > shares["pose"][0] > shares["last"][0] > shares["unlike"][0]

# %% [markdown]
# ## Ask a network
# The package holds a small teacher for this bed (128 x 128 pixels, 64 tokens a frame, trained on drawn speakers whose details were others). It learned with *random* memories, so that one network stands for every choice. We hand it true frames to remember and let it draw
# a later showing from noise: nothing but the choice differs.

# %%
from iasa.evaluation.memory_report import draw_targets, whole_window
from iasa.grid import TokenGrid
from iasa.inference.remembered import RememberedFrames
from iasa.masks import AttentionPlan
from iasa.models.checkpoint import find_weights, load_weights
from iasa.models.patch_codec import PatchCodec
from iasa.models.transformer import VideoTransformer
from iasa.training.memory_stages import make_condition, whole_frames

teacher = load_weights(VideoTransformer, find_weights(None, "memory_teacher")).requires_grad_(False)
codec = load_weights(PatchCodec, find_weights(None, "memory_codec")).requires_grad_(False)


class Memory:
    """One clip's true frames as keys; frames are drawn under any table of remembered frames."""

    def __init__(self, clip):
        self.clip, self.window = clip, whole_window(clip, codec, prior=True)
        condition = make_condition(teacher, self.window)
        self.keys = RememberedFrames(teacher, condition, self.window.latents[:, 1:])

    def draw(self, table, targets, seed=0):
        """uint8 [len(targets), 128, 128, 3]."""
        plan = whole_frames(self.window, torch.as_tensor(np.asarray(table)))
        return draw_targets(self.keys, codec, self.window, plan, targets, seed)


# %% [markdown]
# **Predict**: here is one later showing, drawn with a memory of one frame by each choice. Which pictures have the right badge, and what do the others have in its place?
#
# <details><summary>Answer</summary>
#
# The oracle's and the pose's: a ring with a square in it, speckled, for the network is small (46 minutes of one core). The others print a dark
# spot: they know from their training that *something* is printed there, and not what.
# </details>

# %%
memory, targets = Memory(clip), later_showings(clip)
target = max(targets, key=lambda t: areas[t, 0])  # where most of the badge is seen again


def near(picture, half=22):
    """The pixels around the badge in the target frame."""
    y, x = (int(places.mean()) for places in np.nonzero(clip.masks[target, 0]))
    return picture[y - half : y + half, x - half : x + half]


fig, axes = plt.subplots(1, 6, figsize=(11, 2.4))
axes[0].imshow(near(clip.frames[target]))
axes[0].set_title(f"truth, {target / RATE:.1f} s", fontsize=11)
for axis, choice in zip(axes[1:], CHOICES, strict=True):
    rows = table(clip, choice, 1)
    axis.imshow(near(memory.draw(rows, [target])[0]))
    axis.set_title(f"{choice}: {rows[target, 0] / RATE:.1f} s", fontsize=11)
for axis in axes:
    axis.axis("off")
plt.show()

# %% [markdown]
# Choose by hand. Which single frame serves best? (Frame numbers; 2.5 frames a second.)


# %%
def remember(frame=1):
    """The target, drawn with one frame in memory; that frame; the truth."""
    rows = np.full((len(clip.frames), 1), -1)
    rows[target] = min(frame, target - 1)
    pictures = (clip.frames[rows[target, 0]], memory.draw(rows, [target])[0], clip.frames[target])
    fig, axes = plt.subplots(1, 3, figsize=(7, 2.5))
    titles = (f"remembered: {rows[target, 0] / RATE:.1f} s", "drawn", "truth")
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        axis.imshow(picture)
        axis.set_title(title, fontsize=11)
        axis.axis("off")
    plt.show()


interact(remember, frame=IntSlider(1, min=1, max=length - 1));
# %%
remember(int(first[target, 0]))

# %% [markdown]
# ## The same badge, or the right badge?
# A film is spoiled if a badge changes between two showings, even where nobody knows what it should be. Two questions, two figures: **fidelity** (is it the true one? PSNR inside the pixels that the past decides) and **consistency** (is it
# the one of its first showing?). For the second we describe a detail by mean colours in $4 \times 4$ cells of its box, a *look* of 16 colours.
#
# ## Exercise 3: how much does a detail change?
# $$ \text{change} = \frac{1}{S - 1} \sum_{i = 1}^{S - 1} \sqrt{ \frac{1}{3C} \sum_{c, r} \big( x_{i,c,r} - x_{0,c,r} \big)^2 } $$
#
# | | |
# |---|---|
# | `looks` | float array `[s, c, 3]`: the detail in each of its showings, in order |
# | returns | float, grey levels |


# %% tags=["exercise"]
def detail_change(looks: np.ndarray) -> float:
    """Root mean square difference of each later showing from the first one, mean over showings."""
    ### BEGIN SOLUTION
    return float(np.sqrt(((looks[1:] - looks[0]) ** 2).mean((1, 2))).mean())
    ### END SOLUTION


# %% tags=["check"]
from iasa.teaching import check_detail_change

check_detail_change(detail_change)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `looks[1:] - looks[0]` is `[s - 1, c, 3]`; square, mean over the last two axes, root, mean.
# </details>
#
# Now the teacher makes whole clips, frame after frame, and remembers **its own** frames. **Predict**: under which memory does the badge stay the same? Does the same answer hold as with true frames in memory?
#
# <details><summary>Answer</summary>
#
# By pose as little as under the oracle: some 30 grey levels (the truth itself changes by 8, as light and size do); the last frames 51. Look at the
# least alike: 40. Who draws the same dull spot twice is consistent, and wrong both times. Consistency is not fidelity: measure both.
# </details>

# %%
from iasa.masks.frame_choice import showings
from iasa.metrics.memory_quality import describe_detail
from iasa.training.datasets import to_pictures
from iasa.training.memory_stages import sample_rolled_euler


def roll(memory, choice, k=4):
    """The teacher's own film under one choice: uint8 [1 + f, 128, 128, 3], the reference first."""
    plan = whole_frames(memory.window, torch.as_tensor(table(memory.clip, choice, k)))
    torch.manual_seed(0)
    made = sample_rolled_euler(teacher, memory.window, [plan], 1 if FAST else 4)
    return np.concatenate([memory.clip.frames[:1], to_pictures(codec.decode(made))[0]])


def looks_of(pictures, d):
    """A detail in the frame of each showing that has most of it: [s, 16, 3]; these frames."""
    runs = showings(areas[:, d], least[d])
    peaks = [a + int(areas[a:b, d].argmax()) for a, b in runs]
    looks = [describe_detail(pictures[t], clip.masks[t, d]).reshape(-1, 3) for t in peaks]
    both = np.isfinite(looks).all((0, 2))
    return np.stack(looks)[:, both], peaks


# %%
films = {"truth": clip.frames} | {c: roll(memory, c) for c in ("oracle", "pose", "last", "unlike")}
changes = {name: yours(detail_change)(looks_of(film, 0)[0]) for name, film in films.items()}
_, peaks = looks_of(clip.frames, 0)
fig, axes = plt.subplots(len(peaks), 5, figsize=(10, 2.2 * len(peaks)), squeeze=False)
for column, (name, film) in zip(axes.T, films.items(), strict=True):
    for axis, t in zip(column, peaks, strict=True):
        axis.imshow(near(film[t]))
        axis.axis("off")
        axis.set_title(f"{t / RATE:.1f} s", fontsize=10)
    column[0].set_title(f"{name}: change {changes[name]:.0f}", fontsize=10)
plt.tight_layout()
plt.show()
if not FAST:
    assert changes["truth"] < changes["pose"] < changes["last"]

# %% [markdown]
# ## One clip is no evidence
# Another speaker, other gestures, another result. Badges are large or small, bright or dull: clips differ far more than methods do. The remedy is to compare **on the same clips**: take the difference on each clip, and ask how far its mean would move had we drawn other clips.
#
# ## Exercise 4: a paired interval
# Draw $n$ clips with replacement $m$ times (row $i$ of `draws` holds their numbers), take the mean difference of each draw, and leave 2.5 % of these means out at either end:
#
# $$ \bar\delta_i = \frac1n \sum_j \big( a - b \big)_{\text{draws}_{ij}}, \qquad [\, Q_{0.025}(\bar\delta),\; Q_{0.975}(\bar\delta) \,]. $$
#
# | | |
# |---|---|
# | `a`, `b` | float arrays `[n]`: a figure of both methods on the same clips |
# | `draws` | int array `[m, n]` |
# | returns | (low, high), floats |


# %% tags=["exercise"]
def paired_interval(a: np.ndarray, b: np.ndarray, draws: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of a - b."""
    ### BEGIN SOLUTION
    means = (a - b)[draws].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
    ### END SOLUTION


# %% tags=["check"]
from iasa.teaching import check_paired_interval

check_paired_interval(paired_interval)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `(a - b)[draws]` is `[m, n]`. Drawing `a` and `b` apart would let the clips' own differences back in.
# </details>
#
# **Predict**: with eight speakers, whose differences from the choice by pose will have an interval that leaves zero out?
#
# <details><summary>Answer</summary>
#
# The last, random and least alike frames lose by intervals without zero; from the oracle the pose's choice cannot be told apart. One speaker
# of eight gains over 3 dB from the pose, two nothing: had you drawn only those two, you would have believed the opposite.
# </details>

# %%
from iasa.metrics.memory_quality import decided_by_past, psnr_inside


def fidelity(memory, choice, k=1):
    """PSNR (dB) of later showings inside the pixels that the past decides."""
    at = later_showings(memory.clip)
    made = memory.draw(table(memory.clip, choice, k), at)
    return psnr_inside(made, memory.clip.frames[at], decided_by_past(memory.clip.masks)[at])


memories = [memory, *(Memory(other) for other in clips[1:])]
scores = {c: np.array([fidelity(m, c) for m in memories]) for c in CHOICES}
draws = np.random.default_rng(0).integers(len(clips), size=(2000, len(clips)))
for choice in CHOICES:
    low, high = yours(paired_interval)(scores["pose"], scores[choice], draws)
    mean = scores[choice].mean()
    print(f"{choice:7s} {mean:5.2f} dB; pose is better by [{low:+.2f}, {high:+.2f}] dB")

# %%
fig, axis = plt.subplots(figsize=(8, 3.4))
for place, choice in enumerate(CHOICES):
    difference = scores["pose"] - scores[choice]
    axis.plot(difference, np.full(len(clips), place), "o", color="#999999")
    low, high = yours(paired_interval)(scores["pose"], scores[choice], draws)
    axis.plot([low, high], [place, place], "-", color="#D55E00", lw=4, alpha=0.7)
axis.axvline(0, color="black", lw=1)
axis.set(yticks=range(5), yticklabels=CHOICES, xlabel="fidelity: pose minus this choice (dB)")
axis.set_title("a point for each speaker; bars: 95 % of the mean")
axis.invert_yaxis()
plt.show()
if not FAST:
    for choice, least_gain in (("last", 0.0), ("random", 1.0), ("unlike", 1.0)):
        low, _ = paired_interval(scores["pose"], scores[choice], draws)
        assert low > least_gain, choice
    assert abs(scores["pose"] - scores["oracle"]).mean() < 0.3

# %% [markdown]
# Over 64 speakers ([docs/results/memory.md](../docs/results/memory.md)) one frame by pose is better than the last one by +0.88 [+0.63, +1.13] dB, and
# than a random one by +1.99 [+1.74, +2.26]. Two things did *not* come out: the rigid alignment in S brings nothing here (nobody moves the camera), and on its own frames the
# teacher is no more consistent by pose than with random ones, for its badges are poor everywhere.
#
# ## Summary
# - A task in which memory decides: [iasa/avatar/details.py](../iasa/avatar/details.py), [iasa/motion/showings.py](../iasa/motion/showings.py), [iasa/training/memory_data.py](../iasa/training/memory_data.py).
# - Choices of frames and tokens: [`choose_frames`, `plan_choice` in iasa/masks/frame_choice.py](../iasa/masks/frame_choice.py).
# - Consistency, fidelity, drift, diversity: [iasa/metrics/memory_quality.py](../iasa/metrics/memory_quality.py); the whole report: `python -m iasa evaluate --memory RUN`.
# - How it is trained: [docs/training.md](../docs/training.md), "Memory bed".
#
# ## Further questions
# 1. The choice by pose compares all of the upper body at once. Find a frame in which it fails, and say what a choice by hands alone would have chosen.
# 2. An oracle that sees the masks is greedy. Construct areas for which a greedy choice of two frames is not the best pair.
# 3. A badge that nobody has seen must be invented. Should ten runs invent ten badges? Which figure of the package asks this?
# 4. The teacher was trained on random memories. What would change had it been trained on memories by pose alone, and which of our comparisons would then be unfair?
#
# **Back to** [real time](08_real_time.ipynb), or on to the code.
