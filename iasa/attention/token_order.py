"""Tokens in the order of a plan, in which blocks are runs, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from iasa.attention.gathered import once
from iasa.masks.plan import AttentionPlan


def permute_tokens(x: Tensor, plan: AttentionPlan) -> Tensor:
    """Tokens in the plan's order, in which blocks are runs: [b, nh, f*n, d]."""
    return x.index_select(2, once(plan, ("order", x.device), lambda: plan.permutation().to(x.device)))


def unpermute_tokens(x: Tensor, plan: AttentionPlan) -> Tensor:
    """Back to the order of the sequence: [b, nh, f*n, d]."""
    inverse = once(plan, ("inverse", x.device), lambda: torch.argsort(plan.permutation()).to(x.device))
    return x.index_select(2, inverse)
