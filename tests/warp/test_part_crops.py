"""Crops around face and hands: cut where the points are, and laid back to where they were cut from."""

from __future__ import annotations

import numpy as np
import pytest
from sample_photographs import avatar_photograph
from scipy import ndimage

pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")

from iasa import keypoints as kp  # noqa: E402
from iasa.warp.part_crops import PARTS, PartCrops  # noqa: E402

SIZE = 256


@pytest.fixture
def pose():
    return avatar_photograph().xy.astype(np.float64)


def crops_of(pose, moving=(True, True), seen=None, size=64):
    return PartCrops.of(pose, np.ones(kp.COUNT, bool) if seen is None else seen, moving, size)


def smooth(seed):
    return (
        128 + 90 * ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIZE, SIZE, 3)), (12, 12, 0)) * 40
    )


def test_parts_that_hold_still_or_are_hidden_have_no_crop(pose):
    seen = np.ones(kp.COUNT, bool)
    assert crops_of(pose).parts == [0, 1, 2]
    assert crops_of(pose, (False, True)).parts == [0, 2]
    seen[kp.RIGHT_HAND.start] = False
    assert crops_of(pose, seen=seen).parts == [0, 1]


def test_a_crop_shows_its_part_in_the_middle(pose):
    crops = crops_of(pose)
    for number, part in enumerate(PARTS):
        placed = crops.place(number, pose)[part]
        np.testing.assert_allclose(placed.mean(0), 0.5, atol=1e-5)
        assert placed.min() > 0 and placed.max() < 1
    frame = np.zeros((SIZE, SIZE, 3), np.uint8)
    x, y = np.floor(pose[kp.FACE].mean(0) * SIZE).astype(int)
    frame[y - 2 : y + 3, x - 2 : x + 3] = 255
    middle = ndimage.center_of_mass(crops.cut(0, frame, pose)[..., 0].astype(float))
    np.testing.assert_allclose(middle, 31.5, atol=1.5)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("shift", [(0, 0), (0.013, -0.021)])
def test_what_is_added_lands_where_it_was_cut(pose, number, shift):
    pose = pose + shift
    crops, before, after = crops_of(pose), smooth(0).astype(np.float32), smooth(1).astype(np.float32)
    frame = before.copy()
    crops.add(number, frame, crops.cut(number, after, pose) - crops.cut(number, before, pose), pose)
    grid = (np.stack(np.meshgrid(*[np.arange(SIZE) + 0.5] * 2), -1) / SIZE - crops.corner(number, pose)) / crops.sides[
        number
    ]
    inside = ((grid > 0.2) & (grid < 0.8)).all(-1)
    outside = ((grid < -0.02) | (grid > 1.02)).any(-1)
    assert np.abs(frame - after)[inside].max() < 0.1 * np.abs(before - after)[inside].max()
    assert np.abs(frame - before)[outside].max() == 0


def test_a_crop_beyond_the_picture_changes_what_is_in_it(pose):
    crops, frame = crops_of(pose), np.zeros((SIZE, SIZE, 3), np.float32)
    crops.add(
        0, frame, np.ones((64, 64, 3), np.float32), pose - pose[kp.FACE].mean(0)
    )  # the face's middle at the corner
    assert frame[0, 0].min() == pytest.approx(1) and frame[SIZE // 2 :, SIZE // 2 :].max() == 0
    crops.add(0, frame, np.ones((64, 64, 3), np.float32), pose + 5)
    assert np.isfinite(frame).all()
