"""Which device and number type to compute with, found by looking at the machine."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import platform
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")


def pick_device() -> torch.device:
    """A GPU if torch sees one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def pick_dtype(device: str | None = None) -> torch.dtype:
    """bfloat16 where it is faster than float32, else float32.

    GPUs are asked, processors are measured: that Linux shows the flag avx512_bf16 says that the products exist, not that
    they are fast (on Intel's Xeons without AMX they take twice as long as float32, on AMD's a quarter).
    """
    kind = torch.device(device).type if device else pick_device().type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if CPUINFO.exists() and not {"avx512_bf16", "amx_bf16"} & set(CPUINFO.read_text().split()):
        return torch.float32
    seconds = _matmul_seconds((torch.float32, torch.bfloat16))
    return torch.bfloat16 if seconds[torch.bfloat16] < 0.8 * seconds[torch.float32] else torch.float32


def describe_machine() -> dict[str, str | int]:
    """What a table of measured figures has to say about where they come from: device, threads, versions, date."""
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        device = names[0] if names else platform.processor() or platform.machine()
    installed = {dist.name for dist in importlib.metadata.distributions()}
    versions = {name: importlib.metadata.version(name) for name in ("torch", "triton") if name in installed}
    return {
        "date": date.today().isoformat(),
        "device": device,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **versions,
    }


def release_memory() -> None:
    """Hand freed memory back to the system, where the C library can (glibc).

    Threads that pass pictures to one another leave holes between what they still use: without this the memory of a long
    video grows on, although nothing is kept.
    """
    trim = _find_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _find_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        return None


def _matmul_seconds(dtypes: Sequence[torch.dtype], size: int = 384, repeats: int = 15) -> dict[torch.dtype, float]:
    """Seconds of this thread for one product, by number type.

    The types take turns and the fastest turn counts: other work on the machine then meets all of them.
    """
    pairs = {dtype: torch.ones(size, size, dtype=dtype) for dtype in dtypes}
    best = dict.fromkeys(dtypes, float("inf"))
    for _ in range(repeats):
        for dtype, a in pairs.items():
            start = time.thread_time()
            a @ a
            best[dtype] = min(best[dtype], time.thread_time() - start)
    return best
