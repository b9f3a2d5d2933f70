"""Gaps in detected poses: bridged when short, eased when long, hands with their wrists, what was seen untouched."""

from __future__ import annotations

import numpy as np
import pytest
from sample_plans import performance

from iasa.keypoints import BODY, FACE, LEFT_HAND, LEFT_WRIST, RIGHT_HAND, Keypoints
from iasa.pose import bridge_gaps


@pytest.fixture
def poses() -> Keypoints:
    moving = performance(60, seed=1)
    xy = moving.xy + np.linspace(0, 0.3, 60)[:, None, None].astype(np.float32)  # everything drifts steadily
    return Keypoints(xy, moving.confidence * 0.8, 25.0)


def lose(poses: Keypoints, points: slice, first: int, stop: int) -> Keypoints:
    """What a detector that missed these points returns."""
    xy, confidence = poses.xy.copy(), poses.confidence.copy()
    xy[first:stop, points], confidence[first:stop, points] = 0, 0
    return Keypoints(xy, confidence, poses.fps)


@pytest.mark.parametrize("points", [BODY, FACE, LEFT_HAND, RIGHT_HAND])
@pytest.mark.parametrize("frames", [1, 4, 12])
def test_up_to_half_a_second_is_bridged_with_less_confidence(poses, points, frames):
    lost = lose(poses, points, 20, 20 + frames)
    found = bridge_gaps(lost)
    gap = slice(20, 20 + frames)
    assert (found.confidence[gap, points] == pytest.approx(0.4)) and (found.confidence[gap, points] > 0).all()
    steps = np.linalg.norm(np.diff(found.xy[19 : 21 + frames, points], axis=0), axis=-1)
    whole = np.linalg.norm(found.xy[20 + frames, points] - found.xy[19, points], axis=-1)
    assert steps.max() < whole.max() / (frames + 1) + 0.08  # no jump but the wrist's own, which a hand goes with
    outside = np.delete(np.arange(60), np.arange(20, 20 + frames))
    assert np.array_equal(found.xy[outside], lost.xy[outside])
    assert np.array_equal(found.confidence[outside], lost.confidence[outside])


def test_a_lost_hand_goes_on_with_its_wrist(poses):
    found = bridge_gaps(lose(poses, LEFT_HAND, 20, 26))
    offset = found.xy[:, LEFT_HAND] - found.xy[:, LEFT_WRIST, None]
    share = (np.arange(20, 26) - 19) / 7
    wanted = offset[19] + share[:, None, None] * (offset[26] - offset[19])
    assert np.allclose(offset[20:26], wanted, atol=1e-5)


def test_a_longer_gap_is_eased_out_and_in_and_stays_a_gap(poses):
    found = bridge_gaps(lose(poses, FACE, 15, 45))
    confidence = found.confidence[:, FACE]
    assert (np.diff(confidence[14:20], axis=0) < 0).all() and (np.diff(confidence[40:46], axis=0) > 0).all()
    assert (confidence[20:40] == 0).all()
    assert np.array_equal(found.xy[15, FACE], found.xy[14, FACE]) and np.array_equal(
        found.xy[44, FACE], found.xy[45, FACE]
    )


def test_what_is_never_seen_and_the_ends_are_not_invented(poses):
    never = bridge_gaps(lose(poses, RIGHT_HAND, 0, 60))
    assert (never.confidence[:, RIGHT_HAND] == 0).all()
    late = bridge_gaps(lose(poses, RIGHT_HAND, 0, 10))
    assert (late.confidence[:5, RIGHT_HAND] == 0).all() and (late.confidence[5:, RIGHT_HAND] > 0).all()
    assert np.array_equal(bridge_gaps(poses).xy, poses.xy)


def test_a_rate_of_its_own(poses):
    """Half a second is five frames at ten a second."""
    slow = Keypoints(poses.xy, poses.confidence, 10.0)
    assert (bridge_gaps(lose(slow, FACE, 20, 25)).confidence[:, FACE] > 0).all()
    assert (bridge_gaps(lose(slow, FACE, 20, 26)).confidence[22:24, FACE] == 0).all()
