"""What a pipeline returns: frames in the form that was asked for, the sound, the poses and the plan."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from iasa.config import AUDIO_RATE, VIDEO_FPS, InputError
from iasa.keypoints import Keypoints
from iasa.masks import AttentionPlan
from iasa.media.sound import Sound

Frames = list[Image.Image] | np.ndarray | Tensor


@dataclass
class CoSpeechOutput(BaseOutput):
    """A finished generation."""

    frames: Frames  # PIL images, float32 [f, H, W, 3] or a tensor [f, 3, H, W], in [0, 1]
    audio: np.ndarray | None  # float32 [n] at 16 kHz
    keypoints: Keypoints  # of the frames
    plan: AttentionPlan  # of the latent frames, the reference first
    settings: dict[str, Any]  # model, steps, seed, number type and the like
    sound: Sound | None = None  # what is heard in the video, as the file of the speech holds it; `audio` for None

    def save(self, path: str | os.PathLike, mark: bool = True) -> None:
        """Write the video with its sound, its settings and, unless told otherwise, the visible AI mark."""
        from iasa.media.writer import VideoWriter

        with VideoWriter(path, VIDEO_FPS, self.sound or self.audio, AUDIO_RATE, self.settings, mark=mark) as writer:
            writer.add_frames(to_levels(self.frames))


def to_levels(frames: Frames) -> np.ndarray:  # uint8 [f, H, W, 3]
    """Frames in any of the forms back in 8 bits."""
    if isinstance(frames, Tensor):
        frames = frames.movedim(1, -1).cpu().numpy()
    if isinstance(frames, np.ndarray):
        return (frames * 255).round().astype(np.uint8)
    return np.stack([np.asarray(frame) for frame in frames])


def to_output_type(name: str) -> Callable[[np.ndarray], Frames]:
    """What turns frames uint8 [f, H, W, 3] into an output type, diffusers' "pil", "np" or "pt". Raises InputError."""
    forms = {
        "pil": lambda frames: [Image.fromarray(frame) for frame in frames],
        "np": lambda frames: frames.astype(np.float32) / 255,
        "pt": lambda frames: torch.from_numpy(frames).movedim(-1, 1).float() / 255,
    }
    if name not in forms:
        raise InputError(f"the output type is {name!r}; accepted: {', '.join(forms)}")
    return forms[name]
