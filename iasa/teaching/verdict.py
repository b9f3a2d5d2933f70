"""What a checker says of an answer: the first property that it lacks, or that all of them hold."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


class WrongAnswer(AssertionError):
    """An exercise's answer lacks a property; the message says which one and what to look at."""


def require(holds: object, message: str) -> None:
    """Raise WrongAnswer with `message` unless `holds`."""
    if not holds:
        raise WrongAnswer(message)


def ask(function: Callable, *arguments: Any) -> Any:
    """What `function` answers to copies of the arguments. Raises WrongAnswer if it changes one of them."""
    given = copy.deepcopy(arguments)
    value = function(*given)
    for before, after in zip(arguments, given, strict=True):
        if isinstance(before, np.ndarray | torch.Tensor):
            same = before.shape == after.shape and bool(
                np.array_equal(to_numpy(before), to_numpy(after), equal_nan=True)
            )
            require(same, f"{function.__name__} changes its input in place: work on a copy")
    require(value is not None, f"{function.__name__} returns None: is its last line a return?")
    return value


def to_numpy(value: Any) -> np.ndarray:
    """Numbers, lists, arrays and tensors as one numpy array."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    return np.asarray(value)


def shaped(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """The value as an array of that shape, or WrongAnswer with both shapes."""
    array = to_numpy(value)
    require(array.shape == shape, f"{name} has shape {list(array.shape)}; {list(shape)} is needed")
    return array


def near(value: Any, truth: Any, message: str, tolerance: float = 1e-5) -> None:
    """Raise WrongAnswer unless the value is the truth up to `tolerance`, relative and absolute."""
    value, truth = to_numpy(value).astype(np.float64), to_numpy(truth).astype(np.float64)
    require(np.isfinite(value).all() or not np.isfinite(truth).all(), f"{message} (NaN or infinity came out)")
    if not np.allclose(value, truth, rtol=tolerance, atol=tolerance):
        found, wanted = value, np.broadcast_to(truth, value.shape)
        worst = np.unravel_index(np.argmax(np.nan_to_num(np.abs(found - wanted), nan=np.inf)), found.shape)
        raise WrongAnswer(f"{message} (yours {found[worst]:.5g}, expected {wanted[worst]:.5g})")


def approve(name: str, *properties: str) -> None:
    """Print that all properties hold."""
    print(f"\N{CHECK MARK} {name}: {'; '.join(properties)}")
