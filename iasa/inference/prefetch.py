"""An iterator that works ahead in a thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

import torch

Item = TypeVar("Item")
_END = object()
_THREADS = torch.get_num_threads()  # before any stage set its own


class Prefetcher(Iterator[Item]):
    """The items of `source`, made in a thread of its own, at most `depth` of them before they are asked for.

    With one such thread for each stage of a pipeline, the stages share the processor's cores; each computes with one
    thread. It begins at once. Closing it ends the thread and closes the source.
    """

    def __init__(self, source: Iterator[Item], depth: int = 2) -> None:
        self._source = source
        self._worker = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
        self._waiting = deque(self._worker.submit(next, source, _END) for _ in range(depth))

    def __next__(self) -> Item:
        with ExitStack() as at_end:
            at_end.callback(self.close)  # also when the source fails
            item = self._waiting.popleft().result() if self._waiting else _END
            if item is _END:
                raise StopIteration
            self._waiting.append(self._worker.submit(next, self._source, _END))
            at_end.pop_all()
        return item

    def close(self) -> None:
        self._worker.shutdown(cancel_futures=True)
        self._waiting.clear()
        self._source.close()
        torch.set_num_threads(_THREADS)
