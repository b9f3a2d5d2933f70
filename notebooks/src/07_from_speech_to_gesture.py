# %% [markdown]
# # 7 · From speech to gesture
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/07_from_speech_to_gesture.ipynb)
#
# **The question.** Mute a talk show and watch the hands. They move *with* the speech, but what in the sound tells them when? And do lips, hands and posture
# listen to the same thing?
#
# **You will be able to**
# - look at speech at three time scales, and find out which part of the body follows which;
# - cut the windows that a motion network hears, and say how much future it needs;
# - build a codebook of arm movements by hand, entry by entry;
# - measure whether motion is in time with the sound, and by how many milliseconds it is late;
# - make your own voice drive the speaker.
#
# **Time** 60 minutes. **Needs** NumPy. No GPU. **Paper** section 3: its first stage, speech to motion, is taken over from EMAGE; here a stage of our own stands in its place.

# %% tags=["setup"]
# setup

# %%
import json
import matplotlib.pyplot as plt
import numpy as np
from iasa.motion import speech_to_motion
from iasa.speech import analyse, read_audio
plt.style.use(root / "notebooks" / "course.mplstyle")


def hear(name):
    """Features of an example clip, from its known phones."""
    notes = json.loads((root / "iasa" / "assets" / "speech" / f"{name}.json").read_text())
    return analyse(read_audio(root / "iasa" / "assets" / "speech" / f"{name}.mp3")[0], phones=[tuple(p) for p in notes["phones"]])


