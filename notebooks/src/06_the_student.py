# %% [markdown]
# # 6 · The student
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/06_the_student.ipynb)
#
# **The question.** The teacher needs tens of network calls for a picture. Why not simply train a student to do it in one? Try it, and you get fog. What should
# the student be asked to do instead?
#
# **You will be able to**
# - explain why regression in one step blurs, with a picture of the mean of four places;
# - turn a denoiser into a score, and see two scores pull at the same points;
# - write distribution matching distillation (DMD): its gradient, its surrogate loss, and its critic;
# - distil a small picture model from 20 steps to one, with and without the region loss, and rebuild the paper's ablation in small.
#
# **Time** 75 minutes. **Needs** [notebook 5](05_the_teacher.ipynb), PyTorch's autograd. No GPU. **Paper** [arXiv 2510.02617](https://arxiv.org/abs/2510.02617), section 3,
# input-aware distillation; [DMD](https://arxiv.org/abs/2311.18828) and [DMD2](https://arxiv.org/abs/2405.14867): Yin et al. 2024.

# %% tags=["setup"]
# setup

# %%
import matplotlib.pyplot as plt
import torch

from iasa.sampling import sample_euler

plt.style.use(root / "notebooks" / "course.mplstyle")
PLACES, WIDTH = torch.tensor([[-1.5, 0.8], [1.5, 0.8], [0.0, -1.2], [0.0, 1.8]]), 0.15


def teach(x, t):
    """The exact mean of the clean points behind noisy points [m, 2] at levels [m]."""
    shrunk, variance = (1 - t)[:, None], ((1 - t) * WIDTH)[:, None] ** 2 + t[:, None] ** 2
    away = x[:, None] - shrunk[..., None] * PLACES  # [m, 4, 2]
    share = (-(away**2).sum(-1) / (2 * variance)).softmax(1)[..., None]
    return (share * (PLACES + (shrunk * WIDTH**2 / variance)[..., None] * away)).sum(1)


start = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
fig, axes = plt.subplots(1, 4, figsize=(11, 3.2), sharex=True, sharey=True)
for axis, steps in zip(axes, (1, 2, 5, 30), strict=True):
    made = sample_euler(lambda x, t: teach(x, torch.full((len(x),), t)), start, steps)
    axis.scatter(*made.T, s=8, color="#D55E00")
    axis.set(xlim=(-3, 3), ylim=(-3, 3), xlabel="x (units)", title=f"teacher, steps: {steps}")
axes[0].set_ylabel("y (units)")
plt.show()

# %% [markdown]
# Four places where a hand may rest, each with a little spread. Such data are a mixture of Gaussians, and the best possible denoiser has a closed form: we need not train this teacher. With 30 steps
# it finds the four places. With one step it answers with their mean, where no hand ever is.
#
# That is no lack of training. $\hat x_0(x_t, t) = \mathbb E[x_0 \mid x_t]$, and from pure noise nothing is known: the mean of all. A student that is trained by regression ("make from this noise
# what the data look like") learns the same mean. **The fault is in the question**: squares ask for a mean.
#
# DMD asks another question: *do the student's samples, as a crowd, look like the data?* It needs to know at each point in which direction the data lie: the **score**.
#
# ## Exercise 1: from a denoiser to a score
# The score of noisy data is the gradient of their log density. For $x_t = (1-t)\,x_0 + t\,\epsilon$ it follows from the denoiser ([Tweedie's formula](https://doi.org/10.1198/jasa.2011.tm11181)):
#
# $$ s(x_t, t) = \nabla_{x_t} \log p_t(x_t) = \frac{(1-t)\,\hat x_0(x_t, t) - x_t}{t^2} . $$
#
# | | |
# |---|---|
# | `clean` | float tensor `[m, d]`, $\hat x_0$ |
# | `noisy` | float tensor `[m, d]`, $x_t$ |
# | `t` | float tensor `[m]` |
# | returns | float tensor `[m, d]` |

