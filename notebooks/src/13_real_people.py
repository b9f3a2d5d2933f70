# %% [markdown]
# # 13 · Real people
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/13_real_people.ipynb)
#
# **The question.** Everything so far was drawn. A photograph comes without a skeleton, a filmed talk comes with a detector's mistakes, and nobody can draw you the frame that *should* have come out. What of the method survives?
#
# **You will be able to**
# - decide by the paper's filter which frames of a talk are fit to learn from, and say which condition threw the others out;
# - compute S, the choice of frames and the mask on poses that a detector found;
# - measure, region by region, what a network adds to a plain warp, where there is a truth, and say what can be measured where there is none;
# - find the cause of an error by asking what it goes along with.
#
# **Time** 60 minutes. **Needs** notebooks [2](02_which_frames_matter.ipynb) and [3](03_which_parts_matter.ipynb); on the machine mediapipe, skia-python and scikit-image
# (`pip install -e ".[laptop,pose,avatar]" scikit-image`). Without them a drawn speaker takes the place of the photograph, and the cells say so. No GPU.
# **Paper** [arXiv 2510.02617](https://arxiv.org/abs/2510.02617), sections 3.2 and 4 (data).

# %% tags=["setup"]
# setup

# %% tags=["people"]
PICTURE = None  # your own, as "/home/me/portrait.jpg"; None: a public-domain portrait
VIDEO = None  # your own talk, of some seconds; None: a film that is made below

import matplotlib.pyplot as plt
import numpy as np
import torch

from iasa.media.picture import read_image

plt.style.use(root / "notebooks" / "course.mplstyle")
HAS_DETECTOR = importlib.util.find_spec("mediapipe") is not None
HAS_PORTRAIT = importlib.util.find_spec("skimage") is not None
picture, credit = None, "a drawn speaker: mediapipe or scikit-image is missing"
if HAS_DETECTOR and PICTURE:
    picture, credit = read_image(PICTURE), "your picture"
elif HAS_DETECTOR and HAS_PORTRAIT:
    from skimage.data import astronaut

    picture, credit = astronaut(), "Eileen Collins, NASA, public domain (scikit-image)"
plt.figure(figsize=(3.4, 3.4))
plt.imshow(read_image(root / "iasa/assets/speakers/alba.png") if picture is None else picture)
plt.title(credit, fontsize=9)
plt.axis("off")
plt.show()

# %% [markdown]
# ## Before you put a face in
# - **Consent.** Your own face, or one whose owner has agreed to *this* use and has seen what comes out. A classmate's profile picture is no consent, and neither is a picture that lies in the open.
# - **It stays here.** Nothing of this notebook leaves the machine it runs on; on Colab that is Google's. Nothing is written to disk unless you write it. Clear the outputs before you hand the notebook in: *Edit, Clear all outputs*.
# - **It is marked.** Whatever the package writes as a video says in its metadata that it is generated (notebook 8).
#
# The solved copy of this notebook shows no picture of a person: cells that do are run, and their pictures are left out.
#
# ## A film
# With `VIDEO` set, your talk is cut to the square that the package chooses for its first frame. Without, the picture is made to speak: a clip's gestures, carried to the person of the photograph, whose parts are warped in layers. **That is not a
# real talk**: its poses are ours. Where it matters the text says what was measured on filmed people ([docs/results/real.md](../docs/results/real.md)).

# %%
import json

from PIL import Image

from iasa.avatar.speaker import load_speaker, photograph_speaker
from iasa.media.reader import read_video
from iasa.motion import speech_to_motion
from iasa.paths import RESULTS, SPEECH
from iasa.pipeline import CoSpeechPipeline
from iasa.speech import analyse, read_audio

COUNT = 8 if FAST else 48  # frames
pipeline = CoSpeechPipeline.from_pretrained(teacher=None, dtype="float32")
phones = json.loads((SPEECH / "welcome.json").read_text())["phones"]
features = analyse(read_audio(SPEECH / "welcome.mp3")[0], phones=[tuple(phone) for phone in phones])
motion = speech_to_motion(features, 1)[40 : 40 + COUNT]


def run(speaker, poses, model):
    """Frames uint8 [f, 256, 256, 3]."""
    return np.concatenate(list(pipeline.stream(image=speaker, keypoints=poses, model=model).frames))

# %% tags=["people"]
talk = read_video(VIDEO, fps=25)[0][:COUNT] if VIDEO and HAS_DETECTOR else None
if picture is None:
    speaker = load_speaker("alba")
