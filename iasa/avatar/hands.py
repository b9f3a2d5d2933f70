"""Hands as 21 joints in 3D: finger shapes, and an orientation that follows the forearm and never flips."""

from __future__ import annotations

import numpy as np

SHAPE_SIZE = 11  # four knuckle bends, four finger bends, thumb bend, thumb abduction, spread (radians; spread is free)

# knuckles (index..little), fingers, thumb bend, thumb abduction, spread
HAND_SHAPES = {
    "relax": (0.35, 0.45, 0.5, 0.55, 0.5, 0.55, 0.6, 0.6, 0.35, 0.25, 0.06),
    "open": (0.02, 0.0, 0.02, 0.06, 0.08, 0.08, 0.08, 0.1, 0.0, 0.0, 0.16),
    "flat": (0.15, 0.12, 0.12, 0.15, 0.15, 0.15, 0.15, 0.15, 0.1, 0.2, 0.03),
    "cup": (0.55, 0.55, 0.6, 0.6, 0.45, 0.45, 0.5, 0.5, 0.25, 0.1, 0.10),
    "point": (0.02, 1.25, 1.35, 1.35, 0.05, 1.4, 1.4, 1.4, 0.9, 0.6, 0.05),
    "pinch": (0.75, 0.45, 0.35, 0.3, 0.75, 0.45, 0.35, 0.3, 0.55, 0.35, 0.12),
    "fist": (1.3, 1.35, 1.35, 1.3, 1.5, 1.5, 1.5, 1.4, 0.9, 0.6, 0.02),
    "spread": (-0.05, -0.05, -0.05, 0.0, 0.05, 0.05, 0.05, 0.05, -0.1, -0.15, 0.24),
}

# Joints of an open right hand, in hand lengths: x to the thumb, y to the fingers, z out of the palm.
_PALM = {
    0: (0, 0, 0), 1: (0.13, 0.12, 0.03), 2: (0.25, 0.26, 0.06), 3: (0.33, 0.40, 0.07), 4: (0.385, 0.51, 0.08),
    5: (0.14, 0.50, 0), 9: (0.02, 0.525, 0.01), 13: (-0.09, 0.49, 0.005), 17: (-0.185, 0.435, -0.01),
}  # fmt: skip
_PHALANGES = np.array([(0.23, 0.14, 0.115), (0.255, 0.16, 0.12), (0.235, 0.15, 0.115), (0.18, 0.11, 0.10)])
_FAN = np.array([0.05, 0.0, -0.06, -0.14])  # sideways lean of the straight fingers
_FAN_SPREAD = np.array([0.9, 0.15, -0.6, -1.2])
# Radii of the drawn joints, hand lengths.
JOINT_RADII = np.array(
    [0.05, 0.062, 0.056, 0.047, 0.040, 0.054, 0.047, 0.042, 0.036, 0.055, 0.049, 0.044, 0.037, 0.053, 0.046,
     0.041, 0.036, 0.048, 0.041, 0.037, 0.032]
)  # fmt: skip

BEND_LIMIT = np.radians(62)  # of the wrist against the forearm
TWIST_LIMIT = np.radians(115)  # of the palm about the forearm, from the thumb-up middle


def hand_shape(name: str) -> np.ndarray:
    """The finger shape of that name: float32 [11]. Raises KeyError naming the shapes there are."""
    if name not in HAND_SHAPES:
        raise KeyError(f"no hand shape {name!r}; there are {', '.join(HAND_SHAPES)}")
    return np.array(HAND_SHAPES[name], np.float32)


def hand_joints(shape: np.ndarray, left: bool) -> np.ndarray:
    """Finger shapes [f, 11] -> joints [f, 21, 3] in hand lengths, in the hand's own frame."""
    shape = np.asarray(shape, np.float64)
    joints = np.zeros((len(shape), 21, 3))
    for index, point in _PALM.items():
        joints[:, index] = point
    knuckle, curl = shape[:, 0:4], shape[:, 4:8]
    thumb, abduction, spread = shape[:, 8], shape[:, 9], shape[:, 10]

    lean = _FAN + spread[:, None] * _FAN_SPREAD  # [f, 4]
    angle = knuckle
    tips = joints[:, [5, 9, 13, 17]]
    for k, share in enumerate((0.0, 1.0, 0.7)):
        angle = angle + share * curl
        across = np.sin(lean) * np.cos(np.minimum(np.abs(angle), 1.5))
        direction = np.stack([across, np.cos(lean) * np.cos(angle), np.sin(angle)], -1)
        tips = tips + _unit(direction) * _PHALANGES[:, k, None]
        joints[:, [6 + k, 10 + k, 14 + k, 18 + k]] = tips

    bones = np.diff(np.array([_PALM[i] for i in (1, 2, 3, 4)], float), axis=0)
    for k, bone in enumerate(bones):
        turn = 0.9 * abduction + 0.35 * k * thumb
        c, s = np.cos(turn), np.sin(turn)
        length = np.linalg.norm(bone)
        towards = bone[2] + 0.55 * thumb * length
        way = np.stack([c * bone[0] - s * bone[1], s * bone[0] + c * bone[1], towards], 1)
        joints[:, 2 + k] = joints[:, 1 + k] + length * _unit(way)
    if left:
        joints[..., 0] *= -1
    return joints


def _unit(v: np.ndarray) -> np.ndarray:
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-9)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1, keepdims=True)


def _fold(angle: np.ndarray, limit: float) -> np.ndarray:
    """An angle in -pi..pi held within +-limit, continuously: beyond the limit it runs back to 0."""
    size = np.abs(angle)
    back = limit * (np.pi - size) / (np.pi - limit)
    return np.sign(angle) * np.minimum(size, back)


def hand_frame(forearm: np.ndarray, middle: np.ndarray, direction: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Axes of the hand: columns x (to a right thumb), y (to the fingers), z (out of the palm): [f, 3, 3].

    forearm: unit [f, 3]. middle: [f, 3] where the palm looks half way between palm up and palm down, at right
    angles to the forearm. direction, normal: [f, 3] where fingers and palm should look. Both are limited to
    what a wrist can do, and the result is continuous in all four (a palm never jumps to its other side).
    """
    direction = _unit(direction)
    along = np.clip(_dot(direction, forearm), -1, 1)
    away = np.arccos(along)
    bend = np.minimum(0.62 * away, BEND_LIMIT * np.minimum(1, 2 * (np.pi - away) / np.pi))
    sideways = _unit(direction - along * forearm)
    y = np.cos(bend) * forearm + np.sin(bend) * sideways

    z0 = _unit(middle - _dot(middle, y) * y)
    x0 = np.cross(y, z0)
    wish = normal - _dot(normal, y) * y
    size = np.linalg.norm(wish, axis=-1, keepdims=True) / (np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9)
    twist = _fold(np.arctan2(_dot(wish, x0), _dot(wish, z0)), TWIST_LIMIT)
    twist = twist * size**2 / (size**2 + 0.06)  # a palm that should look along the fingers says nothing about the twist
    z = np.cos(twist) * z0 + np.sin(twist) * x0
    return np.stack([np.cross(y, z), y, z], -1)