# %% tags=["exercise"]
def score(clean: torch.Tensor, noisy: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Gradient of the log density of noisy data: [m, d]."""
    ### BEGIN SOLUTION
    return ((1 - t)[:, None] * clean - noisy) / t[:, None] ** 2
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_score

check_score(score)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Given $x_0$, the noisy point is Gaussian around $(1-t)x_0$ with variance $t^2$; the gradient of its log density is $((1-t)x_0 - x_t)/t^2$. Averaging over the possible $x_0$ puts $\hat x_0$ in its place.
# </details>
#
# ### Play: the field of scores
# **Predict**: at a low level the arrows point to the nearest place. Where do they point at a high level?
#
# <details><summary>Answer</summary>
#
# To the middle, from everywhere: under so much noise the four places blur into one hill, and the score climbs that.
# </details>

# %%
import torch.nn.functional as F
from ipywidgets import FloatSlider, interact

from iasa.teaching import yours

side = torch.linspace(-2.6, 2.6, 15)
lattice = torch.cartesian_prod(side, side)  # [225, 2]


def show_field(level=0.3):
    """Directions of the teacher's score at a level."""
    t = torch.full((len(lattice),), level)
    arrows = F.normalize(yours(score)(teach(lattice, t), lattice, t), dim=1)
    fig, axis = plt.subplots(figsize=(5.2, 4.8))
    axis.quiver(*lattice.T, *arrows.T, color="#0072B2", scale=22, width=0.005)
    axis.scatter(*(PLACES * (1 - level)).T, color="#D55E00", s=50)
    axis.set(xlabel="x (units)", ylabel="y (units)")
    axis.set_title(f"score at t = {level:.2f}; dots: places x {1 - level:.2f}")
    plt.show()


interact(show_field, level=FloatSlider(0.3, min=0.05, max=1, step=0.05));

# %%
show_field(0.15)
show_field(0.8)

# %% [markdown]
# ## Two scores
# Let the student $G$ make samples $x_0 = G(\epsilon)$, add noise to them, and ask two networks for the clean point: the frozen **teacher** (score of the data) and a **critic** (score of
# the *student's own* samples). Where the student puts too many samples, the critic's score pulls inwards more than the teacher's; the difference says where to go. It is the gradient of a distance between the two crowds
# (the reverse Kullback-Leibler divergence):
#
# $$ \nabla_\theta \;\approx\; -\,\mathbb E\Big[\big(s_\text{data}(x_t, t) - s_\text{gen}(x_t, t)\big)\, \frac{\partial G}{\partial \theta}\Big] . $$
#
# Both scores share $x_t$ and $t$, so only the guesses differ: $s_\text{data} - s_\text{gen} \propto \hat x_0^\text{real} - \hat x_0^\text{fake}$. To bring all levels on one scale, DMD divides each sample by its mean distance to the teacher's guess.
#
# ## Exercise 2: the gradient of DMD
# $$ g = \frac{\hat x_0^\text{fake} - \hat x_0^\text{real}}{\operatorname{mean}\,\lvert x_0 - \hat x_0^\text{real}\rvert} , \qquad \text{the mean over the numbers of one sample, at least } 10^{-6}. $$
#
# | | |
# |---|---|
# | `real_x0`, `fake_x0` | float tensors `[m, d]`, what teacher and critic make of the noisy samples |
# | `x0` | float tensor `[m, d]`, the samples |
# | returns | float tensor `[m, d]`, without a graph: teacher and critic are only read |

# %% tags=["exercise"]
def dmd_gradient(real_x0: torch.Tensor, fake_x0: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
    """Direction against which the student's samples should move: [m, d]."""
    ### BEGIN SOLUTION
    with torch.no_grad():
        scale = (x0 - real_x0).abs().mean(1, keepdim=True).clamp_min(1e-6)
        return (fake_x0 - real_x0) / scale
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_dmd_gradient

check_dmd_gradient(dmd_gradient)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `(x0 - real_x0).abs().mean(1, keepdim=True).clamp_min(1e-6)` is the scale, one number a row. Wrap it all in `with torch.no_grad():`.
# </details>
#
# ## Exercise 3: a loss that has this gradient
# Optimisers want a loss. Build one whose derivative by $x_0$ is $g$ (divided by the number of elements), with the target held fixed:
#
# $$ L = \tfrac12 \operatorname{mean}\big(x_0 - \operatorname{stop}(x_0 - g)\big)^2 . $$
#
# | | |
# |---|---|
# | `x0` | float tensor `[m, d]`, with its graph |
# | `gradient` | float tensor `[m, d]` |
# | returns | scalar tensor |

# %% tags=["exercise"]
def surrogate(x0: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """A scalar whose derivative by x0 is `gradient`, over the number of elements."""
    ### BEGIN SOLUTION
    target = (x0 - gradient).detach()
    return 0.5 * ((x0 - target) ** 2).mean()
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_surrogate

check_surrogate(surrogate)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `.detach()` is the "stop". Detach the target only: if everything is detached nothing learns, if nothing is, the gradient cancels.
# </details>
#
# ## Exercise 4: the critic's lesson
# The critic is an ordinary denoiser, trained as in notebook 5, but on the student's samples, again and again, because the student moves. The samples are its *data*: no gradient may flow into the student.
#
# | | |
# |---|---|
# | `critic` | function `(noisy [m, d], t [m]) -> [m, d]` |
# | `x0`, `noise` | float tensors `[m, d]` |
# | `t` | float tensor `[m]` |
# | returns | scalar: mean squared error of the critic's guess for $(1-t)x_0 + t\epsilon$ |

# %% tags=["exercise"]
def critic_step(critic, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The critic's loss on the student's samples."""
    ### BEGIN SOLUTION
    x0 = x0.detach()
    noisy = (1 - t)[:, None] * x0 + t[:, None] * noise
    return ((critic(noisy, t) - x0) ** 2).mean()
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_critic_step

check_critic_step(critic_step)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Three lines: detach, mix in noise, squared error. The target is the sample, not the noise.
# </details>
#
# ## Watch the crowd move
# Now the loop, with your critic's lesson, your gradient and your loss: three lessons for the critic, one step for the student. The student starts as "return the noise". **Predict**: will the samples go to all four places, or to one? And what if we
# leave the critic out (its guess is replaced by the sample itself), so that only the teacher pulls?
#
# <details><summary>Answer</summary>
#
# With the critic they go to all four places, though not in equal shares. Without it they pile up: each sample climbs to where the
# teacher's guesses point on average over the noise levels, and nothing pushes samples apart.
# </details>

# %%
from torch import nn


class PointNet(nn.Module):
    """Points [m, 2] and levels [m] -> points [m, 2]; starts as the identity."""

    def __init__(self, width=64):
        super().__init__()
        sizes = [10, width, width, width]
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        layers = [nn.Sequential(nn.Linear(a, b), nn.SiLU()) for a, b in pairs]
        self.body = nn.Sequential(*layers, nn.Linear(width, 2))
        nn.init.zeros_(self.body[-1].weight)
        nn.init.zeros_(self.body[-1].bias)

    def forward(self, x, t):
        angle = t[:, None] * torch.tensor([1.0, 3.0, 9.0, 27.0])
        return x + self.body(torch.cat([x, angle.sin(), angle.cos()], 1))


def step(optimiser, loss):
    """One step of an optimiser against a loss."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

# %%
from tqdm.auto import trange


def match(rounds, lessons=3, m=256):
    """A one-step student by DMD, its critic, and its samples on the way; 0 lessons: no critic."""
    torch.manual_seed(0)
    student, critic = PointNet(), PointNet()
    nets, one, film = (student, critic), torch.ones(m), []
    learn, follow = (torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.5, 0.95)) for net in nets)
    for number in trange(rounds, desc=f"{lessons} lessons"):
        for _ in range(lessons):
            x0, t = student(torch.randn(m, 2), one), torch.rand(m) * 0.93 + 0.05
            step(follow, yours(critic_step)(critic, x0, torch.randn(m, 2), t))
        x0 = student(torch.randn(m, 2), one)
        t = torch.rand(m) * 0.93 + 0.05
        noisy = (1 - t)[:, None] * x0.detach() + t[:, None] * torch.randn(m, 2)
        fake = critic(noisy, t).detach() if lessons else x0.detach()
        gradient = yours(dmd_gradient)(teach(noisy, t), fake, x0.detach())
        step(learn, yours(surrogate)(x0, gradient))
        if number in (0, rounds // 4, rounds - 1):
            film.append(student(start, torch.ones(len(start))).detach())
    return student, critic, film

# %% tags=["cover"]
rounds = 20 if FAST else 1200
student, critic, film = match(rounds)
_, _, alone = match(rounds // 3, lessons=0)

fig, axes = plt.subplots(1, 4, figsize=(11, 3.2), sharex=True, sharey=True)
titles = ["at the start", f"after {rounds // 4} rounds", f"after {rounds} rounds"]
clouds = zip([*film, alone[-1]], [*titles, "without the critic"], strict=True)
for axis, (points, title) in zip(axes, clouds, strict=True):
    axis.scatter(*PLACES.T, s=160, color="lightgrey")
    axis.scatter(*points.T, s=8, color="#D55E00")
    axis.set(title=title, xlim=(-3, 3), ylim=(-3, 3), xlabel="x (units)")
axes[0].set_ylabel("y (units)")
plt.show()
nearest = torch.cdist(film[-1], PLACES).min(1)
shares = torch.bincount(nearest.indices, minlength=4) / len(start)
print("share of the samples at each place:", ", ".join(f"{share:.0%}" for share in shares))

# %% [markdown]
# With the critic the crowd spreads over the places, and *one* call of the network makes a sample. Without it every sample follows the teacher's guesses alone; taken over all noise levels these pull to the middle, and nothing pushes the
# samples apart: they pile up. The critic is what keeps variety.
#
# Both guesses at one level, as arrows from each place, and their difference. Where the arrows cancel, the student has arrived. **Predict**: where will the difference still be large?
#
# <details><summary>Answer</summary>
#
# Far from the samples, where the critic has never been taught and answers at random. At the samples themselves the two nearly cancel.
# </details>

# %%
t = torch.full((len(lattice),), 0.4)
with torch.no_grad():
    real, fake = teach(lattice, t), critic(lattice, t)
fig, axes = plt.subplots(1, 3, figsize=(11, 4), sharex=True, sharey=True)
fields = {"teacher": real - lattice, "critic": fake - lattice, "difference": real - fake}
for axis, (title, arrows) in zip(axes, fields.items(), strict=True):
    axis.quiver(*lattice.T, *arrows.T, color="#0072B2", scale=30, width=0.005)
    axis.scatter(*film[-1].T, s=3, color="#D55E00")
    axis.set(title=f"{title}, t = 0.4", xlim=(-3, 3), ylim=(-3, 3), xlabel="x (units)")
axes[0].set_ylabel("y (units)")
plt.show()

# %% [markdown]
# ## Pictures
# The same with pictures of 16 x 16 pixels: a curtain behind, whose stripes the pose does not tell (two ways, at random), and a hand, whose place and shape the pose does tell (fist or open). The curtain is what a network must *choose*, the hand what it
# must get *right*.

# %%
torch.manual_seed(0)
FIST, OPEN = torch.ones(5, 5), torch.tensor([[1.0, 0, 1, 0, 1]] * 3 + [[1.0] * 5] * 2)
STRIPES = ((torch.arange(16) // 2) % 2 * 2.0 - 1).expand(16, 16)


def make_pictures(m):
    """Pictures [m, 256] in -1..1, poses [m, 512] (maps of fist and open), hand masks [m, 256]."""
    pictures = 0.5 * STRIPES * (torch.randint(2, (m, 1, 1)) * 2.0 - 1)
    poses = torch.zeros(m, 2, 16, 16)
    corners, shapes = torch.randint(1, 11, (m, 2)).tolist(), torch.randint(2, (m,)).tolist()
    for i, ((row, col), shape) in enumerate(zip(corners, shapes, strict=True)):
        here = (slice(row, row + 5), slice(col, col + 5))
        pictures[i][here] = (OPEN if shape else FIST) * 1.6 - 0.8
        poses[i, shape][here] = 1
    return pictures.flatten(1), poses.flatten(1), poses.sum(1).flatten(1)

# %%
pool = make_pictures(300 if FAST else 4000)


def batch(m=128):
    pick = torch.randint(len(pool[0]), (m,))
    return [part[pick] for part in pool]


def show_row(pictures, titles):
    fig, axes = plt.subplots(1, len(pictures), figsize=(2.1 * len(pictures), 2.5))
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        axis.imshow(picture.detach().view(16, 16), cmap="gray", vmin=-1, vmax=1)
        axis.set_title(title, fontsize=12)
        axis.axis("off")
    plt.show()


show_row(pool[0][:5], ["data"] * 5)

# %%
class PictureNet(nn.Module):
    """Noisy pictures [m, 256], poses [m, 512], levels [m] -> clean pictures [m, 256]."""

    def __init__(self, width=320):
        super().__init__()
        self.first, self.last = nn.Linear(256 + 512 + 8, width), nn.Linear(width, 256)
        self.middle = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

    def forward(self, x, pose, t):
        angle = t[:, None] * torch.tensor([1.0, 3.0, 9.0, 27.0])
        h = F.silu(self.first(torch.cat([x, pose, angle.sin(), angle.cos()], 1)))
        for layer in self.middle:
            h = h + F.silu(layer(h))
        return self.last(h)

# %%
import copy

teacher = PictureNet()
steps = 20 if FAST else 1500
optimiser = torch.optim.Adam(teacher.parameters())
schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
for _ in trange(steps, desc="teacher"):
    x0, pose, _ = batch()
    t = torch.rand(len(x0))
    noisy = (1 - t)[:, None] * x0 + t[:, None] * torch.randn_like(x0)
    loss = ((teacher(noisy, pose, t) - x0) ** 2 / (t[:, None] + 0.2)).mean()
    step(optimiser, loss)
    schedule.step()

# %% [markdown]
# **Predict**: for one noise and one pose, the teacher's picture with 1 step and with 20. What will be wrong with one step: the curtain, the hand, both?
#
# <details><summary>Answer</summary>
#
# The curtain: with one step it is grey, the mean of the two ways its stripes may run. The hand is there at once, since the pose
# determines it.
# </details>

# %%
def run_teacher(noise, pose, steps):
    with torch.no_grad():
        return sample_euler(lambda x, t: teacher(x, pose, torch.full((len(x),), t)), noise, steps)


torch.manual_seed(1)
truth, pose, hand = [part[:200] for part in pool]
noise = torch.randn(len(truth), 256)
sheet = [run_teacher(noise, pose, n) for n in (1, 2, 4, 20)]
titles = ["1 step", "2 steps", "4 steps", "20 steps", "a true one"]
show_row([s[3] for s in sheet] + [truth[3]], titles)

# %% [markdown]
# ## Exercise 5: the region loss
# Distribution matching makes samples *plausible*; it does not make them *right*, and a small hand is a small part of the plausibility. The paper adds a loss inside body regions:
#
# $$ L_\text{region} = \sum_r \lambda_r\, L_r(m_r \odot x,\; m_r \odot \hat x), $$
#
# with $L_r$ a distance of face-identity embeddings for the face, and LPIPS for the other regions. For our pictures take the mean squared difference *over the pixels of the region* (of the whole batch); a region without pixels counts 0.
#
# | | |
# |---|---|
# | `x`, `x_hat` | float tensors `[m, p]`: true pictures and the student's |
# | `masks` | dict of float tensors `[m, p]`, 1 inside the region |
# | `weights` | dict of floats $\lambda_r$, same keys |
# | returns | scalar tensor |

# %% tags=["exercise"]
def region_loss(x, x_hat, masks: dict, weights: dict) -> torch.Tensor:
    """Weighted sum over regions of the mean squared difference inside each."""
    ### BEGIN SOLUTION
    loss = x_hat.new_zeros(())
    for name, mask in masks.items():
        loss = loss + weights[name] * ((x - x_hat) ** 2 * mask).sum() / mask.sum().clamp_min(1)
    return loss
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_region_loss

check_region_loss(region_loss)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `((x - x_hat) ** 2 * mask).sum() / mask.sum()`, with `.clamp_min(1)` on the divisor for empty regions, times the weight, summed.
# </details>
#
# ## The ablation in small
# Three one-step students, all started from the teacher: by **regression** on data, by **DMD**, by **DMD + region loss** on the hand. **Predict** for each: is the curtain sharp? Is the hand right?
#
# <details><summary>Answer</summary>
#
# Regression: a grey curtain, a right hand. DMD: a sharp curtain, a worse hand. DMD + region loss: a sharp curtain and a better hand. The bars below
# have the figures.
# </details>

# %%
def distil(kind, rounds=10 if FAST else 400, lessons=2):
    """A one-step student: "regression", "DMD" or "DMD + region"."""
    torch.manual_seed(2)
    student, critic = copy.deepcopy(teacher), copy.deepcopy(teacher)
    learn = torch.optim.Adam(student.parameters(), lr=3e-4, betas=(0.5, 0.95))
    follow = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.95))
    for _ in trange(rounds, desc=kind):
        x0, pose, hand = batch()
        made = student(torch.randn_like(x0), pose, torch.ones(len(x0)))
        if kind != "regression":
            for _ in range(lessons):  # on the same samples, with fresh noise
                t, noise = torch.rand(len(x0)) * 0.93 + 0.05, torch.randn_like(x0)
                step(follow, yours(critic_step)(lambda x, t: critic(x, pose, t), made, noise, t))
            with torch.no_grad():  # at the last lesson's level
                noisy = (1 - t)[:, None] * made + t[:, None] * noise
                real, fake = teacher(noisy, pose, t), critic(noisy, pose, t)
            loss = yours(surrogate)(made, yours(dmd_gradient)(real, fake, made.detach()))
        else:
            loss = ((made - x0) ** 2).mean()
        if kind == "DMD + region":
            loss = loss + yours(region_loss)(x0, made, {"hand": hand}, {"hand": 2.0})
        step(learn, loss)
    return student

# %%
samples = {"teacher, 20 steps": sheet[-1]}
for kind in ("regression", "DMD", "DMD + region"):
    one_step = distil(kind)
    with torch.no_grad():
        samples[kind] = one_step(noise, pose, torch.ones(len(noise)))
for i in (3, 8):
    show_row([made[i] for made in samples.values()] + [truth[i]], [*samples, "a true one"])

# %%
import numpy as np


def grade(made):
    """Contrast of the curtain (1 is right) and mean squared error of the hand."""
    wall = 1 - hand
    contrast = ((made * STRIPES.flatten()).abs() * wall).sum() / wall.sum() / 0.5
    return contrast.item(), (((made - truth) ** 2 * hand).sum() / hand.sum()).item()


grades = np.array([grade(made) for made in samples.values()])
fig, axes = plt.subplots(1, 2, figsize=(11, 3), sharey=True)
labels = ("contrast of the curtain (1 = right)", "squared error of the hand (0 = right)")
for axis, values, text in zip(axes, grades.T, labels, strict=True):
    axis.barh(list(samples)[::-1], values[::-1], color=["#009E73", "#0072B2", "#BBBBBB", "#E69F00"])
    for y, value in enumerate(values[::-1]):
        axis.annotate(f" {value:.3f}", (value, y), va="center")
    axis.set(xlabel=text)
    axis.margins(x=0.2)
plt.show()

# %%
if not FAST:  # what the bars say
    contrast, wrong = (dict(zip(samples, column, strict=True)) for column in grades.T)
    assert contrast["regression"] < 0.3 < 0.6 < contrast["DMD"], "regression: fog; DMD: a curtain"
    assert wrong["DMD"] > 1.5 * wrong["regression"], "and DMD pays with the hand"
    assert wrong["DMD + region"] < wrong["DMD"], "the region loss brings it back"

# %% [markdown]
# One call of a network in place of twenty. Regression leaves the curtain in fog. DMD draws a curtain, one or the other, and pays with the hand. The region loss brings the hand back.
#
# The paper's ablation has the same shape (its section 4). This package's own, on drawn speakers ([docs/results/ablation.md](../docs/results/ablation.md)), has not:
#
# | | paper: FPS | PSNR (dB) | HKC | package: frames per processor second | PSNR (dB) | HKC |
# |---|---|---|---|---|---|---|
# | + global and local mask | 4.42 | 23.89 | 0.943 | 3.86 | 31.27 | 0.980 |
# | few steps, by regression | - | - | - | 15.60 | 32.74 | 0.982 |
# | + DMD | 25.31 | 22.99 | 0.941 | 15.14 | 32.69 | 0.981 |
# | + region loss | 25.31 | 23.87 | 0.948 | 15.23 | 32.71 | 0.981 |
#
# (HKC: mean confidence of the detected hand keypoints.) With us plain regression does as well as DMD, within 0.05 dB, and the region loss adds 0.02 dB. Two reasons. A pose and a warped
# reference leave a drawn speaker almost nothing to *choose*: everything is like the hand above, nothing like the curtain. And the critic of that run was updated once a step for 50 steps only, so it had hardly learned.
#
# ### What the real one adds
# - Teacher, student and critic are one and the same transformer, started from one set of weights.
# - The student attends sparsely, by the plan of notebooks 2 to 4; the teacher and the critic judge.
# - The student is trained on *its own* past frames, [Self-Forcing](https://arxiv.org/abs/2506.08009), so that errors of the roll-out are met in training.
# - The shipped student takes **one** step per latent frame, as here (`DEFAULT_STEPS` in [iasa/config.py](../iasa/config.py)); it can be asked for up to four. [Its card](../iasa/weights/student/card.json) says how it was trained: by regression.
# - The region losses compare features, not pixels: two sharp pictures of hair that differ by a pixel are far apart in squares.
#
# ## Summary
# - A mean squared error asks for the mean; in one step the mean is a blur.
# - DMD moves the crowd of samples along the difference of two scores: [`dmd_grad`, `dmd_loss` in iasa/losses.py](../iasa/losses.py).
# - The critic learns the student's own distribution and keeps variety: [`critic_loss` in iasa/losses.py](../iasa/losses.py).
# - The region loss makes small parts right: [`region_terms`, `region_loss` in iasa/losses.py](../iasa/losses.py).
# - The student's sampler makes one step, or renews the noise between a few: [`sample_few_step` in iasa/sampling.py](../iasa/sampling.py).
#
# ## Further questions
# 1. The reverse divergence punishes samples where the data have none, but hardly punishes a place that is never visited. Start the four-place student from samples near one place (a small noise). Does it find the others?
# 2. Give the critic one lesson, or ten, per student step. What goes wrong with one? What does the other cost?
# 3. Train the region loss with weight 20. What happens to the curtain, and why?
# 4. With 2 steps instead of one, what is the input of the second step in training, and what in use? (`sample_few_step` shows it.)
#
# **Next**: where the poses come from. [From speech to gesture](07_from_speech_to_gesture.ipynb).
