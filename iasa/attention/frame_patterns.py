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


def make_teacher_forced(plans: Sequence[AttentionPlan]) -> Attend:
    """Frames learn from true ones: over [reference, f clean frames, the f noisy frames of the same moments].

    A noisy frame sees itself, the reference, and what its plan says of the *clean* frames. A clean frame sees itself and the
    reference alone: its keys do not depend on which frames it would remember, so one cache serves every choice.
    """
    f, n = plans[0].grid.frames - 1, plans[0].grid.tokens_per_frame
    allowed = torch.stack([past_pairs(plan) for plan in plans]).flatten(0, 1)[:, None]  # [b f, 1, n, 2 n + f n]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        clean = attend_own(layer, *(x[:, :, : 1 + f] for x in (q, k, v)))
        queries = rearrange(q[:, :, 1 + f :], "b nh f n d -> (b f) nh n d")
        keys, values = (
            torch.cat(
                [
                    rearrange(x[:, :, 1 + f :], "b nh f n d -> (b f) nh n d"),
                    rearrange(x[:, :, : 1 + f], "b nh f n d -> b nh (f n) d").repeat_interleave(f, 0),
                ],
                2,
            )
            for x in (k, v)
        )
        seen = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, allowed.to(q.device))
        return torch.cat([clean, rearrange(seen, "(b f) nh n d -> b nh f n d", f=f)], 2)

    assert allowed.shape[-1] == (2 + f) * n
    return attend


def past_pairs(plan: AttentionPlan) -> Tensor:
    """Which keys each frame after the reference sees: its own, the reference's, all later frames': bool [f, n, (2 + f) n]."""
    f, n = plan.grid.frames, plan.grid.tokens_per_frame
    pairs = torch.zeros(f - 1, n, 1 + f, n, dtype=torch.bool)
    pairs[:, :, 0] = True
    for frame in range(1, f):
        pairs[frame - 1, :, 1] = plan.has_sink(frame)
        for past in plan.past[frame]:
            shared = plan.region_bits[frame][:, None] & plan.region_bits[past]
            pairs[frame - 1, :, 1 + past] = shared != 0
    return pairs.flatten(2)
