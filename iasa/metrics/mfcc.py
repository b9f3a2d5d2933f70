"""Cepstra of speech as SyncNet's published weights expect them (mel-frequency cepstral coefficients, Davis and Mermelstein
1980, with the constants of the python_speech_features package)."""

from __future__ import annotations

import numpy as np
from scipy.fft import dct

from iasa.config import AUDIO_RATE

WINDOW, HOP, TRANSFORM = 400, 160, 512  # samples: 25 ms every 10 ms
BANDS, COEFFICIENTS = 26, 13
EMPHASIS, LIFTER = 0.97, 22
TINY = np.finfo(np.float64).eps


def make_cepstra(audio: np.ndarray) -> np.ndarray:  # float [n] in -1..1, mono at 16 kHz -> float32 [13, columns]
    """One column every 10 ms; the first coefficient is the logarithm of the energy, at the scale of 16-bit samples."""
    samples = np.round(np.asarray(audio, np.float64) * 32768)
    samples = np.append(samples[:1], samples[1:] - EMPHASIS * samples[:-1])
    columns = 1 + max(0, -(-(len(samples) - WINDOW) // HOP))
    samples = np.append(samples, np.zeros((columns - 1) * HOP + WINDOW - len(samples)))
    frames = samples[np.arange(columns)[:, None] * HOP + np.arange(WINDOW)]
    power = np.abs(np.fft.rfft(frames, TRANSFORM)) ** 2 / TRANSFORM  # [columns, 257]
    bands = np.log(np.maximum(power @ mel_bands().T, TINY))
    cepstra = np.asarray(dct(bands, type=2, axis=1, norm="ortho"))[:, :COEFFICIENTS]
    cepstra *= 1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER)
    cepstra[:, 0] = np.log(np.maximum(power.sum(1), TINY))
    return cepstra.T.astype(np.float32)


def mel_bands() -> np.ndarray:
    """Triangles over the bins of the transform, evenly spaced in mel up to 8 kHz: [26, 257]."""
    top = 2595 * np.log10(1 + AUDIO_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    edges = np.floor((TRANSFORM + 1) * hertz / AUDIO_RATE)
    bins = np.arange(TRANSFORM // 2 + 1)
    low, middle, high = (edges[i : i + BANDS, None] for i in range(3))
    rising, falling = (bins - low) / np.maximum(middle - low, 1), (high - bins) / np.maximum(high - middle, 1)
    return np.where(bins < middle, rising, falling).clip(0, 1) * ((bins >= low) & (bins < high))
