"""The token grid, the 133-point pose and its files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iasa.config import InputError
from iasa.grid import TokenGrid
from iasa.keypoints import (
    BODY,
    BONES,
    COUNT,
    EYE_CORNERS,
    FACE,
    FEET,
    LEFT_HAND,
    LEFT_SHOULDER,
    LOWER_LIP,
    MESH_TO_FACE,
    MOUTH,
    MOUTH_CORNERS,
    RIGHT_HAND,
    RIGHT_WRIST,
    UPPER_BODY,
    UPPER_LIP,
    Keypoints,
    concat_keypoints,
    fill_latent,
    from_holistic,
    hold_last,
    load_keypoints,
    mouth_opening,
    mouth_width,
    pool_to_latent,
    save_keypoints,
)


def make_poses(frames: int, seed: int = 0) -> Keypoints:
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0, 1, (frames, COUNT)) * (rng.random((frames, COUNT)) > 0.3)
    return Keypoints(rng.uniform(-0.2, 1.2, (frames, COUNT, 2)), confidence)


def test_tokens_are_numbered_row_by_row_and_frame_by_frame():
    grid = TokenGrid(3, rows=4, cols=5)
    assert (grid.tokens_per_frame, grid.tokens) == (20, 60)
    seen = [grid.locate(i) for i in range(grid.tokens)]
    assert seen == [(t, row, col) for t in range(3) for row in range(4) for col in range(5)]
    for index in (-1, 60):
        with pytest.raises(IndexError):
            grid.locate(index)


def test_centres_lie_in_the_middle_of_their_tokens():
    centres = TokenGrid(2, rows=4, cols=5).centres()
    assert centres.shape == (20, 2) and centres.dtype == np.float32
    for token, (x, y) in enumerate(centres):
        row, col = divmod(token, 5)
        assert x == pytest.approx((col + 0.5) / 5) and y == pytest.approx((row + 0.5) / 4)


@pytest.mark.parametrize("sizes", [(0, 4, 4), (1, 0, 4), (1, 4, -1)])
def test_an_empty_grid_is_refused(sizes):
    with pytest.raises(ValueError, match="at least 1"):
        TokenGrid(*sizes)


def test_the_layout_is_coco_wholebody():
    parts = [range(COUNT)[part] for part in (BODY, FEET, FACE, LEFT_HAND, RIGHT_HAND)]
    assert [len(part) for part in parts] == [17, 6, 68, 21, 21]
    assert [i for part in parts for i in part] == list(range(COUNT))  # no gap, no overlap
    assert len(MESH_TO_FACE) == 68 and len(set(MESH_TO_FACE)) == 68
    assert set(MOUTH) >= {UPPER_LIP, LOWER_LIP, *MOUTH_CORNERS} and len(MOUTH) == 20
    assert len(set(BONES)) == len(BONES) and all(0 <= a < COUNT and 0 <= b < COUNT and a != b for a, b in BONES)
    tips = {hand.start + tip for hand in (LEFT_HAND, RIGHT_HAND) for tip in (4, 8, 12, 16, 20)}
    assert tips < set(UPPER_BODY) and len(set(UPPER_BODY)) == len(UPPER_BODY) == 19


def test_every_finger_is_a_chain_from_its_wrist():
    for hand in (LEFT_HAND, RIGHT_HAND):
        inside = {(a, b) for a, b in BONES if hand.start <= a < hand.stop}
        assert len(inside) == 20
        for tip in (4, 8, 12, 16, 20):
            point, steps = hand.start + tip, 0
            while point != hand.start:
                (point,) = [a for a, b in inside if b == point]
                steps += 1
            assert steps == 4


def test_holistic_landmarks_find_their_places():
    """Named points of mediapipe's three layouts, from its documentation, against names of COCO-WholeBody."""
    mesh, pose, left, right = (np.arange(2 * n, dtype=np.float32).reshape(1, n, 2) for n in (478, 33, 21, 21))
    right = right + 1000
    found = from_holistic(mesh, pose, left, right)
    xy = found.xy[0]
    for coco, mediapipe in {0: 0, LEFT_SHOULDER: 11, 6: 12, 7: 13, 9: 15, RIGHT_WRIST: 16, 11: 23}.items():
        assert (xy[coco] == pose[0, mediapipe]).all()
    for coco, vertex in {
        EYE_CORNERS[0]: 33, EYE_CORNERS[1]: 263, UPPER_LIP: 13, LOWER_LIP: 14, MOUTH_CORNERS[0]: 61,
        MOUTH_CORNERS[1]: 291, FACE.start + 8: 152, FACE.start + 30: 4,
    }.items():  # fmt: skip
        assert (xy[coco] == mesh[0, vertex]).all()
    assert (xy[LEFT_HAND] == left[0]).all() and (xy[RIGHT_HAND] == right[0]).all()
    assert (found.confidence == 1).all()


def test_missing_parts_get_no_confidence():
    mesh = np.full((2, 478, 2), 0.5, np.float32)
    mesh[1] = np.nan
    found = from_holistic(mesh, None, None, np.zeros((2, 21, 2)), right_confidence=np.array([0.25, 0.75]))
    assert (found.confidence[0, FACE] == 1).all() and (found.confidence[1, FACE] == 0).all()
    assert (found.confidence[:, BODY] == 0).all() and (found.confidence[:, LEFT_HAND] == 0).all()
    assert (found.confidence[:, RIGHT_HAND] == [[0.25], [0.75]]).all()
    assert np.isfinite(found.xy).all()


