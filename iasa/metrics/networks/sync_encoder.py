"""The sync encoder: does this mouth go with this sound? Two small networks into one space, after SyncNet's idea (Chung and
Zisserman 2016) but on keypoints of the mouth and trained here: its figures are not Sync-C and Sync-D.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from iasa.keypoints import MOUTH, Keypoints, mouth_shape
from iasa.models.network import Network
from iasa.speech.lip_network import BANDS, make_bands

SPAN = 15  # video frames of a window, 0.6 s
HOPS = 4  # hops of sound in a video frame
LONGEST = 15  # frames, the longest shift that is tried


def make_sound(audio: np.ndarray, frames: int) -> np.ndarray:
    """Bands of mono sound at 16 kHz by video frame: float32 [f, 4 * 32]."""
    bands = make_bands(audio)
    hops = np.arange(frames)[:, None] * HOPS + np.arange(HOPS)
    return bands[np.clip(hops, 0, len(bands) - 1)].reshape(frames, HOPS * BANDS)


def make_mouth(keypoints: Keypoints) -> np.ndarray:
    """Lips by video frame: float32 [f, 20 * 2]."""
    return mouth_shape(keypoints).reshape(len(keypoints), -1)


class SyncEncoder(Network):
    """Windows of 15 frames -> unit vectors; those of a mouth and its sound point the same way."""

    adam_parameters = ("sound.0.", "mouth.0.")

    @register_to_config
    def __init__(self, width: int = 96, features: int = 64) -> None:
        super().__init__()
        self.sound = _branch(HOPS * BANDS, width, features)
        self.mouth = _branch(2 * len(MOUTH), width, features)

    def embed_sound(self, windows: Tensor) -> Tensor:  # [m, SPAN, 128] -> [m, features]
        return F.normalize(self.sound(windows.transpose(1, 2)), dim=-1)

    def embed_mouth(self, windows: Tensor) -> Tensor:  # [m, SPAN, 40] -> [m, features]
        """Only the lips' movement counts: a window's mean shape and the size of its movement are taken out."""
        moved = windows - windows.mean(1, keepdim=True)
        moved = moved / moved.square().mean((1, 2), keepdim=True).sqrt().clamp_min(0.01)
        return F.normalize(self.mouth(moved.transpose(1, 2)), dim=-1)

    @torch.no_grad()
    def curve(self, sound: np.ndarray, mouth: np.ndarray) -> np.ndarray:
        """Mean likeness at shifts -15..15 frames (positive: the lips are late): float [31].

        sound [f, 128] of `make_sound`, mouth [f, 40] of `make_mouth`. Raises ValueError under 45 frames.
        """
        frames = min(len(sound), len(mouth))
        starts = np.arange(LONGEST, frames - SPAN - LONGEST + 1)
        if not len(starts):
            raise ValueError(f"{frames} frames are too few for the sync score; {SPAN + 2 * LONGEST} are needed")
        heard = self.embed_sound(_windows(sound, starts))
        lips = self.embed_mouth(_windows(mouth, np.arange(frames - SPAN + 1)))  # [f - SPAN + 1, features]
        shifts = range(-LONGEST, LONGEST + 1)
        return np.array([float((heard * lips[starts + shift]).sum(-1).mean()) for shift in shifts])


def _branch(channels: int, width: int, features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels, width, 3, 1, 1), nn.SiLU(),
        nn.Conv1d(width, width, 3, 2, 1), nn.SiLU(),  # 8 places
        nn.Conv1d(width, width, 3, 2, 1), nn.SiLU(),  # 4 places
        nn.Flatten(), nn.Linear(4 * width, features),
    )  # fmt: skip


def _windows(x: np.ndarray, starts: np.ndarray) -> Tensor:  # [f, c] -> [m, SPAN, c]
    return torch.from_numpy(x[starts[:, None] + np.arange(SPAN)])
