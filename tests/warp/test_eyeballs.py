"""Eyes that a photograph shows shut: nothing while they are, an iris between two whites where a pose opens them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sample_photographs import astronaut_photograph

pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")

from iasa import keypoints as kp  # noqa: E402
from iasa.avatar.mesh import LOWER_LID, UPPER_LID  # noqa: E402
from iasa.avatar.moving_parts import DRAWN, NARROW, OPEN, Parts, find_parts  # noqa: E402
from iasa.avatar.retarget import Retarget  # noqa: E402
from iasa.avatar.rig import FACE_CHANNELS, rest_motion  # noqa: E402
from iasa.keypoints import Keypoints  # noqa: E402
from iasa.warp.face_skin import EYES  # noqa: E402
from iasa.warp.layered_warp import LayeredWarp  # noqa: E402
from iasa.warp.mouth import soft_polygon  # noqa: E402

SIZE = 512


def with_lids(gap):
    """The portrait with lids so far apart (share of what they are), as its own warp makes them."""
    photo = astronaut_photograph()
    face, xy = photo.face.copy(), photo.xy.copy()
    for upper, lower in zip(UPPER_LID, LOWER_LID, strict=True):
        face[list(upper)] = face[list(lower)] + gap * (face[list(upper)] - face[list(lower)])
    for up, low in ((37, 41), (38, 40), (43, 47), (44, 46)):
        lid = kp.FACE.start + up
        xy[lid] = xy[kp.FACE.start + low] + gap * (xy[lid] - xy[kp.FACE.start + low])
    warp = LayeredWarp(photo, SIZE, (False, False))
    image = np.clip(warp.draw(xy.astype(np.float64) * SIZE) + 0.5, 0, 255).astype(np.uint8)
    return replace(photo, image=image, face=face, keypoints=Keypoints(xy[None], photo.keypoints.confidence))


@pytest.fixture(scope="module")
def shut():
    return with_lids(0.0)


def blinking(amounts):
    motion = rest_motion(len(amounts))
    face = motion.face.copy()
    face[:, FACE_CHANNELS.index("blink")] = amounts
    return replace(motion, face=face)


def test_shut_eyes_are_told_from_narrow_and_open_ones(shut):
    assert find_parts(astronaut_photograph()).eyes == OPEN
    assert find_parts(shut).eyes == DRAWN and "drawn" in find_parts(shut).describe()
    narrow = with_lids(0.32)
    assert find_parts(narrow).eyes == NARROW, "a laugh or a squint is left as it is"
    assert LayeredWarp(narrow, SIZE, (False, False)).eyeballs is None


def test_eyes_open_and_blink(shut):
    parts = find_parts(shut)
    poses = Retarget(shut, parts).from_motion(blinking([0.0, 1.0]))
    open_lids, blink = (replace(shut, keypoints=poses[i : i + 1]).lids_apart for i in range(2))
    assert 0.2 < open_lids < 0.35 and blink < 0.08
    asleep = Retarget(shut, Parts(parts.hands, NARROW)).from_motion(blinking([0.0]))
    assert replace(shut, keypoints=asleep).lids_apart < 0.08


def test_an_iris_between_two_whites_and_nothing_away_from_the_eyes(shut):
    warp = LayeredWarp(shut, SIZE, (False, False))
    poses = Retarget(shut, find_parts(shut)).from_motion(blinking([0.0, 1.0])).xy.astype(np.float64) * SIZE
    awake, asleep = (warp.draw(pose) for pose in poses)
    eyeballs, warp.eyeballs = warp.eyeballs, None
    unpainted = [warp.draw(pose) for pose in poses]
    assert np.abs(asleep - unpainted[1]).max(-1).sum() < 0.05 * np.abs(awake - unpainted[0]).max(-1).sum()
    mesh, changed = warp.mesh(poses[0]), np.abs(awake - unpainted[0]).max(-1) > 2
    for eye, upper in zip(EYES, UPPER_LID, strict=True):
        outer, inner = mesh[upper[0]], mesh[upper[-1]]
        half = np.linalg.norm(inner - outer) / 2

        def at(share, up, outer=outer, inner=inner, half=half):
            x, y = outer + share * (inner - outer) - (0, up * half)
            return awake[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].mean()

        iris = at(0.5, 0.2)
        assert iris < 0.5 * eyeballs.white.mean() < at(0.22, 0.1) and iris < 0.6 * at(0.78, 0.1)
        whole = (
            soft_polygon((mesh[list(eye)] - mesh[list(eye)].mean(0)) * 1.8 + mesh[list(eye)].mean(0), 0, 0, SIZE, SIZE)
            > 0
        )
        changed &= ~whole
    assert not changed.any()
