"""Which square of a picture becomes the frame: the speaker's face and as much of the body as the picture shows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from iasa.config import InputError
from iasa.pose.extract import quiet_stderr

FRAMINGS = ("auto", "portrait", "half", "whole")
SEARCH_SIDE = 1024  # faces are looked for in a picture of this size
MIN_FACE = 40  # pixels between the cheeks in the original
SIDES = {"portrait": 2.5, "half": 5.6}  # of the square, in heights of the face
SMALLEST = 0.12  # of the square's side: `auto` cuts closer around a smaller face
ABOVE = {"portrait": 0.85, "half": 1.0, "whole": 1.0}  # room above the face's box, in its heights
NO_FACE = "no face was found in the picture: one that looks towards the camera is needed"


class NoFaceError(InputError):
    """Nobody looks out of the picture."""


class Box(NamedTuple):
    """Left, top, width and height, pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        return self.width * self.height


class Square(NamedTuple):
    """The frame within the picture, pixels."""

    x: int
    y: int
    side: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The square of uint8 [H, W, 3]."""
        return image[self.y : self.y + self.side, self.x : self.x + self.side]


def find_faces(image: np.ndarray, solutions: Any) -> list[Box]:
    """Faces of uint8 [H, W, 3], the largest first. `solutions` are mediapipe's."""
    from PIL import Image

    height, width = image.shape[:2]
    shrink = min(1.0, SEARCH_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)) if shrink < 1 else image
    found: list[Box] = []
    for model in (0, 1):  # faces near the camera, then small ones
        with (
            quiet_stderr(),
            solutions.face_detection.FaceDetection(model_selection=model, min_detection_confidence=0.5) as detector,
        ):
            for detection in detector.process(small).detections or []:
                b = detection.location_data.relative_bounding_box
                box = Box(b.xmin * width, b.ymin * height, b.width * width, b.height * height)
                if all(_overlap(box, other) < 0.3 for other in found):
                    found.append(box)
    return sorted(found, key=lambda box: -box.area)


def choose_face(faces: list[Box], face: int | None = None) -> Box:
    """The largest face, or number `face`, counted from the picture's left and from 1. Raises InputError."""
    if not faces:
        raise NoFaceError(NO_FACE)
    if face is not None and not 1 <= face <= len(faces):
        raise InputError(
            "face {number} was asked for; the picture shows {count}, counted from the left and from 1",
            number=face,
            count=len(faces),
        )
    chosen = faces[0] if face is None else sorted(faces, key=lambda box: box.x + box.width / 2)[face - 1]
    if chosen.width < MIN_FACE:
        raise InputError(
            "the face is {width:.0f} pixels wide; at least {least} are needed", width=chosen.width, least=MIN_FACE
        )
    return chosen


def choose_square(height: int, width: int, face: Box, framing: str = "auto") -> Square:
    """The square of a picture for one of FRAMINGS. Raises InputError for another word."""
    if framing not in FRAMINGS:
        raise InputError("framing is {framing!r}; {names} are accepted", framing=framing, names=", ".join(FRAMINGS))
    largest = min(height, width)
    if framing == "auto":
        framing = "half" if face.height < SMALLEST * largest else "whole"
    side = largest if framing == "whole" else min(largest, round(SIDES[framing] * face.height))
    x = _within(face.x + face.width / 2 - side / 2, side, width)
    y = _within(face.y - ABOVE[framing] * face.height, side, height)
    return Square(x, y, side)


def _within(start: float, side: int, length: int) -> int:
    return int(np.clip(round(start), 0, length - side))


def _overlap(a: Box, b: Box) -> float:
    """Area of both over that of the smaller one."""
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    return max(0.0, width) * max(0.0, height) / max(1e-9, min(a.area, b.area))
