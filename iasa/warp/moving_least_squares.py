"""Rigid moving least squares (Schaefer, McPhail and Warren 2006): the warp that carries the masks' regions through the
body (paper, section 3.2), and here the reference's pixels too."""

from __future__ import annotations

import torch
from torch import Tensor


def moving_least_squares(
    places: Tensor,  # [..., n, 2]
    source: Tensor,  # [..., p, 2] control points where the places are
    target: Tensor,  # [..., p, 2] where these points go
    weights: Tensor,  # [..., p] >= 0; 0 switches a point off
    exponent: int,  # alpha: how much more the near points count
    softening: float,  # epsilon, squared distance: below it a point is met
) -> Tensor:  # [..., n, 2]
    """Each place v carried by the rigid motion that fits the control points p_i -> q_i best there:

        f(v) = R (v - p*) + q*,   w_i = weight_i / (|p_i - v|^2 + epsilon)^alpha,
        p* = sum w_i p_i / sum w_i,   q* = sum w_i q_i / sum w_i,
        R = c / |c|,   c = sum w_i conj(p_i - p*) (q_i - q*)  with points as complex numbers.

    So the weighted means of 1, p, q and conj(p) q are all that is needed, one matrix product. Where c is 0, as with one
    point alone, nothing turns. The means cancel: float32 wants points near zero where they lie close together.
    """
    # Coordinates that lie side by side are computed several at once.
    (vx, vy), (px, py), (qx, qy) = (points.movedim(-1, 0).contiguous() for points in (places, source, target))
    squared = (vx[..., None] - px[..., None, :]).square_() + (vy[..., None] - py[..., None, :]).square_()
    w = squared.add_(softening).reciprocal_().pow_(exponent).mul_(weights[..., None, :])  # [..., n, p]
    terms = torch.stack([torch.ones_like(px), px, py, qx, qy, px * qx + py * qy, px * qy - py * qx], -1)
    total, sums = (w @ terms).split((1, 6), -1)
    px, py, qx, qy, real, imaginary = (sums / total.clamp_min(1e-12)).unbind(-1)  # means
    real, imaginary = real - (px * qx + py * qy), imaginary - (px * qy - py * qx)  # c / sum w
    size = torch.sqrt(real.square() + imaginary.square())
    cos = torch.where(size < 1e-12, 1.0, real / size.clamp_min(1e-12))
    sin = torch.where(size < 1e-12, 0.0, imaginary / size.clamp_min(1e-12))
    dx, dy = vx - px, vy - py
    return torch.stack([cos * dx - sin * dy + qx, sin * dx + cos * dy + qy], -1)
