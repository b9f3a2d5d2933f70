"""Control: as many blocks as the others keep, drawn at random, the same for all layers, heads and steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from iasa.attention.frame_tiles import RankedTiles, tiles_per_frame
from iasa.attention.pattern import Clip
from iasa.attention.patterns import register


@register
@dataclass
class RandomBlocks(RankedTiles):
    """What a choice of blocks has to beat."""

    name: ClassVar[str] = "random_blocks"
    seed: int = 0

    def plan(self, clip: Clip) -> None:
        count = clip.grid.frames * tiles_per_frame(clip.grid, self.block)
        self._drawn = torch.rand(count, count, generator=torch.Generator().manual_seed(self.seed))

    def score(self, q: Tensor, k: Tensor, q_label: Tensor, k_label: Tensor) -> Tensor:
        keys = int(k_label.max()) + 1
        queries = int(q_label.max()) + 1
        return self._drawn[keys - queries : keys, :keys].to(q.device)[None, None]
