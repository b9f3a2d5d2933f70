"""Poses from pictures: the mapping to the 133 points, the paper's filter, the drawings, the detector."""

import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from iasa.config import InputError
from iasa.keypoints import (
    BODY,
    COUNT,
    FACE,
    LEFT_HAND,
    LEFT_SHOULDER,
    MESH_TO_FACE,
    RIGHT_HAND,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
    Keypoints,
)
from iasa.pose import (
    HolisticDetector,
    HolisticFrame,
    draw_pose,
    extract_keypoints,
    find_runs,
    keep_frames,
    to_keypoints,
)
from iasa.pose import extract as extract_module


def make_found(**parts):
    """A detection with random landmarks, parts replaced or (None) removed."""
    rng = np.random.default_rng(0)
    count = {"face": 478, "pose": 33, "left": 21, "right": 21}
    points = {part: rng.random((n, 3)).astype(np.float32) for part, n in count.items()} | parts
    scores = {f"{part}_score": 0.0 if points[part] is None else 0.9 for part in count}
    visibility = np.zeros(33) if points["pose"] is None else np.linspace(0.1, 1, 33)
    return HolisticFrame(**points, visibility=visibility.astype(np.float32), **scores)


def make_keypoints(frames=1, confidence=1.0):
    xy = np.full((frames, COUNT, 2), 0.5, np.float32)
    return Keypoints(xy, np.full((frames, COUNT), confidence, np.float32))


# mapping


def test_landmarks_land_on_their_points_with_their_confidence():
    found = make_found()
    keypoints = to_keypoints([found, make_found(face=None, left=None)], fps=30.0)
    assert len(keypoints) == 2 and keypoints.fps == 30.0
    np.testing.assert_allclose(keypoints.xy[0, LEFT_SHOULDER], found.pose[11, :2], atol=1e-6)
    np.testing.assert_allclose(keypoints.xy[0, RIGHT_WRIST], found.pose[16, :2], atol=1e-6)
    np.testing.assert_allclose(keypoints.xy[0, FACE], found.face[list(MESH_TO_FACE), :2], atol=1e-6)
    np.testing.assert_allclose(keypoints.xy[0, LEFT_HAND], found.left[:, :2], atol=1e-6)
    assert keypoints.confidence[0, LEFT_SHOULDER] == pytest.approx(found.visibility[11])
    assert keypoints.confidence[0, RIGHT_HAND] == pytest.approx(0.9)
    assert not keypoints.confidence[1, FACE].any() and not keypoints.confidence[1, LEFT_HAND].any()
    assert keypoints.confidence[1, RIGHT_HAND].all() and np.isfinite(keypoints.xy).all()


@pytest.mark.parametrize(("height", "width"), [(400, 800), (800, 400), (256, 256)])
def test_a_frame_that_is_not_square_counts_as_cut_to_its_middle(height, width):
    pose = np.full((33, 3), 0.5, np.float32)
    pose[11, :2] = (
        (width - 256) / 2 / width,
        (height - 256) / 2 / height,
    )  # 256 pixels wide about the middle
    pose[12, :2] = ((width + 256) / 2 / width, (height + 256) / 2 / height)
    keypoints = to_keypoints([make_found(pose=pose)], height=height, width=width)
    side = min(height, width)
    np.testing.assert_allclose(keypoints.xy[0, LEFT_SHOULDER], 0.5 - 128 / side, atol=1e-6)
    np.testing.assert_allclose(keypoints.xy[0, RIGHT_SHOULDER], 0.5 + 128 / side, atol=1e-6)


# filter


def test_the_papers_thresholds_at_their_borders():
    keypoints = make_keypoints(8, 1.0)
    xy, confidence = keypoints.xy.copy(), keypoints.confidence.copy()
    confidence[1, FACE] = 0.899
    confidence[2, FACE] = 0.901
    confidence[3, BODY] = 0.799
    confidence[4, BODY] = 0.801
    confidence[5, 0] = 0.0  # one of eleven unseen leaves 91 %
    confidence[6, :2] = 0.4  # two of eleven leave 82 %, though their mean is 0.89
    xy[7, RIGHT_WRIST - 1 : RIGHT_WRIST + 1] = 1.2  # two wrists beyond the picture
    keep = keep_frames(Keypoints(xy, confidence))
    assert keep.tolist() == [True, False, True, False, True, True, False, False]


