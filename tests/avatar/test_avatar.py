"""The procedural speaker: seeds, keypoints that agree with the picture, hands that stay off the face and never flip."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from iasa.avatar import drawing
from iasa.avatar.hands import hand_frame, hand_shape
from iasa.avatar.identity import PhotoTexture, make_identity
from iasa.avatar.mesh import base_mesh
from iasa.avatar.rig import (
    RigMotion,
    make_geometries,
    make_geometry,
    make_keypoints,
    rest_motion,
)
from iasa.config import HELDOUT_IDENTITY, InputError
from iasa.evaluation.avatar_report import random_motion
from iasa.keypoints import (
    FACE,
    LEFT_ELBOW,
    LEFT_HAND,
    LEFT_SHOULDER,
    MOUTH,
    REGIONS,
    RIGHT_ELBOW,
    RIGHT_HAND,
    RIGHT_SHOULDER,
    mouth_opening,
    mouth_width,
)


def with_face(motion: RigMotion, **channels) -> RigMotion:
    names = ("open", "wide", "press", "tuck", "teeth", "smile", "blink", "brow_left", "brow_right")
    face = motion.face.copy()
    for name, value in channels.items():
        face[:, names.index(name)] = value
    return dataclasses.replace(motion, face=face)


def raised_hands(places: np.ndarray) -> RigMotion:
    """Open right hands at wrist places [f, 3], cm."""
    motion = rest_motion(len(places))
    hands = motion.hands.copy()
    hands[:, 0] = np.concatenate([(0, 0, 0, 0.2, 0.2, 1, 0.1, 1, 0.2), hand_shape("open")])
    hands[:, 0, :3] = places
    return dataclasses.replace(motion, hands=hands)


@pytest.fixture(scope="module")
def renderer_class():
    pytest.importorskip("skia", reason="drawing is optional: pip install skia-python")
    from iasa.avatar.renderer import Renderer

    return Renderer


# ---- identities


def test_a_seed_gives_one_identity():
    first, again = make_identity(41), make_identity(41)
    assert dataclasses.asdict(first) == dataclasses.asdict(again)
    assert dataclasses.asdict(first) != dataclasses.asdict(make_identity(42)) | {"seed": 41}


def test_held_out_identities_are_new():
    def look(seed: int) -> tuple:
        identity = make_identity(seed)
        return identity.skin, identity.cloth_color, identity.face, identity.backdrop_color

    trained = {look(seed) for seed in range(150)}
    assert len(trained) == 150
    assert not trained & {look(HELDOUT_IDENTITY + seed) for seed in range(150)}


def test_pictures_are_a_function_of_identity_and_frame(renderer_class):
    motion = random_motion(3, seed=1)
    renderer = renderer_class(make_identity(9), 128)
    clip = renderer.render(motion)
    assert clip.shape == (3, 128, 128, 3) and clip.dtype == np.uint8
    for i in (2, 0, 1):  # no frame leaves anything behind for another
        np.testing.assert_array_equal(clip[i], renderer.draw(motion, i))
    np.testing.assert_array_equal(clip, renderer_class(make_identity(9), 128).render(motion))
    other = renderer_class(make_identity(10), 128).render(motion)
    assert np.abs(clip.astype(int) - other).mean() > 10


def test_gaze_does_not_change_the_picture(renderer_class):
    motion = random_motion(1, seed=3)
    looking = dataclasses.replace(motion, gaze=motion.gaze + 0.5)
    renderer = renderer_class(make_identity(2), 128)
    np.testing.assert_array_equal(renderer.draw(motion, 0), renderer.draw(looking, 0))


# ---- motion and keypoints


def test_motion_checks_its_arrays():
    rest = rest_motion(4)
    with pytest.raises(InputError, match="head has shape"):
        dataclasses.replace(rest, head=np.zeros((4, 2)))
    with pytest.raises(InputError, match="NaN"):
        dataclasses.replace(rest, lean=np.full(4, np.nan))


def test_motion_round_trip(tmp_path):
    motion = random_motion(5, seed=2)
    motion.to_npz(tmp_path / "motion.npz")
    back = RigMotion.from_npz(tmp_path / "motion.npz")
    joined = motion[:2].concat(motion[2:])
    for field in dataclasses.fields(RigMotion):
        np.testing.assert_array_equal(getattr(motion, field.name), getattr(back, field.name))
        np.testing.assert_array_equal(getattr(motion, field.name), getattr(joined, field.name))
    np.savez(tmp_path / "other.npz", head=np.zeros((1, 3)))
    with pytest.raises(InputError, match="lacks lean"):
        RigMotion.from_npz(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match="not a motion file"):
        RigMotion.from_npz(tmp_path / "text.npz")


def test_whole_clips_equal_single_frames():
    motion, identity = random_motion(6, seed=4), make_identity(3)
    clip = make_keypoints(identity, motion)
    assert clip.xy.shape == (6, 133, 2)
    for i in range(6):
        np.testing.assert_allclose(clip.xy[i], make_keypoints(identity, motion[i : i + 1]).xy[0], atol=1e-6)
        single = make_geometry(identity, motion, i)
        np.testing.assert_allclose(single.hands, make_geometries(identity, motion).hands[i], atol=1e-9)


def test_mouth_follows_its_channels():
    identity = make_identity(6)
    opening = mouth_opening(make_keypoints(identity, with_face(rest_motion(9), open=np.linspace(0, 1, 9))))
    assert (np.diff(opening) > 0.01).all() and opening[-1] > opening[0] + 0.2
    width = mouth_width(make_keypoints(identity, with_face(rest_motion(9), wide=np.linspace(-1, 1, 9))))
    assert (np.diff(width) > 0).all() and width[-1] > 1.3 * width[0]


def test_open_mouth_shows_its_inside(renderer_class):
    identity = make_identity(3)
    motion = with_face(rest_motion(2), open=[0.0, 0.8])
    xy = make_keypoints(identity, motion).xy[1, list(MOUTH)[12:]]
    column, row = (xy.mean(0) * 256).astype(int)
    around = renderer_class(identity).render(motion)[:, row - 6 : row + 7, column - 5 : column + 6]
    dark = (around.max(-1) < 110).sum((1, 2))
    assert dark[1] > dark[0] + 8


def test_lids_close():
    motion = with_face(rest_motion(2), blink=[0.0, 1.0])
    eye = make_keypoints(make_identity(3), motion).xy[:, FACE.start + 36 : FACE.start + 42, 1]
    gap = eye[:, [5, 4]] - eye[:, [1, 2]]
    assert (gap[0] > 0.01).all() and (gap[1] < 0.2 * gap[0]).all()


@pytest.mark.parametrize("seed", [2, 5, 8])
def test_regions_cover_their_keypoints(renderer_class, seed):
    identity, motion = make_identity(HELDOUT_IDENTITY + seed), random_motion(4, seed=seed)
    keypoints = make_keypoints(identity, motion)
    renderer = renderer_class(identity)
    points = {
        "face": [p for p in range(FACE.start + 17, FACE.stop)],  # the jaw line lies on the mask's edge
        "hands": [*range(LEFT_HAND.start, LEFT_HAND.stop), *range(RIGHT_HAND.start, RIGHT_HAND.stop)],
        "arms": [LEFT_ELBOW, RIGHT_ELBOW],
        "shoulders": [LEFT_SHOULDER, RIGHT_SHOULDER],
    }
    for i in range(len(motion)):
        masks = dict(zip(REGIONS, renderer.region_masks(motion, i), strict=True))
        assert masks["body"].mean() > 0.1
        for name, rows in points.items():
            xy = keypoints.xy[i, rows] * 256
            inside = ((xy >= 0) & (xy < 256)).all(1)
            column, row = xy[inside].astype(int).T
            assert masks[name][row, column].mean() > 0.97, name


def test_fingertips_lie_on_skin(renderer_class):
    hits, elsewhere = [], []
    for seed in range(6):
        identity = dataclasses.replace(
            make_identity(seed),
            nails=None,
            clothes="crew",
            sleeve="long",
            cloth_color=(0.2, 0.4, 0.7),
            stripes=False,
        )
        motion = raised_hands(np.array([(-19, -26, 22), (-2, -12, 22)]))
        frames, xy = renderer_class(identity).render(motion), make_keypoints(identity, motion).xy
        skin = np.array(identity.skin) / np.linalg.norm(identity.skin)
        tips = [RIGHT_HAND.start + tip for tip in (4, 8, 12, 16, 20)]
        for i in range(2):
            column, row = (xy[i, tips] * 256).astype(int).T
            for frame, found in ((frames[i], hits), (frames[1 - i], elsewhere)):
                pixels = frame[row, column].astype(float)
                found += list((pixels / np.linalg.norm(pixels, axis=1, keepdims=True)) @ skin > 0.98)
    assert np.mean(hits) == 1
    assert np.mean(elsewhere) < 0.5  # the hand of the other frame is not there


# ---- hands


def test_palm_never_flips():
    """The wish turns all the way round in small steps, also through the direction of the fingers."""
    forearm = np.array([[0.3, 0.5, 0.81]]) / np.linalg.norm([0.3, 0.5, 0.81])
    middle = np.cross(forearm, [[0.1, -0.9, 0.3]])
    middle /= np.linalg.norm(middle)
    third = np.cross(forearm, middle)
    turn = np.linspace(0, 2 * np.pi, 721)[:, None]
    for tilt in (0.0, 0.3, 0.8):
        normal = np.cos(turn) * middle + np.sin(turn) * (np.cos(tilt) * third + np.sin(tilt) * forearm)
        ones = np.ones_like(turn)
        frames = hand_frame(forearm * ones, middle * ones, forearm * ones, normal)
        np.testing.assert_allclose(np.swapaxes(frames, 1, 2) @ frames, np.eye(3)[None].repeat(721, 0), atol=1e-6)
        assert np.linalg.det(frames).min() > 0.99
        step = np.arccos(np.clip((frames[1:, :, 2] * frames[:-1, :, 2]).sum(1), -1, 1))
        assert np.degrees(step).max() < 4  # for half a degree of the wish
    for around in (middle, third):  # the fingers' direction turns round too
        direction = np.cos(turn) * forearm + np.sin(turn) * around
        frames = hand_frame(forearm * ones, middle * ones, direction, middle * ones + 0.3 * third)
        step = np.arccos(np.clip((frames[1:, :, 1] * frames[:-1, :, 1]).sum(1), -1, 1))
        assert np.degrees(step).max() < 2
        assert np.degrees(np.arccos(np.clip(frames[:, :, 1] @ forearm[0], -1, 1))).max() < 70


def test_hands_stay_off_the_face(renderer_class):
    x, y = np.meshgrid(np.linspace(-20, 14, 18), np.linspace(-25, 20, 24))
    motion = raised_hands(np.stack([x.ravel(), y.ravel(), np.full(x.size, 22.0)], 1))
    for seed in (1, 4):
        identity = make_identity(seed)
        g = make_geometries(identity, motion)
        mouth = g.face[:, [13, 14, 61, 291], None, :2]
        reach = np.linalg.norm(g.hands[:, 0][:, None, :, :2] - mouth, axis=-1).min()
        assert reach > 4.0  # cm
    masks = renderer_class(identity).region_masks(motion, 18 * 20 + 9)
    xy = make_keypoints(identity, motion).xy[18 * 20 + 9, list(MOUTH)] * 256
    assert not masks[REGIONS.index("hands")][xy[:, 1].astype(int), xy[:, 0].astype(int)].any()


def test_a_hand_slides_along_the_face_without_jumps():
    path = np.stack([np.linspace(-22, 12, 300), np.full(300, 8.0), np.full(300, 22.0)], 1)
    g = make_geometries(make_identity(1), raised_hands(path))
    assert np.linalg.norm(np.diff(g.hands[:, 0], axis=0), axis=-1).max() < 1.5  # cm, for 0.11 cm of the wish


# ---- drawing, photographs, detectors


def test_missing_skia_names_the_commands(monkeypatch):
    monkeypatch.setitem(sys.modules, "skia", None)
    drawing.load_skia.cache_clear()
    with pytest.raises(ImportError, match="pip install skia-python.*libgl1 libegl1"):
        drawing.Canvas(64)
    drawing.load_skia.cache_clear()


def test_photo_identity_needs_only_its_arrays(renderer_class):
    """Keypoints and drawing of a made photo identity do without mediapipe."""
    mesh = base_mesh().vertices.astype(np.float32)
    points = np.array([160, 150]) + 10 * mesh[:, :2] * [1, -1]
    image = np.full((320, 320, 3), (200, 150, 120), np.uint8)
    head = np.dstack([image, np.full((320, 320), 255, np.uint8)])
    photo = PhotoTexture(image, head, points.astype(np.float32), mesh, np.eye(3, dtype=np.float32), 10.0,
                         np.array([160, 150], np.float32))  # fmt: skip
    identity = dataclasses.replace(make_identity(7), photo=photo)
    motion = with_face(rest_motion(2), open=[0, 0.8])
    opening = mouth_opening(make_keypoints(identity, motion))
    assert opening[1] > opening[0] + 0.1
    frames = renderer_class(identity, 128).render(motion).astype(int)
    row, column = (make_keypoints(identity, motion).xy[0, FACE.start + 29][::-1] * 128).astype(int)
    assert np.abs(frames[0, row, column] - (200, 150, 120)).max() < 3  # the nose shows the photo


def test_portrait_becomes_a_speaker(renderer_class):
    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    portrait = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image").astronaut()
    from iasa.avatar.photo import make_photo_identity

    wide = np.pad(portrait, ((0, 0), (300, 100), (0, 0)), mode="edge")
    identity = make_photo_identity(wide)
    assert abs(identity.photo.points[1, 0] - len(identity.photo.image) / 2) < 60
    motion = with_face(rest_motion(2), open=[0.0, 0.7])
    frames = renderer_class(identity, 512).render(motion).astype(float)
    xy = make_keypoints(identity, motion).xy[0, FACE] * 512
    where = identity.photo.points
    inner = [27, 29, 30, 36, 39, 42, 45]  # nose bridge, tip, eye corners
    corners = [168, 5, 4, 33, 133, 362, 263]
    theirs = np.stack([identity.photo.image[int(y), int(x)] for x, y in where[corners]]).astype(float)
    ours = np.stack([frames[0, int(y), int(x)] for x, y in xy[inner]])
    assert np.abs(ours - theirs).mean() < 30  # the photo itself is on the mesh
    row, column = make_keypoints(identity, motion).xy[1, list(MOUTH)[12:]].mean(0)[::-1] * 512
    patch = np.s_[int(row) - 3 : int(row) + 4, int(column) - 4 : int(column) + 5]
    assert frames[1][patch].mean() < 0.8 * frames[0][patch].mean()


def test_portrait_without_a_face_is_refused():
    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    from iasa.avatar.photo import make_photo_identity

    with pytest.raises(InputError, match="no face was found"):
        make_photo_identity(np.full((200, 300, 3), 128, np.uint8))
    with pytest.raises(InputError, match="300 x 20 pixels"):
        make_photo_identity(np.zeros((20, 300, 3), np.uint8))


def test_a_detector_finds_the_speaker():
    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    pytest.importorskip("skia", reason="drawing is optional: pip install skia-python")
    from iasa.evaluation.avatar_report import measure_detection

    found = measure_detection(12, 256)
    assert found["pose"] == 1 and found["face"] == 1
    assert found["hands"] > 0.8
    assert found["face_error"] < 0.03 and found["hand_error"] < 0.06
