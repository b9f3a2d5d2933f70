# %% [markdown]
# # 7 · From speech to gesture
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/07_from_speech_to_gesture.ipynb)
#
# **The question.** Mute a talk show and watch the hands. They move *with* the speech, but what in the sound tells them when? And do lips, hands and posture
# follow the same thing?
#
# **You will be able to**
# - look at speech at three time scales, and find out which part of the body follows which;
# - cut the windows that a motion network hears, and say how much future it needs;
# - build a codebook of arm movements by hand, entry by entry;
# - measure whether motion is in time with the sound, and by how many milliseconds it is late;
# - make your own voice drive the speaker.
#
# **Time** 60 minutes. **Needs** NumPy. No GPU. **Paper** [arXiv 2510.02617](https://arxiv.org/abs/2510.02617), section 3: its first stage, speech to motion, is
# taken over from [EMAGE](https://arxiv.org/abs/2401.00374); here a stage of our own stands in its place.

# %% tags=["setup"]
# setup

# %%
import json

import matplotlib.pyplot as plt
import numpy as np

from iasa.motion import speech_to_motion
from iasa.paths import SPEECH
from iasa.speech import analyse, read_audio

plt.style.use(root / "notebooks" / "course.mplstyle")


def hear(name):
    """Features of an example clip, from its known phones."""
    phones = json.loads((SPEECH / f"{name}.json").read_text())["phones"]
    return analyse(read_audio(SPEECH / f"{name}.mp3")[0], phones=[tuple(p) for p in phones])


features = hear("tea")
motion = speech_to_motion(features, seed=3, model="rules")
wrists = motion.hands[:, :, :3].reshape(-1, 6)  # both, cm
speed = np.r_[0, np.linalg.norm(np.diff(wrists, axis=0), axis=1)] * 25  # cm/s

# %%
time = np.arange(features.frames) / 25
fig, axis = plt.subplots(figsize=(10, 3.6))
axis.plot(time, features.energy * 60, "C1", label="loudness (scaled)")
axis.plot(time, speed, "C0", label="speed of the hands (cm/s)")
axis.vlines([when for when, _ in features.accents], 0, 75, color="black", label="accents")
axis.set(xlabel="time (s)", ylabel="speed (cm/s)", title="sound and hands")
fig.legend(loc="outside lower center", ncols=3)
plt.show()

# %%
import librosa

