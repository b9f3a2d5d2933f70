"""Patterns of the gallery inside diffusers' Wan models: the same hooks as a plan's, with a pattern in their place."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from iasa.attention.pattern import Call, Clip, Pattern
from iasa.attention.patterns import make_pattern
from iasa.backbones.replay import Transformer
from iasa.backbones.wan_attention import PlanController, PlanProcessor, install, output, project
from iasa.config import InputError
from iasa.masks.plan import AttentionPlan

NOISE = 1000.0  # a scheduler's time step at the noise level 1


class PatternController(PlanController):
    """Tells the pattern which clip, step and branch of guidance a call of the transformer belongs to."""

    def __init__(self, pattern: Pattern, clips: Sequence[Clip]) -> None:
        super().__init__(())
        self.pattern, self.clips = pattern, tuple(clips)

    @property
    def segments(self) -> int:
        return len(self.clips)

    def before_forward(self, model: Transformer, args: tuple, kwargs: dict) -> None:
        hidden, timestep, text = self.inputs(args, kwargs)
        if torch.is_grad_enabled():
            raise InputError(
                f"{self.pattern.name} has no backward pass inside a video model; apply_iasa trains under a plan"
            )
        level = float(timestep.float().max())
        branch = self.branch or text.data_ptr()
        self._advance(level, branch)
        if self.step == 0 and self._seen == {branch}:
            self.check_grid(model, hidden, [self.clips[self.segment].grid])
            self.pattern.begin(self.clips[self.segment])
        self.calls["sparse"] += 1
        self.pattern.next_call(Call(self.step, level / NOISE, str(branch)))


class PatternProcessor(PlanProcessor):
    """Self-attention of one layer under the controller's pattern."""

    def __init__(self, name: str, controller: PatternController, dense: Any) -> None:
        super().__init__(controller, dense)
        self.name, self.pattern = name, controller.pattern

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None, **kwargs):
        frames = self.pattern.clip.grid.frames
        q, k, v = (x.unflatten(2, (frames, -1)) for x in project(attn, hidden_states, rotary_emb))
        out: Tensor = self.pattern(self.name, q, k, v)
        return output(attn, out.flatten(2, 3), hidden_states)


def apply_pattern(
    pipe: Any,  # a Wan pipeline
    attention: str | Pattern,
    plans: Sequence[AttentionPlan],  # one for each segment: what the poses say, and the grid
    steps: int,
) -> PatternController:
    """Every self-attention of the pipeline's transformers follows a pattern from now on; `remove_iasa` undoes it.

    References attend to themselves alone, as under a plan. Raises InputError on a pattern that cannot serve.
    """
    pattern = make_pattern(attention)
    pattern.check_run(steps, causal=False)
    scheduler = copy.deepcopy(pipe.scheduler)
    scheduler.set_timesteps(steps)
    levels = tuple(float(step) / NOISE for step in scheduler.timesteps)
    clips = [Clip(plan.grid, levels, references=plan.options.sinks, plan=plan) for plan in plans]
    pattern.begin(clips[0])  # what cannot serve is told before anything is computed
    controller = PatternController(pattern, clips)
    install(pipe, controller, lambda name, dense: PatternProcessor(name, controller, dense))
    return controller
