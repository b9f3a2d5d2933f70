# %% [markdown]
# # 5 · The teacher
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/05_the_teacher.ipynb)
#
# **The question.** Noise goes in, a picture comes out, a different one for every noise, and all of them plausible. How can a network that was only ever
# taught to *remove noise* invent anything? We ask with points in the plane first, where everything can be seen, and then with the latents of a talking person.
#
# **You will be able to**
# - train a flow-matching model: straight paths from data to noise, and a network that predicts where a path began;
# - sample from it with Euler's steps, and say what few steps do to the result;
# - condition a model, and strengthen the condition by guidance;
# - train a tiny teacher on small pictures, with a pose and a reference, watch it improve, and compare it with the shipped one.
#
# **Time** 75 minutes. **Needs** PyTorch (a training loop). No GPU. **Paper** [arXiv 2510.02617](https://arxiv.org/abs/2510.02617), section 3: the teacher is a
# many-step, dense video diffusion model. [Flow matching](https://arxiv.org/abs/2210.02747): Lipman et al. 2023.

# %% tags=["setup"]
# setup

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from ipywidgets import FloatSlider, IntSlider, interact
from torch import nn

from iasa.keypoints import load_keypoints
from iasa.paths import POSES

plt.style.use(root / "notebooks" / "course.mplstyle")
torch.manual_seed(0)
clips = [load_keypoints(POSES / f"{name}.npz").xy for name in ("welcome", "library")]
wrists = np.concatenate([clip[:, [10, 9]] for clip in clips])  # [f, 2 wrists, 2]: right, left
label = torch.arange(2).repeat(len(wrists))  # 0 right, 1 left
places = torch.from_numpy(wrists.reshape(-1, 2)).float()
data = (places - places.mean(0)) / places.std(0) * torch.tensor([1.0, -1.0])  # y up

fig, axis = plt.subplots(figsize=(6.4, 4.4))
for hand, (name, colour) in enumerate((("right wrist", "#0072B2"), ("left wrist", "#E69F00"))):
    axis.scatter(*data[label == hand].T, s=12, color=colour, label=name)
axis.set(xlabel="x (deviations)", ylabel="y (deviations)", title="where the hands of two clips are")
axis.legend()
plt.show()

# %% [markdown]
# These are the wrists of two talking clips, one point a frame, in deviations from their mean. We want a machine that makes new points of this kind: a *generative model* of where hands go.
#
# ## Paths from data to noise
# Draw a data point $x_0$ and a random point $\epsilon \sim \mathcal N(0, I)$, and join them by a straight line:
#
# $$ x_t = (1 - t)\, x_0 + t\, \epsilon, \qquad 0 \le t \le 1 . $$
#
# $t$ is the **noise level**. Many lines start near the same place, and at $t = 1$ all are lost in the same cloud.
#
# ## Exercise 1: mix in noise
# | | |
# |---|---|
# | `clean`, `noise` | float tensors `[m, d]` |
# | `t` | float tensor `[m]`, a level for each row |
# | returns | float tensor `[m, d]` |

