"""A head turns as a round body: its face is foreshortened, its outline is not."""

from __future__ import annotations

import numpy as np
import pytest

from iasa.avatar.mesh import base_mesh
from iasa.warp.face_skin import POINTS, STEADY
from iasa.warp.head_skin import EARS, HeadSkin
from iasa.warp.skin import spread

CENTRE = np.array([256.0, 220.0])


def head():
    """The generic face's mesh, 120 pixels wide, its depth, and points far to the right and left, above, and on the nose."""
    mesh = base_mesh().vertices[:POINTS].astype(np.float64)
    scale = 120 / np.ptp(mesh[:, 0])
    face, depth = mesh[:, :2] * [scale, -scale] + CENTRE, -mesh[:, 2] * scale
    middle = face[list(EARS)].mean(0)
    points = np.concatenate([middle + np.array([[100.0, 0.0], [-100.0, 0.0], [0.0, -140.0]]), face[[1]]])
    around = spread(face[list(STEADY)], points, 25.0, 0.05)
    around[-1] /= around[-1].sum()  # the nose follows the face wholly
    return face, depth, HeadSkin.of(face, depth, points, around)


def turned(yaw, pitch, roll, size, depth):
    from scipy.spatial.transform import Rotation

    matrix = size * Rotation.from_euler("yxz", [yaw, pitch, roll]).as_matrix()[:2]
    pivot = np.array([*CENTRE, depth.mean()])
    return np.concatenate([matrix, (CENTRE - matrix @ pivot)[:, None]], 1)


def test_at_rest_nothing_moves_and_in_the_picture_it_turns_as_one():
    _, depth, skin = head()
    none = np.zeros_like(skin.points)
    assert np.allclose(skin.place(turned(0, 0, 0, 1, depth), none), skin.points)
    c, s = np.cos(0.3), np.sin(0.3)
    flat = (skin.points - CENTRE) @ np.array([[c, s], [-s, c]]) * 1.1 + CENTRE
    assert np.allclose(skin.place(turned(0, 0, 0.3, 1.1, depth), none), flat)


@pytest.mark.parametrize("yaw", [0.5, -0.5])
def test_the_outline_is_not_foreshortened_and_the_nose_goes_farther_than_it(yaw):
    _, depth, skin = head()
    right, left, _, nose = skin.place(turned(yaw, 0, 0, 1, depth), np.zeros_like(skin.points))
    assert 200 <= np.linalg.norm(right - left) < 230  # 176 if it were flat
    ahead = nose[0] - skin.points[3, 0] - ((right + left) / 2 - skin.points[:2].mean(0))[0]
    assert -np.sign(yaw) * ahead > 25


def test_the_crown_goes_less_far_back_than_the_ears_when_a_head_turns_aside():
    _, depth, skin = head()
    right, left, crown, _ = skin.place(turned(0.4, 0, 0, 1, depth), np.zeros_like(skin.points)) - skin.points
    assert crown[0] < (right + left)[0] / 2 - 15


def test_a_nod_keeps_the_heads_height():
    _, depth, skin = head()
    at = skin.place(turned(0, 0.3, 0, 1, depth), np.zeros_like(skin.points))
    assert np.isclose(np.linalg.norm(at[2] - (at[0] + at[1]) / 2), 140, atol=3)
