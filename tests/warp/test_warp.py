"""The reference warped to a pose: exact for rigid motion, against the definition of moving least squares, and useful."""

import numpy as np
import pytest
import torch

from iasa import keypoints as kp
from iasa.avatar.hands import hand_shape
from iasa.avatar.identity import make_identity
from iasa.avatar.mesh import FACE_CHANNELS
from iasa.avatar.renderer import Renderer
from iasa.avatar.rig import make_keypoints, rest_motion
from iasa.motion.rules import generate_gestures
from iasa.speech import SpeechFeatures
from iasa.warp import eyelids
from iasa.warp import limb_warp as arm_warp
from iasa.warp import reference_warp as warp
from iasa.warp.inpainting import fill_holes, fill_softly
from iasa.warp.limb_warp import FOREARM, PLACES, UPPER_ARM, cover_arm, measure_arm, paint_arm
from iasa.warp.moving_least_squares import moving_least_squares
from iasa.warp.reference_warp import EXPONENT, SOFTENING, warp_reference

SEEN = torch.ones(1, 23)
WIDE = tuple(torch.linspace(*next(iter(pieces.values())), PLACES)[None] for pieces in (UPPER_ARM, FOREARM))


def slow_bend(place, controls, images):
    """Schaefer et al. 2006, rigid case, one place, by singular value decomposition."""
    w = 1 / (((controls - place) ** 2).sum(-1) + SOFTENING) ** 2
    p, q = (w[:, None] * controls).sum(0) / w.sum(), (w[:, None] * images).sum(0) / w.sum()
    u, _, vt = np.linalg.svd((w[:, None] * (controls - p)).T @ (images - q))
    rotation = u @ np.diag([1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return (place - p) @ rotation + q


def test_bend_is_rigid_moving_least_squares():
    rng = np.random.default_rng(0)
    controls, images, places = rng.uniform(size=(12, 2)), rng.uniform(size=(12, 2)), rng.uniform(size=(9, 2))
    found = moving_least_squares(
        *(torch.from_numpy(x) for x in (places, controls, images)), torch.ones(12).double(), EXPONENT, SOFTENING
    )
    expected = np.stack([slow_bend(place, controls, images) for place in places])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-8)


def test_bend_undoes_a_rigid_motion_exactly():
    rng = np.random.default_rng(1)
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    images = rng.uniform(size=(8, 2))
    controls, places = images @ turn + 0.1, rng.uniform(size=(20, 2))
    found = moving_least_squares(
        *(torch.from_numpy(x) for x in (places, controls, images)), torch.ones(8).double(), EXPONENT, SOFTENING
    )
    np.testing.assert_allclose(found.numpy(), (places - 0.1) @ turn.T, atol=1e-8)


def test_one_control_point_shifts_without_a_turn():
    places, target = torch.rand(9, 2), torch.rand(1, 2)
    moved = moving_least_squares(places, torch.zeros(1, 2), target, torch.ones(1), EXPONENT, SOFTENING)
    torch.testing.assert_close(moved, places + target, atol=1e-6, rtol=0)


def speaking(frames=30) -> SpeechFeatures:
    """Speech with a loud accent in the middle."""
    from iasa.speech import analyse

    time = np.arange(int(frames / 25 * 16000)) / 16000
    sound = 0.3 * np.sin(2 * np.pi * 140 * time) * (0.3 + np.exp(-(((time - 0.7) / 0.15) ** 2)))
    return analyse(sound.astype(np.float32), method="signal")


def test_a_warped_reference_is_closer_to_the_truth_than_the_reference():
    identity = make_identity(1_000_123)
    motion = rest_motion(1).concat(generate_gestures(speaking(), seed=3)[10:26:5])
    poses, frames = make_keypoints(identity, motion), Renderer(identity, 256).render(motion)
    images = torch.from_numpy(frames).movedim(-1, 1).float() / 127.5 - 1
    xy, confidence = torch.from_numpy(poses.xy), torch.from_numpy(poses.confidence)
    warped = warp_reference(images[:1], xy[:1], confidence[:1], xy[None, 1:], confidence[None, 1:])[0]
    rows = slice(10, 110)  # the head
    error = (warped - images[1:])[..., rows, :].square().mean()
    assert error < 0.7 * (images[:1] - images[1:])[..., rows, :].square().mean()


def test_an_unmoved_pose_changes_little_and_missing_points_pull_at_nothing():
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


def test_moving_eyelids_where_they_are_equals_moving_them_everywhere(monkeypatch):
    """Faces inside, half outside and wholly outside the picture, and an eye that is not seen."""
    rng = np.random.default_rng(4)
    rest = make_keypoints(make_identity(5), rest_motion(1))
    image = torch.from_numpy(rng.uniform(-1, 1, (1, 3, 64, 64))).float()
    image = torch.nn.functional.avg_pool2d(image, 5, 1, 2)  # no step so steep that rounding shows
    xy = np.repeat(rest.xy, 4, 0) + rng.normal(size=(4, 1, 2)).astype(np.float32) * 0.02
    lids = [kp.FACE.start + point for point in (37, 38, 43, 44)]
    xy[:, lids] += np.array((0, 0.02), np.float32)
    xy[2] -= 0.3
    xy[3] += 3.0
    confidence = np.repeat(rest.confidence, 4, 0)
    confidence[1, warp.EYES[0][0]] = 0
    arguments = [torch.from_numpy(x)[None] for x in (rest.xy[0], rest.confidence[0], xy, confidence)]
    found = warp_reference(image, *arguments)
    monkeypatch.setattr(eyelids, "_box_around", lambda points: eyelids._Box(0, eyelids.CELLS, 0, eyelids.CELLS))
    torch.testing.assert_close(found, warp_reference(image, *arguments), atol=2e-3, rtol=0)
    monkeypatch.setattr(warp, "move_lids", lambda *_: None)
    moved = (warp_reference(image, *arguments) - found).abs().amax((0, 2, 3, 4))
    assert moved[0] > 0.05 and moved[1] > 0.05  # the second one's other eye is seen


def test_a_hand_that_a_pose_does_not_see_is_not_painted():
    images, xy, confidence = drawn("open")
    unseen = confidence[1:].clone()
    unseen[:, kp.RIGHT_HAND.start] = 0
    speaker = images[:1], xy[:1], confidence[:1]
    both, without = (warp_reference(*speaker, xy[None, 1:], c[None])[0, 0] for c in (confidence[1:], unseen))
    changed = (both - without).abs().amax(0) > 0.05
    arm = xy[1, warp.ARMS[1]]
    no_shoulder = SEEN.clone()
    no_shoulder[:, arm_warp.SHOULDER] = 0
    covered = cover_arm(arm[None], no_shoulder, 256, 1.1)[0] > 0  # the upper arm is painted in both
    assert changed[covered].float().mean() > 0.3 and not changed[~covered].any()


def test_speakers_side_by_side_are_warped_as_each_alone():
    """Two pictures, two poses each; of the first speaker one hand is unseen in one pose, of the second both arms in all."""
    images, xy, confidence = drawn("open")
    images, poses = torch.stack([images[0], images[0].flip(0)]), torch.stack([xy, xy.flip(0)])
    seen = confidence.expand(2, -1, -1).clone()
    seen[0, 1, kp.RIGHT_HAND] = 0
    seen[1, :, [kp.LEFT_ELBOW, kp.RIGHT_ELBOW, *range(kp.LEFT_HAND.start, kp.RIGHT_HAND.stop)]] = 0
    both = warp_reference(images, xy[:1].expand(2, -1, -1), confidence[:1].expand(2, -1), poses, seen)
    for i in range(2):
        alone = warp_reference(images[i : i + 1], xy[:1], confidence[:1], poses[i : i + 1], seen[i : i + 1])
        torch.testing.assert_close(both[i : i + 1], alone, atol=1e-4, rtol=0)


def test_the_reference_s_own_hands_do_not_stay_behind():
    """Hands of a colour that occurs nowhere else move away; nothing of it is left where they were."""
    rest = make_keypoints(make_identity(5), rest_motion(1))
    xy, confidence = torch.from_numpy(rest.xy), torch.from_numpy(rest.confidence)
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None]
    hands = torch.stack([cover_arm(xy[:, arm], SEEN, 256) for arm in warp.ARMS]).amax(0)[:, None]
    image = red * hands + torch.tensor([-1.0, 0.0, 1.0])[:, None, None] * (1 - hands)
    raised = xy.clone()
    for arm in warp.ARMS:
        raised[:, arm, 1] -= 0.3
    warped = warp_reference(image, xy, confidence, raised[:, None], confidence[:, None])[0, 0]
    was = xy[0, kp.LEFT_HAND].mean(0) * 256
    now = raised[0, kp.LEFT_HAND].mean(0) * 256
    assert warped[0, int(was[1]), int(was[0])] < -0.9 and warped[2, int(was[1]), int(was[0])] > 0.9
    assert warped[0, int(now[1]), int(now[0])] > 0.8