# %% tags=["exercise"]
def mix_noise(clean: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Points on the straight paths from clean to noise: [m, d]."""
    ### BEGIN SOLUTION
    return (1 - t)[:, None] * clean + t[:, None] * noise
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_mix_noise

check_mix_noise(mix_noise)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `t[:, None]` is a column `[m, 1]` that multiplies each row by its own number.
# </details>
#
# **Predict**: at which level can you no longer tell the right hand's points from the left's?
#
# <details><summary>Answer</summary>
#
# Around $t = 0.6$ to $0.7$: there the noise, $t$ deviations wide, has outgrown the distance between the two clouds, which has shrunk by $1 - t$.
# </details>

# %%
from iasa.teaching import yours


def show_noise(t=0.3):
    """All points at one noise level."""
    noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(1))
    noisy = yours(mix_noise)(data, noise, torch.full((len(data),), t))
    fig, axis = plt.subplots(figsize=(5.6, 4.2))
    for hand, colour in ((0, "#0072B2"), (1, "#E69F00")):
        axis.scatter(*noisy[label == hand].T, s=12, color=colour)
    axis.set(xlim=(-3, 3), ylim=(-3, 3), xlabel="x (deviations)", ylabel="y (deviations)")
    axis.set_title(f"level t = {t:.2f}")
    plt.show()


interact(show_noise, t=FloatSlider(0.3, min=0, max=1, step=0.05));

# %%
show_noise(0.3)
show_noise(0.8)

# %% [markdown]
# ## The network predicts where the path began
# Given a noisy point and its level, the network guesses the clean point, $\hat x_0(x_t, t)$. It is trained with squares, so it learns the **mean** of all clean
# points whose paths pass here. (For guidance, below, it also gets the hand's label: 0, 1, or 2 for "not told", which it sees one time in five.)
#
# Two choices make it learn well. Near level 0 a noisy point is nearly clean, so the network predicts a *correction* that is multiplied by $t$. And its errors are weighted more at low levels, where fine
# detail is decided.

# %%
class PointDenoiser(nn.Module):
    """Noisy points [m, 2], levels [m] and labels [m] -> clean points [m, 2]."""

    def __init__(self, width=128):
        super().__init__()
        self.name = nn.Embedding(3, 8)
        sizes = [2 + 8 + 8, width, width, width]
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        layers = [nn.Sequential(nn.Linear(a, b), nn.SiLU()) for a, b in pairs]
        self.body = nn.Sequential(*layers, nn.Linear(width, 2))

    def forward(self, x, t, label):
        angle = t[:, None] * torch.tensor([1.0, 3.0, 9.0, 27.0])
        seen = torch.cat([x, angle.sin(), angle.cos(), self.name(label)], 1)
        return x + t[:, None] * self.body(seen)

# %%
torch.manual_seed(0)
model = PointDenoiser()
rounds = 150 if FAST else 3000
optimiser = torch.optim.Adam(model.parameters())
schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-3, total_steps=rounds)
errors = []
for _ in range(rounds):
    pick = torch.randint(len(data), (512,))
    told = torch.where(torch.rand(512) < 0.2, 2, label[pick])
    t, noise = torch.rand(512), torch.randn(512, 2)
    guess = model(yours(mix_noise)(data[pick], noise, t), t, told)
    error = (guess - data[pick]) ** 2
    optimiser.zero_grad()
    (error / (t[:, None] + 0.05) ** 2).mean().backward()
    optimiser.step()
    schedule.step()
    errors.append(error.mean().item())
print(f"mean squared error of the last 100 steps: {np.mean(errors[-100:]):.3f}")

# %% [markdown]
# ## From guesses to a velocity
# If the point at $x_t$ came from $\hat x_0$ along a straight path, it moves with constant velocity $\dfrac{dx}{dt} = \epsilon - x_0$. The noise $\epsilon$ is not known, but
# $x_t$ and $t$ are: eliminate it.
#
# ## Exercise 2: the velocity
# | | |
# |---|---|
# | `clean` | float tensor `[m, d]`, the guess $\hat x_0$ |
# | `noisy` | float tensor `[m, d]`, $x_t$ |
# | `t` | float tensor `[m]`, above 0 |
# | returns | float tensor `[m, d]`, $dx/dt$ written with these three |

# %% tags=["exercise"]
def velocity(clean: torch.Tensor, noisy: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """How fast a point moves along its path as t grows: [m, d]."""
    ### BEGIN SOLUTION
    return (noisy - clean) / t[:, None]
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_velocity

check_velocity(velocity)

# %% [markdown]
# <details><summary>Hint</summary>
#
# From $x_t = x_0 + t\,(\epsilon - x_0)$ it follows that $\epsilon - x_0 = (x_t - x_0) / t$.
# </details>
#
# ## Exercise 3: Euler's steps
# Start with pure noise at level 1 and follow the velocity *down* to level 0. `levels` falls from 1, for instance `[1.0, 0.75, 0.5, 0.25]`; the last step goes from the last
# level to 0. A step from $t$ to $t'$:
#
# $$ x \leftarrow x + (t' - t)\, \frac{x - \hat x_0(x, t)}{t} . $$
#
# | | |
# |---|---|
# | `denoise` | function `(x [m, d], level: float) -> x0 [m, d]` |
# | `noise` | float tensor `[m, d]` |
# | `levels` | list of falling floats, the first is 1 |
# | returns | float tensor `[m, d]`, the sample |

# %% tags=["exercise"]
def euler(denoise, noise: torch.Tensor, levels: list[float]) -> torch.Tensor:
    """Follow the flow from noise to data: [m, d]."""
    ### BEGIN SOLUTION
    x = noise
    for level, after in zip(levels, [*levels[1:], 0.0], strict=True):
        x = x + (after - level) * (x - denoise(x, level)) / level
    return x
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_euler

check_euler(euler)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Pair each level with the next: `zip(levels, [*levels[1:], 0.0])`. One call of `denoise` for each level, with that level.
# </details>
#
# ### Few steps, many steps
# **Predict**: with a *single* step the sample is $\hat x_0(\epsilon, 1)$. What does the network know about the clean point when it sees pure noise? So where will all one-step
# samples lie?
#
# <details><summary>Answer</summary>
#
# Nothing: every clean point is as likely as before. So it answers with the mean of them all, and all one-step samples lie together, in a place
# between the hands where no hand ever is.
# </details>

# %% tags=["cover"]
from iasa.sampling import make_levels


def denoise_points(x, level, label=2):
    """The trained network as a function of points and one level."""
    return model(x, torch.full((len(x),), level), torch.full((len(x),), label))


start = torch.randn(500, 2, generator=torch.Generator().manual_seed(2))
fig, axes = plt.subplots(1, 4, figsize=(12, 3.6), sharex=True, sharey=True)
for axis, steps in zip(axes, (1, 2, 5, 50), strict=True):
    with torch.no_grad():
        made = yours(euler)(denoise_points, start, make_levels(steps))
    axis.scatter(*data.T, s=14, color="lightgrey")
    axis.scatter(*made.T, s=6, color="#D55E00")
    axis.set(xlabel="x (deviations)", xlim=(-1.9, 1.9), ylim=(-1.9, 1.9))
    axis.set_title(f"{steps} step{'s' * (steps > 1)}")
axes[0].set_ylabel("y (deviations)")
plt.show()

# %% [markdown]
# One step gives the mean of everything: no hand is ever there. With 50 steps the samples (orange) lie on the data (grey). A few stand between the hands: there a path must choose, the true
# velocity jumps from one side to the other, and a smooth network rounds the jump off. In pictures the mean of many sharp pictures is a **blur**. Many small steps let the point
# decide early for one region and refine later: this is why a teacher takes many steps (and why [notebook 6](06_the_student.ipynb) exists).
#
# Here are the paths of 25 points. **Predict**: the training paths were straight lines. Are these?
#
# <details><summary>Answer</summary>
#
# No. A path leads along the mean of all training lines that pass through a point. It begins towards the middle (arrows), then bends towards one of the
# hands as soon as one becomes more likely.
# </details>

# %%
track = []


def watched(x, level):
    """The network, with a note of every point where it was asked."""
    track.append(x)
    return denoise_points(x, level)


with torch.no_grad():
    track.append(yours(euler)(watched, start[:25], make_levels(50)))
    first = -yours(velocity)(denoise_points(start[:25], 1.0), start[:25], torch.ones(25))
track = torch.stack(track).numpy()  # [51, 25, 2]

plt.figure(figsize=(7, 5))
plt.scatter(*data.T, s=14, color="lightgrey")
plt.plot(track[..., 0], track[..., 1], color="#0072B2", linewidth=1.2)
plt.scatter(*track[-1].T, s=40, color="#D55E00", zorder=3, label="end, level 0")
plt.scatter(*track[0].T, s=30, color="black", marker="x", zorder=3, label="start, level 1")
plt.quiver(*start[:25].T, *first.T, color="grey", width=0.003)
plt.xlabel("x (deviations)")
plt.ylabel("y (deviations)")
plt.legend()
plt.show()

# %% [markdown]
# ## Exercise 4: guidance
# Tell the network *which* hand. Its guess when told, $\hat x_0^{c}$, differs from the guess when not told, $\hat x_0$. **Classifier-free guidance** ([Ho and Salimans 2022](https://arxiv.org/abs/2207.12598)) exaggerates the difference by a scale $s$:
#
# $$ \hat x_0 + s\,(\hat x_0^{c} - \hat x_0) . $$
#
# | | |
# |---|---|
# | `told`, `untold` | float tensors of one shape |
# | `scale` | float $s$ |
# | returns | float tensor of that shape |

# %% tags=["exercise"]
def guide(told: torch.Tensor, untold: torch.Tensor, scale: float) -> torch.Tensor:
    """The guess pushed from `untold` through `told` by a scale."""
    ### BEGIN SOLUTION
    return untold + scale * (told - untold)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_guide

check_guide(guide)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $s = 0$ must give `untold`, $s = 1$ must give `told`; a straight line through both does that.
# </details>
#
# **Predict**: right hand, scale 4. Will the points cover the right hand's region better, or pile up somewhere?
#
# <details><summary>Answer</summary>
#
# They pile up on the side away from the left hand, partly outside the data: guidance moves samples to where the label is *most certain*, not to
# where the data are.
# </details>

# %%
def show_guidance(scale=1.0, hand=0):
    """Samples of one hand at a guidance scale."""

    def guided(x, level):
        told, untold = denoise_points(x, level, hand), denoise_points(x, level)
        return yours(guide)(told, untold, scale)

    with torch.no_grad():
        made = yours(euler)(guided, start, make_levels(50))
    fig, axis = plt.subplots(figsize=(6, 4.4))
    axis.scatter(*data.T, s=6, color="lightgrey")
    axis.scatter(*data[label == hand].T, s=14, color="grey")
    axis.scatter(*made.T, s=6, color="#D55E00")
    axis.set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), xlabel="x (deviations)", ylabel="y (deviations)")
    axis.set_title(f"{('right', 'left')[hand]} hand, scale {scale:g}")
    plt.show()


interact(show_guidance, scale=FloatSlider(1, min=0, max=6, step=0.5), hand=IntSlider(0, max=1));

# %%
show_guidance(1.0)
show_guidance(4.0)

# %% [markdown]
# Guidance buys certainty and pays with variety: samples move away from what the other label could also be, beyond the data if one insists. Text-to-image models need it.
# Our condition (a full pose) says nearly everything, and the package's teacher does without.
#
# ## The same with pictures
# Now $x$ is a picture of a talking person. The package's latents need a learned decoder to be seen, and a decoder that is told the pose would draw a good part of the
# answer by itself. To see what the *network* has learned we take pictures so small that no decoder is needed: 64 x 64 pixels, cut into 8 x 8 tokens of 8 x 8 pixels
# and three colours, $192 \times 8 \times 8$ numbers. Going back is mere rearrangement.
#
# The condition is a **pose** (for each token: which keypoints lie near it, and where) and a **reference** (the speaker's picture, which every frame may attend to). The truth is *drawn* from the pose,
# hands and all. There are six speakers with 48 frames each, and eight more frames from another performance to test on. The sixth speaker is held out
# altogether.

# %%
import torch.nn.functional as F

DATA = root / "notebooks" / "data"  # made by notebooks/make_data.py
drawn = dict(np.load(DATA / "tiny_frames.npz"))
latents = F.pixel_unshuffle(torch.from_numpy(drawn["pictures"]).movedim(-1, -3) / 127.5 - 1, 8)
xy, seen = torch.from_numpy(drawn["xy"]).float(), torch.from_numpy(drawn["seen"]).float()
print(f"latents {list(latents.shape)}: speakers, reference and frames, numbers of a picture")


def show_row(pictures, titles, width=1.9):
    """Latents [192, 8, 8] as pictures, side by side."""
    fig, axes = plt.subplots(1, len(pictures), figsize=(width * len(pictures), width + 0.4))
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        axis.imshow((F.pixel_shuffle(picture, 8).movedim(0, -1) / 2 + 0.5).clamp(0, 1))
        axis.set_title(title, fontsize=12)
        axis.axis("off")
    plt.show()


shown = latents[[0, 0, 2, 2, 5, 5], [0, 40, 0, 20, 0, 25]]
show_row(shown, ["reference", "a frame"] * 2 + ["held-out speaker", "a frame"])

# %% [markdown]
# The tiny teacher is the package's transformer, made small: 96 wide and 3 layers deep, where the shipped one is 320 wide and 8 deep.

# %%
from dataclasses import replace

from iasa.attention.frame_patterns import attend_own
from iasa.models.transformer import VideoTransformer

tiny = VideoTransformer(latent_channels=192, width=96, layers=3, heads=3, rows=8, cols=8)


def take(speaker, which):
    """Frames of a speaker with the reference in front: latents, xy, seen [b, 2, ...]; its image."""
    pairs = torch.stack([torch.zeros_like(which), which], 1)
    both = {"xy": xy[speaker, pairs, None].expand(-1, -1, 2, -1, -1)}  # two poses a latent frame
    both["seen"] = seen[speaker, pairs, None].expand(-1, -1, 2, -1)
    image = F.interpolate(F.pixel_shuffle(latents[speaker, :1], 8), (256, 256), mode="bilinear")
    return both | {"latents": latents[speaker, pairs], "image": image}


def predict(batch, noisy, level):
    """x0 of one latent frame each [b, c, h, w]; the clean reference rides in front, at level 0."""
    reference = batch["latents"][:, :1]
    base = reference.expand(-1, 2, -1, -1, -1)
    condition = tiny.condition(base, batch["image"], batch["xy"], batch["seen"])
    condition = replace(condition, image_tokens=condition.image_tokens.expand(len(noisy), -1, -1))
    levels = torch.stack([torch.zeros_like(level), level], 1)
    return tiny(torch.cat([reference, noisy[:, None]], 1), levels, condition, attend_own)[:, 1]

# %% [markdown]
# Training from nothing takes longer than a lesson. `HALF_TRAINED` starts from weights that have seen 400 steps (`notebooks/data/tiny_teacher.safetensors`, made by
# [make_data.py](../notebooks/make_data.py)); set it to False to begin with an untrained network.
#
# **Predict**: an untrained network returns the reference, whatever the pose (its last layer starts at zero, and its output is *added* to the reference). We measure the error as a share of this start, on new poses of the five speakers
# and on the sixth. Where is the half-trained network on each: 10 %, 50 %, 100 %?
#
# <details><summary>Answer</summary>
#
# About 65 % on new poses of the five, and 108 % on the speaker it has never seen: worse than copying the reference. Two more minutes bring the first to 61 %, the second nowhere. Five speakers teach where *their* hands and sleeves go, not how to
# take a stranger's looks from a picture.
# </details>

# %%
from safetensors.torch import load_file

from iasa.losses import flow_loss, sample_levels

HALF_TRAINED = True
torch.manual_seed(0)
if HALF_TRAINED:
    halves = load_file(DATA / "tiny_teacher.safetensors")
    tiny.load_state_dict({name: value.float() for name, value in halves.items()})
tests = [take(speaker, torch.arange(49, 57)) for speaker in range(6)]

# %%
@torch.no_grad()
def held_out_error(batches):
    """One-step guess from pure noise, squared error over that of copying the reference."""
    error, copied = 0.0, 0.0
    for batch in batches:
        goal = batch["latents"][:, 1]
        noise = torch.randn(goal.shape, generator=torch.Generator().manual_seed(5))
        error += ((predict(batch, noise, torch.ones(len(goal))) - goal) ** 2).mean().item()
        copied += ((batch["latents"][:, 0] - goal) ** 2).mean().item()
    return error / copied

# %%
@torch.no_grad()
def draw_samples(batch, steps=8):
    """Frames sampled by your steps: [8, 192, 8, 8]."""

    def denoise(x, t):
        return predict(batch, x, torch.full((len(x),), t))

    noise = torch.randn(8, 192, 8, 8, generator=torch.Generator().manual_seed(6))
    return yours(euler)(denoise, noise, make_levels(steps))


def look():
    """Errors on new poses and on the new speaker, and samples of speakers 3 and 5."""
    errors = held_out_error(tests[:1] if FAST else tests[:5]), held_out_error(tests[5:])
    return errors, {speaker: draw_samples(tests[speaker]) for speaker in (3, 5)}

# %%
import time

from tqdm.auto import trange

steps, began = 3 if FAST else 200, time.perf_counter()
optimiser = torch.optim.AdamW(tiny.parameters(), lr=5e-4)
errors, at_start = look()
curve = [(0, *errors)]
for step in trange(1, steps + 1):
    batch = take(torch.randint(5, ()).item(), torch.randint(1, 49, (8,)))
    clean, level = batch["latents"][:, 1], sample_levels((8,))
    noise = torch.randn_like(clean)
    noisy = yours(mix_noise)(clean.flatten(1), noise.flatten(1), level).view_as(clean)
    loss = flow_loss(predict(batch, noisy, level)[:, None], clean[:, None], level[:, None])
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(tiny.parameters(), 1.0)
    optimiser.step()
    if step % max(1, steps // 4) == 0:
        curve.append((step, held_out_error(tests[:5]), held_out_error(tests[5:])))
at_end = look()[1]
minutes = (time.perf_counter() - began) / 60

# %%
step, known, new = np.array(curve).T
plt.figure(figsize=(8, 3.2))
plt.plot(step, known * 100, "o-", label="new poses of known speakers")
plt.plot(step, new * 100, "s--", label="a new speaker")
plt.axhline(100, color="black", linewidth=1)
plt.xlabel(f"training step ({minutes:.1f} minutes in all)")
plt.ylabel("error (% of copying)")
plt.title("one-step guess from pure noise")
plt.ylim(0)
plt.legend()
plt.show()
for speaker in (3, 5):
    reference, goal = tests[speaker]["latents"][5]
    shown = [reference, at_start[speaker][5], at_end[speaker][5], goal]
    show_row(shown, ["reference", "at the start", f"{steps} steps on", "truth"], width=2.4)

# %%
if not FAST:  # what the curves say
    assert 0.5 < known[-1] < known[0] < 0.75, "new poses: better, and still improving"
    assert new.min() > 1, "a new speaker: worse than copying the reference"

# %% [markdown]
# Nothing but the network draws here: no decoder stands behind it. The hands have left the reference's place, and smudges of their colour appear where the pose wants them: a short training learns the *where* before the *what*, and what it
# does not know it blurs, since squares ask for a mean. On the speaker whom it never saw it does harm. More steps sharpen the first; only more *speakers* mend the second.
#
# ## The shipped teacher
# It is larger, was trained on drawn frames of many speakers, and is given the warped reference as a start. Its card says how it was made. **Predict**: two speakers, two poses. What follows the
# pose, what the reference?
#
# <details><summary>Answer</summary>
#
# Where things are follows the pose: hands, tilt of the head, opening of the mouth. What they look like follows the reference: face, clothes, room.
# </details>

# %%
import json

from iasa.avatar.speaker import load_speaker
from iasa.models.checkpoint import read_card
from iasa.motion import speech_to_keypoints
from iasa.paths import SPEECH
from iasa.pipeline import CoSpeechPipeline
from iasa.speech import analyse, read_audio

phones = [tuple(phone) for phone in json.loads((SPEECH / "tea.json").read_text())["phones"]]
features = analyse(read_audio(SPEECH / "tea.mp3")[0], phones=phones)
card = read_card("teacher")
print({key: card[key] for key in ("data", "clips", "steps", "seconds", "device") if key in card})
pipeline = CoSpeechPipeline.from_pretrained(student=None)

# %%
fig, axes = plt.subplots(2, 3, figsize=(6.6, 4.5))
for row, name in enumerate(("dana", "emre")):
    speaker = load_speaker(name)
    poses = speech_to_keypoints(features, speaker.identity, seed=4)[1]
    axes[row, 0].imshow(speaker.image)
    for column, t in ((1, 40), (2, 120)):
        take_one = pipeline.stream(
            image=speaker, keypoints=poses[t : t + 2], model="teacher",
            num_inference_steps=2 if FAST else 12,
        )
        axes[row, column].imshow(next(take_one.frames)[0])
for axis, title in zip(axes.flat, ("reference", "pose A", "pose B", "", "", ""), strict=True):
    axis.set_title(title)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Summary
# - Straight paths to noise and a network that predicts $x_0$: [`add_noise`, `flow_loss`, `sample_levels` in iasa/losses.py](../iasa/losses.py).
# - Euler's steps follow its velocity: [`sample_euler`, `make_levels` in iasa/sampling.py](../iasa/sampling.py).
# - The network sees noisy latents, pose and reference: [`VideoTransformer` in iasa/models/transformer.py](../iasa/models/transformer.py), [`PoseEmbedding` in iasa/models/pose_embedding.py](../iasa/models/pose_embedding.py).
# - The teacher attends densely over a window of frames: [`attend_window` in iasa/attention/frame_patterns.py](../iasa/attention/frame_patterns.py); its training: [`train_teacher` in iasa/training/train_teacher.py](../iasa/training/train_teacher.py).
# - One step predicts a mean; many steps make a choice.
#
# ## Further questions
# 1. The loss divides by $t$ plus a floor of 0.2 (`flow_loss`). Which quantity's squared error does it then (nearly) measure, and why a floor?
# 2. `make_levels` spends more of its steps near level 1 (`shift`). Look at the paths of the points above: where do they bend?
# 3. Why do faces and hands get a larger weight in training (`token_weight`)? What would plain squares care about most in these pictures?
# 4. The tiny teacher never saw two frames together. What would flicker in a video, and which attention repairs it?
#
# **Next**: 20 steps are too slow for real time. [The student](06_the_student.ipynb).
