"""Motion carried to the person of a photograph: at rest the points are the photograph's own, and they move from there.

Head and face turn as the person's own mesh (found in the photograph, in three dimensions) with the rig's expressions; wrists
take the movement of the rig's wrists, softly limited to what the picture can show; elbows follow by two-link arms of this
person's lengths; hands turn and bend a part of the way. `driver` does the same with the poses of another person.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from iasa import keypoints as kp
from iasa.avatar.identity import Identity, make_identity
from iasa.avatar.mesh import LOWER_LID, UPPER_LID, express, expression_basis, jaw_share
from iasa.avatar.moving_parts import DRAWN, TOGETHER, Parts
from iasa.avatar.photo import fit_head
from iasa.avatar.photograph import ELBOWS, HANDS, SHOULDERS, WRISTS, Photograph
from iasa.avatar.rig import (
    FOREARM,
    NECK_PIVOT,
    UPPER_ARM,
    Geometry,
    RigMotion,
    head_rotations,
    make_geometries,
    rest_motion,
)
from iasa.keypoints import MESH_TO_FACE, Keypoints

BODY_SEED = 7  # of the rig's body that makes the motion; its proportions do not reach the picture
REACH = 7.5  # cm: a wrist comes no farther from where the photograph has it
DOWN = 0.4  # of what a wrist sinks
OUT = 0.4  # of what a wrist moves away from the body, where the forearm points at the camera
FLAT = (
    0.3,
    0.8,
)  # of a forearm's length that the picture shows: from where on it counts as pointing, and as lying flat
SHIFT = 0.45  # of that: hands that touch move together, and less
SHOULDER_REACH = 3.0  # cm
HAND_TURN = 0.4  # radians: no hand turns farther from where the photograph has it
HAND_SHARE = np.array([0.15, 0.15, 0.6])  # of a hand's turns about the axes to the right, up and to the camera
FINGER_SHARE = 0.3  # of its bends
FINGER_REACH = 0.08  # of a hand's length
HEAD_TURN = (0.32, 0.22, 0.25)  # radians of yaw, pitch and roll
OPEN = 0.015  # gap of the lips over the distance of the eyes, above which the photograph's mouth counts as open
SHOULDER_SPAN = 31.5  # cm between the rig's shoulder points, of an average body
LIDS_OPEN = 0.27  # of an eye's width, in its middle
EYES = (1, 2)
HIPS = (kp.LEFT_HIP, kp.RIGHT_HIP)
EYE_VERTICES = ((362, 263), (133, 33))  # of the left and the right eye, whose middles are the body's points


def soft_limit(x: np.ndarray, reach: float | np.ndarray) -> np.ndarray:
    """Vectors [..., n] shortened so that none is as long as `reach`; short ones stay as they are."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x * (reach * np.tanh(length / reach) / np.maximum(length, 1e-9))


def limit_wrist(move: np.ndarray, reach: float, outwards: float = 0.0, out_share: float = 1.0) -> np.ndarray:
    """Movements [f, 2 or 3] of a wrist, y up, softly limited; downwards less, and by `out_share` to the side `outwards` (-1
    or 1), for there the forearm would have to be seen that a hand held before it hides."""
    move = move.copy()
    move[:, 1] -= (1 - DOWN) * np.minimum(move[:, 1], 0)
    move[:, 0] -= (1 - out_share) * outwards * np.maximum(outwards * move[:, 0], 0)
    return soft_limit(move, reach)


def limit_turn(rotation: np.ndarray, limit: float) -> np.ndarray:  # [..., 3, 3]
    """A part of rotations, softly limited to an angle; most of it in the picture's plane, for a hand's other sides are unseen."""
    from scipy.spatial.transform import Rotation

    vectors = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_rotvec() * HAND_SHARE
    return Rotation.from_rotvec(soft_limit(vectors, limit)).as_matrix().reshape(rotation.shape)


