"""Pose parameters of the speaker, the 3D geometry they make, and its exact keypoints (numpy only).

Units are cm: x to the person's left (right in the picture), y up, z to the camera; the origin is the base of
the throat. Sides are ordered (right, left) of the person. Hands are kept clear of the face here, in the
geometry, so that pictures and keypoints agree on it.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from iasa.avatar.hands import SHAPE_SIZE, hand_frame, hand_joints, hand_shape
from iasa.avatar.identity import Identity
from iasa.avatar.mesh import FACE_CHANNELS, express, expression_basis, identity_mesh
from iasa.config import VIDEO_FPS, InputError
from iasa.files import missing_file, write_npz
from iasa.keypoints import Keypoints, from_holistic

__all__ = ["FACE_CHANNELS", "Geometry", "RigMotion", "concat_motions", "gaze_of", "make_geometries"]
__all__ += ["make_geometry", "make_keypoints", "neutral_face", "rest_hands", "rest_motion", "to_drawing"]

DRAWING_SIZE = 512.0  # the square in which everything is drawn
HEAD_SIZE = 1.09
NECK_PIVOT = np.array([0, -7.5, -7.0])  # the head turns about it, head frame
HEAD_HOME = np.array([0, 12.9, 3.0])
UPPER_ARM, FOREARM, HAND_LENGTH = 29.0, 25.5, 18.6  # of a person with shoulders 17.2 wide
HAND_SIZE = 20  # wrist 3, palm normal 3, direction 3, shape 11
_WIDTHS = {"head": 3, "lean": 0, "breath": 0, "twist": 0, "shrug": 2, "gaze": 2, "face": len(FACE_CHANNELS)}


@dataclass(frozen=True)
class RigMotion:
    """Pose parameters of f frames at 25 frames a second, all float32.

    head [f, 3]: yaw (positive: to the person's left), pitch (positive: down), roll, radians.
    lean, breath [f]: the trunk sideways and up, cm. twist [f]: its turn.
    shrug [f, 2]: (right, left) shoulder up, cm.
    gaze [f, 2]: not drawn; the eyes follow the head (`gaze_of`), so that keypoints determine the picture.
    face [f, 9]: FACE_CHANNELS.
    hands [f, 2, 20]: (right, left) x (wrist 3 in cm, palm normal 3, pointing direction 3, finger shape 11).
    """

    head: np.ndarray
    lean: np.ndarray
    breath: np.ndarray
    twist: np.ndarray
    shrug: np.ndarray
    gaze: np.ndarray
    face: np.ndarray
    hands: np.ndarray

    def __post_init__(self) -> None:
        frames = len(self.head)
        for field in fields(self):
            value = np.ascontiguousarray(getattr(self, field.name), np.float32)
            width = _WIDTHS.get(field.name)
            shape = (frames, 2, HAND_SIZE) if width is None else (frames, width) if width else (frames,)
            if value.shape != shape:
                raise InputError(f"motion: {field.name} has shape {list(value.shape)}; {list(shape)} is needed")
            if not np.isfinite(value).all():
                raise InputError(f"motion: {field.name} holds NaN or infinite values")
            object.__setattr__(self, field.name, value)

    def __len__(self) -> int:
        return len(self.head)

    def __getitem__(self, frames: slice | np.ndarray | list[int]) -> RigMotion:
        return RigMotion(*(getattr(self, field.name)[frames] for field in fields(self)))

    def concat(self, *others: RigMotion) -> RigMotion:
        """This motion and the others, one after another."""
        return concat_motions(self, *others)

    def to_npz(self, path: str | os.PathLike) -> None:
        """Write the arrays by name to an npz file."""
        write_npz(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_npz(cls, path: str | os.PathLike) -> RigMotion:
        """Read `to_npz`'s file; pickled content is refused. Raises InputError if it is not a motion file."""
        name = os.path.basename(path)
        try:
            with np.load(path, allow_pickle=False) as data:
                missing = [field.name for field in fields(cls) if field.name not in data.files]
                if missing:
                    raise InputError(f"{name} lacks {', '.join(missing)}: it is not a motion file")
                return cls(**{field.name: data[field.name] for field in fields(cls)})
        except FileNotFoundError as error:
            raise missing_file(path) from error
        except InputError:
            raise
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{name} is not a motion file: an npz of pose parameters is needed") from error


def concat_motions(*parts: RigMotion) -> RigMotion:
    """One motion after another."""
    return RigMotion(*(np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(RigMotion)))


def rest_hands(rest: int = 0) -> np.ndarray:
    """Hands at rest: float32 [2, 20]. 0: fingertips meeting; 1: before the belly; 2: hanging.

    Resting hands do not cover each other: a small network could not tell their fingers apart.
    """
    right = {
        0: ((-14.8, -35.5, 18), (0.75, 0.1, -0.6), (0.55, 0.5, 0.5)),
        1: ((-15.0, -33.0, 20), (0.9, 0.1, -0.1), (0.55, 0.2, 0.7)),
        2: ((-19.0, -48.0, 6), (0.9, 0.0, 0.1), (0.1, -1.0, 0.2)),
    }
    if rest not in right:
        raise ValueError(f"rest is {rest}; it must be 0 (fingertips meeting), 1 (before the belly) or 2 (hanging)")
    hands = np.zeros((2, HAND_SIZE), np.float32)
    for side, sign in enumerate((1, -1)):
        mirror = np.array([sign, 1, 1])
        wrist, normal, direction = (np.array(v) * mirror for v in right[rest])
        hands[side] = np.concatenate([wrist, normal, direction, hand_shape("relax")])
    return hands


def rest_motion(frames: int, rest: int = 0) -> RigMotion:
    """Nobody moving: `frames` frames with a still face and the hands of `rest_hands(rest)`."""
    zero = {name: np.zeros((frames, width) if width else frames) for name, width in _WIDTHS.items()}
    return RigMotion(**zero, hands=np.repeat(rest_hands(rest)[None], frames, 0))


def gaze_of(head: np.ndarray) -> np.ndarray:
    """Where the eyes look in a head [f, 3], right and up: towards the camera, as far as they can. [f, 2]"""
    return np.stack([-0.8 * head[:, 0], 0.5 * head[:, 1]], 1)


@dataclass(frozen=True)
class Geometry:
    """The posed body, cm. Arrays have a leading frame axis in `make_geometries`, none in `make_geometry`."""

    lean: np.ndarray  # [3] shift of the trunk
    head_rotation: np.ndarray  # [3, 3]
    head_origin: np.ndarray  # [3], so that a point q of the head lies at rotation @ (q - pivot) * size + origin
    face_local: np.ndarray  # [478, 3] expression without the head's pose
    face: np.ndarray  # [478, 3]
    gaze: np.ndarray  # [2]
    shoulders: np.ndarray  # [2, 3]
    elbows: np.ndarray  # [2, 3]
    wrists: np.ndarray  # [2, 3]
    hand_frames: np.ndarray  # [2, 3, 3], see iasa.avatar.hands.hand_frame
    hands: np.ndarray  # [2, 21, 3]
    hips: np.ndarray  # [2, 3]
    hand_length: float

    def at(self, i: int) -> Geometry:
        """Frame i of a batch."""
        return Geometry(*(v if np.ndim(v) == 0 else v[i] for v in (getattr(self, f.name) for f in fields(self))))

    def head_points(self, points: ArrayLike) -> np.ndarray:
        """Points [..., 3] fixed to the head (cm, head frame) -> where they are now."""
        local = np.asarray(points, np.float64) - NECK_PIVOT
        return HEAD_SIZE * local @ np.swapaxes(self.head_rotation, -1, -2) + self.head_origin


def to_drawing(identity: Identity, points: np.ndarray) -> np.ndarray:
    """cm [..., >=2] -> the 512 x 512 drawing space [..., 2], y down."""
    x, y = points[..., 0], points[..., 1]
    return np.stack([identity.center[0] + identity.scale * x, identity.center[1] - identity.scale * y], -1)


def head_rotations(head: np.ndarray) -> np.ndarray:
    """Yaw, pitch, roll [f, 3] -> roll @ pitch @ yaw, about z, x, y: [f, 3, 3]."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(head.T), np.sin(head.T)
    zero, one = np.zeros_like(cy), np.ones_like(cy)

    def matrix(*rows: tuple) -> np.ndarray:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    yaw = matrix((cy, zero, sy), (zero, one, zero), (-sy, zero, cy))
    pitch = matrix((one, zero, zero), (zero, cp, -sp), (zero, sp, cp))
    roll = matrix((cr, -sr, zero), (sr, cr, zero), (zero, zero, one))
    return roll @ pitch @ yaw


def _unit(v: np.ndarray) -> np.ndarray:
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-9)


def _reach(shoulder: np.ndarray, wrist: np.ndarray, upper: float, fore: float, pole: np.ndarray):
    """Two-link arm: elbow, reachable wrist, and the normal of the arm's plane (all [f, 3])."""
    offset = wrist - shoulder
    wanted = np.linalg.norm(offset, axis=-1, keepdims=True)
    distance = np.clip(wanted, abs(upper - fore) + 3.0, upper + fore - 0.8)
    along = offset / (wanted + 1e-9)
    x = (upper**2 - fore**2 + distance**2) / (2 * distance)
    height = np.sqrt(np.maximum(upper**2 - x**2, 0))
    away = _unit(pole - (pole * along).sum(-1, keepdims=True) * along)
    return shoulder + along * x + away * height, shoulder + along * distance, np.cross(along, away)


def _pose_arm(shoulder, wrist, hand, side: int, k: float, joints):
    """One arm to a wrist target: (elbow, wrist, hand frame [f, 3, 3], hand joints [f, 21, 3])."""
    sign = 1 if side else -1
    elbow, wrist, plane = _reach(shoulder, wrist, UPPER_ARM * k, FOREARM * k, np.array([sign * 0.55, -0.75, -0.8]))
    frame = hand_frame(_unit(wrist - elbow), -sign * plane, hand[:, 6:9], hand[:, 3:6])
    return elbow, wrist, frame, joints @ np.swapaxes(frame, -1, -2) + wrist[:, None]


FACE_GUARD = (
    8.5,
    15.0,
)  # beside the face: full protection within the first, none beyond the second, cm from its middle


def _too_high(joints: np.ndarray, chin: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """How far a hand reaches into the face, cm: [f]. Beside the head hands may be higher than the chin.

    joints [f, 21, 3]; chin [f], its height; middle [f], the face's x.
    """
    sideways = np.abs(joints[..., 0] - middle[:, None])
    low, high = FACE_GUARD
    allowed = chin[:, None] - 2.0 + 30.0 * np.clip((sideways - low) / (high - low), 0, 1) ** 1.5
    return np.maximum((joints[..., 1] - allowed).max(1), 0)


@lru_cache(maxsize=64)
def _neutral(identity: Identity) -> tuple[np.ndarray, np.ndarray]:
    v = identity_mesh(identity)
    return v, expression_basis(v)


def neutral_face(identity: Identity) -> np.ndarray:
    """The identity's face at rest, head frame: [478, 3]."""
    return _neutral(identity)[0]


def make_geometries(identity: Identity, motion: RigMotion) -> Geometry:
    """The posed body of all frames at once (arrays with a leading frame axis)."""
    head, hands = motion.head.astype(np.float64), motion.hands.astype(np.float64)
    frames = len(head)
    k = identity.shoulder_width / 17.2
    lean = np.stack([motion.lean, motion.breath, np.zeros(frames)], 1).astype(np.float64)
    rotation = head_rotations(head + [0, 0.05, 0])
    origin = NECK_PIVOT + HEAD_HOME + 1.25 * lean
    vertices, basis = _neutral(identity)
    face_local = express(vertices, basis, motion.face)
    face = HEAD_SIZE * (face_local - NECK_PIVOT) @ np.swapaxes(rotation, 1, 2) + origin[:, None]

    half = identity.shoulder_width - 1.3
    turn = 3.0 * motion.twist.astype(np.float64)
    shoulders = np.zeros((frames, 2, 3))
    length = HAND_LENGTH * k * (0.96 if identity.feminine else 1.02)
    neutral_chin = HEAD_SIZE * (vertices[152] - NECK_PIVOT) @ np.swapaxes(rotation, 1, 2) + origin
    arms = []
    for side, sign in enumerate((-1, 1)):
        up = -5.6 + motion.shrug[:, side].astype(np.float64)
        shoulders[:, side] = np.stack([np.full(frames, sign * half), up, -sign * turn], 1) + lean
        hand = hands[:, side]
        joints = hand_joints(hand[:, 9 : 9 + SHAPE_SIZE], left=bool(side)) * length
        target = hand[:, :3] * [k, 1, 1] + 0.6 * lean
        for _ in range(3):  # lowering the wrist turns the hand a little, so look again
            arm = _pose_arm(shoulders[:, side], target, hand, side, k, joints)
            middle = 0.4 * face[:, 4, 0] + 0.6 * neutral_chin[:, 0]
            excess = _too_high(arm[3], neutral_chin[:, 1], middle)
            target = np.stack([target[:, 0], np.minimum(arm[1][:, 1], target[:, 1]) - excess, target[:, 2]], 1)
        arms.append(_pose_arm(shoulders[:, side], target, hand, side, k, joints))
    elbows, wrists, hand_frames, joints = (np.stack(parts, 1) for parts in zip(*arms, strict=True))
    hips = np.array([[-9.5, -52, 0], [9.5, -52, 0]]) + 0.3 * lean[:, None]
    return Geometry(
        lean,
        rotation,
        origin,
        face_local,
        face,
        gaze_of(head),
        shoulders,
        elbows,
        wrists,
        hand_frames,
        joints,
        hips,
        length,
    )


def make_geometry(identity: Identity, motion: RigMotion, i: int) -> Geometry:
    """The posed body of frame i."""
    return make_geometries(identity, motion[[i]]).at(0)


def make_keypoints(identity: Identity, motion: RigMotion) -> Keypoints:
    """The exact 133 keypoints of every frame, as mediapipe Holistic would place them.

    Confidence is 1; the legs, which no picture shows, have 0.
    """
    g = make_geometries(identity, motion)

    def place(points: np.ndarray) -> np.ndarray:
        return to_drawing(identity, points) / DRAWING_SIZE

    face, hands = place(g.face), place(g.hands)
    pose = np.full((len(motion), 33, 2), np.nan)
    eyes = ((1, (362,)), (2, (263, 362)), (3, (263,)), (4, (133,)), (5, (33, 133)), (6, (33,)))
    for row, vertices in ((0, (1,)), *eyes, (9, (291,)), (10, (61,))):
        pose[:, row] = face[:, list(vertices)].mean(1)
    ears = HEAD_SIZE * (np.array([[-7.4, 1.6, -7.5], [7.4, 1.6, -7.5]]) - NECK_PIVOT)
    pose[:, [8, 7]] = place(ears @ np.swapaxes(g.head_rotation, 1, 2) + g.head_origin[:, None])
    for first, points in ((11, g.shoulders), (13, g.elbows), (15, g.wrists), (23, g.hips)):
        pose[:, [first + 1, first]] = place(points)
    for side in range(2):
        pose[:, [18 - side, 20 - side, 22 - side]] = hands[:, side][:, [17, 5, 2]]
    return from_holistic(face, pose, hands[:, 1], hands[:, 0], fps=VIDEO_FPS)
