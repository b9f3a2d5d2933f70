"""Control: the paper's regions, but K past frames drawn at random: what the choice of frames by pose is worth.

as `input_aware`, with S(tq, tk) drawn uniformly
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from iasa.attention.pattern import Clip
from iasa.attention.patterns import register
from iasa.attention.patterns.input_aware import InputAware, change_plan
from iasa.masks.plan import AttentionPlan


@register
@dataclass
class RandomFrames(InputAware):
    """As many frames as the plan's K."""

    name: ClassVar[str] = "random_frames"
    seed: int = 0

    def plan(self, clip: Clip) -> None:
        self.need_frames(clip)
        super().plan(clip)

    def adapt(self, plan: AttentionPlan) -> AttentionPlan:
        drawn = torch.rand(plan.grid.frames, plan.grid.frames, generator=torch.Generator().manual_seed(self.seed))
        return change_plan(replace(plan, distance=drawn), plan.options)
