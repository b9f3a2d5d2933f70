"""What patterns of attention would make of a dense run: the mass that they keep, and the error of their output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from iasa.attention.pattern import Clip, DenseBeside, Pattern
from iasa.keypoints import REGIONS

PARTS = ("all", "face", "hands")


class Probe(DenseBeside):
    """Attends densely, and asks every candidate what it would have done with the same queries, keys and values.

    mass: sum over keys of min(A, W), of the dense weights A and the effective ones W, which for a mask is the attention
    mass that it keeps. error: ||o' - o|| / ||o|| over the tokens of a part. Both are means over layers and steps (of the
    student over frames too).
    """

    name: ClassVar[str] = "probe"

    def __init__(self, candidates: Mapping[str, Pattern], layers: Sequence[int], map_steps: Sequence[int]) -> None:
        self.candidates, self.layers, self.map_steps = dict(candidates), set(layers), set(map_steps)
        self.mass: dict[str, list[float]] = {name: [] for name in candidates}
        self.error: dict[str, dict[str, list[float]]] = {name: {part: [] for part in PARTS} for name in candidates}

    def plan(self, clip: Clip) -> None:
        super().plan(clip)
        assert clip.plan is not None
        bits = clip.plan.region_bits.flatten()
        self._parts = {part: (bits >> REGIONS.index(part) & 1).bool() for part in PARTS[1:]}
        self._parts["all"] = torch.ones_like(bits, dtype=torch.bool)

    def attend(self, layer: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = super().attend(layer, q, k, v)
        if layer not in self.layers:
            return out
        weights = self.map(layer, q, k) if self.call.step in self.map_steps else None
        place = slice(k.shape[2] - q.shape[2], k.shape[2])
        for name, candidate in self.candidates.items():
            made = candidate.attend(layer, q, k, v)
            for part, member in self._parts.items():
                mine = member[place].to(q.device)
                if mine.any():
                    apart = (made - out)[:, :, mine].norm() / out[:, :, mine].norm()
                    self.error[name][part].append(float(apart))
            if weights is not None:  # a step that is left out has no map, and then the pattern has no mass
                kept = (
                    torch.minimum(candidate.map(layer, q, k), weights).sum(-1).mean() if candidate.has_map else math.nan
                )
                self.mass[name].append(float(kept))
        return out

    def figures(self, name: str) -> dict[str, float]:
        """Of one candidate; those that were never seen are left out."""
        found = {f"error_{part}": values for part, values in self.error[name].items()} | {"mass": self.mass[name]}
        means = {figure: float(np.mean(values)) for figure, values in found.items() if values}
        return {figure: round(mean, 4) for figure, mean in means.items() if math.isfinite(mean)}
