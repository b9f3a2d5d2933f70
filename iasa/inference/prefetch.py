"""An iterator whose items are made ahead, in the threads of an executor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, closing
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from iasa.inference.stage_threads import StageExecutor

Item = TypeVar("Item")
Given = TypeVar("Given", covariant=True)
_END: Any = object()


class Source(Iterator[Given], Protocol[Given]):
    """An iterator that can be told that nobody asks it any more: a generator, or a Prefetcher."""

    def close(self) -> object: ...


class Prefetcher(Iterator[Item]):
    """The items of `source` in their order, at most `depth` of them made before they are asked for.

    The source is asked for one item after another. With `finish`, what it gives is not an item yet: `finish` makes one
    of it, for several at once where there are cores. It begins at once; whoever takes no items holds no thread. Closing
    it waits for what is under way and closes the source.
    """

    def __init__(
        self, source: Source[Any], depth: int, executor: StageExecutor, finish: Callable[..., Item] | None = None
    ) -> None:
        self._source, self._executor, self._finish = source, executor, finish
        self._ready: SimpleQueue[Future] = SimpleQueue()
        self._lock = threading.Lock()
        self._wanted, self._filling, self._closed = 0, False, False
        self._filler: Future | None = None
        self._want(depth)

    def __next__(self) -> Item:
        if self._closed:
            raise StopIteration
        with ExitStack() as at_end:
            at_end.callback(self.close)  # also when the source fails
            item = self._ready.get().result()
            if item is _END:
                raise StopIteration
            self._want(1)
            at_end.pop_all()
        return item

    def close(self) -> None:
        with self._lock:
            self._closed, self._wanted = True, 0
        wait([self._filler] if self._filler else [])
        while not self._ready.empty():
            made = self._ready.get()
            if not made.cancel():
                wait([made])
        self._source.close()

    def _want(self, count: int) -> None:
        with self._lock:
            self._wanted += count
            if self._filling:
                return
            self._filling = True
            self._filler = self._executor.submit(self._fill)
        self._filler.add_done_callback(self._pass_on_failure)

    def _fill(self) -> None:
        """Ask the source as long as items are wanted."""
        while self._take_order():
            given = next(self._source, _END)
            if self._finish is None or given is _END:
                made: Future = Future()
                made.set_result(given)
            else:
                made = self._executor.submit(self._finish, given)
            self._ready.put(made)

    def _take_order(self) -> bool:
        with self._lock:
            self._filling = self._wanted > 0
            self._wanted -= self._filling
            return self._filling

    def _pass_on_failure(self, filler: Future) -> None:
        """What the source raised waits in its place among the items."""
        if filler.exception():
            self._ready.put(filler)


def in_turn(source: Source[Any], depth: int, finish: Callable[..., Item] | None = None) -> Generator[Item]:
    """What a Prefetcher gives, made only when it is asked for, in the thread of whoever asks; closing closes the source."""
    with closing(source):
        yield from source if finish is None else map(finish, source)
