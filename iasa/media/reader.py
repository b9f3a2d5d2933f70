"""The one door for media: guarded reading of uploaded sound, pictures and video (`iasa.media.writer` writes).

Uploads are hostile until shown otherwise. The container is chosen here from the file's first bytes and forced
on the demuxer, so a playlist (HLS, DASH, ffconcat, SDP) named .mp4 is never followed; the demuxer may open no
second file; bytes, seconds, pixels and time are limited by what is decoded, not by what a header claims.
"""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.stream import Disposition, Stream
from PIL import Image, ImageOps

from iasa.config import (
    MAX_AUDIO_SECONDS,
    MAX_PIXELS,
    MAX_UPLOAD_BYTES,
    MAX_VIDEO_SECONDS,
    VIDEO_FPS,
    InputError,
)
from iasa.files import display_name as _name

ACCEPTED_MEDIA = "wav, mp3, flac, ogg, opus, m4a, mp4, mov, webm, mkv and avi"
ACCEPTED_VIDEO = "mp4, mov, webm, mkv and avi"
ACCEPTED_IMAGES = "PNG, JPEG and WebP"

MAX_DECODE_SECONDS = 300.0  # of our own time for one file, pauses of the caller not counted
MAX_VIDEO_BYTES = 4 * 2**30  # of decoded pictures that read_video holds at once
MAX_RATE = 48_000  # hertz; faster sound is brought down to it
MAX_PICTURES_PER_SECOND = 240
MAX_DAMAGE = 0.1  # share of packets that may fail before a file counts as damaged

# Tags in another encoding than UTF-8 are read with replacement marks: from PyAV 19 on always, before it on request.
LENIENT_METADATA = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}

_COMMON_NAMES = {"mov": "mp4", "matroska": "webm or mkv"}
_LONGEST_PACKET = 4096  # samples; more than that beyond a track's stated length is not padding
_BROKEN_IMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, struct.error, zlib.error)


def find_container(file: BinaryIO) -> str | None:
    """The demuxer that a file's first bytes ask for, None where they belong to no accepted container."""
    head = file.read(16)
    if head[:3] == b"ID3" and len(head) >= 10:  # a tag, its length in four 7-bit bytes, before mp3 or flac
        size = (head[6] & 127) << 21 | (head[7] & 127) << 14 | (head[8] & 127) << 7 | head[9] & 127
        file.seek(10 + size)
        return "flac" if file.read(4) == b"fLaC" else "mp3"
    if head[:4] in (b"RIFF", b"RF64"):
        return {b"WAVE": "wav", b"AVI ": "avi"}.get(head[8:12])
    if head[:4] in (b"fLaC", b"OggS"):
        return "flac" if head[:4] == b"fLaC" else "ogg"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if head[0] == 0xFF and head[1:2] >= b"\xe0" and head[1] & 0x06:  # a sync word; layer 0 would be raw AAC
        return "mp3"
    return None


def _refuse_open(url: str, flags: int, options: dict) -> BinaryIO:
    raise PermissionError("a media file may not open another file")


def _open_file(path: str | os.PathLike, max_bytes: int) -> BinaryIO:
    """A regular, non-empty, not too large file, opened for reading. Raises InputError."""
    name = _name(path)
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{name} is a folder; a file is needed")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{name} is not a plain file")
        if status.st_size == 0:
            raise InputError(f"{name} is empty (0 bytes)")
        if status.st_size > max_bytes:
            raise InputError(
                f"{name} has {status.st_size / 2**20:.0f} MB; at most {max_bytes / 2**20:.0f} MB are accepted"
            )
        return open(path, "rb")
    except FileNotFoundError as error:
        raise InputError(f"there is no file {name}") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} is not a usable file name") from error  # an embedded zero byte


