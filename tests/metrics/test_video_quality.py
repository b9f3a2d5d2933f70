"""Metrics against values worked out by hand, brute force, or another library; the report's clip and table."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from iasa.evaluation.tables import COLUMNS, score_video, summarise
from iasa.keypoints import (
    BODY,
    COUNT,
    EYE_CORNERS,
    FACE,
    LEFT_HAND,
    LEFT_SHOULDER,
    LOWER_LIP,
    RIGHT_HAND,
    RIGHT_SHOULDER,
    UPPER_LIP,
    Keypoints,
)
from iasa.metrics.video_quality import (
    bootstrap_interval,
    correlation,
    detection_rates,
    flicker,
    hand_confidence,
    hand_diversity,
    hands_inside,
    keypoint_error,
    mouth_correlation,
    mouth_lag,
    psnr,
    region_psnr,
    ssim,
)

RNG = np.random.default_rng(0)


def make_clip(frames=4, height=24, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def make_pose(frames=10, xy=0.5, confidence=1.0):
    return Keypoints(np.full((frames, COUNT, 2), xy), np.full((frames, COUNT), confidence))


def make_mouth(opening, scale=0.2, confidence=None):
    """Poses whose mouth opens by `opening` [f] eye distances; `scale` [f] or a number is that distance."""
    pose = make_pose(len(opening))
    xy = pose.xy.copy()
    left, right = EYE_CORNERS
    xy[:, left, 0], xy[:, right, 0] = 0.5 - np.asarray(scale) / 2, 0.5 + np.asarray(scale) / 2
    xy[:, LOWER_LIP, 1] = xy[:, UPPER_LIP, 1] + np.asarray(opening) * scale
    sure = pose.confidence.copy()
    if confidence is not None:
        sure[:, FACE] = np.asarray(confidence)[:, None]
    return Keypoints(xy, sure)


# fidelity


def test_psnr_by_hand():
    truth = np.full((2, 4, 4, 3), 100, np.uint8)
    pred = truth.copy()
    pred[0] += 10  # squared error 100 in one of two frames: mean 50
    assert psnr(pred, truth) == pytest.approx(10 * np.log10(255**2 / 50))
    assert psnr(truth, truth) == 100.0
    assert psnr(truth, pred) == psnr(pred, truth)
    with pytest.raises(ValueError, match="compared"):
        psnr(pred, truth[:1])
    with pytest.raises(ValueError, match="uint8"):
        psnr(pred / 255.0, truth / 255.0)


def test_psnr_does_not_depend_on_the_scale_of_the_tensor():
    pred, truth = make_clip(seed=1), make_clip(seed=2)
    tensors = [torch.from_numpy(clip).permute(0, 3, 1, 2) / 127.5 - 1 for clip in (pred, truth)]
    assert psnr(*tensors, peak=2.0) == pytest.approx(psnr(pred, truth), abs=1e-4)
    batched = [tensor.unflatten(0, (2, 2)) for tensor in tensors]  # [b, f, 3, H, W]
    assert psnr(*batched, peak=2.0) == pytest.approx(psnr(pred, truth), abs=1e-4)


def brute_force_ssim(a, b, peak):
    """Wang et al. 2004, window by window, on one channel [H, W]."""
    x = np.arange(11) - 5
    window = np.exp(-(x**2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    values = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            p, q = (image[i : i + 11, j : j + 11].astype(float) for image in (a, b))
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return np.mean(values)


def test_ssim_is_wang_et_al():
    truth = make_clip(11, 22, 26)  # more frames than fit one chunk, unequal sides
    pred = (truth * 0.7 + 20 + RNG.normal(0, 12, truth.shape)).clip(0, 255).astype(np.uint8)
    expected = [brute_force_ssim(pred[f, ..., c], truth[f, ..., c], 255.0) for f in range(11) for c in range(3)]
    assert ssim(pred, truth) == pytest.approx(np.mean(expected), abs=0.01)  # it also scores the padded border
    assert ssim(truth, truth) == pytest.approx(1.0, abs=1e-3)


def test_region_psnr_sees_only_its_region():
    truth = np.full((3, 8, 8, 3), 50, np.uint8)
    pred = truth.copy()
    pred[1, :4] += 20
    pred[2, :, 6:] += 5
    masks = np.zeros((3, 3, 8, 8), bool)
    masks[:, 0, :4, :4] = True  # top left in every frame: error 400 in a third of them
    masks[2, 1, :, 6:] = True  # only where the last frame is off by 5
    scores = region_psnr(pred, truth, masks, names=("face", "hands", "nowhere"))
    assert scores["face"] == pytest.approx(10 * np.log10(255**2 / (400 / 3)))
    assert scores["hands"] == pytest.approx(10 * np.log10(255**2 / 25))
    assert np.isnan(scores["nowhere"])
    with pytest.raises(ValueError, match=r"\[3, 5, 8, 8\] are needed"):
        region_psnr(pred, truth, masks)


def test_region_of_everything_is_the_whole_frame():
    pred, truth = make_clip(seed=1), make_clip(seed=2)
    everything = np.ones((4, 1, 24, 32), bool)
    assert region_psnr(pred, truth, everything, ("all",))["all"] == pytest.approx(psnr(pred, truth))


# flicker


def test_flicker_by_hand():
    truth = np.full((5, 6, 6, 3), 100, np.uint8)
    pred = truth.copy()
    pred[2] += 8  # seconds differences 8, 16, 8 in the three inner frames
    assert flicker(pred, truth) == pytest.approx(32 / 3)
    assert flicker(truth, truth) == 0.0
    drift = truth + np.arange(5, dtype=np.uint8)[:, None, None, None]
    assert flicker(drift, truth) == 0.0  # even drift is no flicker
    assert np.isnan(flicker(pred[:2], truth[:2]))


def test_flicker_ignores_what_moves_by_right():
    truth = np.full((5, 6, 6, 3), 100, np.uint8)
    truth[::2, :3] = 160  # the upper half blinks in the truth
    pred = truth.copy()
    pred[::2, :3] = 220
    assert flicker(pred, truth) == 0.0
    pred[2, 3:] += 8
    moving = np.zeros((5, 6, 6), bool)
    moving[2, 3:, :3] = True  # half of it is covered, in all three windows that hold frame 2
    assert flicker(pred, truth) == pytest.approx(32 / 3)
    assert flicker(pred, truth, moving) == pytest.approx(32 / 3)
    pred[2, 3:, :3] = 0
    assert flicker(pred, truth, moving) == pytest.approx(32 / 3)
    assert np.isnan(flicker(pred, truth, np.ones((5, 6, 6), bool)))


def test_flicker_matches_brute_force():
    truth = np.repeat(make_clip(1, 5, 7), 6, 0)
    truth[3:, :2] ^= 64
    pred = make_clip(6, 5, 7, seed=3)
    total, count = 0.0, 0
    for t in range(1, 5):
        for y in range(5):
            for x in range(7):
                window = truth[t - 1 : t + 2, y, x].astype(int)
                if np.ptp(window, axis=0).max() <= 2:
                    a, b, c = pred[t - 1 : t + 2, y, x].astype(int)
                    total += np.abs(a - 2 * b + c).sum() - np.abs(window[0] - 2 * window[1] + window[2]).sum()
                    count += 3
    assert flicker(pred, truth) == pytest.approx(total / count)


# lips


def test_correlation_is_pearsons():
    a, b = RNG.normal(size=(2, 50))
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert correlation(a, -3 * a + 7) == pytest.approx(-1)
    assert np.isnan(correlation(a, np.ones(50))) and np.isnan(correlation(a[:2], b[:2]))


def test_mouth_correlation_is_free_of_the_size_of_the_face():
    opening = np.abs(np.sin(np.arange(40) / 3)) * 0.3
    near, far = make_mouth(opening, scale=np.linspace(0.1, 0.3, 40)), make_mouth(opening, scale=0.15)
    assert mouth_correlation(near, far) == pytest.approx(1.0, abs=1e-4)
    assert mouth_correlation(make_mouth(0.3 - opening), far) == pytest.approx(-1.0, abs=1e-4)
    still = make_mouth(np.full(40, 0.1))
    assert np.isnan(mouth_correlation(still, far))


def test_unseen_faces_are_left_out_of_the_mouth():
    opening = np.abs(np.sin(np.arange(40) / 3)) * 0.3
    wrong = opening.copy()
    wrong[10:20] = 9.0
    confidence = np.ones(40)
    confidence[10:20] = 0
    seen = make_mouth(wrong, confidence=confidence)
    assert mouth_correlation(seen, make_mouth(opening)) == pytest.approx(1.0, abs=1e-4)
    assert np.isnan(mouth_correlation(make_mouth(opening, confidence=np.zeros(40)), make_mouth(opening)))


@pytest.mark.parametrize("lag", [-3, -1, 0, 2, 5])
def test_lips_that_come_late_are_told(lag):
    signal = np.random.default_rng(1).random(80) * 0.3
    found, truth = make_mouth(signal[10 - lag : 60 - lag]), make_mouth(signal[10:60])
    assert mouth_lag(found, truth) == lag
    assert mouth_lag(make_pose(50), truth) is None


# detection


def test_rates_count_only_hands_that_can_be_seen():
    truth = make_pose(4)
    xy = truth.xy.copy()
    xy[0, LEFT_HAND] = 1.4  # out of the picture
    xy[1, LEFT_HAND.start : LEFT_HAND.start + 11] = 1.4  # mostly out (11 of 21)
    xy[2, LEFT_HAND.start : LEFT_HAND.start + 10] = 1.4  # mostly in
    confidence = truth.confidence.copy()
    confidence[3, RIGHT_HAND] = 0  # unknown
    truth = Keypoints(xy, confidence)
    assert hands_inside(truth).tolist() == [[False, True], [False, True], [True, True], [True, False]]
    found = make_pose(4)
    seen = found.confidence.copy()
    seen[0, FACE] = 0
    seen[0, RIGHT_HAND] = 0  # one of the five wanted hands is missed
    seen[1, LEFT_HAND] = 0  # not wanted
    seen[3, BODY] = 0
    found = Keypoints(found.xy, seen)
    assert detection_rates(found, truth) == {"pose": 0.75, "face": 0.75, "hands": 0.8}
    nowhere = Keypoints(truth.xy + 2, truth.confidence)
    assert np.isnan(detection_rates(found, nowhere)["hands"])


def test_hand_confidence_counts_the_missed_as_zero():
    truth = make_pose(4)
    confidence = np.full((4, COUNT), 0.9, np.float32)
    confidence[:, RIGHT_HAND] = 0.5
    confidence[0, RIGHT_HAND] = 0.0
    found = Keypoints(truth.xy, confidence)
    assert hand_confidence(found, truth) == pytest.approx((4 * 0.9 + 3 * 0.5) / 8)


def test_hand_diversity_by_hand():
    pose = make_pose(4)
    assert hand_diversity(pose) == pytest.approx(0)
    xy = pose.xy.copy()
    xy[:, LEFT_HAND, 0] += np.array([1, -1, 1, -1])[:, None] * 0.1  # variance 0.01 for half of the points
    assert hand_diversity(Keypoints(xy, pose.confidence), size=100) == pytest.approx(np.sqrt(0.01 / 2) * 100)
    confidence = pose.confidence.copy()
    confidence[:, RIGHT_HAND] = 0
    confidence[1::2, LEFT_HAND] = 0  # what is left of it stands still
    assert hand_diversity(Keypoints(xy, confidence)) == pytest.approx(0)
    assert np.isnan(hand_diversity(make_pose(4, confidence=0.0)))


def test_keypoint_error_is_in_shoulder_widths():
    truth = make_pose(3)
    xy = truth.xy.copy()
    xy[:, LEFT_SHOULDER, 0], xy[:, RIGHT_SHOULDER, 0] = 0.7, 0.3
    truth = Keypoints(xy, truth.confidence)
    moved = xy.copy()
    moved[:, LEFT_HAND, 1] += 0.04
    moved[0, LEFT_HAND] = 0  # far off, but unseen
    confidence = truth.confidence.copy()
    confidence[0, LEFT_HAND] = 0
    assert keypoint_error(Keypoints(moved, confidence), truth, LEFT_HAND) == pytest.approx(0.1, abs=1e-5)
    assert np.isnan(keypoint_error(make_pose(3, confidence=0.0), truth, LEFT_HAND))


# summary


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        low, high = bootstrap_interval(rng.normal(3, 2, 40), samples=400, seed=trial)
        hits += low <= 3 <= high
    assert 178 <= hits <= 199  # 95 % nominal, a little less for small samples
    values = [1.0, 2.0, 4.0, np.nan]
    low, high = bootstrap_interval(values)
    assert 1.0 <= low < 7 / 3 < high <= 4.0 and bootstrap_interval(values) == (low, high)
    assert bootstrap_interval([5.0]) == (5.0, 5.0) and all(np.isnan(bootstrap_interval([])))


def test_the_table_holds_means_and_intervals():
    rows = [
        {"model": "student", "psnr": 26.0, "hands": 0.9, "mouth_r": float("nan")},
        {"model": "static", "psnr": 20.0, "hands": 1.0},
        {"model": "student", "psnr": 28.0, "hands": 0.8, "mouth_r": float("nan")},
    ]
    table, summary = summarise(rows)
    lines = table.splitlines()
    assert lines[0] == "| model | clips | PSNR dB | hand detection | lip-opening r |" and len(lines) == 4
    assert lines[2] == "| student | 2 | 27.00 [26.00, 28.00] | 0.850 [0.800, 0.900] | - |"
    assert lines[3] == "| static | 1 | 20.00 | 1.000 | - |"
    assert summary["student"]["psnr"]["mean"] == 27.0 and summary["student"]["psnr"]["clips"] == 2
    assert summary["static"]["mouth_r"]["mean"] is None
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


@pytest.fixture(scope="module")
def clip():
    """Eight frames of a drawn speaker who opens the mouth: (frames, keypoints, masks)."""
    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    pytest.importorskip("skia", reason="drawing is optional: pip install skia-python")
    from iasa.avatar.hands import hand_shape
    from iasa.avatar.identity import make_identity
    from iasa.avatar.mesh import FACE_CHANNELS
    from iasa.avatar.renderer import Renderer
    from iasa.avatar.rig import make_keypoints, rest_motion

    motion = rest_motion(8, rest=1)
    face, hands = motion.face.copy(), motion.hands.copy()
    face[:, FACE_CHANNELS.index("open")] = np.sin(np.arange(8) / 1.5) ** 2
    for side, sign in enumerate((-1, 1)):
        hands[:, side, :3] = (sign * 17.0, -22.0, 24.0)
        hands[:, side, 3:6] = (-sign * 0.3, 0.1, 0.95)
        hands[:, side, 6:9] = (0.0, 0.95, 0.3)
        hands[:, side, 9:] = hand_shape("open")
    motion, identity = replace(motion, face=face, hands=hands), make_identity(1_000_003)
    renderer = Renderer(identity, 256)
    masks = np.stack([renderer.region_masks(motion, i) for i in range(len(motion))])
    return renderer.render(motion), make_keypoints(identity, motion), masks


def test_a_clip_scored_against_itself_is_perfect(clip):
    frames, keypoints, masks = clip
    scores = score_video(frames, frames, keypoints, masks)
    of_judges_and_clocks = {
        "identity",
        "identity_kept",
        "sync",
        "sync_lag",
        "fd_parts",
        "fps",
        "fps_denoise",
        "fps_processor",
    }
    by_brought_weights = {"lpips", "arcface", "arcface_kept", "sync_c", "sync_d", "fid", "fvd"}
    assert (
        set(COLUMNS)
        == set(scores) - {"frames", "psnr_body", "psnr_shoulders"} | of_judges_and_clocks | by_brought_weights
    )
    assert scores["psnr"] == scores["psnr_face"] == 100 and scores["ssim"] == pytest.approx(1, abs=1e-3)
    assert scores["pose"] == scores["face"] == scores["hands"] == 1.0
    assert scores["hkc"] > 0.8 and scores["mouth_r"] > 0.85 and scores["flicker"] == 0
    assert scores["hand_error"] < 0.06


def test_a_frozen_and_a_ruined_clip_score_worse(clip):
    from scipy.ndimage import gaussian_filter

    frames, keypoints, masks = clip
    frozen = score_video(np.repeat(frames[:1], len(frames), 0), frames, keypoints, masks)
    assert frozen["psnr_face"] < 40 and not frozen["mouth_r"] > 0.5
    blurred = score_video(gaussian_filter(frames, (0, 7, 7, 0)), frames, keypoints, masks)
    assert blurred["hkc"] < frozen["hkc"] - 0.2 and blurred["psnr_hands"] < 30
    gone = score_video(np.full_like(frames, 90), frames, keypoints, masks)
    assert gone["pose"] == gone["face"] == gone["hands"] == gone["hkc"] == 0 and np.isnan(gone["mouth_r"])


def test_a_real_video_without_truth_is_scored_on_what_there_is(clip):
    frames, keypoints, _ = clip
    scores = score_video(frames[:4], None, keypoints[:4])
    assert "psnr" not in scores and "flicker" not in scores and scores["face"] == 1
    with pytest.raises(ValueError, match="4 frames"):
        score_video(frames[:4], None, keypoints)
