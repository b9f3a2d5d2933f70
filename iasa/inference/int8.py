"""Linear layers and convolutions in 8-bit products, for processors whose vector units multiply bytes (VNNI).

Weights are rounded to one scale a row, as they are shipped. What comes in is rounded to 256 levels between its own least
and greatest value, anew at every call: nothing is calibrated. Sums are exact, and what goes out is of the type that came in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from iasa.models.checkpoint import quantise

ACTIVATIONS = {"none": ("none", ""), "silu": ("swish", ""), "gelu": ("gelu", "tanh")}


def to_levels(x: Tensor) -> tuple[Tensor, float, int]:
    """x, dense in memory -> uint8 levels, the scale, and the level of zero: x is about scale * (levels - zero)."""
    low, high = (float(end) for end in torch.aminmax(_in_memory(x)))
    low, high = min(low, 0.0), max(high, 0.0)  # zero is a level of its own: convolutions pad with it
    scale = max((high - low) / 254, 1e-8)  # the 255th leaves room for the rounding of zero
    zero = round(-low / scale)
    levels = torch.add(torch.tensor([zero + 0.5]), x, alpha=1 / scale)  # one dimension: the sum is float32 for any x
    return levels.to(torch.uint8), scale, zero


def _in_memory(x: Tensor) -> Tensor:
    """A view of x in the order of its memory, in which torch reduces several times faster."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def int8_linear(layer: nn.Linear, rows: int, activation: str = "none") -> Callable[[Tensor], Tensor]:
    """`layer`, and an activation after it, for x [rows, in]."""
    codes, scale = quantise(layer.weight.detach())
    packed = torch.ops.onednn.qlinear_prepack(codes, [rows, codes.shape[1]])
    scales, zeros = scale.float(), torch.zeros(len(codes), dtype=torch.int32)
    bias = None if layer.bias is None else layer.bias.detach().float()
    name, algorithm = ACTIVATIONS[activation]

    def run(x: Tensor) -> Tensor:
        return torch.ops.onednn.qlinear_pointwise(
            *to_levels(x), packed, scales, zeros, bias, 1.0, 0, x.dtype, name, [], algorithm
        )

    return run


def int8_conv(
    weight: Tensor,  # [out, in, k, k]
    bias: Tensor | None,
    shape: Sequence[int],  # of what comes in, [m, in, h, w]
    stride: Sequence[int],
    padding: Sequence[int],
    activation: str = "none",
) -> Callable[[Tensor], Tensor]:
    """A convolution, and an activation after it, for x [m, in, h, w] with channels last."""
    codes, scale = quantise(weight.detach())
    scales, zeros = scale.float(), torch.zeros(len(codes), dtype=torch.int32)
    how = [list(stride), list(padding), [1, 1], 1]
    packed = torch.ops.onednn.qconv_prepack(codes, scales, 1.0, 0, *how, list(shape))
    bias = None if bias is None else bias.detach().float()
    name, algorithm = ACTIVATIONS[activation]

    def run(x: Tensor) -> Tensor:
        return torch.ops.onednn.qconv2d_pointwise(
            *to_levels(x), packed, scales, zeros, bias, *how, 1.0, 0, x.dtype, name, [], algorithm
        )

    return run
