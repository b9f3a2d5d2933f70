"""A posed triangle mesh as a dense flow: where in the photograph each pixel of the frame comes from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from iasa.warp.matting import load_cv2

FRACTION_BITS = 4  # of a pixel, in which OpenCV takes corners
FLAT = 1e-6  # pixels squared: of a triangle without area


class Flow(NamedTuple):
    """Part of the frame, from (x, y) on, and where it comes from."""

    x: int
    y: int
    source: np.ndarray  # float32 [h, w, 2] pixels of the photograph; anything where nothing is covered
    covered: np.ndarray  # bool [h, w]


def rasterise(
    posed: np.ndarray,  # [v, 2] pixels of the frame
    rest: np.ndarray,  # [v, 2] pixels of the photograph
    triangles: np.ndarray,  # int [t, 3], those in front last
    size: int,
    both_sides: bool = False,
) -> Flow | None:
    """The flow of what the mesh covers of a frame of `size` pixels; of triangles over one another the last one counts.

    Those that have turned over show nothing, or with `both_sides` their mirror image.

    None where nothing is in the frame. Pixel (0, 0) has its middle at (0.5, 0.5), in the frame and in the photograph.
    """
    cv2 = load_cv2()
    corners = posed[triangles]  # [t, 3, 2]
    low, high = corners.min(1), corners.max(1)
    shown = _area(corners) * _area(rest[triangles])
    inside = ((high > 0) & (low < size)).all(1) & ((shown != 0) if both_sides else (shown > 0))
    if not inside.any():
        return None
    index = np.flatnonzero(inside)
    x, y = np.clip(np.floor(low[index].min(0)), 0, size - 1).astype(int)
    right, bottom = np.clip(np.ceil(high[index].max(0)), (x + 1, y + 1), size).astype(int)
    ids = np.full((bottom - y, right - x), -1, np.int32)
    fixed = np.round((corners[index] - (x + 0.5, y + 0.5)) * (1 << FRACTION_BITS)).astype(np.int32)
    fill = cv2.fillConvexPoly
    for number, triangle in zip(index.tolist(), fixed, strict=True):
        fill(ids, triangle, number, cv2.LINE_8, FRACTION_BITS)
    covered = ids >= 0
    matrix = _affine(corners, rest[triangles])  # [t, 2, 3]
    rows, columns = np.nonzero(covered)
    number = ids[rows, columns]
    chosen = matrix[number]
    px, py = columns + (x + 0.5), rows + (y + 0.5)
    found = chosen[..., 0] * px[:, None] + chosen[..., 1] * py[:, None] + chosen[..., 2]
    own = rest[triangles].astype(np.float32)  # a pixel on the rim of a thin triangle must not read far outside of it
    source = np.zeros((*ids.shape, 2), np.float32)
    source[rows, columns] = np.clip(found, own.min(1)[number] - 1, own.max(1)[number] + 1)
    return Flow(x, y, source, covered)


def _area(corners: np.ndarray) -> np.ndarray:  # [t, 3, 2] -> [t], signed
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _affine(posed: np.ndarray, rest: np.ndarray) -> np.ndarray:  # [t, 3, 2] each -> float32 [t, 2, 3]
    """The map of each posed triangle onto its place in the photograph; a flat one maps to its middle."""
    a, b = posed[:, 1] - posed[:, 0], posed[:, 2] - posed[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    safe = np.where(np.abs(area) < FLAT, np.inf, area)[:, None]
    u, v = rest[:, 1] - rest[:, 0], rest[:, 2] - rest[:, 0]
    along_x = (u * b[:, 1:] - v * a[:, 1:]) / safe
    along_y = (v * a[:, :1] - u * b[:, :1]) / safe
    origin = rest[:, 0] - along_x * posed[:, 0, :1] - along_y * posed[:, 0, 1:]
    return np.stack([along_x, along_y, origin], -1).astype(np.float32)


def grid_mesh(mask: np.ndarray, cell: int) -> tuple[np.ndarray, np.ndarray]:
    """Points [v, 2] in pixels and triangles [t, 3] of square cells over what a mask [S, S] holds, and one cell more."""
    size = mask.shape[0]
    count = -(-size // cell)
    padded = np.zeros((count * cell, count * cell), bool)
    padded[:size, :size] = mask
    used = np.pad(padded.reshape(count, cell, count, cell).any((1, 3)), 1)
    grown = used.copy()
    for shift in (-1, 1):
        grown |= np.roll(used, shift, 0) | np.roll(used, shift, 1)
        grown |= np.roll(np.roll(used, shift, 0), 1, 1) | np.roll(np.roll(used, shift, 0), -1, 1)
    side = count + 3  # corners of the cells, one ring of cells outside of the picture included
    row, column = np.nonzero(grown)
    first = row * side + column
    upper = np.stack([first, first + 1, first + side], 1)
    lower = np.stack([first + 1, first + side + 1, first + side], 1)
    triangles = np.stack([upper, lower], 1).reshape(-1, 3)
    kept, triangles = np.unique(triangles, return_inverse=True)
    points = (np.stack([kept % side, kept // side], 1) - 1) * float(cell)
    return points, triangles.reshape(-1, 3)