sound, rate = read_audio(SPEECH / "tea.mp3")
mel = librosa.feature.melspectrogram(y=sound, sr=rate, hop_length=rate // 100, n_mels=64)
plt.figure(figsize=(10, 2.8))
extent = (0, len(sound) / rate, 0, 64)
plt.imshow(librosa.power_to_db(mel), origin="lower", aspect="auto", extent=extent)
plt.xlabel("time (s)")
plt.ylabel("mel band")
plt.title("the sound itself: mel spectrogram (dB)")
plt.show()

# %% [markdown]
# The spectrogram holds all that a network can hear: vowels are stacks of bands, *s* and *sh* bright tops, pauses are dark.
#
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
#
# <details><summary>Answer</summary>
#
# Lips the grey one, hands the orange one. The blue one is nearly flat: over three seconds loudness says little about where you are
# in a sentence, so the chair has not much to follow.
# </details>

# %%
from iasa.teaching import yours

fig, axis = plt.subplots(figsize=(10, 3.4))
spans = {"sound: 0.04 s": 1, "rhythm: 0.36 s": 9, "phrase: 3 s": 75}
for (name, span), colour in zip(spans.items(), ("#BBBBBB", "#E69F00", "#0072B2"), strict=True):
    axis.plot(time, yours(moving_mean)(features.energy, span), color=colour, label=name)
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
# Now a measurement. For each scale: your means and windows at that scale go into a **linear** predictor (ridge regression). It is trained on all clips but one and tested on the one left out, each clip in turn. Targets: how far the
# mouth opens, how fast the hands move, how far the trunk leans, averaged over six performances of each clip.
#
# A second figure says how much *can* be predicted: two performances of one clip hear the same sound, so whatever they do not share is not in the sound. **Predict** both: which scale does best for
# mouth, hands and trunk? And what correlation have two performances with each other?
#
# <details><summary>Answer</summary>
#
# The mouth wants the finest scale (0.97), the hands sound and rhythm together (0.47); the trunk seems to follow the phrase, until one looks at the dots: from -0.1 to 0.9
# by clip, which for a curve that sways once or twice a clip is luck. The second figure settles it. Mouths of two performances agree entirely, hands at 0.67, trunks not at all: there is nothing in the sound to be learned.
# </details>

# %%
def channels(f):
    """Mouth shapes, loudness, pitch, voicing, onsets and accents: [f, 10]."""
    accent = np.zeros(f.frames)
    for when, strength in f.accents:
        accent[min(int(when * 25), f.frames - 1)] = strength
    return np.column_stack([f.visemes, f.energy, f.pitch, f.voiced, f.onset, accent])


def targets(m):
    """Opening of the mouth, speed of the hands, lean of the trunk: [f, 3]."""
    wrists = m.hands[:, :, :3].reshape(-1, 6)
    quick = np.r_[0, np.linalg.norm(np.diff(wrists, axis=0), axis=1)]
    return np.column_stack([m.face[:, 0], np.convolve(quick, np.ones(5) / 5, "same"), m.lean])


names = ["welcome", "tea"] if FAST else ["welcome", "sky", "windows", "library", "tea", "fishermen"]
heard = [hear(name) for name in names]
seeds = range(2 if FAST else 6)  # performances of each clip
moved = []
for i, f in enumerate(heard):
    moved.append([speech_to_motion(f, seed=10 * i + s, model="rules") for s in seeds])
wanted = [np.array([targets(m) for m in clip]) for clip in moved]  # of each clip [seeds, f, 3]

# %%
# span of a mean, means before and after
SCALES = {"sound": (1, 3, 2), "rhythm": (5, 4, 4), "phrase": (25, 4, 1)}


def listen(x, span, before, after):
    """Windows of means over `span` frames: [f, (before + 1 + after) * c], zeros outside."""
    means = np.stack([yours(moving_mean)(channel, span) for channel in x.T], 1)
    windows = np.zeros((len(x), before + 1 + after, x.shape[1]))
    for start in range(span):  # every span-th frame has its neighbours a span away
        windows[start::span] = yours(cut_windows)(means[start::span], before, after)
    return windows.reshape(len(x), -1)


def leave_one_out(scales):
    """Correlation of prediction and truth on each clip, trained on the others: [clips, 3]."""
    x, y, found = [], [clip.mean(0) for clip in wanted], []
    for f in heard:
        windows = [listen(channels(f), *SCALES[scale]) for scale in scales]
        x.append(np.column_stack([*windows, np.ones(f.frames)]))
    for test in range(len(heard)):
        rest = [i for i in range(len(heard)) if i != test]
        a, b = (np.concatenate([part[i] for i in rest]) for part in (x, y))
        guess = x[test] @ np.linalg.solve(a.T @ a + 10 * np.eye(a.shape[1]), a.T @ b)
        found.append([np.corrcoef(guess[:, i], y[test][:, i])[0, 1] for i in range(3)])
    return np.array(found)

# %%
found = {s: leave_one_out([s]) for s in SCALES} | {"all": leave_one_out(SCALES)}
pairs = [pair for clip in wanted for pair in zip(clip[:-1], clip[1:], strict=True)]
shared = np.array([[np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(3)] for a, b in pairs])
fig, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True)
parts = ("mouth opens", "hands move", "trunk leans")
for i, (axis, part) in enumerate(zip(axes, parts, strict=True)):
    for place, values in enumerate([*found.values(), shared]):
        colour = "C3" if place == len(found) else "C0"
        axis.scatter(np.full(len(values), place), values[:, i], color=colour, s=14, alpha=0.5)
        axis.plot(place, values[:, i].mean(), "_", color=colour, markersize=24, markeredgewidth=3)
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(range(len(found) + 1), [*found, "two\nshare"], fontsize=11)
    axis.set_title(part)
axes[0].set_ylabel("correlation")
plt.show()
for name, values in (found | {"two performances share": shared}).items():
    print(f"{name:24s}", *(f"{value:6.2f}" for value in values.mean(0)))

# %% [markdown]
# Blue: prediction of the clip left out, one dot a clip, the bar their mean. Red: how well one performance predicts *another of the same speech*.
#
# The mouth is determined by the finest scale. The hands follow sound and rhythm in part; a third of what they do is up to the performer. The trunk's sway is not in the sound at all: two performances share
# nothing of it, so a prediction that correlates on some clip does so by chance (slow curves correlate easily). These are *our rules*, written to be so; of people one would have to measure it. What a performer is free to do, a network
# should **sample**, not regress.
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
#
# <details><summary>Answer</summary>
#
# The face: brows, blinks, smile and mouth move independently, and one list of entries has to hold their combinations. The fingers need
# fewest: they take a dozen typical shapes, and with 16 entries hardly anything is left over.
# </details>

# %%
from iasa.motion.rig_regions import region_slices, to_motion, to_vectors

if not FAST:  # what the figure above said
    mean = {name: values.mean(0) for name, values in found.items()}
    assert max(mean, key=lambda name: mean[name][0]) == "sound", "the mouth: the finest scale"
    assert 0.3 < mean["all"][1] < shared.mean(0)[1], "the hands: in part, below what two share"
    assert abs(shared.mean(0)[2]) < 0.3, "the trunk: two performances share nothing"


def learn(x, entries, rounds=12):
    """A codebook by alternating names and means; returns it with the codes."""
    codebook = x[np.random.default_rng(0).choice(len(x), entries, replace=False)]
    for _ in range(rounds):
        codes = yours(nearest_entry)(x, codebook)
        codebook = yours(move_entries)(x, codebook, codes)
    return codebook, codes

