"""Skeleton pictures of the 133 points: the pose maps of the paper's figures, and what the app shows."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from iasa.keypoints import BONES, FACE, LEFT_HAND, RIGHT_HAND, Keypoints

# Okabe and Ito's colours, told apart by the colour-blind
BODY_COLOUR = (240, 228, 66)
LEFT_COLOUR = (230, 159, 0)  # the person's left hand
RIGHT_COLOUR = (86, 180, 233)
FACE_COLOUR = (245, 245, 245)

_FACE_CURVES = (  # (first, one past the last, closed) in the 68 face points
    (0, 17, False), (17, 22, False), (22, 27, False), (27, 31, False), (31, 36, False),
    (36, 42, True), (42, 48, True), (48, 60, True), (60, 68, True),
)  # fmt: skip
FACE_LINES = tuple(  # pairs of the 133 points
    (FACE.start + a, FACE.start + (a + 1 if a + 1 < last else first))
    for first, last, closed in _FACE_CURVES
    for a in range(first, last if closed else last - 1)
)
_SMOOTH = 2  # drawn this much larger, then shrunk


def _make_lines() -> list[tuple[int, int, tuple[int, int, int], float]]:
    """(point, point, colour, width in 1/256 of the picture) of everything that is drawn."""
    lines: list[tuple[int, int, tuple[int, int, int], float]] = [(a, b, FACE_COLOUR, 1.0) for a, b in FACE_LINES]
    for a, b in BONES:
        if a >= RIGHT_HAND.start:
            lines.append((a, b, RIGHT_COLOUR, 1.5))
        elif a >= LEFT_HAND.start:
            lines.append((a, b, LEFT_COLOUR, 1.5))
        else:
            lines.append((a, b, BODY_COLOUR, 3.0))
    return sorted(lines, key=lambda line: -line[3])  # the body first, under face and hands


_LINES = _make_lines()


def draw_pose(
    keypoints: Keypoints,
    size: int = 256,
    background: np.ndarray | None = None,  # uint8 [f, size, size, 3], black where none is given
    min_confidence: float = 0.3,
) -> np.ndarray:
    """Skeletons as uint8 [f, size, size, 3]; a line needs both its ends at least that confident."""
    frames, large = len(keypoints), size * _SMOOTH
    if background is not None and background.shape != (frames, size, size, 3):
        raise ValueError(f"the background is {list(background.shape)}; {[frames, size, size, 3]} is needed")
    points = np.clip(keypoints.xy, -2.0, 3.0) * large  # far points would overflow the rasteriser
    sure = keypoints.confidence >= min_confidence
    drawn = np.empty((frames, size, size, 3), np.uint8)
    for i in range(frames):
        if background is None:
            canvas = Image.new("RGB", (large, large))
        else:
            canvas = Image.fromarray(background[i]).resize((large, large), Image.Resampling.BILINEAR)
        pen = ImageDraw.Draw(canvas)
        for a, b, colour, width in _LINES:
            if sure[i, a] and sure[i, b]:
                ends = [tuple(points[i, a].tolist()), tuple(points[i, b].tolist())]
                pen.line(ends, fill=colour, width=max(1, round(width * large / 256)))
        drawn[i] = np.asarray(canvas.resize((size, size), Image.Resampling.BOX))
    return drawn
