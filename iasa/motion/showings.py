"""Motions that show what a person's reference picture hides, cover it, and show it again after 1 to 8 s."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from iasa.avatar.details import TURN, Details
from iasa.avatar.hands import hand_shape
from iasa.avatar.mesh import FACE_CHANNELS
from iasa.avatar.rig import HAND_SIZE, RigMotion, gaze_of
from iasa.config import VIDEO_FPS
from iasa.motion.strokes import LEFT, RIGHT, Key, follow

KINDS = ("right", "left", "apart", "turn")  # an arm up, both hands off the chest, the head to its other side
MOVE, HOLD, REST = (0.35, 0.5), (0.8, 1.2), (0.3, 0.7)  # seconds
ORDERS = ((0, 1, 0, 2, 1, 2), (0, 0, 1, 2, 1, 2), (0, 1, 2, 0, 1, 2), (0, 1, 1, 0, 2, 2), (0, 1, 2, 2, 1, 0))


def folded_hands() -> np.ndarray:
    """Hands folded before the chest's print, palms to the body: float32 [2, 20], (right, left)."""
    hands = np.zeros((2, HAND_SIZE), np.float32)
    for side, (sign, wrist) in enumerate(((-1, (9.5, -30.5, 18)), (1, (9.5, -34.9, 22)))):
        mirror = np.array([sign, 1, 1])
        pose = [np.array(v) * mirror for v in (wrist, (0.0, 0.2, -1.0), (-1.0, 0.12, 0.15))]
        hands[side] = np.concatenate([*pose, hand_shape("flat")])
    return hands


def make_showings(details: Details, seconds: float, seed: int) -> RigMotion:
    """A performance at 25 frames a second whose frame 0 is the reference's pose; the same seed gives the same one."""
    rng = np.random.default_rng([seed, 22])
    frames = round(seconds * VIDEO_FPS)
    keys: dict[int, list[Key]] = {side: [_rest(side, 0.0)] for side in (RIGHT, LEFT)}
    turned = 1.0 if details.clip_side == LEFT else -1.0
    yaw = [(0.0, turned * TURN)]
    for start, end, kind in _plan(rng, seconds):
        move = float(rng.uniform(*MOVE))
        if kind == "turn":
            away = turned * TURN + rng.normal() * 0.02, -turned * float(rng.uniform(0.30, 0.45))
            yaw += [(start, away[0]), (start + move, away[1]), (end - move, away[1]), (end, turned * TURN)]
            continue
        for side in (RIGHT, LEFT):
            if kind in ("apart", ("right", "left")[side]):
                shown = _shown(kind, side == details.palm_side, rng)
                keys[side] += [_rest(side, start), *(_at(shown, side, t) for t in (start + move, end - move))]
                keys[side].append(_rest(side, end))
    times = np.arange(frames) / VIDEO_FPS
    head = np.stack(
        [
            np.interp(times, [t for t, _ in yaw], [angle for _, angle in yaw]),
            *(_wander(rng, frames, 0.03) for _ in range(2)),
        ],
        1,
    )
    head[:, 0] = gaussian_filter1d(head[:, 0], 3.0, mode="nearest")
    hands = np.stack([follow(keys[side], times) for side in (RIGHT, LEFT)], 1)
    face = np.zeros((frames, len(FACE_CHANNELS)))
    face[:, 0] = np.clip(0.35 + _wander(rng, frames, 0.35, 3.0), 0, 1)
    still = np.zeros((frames, 2))
    lean, breath = _wander(rng, frames, 0.3), _wander(rng, frames, 0.15)
    return RigMotion(head, lean, breath, still[:, 0], still, gaze_of(head), face, hands)


def reference_motion(details: Details) -> RigMotion:
    """The one frame in which none of the details shows."""
    yaw = TURN if details.clip_side == LEFT else -TURN
    head, one = np.array([[yaw, 0.0, 0.0]]), np.zeros(1)
    face = np.zeros((1, len(FACE_CHANNELS)))
    return RigMotion(head, one, one, one, np.zeros((1, 2)), gaze_of(head), face, folded_hands()[None])


def _plan(rng: np.random.Generator, seconds: float) -> list[tuple[float, float, str]]:
    """(start, end, kind) of showings: three kinds, each at least twice while there is time."""
    plan, time = [], float(rng.uniform(0.3, 0.6))
    while time < seconds:
        kinds = rng.permutation(len(KINDS))[:3]
        for place in ORDERS[int(rng.integers(len(ORDERS)))]:
            length = 2 * max(MOVE) + float(rng.uniform(*HOLD))
            plan.append((time, time + length, KINDS[int(kinds[place])]))
            time += length + float(rng.uniform(*REST))
    return plan


def _rest(side: int, time: float) -> Key:
    pose = folded_hands()[side]
    return Key(time, pose[:3], pose[3:6], pose[6:9], pose[9:])


def _shown(kind: str, palm: bool, rng: np.random.Generator) -> np.ndarray:
    """A left hand's pose that shows something: [20]."""
    if kind == "apart":
        wrist, normal, way, shape = (20.5, -31, 17), (-0.4, 0.6, 0.2), (0.5, 0.25, 0.7), "open"
    else:
        facing = 1.0 if palm or rng.random() < 0.3 else -1.0
        wrist, normal, way, shape = (17.0, -18.0, 19), (0.0, 0.1, facing), (0.15, 1.0, 0.1), "open"
    wrist = np.array(wrist) + rng.uniform(-1, 1, 3) * (1.5, 2.0, 1.0)
    normal, way = (np.array(v) + 0.06 * rng.normal(size=3) for v in (normal, way))
    return np.concatenate([wrist, normal, way, hand_shape(shape)])


def _at(pose: np.ndarray, side: int, time: float) -> Key:
    mirror = np.array([-1.0 if side == RIGHT else 1.0, 1, 1])
    return Key(time, pose[:3] * mirror, pose[3:6] * mirror, pose[6:9] * mirror, pose[9:])


def _wander(rng: np.random.Generator, frames: int, size: float, smooth: float = 12.0) -> np.ndarray:
    """A slow random path of deviation `size`: [f]."""
    path = gaussian_filter1d(rng.normal(size=frames), smooth, mode="wrap")
    return size * path * np.sqrt(2 * smooth * np.sqrt(np.pi))
