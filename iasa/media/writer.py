"""Writing of mp4 with sound: whole or not at all, with the settings and the mark of what is generated in its metadata."""

from __future__ import annotations

import json
import os
import uuid
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace

from iasa.config import VIDEO_FPS, InputError
from iasa.files import display_name as _name
from iasa.media.remux import open_mp4, replace_metadata
from iasa.media.watermark import add_mark

AI_MARK = "AI-generated video: the speaker's picture and movement were made by a computer program (IASA)"
AI_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


class VideoWriter:
    """An mp4 (h264, and aac where there is sound) that appears under its name only once it is complete.

    A context: frames go in by `add_frames`; leaving it normally puts the file in place, leaving it by an
    exception removes every trace and keeps whatever stood there before. The folder is tried on entering,
    so that an unwritable one costs no work. Sound is cut or padded with silence to frames / fps. Odd sizes
    repeat their last row or column.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: float = VIDEO_FPS,
        audio: np.ndarray | None = None,  # float [n], full scale 1.0
        rate: int | None = None,  # samples a second
        metadata: dict | None = None,  # JSON values, kept in the file's comment
        crf: int = 18,  # h264 quality: 0 best, 51 worst
        preset: str = "veryfast",
        mark: bool = False,  # put the visible AI mark on every frame
    ) -> None:
        self._mark = mark
        self.path = Path(os.path.abspath(path))  # absolute: a relative "a:b.mp4" would read as a protocol
        self.frames = 0
        self._fps = Fraction(fps).limit_denominator(1001)
        self._options = {"crf": str(crf), "preset": preset, "g": "50"}
        self._audio, self._rate = (None, None) if audio is None else _to_aac_rate(np.asarray(audio), rate)
        self._partial = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.partial")
        self._container: OutputContainer | None = None
        self._size: tuple[int, int] | None = None  # height, width of the frames that come in
        self._samples = 0  # written so far
        self.describe(metadata or {})

    def __enter__(self) -> VideoWriter:
        name = _name(self.path)
        if self.path.suffix.lower() != ".mp4":
            raise InputError(f"the video cannot be named {name}; the name must end in .mp4")
        if self.path.is_dir():
            raise InputError(f"the video cannot be written to {name}: it is a folder")
        try:
            self._partial.touch(exist_ok=False)
        except OSError as error:
            raise self._unwritable(error) from error
        return self

    def describe(self, metadata: dict) -> None:
        """Set the file's metadata (JSON values). Once frames were added this costs one more copy of the file at the end."""
        self._metadata = {
            "title": "AI-generated video",
            "description": AI_MARK,
            "comment": json.dumps(
                {**metadata, "ai_generated": True, "digital_source_type": AI_SOURCE}, default=_to_json
            ),
        }

    def add_frames(self, frames: np.ndarray) -> None:
        """Append uint8 RGB frames [f, H, W, 3], all of one size; their share of the sound goes along."""
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise ValueError(f"frames are {frames.dtype} {list(frames.shape)}; uint8 [f, H, W, 3] is needed")
        if self._size is None and len(frames):
            self._start(frames.shape[1:3])
        if len(frames) and frames.shape[1:3] != self._size:
            raise ValueError(f"frames are {frames.shape[1:3]} (height, width); the first were {self._size}")
        if self._mark:
            frames = add_mark(frames)
        height, width = frames.shape[1:3]
        if height % 2 or width % 2:
            frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
                    format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
                picture.pts, picture.time_base = self.frames, 1 / self._fps
                self._container.mux(self._video.encode(picture))
                self.frames += 1
            self._add_sound()
        except (av.FFmpegError, OSError) as error:
            raise self._unwritable(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._abandon()

    def _start(self, size: tuple[int, int]) -> None:
        """Open the encoders for frames of `size` (height, width)."""
        height, width = self._size = size
        self._container = open_mp4(self._partial)
        self._container.metadata.update(self._metadata)
        self._written = self._metadata
        self._video = self._container.add_stream("libx264", rate=self._fps, options=self._options)
        self._video.width, self._video.height = width + width % 2, height + height % 2
        self._video.pix_fmt = "yuv420p"
        self._video.codec_context.time_base = 1 / self._fps
        self._video.codec_context.colorspace = Colorspace.ITU709  # players guess where nothing is said
        self._video.codec_context.color_primaries = self._video.codec_context.color_trc = 1  # BT.709
        self._video.codec_context.color_range = ColorRange.MPEG
        if self._audio is not None:
            self._sound = self._container.add_stream("aac", rate=self._rate, layout="mono")
            self._sound.codec_context.bit_rate = 96_000

    def _add_sound(self) -> None:
        """Encode the sound up to the end of the last picture, with silence where there is none."""
        if self._audio is None:
            return
        end = round(self.frames * self._rate / self._fps)
        part = self._audio[self._samples : end]
        part = np.pad(part, (0, end - self._samples - len(part)))
        if len(part):
            frame = av.AudioFrame.from_ndarray(part[None], format="fltp", layout="mono")
            frame.rate, frame.pts, frame.time_base = self._rate, self._samples, Fraction(1, self._rate)
            self._container.mux(self._sound.encode(frame))
        self._samples = end

    def _finish(self) -> None:
        if not self.frames:
            raise InputError(f"there are no frames to write to {_name(self.path)}")
        try:
            self._container.mux(self._video.encode(None))
            if self._audio is not None:
                self._container.mux(self._sound.encode(None))
            container, self._container = self._container, None
            container.close()
            if self._metadata != self._written:
                replace_metadata(self._partial, self._metadata)
            os.replace(self._partial, self.path)
        except (av.FFmpegError, OSError) as error:
            raise self._unwritable(error) from error

    def _abandon(self) -> None:
        """Remove what is left of an unfinished file; nothing where it was finished."""
        if self._container is not None:
            container, self._container = self._container, None
            try:
                container.close()
            except (av.FFmpegError, OSError):
                pass  # a full disk cannot take the trailer of a file that is thrown away anyway
        self._partial.unlink(missing_ok=True)

    def _unwritable(self, error: Exception) -> InputError:
        reason = getattr(error, "strerror", None) or error
        return InputError(f"{_name(self.path)} cannot be written to {self.path.parent}: {reason}")


def write_video(
    path: str | os.PathLike,
    frames: np.ndarray,  # uint8 [f, H, W, 3]
    audio: np.ndarray | None = None,  # float [n]
    rate: int | None = None,
    fps: float = VIDEO_FPS,
    metadata: dict | None = None,
    crf: int = 18,
) -> None:
    """Write all frames, with their sound, as one mp4 (`VideoWriter`). Raises InputError, leaving nothing."""
    with VideoWriter(path, fps, audio, rate, metadata, crf) as writer:
        writer.add_frames(frames)


def _to_aac_rate(audio: np.ndarray, rate: int | None) -> tuple[np.ndarray, int]:
    """Sound [n] as clipped float32 at a rate that AAC knows: its own, or else 48 kHz."""
    if audio.ndim != 1 or not np.issubdtype(audio.dtype, np.floating):
        raise ValueError(f"sound is {audio.dtype} {list(audio.shape)}; floating point [samples] is needed")
    if not rate or rate < 1:
        raise ValueError(f"sound has a rate of {rate} samples a second; a positive whole number is needed")
    audio = np.clip(np.nan_to_num(audio.astype(np.float32)), -1.0, 1.0)
    if rate in _AAC_RATES or not len(audio):
        return audio, rate if rate in _AAC_RATES else 48_000
    frame = av.AudioFrame.from_ndarray(audio[None], format="fltp", layout="mono")
    frame.rate, frame.pts = rate, 0
    resampler = AudioResampler(format="fltp", layout="mono", rate=48_000)
    parts = [part.to_ndarray()[0] for part in resampler.resample(frame) + resampler.resample(None)]
    return np.concatenate(parts), 48_000


def _to_json(value: Any) -> Any:
    """numpy scalars and arrays, and paths, as JSON values."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"metadata of type {type(value).__name__} cannot be stored; JSON values are needed")
