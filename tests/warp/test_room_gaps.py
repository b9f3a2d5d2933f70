"""Between a bent arm and the trunk there is room; a shirt in the room's colour is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sample_photographs import avatar_photograph

pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")

from iasa.avatar.photograph import ELBOWS, HANDS, SHOULDERS  # noqa: E402
from iasa.warp.room_gaps import without_gaps  # noqa: E402

WALL, CLOTH = (120, 122, 118), (170, 60, 50)


def posed(colour):
    """A drawn person with a left arm akimbo, in one colour before a wall, whose mask holds a gap of the wall's colour."""
    photo = avatar_photograph()
    size = photo.image.shape[0]
    xy = photo.keypoints.xy.copy()
    shoulder, other = xy[0, SHOULDERS[0]], xy[0, SHOULDERS[1]]
    across = np.linalg.norm(shoulder - other)
    out = (shoulder - other) / across
    xy[0, ELBOWS[0]] = shoulder + across * (0.45 * out + [0, 0.5])
    xy[0, HANDS[0]] += shoulder + across * np.array([0, 0.95]) - xy[0, HANDS[0]][0]
    corners = [xy[0, SHOULDERS[0]], xy[0, ELBOWS[0]], xy[0, HANDS[0]][0]]
    middle = np.mean(corners, 0) * size
    y, x = np.mgrid[:size, :size] + 0.5
    gap = np.hypot(x - middle[0], y - middle[1]) < 0.06 * across * size
    person = np.abs(x - size * (shoulder + other)[0] / 2) < 1.1 * across * size
    image = np.where((person & ~gap)[..., None], np.array(colour), WALL).astype(np.uint8)
    points = replace(photo.keypoints, xy=xy.astype(np.float32))
    return replace(photo, image=image, person=person.astype(np.float32), keypoints=points), gap


def test_room_between_arm_and_trunk_is_no_person():
    photo, gap = posed(CLOTH)
    mask = without_gaps(photo)
    assert mask[gap].max() < 0.5 and mask[gap].mean() < 0.1
    lost = (photo.person - mask) > 0.5
    assert lost.sum() < 1.6 * gap.sum() and mask.dtype == np.float32


def test_a_shirt_in_the_colour_of_the_room_is_whole():
    photo, _ = posed(WALL)
    assert (without_gaps(photo) == photo.person).all()


def test_without_arms_there_is_no_gap():
    photo, _ = posed(CLOTH)
    hidden = photo.keypoints.confidence.copy()
    hidden[:, [*ELBOWS]] = 0
    photo = replace(photo, keypoints=replace(photo.keypoints, confidence=hidden))
    assert without_gaps(photo) is photo.person
