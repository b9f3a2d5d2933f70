"""Refine the decoder for what the generator really hands it: predicted latents, judged on hands and faces.

The encoder stays as it is, so all latents keep their meaning. Half of the latents are one-step predictions of the
frozen transformer; a small discriminator adds what squared errors cannot ask for, sharp fingers and lips. The
discriminator is not part of the checkpoint: after a resume it starts anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from iasa.attention.frame_patterns import attend_own
from iasa.config import FRAMES_PER_LATENT
from iasa.keypoints import FACE, LEFT_ELBOW, LEFT_HAND, RIGHT_ELBOW, RIGHT_HAND
from iasa.losses import reconstruction_loss
from iasa.models.autoencoder import Autoencoder
from iasa.models.discriminator import PatchDiscriminator
from iasa.models.transformer import VideoTransformer
from iasa.training.datasets import (
    CropSampler,
    Shard,
    WindowSampler,
    draw_clip,
    find_shards,
    read_window,
    to_model_images,
)
from iasa.training.train_autoencoder import make_sample_grid
from iasa.training.trainer import Schedule, Trainer, average_gradients, share_weights
from iasa.training.window_loss import predict

CROP = 96  # pixels
ADVERSARIAL, FEATURES = 0.03, 0.5  # weights of the verdict and of matching the discriminator's features
PREDICTED = 0.6  # share of steps on predicted latents
DISCRIMINATOR_RATE = 2e-4
CLIPS, FRAMES = 3, 2  # of one step
# One crop around each in every latent frame (at the elbows the warped reference is least like the truth), and one anywhere.
PARTS = (LEFT_HAND, RIGHT_HAND, FACE, [LEFT_ELBOW], [RIGHT_ELBOW], None)


def train_decoder(
    data: Path,
    run: Path,
    schedule: Schedule,
    generator: VideoTransformer,
    start: Autoencoder,
    resume: bool,
    stop_after: float,
) -> tuple[Autoencoder, Trainer]:
    """Train only the decoding half of `start`; returns the averaged autoencoder."""
    torch.manual_seed(schedule.seed)
    shards = find_shards(data, "train")
    for p in (*start.encoder.parameters(), *generator.parameters()):
        p.requires_grad_(False)
    trainer = Trainer(start.to(memory_format=torch.channels_last).train(), run, schedule)
    if resume:
        trainer.resume()
    device = trainer.accelerator.device
    generator = generator.to(device).eval()
    judge = PatchDiscriminator(3 * FRAMES_PER_LATENT).to(device)
    share_weights(judge, trainer.accelerator)
    judging = torch.optim.Adam(judge.parameters(), DISCRIMINATOR_RATE, betas=(0.5, 0.95))

    def loss_of(network: nn.Module, rng: np.random.Generator) -> Tensor:
        latents, truth, weight, xy, confidence, warped, corner = draw_batch(shards, rng, generator, trainer)
        with trainer.accelerator.autocast():
            raw = latents * start.std[:, None, None] + start.mean[:, None, None]
            raw = raw.to(memory_format=torch.channels_last)
            output = trainer.bare.to_pairs(raw, xy, confidence, warped, corner)
            real, fake = judge(truth)[0], judge(output.detach())[0]
        verdict = F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()  # hinge
        judging.zero_grad()
        verdict.backward()
        average_gradients(judge, trainer.accelerator)
        judging.step()
        with trainer.accelerator.autocast():
            fooled, seen = judge(output)
            with torch.no_grad():
                expected = judge(truth)[1]
            distances = (F.l1_loss(a, b) for a, b in zip(seen, expected, strict=True))
            matching = sum(distances, torch.zeros((), device=device))
        loss = reconstruction_loss(output.float(), truth, weight)
        return loss + ADVERSARIAL * -fooled.float().mean() + FEATURES * matching.float()

    trainer.fit(loss_of, make_sample_grid(data, trainer), stop_after)
    return trainer.averaged(), trainer


def draw_batch(
    shards: list[Shard], rng: np.random.Generator, generator: VideoTransformer, trainer: Trainer[Autoencoder]
):
    """Latents [m, c, 6, 6], pictures, pixel weights, poses, warped references and corners of crops around hands and faces."""
    device = trainer.accelerator.device
    parts, truths = [], []
    for _ in range(CLIPS):
        shard, clip = draw_clip(shards, rng)
        chosen = rng.permutation(np.arange(1, shard.encoded.shape[1]))[:FRAMES]
        parts.append(read_window(shard, clip, 0, chosen))
        pictures = (chosen[:, None] - 1) * FRAMES_PER_LATENT + 1 + np.arange(FRAMES_PER_LATENT)
        truths.append(shard.frames[clip][pictures])
    window = WindowSampler.stack(parts).to(device)
    with trainer.accelerator.autocast():
        window = window.with_base(trainer.bare)
    latents = window.latents[:, 1:]
    if rng.random() < PREDICTED:
        level = torch.ones(latents.shape[:2], device=device)
        with torch.no_grad(), trainer.accelerator.autocast():
            latents = predict(generator, window, level, torch.randn_like(latents), attend_own).float()
    latents = latents.flatten(0, 1)
    truth = rearrange(to_model_images(np.stack(truths)), "b f t c h w -> (b f) (t c) h w").to(device)
    xy, confidence = window.xy[:, 1:].flatten(0, 1), window.confidence[:, 1:].flatten(0, 1)
    warped = rearrange(window.warped, "b (f t) c h w -> (b f) (t c) h w", t=FRAMES_PER_LATENT)
    return cut(latents, truth, xy, confidence, warped, rng, truth.shape[-1] // latents.shape[-1])


def cut(
    latents: Tensor, truth: Tensor, xy: Tensor, confidence: Tensor, warped: Tensor, rng: np.random.Generator, patch: int
):
    """Crops of whole tokens from each latent frame, one for each of PARTS."""
    side = truth.shape[-1]
    cells = CROP // patch
    pieces = []
    for i in range(len(latents)):
        for part in PARTS:
            around = rng.uniform(0, side, 2) if part is None else xy[i, 0, part].mean(0).cpu().numpy() * side
            centre = around + rng.uniform(-16, 16, 2)
            col, row = np.clip(np.round((centre - CROP / 2) / patch), 0, side // patch - cells).astype(int)
            x, y = int(col) * patch, int(row) * patch
            weight = CropSampler.weigh((xy[i] * side).cpu().numpy() - (x, y), CROP)
            pieces.append(
                (
                    latents[i, :, row : row + cells, col : col + cells],
                    truth[i, :, y : y + CROP, x : x + CROP],
                    torch.from_numpy(weight).to(truth.device),
                    xy[i],
                    confidence[i],
                    warped[i, :, y : y + CROP, x : x + CROP],
                    torch.tensor([x, y], dtype=torch.float32, device=truth.device),
                )
            )
    return tuple(torch.stack(part) for part in zip(*pieces, strict=True))
