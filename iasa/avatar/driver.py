"""A driver's poses carried to the speaker: the proportions are the speaker's, the movement is the driver's.

The driver is seen from its own rest, where its points are most of the time and its mouth is closed. A photograph's
person moves away from the photograph, as far as the picture can show; a drawn one puts the hands where the driver has
them, in widths of the shoulders.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from iasa import keypoints as kp
from iasa.avatar.identity import Identity
from iasa.avatar.moving_parts import MOVES, TOGETHER, Parts
from iasa.avatar.photograph import ELBOWS, HANDS, SHOULDERS, WRISTS
from iasa.avatar.retarget import (
    FINGER_REACH,
    FINGER_SHARE,
    HAND_SHARE,
    HAND_TURN,
    HIPS,
    SHIFT,
    SHOULDER_REACH,
    Arm,
    Figure,
    Retarget,
    limit_wrist,
    soft_limit,
)
from iasa.avatar.rig import DRAWING_SIZE, make_geometry, make_keypoints, rest_motion, to_drawing
from iasa.keypoints import MESH_TO_FACE, Keypoints

FILMED_REACH = 10.0  # cm: a photograph's wrist comes no farther from where the picture has it
DRAWN_REACH = 8.0  # cm: nor a drawn speaker's shoulder from its rest
RIGID = (0, 16, 27, 28, 29, 30, 36, 39, 42, 45)  # of the face's points: expressions do not move them
SAME_SIZE = 0.05  # by which the face and the shoulders of a speaker's own poses may differ from the speaker's
SAME_PLACE = 0.2  # shoulder widths that the speaker's own poses are away from the speaker's rest, at most
FADE = 5.0  # frames in which a lost hand goes to its rest, and a found one comes back
PALM = 9  # the joint whose distance from the wrist is the palm's length


class DrawnTarget(Retarget):
    """A drawn speaker as poses are carried to it: everything moves."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.geometry = make_geometry(identity, rest_motion(1), 0)
        hands = tuple(self._place(self.geometry.hands[side]) for side in (1, 0))  # the rig's sides are (right, left)
        figure = Figure(make_keypoints(identity, rest_motion(1)), self._place(self.geometry.face), hands)
        super().__init__(figure, Parts((MOVES, MOVES)))

    def _place(self, points: np.ndarray) -> np.ndarray:  # cm [..., 3] -> image units, y down, z away from the camera
        depth = -points[..., 2:] * self.identity.scale / DRAWING_SIZE
        return np.concatenate([to_drawing(self.identity, points) / DRAWING_SIZE, depth], -1)

    def _arm(self, side: int, hand: np.ndarray) -> Arm:
        g, i = self.geometry, 1 - side
        shoulder, elbow, wrist = (self._place(p[i]) * [1, -1, -1] for p in (g.shoulders, g.elbows, g.wrists))
        return Arm(shoulder, elbow, wrist, hand * [1, -1, -1] - wrist)


def carry_poses(target: Retarget, poses: Keypoints) -> Keypoints:
    """The poses on the speaker; those that have the speaker's size, proportions and place stay as they are, bit for bit."""
    driver = (DriverOfDrawn if isinstance(target, DrawnTarget) else Driver)(target, poses)
    return poses if driver.is_speaker() else target.finish(driver.carry())


