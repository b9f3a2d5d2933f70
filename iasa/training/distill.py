"""The paper's second stage (section 3.3): the causal, sparse student learns on its self-rollout from two scores, the
frozen teacher's and that of a critic which learns what the student makes.

One step: a roll-out of 1, 2 or 4 denoising steps a frame; some updates of the critic on it; then one update of the
student by distribution matching, by the true latents (data are paired here), and by the region loss where it is on.
Without distribution matching (`dmd` 0) the true latents alone pull at the roll-out: what the tables compare it with.
The student begins at the weights of `train_student`, which is the regression warm start.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iasa.attention.frame_patterns import attend_window
from iasa.config import DistillOptions, TrainPreset
from iasa.losses import Denoiser, critic_loss, dmd_loss, flow_loss, sample_levels
from iasa.masks import AttentionPlan
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.training.datasets import WarpedWindow, WindowSampler, find_shards, read_truth, read_window
from iasa.training.self_forcing import roll_out
from iasa.training.train_teacher import make_sample_grid
from iasa.training.trainer import SampleGrid, Schedule, Trainer
from iasa.training.window_loss import make_plans, predict

LOWEST, HIGHEST = 0.05, 0.98  # noise levels at which the scores are compared: at 1 nothing of the sample is left
SHEET_STEPS = 1
_WARM = 1 << 30  # number of the first update of the critic alone, for its random draws

# region_term(clean latents [b, f, c, h, w], the window, its true pictures uint8 [b, f t, H, W, 3], rng) -> scalar
RegionTerm = Callable[[Tensor, WarpedWindow, np.ndarray, np.random.Generator], Tensor]
DistillTrainer = Trainer[VideoTransformer]


def distill(
    data: Path, run: Path, schedule: Schedule, preset: TrainPreset, autoencoder: Autoencoder,
    start: VideoTransformer, teacher: VideoTransformer, resume: bool, stop_after: float,
    options: DistillOptions | None = None, region_term: RegionTerm | None = None,
) -> tuple[VideoTransformer, Trainer]:  # fmt: skip
    """Train `start` under `run`; the critic starts as a copy of `teacher`, which stays as it is. Returns the averaged student."""
    options = options or DistillOptions()
    windows = WindowSampler(find_shards(data, "train"), preset.frames)

    def draw(trainer: DistillTrainer, rng: np.random.Generator, in_order: bool) -> DistillBatch:
        chosen = windows.choose(rng, preset.batch, trainer.sample_indices(preset.batch) if in_order else None)
        window = windows.stack([read_window(*one) for one in chosen])
        plans = make_plans(window, preset.mask)
        with torch.no_grad(), trainer.accelerator.autocast():
            window = window.to(trainer.accelerator.device).with_base(autoencoder)
        frames = window.xy[:, 1:].flatten(0, 1), window.confidence[:, 1:].flatten(0, 1)
        weight = trainer.bare.pose.token_weight(*frames).view(*window.latents[:, 1:].shape[:2], -1)

        def denoiser(model: VideoTransformer, x0: Tensor) -> Denoiser:
            return lambda noisy, level: predict(model, window, level, noisy, attend_window)

        def read() -> np.ndarray:
            return np.stack([read_truth(*one) for one in chosen])

        return DistillBatch(window, plans, weight, denoiser, read)

    def sheet(trainer: DistillTrainer):
        return make_sample_grid(data, autoencoder, trainer, preset.frames, roll_out_sampler(trainer, preset))

    common = {"resume": resume, "stop_after": stop_after, "region_term": region_term}
    return run_distillation(run, schedule, start, teacher, options, draw, sheet, **common)


@dataclass(frozen=True)
class DistillBatch:
    """What one step of the distillation learns from."""

    window: WarpedWindow  # on the device
    plans: list[AttentionPlan]
    token_weight: Tensor  # [b, f, n] 0..2
    denoiser: Callable[
        [VideoTransformer, Tensor], Denoiser
    ]  # of a scoring network, given the roll-out x0 [b, f, c, h, w]
    read_truth: Callable[[], np.ndarray]  # true pictures uint8 [b, f t, H, W, 3]


DrawBatch = Callable[[DistillTrainer, np.random.Generator, bool], DistillBatch]  # in the order of epochs, or any


def run_distillation(
    run: Path, schedule: Schedule, start: VideoTransformer, teacher: VideoTransformer, options: DistillOptions,
    draw: DrawBatch,
    sheet: Callable[[DistillTrainer], SampleGrid[VideoTransformer]],
    resume: bool, stop_after: float, region_term: RegionTerm | None = None,
) -> tuple[VideoTransformer, DistillTrainer]:  # fmt: skip
    """Train `start` under `run` on batches of `draw`; returns the averaged student."""
    critic = copy.deepcopy(teacher).requires_grad_(True).train()
    auxiliary_models = {"critic": critic} if options.dmd else {}
    trainer = Trainer(
        start.train(), run, schedule, auxiliary_models=auxiliary_models, auxiliary_rate=options.critic_rate
    )
    if resume:
        trainer.resume()
    teacher = teacher.to(trainer.accelerator.device).requires_grad_(False).eval()
    if options.dmd and trainer.step == 0:
        warm_critic(trainer, draw, options)

    def loss_of(student: VideoTransformer, rng: np.random.Generator) -> Tensor:
        batch = draw(trainer, rng, True)
        return distill_loss(trainer, teacher, batch, options, rng, region_term)

    trainer.fit(loss_of, sheet(trainer), stop_after)
    return trainer.averaged(), trainer


def warm_critic(trainer: DistillTrainer, draw: DrawBatch, options: DistillOptions) -> None:
    """Let the critic alone learn what the student makes, `options.critic_warmup` updates: it begins as the teacher, from whose
    score its own would not differ."""
    for step in range(options.critic_warmup):
        rng = trainer.rng(_WARM + step)
        batch = draw(trainer, rng, False)
        with torch.no_grad():
            x0 = student_sample(trainer, batch, options, rng)
        update_critic(trainer, batch, x0)


def student_sample(
    trainer: DistillTrainer, batch: DistillBatch, options: DistillOptions, rng: np.random.Generator
) -> Tensor:  # [b, f, c, h, w]
    """A roll-out of a drawn number of steps."""
    accelerator, student, window = trainer.accelerator, trainer.bare, batch.window
    with accelerator.autocast():
        condition = student.condition(window.base, window.image, window.xy, window.confidence)
    noise = torch.randn_like(window.latents[:, 1:])
    steps = int(rng.choice(options.steps))
    precision = lambda: accelerator.autocast()  # noqa: E731
    return roll_out(student, condition, batch.plans, noise, steps, precision, clean_keys=options.clean_keys)


def update_critic(trainer: DistillTrainer, batch: DistillBatch, x0: Tensor) -> None:
    """One update of the critic on the student's sample."""
    level, noise = draw_levels(x0.shape[:2], x0.device), torch.randn_like(x0)
    with trainer.accelerator.autocast():
        loss = critic_loss(batch.denoiser(critic_of(trainer), x0), x0, level, noise, batch.token_weight)
    trainer.log(critic=trainer.auxiliary_models["critic"].update(loss))


