"""Video as upright pictures of square pixels, on the clock of its file; the names of all that reads media."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from iasa.config import MAX_PIXELS, MAX_VIDEO_SECONDS, VIDEO_FPS, InputError, Sentence
from iasa.files import display_name
from iasa.media.animation import read_animation, read_if_animation
from iasa.media.container import (
    check_pixels,
    claimed_seconds,
    decode,
    moving_pictures,
    open_media,
    pick_track,
    start_of_time,
    too_long,
)
from iasa.media.metadata import find_settings, to_settings
from iasa.media.picture import read_image
from iasa.media.sound import Sound, read_audio_track, read_sound

__all__ = [
    "Sound", "open_media", "open_video", "read_audio_track", "read_image", "read_metadata", "read_sound", "read_video",
]  # fmt: skip

ACCEPTED_VIDEO = Sentence("{kinds} and {last}", kinds="mp4, mov, webm, mkv, avi, gif, webp", last="png")

MAX_VIDEO_BYTES = 4 * 2**30  # of decoded pictures that read_video holds at once
MAX_PICTURES_PER_SECOND = 240
MAX_PIXEL_ASPECT = 8  # width to height of a stored pixel, or the other way round; beyond it a claim is ignored


@contextmanager
def open_video(
    path: str | os.PathLike,
    max_seconds: float = MAX_VIDEO_SECONDS,
    max_pixels: int = MAX_PIXELS,
    fps: float | None = None,
) -> Iterator[tuple[Iterator[np.ndarray], float]]:
    """A context that yields (iterator of upright pictures uint8 [H, W, 3] of one size, frames a second).

    With `fps` they come at that constant rate, by their time stamps (phones and browsers record at an uneven
    rate); without it, as stored. An animation's own rate counts as 25, since each picture has its own duration.
    Raises InputError.
    """
    name = display_name(path)
    data = read_if_animation(path)
    if data is not None:
        frames = _bounded(read_animation(data, name, max_pixels), name, max_seconds)
        yield _at_rate(frames, fps) if fps else (picture for _, picture in frames), fps or VIDEO_FPS
        return
    with open_media(path, max_pixels) as container:
        streams = moving_pictures(container)
        if not streams:
            raise InputError("{name} has no moving picture; accepted are {kinds}", name=name, kinds=ACCEPTED_VIDEO)
        stream = pick_track(streams, name, "video")
        if stream.codec_context is None:
            raise InputError(
                "{name} has pictures in a format that cannot be decoded; accepted are {kinds}",
                name=name,
                kinds=ACCEPTED_VIDEO,
            )
        check_pixels(name, stream.width, stream.height, max_pixels)
        if claimed_seconds(container) > max_seconds + 1:
            raise too_long(container, name, max_seconds)
        native = float(stream.average_rate or stream.guessed_rate or VIDEO_FPS)
        stream.codec_context.options = {"max_pixels": str(max_pixels)}
        frames = _stamped(container, stream, name, max_seconds, native)
        yield _at_rate(frames, fps, 1 / native) if fps else (picture for _, picture in frames), fps or native


def _bounded(frames: Iterator[tuple[float, np.ndarray]], name: str, max_seconds: float) -> Iterator:
    for index, (seconds, picture) in enumerate(frames):
        if seconds > max_seconds or index >= max_seconds * MAX_PICTURES_PER_SECOND:
            raise InputError("{name} is too long; at most {most:g} s are accepted", name=name, most=max_seconds)
        yield seconds, picture


def _stamped(
    container: InputContainer, stream: VideoStream, name: str, max_seconds: float, native: float
) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds, upright picture [H, W, 3] of one size) of each frame, counted from the beginning of the file's clock."""
    size, zero = None, 0.0
    for index, frame in enumerate(decode(container, stream, name)):
        if index >= max_seconds * MAX_PICTURES_PER_SECOND:
            raise too_long(container, name, max_seconds)
        seconds = frame.time if frame.time is not None else index / native
        if size is None:
            size = _display_size(frame.width, frame.height, stream.sample_aspect_ratio)
            begins = start_of_time(container)
            zero = seconds
            if frame.time is not None and begins is not None and seconds - begins > 0.5 / VIDEO_FPS:
                zero = float(begins)  # the sound begins first
        if seconds - zero > max_seconds:
            raise too_long(container, name, max_seconds)
        try:
            picture = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
        except (av.FFmpegError, ValueError) as error:
            raise InputError("{name} is damaged: its pictures cannot be converted to RGB", name=name) from error
        yield seconds - zero, _to_upright(picture, frame)
    if size is None:
        raise InputError("{name} holds no picture that can be decoded", name=name)


def _at_rate(frames: Iterator[tuple[float, np.ndarray]], fps: float, last: float | None = None) -> Iterator[np.ndarray]:
    """Frame k is the last one that starts by k / fps; before the first one has started, the first one. The last one
    lasts `last` seconds, else one frame."""
    held, shown, end = None, 0, 0.0
    for seconds, picture in frames:
        held = picture if held is None else held
        while shown / fps < seconds - 1e-6:
            yield held
            shown += 1
        held, end = picture, seconds + (last or 1 / fps)
    while held is not None and (not shown or shown / fps < end - 1e-6):
        yield held
        shown += 1


def _display_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height in square pixels, the stored side that is too short lengthened."""
    if not aspect or not 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT:
        return width, height
    wide, high = round(width * max(aspect, 1)), round(height / min(aspect, 1))
    return (wide, high) if wide * high <= MAX_PIXELS else (width, height)


def _to_upright(picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """The picture turned and mirrored as the frame's display matrix says, to the nearest quarter turn."""
    side = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return picture
    (a, b, _), (c, d, _), _ = np.frombuffer(bytes(side), np.int32).reshape(3, 3).astype(float)
    if abs(b) + abs(c) > abs(a) + abs(d):  # x' = c y, y' = b x
        picture, a, d = picture.swapaxes(0, 1), c, b
    picture = picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(picture)


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
                    "{name} takes over {most:.0f} GB when decoded ({width} x {height} pixels); "
                    "a shorter or smaller video is needed",
                    name=display_name(path),
                    most=MAX_VIDEO_BYTES / 2**30,
                    width=picture.shape[1],
                    height=picture.shape[0],
                )
            kept.append(picture)
    return np.stack(kept), rate


def read_metadata(path: str | os.PathLike) -> dict:
    """The settings that `write_video` stored in a file, {} where there are none. Raises InputError."""
    data = read_if_animation(path)
    if data is not None:
        return find_settings(data)
    with open_media(path) as container:
        return to_settings(container.metadata.get("comment") or container.metadata.get("COMMENT") or "")