else:
    speaker = photograph_speaker(picture if talk is None else talk[0], size=256)
    print(*speaker.describe(), sep="\n")
driving = speaker.to_keypoints(motion)
if talk is None:
    film = run(speaker, driving, "student" if picture is None else "layers")
else:
    cut = (Image.fromarray(speaker.photo.square.cut(frame)) for frame in talk)
    film = np.stack([np.asarray(image.resize((256, 256))) for image in cut])
fig, axes = plt.subplots(1, 4, figsize=(9, 2.6))
for axis, t in zip(axes, np.linspace(0, len(film) - 1, 4).astype(int), strict=True):
    axis.imshow(film[t])
    axis.set_title(f"frame {t}", fontsize=11)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Which frames are fit to learn from?
# A detector finds 133 points with a confidence each. The paper keeps a frame if the face's mean confidence exceeds 0.9, the upper body's exceeds 0.8, and at least 90 % of the upper body are visible. ("Visible" it does not define; we
# take: confidence of 0.5 or more, inside the picture.)
#
# ## Exercise 1: the filter
# With $c$ confidences, $F$ the 68 points of the face and $U$ the 11 of the upper body (head, shoulders, elbows, wrists):
#
# $$ \tfrac1{68}\sum_{i \in F} c_i > 0.9, \qquad \tfrac1{11}\sum_{i \in U} c_i > 0.8, \qquad \tfrac1{11}\,\big|\{ i \in U : c_i \ge 0.5,\; 0 \le x_i, y_i \le 1 \}\big| \ge 0.9 . $$
#
# | | |
# |---|---|
# | `face` | float array `[f, 68]`, confidences |
# | `body` | float array `[f, 11]`, confidences |
# | `xy` | float array `[f, 11, 2]`, places of the 11 points, 0..1 of the picture |
# | returns | bool array `[f]` |

