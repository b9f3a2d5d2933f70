"""The gestures of rendered takes: seeded, smooth, within reach, and free of the trunk; they need neither Blender nor anny."""

from __future__ import annotations

import numpy as np
import pytest

from examples.people.gestures import CALM, LIVELY, MOVED, Gesture, draw_moments, is_free, wrist_of

SEEDS = range(4)
FRAMES = np.arange(75) / 25.0


def wrists(track, times) -> np.ndarray:
    """[T, 3]"""
    return np.array([wrist_of(track.at(time)[:12].reshape(4, 3)) for time in times])


def test_a_gesture_is_a_function_of_its_seed():
    assert Gesture(3).at(0.7) == Gesture(3).at(0.7)
    assert Gesture(3).at(0.7) != Gesture(4).at(0.7)


@pytest.mark.parametrize("seed", SEEDS)
def test_wrists_move_smoothly_and_come_to_rest_at_key_poses(seed):
    gesture = Gesture(seed)
    for track in (gesture.left, gesture.right):
        speed = np.linalg.norm(np.diff(wrists(track, np.arange(0, 3, 0.004)), axis=0), axis=1) / 0.004
        assert 0.05 < speed.max() < 1.0  # metres a second
        assert np.abs(np.diff(speed)).max() < 0.08  # from one to the next 4 ms
        for key in track.times[1:-1]:
            before, after = wrists(track, (key - 0.001, key + 0.001))
            assert np.linalg.norm(after - before) < 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_arms_stay_near_the_first_pose_and_out_of_the_trunk(seed):
    gesture = Gesture(seed)
    for track in (gesture.left, gesture.right):
        moved = wrists(track, FRAMES)
        assert 0.03 < np.linalg.norm(moved - moved[0], axis=1).max() < MOVED[1] + 0.01
        assert all(is_free(key[:12].reshape(4, 3)) for key in track.values)
        for _, _, hand, palm in (track.at(time)[:12].reshape(4, 3) for time in FRAMES):
            away = np.cross(hand, palm) / np.linalg.norm(hand) / np.linalg.norm(palm)
            assert np.linalg.norm(away) > 0.25  # else the hand's turn is undefined
    turns = np.abs([gesture.at(time).head for time in FRAMES])
    assert (turns.max(0) <= CALM.head).all() and turns.max() > 2


def test_a_speaker_rests_with_the_mouth_closed_then_speaks_and_blinks():
    for seed in SEEDS:
        gesture = Gesture(seed)
        faces = [gesture.face_at(time) for time in np.arange(0, 3, 0.02)]
        opened, blinks = (np.array([face[action] for face in faces]) for action in ("jawOpen", "eyeBlink"))
        assert opened[0] < 1e-9 and blinks[0] < 1e-9
        assert opened.max() > 0.2 and ((opened[1:-1] > opened[:-2]) & (opened[1:-1] >= opened[2:])).sum() >= 5
        assert blinks.max() > 0.9 and blinks.mean() < 0.2
        assert all(0 <= amount <= 1 for face in faces for amount in face.values())


def test_the_lively_open_the_mouth_wider_and_turn_further_and_the_calm_stay_as_they_were():
    def most(manner, measure):
        return max(measure(Gesture(seed, 3.0, manner).at(time)) for seed in SEEDS for time in FRAMES)

    for measure in (lambda pose: pose.face["jawOpen"], lambda pose: abs(pose.head[1])):
        assert most(LIVELY, measure) > 1.2 * most(CALM, measure)
    assert most(LIVELY, lambda pose: pose.face["jawOpen"]) <= 1
    assert Gesture(3, 3.0, CALM).at(0.7) == Gesture(3).at(0.7)


def test_moments_are_one_photograph_and_runs_of_consecutive_frames_apart_from_each_other():
    resting = 0
    for seed in range(60):
        photograph, *frames = draw_moments(seed, 3.0, runs=3, length=8, rate=25.0, resting=0.7)
        assert len(frames) == 24 and 0 <= photograph < 3
        runs = np.reshape(frames, (3, 8))
        np.testing.assert_allclose(np.diff(runs, axis=1), 0.04)
        assert [int(time) for time in runs[:, 0]] == [int(time) for time in runs[:, -1]] == [0, 1, 2]
        resting += photograph == 0
    assert 0.5 < resting / 60 < 0.9
