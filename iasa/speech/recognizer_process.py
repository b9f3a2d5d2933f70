"""The recognizer in a process of its own.

It keeps Python's lock while it searches: in a thread it would hold up the threads that make frames. One process serves
all streams, one stretch of speech after the other; it ends with the process that started it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from functools import cache

import numpy as np

from iasa.config import AUDIO_RATE
from iasa.paths import CHECKOUT
from iasa.speech import recognizer as recognizer
from iasa.speech.visemes import Phone

logger = logging.getLogger(__name__)

START_LIMIT = 30.0  # seconds in which the process answers, however short the sound: it may still be loading
REAL_TIME_LIMIT = 10.0  # and seconds more for each second of sound, of which it needs 0.1 to 0.4 alone on a machine
_LENGTH = struct.Struct("<Q")  # bytes of sound that follow


class RecognizerProcess:
    """Reads phones elsewhere. If that process fails, or hangs, the stretch at hand is given up, and the next starts another."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def start(self) -> None:
        """Begin to load, so that the first stretch need not wait for it."""
        with self._lock:
            self._started()

    def read(self, samples: np.ndarray) -> tuple[list[Phone] | None, float]:
        """`recognizer.read_words` of int16 [n], None if it failed, and the processor seconds that it took."""
        length = len(samples) / AUDIO_RATE
        limit = START_LIMIT + REAL_TIME_LIMIT * length
        with self._lock:
            process, began = self._started(), time.monotonic()
            watchdog = threading.Timer(limit, process.kill)  # then it answers nothing
            watchdog.daemon = True
            watchdog.start()
            assert process.stdin is not None and process.stdout is not None  # see _started
            try:
                process.stdin.write(_LENGTH.pack(samples.nbytes) + samples.tobytes())
                process.stdin.flush()
                phones, seconds = json.loads(process.stdout.readline())
            except (OSError, ValueError) as error:
                late = time.monotonic() - began >= limit
                reason = f"no answer within {limit:.0f} s" if late else error
                logger.warning(
                    "the recognizer failed (%s): the mouth follows the sound alone for %.1f s", reason, length
                )
                self._drop()
                return None, 0.0
            finally:
                watchdog.cancel()
        return [(name, start, end) for name, start, end in phones], seconds

    def close(self) -> None:
        """End the process, unless it belongs to the one that this one was forked from."""
        if self._owner != os.getpid():
            return
        with self._lock:
            self._drop()

    def _started(self) -> subprocess.Popen:
        if self._process is None:
            root = str(CHECKOUT)
            path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
            command = [sys.executable, "-m", "iasa.speech.recognizer_process"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
            )
        return self._process

    def _drop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None and self._process.stdout is not None  # see _started
            self._process.stdout.close()
            try:
                self._process.stdin.close()
            except BrokenPipeError:  # sound that it did not take any more
                pass
            self._process = None


def shared_recognizer() -> RecognizerProcess:
    """The one of this process; a forked one has its own, or both would read answers from the same pipe."""
    return _recognizer_of(os.getpid())


@cache
def _recognizer_of(process: int) -> RecognizerProcess:
    recognizer = RecognizerProcess()
    atexit.register(recognizer.close)
    return recognizer


def main() -> None:
    """Answer stretches of sound on stdin with a line of JSON each, until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the starter decides when it ends
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no answer
    recognizer.prepare()
    with contextlib.suppress(BrokenPipeError):  # whoever asked has been killed
        while length := sys.stdin.buffer.read(_LENGTH.size):
            samples = np.frombuffer(sys.stdin.buffer.read(_LENGTH.unpack(length)[0]), np.int16)
            spent = time.process_time()
            phones = recognizer.read_words(samples)
            answers.write(json.dumps([phones, time.process_time() - spent]).encode() + b"\n")


if __name__ == "__main__":
    main()
