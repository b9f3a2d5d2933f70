"""Loudness, pitch, voicing and accents of speech, safe for silence, noise and music."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.signal import find_peaks

from iasa.config import AUDIO_RATE, VIDEO_FPS
from iasa.speech import spectra
from iasa.speech.spectra import HOP, HOP_RATE

WINDOW = 4 * HOP
RANGE_DB = 35.0  # from the loudest speech (95th percentile) down to "silent"
GATE_DB = 25.0  # below the loudest speech: taken as a pause
SILENCE_DB = -60.0  # a clip whose loudest part is below this has no speech
SHORTEST = 0.3  # seconds: speech that lasts no longer still sets the level, however long the silence around it
SOFTER_DB = 6.0  # than its loudest 0.3 s speech may be by the 95th percentile
LIFT_DB, VOICED_LIFT_DB = (
    10.0,
    5.0,
)  # above the room's noise, which is steady: softer sound is noise, unless it is clearly voiced
FLOOR = 5  # percentile of the loudness that is the room's noise
REACH = 0.15  # seconds around voiced or loud sound that belong to speech
PITCH_LOW, PITCH_HIGH = 70.0, 400.0  # hertz
ACCENT_SPACING = 0.5  # seconds between accents at least
ACCENT_SCORE = 0.4


@dataclass(frozen=True)
class Prosody:
    """Contours at `HOP_RATE` hertz (length m) and the accents found in them."""

    loudness: np.ndarray  # [m] decibels re full scale
    energy: np.ndarray  # [m] 0..1
    pitch: np.ndarray  # [m] octaves from the clip's median, 0 where there is no voice
    voiced: np.ndarray  # [m] 0..1
    speaking: np.ndarray  # bool [m]
    onset: np.ndarray  # [m] onset strength, 0..1
    accents: list[tuple[float, float]]  # (seconds, strength 0..3)

    def at_frames(self, values: np.ndarray, frames: int, fps: float = VIDEO_FPS) -> np.ndarray:
        """`values` [m] averaged over each video frame -> float32 [frames]."""
        times = (np.arange(frames) + 0.5) / fps * HOP_RATE - 0.5
        smooth = gaussian_filter1d(values.astype(np.float64), HOP_RATE / fps / 2.5)
        return np.interp(times, np.arange(len(values)), smooth).astype(np.float32)


def _periodicity(audio: np.ndarray, period: np.ndarray) -> np.ndarray:
    """How well each hop repeats after its pitch period: 1 for a steady voice, near 0 for noise."""
    span = np.arange(int(AUDIO_RATE / PITCH_LOW))
    padded = np.pad(audio, (len(span) // 2, 3 * len(span)))
    out = np.zeros(len(period))
    for first in range(0, len(period), 2000):
        start = np.arange(first, min(first + 2000, len(period)))[:, None] * HOP
        a = padded[start + span]  # [hops, samples]
        b = padded[start + span + period[first : first + 2000, None]]
        out[first : first + 2000] = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1) + 1e-9)
    return np.clip(out, 0, 1)


def _pitch(audio: np.ndarray, speaking: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Octaves from the median and voicing, both [m]."""
    f0 = np.clip(spectra.pitch(audio, PITCH_LOW, PITCH_HIGH), PITCH_LOW, PITCH_HIGH)
    period = np.round(AUDIO_RATE / f0).astype(int)
    voice = np.clip((_periodicity(audio, period) - 0.5) / 0.3, 0, 1) * speaking
    sure = voice > 0.5
    if not sure.any():
        return np.zeros(len(speaking)), voice
    octaves = np.log2(f0)
    octaves -= np.median(octaves[sure])
    index = np.arange(len(octaves))
    held = np.interp(index, index[sure], np.clip(octaves[sure], -0.8, 0.8))  # carried through consonants
    fade = gaussian_filter1d(speaking.astype(float), 5)
    return gaussian_filter1d(held, 4) * fade, voice


