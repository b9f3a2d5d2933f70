"""How good a performance is: lips against the truth, strokes against accents, spread, smoothness, bones."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from iasa.avatar.identity import Identity
from iasa.avatar.rig import RigMotion, make_geometries
from iasa.config import VIDEO_FPS
from iasa.keypoints import Keypoints, mouth_opening, mouth_width
from iasa.metrics.video_quality import correlation
from iasa.motion.rig_regions import LIPS, region_slices, to_vectors

STROKE_SPEED = 20.0  # cm/s that a hand must exceed in a stroke
STROKE_END = 0.35  # of that peak: below it the stroke is over
BEAT_WIDTH = 0.1  # seconds, sigma of the alignment
LONGEST_LAG = 6  # frames
WINDOW, HOP = 50, 25  # frames of a window of motion features
FINGER_BONES = tuple((f + k, f + k + 1) for f in (1, 5, 9, 13, 17) for k in range(3))


def lip_scores(made: Keypoints, true: Keypoints) -> dict[str, float]:
    """Pearson's r of the mouth's opening and width, and by how many ms the made lips come late."""
    opening, wanted = mouth_opening(made), mouth_opening(true)
    return {
        "opening_r": correlation(opening, wanted),
        "width_r": correlation(mouth_width(made), mouth_width(true)),
        "lag_ms": 1000 / VIDEO_FPS * _lag(opening, wanted),
    }


def _lag(late: np.ndarray, early: np.ndarray) -> float:
    """Frames by which `late` [f] runs behind, to a part of a frame: the top of a parabola through the best three r."""
    lags = np.arange(-LONGEST_LAG, LONGEST_LAG + 1)
    n = len(late)
    if n < 4 * LONGEST_LAG:
        return float("nan")
    r = np.array([correlation(late[max(k, 0) : n + min(k, 0)], early[max(-k, 0) : n - max(k, 0)]) for k in lags])
    if not np.isfinite(r).all():
        return float("nan")
    best = int(r.argmax())
    if best in (0, len(lags) - 1):
        return float(lags[best])
    a, b, c = r[best - 1 : best + 2]
    return float(lags[best] + 0.5 * (a - c) / (a - 2 * b + c - 1e-12))


def stroke_ends(motion: RigMotion) -> np.ndarray:
    """Seconds at which a quick movement of either hand comes to its end."""
    ends = []
    for side in range(2):
        path = gaussian_filter1d(motion.hands[:, side, :3].astype(float), 1.0, axis=0, mode="nearest")
        speed = np.linalg.norm(np.diff(path, axis=0), axis=1) * VIDEO_FPS
        for peak in find_peaks(np.r_[0, speed, 0], height=STROKE_SPEED, distance=4)[0] - 1:
            slow = np.flatnonzero(speed[peak:] < STROKE_END * speed[peak])
            if len(slow):
                ends.append((peak + slow[0] + 0.5) / VIDEO_FPS)
    return np.sort(np.array(ends))


def beat_alignment(ends: np.ndarray, accents: np.ndarray) -> float:
    """Mean of exp(-d^2 / 2 sigma^2) over stroke ends, d to the nearest accent (seconds); NaN without either."""
    if not len(ends) or not len(accents):
        return float("nan")
    distance = np.abs(ends[:, None] - accents).min(1)
    return float(np.exp(-0.5 * (distance / BEAT_WIDTH) ** 2).mean())


def motion_features(motion: RigMotion) -> np.ndarray:
    """Windows of two seconds [m, 156]: mean, spread and mean speed of every parameter but the lips'."""
    vectors = to_vectors(motion).astype(np.float64)
    first = region_slices()["face"].start
    vectors = np.delete(vectors, np.arange(first, first + LIPS), 1)
    rows = []
    for start in range(0, len(vectors) - WINDOW + 1, HOP):
        part = vectors[start : start + WINDOW]
        rows.append(np.concatenate([part.mean(0), part.std(0), np.abs(np.diff(part, axis=0)).mean(0) * VIDEO_FPS / 4]))
    return np.array(rows).reshape(-1, 3 * vectors.shape[1])


def spread_over_seeds(motions: list[RigMotion]) -> float:
    """Mean distance of the wrists between two performances of the same speech, cm."""
    wrists = np.stack([m.hands[:, :, :3] for m in motions]).astype(float)  # [seeds, f, 2, 3]
    first, second = np.triu_indices(len(motions), 1)
    return float(np.linalg.norm(wrists[first] - wrists[second], axis=-1).mean())


def jerk(motion: RigMotion) -> float:
    """Root mean square of the wrists' third derivative, m/s^3."""
    third = np.diff(motion.hands[:, :, :3].astype(float), n=3, axis=0) * VIDEO_FPS**3 / 100
    return float(np.sqrt((third**2).sum(-1).mean()))


def bone_error(identity: Identity, motion: RigMotion, nominal: RigMotion) -> dict[str, float]:
    """The largest change of a bone's length against `nominal` (one frame), as a share: arms and finger bones."""

    def lengths(some: RigMotion) -> dict[str, np.ndarray]:
        g = make_geometries(identity, some)
        upper = np.linalg.norm(g.elbows - g.shoulders, axis=-1)
        fore = np.linalg.norm(g.wrists - g.elbows, axis=-1)
        a, b = (list(ends) for ends in zip(*FINGER_BONES, strict=True))
        fingers = np.linalg.norm(g.hands[:, :, a] - g.hands[:, :, b], axis=-1)
        return {"arms": np.stack([upper, fore], -1), "fingers": fingers}

    made, true = lengths(motion), lengths(nominal)
    return {name: float(np.abs(made[name] / true[name][:1] - 1).max()) for name in made}


def rest_distance(motion: RigMotion, rest: np.ndarray, quiet: np.ndarray | slice) -> float:
    """Median distance of the wrists from where they rest [2, 20], cm, in the frames `quiet`; NaN without any."""
    away = np.linalg.norm(motion.hands[quiet][:, :, :3] - rest[:, :3], axis=-1)
    return float(np.median(away)) if len(away) else float("nan")
