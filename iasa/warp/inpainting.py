"""Holes of a picture filled from what is around them, without a network: what may be behind an arm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fill_holes(image: Tensor, keep: Tensor) -> Tensor:  # [b, c, H, W], [b, 1, H, W] in 0..1 -> [b, c, H, W]
    """Holes (keep 0) take the nearest kept colours of their row and column, the nearer ones and those along the picture's
    stripes most: what runs across the picture, a skirting board or a jumper's stripes, goes on behind an arm.

    Where neither row nor column keeps anything: `fill_softly`.
    """
    steps = (
        torch.stack([_mean_step(image.mT, keep.mT), _mean_step(image, keep)]) + 1e-6
    )  # down, across: [2, b, 1, 1, 1]
    across, down = (steps / steps.sum(0)).square()  # steep down: stripes lie across
    nearest = [(colour, across * near) for colour, near in _nearest(image, keep)]
    nearest += [(colour.mT, down * near.mT) for colour, near in _nearest(image.mT, keep.mT)]
    total = sum((weight for _, weight in nearest), torch.zeros_like(keep))
    mean = sum((colour * weight for colour, weight in nearest), torch.zeros_like(image)) / total.clamp_min(1e-9)
    return image * keep + torch.where(total > 0, mean, fill_softly(image, keep)) * (1 - keep)


def fill_softly(image: Tensor, keep: Tensor) -> Tensor:
    """Holes take averages of what is kept, from coarse to fine (Gortler et al. 1996); black where nothing at all is.

    The side of the picture is a power of two, or holes are filled up to its largest such factor only.
    """
    if image.shape[-1] % 2:
        return image
    share = F.avg_pool2d(keep, 2)
    coarse = fill_softly(F.avg_pool2d(image * keep, 2) / share.clamp_min(1e-4), (2 * share).clamp(max=1))
    return image * keep + F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False) * (1 - keep)


def _mean_step(image: Tensor, keep: Tensor) -> Tensor:  # [b, 1, 1, 1]
    """From a kept pixel to the kept pixel beside it in its row."""
    both = keep[..., 1:] * keep[..., :-1]
    steps = (image[..., 1:] - image[..., :-1]).abs() * both
    return steps.sum((1, 2, 3), keepdim=True) / both.sum((1, 2, 3), keepdim=True).clamp_min(1)


def _nearest(image: Tensor, keep: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The nearest kept colour before and after each pixel in its row, and one over its distance, 0 if there is none."""
    out = []
    for flipped in (False, True):
        picture, kept = (x.flip(-1) if flipped else x for x in (image, keep))
        here = torch.arange(kept.shape[-1], device=kept.device).expand_as(kept)
        last = torch.where(kept >= 1, here, -1).cummax(-1).values
        colour = picture.gather(-1, last.clamp_min(0).expand_as(picture))
        near = torch.where(last < 0, 0.0, 1 / (here - last).clamp_min(0.5))
        out.append((colour.flip(-1), near.flip(-1)) if flipped else (colour, near))
    return out
