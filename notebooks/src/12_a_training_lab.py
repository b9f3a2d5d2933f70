# %% [markdown]
# # 12 · A training lab
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/iasa/blob/main/notebooks/12_a_training_lab.ipynb)
#
# **The question.** A network that continues a true past almost perfectly is set to continue *its own*. Why does that go wrong, how do you see it before your users do, and
# which stage of the paper's training is there to mend what?
#
# **You will be able to**
# - show exposure bias on a toy of eight numbers, and measure drift by a rate instead of an impression;
# - train a causal video model in one pass by teacher forcing, without letting it peep at the answer;
# - take a model through all stages: teacher, masks, causal, self-forcing, DMD, region loss, each from the checkpoint of the one before;
# - say of each stage what it repaired *here*, what it broke, and what it cost.
#
# **Time** 90 minutes, of which some 5 are training on two cores that have nothing else to do (a bar shows each); longer sizes for a GPU are one switch. **Needs** [notebook 6](06_the_student.ipynb).
# **Paper** [arXiv 2510.02617](https://arxiv.org/abs/2510.02617), section 3.3; [scheduled sampling](https://arxiv.org/abs/1506.03099) (Bengio et al. 2015),
# [Self-Forcing](https://arxiv.org/abs/2506.08009) (Huang et al. 2025), [DMD2](https://arxiv.org/abs/2405.14867) (Yin et al. 2024).

# %% tags=["setup"]
# setup

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F

plt.style.use(root / "notebooks" / "course.mplstyle")
P = 8  # values that the toy looks back on


def record(m, length, noise, seed):
    """Heights of a waving hand, [m, length]: as it was, and as a pose detector saw it."""
    g = torch.Generator().manual_seed(seed)
    clean = torch.sin(0.25 * torch.arange(length) + 6.28 * torch.rand(m, 1, generator=g))
    return clean, clean + noise * torch.randn(m, length, generator=g)


clean, seen = record(16, 60, noise=0.2, seed=0)
plt.plot(clean[0], label="the hand")
plt.plot(seen[0], ".", label="what was recorded")
plt.gca().set(xlabel="frame", ylabel="height (units)", title="one of 16 recordings of a wave")
plt.legend()
plt.show()

# %% [markdown]
# ## Exposure bias, on a toy
# A model of eight numbers predicts the next height from the last eight. **Teacher forcing** trains it on the true past; in use it has only its own. Write what it does in use.
#
# ## Exercise 1: a free run
# Every new value is a weighted sum of the $p$ values before it, recorded ones at first and then its own:
#
# $$ x_t = \sum_{i=1}^{p} w_i\, x_{t-p-1+i}, \qquad w_p \text{ goes with the newest.} $$
#
# | | |
# |---|---|
# | `weights` | float tensor `[p]`, oldest first |
# | `first` | float tensor `[m, p]`, the recorded start of m runs, oldest first |
# | `steps` | int |
# | returns | float tensor `[m, steps]`, the new values only; a gradient passes through *all* steps |

# %% tags=["exercise"]
def free_run(weights: torch.Tensor, first: torch.Tensor, steps: int) -> torch.Tensor:
    """Values that a model makes from its own past: [m, steps]."""
    ### BEGIN SOLUTION
    window, made = first, []
    for _ in range(steps):
        value = (weights * window).sum(1)  # [m]
        window = torch.cat([window[:, 1:], value[:, None]], 1)
        made.append(value)
    return torch.stack(made, 1)
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_free_run

check_free_run(free_run)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Keep a window `[m, p]`. Its weighted sum is the new value; drop the oldest column and append the new one with `torch.cat`. Collect values in a list, `torch.stack(made, 1)` at the end. Write nothing in place: autograd needs the
# old windows.
# </details>
#
# Two trainings of the same eight numbers: **teacher forcing**, the least-squares fit of the next recorded value to the eight recorded ones before it (exact, in closed form); and **self-forcing**, gradient descent on the error of
# your free run, over 50 steps. **Predict**: which has the smaller error for *one* step on new recordings? Which after 100?
#
# <details><summary>Answer</summary>
#
# Teacher forcing is better at one step: nothing can beat it there, it was fitted to just that. After 100 steps its wave has died down to half and less,
# and it is two to three times as wrong. With noise in what it sees it has learnt to hedge, to shrink each step a little towards 0; once that is harmless, a hundred times it is fatal. Nothing in its training ever showed it the second step.
# </details>

# %%
from ipywidgets import FloatSlider, interact

from iasa.teaching import yours


