# %% [markdown]
# # 2 · Which frames matter?
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/02_which_frames_matter.ipynb)
#
# **The question.** You are drawing a talking person, picture by picture. Your desk has room for *four* of the pictures
# that you have already drawn. Which four do you keep in view while you draw the next one: the last four, or others?
#
# **You will be able to**
# - align one pose with another by the best rotation and shift, in closed form (Procrustes);
# - compute the paper's similarity $S(t_q, t_k)$ for all pairs of frames and say why the rigid fit is in it;
# - choose the $K$ most similar *past* frames, and turn the choice into the global mask;
# - predict how few frame pairs are left, and check it.
#
# **Time** 45 minutes. **Needs** Python, vectors and matrices. No GPU. **Paper** [arXiv 2510.02617](https://arxiv.org/abs/2510.02617), section 3.2, global mask; the fit is the
# *orthogonal Procrustes* problem ([Umeyama 1991](https://doi.org/10.1109/34.88573)).

# %% tags=["setup"]
# setup

# %%
import matplotlib.pyplot as plt
import numpy as np
from ipywidgets import FloatSlider, IntSlider, interact

from iasa.keypoints import UPPER_BODY, fill_latent, load_keypoints, pool_to_latent
from iasa.paths import POSES
from iasa.pose.skeleton import draw_pose

plt.style.use(root / "notebooks" / "course.mplstyle")
video = load_keypoints(POSES / "welcome.npz")  # 25 poses a second
poses = pool_to_latent(fill_latent(video))  # one pose for each latent frame, 12.5 a second


def show_strip(frames, titles, poses=poses):
    """Skeletons side by side."""
    fig, axes = plt.subplots(1, len(frames), figsize=(1.9 * len(frames), 2.3))
    images = draw_pose(poses[np.array(frames)], 280)
    for axis, image, title in zip(axes, images, titles, strict=True):
        axis.imshow(image)
        axis.set_title(title, fontsize=12)
        axis.axis("off")
    plt.show()


show_strip(range(30, 55, 6), [f"frame {t}" for t in range(30, 55, 6)])

# %% [markdown]
# These are the poses of someone saying *"Hello, and welcome to our little show..."* (a drawn speaker; the clip is
# `iasa/assets/speech/welcome.mp3`). The video model makes two pictures at a time, so we work with **latent frames**, 12.5 a
# second; each has one pose.
#
# Full attention would let every frame look at every other. The paper's **global mask** keeps, for each frame, the $K$ past
# frames whose *pose* is most like its own. The poses are known before a single picture is drawn: so is the mask.
#
# A pose has 133 points. For the comparison the paper takes $B$ upper-body points (it does not say which). We take the 19 below.

# %%
points = poses.xy[:, list(UPPER_BODY)].astype(float)  # [f, p, 2], picture widths: x right, y down
print(f"{len(points)} latent frames of {points.shape[1]} points")

fig, axis = plt.subplots(figsize=(4.6, 4.4))
axis.imshow(draw_pose(poses[50:51], 400)[0], extent=(0, 1, 1, 0))
axis.scatter(*points[50].T, s=30, color="#E69F00", edgecolor="black", zorder=3)
axis.set(xlabel="x (picture widths)", ylabel="y (picture widths)", title="the points we compare")
plt.show()

# %% [markdown]
# ## A first try: subtract
#
# The simplest distance of two poses is the norm of their difference, $\lVert P_q - P_k \rVert$.
#
# **Predict** before you run the next cell: a person leans 5 % of the picture's width to the left, and the hands keep their
# gesture. Another person stays and lifts one hand by the same 5 %. Which pose counts as *further* from the start?
#
# <details><summary>Answer</summary>
#
# The lean, by a factor of two: all 19 points move by 0.05 ($0.05\sqrt{19} = 0.22$), while the lifted hand moves five of them
# ($0.05\sqrt{5} = 0.11$). The distance counts moved points, not changed gestures.
# </details>

