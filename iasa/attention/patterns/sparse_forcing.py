"""Sparse Forcing (Xu et al., arXiv 2604.21221): persistent blocks that all see, and the best blocks of a sliding window.

Queries and keys are pooled to blocks, Qc and Kc. A frame sees the persistent blocks P, and of the window L, the last
frames with its own, each row's K best:

    A = softmax(Qc Kc^T / sqrt d) over P and L ;   row a keeps P and the K blocks of L with the largest A[a, .]
    after a frame's clean pass:  P <- the C blocks of P and of the frame that leaves L with the largest sum_a A[a, .]

Block size, C and the window's length are not published: the defaults are ours. The paper's chunks have three latent
frames; ours have one, as the student's. Its clean pass is here the last denoising step, as in our roll-out. A clip that
is denoised as a whole has neither a cache nor a clean pass: there, in what the tables call the bidirectional adaptation,
L is the whole clip and P the C columns of that call's A. Any pattern of blocks trains; this one is meant to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from iasa.attention.frame_tiles import BLOCK, pool, tile_labels, tiles_per_frame, top_blocks
from iasa.attention.pattern import BlockPattern, Clip
from iasa.attention.patterns import register
from iasa.attention.token_blocks import TokenBlocks


@register
@dataclass
class SparseForcing(BlockPattern):
    name: ClassVar[str] = "sparse_forcing"
    persistent: int = 4  # C, blocks
    top: int = 6  # K, blocks of the window
    window: int = 4  # L, frames
    block: int = BLOCK

    def plan(self, clip: Clip) -> None:
        self.need_frames(clip)
        self._tiles = tiles_per_frame(clip.grid, self.block)
        self._kept: dict[Any, Tensor] = {}  # P by layer and branch of guidance: bool [b, nh, blocks of the clip]
        self._columns: dict[Any, Tensor] = {}  # of the frame under way: sum_a A[a, .], [b, nh, blocks so far]

    @classmethod
    def at_density(cls, density: float, clip: Clip) -> SparseForcing:
        """As many persistent blocks as of the window."""
        tiles = tiles_per_frame(clip.grid, BLOCK)
        shares = {}
        for each in range(1, clip.grid.frames * tiles // 2 + 1):
            kept = [2 * each]
            if clip.causal:  # the first frames have no persistent blocks yet
                kept = [
                    min(each, tiles * min(t + 1, cls.window)) + min(each, tiles * max(t + 1 - cls.window, 0))
                    for t in range(clip.references, clip.grid.frames)
                ]
            shares[each] = sum(kept) / len(kept) / (clip.grid.frames * tiles)
        best = min(shares, key=lambda each: abs(shares[each] - density))
        return cls(persistent=best, top=best)

    def blocks(self, layer: Any, q: Tensor, k: Tensor) -> TokenBlocks:
        frames = q.shape[2] // self.clip.grid.tokens_per_frame
        (q_label, qc), (k_label, kc) = (self._pooled(x) for x in (q, k))
        self.computed.flops += 2.0 * qc.numel() * kc.shape[2]
        if not self.clip.causal:
            kept = self._choose_anywhere(qc, kc)
        elif frames == 1:  # of a roll-out
            key = (layer, self.call.branch)
            persistent = self._kept.setdefault(key, self._none(q))
            kept, self._columns[key] = self._choose(qc, kc, persistent)
        else:
            kept = self._replay(qc, kc)
        return TokenBlocks(q_label, k_label, kept)

    def end_frame(self) -> None:
        """The clean pass is done."""
        for key, columns in self._columns.items():
            self._kept[key] = self._update(self._kept[key], columns)
        self._columns = {}

    def persistent_blocks(self, layer: Any) -> Tensor:
        """P of the frame that a roll-out is at: bool [b, nh, blocks of the clip]."""
        return self._kept[layer, self.call.branch]

    def _pooled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(tile of each token int64 [1, 1, f*n], the tiles' means [b, nh, f*tiles, d])."""
        frames = x.shape[2] // self.clip.grid.tokens_per_frame
        label = tile_labels(self.clip.grid, self.block, frames, x.device)
        return label, pool(x, label, frames * self._tiles)

    def _choose(self, qc: Tensor, kc: Tensor, persistent: Tensor) -> tuple[Tensor, Tensor]:
        """(blocks that the frame's rows keep, bool [b, nh, rows, blocks so far]; its columns' mass)."""
        so_far = kc.shape[2]
        frame = torch.arange(so_far, device=kc.device) // self._tiles
        in_window = frame > frame[-1] - self.window
        p = persistent[..., None, :so_far]
        a = _scores(qc, kc).masked_fill(~(p | in_window), -torch.inf).softmax(-1)
        best = top_blocks(a.masked_fill(~in_window, -torch.inf), self.top)
        return best | p, a.sum(2)

    def _update(self, persistent: Tensor, columns: Tensor) -> Tensor:
        """P after a frame: bool [b, nh, blocks of the clip]."""
        so_far = columns.shape[2]
        leaving = torch.arange(so_far, device=columns.device) // self._tiles == so_far // self._tiles - self.window
        candidates = persistent[..., :so_far] | leaving
        best = top_blocks(columns.masked_fill(~candidates, -torch.inf), self.persistent)
        return torch.nn.functional.pad(best, (0, persistent.shape[-1] - so_far))

    def _replay(self, qc: Tensor, kc: Tensor) -> Tensor:
        """A clip that comes whole, frame by frame as the roll-out would: bool [b, nh, nq, nk]."""
        kept = torch.zeros(*qc.shape[:3], kc.shape[2], dtype=torch.bool, device=qc.device)
        persistent, skipped = self._none(qc), kc.shape[2] - qc.shape[2]
        for start in range(0, qc.shape[2], self._tiles):
            rows, so_far = slice(start, start + self._tiles), skipped + start + self._tiles
            kept[:, :, rows, :so_far], columns = self._choose(qc[:, :, rows], kc[:, :, :so_far], persistent)
            persistent = self._update(persistent, columns)
        return kept

    def _choose_anywhere(self, qc: Tensor, kc: Tensor) -> Tensor:
        """The bidirectional adaptation: bool [b, nh, nq, nk]."""
        a = _scores(qc, kc).softmax(-1)
        p = top_blocks(a.sum(2, keepdim=True), self.persistent)
        return top_blocks(a.masked_fill(p, -torch.inf), self.top) | p

    def _none(self, q: Tensor) -> Tensor:
        blocks = self.clip.grid.frames * self._tiles
        return torch.zeros(*q.shape[:2], blocks, dtype=torch.bool, device=q.device)


def _scores(qc: Tensor, kc: Tensor) -> Tensor:
    return (qc @ kc.mT).float() / math.sqrt(qc.shape[-1])
