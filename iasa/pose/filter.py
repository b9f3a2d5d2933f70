"""The paper's filter on poses: which frames of a real video are good enough to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iasa.keypoints import BODY, FACE, LEFT_HIP, Keypoints

UPPER_BODY_POINTS = slice(BODY.start, LEFT_HIP)  # head, shoulders, elbows, wrists: 11 points


@dataclass(frozen=True)
class PoseFilter:
    """Thresholds; the first three are the paper's, the last says what its "visible" is taken to mean."""

    face: float = 0.9  # mean confidence of the face must exceed it
    upper_body: float = 0.8  # mean confidence of the upper body must exceed it
    visible: float = 0.9  # at least this share of the upper body must be visible
    seen: float = 0.5  # a point is visible from this confidence on, if it lies inside the picture


def keep_frames(keypoints: Keypoints, thresholds: PoseFilter | None = None) -> np.ndarray:
    """Which frames pass: bool [f]."""
    thresholds = thresholds or PoseFilter()
    face = keypoints.confidence[:, FACE].mean(1)
    confidence = keypoints.confidence[:, UPPER_BODY_POINTS]
    xy = keypoints.xy[:, UPPER_BODY_POINTS]
    inside = ((xy >= 0) & (xy <= 1)).all(-1)
    visible = (inside & (confidence >= thresholds.seen)).mean(1)
    return (face > thresholds.face) & (confidence.mean(1) > thresholds.upper_body) & (visible >= thresholds.visible)


def find_runs(keep: np.ndarray, shortest: int = 1) -> list[tuple[int, int]]:
    """Unbroken runs of kept frames as (first, one past the last), each at least `shortest` frames long.

    keep = 1 1 0 1 1 1, shortest = 3  ->  [(3, 6)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], keep, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a >= shortest]