def _onset(audio: np.ndarray) -> np.ndarray:
    flux = gaussian_filter1d(spectra.spectral_flux(spectra.mel_bands(audio, WINDOW, 40, 200, 4000)), 3)
    return np.clip(flux / (np.percentile(flux, 99) + 1e-6), 0, 1)


def _standard(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return (values - values[where].mean()) / (values[where].std() + 1e-3)


def prominence(
    loudness: np.ndarray,  # [m] decibels
    pitch: np.ndarray,  # [m] octaves
    onset: np.ndarray,  # [m]
    speaking: np.ndarray,  # bool [m], somewhere true
) -> np.ndarray:
    """How far each hop stands out by loudness, pitch and onset taken together: [m], -3 in pauses."""
    score = (
        0.8 * _standard(gaussian_filter1d(loudness, 4), speaking)
        + 0.8 * _standard(pitch, speaking)
        + 0.5 * _standard(onset, speaking)
    )
    return np.where(speaking, score, -3.0)


def find_accents(
    loudness: np.ndarray,  # [m] decibels
    pitch: np.ndarray,  # [m] octaves
    onset: np.ndarray,  # [m]
    speaking: np.ndarray,  # bool [m]
) -> list[tuple[float, float]]:
    """Stressed syllables as (seconds, strength 0..3): the peaks of their `prominence`."""
    if speaking.sum() < 5:
        return []
    score = prominence(loudness, pitch, onset, speaking)
    peaks, found = find_peaks(np.r_[-3.0, score, -3.0], height=ACCENT_SCORE, distance=int(ACCENT_SPACING * HOP_RATE))
    heights = np.clip(found["peak_heights"], 0, 3)
    return [((p - 0.5) / HOP_RATE, float(h)) for p, h in zip(peaks, heights, strict=True)]


def _speech_level(loudness: np.ndarray) -> float:
    """Decibels of the loud parts of speech: the 95th percentile, or a short word's own in a long silence."""
    loudest = np.sort(loudness)[-min(len(loudness), int(SHORTEST * HOP_RATE)) :]
    return max(np.percentile(loudness, 95), loudest[0] - SOFTER_DB)


def _near_speech(loudness: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """bool [m]: near sound that is voiced, or well above the noise of the room. Steady noise is neither."""
    floor = np.percentile(loudness, FLOOR)
    lift = np.where(voiced > 0.5, VOICED_LIFT_DB, LIFT_DB)
    return maximum_filter1d((voiced >= 1) | (loudness > floor + lift), _odd(2 * REACH))


def _odd(seconds: float) -> int:
    """An odd number of hops."""
    return int(seconds * HOP_RATE) // 2 * 2 + 1


def make_prosody(audio: np.ndarray) -> Prosody:
    """Prosody of mono sound float32 [n] at 16 kHz; silence gives zeros and no accents, never NaN."""
    if len(audio) < 2 * WINDOW:
        audio = np.pad(audio, (0, 2 * WINDOW - len(audio)))
    loudness = spectra.loudness(audio, WINDOW)
    top = _speech_level(loudness)
    if top < SILENCE_DB:  # the only absolute level: a quiet recording is read like a loud one
        zero = np.zeros(len(loudness))
        return Prosody(loudness, zero, zero, zero, zero > 0, zero, [])
    scale = np.abs(audio).max() + 1e-9
    audible = loudness > top - GATE_DB
    pitch, voiced = _pitch(audio / scale, audible)
    speaking = audible & _near_speech(loudness, voiced)
    if not speaking.any():
        zero = np.zeros(len(loudness))
        return Prosody(loudness, zero, zero, zero, speaking, zero, [])
    near = maximum_filter1d(speaking.astype(float), _odd(2 * REACH))
    pitch, voiced = pitch * near, voiced * speaking
    energy = np.clip((loudness - top + RANGE_DB) / RANGE_DB, 0, 1) * near
    onset = _onset(audio / scale)
    accents = find_accents(np.maximum(loudness, top - GATE_DB - 5), pitch, onset, speaking)
    return Prosody(loudness, energy, pitch, voiced, speaking, onset, accents)
