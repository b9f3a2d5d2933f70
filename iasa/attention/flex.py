"""Attention under a plan by torch's FlexAttention."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from iasa.attention.gathered import once
from iasa.attention.token_order import permute_tokens, unpermute_tokens
from iasa.config import InputError
from iasa.masks.plan import AttentionPlan

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

_SHAPES = 256  # that may be compiled in one process


def attend_flex(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan) -> Tensor:
    """Attention over the pairs of the plan: [b, nh, f*n, d]. Raises InputError where a gradient is asked for on a CPU."""
    if q.device.type == "cpu" and torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise InputError("FlexAttention has no backward pass on a processor; use the backend cpu, or no_grad")
    mask = once(plan, ("flex", q.device), lambda: plan.to_flex(device=q.device))
    q, k, v = (permute_tokens(x, plan) for x in (q, k, v))
    return unpermute_tokens(compiled_flex(q, k, v, mask), plan)


def compiled_flex(q: Tensor, k: Tensor, v: Tensor, mask: BlockMask) -> Tensor:
    """FlexAttention, compiled for these shapes.

    Uncompiled it makes the whole matrix and reads the mask alone, not the blocks; so a shape too many is an error and no
    reason to go on uncompiled. Compiled for any shape it fails on a processor.
    """
    if torch.compiler.is_compiling():
        return _flex(compiled=False)(q, k, v, block_mask=mask)
    with torch._dynamo.config.patch(recompile_limit=_SHAPES):
        return _flex(compiled=True)(q, k, v, block_mask=mask)


@lru_cache
def _flex(compiled: bool) -> Callable:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False, fullgraph=True) if compiled else flex_attention
