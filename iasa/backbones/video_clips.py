"""Videos of people who talk to clips that a Wan model can learn from: scene cuts, poses, the paper's filter, crops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from iasa.backbones.speech_scene import crop_box, cut_picture
from iasa.config import InputError
from iasa.keypoints import BODY, COUNT, Keypoints
from iasa.media.reader import open_video
from iasa.pose import extract_keypoints, find_cuts, find_jumps, find_runs, keep_frames
from iasa.pose.shots import shrink

SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi")
LONGEST = 3600.0  # seconds of a video

PoseFinder = Callable[
    [Iterable[np.ndarray], float], Keypoints
]  # pictures, frames a second -> poses in units of `to_picture`


@dataclass(frozen=True)
class VideoClip:
    """Pictures uint8 [f, H, W, 3] at the model's rate and size, their poses 0..1 of width and height, and a reference."""

    key: str
    pictures: np.ndarray
    poses: Keypoints
    reference: np.ndarray  # uint8 [H, W, 3], of the same take but outside of the clip where there is more


@dataclass(frozen=True)
class VideoReport:
    frames: int
    kept: int  # in clips


def find_videos(folder: Path) -> list[Path]:
    """The videos of a folder, in order. Raises InputError if there is none."""
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    if not paths:
        raise InputError(f"there are no videos in {folder}; accepted are {', '.join(SUFFIXES)}")
    return paths


def find_takes(keep: np.ndarray, cuts: Sequence[int], length: int) -> list[tuple[int, int]]:
    """Runs of kept frames without a cut inside, at least `length` long: (first, end). `cuts` are frames that begin a shot."""
    takes = []
    for first, end in find_runs(keep):
        edges = [first, *(t for t in cuts if first < t < end), end]
        takes += [(a, b) for a, b in zip(edges, edges[1:], strict=False) if b - a >= length]
    return takes


def read_clips(
    path: Path, height: int, width: int, fps: float = 16.0, length: int = 81, find_poses: PoseFinder = extract_keypoints
) -> tuple[Iterator[VideoClip], VideoReport]:
    """The clips of a video, one at a time (it is decoded twice, so that no more than one clip is held). Raises InputError."""
    small: list[np.ndarray] = []
    size = (1, 1)

    def watched(pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal size
        for picture in pictures:
            size = (picture.shape[0], picture.shape[1])
            small.append(shrink(picture))
            yield picture

    with open_video(path, LONGEST, fps=fps) as (pictures, _):
        poses = find_poses(watched(pictures), fps)
    cuts = sorted({*find_cuts(small), *find_jumps(poses)})
    takes = find_takes(keep_frames(poses), cuts, length)
    starts = [(first, start) for first, end in takes for start in range(first, end - length + 1, length)]
    report = VideoReport(len(poses), len(starts) * length)
    return _cut_clips(path, to_picture(poses, size), size, starts, (height, width), fps, length), report


def to_picture(poses: Keypoints, size: tuple[int, int]) -> Keypoints:
    """From units of the square in a picture's middle to the picture's pixels (x, y)."""
    high, wide = size
    side = min(size)
    return replace(poses, xy=poses.xy * np.float32(side) + np.array([wide - side, high - side], np.float32) / 2)


def _cut_clips(
    path: Path,
    poses: Keypoints,  # pixels
    shown: tuple[int, int],  # height and width of the video
    starts: list[tuple[int, int]],  # of each clip's take, of the clip
    size: tuple[int, int],
    fps: float,
    length: int,
) -> Iterator[VideoClip]:
    if not starts:
        return
    height, width = size
    with open_video(path, LONGEST, fps=fps) as (pictures, _):
        numbered = enumerate(pictures)
        reference = np.zeros(0, np.uint8)  # the first picture of the take
        for first, start in starts:
            here = poses[start : start + length]
            box = crop_box(here, shown, width / height)
            made: list[np.ndarray] = []
            for number, picture in numbered:
                if number == first:
                    reference = picture
                if number >= start:
                    made.append(cut_picture(picture, box, height, width))
                if len(made) == length:
                    break
            left, top, wide, high = box
            placed = replace(
                here, xy=(here.xy - np.array([left, top], np.float32)) / np.array([wide, high], np.float32)
            )
            still = cut_picture(reference, box, height, width)
            yield VideoClip(f"{path.name}-{start:06d}", np.stack(made), placed, still)


class DWPose:
    """Poses by rtmlib with the user's two ONNX files, for videos that mediapipe reads too slowly or too coarsely."""

    def __init__(self, detector: Path, pose: Path, device: str = "cpu") -> None:
        for file in (detector, pose):
            if not file.is_file():
                raise InputError(f"there is no file {file}; DWPose needs a detector and a pose network as ONNX files")
        try:
            from rtmlib import Wholebody  # type: ignore
        except ImportError as error:
            raise ImportError("DWPose needs rtmlib, which is not installed: pip install rtmlib onnxruntime") from error
        sizes = dict(det_input_size=(640, 640), pose_input_size=(288, 384))
        self._find = Wholebody(det=str(detector), pose=str(pose), backend="onnxruntime", device=device, **sizes)

    def __call__(self, pictures: Iterable[np.ndarray], fps: float) -> Keypoints:
        xy, confidence = [], []
        for picture in pictures:
            points, scores = self._find(np.ascontiguousarray(picture[..., ::-1]))  # it reads BGR
            largest = int(np.argmax(np.ptp(points[:, BODY, 0], 1))) if len(points) else None
            high, wide = picture.shape[:2]
            side = min(high, wide)
            empty = largest is None or points.shape[1] != COUNT
            placed = (
                np.zeros((COUNT, 2)) if empty else (points[largest] - [(wide - side) / 2, (high - side) / 2]) / side
            )
            xy.append(placed)
            confidence.append(np.zeros(COUNT) if empty else np.clip(scores[largest], 0, 1))
        if not xy:
            raise InputError("there are no frames to find a pose in")
        return Keypoints(np.stack(xy), np.stack(confidence), fps)