features = hear("tea")
motion = speech_to_motion(features, seed=3, model="rules")
speed = np.r_[0, np.linalg.norm(np.diff(motion.hands[:, :, :3].reshape(-1, 6), axis=0), axis=1)] * 25  # of both wrists, cm/s
time = np.arange(features.frames) / 25
fig, axis = plt.subplots(figsize=(10, 3.6))
axis.plot(time, features.energy * 60, color="#E69F00", label="loudness (scaled)")
axis.plot(time, speed, color="#0072B2", label="speed of the hands (cm/s)")
axis.vlines([when for when, _ in features.accents], 0, 75, color="black", linestyle=":", label="accents")
axis.set(xlabel="time (s)", ylabel="speed (cm/s)", title="sound and hands")  # show
fig.legend(loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# The motion here comes from **rules**: hands stroke on accented syllables, the mouth follows the phones, head and trunk sway slowly. A learned stage has to discover such relations. So
# shall we.
#
# ## Three time scales
# | scale | span | carries | should move |
# |---|---|---|---|
# | sound | 40 ms | phones | lips |
# | rhythm | 0.2 to 0.5 s | syllables, stress | hands, head |
# | phrase | 2 to 6 s | sentences, pauses | posture, rest |
#
# ## Exercise 1: look at a longer scale
# Write `moving_mean(x, span)`: the mean over the `span` values around each one. At the ends, where the window sticks out, average what exists.
#
# $$ \bar x_i = \frac{1}{|W_i|} \sum_{j \in W_i} x_j, \qquad W_i = \{\, j : 0 \le j < f,\; |i - j| \le \lfloor \text{span} / 2 \rfloor \,\} . $$
#
# | | |
# |---|---|
# | `x` | float array `[f]` |
# | `span` | odd int: the frame, and `span // 2` on each side |
# | returns | float array `[f]` |

# %% tags=["exercise"]
def moving_mean(x: np.ndarray, span: int) -> np.ndarray:
    """Centred means of `span` values, of fewer at the ends: [f]."""
    ### BEGIN SOLUTION
    ones = np.ones(span)
    total, count = np.convolve(x, ones, "full"), np.convolve(np.ones(len(x)), ones, "full")
    middle = slice(span // 2, span // 2 + len(x))
    return total[middle] / count[middle]
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_moving_mean

check_moving_mean(moving_mean)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A loop over `x[max(0, i - span // 2) : i + span // 2 + 1].mean()` is right. For a faster one divide two convolutions: of `x`, and of an array of ones.
# </details>
#
# **Predict**: in the next figure, which of the three curves would you follow with your lips, your hands, your chair?

# %% tags=["check"]
fig, axis = plt.subplots(figsize=(10, 3.4))
for span, name, colour in ((1, "sound: 0.04 s", "#BBBBBB"), (9, "rhythm: 0.36 s", "#E69F00"), (75, "phrase: 3 s", "#0072B2")):
    axis.plot(time, moving_mean(features.energy, span), color=colour, label=name)
axis.set(xlabel="time (s)", ylabel="loudness (0 to 1)", title="the same loudness at three scales")
fig.legend(loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# ## Exercise 2: windows
# A motion network hears a **window** around each frame: some frames before it, and a few after (a gesture starts before the word it belongs to; the price is delay). Write
# `cut_windows(x, before, after)`. Outside the clip there is silence: zeros.
#
# $$ \text{windows}_{i, k} = x_{\,i - \text{before} + k}, \qquad k = 0 \dots \text{before} + \text{after} . $$
#
# | | |
# |---|---|
# | `x` | float array `[f, c]`, channels of sound |
# | `before`, `after` | ints, frames |
# | returns | float array `[f, before + 1 + after, c]`, oldest first |

# %% tags=["exercise"]
def cut_windows(x: np.ndarray, before: int, after: int) -> np.ndarray:
    """What is heard around every frame: [f, before + 1 + after, c]."""
    ### BEGIN SOLUTION
    padded = np.pad(x, ((before, after), (0, 0)))
    return np.stack([padded[i : i + before + 1 + after] for i in range(len(x))])
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_cut_windows

check_cut_windows(cut_windows)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `np.pad(x, ((before, after), (0, 0)))` puts zeros on both ends; then frame `i`'s window starts at index `i` of the padded array.
# </details>
#
# ## Who listens to what?
# Now a measurement. For each scale: windows of that scale go into a **linear** predictor (ridge regression), trained on four clips and tested on a fifth. Targets: how far the mouth opens, how fast the hands move, how far the trunk leans.
#
# **Predict** the table before you run it: mark in each row the scale that will do best.

# %%
def channels(f):
    """Mouth shapes, loudness, pitch, voicing, onsets and accents: [f, 10]."""
    accent = np.zeros(f.frames)
    for when, strength in f.accents:
        accent[min(int(when * 25), f.frames - 1)] = strength
    return np.column_stack([f.visemes, f.energy, f.pitch, f.voiced, f.onset, accent])


def targets(m):
    """Opening of the mouth, speed of the hands, lean of the trunk, all [f]."""
    wrists = m.hands[:, :, :3].reshape(-1, 6)
    quick = np.r_[0, np.linalg.norm(np.diff(wrists, axis=0), axis=1)]
    return np.column_stack([m.face[:, 0], np.convolve(quick, np.ones(5) / 5, "same"), m.lean])


names = ["welcome", "tea"] if FAST else ["welcome", "sky", "windows", "library", "tea"]
heard = [hear(name) for name in names]
seeds = range(1 if FAST else 6)  # performances of each clip
moved = [[speech_to_motion(f, seed=10 * i + s, model="rules") for s in seeds] for i, f in enumerate(heard)]


def wanted(clip):
    """The targets of a clip, the mean over its performances."""
    return np.mean([targets(m) for m in moved[clip]], 0)


# %%
SCALES = {"sound": (1, 3, 2), "rhythm": (5, 4, 4), "phrase": (25, 4, 1)}  # frames averaged, windows before and after


def listen(x, span, before, after):
    """Windows of means over `span` frames: [f, (before + 1 + after) * c], zeros outside the clip."""
    means = np.stack([np.convolve(channel, np.ones(span) / span, "same") for channel in x.T], 1)
    frames = np.arange(len(x))[:, None] + span * np.arange(-before, after + 1)  # [f, windows]
    inside = (frames >= 0) & (frames < len(x))
    return (means[np.clip(frames, 0, len(x) - 1)] * inside[..., None]).reshape(len(x), -1)


def fit_and_test(*scales):
    """Correlation of prediction and truth on the last clip, for the three targets."""
    inputs = [np.column_stack([*(listen(channels(f), *SCALES[s]) for s in scales), np.ones(f.frames)]) for f in heard]
    x, y = np.concatenate(inputs[:-1]), np.concatenate([wanted(f) for f in range(len(heard) - 1)])
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)
    guess, truth = inputs[-1] @ weights, wanted(len(heard) - 1)
    return [np.corrcoef(guess[:, i], truth[:, i])[0, 1] for i in range(3)]


# %%
table = np.array([*(fit_and_test(scale) for scale in SCALES), fit_and_test(*SCALES)]).T
fig, axis = plt.subplots(figsize=(8, 4))
image = axis.imshow(table, vmin=0, vmax=1)
for (row, column), value in np.ndenumerate(table):
    axis.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if value < 0.6 else "black", fontsize=15)
axis.set(xticks=range(4), xticklabels=[*SCALES, "all"], yticks=range(3), yticklabels=["mouth opens", "hands move", "trunk leans"])
axis.spines[:].set_visible(False)
fig.colorbar(image, label="correlation, unseen clip")
plt.show()

# %% [markdown]
# The mouth wants the short scale. The hands follow sound and rhythm about equally well, and neither tells when *this* speaker moves: the rules leave much to chance. The slow sway is not in the sound at
# all, at no scale. A network should *sample* such things, not regress them.
#
# ## A vocabulary of movements
# Regression has a deeper fault: with several plausible gestures for one sentence it answers with their mean, a limp one. So the learned stage speaks in **codes**: for each body region a **codebook** of typical
# movements; a network chooses entries, and may choose differently each time. First we need the codebook.
#
# ## Exercise 3: name a movement
# Which entry is nearest? Euclidean distance:
#
# $$ c_i = \arg\min_e \lVert x_i - b_e \rVert_2 . $$
#
# | | |
# |---|---|
# | `x` | float array `[m, d]`, one movement a row |
# | `codebook` | float array `[e, d]` |
# | returns | int array `[m]`, the code of each row |

# %% tags=["exercise"]
def nearest_entry(x: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """The nearest entry of every row: int [m]."""
    ### BEGIN SOLUTION
    squared = ((x[:, None] - codebook[None]) ** 2).sum(-1)
    return squared.argmin(1)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_nearest_entry

check_nearest_entry(nearest_entry)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `x[:, None] - codebook[None]` has shape `[m, e, d]`; square, sum over the last axis, and take the place of the minimum.
# </details>
#
# ## Exercise 4: improve the codebook
# Move every entry to the mean of the rows that chose it. An entry that nobody chose stays where it is:
#
# $$ b_e \leftarrow \operatorname{mean} \{\, x_i : c_i = e \,\} . $$
#
# Alternating exercises 3 and 4 is *k-means*; the package does the same with running means.
#
# | | |
# |---|---|
# | `x`, `codebook`, `codes` | as above |
# | returns | a new codebook, float array `[e, d]` |

# %% tags=["exercise"]
def move_entries(x: np.ndarray, codebook: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The codebook with every used entry at the mean of its rows: [e, d]."""
    ### BEGIN SOLUTION
    moved = codebook.copy()
    for entry in np.unique(codes):
        moved[entry] = x[codes == entry].mean(0)
    return moved
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_move_entries

check_move_entries(move_entries)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Loop over `np.unique(codes)`: these are the entries in use. Start from `codebook.copy()`, so that the others stay.
# </details>
#
# ### How many entries does a region need?
# We learn codebooks for four regions from performances of the clips. **Predict**: which region needs the most entries: arms, a hand's fingers, the head, the face?

# %%
from iasa.motion.rig_regions import region_slices, to_motion, to_vectors


def learn(x, entries, rounds=12):
    """A codebook by alternating names and means; returns it with the codes."""
    codebook = x[np.random.default_rng(0).choice(len(x), entries, replace=False)]
    for _ in range(rounds):
        codes = ((x**2).sum(1)[:, None] - 2 * x @ codebook.T + (codebook**2).sum(1)).argmin(1)
        codebook = np.stack([x[codes == e].mean(0) if (codes == e).any() else codebook[e] for e in range(entries)])
    return codebook, codes

# %%
vectors = np.concatenate([to_vectors(m) for clip in moved for m in clip])  # [frames, 57] parameters of the rig
sizes = (2, 8) if FAST else (2, 4, 8, 16, 32, 64)
plt.figure(figsize=(8, 3.8))
for region, marker in (("arms", "o"), ("right_hand", "s"), ("head", "^"), ("face", "D")):
    x = vectors[:, region_slices()[region]]
    left = [np.mean((x - (found := learn(x, e))[0][found[1]]) ** 2) / x.var(0).mean() for e in sizes]
    plt.loglog(sizes, np.array(left) * 100, marker=marker, label=region.replace("_", " "))
plt.xticks(sizes, [str(e) for e in sizes])
plt.minorticks_off()
plt.yticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
plt.xlabel("entries in the codebook")
plt.ylabel("variance not explained (%)")
plt.legend()
plt.show()

# %% [markdown]
# ### Look at the vocabulary
# The entries of the arms' codebook, drawn on a body that otherwise rests. **Predict**: is one of them chosen far more often than the others?

# %% tags=["cover"]
from iasa.avatar.rig import make_keypoints, rest_motion
from iasa.pose.skeleton import draw_pose
from iasa.avatar.speaker import load_speaker

speaker = load_speaker("dana")
arms = region_slices()["arms"]
codebook, codes = learn(vectors[:, arms], 8)
order = np.argsort(-np.bincount(codes, minlength=8))
rows = np.repeat(to_vectors(rest_motion(1)), 8, 0)
rows[:, arms] = codebook[order]
fig, axes = plt.subplots(2, 4, figsize=(9.5, 5.2))
for axis, entry, image in zip(axes.flat, order, draw_pose(make_keypoints(speaker.identity, to_motion(rows)), 280), strict=True):
    axis.imshow(image)
    axis.set_title(f"entry {entry}: {(codes == entry).mean():.0%}")
    axis.axis("off")
plt.show()

# %% [markdown]
# The title tells how often an entry is used. Which of them would you call the rest pose?
#
# ### Which one to choose: region-codebook attention
# The learned stage turns what it hears into a query $h$ and compares it with a key $k_e$ of every entry: attention over a codebook,
#
# $$ p(e) = \operatorname{softmax}_e\Big(\frac{h \cdot k_e}{\tau}\Big), $$
#
# and *draws* an entry. The temperature $\tau$ sets how bold it is. **Predict**: as $\tau \to 0$, how many performances does a clip have? As $\tau \to \infty$?

# %%
from ipywidgets import FloatSlider, IntSlider, interact


def temperature(tau=1.0):
    """Probabilities of eight entries, their scores fixed, for a temperature."""
    scores = np.array([2.0, 1.6, 1.1, 0.4, 0.0, -0.3, -0.8, -1.5])
    p = np.exp((scores - scores.max()) / tau)
    p /= p.sum()
    plt.figure(figsize=(8, 3))
    plt.bar(range(8), p, color="#0072B2")
    plt.ylim(0, 1)
    plt.xlabel("entry")
    plt.ylabel("probability")
    plt.title(f"temperature {tau:g}: as varied as {np.exp(-(p * np.log(p + 1e-12)).sum()):.1f} entries")
    plt.show()


interact(temperature, tau=FloatSlider(1, min=0.1, max=4, step=0.1));

# %%
temperature(0.3)
temperature(2.0)

# %% [markdown]
# ## Is it in time?
# Lips that come 0.1 s late are noticed at once. The delay of one contour behind another is the **lag** with the highest correlation.
#
# ## Exercise 5: the lag
# For a lag $l > 0$ compare `late[l:]` with `early[:-l]`: what happens late belongs to what happened $l$ frames before. Compute the correlation (means and deviations of these parts) for every
# $l$ from `-reach` to `reach`, and return the best.
#
# | | |
# |---|---|
# | `late`, `early` | float arrays `[f]` |
# | `reach` | int |
# | returns | int, positive if `late` runs behind |

# %% tags=["exercise"]
def best_lag(late: np.ndarray, early: np.ndarray, reach: int) -> int:
    """Frames by which `late` runs behind `early`."""
    ### BEGIN SOLUTION
    f, best, answer = len(early), -np.inf, 0
    for lag in range(-reach, reach + 1):
        a, b = late[max(lag, 0) : f + min(lag, 0)], early[max(-lag, 0) : f - max(lag, 0)]
        r = np.corrcoef(a, b)[0, 1]
        if r > best:
            best, answer = r, lag
    return answer
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_best_lag

check_best_lag(best_lag)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The slices of both must have length `f - abs(lag)`. `late[max(lag, 0) : f + min(lag, 0)]` and `early[max(-lag, 0) : f - max(lag, 0)]` do it for both signs. `np.corrcoef(a, b)[0, 1]` is the correlation.
# </details>
#
# **Predict**: at the true timing the mouth's opening correlates with the phones' opening. How wide is the peak: would 80 ms (two frames) show?

# %%
from iasa.keypoints import mouth_opening

opening = mouth_opening(make_keypoints(speaker.identity, motion))


def shift_lips(frames=2):
    """Correlation against lag, for lips that are moved by some frames."""
    lags = np.arange(-12, 13)
    late = np.roll(opening, frames)
    r = [np.corrcoef(np.roll(late, -lag), features.visemes[:, 0])[0, 1] for lag in lags]
    plt.figure(figsize=(8, 3.2))
    plt.plot(lags * 40, r, "o-", markersize=4)
    plt.axvline(lags[int(np.argmax(r))] * 40, color="#D55E00", linestyle="--")
    plt.xlabel("lag that is tried (ms)")
    plt.ylabel("correlation")
    plt.title(f"lips moved by {frames * 40} ms: the best lag is {lags[int(np.argmax(r))] * 40} ms")
    plt.show()


interact(shift_lips, frames=IntSlider(2, min=-8, max=8));

# %%
shift_lips(0)
shift_lips(4)

# %% [markdown]
# Hands are looser. **Beat alignment** asks how near the end of a stroke comes to an accent: the mean of $e^{-d^2/2\sigma^2}$ with $\sigma = 0.1$ s. A number alone says little; compare it with the same motion, shifted.
# **Predict**: a shift of half a second. Does the score fall to zero?

# %%
from iasa.metrics.motion_quality import beat_alignment, stroke_ends

shifts = np.arange(-1, 1.01, 0.1)
scores = []
for f, clip in zip(heard, moved, strict=True):
    accents = np.array([when for when, _ in f.accents])
    scores += [[beat_alignment(ends + shift, accents) for shift in shifts] for ends in map(stroke_ends, clip)]
plt.figure(figsize=(8, 3.2))
plt.plot(shifts, np.nanmean(scores, 0), "o-")
plt.axvline(0, color="black", linewidth=1)
plt.xlabel("strokes moved by (s)")
plt.ylabel("beat alignment (0 to 1)")
plt.title(f"{len(scores)} performances by the rules")
plt.ylim(0)
plt.show()

# %% [markdown]
# ## Your voice
# Record some seconds of yourself (any recorder; mp3, wav or m4a), put the path below, and look at what your speech makes the hands do. Phones are recognized if `pocketsphinx` is installed; else the mouth
# follows the sound alone.

# %%
my_speech = ""  # for instance "me.wav"
mine, _ = read_audio(my_speech or root / "iasa" / "assets" / "speech" / "sky.mp3")
mine = mine[: 16_000 * (2 if FAST else 12)]
said = analyse(mine) if my_speech else analyse(mine, method="signal")
style = None  # or: from iasa.motion.rules import GestureStyle; GestureStyle(amount=1.5)
performed = speech_to_motion(said, seed=0, style=style)
poses = make_keypoints(speaker.identity, performed)
chosen = np.linspace(2, len(poses) - 3, 5).astype(int)
fig, axes = plt.subplots(1, 5, figsize=(10.5, 2.5))
for axis, t, image in zip(axes, chosen, draw_pose(poses[chosen], 300), strict=True):
    axis.imshow(image)
    axis.set_title(f"{t / 25:.1f} s")
    axis.axis("off")
plt.show()

# %%
import tempfile

from IPython.display import Video

from iasa.media.writer import write_video

film = Path(tempfile.mkdtemp()) / "gestures.mp4"
write_video(film, draw_pose(poses, 256), mine, 16_000)
Video(str(film), embed=True)  # the skeleton, with your voice

# %% [markdown]
# For the whole speaker instead of the skeleton: `python -m iasa generate --audio me.wav --out me_speaking.mp4`. Use your own voice, or that of somebody who agreed to it.
#
# ## Summary
# - Lips follow the finest scale closely, hands follow accents loosely, slow posture is hardly in the sound at all. Three scales in one module: [`AudioEmbedding` in iasa/motion/audio_embedding.py](../iasa/motion/audio_embedding.py).
# - A codebook names typical movements of a region: [`ResidualCodebook` in iasa/motion/codebooks.py](../iasa/motion/codebooks.py); a network attends to its entries and draws one: [`MotionGenerator` in iasa/motion/generator.py](../iasa/motion/generator.py).
# - The rules that made our training motion: [`generate_gestures` in iasa/motion/rules.py](../iasa/motion/rules.py).
# - Timing is measured, not judged by eye: [`lip_scores`, `beat_alignment` in iasa/metrics/motion_quality.py](../iasa/metrics/motion_quality.py).
#
# ## Further questions
# 1. A second codebook can name what the first one left over (*residual* quantisation). With two codebooks of 16 entries, how many movements can be named? At what cost?
# 2. Gestures start before the word. How much future must a live system hear, and what delay does a listener accept in conversation?
# 3. Our motion comes from rules, so a network that learns it can at best learn the rules. What would you need to learn from real people, and what would you have to ask them?
# 4. Which of this breaks for a language whose stress works in another way, or for singing?
#
# **Next**: [real time](08_real_time.ipynb).
