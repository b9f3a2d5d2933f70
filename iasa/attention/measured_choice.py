"""Which backend is fastest here: measured at the first call of a size, where no rule was fitted to the device.

A rule holds for the device that it was fitted to. On a GPU each candidate runs a few times, forward, on the first tensors of a
size; the fastest serves all later calls of that device, type, heads, tokens and density. Name a backend for results that are
the same from run to run: candidates differ in rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping

import torch
from torch import Tensor

from iasa.config import InputError
from iasa.device import synchronize

WARM_UP, REPEATS = 2, 5  # calls: the first ones compile, and tune
_fastest: dict[Hashable, str] = {}


def fastest(
    key: Hashable,
    candidates: Mapping[str, Callable[[], Tensor]],  # the first one serves where none can be measured
    device: torch.device,
) -> str:
    """The name of the fastest candidate, measured at the first call with this key. One that refuses is left out."""
    if key not in _fastest:
        seconds = {}
        for name, call in candidates.items():
            try:
                seconds[name] = median_seconds(call, device)
            except (InputError, ImportError, torch.OutOfMemoryError):
                continue
        _fastest[key] = min(seconds, key=seconds.__getitem__) if seconds else next(iter(candidates))
    return _fastest[key]


def median_seconds(call: Callable[[], Tensor], device: torch.device) -> float:
    """Of REPEATS calls, after some that do not count."""
    found = []
    with torch.no_grad():
        for number in range(WARM_UP + REPEATS):
            synchronize(device)
            started = time.perf_counter()
            call()
            synchronize(device)
            if number >= WARM_UP:
                found.append(time.perf_counter() - started)
    return sorted(found)[REPEATS // 2]
