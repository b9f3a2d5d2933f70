"""What graders ask besides a notebook's own check: the same question with other numbers, which no student has seen."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from iasa.teaching import answers
from iasa.teaching.verdict import call, near, require

SEVERAL = ("sort_tokens",)  # regions may come in any order: more than one answer is right


def check_unseen(function: Callable) -> None:
    """Raise WrongAnswer unless a function answers as the package does where its checker's numbers are changed a little."""
    name = function.__name__
    if name in SEVERAL:
        return
    ours = getattr(answers, name)
    for seed, question in enumerate(questions(name)):
        changed = [_changed(argument, np.random.default_rng(seed)) for argument in question]
        truth = ours(*copy.deepcopy(changed))
        for mine, true in zip(_parts(call(function, *copy.deepcopy(changed))), _parts(truth), strict=False):
            near(mine, true, f"{name}: right for the numbers of the notebook's check, wrong for others", 1e-3)


@functools.cache
def questions(name: str) -> list[tuple]:
    """The arguments that the checker of an exercise asks with, as far as they can be asked again."""
    asked: list[tuple] = []

    @functools.wraps(getattr(answers, name))
    def noting(*arguments: Any) -> Any:
        if not any(isinstance(argument, Iterator) for argument in arguments):
            asked.append(copy.deepcopy(arguments))
        return getattr(answers, name)(*arguments)

    with contextlib.redirect_stdout(io.StringIO()):
        getattr(importlib.import_module("iasa.teaching"), f"check_{name}")(noting)
    return asked


def _changed(value: Any, rng: np.random.Generator) -> Any:
    """Arrays and tensors of floats, times factors from 0.95 to 1.05; all else as it is."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        factors = torch.from_numpy(rng.uniform(0.95, 1.05, value.shape)).to(value.dtype)
        return (value.detach() * factors).requires_grad_(value.requires_grad)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value * rng.uniform(0.95, 1.05, value.shape)
    return value


def _parts(value: Any) -> list:
    require(value is not None, "the answer is None")
    return list(value) if isinstance(value, tuple | list) else [value]
