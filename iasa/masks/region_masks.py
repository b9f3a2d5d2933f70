"""Soft masks of face, mouth, hands and arms at pixel level, from the pose: where the region loss looks (paper, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from iasa.keypoints import (
    BONES,
    FACE,
    LEFT_ELBOW,
    LEFT_HAND,
    LEFT_SHOULDER,
    LEFT_WRIST,
    MOUTH,
    RIGHT_ELBOW,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
)

SOFT_REGIONS = ("face", "mouth", "hands", "arms")
EDGE = 4.0  # pixels over which a mask falls from 1 to 0
MARGIN = 3.0  # pixels added around a ring of keypoints
SPREAD = 2.1  # deviations of a ring's keypoints at which its filled shape ends
FINGER, UPPER_ARM, FOREARM = 0.06, 0.14, 0.11  # half widths, shoulder widths
_HAND_BONES = tuple((a, b) for a, b in BONES if min(a, b) >= LEFT_HAND.start)
_ARM_BONES = (
    (LEFT_SHOULDER, LEFT_ELBOW, UPPER_ARM), (LEFT_ELBOW, LEFT_WRIST, FOREARM),
    (RIGHT_SHOULDER, RIGHT_ELBOW, UPPER_ARM), (RIGHT_ELBOW, RIGHT_WRIST, FOREARM),
)  # fmt: skip


def soft_masks(
    xy: Tensor,  # [m, 133, 2] pixels of the picture or crop
    confidence: Tensor,  # [m, 133]
    shape: tuple[int, int],  # rows, columns
    scale: float = 256.0,  # pixels of the whole picture's side
) -> Tensor:  # [m, 4, H, W] in 0..1, in the order of SOFT_REGIONS
    """One mask for each region; 0 everywhere where a region's keypoints are missing."""
    with torch.autocast(xy.device.type, enabled=False):  # squares of pixels need float32
        return _soft_masks(xy.float(), confidence, shape, scale)


def _soft_masks(xy: Tensor, confidence: Tensor, shape: tuple[int, int], scale: float) -> Tensor:
    seen = (confidence > 0).to(xy.dtype)
    y, x = torch.meshgrid(*(torch.arange(n, device=xy.device) + 0.5 for n in shape), indexing="ij")
    places = torch.stack([x, y], -1).view(-1, 2)  # [cells, 2]
    shoulders = (xy[:, LEFT_SHOULDER] - xy[:, RIGHT_SHOULDER]).norm(dim=-1).clamp_min(0.1 * scale)  # [m]
    fingers = [(a, b, FINGER) for a, b in _HAND_BONES]
    depths = [
        _ring(places, xy[:, FACE], seen[:, FACE]),
        _ring(places, xy[:, list(MOUTH)], seen[:, list(MOUTH)]),
        _bones(places, xy, seen, shoulders, fingers),
        _bones(places, xy, seen, shoulders, _ARM_BONES),
    ]
    return (torch.stack(depths, 1) / EDGE + 0.5).clamp(0, 1).unflatten(-1, shape)


def _ring(places: Tensor, points: Tensor, seen: Tensor) -> Tensor:
    """Pixels inside (above 0) or outside of the ellipse that keypoints around a shape span: [m, cells]."""
    total = seen.sum(1).clamp_min(1.0)
    mean = (points * seen[..., None]).sum(1) / total[:, None]
    centred = (points - mean[:, None]) * seen[..., None]
    covariance = centred.transpose(1, 2) @ centred / total[:, None, None] * SPREAD**2
    covariance = covariance + MARGIN**2 * torch.eye(2, device=points.device)
    offset = places - mean[:, None]  # [m, cells, 2]
    inside = 1 - (offset @ torch.linalg.inv(covariance) * offset).sum(-1).sqrt()
    radius = torch.linalg.det(covariance).clamp_min(1e-6) ** 0.25
    return torch.where((seen.sum(1) >= 3)[:, None], inside * radius[:, None], -EDGE)


def _bones(places: Tensor, xy: Tensor, seen: Tensor, unit: Tensor, bones) -> Tensor:
    """Pixels inside or outside of the thick lines (first, last, half width in `unit`): [m, cells]."""
    start, stop = xy[:, [a for a, _, _ in bones]], xy[:, [b for _, b, _ in bones]]  # [m, n, 2]
    width = unit[:, None] * xy.new_tensor([w for _, _, w in bones])  # [m, n]
    known = seen[:, [a for a, _, _ in bones]] * seen[:, [b for _, b, _ in bones]] > 0
    along = stop - start
    offset = places[:, None] - start[:, None]  # [m, cells, n, 2]
    t = ((offset * along[:, None]).sum(-1) / along.square().sum(-1).clamp_min(1e-6)[:, None]).clamp(0, 1)
    away = (offset - t[..., None] * along[:, None]).norm(dim=-1)
    return (width[:, None] - away).masked_fill(~known[:, None], -EDGE).amax(-1)
