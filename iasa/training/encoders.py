"""Train the proxy metrics that losses and metrics need: the face encoder and the part encoder, on crops of the drawn clips, and
the sync encoder (`train_sync`). Each takes a minute or two on two cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iasa.config import InputError
from iasa.keypoints import COUNT, LEFT_HAND, MOUTH, RIGHT_HAND
from iasa.metrics.networks.face_encoder import SIDE, FaceEncoder, align_faces
from iasa.metrics.networks.part_encoder import PartEncoder
from iasa.metrics.video_quality import area_under_curve
from iasa.training.datasets import Shard, find_shards, to_model_images, to_pictures
from iasa.training.trainer import Schedule, Trainer

MOMENTS = 8  # pictures of a clip
CROP = 64  # pixels, of hands and mouths
SHAKE = 0.004  # image units, deviation of keypoints as a detector finds them
TEMPERATURE = 0.1
BLUR, NOISE = 3.0, 0.1  # most of what crops suffer: deviation in pixels, and in units of the picture's -1..1
PARTS = ((LEFT_HAND, 21), (RIGHT_HAND, 21), (slice(MOUTH[0], MOUTH[-1] + 1), 20))


@dataclass(frozen=True)
class FaceCrops:
    """Aligned faces uint8 [identities, MOMENTS, 64, 64, 3]."""

    faces: np.ndarray


@dataclass(frozen=True)
class PartCrops:
    """Hands and mouths."""

    pictures: np.ndarray  # uint8 [m, CROP, CROP, 3]
    points: np.ndarray  # float32 [m, 21, 2] in half crops from the centre
    kind: np.ndarray  # int64 [m], row of PARTS


def drawn_shards(folder: Path, split: str) -> list[Shard]:
    """Those whose clips are each of another speaker, all of whose points are where they are said to be: not those of people.

    Raises InputError if there are none.
    """
    shards = [shard for shard in find_shards(folder, split) if shard.warped is None]
    if not shards:
        raise InputError("the encoders learn from drawn speakers; make clips of them with: python -m iasa train data")
    return shards


def cut_faces(folder: Path, split: str, clips: int, seed: int = 0) -> FaceCrops:
    """Faces of up to `clips` identities at moments of their clip, placed by keypoints that shake a little."""
    rng, found = np.random.default_rng([seed, 1]), []
    for shard in drawn_shards(folder, split):
        for clip in range(len(shard.frames)):
            if len(found) == clips:
                return FaceCrops(np.stack(found))
            moments = np.sort(rng.permutation(len(shard.frames[clip]))[:MOMENTS])
            images = to_model_images(shard.frames[clip][moments])
            xy = shard.xy[clip][moments] + rng.normal(0, SHAKE, (len(moments), COUNT, 2))
            found.append(to_pictures(align_faces(images, torch.from_numpy(xy).float() * images.shape[-1])))
    return FaceCrops(np.stack(found))


def cut_parts(folder: Path, split: str, clips: int, moments: int = 6, seed: int = 0) -> PartCrops:
    """Hands and mouths at the pictures' own size, not quite in the middle of their crop."""
    rng, pictures, points, kinds = np.random.default_rng([seed, 2]), [], [], []
    done = 0
    for shard in drawn_shards(folder, split):
        for clip in range(len(shard.frames)):
            if done == clips:
                break
            done += 1
            for moment in rng.permutation(len(shard.frames[clip]))[:moments]:
                side = shard.frames.shape[2]
                for kind, (part, count) in enumerate(PARTS):
                    xy = shard.xy[clip, moment, part] * side
                    corner = np.clip(xy.mean(0) + rng.uniform(-8, 8, 2) - CROP / 2, 0, side - CROP).astype(int)
                    x, y = corner
                    pictures.append(shard.frames[clip, moment, y : y + CROP, x : x + CROP])
                    padded = np.zeros((21, 2), np.float32)
                    padded[:count] = (xy - corner) / (CROP / 2) - 1
                    points.append(padded)
                    kinds.append(kind)
    return PartCrops(np.stack(pictures), np.stack(points), np.array(kinds))


def blur(images: Tensor, deviation: Tensor) -> Tensor:
    """Each picture [m, 3, H, W] under a Gaussian of its own deviation [m], pixels."""
    reach = torch.arange(-6, 7, device=images.device)
    kernel = torch.exp(-reach.square() / (2 * deviation.clamp_min(0.05)[:, None] ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)  # [m * 3, 13]
    flat = F.pad(images, (6, 6, 6, 6), mode="replicate").flatten(0, 1)[None]
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=len(kernel))
    return F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel))[0].view_as(images)


def train_face_encoder(
    data: Path, run: Path, schedule: Schedule, resume: bool, stop_after: float, identities: int = 64, clips: int = 1000
) -> tuple[FaceEncoder, Trainer, dict]:
    """Two pictures of one identity attract each other, all others in the batch repel (InfoNCE, van den Oord et al. 2018).

    Returns the averaged encoder, the trainer, and figures on held-out identities.
    """
    torch.manual_seed(schedule.seed)
    faces = cut_faces(data, "train", clips).faces
    trainer = Trainer(FaceEncoder().train(), run, schedule)
    if resume:
        trainer.resume()
    device = trainer.accelerator.device

    def draw(chosen: np.ndarray, rng: np.random.Generator) -> Tensor:
        images = to_model_images(faces[chosen, rng.integers(faces.shape[1], size=len(chosen))]).to(device)
        soft = blur(images, 1.5 * torch.rand(len(images), device=device))
        light = 1 + 0.1 * torch.randn(len(images), 1, 1, 1, device=device)
        return soft * light + 0.02 * torch.randn_like(soft)

    def loss_of(encoder: nn.Module, rng: np.random.Generator) -> Tensor:
        chosen = rng.permutation(len(faces))[:identities]
        with trainer.accelerator.autocast():
            a, b = encoder(torch.cat([draw(chosen, rng), draw(chosen, rng)])).chunk(2)
        likeness = a @ b.T / TEMPERATURE
        target = torch.arange(len(chosen), device=device)
        return (F.cross_entropy(likeness, target) + F.cross_entropy(likeness.T, target)) / 2

    trainer.fit(loss_of, None, stop_after)
    encoder = trainer.averaged()
    return encoder, trainer, verify_faces(encoder.cpu(), cut_faces(data, "heldout", 50))


