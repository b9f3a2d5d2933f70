"""The paper's filter on poses: which frames of a real video are good enough to learn from; and the one to be a photograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iasa.config import InputError
from iasa.keypoints import BODY, FACE, LEFT_HAND, LEFT_HIP, LOWER_LIP, RIGHT_HAND, UPPER_LIP, Keypoints

FACING = 0.25  # of half a face's width: how far its nose may lie from the middle before it counts as turned away
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


def choose_frame(found: Keypoints) -> int:
    """The frame that looks at the camera with open eyes, a closed mouth and visible hands.

    Raises InputError if no face is found.
    """
    faces = (found.confidence[:, FACE] > 0).all(1)
    if not faces.any():
        raise InputError("no face was found in the clip")
    face = found.xy[:, FACE].astype(np.float64)
    brows, chin = face[:, [19, 24]].mean(1), face[:, 8]
    height = np.linalg.norm(chin - brows, axis=-1).clip(1e-6)  # a turn of the head leaves it as it is
    lids = [np.linalg.norm(face[:, a] - face[:, b], axis=-1) for a, b in ((37, 41), (38, 40), (43, 47), (44, 46))]
    lips = np.linalg.norm(found.xy[:, UPPER_LIP] - found.xy[:, LOWER_LIP], axis=-1)
    across = face[:, 16] - face[:, 0]
    nose = ((face[:, 30] - face[:, 0]) * across).sum(-1) / (across**2).sum(-1).clip(1e-9)  # 0.5 between the ears
    hands = sum((found.confidence[:, hand].max(1) > 0).astype(float) for hand in (LEFT_HAND, RIGHT_HAND))
    aside = np.maximum(np.abs(2 * nose - 1) - FACING, 0)
    score = 10 * np.mean(lids, 0) / height - 4 * lips / height - 4 * aside + 0.5 * hands
    return int(np.where(faces, score, -np.inf).argmax())
