"""Which device and number type to compute with, found by looking at the machine."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from iasa import __version__
from iasa.config import DEVICES, PRECISIONS, InputError
from iasa.paths import CHECKOUT

CPUINFO = Path("/proc/cpuinfo")
BYTES = {"avx2", "avx_vnni", "avx512_vnni"}  # flags of x86 processors whose vector units multiply bytes
GAIN = 0.9  # another number type is taken where it needs less than this share of the time; none known lies close to it
ROWS, INNER, OUTER = 256, 320, 960  # of the linear layer that is measured
PLANE, KERNEL = (1, 96, 16, 16), (96, 96, 3, 3)  # of the convolution
CALM, MOST_TURNS = 25, 200  # in which number types are measured: 0.1 s on an idle machine
FASTER = 0.97  # of a time: no more is said to be the same


def pick_device(asked: str = "auto") -> torch.device:
    """One of DEVICES by its name; for "auto" a GPU if torch sees one, else the processor.

    Raises InputError for another name, and for cuda where there is none.
    """
    if asked not in DEVICES:
        raise InputError(f"the device is {asked!r}; accepted: {', '.join(DEVICES)}")
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise InputError("the device is cuda, and torch sees no GPU here; cpu is accepted, or auto")
    return torch.device("cuda" if there and asked != "cpu" else "cpu")


def upload(x: Tensor, device: torch.device) -> Tensor:
    """x on a device: from the processor to a GPU through pinned memory, so that nobody waits for what that computes."""
    if device.type == "cuda" and x.device.type == "cpu":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


@functools.lru_cache(maxsize=256)
def constant(values: tuple, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A table of numbers on a device, sent there once: sending one waits for a GPU each time. To be read only."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=dtype)


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what this thread has asked of it. A processor has, always.

    The stream is waited for and not the device, which may not be while another thread records a graph.
    """
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


@dataclass(frozen=True)
class Precision:
    """Numbers of a run: the type of weights and sums, and whether layers multiply in 8 bits (on a processor)."""

    dtype: torch.dtype
    int8: bool = False

    def __str__(self) -> str:
        """As metadata and reports name it: "bfloat16", or "int8, bfloat16"."""
        name = str(self.dtype).removeprefix("torch.")
        return f"int8, {name}" if self.int8 else name


def pick_precision(
    asked: str | torch.dtype | Precision | None = None, device: torch.device | str | None = None
) -> Precision:
    """What is asked for, by a name of PRECISIONS or as it is; for None what the environment's IASA_DTYPE names.

    "auto", where nothing is named, is what this machine computes fastest with; "int8" takes the faster of the other two for
    what is not multiplied in 8 bits. Raises InputError for another name, and for int8 where it cannot be had.
    """
    kind = torch.device(device).type if device else pick_device().type
    if isinstance(asked, Precision):
        return asked
    if isinstance(asked, torch.dtype):
        return Precision(asked)
    name = asked or os.environ.get("IASA_DTYPE") or "auto"
    if name not in PRECISIONS:
        raise InputError(f"the number type is {name!r}; accepted: {', '.join(PRECISIONS)}")
    if name == "auto":
        return _fastest(kind)
    if name != "int8":
        return Precision(getattr(torch, name))
    if kind != "cpu" or not _has_int8():
        raise InputError("int8 needs a processor whose vector units multiply bytes (AVX2); take another number type")
    return Precision(_fastest(kind).dtype, True)


def is_bf16_faster() -> bool:
    """Whether this processor computes faster in bfloat16 than in float32."""
    return _fastest("cpu").dtype == torch.bfloat16


@functools.cache
def _fastest(kind: str) -> Precision:
    """A GPU is asked, a processor is measured, once.

    That Linux shows the flag avx512_bf16 says that the products exist, not that they are fast: on Intel's Xeons without
    AMX they take twice as long as float32, on AMD's a quarter.
    """
    if kind != "cpu":
        supported = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return Precision(torch.bfloat16 if supported else torch.float32)
    ways = ["float32", *["bfloat16"] * _has_bf16(), *["int8"] * _has_int8()]
    if len(ways) == 1:
        return Precision(torch.float32)
    seconds = _layer_seconds(ways)
    dtype = "bfloat16" if seconds.get("bfloat16", math.inf) < GAIN * seconds["float32"] else "float32"
    return Precision(getattr(torch, dtype), seconds.get("int8", math.inf) < GAIN * seconds[dtype])


def _has_bf16() -> bool:
    return not CPUINFO.exists() or bool({"avx512_bf16", "amx_bf16"} & set(CPUINFO.read_text().split()))


def _has_int8() -> bool:
    there = CPUINFO.exists() and bool(BYTES & set(CPUINFO.read_text().split()))
    return there and hasattr(torch.ops.onednn, "qlinear_pointwise")


