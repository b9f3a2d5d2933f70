"""A guarded demuxer: the container by the file's first bytes, no second file, bounds on bytes, time and damage.

Uploads are hostile until shown otherwise. The container is chosen here from the file's first bytes and forced
on the demuxer, so a playlist (HLS, DASH, ffconcat, SDP) named .mp4 is never followed; the demuxer may open no
second file; bytes, seconds, pixels and time are limited by what is decoded, not by what a header claims.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, BinaryIO, TypeVar

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from iasa.config import MAX_PIXELS, MAX_UPLOAD_BYTES, InputError, Sentence
from iasa.files import display_name, missing_file

ACCEPTED_MEDIA = Sentence(
    "{kinds} and {last}", kinds="wav, mp3, flac, ogg, opus, m4a, aac, aiff, caf, amr, mp4, mov, webm, mkv", last="avi"
)
STILL_CODECS = ("mjpeg", "png", "bmp", "gif", "webp", "tiff")
MAX_DECODE_SECONDS = 300.0  # of our own time for one file, pauses of the caller not counted
MAX_DAMAGE = 0.1  # share of packets that may fail before a file counts as damaged

# Tags in another encoding than UTF-8 are read with replacement marks: from PyAV 19 on always, before it on request.
LENIENT_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}

_Track = TypeVar("_Track", bound=Stream)

_COMMON_NAMES = {"mov": "mp4", "matroska": "webm or mkv"}


def find_container(file: BinaryIO) -> str | None:
    """The demuxer that a file's first bytes ask for, None where they belong to no accepted container."""
    head = file.read(16)
    if head[:3] == b"ID3" and len(head) >= 10:  # a tag, its length in four 7-bit bytes, before mp3 or flac
        size = (head[6] & 127) << 21 | (head[7] & 127) << 14 | (head[8] & 127) << 7 | head[9] & 127
        file.seek(10 + size)
        behind = file.read(4)
        return "flac" if behind == b"fLaC" else "aac" if _is_aac(behind) else "mp3"
    if head[:4] in (b"RIFF", b"RF64"):
        return {b"WAVE": "wav", b"AVI ": "avi"}.get(head[8:12])
    if head[:4] in (b"fLaC", b"OggS"):
        return "flac" if head[:4] == b"fLaC" else "ogg"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:4] == b"caff" or head[:5] == b"#!AMR":
        return "caf" if head[:4] == b"caff" else "amr"
    if _is_aac(head):
        return "aac"
    if head[0] == 0xFF and head[1:2] >= b"\xe0" and head[1] & 0x06:  # a sync word
        return "mp3"
    return None


def _is_aac(head: bytes) -> bool:
    """Raw AAC begins with a sync word of layer 0."""
    return head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0


def _refuse_open(url: str, flags: int, options: dict) -> BinaryIO:
    raise PermissionError("a media file may not open another file")


def open_file(path: str | os.PathLike, max_bytes: int = MAX_UPLOAD_BYTES) -> BinaryIO:
    """A regular, non-empty, not too large file, opened for reading. Raises InputError."""
    name = display_name(path)
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise InputError("{name} is a folder; a file is needed", name=name)
        if not stat.S_ISREG(status.st_mode):
            raise InputError("{name} is not a plain file", name=name)
        if status.st_size == 0:
            raise InputError("{name} is empty (0 bytes)", name=name)
        if status.st_size > max_bytes:
            raise InputError(
                "{name} has {size:.0f} MB; at most {most:.0f} MB are accepted",
                name=name,
                size=status.st_size / 2**20,
                most=max_bytes / 2**20,
            )
        return open(path, "rb")
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except OSError as error:
        raise InputError("{name} cannot be read: {reason}", name=name, reason=error.strerror or str(error)) from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError("{name} is not a usable file name", name=name) from error  # an embedded zero byte


@contextmanager
def open_media(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Iterator[InputContainer]:
    """An open demuxer on an uploaded file, its format forced by the file's first bytes. Raises InputError."""
    name = display_name(path)
    with open_file(path) as file:
        container_format = find_container(file)
        if container_format is None:
            file.seek(0)
            if file.read(7) in (b"#EXTM3U", b"ffconca"):
                raise InputError(
                    "{name} is a playlist, not media that can be read; accepted are {kinds}",
                    name=name,
                    kinds=ACCEPTED_MEDIA,
                )
            raise InputError(
                "{name} is not a media file that can be read; accepted are {kinds}", name=name, kinds=ACCEPTED_MEDIA
            )
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
            raise InputError("{name} is damaged or not really a {kind} file", name=name, kind=kind) from error
        with container:
            yield container


def pick_track(streams: list[_Track], name: str, what: str, track: int | None = None) -> _Track:
    """The track of number `track` from 1, else the default one as players take it, else the first. Raises InputError."""
    if track is None:
        return next((s for s in streams if s.disposition & Disposition.default), streams[0])
    if not 1 <= track <= len(streams):
        held = Sentence("one") if len(streams) == 1 else len(streams)
        raise InputError(
            "{name} has no {what} track {track}; it holds {held}, numbered from 1",
            name=name,
            what=Sentence(what),
            track=track,
            held=held,
        )
    return streams[track - 1]


def moving_pictures(container: InputContainer) -> list[VideoStream]:
    """The video tracks, without covers and thumbnails; those that nothing marks as such are known by a still picture's codec
    beside a film's."""
    tracks = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    films = [s for s in tracks if s.codec_context is None or s.codec_context.name not in STILL_CODECS]
    return films or tracks


def start_of_time(container: InputContainer) -> Fraction | None:
    """Where a player's clock begins, in seconds: at the earliest of all tracks. None where nothing is stamped."""
    streams = [*moving_pictures(container), *container.streams.audio]
    starts = [s.start_time * s.time_base for s in streams if s.start_time is not None and s.time_base]
    return min(starts, default=None)


def decode(container: InputContainer, stream: Stream, name: str) -> Iterator[Any]:
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
            raise InputError(
                "{name} takes over {most:.0f} s to decode; a simpler file is needed", name=name, most=MAX_DECODE_SECONDS
            )
    if broken > MAX_DAMAGE * packets:
        raise InputError(
            "{name} is damaged: {broken} of its {all} parts cannot be decoded", name=name, broken=broken, all=packets
        )


def check_pixels(name: str, width: int, height: int, max_pixels: int) -> None:
    """Raises InputError for pictures of more than `max_pixels` pixels."""
    if width * height > max_pixels:
        raise InputError(
            "{name} has {width} x {height} pixels; at most {most:.1f} million are accepted",
            name=name,
            width=width,
            height=height,
            most=max_pixels / 1e6,
        )


def claimed_seconds(container: InputContainer) -> float:
    return container.duration / av.time_base if container.duration else 0.0


def too_long(container: InputContainer, name: str, max_seconds: float) -> InputError:
    claimed = claimed_seconds(container)
    if claimed > max_seconds:
        return InputError(
            "{name} lasts {seconds:.0f} s; at most {most:g} s are accepted",
            name=name,
            seconds=claimed,
            most=max_seconds,
        )
    return InputError("{name} is too long; at most {most:g} s are accepted", name=name, most=max_seconds)