def test_legs_and_hands_do_not_decide():
    keypoints = make_keypoints()
    confidence = keypoints.confidence.copy()
    confidence[:, 11:23] = 0
    confidence[:, LEFT_HAND.start :] = 0
    assert keep_frames(Keypoints(keypoints.xy, confidence)).all()


def test_runs_of_kept_frames():
    keep = np.array([1, 1, 0, 1, 1, 1, 0, 1], bool)
    assert find_runs(keep) == [(0, 2), (3, 6), (7, 8)]
    assert find_runs(keep, shortest=3) == [(3, 6)]
    assert find_runs(np.zeros(4, bool)) == [] and find_runs(np.ones(4, bool)) == [(0, 4)]
    assert find_runs(np.zeros(0, bool)) == []


# drawing


def test_a_bone_is_drawn_where_it_lies_and_only_if_sure():
    keypoints = make_keypoints(2, 0.0)
    xy, confidence = keypoints.xy.copy(), keypoints.confidence.copy()
    xy[:, LEFT_SHOULDER], xy[:, RIGHT_SHOULDER] = (0.75, 0.5), (0.25, 0.5)
    confidence[0, [LEFT_SHOULDER, RIGHT_SHOULDER]] = 1.0
    confidence[1, LEFT_SHOULDER] = 1.0
    drawn = draw_pose(Keypoints(xy, confidence), 128)
    assert drawn.shape == (2, 128, 128, 3) and drawn.dtype == np.uint8
    lit = drawn[0].any(-1)
    assert lit[64, 34:94].all() and not lit[:60].any() and not lit[70:].any() and not lit[:, :28].any()
    assert not drawn[1].any()
    background = np.full((2, 128, 128, 3), 77, np.uint8)
    over = draw_pose(Keypoints(xy, confidence), 128, background)
    assert (over[1] == 77).all() and (over[0][~lit] == 77).all() and (over[0, 64, 64] != 77).any()


def test_drawing_takes_far_points_and_wrong_backgrounds_are_named():
    keypoints = make_keypoints()
    xy = keypoints.xy.copy()
    xy[0, ::2] = 1e9
    draw_pose(Keypoints(xy, keypoints.confidence), 64)
    with pytest.raises(ValueError, match=r"\[1, 64, 64, 3\]"):
        draw_pose(keypoints, 64, np.zeros((1, 32, 32, 3), np.uint8))


def test_hands_are_told_apart():
    for hand in (LEFT_HAND, RIGHT_HAND):
        keypoints = make_keypoints(1, 0.0)
        xy, confidence = keypoints.xy.copy(), keypoints.confidence.copy()
        xy[0, hand] = np.random.default_rng(0).random((21, 2))
        confidence[0, hand] = 1
        red, _, blue = draw_pose(Keypoints(xy, confidence), 96)[0].reshape(-1, 3).sum(0, dtype=int)
        assert (red > blue) == (hand == LEFT_HAND)


# the detector


@pytest.fixture(scope="module")
def speaker():
    """A drawn speaker with the hands up, its true keypoints: (uint8 [f, 256, 256, 3], Keypoints)."""
    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    pytest.importorskip("skia", reason="drawing is optional: pip install skia-python")
    return render_speaker()


@cache
def render_speaker(frames=6):
    from dataclasses import replace

    from iasa.avatar.hands import hand_shape
    from iasa.avatar.identity import make_identity
    from iasa.avatar.mesh import FACE_CHANNELS
    from iasa.avatar.renderer import Renderer
    from iasa.avatar.rig import make_keypoints, rest_motion

    motion = rest_motion(frames, rest=1)
    face, hands = motion.face.copy(), motion.hands.copy()
    face[:, FACE_CHANNELS.index("open")] = np.linspace(0, 1, frames)
    for side, sign in enumerate((-1, 1)):
        hands[:, side, :3] = (sign * 17.0, -22.0, 24.0)
        hands[:, side, 3:6] = (-sign * 0.3, 0.1, 0.95)
        hands[:, side, 6:9] = (0.0, 0.95, 0.3)
        hands[:, side, 9:] = hand_shape("open")
    motion = replace(motion, face=face, hands=hands)
    identity = make_identity(1_000_003)
    return Renderer(identity, 256).render(motion), make_keypoints(identity, motion)