# %% tags=["exercise"]
def passes(face: np.ndarray, body: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Which frames are good enough to learn from: bool [f]."""
    ### BEGIN SOLUTION
    visible = ((xy >= 0) & (xy <= 1)).all(-1) & (body >= 0.5)
    return (face.mean(1) > 0.9) & (body.mean(1) > 0.8) & (visible.mean(1) >= 0.9)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_passes

check_passes(passes)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `visible` is a bool array `[f, 11]`; its mean over the points is the share. Both coordinates have to be inside: `.all(-1)`.
# </details>
#
# **Predict**: a head-and-shoulders portrait made to speak. Which share of its frames does the filter keep, and which condition decides?
#
# <details><summary>Answer</summary>
#
# None. The face is found with confidence 1, the upper body's mean is just above 0.8, but the elbows' and wrists' points lie at the picture's edge or are guessed: 9 of 11 are visible, 82 %. The filter asks for *talks with arms*, and a portrait is none,
# however good it looks. (The drawn speaker that stands in has sure points only: all frames pass.)
# </details>

# %%
from ipywidgets import FloatSlider, interact

from iasa.keypoints import FACE
from iasa.pose.extract import extract_keypoints
from iasa.pose.filter import UPPER_BODY_POINTS
from iasa.teaching import yours

poses = extract_keypoints(film) if HAS_DETECTOR and picture is not None else driving
face, body = poses.confidence[:, FACE], poses.confidence[:, UPPER_BODY_POINTS]
xy = poses.xy[:, UPPER_BODY_POINTS]
visible = ((xy >= 0) & (xy <= 1)).all(-1) & (body >= 0.5)  # bool [f, 11]

# %%
def show_filter(share=0.9):
    """The three conditions in every frame, with another threshold for the last."""
    lines = {"face": (face, 0.9), "upper body": (body, 0.8), "visible": (visible, share)}
    plt.figure(figsize=(9, 3.2))
    for i, (name, (values, threshold)) in enumerate(lines.items()):
        met = (values.mean(1) >= threshold).mean()
        plt.plot(values.mean(1), color=f"C{i}", label=f"{name}: {met:.0%} of the frames")
        plt.axhline(threshold, color=f"C{i}", linestyle=":", linewidth=1)
    plt.gca().set(xlabel="frame", ylabel="mean confidence, share", ylim=(0, 1.05))
    plt.legend(loc="lower right")
    plt.show()


interact(show_filter, share=FloatSlider(0.9, min=0.5, max=1, step=0.05));

# %%
show_filter(0.9)
kept = yours(passes)(face, body, xy)
print(f"the filter keeps {kept.mean():.0%} of {len(kept)} frames")
if HAS_DETECTOR and HAS_PORTRAIT and not PICTURE and not VIDEO:
    assert not kept.any() and (face.mean(1) > 0.9).all() and (visible.mean(1) < 0.9).all()

# %% [markdown]
# Training wants clips, not frames: unbroken runs, long enough for the past to matter.
#
# ## Exercise 2: runs
# $$ [a, b) \text{ is a run if } k_a = \dots = k_{b-1} = 1,\quad k_{a-1} = k_b = 0 \text{ or outside the film},\quad b - a \ge \text{shortest} . $$
#
# | | |
# |---|---|
# | `keep` | bool array `[f]` |
# | `shortest` | int, at least 1 |
# | returns | list of `(first, one past the last)`, in order |

# %% tags=["exercise"]
def find_runs(keep: np.ndarray, shortest: int) -> list[tuple[int, int]]:
    """Unbroken runs of kept frames that are long enough."""
    ### BEGIN SOLUTION
    runs, first = [], None
    for t, kept in enumerate([*keep, False]):  # one more, so that a run to the end ends
        if kept and first is None:
            first = t
        if not kept and first is not None:
            if t - first >= shortest:
                runs.append((first, t))
            first = None
    return runs
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_find_runs

check_find_runs(find_runs)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Walk through the frames and remember where a run began (`None` outside of runs). A `False` after the last frame closes a run that lasts to the end.
# </details>
#
# One frame that fails cuts a run in two. **Predict**: if each frame of a 60 s talk fails with a chance of 1 % by itself, how much of it is in runs of 4 s (100 frames) or more?
#
# <details><summary>Answer</summary>
#
# About 70 %. A run that begins lasts 100 frames or more with the chance $0.99^{99}$, and those that do are the long ones: in an endless talk $(1 + 99 \cdot 0.01) \cdot 0.99^{100} = 73\ \%$ of all frames lie in them, and a talk's two ends cost some. With 5 % a
# frame almost nothing is left: 3 %. So detectors' gaps are bridged before the filter ([iasa/pose/gaps.py](../iasa/pose/gaps.py)).
# </details>

# %%
rng = np.random.default_rng(0)
for chance in (0.01, 0.05):
    talks = rng.random((300, 1500)) >= chance
    kept_in_runs = sum(b - a for talk in talks for a, b in yours(find_runs)(talk, 100)) / talks.size
    print(f"failures {chance:.0%}: {kept_in_runs:.0%} of a talk is in runs of 100 frames")
    expected = (1 - chance) ** 100 * (1 + 99 * chance)  # borders of the talk neglected
    assert abs(kept_in_runs - expected) < 0.05

# %% [markdown]
# ## S and the mask, on found poses
# The plan asks nothing of the poses but that there are some. (In the picture on the right a token of two regions is striped, as in notebook 3.) **Predict**: of the four frames that each frame chooses by pose, how many are simply the last four? (Drawn clip of notebook 2: 72 %.)
#
# <details><summary>Answer</summary>
#
# Nearly all: 94 %. A body moves little in 0.3 s, so what is similar is near, and two seconds hold hardly a gesture that returns. On filmed talks of some seconds it is much the same; to see the choice by
# pose choose anything else, a talk must be long enough to repeat itself.
# </details>

# %%
from iasa.config import MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import fill_latent, pool_to_latent
from iasa.masks import make_plan
from iasa.masks.plot import paint_tokens

latent = pool_to_latent(fill_latent(poses))
plan = make_plan(latent, TokenGrid(len(latent)), MaskOptions(window=0))  # the paper's choice alone
frames = torch.arange(len(latent))[:, None]
chosen = plan.frame_table >= 0
last = ((frames - plan.frame_table <= 4) & chosen)[6:].sum() / chosen[6:].sum().clamp_min(1)
fig, axes = plt.subplots(1, 3, figsize=(11, 3.6), width_ratios=[1.1, 1, 1])
axes[0].imshow(plan.distance)
axes[0].set(xlabel="frame looked at", ylabel="frame", title="S (blue: alike)")
axes[1].imshow(plan.visible_whole.float() + 0.6 * plan.visible, cmap="Greys", vmin=0, vmax=1)
axes[1].set(xlabel="frame looked at", title="seen whole, or chosen")
axes[2].imshow(paint_tokens(plan.region_bits[len(latent) // 2].numpy(), 16, 16))
axes[2].set(xticks=[], yticks=[], title="tokens by region")
plt.show()
density = plan.report()["token_density"]
print(f"{last:.0%} of the choices are among the last four; {density:.1%} of the pairs may meet")

# %% [markdown]
# ## What does the network add to the warp?
# The student does not begin with nothing: it is handed the reference **warped** to the pose. To see what it adds, compare both with the truth, part by part.
#
# ## Exercise 3: decibels inside a region
# $$ \text{PSNR} = 10 \log_{10} \frac{255^2}{\max(e, 10^{-6})}, \qquad e = \text{mean of } (\text{made} - \text{truth})^2 \text{ over the mask's pixels, frames and colours together.} $$
#
# | | |
# |---|---|
# | `made`, `truth` | uint8 arrays `[f, h, w, 3]` |
# | `mask` | bool array `[f, h, w]` |
# | returns | float, dB |

# %% tags=["exercise"]
def psnr_inside(made: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """PSNR over the pixels of a mask, in dB."""
    ### BEGIN SOLUTION
    error = ((made.astype(float) - truth) ** 2)[mask].mean()
    return float(10 * np.log10(255**2 / max(error, 1e-6)))
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_psnr_inside

check_psnr_inside(psnr_inside)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `array[mask]` takes the pixels where the mask is True: `[count, 3]`. In uint8 `90 - 100` is 246: convert to float first.
# </details>
#
# Of a photograph there is no truth: nobody filmed this person with these gestures. There is one for a **drawn** speaker, whom the renderer draws in every pose; and for your `VIDEO`, whose own frames are the truth of its own poses.
# **Predict** for the drawn speaker: where does the network add most, in the face, the hands, or elsewhere? And for a filmed person, whom it has never seen the like of?
#
# <details><summary>Answer</summary>
#
# Drawn: three to four decibels everywhere, a little more in the hands, which a warp blurs most. Filmed, by a network that saw drawings alone: a tenth of a decibel or two, and the face becomes another's, for it paints a little of the drawn faces over the photograph. Filmed, by one that went on
# with photographs and rendered people in motion: half a decibel, and the face nearly stays who it was. Hence the package keeps both, and a photograph is painted by the second.
# </details>

# %%
from iasa.avatar.rig import make_keypoints
from iasa.keypoints import REGIONS
from iasa.warp.reference_warp import ReferenceWarp

CAN_DRAW = importlib.util.find_spec("skia") is not None
subject, truth = (speaker, film) if talk is not None else (load_speaker("bruno"), None)
subject_poses = poses if talk is not None else make_keypoints(subject.identity, motion)
if talk is None and CAN_DRAW:
    from iasa.avatar.renderer import Renderer

    truth = Renderer(subject.identity).render(motion)  # uint8 [f, 256, 256, 3]


def warp_alone():
    """The reference warped to the poses, as the student gets it; a photograph's layers."""
    if talk is not None:
        return run(subject, subject_poses, "layers")
    still, image = subject.keypoints, torch.from_numpy(subject.image).movedim(-1, 0)[None]
    tensors = [torch.from_numpy(x).float() for x in (still.xy[:1], still.confidence[:1])]
    warp = ReferenceWarp(image / 127.5 - 1, *tensors)
    moving = (subject_poses.xy, subject_poses.confidence)
    given = [torch.from_numpy(x)[None].float() for x in moving]
    return ((warp(*given)[0].movedim(1, -1) + 1) * 127.5).clamp(0, 255).byte().numpy()

# %%
made = {"still": np.repeat(subject.image[None], len(subject_poses), 0), "warp": warp_alone()}
made["student"] = run(subject, subject_poses, "student")
latent = pool_to_latent(fill_latent(subject_poses))
bits = make_plan(latent, TokenGrid(len(latent))).region_bits.numpy().reshape(-1, 16, 16)
shown = {name: (bits >> i) & 1 > 0 for i, name in enumerate(REGIONS[:2])}  # face, hands
shown = {name: tokens for name, tokens in shown.items() if tokens.any()}  # what the film shows
shown["elsewhere"] = ~np.any(list(shown.values()), 0)


def to_pixels(tokens):
    """[f / 2, 16, 16] -> [f, 256, 256]."""
    return tokens.repeat(2, 0).repeat(16, 1).repeat(16, 2)[: len(subject_poses)]


if truth is None:
    print("skia draws the truth: pip install skia-python; the solved copy shows what comes out")
else:
    print(f"{'dB':10s}" + "".join(f"{name:>11s}" for name in shown))
    gain = {}
    for name, frames in made.items():
        row = [yours(psnr_inside)(frames, truth, to_pixels(tokens)) for tokens in shown.values()]
        gain[name] = np.array(row)
        print(f"{name:10s}" + "".join(f"{value:11.1f}" for value in row))
    if talk is None and not FAST:
        assert (gain["student"] > gain["warp"]).all() and (gain["warp"] > gain["still"]).all()

# %% tags=["cover"]
trained = {
    "drawings": json.loads((RESULTS / "real.json").read_text())["layers and student, 256"],
    "people": json.loads((RESULTS / "real_student.json").read_text()),
}
pairs, farther = {}, {}
for name, report in trained.items():
    pairs[name] = {}
    for s in report["scores"]:
        pairs[name].setdefault((s["kind"], s["driver"], s["name"]), {})[s["row"]] = s
    gaps = [b["student"]["identity"] - b["layers"]["identity"] for b in pairs[name].values()]
    farther[name] = np.mean(gaps)
    print(f"trained on {name}: the face {farther[name]:+.3f} farther from its person")
assert farther["people"] < farther["drawings"] / 2

# %% tags=["cover"]
fig, axes = plt.subplots(1, 2, figsize=(11, 3.8))
colours = {"clips": "C3", "halfbody": "C0", "portraits": "C1"}
for name, x in (("drawings", 0), ("people", 2)):
    for (kind, *_), both in pairs[name].items():
        for axis, key in zip(axes, ("identity", "psnr"), strict=True):
            if key in both["layers"]:
                ends = [both[row][key] for row in ("layers", "student")]
                axis.plot([x, x + 1], ends, "o-", color=colours[kind])
for kind, colour in colours.items():
    axes[0].plot([], [], "o-", color=colour, label=kind)
for axis, label in zip(axes, ("distance of the face", "PSNR of clips (dB)"), strict=True):
    axis.set(ylabel=label, xlim=(-0.4, 3.4))
    axis.set_xticks(range(4), ["layers", "+ drawings", "layers", "+ people"])
axes[0].legend()
plt.show()

# %% [markdown]
# Each line is one person (pictures and clips of people that are no part of the repository; [docs/results/real.md](../docs/results/real.md) names command and date). On the left pairs of 256 x 256 pixels, by a student that saw drawings alone; on the right of 512, by the one that went on with people. What a network learned of drawn speakers is no gain on people, and
# the figure that everybody quotes, PSNR, does not show the loss. With your own clips in a folder: `python -m iasa evaluate --real FOLDER --rows layers student`.
#
# And on *your* picture, or the portrait: where does the student change anything at all?

# %% tags=["people"]
if speaker.photo is None:
    print("a drawn speaker has no layers: with mediapipe, this cell shows the photograph")
else:
    layers, painted = (run(speaker, driving[: COUNT // 2], m) for m in ("layers", "student"))
    change = np.abs(layers.astype(float) - painted).mean((0, 3))
    panels = {"layers": layers[-1], "student": painted[-1], "change": change}
    fig, axes = plt.subplots(1, 3, figsize=(9, 3))
    for axis, (title, image) in zip(axes, panels.items(), strict=True):
        axis.imshow(image)
        axis.set_title(title)
        axis.axis("off")
    plt.show()
    print(f"mean change {change.mean():.1f} of 255, at most {change.max():.0f}")

# %% [markdown]
# ## Where it fails, and why
# A warp can move what the reference shows. It fails where something appears that the reference does not show. If that is so, a frame's error should go along with **how far the frame is from the reference**, in the part concerned. "Goes along with" is a number.
#
# ## Exercise 4: rank correlation
# Spearman's: the ordinary correlation, of the ranks. One frame that is very wrong counts no more than its rank.
#
# $$ \rho = \operatorname{corr}\big(\operatorname{rank}(x), \operatorname{rank}(y)\big), \qquad \operatorname{rank}(x)_i = |\{ j : x_j < x_i \}| . $$
#
# | | |
# |---|---|
# | `x`, `y` | float arrays `[m]`, without ties |
# | returns | float, -1 to 1 |

# %% tags=["exercise"]
def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of the ranks."""
    ### BEGIN SOLUTION
    return float(np.corrcoef(x.argsort().argsort(), y.argsort().argsort())[0, 1])
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_rank_correlation

check_rank_correlation(rank_correlation)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `x.argsort()` lists the elements from the smallest up. The rank of each element is its place in that list: `x.argsort().argsort()`.
# </details>
#
# Three suspects, each a distance S to the reference after the best rigid motion: of the **body**'s points, the **face**'s (expression and turns), the **hands**' (their shape). **Predict**: which goes along with the error of the still picture? Which with the warp's?
#
# <details><summary>Answer</summary>
#
# The still picture's error goes along with the body's distance (0.84): the farther the body has moved, the wronger it is. The warp takes that away, and what is left goes along with the **face**'s distance (0.70), not with the body's (-0.35): the warp moves
# the head where it belongs, but an opened mouth, another look, a turned cheek were not in the reference. The network repairs a part of it (0.47 is left). A negative value is no paradox: ranks are relative, and here the frames with large gestures happen to have calm faces.
# </details>

# %%
from iasa.keypoints import LEFT_HAND, RIGHT_HAND, UPPER_BODY
from iasa.masks.similarity import rigid_distance

points = {"body": UPPER_BODY[:9], "face": range(FACE.start, FACE.stop)}
points["hands"] = range(LEFT_HAND.start, RIGHT_HAND.stop)
joined = torch.from_numpy(np.concatenate([subject.keypoints.xy[:1], subject_poses.xy])).double()
causes = {part: rigid_distance(joined[:, list(some)])[0, 1:] for part, some in points.items()}
if truth is not None:
    found = {}
    for name, frames in made.items():
        error = ((frames.astype(float) - truth) ** 2).mean((1, 2, 3))
        found[name] = [yours(rank_correlation)(S.numpy(), error) for S in causes.values()]
    fig, axis = plt.subplots(figsize=(7, 3))
    for i, (name, values) in enumerate(found.items()):
        axis.bar(np.arange(3) + 0.25 * (i - 1), values, 0.22, label=name)
    axis.set_xticks(range(3), [f"S of the {name}" for name in causes])
    axis.set(ylabel="rank correlation with the error", ylim=(-1, 1))
    axis.axhline(0, color="black", linewidth=1)
    axis.legend(ncols=3)
    plt.show()
    print({name: [round(value, 2) for value in values] for name, values in found.items()})
    if talk is None and not FAST:
        assert found["still"][0] > 0.6 and found["warp"][1] > max(0.5, *found["warp"][::2])

# %% [markdown]
# That names a cause on *this* clip of one drawn speaker; it is a correlation over 48 frames that follow each other, so fewer than 48 independent ones. On filmed people other causes come first. Oracles that know the truth gave, of the layers' error on one clip,
# 6 % to the face, 33 % to the head around it, 18 % to the body, and 44 % to the room and what it uncovers: the place of hair and clothes counts, and no light changes ([docs/results/real.md](../docs/results/real.md), which lists what is missed and why).
#
# ### What to look for on your own picture
# - a head that turns far: the layers turn it in depth, but invent no other side; the ear may show twice, faintly;
# - arms: they move at most some centimetres from where the picture has them, and sleeves end at a cut;
# - hands keep the side that the picture shows; glasses move with the skin; hair in strands stays with the room;
# - a mouth that the picture shows closed has teeth and dark that were guessed.
#
# ## Summary
# - The paper's filter on poses, and the runs it leaves: [`keep_frames`, `find_runs` in iasa/pose/filter.py](../iasa/pose/filter.py); points from pictures: [`extract_keypoints` in iasa/pose/extract.py](../iasa/pose/extract.py).
# - A photograph as a speaker: [`photograph_speaker` in iasa/avatar/speaker.py](../iasa/avatar/speaker.py); its layers: [`LayeredWarp` in iasa/warp/layered_warp.py](../iasa/warp/layered_warp.py); a drawn one's warp: [`ReferenceWarp` in iasa/warp/reference_warp.py](../iasa/warp/reference_warp.py).
# - The plan needs poses alone, found or drawn: [`make_plan` in iasa/masks/plan.py](../iasa/masks/plan.py).
# - A gain is measured on those whom it is for: what helps drawn speakers by 3 dB takes a real face away from its person.
#
# ## Further questions
# 1. Film ten seconds of yourself, hands in the picture, set `VIDEO`. Which share does the filter keep? Find a frame that it throws out and you would keep, and one the other way round.
# 2. Add noise to the found points (0.005 of the picture's width). How many of the plan's choices change? Does it matter to the picture?
# 3. The filter sees confidences, not truth. Cover your mouth with a hand: what does the detector claim?
# 4. With `VIDEO`, repeat the last figure. Does the face still lead? What else could go along with the error, that no keypoint tells?
# 5. Write the sentence of consent that you would want to read before somebody does this with *your* picture. What would you have to promise, and can you keep it?
#
# **Back to** [the index](../notebooks/README.md).
