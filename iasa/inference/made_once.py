"""Things that are made once and kept: who asks for one that is under way waits for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


class MadeOnce(Generic[Key, Made]):
    """By keys, the `most` that were asked for last. What could not be made is not kept.

    A process forked from this one has what was made before, and makes anew what was under way.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._kept: dict[Key, tuple[int, Future[Made]]] = {}  # by when it was asked for; the process that makes it

    def get(self, key: Key, make: Callable[[], Made]) -> Made:
        """What `make` gives, of the first call that asked for the key."""
        with self._lock:
            maker, made = self._kept.pop(key, (0, None))
            mine = made is None or not (made.done() or maker == os.getpid())
            if made is None or mine:
                maker, made = os.getpid(), Future()
            self._kept[key] = maker, made
            while len(self._kept) > self.most:
                del self._kept[next(iter(self._kept))]
        if mine:
            try:
                made.set_result(make())
            except BaseException as error:
                made.set_exception(error)
                self.forget(lambda other: other == key)
                raise
        return made.result()

    def forget(self, gone: Callable[[Key], bool]) -> None:
        """Keep nothing of the keys that are `gone`."""
        with self._lock:
            self._kept = {key: kept for key, kept in self._kept.items() if not gone(key)}
