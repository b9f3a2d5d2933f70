"""Which device and number type to compute with, found by looking at the machine."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import time
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

    GPUs are asked. A processor's flags are read where Linux shows them; elsewhere a short measurement decides, which a
    busy machine can mislead.
    """
    kind = torch.device(device).type if device else pick_device().type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if CPUINFO.exists():
        return torch.bfloat16 if {"avx512_bf16", "amx_bf16"} & set(CPUINFO.read_text().split()) else torch.float32
    seconds = {dtype: _matmul_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
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


def _matmul_seconds(dtype: torch.dtype, size: int = 384, repeats: int = 5) -> float:
    a = torch.ones(size, size, dtype=dtype)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return best
