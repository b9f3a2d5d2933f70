"""A photograph without mediapipe: an avatar at rest as `take_photograph` would describe it, and the astronaut with it."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from iasa.avatar.framing import Square
from iasa.avatar.identity import make_identity
from iasa.avatar.photograph import SIDE, Photograph
from iasa.avatar.rig import DRAWING_SIZE, make_geometry, make_keypoints, rest_motion, to_drawing
from iasa.keypoints import Keypoints


@functools.cache
def avatar_photograph(seed: int = 3) -> Photograph:
    """Points as the rig has them, the picture noise: what moves is tested, not how it looks."""
    identity = make_identity(seed)
    geometry = make_geometry(identity, rest_motion(1), 0)

    def place(points: np.ndarray) -> np.ndarray:
        xy = to_drawing(identity, points) / DRAWING_SIZE
        return np.concatenate([xy, -points[..., 2:] * identity.scale / DRAWING_SIZE], -1).astype(np.float32)

    picture = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    keypoints = make_keypoints(identity, rest_motion(1))
    inside = ((keypoints.xy > 0) & (keypoints.xy < 1)).all(-1)
    keypoints = Keypoints(keypoints.xy, keypoints.confidence * inside)
    hands = tuple(place(geometry.hands[side]) for side in (1, 0))  # the rig's sides are (right, left)
    return Photograph(
        picture, np.zeros((SIDE, SIDE), np.float32), keypoints, place(geometry.face), hands, Square(0, 0, SIDE)
    )


@functools.cache
def astronaut() -> np.ndarray:
    """The public-domain portrait of scikit-image, uint8 [512, 512, 3]."""
    data = pytest.importorskip("skimage.data", reason="the portrait comes with scikit-image: pip install scikit-image")
    return data.astronaut()


@functools.cache
def astronaut_photograph() -> Photograph:
    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    from iasa.avatar.photograph import take_photograph

    return take_photograph(astronaut())
