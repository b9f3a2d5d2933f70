"""Speech features of a whole clip, piece by piece: later words are recognized while earlier frames are made.

The clip is cut in its pauses. The first piece is short, so that the first frame comes soon; the others grow. Words are
recognized a little beyond each end, and levels are taken over the seconds around each piece.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from iasa.config import AUDIO_RATE, VIDEO_FPS, InputError
from iasa.speech import recognizer as recognizer
from iasa.speech.features import SpeechFeatures, count_frames, make_features, read_audio
from iasa.speech.prosody import HOP_RATE, Prosody, make_prosody
from iasa.speech.recognizer_process import shared_recognizer
from iasa.speech.streaming import FRAME, space_accents
from iasa.speech.visemes import Phone

PIECES = ((0.8, 1.2), (2.0, 4.0), (4.0, 8.0))  # seconds, least and most; the last pair goes on
OVERLAP = 0.5  # seconds after a piece in which words are still recognized
AROUND = 8.0  # seconds before and after a piece over which levels are taken
HOPS = round(HOP_RATE / VIDEO_FPS)  # in a frame


Speech = np.ndarray | str | os.PathLike  # float32 [n], mono, 16 kHz, or a file of any usual kind


def hear(audio: Speech | None) -> ChunkedSpeech:
    """The features of sound, which iterating works out piece after piece. Raises InputError."""
    return ChunkedSpeech(read_speech(audio))


def read_speech(audio: Speech | None) -> np.ndarray:  # float32 [n], mono, 16 kHz
    """Sound as it is, or of a file. Raises InputError."""
    if audio is None:
        raise InputError("there is no speech; sound or poses are needed")
    return read_audio(audio)[0] if isinstance(audio, str | os.PathLike) else audio


class ChunkedSpeech:
    """Iterate to get the features of float32 [n] at 16 kHz, piece after piece; joined they are `frames` long."""

    def __init__(self, audio: np.ndarray) -> None:
        self.audio = np.asarray(audio, np.float32)
        if self.audio.ndim != 1:
            raise ValueError(f"audio has shape {self.audio.shape}; expected one channel [n]")
        self.frames = count_frames(self.audio)
        self.spent = 0.0  # processor seconds of the recognizer, which is a process of its own
        self._words = recognizer.check_available()
        self._phones: list[Phone] = []  # seconds of the clip
        self._read_something, self._lost = False, 0.0  # seconds of speech at which the recognizer failed
        self.expected = "recognizer" if self._words else "signal"  # what `source` will be if all goes well

    def __iter__(self) -> Iterator[SpeechFeatures]:
        made, accent, limits = 0, -1.0, list(PIECES)
        while made < self.frames:
            least, most = (_frames(seconds) for seconds in limits[0])
            limits = limits[1:] or limits
            first, stop = max(0, made - _frames(AROUND)), min(self.frames, made + most + _frames(AROUND))
            sound = self.audio[first * FRAME :] if stop == self.frames else self.audio[first * FRAME : stop * FRAME]
            prosody = make_prosody(sound)
            if self.frames - made <= most + _frames(OVERLAP):
                end = self.frames
            else:
                end = first + _find_cut(prosody, made + least - first, made + most - first)
            read = min(end + _frames(OVERLAP), self.frames)
            if prosody.speaking[(made - first) * HOPS : (read - first) * HOPS].any():
                self._read(made, read)
            start = first / VIDEO_FPS
            self._phones = [phone for phone in self._phones if phone[2] > start]
            phones = [(name, a - start, b - start) for name, a, b in self._phones]
            self._read_something |= bool(phones)
            source = "recognizer" if self._read_something else "signal"
            features = make_features(sound, prosody, phones, source, stop - first, read - first)
            part, accent = space_accents(features[made - first : end - first], made, accent)
            yield part
            made = end

    @property
    def source(self) -> str:
        """Where mouth shapes came from so far: "recognizer" once it has read something, "signal", or both."""
        if not self._read_something:
            return "signal"
        return f"recognizer, signal for {self._lost:.1f} s" if self._lost else "recognizer"

    def _read(self, first: int, end: int) -> None:
        """Replace what is known of frames `first`..`end` by the words that are recognized there."""
        low, high = first / VIDEO_FPS, end / VIDEO_FPS
        start = max(0.0, low - recognizer.MARGIN)
        part = self.audio[int(start * AUDIO_RATE) : int(high * AUDIO_RATE)]
        found, spent = shared_recognizer().read(recognizer.to_samples(part)) if self._words else ([], 0.0)
        self.spent += spent
        if found is None:
            found, self._lost = [], self._lost + len(part) / AUDIO_RATE
        before = [(name, a, min(b, low)) for name, a, b in self._phones if a < low]
        after = [(name, max(a + start, low), b + start) for name, a, b in found if b + start > low]
        self._phones = before + after


def _frames(seconds: float) -> int:
    return round(seconds * VIDEO_FPS)


def _find_cut(prosody: Prosody, first: int, end: int) -> int:
    """The frame in first..end where the speech pauses, or is softest."""
    hops = slice(first * HOPS, end * HOPS)
    return first + round(recognizer.quietest(prosody.speaking[hops], prosody.loudness[hops]) / HOPS)
