"""The threads in which a pipeline's stages run: each computes on one core, and torch's number of threads stays as it is."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

Result = TypeVar("Result")

MOST_THREADS = 4096  # a stage that waits for another keeps its thread, so that too few of them would lock all up


class StageExecutor:
    """Threads that are made as they are needed and used again, by all generations of a pipeline.

    They end with the executor, or with the interpreter. A process forked from this one gets threads of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, call: Callable[..., Result], *arguments: object) -> Future[Result]:
        """Begin `call(*arguments)` in a thread."""
        with self._lock:
            if self._pool is None or self._owner != os.getpid():  # or those of the process it was forked from
                self._owner = os.getpid()
                self._pool = ThreadPoolExecutor(MOST_THREADS, "stage", initializer=use_one_core)
            return self._pool.submit(call, *arguments)


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
