"""Keypoints of a real speaker to rig motion: the pose of the rig that explains what was seen, frame by frame.

Damped Gauss-Newton on the 57 parameters of a frame, all frames at once. Pictures show no depth: bones of known length and
a prior around the resting pose decide it. The person's own proportions are taken out first: shoulders, face and hands
are each brought to the rig's size, and what the face keeps all the time counts as its shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from iasa.avatar.identity import make_identity
from iasa.avatar.rig import RigMotion, make_keypoints, rest_motion
from iasa.keypoints import (
    EYE_CORNERS,
    FACE,
    LEFT_HAND,
    LEFT_SHOULDER,
    RIGHT_HAND,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
    Keypoints,
)
from iasa.motion.rig_regions import PARAMETERS, REGIONS, to_motion, to_vectors

ARMS = slice(LEFT_SHOULDER, RIGHT_WRIST + 1)  # shoulders, elbows, wrists
PALM = (0, 5, 9, 13, 17)  # of a hand: they move as one
SEEN = 0.5  # mean confidence from which a region counts as seen
ITERATIONS = 10
SMOOTH = 0.8  # frames
STEP = 1e-3  # of the numerical derivative, in spreads
PRIOR = 0.02  # weight of the prior against the points, which are in shoulder widths
_SPREAD = {
    "arms": (5, 8, 5, 5, 8, 5, 1, 0.3, 0.5, 0.5, 0.5),
    "right_hand": (0.6,) * 6 + (0.4,) * 11,
    "left_hand": (0.6,) * 6 + (0.4,) * 11,
    "head": (0.2, 0.15, 0.1),
    "face": (0.4, 0.5, 0.3, 0.3, 0.3, 0.2, 0.5, 0.5, 0.5),
}
SPREAD = np.concatenate([_SPREAD[name] for name in REGIONS]).astype(np.float64)  # prior, in the rig's units


@dataclass(frozen=True)
class Fit:
    """What `fit_motion` found."""

    motion: RigMotion
    known: np.ndarray  # bool [f, 5] regions that were seen, as iasa.motion.rig_regions.REGIONS
    error: float  # median distance of the rig's points from the seen ones, shoulder widths


def _parts(keypoints: Keypoints) -> dict[str, np.ndarray]:
    """Points in units of this person: arms from the middle of the shoulders, hands from their wrist, the face from its middle.

    Arms are in shoulder widths, hands in lengths of the palm, the face in distances of the eyes (medians of the clip).
    """
    xy = keypoints.xy.astype(np.float64)

    def typical(a: int, b: int) -> float:
        seen = (keypoints.confidence[:, [a, b]] > 0).all(1)
        lengths = np.linalg.norm(xy[:, a] - xy[:, b], axis=-1)
        return float(np.quantile(lengths[seen], 0.75)) if seen.any() else 1.0

    middle = (xy[:, LEFT_SHOULDER] + xy[:, RIGHT_SHOULDER])[:, None] / 2
    face = xy[:, FACE] - xy[:, FACE].mean(1, keepdims=True)
    parts = {
        "arms": (xy[:, ARMS] - middle.mean(0)) / typical(LEFT_SHOULDER, RIGHT_SHOULDER),
        "face": 0.25 * face / typical(*EYE_CORNERS),
        "place": 0.25 * (xy[:, FACE].mean(1, keepdims=True) - middle) / typical(*EYE_CORNERS),
    }
    for name, hand in (("right_hand", RIGHT_HAND), ("left_hand", LEFT_HAND)):
        palm = max(typical(hand.start, hand.start + finger) for finger in PALM[1:])
        parts[name] = 0.35 * (xy[:, hand] - xy[:, hand.start, None]) / palm
    return parts


def _regions_seen(keypoints: Keypoints) -> np.ndarray:
    """bool [f, 5]."""
    where = {"arms": ARMS, "right_hand": RIGHT_HAND, "left_hand": LEFT_HAND, "head": FACE, "face": FACE}
    return np.stack([keypoints.confidence[:, where[name]].mean(1) >= SEEN for name in REGIONS], 1)


def fit_motion(keypoints: Keypoints) -> Fit:
    """The rig motion of a clip [f, 133, 2] at 25 frames a second; unseen regions rest and are marked unknown."""
    identity = make_identity(0)
    known = _regions_seen(keypoints)
    seen = dict(zip(REGIONS, known.T, strict=True))
    weights = {"arms": seen["arms"], "face": seen["face"], "place": seen["face"] & seen["arms"]}
    weights |= {name: seen[name] for name in ("right_hand", "left_hand")}
    target = _parts(keypoints)
    home = to_vectors(rest_motion(1)).astype(np.float64)
    count = len(keypoints)
    found = np.repeat(home, count, 0)

    def view(vectors: np.ndarray) -> dict[str, np.ndarray]:
        return _parts(make_keypoints(identity, to_motion(vectors.astype(np.float32))))

    sizes = view(np.repeat(home, 2, 0))
    shape = {name: np.zeros_like(value[0]) for name, value in sizes.items()}
    for _ in range(ITERATIONS):
        base = view(found)
        for name in ("face", "place"):  # what is always there is the person's shape, not an expression
            if weights[name].any():
                shape[name] = np.median((target[name] - base[name])[weights[name]], axis=0)
        residual = _stack({n: target[n] - shape[n] - base[n] for n in target}, weights)  # [f, m]
        slopes = np.empty((count, residual.shape[1], PARAMETERS))
        for p in range(PARAMETERS):
            moved = found.copy()
            moved[:, p] += STEP * SPREAD[p]
            after = view(moved)
            slopes[:, :, p] = _stack({n: (after[n] - base[n]) / STEP for n in target}, weights)
        pull = (home - found) / SPREAD
        normal = np.einsum("fmp,fmq->fpq", slopes, slopes) + PRIOR**2 * np.eye(PARAMETERS)
        right = np.einsum("fmp,fm->fp", slopes, residual) + PRIOR**2 * pull
        step = np.linalg.solve(normal, right[..., None])[..., 0]
        found = found + SPREAD * np.clip(step, -1, 1)
    error = np.abs(_stack({n: target[n] - shape[n] - view(found)[n] for n in target}, weights))
    smooth = to_motion(gaussian_filter1d(found, SMOOTH, axis=0, mode="nearest").astype(np.float32))
    return Fit(smooth, known, float(np.median(error[error > 0])) if (error > 0).any() else float("nan"))


def _stack(parts: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> np.ndarray:
    """All parts of a frame in one row, 0 where unseen: [f, m]."""
    return np.concatenate(
        [(part * weights[name][:, None, None]).reshape(len(part), -1) for name, part in parts.items()], 1
    )