class Driver:
    """Poses seen from the rest of whoever they are of; carries them to the person of a photograph."""

    reach = SHOULDER_REACH

    def __init__(self, target: Retarget, poses: Keypoints) -> None:
        self.target, self.poses = target, poses
        self.xy = np.where(poses.confidence[..., None] > 0, poses.xy, np.nan).astype(np.float64)
        self.middle = _median(self.xy)  # [133, 2]
        own, driver = (float(np.linalg.norm(p[SHOULDERS[0]] - p[SHOULDERS[1]])) for p in (target.rest, self.middle))
        a, b = kp.EYE_CORNERS
        eyes = float(np.linalg.norm(target.rest[a] - target.rest[b]) / np.linalg.norm(self.middle[a] - self.middle[b]))
        seen = np.isfinite(own / driver) and target.figure.seen[list(SHOULDERS)].all()
        self.face_size = eyes if np.isfinite(eyes) else own / driver
        self.size = own / driver if seen else self.face_size

    def is_speaker(self) -> bool:
        """Whether face and shoulders are the speaker's, in size, proportions and place; or nothing of them is seen."""
        t, shoulders = self.target, list(SHOULDERS)
        span = float(np.linalg.norm(np.subtract(*t.rest[shoulders])))
        places, sizes = [shoulders] if t.figure.seen[shoulders].all() else [], []
        face = [kp.FACE.start + point for point in RIGID]
        found = np.isfinite(self.xy[:, face]).all((1, 2))
        if found.any():
            mesh = t.local[[MESH_TO_FACE[point] for point in RIGID]]
            mesh = np.concatenate([mesh, np.ones((len(mesh), 1))], 1)
            views = (
                np.linalg.pinv(mesh)[:3] @ self.xy[found][:, face]
            )  # [f, 3, 2]: each frame's view of the speaker's head
            sizes.append(np.median(np.linalg.svd(views, compute_uv=False), 0) / t.unit)
            places.append(face)
        away = np.array([np.linalg.norm((self.middle[p] - t.rest[p]).mean(0)) / span for p in places])
        if places and places[0] == shoulders:
            sizes.append(np.array([np.linalg.norm(np.subtract(*self.middle[shoulders])) / span]))
        size = np.concatenate([*sizes, np.zeros(0)])
        size, away = size[np.isfinite(size)], away[np.isfinite(away)]
        return bool((np.abs(size - 1) < SAME_SIZE).all() and (away < SAME_PLACE).all())

    def carry(self) -> np.ndarray:  # [f, 133, 2]
        """The poses on the speaker."""
        t = self.target
        out = np.repeat(t.rest[None], len(self.poses), 0)
        self._carry_face(out)
        moves = soft_limit(self._moves(list(SHOULDERS)) * self.size, np.array(self.reach * t.unit))
        out[:, list(SHOULDERS)] += moves
        out[:, list(HIPS)] += 0.3 * moves.mean(1, keepdims=True)
        self._carry_arms(out, _in_space(moves * t.flip))
        return out

    def _carry_arms(self, out: np.ndarray, shoulders: np.ndarray) -> None:
        """Arms and hands, where the shoulders have moved by [f, 2, 3]."""
        t = self.target
        moves = [self._moves([HANDS[side].start])[:, 0] * self.size * t.flip for side in range(2)]
        wanted = [limit_wrist(move, FILMED_REACH * t.unit, *t.outwards(side)) for side, move in enumerate(moves)]
        if t.parts.hands == (TOGETHER, TOGETHER):
            wanted = [SHIFT * (wanted[0] + wanted[1]) / 2] * 2
        for side, arm in enumerate(t.arms):
            if arm is None:
                t.follow_shoulder(out, side)
            else:
                t.put_arm(out, side, arm, shoulders[:, side], _in_space(wanted[side]), self._hand(side, arm))

    def _moves(self, points: list[int]) -> np.ndarray:  # [f, n, 2]
        """Away from the driver's rest, and back to it where nothing is seen."""
        moves = np.zeros((len(self.xy), len(points), 2))
        for i, point in enumerate(points):
            seen = np.isfinite(self.xy[:, point, 0])
            if seen.any():
                moves[:, i] = (self.xy[_nearest_found(seen), point] - self.middle[point]) * _fade(seen)[:, None]
        return moves

    def _carry_face(self, out: np.ndarray) -> None:
        t = self.target
        face = self.xy[:, kp.FACE]
        found = np.isfinite(face).all((1, 2))
        if not found.any():
            return
        filled = face[_nearest_found(found)]
        bridge = filled[:, 27:28]
        gap = np.linalg.norm(filled[:, 62] - filled[:, 66], axis=-1)
        closed = gap <= np.quantile(gap, 0.15)
        still = (filled - bridge)[closed].mean(0) + np.median(bridge, 0)
        moves = (filled - still) * self.face_size
        shut = (t.unit * t.neutral[list(MESH_TO_FACE)] @ t.rotation.T + t.center)[:, :2] * t.flip
        out[:, kp.FACE] = shut + moves
        for point, source in ((kp.NOSE, 30), (1, 42), (2, 39), (kp.LEFT_EAR, 16), (kp.RIGHT_EAR, 0)):
            out[:, point] = t.rest[point] + moves[:, source]

    def _hand(self, side: int, arm: Arm) -> np.ndarray:  # [f, 21, 3]
        """The photograph's hand turned and bent in the picture's plane as the driver's is."""
        frames = len(self.poses)
        hands = np.repeat(arm.hand[None], frames, 0)
        points = self.xy[:, HANDS[side]]
        found = np.isfinite(points).all((1, 2))
        if self.target.parts.hands[side] == TOGETHER or not found.any():
            return hands
        points = points[_nearest_found(found)]
        local = (points - points[:, :1]) * self.size * self.target.flip
        still = np.median(local, 0)
        angle = np.arctan2(*_cross_dot(still[9], local[:, 9]))
        angle = HAND_TURN * np.tanh(HAND_SHARE[2] * angle / HAND_TURN)
        bend = soft_limit(
            FINGER_SHARE * (_turn(local, -angle) - still), FINGER_REACH * float(np.ptp(arm.hand, axis=0).max())
        )
        hands[..., :2] = _turn(arm.hand[:, :2] + bend, angle)
        return hands