def fit_forced(seen):
    """Least squares: the next recorded value from the P recorded ones before it."""
    windows = seen.unfold(1, P + 1, 1).flatten(0, 1)
    return torch.linalg.lstsq(windows[:, :P], windows[:, P:]).solution[:, 0]


def fit_free(seen, rounds):
    """Gradient descent through the free run, from the least-squares fit."""
    weights = fit_forced(seen).requires_grad_()
    optimiser = torch.optim.Adam([weights], lr=0.01)
    for _ in range(rounds):
        run = yours(free_run)(weights, seen[:, :P], seen.shape[1] - P)
        loss = (run - seen[:, P:]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return weights.detach()

# %%
def error_after(weights, noise, steps=100):
    """Root mean square error of new free runs after 1, 2, ... steps."""
    clean, seen = record(200, P + steps, noise, seed=1)
    run = yours(free_run)(weights, seen[:, :P], steps)
    return (run - clean[:, P:]).square().mean(0).sqrt(), run


def show_runs(noise=0.2):
    seen = record(16, 60, noise, seed=0)[1]
    fits = {"teacher forcing": fit_forced(seen), "self-forcing": fit_free(seen, 5 if FAST else 300)}
    fig, axes = plt.subplots(1, 2, figsize=(11, 3.4))
    for (name, weights), style in zip(fits.items(), ("--", "-"), strict=True):
        error, run = error_after(weights, noise)
        axes[0].plot(run[3], style, label=name)
        axes[1].plot(error, style, label=name)
    axes[0].plot(record(200, P + 100, noise, seed=1)[0][3, P:], "k:", linewidth=1, label="the hand")
    axes[0].set(xlabel="frames of free run", ylabel="height (units)")
    axes[1].set(xlabel="frames of free run", ylabel="error (units, rms)", ylim=0)
    axes[0].legend(loc="upper right")
    plt.show()


interact(show_runs, noise=FloatSlider(0.2, min=0.1, max=0.4, step=0.1));

# %%
show_runs(0.2)
forced, free = fit_forced(seen), fit_free(seen, 5 if FAST else 300)
one_step, late = ([error_after(w, 0.2)[0][i].item() for w in (forced, free)] for i in (0, 99))
windows = record(200, P + 100, 0.2, seed=1)[1].unfold(1, P + 1, 1)
next_value = [(windows[..., :P] @ w - windows[..., P]).std().item() for w in (forced, free)]
print(f"next recorded value, rms: {next_value[0]:.4f} forced, {next_value[1]:.4f} free")
print(f"after 100 frames of free run, rms: {late[0]:.2f} forced, {late[1]:.2f} free")
if not FAST:  # the one is better at the step, the other at the run
    assert next_value[0] < next_value[1] and late[0] > 1.5 * late[1]

# %% [markdown]
# That is **exposure bias**: trained on one distribution of pasts, used on another. How fast a run leaves the truth is its **drift**. "It looks worse towards the end" is no measurement; a slope is.
#
# ## Exercise 2: the rate of a drift
# Give each frame of a run a score $s_0, s_1, \dots$ and fit a line by least squares. With $\bar t$ and $\bar s$ the means,
#
# $$ \text{rate} = \frac{\sum_t (t - \bar t)(s_t - \bar s)}{\sum_t (t - \bar t)^2} . $$
#
# | | |
# |---|---|
# | `scores` | float array `[f]`, one for each frame |
# | returns | float, change of the score per frame |

# %% tags=["exercise"]
def drift_rate(scores: np.ndarray) -> float:
    """Slope of the least-squares line through the scores, per frame."""
    ### BEGIN SOLUTION
    frames = np.arange(len(scores))
    away = frames - frames.mean()
    return float((away * scores).sum() / (away**2).sum())
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_drift_rate

check_drift_rate(drift_rate)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Two lines of NumPy. It is enough to subtract the mean of the frame numbers: the mean of the scores then drops out. `np.polyfit(frames, scores, 1)[0]` says the same.
# </details>
#
# ## A film that has something to remember
# Now a video model. Its films are as small as they can be and still have the paper's four ingredients. A picture has 16 x 16 pixels, which are 4 x 4 tokens:
# - a **face** that only the *reference* shows (a portrait of the head alone);
# - a **hand**, a fist or open, that the *pose* tells, place and shape;
# - a **shirt** whose stripes nothing tells: their contrast and which of them are light are one number $v$ of the clip, $0.3 \le |v| \le 0.9$. The network has to **invent** it in the first frame, and to **remember** it in all others;
# - gestures that return, so that choosing past frames by pose means something.

# %%
from iasa.teaching.lab_films import N, draw_clips, grade, shirt_value, to_pictures


def show_films(films, count=8):
    """One row of pictures for each {name: tokens [f, n, 16]}."""
    fig, axes = plt.subplots(len(films), 1, figsize=(9, 1.25 * len(films)), squeeze=False)
    for axis, (name, x) in zip(axes[:, 0], films.items(), strict=True):
        strip = F.pad(to_pictures(x[:count]), (1, 1), value=1).transpose(0, 1).flatten(1)
        axis.imshow(strip.detach().cpu(), cmap="gray", vmin=-1, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
    plt.show()


show_films({f"clip {i}": draw_clips(3, 8, seed=5)["x"][i] for i in range(3)}, 9)

# %% [markdown]
# Left the reference, then eight frames. The mask $M = M_\text{global} + M_\text{local}$ is that of notebooks 2 and 3 (`make_mask` in [iasa/teaching/lab_films.py](../iasa/teaching/lab_films.py)): `rigid_distance` of six points, the $K = 2$ nearest frames,
# and tokens that share a region (face, shirt, hand); the own frame and the reference whole. The network's block is that of [examples/nano_iasa.py](../examples/nano_iasa.py). One switch sets the sizes.
#
# ## Stages and checkpoints
# Each stage is a function that starts from the network of an earlier one. `network_of("name")` hands out a stage's network: **from its checkpoint**, if there is one, else by training it now and saving it, whole or
# not at all. So every stage runs alone: after a restart, run the cells again, and what was trained is loaded. To train a stage anew, put its name into `AGAIN` (and the names of those after it: they began from the old one).

# %%
import sys

sys.path.insert(0, str(root / "examples"))
from nano_iasa import Block, step  # a pre-norm transformer block; zero_grad, backward, clip, step

SIZE = "fast" if FAST else "cpu"  # "gpu" on Colab: 30 to 60 minutes, estimated, not tried
SIZES = {  # frames, width, layers, clips a batch; steps of teacher, masks, causal; of a student
    "fast": (3, 32, 2, 4, (3, 2, 2), 2),
    "cpu": (8, 64, 3, 16, (800, 150, 300), 60),
    "gpu": (16, 192, 6, 48, (3000, 800, 1200), 300),
}
FRAMES, WIDTH, LAYERS, BATCH, TEACHER_STEPS, STUDENT_STEPS = SIZES[SIZE]
DEVICE = "cuda" if SIZE == "gpu" else "cpu"


def load_clips(m, frames, seed):
    return {name: value.to(DEVICE) for name, value in draw_clips(m, frames, seed).items()}


pool, test = load_clips(20 if FAST else 400, FRAMES, 0), load_clips(4 if FAST else 64, FRAMES, 1)
for name in ("both", "causal"):
    print(f"{name}: {pool[name].float().mean():.0%} of the pairs of tokens may meet")

# %%
class Network(torch.nn.Module):
    """Noisy tokens, pose maps and levels -> clean tokens. All networks of the lab are this one."""

    def __init__(self):
        super().__init__()
        self.enter = torch.nn.Linear(16 + 4 + 8, WIDTH)
        self.place = torch.nn.Parameter(torch.randn(N, WIDTH) * 0.02)
        self.blocks = torch.nn.ModuleList(Block(WIDTH, WIDTH // 32) for _ in range(LAYERS))
        self.leave = torch.nn.Sequential(torch.nn.LayerNorm(WIDTH), torch.nn.Linear(WIDTH, 16))

    def forward(self, x, pose, level, mask=None, cache=None):
        """x, pose [b, f, n, .], level [b, f]; clean tokens, and each layer's keys and values."""
        angle = level[..., None] * torch.tensor([1.0, 3.0, 9.0, 27.0], device=x.device)
        told = torch.cat([angle.sin(), angle.cos()], -1)[:, :, None].expand(-1, -1, N, -1)
        h = (self.enter(torch.cat([x, pose, told], -1)) + self.place).flatten(1, 2)
        kept = []
        for i, block in enumerate(self.blocks):
            h, own = block(h, mask, None if cache is None else cache[i])
            kept.append(own)
        return self.leave(h).view_as(x), kept

# %%
import os
import tempfile
import time

from safetensors import safe_open
from safetensors.torch import load_file, save

LAB = Path(tempfile.mkdtemp()) if FAST else root / "runs" / "lab"  # Colab: name your Drive
AGAIN, STAGES = set(), {}


def network_of(name):
    """The network of a stage, from its checkpoint or trained now."""
    file = LAB / f"{SIZE}_{name}.safetensors"
    if name in AGAIN or not file.exists():
        began, trained = time.process_time(), STAGES[name]().state_dict()
        LAB.mkdir(parents=True, exist_ok=True)
        cost = {"seconds": f"{time.process_time() - began:.0f}"}
        file.with_suffix(".partial").write_bytes(save(trained, cost))
        os.replace(file.with_suffix(".partial"), file)  # whole or not at all
        AGAIN.discard(name)
        print(f"{name}: {safe_open(file, 'pt').metadata()['seconds']} s of processor time")
    network = Network().to(DEVICE)
    network.load_state_dict(load_file(file, device=DEVICE))
    return network

# %% [markdown]
# ## Stage 1: the teacher
# Dense, bidirectional, flow matching as in notebook 5: a level for each clip, all frames at once. **Predict**: the shirt is told by nothing. Will its stripes agree between the frames of one clip? And between two samples for the same pose?
#
# <details><summary>Answer</summary>
#
# Within a clip they agree: every frame sees all others while all become clean, and they settle on one $v$ together. Two samples of the same pose have different shirts: each draws its own $v$.
# </details>

# %%
from tqdm.auto import trange


def draw(g):
    """A batch of the pool."""
    which = torch.randint(len(pool["x"]), (BATCH,), generator=g).to(DEVICE)
    return {name: value[which] for name, value in pool.items()}


def draw_noise(like, g):
    return torch.randn(like.shape, generator=g).to(DEVICE)  # the same numbers on every device


def add_noise(x, level, g):
    return torch.lerp(x, draw_noise(x, g), level[..., None, None])


def predict(network, clips, noisy, level, mask=None):
    """Clean frames of noisy ones [b, f, n, 16] at once; the reference rides in front, level 0."""
    x = torch.cat([clips["x"][:, :1], noisy], 1)
    return network(x, clips["pose"], F.pad(level, (1, 0)), mask)[0][:, 1:]

# %%
def train(network, guess, steps, rate, seed, levels=1):
    """Flow matching; `guess(clips, noisy, level)` -> clean frames; one level a clip, or FRAMES."""
    g = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in trange(steps, desc="flow matching"):
        clips = draw(g)
        x0, level = clips["x"][:, 1:], torch.rand(BATCH, levels, generator=g)
        level = level.expand(-1, FRAMES).to(DEVICE)
        error = (guess(clips, add_noise(x0, level, g), level) - x0).square().mean((2, 3))
        step(optimiser, (error / (level + 0.2)).mean())
        schedule.step()
    return network


def make_teacher():
    torch.manual_seed(0)
    network = Network().to(DEVICE)
    return train(network, lambda *given: predict(network, *given), TEACHER_STEPS[0], 3e-3, 1)


STAGES["teacher"] = make_teacher
teacher = network_of("teacher")

# %%
@torch.no_grad()
def sample(network, clips, steps, mask=None, seed=5):
    """Euler's steps for all frames at once: [b, f, n, 16]."""
    x = draw_noise(clips["x"][:, 1:], torch.Generator().manual_seed(seed))
    for i in range(steps):
        now, after = 1 - i / steps, 1 - (i + 1) / steps
        x0 = predict(network, clips, x, torch.full(x.shape[:2], now, device=DEVICE), mask)
        x = x + (after - now) * (x - x0) / now
    return x


rows = {"data": grade(test["x"][:, 1:], test)}


def keep_row(name, made):
    """Into the table at the end, and on the screen."""
    rows[name] = grade(made, test)
    print(f"{name}:", ", ".join(f"{k} {v:.3f}" for k, v in rows[name].items()))


pair = [sample(teacher, test, 16, seed=seed) for seed in (5, 6)]
keep_row("teacher, 16 steps", pair[0])
show_films({"data": test["x"][0, 1:], "one sample": pair[0][0], "another": pair[1][0]})

# %% [markdown]
# ## Stage 2: masks
# The teacher goes on under the mask, still bidirectional: $K = 2$ frames by pose, past or future, and what shares a region. **Predict**: hand and face are told by the frame's own pose and by the reference, which
# every frame sees. And the shirt?
#
# <details><summary>Answer</summary>
#
# Hand and face stay right. The shirts of one clip no longer agree: the wander grows from 0.001 to 0.3 (after these 150 steps; more may help). Frames that are alike see each other and settle on a shirt; groups of frames that
# do not see each other settle on different ones. Nobody goes first.
# </details>

# %%
def make_masked():
    def guess(clips, noisy, level):
        return predict(network, clips, noisy, level, clips["both"])

    network = network_of("teacher")
    return train(network, guess, TEACHER_STEPS[1], 1e-3, 2)


STAGES["masked"] = make_masked
masked = network_of("masked")
made = sample(masked, test, 16, test["both"])
keep_row("+ masks, 16 steps", made)
worst = shirt_value(made, test["pose"][:, 1:]).std(1).argmax()
show_films({"teacher": pair[0][worst], "+ masks": made[worst]})
if not FAST:  # the price of the mask while nobody goes first
    assert rows["+ masks, 16 steps"]["wander"] > 5 * rows["teacher, 16 steps"]["wander"]

# %% [markdown]
# ## Stage 3: causal
# Somebody has to go first: frames in order, each reading *finished* frames of its past, level 0. In training all frames of a clip are to be learnt in **one pass**. So the clip enters twice: clean frames $0 \dots F$, which play the past,
# and behind them noisy frames $1 \dots F$, which are guessed.
#
# ## Exercise 3: the mask of teacher forcing
# With $C$ the causal mask (rows are queries; it allows the own frame), $c_t$ clean and $z_t$ noisy frame $t$:
#
# $$ c_t \to c_s: C_{ts} \qquad z_t \to c_s: C_{ts} \text{ if } s < t \qquad z_t \to z_t: \text{all} \qquad \text{nothing else.} $$
#
# | | |
# |---|---|
# | `causal` | bool tensor `[f n, f n]`, f frames with the reference, frame by frame |
# | `n` | int, tokens of a frame |
# | returns | bool tensor `[(2f - 1) n, (2f - 1) n]`: rows and columns are clean frames 0, 1, ..., then noisy frames 1, 2, ... |

# %% tags=["exercise"]
def forced_mask(causal: torch.Tensor, n: int) -> torch.Tensor:
    """Who may see whom when clean and noisy frames stand in one sequence."""
    ### BEGIN SOLUTION
    frame = torch.arange(len(causal), device=causal.device) // n
    own = frame[:, None] == frame
    clean = F.pad(causal, (0, len(causal) - n))
    noisy = torch.cat([causal & ~own, own[:, n:]], 1)[n:]
    return torch.cat([clean, noisy])
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_forced_mask

check_forced_mask(forced_mask)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Four blocks. Top left `causal`, top right all False. `own = frame[:, None] == frame` with `frame = torch.arange(len(causal)) // n`; bottom left `causal & ~own`, bottom right `own`, both without the first `n` rows, the last also without the
# first `n` columns: frame 0 has no noisy copy.
# </details>
#
# In use there is a cache instead of a true past (the cell after the next). A frame is made, passed through the network once more at level 0 for its keys and values, and read by later frames where the mask lets them.

# %%
def predict_forced(network, clips, noisy, level):
    """Clean frames from noisy ones, each beside its true past."""
    x = torch.cat([clips["x"], noisy], 1)
    pose = torch.cat([clips["pose"], clips["pose"][:, 1:]], 1)
    mask = torch.stack([yours(forced_mask)(causal, N) for causal in clips["causal"]])
    return network(x, pose, F.pad(level, (1 + FRAMES, 0)), mask)[0][:, 1 + FRAMES :]


def make_causal():
    network = network_of("masked")

    def guess(clips, noisy, level):
        return predict_forced(network, clips, noisy, level)

    return train(network, guess, TEACHER_STEPS[2], 1.5e-3, 3, levels=FRAMES)


STAGES["causal"] = make_causal
causal = network_of("causal")

# %%
def next_frame(network, clips, t, steps, cache, g):
    """Frame t from noise [b, 1, n, 16], by Euler's steps, reading a cache of the frames before."""
    rows = clips["causal"][:, t * N : (t + 1) * N, : (t + 1) * N]
    pose, x = clips["pose"][:, t : t + 1], draw_noise(clips["x"][:, :1], g)
    for i in range(steps):
        now, after = 1 - i / steps, 1 - (i + 1) / steps
        x0 = network(x, pose, torch.full((len(x), 1), now, device=DEVICE), rows, cache)[0]
        x = x + (after - now) * (x - x0) / now
    with torch.no_grad():  # a frame is taught how to follow such a past, not how to have made it
        own = network(x.detach(), pose, torch.zeros(len(x), 1, device=DEVICE), rows, cache)[1]
    layers = zip(cache, own, strict=True)
    return x, [[torch.cat(pair, 2) for pair in zip(*layer, strict=True)] for layer in layers]


def roll_out(network, clips, steps, g=None):
    """Frame after frame from its own past: [b, f, n, 16]; gradients reach each frame's pass."""
    g, made = g or torch.Generator().manual_seed(5), []
    with torch.no_grad():
        zero = torch.zeros(len(clips["x"]), 1, device=DEVICE)
        cache = network(clips["x"][:, :1], clips["pose"][:, :1], zero)[1]
    for t in range(1, clips["x"].shape[1]):
        frame, cache = next_frame(network, clips, t, steps, cache, g)
        made.append(frame)
    return torch.cat(made, 1)

# %% [markdown]
# **Predict**: rolled out five times longer than any clip of its training, what will happen to the shirt, with eight steps a frame, and with one?
#
# <details><summary>Answer</summary>
#
# Hardly anything. With eight steps a frame the contrast stays where it is over forty frames (its rate is 0.0001 a frame), and a clip's own $v$ changes by 0.05 in the first frames and then hardly more. With one step the first frame is fog (contrast 0.2, where the data
# have 0.6: nearly the mean of light and dark), and *that* is remembered just as faithfully: what frame 1 gets wrong, all frames inherit.
# </details>

# %%
long = load_clips(4 if FAST else 64, (2 if FAST else 5) * FRAMES, 2)


def show_drift(students):
    """The shirt along roll-outs of {name: (network, steps)}; returns its contrast's drift rates."""
    fig, axes = plt.subplots(1, 2, figsize=(11, 3.4))
    rates = {}
    styles = ("-", "--", "-.", ":")
    for (name, (network, steps)), style in zip(students.items(), styles, strict=False):
        with torch.no_grad():
            value = shirt_value(roll_out(network, long, steps), long["pose"][:, 1:]).cpu()
        rates[name] = yours(drift_rate)(value.abs().mean(0).numpy())
        axes[0].plot(value.abs().mean(0), style, label=f"{name}: {rates[name]:+.4f} a frame")
        axes[1].plot((value - value[:, :1]).square().mean(0).sqrt(), style, label=name)
    axes[0].set(xlabel="frame", ylabel="contrast of the shirt", ylim=(0, 1))
    axes[1].set(xlabel="frame", ylabel="change since frame 1 (rms)", ylim=0)
    axes[0].legend(fontsize=10)
    plt.show()
    return rates


rates = show_drift({"8 steps": (causal, 8), "1 step": (causal, 1)})
with torch.no_grad():
    for steps, name in ((8, "+ causal, 8 steps a frame"), (1, "+ causal, 1 step a frame")):
        keep_row(name, roll_out(causal, test, steps))

# %% [markdown]
# So the toy drifted and the lab does not, though both were taught by true pasts alone. Exposure bias says what *may* happen. The toy saw a noisy past and hedged, a little at every step; here the past is read by attention, whose weights add up to 1, and its
# pictures were exact in training. **Measure a drift before you mend it.** What this model lacks is not a memory but a first frame that is right in one step.
#
# ## Stage 4: self-forcing
# Eight calls a frame are too many for real time. Let the network make each frame in **one**, on its own past, as in use, and learn from what comes out: the toy's second training, with the roll-out above for a free run. The
# loss is at first the plain one, squares against the recorded clip. **Predict**: the face, the hand, the shirt?
#
# <details><summary>Answer</summary>
#
# Face and hand stay right. The shirt turns to fog altogether, contrast 0.03: the clip that it is compared with has a shirt of its own, which the student cannot know, and squares ask for the mean of all shirts, 0. Every frame was met on the student's own past,
# and the loss was still the wrong one. (Self-Forcing itself never uses squares here: it matches distributions.)
# </details>

# %%
def make_free():
    network, g = network_of("causal"), torch.Generator().manual_seed(4)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-4, betas=(0.5, 0.95))
    for _ in trange(STUDENT_STEPS, desc="self-forcing"):
        clips = draw(g)
        step(optimiser, F.mse_loss(roll_out(network, clips, 1, g), clips["x"][:, 1:]))
    return network


def try_student(stage, name):
    """Trains or loads a one-step student, rolls it out, keeps its grades and its film."""
    network = network_of(stage)
    with torch.no_grad():
        made = roll_out(network, test, 1)
    keep_row(name, made)
    films[name] = made[0]


STAGES["free"] = make_free
films = {"data": test["x"][0, 1:]}
try_student("free", "self-forcing, squares")
show_films(films)

# %% [markdown]
# ## Stage 5: distribution matching
# Notebook 6's answer to fog, now on roll-outs: the teacher and a critic look at the student's whole clip, dense and bidirectional, and the difference of their guesses moves it. The critic has to know what the student makes **now**.
# It begins as the teacher, from whose guesses its own do not differ: at first there is no gradient at all, and then, until it has caught up with the student, a wrong one. The package learnt this the hard way ([docs/training.md](../docs/training.md)): its first
# run gave the critic one update a step and no start, and showed nothing. So: **a warm-up for the critic alone, then some five updates for each step of the student, at the student's own rate.**
#
# ## Exercise 4: whose turn is it?
# The order of all updates: `warm_up` of the critic; then, `steps` times, `lessons` of the critic and one of the student.
#
# $$ \text{updates} = \text{warm-up} + \text{steps} \cdot (\text{lessons} + 1) . $$
#
# | | |
# |---|---|
# | `steps`, `warm_up`, `lessons` | ints |
# | returns | list of bool, True where the student learns, False where the critic does |

# %% tags=["exercise"]
def student_turns(steps: int, warm_up: int, lessons: int) -> list[bool]:
    """The order of updates: True for the student's, False for the critic's."""
    ### BEGIN SOLUTION
    return [False] * warm_up + ([False] * lessons + [True]) * steps
    ### END SOLUTION

# %% tags=["check"]
from iasa.teaching import check_student_turns

check_student_turns(student_turns)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Lists multiply: `[False] * 3` has three elements. The critic's lessons come *before* each step of the student, whose gradient needs them.
# </details>
#
# Two students: one whose critic is in a hurry (no warm-up, one lesson a step), one by the rule (30 lessons alone, then five a step). **Predict** the contrast of their shirts.
#
# <details><summary>Answer</summary>
#
# Both bring the shirt back: DMD works even with a hurried critic in so small a world. What the rule buys is agreement: wander 0.07 against 0.12, and fewer flecks. The contrast overshoots by the rule (0.66;
# the data have 0.60, the teacher 0.50) and not in a hurry (0.56): the reverse divergence likes the middle of the modes and neglects pale shirts. In the package's first run, with one update a step and
# no start, DMD had no effect that could be measured ([docs/results/history.md](../docs/results/history.md)).
# </details>

# %%
import copy


def dmd_loss(x0, clips, teacher, critic, g):
    """A scalar whose gradient by x0 leads along the difference of two scores (notebook 6)."""
    with torch.no_grad():
        level = (0.05 + 0.93 * torch.rand(len(x0), 1, generator=g)).expand(x0.shape[:2]).to(DEVICE)
        noisy = add_noise(x0, level, g)
        real, fake = (predict(network, clips, noisy, level) for network in (teacher, critic))
        size = (x0 - real).abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-6)
    return 0.5 * F.mse_loss(x0, (x0 - (fake - real) / size).detach())


def critic_loss(critic, made, clips, g):
    """Flow matching on what the student made."""
    level = torch.rand(len(made), 1, generator=g).expand(made.shape[:2]).to(DEVICE)
    error = (predict(critic, clips, add_noise(made, level, g), level) - made).square()
    return (error.mean((2, 3)) / (level + 0.2)).mean()


def region_loss(x0, clips):
    """Squared error inside the hand."""
    inside = clips["pose"][:, 1:, :, 2:].amax(-1, keepdim=True).expand_as(x0)
    return ((x0 - clips["x"][:, 1:]).square() * inside).sum() / inside.sum()

# %%
def distil(warm_up, lessons, weight, rate=3e-4):
    """A one-step student by DMD from the causal network; `weight` of the region loss."""
    student, critic = network_of("causal"), copy.deepcopy(teacher)
    g = torch.Generator().manual_seed(4)
    both = [list(network.parameters()) for network in (student, critic)]
    learn, follow = (torch.optim.AdamW(some, lr=rate, betas=(0.5, 0.95)) for some in both)
    turns = yours(student_turns)(STUDENT_STEPS, warm_up, lessons)
    for number in trange(len(turns), desc=f"DMD, {lessons} lessons a step"):
        if number % 5 == 0 or turns[number - 1]:  # the student has moved: look at it anew
            clips = draw(g)
            x0 = roll_out(student, clips, 1, g)
        if turns[number]:
            loss = dmd_loss(x0, clips, teacher, critic, g)
            step(learn, loss + weight * region_loss(x0, clips) if weight else loss)
        else:
            step(follow, critic_loss(critic, x0.detach(), clips, g))
    return student

# %% tags=["cover"]
STAGES["hasty"] = lambda: distil(0, 1, 0.0)
STAGES["dmd"] = lambda: distil(STUDENT_STEPS // 2, 5, 0.0)
try_student("hasty", "DMD, hasty critic")
try_student("dmd", "DMD, critic by the rule")
show_films(films)

# %% [markdown]
# ## Stage 6: the region loss
# Read the hand in the printed lines: its error has more than doubled, from 0.001 with one step before DMD to 0.003. Matching *distributions* asks whether a hand is plausible; the small pull away from the exact one costs nothing there. That is the fault the paper's
# region loss is for.
#
# **Predict**: with the region loss on the hand, weight 2, what becomes of hand, shirt, face?
#
# <details><summary>Answer</summary>
#
# The hand becomes five times better (0.0005), better than before DMD. Shirt and face hardly move: the loss sees neither.
# </details>

# %%
STAGES["region"] = lambda: distil(STUDENT_STEPS // 2, 5, 2.0)
try_student("region", "DMD + region loss")
print(f"{'':28s}" + "".join(f"{name:>10s}" for name in rows["data"]))
for name, values in rows.items():
    print(f"{name:28s}" + "".join(f"{value:10.3f}" for value in values.values()))
stages = {"squares": "free", "DMD": "dmd", "DMD + region": "region"}
rates = show_drift({name: (network_of(stage), 1) for name, stage in stages.items()})
if not FAST:  # the table's claims
    contrast, hand = ({n: row[x] for n, row in rows.items()} for x in ("contrast", "hand"))
    dmd, squares, region = "DMD, critic by the rule", "self-forcing, squares", "DMD + region loss"
    assert rows["+ causal, 8 steps a frame"]["wander"] < 0.2 * rows["+ masks, 16 steps"]["wander"]
    assert contrast[squares] < 0.1 < 0.5 < contrast[dmd], "squares: fog; DMD: a shirt"
    assert rows[dmd]["wander"] < rows["DMD, hasty critic"]["wander"]
    assert hand[dmd] > 1.5 * hand["+ causal, 1 step a frame"] and hand[region] < 0.5 * hand[dmd]
    assert max(map(abs, rates.values())) < 0.003, "no lasting drift"

# %% [markdown]
# | stage | repairs | breaks or costs |
# |---|---|---|
# | masks | three quarters of the pairs are gone | frames of a clip no longer agree on a shirt |
# | causal | they agree: each frame follows one that has decided | eight calls a frame |
# | one step | one call a frame | fog, and fog is remembered |
# | self-forcing by squares | nothing that was broken here | what fog left of the shirt |
# | DMD | the shirt, in one call | the hand's error doubles; a critic, five updates for one |
# | region loss | the hand | weights to be chosen |
#
# In the last figure nothing fades. The students' one change falls into the first five frames, where a shirt that came out pale is made stronger; later frames keep it.
#
# ### What this lab does not show
# One seed, one toy, small networks: every figure here is an example, not a result. The package's own stages on drawn speakers gain and lose next to nothing by DMD ([docs/results/distillation.md](../docs/results/distillation.md)), because pose and warped
# reference leave a drawn speaker almost nothing to invent. That is what the shirt is for. The paper's region losses compare *features* (ArcFace for the face, LPIPS for the rest); ours compares pixels.
#
# ## Summary
# - A network trained on true pasts and used on its own is measured on its own: a free run, and a slope ([`drift_rate` in iasa/teaching/answers.py](../iasa/teaching/answers.py)).
# - All frames of a causal model are trained in one pass; the noisy copy of a frame must not see its clean one. The package's causal stage: [`train_student` in iasa/training/train_student.py](../iasa/training/train_student.py).
# - A roll-out reads a cache of its own past: [`CausalStudent`, `KeyCache` in iasa/inference/rollout.py](../iasa/inference/rollout.py); training on it: [`roll_out` in iasa/training/self_forcing.py](../iasa/training/self_forcing.py).
# - The critic learns first, and more often: [`warm_critic`, `update_critic` in iasa/training/distill.py](../iasa/training/distill.py).
# - The same stages on real poses, in one file: [examples/nano_iasa.py](../examples/nano_iasa.py); with the package, `python -m iasa train` ([docs/training.md](../docs/training.md)).
#
# ## Further questions
# 1. Train the causal stage with a little noise on its clean frames (level 0.1 in place of 0). Does the change since frame 1 grow or shrink? Why might both happen?
# 2. Let the student start from `free` in place of `causal`. A network that answers with fog: can DMD bring the shirt back, and in how many steps?
# 3. Give `make_mask` a window of 1 (each frame also sees its neighbours) and train the masked stage anew. Does the bidirectional model agree on a shirt now? If not, what would it take?
# 4. Hide the reference from all frames but the first. Which column of the table moves, and from which stage on?
# 5. Set `SIZE = "gpu"` on Colab. Which of this notebook's statements survive clips twice as long?
#
# **Next**: your own face. [Real people](13_real_people.ipynb).
