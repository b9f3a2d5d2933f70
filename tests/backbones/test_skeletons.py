"""Skeleton pictures in the three dialects: the study's facts, pixel by pixel."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from wan_cases import POSES

from iasa.backbones.skeletons import DIALECTS, draw_skeletons, face_boxes, face_video
from iasa.config import InputError
from iasa.keypoints import FACE, LEFT_HAND, Keypoints

HEIGHT, WIDTH = 480, 832


def picture(dialect: str, keypoints: Keypoints = POSES[:1]) -> np.ndarray:
    return np.asarray(draw_skeletons(keypoints, HEIGHT, WIDTH, dialect)[0])


def at(point: np.ndarray) -> tuple[int, int]:
    x, y = (point * [WIDTH, HEIGHT]).astype(int)
    return y, x


@pytest.mark.parametrize(
    "dialect, shoulder", [("vace", (0, 0, 153)), ("openpose", (153, 0, 0)), ("animate", (153, 0, 0))]
)
def test_limbs_have_the_colours_of_the_dialect(dialect, shoulder):
    drawn = picture(dialect)
    assert drawn.shape == (HEIGHT, WIDTH, 3) and drawn.dtype == np.uint8
    right, left = POSES.xy[0, 6], POSES.xy[0, 5]
    middle = drawn[at(0.5 * (right + 0.5 * (right + left)))]  # of the right shoulder and the neck
    assert np.abs(middle.astype(int) - shoulder).max() < 60
    white = drawn.min(-1) > 200
    assert white.any() == DIALECTS[dialect].face
    hand = drawn[at(POSES.xy[0, LEFT_HAND.start])]
    assert (hand.sum() > 0) or not DIALECTS[dialect].hands


def test_what_is_unsure_is_not_drawn():
    unsure = Keypoints(POSES.xy[:1], np.full((1, 133), 0.4, np.float32))
    assert picture("animate", unsure).max() == 0 and picture("vace", unsure).max() > 0
    assert picture("vace", Keypoints(POSES.xy[:1], np.full((1, 133), 0.2, np.float32))).max() == 0
    headless = Keypoints(POSES.xy[:1], np.where(np.arange(133) < 23, POSES.confidence[:1], 0).astype(np.float32))
    assert (picture("openpose", headless).min(-1) > 200).sum() == 0


@pytest.mark.parametrize("dialect, digest", [("vace", 1006789396), ("openpose", 1244571435), ("animate", 3703314919)])
def test_the_pictures_are_those_that_equalled_the_original_programs(dialect, digest):
    """Checked once against the backbones' own programs, largest difference 0 (openpose: against its sample picture)."""
    confidence = POSES.confidence[:60:20].copy()
    confidence[np.random.default_rng(0).uniform(size=confidence.shape) < 0.15] = 0.25
    drawn = draw_skeletons(Keypoints(POSES.xy[:60:20], confidence), HEIGHT, WIDTH, dialect)
    assert zlib.crc32(np.stack([np.asarray(one) for one in drawn]).tobytes()) == digest


def test_the_face_video_holds_the_face():
    frames = np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)
    for frame, xy in zip(frames, POSES.xy[:3, FACE], strict=True):
        for point in xy:
            frame[at(point)] = 255
    boxes = face_boxes(POSES[:3], HEIGHT, WIDTH)
    face = POSES.xy[:3, FACE] * [WIDTH, HEIGHT]
    assert (boxes[:, 0] <= face[..., 0].min(1)).all() and (boxes[:, 3] >= face[..., 1].max(1)).all()
    above, below = face[..., 1].min(1) - boxes[:, 2], boxes[:, 3] - face[..., 1].max(1)
    assert (above > below).all()
    crops = face_video(frames, POSES[:3], 64)
    assert [crop.size for crop in crops] == [(64, 64)] * 3 and all(np.asarray(crop).max() > 0 for crop in crops)
    unseen = Keypoints(POSES.xy[:1], np.zeros((1, 133), np.float32))
    assert np.asarray(face_video(frames[:1], unseen, 64)[0]).max() == 0


def test_an_unknown_dialect_is_refused():
    with pytest.raises(InputError, match="'fun'; accepted: vace, openpose, animate"):
        draw_skeletons(POSES[:1], HEIGHT, WIDTH, "fun")
