"""Whom a picture shows and which square becomes the frame; what cannot be used is refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
from sample_photographs import astronaut, astronaut_photograph

from iasa import keypoints as kp
from iasa.avatar.framing import FRAMINGS, Box, choose_face, choose_square
from iasa.config import InputError

FACE = Box(200, 120, 80, 80)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("size", [(512, 512), (900, 506), (480, 1280)])
def test_squares_lie_in_the_picture_and_hold_the_face(framing, size):
    square = choose_square(*size, FACE, framing)
    assert 0 <= square.x and square.x + square.side <= size[1] and 0 <= square.y and square.y + square.side <= size[0]
    assert square.x <= FACE.x and FACE.x + FACE.width <= square.x + square.side
    assert square.y <= FACE.y and FACE.y + FACE.height <= square.y + square.side


def test_framings_differ_and_a_small_face_is_cut_closer():
    sides = [choose_square(900, 900, FACE, framing).side for framing in ("portrait", "half", "whole")]
    assert sides == sorted(set(sides)) and sides[-1] == 900
    assert choose_square(900, 900, FACE, "auto").side < 900
    assert choose_square(900, 900, Box(300, 200, 200, 200), "auto").side == 900
    with pytest.raises(InputError, match="closeup.*auto, portrait, half, whole"):
        choose_square(900, 900, FACE, "closeup")


def test_the_largest_face_or_the_one_asked_for_counts():
    faces = [Box(400, 0, 90, 90), Box(20, 0, 60, 60)]
    assert choose_face(faces) is faces[0] and choose_face(faces, 1) is faces[1] and choose_face(faces, 2) is faces[0]
    with pytest.raises(InputError, match="face 3.*shows 2"):
        choose_face(faces, 3)
    with pytest.raises(InputError, match="30 pixels wide; at least 40"):
        choose_face([Box(0, 0, 30, 30)])
    with pytest.raises(InputError, match="no face"):
        choose_face([])


def test_a_portrait_is_found():
    photo = astronaut_photograph()
    assert photo.seen[kp.FACE].all() and photo.faces == 1
    nose = photo.xy[kp.NOSE] * 512
    assert photo.person[int(nose[1]), int(nose[0])] > 0.95 and photo.person[:40, :40].max() < 0.1
    assert np.abs(photo.face[1, :2] - photo.xy[kp.NOSE]).max() < 0.02


def test_of_two_people_the_one_asked_for_speaks(capfd):
    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    from iasa.avatar.photograph import take_photograph

    wide = np.concatenate([astronaut()[:, :400][::2, ::2], astronaut()[:256, :400]], 1)
    left, right = (take_photograph(wide, "portrait", face).square for face in (1, 2))
    assert left.x + left.side / 2 < 200 < right.x + right.side / 2
    assert take_photograph(wide, "portrait").square == right, "the larger one"
    assert capfd.readouterr().err == "", "the detectors' notes are not the user's"


@pytest.mark.parametrize("picture", ["grey", "noise"])
def test_a_picture_without_a_usable_face_is_refused(monkeypatch, picture):
    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    from iasa.avatar import photograph
    from iasa.avatar.photograph import take_photograph

    pictures = {
        "grey": np.full((300, 300, 3), 128, np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8),
    }
    if picture == "grey":  # where no face is, nobody waits for the detector of the points
        monkeypatch.setattr(photograph, "HolisticDetector", None)
    with pytest.raises(InputError, match="face"):
        take_photograph(pictures[picture])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_picture_on_its_side_or_head_is_turned_upright(turns):
    from iasa.avatar.photograph import take_photograph

    upright, turned = (take_photograph(np.rot90(astronaut(), k), "whole") for k in (0, turns))
    assert np.abs(turned.image.astype(int) - upright.image).mean() < 1
    assert np.abs(turned.xy[kp.FACE] - upright.xy[kp.FACE]).max() < 0.01


def test_a_face_that_the_edge_cuts_is_refused():
    from iasa.avatar.photograph import take_photograph

    brows = take_photograph(astronaut(), "whole").xy[kp.FACE][17:27, 1].min()
    with pytest.raises(InputError, match="cut off by the picture's edge"):
        take_photograph(astronaut()[int(brows * 512) - 4 :])