def _layer_seconds(ways: Sequence[str], calm: int = CALM) -> dict[str, float]:
    """Seconds of a thread for a linear layer and a convolution, by number type: on one core, as stages compute.

    Threads that share a layer wait for one another at work, which on a busy machine takes longer than the layer. The
    types take turns and the fastest turn counts: other work on the machine then meets all of them. It ends when `calm`
    turns in a row have found nothing faster.
    """
    runs = {way: _int8_layers() if way == "int8" else _plain_layers(getattr(torch, way)) for way in ways}
    with ThreadPoolExecutor(1, initializer=use_one_core) as alone:
        return alone.submit(_take_turns, runs, calm).result()


@torch.inference_mode()
def _take_turns(runs: Mapping[str, Callable[[], object]], calm: int) -> dict[str, float]:
    best, since = dict.fromkeys(runs, math.inf), 0
    for _ in range(MOST_TURNS):
        since += 1
        for way, run in runs.items():
            start = time.thread_time()
            run()
            spent = time.thread_time() - start
            if spent < FASTER * best[way]:
                since = 0
            best[way] = min(best[way], spent)
        if since >= calm:
            break
    return best


def _plain_layers(dtype: torch.dtype) -> Callable[[], object]:
    """One layer as in the transformer and one as in the codec."""
    x, weight = torch.ones(ROWS, INNER, dtype=dtype), torch.full((OUTER, INNER), 0.1, dtype=dtype)
    plane, kernel = (
        torch.full(shape, 0.1, dtype=dtype).to(memory_format=torch.channels_last) for shape in (PLANE, KERNEL)
    )
    return lambda: (torch.nn.functional.linear(x, weight), torch.nn.functional.conv2d(plane, kernel, padding=1))


def _int8_layers() -> Callable[[], object]:
    """The same as `iasa.inference.int8` computes them, the rounding of what comes in counted."""
    quantised, how, end = torch.ops.onednn, [[1, 1], [1, 1], [1, 1], 1], (1.0, 0, torch.float32, "none", [], "")
    x, plane = torch.ones(ROWS, INNER), torch.ones(PLANE).to(memory_format=torch.channels_last)
    scales, zeros, half = torch.full((OUTER,), 0.1), torch.zeros(OUTER, dtype=torch.int32), torch.tensor([0.5])
    of_plane = scales[: KERNEL[0]], zeros[: KERNEL[0]], None
    weight = quantised.qlinear_prepack(torch.ones(OUTER, INNER, dtype=torch.int8), [ROWS, INNER])
    kernel = quantised.qconv_prepack(torch.ones(KERNEL, dtype=torch.int8), of_plane[0], 1.0, 0, *how, list(PLANE))

    def levels(x: Tensor) -> tuple[Tensor, float, int]:
        torch.aminmax(x)
        return torch.add(half, x, alpha=100).to(torch.uint8), 0.01, 0

    return lambda: (
        quantised.qlinear_pointwise(*levels(x), weight, scales, zeros, None, *end),
        quantised.qconv2d_pointwise(*levels(plane), kernel, *of_plane, *how, *end),
    )


def use_one_core() -> None:
    """Let this thread compute alone from now on; what other threads compute with stays as it is.

    `torch.set_num_threads` would not do: it also sets the number of every thread that first computes later. How many
    threads share a sum decides its last digits, so frames would depend on which stage, or which other user of torch,
    began first. OpenMP and MKL, which compute for torch, have calls that speak for one thread alone.
    """
    torch.get_num_threads()  # a thread is given torch's own number when it first asks: before ours
    for set_number in _own_number_calls():
        set_number(1)


@functools.cache
def _own_number_calls() -> tuple[Callable[[int], object], ...]:
    """What sets the calling thread's number, in the libraries that torch is linked with.

    None where torch hides them: stages then compute with torch's number of threads, slower on few cores, but always
    the same.
    """
    libraries = sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"))
    if not libraries:
        return ()
    library = ctypes.CDLL(str(libraries[0]))
    names = ("omp_set_num_threads", "MKL_Set_Num_Threads_Local")
    return tuple(getattr(library, name) for name in names if hasattr(library, name))


def describe_machine(device: torch.device | None = None) -> dict[str, str | int]:
    """What a table of measured figures has to say about where they come from: device, threads, versions, commit, date.

    The device is the one that was measured on, for None what `pick_device` picks.
    """
    device = device or pick_device()
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    installed = {dist.name for dist in importlib.metadata.distributions()}
    versions = {name: importlib.metadata.version(name) for name in ("torch", "triton") if name in installed}
    return {
        "date": date.today().isoformat(),
        "commit": find_commit(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor,
        "processor": processor,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **versions,
    }


def find_commit() -> str:
    """The checkout's commit, with "+" where files differ from it; the version where there is none."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=CHECKOUT, capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return __version__
    inside = (CHECKOUT / ".git").exists()  # and not some other repository around an installed package
    return found.stdout.strip() if inside and not found.returncode else __version__


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
