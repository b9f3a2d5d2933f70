"""Mouth shapes from sound alone, in any language: a small network, learned by iasa.training.train_lips."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from iasa.config import VIDEO_FPS
from iasa.paths import LIP_NETWORK
from iasa.speech.spectra import HOP_RATE, mel_bands

BANDS = 32
CONTEXT = (-16, -11, -7, -4, -2, 0, 2, 4, 7, 11, 16)  # hops of 10 ms around a frame's middle
LOUD = 3.0  # of the natural logarithm: hops this near to the loudest ones make up the average spectrum


def make_bands(audio: np.ndarray) -> np.ndarray:
    """Log mel bands [m, 32] at 100 hertz, less the clip's average loud spectrum (the microphone's)."""
    audio = np.pad(audio, (0, max(0, 1024 - len(audio))))
    audio = audio / (np.abs(audio).max() + 1e-6)
    bands = np.log(mel_bands(audio, 512, BANDS, 60, 7600) + 1e-4)
    level = bands.mean(1)
    loud = level > np.percentile(level, 95) - LOUD
    return ((bands - bands[loud].mean(0)) / 2.0).astype(np.float32)


def make_windows(audio: np.ndarray, frames: int) -> np.ndarray:
    """What the network sees for each video frame: float32 [f, 11 * 32]."""
    bands = make_bands(audio)
    middle = (np.arange(frames) + 0.5) * (HOP_RATE / VIDEO_FPS) - 0.5
    hops = np.round(middle[:, None] + np.array(CONTEXT)).astype(int)  # [f, 11]
    return bands[np.clip(hops, 0, len(bands) - 1)].reshape(frames, -1)


@lru_cache(maxsize=1)
def _layers() -> list[tuple[np.ndarray, np.ndarray]]:
    with np.load(LIP_NETWORK, allow_pickle=False) as z:
        count = len(z.files) // 2
        return [(z[f"weight{i}"].astype(np.float32), z[f"bias{i}"].astype(np.float32)) for i in range(count)]


def guess_visemes(audio: np.ndarray, frames: int) -> np.ndarray:
    """Mouth channels float32 [f, 5] guessed from mono sound [n] at 16 kHz in any language."""
    x = make_windows(audio, frames)
    layers = _layers()
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight.T + bias
        if i + 1 < len(layers):
            x = np.maximum(x, 0)
    low, high = np.array([0, -1, 0, 0, 0], np.float32), np.ones(5, np.float32)
    return np.clip(x, low, high)