def test_a_filled_hole_continues_its_rim():
    rows = torch.linspace(-1, 1, 64)[None, None, :, None].expand(1, 3, 64, 64)
    keep = torch.ones(1, 1, 64, 64)
    keep[..., 24:40, 24:40] = 0
    filled = fill_holes(torch.where(keep > 0, rows, torch.tensor(9.0)), keep)
    torch.testing.assert_close(filled[..., :20, :], rows[..., :20, :])
    assert (filled - rows).abs().max() < 0.3


@pytest.mark.parametrize("turned", [False, True])
def test_stripes_go_on_through_a_hole(turned):
    """Across the picture or down it: each keeps its colour up to the other side, and nothing of the hole comes in."""
    stripes = torch.tensor([-0.5, 0.5])[torch.arange(64) // 8 % 2][None, None, :, None].expand(1, 3, 64, 64)
    keep = torch.ones(1, 1, 64, 64)
    keep[..., 12:44, 20:44] = 0
    stripes, keep = (x.mT if turned else x for x in (stripes, keep))
    filled = fill_holes(torch.where(keep > 0, stripes, torch.tensor(9.0)), keep)
    assert (filled - stripes).abs().max() < 0.02
    softly = fill_softly(torch.where(keep > 0, stripes, torch.tensor(9.0)), keep)
    assert (softly - stripes).abs().max() > 0.5


def test_a_hole_whose_rows_and_columns_keep_nothing_is_filled_all_the_same():
    keep = torch.zeros(1, 1, 64, 64)
    keep[..., :8, :8] = 1
    filled = fill_holes(torch.full((1, 3, 64, 64), 0.25), keep)
    torch.testing.assert_close(filled[..., 40:, 40:], torch.full((1, 3, 24, 24), 0.25))
    assert not fill_holes(torch.ones(1, 3, 64, 64), keep * 0).any()


def test_eyelids_close_as_far_as_the_pose_says():
    identity = make_identity(1_000_124)
    motion = rest_motion(3)
    motion.face[1:, FACE_CHANNELS.index("blink")] = (0.5, 1.0)
    poses, frames = make_keypoints(identity, motion), Renderer(identity, 256).render(motion)
    images = torch.from_numpy(frames).movedim(-1, 1).float() / 127.5 - 1
    xy, confidence = torch.from_numpy(poses.xy), torch.from_numpy(poses.confidence)
    warped = warp_reference(images[:1], xy[:1], confidence[:1], xy[None], confidence[None])[0]
    for eye in warp.EYES:
        points = xy[0, list(eye)] * 256
        (x0, y0), (x1, y1) = (points.amin(0) - 3).int().tolist(), (points.amax(0) + 4).int().tolist()
        here = (..., slice(y0, y1), slice(x0, x1))
        before, after = ((pictures - images)[here].square().mean((1, 2, 3)) for pictures in (images[:1], warped))
        assert after[0] < 1e-4  # the reference's own pose changes nothing
        assert after[1] < 0.6 * before[1] and after[2] < 0.4 * before[2]


def drawn(shape: str):
    """A reference at rest and a picture with one hand of that finger shape before the chest: images, xy, confidence."""
    identity = make_identity(1_000_125)
    motion = rest_motion(2)
    hand = motion.hands[1, 0]
    hand[:3] = (-14, -2, 22)
    hand[3:6], hand[6:9] = (0.3, 0, 1), (0.3, 1, 0.3)  # the palm looks at the camera, the fingers up
    hand[9:] = hand_shape(shape)
    poses, renderer = make_keypoints(identity, motion), Renderer(identity, 256)
    frames = renderer.render(motion)
    images = torch.from_numpy(frames).movedim(-1, 1).float() / 127.5 - 1
    return images, torch.from_numpy(poses.xy), torch.from_numpy(poses.confidence)


def test_behind_arms_clothes_go_on_as_clothes_and_the_wall_as_the_wall():
    """A blue trunk before a green wall: where red forearms lay across its edge, the edge is as it was."""
    rest = make_keypoints(make_identity(5), rest_motion(1))
    xy, confidence = torch.from_numpy(rest.xy), torch.from_numpy(rest.confidence)
    red, green, blue = (torch.tensor(c)[:, None, None] for c in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1]))
    trunk = warp._cover_trunk(xy, confidence, 256)[:, None]
    arms = torch.stack([cover_arm(xy[:, arm], SEEN, 256, start=warp.STUB) for arm in warp.ARMS]).amax(0)[:, None]
    bare = blue * trunk + green * (1 - trunk)
    found = warp.ReferenceWarp(red * arms + bare * (1 - arms), xy, confidence).without_arms
    hidden = (arms > 0) & ((trunk == 0) | (trunk == 1))
    assert (hidden & (trunk == 0)).sum() > 500 and (hidden & (trunk == 1)).sum() > 500
    error = (found - bare).abs().amax(1, keepdim=True)
    assert error[hidden].mean() < 0.05 and error[hidden].max() < 0.5  # colours span 2; worst beside the soft edge


