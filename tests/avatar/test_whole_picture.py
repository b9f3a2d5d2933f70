"""A frame is put back to where its square was cut: the rest of the picture stays, and no edge shows."""

from __future__ import annotations

import numpy as np
import pytest

from iasa.avatar.framing import Square
from iasa.avatar.whole_picture import LONGEST, WholePicture


def gradient(height, width):
    y, x = np.mgrid[:height, :width]
    return np.stack([40 + 150 * x / width, 40 + 150 * y / height, np.full(x.shape, 90.0)], -1).astype(np.uint8)


@pytest.mark.parametrize(
    "square, size", [(Square(120, 40, 300), 256), (Square(0, 0, 401), 512), (Square(399, 0, 401), 128)]
)
def test_the_square_s_own_picture_gives_the_whole_picture(square, size):
    from PIL import Image

    picture = gradient(401, 800)
    whole = WholePicture.of(picture, square, size)
    height, width = whole.picture.shape[:2]
    assert height % 2 == width % 2 == 0 and abs(width / height - 800 / 401) < 0.02
    assert abs(whole.square.side - size) <= 2
    frame = np.asarray(Image.fromarray(square.cut(picture)).resize((size, size), Image.Resampling.LANCZOS))
    made = whole.put(frame[None])[0]
    assert np.abs(made.astype(int) - whole.picture).max() <= 4


def test_what_moves_shows_inside_and_fades_only_at_edges_within_the_picture():
    whole = WholePicture.of(gradient(400, 800), Square(200, 0, 400), 200)
    (x, y, side), white = whole.square, np.full((2, 200, 200, 3), 255, np.uint8)
    made = whole.put(white)
    assert made.shape == (2, *whole.picture.shape)
    assert made[:, y : y + side, x + 10 : x + side - 10].min() == 255  # to the picture's upper and lower edge
    outside = np.ones(whole.picture.shape[:2], bool)
    outside[y : y + side, x : x + side] = False
    np.testing.assert_array_equal(made[0][outside], whole.picture[outside])
    step = np.abs(np.diff(made[0, side // 2].astype(int), axis=0)).max()
    assert step < 90  # 215 without the fading


def test_a_large_picture_stays_within_bounds():
    whole = WholePicture.of(gradient(600, 3000), Square(100, 0, 300), 512)
    assert max(whole.picture.shape) == LONGEST and whole.square.side == round(300 * LONGEST / 3000)
    assert whole.put(np.zeros((1, 512, 512, 3), np.uint8)).shape[1:] == whole.picture.shape
