"""Lent GPUs of a ZeroGPU Space: `gpu` marks what needs one; elsewhere it marks nothing. Imported before torch."""

from __future__ import annotations

import os

try:
    import spaces
except ModuleNotFoundError:  # only a ZeroGPU Space has it
    spaces = None

GPU_SECONDS = 60  # of one call
LENT = bool(os.environ.get("SPACES_ZERO_GPU"))  # every call is then a process of its own
gpu = spaces.GPU(duration=GPU_SECONDS) if spaces else (lambda function: function)
