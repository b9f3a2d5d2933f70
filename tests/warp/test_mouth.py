"""The painted inside of a mouth: nothing where lips are closed, teeth above dark where they are open, in the picture's light."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")

from iasa.avatar.mesh import base_mesh, express, expression_basis  # noqa: E402
from iasa.warp.face_skin import EYES, MOUTH  # noqa: E402
from iasa.warp.mouth import LIPS, LOWER, UPPER, Mouth, soft_polygon  # noqa: E402

SIZE, STILL = 512, np.array([[1.0, 0, 0], [0, 1.0, 0]])


def face(opening):
    neutral = base_mesh().vertices
    channels = np.zeros((1, 9))
    channels[0, 0] = opening
    return express(neutral, expression_basis(neutral), channels)[0, :468, :2] * [22, -22] + 256


def paint(opening, brightness=180):
    rest, posed = face(0), face(opening)
    picture = np.full((SIZE, SIZE, 3), brightness, np.uint8)
    frame = picture.astype(np.float32)
    Mouth.of(picture, rest).paint(frame, posed, STILL, posed[LOWER] - rest[LOWER])
    return frame - picture, posed


def test_closed_lips_stay_closed():
    change, _ = paint(0.0)
    assert (np.abs(change).max(-1) > 40).sum() < 60


def test_an_open_mouth_is_dark_below_its_teeth_and_nothing_is_painted_outside():
    change, posed = paint(0.8)
    inside = soft_polygon(posed[[78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]],
                          0, 0, SIZE, SIZE) > 0  # fmt: skip
    assert np.abs(change[~inside]).max() == 0
    x = int(posed[UPPER, 0])
    column = change[int(posed[UPPER, 1]) : int(posed[LOWER, 1]), x].mean(-1)
    teeth, throat = column[1 : len(column) // 4].max(), column[len(column) // 2 : -3].min()
    assert throat < -90 and teeth > throat + 60


def test_teeth_are_as_bright_as_the_picture():
    bright, _ = Mouth.of(np.full((SIZE, SIZE, 3), 200, np.uint8), face(0)), None
    dark = Mouth.of(np.full((SIZE, SIZE, 3), 50, np.uint8), face(0))
    assert bright.teeth.mean() > 150 and dark.teeth.mean() < 60


def test_outlines_have_soft_edges_of_the_right_area():
    square = np.array([[10.25, 10.25], [20.25, 10.25], [20.25, 20.25], [10.25, 20.25]])
    share = soft_polygon(square, 0, 0, 32, 32)
    assert share.max() == 1 and abs(share.sum() - 100) < 12
    assert ((share > 0) & (share < 1)).any()


def test_teeth_that_the_picture_shows_lend_their_colour():
    """A smile's white teeth, and not the eyes' grey; red lips or a tongue between them are no teeth."""
    rest, picture = face(0.8), np.full((SIZE, SIZE, 3), (190, 150, 130), np.uint8)
    inside = soft_polygon(rest[list(MOUTH)], 0, 0, SIZE, SIZE) > 0.5
    picture[soft_polygon(rest[list(LIPS)], 0, 0, SIZE, SIZE) > 0.5] = (170, 80, 80)
    for color, shown in (((240, 235, 225), True), ((150, 70, 75), False)):
        picture[inside] = color
        mouth = Mouth.of(picture, rest)
        assert (np.abs(mouth.teeth - color).max() < 3) == shown
    upper = inside & (np.arange(SIZE)[:, None] < rest[list(MOUTH)][:, 1].mean())
    picture[inside], picture[upper] = (40, 15, 15), (240, 235, 225)
    mouth, frame = Mouth.of(picture, rest), picture.astype(np.float32)
    posed = face(2.0)  # wider than its own teeth can be stretched
    mouth.paint(frame, posed, STILL, posed[LOWER] - rest[LOWER])
    x, y = posed[UPPER].astype(int)
    assert frame[y + 2 : y + 8, x - 12 : x + 12].mean(-1).max() > 0.8 * 233  # between two gaps, in the lip's shadow


@pytest.mark.parametrize("side", [1, -1])
def test_teeth_reach_both_corners_of_a_mouth_that_is_seen_from_the_side(side):
    """Its middle is nearer to one corner; the far half is as full of teeth as the near one when the mouth opens widely."""

    def aside(mesh):
        x = mesh[:, 0] - 256
        return np.stack([256 + np.where(side * x > 0, 1.25, 0.75) * x, mesh[:, 1]], 1)

    rest, posed = aside(face(0)), aside(face(0.8))
    posed[:, 0] = 256 + 1.3 * (posed[:, 0] - 256)
    picture = np.full((SIZE, SIZE, 3), 180, np.uint8)
    frame = picture.astype(np.float32)
    Mouth.of(picture, rest).paint(frame, posed, STILL, posed[LOWER] - rest[LOWER])
    shares = []
    for corner in (78, 308):
        x = int(posed[UPPER, 0] + 0.6 * (posed[corner, 0] - posed[UPPER, 0]))
        inside = soft_polygon(posed[list(MOUTH)], 0, 0, SIZE, SIZE)[:, x] > 0.5
        shares.append((frame[inside, x].mean(-1) > 90).mean())
    assert min(shares) > 0.15 and max(shares) < 1.3 * min(shares)


def test_shut_eyes_do_not_tell_the_colour_of_the_teeth():
    """Lashes are no white of an eye: brightened to the skin's light they made teeth orange."""
    rest = face(0)
    picture = np.full((SIZE, SIZE, 3), (154, 93, 57), np.uint8)
    for eye in EYES:
        picture[soft_polygon(rest[list(eye)], 0, 0, SIZE, SIZE) > 0] = (32, 11, 1)
    teeth = Mouth.of(picture, rest).teeth
    assert 60 < teeth.mean() < 154 and np.ptp(teeth) < 0.7 * np.ptp([154, 93, 57])
