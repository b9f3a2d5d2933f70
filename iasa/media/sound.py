"""The sound of any accepted file: all its channels where its time stamps put them, and the one channel that speaks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

from iasa.config import MAX_AUDIO_SECONDS, InputError
from iasa.files import display_name
from iasa.media.container import ACCEPTED_MEDIA, decode, open_media, pick_track, start_of_time, too_long

MAX_RATE = 48_000  # hertz; faster sound is brought down to it
USUAL_LAYOUTS = {
    1: "mono",
    2: "stereo",
    3: "2.1",
    4: "4.0",
    5: "5.0",
    6: "5.1",
    7: "6.1",
    8: "7.1",
}  # where none is named
MAX_CHANNELS = 8
LARGEST_SLIP = 0.02  # seconds that stamps may differ from the count of samples: containers round them
LONGEST_OVERLAP = 1.0  # seconds; stamps that fall back further begin a clock of their own
AUDIBLE = 0.05  # of the loudest channel's changes: in a middle channel with less nobody speaks
LOUDNESS_SECONDS = 0.02  # over which a channel's loudness is taken

_LONGEST_PACKET = 4096  # samples; more than that beyond a track's stated length is not padding


@dataclass(frozen=True)
class Sound:
    """Sound as it was recorded, from the moment at which the file's clock begins."""

    samples: np.ndarray  # float32 [channels, n], full scale 1.0
    rate: int  # samples a second
    layout: str  # "mono", "stereo", "5.1", ...
    path: str = ""  # the file whose `track` it is
    track: int = 0  # index of the stream in the file
    copyable: str = ""  # the codec, where the file's own packets hold just these samples

    @property
    def seconds(self) -> float:
        return self.samples.shape[1] / self.rate

    def voice(self) -> np.ndarray:
        """float32 [n]: the channel that speaks. Never a mean: of opposite channels nothing would be left.

        A voice rises and falls; hum, hiss and an open microphone do not. So the channel counts whose loudness varies most;
        but where there is a middle one, films and broadcasts speak in it, however loud the music beside it.
        """
        if len(self.samples) == 1:
            return self.samples[0]
        ranges = [_loudness_range(channel, self.rate) for channel in self.samples]
        names = [channel.name for channel in av.AudioLayout(self.layout).channels]
        middle = names.index("FC") if "FC" in names else None
        if middle is not None and ranges[middle] > AUDIBLE * max(ranges):
            return self.samples[middle]
        return self.samples[int(np.argmax(ranges))]