@torch.no_grad()
def verify_faces(encoder: FaceEncoder, crops: FaceCrops) -> dict[str, float]:
    """How well likeness tells pairs of one identity from pairs of two: area under the curve, accuracy, mean likenesses."""
    count, moments = crops.faces.shape[:2]
    vectors = encoder(to_model_images(crops.faces.reshape(-1, SIDE, SIDE, 3)))
    likeness = (vectors @ vectors.T).numpy()
    owner = np.repeat(np.arange(count), moments)
    one = owner[:, None] == owner
    pairs = np.triu(np.ones_like(one), 1).astype(bool)
    same, other = likeness[pairs & one], likeness[pairs & ~one]
    cuts = np.quantile(same, np.linspace(0, 0.5, 101))
    accuracy = max(((same >= cut).mean() + (other < cut).mean()) / 2 for cut in cuts)
    return {
        "auc": round(area_under_curve(same, other), 4),
        "accuracy": round(float(accuracy), 4),
        "likeness_same": round(float(same.mean()), 3),
        "likeness_other": round(float(other.mean()), 3),
        "identities": count,
    }


class PartReader(nn.Module):
    """The part encoder with the tasks that teach it: keypoints of each kind of part, blur and noise."""

    adam_parameters = ("encoder.layers.0.", "points.", "quality.")

    def __init__(self) -> None:
        super().__init__()
        self.encoder = PartEncoder()
        channels = self.encoder.channels
        self.points = nn.Linear(channels * 16, len(PARTS) * 42)
        self.quality = nn.Linear(channels, 2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # [m, 3, 64, 64] -> [m, kinds, 21, 2], [m, 2]
        last = self.encoder(images)[-1]
        read = self.points(F.adaptive_avg_pool2d(last, 4).flatten(1))
        return read.view(-1, len(PARTS), 21, 2).float(), self.quality(last.mean((-2, -1))).float()


def train_part_encoder(
    data: Path, run: Path, schedule: Schedule, resume: bool, stop_after: float, batch: int = 128, clips: int = 1000
) -> tuple[PartEncoder, Trainer, dict]:
    """Read keypoints from blurred and noisy crops, and how blurred and noisy they are; returns as `train_face_encoder`."""
    torch.manual_seed(schedule.seed)
    crops = cut_parts(data, "train", clips)
    trainer = Trainer(PartReader().train(), run, schedule)
    if resume:
        trainer.resume()
    device = trainer.accelerator.device

    def loss_of(reader: nn.Module, rng: np.random.Generator) -> Tensor:
        chosen = rng.integers(len(crops.kind), size=batch)
        images, quality = spoil(to_model_images(crops.pictures[chosen]).to(device))
        with trainer.accelerator.autocast():
            points, guess = reader(images)
        kind = torch.from_numpy(crops.kind[chosen]).to(device)
        wanted = torch.from_numpy(crops.points[chosen]).to(device)
        error = (points[torch.arange(batch, device=device), kind] - wanted).abs()
        return error.mean() + (guess - quality).abs().mean()

    trainer.fit(loss_of, None, stop_after)
    reader = trainer.averaged().cpu()
    return reader.encoder, trainer, read_parts(reader, cut_parts(data, "heldout", 50))


def spoil(images: Tensor) -> tuple[Tensor, Tensor]:
    """Blurred and noisy pictures, and by how much [m, 2] in 0..1; a third of them is left alone."""
    amount = torch.rand(len(images), 2, device=images.device)
    amount = amount * (torch.rand(len(images), 1, device=images.device) > 0.33)
    soft = blur(images, BLUR * amount[:, 0])
    return soft + NOISE * amount[:, 1, None, None, None] * torch.randn_like(soft), amount


@torch.no_grad()
def read_parts(reader: PartReader, crops: PartCrops) -> dict[str, float]:
    """On held-out crops: error of the keypoints in pixels, and r of the blur that is seen with that which is there."""
    torch.manual_seed(0)
    images = to_model_images(crops.pictures)
    points, _ = reader(images)
    off = (points[torch.arange(len(images)), torch.from_numpy(crops.kind)] - torch.from_numpy(crops.points)) * CROP / 2
    error = off.norm(dim=-1).numpy()
    spoilt, amount = spoil(images)
    seen = reader(spoilt)[1][:, 0].numpy()
    return {
        "hand_error_pixels": round(float(error[crops.kind < 2].mean()), 2),
        "mouth_error_pixels": round(float(error[crops.kind == 2][:, :20].mean()), 2),
        "blur_r": round(float(np.corrcoef(seen, amount[:, 0].numpy())[0, 1]), 3),
    }
