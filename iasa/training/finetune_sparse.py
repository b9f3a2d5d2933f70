"""The paper's first stage: the many-step teacher goes on with a sparse mask (dense, the global mask, global and local)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from iasa.attention.frame_patterns import attend_window, make_planned
from iasa.config import MaskOptions, TrainPreset
from iasa.losses import sample_levels
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import Attend, VideoTransformer
from iasa.sampling import sample_euler
from iasa.training.datasets import WarpedWindow, Window, WindowSampler, find_shards
from iasa.training.train_teacher import make_sample_grid
from iasa.training.trainer import Schedule, Trainer
from iasa.training.window_loss import make_plans, predict, window_loss

SHEET_STEPS = 12


def finetune_sparse(
    data: Path, run: Path, schedule: Schedule, preset: TrainPreset, autoencoder: Autoencoder,
    start: VideoTransformer, resume: bool, stop_after: float, mask: MaskOptions | None = None,
) -> tuple[VideoTransformer, Trainer]:  # fmt: skip
    """Flow matching from `start` with the attention of `mask`: None is dense and bidirectional.

    `MaskOptions(local=False)` is the global mask alone. All frames of a window share one noise level, as they do when a
    many-step sampler makes them.
    """
    trainer = Trainer(start.train(), run, schedule)
    if resume:
        trainer.resume()
    windows = WindowSampler(find_shards(data, "train"), preset.frames)
    device = trainer.accelerator.device

    def loss_of(network: nn.Module, rng: np.random.Generator) -> Tensor:
        window = windows.sample(rng, preset.batch, trainer.sample_indices(preset.batch))
        attend = make_pattern(window, mask)
        with trainer.accelerator.autocast():
            window = window.to(device).with_base(autoencoder)
        level = sample_levels((preset.batch, 1), device=device).expand(-1, preset.frames)
        return window_loss(trainer, window, level, attend)

    def sampler(model: VideoTransformer, window: WarpedWindow) -> Tensor:
        attend = make_pattern(window, mask)

        def denoise(x: Tensor, level: float) -> Tensor:
            return predict(model, window, torch.full(x.shape[:2], level, device=device), x, attend)

        return sample_euler(denoise, torch.randn_like(window.latents[:, 1:]), SHEET_STEPS)

    trainer.fit(loss_of, make_sample_grid(data, autoencoder, trainer, preset.frames, sampler), stop_after)
    return trainer.averaged(), trainer


def make_pattern(window: Window, mask: MaskOptions | None) -> Attend:
    """Dense attention, or the plans of the window's clips."""
    return attend_window if mask is None else make_planned(make_plans(window, mask))
