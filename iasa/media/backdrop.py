"""What stands behind a photograph's person instead of the room: a colour, another picture, or nothing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from iasa.config import InputError
from iasa.media.reader import read_image

TRANSPARENT = "transparent"
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def read_backdrop(text: str, size: int) -> np.ndarray:
    """uint8 [size, size, 3] of a colour as #rrggbb, or of a picture's middle; [size, size, 4] of TRANSPARENT, which shows
    nothing. Raises InputError."""
    if text == TRANSPARENT:
        return np.zeros((size, size, 4), np.uint8)
    word = not Path(text).suffix and not Path(text).exists()  # "blue", say
    if text.startswith("#") or word:
        if not _COLOUR.fullmatch(text):
            raise InputError(
                "the background is {given}; a colour as #rrggbb, {word} or a picture is accepted",
                given=text,
                word=TRANSPARENT,
            )
        color = [int(text[i : i + 2], 16) for i in (1, 3, 5)]
        return np.broadcast_to(np.array(color, np.uint8), (size, size, 3)).copy()
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(Image.fromarray(read_image(text)), (size, size), Image.Resampling.LANCZOS))
