"""Speech to features at 25 frames a second: mouth shapes, from phones or from sound alone, and prosody."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from iasa.config import AUDIO_RATE, MAX_AUDIO_SECONDS, VIDEO_FPS, InputError
from iasa.files import display_name, write_npz
from iasa.speech import recognizer as recognizer
from iasa.speech.lip_network import guess_visemes
from iasa.speech.prosody import Prosody, make_prosody
from iasa.speech.visemes import Phone, make_visemes

if TYPE_CHECKING:
    from iasa.media.sound import Sound

MIN_AUDIO_SECONDS = 0.2
SILENT_PEAK = 1e-3  # of full scale, -60 dB
TRUST = 0.75  # weight of recognized phones against the guess from sound, where the two agree
AGREEMENT_SPAN = 2.0  # seconds
TAIL = 2  # frames around loud sound in which the mouth may still move: the ends of phrases are soft
METHODS = ("auto", "words", "phones", "signal")


@dataclass(frozen=True)
class SpeechFeatures:
    """What a speaker's face and hands need to know of the sound, frame by frame."""

    fps: float
    phones: list[Phone]  # ARPAbet name, start and end in seconds; empty when read from sound alone
    visemes: np.ndarray  # float32 [f, 5]: iasa.speech.VISEME_CHANNELS
    energy: np.ndarray  # float32 [f] 0..1, relative to the clip's loud parts
    pitch: np.ndarray  # float32 [f] octaves from the clip's median
    voiced: np.ndarray  # float32 [f] 0..1
    speaking: np.ndarray  # float32 [f] 0..1, 0 in pauses
    onset: np.ndarray  # float32 [f] 0..1
    accents: list[tuple[float, float]]  # seconds, strength 0..3
    source: str  # "given", "recognizer" or "signal"

    @property
    def frames(self) -> int:
        return len(self.energy)

    @property
    def seconds(self) -> float:
        return self.frames / self.fps

    def __getitem__(self, window: slice) -> SpeechFeatures:
        """The features of a run of frames; phones and accents are moved to the new start."""
        first, last, step = window.indices(self.frames)
        if step != 1:
            raise ValueError(f"a window of speech has step 1, not {step}")
        a, b = first / self.fps, last / self.fps
        return replace(
            self,
            phones=[(n, max(s, a) - a, min(e, b) - a) for n, s, e in self.phones if e > a and s < b],
            accents=[(t - a, strength) for t, strength in self.accents if a <= t < b],
            **{name: getattr(self, name)[first:last] for name in CONTOURS},
        )

    def to_npz(self, path: str | Path) -> None:
        write_npz(
            path,
            fps=self.fps,
            phone_names=np.array([p[0] for p in self.phones], dtype="U8"),
            phone_times=np.array([p[1:] for p in self.phones], dtype=np.float32).reshape(-1, 2),
            accents=np.array(self.accents, dtype=np.float32).reshape(-1, 2),
            source=self.source,
            **{name: getattr(self, name) for name in CONTOURS},
        )

    @staticmethod
    def from_npz(path: str | Path) -> SpeechFeatures:
        with np.load(path, allow_pickle=False) as z:
            names, times = z["phone_names"].tolist(), z["phone_times"].tolist()
            return SpeechFeatures(
                fps=float(z["fps"]),
                phones=[(name, start, end) for name, (start, end) in zip(names, times, strict=True)],
                accents=[(t, strength) for t, strength in z["accents"].tolist()],
                source=str(z["source"]),
                **{name: z[name] for name in CONTOURS},
            )


CONTOURS = ("visemes", "energy", "pitch", "voiced", "speaking", "onset")


def read_audio(
    path: str | os.PathLike, max_seconds: float = MAX_AUDIO_SECONDS, track: int | None = None
) -> tuple[np.ndarray, int]:
    """Speech from a sound or video file: (mono float32 [n], 16000). Raises InputError for unusable sound."""
    from iasa.media.sound import read_sound

    return to_speech(read_sound(path, max_seconds, track), max_seconds), AUDIO_RATE


def to_speech(sound: Sound, max_seconds: float = MAX_AUDIO_SECONDS) -> np.ndarray:
    """What is listened to in a file's sound: its voice, float32 [n] at 16 kHz. Raises InputError for unusable sound."""
    audio = to_rate(sound.voice(), sound.rate)
    check_audio(audio, display_name(sound.path), max_seconds)
    return audio


