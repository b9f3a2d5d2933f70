"""Speech features while the sound is still coming: the signal path of `analyse`, in overlapping windows.

Words cannot be recognized before they are spoken, so lips come from sound alone (`iasa.speech.lip_network`), as with
`analyse(method="signal")`. A frame is final `LOOK_AHEAD` frames after it was heard. Levels need a longer memory than a
window: the loudest second of the last minute is put before each window, or noise in a long pause would pass for speech.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from iasa.config import AUDIO_RATE, VIDEO_FPS, InputError
from iasa.speech.features import CONTOURS, SpeechFeatures, analyse
from iasa.speech.prosody import ACCENT_SPACING

BLOCK = 6  # frames that become final together
LOOK_AHEAD = 5  # frames heard before a frame is final: the lips' network looks 0.16 s ahead
WINDOW = 75  # frames of sound that are analysed for each block
MEMORY = 60.0  # seconds for which the loudest second is remembered
FRAME = int(AUDIO_RATE / VIDEO_FPS)  # samples
RATES = (8_000, 192_000)  # hertz


class SpeechStream:
    """Push sound as it comes, get the features of the frames that it makes final; how it is cut changes nothing."""

    def __init__(self) -> None:
        self.frames = 0  # final so far
        self._sound = np.zeros(0, np.float32)  # from frame `_first` on
        self._first = 0
        self._loud, self._loud_at = np.zeros(0, np.float32), 0
        self._last_accent = -1.0  # seconds
        self._rate, self._resampler = AUDIO_RATE, None

    def push(self, sound: np.ndarray, rate: int = AUDIO_RATE) -> SpeechFeatures:
        """Mono sound [n], float of full scale 1 or int16. The rate may change on the way. Raises InputError."""
        sound = self._checked(sound, rate)
        self._sound = np.concatenate([self._sound, self._to_rate(sound, rate)])
        parts = []
        while self._heard >= self.frames + BLOCK + LOOK_AHEAD:
            parts.append(self._finalise(self.frames + BLOCK, self.frames + BLOCK + LOOK_AHEAD))
        return join_features(parts)

    def finish(self) -> SpeechFeatures:
        """The remaining frames, rounded as `analyse` rounds."""
        if self._resampler is not None:
            self._sound = np.concatenate(
                [self._sound, self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)]
            )
        end = round((self._first * FRAME + len(self._sound)) / AUDIO_RATE * VIDEO_FPS)
        missing = (end - self._first) * FRAME - len(self._sound)
        self._sound = np.pad(self._sound, (0, max(0, missing)))
        parts = []
        while self.frames < end:
            parts.append(self._finalise(min(self.frames + BLOCK, end), end))
        return join_features(parts)

    @property
    def _heard(self) -> int:
        return self._first + len(self._sound) // FRAME

    def _checked(self, sound: np.ndarray, rate: int) -> np.ndarray:
        sound = np.asarray(sound)
        if sound.ndim != 1:
            raise InputError("the sound has shape {shape}; one channel [samples] is needed", shape=list(sound.shape))
        if not RATES[0] <= rate <= RATES[1]:
            raise InputError(
                "the sound has {rate} samples a second; {low} to {high} are accepted",
                rate=rate,
                low=RATES[0],
                high=RATES[1],
            )
        sound = sound.astype(np.float32) / (32768 if sound.dtype == np.int16 else 1)
        if not np.isfinite(sound).all():
            raise InputError("the sound holds values that are not numbers")
        return sound

    def _to_rate(self, sound: np.ndarray, rate: int) -> np.ndarray:
        if rate != self._rate:
            before = (
                [] if self._resampler is None else [self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)]
            )
            self._rate, self._resampler = rate, None
            if rate != AUDIO_RATE:
                import soxr

                self._resampler = soxr.ResampleStream(rate, AUDIO_RATE, 1, dtype="float32")
            return np.concatenate([*before, self._to_rate(sound, rate)])
        return sound if self._resampler is None else self._resampler.resample_chunk(sound)

    def _finalise(self, end: int, heard: int) -> SpeechFeatures:
        """Features of frames `frames`..`end`, from the sound up to frame `heard`."""
        start = max(self._first, heard - WINDOW)
        window = self._sound[(start - self._first) * FRAME : (heard - self._first) * FRAME]
        self._remember_loud(window, heard)
        before = len(self._loud) // FRAME
        features = analyse(np.concatenate([self._loud, window]), method="signal")
        found = features[before + self.frames - start : before + end - start]
        found, self._last_accent = space_accents(found, self.frames, self._last_accent)
        self.frames = end
        drop = max(0, heard - WINDOW - self._first)
        self._sound, self._first = self._sound[drop * FRAME :], self._first + drop
        return found

    def _remember_loud(self, window: np.ndarray, heard: int) -> None:
        second = window[-AUDIO_RATE:]
        old = heard - self._loud_at > MEMORY * VIDEO_FPS
        if len(second) == AUDIO_RATE and (
            old or not len(self._loud) or np.square(second).sum() > np.square(self._loud).sum()
        ):
            self._loud, self._loud_at = second.copy(), heard


def space_accents(features: SpeechFeatures, first: int, last: float) -> tuple[SpeechFeatures, float]:
    """Features that begin at frame `first`, without accents too soon after the one at `last` seconds; and the last now."""
    accents = []
    for when, strength in features.accents:
        if first / VIDEO_FPS + when >= last + ACCENT_SPACING:
            accents.append((when, strength))
            last = first / VIDEO_FPS + when
    return replace(features, accents=accents), last


def join_features(parts: list[SpeechFeatures]) -> SpeechFeatures:
    """One stretch of features after another; no frames for no parts."""
    if not parts:
        empty = {name: np.zeros((0, 5) if name == "visemes" else 0, np.float32) for name in CONTOURS}
        return SpeechFeatures(fps=VIDEO_FPS, phones=[], accents=[], source="signal", **empty)
    starts = np.cumsum([0, *(part.seconds for part in parts)])
    return SpeechFeatures(
        fps=parts[0].fps,
        phones=[(n, a + t, b + t) for part, t in zip(parts, starts, strict=False) for n, a, b in part.phones],
        accents=[(a + t, s) for part, t in zip(parts, starts, strict=False) for a, s in part.accents],
        source=parts[0].source,
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in CONTOURS},
    )
