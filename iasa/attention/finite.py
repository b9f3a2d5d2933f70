"""Keys and values that are not finite: they spoil the queries that may see them, and no other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from iasa.attention.gathered import once
from iasa.masks.blocks import SIGNATURES, join_bits
from iasa.masks.plan import AttentionPlan


def attend_finite(
    q: Tensor,  # [b, nh, f*n, d]
    k: Tensor,  # [b, nh, f*n, d]
    v: Tensor,  # [b, nh, f*n, d]
    plan: AttentionPlan,
    attend: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """attend(q, k, v), but NaN in the rows that may see a NaN or an infinity, and none elsewhere: [b, nh, f*n, d].

    A weight of 0 does not hide such a value, for 0 times it is NaN: it has to be taken out before. On a processor a
    sum tells whether there is one; elsewhere, and where the call is traced, nothing waits for the answer.
    """
    if k.device.type == "cpu" and not torch.compiler.is_compiling():
        if bool(torch.isfinite(k.detach().sum()) & torch.isfinite(v.detach().sum())):
            return attend(q, k, v)
    finite = torch.isfinite(k).all(-1) & torch.isfinite(v).all(-1)  # [b, nh, f*n]
    out = attend(q, *(torch.where(finite[..., None], x, 0.0) for x in (k, v)))
    return torch.where(sees_any(plan, ~finite)[..., None], torch.nan, out)


def sees_any(plan: AttentionPlan, marked: Tensor) -> Tensor:
    """Whether each query may see one of the marked keys, both bool [b, nh, f*n].

    Counts the marked keys of each frame by their region bits, so that the cost is linear in the tokens.
    """
    bits, whole, visible, share = once(plan, ("sees_any", marked.device), lambda: _tables(plan, marked.device))
    frames = marked.unflatten(-1, bits.shape)  # [b, nh, f, n]
    index = bits.expand(frames.shape)
    counts = torch.zeros(*frames.shape[:3], SIGNATURES, device=marked.device).scatter_add_(3, index, frames.float())
    total = counts.sum(-1, keepdim=True)  # [b, nh, f, 1]
    seen = whole @ total + (visible @ counts @ share).gather(3, index)
    return (seen > 0).flatten(2)


def _tables(plan: AttentionPlan, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(region bits int64 [f, n], those of its block in mode "pooled"; frames seen whole and by region, two [f, f]; bits
    that meet [32, 32])."""
    bits = plan.region_bits
    if plan.options.mode == "pooled":
        order = plan.permutation()
        bits = join_bits(bits.flatten()[order].int(), plan.block_csr())[torch.argsort(order)].view_as(bits)
    value = torch.arange(SIGNATURES)
    share = (value[:, None] & value) != 0
    whole, visible = (seen.float().to(device) for seen in (plan.visible_whole, plan.visible))
    return bits.long().to(device), whole, visible, share.float().to(device)
