"""Layers with what follows them in one pass, where oneDNN has it; the public operators elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iasa.inference.int8 import int8_conv


def linear_gelu(layer: nn.Linear, rows: int) -> Callable[[Tensor], Tensor]:
    """`layer` and the tanh form of gelu: in one pass where oneDNN takes both, else one after the other."""
    if not fuses(layer.weight):
        return lambda x: F.gelu(layer(x), approximate="tanh")
    return _fused_linear(layer.weight, layer.bias, rows)


def conv_silu(
    weight: Tensor,
    bias: Tensor,
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    silu: bool,
    int8: bool,
) -> Callable[[Tensor], Tensor]:
    """A convolution, and silu if asked for, on weights packed once for inputs like `shape`: in one pass where oneDNN has it."""
    if int8:
        return int8_conv(weight, bias, shape, stride, padding, "silu" if silu else "none")
    if not fuses(weight):
        layer = partial(F.conv2d, weight=weight, bias=bias, stride=stride, padding=padding)
        return (lambda x: F.silu(layer(x), inplace=True)) if silu else layer
    return _fused_conv(weight, bias, shape, stride, padding, silu)


def conv_onto(
    weight: Tensor, bias: Tensor, shape: Sequence[int], padding: Sequence[int], int8: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """x + a convolution of h, for (h, x); x may be written over. In one pass where oneDNN has it and it pays: not in 8 bits."""
    if int8 or not fuses(weight):
        layer = conv_silu(weight, bias, shape, (1, 1), padding, False, int8)
        return lambda h, x: layer(h).add_(x)
    return _fused_conv_onto(weight, bias, shape, padding)


def fuses(weight: Tensor) -> bool:
    """Whether oneDNN's fused calls apply: where it was measured to pay, bfloat16 on a processor with AVX512."""
    return weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and has_fused_layers()


@functools.cache
def has_fused_layers() -> bool:
    """Whether this torch has oneDNN's fused layers, which are no public operators, and they compute what those do.

    Tried once on small layers: a release of torch may rename them, change their arguments, or lack them.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    x, weight, bias = torch.linspace(-1, 1, 16 * 16), torch.linspace(1, -1, 16 * 16), torch.linspace(0, 1, 16)
    x, weight, bias = (part.bfloat16() for part in (x.view(16, 16), weight.view(16, 16), bias))
    plane, kernel = x.view(1, 16, 4, 4).contiguous(memory_format=torch.channels_last), weight.view(16, 16, 1, 1)
    geometry = (plane.shape, (1, 1), (0, 0))
    try:
        with torch.inference_mode():
            if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
                return False
            found = (
                _fused_linear(weight, bias, len(x))(x),
                _fused_conv(kernel, bias, *geometry, silu=True)(plane),
                _fused_conv_onto(kernel, bias, plane.shape, (0, 0))(plane, plane.clone()),
            )
            made = F.conv2d(plane.float(), kernel.float(), bias.float())
            truth = (F.gelu(F.linear(x.float(), weight.float(), bias.float()), approximate="tanh"), F.silu(made))
            truth = (*truth, plane.float() + made)
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return False
    return all(
        (a.dtype, a.shape) == (x.dtype, b.shape) and torch.allclose(a.float(), b, rtol=0.02, atol=0.02)
        for a, b in zip(found, truth, strict=True)
    )


def _fused_linear(weight: Tensor, bias: Tensor | None, rows: int) -> Callable[[Tensor], Tensor]:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias, "gelu", [], "tanh")


def _fused_conv(
    weight: Tensor, bias: Tensor, shape: Sequence[int], stride: Sequence[int], padding: Sequence[int], silu: bool
) -> Callable[[Tensor], Tensor]:
    how = [list(padding), list(stride), [1, 1], 1]
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight.detach(), *how, list(shape))
    after = "swish" if silu else "none"
    return lambda x: torch.ops.mkldnn._convolution_pointwise(x, packed, bias, *how, after, [], "")


def _fused_conv_onto(
    weight: Tensor, bias: Tensor, shape: Sequence[int], padding: Sequence[int]
) -> Callable[[Tensor, Tensor], Tensor]:
    how = [list(padding), [1, 1], [1, 1], 1]
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight.detach(), *how, list(shape))
    onto = torch.ops.mkldnn._convolution_pointwise_.binary
    return lambda h, x: onto(x, h, packed, bias, *how, "add", 1.0, None, [], None)
