"""The teacher goes on for a few steps under any pattern of the gallery: the fine-tuned track of `bench patterns`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iasa.attention.pattern import Clip, Pattern
from iasa.config import PRESETS, MaskOptions
from iasa.losses import add_noise, flow_loss, sample_levels
from iasa.masks import AttentionPlan
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.training.datasets import WindowSampler, find_shards
from iasa.training.muon import make_optimizers
from iasa.training.trainer import lr_factor
from iasa.training.window_loss import make_plans, predict


def finetune_pattern(
    start: VideoTransformer,  # which stays as it is
    autoencoder: Autoencoder,
    data: Path,  # shards of `train data`, encoded
    pattern_of: Callable[[Clip], Pattern],  # anew for every window, whose poses differ
    steps: int,
    frames: int,  # latent frames of a window
    seed: int = 0,
) -> VideoTransformer:
    """Flow matching, a window a step, the same windows and noise for every pattern: how much it learns is then its own.

    Raises InputError on a pattern that has no backward pass.
    """
    model, preset = copy.deepcopy(start).train(), PRESETS["finetune"]
    windows = WindowSampler(find_shards(data, "train"), frames)
    optimizers = make_optimizers(model, preset.lr, preset.muon_lr)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    for step in range(steps):
        torch.manual_seed(seed + step)
        window = windows.sample(np.random.default_rng([seed, step]), 1).with_base(autoencoder)
        (plan,) = make_plans(window, MaskOptions())
        pattern = begun(pattern_of, plan)
        clean = window.latents[:, 1:]
        level = sample_levels((1, 1)).expand(-1, frames)
        noisy = add_noise(clean, torch.randn_like(clean), level)
        made = predict(model, window, level, noisy, pattern).float()
        flow_loss(made, clean, level, token_weight(model, window.xy, window.confidence)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, usual in zip(optimizers, rates, strict=True):
            for group, rate in zip(optimizer.param_groups, usual, strict=True):
                group["lr"] = rate * lr_factor(step, steps, preset.warmup)
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


def begun(pattern_of: Callable[[Clip], Pattern], plan: AttentionPlan) -> Pattern:
    """The pattern for one window, all of whose frames have one noise level."""
    clip = Clip(plan.grid, (1.0,), plan=plan)
    pattern = pattern_of(clip)
    pattern.begin(clip)
    return pattern


def token_weight(model: VideoTransformer, xy: Tensor, confidence: Tensor) -> Tensor:  # [1, f, n]
    """Hands and faces count more, as in all of the training."""
    return model.pose.token_weight(xy[0, 1:], confidence[0, 1:])[None].flatten(2)
