"""The threads in which a pipeline's stages run: each computes on one core, and torch's number of threads stays as it is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from iasa.device import use_one_core

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