def to_rate(audio: np.ndarray, rate: int) -> np.ndarray:
    """Mono sound [n] resampled to 16 kHz."""
    if rate == AUDIO_RATE:
        return audio
    import soxr

    length = -(-len(audio) * AUDIO_RATE // rate)
    out = soxr.resample(audio, rate, AUDIO_RATE).astype(np.float32)[:length]
    return np.pad(out, (0, length - len(out)))


def check_audio(audio: np.ndarray, name: str = "the audio", max_seconds: float = MAX_AUDIO_SECONDS) -> None:
    """Raise InputError when `audio` [n] at 16 kHz is empty, too short, too long, silent or not finite."""
    seconds = len(audio) / AUDIO_RATE
    if len(audio) == 0:
        raise InputError(
            "{name} holds no sound; give at least {least} s of speech.", name=name, least=MIN_AUDIO_SECONDS
        )
    if seconds < MIN_AUDIO_SECONDS:
        raise InputError(
            "{name} lasts {seconds:.2f} s; give at least {least} s of speech.",
            name=name,
            seconds=seconds,
            least=MIN_AUDIO_SECONDS,
        )
    if seconds > max_seconds:
        raise InputError(
            "{name} lasts {seconds:.1f} s; at most {most:g} s is accepted.",
            name=name,
            seconds=seconds,
            most=max_seconds,
        )
    if not np.isfinite(audio).all():
        raise InputError("{name} holds values that are not numbers; give a sound file that plays.", name=name)
    peak = float(np.abs(audio).max())
    if peak < SILENT_PEAK:
        raise InputError(
            "{name} is silent (peak {peak:.5f} of full scale; at least {least} is needed).",
            name=name,
            peak=peak,
            least=SILENT_PEAK,
        )


def analyse(
    audio: np.ndarray,  # float32 [n] mono at 16 kHz
    text: str | None = None,
    phones: Sequence[Phone] | None = None,
    method: str = "auto",
) -> SpeechFeatures:
    """Features of a clip; silence gives a closed mouth and no accents.

    Phones come from `phones` when given, else from `text` aligned to the sound, else from the recognizer
    (`method` "words" or "phones"; "auto" chooses by length). What it reads is blended with what sound alone
    says; without pocketsphinx, or with `method` "signal", the sound alone is used and `source` says so.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; accepted: {', '.join(METHODS)}")
    audio = np.asarray(audio, np.float32)
    if audio.ndim != 1:
        raise ValueError(f"audio has shape {audio.shape}; expected one channel [n]")
    prosody = make_prosody(audio)
    found, source = _find_phones(audio, prosody, text, phones, method)
    return make_features(audio, prosody, found, source, count_frames(audio))


def count_frames(audio: np.ndarray) -> int:
    """Video frames of a clip [n], at least one."""
    return max(1, int(round(len(audio) / AUDIO_RATE * VIDEO_FPS)))


def make_features(
    audio: np.ndarray,  # float32 [n] mono at 16 kHz
    prosody: Prosody,
    phones: list[Phone],
    source: str,
    frames: int,
    read: int | None = None,  # frames in which phones were looked for, from the first; all for None
) -> SpeechFeatures:
    """The features of a clip whose prosody and phones are known."""
    speaking = np.clip(prosody.at_frames(prosody.speaking.astype(float), frames), 0, 1)
    if source == "given":
        visemes = make_visemes(phones, frames)
    else:
        visemes = guess_visemes(audio, frames)
        if phones:
            read = frames if read is None else read
            visemes[:read] = blend_visemes(make_visemes(phones, read), visemes[:read])
        near = maximum_filter1d(speaking, 2 * TAIL + 1, mode="nearest")
        visemes = visemes * np.clip(2 * near, 0, 1)[:, None]  # closed in pauses
    return SpeechFeatures(
        fps=VIDEO_FPS,
        phones=phones,
        visemes=visemes,
        energy=prosody.at_frames(prosody.energy, frames),
        pitch=prosody.at_frames(prosody.pitch, frames),
        voiced=prosody.at_frames(prosody.voiced, frames),
        speaking=speaking,
        onset=prosody.at_frames(prosody.onset, frames),
        accents=[a for a in prosody.accents if a[0] < frames / VIDEO_FPS],
        source=source,
    )


def _find_phones(
    audio: np.ndarray,
    prosody: Prosody,
    text: str | None,
    phones: Sequence[Phone] | None,
    method: str,
) -> tuple[list[Phone], str]:
    if phones is not None:
        return list(phones), "given"
    if method == "signal" or not prosody.speaking.any():
        return [], "signal"
    if not recognizer.check_available():
        return [], "signal"
    found = recognizer.find_phones(audio, prosody, text, method)
    return found, "recognizer" if found else "signal"


def blend_visemes(
    read: np.ndarray,  # [f, 5] from recognized phones
    guess: np.ndarray,  # [f, 5] from sound alone
) -> np.ndarray:
    """Recognized mouth shapes, corrected by the guess: a recognizer that misheard disagrees with the sound.

    Where the two openings go together (locally, over some seconds) the phones have `TRUST` of the say on the
    opening and nearly all on closed lips, which cannot be heard; where they do not, the guess has it.
    """
    agreement = _local_correlation(read[:, 0], guess[:, 0], AGREEMENT_SPAN * VIDEO_FPS)
    trust = np.clip((agreement - 0.4) / 0.35, 0, 1)[:, None]  # [f, 1]
    out = TRUST * trust * read + (1 - TRUST * trust) * guess
    lips = 0.9 * trust
    out[:, 2:4] = lips * read[:, 2:4] + (1 - lips) * guess[:, 2:4]
    out[:, 0] = np.clip(1.1 * out[:, 0], 0, 1)  # two estimates that differ average to a smaller movement
    return out.astype(np.float32)


def _local_correlation(a: np.ndarray, b: np.ndarray, span: float) -> np.ndarray:
    """Correlation of two contours [f] around each frame, weighted by a Gaussian of `span` frames."""

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter1d(values, span, mode="constant") / weight

    a, b = a.astype(np.float64), b.astype(np.float64)
    weight = gaussian_filter1d(np.ones(len(a)), span, mode="constant")
    variance = (mean(a * a) - mean(a) ** 2) * (mean(b * b) - mean(b) ** 2)
    return (mean(a * b) - mean(a) * mean(b)) / np.sqrt(np.maximum(variance, 1e-8))
