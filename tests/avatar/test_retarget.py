"""Motion on a photograph's person: its own points at rest, movement from there, within what the picture can show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sample_photographs import avatar_photograph

from iasa import keypoints as kp
from iasa.avatar.driver import FILMED_REACH, DrawnTarget, carry_poses
from iasa.avatar.identity import make_identity
from iasa.avatar.moving_parts import HIDDEN, HOLDS, MOVES, TOGETHER, Parts, find_parts
from iasa.avatar.photograph import ELBOWS, HANDS, SHOULDERS, WRISTS
from iasa.avatar.retarget import OUT, REACH, Retarget, limit_wrist, soft_limit, two_link
from iasa.avatar.rig import FACE_CHANNELS, make_keypoints, rest_motion
from iasa.keypoints import Keypoints

PARTS = Parts((MOVES, MOVES))


@pytest.fixture(scope="module")
def target():
    return Retarget(avatar_photograph(), PARTS)


def moving(frames=20):
    """Open mouth and raised hands, more and more."""
    motion = rest_motion(frames)
    face, hands = motion.face.copy(), motion.hands.copy()
    face[:, FACE_CHANNELS.index("open")] = np.linspace(0, 0.8, frames)
    hands[:, :, 1] += np.linspace(0, 30, frames)[:, None]
    return replace(motion, face=face, hands=hands)


def test_at_rest_the_points_are_the_photographs(target):
    photo = avatar_photograph()
    rest = target.from_motion(rest_motion(2))
    assert np.abs(rest.xy - photo.xy)[:, photo.seen].max() < 2e-3
    assert (rest.confidence == photo.keypoints.confidence).all()


def test_the_mouth_opens_with_its_channel_and_the_brow_stays(target):
    poses = target.from_motion(replace(moving(), hands=rest_motion(20).hands))
    opening = kp.mouth_opening(poses)
    assert np.corrcoef(opening, np.linspace(0, 0.8, 20))[0, 1] > 0.99 and opening[-1] > opening[0] + 0.1
    assert np.ptp(poses.xy[:, kp.FACE.start + 27], axis=0).max() < 1e-6


def test_wrists_follow_softly_within_their_reach_and_bones_keep_their_length(target):
    poses = target.from_motion(moving())
    for side in range(2):
        wrist = poses.xy[:, HANDS[side].start] - target.rest[HANDS[side].start]
        away = np.linalg.norm(wrist, axis=-1) / target.unit
        assert 2 < away[-1] < REACH and wrist[-1, 1] < 0, "up, softly limited"
        arm = target.arms[side]
        upper = np.linalg.norm(arm.elbow - arm.shoulder)
        flat = np.linalg.norm(poses.xy[:, ELBOWS[side]] - poses.xy[:, SHOULDERS[side]], axis=-1)
        assert (flat <= upper * 1.001).all()


def test_a_hand_leaves_the_body_less_where_its_forearm_points_at_the_camera():
    moves = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    held = limit_wrist(moves, 1e6, 1.0, OUT)
    assert np.allclose(held, moves * [[OUT, 1], [1, 1], [1, 1]])
    photo = avatar_photograph()
    xy = photo.xy.copy()
    for hand, elbow in zip(HANDS, ELBOWS, strict=True):
        xy[hand] += xy[elbow] - xy[hand.start] + (0.001, -0.001)  # the hand before its elbow
    pointing = Retarget(replace(photo, keypoints=Keypoints(xy[None], photo.keypoints.confidence)), PARTS)
    flat = Retarget(photo, PARTS)
    for side, to_the_right in ((0, 1), (1, -1)):
        assert pointing.outwards(side) == (to_the_right, OUT), "the left hand is at the picture's right"
        assert flat.outwards(side)[1] > OUT
    assert Retarget(photo, Parts((HIDDEN, MOVES))).outwards(0) == (0.0, 1.0)


@pytest.mark.parametrize("state", [HIDDEN, HOLDS])
def test_hands_that_keep_still_move_with_the_trunk_alone(state):
    target = Retarget(avatar_photograph(), Parts((state, MOVES)))
    poses = target.from_motion(moving())
    left, right = (np.ptp(poses.xy[:, hand], axis=0).max() for hand in HANDS)
    assert left < 0.005 < 0.02 < right


def test_hands_that_touch_move_together():
    poses = Retarget(avatar_photograph(), Parts((TOGETHER, TOGETHER))).from_motion(moving())
    shift = [poses.xy[:, hand] - poses.xy[0, hand] for hand in HANDS]
    assert np.abs(shift[0][:, 0] - shift[1][:, 0]).max() < 5e-3 and np.abs(shift[0][-1]).max() > 2e-3


def filmed(frames=30):
    """A driver of another size and place who raises the left hand and speaks."""
    photo = avatar_photograph(11)
    xy = np.repeat(photo.xy[None].astype(np.float64), frames, 0)
    up = np.sin(np.linspace(0, 6, frames)).clip(0)[:, None]
    xy[:, HANDS[0], 1] -= 0.2 * up
    xy[:, kp.FACE.start + 65 : kp.FACE.start + 68, 1] += 0.02 * np.sin(np.linspace(0, 20, frames))[:, None].clip(0)
    return Keypoints(xy, np.ones((frames, 133)))


def test_a_driver_who_is_still_leaves_the_photograph_as_it_is(target):
    photo = avatar_photograph()
    still = filmed()[np.zeros(10, int)]
    carried = carry_poses(target, still)
    assert np.abs(carried.xy - photo.xy)[:, photo.seen].max() < 2e-3


def test_a_drivers_size_and_place_do_not_matter(target):
    poses = filmed()
    other = Keypoints(0.6 * poses.xy + (0.3, 0.1), poses.confidence)
    a, b = (carry_poses(target, k).xy for k in (poses, other))
    assert np.abs(a - b).max() < 1e-4


def test_a_drivers_hand_and_mouth_are_followed(target):
    poses = filmed()
    carried = carry_poses(target, poses)
    assert np.corrcoef(kp.mouth_opening(carried), kp.mouth_opening(poses))[0, 1] > 0.98
    up = target.rest[HANDS[0].start, 1] - carried.xy[:, HANDS[0].start, 1]
    assert np.corrcoef(up, -poses.xy[:, HANDS[0].start, 1])[0, 1] > 0.9
    assert 0.02 < up.max() < FILMED_REACH * target.unit
    assert np.abs(carried.xy[:, HANDS[1]] - target.rest[HANDS[1]]).max() < 2e-3


def test_gaps_in_a_drivers_poses_are_bridged(target):
    poses = filmed()
    confidence = poses.confidence.copy()
    confidence[10:15] = 0
    carried = carry_poses(target, Keypoints(poses.xy, confidence))
    assert np.isfinite(carried.xy).all()


def test_soft_limits_keep_small_movements():
    small, large = np.array([[0.1, 0.0]]), np.array([[100.0, 0.0]])
    assert np.allclose(soft_limit(small, 5.0), small, rtol=1e-3)
    assert 4.9 < soft_limit(large, 5.0)[0, 0] <= 5.0


def test_two_links_reach_what_they_can():
    shoulder, pole = np.zeros((2, 3)), np.array([0.0, -1.0, 0.0])
    wrist = np.array([[4.0, 0, 0], [50.0, 0, 0]])
    elbow, end = two_link(shoulder, wrist, 3.0, 3.0, pole)
    assert np.allclose(np.linalg.norm(elbow, axis=1), 3.0) and np.allclose(np.linalg.norm(end - elbow, axis=1), 3.0)
    assert np.allclose(end[0], wrist[0]) and elbow[0, 1] < 0 and np.linalg.norm(end[1]) < 6.0


def open_hands():
    """The avatar's photograph with straight fingers and the hands apart."""
    photo = avatar_photograph()
    xy = photo.keypoints.xy.copy()
    for side, where in enumerate(HANDS):
        xy[0, where, 0] += (0.08, -0.08)[side]
    hands = []
    for hand in photo.hands:
        hand = hand.copy()
        for first in (5, 9, 13, 17):
            hand[first + 1 : first + 4] = hand[first] + (hand[first] - hand[0]) * np.array([[0.4], [0.7], [0.9]])
        hands.append(hand)
    return replace(photo, hands=tuple(hands), keypoints=Keypoints(xy, photo.keypoints.confidence))


