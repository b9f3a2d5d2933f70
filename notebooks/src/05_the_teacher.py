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
# - train a tiny teacher on latents of pictures, with a pose and a reference, watch it improve, and compare it with the shipped one.
#
# **Time** 75 minutes. **Needs** PyTorch (a training loop). No GPU. **Paper** section 3: the teacher is a many-step, dense video diffusion model. Flow matching:
# Lipman et al. 2023.

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

# %%
def show_noise(t=0.3):
    """All points at one noise level."""
    noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(1))
    noisy = (1 - t) * data + t * noise
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
    guess = model((1 - t)[:, None] * data[pick] + t[:, None] * noise, t, told)
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

# %% tags=["cover"]
from iasa.sampling import sample_euler


def denoise_points(x, level, label=2):
    """The trained network as a function of points and one level."""
    return model(x, torch.full((len(x),), level), torch.full((len(x),), label))


start = torch.randn(500, 2, generator=torch.Generator().manual_seed(2))
fig, axes = plt.subplots(1, 4, figsize=(12, 3.6), sharex=True, sharey=True)
for axis, steps in zip(axes, (1, 2, 5, 50), strict=True):
    with torch.no_grad():
        made = sample_euler(denoise_points, start, steps)
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

# %%
track = [start[:25]]
with torch.no_grad():
    sample_euler(denoise_points, start[:25], 50, callback=lambda step, x: track.append(x))
track = torch.stack(track).numpy()  # [51, 25, 2]

plt.figure(figsize=(7, 5))
plt.scatter(*data.T, s=14, color="lightgrey")
plt.plot(track[..., 0], track[..., 1], color="#0072B2", linewidth=1.2)
plt.scatter(*track[-1].T, s=40, color="#D55E00", zorder=3, label="end, level 0")
plt.scatter(*track[0].T, s=30, color="black", marker="x", zorder=3, label="start, level 1")
plt.xlabel("x (deviations)")
plt.ylabel("y (deviations)")
plt.legend()
plt.show()

# %% [markdown]
# ## Exercise 4: guidance
# Tell the network *which* hand. Its guess when told, $\hat x_0^{c}$, differs from the guess when not told, $\hat x_0$. **Classifier-free guidance** exaggerates the difference by a scale $s$:
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

# %%
def show_guidance(scale=1.0, hand=0):
    """Samples of one hand at a guidance scale."""

    def guided(x, level):
        told, untold = denoise_points(x, level, hand), denoise_points(x, level)
        return untold + scale * (told - untold)

    with torch.no_grad():
        made = sample_euler(guided, start, 50)
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
# Now $x$ is the latent frame of notebook 1: $48 \times 16 \times 16$ numbers instead of 2. The condition is a **pose** (for each token: which keypoints lie near it, and where) and a **reference**
# (the speaker's picture, which every frame may attend to).
#
# The truth in this notebook: the reference *warped* to the pose by the moving least squares of notebook 3. So the tiny teacher has to learn to bend a picture by its keypoints. (The shipped one was trained on
# drawn frames, which need a drawing library.) One speaker is held out.

# %%
import json

from iasa.avatar.speaker import load_speaker
from iasa.models.autoencoder import Autoencoder
from iasa.models.checkpoint import load_weights
from iasa.motion import speech_to_keypoints
from iasa.paths import SPEECH, WEIGHTS
from iasa.speech import analyse, read_audio
from iasa.warp.reference_warp import warp_reference

phones = [tuple(phone) for phone in json.loads((SPEECH / "tea.json").read_text())["phones"]]
features = analyse(read_audio(SPEECH / "tea.mp3")[0], phones=phones)
autoencoder = load_weights(Autoencoder, WEIGHTS / "autoencoder")