class DriverOfDrawn(Driver):
    """Carries poses to a drawn speaker, whose hands go wherever the driver's do."""

    reach = DRAWN_REACH

    def _carry_arms(self, out: np.ndarray, shoulders: np.ndarray) -> None:
        t, ends = self.target, list(SHOULDERS)
        rest, driver = t.rest[ends].mean(0), self.middle[ends].mean(0)
        for side, arm in enumerate(t.arms):
            assert arm is not None  # all of a drawn speaker moves
            hand_root, wrist = self.xy[:, HANDS[side].start], self.xy[:, WRISTS[side]]
            place = np.where(np.isfinite(hand_root), hand_root, wrist)
            seen = np.isfinite(place[:, 0])
            if not (seen.any() and np.isfinite(driver).all()):
                t.put_arm(
                    out, side, arm, shoulders[:, side], 0.6 * shoulders[:, side], np.repeat(arm.hand[None], len(out), 0)
                )
                continue
            place = rest + (place[_nearest_found(seen)] - driver) * self.size
            move = (place * t.flip - arm.wrist[:2]) * _fade(seen)[:, None]
            t.put_arm(
                out, side, arm, shoulders[:, side], _in_space(move), self._hand(side, arm), self._elbow_side(side, arm)
            )

    def _elbow_side(self, side: int, arm: Arm) -> np.ndarray:  # [f, 3]
        """Where the elbow is from the middle of the arm: as the driver's, or at rest where that is not seen."""
        shoulder, elbow, wrist = (self.xy[:, points[side]] for points in (SHOULDERS, ELBOWS, WRISTS))
        aside = (elbow - (shoulder + wrist) / 2) * self.size * self.target.flip
        rest = arm.elbow - (arm.shoulder + arm.wrist) / 2
        seen = np.isfinite(aside[:, 0])
        if not seen.any():
            return np.repeat(rest[None], len(aside), 0)
        share = _fade(seen)[:, None]
        aside = _in_space(aside[_nearest_found(seen)], rest[2])
        return share * aside + (1 - share) * rest

    def _hand(self, side: int, arm: Arm) -> np.ndarray:  # [f, 21, 3]
        """The driver's hand in the speaker's size."""
        rest = np.repeat(arm.hand[None], len(self.poses), 0)
        points = self.xy[:, HANDS[side]]
        found = np.isfinite(points).all((1, 2))
        if not found.any():
            return rest
        local = points[_nearest_found(found)]
        local = (local - local[:, :1]) * self.target.flip
        palm = np.quantile(np.linalg.norm(local[:, PALM], axis=-1), 0.9)  # seen from its broad side
        own = np.linalg.norm(arm.hand[PALM] - arm.hand[0])
        size = np.clip(own / max(palm, 1e-9), 0.7 * self.size, 1.4 * self.size)
        share = _fade(found)[:, None, None]
        return share * _in_space(size * local) + (1 - share) * rest


def _in_space(move: np.ndarray, depth: float | np.floating = 0.0) -> np.ndarray:  # [..., 2] -> [..., 3]
    return np.concatenate([move, np.full((*move.shape[:-1], 1), depth)], -1)


def _fade(seen: np.ndarray) -> np.ndarray:  # bool [f] -> float64 [f]
    """1 where something is seen, falling to 0 in a gap."""
    return (
        np.minimum(1.0, 2 * gaussian_filter1d(seen.astype(np.float64), FADE, mode="nearest"))
        if not seen.all()
        else seen * 1.0
    )


def _turn(points: np.ndarray, angle: np.ndarray) -> np.ndarray:  # [f, n, 2], [f]
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = points[..., 0], points[..., 1]
    return np.stack([c * x - s * y, s * x + c * y], -1)


def _cross_dot(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return a[0] * b[:, 1] - a[1] * b[:, 0], b @ a


def _median(xy: np.ndarray) -> np.ndarray:
    """Over frames, of what is seen; NaN for points that never are."""
    out = np.full(xy.shape[1:], np.nan)
    seen = np.isfinite(xy).all(-1).any(0)
    out[seen] = np.nanmedian(xy[:, seen], 0)
    return out


def _nearest_found(found: np.ndarray) -> np.ndarray:  # bool [f] -> int [f]
    """For each frame the nearest one in which something was found."""
    where = np.flatnonzero(found)
    return where[np.abs(np.arange(len(found))[:, None] - where[None]).argmin(1)]
