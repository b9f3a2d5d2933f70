"""The report on real people: which frame of a clip stands for it, what counts as room, and what a folder must hold."""

from __future__ import annotations

import numpy as np
import pytest
from sample_photographs import astronaut, astronaut_photograph, avatar_photograph

from iasa import keypoints as kp
from iasa.config import InputError
from iasa.evaluation.real_people import RealSet, choose_frame, room_psnr, write_table
from iasa.keypoints import Keypoints


def test_the_frame_with_open_eyes_closed_mouth_and_hands_is_chosen():
    photo = avatar_photograph()
    xy, confidence = np.repeat(photo.xy[None], 4, 0), np.ones((4, 133))
    face = kp.FACE.start
    xy[0, face + 37 : face + 39] = xy[0, [face + 41, face + 40]]  # a lid down
    xy[1, kp.LOWER_LIP, 1] += 0.03
    confidence[2, kp.LEFT_HAND] = confidence[2, kp.RIGHT_HAND] = 0
    assert choose_frame(Keypoints(xy, confidence)) == 3
    confidence[:, kp.FACE] = 0
    with pytest.raises(InputError, match="no face"):
        choose_frame(Keypoints(xy, confidence))


def test_a_face_that_looks_aside_is_not_chosen_for_its_narrow_eyes():
    photo = avatar_photograph()
    xy = np.repeat(photo.xy[None].astype(np.float64), 2, 0)
    left, right = xy[0, kp.FACE.start], xy[0, kp.FACE.start + 16]
    across = (right - left) / np.linalg.norm(right - left)
    face = xy[0, kp.FACE]
    share = (face - left) @ across
    xy[0, kp.FACE] = face - 0.6 * share[:, None] * across  # narrower, and the nose no longer in the middle
    xy[0, kp.FACE.start + 30] -= 0.25 * (share[16] * 0.4) * across
    assert choose_frame(Keypoints(xy, np.ones((2, 133)))) == 1


def test_the_room_is_judged_and_the_person_is_not():
    photo = astronaut_photograph()
    picture = photo.image
    assert room_psnr(picture[None], photo, picture) == 100
    person = picture.copy()
    person[photo.person > 0.9] //= 2
    assert room_psnr(person[None], photo, picture) == 100
    room = np.where(photo.person[..., None] < 0.02, picture // 2, picture)
    assert room_psnr(room[None], photo, picture) < 25


def test_a_folder_without_material_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither clips/ nor halfbody/ nor portraits/"):
        RealSet.of(tmp_path)
    (tmp_path / "portraits").mkdir()
    (tmp_path / "portraits" / "a.JPG").touch()
    (tmp_path / "portraits" / "notes.txt").touch()
    assert [p.name for p in RealSet.of(tmp_path).pictures["portraits"]] == ["a.JPG"]


def test_the_table_averages_what_is_there():
    rows = [
        {"kind": "clips", "driver": "own poses", "name": n, "row": "layers", "psnr": v}
        for n, v in (("a", 20.0), ("b", np.nan), ("c", 30.0))
    ]
    report = {
        "command": "c",
        "date": "d",
        "device": "x",
        "torch": "t",
        "scores": [*rows, {"kind": "clips", "name": "e", "refused": "no face"}],
    }
    table = write_table(report)
    assert "| clips | own poses | layers | 3 | 25.00 |" in table and "- clips/e: no face" in table


def test_the_same_face_is_near_and_another_is_far():
    pytest.importorskip(
        "dlib", reason="the identity distance is optional: pip install dlib-bin face-recognition-models"
    )
    from skimage.data import lfw_subset  # faces of others, 25 x 25 pixels

    from iasa.metrics.face_distance import SAME_PERSON, FaceDistance

    judge, photo = FaceDistance(), astronaut_photograph()
    darker = np.clip(astronaut().astype(int) * 0.8, 0, 255).astype(np.uint8)
    near = judge.to(photo.image, photo.keypoints, darker[None], photo.keypoints)
    assert near < 0.3 < SAME_PERSON
    other = np.repeat((lfw_subset()[0][..., None] * 255).astype(np.uint8), 3, 2)
    large = np.ascontiguousarray(np.kron(other, np.ones((12, 12, 1), np.uint8)))
    box = np.array([[0.2, 0.2], [0.8, 0.9]])
    apart = np.linalg.norm(judge.embed(large, box) - judge.embed(photo.image, photo.xy[kp.FACE]))
    assert apart > near + 0.2
