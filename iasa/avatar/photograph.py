"""A photograph as the speaker: the person, the points and the mask that mediapipe finds in it, and which parts can move."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from iasa import keypoints as kp
from iasa.avatar.framing import NO_FACE, Square, choose_face, choose_square, find_faces
from iasa.avatar.photo import _guided, _solutions
from iasa.config import InputError
from iasa.keypoints import Keypoints
from iasa.pose.extract import HolisticDetector, to_keypoints

SIDE = 512  # pixels: everything is found and cut out at this size
SEEN = 0.3  # of a point's confidence
BEYOND = 0.03  # image units outside of the picture in which a point still counts
SIDES = ("left", "right")
HANDS = (kp.LEFT_HAND, kp.RIGHT_HAND)
ELBOWS = (kp.LEFT_ELBOW, kp.RIGHT_ELBOW)
WRISTS = (kp.LEFT_WRIST, kp.RIGHT_WRIST)
SHOULDERS = (kp.LEFT_SHOULDER, kp.RIGHT_SHOULDER)


@dataclass(frozen=True, eq=False)
class Photograph:
    """One person in a square picture. Image units: 0..1 of its side; sides are (left, right) of the person."""

    image: np.ndarray  # uint8 [SIDE, SIDE, 3]
    person: np.ndarray  # float32 [SIDE, SIDE], how much of each pixel is the person
    keypoints: Keypoints  # one frame
    face: np.ndarray  # float32 [478, 3] image units, y down, z away from the camera
    hands: tuple[np.ndarray | None, np.ndarray | None]  # float32 [21, 3] of each hand, as `face`
    square: Square  # the frame within the picture that was given
    faces: int = 1  # found in the picture

    @property
    def xy(self) -> np.ndarray:  # [133, 2]
        return self.keypoints.xy[0]

    @property
    def seen(self) -> np.ndarray:  # bool [133]
        return self.keypoints.confidence[0] > 0


def take_photograph(image: np.ndarray, framing: str = "auto", face: int | None = None) -> Photograph:
    """The speaker of uint8 [H, W, 3]: the largest face, or number `face` from the left.

    Raises InputError if nobody looks out of the picture, or the face is too small (needs mediapipe).
    """
    from PIL import Image

    solutions = _solutions()
    faces = find_faces(image, solutions)
    height, width = image.shape[:2]
    square = choose_square(height, width, choose_face(faces, face), framing)
    cut = np.ascontiguousarray(square.cut(image))
    small = np.asarray(Image.fromarray(cut).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    with HolisticDetector(static=True) as detector:
        found = detector.detect(small)
    if found.face is None:
        raise InputError(NO_FACE)
    keypoints = forget_unseen(to_keypoints([found]))
    left, right = (
        hand if keypoints.confidence[0, where].max() > 0 else None
        for hand, where in zip((found.left, found.right), HANDS, strict=True)
    )
    return Photograph(small, find_person(small), keypoints, found.face, (left, right), square, len(faces))


def forget_unseen(keypoints: Keypoints) -> Keypoints:
    """Points that are unsure or out of the picture get confidence 0; a hand counts as a whole."""
    confidence, xy = keypoints.confidence.copy(), keypoints.xy
    outside = (np.abs(xy - 0.5) > 0.5 + BEYOND).any(-1)
    confidence[(confidence < SEEN) | outside] = 0
    for hand in HANDS:
        if (confidence[:, hand] > 0).mean() < 0.7:
            confidence[:, hand] = 0
    return replace(keypoints, confidence=confidence)


def find_person(image: np.ndarray) -> np.ndarray:
    """How much of each pixel of uint8 [S, S, 3] is a person: float32 [S, S]."""
    with _solutions().selfie_segmentation.SelfieSegmentation(model_selection=0) as detector:
        mask = detector.process(image).segmentation_mask.astype(np.float64)
    return np.clip(_guided(mask, image.mean(2) / 255, radius=5), 0, 1).astype(np.float32)
