"""The five regions of a performance as rows of numbers, and back to a rig whose bones are rigid (paper: region codebooks).

A frame is one vector of 57 parameters, region after region in the order in which they are generated:
arms and shoulders 11, right hand 17, left hand 17, head 3, face 9. Of the face codes hold smile, lids and brows; the
lips' five numbers are the mouth shapes heard. (A learned correction was tried: at full strength it made unseen
voices worse, at a fifth it gained 0.005 on synthetic and lost as much on real ones.)
"""

from __future__ import annotations

import numpy as np

from iasa.avatar.rig import HAND_SIZE, RigMotion, gaze_of
from iasa.motion.rules import GestureStyle
from iasa.motion.strokes import GESTURES
from iasa.speech import SpeechFeatures

WIDTHS = {"arms": 11, "right_hand": 17, "left_hand": 17, "head": 3, "face": 9}
REGIONS = tuple(WIDTHS)
PARAMETERS = sum(WIDTHS.values())
LIPS = 5  # the first face channels: they follow the sound, codes hold the other four
CODED = {**WIDTHS, "face": WIDTHS["face"] - LIPS}  # parameters that the codes of a region hold
FACE_LOW = np.array([0, -1, 0, 0, 0, 0, 0, -1, -1], np.float32)
FACE_HIGH = np.ones(9, np.float32)

CHANNELS = (
    "open", "wide", "press", "tuck", "teeth", "energy", "pitch", "voiced", "speaking", "onset", "accent", "exists",
)  # fmt: skip
STYLE_SIZE = 8 + 3 + len(GESTURES)


def region_slices() -> dict[str, slice]:
    """Where each region lies in a frame's vector."""
    ends = np.cumsum(list(WIDTHS.values()))
    return {name: slice(int(end) - WIDTHS[name], int(end)) for name, end in zip(REGIONS, ends, strict=True)}


def coded_slices() -> dict[str, slice]:
    """Where the parameters lie that the codes of each region hold."""
    return {name: slice(where.stop - CODED[name], where.stop) for name, where in region_slices().items()}


def to_vectors(motion: RigMotion) -> np.ndarray:
    """Rig motion of f frames -> float32 [f, 57]."""
    trunk = np.stack([motion.lean, motion.breath, motion.twist], 1)
    wrists = motion.hands[:, :, :3].reshape(len(motion), 6)
    right, left = motion.hands[:, 0, 3:], motion.hands[:, 1, 3:]
    return np.concatenate([wrists, trunk, motion.shrug, right, left, motion.head, motion.face], 1)


def to_motion(vectors: np.ndarray) -> RigMotion:
    """float32 [f, 57] -> rig motion: directions made unit, the face kept in its range, the eyes on the camera."""
    part = {name: vectors[:, where] for name, where in region_slices().items()}
    hands = np.zeros((len(vectors), 2, HAND_SIZE), np.float32)
    hands[:, :, :3] = part["arms"][:, :6].reshape(-1, 2, 3)
    for side, name in enumerate(("right_hand", "left_hand")):
        hands[:, side, 3:] = part[name]
        for axis in (slice(3, 6), slice(6, 9)):
            length = np.linalg.norm(hands[:, side, axis], axis=1, keepdims=True)
            hands[:, side, axis] /= np.maximum(length, 1e-3)
    lean, breath, twist = part["arms"][:, 6:9].T
    return RigMotion(
        head=part["head"],
        lean=lean,
        breath=breath,
        twist=twist,
        shrug=part["arms"][:, 9:],
        gaze=gaze_of(part["head"]),
        face=np.clip(part["face"], FACE_LOW, FACE_HIGH),
        hands=hands,
    )


def to_channels(features: SpeechFeatures) -> np.ndarray:
    """Speech features -> float32 [f, 12]: `CHANNELS`; an accent stands in its frame with its strength / 3."""
    accent = np.zeros(features.frames, np.float32)
    for when, strength in features.accents:
        frame = min(int(when * features.fps), features.frames - 1)
        accent[frame] = max(accent[frame], strength / 3)
    contours = (features.energy, features.pitch, features.voiced, features.speaking, features.onset, accent)
    ones = np.ones(features.frames)
    return np.concatenate([features.visemes, np.stack([*contours, ones], 1)], 1).astype(np.float32)


def style_vector(style: GestureStyle) -> np.ndarray:
    """A speaker's habits as float32 [20], each number about -1..1."""
    amounts = (style.amount, style.nod, style.brow, style.blink, style.sway, style.articulation)
    rest = np.eye(3)[style.rest]
    habits = [float(name in style.habits) for name in GESTURES]
    numbers = [2 * (style.handedness - 0.5), 6 * (style.smile - 0.15), *(2 * (a - 1) for a in amounts)]
    return np.array([*numbers, *rest, *habits], np.float32)
