"""Lent GPUs of a ZeroGPU Space: `gpu` marks what needs one; elsewhere it changes nothing. Imported before torch."""

from __future__ import annotations

import os
from collections.abc import Callable

try:
    import spaces  # pyright: ignore[reportMissingImports]  # nothing else can install it
except ModuleNotFoundError:  # only a ZeroGPU Space has it
    spaces = None

LENT = bool(os.environ.get("SPACES_ZERO_GPU"))  # every call is then a process of its own


def gpu(seconds: int) -> Callable:
    """A decorator: the function may hold a GPU for so many seconds a call. A visitor's quota has to hold that many."""
    return spaces.GPU(duration=seconds) if spaces else lambda function: function
