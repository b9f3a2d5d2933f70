"""Short-time measures of sound: loudness, mel bands, their flux, and pitch by YIN, with numpy and scipy alone.

They agree with librosa 0.11's (tests/speech/test_spectra.py), which compiles for half a minute before it first answers.
Hops are centred: hop i lies around sample i * HOP, and the sound goes on as silence beyond its ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import fft
from scipy.signal import get_window

from iasa.config import AUDIO_RATE

HOP_RATE = 100  # hops a second
HOP = AUDIO_RATE // HOP_RATE
AT_ONCE = 2000  # hops, which bounds the memory
RANGE = 80.0  # decibels below the loudest band, under which flux sees nothing
FLUX_DELAY = 7  # hops by which onsets come late: one for the difference, six that the motion models were trained with
TROUGH = 0.1  # YIN's absolute threshold


def hops(audio: np.ndarray, window: int) -> Iterator[np.ndarray]:
    """The windows [hops, window] around every hop of a sound [n], AT_ONCE at a time; 1 + n // HOP in all."""
    padded = np.pad(audio.astype(np.float64), window // 2)
    views = np.lib.stride_tricks.sliding_window_view(padded, window)[::HOP]
    for first in range(0, len(views), AT_ONCE):
        yield views[first : first + AT_ONCE]


def loudness(audio: np.ndarray, window: int) -> np.ndarray:
    """Decibels re full scale [m]."""
    rms = np.concatenate([np.sqrt((part * part).mean(1)) for part in hops(audio, window)])
    return 20 * np.log10(rms + 1e-6)


def mel_bands(audio: np.ndarray, window: int, count: int, low: float, high: float) -> np.ndarray:
    """Power in `count` mel bands between two frequencies in hertz [m, count], by a Hann window."""
    hann, bands = get_window("hann", window), mel_filters(window, count, low, high).T
    return np.concatenate([np.abs(np.asarray(fft.rfft(part * hann))) ** 2 @ bands for part in hops(audio, window)])


def mel_filters(window: int, count: int, low: float, high: float) -> np.ndarray:
    """Triangles of equal area on Slaney's mel scale, linear below 1 kHz and logarithmic above: [count, window // 2 + 1]."""
    first, last = to_mel(np.array([low, high]))
    edges = from_mel(np.linspace(first, last, count + 2))
    frequency = np.arange(window // 2 + 1) * (AUDIO_RATE / window)
    below, centre, above = (edges[i : i + count, None] for i in range(3))
    rising, falling = (frequency - below) / (centre - below), (above - frequency) / (above - centre)
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (above - below))


def to_mel(hertz: np.ndarray) -> np.ndarray:
    return np.where(hertz < 1000, 3 * hertz / 200, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4))


def from_mel(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, 200 * mel / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def spectral_flux(mel: np.ndarray) -> np.ndarray:
    """How much louder the bands [m, count] became, in decibels on average: [m], `FLUX_DELAY` hops late."""
    decibels = 10 * np.log10(np.maximum(mel, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - RANGE)
    rise = np.maximum(0, np.diff(decibels, axis=0)).mean(1)
    return np.pad(rise, (FLUX_DELAY, 0))[: len(mel)]


def pitch(audio: np.ndarray, low: float, high: float, window: int = 1024) -> np.ndarray:
    """Fundamental frequency in hertz [m], between the two given, by YIN (de Cheveigne and Kawahara 2002).

    For a window x[0..w), a lag k and the autocorrelation r(k) = sum_j x[j] x[j + k], that paper's difference by its
    equation 7, with silence beyond the window, and its equation 8:

        d(k) = 2 (r(0) - r(k)) - sum_(j<k) x[j]^2 ;   d'(k) = d(k) / mean(d(1), ..., d(k))

    The first trough of d' below TROUGH counts, without one the lowest point, moved to the vertex of its parabola.
    """
    first, last = int(AUDIO_RATE / high), min(int(np.ceil(AUDIO_RATE / low)), window - 1)
    return np.concatenate([_pitch_of(part, first, last) for part in hops(audio, window)])


def _pitch_of(x: np.ndarray, first: int, last: int) -> np.ndarray:  # [m, window] -> [m]
    window = x.shape[1]
    spectrum = np.asarray(fft.rfft(x, fft.next_fast_len(window + last)))
    same = np.asarray(fft.irfft(np.abs(spectrum) ** 2))[:, : last + 1]  # sum_j x[j] x[j + k]
    energy = np.cumsum(x * x, 1)
    lags = np.arange(1, last + 1)
    d = 2 * (same[:, :1] - same[:, 1:]) - energy[:, lags - 1]
    d = d / (np.cumsum(d, 1) / lags + np.finfo(np.float32).tiny)
    d = d[:, first - 1 :]  # d'(first), ..., d'(last)

    left, right = np.pad(d, ((0, 0), (1, 0)), mode="edge")[:, :-1], np.pad(d, ((0, 0), (0, 1)), mode="edge")[:, 1:]
    trough = (d < left) & (d <= right) & (d < TROUGH)
    trough[:, 0] = (d[:, 0] < d[:, 1]) & (d[:, 0] < TROUGH)
    best = np.where(trough.any(1), trough.argmax(1), d.argmin(1))

    here, before, after = (np.take_along_axis(part, best[:, None], 1)[:, 0] for part in (d, left, right))
    bend, slope = before + after - 2 * here, (after - before) / 2
    inside = (np.abs(slope) < np.abs(bend)) & (best > 0) & (best < d.shape[1] - 1)
    vertex = np.where(inside, -slope / np.where(inside, bend, 1), 0)
    return AUDIO_RATE / (first + best + vertex)
