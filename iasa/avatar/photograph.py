"""A photograph as the speaker: the person, the points and the mask that mediapipe finds in it, and which parts can move."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from iasa import keypoints as kp
from iasa.avatar.framing import NO_FACE, NoFaceError, Square, choose_face, choose_square, find_faces
from iasa.avatar.photo import guided_filter, load_solutions
from iasa.config import InputError
from iasa.keypoints import Keypoints
from iasa.pose.extract import HolisticDetector, quiet_stderr, to_keypoints

SIDE = 512  # pixels: everything is found and cut out at this size
FOREHEAD, CHIN = 10, 152  # of mediapipe's face mesh
CUT = 0.04  # of the face's height that may lie beyond the picture
SEEN = 0.3  # of a point's confidence
STANDS_OUT = 0.5  # of the face's box that has to be the person
SHUT = 0.08  # of an eye's width: lids that are nearer are closed; a squint or a laugh may narrow them to 0.13
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
    whole: np.ndarray | None = None  # uint8 [H, W, 3], the picture that `square` lies in

    @property
    def xy(self) -> np.ndarray:  # [133, 2]
        return self.keypoints.xy[0]

    @property
    def seen(self) -> np.ndarray:  # bool [133]
        return self.keypoints.confidence[0] > 0

    @property
    def lids_apart(self) -> float:
        """How far the lids are apart, in an eye's width, the mean of both; 0.25 to 0.4 where eyes are open."""
        xy = self.xy[kp.FACE]
        gaps = [np.linalg.norm(xy[list(up)].mean(0) - xy[list(low)].mean(0)) / np.linalg.norm(xy[a] - xy[b])
                for up, low, a, b in (((37, 38), (40, 41), 36, 39), ((43, 44), (46, 47), 42, 45))]  # fmt: skip
        return float(np.mean(gaps))

    @property
    def stands_out(self) -> bool:
        """Whether the face counts as a person: in line drawings nothing does, so that their layers would be empty."""
        points = np.clip(self.face[:468, :2] * len(self.person), 0, len(self.person) - 1).astype(int)
        (left, top), (right, bottom) = points.min(0), points.max(0)
        return float(self.person[top : bottom + 1, left : right + 1].mean()) > STANDS_OUT


def take_photograph(image: np.ndarray, framing: str = "auto", face: int | None = None) -> Photograph:
    """The speaker of uint8 [H, W, 3]: the largest face, or number `face` from the left.

    Raises InputError if nobody looks out of the picture, or the face is too small (needs mediapipe).
    """
    from PIL import Image

    solutions = load_solutions()
    with ExitStack() as stack:
        detector = None  # begins with the first face: where there is none, it would take longer than all the rest
        for turned in range(4):  # quarter turns of a picture that lies on its side or its head
            upright = np.rot90(image, turned)
            faces = find_faces(np.ascontiguousarray(upright), solutions)
            if not faces:
                continue
            height, width = upright.shape[:2]
            square = choose_square(height, width, choose_face(faces, face), framing)
            cut = np.ascontiguousarray(square.cut(upright))
            small = np.asarray(Image.fromarray(cut).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
            detector = detector or stack.enter_context(HolisticDetector(static=True))
            found = detector.detect(small)
            if found.face is not None and _is_upright(found.face):
                break
        else:
            raise NoFaceError(NO_FACE)
    check_whole(found.face)
    keypoints = forget_unseen(to_keypoints([found]))
    left, right = (
        hand if keypoints.confidence[0, where].max() > 0 else None
        for hand, where in zip((found.left, found.right), HANDS, strict=True)
    )
    return Photograph(small, find_person(small), keypoints, found.face, (left, right), square, len(faces), upright)


def _is_upright(mesh: np.ndarray) -> bool:  # [478, 3]
    """Whether the forehead is above the chin, within half a right angle."""
    across, up = (mesh[FOREHEAD] - mesh[CHIN])[:2] * [1, -1]
    return bool(up > abs(across))


def check_whole(mesh: np.ndarray) -> None:  # [478, 3] in 0..1 of the frame
    """Raises InputError if the picture's edge cuts through the face."""
    height = np.linalg.norm((mesh[FOREHEAD] - mesh[CHIN])[:2])
    if np.maximum(-mesh[:, :2], mesh[:, :2] - 1).max() > CUT * height:
        raise InputError("the face is cut off by the picture's edge; one that is wholly in the picture is needed")


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
    with quiet_stderr(), load_solutions().selfie_segmentation.SelfieSegmentation(model_selection=0) as detector:
        mask = detector.process(image).segmentation_mask.astype(np.float64)
    return np.clip(guided_filter(mask, image.mean(2) / 255, radius=5), 0, 1).astype(np.float32)
