"""IASA: co-speech video by input-aware sparse attention (arXiv 2510.02617), an open implementation.

What most need is offered here, and loaded when it is first asked for: `import iasa` itself is quick.
"""

from __future__ import annotations

import importlib

__version__ = "0.2.0"

_HOME = {
    "AttentionPlan": "iasa.masks",
    "CoSpeechPipeline": "iasa.pipeline",
    "Keypoints": "iasa.keypoints",
    "LiveSpeaker": "iasa.session",
    "MaskOptions": "iasa.config",
    "TokenGrid": "iasa.grid",
    "draw_plan": "iasa.masks.plot",
    "load_keypoints": "iasa.keypoints",
    "load_speaker": "iasa.avatar.speaker",
    "make_plan": "iasa.masks",
    "read_audio": "iasa.speech",
    "sparse_attention": "iasa.attention.dispatch",
}
__all__ = [*_HOME]  # pyright: ignore[reportUnsupportedDunderAll]  (lazy: a checker knows none of them)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'iasa' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
