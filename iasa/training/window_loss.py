"""What the training of teacher and student share: a window's plans, its loss, and the sample sample_grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from iasa.config import LATENT_FPS, MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import Keypoints, pool_to_latent
from iasa.losses import add_noise, flow_loss
from iasa.masks import AttentionPlan, make_plan
from iasa.metrics.video_quality import psnr
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import Attend, VideoTransformer
from iasa.training.datasets import (
    Shard,
    WarpedWindow,
    Window,
    WindowSampler,
    find_shards,
    read_window,
    to_model_images,
    to_pictures,
)
from iasa.training.trainer import SampleGrid, Trainer


def make_plans(window: Window, options: MaskOptions) -> list[AttentionPlan]:
    """One causal plan for each clip of a window, the reference being its frame 0."""
    plans = []
    for xy, confidence in zip(window.xy.cpu().numpy(), window.confidence.cpu().numpy(), strict=True):
        frames = Keypoints(xy.reshape(-1, *xy.shape[2:]), confidence.reshape(-1, confidence.shape[-1]), LATENT_FPS * 2)
        pooled = pool_to_latent(frames, xy.shape[1])
        plans.append(make_plan(pooled, TokenGrid(len(xy), *window.latents.shape[-2:]), options))
    return plans


def predict(model: VideoTransformer, window: WarpedWindow, level: Tensor, noisy: Tensor, attend: Attend) -> Tensor:
    """x0 of the video frames [b, f, c, h, w]; the clean reference rides in front with level 0."""
    condition = model.condition(window.base, window.image, window.xy, window.confidence)
    latents = torch.cat([window.latents[:, :1], noisy], 1)
    levels = torch.cat([torch.zeros_like(level[:, :1]), level], 1)
    return model(latents, levels, condition, attend)[:, 1:]


def window_loss(trainer: Trainer[VideoTransformer], window: WarpedWindow, level: Tensor, attend: Attend) -> Tensor:
    """Flow-matching loss of one batch, hands and faces weighted up."""
    clean = window.latents[:, 1:]
    noisy = add_noise(clean, torch.randn_like(clean), level)
    token_weight = trainer.bare.pose.token_weight(
        window.xy[:, 1:].flatten(0, 1), window.confidence[:, 1:].flatten(0, 1)
    )
    with trainer.accelerator.autocast():
        output = predict(trainer.bare, window, level, noisy, attend)
    return flow_loss(output.float(), clean, level, token_weight.view(*level.shape, -1))


def heldout_window(shards: list[Shard], frames: int, clips: int) -> tuple[Window, np.ndarray]:
    """The first window of the first held-out clips, and its true pictures uint8 [clips, 2 f, H, W, 3]."""
    parts, truth = [], []
    for clip in range(clips):
        shard = shards[0]
        parts.append(read_window(shard, clip, 0, np.arange(1, 1 + frames)))
        truth.append(shard.frames[clip, 1 : 1 + 2 * frames])
    return WindowSampler.stack(parts), np.stack(truth)


def make_sample_grid(
    data: Path,
    autoencoder: Autoencoder,
    trainer: Trainer,
    frames: int,
    sampler: Callable[[VideoTransformer, WarpedWindow], Tensor],
) -> SampleGrid[VideoTransformer]:
    """Sample sheets on held-out identities: reference, truth, sample; and PSNR beside that of copying the reference."""
    window, truth = heldout_window(find_shards(data, "heldout"), frames, clips=6)
    device = trainer.accelerator.device
    images = to_model_images(truth)
    copy = to_model_images(to_pictures(window.image))[:, None].expand_as(images)

    @torch.no_grad()
    def sample_grid(model: VideoTransformer, folder: Path, step: int) -> str:
        torch.manual_seed(0)
        with trainer.accelerator.autocast():
            on_device = window.to(device).with_base(autoencoder)
            poses = on_device.xy[:, 1:].flatten(1, 2), on_device.confidence[:, 1:].flatten(1, 2)
            output = autoencoder.decode(sampler(model, on_device).float(), *poses, on_device.warped)
        output = output.float().cpu()
        last = [images[:, -1], output[:, -1]]
        rows = [to_pictures(window.image), *(to_pictures(row) for row in last)]
        Image.fromarray(rearrange(np.stack(rows), "r m h w c -> (r h) (m w) c")).save(folder / "samples.png")
        return f"held-out PSNR {psnr(output, images, peak=2.0):.2f} dB (copying the reference {psnr(copy, images, peak=2.0):.2f})"

    return sample_grid
