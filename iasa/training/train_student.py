"""The few-step causal student by regression, from the teacher's layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from iasa.attention.frame_patterns import make_planned
from iasa.config import DEFAULT_STEPS, ROLL_OUT_STEPS, STUDENT_LAYERS, TrainPreset
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.sampling import make_levels, sample_few_step
from iasa.training.datasets import (
    WarpedWindow,
    WindowSampler,
    find_shards,
)
from iasa.training.trainer import Schedule, Trainer
from iasa.training.window_loss import make_plans, make_sample_grid, predict, window_loss


def train_student(
    data: Path, run: Path, schedule: Schedule, preset: TrainPreset, autoencoder: Autoencoder,
    start: VideoTransformer | None, resume: bool, stop_after: float,
) -> tuple[VideoTransformer, Trainer]:  # fmt: skip
    """From the teacher's weights, some of its layers left out: causal plans, and the noise levels of a roll-out of 1, 2 or 4
    steps, drawn for each batch.

    Past frames of a window carry levels of their own, as the cached keys of a roll-out do.
    """
    torch.manual_seed(schedule.seed)
    shards = find_shards(data, "train")
    model = start or VideoTransformer(autoencoder.config.latent_channels)
    if len(model.blocks) > max(STUDENT_LAYERS):
        model.keep_layers(STUDENT_LAYERS)
    trainer = Trainer(model.train(), run, schedule)
    if resume:
        trainer.resume()
    windows = WindowSampler(shards, preset.frames)
    device = trainer.accelerator.device

    def loss_of(network: nn.Module, rng: np.random.Generator) -> Tensor:
        window = windows.sample(rng, preset.batch, trainer.sample_indices(preset.batch))
        plans = make_plans(window, preset.mask)
        met = torch.tensor(make_levels(int(rng.choice(ROLL_OUT_STEPS))), device=device)
        with trainer.accelerator.autocast():
            window = window.to(device).with_base(autoencoder)
        level = met[torch.randint(len(met), tuple(window.latents[:, 1:].shape[:2]), device=device)]
        return window_loss(trainer, window, level, make_planned(plans))

    def sampler(model: VideoTransformer, window: WarpedWindow) -> Tensor:
        attend = make_planned(make_plans(window, preset.mask))

        def denoise(x: Tensor, level: float) -> Tensor:
            return predict(model, window, torch.full(x.shape[:2], level, device=device), x, attend)

        return sample_few_step(denoise, torch.randn_like(window.latents[:, 1:]), DEFAULT_STEPS["student"])

    trainer.fit(loss_of, make_sample_grid(data, autoencoder, trainer, preset.frames, sampler), stop_after)
    return trainer.averaged(), trainer
