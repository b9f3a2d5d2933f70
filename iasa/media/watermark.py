"""The visible mark of generated video: a small plate that says AI in the lower right corner of every frame."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TEXT = "AI"
SHARE = 1 / 18  # of the picture's height
OPACITY = 0.72
_SMOOTH = 4  # drawn this much larger, then shrunk


@functools.lru_cache(maxsize=8)
def _make_plate(height: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour [h, w, 3] and opacity [h, w, 1] of the plate, float32, for a picture of that height in pixels."""
    tall = max(10, round(height * SHARE))
    font = ImageFont.load_default(round(0.78 * tall * _SMOOTH))
    wide = round(font.getlength(TEXT) / _SMOOTH + 0.8 * tall)
    size = (wide * _SMOOTH, tall * _SMOOTH)
    plate, shape = Image.new("L", size, 0), Image.new("L", size, 0)
    ImageDraw.Draw(shape).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius=size[1] // 4, fill=255)
    ImageDraw.Draw(plate).text((size[0] / 2, size[1] / 2), TEXT, 255, font, anchor="mm")
    ink, cover = (
        np.asarray(part.resize((wide, tall), Image.Resampling.BOX), np.float32)[..., None] / 255
        for part in (plate, shape)
    )
    colour = 255 * ink.repeat(3, -1)  # white on black
    return colour, np.maximum(cover * OPACITY, ink)


def add_mark(frames: np.ndarray) -> np.ndarray:
    """A copy of uint8 [f, H, W, 3 or 4] with the plate on it; pictures too small for it (below 40 pixels) stay as they are."""
    height, width = frames.shape[1:3]
    if min(height, width) < 40:
        return frames
    colour, opacity = _make_plate(height)
    gap = max(2, height // 50)
    bottom, right = height - gap, width - gap
    place = (slice(None), slice(bottom - len(colour), bottom), slice(right - colour.shape[1], right))
    marked = frames.copy()
    below = frames[place]
    if frames.shape[-1] == 4:  # straight alpha: colours below count as far as they are seen
        seen = (1 - opacity) * below[..., 3:] / 255
        alpha = opacity + seen
        color = (opacity * colour + seen * below[..., :3]) / np.maximum(alpha, 1e-6)
        marked[place] = np.round(np.concatenate([color, 255 * alpha], -1)).astype(np.uint8)
    else:
        marked[place] = np.round(opacity * colour + (1 - opacity) * below).astype(np.uint8)
    return marked
