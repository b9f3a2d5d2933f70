"""Train the video transformer: the many-step dense teacher, and the few-step causal sparse student that starts from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from iasa.config import DEFAULT_STEPS, LATENT_FPS, ROLL_OUT_STEPS, STUDENT_LAYERS, MaskOptions, TrainPreset
from iasa.grid import TokenGrid
from iasa.keypoints import Keypoints, pool_to_latent
from iasa.losses import add_noise, flow_loss, sample_levels
from iasa.masks import AttentionPlan, make_plan
from iasa.metrics import psnr
from iasa.models.attend import attend_own, attend_window, make_planned
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import Attend, VideoTransformer
from iasa.sampling import make_levels, sample_euler, sample_few_step
from iasa.training.data import (
    Shard,
    Window,
    WindowSampler,
    find_shards,
    read_window,
    to_model_images,
    to_pictures,
)
from iasa.training.loop import Schedule, Trainer

OWN_SHARE = 0.75  # of the teacher's steps with the cheap own-frame pattern, before the dense windows


def make_plans(window: Window, options: MaskOptions) -> list[AttentionPlan]:
    """One causal plan for each clip of a window, the reference being its frame 0."""
    plans = []
    for xy, confidence in zip(window.xy.cpu().numpy(), window.confidence.cpu().numpy(), strict=True):
        frames = Keypoints(xy.reshape(-1, *xy.shape[2:]), confidence.reshape(-1, confidence.shape[-1]), LATENT_FPS * 2)
        pooled = pool_to_latent(frames, xy.shape[1])
        plans.append(make_plan(pooled, TokenGrid(len(xy), *window.latents.shape[-2:]), options))
    return plans


def predict(model: VideoTransformer, window: Window, level: Tensor, noisy: Tensor, attend: Attend) -> Tensor:
    """x0 of the video frames [b, f, c, h, w]; the clean reference rides in front with level 0."""
    condition = model.condition(window.base, window.image, window.xy, window.confidence)
    latents = torch.cat([window.latents[:, :1], noisy], 1)
    levels = torch.cat([torch.zeros_like(level[:, :1]), level], 1)
    return model(latents, levels, condition, attend)[:, 1:]


def window_loss(trainer: Trainer, window: Window, level: Tensor, attend: Attend) -> Tensor:
    """Flow-matching loss of one batch, hands and faces weighted up."""
    clean = window.latents[:, 1:]
    noisy = add_noise(clean, torch.randn_like(clean), level)
    importance = trainer.bare.pose.importance(window.xy[:, 1:].flatten(0, 1), window.confidence[:, 1:].flatten(0, 1))
    with trainer.accelerator.autocast():
        output = predict(trainer.bare, window, level, noisy, attend)
    return flow_loss(output.float(), clean, level, importance.view(*level.shape, -1))


def train_teacher(
    data: Path, run: Path, schedule: Schedule, preset: TrainPreset, autoencoder: Autoencoder,
    start: VideoTransformer | None, resume: bool, stop_after: float, own_share: float = OWN_SHARE,
) -> tuple[VideoTransformer, Trainer]:  # fmt: skip
    """Flow matching, first with own-frame attention, then with dense windows of four latent frames."""
    shards = find_shards(data, "train")
    trainer = Trainer((start or VideoTransformer(autoencoder.config.latent_channels)).train(), run, schedule)
    if resume:
        trainer.resume()
    single, dense = WindowSampler(shards, preset.frames), WindowSampler(shards, 4)
    device = trainer.accelerator.device

    def loss_of(network: nn.Module, rng: np.random.Generator) -> Tensor:
        own = trainer.step < own_share * schedule.steps
        with trainer.accelerator.autocast():
            window = (single if own else dense).sample(rng, preset.batch, trainer.turns(preset.batch))
            window = window.to(device).with_base(autoencoder)
        if own:  # frames do not meet: each has its own noise level
            level = sample_levels(tuple(window.latents[:, 1:].shape[:2]), device=device)
        else:
            level = sample_levels((len(window.image), 1), device=device).expand(-1, 4)
        return window_loss(trainer, window, level, attend_own if own else attend_window)

    def sampler(model: VideoTransformer, window: Window) -> Tensor:
        def denoise(x: Tensor, level: float) -> Tensor:
            return predict(model, window, torch.full(x.shape[:2], level, device=device), x, attend_window)

        return sample_euler(denoise, torch.randn_like(window.latents[:, 1:]), 12)

    trainer.fit(loss_of, make_sheet(data, autoencoder, trainer, 4, sampler), stop_after)
    return trainer.averaged(), trainer


def train_student(
    data: Path, run: Path, schedule: Schedule, preset: TrainPreset, autoencoder: Autoencoder,
    start: VideoTransformer | None, resume: bool, stop_after: float,
) -> tuple[VideoTransformer, Trainer]:  # fmt: skip
    """From the teacher's weights, some of its layers left out: causal plans, and the noise levels of a roll-out of 1, 2 or 4
    steps, drawn for each batch.

    Past frames of a window carry levels of their own, as the cached keys of a roll-out do.
    """
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
        window = windows.sample(rng, preset.batch, trainer.turns(preset.batch))
        plans = make_plans(window, preset.mask)
        met = torch.tensor(make_levels(int(rng.choice(ROLL_OUT_STEPS))), device=device)
        with trainer.accelerator.autocast():
            window = window.to(device).with_base(autoencoder)
        level = met[torch.randint(len(met), tuple(window.latents[:, 1:].shape[:2]), device=device)]
        return window_loss(trainer, window, level, make_planned(plans))

    def sampler(model: VideoTransformer, window: Window) -> Tensor:
        attend = make_planned(make_plans(window, preset.mask))

        def denoise(x: Tensor, level: float) -> Tensor:
            return predict(model, window, torch.full(x.shape[:2], level, device=device), x, attend)

        return sample_few_step(denoise, torch.randn_like(window.latents[:, 1:]), DEFAULT_STEPS["student"])

    trainer.fit(loss_of, make_sheet(data, autoencoder, trainer, preset.frames, sampler), stop_after)
    return trainer.averaged(), trainer


def heldout_window(shards: list[Shard], frames: int, clips: int) -> tuple[Window, np.ndarray]:
    """The first window of the first held-out clips, and its true pictures uint8 [clips, 2 f, H, W, 3]."""
    parts, truth = [], []
    for clip in range(clips):
        shard = shards[0]
        parts.append(read_window(shard, clip, 0, np.arange(1, 1 + frames)))
        truth.append(shard.frames[clip, 1 : 1 + 2 * frames])
    return WindowSampler.stack(parts), np.stack(truth)


def make_sheet(
    data: Path, autoencoder: Autoencoder, trainer: Trainer, frames: int, sampler: Callable[[VideoTransformer, Window], Tensor]
) -> Callable[[nn.Module, Path, int], str]:
    """Sample sheets on held-out identities: reference, truth, sample; and PSNR beside that of copying the reference."""
    window, truth = heldout_window(find_shards(data, "heldout"), frames, clips=6)
    device = trainer.accelerator.device
    images = to_model_images(truth)
    copy = to_model_images(to_pictures(window.image))[:, None].expand_as(images)

    @torch.no_grad()
    def sheet(model: nn.Module, folder: Path, step: int) -> str:
        torch.manual_seed(0)
        with trainer.accelerator.autocast():
            on_device = window.to(device).with_base(autoencoder)
            poses = on_device.xy[:, 1:].flatten(1, 2), on_device.confidence[:, 1:].flatten(1, 2)
            output = autoencoder.decode(sampler(model, on_device).float(), *poses, on_device.bent)
        output = output.float().cpu()
        last = [images[:, -1], output[:, -1]]
        rows = [to_pictures(window.image), *(to_pictures(row) for row in last)]
        Image.fromarray(rearrange(np.stack(rows), "r m h w c -> (r h) (m w) c")).save(folder / "sheet.png")
        return f"held-out PSNR {psnr(output, images, peak=2.0):.2f} dB (copying the reference {psnr(copy, images, peak=2.0):.2f})"

    return sheet
