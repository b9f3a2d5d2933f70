"""Cuts, dissolves and changes of person are found where they are, and movement is none of them."""

from __future__ import annotations

import numpy as np
import pytest

from iasa.keypoints import COUNT, FACE, Keypoints
from iasa.pose import find_cuts, find_jumps

SIDE = 96


def make_scene(seed: int, frames: int, speed: float = 2.0) -> np.ndarray:
    """A person of one colour before a wall of another, uint8 [f, H, W, 3], who moves and waves."""
    rng = np.random.default_rng(seed)
    wall, skin, shirt = rng.integers(20, 235, (3, 3))
    pictures = np.empty((frames, SIDE, SIDE, 3), np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for i, picture in enumerate(pictures):
        middle = SIDE / 2 + 8 * np.sin(speed * i / 10)
        picture[:] = wall
        picture[(rows > 60) & (np.abs(columns - middle) < 30)] = shirt
        picture[(rows - 40) ** 2 + (columns - middle) ** 2 < 18**2] = skin
        hand = 50 + 30 * np.sin(speed * i / 4)
        picture[(rows - hand) ** 2 + (columns - middle - 34) ** 2 < 9**2] = skin
        picture += rng.integers(0, 6, picture.shape, np.uint8)
    return pictures


@pytest.mark.parametrize("where", [7, 60, 111])
def test_a_hard_cut_is_found_to_the_frame(where):
    frames = np.concatenate([make_scene(1, where), make_scene(2, 118 - where)])
    assert find_cuts(frames) == [where]


def test_every_cut_of_several_is_found():
    parts = [make_scene(seed, 40) for seed in range(5)]
    assert find_cuts(np.concatenate(parts)) == [40, 80, 120, 160]


@pytest.mark.parametrize("speed", [0.0, 2.0, 6.0])
def test_movement_is_no_cut(speed):
    assert find_cuts(make_scene(3, 120, speed)) == []


def test_a_lamp_that_flashes_and_frames_that_repeat_are_no_cuts():
    frames = make_scene(4, 80)
    frames[40] = np.minimum(frames[40].astype(int) + 90, 255)
    assert find_cuts(frames) == []
    assert find_cuts(make_scene(4, 60, 4.0).repeat(2, 0)) == []  # 12.5 pictures a second, read at 25


def test_a_dissolve_is_taken_out():
    """Clips may lie before and behind, not in it."""
    one, other = make_scene(1, 120), make_scene(2, 120)
    share = np.clip((np.arange(120) - 50) / 20, 0, 1)[:, None, None, None]
    cuts = find_cuts((one * (1 - share) + other * share).astype(np.uint8))
    assert len(cuts) == 2 and 40 <= cuts[0] <= 60 <= cuts[1] <= 80


def make_face(frames: int, middle=(0.5, 0.3), size: float = 0.2) -> Keypoints:
    xy = np.full((frames, COUNT, 2), 0.5, np.float32)
    angle = np.linspace(0, 2 * np.pi, FACE.stop - FACE.start)
    xy[:, FACE] = np.array(middle) + size / 2 * np.stack([np.sin(angle), np.cos(angle)], -1)
    xy[:, FACE, 0] += 0.02 * np.sin(np.arange(frames) / 3)[:, None]  # it nods
    return Keypoints(xy, np.ones((frames, COUNT), np.float32))


def join(*parts: Keypoints) -> Keypoints:
    return Keypoints(np.concatenate([p.xy for p in parts]), np.concatenate([p.confidence for p in parts]))


def test_the_detector_s_leap_to_another_person_ends_a_clip():
    assert find_jumps(make_face(80)) == []
    assert find_jumps(join(make_face(30), make_face(30, (0.8, 0.3)))) == [30]  # beside
    assert find_jumps(join(make_face(30), make_face(30, size=0.3))) == [30]  # nearer
    lost = make_face(5)
    lost.confidence[:] = 0
    assert find_jumps(join(make_face(30), lost, make_face(30, (0.85, 0.3)))) == [35]
    assert find_jumps(join(make_face(30), lost, make_face(30, (0.56, 0.32)))) == []  # the same, a moment later
