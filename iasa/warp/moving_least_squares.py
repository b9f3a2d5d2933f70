"""Rigid moving least squares (Schaefer et al. 2006)."""

from __future__ import annotations

import torch
from torch import Tensor

CELLS = 32  # the warp is computed at 32 x 32 places and interpolated; weights are distance^-4
SOFTEN = 1e-4  # added to squared distances, image units: a hundredth of the picture


def moving_least_squares(
    places: Tensor,  # [cells, 2]
    controls: Tensor,  # [..., p, 2] control points where the places are
    images: Tensor,  # [..., p, 2] where these points come from
    weights: Tensor,  # [..., p] >= 0
) -> Tensor:  # [..., cells, 2]
    """Rigid moving least squares: where each place comes from.

    With points as complex numbers, the best rotation at a place is c / |c|, c = sum w conj(p - p*) (q - q*); so the
    weighted sums of 1, p, q and conj(p) q are all that is needed, one matrix product.
    """
    px, py = controls.unbind(-1)
    near = (places[:, :1] - px[..., None, :]).square_() + (places[:, 1:] - py[..., None, :]).square_()
    near = near.add_(SOFTEN).reciprocal_()  # [..., cells, p]
    w = near.square_().mul_(weights[..., None, :])
    qx, qy = images.unbind(-1)
    terms = torch.stack([torch.ones_like(px), px, py, qx, qy, px * qx + py * qy, px * qy - py * qx], -1)
    sums = w @ terms
    total, sums = sums[..., :1], sums[..., 1:]
    px, py, qx, qy, real, imaginary = (sums / total.clamp_min(1e-12)).unbind(-1)  # means
    real, imaginary = real - (px * qx + py * qy), imaginary - (px * qy - py * qx)
    size = torch.sqrt(real.square() + imaginary.square()).clamp_min(1e-12)
    cos, sin = real / size, imaginary / size
    dx, dy = places[:, 0] - px, places[:, 1] - py
    return torch.stack([cos * dx - sin * dy + qx, sin * dx + cos * dy + qy], -1)