# %%
start = points[50]
lean = start - np.array([0.05, 0.0])  # everything moves
lift = start.copy()
lift[-5:, 1] -= 0.05  # only the right fingertips move

names = ["leaned, same gesture", "one hand lifted"]
plain = [np.linalg.norm(start - other) for other in (lean, lift)]
fig, axis = plt.subplots(figsize=(8, 2.4))
axis.barh(names, plain, color=["#0072B2", "#E69F00"])
axis.set(xlabel="plain distance (picture widths)", title="plain differences punish the lean")
plt.show()

# %% [markdown]
# The lean counts more, although the leaned picture is nearly the same drawing, moved: exactly the picture you would like to copy
# from. The paper therefore allows a **rigid motion** $\tau$ (a rotation and a shift) before it measures:
#
# $$ S(t_q, t_k) \;=\; \min_{\tau\ \text{rigid}} \; \lVert P_{t_q} - \tau(P_{t_k}) \rVert_2 . $$
#
# ### The best motion in closed form
# Let $\bar a_i = a_i - \text{mean}(a)$ and $\bar b_i$ be the centred source and target points. The angle that turns the source
# best onto the target is
#
# $$ \theta = \operatorname{atan2}\Big(\sum_i \bar a_i \times \bar b_i,\; \sum_i \bar a_i \cdot \bar b_i\Big),
# \qquad a \times b = a_x b_y - a_y b_x , $$
#
# $$ R = \begin{pmatrix} \cos\theta & -\sin\theta \\ \sin\theta & \cos\theta \end{pmatrix}, \qquad
# \text{shift} = \text{mean}(b) - R\,\text{mean}(a) . $$
#
# ## Exercise 1: the best rigid motion
# Write `rigid_fit(source, target)`.
#
# | | |
# |---|---|
# | `source`, `target` | float arrays `[p, 2]` |
# | returns | `(R, shift)`, float `[2, 2]` and `[2]`, so that `source @ R.T + shift` is as near to `target` as it gets |

