"""Gradient checkpointing for blocks that read state: what runs again in the backward pass sees the state of then.

Ordinary checkpointing calls a block a second time during the backward pass. A block of ours also reads which plan holds,
which frame is made and which adapter is active, and by then these may have changed: torch notices if shapes differ, and
otherwise the gradients are wrong without a word. Here each such state is remembered with the first call and put back for
the second.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch.utils.checkpoint
from torch import nn

from iasa.config import InputError

_STATES = "_iasa_states"
Transformer = Any  # one of diffusers' Wan classes, whose methods a type checker does not see


class ReplayState(Protocol):
    def snapshot(self) -> Any: ...  # what a block reads now

    def restore(self, then: Any) -> None: ...  # None: as if this state were not there


def register_state(model: Transformer, state: ReplayState) -> None:
    model.__dict__.setdefault(_STATES, []).append(state)


def unregister_state(model: Transformer, state: ReplayState) -> None:
    states = model.__dict__.get(_STATES, [])
    if state in states:
        states.remove(state)


class ReplayCheckpoint:
    """For `model.enable_gradient_checkpointing(ReplayCheckpoint(model))`."""

    def __init__(self, model: Transformer) -> None:
        self.states = model.__dict__.setdefault(_STATES, [])  # the list itself: it follows what is registered later

    def __call__(self, block: nn.Module, *args):
        then = [(state, state.snapshot()) for state in self.states]
        first = True

        def run(*given):
            nonlocal first
            if first:
                first = False
                return block(*given)
            now = [(state, state.snapshot()) for state in self.states]
            gone = [state for state, _ in then if state not in self.states]
            if gone:
                raise InputError("a plan was removed between the forward and the backward pass; remove it after both")
            known = {id(state): value for state, value in then}
            for state, _ in now:
                state.restore(known.get(id(state)))
            try:
                return block(*given)
            finally:
                for state, value in now:
                    state.restore(value)

        return torch.utils.checkpoint.checkpoint(run, *args, use_reentrant=False)


def enable_checkpointing(model: Transformer) -> None:
    """Gradient checkpointing that may be used under a plan, a causal roll-out and several adapters."""
    model.enable_gradient_checkpointing(ReplayCheckpoint(model))


def check_checkpointing(model: Transformer) -> None:
    """Raises InputError if ordinary checkpointing is on."""
    function = getattr(model, "_gradient_checkpointing_func", None)
    if getattr(model, "gradient_checkpointing", False) and not isinstance(function, ReplayCheckpoint):
        raise InputError(
            "ordinary gradient checkpointing gives wrong gradients under a plan; "
            "call iasa.backbones.replay.enable_checkpointing(model) instead"
        )
