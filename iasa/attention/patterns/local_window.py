"""Control: the own frame first, then the frames nearest in time, and of each the tiles nearest in the picture.

score[a, b] = -( |t_a - t_b| + eps * |x_a - x_b| )
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from iasa.attention.frame_tiles import RankedTiles, pool
from iasa.attention.pattern import Clip
from iasa.attention.patterns import register
from iasa.grid import TokenGrid

PLACE = 1e-3  # of a frame's distance: place decides among tiles of frames that are equally far


@register
@dataclass
class LocalWindow(RankedTiles):
    """What is near matters: the assumption of sliding windows."""

    name: ClassVar[str] = "local_window"

    def plan(self, clip: Clip) -> None:
        self.need_frames(clip)

    def score(self, q: Tensor, k: Tensor, q_label: Tensor, k_label: Tensor) -> Tensor:
        query, key = self.frames_of(q, k)
        apart = tile_distance(self.clip.grid, q_label, k_label)
        return -((query[:, None] - key).abs() + PLACE * apart)[None, None]


def tile_distance(grid: TokenGrid, q_label: Tensor, k_label: Tensor) -> Tensor:
    """Distance of the tiles' centres in the picture, in tokens: float [nq, nk]."""
    row, col = torch.meshgrid(torch.arange(grid.rows), torch.arange(grid.cols), indexing="ij")
    places = torch.stack([row.flatten(), col.flatten()], 1).float()  # [n, 2]

    def centres(label: Tensor) -> Tensor:  # [blocks, 2]
        frames = label.shape[-1] // len(places)
        return pool(places.repeat(frames, 1)[None, None].to(label.device), label, int(label.max()) + 1)[0, 0]

    exact = "donot_use_mm_for_euclid_dist"  # equal distances must be equal, however many tiles there are
    return torch.cdist(centres(q_label), centres(k_label), compute_mode=exact)
