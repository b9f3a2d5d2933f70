"""Attention under a plan by torch's FlexAttention."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from iasa.attention.gathered import (
    once,
)
from iasa.config import InputError
from iasa.masks.plan import AttentionPlan

if TYPE_CHECKING:
    pass
from iasa.attention.token_order import permute_tokens, unpermute_tokens


def attend_flex(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan) -> Tensor:
    if q.device.type == "cpu" and torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise InputError("FlexAttention has no backward pass on a processor; use the backend cpu, or no_grad")
    mask = once(plan, ("flex", q.device), lambda: plan.to_flex(device=q.device))
    out = compiled_flex()(*(permute_tokens(x, plan) for x in (q, k, v)), block_mask=mask)
    return unpermute_tokens(out, plan)


@lru_cache(maxsize=1)
def compiled_flex():
    """FlexAttention, compiled: uncompiled it makes the whole matrix and reads the mask alone, not the blocks."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)
