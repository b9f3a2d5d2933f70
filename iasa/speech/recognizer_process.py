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
from functools import lru_cache

import numpy as np

from iasa.config import AUDIO_RATE
from iasa.paths import CHECKOUT
from iasa.speech import recognizer as recognizer
from iasa.speech.visemes import Phone

logger = logging.getLogger(__name__)

_LENGTH = struct.Struct("<Q")  # bytes of sound that follow


class RecognizerProcess:
    """Reads phones elsewhere. If that process fails the stretch at hand has no phones, and the next starts another."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to load, so that the first stretch need not wait for it."""
        with self._lock:
            self._started()

    def read(self, samples: np.ndarray) -> tuple[list[Phone], float]:
        """`recognizer.read_words` of int16 [n], and the processor seconds that it took."""
        with self._lock:
            try:
                process = self._started()
                process.stdin.write(_LENGTH.pack(samples.nbytes) + samples.tobytes())
                process.stdin.flush()
                phones, seconds = json.loads(process.stdout.readline())
            except (OSError, ValueError) as error:
                logger.warning(
                    "the recognizer failed (%s): the mouth follows the sound alone for %.1f s",
                    error, len(samples) / AUDIO_RATE,
                )  # fmt: skip
                self._drop()
                return [], 0.0
        return [(name, start, end) for name, start, end in phones], seconds

    def close(self) -> None:
        """End the process."""
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
            self._process.stdout.close()
            try:
                self._process.stdin.close()
            except BrokenPipeError:  # sound that it did not take any more
                pass
            self._process = None


@lru_cache(maxsize=1)
def shared_recognizer() -> RecognizerProcess:
    """The one of this process."""
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
