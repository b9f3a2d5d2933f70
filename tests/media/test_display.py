"""Pictures of a video as a player shows them: square pixels, and every way in which a display matrix turns and mirrors."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from samples import write_media

from iasa.media.reader import open_video, read_video
from iasa.media.writer import write_video

CORNERS = np.array([[250, 170], [90, 10]])  # shades of the stored picture's quarters


def make_corners(height: int, width: int) -> np.ndarray:
    shades = CORNERS.repeat(height // 2, 0).repeat(width // 2, 1).astype(np.uint8)
    return np.repeat(shades[None, ..., None], 3, -1).repeat(3, 0)


def corners_of(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return picture[height // 4 :: height // 2, width // 4 :: width // 2, 0][:2, :2].astype(int)


def set_matrix(path: Path, a: float, b: float, c: float, d: float) -> None:
    """x' = a x + c y, y' = b x + d y, in an mp4's track header."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # of a version 0 header
    entries = [round(value * 65536) for value in (a, b, 0, c, d, 0, 0, 0)]
    data[at : at + 36] = struct.pack(">9i", *entries, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "right"),
    [
        ((1, 0, 0, 1), CORNERS),
        ((-1, 0, 0, 1), CORNERS[:, ::-1]),  # a selfie camera's mirror
        ((1, 0, 0, -1), CORNERS[::-1]),
        ((-1, 0, 0, -1), CORNERS[::-1, ::-1]),
        ((0, 1, -1, 0), np.rot90(CORNERS, -1)),
        ((0, -1, 1, 0), np.rot90(CORNERS)),
        ((0, 1, 1, 0), CORNERS.T),
        ((0, -1, -1, 0), CORNERS[::-1, ::-1].T),
        ((0.98, 0.17, -0.17, 0.98), CORNERS),  # ten degrees: to the nearest quarter turn
    ],
)
def test_the_whole_display_matrix_counts(tmp_path, matrix, right):
    write_video(tmp_path / "v.mp4", make_corners(32, 64), crf=4)
    set_matrix(tmp_path / "v.mp4", *matrix)
    picture = read_video(tmp_path / "v.mp4")[0][0]
    assert picture.shape[:2] == ((32, 64) if abs(matrix[0]) > 0.5 else (64, 32))
    np.testing.assert_allclose(corners_of(picture), right, atol=8)


@pytest.mark.parametrize("kind", ["mp4", "matroska", "mov"])
@pytest.mark.parametrize(
    ("stored", "aspect", "shown"),
    [
        ((64, 32), Fraction(2), (64, 64)),
        ((32, 64), Fraction(1, 2), (64, 64)),
        ((48, 60), Fraction(4, 3), (48, 80)),
        ((64, 32), Fraction(1), (64, 32)),
        ((64, 32), Fraction(200), (64, 32)),  # no camera's: a claim that would ask for 6,400 columns
    ],
)
def test_pixels_come_out_square(tmp_path, kind, stored, aspect, shown):
    path = write_media(tmp_path / "v", kind, make_corners(*stored), aspect=aspect)
    pictures, _ = read_video(path)
    assert pictures.shape[1:3] == shown
    np.testing.assert_allclose(corners_of(pictures[0]), CORNERS, atol=8)


def test_an_aspect_counts_before_the_turn(tmp_path):
    path = write_media(tmp_path / "v.mp4", "mp4", make_corners(64, 32), aspect=Fraction(4))
    set_matrix(path, 0, 1, -1, 0)
    with open_video(path) as (pictures, _):
        assert next(pictures).shape == (128, 64, 3)