# %% tags=["exercise"]
def rigid_fit(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation [2, 2] and shift [2] that carry source [p, 2] onto target [p, 2] best."""
    ### BEGIN SOLUTION
    a, b = source - source.mean(0), target - target.mean(0)
    cross = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
    angle = np.arctan2(cross, (a * b).sum())
    R = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return R, target.mean(0) - R @ source.mean(0)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_rigid_fit

check_rigid_fit(rigid_fit)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Five lines: centre both; the sum of cross products; the sum of dot products; the angle by `np.arctan2(cross, dot)`; the matrix.
# The check says which property fails. A common slip is to turn the target onto the source: then the angle has the wrong sign.
# </details>
#
# Look at what your motion does. The grey pose, frame 50 after a step to the side and a tilt, is carried onto frame 60. **Predict**: which
# points will not meet, however well you turn and shift?
#
# <details><summary>Answer</summary>
#
# Those of the arms and hands. A rigid motion moves the whole body as one piece, so it can undo the step and the tilt, but not a
# bent elbow. The red lines that are left are the gesture.
# </details>

# %% tags=["check"]
tilted = points[50] @ np.array([[0.95, 0.31], [-0.31, 0.95]]) + np.array([0.3, -0.1])
R, shift = rigid_fit(tilted, points[60])
moved = tilted @ R.T + shift

fig, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True)
titles = ("before", "after the best rigid motion")
for axis, source, title in zip(axes, (tilted, moved), titles, strict=True):
    for a, b in zip(source, points[60], strict=True):
        axis.plot(*np.stack([a, b]).T, color="#D55E00", linewidth=1)
    axis.scatter(*source.T, color="grey", label="frame 50, moved")
    axis.scatter(*points[60].T, color="#0072B2", label="frame 60")
    axis.set(title=title, xlabel="x (picture widths)", ylabel="y (picture widths)")
axes[0].invert_yaxis()
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
plt.show()

# %% [markdown]
# ## Exercise 2: the pose distance
# What is left after the fit is $S$. Write `pose_distance(p, q)`: move `q` onto `p` in the best way and return the norm of all
# remaining differences, $\sqrt{\sum_i \lVert p_i - \tau(q_i) \rVert^2}$. You may call your `rigid_fit`.
#
# | | |
# |---|---|
# | `p`, `q` | float arrays `[p, 2]` |
# | returns | a float: 0 if the poses differ by a rigid motion only |

# %% tags=["exercise"]
def pose_distance(p: np.ndarray, q: np.ndarray) -> float:
    """S(p, q), the norm of what no rigid motion of q can remove."""
    ### BEGIN SOLUTION
    a, b = p - p.mean(0), q - q.mean(0)
    cross = (b[:, 0] * a[:, 1] - b[:, 1] * a[:, 0]).sum()
    kept = (a**2).sum() + (b**2).sum() - 2 * np.hypot(cross, (a * b).sum())
    return float(np.sqrt(max(kept, 0.0)))
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_pose_distance

check_pose_distance(pose_distance)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `R, shift = rigid_fit(q, p)`, then `np.linalg.norm(p - q @ R.T - shift)`. The solution shows a shorter way that needs no angle at all:
# the residual is $\sum|\bar a|^2 + \sum|\bar b|^2 - 2\sqrt{\text{cross}^2 + \text{dot}^2}$. With points as complex numbers that root
# is one absolute value, and all pairs of frames come from one matrix product: this is how the package does it.
# </details>
#
# ### Play: turn and shift a pose
# **Predict**: as you move the sliders, what happens to the plain distance, and what to $S$?
#
# <details><summary>Answer</summary>
#
# The plain distance grows with both sliders; $S$ does not move at all. Turning and shifting is exactly what the minimum over
# $\tau$ removes.
# </details>

# %%
import torch

from iasa.masks.similarity import past_distance, rigid_distance


def compare_moved(turn=0.0, shift=0.0):
    """Plain and rigid distance of pose 50 to a moved copy of pose 20."""
    angle = np.deg2rad(turn)
    R = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    other = points[20] @ R.T + np.array([shift, 0.0])
    S = past_distance(torch.from_numpy(points[50]), torch.from_numpy(other[None])).item()
    fig, axis = plt.subplots(figsize=(8, 2.2))
    values = [S, np.linalg.norm(points[50] - other)]
    axis.barh(["S: after rigid fit", "plain difference"], values, color=["#0072B2", "#E69F00"])
    axis.set(xlim=(0, 4), xlabel="distance (picture widths)")
    axis.set_title(f"frame 20 turned by {turn:.0f} degrees, shifted by {shift:.2f}")
    plt.show()


turns, shifts = FloatSlider(0, min=-60, max=60), FloatSlider(0, min=-0.5, max=0.5, step=0.05)
interact(compare_moved, turn=turns, shift=shifts);

# %%
compare_moved(turn=30, shift=0.2)  # the same figure for readers without a running kernel

# %% [markdown]
# $S$ does not move at all: it sees the *shape* of the pose only.
#
# ## All pairs at once
# Here is $S$ for every pair of frames of the clip. **Predict** before you run it: the diagonal is 0. Is the pixel next to it always
# the darkest of its row, that is, is the frame just before always the most similar one? What would a repeated gesture look like?
#
# <details><summary>Answer</summary>
#
# In four rows of five the frame just before is the nearest; in the rest an older frame is. A gesture that is repeated shows as a
# dark line parallel to the diagonal, a posture that is taken up again as a dark square.
# </details>

# %% tags=["cover"]
from iasa.teaching import yours

distance = yours(pose_distance)
S = np.array([[distance(p, q) for q in points] for p in points])  # [f, f]

fig, axes = plt.subplots(1, 2, figsize=(10, 4.6), width_ratios=[1, 1.2])
image = axes[0].imshow(S)
axes[0].set(xlabel="key frame $t_k$", ylabel="query frame $t_q$", title="pose distance S")
fig.colorbar(image, ax=axes[0], location="bottom", label="S (picture widths)")
query = 76
axes[1].plot(np.arange(query), S[query, :query])
axes[1].set(xlabel="past frame $t_k$", ylabel="S (picture widths)", title=f"row of frame {query}")
plt.show()

# %% [markdown]
# (This took 12,321 calls of your function. The package's `rigid_distance` gets all pairs from one matrix product.)
#
# The dark squares off the diagonal are **returns**: the speaker comes back to a posture held seconds ago. A sliding window
# of the last few frames cannot use them; a choice by pose can.
#
# ## Exercise 3: choose the past
# Write `choose_past(S, k)`. Row $t$ holds the numbers of the $k$ frames $t_k < t$ with the smallest $S(t, t_k)$, nearest first.
# Early frames have fewer than $k$ past frames: fill the rest with $-1$.
#
# $$ \text{table}_t = \big(\operatorname{argsort}_{t_k < t} S(t, t_k)\big)_{1 \dots k} . $$
#
# | | |
# |---|---|
# | `S` | float array `[f, f]` |
# | `k` | int, 0 or more |
# | returns | int array `[f, k]` |

# %% tags=["exercise"]
def choose_past(S: np.ndarray, k: int) -> np.ndarray:
    """The k most similar past frames of every frame, nearest first, padded with -1: int [f, k]."""
    ### BEGIN SOLUTION
    table = np.full((len(S), k), -1)
    for t in range(len(S)):
        nearest = np.argsort(S[t, :t])[:k]
        table[t, : len(nearest)] = nearest
    return table
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_choose_past

check_choose_past(choose_past)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `S[t, :t]` is the past of frame $t$: slicing is all the causality there is. `np.argsort(...)[:k]` gives the nearest ones;
# write them into a table made by `np.full((len(S), k), -1)`.
# </details>
#
# ### Which frames were chosen?
# **Predict**: with $K = 4$, what share of the chosen frames is *not* among the last four? A quarter, half, nearly all?
#
# <details><summary>Answer</summary>
#
# About a quarter: 28 %. Seven choices in ten are what a sliding window of four frames would have kept anyway, because a body
# that moves continuously is most like itself a moment ago.
# </details>

# %%
choose = yours(choose_past)
table = choose(S, 4)
frame, place = np.nonzero(table >= 0)
age = (frame - table[frame, place]) / 12.5  # seconds back

fig, axis = plt.subplots(figsize=(8, 3.2))
axis.hist(age, bins=np.arange(0, 9.2, 0.32) + 0.04, color="#0072B2")
axis.axvline(4.5 / 12.5, color="#D55E00", linestyle="--", label="a window of four frames ends here")
axis.set(xlabel="how long ago the chosen frame was (s)", ylabel="chosen frames", title="K = 4")
axis.legend()
plt.show()
recent = (age < 4.5 / 12.5).mean()
print(f"{recent:.0%} of the chosen frames are among the last four, {1 - recent:.0%} are older")

# %%
before = np.mean([S[t, :t].argmin() == t - 1 for t in range(1, len(S))])
assert 0.7 < before < 0.9, "the frame just before is the nearest in four rows of five"
assert 0.65 < recent < 0.8, "seven choices in ten are a sliding window's"

# %% [markdown]
# So on this clip the choice by pose is *mostly* a sliding window, and differs from one where a posture returns. How much that quarter is
# worth depends on the clip and on the network; [notebook 8](08_real_time.ipynb) measures it on the shipped one.
#
# ### Play: choose K and the frame
# Move the sliders: the strip shows the query frame and the frames it keeps.

# %%
def show_choice(query=76, k=4):
    """The query frame, then its k most similar past frames."""
    chosen = [c for c in choose(S, k)[query] if c >= 0]
    titles = [f"query {query}", *(f"{c}: S = {S[query, c]:.2f}" for c in chosen)]
    show_strip([query, *chosen], titles)


interact(show_choice, query=IntSlider(76, min=1, max=len(S) - 1), k=IntSlider(4, min=1, max=8));

# %%
show_choice(query=76, k=5)

# %% [markdown]
# ## Exercise 4: from the table to the global mask
# Now the mask between frames. `mask[tq, tk]` is True where frame $t_q$ may look at frame $t_k$:
# - its own frame, always;
# - frame 0, always: it holds the reference picture of the speaker (our addition to the paper, called the **sink**);
# - the frames in its row of the table. A $-1$ names no frame.
#
# | | |
# |---|---|
# | `table` | int array `[f, k]` |
# | returns | bool array `[f, f]` |

# %% tags=["exercise"]
def frame_mask(table: np.ndarray) -> np.ndarray:
    """Which frames see which: bool [f, f], rows are queries."""
    ### BEGIN SOLUTION
    mask = np.eye(len(table), dtype=bool)
    mask[:, 0] = True
    for t, row in enumerate(table):
        mask[t, row[row >= 0]] = True
    return mask
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_frame_mask

check_frame_mask(frame_mask)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Start from `np.eye(f, dtype=bool)` and set the first column. Beware: `mask[t, -1] = True` is legal Python, and sets the *last*
# frame: the far future. Leave the $-1$ out first.
# </details>
#
# ## How much is left?
# **Predict**: frame $t$ sees itself, frame 0 and $K$ others: $K + 2$ of $f$ frames. With 111 frames and $K = 4$, what
# share of all frame pairs is kept? And for a clip of twice the length?
#
# <details><summary>Answer</summary>
#
# $6/111 = 5.4\,\%$, and half of that for twice the length. The count is a little lower, 5.3 %, because the first frames have
# fewer than $K$ past frames.
# </details>

# %%
visible = yours(frame_mask)(table)
assert visible.mean() < 6 / len(poses)  # (K + 2) / f

fig, axes = plt.subplots(1, 2, figsize=(10, 4))
axes[0].imshow(visible, cmap="Greys")
axes[0].set(xlabel="key frame", ylabel="query frame")
axes[0].set_title(f"the global mask: {visible.mean():.1%} of the pairs")
lengths = np.arange(6, 400)
for k, style in ((2, ":"), (4, "-"), (8, "--")):
    axes[1].loglog(lengths / 12.5, np.minimum(1, (k + 2) / lengths) * 100, style, label=f"K = {k}")
axes[1].set(xlabel="length of the clip (s)", ylabel="frame pairs kept (%)", title="(K + 2) / f")
axes[1].legend()
plt.show()

# %% [markdown]
# Dense attention asks for all $f^2$ pairs, the global mask for about $(K+2) f$: the cost of a frame no longer grows with the length of
# the clip. In the paper's ablation (table of section 4) the global mask alone takes the teacher from 1.93 to 3.28 frames a second; ours,
# per second of one processor core, goes from 2.69 to 3.73 ([docs/results/ablation.md](../docs/results/ablation.md)).
#
# Two things in the package are *ours*, not the paper's: frame 0 as a sink, and a **window** of one frame. By default
# `MaskOptions(window=1)` always adds the frame just before, so that a roll-out never loses the movement under way. In this notebook
# the window is 0, as in the paper.
#
# ## Your own gesture
# Write a gesture as a list of heights of the right hand, one number per latent frame, and see which frames each one chooses. Try a
# wave, a slow rise, or two beats with a pause. **Predict** the picture of its distances before you run the cell: where is it dark?
#
# <details><summary>Answer</summary>
#
# Wherever the hand is at the same height, whichever way it is moving: $S$ sees poses, not velocities. A wave gives a lattice of
# dark lines, parallel to the diagonal (one period earlier) and across it (on the way back). A slow rise gives the diagonal alone.
# </details>

# %%
from iasa.keypoints import RIGHT_ELBOW, RIGHT_HAND, RIGHT_WRIST, Keypoints


def make_gesture(heights):
    """Poses in which the right hand rises by `heights` (picture widths), the elbow by half."""
    xy = np.repeat(poses.xy[:1], len(heights), axis=0)
    heights = np.asarray(heights, np.float32)[:, None]
    xy[:, RIGHT_HAND, 1] -= heights
    xy[:, RIGHT_WRIST, 1] -= heights[:, 0]
    xy[:, RIGHT_ELBOW, 1] -= heights[:, 0] / 2
    return Keypoints(xy, np.repeat(poses.confidence[:1], len(xy), axis=0), poses.fps)


# %%
def show_gesture(heights, k=4):
    """A gesture, the distances of its poses, and the frames that each one chooses."""
    gesture = make_gesture(heights).xy[:, list(UPPER_BODY)].astype(float)
    own = rigid_distance(torch.from_numpy(gesture)).numpy()
    fig, axes = plt.subplots(1, 3, figsize=(11.5, 3.6))
    axes[0].plot(np.arange(len(heights)) / 12.5, heights)
    axes[0].set(xlabel="time (s)", ylabel="height (picture widths)", title="my gesture")
    image = axes[1].imshow(own)
    axes[1].set(xlabel="key frame", ylabel="query frame", title="its pose distances")
    fig.colorbar(image, ax=axes[1], label="S (picture widths)")
    axes[2].imshow(yours(frame_mask)(choose(own, k)), cmap="Greys")
    axes[2].set(xlabel="key frame", ylabel="query frame", title=f"who sees whom, K = {k}")
    plt.show()


t = np.arange(48) / 12.5
show_gesture(0.25 * np.sin(np.pi * t) ** 2)  # change this line: any list of heights

# %% [markdown]
# A wave that repeats gives a lattice: every frame finds its twins in earlier waves, and the mask follows them. A gesture that never returns
# gives a dark diagonal, and choosing by pose is then a sliding window.
#
# ### Optional: your own video
# With the detector installed (`pip install mediapipe==0.10.21`, Python 3.11 or 3.12; it changes numpy, so not on Colab) the next cell
# reads poses from a video of yourself talking. Give it a path; without one it does nothing.

# %%
my_video = ""  # for instance "me_talking.mp4"
if my_video:
    from iasa.pose.extract import extract_keypoints

    mine = pool_to_latent(fill_latent(extract_keypoints(my_video)))
    own_S = rigid_distance(torch.from_numpy(mine.xy[:, list(UPPER_BODY)].astype(float))).numpy()
    plt.imshow(own_S)
    plt.xlabel("key frame")
    plt.ylabel("query frame")
    plt.colorbar(label="S (picture widths)")
    plt.show()

# %% [markdown]
# ## Summary
# - The best rotation and shift between two poses have a closed form; what they cannot remove is $S$:
#   [`rigid_distance` in iasa/masks/similarity.py](../iasa/masks/similarity.py).
# - The $K$ smallest $S$ of the *past* are kept: [`top_k_past`, same file](../iasa/masks/similarity.py); the table and its
#   options live in [`AttentionPlan`, iasa/masks/plan.py](../iasa/masks/plan.py).
# - The mask is known from the pose alone, before any denoising, and is shared by all layers, heads and steps.
# - It keeps about $(K + 2)/f$ of the frame pairs.
#
# ## Further questions
# 1. A keypoint detector is unsure of a hand. How should its confidence enter the fit? Compare your idea with the weights in
#    `rigid_distance`.
# 2. Allow scaling in the fit. For which camera movements would that help, and what would it confuse?
# 3. Frames that lie just before are nearly always useful for smooth motion. What does the option `window` of `MaskOptions` do,
#    and what does it cost?
# 4. A speaker talks for an hour. $S$ for all pairs has $f^2$ entries. How does `reach` keep memory bounded, and what is lost?
#
# **Next**: the frames are chosen; [which parts of them](03_which_parts_matter.ipynb) matter?
