"""Meshes as flows: exact where nothing is bent, blind to what has turned over, and never reading outside of a triangle."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")

from iasa.warp.triangles import NOWHERE, grid_mesh, rasterise  # noqa: E402


def mesh(size=64, cell=8):
    mask = np.zeros((size, size), bool)
    mask[10:50, 20:60] = True
    return mask, *grid_mesh(mask, cell)


def pixels(flow):
    rows, columns = np.nonzero(flow.covered)
    return rows, columns, np.stack([columns + flow.x + 0.5, rows + flow.y + 0.5], 1)


def test_a_mesh_at_rest_reads_every_pixel_where_it_is():
    mask, points, triangles = mesh()
    flow = rasterise(points, points, triangles, 64)
    rows, columns, middles = pixels(flow)
    assert np.abs(flow.source[rows, columns] - middles).max() < 1e-3
    covered = np.zeros_like(mask)
    covered[rows + flow.y, columns + flow.x] = True
    assert covered[mask].all(), "what the mask holds is covered"


@pytest.mark.parametrize("matrix", [np.diag([1.2, 0.9]), np.array([[0.9, -0.3], [0.3, 0.9]])])
def test_an_affine_map_is_inverted_exactly(matrix):
    _, points, triangles = mesh()
    posed = (points - 32) @ matrix.T + 30
    flow = rasterise(posed, points, triangles, 64)
    rows, columns, middles = pixels(flow)
    wanted = (middles - 30) @ np.linalg.inv(matrix).T + 32
    inside = (wanted > points.min(0) + 1).all(1) & (wanted < points.max(0) - 1).all(1)
    assert inside.sum() > 500
    assert np.abs(flow.source[rows, columns] - wanted)[inside].max() < 0.1


def test_triangles_that_have_turned_over_show_nothing_or_their_mirror_image():
    _, points, triangles = mesh()
    over = points * [-1, 1] + [64, 0]
    assert rasterise(over, points, triangles, 64) is None
    flow = rasterise(over, points, triangles, 64, "shown")
    rows, columns, middles = pixels(flow)
    assert len(rows) > 500 and np.abs(flow.source[rows, columns] - (middles * [-1, 1] + [64, 0])).max() < 1e-3


def test_a_fold_leaves_no_crack_where_what_has_turned_over_lies_behind():
    """A narrow strip that is folded in the photograph, as beside a nose that is turned away, and comes forth in the frame."""
    posed = np.array([[0, 0], [20, 0], [24, 0], [44, 0], [0, 40], [20, 40], [24, 40], [44, 40]], float)
    triangles = np.array([t for i in range(3) for t in ((i, i + 1, i + 4), (i + 1, i + 5, i + 4))])
    rest = posed.copy()
    rest[[1, 5], 0], rest[[2, 6], 0] = 23.0, 21.0
    hidden, behind = (rasterise(posed, rest, triangles, 64, how) for how in ("hidden", "behind"))
    crack = behind.covered & ~hidden.covered
    assert crack[:39].sum() > 100 and behind.covered[:39, 1:43].all()
    np.testing.assert_array_equal(behind.source[hidden.covered], hidden.source[hidden.covered])
    assert ((behind.source[crack][:, 0] >= 20.9) & (behind.source[crack][:, 0] <= 23.1)).all()
    crossed = rasterise(rest, posed, triangles, 64, "behind")  # the other way round they lie under their neighbours
    np.testing.assert_array_equal(crossed.source, rasterise(rest, posed, triangles, 64).source)


def test_nothing_is_read_outside_of_the_mesh():
    rng = np.random.default_rng(0)
    _, points, triangles = mesh()
    flow = rasterise(points + rng.normal(0, 6, points.shape), points, triangles, 64)
    read = flow.source[flow.covered]
    assert (read >= points.min(0) - 1.01).all() and (read <= points.max(0) + 1.01).all()


def test_every_pixel_is_the_last_triangle_s_that_holds_its_middle():
    rng = np.random.default_rng(1)
    _, points, triangles = mesh()
    posed = points + rng.normal(0, 6, points.shape) + (10, -8)  # folded over, and partly out of the frame
    flow = rasterise(posed, points, triangles, 64)
    middle = np.stack(np.meshgrid(np.arange(64), np.arange(64)), -1) + 0.5
    wanted = np.full((64, 64, 2), np.nan)
    for (a, b, c), (ra, rb, rc) in zip(posed[triangles], points[triangles], strict=True):
        sides = np.stack([b - a, c - a], 1)
        if np.linalg.det(sides) > 0:  # it has not turned over: so are all at rest
            u, v = np.moveaxis((middle - a) @ np.linalg.inv(sides).T, -1, 0)
            inside = (u >= 0) & (v >= 0) & (u + v <= 1)
            wanted[inside] = (ra + u[..., None] * (rb - ra) + v[..., None] * (rc - ra))[inside]
    found = np.full((64, 64, 2), np.nan)
    h, w = flow.covered.shape
    found[flow.y : flow.y + h, flow.x : flow.x + w][flow.covered] = flow.source[flow.covered]
    assert np.isfinite(wanted).sum() > 1000 and np.allclose(found, wanted, atol=0.01, equal_nan=True)
    assert (flow.source[~flow.covered] == NOWHERE).all()


def test_a_mesh_outside_of_the_frame_is_none():
    _, points, triangles = mesh()
    assert rasterise(points + 200, points, triangles, 64) is None