def with_hand(side, hand=None, xy=None):
    photo = open_hands()
    hands, points, confidence = list(photo.hands), photo.keypoints.xy.copy(), photo.keypoints.confidence.copy()
    if hand is not None:
        hands[side] = hand
    if xy is None:
        confidence[:, HANDS[side]] = 0 if hand is None else confidence[:, HANDS[side]]
    else:
        points[0, HANDS[side]] = xy
    return replace(photo, hands=tuple(hands), keypoints=Keypoints(points, confidence))


def test_parts_that_keep_still_are_named():
    photo = open_hands()
    assert find_parts(photo).hands == (MOVES, MOVES)
    assert find_parts(with_hand(0)).hands[0] == HIDDEN
    fist = photo.hands[1].copy()
    for first in (5, 9, 13, 17):  # fingertips back at the palm
        fist[first + 2], fist[first + 3] = fist[first] + (fist[first + 1] - fist[first]) * [[0.4], [0.1]]
    parts = find_parts(with_hand(1, fist))
    assert parts.hands[1] == HOLDS and "right hand keeps still (closed" in parts.describe()
    assert "right hand" not in parts.describe().split(";")[0]
    touching = photo.xy[HANDS[1]] + (photo.xy[HANDS[0]].mean(0) - photo.xy[HANDS[1]].mean(0)) * 0.9
    assert find_parts(with_hand(1, photo.hands[1], touching)).hands == (TOGETHER, TOGETHER)