def test_the_trunk_goes_down_from_the_shoulders_where_hips_are_unseen():
    xy, seen = torch.zeros(1, 133, 2), torch.zeros(1, 133)
    xy[0, kp.LEFT_SHOULDER], xy[0, kp.RIGHT_SHOULDER] = torch.tensor([0.7, 0.5]), torch.tensor([0.3, 0.5])
    trunk = warp._cover_trunk(xy, seen, 256)[0]
    assert trunk[200, 128] == 1 and trunk[200, 60] == 0 and trunk[100, 128] == 0
    width = np.interp((200.5 / 256 - 0.5) / 0.4, *zip(*warp.FLANKS, strict=True))
    assert trunk[200].sum() == pytest.approx(0.4 * width * 256, abs=0.01)
    xy[0, [kp.LEFT_HIP, kp.RIGHT_HIP]] = torch.tensor([0.9, 0.9])
    seen[0, [kp.LEFT_HIP, kp.RIGHT_HIP]] = 1.0
    assert warp._cover_trunk(xy, seen, 256)[0, 200, 180] == 1


def test_an_upper_arm_turns_about_its_shoulder():
    """Its colours are its places: they turn with the bone, and what is next to the shoulder stays with the trunk."""
    y, x = torch.meshgrid(torch.arange(256) + 0.5, torch.arange(256) + 0.5, indexing="ij")
    image = torch.stack([x, y, x * 0])[None] / 256
    reference = torch.full((1, 23, 2), 0.95)
    reference[0, arm_warp.SHOULDER], reference[0, arm_warp.ELBOW] = torch.tensor([0.3, 0.3]), torch.tensor([0.3, 0.6])
    turned = reference.clone()
    turned[0, arm_warp.ELBOW] = torch.tensor([0.6, 0.3])
    picture = torch.zeros(1, 1, 3, 256, 256)
    paint_arm(picture, image, reference, turned[:, None], SEEN[None], WIDE)
    row, column = int(0.31 * 256), int(0.45 * 256)
    place = torch.tensor([0.3 - ((row + 0.5) / 256 - 0.3), 0.3 + (column + 0.5) / 256 - 0.3])
    torch.testing.assert_close(picture[0, 0, :2, row, column], place, atol=0.003, rtol=0)
    assert not picture[0, 0, :, row, int(0.25 * 256)].any()


