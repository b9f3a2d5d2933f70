"""Attention over blocks of tokens: which block a token is in, which blocks meet, and the calls that compute no others.

A block is a set of tokens that share a label; it may be a tile of a frame, a run of one region's tokens, or a cluster.
Token i may attend token j exactly where kept[q_label[i], k_label[j]]. Two query blocks and three key blocks:

    q_label [0, 0, 1, 1]   k_label [2, 0, 0, 1]   kept [[1, 0, 0], [0, 1, 1]]
    token 0 attends tokens 1 and 2; token 3 attends tokens 0 and 3
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iasa.attention.flex import compiled_flex
from iasa.attention.gathered import GatherPlan, QueryGroup, gathered_attention
from iasa.config import InputError

FLEX_BLOCK = 128


@dataclass(frozen=True)
class TokenBlocks:
    """Blocks of queries and keys, and which of them meet; axes b and nh are 1 where all clips or heads share them."""

    q_label: Tensor  # int64 [b or 1, nh or 1, queries]
    k_label: Tensor  # int64 [b or 1, nh or 1, keys]
    kept: Tensor  # bool [b or 1, nh or 1, nq, nk]

    def allowed(self) -> Tensor:
        """The pairs as a matrix: bool [b or 1, nh or 1, queries, keys]."""
        rows = self.kept.gather(2, self.q_label[..., None].expand(*self._common, -1, self.kept.shape[3]))
        return rows.gather(3, self.k_label[..., None, :].expand(*self._common, rows.shape[2], -1))

    def pairs(self) -> float:
        """Query-key pairs in kept blocks, the mean over clips and heads."""
        of_query, of_key = sizes(self.q_label, self.kept.shape[2]), sizes(self.k_label, self.kept.shape[3])
        return float(
            torch.einsum("...q,...qk,...k->...", of_query.double(), self.kept.double(), of_key.double()).mean()
        )

    @property
    def _common(self) -> torch.Size:
        return self.kept.shape[:2]

    def __post_init__(self) -> None:
        shape = torch.broadcast_shapes(self.q_label.shape[:2], self.k_label.shape[:2], self.kept.shape[:2])
        for name in ("q_label", "k_label", "kept"):
            value = getattr(self, name)
            object.__setattr__(self, name, value.expand(*shape, *value.shape[2:]))


def sizes(label: Tensor, blocks: int) -> Tensor:
    """Tokens of each block: int64 [..., tokens] -> [..., blocks]."""
    return torch.zeros(*label.shape[:-1], blocks, dtype=torch.int64, device=label.device).scatter_add_(
        -1, label, torch.ones_like(label)
    )


def attend_blocks(
    q: Tensor,  # [b, nh, queries, d]
    k: Tensor,  # [b, nh, keys, d]
    v: Tensor,  # [b, nh, keys, d]
    blocks: TokenBlocks,
) -> Tensor:
    """Attention over the kept blocks: [b, nh, queries, d]. A query without a key gets zeros. Differentiable once.

    On a GPU by FlexAttention, on a processor by gathered keys, one call for all heads that share their blocks.
    """
    if q.device.type != "cpu":
        return attend_blocks_flex(q, k, v, blocks)
    clips, heads = blocks.kept.shape[:2]
    if (clips, heads) == (1, 1):
        return gathered_attention(q, k, v, _gather(blocks, 0, 0))
    if clips not in (1, len(q)) or heads not in (1, q.shape[1]):
        raise InputError(
            f"there are blocks for {clips} clips of {heads} heads; {q.shape[0]} of {q.shape[1]} are needed"
        )
    made = []
    for clip in range(len(q)):
        for head in range(heads):
            part = slice(clip, clip + 1), slice(None) if heads == 1 else slice(head, head + 1)
            made.append(gathered_attention(q[part], k[part], v[part], _gather(blocks, min(clip, clips - 1), head)))
    rows = [torch.cat(made[start : start + heads], 1) for start in range(0, len(made), heads)]
    return torch.cat(rows)


def _gather(blocks: TokenBlocks, clip: int, head: int) -> GatherPlan:
    """The groups of one head: a group for each block of queries, with the tokens of the key blocks that it meets."""
    q_label, k_label, kept = (x[clip, head] for x in (blocks.q_label, blocks.k_label, blocks.kept))
    order, by_key = (label.argsort(stable=True) for label in (q_label, k_label))
    keys_of = by_key.split(sizes(k_label, kept.shape[1]).tolist())
    groups, start = [], 0
    for size, row in zip(sizes(q_label, kept.shape[0]).tolist(), kept, strict=True):
        if size:
            seen = [keys_of[j] for j in row.nonzero()[:, 0].tolist()]
            groups.append(QueryGroup(start, start + size, keys=torch.cat([by_key[:0], *seen])))
            start += size
    return GatherPlan(order, tuple(groups), len(k_label))


def attend_blocks_flex(q: Tensor, k: Tensor, v: Tensor, blocks: TokenBlocks) -> Tensor:
    """The same by FlexAttention: tokens sorted by their blocks, and a BlockMask that is made from kept blocks."""
    from torch.nn.attention.flex_attention import BlockMask

    order, by_key = (x.argsort(dim=-1, stable=True) for x in (blocks.q_label, blocks.k_label))
    q_label, k_label, kept = blocks.q_label.gather(-1, order), blocks.k_label.gather(-1, by_key), blocks.kept
    in_query, in_key = _members(q_label, kept.shape[2]), _members(k_label, kept.shape[3])
    touched = in_query @ kept.float() @ in_key.mT > 0  # [b, nh, queries / 128, keys / 128]
    names = touched.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)
    last_clip, last_head = (size - 1 for size in kept.shape[:2])

    def meet(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        b, h = b.clamp(max=last_clip), h.clamp(max=last_head)
        return kept[b, h, q_label[b, h, query], k_label[b, h, key]]

    mask = BlockMask.from_kv_blocks(
        touched.sum(-1).int(), names.int(), BLOCK_SIZE=FLEX_BLOCK, mask_mod=meet, seq_lengths=(q.shape[2], k.shape[2])
    )
    out = compiled_flex(_permuted(q, order), _permuted(k, by_key), _permuted(v, by_key), mask)
    return _permuted(out, order.argsort(-1))


def _members(label: Tensor, blocks: int) -> Tensor:
    """Whether a run of FLEX_BLOCK tokens holds one of a block's: float [b, nh, runs, blocks]."""
    b, nh, tokens = label.shape
    run = torch.arange(tokens, device=label.device) // FLEX_BLOCK
    found = torch.zeros(b, nh, -(-tokens // FLEX_BLOCK), blocks, device=label.device)
    return found.flatten(2).scatter_(2, run * blocks + label, 1.0).view_as(found)


def _permuted(x: Tensor, order: Tensor) -> Tensor:
    """[b, nh, n, d] in an order [b or 1, nh or 1, n]."""
    return x.gather(2, order[..., None].expand(*x.shape[:2], -1, x.shape[3]))