@pytest.mark.parametrize("static", [False, True])
def test_detected_points_lie_on_the_true_ones(speaker, static):
    frames, truth = speaker
    keypoints = extract_keypoints(frames, static=static)
    assert len(keypoints) == len(frames) and keypoints.fps == 25
    shoulders = np.linalg.norm(truth.xy[0, LEFT_SHOULDER] - truth.xy[0, RIGHT_SHOULDER])
    error = np.linalg.norm(keypoints.xy - truth.xy, axis=-1) / shoulders
    for region, limit in ((FACE, 0.03), (LEFT_HAND, 0.06), (RIGHT_HAND, 0.06)):
        assert (keypoints.confidence[:, region] > 0.5).all()
        assert np.median(error[:, region]) < limit
    assert np.median(error[:, [LEFT_SHOULDER, RIGHT_SHOULDER]]) < 0.12
    assert keep_frames(keypoints).all()


def test_frames_that_are_not_square_give_the_same_points(speaker):
    frames, _ = speaker
    square = extract_keypoints(frames[:1], static=True)
    for pad in (((0, 0), (0, 0), (90, 90), (0, 0)), ((0, 0), (60, 60), (0, 0), (0, 0))):
        found = extract_keypoints(np.pad(frames[:1], pad, mode="edge"), static=True)
        difference = np.abs(found.xy - square.xy)[:, [*range(11), *range(FACE.start, COUNT)]]
        assert np.median(difference) < 0.004


def test_hand_scores_are_probabilities_that_fall_with_blur(speaker):
    from scipy.ndimage import gaussian_filter

    frames, _ = speaker
    blurred = gaussian_filter(frames[:2], (0, 4, 4, 0))
    with HolisticDetector(static=True) as detector:
        sharp = [detector.detect(frame) for frame in frames[:2]]
        soft = [detector.detect(frame) for frame in blurred]
    assert all(0.5 < f.left_score < 1 and 0.5 < f.right_score < 1 and f.face_score > 0.9 for f in sharp)
    mean = [np.mean([f.left_score + f.right_score for f in clip]) for clip in (sharp, soft)]
    assert mean[1] < mean[0] - 0.2
    assert sharp[0].face.shape == (478, 3) and sharp[0].pose.shape == (33, 3)


def test_a_reset_detector_is_a_fresh_one(speaker):
    frames, _ = speaker
    with HolisticDetector() as detector:
        first = detector.detect(frames[0])
        detector.detect(frames[-1])
        detector.reset()
        again = detector.detect(frames[0])
    np.testing.assert_allclose(first.pose, again.pose, atol=1e-5)


def test_nobody_in_the_picture(capfd):
    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    keypoints = extract_keypoints(np.full((2, 64, 96, 3), 128, np.uint8))
    assert not keypoints.confidence.any() and not keep_frames(keypoints).any()
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"  # no start-up notes, and the terminal is given back
    with pytest.raises(InputError, match="no frames"):
        extract_keypoints(np.zeros((0, 64, 64, 3), np.uint8))


def test_a_missing_mediapipe_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe.python.solution_base", None)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(InputError, match=r"pip install mediapipe==0\.10\.21"):
        HolisticDetector()


def test_importing_pose_and_video_does_not_load_mediapipe():
    code = "import sys, iasa.pose, iasa.media.reader; print({'mediapipe', 'cv2', 'skia'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_wrong_frames_are_named():
    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    with HolisticDetector() as detector, pytest.raises(ValueError, match="float32"):
        detector.detect(np.zeros((8, 8, 3), np.float32))


def test_the_score_streams_exist_in_this_mediapipe():
    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    with HolisticDetector() as detector:
        expanded = detector._graph._graph.text_config
    for stream in extract_module._SCORES.values():
        assert stream in expanded
