"""Train the video transformer: the many-step dense teacher, and the few-step causal sparse student that starts from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from iasa.attention.frame_patterns import attend_own, attend_window
from iasa.config import TrainPreset
from iasa.losses import sample_levels
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.sampling import sample_euler
from iasa.training.datasets import (
    WarpedWindow,
    WindowSampler,
    find_shards,
)
from iasa.training.trainer import Schedule, Trainer
from iasa.training.window_loss import make_sample_grid, predict, window_loss

OWN_SHARE = 0.75  # of the teacher's steps with the cheap own-frame pattern, before the dense windows


def train_teacher(
    data: Path, run: Path, schedule: Schedule, preset: TrainPreset, autoencoder: Autoencoder,
    start: VideoTransformer | None, resume: bool, stop_after: float, own_share: float = OWN_SHARE,
) -> tuple[VideoTransformer, Trainer]:  # fmt: skip
    """Flow matching, first with own-frame attention, then with dense windows of four latent frames."""
    torch.manual_seed(schedule.seed)
    shards = find_shards(data, "train")
    trainer = Trainer((start or VideoTransformer(autoencoder.config.latent_channels)).train(), run, schedule)
    if resume:
        trainer.resume()
    single, dense = WindowSampler(shards, preset.frames), WindowSampler(shards, 4)
    device = trainer.accelerator.device

    def loss_of(network: nn.Module, rng: np.random.Generator) -> Tensor:
        own = trainer.done < own_share
        with trainer.accelerator.autocast():
            window = (single if own else dense).sample(rng, preset.batch, trainer.sample_indices(preset.batch))
            window = window.to(device).with_base(autoencoder)
        if own:  # frames do not meet: each has its own noise level
            level = sample_levels(tuple(window.latents[:, 1:].shape[:2]), device=device)
        else:
            level = sample_levels((len(window.image), 1), device=device).expand(-1, 4)
        return window_loss(trainer, window, level, attend_own if own else attend_window)

    def sampler(model: VideoTransformer, window: WarpedWindow) -> Tensor:
        def denoise(x: Tensor, level: float) -> Tensor:
            return predict(model, window, torch.full(x.shape[:2], level, device=device), x, attend_window)

        return sample_euler(denoise, torch.randn_like(window.latents[:, 1:]), 12)

    trainer.fit(loss_of, make_sample_grid(data, autoencoder, trainer, 4, sampler), stop_after)
    return trainer.averaged(), trainer
