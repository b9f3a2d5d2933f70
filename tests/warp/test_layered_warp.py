"""A real portrait in layers: itself at rest, a room that holds still, hair that goes with the head, a mouth that opens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sample_photographs import astronaut_photograph

pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")

from iasa import keypoints as kp  # noqa: E402
from iasa.inference.layered_frames import to_levels  # noqa: E402
from iasa.warp.layered_warp import LayeredWarp  # noqa: E402

BODY_AND_FACE = [*range(5), *range(kp.FACE.start, kp.FACE.stop)]


@pytest.fixture(scope="module")
def warp():
    return LayeredWarp(astronaut_photograph(), 256, (False, False))


def decibel(a, b):
    return 10 * np.log10(255**2 / max(1e-9, ((a - b) ** 2).mean()))


def half(image):
    return image.reshape(256, 2, 256, 2, -1).mean((1, 3))


@pytest.fixture(scope="module")
def picture():
    return half(astronaut_photograph().image.astype(np.float64))


@pytest.fixture(scope="module")
def room():
    """Pixels away from the person."""
    from scipy import ndimage

    return ~ndimage.binary_dilation(half(astronaut_photograph().person)[..., 0] > 0.02, iterations=12)


def nod(rest, shift):
    pose = rest.copy()
    pose[BODY_AND_FACE] += shift
    return pose


def test_at_rest_it_is_the_photograph(warp, picture, room):
    frame = warp.draw(warp.rest)
    assert decibel(frame, picture) > 30
    assert decibel(frame[room], picture[room]) > 38


@pytest.mark.parametrize("shift", [(8, 0), (-6, 5)])
def test_the_room_holds_still_and_the_whole_head_moves(warp, picture, room, shift):
    frame = warp.draw(nod(warp.rest, shift))
    assert decibel(frame[room], picture[room]) > 38
    brow = warp.rest[kp.FACE.start + 27]
    x, y = (int(v) for v in brow)
    for up in (0, 22):  # the bridge of the nose, and hair that no point of the pose stands for
        box = (slice(y - up - 6, y - up + 6), slice(x - 10, x + 10))
        moved = (
            slice(box[0].start + shift[1], box[0].stop + shift[1]),
            slice(box[1].start + shift[0], box[1].stop + shift[0]),
        )
        assert decibel(frame[moved], picture[box]) > decibel(frame[box], picture[box]) + 3


def test_no_pixel_of_the_person_stands_in_the_room():
    """Where the body's mesh has a corner: between its place and nowhere lies the rest of the photograph."""
    from scipy import ndimage

    warp = LayeredWarp(astronaut_photograph(), 512, (False, False))
    away = ~ndimage.binary_dilation(astronaut_photograph().person > 0.02, iterations=16)
    for shift in ((16, 0), (7, -9)):
        pose = nod(warp.rest, shift)
        pose[kp.LEFT_SHOULDER : kp.RIGHT_WRIST + 1] += np.array(shift) / 3
        np.testing.assert_array_equal(warp.draw(pose)[away], warp.room[away])


def test_a_mouth_opens_inside_of_the_lips_alone(warp):
    pose = warp.rest.copy()
    face = kp.FACE.start
    pose[face + 55 : face + 60, 1] += 9
    pose[face + 65 : face + 68, 1] += 9
    pose[face + 7 : face + 10, 1] += 6
    still, opened = warp.draw(warp.rest), warp.draw(pose)
    upper, lower = pose[kp.UPPER_LIP], pose[kp.LOWER_LIP]
    x, y = (int(v) for v in (upper + lower) / 2)
    assert opened[y + 2 : y + 4, x - 2 : x + 3].mean() < still[y + 2 : y + 4, x - 2 : x + 3].mean() - 25
    eyes = warp.rest[kp.FACE.start + 36 : kp.FACE.start + 48]
    (left, top), (right, bottom) = eyes.min(0).astype(int) - 3, eyes.max(0).astype(int) + 3
    assert np.abs(opened - still)[top:bottom, left:right].max() < 12


def test_eyes_close(warp):
    pose = warp.rest.copy()
    face = kp.FACE.start
    for upper, lower in (((37, 38), (41, 40)), ((43, 44), (47, 46))):
        for a, b in zip(upper, lower, strict=True):
            pose[face + a] = pose[face + b]
    eye = warp.rest[face + 36 : face + 42]
    (left, top), (right, bottom) = eye.min(0).astype(int), eye.max(0).astype(int) + 1
    box = (slice(top, bottom), slice(left + 3, right - 3))
    opened, closed = warp.draw(warp.rest)[box], warp.draw(pose)[box]
    assert np.abs(closed - opened).mean() > 8


