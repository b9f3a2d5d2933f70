"""Masked dense attention written out: the oracle that every backend is compared with."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def reference_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Masked dense attention with float32 logits (float64 for float64 inputs): the oracle of all backends.

    mask: bool, broadcast to [b, nh, nq, nk], True where allowed; a query without any key gets zeros.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        logits = (q.to(wide) @ k.to(wide).transpose(-1, -2)) / math.sqrt(q.shape[-1])
        if mask is None:
            return (logits.softmax(-1) @ v.to(wide)).to(q.dtype)
        some = mask.any(-1, keepdim=True)
        weights = logits.masked_fill(~mask & some, -torch.inf).softmax(-1) * some
        return (weights @ v.to(wide)).to(q.dtype)