# %%
vectors = np.concatenate([to_vectors(m) for clip in moved for m in clip[:2]])  # [frames, 57]
sizes = (2, 8) if FAST else (2, 4, 8, 16, 32, 64)
plt.figure(figsize=(8, 3.8))
for region, marker in (("arms", "o"), ("right_hand", "s"), ("head", "^"), ("face", "D")):
    x = vectors[:, region_slices()[region]]
    found = [learn(x, entries) for entries in sizes]
    left = [np.mean((x - book[codes]) ** 2) / x.var(0).mean() for book, codes in found]
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
#
# <details><summary>Answer</summary>
#
# Not far more often: 19 % against 10 to 13 %. *k*-means spends entries where there are many rows, so a crowded place is shared by several.
# </details>

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
images = draw_pose(make_keypoints(speaker.identity, to_motion(rows)), 280)
for axis, entry, image in zip(axes.flat, order, images, strict=True):
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
#
# <details><summary>Answer</summary>
#
# One: always the most probable entry. As $\tau \to \infty$ every entry is as likely as any other, whatever was heard: endlessly many, unrelated
# to the speech.
# </details>

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
    varied = np.exp(-(p * np.log(p + 1e-12)).sum())
    plt.title(f"temperature {tau:g}: as varied as {varied:.1f} entries")
    plt.show()


interact(temperature, tau=FloatSlider(1, min=0.1, max=4, step=0.1));

# %%
temperature(0.3)
temperature(2.0)

# %% [markdown]
# ### The learned stage itself
# Let the shipped network run: four draws of the same speech, in one style, at three temperatures. **Predict**: what do the hands do at temperature 0? And which temperature is most in time with the accents?
#
# <details><summary>Answer</summary>
#
# At 0 they hardly move, and all draws are the same: the most probable entry is "stay". Higher temperatures give livelier and more different
# performances, and past some point less timely ones, since every draw that ignores the speech costs alignment.
# </details>

# %%
from iasa.metrics.motion_quality import beat_alignment, stroke_ends
from iasa.motion.generator_streaming import generate_learned_gestures
from iasa.motion.rules import make_style

accents = np.array([when for when, _ in features.accents])
fig, axes = plt.subplots(3, 1, figsize=(10, 6), sharex=True, sharey=True)
for axis, tau in zip(axes, (0.0, 1.0, 2.0), strict=True):
    seeds = range(1 if FAST else 4)
    draws = [generate_learned_gestures(features, seed, make_style(0), tau) for seed in seeds]
    heights = np.array([m.hands[:, 0, 1] for m in draws])  # of the right wrist, cm
    axis.plot(time[: heights.shape[1]], heights.T - heights.mean(), linewidth=1.5)
    ends = [ends for ends in map(stroke_ends, draws) if len(ends)]
    beat = f"{np.mean([beat_alignment(e, accents) for e in ends]):.2f}" if ends else "no strokes"
    speed = np.abs(np.diff(heights, axis=1)).mean() * 25
    axis.set_title(f"temperature {tau:g}: {speed:.0f} cm/s, beat alignment: {beat}")
    axis.set_ylabel("height (cm)")
axes[-1].set_xlabel("time (s)")
plt.show()

# %% [markdown]
# (Beat alignment: how near strokes end to accents, from 0 to 1; more of it below.)
#
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
#
# <details><summary>Answer</summary>
#
# Yes. Two frames off, the correlation has dropped from 0.97 to about 0.5, so the best lag is sharply defined.
# </details>

# %%
from iasa.keypoints import mouth_opening

opening = mouth_opening(make_keypoints(speaker.identity, motion))


def shift_lips(frames=2):
    """Correlation against lag, for lips that are moved by some frames."""
    lags = np.arange(-12, 13)
    late = np.roll(opening, frames)
    r = [np.corrcoef(np.roll(late, -lag), features.visemes[:, 0])[0, 1] for lag in lags]
    best = yours(best_lag)(late, features.visemes[:, 0], 12)
    plt.figure(figsize=(8, 3.2))
    plt.plot(lags * 40, r, "o-", markersize=4)
    plt.axvline(best * 40, color="#D55E00", linestyle="--")
    plt.xlabel("lag that is tried (ms)")
    plt.ylabel("correlation")
    plt.title(f"lips moved by {frames * 40} ms: the best lag is {best * 40} ms")
    plt.show()


interact(shift_lips, frames=IntSlider(2, min=-8, max=8));

# %%
shift_lips(0)
shift_lips(4)

# %% [markdown]
# Hands are looser. **Beat alignment** asks how near the end of a stroke comes to an accent: the mean of $e^{-d^2/2\sigma^2}$ with $\sigma = 0.1$ s. A number alone says little; compare it with the same motion, shifted.
# **Predict**: a shift of half a second. Does the score fall to zero?
#
# <details><summary>Answer</summary>
#
# No, to about 0.2: with an accent every half second or so, any stroke is near *some* accent. That is why a score alone says little.
# </details>

# %%
shifts = np.arange(-1, 1.01, 0.1)
scores = []
for f, clip in zip(heard, moved, strict=True):
    accents = np.array([when for when, _ in f.accents])
    for ends in map(stroke_ends, clip):
        scores.append([beat_alignment(ends + shift, accents) for shift in shifts])
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
mine, _ = read_audio(my_speech or SPEECH / "sky.mp3")
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