@pytest.mark.parametrize("shape", ["point", "fist", "pinch", "cup"])
def test_flexed_fingers_keep_their_shapes(shape):
    """Bone by bone they are nearer to the drawn hand than one smooth warp of the whole arm brings them."""
    images, xy, confidence = drawn(shape)
    hand = kp.RIGHT_HAND
    (x0, y0), (x1, y1) = (
        ((xy[1, hand] * 256).amin(0) - 4).int().tolist(),
        ((xy[1, hand] * 256).amax(0) + 5).int().tolist(),
    )
    warped = warp_reference(images[:1], xy[:1], confidence[:1], xy[None, 1:], confidence[None, 1:])[0, 0]
    arm = warp.ARMS[1]
    where = warp._places(xy[None, 1:, arm], xy[None, :1, arm], torch.ones(1, 1, len(arm)), 256)
    smooth = warp._read(images[:1], where)[0, 0]
    smooth = torch.where(cover_arm(xy[1:, arm], SEEN, 256)[0] > 0, smooth, warped)
    errors = [(picture - images[1])[:, y0:y1, x0:x1].square().mean() for picture in (warped, smooth)]
    assert errors[0] < 0.75 * errors[1]


def test_a_hand_that_moves_by_whole_pixels_is_copied():
    images, xy, confidence = drawn("open")
    moved = xy[:1].clone()
    moved[:, kp.LEFT_HAND] += torch.tensor([8.0, -16.0]) / 256
    picture = images[:1, None].clone(memory_format=torch.contiguous_format)
    arm, hand = warp.ARMS[0], kp.LEFT_HAND
    paint_arm(picture, images[:1], xy[:1, arm], moved[None, :, arm], SEEN[None], WIDE)
    middle = torch.cat([xy[0, hand][[0, 9]].mean(0, keepdim=True), xy[0, hand][[6, 10, 14, 7, 11, 3]]])
    for x, y in (middle * 256).int().tolist():
        torch.testing.assert_close(
            picture[0, 0, :, y - 17 : y - 14, x + 7 : x + 10],
            images[0, :, y - 1 : y + 2, x - 1 : x + 2],
            atol=0.12,
            rtol=0,
        )