def _loudness_range(channel: np.ndarray, rate: int) -> float:
    """Between the loud and the quiet moments of [n], as root mean squares."""
    size = max(1, min(len(channel), round(LOUDNESS_SECONDS * rate)))
    pieces = channel[: len(channel) // size * size].reshape(-1, size)
    loudness = np.sqrt(np.einsum("ij,ij->i", pieces, pieces, dtype=np.float64) / size)
    quiet, loud = np.percentile(loudness, (10, 95))
    return float(loud - quiet) + 1e-3 * float(loud)  # a steady tone: the louder channel


def read_audio_track(
    path: str | os.PathLike, max_seconds: float = MAX_AUDIO_SECONDS, track: int | None = None
) -> tuple[np.ndarray, int]:
    """The voice in any accepted file: (float32 [n], full scale 1.0; samples a second). Raises InputError."""
    sound = read_sound(path, max_seconds, track)
    return sound.voice(), sound.rate


def read_sound(
    path: str | os.PathLike,
    max_seconds: float = MAX_AUDIO_SECONDS,
    track: int | None = None,  # from 1; None: the default one
) -> Sound:
    """All channels of a file's sound, at its own rate, at most 48 kHz; gaps in its time stamps are silence.

    Raises InputError: no sound, too much of it, a damaged file.
    """
    name = display_name(path)
    with open_media(path) as container:
        if not container.streams.audio:
            raise InputError("{name} has no sound track; a file with sound is needed", name=name)
        stream = pick_track(list(container.streams.audio), name, "sound", track)
        if stream.codec_context is None:
            raise InputError(
                "{name} has sound in a format that cannot be decoded; accepted are {kinds}",
                name=name,
                kinds=ACCEPTED_MEDIA,
            )
        rate = min(stream.rate or 0, MAX_RATE)
        if rate < 1000:
            raise InputError("{name} has {rate} samples a second; 1,000 or more are needed", name=name, rate=rate)
        if stream.channels > MAX_CHANNELS:
            raise InputError(
                "{name} has {channels} channels; at most {most} are accepted",
                name=name,
                channels=stream.channels,
                most=MAX_CHANNELS,
            )
        reading = _Timeline(rate, start_of_time(container), max_seconds)
        parts = _read_parts(container, stream, name, reading)
        samples = np.concatenate(parts, axis=1) if parts else np.zeros((1, 0), np.float32)
        count, stated = samples.shape[1], _stated_samples(container, stream, reading)
        codec = stream.codec_context.name if reading.unbroken and rate == stream.rate else ""
        layout = stream.layout.name
        layout, index = USUAL_LAYOUTS[len(samples)] if "channels" in layout else layout, stream.index
    if not count:
        raise InputError("{name} holds no sound (0 samples)", name=name)
    if stated is not None and stated < count <= stated + _LONGEST_PACKET:
        samples = samples[:, :stated]
    samples = np.nan_to_num(samples, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
    return Sound(samples, rate, layout, os.fspath(path), index, codec)


def _read_parts(container: InputContainer, stream: AudioStream, name: str, reading: _Timeline) -> list[np.ndarray]:
    try:
        parts = []
        for part in reading.place(decode(container, stream, name)):
            if parts and len(part) != len(parts[0]):
                raise InputError("{name} changes its sound format half-way; it must stay the same", name=name)
            parts.append(part)
        return parts
    except TooLong as error:
        raise too_long(container, name, reading.max_seconds) from error
    except av.FFmpegError as error:
        raise InputError("{name} is damaged: its sound cannot be decoded", name=name) from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError("{name} changes its sound format half-way; it must stay the same", name=name) from error


class TooLong(Exception):
    """More seconds than are accepted."""


class _Timeline:
    """Puts decoded frames where their time stamps say: silence in gaps, overlaps cut, at one rate."""

    def __init__(self, rate: int, zero: Fraction | None, max_seconds: float) -> None:
        self.rate, self.max_seconds = rate, max_seconds
        self.zero = None if zero is None else float(zero)  # seconds, by the file's clock
        self.count = 0  # samples handed out
        self.unbroken = True  # the samples follow one another from the clock's beginning
        self._begun = False
        self._heard = 0.0  # seconds from `zero` to the end of the last frame
        self._skip = 0  # samples to drop: they lie before the end of what there is
        self._channels = 0
        self._resampler = AudioResampler(format="fltp", rate=rate)

    def place(self, frames: Iterator[av.AudioFrame]) -> Iterator[np.ndarray]:
        """float32 [channels, m] one after the other. Raises TooLong."""
        for frame in frames:
            self._channels = self._channels or frame.layout.nb_channels
            slip = self._slip(frame)
            if slip:
                yield from self._flush()
                yield from self._move(slip)
            self._heard += frame.samples / frame.sample_rate
            yield from self._convert(frame)
        yield from self._flush()

    def _slip(self, frame: av.AudioFrame) -> float:
        """Seconds between where a frame belongs and the end of those before it, 0.0 where it follows them."""
        if not self._begun:  # the first one: exactly where it belongs
            self._begun = True
            if frame.time is None or self.zero is None or frame.time <= self.zero:
                self.zero = frame.time
                return 0.0
            return frame.time - self.zero
        if frame.time is None or self.zero is None:
            return 0.0
        slip = frame.time - self.zero - self._heard
        if slip < -LONGEST_OVERLAP:
            self.zero += slip
            return 0.0
        return slip if abs(slip) > LARGEST_SLIP else 0.0

    def _move(self, slip: float) -> Iterator[np.ndarray]:
        """Silence of `slip` seconds; the next samples are dropped where it is negative."""
        self._heard += slip
        samples = round(self._heard * self.rate) - self.count
        self.unbroken = self.unbroken and not samples
        if samples < 0:
            self._skip = -samples
        elif samples:
            self._check(samples)
            self.count += samples
            yield np.zeros((self._channels, samples), np.float32)

    def _convert(self, frame: av.AudioFrame | None) -> Iterator[np.ndarray]:
        for converted in self._resampler.resample(frame):
            part = converted.to_ndarray()
            dropped = min(self._skip, part.shape[1])
            self._skip -= dropped
            part = part[:, dropped:]
            self._check(part.shape[1])
            self.count += part.shape[1]
            yield part

    def _flush(self) -> Iterator[np.ndarray]:
        yield from self._convert(None)
        self._resampler = AudioResampler(format="fltp", rate=self.rate)

    def _check(self, samples: int) -> None:
        if self.count + samples > self.max_seconds * self.rate:
            raise TooLong


def _stated_samples(container: InputContainer, stream: AudioStream, reading: _Timeline) -> int | None:
    """Where an mp4 track says that it ends, in samples: its last AAC packet is decoded with padding."""
    if "mov" not in container.format.name or not stream.duration or stream.time_base is None:
        return None
    start = (stream.start_time or 0) * stream.time_base - Fraction(reading.zero or 0.0)
    return round((max(Fraction(0), start) + stream.duration * stream.time_base) * reading.rate)
