"""Rotary position embedding (Su et al. 2021): queries and keys are turned by their positions.

A vector of width d is d / 2 pairs (x_i, x_(i + d / 2)), each a complex number z_i; at position p it becomes
z_i exp(j p theta_i) with theta_i = base^(-i / (d / 2)). So a product of query and key depends on how far apart they
are, and not on where.
"""

from __future__ import annotations

import torch
from torch import Tensor

Rope = tuple[Tensor, Tensor]  # cosines and sines [n, d / 2] of the angles


def rope_angles(positions: Tensor, pairs: int, base: float) -> Tensor:  # [n] -> [n, pairs]
    """p theta_i, the angle of each pair at each position."""
    frequency = 1.0 / (base ** (torch.arange(pairs, device=positions.device) / pairs))
    return positions[:, None] * frequency


def rotate(x: Tensor, rope: Rope) -> Tensor:  # [..., n, d]
    """x turned by the angles of its positions."""
    a, b, cos, sin = _parts(x, rope)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def rotate_into(out: Tensor, x: Tensor, rope: Rope) -> Tensor:  # [..., n, d]
    """`rotate` without gradients, written where it is needed: one pass fewer over `out`, which is returned."""
    a, b, cos, sin = _parts(x, rope)
    first, second = out.chunk(2, -1)
    torch.mul(a, cos, out=first)
    torch.mul(b, cos, out=second)
    first.addcmul_(b, sin, value=-1)
    second.addcmul_(a, sin)
    return out


def _parts(x: Tensor, rope: Rope) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    a, b = x.chunk(2, -1)
    cos, sin = rope
    return a, b, cos.to(x.dtype), sin.to(x.dtype)
