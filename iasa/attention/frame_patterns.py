"""Attention patterns that a transformer can be run with: attend(layer, q, k, v) over [b, nh, f, n, d], frame 0 the reference.

The reference attends to itself alone in every pattern, so its keys never change over denoising steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from iasa.attention.dense import dense_attention
from iasa.attention.dispatch import sparse_attention
from iasa.masks import AttentionPlan
from iasa.models.transformer import Attend


def attend_own(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every frame sees itself and the reference: the cheap pattern in which training begins."""
    f = q.shape[2]
    own = [rearrange(x, "b nh f n d -> (b f) nh n d") for x in (q, k, v)]
    keys, values = (
        torch.cat([rearrange(x[:, :, :1].expand(-1, -1, f, -1, -1), "b nh f n d -> (b f) nh n d"), mine], 2)
        for x, mine in ((k, own[1]), (v, own[2]))
    )
    o = dense_attention(own[0], keys, values)
    o = rearrange(o, "(b f) nh n d -> b nh f n d", f=f)
    first = dense_attention(q[:, :, 0], k[:, :, 0], v[:, :, 0])
    return torch.cat([first[:, :, None], o[:, :, 1:]], 2)


def attend_window(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The teacher's dense, bidirectional attention: every frame of the window sees all of it and the reference."""
    first = dense_attention(q[:, :, 0], k[:, :, 0], v[:, :, 0])
    rest = dense_attention(q[:, :, 1:].flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3))
    return torch.cat([first[:, :, None], rest.view_as(q[:, :, 1:])], 2)


def make_planned(plans: Sequence[AttentionPlan], backend: str = "auto") -> Attend:
    """The student's causal, input-aware sparse attention; one plan for each clip of the batch."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        o = sparse_attention(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), plans, backend=backend)
        return o.view_as(q)

    return attend
