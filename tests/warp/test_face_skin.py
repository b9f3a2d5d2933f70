"""The face's mesh follows the pose's 68 points: one lip or lid does not drag the other, and the forehead's top stays."""

from __future__ import annotations

import numpy as np
import pytest

from iasa.avatar.mesh import LOWER_INNER, UPPER_INNER, base_mesh
from iasa.keypoints import MESH_TO_FACE
from iasa.warp.face_skin import EYES, MOUTH, TOP, FaceSkin


@pytest.fixture(scope="module")
def skin():
    return FaceSkin.of(base_mesh().vertices * [20, -20, 20] + 256)


def test_the_given_points_move_as_they_are_told(skin):
    residual = np.random.default_rng(0).normal(0, 3, (68, 2))
    assert np.allclose(skin.moves(residual)[list(MESH_TO_FACE)], residual, atol=1e-6)


def test_an_opening_mouth_leaves_the_upper_lip(skin):
    residual = np.zeros((68, 2))
    residual[65:68, 1] = 20  # the inner lower lip
    residual[55:60, 1] = 20  # the outer one
    moves = skin.moves(residual)
    assert moves[list(LOWER_INNER[3:8]), 1].min() > 15
    assert np.abs(moves[list(UPPER_INNER[3:8])]).max() < 3
    assert np.abs(moves[list(TOP)]).max() < 1e-9


def test_eyes_are_holes_and_between_the_lips_lies_the_photograph_s_own_mouth(skin):
    corners = set(skin.triangles.ravel().tolist())
    assert {13, 14, 159, 145} <= corners, "lips and lids are part of the mesh"
    assert not any(np.isin(skin.triangles, eye).all(1).any() for eye in EYES)
    residual = np.zeros((68, 2))
    residual[65:68, 1] = 20
    opened = skin.rest + skin.moves(residual)
    between = skin.triangles[np.isin(skin.triangles, MOUTH).all(1)]
    a, b = (opened[between[:, k]] - opened[between[:, 0]] for k in (1, 2))
    outline = opened[list(MOUTH)]
    x, y = outline.T
    area = 0.5 * abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
    assert 0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() == pytest.approx(area, rel=0.03)