def test_a_bone_that_turns_and_shortens_takes_its_picture_along():
    """A forearm with stripes along and across: each place comes from the same share of its length, and as far beside it."""
    y, x = torch.meshgrid(torch.arange(256) + 0.5, torch.arange(256) + 0.5, indexing="ij")
    image = torch.stack([x, y, x * 0])[None] / 256  # colours are the places
    reference = torch.full((1, 23, 2), 0.9)
    reference[0, 21], reference[0, 0] = torch.tensor([0.2, 0.5]), torch.tensor([0.6, 0.5])
    xy = reference.clone()
    xy[0, 21], xy[0, 0] = torch.tensor([0.5, 0.2]), torch.tensor([0.5, 0.4])  # turned by a right angle, half as long
    picture = torch.zeros(1, 1, 3, 256, 256)
    paint_arm(picture, image, reference, xy[:, None], SEEN[None], WIDE)
    for share, beside in ((0.25, 0.0), (0.5, 0.02), (0.75, -0.02)):
        row, column = int((0.2 + share * 0.2) * 256), int((0.5 - beside) * 256)
        found = picture[0, 0, :2, row, column]
        place = torch.tensor([0.2 + 0.4 * ((row + 0.5) / 256 - 0.2) / 0.2, 0.5 + 0.5 - (column + 0.5) / 256])
        torch.testing.assert_close(found, place, atol=0.003, rtol=0)


def test_arms_that_cannot_be_painted_leave_the_picture_as_it_is():
    """One that is not seen, one outside of the picture on each side, and one whose points all coincide."""
    images, xy, _ = drawn("open")
    arm = xy[:1, warp.ARMS[1]]
    poses = torch.stack([arm[0] + 0.1, arm[0] + 9.0, arm[0] - 9.0, arm[0] * 0 + 0.5])[None]
    seen = torch.tensor([0.0, 1, 1, 1])[None, :, None].expand(-1, -1, 23)
    pictures = images[:1, None].repeat(1, 4, 1, 1, 1)
    paint_arm(pictures, images[:1], arm, poses, seen, WIDE)
    changed = (pictures[0] != images[0]).any(1)
    assert not changed[:3].any()
    assert 100 < changed[3].sum() < 1000  # a dot as wide as an elbow


