"""A plan made ready for one device and backend: a layer calls it without a look-up, so that blocks compile whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.attention.dispatch import choose_backend
from iasa.attention.flex import compiled_flex
from iasa.attention.gathered import gathered_attention, once, plan_gather
from iasa.attention.reference import reference_attention
from iasa.attention.triton import import_kernels, plan_layout
from iasa.config import InputError
from iasa.masks.plan import AttentionPlan


@dataclass(frozen=True, eq=False)
class PreparedAttention:
    """Calls like `sparse_attention(q, k, v, plan, backend)` and gives the same result."""

    backend: str
    layout: Any  # the mask, gather, block mask or kernel layout of the backend
    order: Tensor | None = None  # int64 [f*n]: the plan's permutation, for the backends that read blocks
    inverse: Tensor | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # [b, nh, f*n, d] each
        if self.backend == "cpu":
            return gathered_attention(q, k, v, self.layout)
        if self.backend == "dense":
            return F.scaled_dot_product_attention(q, k, v, attn_mask=self.layout)
        if self.backend == "reference":
            return reference_attention(q, k, v, self.layout)
        assert self.order is not None and self.inverse is not None
        q, k, v = (x.index_select(2, self.order) for x in (q, k, v))
        if self.backend == "flex":
            out: Any = compiled_flex(q, k, v, self.layout)
        else:
            out = import_kernels().block_sparse_attention(q, k, v, self.layout)
        return out.index_select(2, self.inverse)


def prepare_attention(
    plan: AttentionPlan, backend: str, device: torch.device, dtype: torch.dtype, heads: int
) -> PreparedAttention:
    """The plan for a backend of `sparse_attention`, made once for each plan, backend and device."""
    name = choose_backend(plan, backend, device, dtype, heads).backend

    def make() -> PreparedAttention:
        if name == "cpu":
            return PreparedAttention(name, plan_gather(plan, device))
        if name in ("dense", "reference"):
            return PreparedAttention(name, plan.dense().to(device))
        order = plan.permutation().to(device)
        layout = plan.to_flex(device=device) if name == "flex" else plan_layout(plan, device, name == "two-pass")
        return PreparedAttention(name, layout, order, order.argsort())

    return once(plan, ("prepared", name, device), make)


def attend(prepared: Sequence[PreparedAttention], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One prepared plan for the whole batch, or one for each clip."""
    if len(prepared) == 1:
        return prepared[0](q, k, v)
    if len(prepared) != len(q):
        raise InputError(
            f"there are {len(prepared)} plans for a batch of {len(q)}; one for each or one for all is needed"
        )
    parts = zip(prepared, q.split(1), k.split(1), v.split(1), strict=True)
    return torch.cat([one(*tensors) for one, *tensors in parts])
