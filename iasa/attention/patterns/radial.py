"""Control: density halves with every octave of the distance in time (Radial Attention, arXiv 2506.19852).

Frames dt apart meet in the tiles whose places are near, and the area of what is near is halved at dt = 2, 4, 8, ...:

    keep (a, b) where (1 + |x_a - x_b|^2) * 2^floor(log2 max(dt, 1)) <= c,  with c so large that the row has its share
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from iasa.attention.frame_tiles import RankedTiles
from iasa.attention.pattern import Clip
from iasa.attention.patterns import register
from iasa.attention.patterns.local_window import tile_distance

TIE = 1e-3  # of a step of the score: among tiles that are equally good the nearer frame's comes first


@register
@dataclass
class Radial(RankedTiles):
    """A static pattern: it looks at no query, no key and no pose."""

    name: ClassVar[str] = "radial"

    def plan(self, clip: Clip) -> None:
        self.need_frames(clip)

    def score(self, q: Tensor, k: Tensor, q_label: Tensor, k_label: Tensor) -> Tensor:
        query, key = self.frames_of(q, k)
        apart = (query[:, None] - key).abs()
        octave = torch.floor(torch.log2(apart.clamp_min(1).float()))
        near = 1 + tile_distance(self.clip.grid, q_label, k_label).square()
        return -(near * 2**octave + TIE * apart)[None, None]
