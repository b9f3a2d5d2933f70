"""The reference bent to a pose: exact for rigid motion, against the definition of moving least squares, and useful."""

import numpy as np
import torch

from iasa import keypoints as kp
from iasa.avatar.gestures import perform
from iasa.avatar.identity import make_identity
from iasa.avatar.renderer import Renderer
from iasa.avatar.rig import FACE_CHANNELS, make_keypoints, rest_motion
from iasa.models import warp
from iasa.models.warp import SOFTEN, bend, warp_reference
from iasa.speech import SpeechFeatures


def slow_bend(place, controls, images):
    """Schaefer et al. 2006, rigid case, one place, by singular value decomposition."""
    w = 1 / (((controls - place) ** 2).sum(-1) + SOFTEN) ** 2
    p, q = (w[:, None] * controls).sum(0) / w.sum(), (w[:, None] * images).sum(0) / w.sum()
    u, _, vt = np.linalg.svd((w[:, None] * (controls - p)).T @ (images - q))
    rotation = u @ np.diag([1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return (place - p) @ rotation + q


def test_bend_is_rigid_moving_least_squares():
    rng = np.random.default_rng(0)
    controls, images, places = rng.uniform(size=(12, 2)), rng.uniform(size=(12, 2)), rng.uniform(size=(9, 2))
    found = bend(*(torch.from_numpy(x) for x in (places, controls, images)), torch.ones(12, dtype=torch.float64))
    expected = np.stack([slow_bend(place, controls, images) for place in places])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-8)


def test_bend_undoes_a_rigid_motion_exactly():
    rng = np.random.default_rng(1)
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    images = rng.uniform(size=(8, 2))
    controls, places = images @ turn + 0.1, rng.uniform(size=(20, 2))
    found = bend(*(torch.from_numpy(x) for x in (places, controls, images)), torch.ones(8, dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), (places - 0.1) @ turn.T, atol=1e-8)


def speaking(frames=30) -> SpeechFeatures:
    """Speech with a loud accent in the middle."""
    from iasa.speech import analyse

    time = np.arange(int(frames / 25 * 16000)) / 16000
    sound = 0.3 * np.sin(2 * np.pi * 140 * time) * (0.3 + np.exp(-(((time - 0.7) / 0.15) ** 2)))
    return analyse(sound.astype(np.float32), method="signal")


def test_a_bent_reference_is_closer_to_the_truth_than_the_reference():
    identity = make_identity(1_000_123)
    motion = rest_motion(1).concat(perform(speaking(), seed=3)[10:26:5])
    poses, frames = make_keypoints(identity, motion), Renderer(identity, 256).render(motion)
    images = torch.from_numpy(frames).movedim(-1, 1).float() / 127.5 - 1
    xy, confidence = torch.from_numpy(poses.xy), torch.from_numpy(poses.confidence)
    bent = warp_reference(images[:1], xy[:1], confidence[:1], xy[None, 1:], confidence[None, 1:])[0]
    rows = slice(10, 110)  # the head
    error = (bent - images[1:])[..., rows, :].square().mean()
    assert error < 0.7 * (images[:1] - images[1:])[..., rows, :].square().mean()


def test_an_unbent_pose_changes_little_and_missing_points_pull_at_nothing():
    torch.manual_seed(0)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), 64, mode="bilinear")
    xy, confidence = torch.rand(1, kp.COUNT, 2), torch.ones(1, kp.COUNT)
    same = warp_reference(image, xy, confidence, xy[:, None], confidence[:, None])
    assert (same[:, 0] - image).abs().mean() < 0.02
    lost = confidence.clone()
    lost[:, kp.FACE] = 0
    moved = xy.clone()
    moved[:, kp.FACE] += 0.3
    a = warp_reference(image, xy, lost, moved[:, None], confidence[:, None])
    b = warp_reference(image, xy, lost, xy[:, None], confidence[:, None])
    torch.testing.assert_close(a, b)


