"""Numbers of a network in few bytes: a matrix as whole numbers with one scale a row; of a network that was trained on from
another, the difference alone, four bits a number."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS, FEW_LEVELS = 127, 7  # on either side of 0: of one byte, and of half a byte
CLIPPED = tuple(
    share / 10 for share in range(10, 2, -1)
)  # of a row's largest magnitude: with few levels the rest may cost more


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:  # [rows, ...] -> int8 [rows, ...], float16 [rows]
    """Round each row to 255 levels between minus and plus its largest magnitude."""
    rows = weight.float().flatten(1)
    scale = (rows.abs().amax(1) / LEVELS).clamp_min(1e-7).half()
    codes = (rows / scale.float()[:, None]).round().clamp(-LEVELS, LEVELS).to(torch.int8)
    return codes.view(weight.shape), scale


def dequantise(codes: Tensor, scale: Tensor) -> Tensor:
    """float32 of `quantise`'s pair."""
    return codes.float() * scale.float().view(-1, *[1] * (codes.ndim - 1))


def pack(weight: Tensor) -> tuple[Tensor, Tensor]:  # [rows, ...] -> uint8 [rows, half of the others], float16 [rows]
    """Round each row to 15 levels, two numbers a byte; of the scales in CLIPPED the one that loses least."""
    rows = weight.float().flatten(1)
    largest = rows.abs().amax(1) / FEW_LEVELS
    best, least = rows.new_zeros(len(rows)), rows.new_full((len(rows),), float("inf"))
    for share in CLIPPED:
        scale = (largest * share).clamp_min(1e-7).half().float()
        lost = (_round(rows, scale) * scale[:, None] - rows).square().sum(1)
        best, least = torch.where(lost < least, scale, best), torch.minimum(lost, least)
    codes = (_round(rows, best) + FEW_LEVELS + 1).to(torch.uint8)
    if codes.shape[1] % 2:
        codes = torch.nn.functional.pad(codes, (0, 1))
    return codes[:, ::2] << 4 | codes[:, 1::2], best.half()


def unpack(codes: Tensor, scale: Tensor, shape: torch.Size) -> Tensor:
    """float32 of `pack`'s pair, for a weight of this shape."""
    numbers = torch.stack([codes >> 4, codes & 15], -1).flatten(1)[:, : shape[1:].numel()]
    return dequantise(numbers.float() - FEW_LEVELS - 1, scale).view(shape)


def _round(rows: Tensor, scale: Tensor) -> Tensor:
    return (rows / scale[:, None]).round().clamp(-FEW_LEVELS, FEW_LEVELS)