def test_half_an_arm_at_the_picture_s_edge_is_the_same_half(monkeypatch):
    images, xy, _ = drawn("open")
    hand, far = xy[:1, warp.ARMS[1]], torch.tensor([1.0, 0.0])
    out = hand + far * (1 - hand[0, :21, 0].mean())
    wide = torch.nn.functional.pad(images[:1], (0, 256, 0, 256))  # the same pixels in a picture twice as large
    found, expected = (pictures[:1, None].clone(memory_format=torch.contiguous_format) for pictures in (images, wide))
    paint_arm(found, images[:1], hand, out[None], SEEN[None], WIDE)
    halves = [{bone: (a / 2, b / 2) for bone, (a, b) in pieces.items()} for pieces in arm_warp.PARTS]
    monkeypatch.setattr(arm_warp, "PARTS", halves)
    monkeypatch.setattr(arm_warp, "SHORT", arm_warp.SHORT / 2)
    paint_arm(expected, wide, hand / 2, out[None] / 2, SEEN[None], tuple(width / 2 for width in WIDE))
    assert (found != images[:1, None]).any()
    torch.testing.assert_close(found[..., :252], expected[..., :256, :252], atol=0.01, rtol=0)


def test_sleeves_and_bare_arms_are_as_wide_as_they_are_drawn():
    """A red arm before a grey wall, its upper side along a trunk of the same red: bare from the middle of the forearm on."""
    y, x = torch.meshgrid(*[(torch.arange(256) + 0.5) / 256] * 2, indexing="ij")
    xy = torch.full((1, 23, 2), 0.95)
    xy[0, arm_warp.SHOULDER], xy[0, arm_warp.ELBOW], xy[0, 0] = (
        torch.tensor(p) for p in ((0.6, 0.2), (0.6, 0.6), (0.2, 0.6))
    )
    behind = torch.full((1, 3, 256, 256), 0.5)
    behind[:, :, x < 0.6] = torch.tensor([1.0, -1, -1])[:, None]  # the trunk, to the left of the upper arm
    behind[:, :, y > 0.52] = 0.5
    sleeve = ((y - 0.6).abs() < 0.05) & (x > 0.4) & (x < 0.65)
    bare = ((y - 0.6).abs() < 0.03) & (x > 0.2) & (x <= 0.4)
    upper = ((x - 0.6).abs() < 0.045) & (y > 0.2) & (y < 0.65)
    image = torch.where(sleeve | bare | upper, torch.tensor([1.0, -1, -1])[:, None, None], behind)
    found_upper, found_forearm = (w[0] for w in measure_arm(image, behind, xy, outer=1))
    torch.testing.assert_close(found_upper[2:10], torch.full((8,), 0.045), atol=0.004, rtol=0)
    torch.testing.assert_close(found_forearm[3:6], torch.full((3,), 0.05), atol=0.004, rtol=0)
    torch.testing.assert_close(found_forearm[-6:-1], torch.full((5,), 0.03), atol=0.004, rtol=0)


def test_a_bare_arm_takes_no_wall_along():
    """With a short sleeve, arms are nearer to the drawn ones than pieces as wide as any sleeve."""
    seed = next(i for i in range(1_000_300, 1_000_400) if make_identity(i).sleeve == "short")
    motion = rest_motion(1).concat(generate_gestures(speaking(), seed=3)[10:26:5])
    identity = make_identity(seed)
    renderer = Renderer(identity, 256)
    poses, frames = make_keypoints(identity, motion), renderer.render(motion)
    images = torch.from_numpy(frames).movedim(-1, 1).float() / 127.5 - 1
    xy, confidence = torch.from_numpy(poses.xy), torch.from_numpy(poses.confidence)
    arguments = images[:1], xy[:1], confidence[:1]
    ours = warp.ReferenceWarp(*arguments)
    wide = warp.ReferenceWarp(*arguments)
    wide.widths = [WIDE, WIDE]
    arms = torch.stack([torch.from_numpy(renderer.region_masks(motion, k)[2]) for k in range(1, len(frames))])
    errors = [
        ((w(xy[None, 1:], confidence[None, 1:])[0] - images[1:]).square().mean(1) * arms).sum() for w in (ours, wide)
    ]
    assert errors[0] < 0.6 * errors[1]
