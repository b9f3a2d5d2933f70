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
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iasa.attention.frame_patterns import attend_window
from iasa.config import DistillOptions, TrainPreset
from iasa.losses import critic_loss, dmd_loss, flow_loss, sample_levels
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.training.datasets import WarpedWindow, WindowSampler, find_shards, read_truth, read_window
from iasa.training.self_forcing import roll_out
from iasa.training.train_teacher import make_sample_grid
from iasa.training.trainer import Schedule, Trainer
from iasa.training.window_loss import make_plans, predict

LOWEST, HIGHEST = 0.05, 0.98  # noise levels at which the scores are compared: at 1 nothing of the sample is left
SHEET_STEPS = 1

# region_term(clean latents [b, f, c, h, w], the window, its true pictures uint8 [b, f t, H, W, 3], rng) -> scalar
RegionTerm = Callable[[Tensor, WarpedWindow, np.ndarray, np.random.Generator], Tensor]


def distill(
    data: Path, run: Path, schedule: Schedule, preset: TrainPreset, autoencoder: Autoencoder,
    start: VideoTransformer, teacher: VideoTransformer, resume: bool, stop_after: float,
    options: DistillOptions | None = None, region_term: RegionTerm | None = None,
) -> tuple[VideoTransformer, Trainer]:  # fmt: skip
    """Train `start` under `run`; the critic starts as a copy of `teacher`, which stays as it is. Returns the averaged student."""
    options = options or DistillOptions()
    critic = copy.deepcopy(teacher).requires_grad_(True).train()
    auxiliary_models = {"critic": critic} if options.dmd else {}
    trainer = Trainer(
        start.train(), run, schedule, auxiliary_models=auxiliary_models, auxiliary_rate=options.critic_rate
    )
    if resume:
        trainer.resume()
    accelerator, device = trainer.accelerator, trainer.accelerator.device
    teacher = teacher.to(device).requires_grad_(False).eval()
    windows = WindowSampler(find_shards(data, "train"), preset.frames)

    def loss_of(student: VideoTransformer, rng: np.random.Generator) -> Tensor:
        chosen = windows.choose(rng, preset.batch, trainer.sample_indices(preset.batch))
        window = windows.stack([read_window(*one) for one in chosen])
        plans = make_plans(window, preset.mask)
        with torch.no_grad(), accelerator.autocast():
            window = window.to(device).with_base(autoencoder)
        clean = window.latents[:, 1:]
        token_weight = student.pose.token_weight(window.xy[:, 1:].flatten(0, 1), window.confidence[:, 1:].flatten(0, 1))
        token_weight = token_weight.view(*clean.shape[:2], -1)
        with accelerator.autocast():
            condition = student.condition(window.base, window.image, window.xy, window.confidence)
        steps = int(rng.choice(options.steps))
        x0 = roll_out(student, condition, plans, torch.randn_like(clean), steps, lambda: accelerator.autocast())

        def denoiser(model: VideoTransformer):
            def denoise(noisy: Tensor, level: Tensor) -> Tensor:
                with accelerator.autocast():
                    return predict(model, window, level, noisy, attend_window)

            return denoise

        def draw() -> tuple[Tensor, Tensor]:
            return draw_levels(clean.shape[:2], device), torch.randn_like(clean)

        regression = flow_loss(x0, clean, torch.ones_like(clean[:, :, 0, 0, 0]), token_weight)
        trainer.log(regression=regression.item())
        loss = options.regression * regression
        if options.dmd:
            for _ in range(options.critic_updates):
                found = trainer.auxiliary_models["critic"].update(
                    critic_loss(denoiser(critic), x0, *draw(), token_weight)
                )
                trainer.log(critic=found)
            matching = dmd_loss(x0, denoiser(teacher), denoiser(critic), *draw(), token_weight)
            trainer.log(dmd=matching.item())
            loss = loss + options.dmd * matching
        if region_term is not None:
            region = region_term(x0, window, np.stack([read_truth(*one) for one in chosen]), rng)
            trainer.log(region=region.item())
            loss = loss + options.region * region
        return loss

    trainer.fit(
        loss_of,
        make_sample_grid(data, autoencoder, trainer, preset.frames, roll_out_sampler(trainer, preset)),
        stop_after,
    )
    return trainer.averaged(), trainer


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
