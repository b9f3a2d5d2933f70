"""What some patterns have of their own beside a map: clusters, blocks that stay, two factors, a timetable of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from iasa.attention.pattern import Clip, Pattern
from iasa.attention.patterns.monarch import Monarch
from iasa.attention.patterns.pab import PAB
from iasa.attention.patterns.sparse_forcing import SparseForcing
from iasa.attention.patterns.svg2 import SVG2
from iasa.sampling import make_levels

STAYS = 255  # in `stays`: persistent, whatever the rows choose
TEACHER_STEPS, RANGES = 20, 6


@dataclass
class PatternDetails:
    """Arrays of [layers, nh, ...]; a pattern that was not there leaves its own empty.

    key_clusters uint8 [.., f*n], query_clusters uint8 [.., n], clusters_meet bool [.., Cq, Ck]: of the last frame's call.
    stays uint8 [.., f, f*tiles]: how many of a frame's rows of tiles keep each tile of the window, or STAYS.
    rows float32 [.., b1, tiles so far * b1], columns float32 [.., b2, b2]: means of the last frame's two factors.
    """

    found: dict[str, np.ndarray] = field(default_factory=dict)

    def keep(self, layer: int, layers: int, pattern: Pattern, q: Tensor, k: Tensor) -> None:
        """Of one frame's call of the network, q [1, nh, n, d] and k [1, nh, tokens so far, d]."""
        clip = pattern.clip
        frame = k.shape[2] // clip.grid.tokens_per_frame - 1
        last = frame == clip.grid.frames - 1
        if isinstance(pattern, SparseForcing):
            self._put("stays", layer, layers, _stays(pattern, layer, frame, clip))
        elif isinstance(pattern, SVG2) and last:
            blocks = pattern.last_blocks(layer)
            self._put("key_clusters", layer, layers, blocks.k_label[0])
            self._put("query_clusters", layer, layers, blocks.q_label[0])
            self._put("clusters_meet", layer, layers, blocks.kept[0])
        elif isinstance(pattern, Monarch) and last:
            w, r = pattern.factors(q, k)
            self._put("rows", layer, layers, w[0].mean((1, 3)).flatten(-2))  # over tiles of queries and their columns
            self._put("columns", layer, layers, r[0].mean((1, 2, 3)))  # over tiles of queries, of keys, and their rows

    def _put(self, name: str, layer: int, layers: int, value: Tensor | np.ndarray) -> None:
        """Of all heads of a layer; what a layer has already is added to (frames of `stays` are zero elsewhere)."""
        value = value if isinstance(value, np.ndarray) else value.float().cpu().numpy()
        self.found.setdefault(name, np.zeros((layers, *value.shape), np.float32))[layer] += value


def _stays(pattern: SparseForcing, layer: Any, frame: int, clip: Clip) -> np.ndarray:
    """One frame's row, zeros for the others: float32 [nh, f, f*tiles]."""
    kept = pattern.last_blocks(layer).kept[0].sum(1)  # [nh, tiles so far]
    persistent = pattern.persistent_blocks(layer)[0]  # [nh, tiles of the clip]
    row = kept.masked_fill(persistent[:, : kept.shape[1]], STAYS)
    every = np.zeros((len(row), clip.grid.frames, persistent.shape[1]), np.float32)
    every[:, frame, : row.shape[1]] = row.cpu().numpy()
    return every


def timetables() -> list[list[bool]]:
    """Whether a step of the teacher's is computed, for ranges of 1, 2, ...: what Pyramid Attention Broadcast decides."""
    levels = tuple(make_levels(TEACHER_STEPS))
    return [PAB(range=every).timetable(levels) for every in range(1, RANGES + 1)]
