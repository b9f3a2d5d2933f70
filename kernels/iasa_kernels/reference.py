"""The definition in plain PyTorch: dense logits with the layout's mask on them. The oracle of the kernels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from iasa_kernels.csr import BlockLayout


def reference_attention(
    q: Tensor,  # [b, nh, queries, d]
    k: Tensor,  # [b, nh, keys, d]
    v: Tensor,  # [b, nh, keys, d]
    layout: BlockLayout,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(softmax(scale q k^T) v over the allowed pairs [b, nh, queries, d], log-sum-exp [b, nh, queries]).

    Products and sums in float64 for float64 inputs, in float32 for all others. A query without keys gets zeros and
    a log-sum-exp of minus infinity.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    mask = layout.dense_mask().to(q.device)  # [p, queries, keys]
    repeats = q.shape[0] * q.shape[1] // len(mask)
    mask = mask.repeat(repeats, 1, 1).view(*q.shape[:3], layout.keys)
    logits = scale * (q.to(wide) @ k.to(wide).transpose(-1, -2))
    logits = logits.masked_fill(~mask, -torch.inf)
    some = mask.any(-1, keepdim=True)
    weights = torch.where(some, logits, 0.0).softmax(-1) * some
    return (weights @ v.to(wide)).to(q.dtype), logits.logsumexp(-1)
