"""Gaps in detected poses: a point that a detector lost for a moment is still there."""

from __future__ import annotations

import numpy as np

from iasa.keypoints import COUNT, LEFT_HAND, LEFT_WRIST, RIGHT_HAND, RIGHT_WRIST, Keypoints
from iasa.pose.filter import find_runs

LONGEST = 0.5  # seconds: a gap no longer than this is bridged
EASE = 0.2  # seconds in which a point fades out before a longer gap, and in after it
LOWERED = 0.5  # confidence of what was not seen, in that of its neighbours


def bridge_gaps(keypoints: Keypoints, longest: float = LONGEST, ease: float = EASE) -> Keypoints:
    """Poses in which a point that is missing for at most `longest` seconds moves straight across the gap.

    At a longer gap, and where a point comes or goes for good, it holds still for `ease` seconds while its confidence
    falls or rises; in between it stays missing. Hands move with their wrists. What was seen is returned unchanged.
    """
    xy, confidence = keypoints.xy.astype(np.float64), keypoints.confidence.astype(np.float64)
    spans = round(longest * keypoints.fps), max(1, round(ease * keypoints.fps))
    arms = [p for p in range(COUNT) if p < LEFT_HAND.start]
    _bridge(xy, confidence, arms, np.zeros_like(xy[:, 0]), spans)
    for hand, wrist in ((LEFT_HAND, LEFT_WRIST), (RIGHT_HAND, RIGHT_WRIST)):
        held = confidence[:, wrist] > 0
        anchor = xy[:, wrist] if held.all() else np.zeros_like(xy[:, wrist])
        _bridge(xy, confidence, list(range(hand.start, hand.stop)), anchor, spans)
    return Keypoints(xy, confidence, keypoints.fps)


def _bridge(
    xy: np.ndarray,  # [f, 133, 2], changed
    confidence: np.ndarray,  # [f, 133], changed
    points: list[int],
    anchor: np.ndarray,  # [f, 2] what the points move with
    spans: tuple[int, int],  # frames of the longest gap, and of easing
) -> None:
    for p in points:
        seen = confidence[:, p] > 0
        if seen.all() or not seen.any():
            continue
        place, sure = xy[:, p] - anchor, confidence[:, p].copy()
        for first, stop in find_runs(~seen):
            before, after = first - 1, stop if stop < len(seen) else -1
            if before >= 0 and after >= 0 and stop - first <= spans[0]:
                share = np.arange(1, stop - first + 1) / (stop - first + 1)
                place[first:stop] = place[before] + share[:, None] * (place[after] - place[before])
                sure[first:stop] = LOWERED * min(sure[before], sure[after])
                continue
            if before >= 0:
                _ease(place, sure, np.arange(first, min(first + spans[1], stop)), before)
            if after >= 0:
                _ease(place, sure, np.arange(stop - 1, max(stop - 1 - spans[1], first - 1), -1), after)
        xy[:, p], confidence[:, p] = place + anchor, sure


def _ease(place: np.ndarray, sure: np.ndarray, frames: np.ndarray, last: int) -> None:
    """Hold the place of frame `last` over `frames`, with ever less confidence; what the other side eased stays."""
    fade = LOWERED * sure[last] * (1 - np.arange(len(frames)) / len(frames))
    weaker = sure[frames] < fade
    place[frames[weaker]], sure[frames[weaker]] = place[last], fade[weaker]
