"""The 133 points as the pictures that each backbone was trained on: OpenPose's 18 points and colours, in three dialects.

              canvas                  half width, joints   face         hands           threshold  colours
  vace        short side 1024, then   4, 4                 68 dots r 3  none            0.3        OpenPose's with red and
              shrunk to the frame                                                                  blue swapped
  openpose    the frame               4, 4                 68 dots r 3  rainbow, w 2    0.3        OpenPose's
  animate     the frame               short / 200 - 1      none         rainbow, blue   0.5        OpenPose's, and toes

All draw limbs at 60 % of the joints' brightness. VACE's preprocessing hands BGR pictures on as RGB, and its figures show the
same colours: shoulders blue, neck red. Animate's face comes as a video of its own, `face_video`.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from iasa.config import InputError
from iasa.keypoints import FACE, LEFT_HAND, RIGHT_HAND, Keypoints

Colour = Sequence[float]  # red, green, blue

# nose, neck, right shoulder elbow wrist, left ones, right hip knee ankle, left ones, eyes and ears right before left
BODY18 = (0, (5, 6), 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
TOES = ((17, 18), (20, 21))
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0), (0, 14),
    (14, 16), (0, 15), (15, 17),
)  # fmt: skip
TOE_LIMBS = ((13, 18), (10, 19))
WHEEL = [tuple(int(255 * c + 0.5) for c in colorsys.hsv_to_rgb(i / 18, 1.0, 1.0)) for i in range(18)]
TOE_COLOURS = [(200, 200, 0), (100, 100, 0)]
FINGERS = [(0, f) if k == 0 else (f + k - 1, f + k) for f in (1, 5, 9, 13, 17) for k in range(4)]
RAINBOW = [tuple(255 * c for c in colorsys.hsv_to_rgb(i / 20, 1.0, 1.0)) for i in range(20)]


@dataclass(frozen=True)
class Dialect:
    canvas: int | None  # short side that is drawn on, in steps of 64; None: the frame's own
    width: int | None  # half width of limbs; None: short side / 200 - 1
    face: bool
    hands: bool
    toes: bool
    threshold: float
    swapped: bool  # red and blue


DIALECTS = {
    "vace": Dialect(1024, 4, face=True, hands=False, toes=False, threshold=0.3, swapped=True),
    "openpose": Dialect(None, 4, face=True, hands=True, toes=False, threshold=0.3, swapped=False),
    "animate": Dialect(None, None, face=False, hands=True, toes=True, threshold=0.5, swapped=False),
}


def draw_skeletons(keypoints: Keypoints, height: int, width: int, dialect: str) -> list[Image.Image]:
    """One picture for each pose; coordinates are 0..1 of the picture's width and height. Raises InputError."""
    if dialect not in DIALECTS:
        raise InputError(f"the skeleton's dialect is {dialect!r}; accepted: {', '.join(DIALECTS)}")
    style = DIALECTS[dialect]
    high, wide = height, width
    if style.canvas:
        scale = style.canvas / min(height, width)
        high, wide = (round(side * scale / 64) * 64 for side in (height, width))
    drawn = []
    for xy, confidence in zip(keypoints.xy * np.array([wide, high], np.float32), keypoints.confidence, strict=True):
        canvas = _draw_pose(xy, confidence, high, wide, style)
        if style.swapped:
            canvas = canvas[..., ::-1]
        if (high, wide) != (height, width):
            canvas = _cv2().resize(canvas, (width, height), interpolation=_cv2().INTER_AREA)
        drawn.append(Image.fromarray(np.ascontiguousarray(canvas)))
    return drawn


def face_boxes(keypoints: Keypoints, height: int, width: int, area: float = 1.3) -> np.ndarray:
    """Where Animate's face video is cut: pixels (left, right, top, bottom), int64 [f, 4].

    The box of the 68 points, `area` times as large, with three times more room above than below.
    """
    face = keypoints.xy[:, FACE] * np.array([width, height], np.float32)
    low, high = face.min(1), face.max(1)
    size = high - low
    grown = (size * math.sqrt(area) - size) / np.array([2, 4], np.float32)
    left, right = low[:, 0] - grown[:, 0], high[:, 0] + grown[:, 0]
    top, bottom = low[:, 1] - 3 * grown[:, 1], high[:, 1] + grown[:, 1]
    return np.stack([left.clip(0), right.clip(max=width), top.clip(0), bottom.clip(max=height)], 1).astype(np.int64)


