"""Frames cut into tiles of tokens, and the choice of the best tiles for each: what most block patterns share."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from iasa.attention.pattern import BlockPattern, Clip
from iasa.attention.token_blocks import TokenBlocks, sizes
from iasa.grid import TokenGrid

BLOCK = 64  # tokens of a tile


def tiles_per_frame(grid: TokenGrid, block: int) -> int:
    return -(-grid.tokens_per_frame // block)


def tile_labels(grid: TokenGrid, block: int, frames: int, device: torch.device | str = "cpu") -> Tensor:
    """The tile of each token: int64 [1, 1, frames*n], `tiles_per_frame` of them a frame, frame after frame.

    Tokens are taken square by square, so that a tile is compact; on a grid that the squares do not fill, tiles hold
    parts of two, and a frame's last may be smaller.
    """
    side = max(1, math.isqrt(block))
    row, col = torch.meshgrid(torch.arange(grid.rows), torch.arange(grid.cols), indexing="ij")
    square = (row // side) * grid.cols + col // side
    place = square.flatten().argsort(stable=True).argsort()  # of each token when squares follow one another
    label = place // block + tiles_per_frame(grid, block) * torch.arange(frames)[:, None]
    return label.flatten()[None, None].to(device)


def pool(x: Tensor, label: Tensor, blocks: int) -> Tensor:
    """Mean of each block's tokens: [b, nh, tokens, d] -> [b, nh, blocks, d]; zeros for a block without tokens."""
    index = label.expand(*x.shape[:2], -1)
    total = x.new_zeros(*x.shape[:2], blocks, x.shape[3])
    total.scatter_add_(2, index[..., None].expand(x.shape), x)
    return total / sizes(index, blocks).clamp_min(1)[..., None]


def top_blocks(score: Tensor, count: int) -> Tensor:
    """The `count` best of each row, the earlier one among equals, fewer where fewer are above -inf: [..., nq, nk] -> bool."""
    worth, order = score.sort(dim=-1, descending=True, stable=True)
    kept = torch.zeros_like(score, dtype=torch.bool)
    return kept.scatter_(-1, order[..., :count], worth[..., :count] > -torch.inf)


@dataclass
class RankedTiles(BlockPattern):
    """Tiles of frames, of which each row keeps those of the highest score: as many as `density` is of the whole clip."""

    density: float = 0.2
    block: int = BLOCK

    @abstractmethod
    def score(self, q: Tensor, k: Tensor, q_label: Tensor, k_label: Tensor) -> Tensor:
        """How much each tile of queries wants each tile of keys: float [b or 1, nh or 1, nq, nk]."""

    @classmethod
    def at_density(cls, density: float, clip: Clip) -> RankedTiles:
        return cls(density=density)

    def blocks(self, layer: Any, q: Tensor, k: Tensor) -> TokenBlocks:
        grid, n = self.clip.grid, self.clip.grid.tokens_per_frame
        q_label, k_label = (tile_labels(grid, self.block, x.shape[2] // n, x.device) for x in (q, k))
        score = self.score(q, k, q_label, k_label).masked_fill(~self.visible(q, k), -torch.inf)
        budget = max(1, round(self.density * grid.frames * tiles_per_frame(grid, self.block)))
        return TokenBlocks(q_label, k_label, top_blocks(score, budget))

    def frames_of(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Frame of every tile of queries and of keys: int64 [nq], [nk]."""
        n, tiles = self.clip.grid.tokens_per_frame, tiles_per_frame(self.clip.grid, self.block)
        key = torch.arange(k.shape[2] // n, device=k.device).repeat_interleave(tiles)
        return key[-(q.shape[2] // n) * tiles :], key

    def visible(self, q: Tensor, k: Tensor) -> Tensor:
        """Tiles that may meet at all: bool [nq, nk]."""
        query, key = self.frames_of(q, k)
        return (key <= query[:, None]) | torch.tensor(not self.clip.causal, device=key.device)
