"""Keypoints from pictures by mediapipe Holistic, with the confidences that its own interface keeps to itself.

mediapipe is imported only when a detector is made. 0.10.21 is the last release whose models lie inside the
package; they work offline at model complexity 1 alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from iasa.config import VIDEO_FPS, InputError
from iasa.keypoints import Keypoints, from_holistic

INSTALL = "pip install mediapipe==0.10.21"

_GRAPH = "mediapipe/modules/holistic_landmark/holistic_landmark_cpu.binarypb"
_DETECTION = "poselandmarkcpu__posedetectioncpu__"
_POSE = "poselandmarkcpu__poselandmarkbyroicpu__tensorstoposelandmarksandsegmentation__"
_HAND = "handlandmarksleftandrightcpu__handlandmarksfromposecpu_{}__handlandmarkcpu__hand_presence_score"
_SCORES = {
    "face": "facelandmarksfromposecpu__facelandmarkcpu__face_presence_score",
    "pose": _POSE + "pose_presence_score",
    "left": _HAND.format(1),
    "right": _HAND.format(2),
}
_LANDMARKS = {
    "face": "face_landmarks",
    "pose": "pose_landmarks",
    "left": "left_hand_landmarks",
    "right": "right_hand_landmarks",
}
_POINTS = {"face": 478, "pose": 33, "left": 21, "right": 21}

_stderr_lock = threading.Lock()


@dataclass(frozen=True)
class HolisticFrame:
    """What Holistic finds in one picture: x and y in 0..1 of its width and height, z in the scale of x.

    A part that was not found is None, with score 0. Scores are the networks' own presence probabilities; left
    and right are the person's.
    """

    face: np.ndarray | None  # [478, 3], the last ten the irises
    pose: np.ndarray | None  # [33, 3]
    left: np.ndarray | None  # [21, 3]
    right: np.ndarray | None  # [21, 3]
    visibility: np.ndarray  # [33] of the pose points, 0 where there is no pose
    face_score: float
    pose_score: float
    left_score: float
    right_score: float


class HolisticDetector:
    """mediapipe Holistic as a context: `with HolisticDetector() as detector: detector.detect(frame)`.

    Frame after frame of one clip it tracks and smooths; `reset` begins another clip; `static` treats every
    frame as a picture of its own. Raises InputError where mediapipe is missing.
    """

    _noted = False

    def __init__(self, static: bool = False, min_detection: float = 0.5, min_tracking: float = 0.5) -> None:
        with quiet_stderr():
            self._graph = _import_solution()(
                binary_graph_path=_GRAPH,
                side_inputs={
                    "model_complexity": 1,
                    "smooth_landmarks": not static,
                    "enable_segmentation": False,
                    "smooth_segmentation": False,
                    "refine_face_landmarks": True,
                    "use_prev_landmarks": not static,
                },
                calculator_params={
                    _DETECTION + "TensorsToDetectionsCalculator.min_score_thresh": min_detection,
                    _POSE + "ThresholdingCalculator.threshold": min_tracking,
                },
                outputs=[*_LANDMARKS.values(), *_SCORES.values()],
            )
            self._warm_up()

    def __enter__(self) -> HolisticDetector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._graph.close()

    def reset(self) -> None:
        """Forget the clip so far."""
        with quiet_stderr():
            self._graph.reset()
            self._warm_up()

    def _warm_up(self) -> None:
        """An empty picture: the graph starts its parts, and prints its notes, at the first one it gets."""
        self._graph.process({"image": np.zeros((64, 64, 3), np.uint8)})

    def detect(self, frame: np.ndarray) -> HolisticFrame:
        """The face, body and hands in uint8 RGB [H, W, 3]."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"a frame is {frame.dtype} {list(frame.shape)}; uint8 [H, W, 3] is needed")
        height, width = frame.shape[:2]
        side = max(height, width)  # its regions of interest are exact on square pictures only
        square = np.pad(frame, ((0, side - height), (0, side - width), (0, 0)))
        scale = np.array([side / width, side / height, side / width], np.float32)
        with nullcontext() if self._noted else quiet_stderr():  # one more note comes with the first face
            found = self._graph.process({"image": np.ascontiguousarray(square)})
        self._noted = self._noted or found.face_landmarks is not None
        parts, scores = {}, {}
        for part, stream in _LANDMARKS.items():
            landmarks = getattr(found, stream)
            parts[part] = None if landmarks is None else _to_array(landmarks) * scale
            score = getattr(found, _SCORES[part])
            scores[f"{part}_score"] = float(score) if landmarks is not None and score is not None else 0.0
        visibility = np.zeros(_POINTS["pose"], np.float32)
        if found.pose_landmarks is not None:
            visibility[:] = [point.visibility for point in found.pose_landmarks.landmark]
        return HolisticFrame(**parts, visibility=visibility, **scores)


def to_keypoints(found: list[HolisticFrame], fps: float = VIDEO_FPS, height: int = 1, width: int = 1) -> Keypoints:
    """Detections of frames of `height` x `width` as the 133 points.

    Image units are those of the square: a frame that is not square counts as cut to its middle, and what lies
    beyond has coordinates outside 0..1. Confidence: visibility for the body, presence for face and hands.
    """
    side = min(height, width)
    scale = np.array([width / side, height / side], np.float32)
    offset = (scale - 1) / 2

    def stack(part: str) -> np.ndarray:
        missing = np.full((_POINTS[part], 3), np.nan, np.float32)
        points = np.stack([missing if getattr(f, part) is None else getattr(f, part) for f in found])
        return points[..., :2] * scale - offset

    def score(part: str) -> np.ndarray:
        return np.array([getattr(f, f"{part}_score") for f in found], np.float32)

    return from_holistic(
        stack("face"),
        stack("pose"),
        stack("left"),
        stack("right"),
        face_confidence=score("face"),
        pose_confidence=np.stack([f.visibility for f in found]),
        left_confidence=score("left"),
        right_confidence=score("right"),
        fps=fps,
    )


def extract_keypoints(
    frames: Iterable[np.ndarray],  # uint8 [f, H, W, 3], or an iterator of [H, W, 3]
    fps: float = VIDEO_FPS,
    static: bool = False,
    cuts: Container[int] = (),  # frames at which another shot begins: nothing is tracked into it
) -> Keypoints:
    """The poses in a clip (tracked and smoothed), or in unrelated pictures of one size (`static`)."""
    found, size = [], ()
    with HolisticDetector(static) as detector:
        for number, frame in enumerate(frames):
            size = size or frame.shape[:2]
            if number in cuts:
                detector.reset()
            found.append(detector.detect(frame))
    if not found:
        raise InputError("there are no frames to find a pose in")
    return to_keypoints(found, fps, *size)


def _to_array(landmarks: Any) -> np.ndarray:
    return np.array([(p.x, p.y, p.z) for p in landmarks.landmark], np.float32)


def _import_solution() -> type:
    """mediapipe's graph runner. Raises InputError that names what to install."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        from mediapipe.python.solution_base import SolutionBase
    except ModuleNotFoundError as error:
        raise InputError(
            "finding poses and faces needs mediapipe with its models inside: {how}", how=INSTALL
        ) from error
    except ImportError as error:  # cv2, which mediapipe imports, misses a system library
        raise InputError(
            "mediapipe cannot be loaded ({error}): apt-get install libgl1 libegl1 libglib2.0-0", error=str(error)
        ) from error
    return SolutionBase


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """mediapipe's C++ start-up notes, which no setting silences, kept off the terminal."""
    with _stderr_lock:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