def face_video(frames: np.ndarray, keypoints: Keypoints, size: int = 512) -> list[Image.Image]:
    """The faces of pictures uint8 [f, H, W, 3] as Animate takes them; black, its sign for no face, where none is seen."""
    cropped = []
    boxes = face_boxes(keypoints, *frames.shape[1:3])
    for frame, (left, right, top, bottom), seen in zip(frames, boxes, keypoints.confidence[:, FACE], strict=True):
        if seen.max() > 0 and right - left > 1 and bottom - top > 1:
            crop = Image.fromarray(frame[top:bottom, left:right])
            cropped.append(crop.resize((size, size), Image.Resampling.BILINEAR))
        else:
            cropped.append(Image.new("RGB", (size, size)))
    return cropped


def _draw_pose(xy: np.ndarray, confidence: np.ndarray, height: int, width: int, style: Dialect) -> np.ndarray:
    """uint8 [height, width, 3] in OpenPose's colours."""
    canvas = np.zeros((height, width, 3), np.uint8)
    half = style.width or max(min(height, width) // 200 - 1, 1)
    _draw_body(canvas, xy, confidence, half, style)
    if style.hands:
        line, dot = (2, 4) if style.width else (max(half // 2, 1), max(half // 2, 1))
        for hand in (LEFT_HAND, RIGHT_HAND):
            _draw_hand(canvas, xy[hand], confidence[hand] >= style.threshold, line, dot)
    if style.face:
        for point in xy[FACE][confidence[FACE] >= style.threshold]:
            _dot(canvas, point, 3, (255, 255, 255))
    return canvas


def _draw_body(canvas: np.ndarray, xy: np.ndarray, confidence: np.ndarray, half: int, style: Dialect) -> None:
    toes = style.toes
    pairs = [i if isinstance(i, tuple) else (i, i) for i in BODY18 + (TOES if toes else ())]
    body = np.array([(xy[a] + xy[b]) / 2 for a, b in pairs])
    if toes:  # Animate's neck and toes have the mean confidence of their two points, the others' the least
        seen = np.array([(confidence[a] + confidence[b]) / 2 for a, b in pairs]) >= style.threshold
    else:
        seen = np.array([min(confidence[a], confidence[b]) for a, b in pairs]) > style.threshold
    colours = WHEEL + (TOE_COLOURS if toes else [])
    for (a, b), colour in zip(LIMBS + (TOE_LIMBS if toes else ()), colours, strict=False):
        if seen[a] and seen[b]:
            _limb(canvas, body[a], body[b], half, tuple(int(0.6 * c) for c in colour))
    for point, shown, colour in zip(body, seen, colours, strict=True):
        if shown:
            _dot(canvas, point, half, colour)


def _draw_hand(canvas: np.ndarray, points: np.ndarray, seen: np.ndarray, line: int, dot: int) -> None:
    for (a, b), colour in zip(FINGERS, RAINBOW, strict=True):
        if seen[a] and seen[b]:
            _cv2().line(canvas, _pixel(points[a]), _pixel(points[b]), colour, line)
    for point in points[seen]:
        _dot(canvas, point, dot, (0, 0, 255))


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def _dot(canvas: np.ndarray, point: np.ndarray, radius: int, colour: Colour) -> None:
    if min(point) > 0:
        _cv2().circle(canvas, _pixel(point), radius, colour, -1)


def _limb(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, half: int, colour: Colour) -> None:
    """OpenPose's limb: an ellipse from joint to joint."""
    dx, dy = a - b
    axes, angle = (int(math.hypot(dx, dy) / 2), half), int(math.degrees(math.atan2(dy, dx)))
    outline = _cv2().ellipse2Poly(_pixel((a + b) / 2), axes, angle, 0, 360, 1)
    _cv2().fillConvexPoly(canvas, outline, colour)


def _cv2() -> Any:
    """OpenCV, whose rasteriser the backbones saw in training: another's differs along every edge (32 to 36 dB)."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "skeletons are drawn by OpenCV, which is not installed: pip install opencv-python-headless"
        ) from error
    return cv2