def two_link(
    shoulder: np.ndarray, wrist: np.ndarray, upper: float | np.floating, fore: float | np.floating, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Elbows and reachable wrists [f, 3] of arms whose elbow lies towards `pole`, [3] or [f, 3], from the shoulder."""
    offset = wrist - shoulder
    wanted = np.linalg.norm(offset, axis=-1, keepdims=True)
    distance = np.clip(wanted, abs(upper - fore) + 1e-3, upper + fore - 1e-3)
    along = offset / np.maximum(wanted, 1e-9)
    x = (upper**2 - fore**2 + distance**2) / (2 * distance)
    height = np.sqrt(np.maximum(upper**2 - x**2, 0))
    away = pole - (along * pole).sum(-1, keepdims=True) * along
    away = away / np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-9)
    return shoulder + along * x + away * height, shoulder + along * distance


def hand_axes(joints: np.ndarray) -> np.ndarray:  # [..., 21, 3] -> [..., 3, 3], axes as columns
    """Across the palm, along it and out of it."""
    along = joints[..., 9, :] - joints[..., 0, :]
    along = along / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
    across = joints[..., 5, :] - joints[..., 17, :]
    across = across - (across * along).sum(-1, keepdims=True) * along
    across = across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-9)
    return np.stack([across, along, np.cross(across, along)], -1)


@dataclass(frozen=True, eq=False)
class Arm:
    """At rest, units of the picture with y up and z to the camera."""

    shoulder: np.ndarray  # [3]
    elbow: np.ndarray  # [3]
    wrist: np.ndarray  # [3]
    hand: np.ndarray  # [21, 3] from the wrist


@dataclass(frozen=True, eq=False)
class Figure:
    """A person at rest, as points in a picture. Image units; sides are (left, right) of the person."""

    keypoints: Keypoints  # one frame
    face: np.ndarray  # [478, 3] y down, z away from the camera
    hands: tuple[np.ndarray | None, ...]  # [21, 3] of each hand, as `face`

    @property
    def seen(self) -> np.ndarray:  # bool [133]
        return self.keypoints.confidence[0] > 0


class Retarget:
    """Puts movement on one person, from that person's rest.

    Everything is in image units, y up and z to the camera, until it is handed out.
    """

    def __init__(self, figure: Figure | Photograph, parts: Parts) -> None:
        self.figure, self.parts = figure, parts
        self.rest = figure.keypoints.xy[0].astype(np.float64)
        self.flip = np.array([1.0, -1.0])
        points = figure.face.astype(np.float64)
        _, self.rotation, self.unit, _ = fit_head(points)  # unit: image units a cm
        self.head = points * [1, -1, -1]
        self.center = self.head[:468].mean(0)
        self.local = (self.head - self.center) @ self.rotation / self.unit
        self.arms = [
            self._arm(side, hand) if moves and hand is not None else None
            for side, (moves, hand) in enumerate(zip(parts.moving, figure.hands, strict=True))
        ]

    @cached_property
    def neutral(self) -> np.ndarray:  # [478, 3]
        """The photograph's face in the head's frame, its mouth closed, and eyes open that were shut."""
        local = self.local.copy()
        gap = local[13, 1] - local[14, 1]
        if gap > OPEN * np.linalg.norm(local[263] - local[33]):
            local[:, 1] += jaw_share(local) * gap
        if self.parts.eyes == DRAWN:
            for upper, lower in zip(UPPER_LID, LOWER_LID, strict=True):
                width = np.linalg.norm(local[upper[0]] - local[upper[-1]])
                arc = LIDS_OPEN * width * np.sin(np.linspace(0, np.pi, len(upper)))
                local[list(upper), 1] = local[list(lower), 1] + arc
        return local

    @cached_property
    def basis(self) -> np.ndarray:
        return expression_basis(self.neutral)

    def from_motion(self, motion: RigMotion) -> Keypoints:
        """The rig's motion on this person."""
        identity = make_identity(BODY_SEED)
        new, rest = make_geometries(identity, motion), make_geometries(identity, rest_motion(1))
        frames = len(motion)
        out = np.repeat(self.rest[None], frames, 0)
        lean = (new.lean - rest.lean) * self.unit  # [f, 3]
        face = self._face(motion, 1.25 * lean)
        self._put_face(out, face)
        shoulders = soft_limit((new.shoulders - rest.shoulders) / _size(identity), SHOULDER_REACH) * self.unit
        self._put_trunk(out, shoulders[:, ::-1], 0.3 * lean)
        wanted = [
            limit_wrist((new.wrists - rest.wrists)[:, 1 - side], REACH, *self.outwards(side)) for side in range(2)
        ]
        if self.parts.hands == (TOGETHER, TOGETHER):
            wanted = [SHIFT * (wanted[0] + wanted[1]) / 2] * 2
        for side, arm in enumerate(self.arms):
            if arm is None:
                self.follow_shoulder(out, side)
                continue
            hand = self._rig_hand(new, rest, side, arm)
            self.put_arm(out, side, arm, shoulders[:, 1 - side], wanted[side] * self.unit, hand)
        return self.finish(out)

    def _face(self, motion: RigMotion, shift: np.ndarray) -> np.ndarray:  # [f, 478, 3]
        limit = np.array(HEAD_TURN)
        turns = head_rotations((limit * np.tanh(motion.head / limit)).astype(np.float64))
        moved = express(self.neutral, self.basis, motion.face)
        size = float(np.linalg.norm(self.local[10] - self.local[152]) / 17.0)  # of this head against the rig's
        pivot = NECK_PIVOT * size
        moved = (moved - pivot) @ np.swapaxes(turns, 1, 2) + pivot
        return self.unit * moved @ self.rotation.T + self.center + shift[:, None]

    def outwards(self, side: int) -> tuple[float, float]:
        """To which side of the picture the arm's outer side is, y up, and how much of a movement there can be shown."""
        arm, (left, right) = self.arms[side], self.rest[list(SHOULDERS), 0]
        if arm is None:
            return 0.0, 1.0
        flat = np.linalg.norm((arm.wrist - arm.elbow)[:2]) / np.linalg.norm(arm.wrist - arm.elbow)
        share = OUT + (1 - OUT) * np.interp(flat, FLAT, (0.0, 1.0))
        return float(np.sign(left - right) * (1 if side == 0 else -1)), float(share)

    def _put_face(self, out: np.ndarray, face: np.ndarray) -> None:
        """The face, and the body's points on the head, from the mesh [f, 478, >= 2]."""
        out[:, kp.FACE] = face[:, list(MESH_TO_FACE), :2] * self.flip
        rest = self.head[:, :2] * self.flip
        moved = face[..., :2] * self.flip
        for point, vertices in ((kp.NOSE, [1]), *zip(EYES, map(list, EYE_VERTICES), strict=True)):
            out[:, point] = self.rest[point] + (moved[:, vertices] - rest[vertices]).mean(1)
        for point, vertex in ((kp.LEFT_EAR, 454), (kp.RIGHT_EAR, 234)):
            out[:, point] = self.rest[point] + moved[:, vertex] - rest[vertex]

    def _put_trunk(self, out: np.ndarray, shoulders: np.ndarray, hips: np.ndarray) -> None:
        """Movements [f, 2, 3] of the shoulders, (left, right), and [f, 3] of the hips."""
        out[:, list(SHOULDERS)] += shoulders[..., :2] * self.flip
        out[:, list(HIPS)] += hips[:, None, :2] * self.flip

    def follow_shoulder(self, out: np.ndarray, side: int) -> None:
        """An arm that keeps still moves with the trunk."""
        shift = out[:, SHOULDERS[side]] - self.rest[SHOULDERS[side]]
        out[:, ELBOWS[side]] += shift
        out[:, WRISTS[side]] += 0.5 * shift
        out[:, HANDS[side]] += 0.5 * shift[:, None]

    def put_arm(
        self, out: np.ndarray, side: int, arm: Arm, shoulder: np.ndarray, wrist: np.ndarray, hand: np.ndarray,
        pole: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """Movements [f, 3] of shoulder and wrist, the hand's joints [f, 21, 3] from the wrist, and the side of the arm on
        which the elbow lies, [f, 3], else as at rest."""
        upper, fore = np.linalg.norm(arm.elbow - arm.shoulder), np.linalg.norm(arm.wrist - arm.elbow)
        start = arm.shoulder + shoulder
        pole = arm.elbow - (arm.shoulder + arm.wrist) / 2 if pole is None else pole
        elbow, end = two_link(start, arm.wrist + wrist, upper, fore, pole)
        out[:, ELBOWS[side]] = elbow[:, :2] * self.flip
        body_wrist = self.rest[WRISTS[side]] - self.rest[HANDS[side].start]  # the body's wrist is not quite the hand's
        out[:, WRISTS[side]] = end[:, :2] * self.flip + body_wrist
        out[:, HANDS[side]] = (end[:, None] + hand)[..., :2] * self.flip

    def _rig_hand(self, new: Geometry, rest: Geometry, side: int, arm: Arm) -> np.ndarray:  # [f, 21, 3]
        """The photograph's hand turned and bent as the rig's is."""
        if self.parts.hands[side] == TOGETHER:
            return np.repeat(arm.hand[None], len(new.hands), 0)
        i = 1 - side  # the rig's sides are (right, left)
        frames, still = new.hand_frames[:, i], rest.hand_frames[0, i]
        turn = limit_turn(frames @ still.T, HAND_TURN)
        local = (new.hands[:, i] - new.wrists[:, i, None]) @ frames
        bend = local - (rest.hands[0, i] - rest.wrists[0, i]) @ still
        size = float(
            np.linalg.norm(arm.hand[9] - arm.hand[0]) / np.linalg.norm(rest.hands[0, i, 9] - rest.hands[0, i, 0])
        )
        axes = hand_axes(arm.hand) @ hand_axes((rest.hands[0, i] - rest.wrists[0, i]) @ still).T
        bend = soft_limit(FINGER_SHARE * size * bend @ axes.T, FINGER_REACH * float(np.ptp(arm.hand, axis=0).max()))
        return (arm.hand + bend) @ np.swapaxes(turn, 1, 2)

    def _arm(self, side: int, hand: np.ndarray) -> Arm:
        """The photograph's arm in three dimensions: a forearm that is short in the picture points to the camera."""
        points = (SHOULDERS[side], ELBOWS[side], HANDS[side].start)
        shoulder, elbow, wrist = (np.append(self.rest[i] * self.flip, 0.0) for i in points)
        span = float(np.linalg.norm(self.rest[SHOULDERS[0]] - self.rest[SHOULDERS[1]]))
        unit = max(self.unit, span / SHOULDER_SPAN)
        for a, b, length in ((shoulder, elbow, UPPER_ARM * 0.92), (elbow, wrist, FOREARM)):
            flat = float(np.linalg.norm(b[:2] - a[:2]))
            depth = np.sqrt(max((length * unit) ** 2 - flat**2, 0.0))
            b[2] = a[2] + (depth if a is elbow else -0.5 * depth)
        hand = hand.astype(np.float64) * [1, -1, -1]
        hand = np.concatenate([self.rest[HANDS[side]] * self.flip, hand[:, 2:]], 1)
        return Arm(shoulder, elbow, wrist, hand - [*hand[0, :2], hand[0, 2]])

    def finish(self, out: np.ndarray) -> Keypoints:
        return Keypoints(out, np.repeat(self.figure.keypoints.confidence, len(out), 0))


def _size(identity: Identity) -> float:
    return identity.shoulder_width / 17.2
