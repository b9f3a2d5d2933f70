"""A forked process that has to end by itself."""

from __future__ import annotations

import os
import signal
import time


def exit_code(child: int, seconds: float) -> int | None:
    """Of a child, once it ends; None if it does not, and then it is ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