def critic_of(trainer: DistillTrainer) -> VideoTransformer:
    """The network that learns what the student makes."""
    critic = trainer.auxiliary_models["critic"].bare
    assert isinstance(critic, VideoTransformer)
    return critic


def distill_loss(
    trainer: DistillTrainer, teacher: VideoTransformer, batch: DistillBatch, options: DistillOptions,
    rng: np.random.Generator, region_term: RegionTerm | None = None,
) -> Tensor:  # fmt: skip
    """The student's loss on one batch, after the critic's updates on the same roll-out."""
    window, clean = batch.window, batch.window.latents[:, 1:]
    x0 = student_sample(trainer, batch, options, rng)
    regression = flow_loss(x0, clean, torch.ones_like(clean[:, :, 0, 0, 0]), batch.token_weight)
    trainer.log(regression=regression.item())
    loss = options.regression * regression
    if options.dmd:
        for _ in range(options.critic_updates):
            update_critic(trainer, batch, x0)
        level, noise = draw_levels(x0.shape[:2], x0.device), torch.randn_like(x0)
        with trainer.accelerator.autocast():
            with torch.no_grad():
                real, fake = (batch.denoiser(model, x0) for model in (teacher, critic_of(trainer)))
            matching = dmd_loss(x0, real, fake, level, noise, batch.token_weight)
        trainer.log(dmd=matching.item())
        loss = loss + options.dmd * matching
    if region_term is not None:
        region = region_term(x0, window, batch.read_truth(), rng)
        trainer.log(region=region.item())
        loss = loss + options.region * region
    return loss


def draw_levels(shape: torch.Size, device: torch.device) -> Tensor:
    """Levels [b, f] for both scores: one for all frames of a window, as the dense teacher learnt them."""
    level = sample_levels((shape[0], 1), pure_noise=0.0, device=device).clamp(LOWEST, HIGHEST)
    return level.expand(-1, shape[1])


def roll_out_sampler(trainer: Trainer, preset: TrainPreset) -> Callable[[VideoTransformer, WarpedWindow], Tensor]:
    """For the sheets: what the student streams."""

    def sampler(model: VideoTransformer, window: WarpedWindow) -> Tensor:
        condition = model.condition(window.base, window.image, window.xy, window.confidence)
        plans = make_plans(window, preset.mask)
        return roll_out(model, condition, plans, torch.randn_like(window.latents[:, 1:]), SHEET_STEPS)

    return sampler
