"""Frames and sound into an mp4 (h264, aac) or a webm (vp9, opus); the input's own packets where the container takes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.codec.codec import UnknownCodecError
from av.container import InputContainer, OutputContainer
from av.video.reformatter import ColorRange, Colorspace

from iasa.config import InputError
from iasa.media.container import open_media
from iasa.media.metadata import AI_SOURCE, append_to_mp4, to_tags, to_xmp
from iasa.media.remux import open_output, replace_metadata
from iasa.media.sound import Sound

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1")  # that both encoders know; others become stereo
COPIED = {".mp4": ("aac",), ".webm": ("opus", "libopus", "vorbis")}


class VideoEncoder:
    """Takes uint8 frames [H, W, 3] of even sizes one by one, in a webm [H, W, 4] with `alpha`; their share of the sound
    goes along."""

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],  # height, width
        fps: Fraction,
        sound: Sound | None,
        comment: str,
        crf: int,
        preset: str,
        alpha: bool = False,
    ) -> None:
        self._kinds = ("rgba", "yuva420p") if alpha else ("rgb24", "yuv420p")  # of frames, in and out
        self._path, self._fps, self._comment = path, fps, comment
        self._frames = 0
        self._webm = path.suffix == ".webm"
        self._opened = ExitStack()
        self._container = open_output(path)
        self._opened.callback(self._container.close)
        self._container.metadata.update(self._to_tags(comment))
        try:
            self._video = self._add_video(size, crf, preset)
            self._sound = None if sound is None else self._add_sound(sound)
        except InputError:
            self._opened.close()
            raise

    def _to_tags(self, comment: str) -> dict[str, str]:
        """Of an mp4; in a webm the source's type is one of them, since Matroska has no place for XMP."""
        return to_tags(comment) | ({"DIGITAL_SOURCE_TYPE": AI_SOURCE} if self._webm else {})

    def _add_video(self, size: tuple[int, int], crf: int, preset: str) -> av.VideoStream:
        if self._webm:
            options = {"crf": str(min(63, crf + 10)), "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
            if self._kinds[0] == "rgba":
                options["auto-alt-ref"] = "0"  # libvpx keeps alpha only without hidden frames
            stream = _add_encoder(self._container, "libvpx-vp9", rate=self._fps, options=options)
        else:
            options = {"crf": str(crf), "preset": preset, "g": "50"}
            stream = _add_encoder(self._container, "libx264", rate=self._fps, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = self._kinds[1]
        context = stream.codec_context
        context.time_base = 1 / self._fps
        context.colorspace = Colorspace.ITU709  # players guess where nothing is said
        context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = ColorRange.MPEG
        return stream

    def _add_sound(self, sound: Sound) -> _CopiedSound | _EncodedSound:
        if sound.copyable in COPIED[self._path.suffix]:
            source = self._opened.enter_context(open_media(sound.path))
            track = next(track for track in source.streams.audio if track.index == sound.track)
            if track.codec_context.extradata or sound.copyable == "opus":
                return _CopiedSound(self._container, source, track)
        return _EncodedSound(self._container, sound, "libopus" if self._webm else "aac")

    def add(self, frame: np.ndarray) -> None:
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=self._kinds[0]).reformat(
            format=self._kinds[1], dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        picture.pts, picture.time_base = self._frames, 1 / self._fps
        self._container.mux(self._video.encode(picture))
        self._frames += 1
        if self._sound is not None:
            self._sound.write_until(self._frames / self._fps)

    def finish(self, comment: str) -> None:
        """Complete the file; another comment than at the beginning costs one more copy of it."""
        self._container.mux(self._video.encode(None))
        if self._sound is not None:
            self._sound.finish()
        self._opened.close()
        if comment != self._comment:
            replace_metadata(self._path, self._to_tags(comment))
        if not self._webm:
            append_to_mp4(self._path, to_xmp(comment))

    def abandon(self) -> None:
        """Close what is open; a full disk cannot take the trailer of a file that is thrown away anyway."""
        try:
            self._opened.close()
        except (av.FFmpegError, OSError):
            pass


class _EncodedSound:
    """Sound cut, or padded with silence, to the pictures."""

    def __init__(self, container: OutputContainer, sound: Sound, codec: Literal["aac", "libopus"]) -> None:
        rates = AAC_RATES if codec == "aac" else OPUS_RATES
        self._rate = next((rate for rate in rates if rate >= sound.rate), rates[-1])
        if codec == "aac" and sound.rate not in AAC_RATES:
            self._rate = rates[-1]
        self._layout = sound.layout if sound.layout in LAYOUTS else "stereo"
        self._samples = _convert(sound, self._rate, self._layout)
        self._container, self._done = container, 0
        self._stream = _add_encoder(container, codec, rate=self._rate, layout=self._layout)
        self._stream.codec_context.bit_rate = 96_000 + 48_000 * (len(self._samples) - 1)
        self._resampler = AudioResampler(self._stream.codec_context.format, self._layout, self._rate)

    def write_until(self, seconds: Fraction) -> None:
        end = round(seconds * self._rate)
        part = self._samples[:, self._done : end]
        part = np.pad(part, ((0, 0), (0, end - self._done - part.shape[1])))
        if part.shape[1]:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout=self._layout)
            frame.rate, frame.pts, frame.time_base = self._rate, self._done, Fraction(1, self._rate)
            for converted in self._resampler.resample(frame):
                self._container.mux(self._stream.encode(converted))
        self._done = end

    def finish(self) -> None:
        for converted in self._resampler.resample(None):
            self._container.mux(self._stream.encode(converted))
        self._container.mux(self._stream.encode(None))


def _add_encoder(container: OutputContainer, name: str, **options: Any) -> Any:  # av.VideoStream or av.AudioStream
    """A stream by the encoder of that name. Raises InputError where this FFmpeg was built without it."""
    try:
        return container.add_stream(name, **options)
    except UnknownCodecError as error:
        raise InputError(f"the encoder {name} is missing in this build of FFmpeg; PyAV's own wheels have it") from error


class _CopiedSound:
    """The input's own packets, up to the end of the pictures."""

    def __init__(self, container: OutputContainer, source: InputContainer, track: av.AudioStream) -> None:
        self._container = container
        self._stream = container.add_stream_from_template(track)
        self._packets: Iterator[av.Packet] = (p for p in source.demux(track) if p.pts is not None)
        self._next: av.Packet | None = next(self._packets, None)

        self._end = Fraction(0)  # of the pictures so far

    def write_until(self, seconds: Fraction) -> None:
        self._end = seconds
        while (
            self._next is not None
            and (_stamp(self._next) + (self._next.duration or 0)) * self._next.time_base <= seconds
        ):
            self._write(self._next)

    def finish(self) -> None:
        while self._next is not None and _stamp(self._next) * self._next.time_base < self._end:
            left = int(self._end / self._next.time_base) - _stamp(self._next)
            self._next.duration = max(1, min(self._next.duration or left, left))
            self._write(self._next)

    def _write(self, packet: av.Packet) -> None:
        packet.stream = self._stream
        self._container.mux(packet)
        self._next = next(self._packets, None)


def _stamp(packet: av.Packet) -> int:
    """When it is presented, in its time base: only packets that say so are copied."""
    return packet.pts or 0


def _convert(sound: Sound, rate: int, layout: str) -> np.ndarray:
    """float32 [channels, n] in -1..1 at that rate and layout."""
    samples = np.clip(sound.samples, -1.0, 1.0)
    if not samples.shape[1] or (sound.rate, sound.layout) == (rate, layout):
        return samples
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=sound.layout)
    frame.rate, frame.pts = sound.rate, 0
    resampler = AudioResampler(format="fltp", layout=layout, rate=rate)
    parts = [part.to_ndarray() for part in resampler.resample(frame) + resampler.resample(None)]
    return np.concatenate(parts, axis=1)