def test_a_drivers_own_mouth_and_hands_move_a_drawn_speaker():
    """Of another size and place, the movement of another body: about what the rig itself would do."""
    motion = moving(30)
    speaker, driver = make_identity(2), make_identity(21)
    truth, poses = make_keypoints(speaker, motion), make_keypoints(driver, motion)
    poses = Keypoints(2.3 * poses.xy - (0.6, 0.4), poses.confidence)
    carried = carry_poses(DrawnTarget(speaker), poses)
    assert np.allclose(kp.face_scale(carried), kp.face_scale(truth), rtol=0.1)
    assert np.corrcoef(kp.mouth_opening(carried), kp.mouth_opening(truth))[0, 1] > 0.98
    for part, near in ((kp.FACE, 0.01), (slice(5, 11), 0.04), (kp.LEFT_HAND, 0.06), (kp.RIGHT_HAND, 0.06)):
        assert np.linalg.norm(carried.xy[:, part] - truth.xy[:, part], axis=-1).mean() < near, part
    raised = carried.xy[0, list(WRISTS), 1] - carried.xy[-1, list(WRISTS), 1]
    assert np.allclose(raised, truth.xy[0, list(WRISTS), 1] - truth.xy[-1, list(WRISTS), 1], rtol=0.25)
    assert (carried.confidence == truth.confidence).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_speakers_own_poses_stay_as_they_are(seed):
    target = DrawnTarget(make_identity(seed))
    own = make_keypoints(make_identity(seed), replace(moving(), head=np.full((20, 3), 0.2)))
    for poses in (own, own[:1], Keypoints(own.xy, own.confidence * (np.arange(133) < 91))):
        assert carry_poses(target, poses) is poses
    for change in (1.1 * own.xy, own.xy + (0.15, 0), own.xy * (1, 1.15)):
        assert carry_poses(target, Keypoints(change, own.confidence)) is not own


def test_what_a_driver_never_shows_rests_and_a_lost_hand_comes_back_softly():
    speaker = make_identity(2)
    rest = make_keypoints(speaker, rest_motion(1))
    poses = make_keypoints(make_identity(21), moving(60))
    confidence = poses.confidence.copy()
    confidence[:, kp.BODY] = confidence[:, kp.LEFT_HAND] = confidence[:, kp.RIGHT_HAND] = 0
    face_alone = carry_poses(DrawnTarget(speaker), Keypoints(3 * poses.xy - 0.8, confidence))
    assert np.abs(face_alone.xy[:, 5:17] - rest.xy[:, 5:17]).max() < 1e-3
    assert np.allclose(kp.face_scale(face_alone), kp.face_scale(rest), rtol=0.05)
    confidence = poses.confidence.copy()
    confidence[30:50, 91:] = confidence[30:50, list(WRISTS)] = 0
    lost = carry_poses(DrawnTarget(speaker), Keypoints(poses.xy, confidence)).xy[:, 91:]
    assert np.abs(np.diff(lost, axis=0)).max() < 0.08 and np.isfinite(lost).all()


@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize("lost", [slice(0, 12), slice(18, 30)], ids=["first", "last"])
def test_a_driver_who_is_not_there_at_first_or_at_last(target, drawn, lost):
    """Nobody in the first pictures of a video: elsewhere that ends the run."""
    poses = filmed()
    confidence = poses.confidence.copy()
    confidence[lost] = 0
    who = DrawnTarget(make_identity(2)) if drawn else target
    carried = carry_poses(who, Keypoints(poses.xy, confidence))
    assert np.isfinite(carried.xy).all() and len(carried) == 30
    assert np.abs(np.diff(carried.xy, axis=0)).max() < 0.12
    end = carried.xy[lost][0 if lost.start == 0 else -1]
    assert np.abs(end[list(WRISTS)] - who.rest[list(WRISTS)]).max() < 0.03
