"""A posed triangle mesh as a dense flow: where in the photograph each pixel of the frame comes from."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

FLAT = 1e-3  # pixels squared: of a triangle without area
NOWHERE = -1e4  # pixels, both ways: outside of every photograph
TOUCHING = 1e-6  # pixels, by which rounding must not part triangles that share an edge


class Flow(NamedTuple):
    """Part of the frame, from (x, y) on, and where it comes from."""

    x: int
    y: int
    source: np.ndarray  # float32 [h, w, 2] pixels of the photograph; NOWHERE where nothing is covered
    covered: np.ndarray  # bool [h, w]


def rasterise(
    posed: np.ndarray,  # [v, 2] pixels of the frame
    rest: np.ndarray,  # [v, 2] pixels of the photograph
    triangles: np.ndarray,  # int [t, 3], those in front last
    size: int,
    turned_over: Literal["hidden", "behind", "shown"] = "hidden",
) -> Flow | None:
    """The flow of what the mesh covers of a frame of `size` pixels; of triangles over one another the last one counts.

    Those that have turned over are hidden, or show their mirror image: behind all others, where a fold would leave a crack, or
    in their turn.

    None where nothing is in the frame. Pixel (0, 0) has its middle at (0.5, 0.5), in the frame and in the photograph.
    """
    corners, places = posed[triangles], rest[triangles]  # [t, 3, 2]
    low, high = corners.min(1), corners.max(1)
    shown = _area(corners) * _area(places)
    inside = ((high > 0) & (low < size)).all(1) & ((shown > 0) if turned_over == "hidden" else (shown != 0))
    if not inside.any():
        return None
    inside = np.flatnonzero(inside)
    if turned_over == "behind":
        inside = inside[np.argsort(shown[inside] > 0, kind="stable")]
    corners, places = corners[inside], places[inside]
    x, y = np.clip(np.floor(low[inside].min(0)), 0, size - 1).astype(int)
    right, bottom = np.clip(np.ceil(high[inside].max(0)), (x + 1, y + 1), size).astype(int)
    last = _find_last(corners - (x, y), bottom - y, right - x)
    along_x, along_y, origin = (part.take(last, mode="wrap") for part in _affine(corners, places))
    px, py = (np.arange(*ends, dtype=np.float32) + 0.5 for ends in ((x, right), (y, bottom)))
    source = along_x * px + along_y * py[:, None] + origin
    return Flow(x, y, source.view(np.float32).reshape(*last.shape, 2), last >= 0)


def _find_last(corners: np.ndarray, height: int, width: int) -> np.ndarray:  # [t, 3, 2] -> int [height, width]
    """The last triangle over the middle of each pixel, -1 where there is none; all rows of all triangles at once."""
    x, y = corners[..., 0], corners[..., 1]
    first, end = (np.clip(np.ceil(edge - 0.5), 0, height).astype(int) for edge in (y.min(1), y.max(1)))
    count = end - first
    which = np.repeat(np.arange(len(corners)), count)  # of each row of each triangle
    row = np.arange(len(which)) + np.repeat(first - np.cumsum(count) + count, count)
    left, right = np.full(len(which), np.inf), np.full(len(which), -np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        rise = y[:, b] - y[:, a]
        slope = (x[:, b] - x[:, a]) / np.where(rise == 0, np.inf, rise)
        beyond = (row + 0.5 - y[which, a]) * np.sign(rise)[which]
        crosses = (beyond >= 0) & (beyond <= np.abs(rise)[which]) & (rise != 0)[which]
        at = x[which, a] + slope[which] * (row + 0.5 - y[which, a])
        left, right = np.where(crosses, np.minimum(left, at), left), np.where(crosses, np.maximum(right, at), right)
    start = np.clip(np.ceil(left - 0.5 - TOUCHING), 0, width).astype(int)
    length = np.maximum(np.clip(np.floor(right + 0.5 + TOUCHING), 0, width).astype(int) - start, 0)
    pixel = np.arange(length.sum()) + np.repeat(row * width + start - np.cumsum(length) + length, length)
    last = np.full(height * width, -1)
    last[pixel] = np.repeat(which, length)  # of equal pixels the last one stays
    return last.reshape(height, width)


def _area(corners: np.ndarray) -> np.ndarray:  # [t, 3, 2] -> [t], signed
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _affine(posed: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, ...]:  # [t, 3, 2] each -> 3 x complex64 [t + 1]
    """The map of each posed triangle onto its place in the photograph, as a step of one pixel to the right, one down, and the
    place of the origin, x + iy; a flat one maps to its first corner, and number -1, which is none, to NOWHERE."""
    a, b = posed[:, 1] - posed[:, 0], posed[:, 2] - posed[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    safe = np.where(np.abs(area) < FLAT, np.inf, area)
    places = rest[..., 0] + 1j * rest[..., 1]
    u, v = places[:, 1] - places[:, 0], places[:, 2] - places[:, 0]
    along_x = (u * b[:, 1] - v * a[:, 1]) / safe
    along_y = (v * a[:, 0] - u * b[:, 0]) / safe
    origin = places[:, 0] - along_x * posed[:, 0, 0] - along_y * posed[:, 0, 1]
    nowhere = (0, 0, NOWHERE * (1 + 1j))
    return tuple(
        np.r_[part, last].astype(np.complex64) for part, last in zip((along_x, along_y, origin), nowhere, strict=True)
    )


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
