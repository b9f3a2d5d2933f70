"""Train the autoencoder on crops of rendered clips, then measure the latents' statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from iasa.keypoints import LEFT_HAND, RIGHT_HAND
from iasa.losses import reconstruction_loss
from iasa.metrics.video_quality import psnr
from iasa.models.autoencoder import Autoencoder
from iasa.training.datasets import CropSampler, Shard, draw_clip, find_shards, to_model_images, to_pictures
from iasa.training.trainer import SampleGrid, Schedule, Trainer
from iasa.warp.reference_warp import warp_reference

CROP = 128
NOISE = 0.1  # largest deviation added to latents: the decoder learns to bear the generator's errors


def train_autoencoder(
    data: Path, run: Path, schedule: Schedule, batch: int, start: Autoencoder | None, resume: bool, stop_after: float
) -> tuple[Autoencoder, Trainer]:
    """Train under `run` from `start` (or scratch); returns the averaged model with latent statistics, and the trainer."""
    torch.manual_seed(schedule.seed)
    shards = find_shards(data, "train")
    model = start or Autoencoder()
    trainer = Trainer(model.to(memory_format=torch.channels_last).train(), run, schedule)
    if resume:
        trainer.resume()
    crops = CropSampler(shards, CROP)
    device = trainer.accelerator.device

    def loss_of(network: nn.Module, rng: np.random.Generator) -> Tensor:
        crop = crops.sample(rng, batch).to(device)
        pairs = crop.pairs.to(memory_format=torch.channels_last)
        with trainer.accelerator.autocast():
            latents = trainer.bare.to_latents(pairs)
            noise = NOISE * torch.rand(len(pairs), 1, 1, 1, device=device) * torch.randn_like(latents)
            output = trainer.bare.to_pairs(latents + noise, crop.xy, crop.confidence, crop.warped, crop.corner)
        return reconstruction_loss(output.float(), pairs, crop.weight)

    trainer.fit(loss_of, make_sample_grid(data, trainer), stop_after)
    model = trainer.averaged()
    measure_latents(model, shards, trainer)
    return model, trainer


def make_sample_grid(data: Path, trainer: Trainer) -> SampleGrid[Autoencoder]:
    """Sheets of held-out pictures above their reconstructions, with PSNR."""

    def sample_grid(network: Autoencoder, folder: Path, step: int) -> str:
        truth, output = reconstruct(network, find_shards(data, "heldout"), trainer)
        rows = [np.hstack(list(to_pictures(part[:6, :3]))) for part in (truth, output)]
        Image.fromarray(np.vstack(rows)).save(folder / "samples.png")
        planes = [rearrange(part, "m (t c) h w -> m t c h w", c=3) for part in (output, truth)]
        hands = hand_psnr(output, truth, find_shards(data, "heldout"))
        return f"held-out PSNR {psnr(*planes, peak=2.0):.2f} dB, in the hands' boxes {hands:.2f} dB"

    return sample_grid


@torch.no_grad()
def reconstruct(model: Autoencoder, shards: list[Shard], trainer: Trainer, clips: int = 12) -> tuple[Tensor, Tensor]:
    """(truth, reconstruction) [clips, 6, H, W] of one frame pair of each of the first clips."""
    shown = [0, 3, 4]  # the reference and a pair
    frames, xy, confidence = (
        np.concatenate([getattr(s, name)[:clips, shown] for s in shards])[:clips]
        for name in ("frames", "xy", "confidence")
    )
    device = trainer.accelerator.device
    images = to_model_images(frames).to(device)
    xy, confidence = (torch.from_numpy(part).float().to(device) for part in (xy, confidence))
    warped = warp_reference(images[:, 0], xy[:, 0], confidence[:, 0], xy[:, 1:], confidence[:, 1:]).flatten(1, 2)
    truth = images[:, 1:].flatten(1, 2)
    with trainer.accelerator.autocast():
        latents = model.to_latents(truth.to(memory_format=torch.channels_last))
        output = model.to_pairs(latents, xy[:, 1:], confidence[:, 1:], warped)
    return truth, output.float().clamp(-1, 1)


def hand_psnr(output: Tensor, truth: Tensor, shards: list[Shard]) -> float:
    """PSNR over the boxes around the hands' keypoints, dB."""
    side = truth.shape[-1]
    xy = np.concatenate([s.xy[:, 3] for s in shards])[: len(truth)] * side
    total, pixels = 0.0, 0
    for i, points in enumerate(xy):
        for hand in (LEFT_HAND, RIGHT_HAND):
            x0, y0 = np.clip(points[hand].min(0), 0, side).astype(int)
            x1, y1 = np.clip(points[hand].max(0), 0, side).astype(int)
            box = (output[i, :3, y0:y1, x0:x1] - truth[i, :3, y0:y1, x0:x1]).square()
            total, pixels = total + float(box.sum()), pixels + box.numel()
    return 10 * np.log10(4.0 * max(1, pixels) / max(total, 1e-9))


@torch.no_grad()
def measure_latents(model: Autoencoder, shards: list[Shard], trainer: Trainer, clips: int = 200) -> None:
    """Set `mean` and `std` from whole pictures, so that encode() gives unit channels."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(clips // 8):
        shard, _ = draw_clip(shards, rng)
        chosen = rng.integers(len(shard.frames), size=8)
        pairs = np.stack([shard.frames[c, 1 + 2 * (k % 8) : 3 + 2 * (k % 8)] for k, c in enumerate(chosen)])
        images = rearrange(to_model_images(pairs), "m t c h w -> m (t c) h w").to(trainer.accelerator.device)
        with trainer.accelerator.autocast():
            found.append(model.to_latents(images.to(memory_format=torch.channels_last)).float())
    latents = torch.cat(found)
    model.mean.copy_(latents.mean((0, 2, 3)))
    model.std.copy_(latents.std((0, 2, 3)))