@pytest.mark.parametrize(
    "xy, confidence",
    [
        (np.zeros((2, 132, 2)), np.zeros((2, 132))),
        (np.zeros((2, 133, 3)), np.zeros((2, 133))),
        (np.zeros((2, 133, 2)), np.zeros((3, 133))),
        (np.full((2, 133, 2), np.nan), np.ones((2, 133))),
        (np.zeros((2, 133, 2)), np.full((2, 133), np.inf)),
    ],
    ids=["points", "axes", "frames", "nan where seen", "endless confidence"],
)
def test_poses_that_make_no_sense_are_refused(xy, confidence):
    with pytest.raises(InputError):
        Keypoints(xy, confidence)


def test_unseen_points_may_hold_anything():
    xy = np.full((1, COUNT, 2), np.nan)
    assert (Keypoints(xy, np.zeros((1, COUNT))).xy == 0).all()


@settings(max_examples=20, deadline=None)
@given(latent=st.integers(1, 4), frames=st.integers(1, 3), seed=st.integers(0, 99))
def test_pooling_is_the_mean_weighted_by_confidence(latent, frames, seed):
    poses = make_poses(latent * frames, seed)
    pooled = pool_to_latent(poses, frames)
    assert len(pooled) == latent and pooled.fps == pytest.approx(25 / frames)
    for t in range(latent):
        for point in (0, 50, 132):
            weights = [float(poses.confidence[t * frames + i, point]) for i in range(frames)]
            assert pooled.confidence[t, point] == pytest.approx(sum(weights) / frames, abs=1e-6)
            if sum(weights) > 0:
                places = [poses.xy[t * frames + i, point] for i in range(frames)]
                mean = sum(w * p for w, p in zip(weights, places, strict=True)) / sum(weights)
                np.testing.assert_allclose(pooled.xy[t, point], mean, atol=1e-5)


def test_pooling_refuses_a_remainder_and_filling_repeats_the_last_pose():
    poses = make_poses(3)
    with pytest.raises(ValueError, match="3 frames"):
        pool_to_latent(poses)
    filled = fill_latent(poses)
    assert len(filled) == 4
    np.testing.assert_array_equal(filled.xy, np.concatenate([poses.xy, poses.xy[-1:]]))
    assert fill_latent(filled) is filled
    with pytest.raises(ValueError, match="at least one"):
        fill_latent(poses[:0])


def test_concatenation_and_slices():
    a, b = make_poses(2, 1), make_poses(3, 2)
    both = concat_keypoints(a, b)
    np.testing.assert_array_equal(both[2:].xy, b.xy)
    np.testing.assert_array_equal(both[np.array([4, 0])].confidence, np.stack([b.confidence[2], a.confidence[0]]))


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.2, 5), angle=st.floats(-3, 3), shift=st.floats(-1, 1))
def test_mouths_are_measured_against_the_face(scale, angle, shift):
    """Size, place and turn of a head in the picture do not change how open its mouth is."""
    xy = make_poses(4).xy
    xy[:, EYE_CORNERS[0]], xy[:, EYE_CORNERS[1]] = (0.4, 0.4), (0.6, 0.4)
    seen = np.ones((4, COUNT))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    still, moved = Keypoints(xy, seen), Keypoints(scale * xy @ turn.T + shift, seen)
    np.testing.assert_allclose(mouth_opening(moved), mouth_opening(still), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(mouth_width(moved), mouth_width(still), rtol=1e-3, atol=1e-4)
    gap = np.linalg.norm(xy[:, UPPER_LIP] - xy[:, LOWER_LIP], axis=-1)
    np.testing.assert_allclose(mouth_opening(still), gap / 0.2, rtol=1e-4)


def test_pose_files_keep_everything(tmp_path):
    poses = Keypoints(make_poses(5).xy, make_poses(5).confidence, fps=12.5)
    save_keypoints(tmp_path / "p.npz", poses)
    read = load_keypoints(tmp_path / "p.npz")
    np.testing.assert_array_equal(read.xy, poses.xy)
    np.testing.assert_array_equal(read.confidence, poses.confidence)
    assert read.fps == 12.5 and [path.name for path in tmp_path.iterdir()] == ["p.npz"]
    np.savez(tmp_path / "bare.npz", xy=poses.xy, confidence=poses.confidence)
    assert load_keypoints(tmp_path / "bare.npz").fps == 25


def test_what_is_no_pose_file_is_refused(tmp_path):
    good = tmp_path / "good.npz"
    save_keypoints(good, make_poses(2))
    (tmp_path / "cut.npz").write_bytes(good.read_bytes()[:300])
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "empty.npz").touch()
    np.savez(tmp_path / "half.npz", xy=np.zeros((1, COUNT, 2)))
    np.savez(tmp_path / "pickled.npz", xy=np.array([{}], object), confidence=np.zeros((1, COUNT)))
    np.savez(tmp_path / "shape.npz", xy=np.zeros((1, 9, 2)), confidence=np.zeros((1, 9)))
    for name in ("cut", "text", "empty", "half", "pickled", "shape", "missing"):
        with pytest.raises(InputError):
            load_keypoints(tmp_path / f"{name}.npz")


def test_a_pose_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "taken.npz").mkdir()
    with pytest.raises(InputError, match="cannot (write|be written)"):
        save_keypoints(tmp_path / "taken.npz", make_poses(2))
    with pytest.raises(InputError, match="cannot (write|be written)"):
        save_keypoints(tmp_path / "nowhere" / "p.npz", make_poses(2))
    assert [path.name for path in tmp_path.iterdir()] == ["taken.npz"]


def test_the_last_pose_is_held():
    poses = Keypoints(np.random.default_rng(0).uniform(size=(3, COUNT, 2)), np.ones((3, COUNT)))
    held = hold_last(poses, 7)
    assert len(held) == 7 and np.array_equal(held.xy[:3], poses.xy) and (held.xy[3:] == poses.xy[2]).all()
    assert hold_last(poses, 2) is poses
