"""Classical cut-outs: an arm by its colour between its bones, holes filled from around them, known pixels untouched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sample_photographs import avatar_photograph
from scipy import ndimage

pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")

from iasa import keypoints as kp  # noqa: E402
from iasa.avatar.photograph import ELBOWS, HANDS, SHOULDERS  # noqa: E402
from iasa.warp.cutout import _trunk  # noqa: E402
from iasa.warp.head_skin import CHIN  # noqa: E402
from iasa.warp.matting import bleed, cut_forearm, depth_inside, fill  # noqa: E402

SIZE = 512


@pytest.fixture(scope="module")
def arm():
    """A skin-coloured forearm and hand on blue clothes: picture, its true mask, hand, elbow, distance of the shoulders."""
    xy = avatar_photograph().xy.astype(np.float64) * SIZE
    hand, elbow = xy[kp.LEFT_HAND], xy[kp.LEFT_ELBOW]
    unit = float(np.linalg.norm(xy[kp.LEFT_SHOULDER] - xy[kp.RIGHT_SHOULDER]))
    mask = depth_inside(SIZE, hand, elbow, unit, bare=True) > 0.2
    rng = np.random.default_rng(0)
    picture = np.where(mask[..., None], (205, 160, 140), (50, 70, 140)) + rng.normal(0, 6, (SIZE, SIZE, 3))
    return picture.clip(0, 255).astype(np.uint8), mask, hand, elbow, unit


def test_a_forearm_is_cut_out_by_its_colour(arm):
    picture, mask, hand, elbow, unit = arm
    skin, _ = cut_forearm(
        picture, np.ones((SIZE, SIZE), np.float32), hand, elbow, unit, np.ones((SIZE, SIZE), np.float32)
    )
    found = skin > 0.5
    assert (found & mask).sum() / (found | mask).sum() > 0.93


def test_what_is_no_person_is_no_arm(arm):
    picture, mask, hand, elbow, unit = arm
    person = np.ones((SIZE, SIZE), np.float32)
    beside = ndimage.binary_dilation(mask, iterations=12) & ~ndimage.binary_dilation(mask, iterations=4)
    person[beside] = 0
    picture = picture.copy()
    picture[beside] = (205, 160, 140)  # a wall of the skin's colour
    skin, _ = cut_forearm(picture, person, hand, elbow, unit, np.ones((SIZE, SIZE), np.float32))
    assert skin[beside].mean() < 0.2


def test_a_wall_between_thumb_and_fingers_is_no_hand(arm):
    """The segmentation takes it for the person, and it is in a shade that the room has nowhere else, as near to skin as to it."""
    _, mask, hand, elbow, unit = arm
    spread = hand.copy()
    across = hand[17] - hand[5]
    spread[1:5] -= np.linspace(0.1, 0.9, 4)[:, None] * across  # a thumb held away
    mask = depth_inside(SIZE, spread, elbow, unit, bare=True) > 0.2
    closed = ndimage.binary_closing(mask, iterations=14)
    between = ndimage.binary_erosion(closed & ~mask, iterations=1)
    assert between.sum() > 150
    picture = np.full((SIZE, SIZE, 3), (252, 250, 247)) - np.where(between[..., None], (50, 58, 64), 0)
    picture = np.where(mask[..., None], (205, 150, 135), picture)
    picture = picture + np.random.default_rng(0).normal(0, 4, picture.shape)
    skin, _ = cut_forearm(
        picture.clip(0, 255).astype(np.uint8), closed.astype(np.float32), spread, elbow, unit, closed.astype(np.float32)
    )
    assert skin[between].mean() < 0.2 and skin[mask].mean() > 0.9


def test_filling_keeps_what_is_known_and_takes_the_rest_from_around():
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[:, :256], picture[:, 256:] = (200, 60, 60), (60, 60, 200)
    hole = np.zeros((SIZE, SIZE), bool)
    hole[200:300, 100:160] = True
    picture[hole] = (0, 255, 0)
    filled = fill(picture, hole)
    assert (filled[~hole] == picture[~hole]).all()
    deep = ndimage.binary_erosion(hole, iterations=6)
    assert np.abs(filled[deep].astype(int) - (200, 60, 60)).max() < 12


def test_edges_take_the_colour_of_the_nearest_sure_pixel():
    picture = np.full((64, 64, 3), 30, np.uint8)
    sure = np.zeros((64, 64), bool)
    sure[20:40, 20:40] = True
    picture[sure] = (180, 120, 90)
    spread = bleed(picture, sure)
    assert (spread[sure] == picture[sure]).all()
    assert np.abs(spread[45, 30].astype(int) - (180, 120, 90)).max() < 3


def test_an_upper_arm_against_the_trunk_does_not_widen_the_flank_that_a_forearm_hides():
    """Above the elbows arms and trunk are one outline; what a forearm hides below is as wide as what shows under it."""
    photo = avatar_photograph()
    size = photo.image.shape[0]
    xy = photo.xy * size
    across = float(np.linalg.norm(xy[SHOULDERS[0]] - xy[SHOULDERS[1]]))
    middle = xy[list(SHOULDERS)].mean(0)
    elbow = max(xy[ELBOWS[0]][1], xy[ELBOWS[1]][1])
    y, x = np.mgrid[:size, :size] + 0.5
    person = np.abs(x - middle[0]) < np.where(y < elbow, 0.8, 0.48) * across
    hole = np.any(
        [depth_inside(size, xy[hand], xy[elbow], across) > 0 for hand, elbow in zip(HANDS, ELBOWS, strict=True)], 0
    )
    trunk = _trunk(photo, (person & (y > middle[1])).astype(np.float32), (True, True))
    rows = [row for row in range(int(elbow) + 2, size) if hole[row, int(middle[0] - 0.55 * across)]]
    assert len(rows) > 5, "a forearm hides the flank"
    assert all(trunk[row, : int(middle[0] - 0.56 * across)].max() == 0 for row in rows)
    assert all(trunk[row, int(middle[0] - 0.4 * across)] == 1 for row in rows)


def test_a_hand_before_the_chest_hides_no_hole():
    """Shoulders and neck above their line are behind it, as far out as they show beside it."""
    photo = avatar_photograph()
    size = photo.image.shape[0]
    xy = photo.keypoints.xy.copy()
    across = size * float(np.linalg.norm(xy[0, SHOULDERS[0]] - xy[0, SHOULDERS[1]]))
    middle = size * xy[0, list(SHOULDERS)].mean(0)
    xy[0, HANDS[0]] += (middle - [0, 0.1 * across]) / size - xy[0, HANDS[0]][9]
    photo = replace(photo, keypoints=replace(photo.keypoints, xy=xy))
    y, x = np.mgrid[:size, :size] + 0.5
    slope = np.interp(y[:, 0], [middle[1] - 0.3 * across, middle[1]], [0.2 * across, 0.55 * across])[:, None]
    person = np.abs(x - middle[0]) < slope
    trunk = _trunk(photo, person.astype(np.float32), (True, False))
    hand = depth_inside(size, size * xy[0, HANDS[0]], size * xy[0, ELBOWS[0]], across) > 0
    behind = hand & (np.abs(x - middle[0]) < slope - 4) & (y < middle[1]) & (y > size * photo.face[CHIN, 1] + 1)
    assert behind.sum() > 50
    assert trunk[behind].min() == 1
    assert trunk[hand & (np.abs(x - middle[0]) > slope + 4)].max(initial=0) == 0
