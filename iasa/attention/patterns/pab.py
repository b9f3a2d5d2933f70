"""Pyramid Attention Broadcast (arXiv 2408.12588): a module's attention output is used again for some steps.

Between the noise levels of a window attention changes little from step to step. A module of a kind with range r is
computed at a step s0 of the window, and its output broadcast to the steps s0 + 1 .. s0 + r - 1:

    o(s) = o(s0)  for s0 <= s < s0 + r  while the level is within the window;   else o(s) = softmax(q k^T / sqrt d) v

The paper's ranges rise as a pyramid, spatial 2 < temporal 3 to 4 < cross 6; the attention here is spatial and temporal in
one. Outputs are kept by (module, branch of guidance): with one place a module, the branch without the condition would be
handed the output of the one with it. It needs many steps, and a few-step student has none to leave out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from iasa.attention.dense import dense_attention
from iasa.attention.pattern import Clip, Pattern, masked_softmax
from iasa.attention.patterns import register
from iasa.config import InputError, Sentence


@register
@dataclass
class PAB(Pattern):
    name: ClassVar[str] = "pab"
    rolls_out: ClassVar[bool] = False
    trains: ClassVar[bool] = False  # the steps that are left out have no graph
    range: int = 2  # steps that share an output, the computed one among them
    window: tuple[float, float] = (0.1, 0.85)  # noise levels, the paper's steps 100 to 850 of 1000

    def check_run(self, steps: int, causal: bool) -> None:
        if steps < 2:
            self.refuse(
                Sentence("uses outputs of earlier denoising steps again, and there is 1 step"),
                Sentence("svg2 or sparse_forcing"),
            )
        super().check_run(steps, causal)

    def plan(self, clip: Clip) -> None:
        self._kept: dict[tuple[Any, str], Tensor] = {}  # outputs by module and branch
        self._computed = self.timetable(clip.levels)
        if self.range > 1 and all(self._computed):
            self.refuse(
                Sentence(
                    "finds none of {steps} steps to leave out between the levels {low:g} and {high:g} with a range of {range}",
                    steps=clip.steps,
                    low=self.window[0],
                    high=self.window[1],
                    range=self.range,
                ),
                Sentence("svg2 or sparse_forcing"),
            )

    def timetable(self, levels: tuple[float, ...]) -> list[bool]:
        """Whether each step is computed: the picture of this pattern."""
        computed, last = [], None
        for step, level in enumerate(levels):
            within = self.window[0] <= level <= self.window[1]
            due = not within or last is None or step - last >= self.range
            if due:
                last = step if within else None
            computed.append(due)
        return computed

    @classmethod
    def at_density(cls, density: float, clip: Clip) -> PAB:
        """The range that leaves out so many steps that what is computed is nearest to the share."""

        cls().check_run(clip.steps, clip.causal)
        tables = {steps: cls(range=steps).timetable(clip.levels) for steps in range(2, clip.steps + 2)}
        shares = {steps: sum(table) / len(table) for steps, table in tables.items()}
        best = min(shares, key=lambda steps: abs(shares[steps] - density))
        if abs(shares[best] - density) > 0.5 * density:
            raise InputError(
                f"pab computes {min(shares.values()):.2f} of {clip.steps} steps at least, those outside its window; "
                f"{density:g} is asked for, which svg2 could serve"
            )
        return cls(range=best)

    def attend(self, layer: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        key = (layer, self.call.branch)
        if not self._computed[self.call.step]:
            return self._kept[key]
        out = self._kept[key] = dense_attention(q, k, v)
        self.count(float(q.shape[2] * k.shape[2]), q)
        return out

    @property
    def has_map(self) -> bool:
        return self._computed[self.call.step]

    def map(self, layer: Any, q: Tensor, k: Tensor) -> Tensor:
        """The dense map of a step that is computed; one that is left out has none of its own."""
        if not self.has_map:
            self.refuse(
                Sentence("leaves step {step} out, which has no map of its own; see `timetable`", step=self.call.step),
                Sentence("another step"),
            )
        return masked_softmax(q, k, torch.ones(1, 1, dtype=torch.bool, device=q.device))