def test_bending_an_arm_where_it_is_equals_bending_it_everywhere(monkeypatch):
    """Arms inside, half outside and wholly outside the picture, and a hand that is not seen."""
    rng = np.random.default_rng(4)
    identity = make_identity(5)
    rest = make_keypoints(identity, rest_motion(1))
    image = torch.from_numpy(rng.uniform(-1, 1, (1, 3, 64, 64))).float()
    image = torch.nn.functional.avg_pool2d(image, 5, 1, 2)  # no step so steep that rounding shows
    xy = np.repeat(rest.xy, 4, 0) + rng.normal(size=(4, 1, 2)).astype(np.float32) * 0.02
    xy[1, kp.LEFT_ELBOW] += 0.1
    xy[2] += 0.4
    xy[3] += 3.0
    confidence = np.repeat(rest.confidence, 4, 0)
    confidence[1, kp.RIGHT_HAND.start] = 0
    arguments = [torch.from_numpy(x)[None] for x in (rest.xy[0], rest.confidence[0], xy, confidence)]
    found = warp_reference(image, *arguments)
    monkeypatch.setattr(warp, "_box_around", lambda points: warp._Box(0, warp.CELLS, 0, warp.CELLS))
    torch.testing.assert_close(found, warp_reference(image, *arguments), atol=2e-3, rtol=0)
    assert (found[0, 1] - found[0, 0]).abs().max() > 0.05


def test_the_reference_s_own_hands_do_not_stay_behind():
    """Hands of a colour that occurs nowhere else move away; nothing of it is left where they were."""
    rest = make_keypoints(make_identity(5), rest_motion(1))
    xy, confidence = torch.from_numpy(rest.xy), torch.from_numpy(rest.confidence)
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    places = warp._Box(0, 32, 0, 32).places(64, xy.device)
    share = torch.stack([warp._arm_share(places, xy[:, None, warp._arm_points(arm)]) for arm in warp.ARMS]).amax(0)
    hands = (torch.nn.functional.interpolate(share.view(1, 1, 64, 64), 256) > 0).float()
    image = red * hands + torch.tensor([-1.0, 0.0, 1.0])[:, None, None] * (1 - hands)
    raised = xy.clone()
    for elbow, wrist, hand in warp.ARMS:
        raised[:, [elbow, wrist, *range(hand.start, hand.stop)], 1] -= 0.3
    bent = warp_reference(image, xy, confidence, raised[:, None], confidence[:, None])[0, 0]
    was = xy[0, kp.LEFT_HAND].mean(0) * 256
    now = raised[0, kp.LEFT_HAND].mean(0) * 256
    assert bent[0, int(was[1]), int(was[0])] < -0.9 and bent[2, int(was[1]), int(was[0])] > 0.9
    assert bent[0, int(now[1]), int(now[0])] > 0.8


def test_a_filled_hole_continues_its_rim():
    rows = torch.linspace(-1, 1, 64)[None, None, :, None].expand(1, 3, 64, 64)
    keep = torch.ones(1, 1, 64, 64)
    keep[..., 24:40, 24:40] = 0
    filled = warp._fill(torch.where(keep > 0, rows, torch.tensor(9.0)), keep)
    torch.testing.assert_close(filled[..., :20, :], rows[..., :20, :])
    assert (filled - rows).abs().max() < 0.3


def test_eyelids_close_as_far_as_the_pose_says():
    identity = make_identity(1_000_124)
    motion = rest_motion(3)
    motion.face[1:, FACE_CHANNELS.index("blink")] = (0.5, 1.0)
    poses, frames = make_keypoints(identity, motion), Renderer(identity, 256).render(motion)
    images = torch.from_numpy(frames).movedim(-1, 1).float() / 127.5 - 1
    xy, confidence = torch.from_numpy(poses.xy), torch.from_numpy(poses.confidence)
    bent = warp_reference(images[:1], xy[:1], confidence[:1], xy[None], confidence[None])[0]
    for eye in warp.EYES:
        points = xy[0, list(eye)] * 256
        (x0, y0), (x1, y1) = (points.amin(0) - 3).int().tolist(), (points.amax(0) + 4).int().tolist()
        here = (..., slice(y0, y1), slice(x0, x1))
        before, after = ((pictures - images)[here].square().mean((1, 2, 3)) for pictures in (images[:1], bent))
        assert after[0] < 1e-4  # the reference's own pose changes nothing
        assert after[1] < 0.6 * before[1] and after[2] < 0.4 * before[2]
