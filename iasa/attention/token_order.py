"""Tokens in the order of a plan, in which blocks are runs, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from iasa.attention.gathered import (
    once,
)
from iasa.masks.plan import AttentionPlan

if TYPE_CHECKING:
    pass


def permute_tokens(x: Tensor, plan: AttentionPlan) -> Tensor:
    """Tokens in the plan's order, in which blocks are runs: [b, nh, f*n, d]."""
    return x.index_select(2, once(plan, ("order", x.device), lambda: plan.permutation().to(x.device)))


def unpermute_tokens(x: Tensor, plan: AttentionPlan) -> Tensor:
    def inverse() -> Tensor:
        return torch.argsort(plan.permutation()).to(x.device)

    return x.index_select(2, once(plan, ("inverse", x.device), inverse))
