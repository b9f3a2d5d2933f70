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
    fit_hand,
    fit_similarity,
    fit_turn,
    join_bones,
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


def turned(points, angle, size=1.0):
    c, s = size * np.cos(angle), size * np.sin(angle)
    return points @ np.array([[c, -s], [s, c]]).T + [3, 4]


def test_similarities_are_recovered_and_those_of_a_hand_turned_over():
    points = np.random.default_rng(2).normal(0, 50, (21, 2))
    assert np.allclose(apply(fit_similarity(points, turned(points, 0.4, 0.9)), points), turned(points, 0.4, 0.9))
    palm = points[:6]
    for shown in (palm, palm * [1, -1]):  # the palm, and the back of the hand
        assert np.allclose(apply(fit_hand(palm, turned(shown, 2.5, 1.1)), palm), turned(shown, 2.5, 1.1))
    edge = fit_hand(palm, palm * [0.1, 0.3])
    assert np.allclose(edge[:, :2].T @ edge[:, :2], 0.85**2 * np.eye(2)), "seen from its edge it is a hand as before"


def test_a_joint_bends_at_half_a_turn_without_getting_thin():
    limb = np.stack(np.meshgrid(np.linspace(-60, 60, 25), [-10.0, 10.0]), -1).reshape(-1, 2)
    share = np.clip(limb[:, 0] / 60 + 0.5, 0, 1)
    still = np.eye(2, 3)
    over = np.concatenate([-np.eye(2), [[0.0], [0.0]]], 1)
    bent = join_bones(limb, share, still, over, np.zeros(2), np.array([1.0, 0.0]))
    assert np.allclose(np.linalg.norm(bent, axis=1), np.linalg.norm(limb, axis=1))
    assert np.allclose(bent[share == 0], limb[share == 0]) and np.allclose(bent[share == 1], -limb[share == 1])
    width = np.linalg.norm(bent[:25] - bent[25:], axis=1)
    assert width.min() > 18, "a mean of both places has no width in the middle"


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
    _, skin = body(np.stack([chin - [0, 1.2 * height] + 1.4 * beside, chin + [0, 0.1 * height] + 1.4 * beside]))
    curls, arm = skin.place(rest, skin.points + (0, -20)) - skin.points
    assert curls[1] < -18 and abs(arm[1]) < 3, "wide hair above the chin does too"


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
    pose[arms[0]] += (0, -40)  # the one at the picture's left is raised
    unseen = np.zeros(133, bool)
    unseen[range(133)[kp.LEFT_HAND]] = True
    kept = keep_together(rest, pose, np.zeros(133, bool))
    assert np.allclose(kept[arms[1]], rest[arms[1]] + (0, -40)) and np.allclose(kept[arms[0]], rest[arms[0]])
    pose[unseen] = 1e6
    assert np.allclose(keep_together(rest, pose, unseen)[arms[1][2:]], kept[arms[1][2:]])
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
    kept = keep_together(rest, pose, unseen)
    assert np.allclose(kept[kp.FACE], rest[kp.FACE] + (30, 0))
    assert np.allclose(kept[kp.LEFT_HAND], rest[kp.LEFT_HAND] + (30, 0))
    assert np.allclose(kept[kp.RIGHT_HAND], rest[kp.RIGHT_HAND] + (30, 0))
    assert np.abs(kept - rest).max() < 40
    elbow, wrist = rest[kp.LEFT_ELBOW], rest[kp.LEFT_WRIST]
    pose[kp.LEFT_ELBOW], pose[kp.LEFT_WRIST] = elbow, elbow - (wrist - elbow)  # half a turn of the forearm
    kept = keep_together(rest, pose, unseen)
    assert np.allclose(kept[kp.LEFT_HAND] - elbow, elbow - rest[kp.LEFT_HAND])


@pytest.mark.parametrize("side", [0, 1])
def test_a_hand_moves_as_its_points_do_and_the_elbow_as_the_upper_arm(side):
    photo = avatar_photograph()
    rest = photo.xy.astype(np.float64) * SIZE
    where = (kp.LEFT_HAND, kp.RIGHT_HAND)[side]
    elbow = (kp.LEFT_ELBOW, kp.RIGHT_ELBOW)[side]
    points = np.concatenate([rest[where], rest[[elbow]]])
    skin = ForearmSkin.of(side, rest, points)
    (still, shown), *others = skin.place(rest)
    assert np.allclose(still, points, atol=1e-6) and shown.all() and not others
    pose = rest.copy()
    pose[where] += (9, -14)
    moved = skin.place(pose)[0][0] - points
    assert np.abs(moved[:21] - (9, -14)).max() < 1.0
    assert np.abs(moved[21]).max() < 1.0


@pytest.mark.parametrize("side", [0, 1])
def test_a_hand_turned_over_is_its_mirror_image_on_its_forearm_and_a_fist_keeps_its_fingers(side):
    photo = avatar_photograph()
    rest = photo.xy.astype(np.float64) * SIZE
    where = (kp.LEFT_HAND, kp.RIGHT_HAND)[side]
    hand = rest[where]
    far = hand[12] + 0.2 * (hand[12] - hand[0])  # nothing, beyond the fingers
    elbow = rest[(kp.LEFT_ELBOW, kp.RIGHT_ELBOW)[side]]
    skin = ForearmSkin.of(side, rest, np.concatenate([hand, [far, (elbow + hand[0]) / 2]]))
    axis = (hand[9] - hand[0]) / np.linalg.norm(hand[9] - hand[0])
    over = hand[0] + (hand - hand[0]) @ (2 * np.outer(axis, axis) - np.eye(2))  # about its length
    pose = rest.copy()
    pose[where] = over
    (arm, below), (palm, above) = skin.place(pose)
    assert np.abs(palm[:21] - over).max() < 2 and above[:22].all() and not below[4:22].any()
    assert below[22] and not above[22] and np.abs(arm[22] - skin.points[22]).max() < 1
    assert np.linalg.norm(palm[21] - over[12]) < np.linalg.norm(far - hand[12]) + 2, (
        "it does not fold back over the hand"
    )
    pose[where] = hand
    for first in (5, 9, 13, 17):
        pose[where][first + 1 : first + 4] = hand[first] + 0.1 * (hand[first + 1 : first + 4] - hand[first])
    assert np.abs(skin.place(pose)[0][0][:21] - hand).max() < 2


def test_movements_are_spread_from_their_sources_and_end():
    sources = np.array([[0.0, 0.0], [30.0, 0.0]])
    follow = spread(sources, np.array([[0.0, 0.0], [30.0, 0.0], [500.0, 0.0]]), 20.0, 1e-6)
    assert np.allclose(follow, [[1, 0], [0, 1], [0, 0]], atol=1e-4)