@pytest.mark.parametrize("size", [256, 512])
def test_poses_in_pictures_out(size):
    photo = astronaut_photograph()
    warp = LayeredWarp(photo, size, (False, False))
    xy = torch.from_numpy(photo.xy)[None, None].repeat(1, 3, 1, 1)
    xy[0, 1, 40] = 1e6  # an unseen point may lie anywhere
    confidence = torch.ones(1, 3, 133)
    confidence[0, 1, 40] = 0
    frames = warp(xy, confidence)
    assert frames.shape == (1, 3, 3, size, size) and frames.dtype == torch.float32
    assert frames.min() >= -1.001 and frames.max() <= 1.001
    assert torch.equal(frames[0, 0], frames[0, 2]) and torch.allclose(frames[0, 0], frames[0, 1], atol=1e-4)
    levels = warp.levels(kp.Keypoints(xy[0].numpy(), confidence[0].numpy())).astype(int)
    assert levels.shape == (3, size, size, 3) and np.abs(levels - to_levels(frames[0]).numpy()).max() <= 1


def test_another_room_stands_behind_the_person(picture, room):
    green = np.zeros((256, 256, 3), np.uint8)
    green[..., 1] = 255
    warp = LayeredWarp(astronaut_photograph(), 256, (False, False)).before(green)
    frame = warp.draw(nod(warp.rest, (5, 0)))
    assert np.abs(frame[room] - (0, 255, 0)).max() < 30
    x, y = warp.rest[kp.FACE.start + 30].astype(int) + (5, 0)
    assert np.abs(frame[y, x] - picture[y, x - 5]).max() < 40


def test_the_room_does_not_shine_through_a_face():
    from dataclasses import replace

    from iasa.warp.cutout import cut_layers

    photo = astronaut_photograph()
    unsure = replace(photo, person=np.where(photo.person > 0.9, 0.75, photo.person).astype(np.float32))
    alpha = cut_layers(unsure, (False, False)).body.alpha
    x, y = (photo.xy[kp.FACE].mean(0) * 512).astype(int)
    assert alpha[y - 15 : y + 15, x - 15 : x + 15].min() == 1
    edge = (alpha > 0.05) & (alpha < 0.95)
    assert edge.any() and alpha[photo.person < 0.02].max() < 0.3  # soft at the outline still


def test_a_closing_mouth_shows_no_second_pair_of_lips():
    """The astronaut's teeth, painted green, shrink with the gap between her lips and stay between them."""
    from dataclasses import replace

    from iasa.warp.face_skin import MOUTH
    from iasa.warp.mouth import soft_polygon

    photo = astronaut_photograph()
    image = photo.image.copy()
    image[soft_polygon(photo.face[list(MOUTH), :2] * 512, 0, 0, 512, 512) > 0.3] = (0, 255, 0)
    green = LayeredWarp(replace(photo, image=image), 512, (False, False))
    shown = []
    for share in (0.0, 0.7):  # of the gap, by which the lower lip comes up
        pose = green.rest.copy()
        up = share * (pose[kp.UPPER_LIP] - pose[kp.LOWER_LIP])
        pose[[*range(kp.FACE.start + 55, kp.FACE.start + 60), *range(kp.FACE.start + 65, kp.FACE.start + 68)]] += up
        frame = green.draw(pose)
        inside = (frame[..., 1] > 200) & (frame[..., 0] < 90) & (frame[..., 2] < 90)
        outline = soft_polygon(green.mesh(pose)[list(MOUTH)], 0, 0, 512, 512) > 0
        assert inside.sum() > 20 and (inside & ~outline).sum() <= 0.1 * inside.sum()
        shown.append(int(inside.sum()))
    assert shown[1] < 0.7 * shown[0]


def test_a_strip_of_ear_within_the_faces_outline_belongs_to_the_head(warp):
    """The face's layer is laid over the body's: what both hold at the outline would show twice where they part."""
    sheet = warp.face_sheet.texture[..., 3] / 255
    ears = warp.face.rest[[234, 454]]
    middle = ears.mean(0)
    for ear in ears:
        rim, cheek, nose = (
            sheet[tuple((ear + inwards * (middle - ear) + warp.face_sheet.border).astype(int)[::-1])]
            for inwards in (0.04, 0.12, 0.6)
        )
        assert rim < 0.5 and cheek < 0.95 and nose == 1


def test_spikes_at_the_end_of_an_upper_arm_are_rounded_off_and_nothing_else_is():
    from iasa.warp.cutout import round_ends

    alpha = np.zeros((128, 128), np.float32)
    alpha[:70] = 1
    alpha[70:84, 30:33] = alpha[70:84, 100:103] = 1
    hole = np.zeros((128, 128), bool)
    hole[75:95, 20:45] = True
    rounded = round_ends(alpha, hole)
    assert rounded[74:84, 30:33].max() < 0.1 and (rounded[70:84, 100:103] > 0.99).all()
    assert (rounded <= alpha).all() and rounded[:64].min() > 0.99
