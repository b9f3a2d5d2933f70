"""Blocks of tokens: the order that makes each frame's regions contiguous, and which blocks a mask keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from iasa.config import InputError
from iasa.keypoints import REGIONS

SIGNATURES = 1 << len(REGIONS)  # values that region bits can take


@dataclass(frozen=True)
class BlockCSR:
    """Kept tiles of the attention matrix as compressed rows, over tokens in the plan's permuted order.

    Block b covers positions start[b] .. start[b] + size[b] of the permuted sequence; its true size may be
    below `block`. Row r keeps the key blocks columns[row_pointer[r] : row_pointer[r + 1]], ascending. Three
    blocks of which the first two are a frame that sees itself, and the third sees block 0 and itself:

        start [0, 4, 6]   size [4, 2, 4]   row_pointer [0, 2, 4, 6]   columns [0, 1, 0, 1, 0, 2]

    A full block needs no test of its pairs: its frames see each other whole, or one region holds all its tokens.
    """

    block: int
    start: Tensor  # int64 [nq]
    size: Tensor  # int64 [nq]
    row_pointer: Tensor  # int64 [nq + 1]
    columns: Tensor  # int64 [kept blocks]
    full: Tensor  # bool [kept blocks], True where every pair is allowed

    @property
    def rows(self) -> Tensor:
        """Row of every kept block: int64 [kept blocks]."""
        return torch.repeat_interleave(torch.arange(len(self.size)), self.row_pointer.diff())

    def density(self) -> float:
        """Share of the attention matrix that lies in kept blocks, by true sizes."""
        kept = (self.size[self.rows] * self.size[self.columns]).sum()
        return float(kept) / float(self.size.sum()) ** 2

    def transpose(self) -> BlockCSR:
        """The same blocks listed by key: row r holds the query blocks that attend key block r."""
        order = torch.argsort(self.columns, stable=True)
        counts = torch.bincount(self.columns, minlength=len(self.size))
        return BlockCSR(self.block, self.start, self.size, _pointer(counts), self.rows[order], self.full[order])


def region_order(region_bits: Tensor) -> Tensor:
    """Order that makes each frame's region tokens contiguous: uint8 [f, n] -> int64 [f*n].

    Within a frame tokens are sorted by their bits, background last. The face counts most: it overlaps the others
    least, so its tokens make a run of their own beside the background.
    """
    rank = torch.zeros_like(region_bits)
    for region in range(len(REGIONS)):
        rank |= (region_bits >> region & 1) << (len(REGIONS) - 1 - region)
    rank[region_bits == 0] = SIGNATURES
    order = torch.argsort(rank, dim=1, stable=True)
    frames, n = region_bits.shape
    return (order + n * torch.arange(frames)[:, None]).flatten()


def kept_blocks(
    region_bits: Tensor,  # uint8 [f, n], tokens in the blocks' order
    past: Sequence[Sequence[int]],  # for each frame those it sees through the region rule
    whole: Sequence[Sequence[int]],  # for each frame those it sees whole, itself among them
    block: int,
) -> BlockCSR:
    """Blocks of `block` tokens that hold an allowed pair. None crosses frames; a frame's last may be smaller."""
    if block < 1:
        raise InputError(f"block is {block}; 1 or more is needed")
    f, n = region_bits.shape
    per_frame = -(-n // block)
    pooled, common = _pooled_bits(region_bits, block)
    first = torch.arange(per_frame) * block
    start = (first + n * torch.arange(f)[:, None]).flatten()
    size = (n - first).clamp_max(block).repeat(f)

    counts, columns, full = [], [], []
    blocks = torch.arange(f * per_frame).view(f, per_frame)
    for t in range(f):
        seen = list(past[t])
        kept = torch.ones(per_frame, len(seen) + len(whole[t]), per_frame, dtype=torch.bool)
        allowed = kept.clone()
        kept[:, : len(seen)] = (pooled[t][:, None, None] & pooled[seen]) != 0
        allowed[:, : len(seen)] = (common[t][:, None, None] & common[seen]) != 0
        frames = torch.tensor(seen + list(whole[t]))
        ascending = frames.argsort()
        names = blocks[frames[ascending]].flatten()  # [frames * per_frame]
        kept = kept[:, ascending].flatten(1)
        columns.append(names.expand(per_frame, -1)[kept])
        full.append(allowed[:, ascending].flatten(1)[kept])
        counts.append(kept.sum(1))
    return BlockCSR(block, start, size, _pointer(torch.cat(counts)), torch.cat(columns), torch.cat(full))


def join_bits(bits: Tensor, csr: BlockCSR) -> Tensor:
    """Each token's bits joined with those of all tokens of its block: int32 [tokens]."""
    block = torch.repeat_interleave(torch.arange(len(csr.size)), csr.size)
    joined = torch.zeros_like(bits)
    for region in range(int(bits.max()).bit_length() if len(bits) else 0):
        member = torch.zeros(len(csr.size), dtype=torch.bool)
        member[block[(bits >> region & 1) == 1]] = True
        joined |= member[block].int() << region
    return joined


def _pooled_bits(bits: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """The bits of the tokens of each block, or-ed and and-ed: two uint8 [f, blocks of a frame].

    Some pair of two blocks shares a region exactly if the or-ed bits do; all pairs share one if the and-ed bits do.
    """
    missing = -bits.shape[1] % block
    pooled = torch.zeros(len(bits), (bits.shape[1] + missing) // block, dtype=torch.uint8)
    common = pooled.clone()
    for region in range(len(REGIONS)):
        member = (bits >> region) & 1
        for total, beyond, reduce in ((pooled, 0, torch.amax), (common, 1, torch.amin)):
            padded = torch.nn.functional.pad(member, (0, missing), value=beyond)
            total |= reduce(padded.view(len(bits), -1, block), -1) << region
    return pooled, common


def _pointer(counts: Tensor) -> Tensor:
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))
