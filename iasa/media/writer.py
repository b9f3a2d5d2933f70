"""Writing of video: whole or not at all, with sound, the visible mark and the statement of what is generated."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from iasa.config import VIDEO_FPS, InputError
from iasa.files import check_output, display_name, is_same_file, partial_name, put_in_place
from iasa.media import animation
from iasa.media.animation import AnimationEncoder, FolderEncoder
from iasa.media.metadata import to_comment
from iasa.media.sound import Sound
from iasa.media.video_encoder import VideoEncoder
from iasa.media.watermark import add_mark

WITH_SOUND = (".mp4", ".webm")
WITH_ALPHA = (".webm", ".webp", ".png", "")
SUFFIXES = (*WITH_SOUND, *animation.SUFFIXES)


def check_video_output(path: str | os.PathLike, inputs: Iterable[str | os.PathLike | None] = ()) -> Path:
    """`path` if a video can be written there: a file, or, without an ending, a folder of frames. Raises InputError."""
    target = Path(path)
    if "." in target.name:
        return check_output(path, SUFFIXES, inputs)
    name = display_name(path)
    if target.is_symlink() or target.exists():
        if target.is_symlink() or not target.is_dir() or any(target.iterdir()):
            raise InputError(f"the frames cannot be written to {name}: a new or empty folder is needed")
        if any(source is not None and is_same_file(target, source) for source in inputs):
            raise InputError(f"the output {name} is also the input; another name is needed")
    check_output(partial_name(target).with_suffix(".png"), (".png",))  # whether the folder can be made
    return target


def check_alpha(path: str | os.PathLike) -> None:
    """Raises InputError if what a path names holds no alpha."""
    if Path(path).suffix.lower() not in WITH_ALPHA:
        raise InputError(
            f"{display_name(path)} cannot be transparent; a .webm, .webp or .png, or a folder of PNG frames, can"
        )


class VideoWriter:
    """A video that appears under its name only once it is complete; the name's ending chooses what it is.

    .mp4 (h264, aac) and .webm (vp9, opus) carry sound; .gif, .webp and .png are animations; a name without an ending
    is a folder of PNG frames. A context: frames go in by `add_frames`; leaving it normally puts the file in place,
    leaving it by an exception removes every trace and keeps whatever stood there before. The target is tried on
    entering, so that an unwritable one costs no work. Sound is cut or padded with silence to frames / fps. In files
    with sound odd sizes repeat their last row or column.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: float = VIDEO_FPS,
        audio: np.ndarray | Sound | None = None,  # float [n], full scale 1.0, or all that a file holds
        rate: int | None = None,  # samples a second of an array
        metadata: dict | None = None,  # JSON values, kept in the file's comment
        crf: int = 18,  # h264 quality: 0 best, 51 worst
        preset: str = "veryfast",
        mark: bool = False,  # put the visible AI mark on every frame
    ) -> None:
        self._mark = mark
        self.path = Path(os.path.abspath(path))  # absolute: a relative "a:b.mp4" would read as a protocol
        self.frames = 0
        self._fps = Fraction(fps).limit_denominator(1001)
        self._quality = crf, preset
        self._sound = audio if audio is None or isinstance(audio, Sound) else _to_sound(np.asarray(audio), rate)
        self._partial = partial_name(self.path)
        self._encoder: VideoEncoder | AnimationEncoder | FolderEncoder | None = None
        self._size: tuple[int, int] | None = None  # height, width of the frames that come in
        self.describe(metadata or {})

    def __enter__(self) -> VideoWriter:
        check_video_output(self.path, [self._sound.path or None] if self._sound else ())
        return self

    @property
    def has_sound(self) -> bool:
        return self._sound is not None and self.path.suffix.lower() in WITH_SOUND

    def describe(self, metadata: dict) -> None:
        """Set the file's metadata (JSON values). Once frames were added this may cost one more copy of the file."""
        self._comment = to_comment(metadata)

    def add_frames(self, frames: np.ndarray) -> None:
        """Append uint8 RGB frames [f, H, W, 3], or RGBA ones [f, H, W, 4] where the file takes alpha, all of one size; their
        share of the sound goes along."""
        if frames.ndim != 4 or frames.shape[3] not in (3, 4) or frames.dtype != np.uint8:
            raise ValueError(f"frames are {frames.dtype} {list(frames.shape)}; uint8 [f, H, W, 3 or 4] is needed")
        if frames.shape[3] == 4:
            check_alpha(self.path)
        if not len(frames):
            return
        size = frames.shape[1], frames.shape[2]
        self._size = self._size or size
        if size != self._size:
            raise ValueError(f"frames are {size} (height, width); the first were {self._size}")
        if self._mark:
            frames = add_mark(frames)
        try:
            if self._encoder is None:
                self._encoder = self._make_encoder(size, frames.shape[3] == 4)
            if isinstance(self._encoder, VideoEncoder):
                frames = np.pad(frames, ((0, 0), *((0, side % 2) for side in size), (0, 0)), mode="edge")
            for frame in frames:
                self._encoder.add(frame)
                self.frames += 1
        except (av.FFmpegError, OSError) as error:
            raise self._unwritable(error) from error

    def _make_encoder(self, size: tuple[int, int], alpha: bool) -> VideoEncoder | AnimationEncoder | FolderEncoder:
        suffix = self.path.suffix.lower()
        self._partial = self._partial.with_suffix(suffix)
        if not suffix:
            return FolderEncoder(self._partial, self._comment)
        if suffix not in WITH_SOUND:
            return AnimationEncoder(self._partial, self._fps)
        even = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        return VideoEncoder(self._partial, even, self._fps, self._sound, self._comment, *self._quality, alpha)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            if self._encoder is not None:
                self._encoder.abandon()
            if not self._partial.is_dir():
                self._partial.unlink(missing_ok=True)

    def _finish(self) -> None:
        if not self.frames or self._encoder is None:
            raise InputError(f"there are no frames to write to {display_name(self.path)}")
        try:
            self._encoder.finish(self._comment)
            if self._partial.is_dir():
                os.rename(self._partial, self.path)
            else:
                put_in_place(self._partial, self.path)
        except (av.FFmpegError, OSError) as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> InputError:
        reason = getattr(error, "strerror", None) or str(error)
        return InputError(
            "{name} cannot be written to {folder}: {reason}",
            name=display_name(self.path),
            folder=self.path.parent,
            reason=reason,
        )


def write_video(
    path: str | os.PathLike,
    frames: np.ndarray,  # uint8 [f, H, W, 3]
    audio: np.ndarray | Sound | None = None,  # float [n], or all that a file holds
    rate: int | None = None,
    fps: float = VIDEO_FPS,
    metadata: dict | None = None,
    crf: int = 18,
) -> None:
    """Write all frames, with their sound, as one video (`VideoWriter`). Raises InputError, leaving nothing."""
    with VideoWriter(path, fps, audio, rate, metadata, crf) as writer:
        writer.add_frames(frames)


def _to_sound(audio: np.ndarray, rate: int | None) -> Sound:
    """Samples [n] as mono sound."""
    if audio.ndim != 1 or not np.issubdtype(audio.dtype, np.floating):
        raise ValueError(f"sound is {audio.dtype} {list(audio.shape)}; floating point [samples] is needed")
    if not rate or rate < 1:
        raise ValueError(f"sound has a rate of {rate} samples a second; a positive whole number is needed")
    return Sound(np.nan_to_num(audio.astype(np.float32))[None], rate, "mono")
