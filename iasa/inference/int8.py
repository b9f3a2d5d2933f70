"""Linear layers and convolutions in 8-bit products, for processors whose vector units multiply bytes (VNNI, or AVX2 alone).

Weights are rounded to one scale a row, as they are shipped. What comes in is rounded to 256 levels between its own least
and greatest value, to 128 where sums of two products have 16 bits alone, anew at every call: nothing is calibrated. Sums
are exact, and what goes out is of the type that came in.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iasa.models.compact import quantise

ACTIVATIONS = {"none": ("none", ""), "silu": ("swish", ""), "gelu": ("gelu", "tanh")}  # as oneDNN names them
AT_ONCE = 1 << 17  # numbers that are rounded together: as float32 they stay in the cache, and need no fresh memory
PUBLIC_ACTIVATIONS = {"none": lambda x: x, "silu": F.silu, "gelu": functools.partial(F.gelu, approximate="tanh")}


def to_levels(x: Tensor) -> tuple[Tensor, float, int]:
    """x, of four dimensions with channels last -> uint8 levels, the scale, and the level of zero: x is about
    scale * (levels - zero)."""
    dense = _in_memory(x)
    low, high = (float(end) for end in torch.aminmax(dense))
    low, high = min(low, 0.0), max(high, 0.0)  # zero is a level of its own: convolutions pad with it
    scale = max((high - low) / (highest_level() - 1), 1e-8)  # the last one leaves room for the rounding of zero
    zero = round(-low / scale)
    half = torch.tensor([zero + 0.5])
    levels = torch.empty(dense.shape, dtype=torch.uint8)
    for some, out in zip(dense.reshape(-1).split(AT_ONCE), levels.view(-1).split(AT_ONCE), strict=True):
        out.copy_(torch.add(half, some.float(), alpha=1 / scale))
    return levels.movedim(-1, 1) if x.ndim == 4 else levels, scale, zero


@functools.cache
def highest_level() -> int:
    """255, or 127 where 255 * 127 twice is more than a sum holds, as on processors without VNNI: tried once."""
    levels, codes = torch.full((16, 64), 255, dtype=torch.uint8), torch.full((16, 64), 127, dtype=torch.int8)
    plane, kernel = levels.view(1, 64, 4, 4).to(memory_format=torch.channels_last), codes.view(16, 64, 1, 1)
    scales, zeros, how = torch.ones(16), torch.zeros(16, dtype=torch.int32), [[1, 1], [0, 0], [1, 1], 1]
    quantised, end = torch.ops.onednn, (1.0, 0, torch.float32, "none", [], "")
    try:
        with torch.inference_mode():
            packed = quantised.qlinear_prepack(codes, [16, 64])
            linear = quantised.qlinear_pointwise(levels, 1.0, 0, packed, scales, zeros, None, *end)
            packed = quantised.qconv_prepack(kernel, scales, 1.0, 0, *how, [1, 64, 4, 4])
            conv = quantised.qconv2d_pointwise(plane, 1.0, 0, packed, scales, zeros, None, *how, *end)
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return 255  # they are not there, and nothing overflows in what is computed instead
    return 255 if linear.eq(64 * 255 * 127).all() and conv.eq(64 * 255 * 127).all() else 127


def _in_memory(x: Tensor) -> Tensor:
    """A view of x in the order of its memory, in which torch reduces several times faster."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def int8_linear(layer: nn.Linear, rows: int, activation: str = "none") -> Callable[[Tensor], Tensor]:
    """`layer`, and an activation after it, for x [rows, in]."""
    codes, scale = quantise(layer.weight.detach())
    bias = None if layer.bias is None else layer.bias.detach().float()
    make = _packed_linear if has_int8_layers() else _public_linear
    return make(codes, scale.float(), bias, rows, activation)


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
    bias = None if bias is None else bias.detach().float()
    make = _packed_conv if has_int8_layers() else _public_conv
    return make(codes, scale.float(), bias, shape, stride, padding, activation)


@functools.cache
def has_int8_layers() -> bool:
    """Whether this torch has oneDNN's layers of bytes, which are no public operators, and they compute what those do.

    Tried once on small layers: a release of torch may rename them, change their arguments, or lack them.
    """
    x, codes = torch.linspace(-1, 1, 16 * 16).view(16, 16), torch.arange(-127, 129).clamp_max(127).to(torch.int8)
    codes, scales, bias = codes.view(16, 16), torch.linspace(0.01, 0.02, 16), torch.linspace(0, 1, 16)
    plane, kernel = x.view(1, 16, 4, 4).contiguous(memory_format=torch.channels_last), codes.view(16, 16, 1, 1)
    try:
        with torch.inference_mode():
            pairs = [
                [make(codes, scales, bias, len(x), "gelu")(x) for make in (_packed_linear, _public_linear)],
                [
                    make(kernel, scales, bias, plane.shape, (1, 1), (0, 0), "silu")(plane)
                    for make in (_packed_conv, _public_conv)
                ],
            ]
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return False
    return all(
        (found.dtype, found.shape) == (truth.dtype, truth.shape) and torch.allclose(found, truth, rtol=0.01, atol=0.01)
        for found, truth in pairs
    )


def _packed_linear(
    codes: Tensor, scales: Tensor, bias: Tensor | None, rows: int, activation: str
) -> Callable[[Tensor], Tensor]:
    packed = torch.ops.onednn.qlinear_prepack(codes, [rows, codes.shape[1]])
    zeros = torch.zeros(len(codes), dtype=torch.int32)
    name, algorithm = ACTIVATIONS[activation]

    def run(x: Tensor) -> Tensor:
        return torch.ops.onednn.qlinear_pointwise(
            *to_levels(x), packed, scales, zeros, bias, 1.0, 0, x.dtype, name, [], algorithm
        )

    return run


def _packed_conv(
    codes: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    activation: str,
) -> Callable[[Tensor], Tensor]:
    zeros = torch.zeros(len(codes), dtype=torch.int32)
    how = [list(stride), list(padding), [1, 1], 1]
    packed = torch.ops.onednn.qconv_prepack(codes, scales, 1.0, 0, *how, list(shape))
    name, algorithm = ACTIVATIONS[activation]

    def run(x: Tensor) -> Tensor:
        return torch.ops.onednn.qconv2d_pointwise(
            *to_levels(x), packed, scales, zeros, bias, *how, 1.0, 0, x.dtype, name, [], algorithm
        )

    return run


def _public_linear(
    codes: Tensor, scales: Tensor, bias: Tensor | None, rows: int, activation: str
) -> Callable[[Tensor], Tensor]:
    weight, after = codes.float() * scales[:, None], PUBLIC_ACTIVATIONS[activation]
    return lambda x: after(F.linear(_rounded(x), weight, bias)).to(x.dtype)


def _public_conv(
    codes: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    activation: str,
) -> Callable[[Tensor], Tensor]:
    weight, after = codes.float() * scales[:, None, None, None], PUBLIC_ACTIVATIONS[activation]
    return lambda x: after(F.conv2d(_rounded(x), weight, bias, tuple(stride), tuple(padding))).to(x.dtype)


def _rounded(x: Tensor) -> Tensor:
    """float32 of x as its levels have it."""
    levels, scale, zero = to_levels(x)
    return (levels.float() - zero) * scale
