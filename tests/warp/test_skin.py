"""How points follow a pose: turns are recovered, bones reach their ends, and a pose at rest moves nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sample_photographs import avatar_photograph

from iasa import keypoints as kp
from iasa.warp.head_skin import turn_points
from iasa.warp.skin import (
    BodySkin,
    ForearmSkin,
    apply,
    carry_bone,
    fit_affine,
    fit_similarity,
    fit_turn,
    keep_together,
    spread,
)

SIZE = 512


def rotation(yaw, pitch, roll):
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("yxz", [yaw, pitch, roll]).as_matrix()


@pytest.mark.parametrize("angles", [(0.3, 0, 0), (0, -0.25, 0), (0.1, 0.15, 0.2)])
def test_a_heads_turn_in_depth_is_recovered(angles):
    points = np.random.default_rng(1).normal(0, [60, 80, 40], (17, 3)) + [250, 200, 10]
    posed = 1.1 * (points @ rotation(*angles).T)[:, :2] + [20, -7]
    turn = fit_turn(points, posed)
    assert np.abs(turn_points(turn, points[:, :2], points[:, 2]) - posed).max() < 1.5
    far = points + [0, -150, 90]  # hair, which no point of the face stands for
    wanted = 1.1 * (far @ rotation(*angles).T)[:, :2] + [20, -7]
    assert np.abs(turn_points(turn, far[:, :2], far[:, 2]) - wanted).max() < 5


def test_similarity_and_affine_maps_are_recovered():
    points = np.random.default_rng(2).normal(0, 50, (21, 2))
    c, s = 0.9 * np.cos(0.4), 0.9 * np.sin(0.4)
    turned = points @ np.array([[c, -s], [s, c]]).T + [3, 4]
    assert np.allclose(apply(fit_similarity(points, turned), points), turned)
    sheared = points @ np.array([[1.0, 0.2], [0.0, 0.8]]).T
    loose, stiff = (np.abs(apply(fit_affine(points, sheared, r), points) - sheared).max() for r in (1e-6, 10.0))
    assert loose < 1e-3 < stiff


def test_a_bone_reaches_its_new_ends_unless_it_points_at_the_camera():
    a, b, to_a, to_b = np.array([[100, 100], [100, 220], [110, 95], [220, 150]], float)
    bone = carry_bone(a, b, to_a, to_b, 200.0)
    assert np.allclose(apply(bone, np.stack([a, b])), [to_a, to_b], atol=1e-6)
    short = carry_bone(a, a + [3, 0], to_a, to_a + [0, 3], 200.0)  # its direction is chance: 90 degrees would be wrong
    assert np.allclose(short[:, :2], np.eye(2)) and np.allclose(apply(short, a), to_a)


def body(points):
    photo = avatar_photograph()
    rest = photo.xy.astype(np.float64) * SIZE
    return rest, BodySkin.of(rest, photo.seen, points, None, SIZE)


def test_a_body_at_rest_stays_and_hair_follows_the_head_but_hips_do_not():
    photo = avatar_photograph()
    rest = photo.xy.astype(np.float64) * SIZE
    chin = rest[kp.FACE.start + 8]
    crown, shoulder = chin - [0, 260], (rest[kp.LEFT_SHOULDER] + rest[kp.RIGHT_SHOULDER]) / 2 + [0, 40]
    waist = np.array([256.0, 430.0])
    rest, skin = body(np.stack([crown, shoulder, waist]))
    assert np.allclose(skin.place(rest, skin.points), skin.points)
    moved = skin.place(rest, skin.points + (12, -5)) - skin.points
    assert np.allclose(moved[0], (12, -5))
    assert np.abs(moved[1:]).max() < 1.0


def test_shoulders_do_not_go_with_the_head_but_hair_at_their_height_above_the_chin_does():
    rest = avatar_photograph().xy.astype(np.float64) * SIZE
    chin, brow = rest[kp.FACE.start + 8], rest[[kp.FACE.start + 19, kp.FACE.start + 24]].mean(0)
    height = np.linalg.norm(chin - brow)
    beside = 0.9 * height * np.array([1.0, 0.0])
    _, skin = body(np.stack([(chin + brow) / 2 + beside, chin + beside + [0, 0.15 * height]]))
    hair, shoulder = skin.place(rest, skin.points + (0, -20)) - skin.points
    assert hair[1] < -18 and abs(shoulder[1]) < 3


def test_the_body_keeps_its_height_at_the_pictures_lower_edge():
    rest, skin = body(np.array([[256.0, 512.0], [256.0, 300.0]]))
    pose = rest.copy()
    pose[[kp.LEFT_SHOULDER, kp.RIGHT_SHOULDER, kp.LEFT_HIP, kp.RIGHT_HIP]] += (9, -15)
    moved = skin.place(pose, skin.points) - skin.points
    assert moved[0, 1] == 0 and moved[1, 1] < -5
    assert moved[0, 0] > 5  # aside nothing is missing


def test_a_trunk_that_turns_away_is_not_turned_inside_out():
    rest, skin = body(np.array([[206.0, 330.0], [306.0, 330.0]]))
    pose = rest.copy()
    for left, right in ((kp.LEFT_SHOULDER, kp.RIGHT_SHOULDER), (kp.LEFT_HIP, kp.RIGHT_HIP)):
        pose[[left, right]] = rest[[right, left]] + (5, 0)
    arms = (
        [kp.LEFT_ELBOW, kp.LEFT_WRIST, *range(133)[kp.LEFT_HAND]],
        [kp.RIGHT_ELBOW, kp.RIGHT_WRIST, *range(133)[kp.RIGHT_HAND]],
    )
    pose[arms[0] + arms[1]] = rest[arms[1] + arms[0]]  # arms would cross the trunk
    kept = keep_together(rest, pose, np.zeros(133, bool))
    for shoulder, arm in zip((kp.LEFT_SHOULDER, kp.RIGHT_SHOULDER), arms, strict=True):
        assert np.allclose(kept[arm] - rest[arm], kept[shoulder] - rest[shoulder])
    left, right = skin.place(kept, skin.points)
    assert right[0] - left[0] > 50 and abs((left + right)[0] / 2 - 261) < 10
    nodded = rest + (3, 2)
    assert np.allclose(keep_together(rest, nodded, np.zeros(133, bool)), nodded)


def test_what_is_unseen_goes_with_what_holds_it():
    rest = avatar_photograph().xy.astype(np.float64) * SIZE
    pose = rest + (30, 0)
    unseen = np.zeros(133, bool)
    unseen[[*range(5), *range(133)[kp.FACE], *range(133)[kp.LEFT_HAND], kp.LEFT_HIP]] = True
    pose[unseen] = 1e6
    pose[kp.LEFT_WRIST] += (0, -12)
    kept = keep_together(rest, pose, unseen)
    assert np.allclose(kept[kp.FACE], rest[kp.FACE] + (30, 0))
    assert np.allclose(kept[kp.LEFT_HAND], rest[kp.LEFT_HAND] + (30, -12))
    assert np.allclose(kept[kp.RIGHT_HAND], rest[kp.RIGHT_HAND] + (30, 0))
    assert np.abs(kept - rest).max() < 40


@pytest.mark.parametrize("side", [0, 1])
def test_a_hand_moves_as_its_points_do_and_the_elbow_as_the_upper_arm(side):
    photo = avatar_photograph()
    rest = photo.xy.astype(np.float64) * SIZE
    where = (kp.LEFT_HAND, kp.RIGHT_HAND)[side]
    elbow = (kp.LEFT_ELBOW, kp.RIGHT_ELBOW)[side]
    points = np.concatenate([rest[where], rest[[elbow]]])
    skin = ForearmSkin.of(side, rest, points)
    assert np.allclose(skin.place(rest), points, atol=1e-6)
    pose = rest.copy()
    pose[where] += (9, -14)
    moved = skin.place(pose) - points
    assert np.abs(moved[:21] - (9, -14)).max() < 1.0
    assert np.abs(moved[21]).max() < 1.0


def test_movements_are_spread_from_their_sources_and_end():
    sources = np.array([[0.0, 0.0], [30.0, 0.0]])
    follow = spread(sources, np.array([[0.0, 0.0], [30.0, 0.0], [500.0, 0.0]]), 20.0, 1e-6)
    assert np.allclose(follow, [[1, 0], [0, 1], [0, 0]], atol=1e-4)