@contextmanager
def open_media(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Iterator[InputContainer]:
    """An open demuxer on an uploaded file, its format forced by the file's first bytes. Raises InputError."""
    name = _name(path)
    with _open_file(path, MAX_UPLOAD_BYTES) as file:
        container_format = find_container(file)
        if container_format is None:
            file.seek(0)
            kind = "a playlist, not media" if file.read(7) in (b"#EXTM3U", b"ffconca") else "not a media file"
            raise InputError(f"{name} is {kind} that can be read; accepted are {ACCEPTED_MEDIA}")
        file.seek(0)
        try:
            container = av.open(
                file,
                format=container_format,
                options={
                    "max_pixels": str(max_pixels),
                    "protocol_whitelist": "none",  # the file is read here, in Python: no protocol is needed
                    "format_whitelist": container_format,
                },
                **LENIENT_METADATA,
                timeout=(20.0, 20.0),
                io_open=_refuse_open,
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            kind = _COMMON_NAMES.get(container_format, container_format)
            raise InputError(f"{name} is damaged or not really a {kind} file") from error
        with container:
            yield container


def _decode(container: InputContainer, stream: Stream, name: str) -> Iterator[Any]:
    """Every frame of one stream. A few broken packets are skipped; many, or too much time, raise an error."""
    packets = broken = 0
    spent, start = 0.0, time.monotonic()
    demuxer = container.demux(stream)
    while True:
        try:
            packet = next(demuxer)
        except StopIteration:
            break
        except (av.FFmpegError, OSError):
            broken += 1
            break
        packets += 1
        try:
            frames = packet.decode()
        except (av.FFmpegError, OSError, ValueError):
            broken += 1
            frames = []
        for frame in frames:
            spent += time.monotonic() - start
            yield frame
            start = time.monotonic()
        if spent + time.monotonic() - start > MAX_DECODE_SECONDS:
            raise InputError(f"{name} takes over {MAX_DECODE_SECONDS:.0f} s to decode; a simpler file is needed")
    if broken > MAX_DAMAGE * packets:
        raise InputError(f"{name} is damaged: {broken} of its {packets} parts cannot be decoded")


def _claimed_seconds(container: InputContainer) -> float:
    return container.duration / av.time_base if container.duration else 0.0


def _too_long(container: InputContainer, name: str, max_seconds: float) -> InputError:
    claimed = _claimed_seconds(container)
    length = f"lasts {claimed:.0f} s" if claimed > max_seconds else "is too long"
    return InputError(f"{name} {length}; at most {max_seconds:g} s are accepted")


def read_image(source: str | os.PathLike | bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A PNG, JPEG or WebP, from a path or its bytes, as uint8 RGB [H, W, 3], turned upright by its EXIF tag.

    Transparent parts become white. Raises InputError for anything else and for more than `max_pixels` pixels.
    """
    if isinstance(source, bytes):
        name, data = "the picture", source
    else:
        name = _name(source)
        with _open_file(source, MAX_UPLOAD_BYTES) as file:
            data = file.read()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
                if picture.width * picture.height > max_pixels:
                    raise InputError(
                        f"{name} has {picture.width} x {picture.height} pixels; "
                        f"at most {max_pixels / 1e6:.1f} million are accepted"
                    )
                picture.load()
                return _to_rgb(ImageOps.exif_transpose(picture))
    except InputError:
        raise
    except (*_BROKEN_IMAGE, Image.DecompressionBombError) as error:
        raise InputError(f"{name} is not a readable picture; accepted are {ACCEPTED_IMAGES}") from error


def _to_rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16-bit grey, which convert() would clip
        grey = np.asarray(picture, np.int64).clip(0, 65535) >> 8
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))


def read_audio_track(path: str | os.PathLike, max_seconds: float = MAX_AUDIO_SECONDS) -> tuple[np.ndarray, int]:
    """The sound of any accepted file, channels averaged: (float32 [n], full scale 1.0; samples a second).

    The rate is the file's own, at most 48 kHz. Raises InputError: no sound, too much of it, a damaged file.
    """
    name = _name(path)
    parts, count = [], 0
    with open_media(path) as container:
        if not container.streams.audio:
            raise InputError(f"{name} has no sound track; a file with sound is needed")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise InputError(f"{name} has sound in a format that cannot be decoded; accepted are {ACCEPTED_MEDIA}")
        rate = min(stream.rate or 0, MAX_RATE)
        if rate < 1000:
            raise InputError(f"{name} has {rate} samples a second; 1,000 or more are needed")
        resampler = AudioResampler(format="fltp", rate=rate)
        try:
            for frame in _decode(container, stream, name):
                for converted in resampler.resample(frame):
                    parts.append(converted.to_ndarray().mean(axis=0, dtype=np.float32))
                    count += len(parts[-1])
                if count > max_seconds * rate:
                    raise _too_long(container, name, max_seconds)
            parts += [last.to_ndarray().mean(axis=0, dtype=np.float32) for last in resampler.resample(None)]
        except av.FFmpegError as error:
            raise InputError(f"{name} is damaged: its sound cannot be decoded") from error
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{name} changes its sound format half-way; it must stay the same") from error
        stated = _stated_samples(container, stream, rate)
    if not count:
        raise InputError(f"{name} holds no sound (0 samples)")
    audio = np.concatenate(parts)[: stated if 0 <= stated < count <= stated + _LONGEST_PACKET else None]
    return np.nan_to_num(audio, nan=0.0, posinf=1.0, neginf=-1.0), rate


def _stated_samples(container: InputContainer, stream: Stream, rate: int) -> int:
    """The length that an mp4 track states, else -1: its last AAC packet is decoded with padding."""
    if "mov" not in container.format.name or not stream.duration:
        return -1
    return round(stream.duration * stream.time_base * rate)


@contextmanager
def open_video(
    path: str | os.PathLike,
    max_seconds: float = MAX_VIDEO_SECONDS,
    max_pixels: int = MAX_PIXELS,
    fps: float | None = None,
) -> Iterator[tuple[Iterator[np.ndarray], float]]:
    """A context that yields (iterator of upright pictures uint8 [H, W, 3] of one size, frames a second).

    With `fps` they come at that constant rate, by their time stamps (phones and browsers record at an uneven
    rate); without it, as stored. Raises InputError.
    """
    name = _name(path)
    with open_media(path, max_pixels) as container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise InputError(f"{name} has no moving picture; accepted are {ACCEPTED_VIDEO}")
        stream = streams[0]
        if stream.codec_context is None:
            raise InputError(f"{name} has pictures in a format that cannot be decoded; accepted are {ACCEPTED_VIDEO}")
        if stream.width * stream.height > max_pixels:
            raise InputError(
                f"{name} has {stream.width} x {stream.height} pixels; "
                f"at most {max_pixels / 1e6:.1f} million are accepted"
            )
        if _claimed_seconds(container) > max_seconds + 1:
            raise _too_long(container, name, max_seconds)
        native = float(stream.average_rate or stream.guessed_rate or VIDEO_FPS)
        stream.codec_context.options = {"max_pixels": str(max_pixels)}
        frames = _decode(container, stream, name)
        yield _upright(container, frames, name, max_seconds, fps, native), fps or native


def _upright(
    container: InputContainer,
    frames: Iterator[av.VideoFrame],
    name: str,
    max_seconds: float,
    fps: float | None,
    native: float,
) -> Iterator[np.ndarray]:
    """Frames as turned RGB arrays of one size; at `fps`, frame k is the last one that starts by k / fps."""
    size = first = held = None
    shown = 0
    for index, frame in enumerate(frames):
        if index >= max_seconds * MAX_PICTURES_PER_SECOND:
            raise _too_long(container, name, max_seconds)
        size = size or (frame.width, frame.height)
        seconds = frame.time if frame.time is not None else index / native
        first = seconds if first is None else first
        seconds -= first
        if seconds > max_seconds:
            raise _too_long(container, name, max_seconds)
        while fps and held is not None and shown / fps < seconds - 1e-6:
            yield held
            shown += 1
        picture = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
        held = np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90) % 4))
        if not fps:
            yield held
    if size is None:
        raise InputError(f"{name} holds no picture that can be decoded")
    if fps:
        yield held


def read_video(
    path: str | os.PathLike,
    max_seconds: float = MAX_VIDEO_SECONDS,
    max_pixels: int = MAX_PIXELS,
    fps: float | None = None,
) -> tuple[np.ndarray, float]:
    """All pictures of a video (`open_video`) at once: (uint8 [f, H, W, 3], frames a second)."""
    with open_video(path, max_seconds, max_pixels, fps) as (pictures, rate):
        kept, held = [], 0
        for picture in pictures:
            held += picture.nbytes
            if held > MAX_VIDEO_BYTES:
                raise InputError(
                    f"{_name(path)} takes over {MAX_VIDEO_BYTES / 2**30:.0f} GB when decoded "
                    f"({picture.shape[1]} x {picture.shape[0]} pixels); a shorter or smaller video is needed"
                )
            kept.append(picture)
    return np.stack(kept), rate


def read_metadata(path: str | os.PathLike) -> dict:
    """The settings that `write_video` stored in a file, {} where there are none. Raises InputError."""
    with open_media(path) as container:
        comment = container.metadata.get("comment", "")
    try:
        settings = json.loads(comment)
    except json.JSONDecodeError:
        return {}
    return settings if isinstance(settings, dict) else {}
