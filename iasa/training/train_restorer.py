"""Train the restorer on pairs of warped crops and what they should have shown, under one light for both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from iasa.config import InputError
from iasa.losses import reconstruction_loss
from iasa.metrics.video_quality import psnr
from iasa.models.restorer import Restorer
from iasa.training.datasets import CropSampler, to_model_images, to_pictures
from iasa.training.restore_data import Pairs
from iasa.training.trainer import SampleGrid, Schedule, Trainer

EXPOSURE, TINT, GRAIN = 0.35, 0.12, 0.04  # largest change of a batch's light, of its colour channels, and its noise
SHEET = 8  # crops of the sample sheet


def train_restorer(
    data: Path, run: Path, schedule: Schedule, batch: int, start: Restorer | None, resume: bool, stop_after: float
) -> tuple[Restorer, Trainer]:
    """Train on the shards of the folder `data`; returns the averaged network and its trainer."""
    torch.manual_seed(schedule.seed)
    paths = sorted(data.glob("restore_*.npz"))
    if not paths:
        raise InputError("there are no pairs to restore; make them with: python -m iasa train data --pairs")
    pairs = Pairs.load(*paths)
    trainer = Trainer((start or Restorer()).to(memory_format=torch.channels_last).train(), run, schedule)
    if resume:
        trainer.resume()
    device = trainer.accelerator.device

    def loss_of(network: nn.Module, rng: np.random.Generator) -> Tensor:
        layers, photo, truth, xy, confidence, weight = (
            part.to(device) for part in draw_batch(pairs, rng.integers(len(pairs), size=batch))
        )
        layers, photo, truth = light_anew(rng, layers, photo, truth)
        with trainer.accelerator.autocast():
            change = network(layers, photo, xy, confidence)
        return reconstruction_loss(layers + change.float(), truth, weight)

    trainer.fit(loss_of, make_sample_grid(data, trainer), stop_after)
    return trainer.averaged(), trainer


def draw_batch(pairs: Pairs, chosen: np.ndarray) -> tuple[Tensor, ...]:
    """Pictures [m, 3, C, C] (layers, photo, truth), xy, confidence, and how much each pixel counts [m, 1, C, C]."""
    pictures = (to_model_images(part[chosen]) for part in (pairs.layers, pairs.photo, pairs.truth))
    size = pairs.layers.shape[1]
    weight = np.stack([CropSampler.weigh(xy[1:] * size, size) for xy in pairs.xy[chosen]])
    return (
        *pictures, torch.from_numpy(pairs.xy[chosen]), torch.from_numpy(pairs.confidence[chosen]), torch.from_numpy(weight)
    )  # fmt: skip


def light_anew(rng: np.random.Generator, *pictures: Tensor) -> list[Tensor]:  # each [m, 3, C, C] in [-1, 1]
    """The same light, colour and grain for all pictures of a pair: a camera's, not the speaker's."""
    count, _, height, width = pictures[0].shape
    gain = 1 + rng.uniform(-EXPOSURE, EXPOSURE, (count, 1)) + rng.uniform(-TINT, TINT, (count, 3))
    gamma = np.exp(rng.uniform(-0.3, 0.3, (count, 1)))
    grain = rng.uniform(0, GRAIN, (count, 1, 1, 1)) * rng.standard_normal((count, 1, height, width))
    gain, gamma, noise = (torch.from_numpy(part).float().to(pictures[0].device) for part in (gain, gamma, grain))
    out = []
    for picture in pictures:
        level = ((picture + 1) / 2).clamp(1e-4, 1) ** gamma[..., None, None] * gain[..., None, None]
        out.append((2 * level.clamp(0, 1) - 1 + noise).clamp(-1, 1))
    return out


def make_sample_grid(data: Path, trainer: Trainer) -> SampleGrid[Restorer]:
    """Sheets of held-out pairs: the photograph, the layers, restored, the truth; and PSNR of both."""

    @torch.no_grad()
    def sample_grid(network: Restorer, folder: Path, step: int) -> str:
        paths = sorted(data.glob("heldout_*.npz"))
        if not paths:
            return ""
        pairs = Pairs.load(*paths)
        device = trainer.accelerator.device
        restored, layers, photos, truths = [], [], [], []
        for first in range(0, len(pairs), 16):
            batch = [part.to(device) for part in draw_batch(pairs, np.arange(first, min(first + 16, len(pairs))))]
            with trainer.accelerator.autocast():
                change = network(batch[0], batch[1], batch[3], batch[4])
            restored.append((batch[0] + change.float()).clamp(-1, 1).cpu())
            for store, part in zip((layers, photos, truths), batch[:3], strict=True):
                store.append(part.cpu())
        made, before, photo, truth = (torch.cat(parts) for parts in (restored, layers, photos, truths))
        shown = np.linspace(0, len(made) - 1, SHEET).astype(int)
        sheet = np.vstack([np.hstack(list(to_pictures(part[shown]))) for part in (photo, before, made, truth)])
        Image.fromarray(sheet).save(folder / "samples.png")
        return f"held-out PSNR {psnr(made, truth, peak=2.0):.2f} dB, layers {psnr(before, truth, peak=2.0):.2f} dB"

    return sample_grid
