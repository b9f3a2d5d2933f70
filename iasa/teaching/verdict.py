"""What a checker says of an answer: the first property that it lacks, or that all of them hold."""

from __future__ import annotations

import copy
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

_RIGHT: set[Callable] = set()  # functions that passed their check


class WrongAnswer(AssertionError):
    """An exercise's answer lacks a property; the message says which one and what to look at."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback through the checker: the sentence alone."""
        return [f"\N{BALLOT X} {self}"]


class NotWritten(NotImplementedError):
    """The exercise's stub is still there."""

    def _render_traceback_(self) -> list[str]:
        return [f"\N{BALLOT X} not written yet: {self}"]


def require(holds: object, message: str) -> None:
    """Raise WrongAnswer with `message` unless `holds`."""
    if not holds:
        raise WrongAnswer(message)


def call(function: Callable, *arguments: Any) -> Any:
    """What `function` answers. Raises NotWritten for a stub, WrongAnswer for None and for any error inside."""
    require(callable(function), f"a function is needed here, not {function!r}: run the cell of the exercise again")
    name = getattr(function, "__name__", "the function")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # a red box beside a right answer would unsettle; a wrong one gets a sentence
            value = function(*arguments)
    except NotImplementedError as error:
        raise NotWritten(str(error)) from None
    except WrongAnswer:
        raise  # from a function that the checker handed over
    except Exception as error:  # a student's code may raise anything: all of it becomes one sentence
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise WrongAnswer(f"{name} stopped{_place(function, error)} with {said}") from error
    require(value is not None, f"{name} returns None: is its last line a return?")
    return value


def _place(function: Callable, error: Exception) -> str:
    """The line of the student's own cell where an error arose."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if not lines:
        return " before its first line (does it take the arguments that the exercise names?)"
    return f" in line {lines[-1].lineno} of its cell" + (f", `{lines[-1].line}`," if lines[-1].line else "")


def ask(function: Callable, *arguments: Any) -> Any:
    """`call` with copies of the arguments. Raises WrongAnswer if it changes one of them."""
    given = copy.deepcopy(arguments)
    value = call(function, *given)
    for before, after in zip(arguments, given, strict=True):
        if isinstance(before, np.ndarray | torch.Tensor):
            same = before.shape == after.shape and bool(
                np.array_equal(to_numpy(before), to_numpy(after), equal_nan=True)
            )
            require(same, f"{function.__name__} changes its input in place: work on a copy")
    return value


def to_numpy(value: Any, name: str = "the answer") -> np.ndarray:
    """Numbers, lists, arrays and tensors as one numpy array. Raises WrongAnswer for what holds no numbers."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError:
        raise WrongAnswer(f"{name} has rows of different lengths; an array of numbers is needed") from None
    require(array.dtype.kind in "biuf", f"{name} is {_described(value)}; an array of numbers is needed")
    return array


def _described(value: Any) -> str:
    text = repr(value)
    return f"a {type(value).__name__}, {text if len(text) <= 40 else text[:37] + '...'}"


def to_tensor(value: Any, name: str) -> torch.Tensor:
    """The value itself, if it is a tensor: what gradients pass through cannot be an array or a number."""
    require(
        isinstance(value, torch.Tensor),
        f"{name} is {_described(value)}; a torch tensor is needed, since a gradient passes through it",
    )
    return value


def pair(value: Any, names: str) -> tuple[Any, Any]:
    """Two things, returned as a tuple or as a list."""
    require(isinstance(value, tuple | list) and len(value) == 2, f"the answer must be two things: {names}")
    return value[0], value[1]


def shaped(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """The value as an array of that shape, or WrongAnswer with both shapes."""
    array = to_numpy(value, name)
    require(array.shape == shape, f"{name} has shape {list(array.shape)}; {list(shape)} is needed")
    return array


def number(value: Any, name: str) -> float:
    """The value as one number, or WrongAnswer."""
    return float(shaped(value, (), name))


def near(value: Any, truth: Any, message: str, tolerance: float = 1e-5) -> None:
    """Raise WrongAnswer unless the value is the truth up to `tolerance`, relative and absolute."""
    value, truth = to_numpy(value).astype(np.float64), to_numpy(truth).astype(np.float64)
    if value.shape != truth.shape and truth.shape:
        raise WrongAnswer(f"{message} (yours has shape {list(value.shape)}, expected {list(truth.shape)})")
    require(np.isfinite(value).all() or not np.isfinite(truth).all(), f"{message} (NaN or infinity came out)")
    if not np.allclose(value, truth, rtol=tolerance, atol=tolerance):
        found, wanted = value, np.broadcast_to(truth, value.shape)
        worst = np.unravel_index(np.argmax(np.nan_to_num(np.abs(found - wanted), nan=np.inf)), found.shape)
        raise WrongAnswer(f"{message} (yours {found[worst]:.5g}, expected {wanted[worst]:.5g})")


def approve(name: str, function: Callable, *properties: str) -> None:
    """Print that all properties hold, and remember that this very function is right."""
    _RIGHT.add(function)
    print(f"\N{CHECK MARK} {name}: {'; '.join(properties)}")


def is_right(function: object) -> bool:
    """Whether this very function passed its check, since the notebook began."""
    return callable(function) and function in _RIGHT