# %%
@torch.inference_mode()
def make_pairs(name, count, seed):
    """Reference [3, H, W], its latent, and `count` latent frames with poses [count, 2, 133, 2]."""
    speaker = load_speaker(name)
    poses = speech_to_keypoints(features, speaker.identity, seed)[1]
    first = 2 * np.random.default_rng(seed).integers(0, len(poses) // 2, count)
    poses = poses[np.stack([first, first + 1], 1).ravel()]
    both = (speaker.keypoints, poses)
    still, moving = ([torch.from_numpy(part)[None] for part in (k.xy, k.confidence)] for k in both)
    image = torch.from_numpy(speaker.image.copy()).movedim(-1, 0)[None] / 127.5 - 1
    warped = warp_reference(image, still[0][:, 0], still[1][:, 0], *moving)
    latents = autoencoder.encode(torch.cat([image[None].expand(1, 2, -1, -1, -1), warped], 1))[0]
    pairs = zip(still, moving, strict=True)
    joined = (torch.cat([s.expand(1, 2, *s.shape[2:]), m], 1)[0] for s, m in pairs)
    xy, seen = (part.unflatten(0, (-1, 2)) for part in joined)
    return {"image": image[0], "latents": latents, "xy": xy, "seen": seen}


names, count = (["alba"], 6) if FAST else (["alba", "bruno", "chidi", "dana", "emre"], 48)
training = [make_pairs(name, count, seed) for seed, name in enumerate(names)]
held_out = make_pairs("femi", 4 if FAST else 8, 99)
print(f"{len(training)} speakers, {count} latent frames each")
print(f"latents of the held-out one: {list(held_out['latents'].shape)}")

# %% [markdown]
# Entry 0 of each is the reference itself. The tiny teacher is the package's transformer, made small: 96 wide and 3 layers deep, where the shipped one is 320 wide and 8 deep.

# %%
from iasa.attention.frame_patterns import attend_own
from iasa.models.transformer import VideoTransformer

torch.manual_seed(0)
tiny = VideoTransformer(latent_channels=48, width=96, layers=3, heads=3)


def predict(batch, noisy, level):
    """x0 of one latent frame each [b, c, h, w]; the clean reference rides in front, at level 0."""
    reference = batch["latents"][:, :1]
    base = reference.expand(-1, 2, -1, -1, -1)
    condition = tiny.condition(base, batch["image"], batch["xy"], batch["seen"])
    levels = torch.stack([torch.zeros_like(level), level], 1)
    return tiny(torch.cat([reference, noisy[:, None]], 1), levels, condition, attend_own)[:, 1]


def take(clip, which):
    """Some latent frames of a clip, each with the reference in front."""
    batch = {"image": clip["image"][None].expand(len(which), -1, -1, -1)}
    for key in ("latents", "xy", "seen"):
        some = clip[key][which]
        batch[key] = torch.stack([clip[key][:1].expand_as(some), some], 1)
    return batch



# %% [markdown]
# **Predict**: before training the network returns the reference, whatever the pose (its last layer starts at zero, and its output is *added* to the reference). We measure the error on the held-out speaker as a share of
# this start. How far down does it get in a few minutes: 90 %, 50 %, 10 %?

# %%
import time

from iasa.losses import add_noise, flow_loss, sample_levels

test = take(held_out, torch.arange(1, len(held_out["latents"])))
goal = test["latents"][:, 1]


@torch.no_grad()
def held_out_error():
    """One-step guess from pure noise, squared error over that of copying the reference."""
    noise = torch.randn(goal.shape, generator=torch.Generator().manual_seed(5))
    guess = predict(test, noise, torch.ones(len(goal)))
    return ((guess - goal) ** 2).mean().item() / ((test["latents"][:, 0] - goal) ** 2).mean().item()


@torch.no_grad()
def draw_sample(steps=4):
    """The first held-out frame, sampled."""
    noise = torch.randn(1, *goal.shape[1:], generator=torch.Generator().manual_seed(6))
    one = {key: value[:1] for key, value in test.items()}
    return sample_euler(lambda x, t: predict(one, x, torch.tensor([t])), noise, steps)[0]

# %%
steps = 4 if FAST else 300
optimiser = torch.optim.AdamW(tiny.parameters(), lr=2e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
curve, sheets, began = [(0, held_out_error())], {0: draw_sample()}, time.perf_counter()

# %%
for step in range(1, steps + 1):
    clip = training[torch.randint(len(training), ()).item()]
    batch = take(clip, torch.randint(1, count + 1, (8,)))
    clean = batch["latents"][:, 1]
    level = sample_levels((8,))
    noisy = add_noise(clean[:, None], torch.randn_like(clean)[:, None], level[:, None])[:, 0]
    loss = flow_loss(predict(batch, noisy, level)[:, None], clean[:, None], level[:, None])
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(tiny.parameters(), 1.0)
    optimiser.step()
    schedule.step()
    if step % max(1, steps // 12) == 0:
        curve.append((step, held_out_error()))
    if step in (steps // 4, steps):
        sheets[step] = draw_sample()
minutes = (time.perf_counter() - began) / 60

# %%
plt.figure(figsize=(8, 3.4))
plt.plot(*np.array(curve).T * np.array([[1], [100]]), "o-")
plt.axhline(100, color="black", linewidth=1)
plt.xlabel(f"training step ({minutes:.1f} minutes in all)")
plt.ylabel("error (% of copying)")
plt.title("held-out speaker, one-step guess")
plt.ylim(0)
plt.show()

# %% [markdown]
# And in pictures. The decoder turns latents back to pixels; it is shown the *unwarped* reference here, so that it cannot give the answer away.

# %%
@torch.inference_mode()
def to_picture(latent):
    """A latent frame [c, h, w] as the first of its two pictures, uint8 [H, W, 3]."""
    still = held_out["image"][None, None].expand(1, 2, -1, -1, -1)
    pair = autoencoder.decode(latent[None, None], test["xy"][:1, 1], test["seen"][:1, 1], still)
    return (pair[0, 0].movedim(0, -1) * 127.5 + 127.5).clamp(0, 255).byte().numpy()


pictures = {"reference": to_picture(held_out["latents"][0])}
pictures |= {f"after {step} steps": to_picture(latent) for step, latent in sheets.items()}
pictures["truth (warped)"] = to_picture(goal[0])
fig, axes = plt.subplots(1, len(pictures), figsize=(2.4 * len(pictures), 2.8))
for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
    axis.imshow(picture)
    axis.set_title(title)
    axis.axis("off")
plt.show()

# %% [markdown]
# The error falls at once, then slowly: a few minutes buy the *where*, not the *what*. Hands leave the reference's place and fog of their colour appears where the pose wants them. Sharp fingers need
# more steps, more speakers and a wider network.
#
# ## The shipped teacher
# It is larger, was trained on drawn frames of many speakers, and is given the warped reference as a start. Its card says how it was made. **Predict**: two speakers, two poses. What follows the
# pose, what the reference?

# %%
from iasa.models.checkpoint import read_card
from iasa.pipeline import CoSpeechPipeline

card = read_card("teacher")
print({key: card[key] for key in ("data", "clips", "steps", "seconds", "device") if key in card})
pipeline = CoSpeechPipeline.from_pretrained(student=None)
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
