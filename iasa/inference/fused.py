"""Layers with what follows them in one pass, where oneDNN has it; the public operators elsewhere."""

from __future__ import annotations

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
    packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, layer.bias, "gelu", [], "tanh")


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
    how = [list(padding), list(stride), [1, 1], 1]
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight.detach(), *how, list(shape))
    after = "swish" if silu else "none"
    return lambda x: torch.ops.mkldnn._convolution_pointwise(x, packed, bias, *how, after, [], "")


def conv_onto(
    weight: Tensor, bias: Tensor, shape: Sequence[int], padding: Sequence[int], int8: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """x + a convolution of h, for (h, x); x may be written over. In one pass where oneDNN has it and it pays: not in 8 bits."""
    if int8 or not fuses(weight):
        layer = conv_silu(weight, bias, shape, (1, 1), padding, False, int8)
        return lambda h, x: layer(h).add_(x)
    how = [list(padding), [1, 1], [1, 1], 1]
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight.detach(), *how, list(shape))
    onto = torch.ops.mkldnn._convolution_pointwise_.binary
    return lambda h, x: onto(x, h, packed, bias, *how, "add", 1.0, None, [], None)


def fuses(weight: Tensor) -> bool:
    """Whether oneDNN's fused calls apply: where it was measured to pay, bfloat16 on a processor with AVX512."""
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16 or not torch.backends.mkldnn.is_available():
        return False
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
