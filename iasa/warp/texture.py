"""Cloth that a hand hides, woven on: pieces of what is seen of it, laid so that they go on from what is around the hole.

Image quilting (Efros and Freeman 2001) in the order of Criminisi et al. (2004): the piece with the most known around it first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from iasa.warp.matting import load_cv2

TILE, RING = 40, 12  # pixels of a piece's side, and around it, by which it is chosen
FAR = 0.3  # squared levels, by which what lies a pixel farther away must be more alike
EVEN = 10.0  # pixels: coarser than this a piece takes on the colours of where it is laid


def weave(image: np.ndarray, hole: np.ndarray, known: np.ndarray, cloth: np.ndarray) -> np.ndarray:
    """uint8 [S, S, 3] whose hole has the right colours and no texture: it gets that of `cloth`, so that it goes on from what is
    `known` around it; all bool [S, S]. Where nothing fits, it stays as it is."""
    cv2 = load_cv2()
    out, known, right = image.copy(), known & ~hole, known | hole
    for tile in _in_order(hole, known):
        inner = hole[tile] & ~known[tile]
        piece = _find_like(out, known, cloth & ~hole, tile, inner)
        if piece is None:
            continue
        piece = _in_light(piece, image[tile], right[tile])
        away = cv2.distanceTransform((~inner).astype(np.uint8), cv2.DIST_L2, 3)  # pieces meet over half a ring
        share = np.where(hole[tile], np.clip(1 - 2 * away / RING, 0, 1), 0)[..., None]
        out[tile] = (out[tile] + share * (piece - out[tile]) + 0.5).astype(np.uint8)
        known[tile] |= inner
    return out


def _in_order(hole: np.ndarray, known: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Tiles with their rings, those with the most known pixels first; `known` grows meanwhile."""
    size = len(hole)
    rows, columns = np.nonzero(hole)
    places = sorted({(y // TILE, x // TILE) for y, x in zip(rows.tolist(), columns.tolist(), strict=True)})

    def reach(k: int) -> slice:
        return slice(max(0, k * TILE - RING), min(size, (k + 1) * TILE + RING))

    tiles = [(reach(y), reach(x)) for y, x in places]
    while tiles:
        best = max(range(len(tiles)), key=lambda k: int(known[tiles[k]].sum()))
        yield tiles.pop(best)


def _find_like(
    image: np.ndarray, known: np.ndarray, cloth: np.ndarray, tile: tuple[slice, slice], inner: np.ndarray
) -> np.ndarray | None:
    """A piece of cloth of the size of `tile`, whole where the tile needs it."""
    cv2 = load_cv2()
    context = known[tile]
    if context.sum() < RING * RING or not inner.any() or not cloth.any():
        return None
    rows, columns = (np.flatnonzero(cloth.any(axis)) for axis in (1, 0))
    top, left = rows[0] // 2 * 2, columns[0] // 2 * 2
    area = (slice(top, rows[-1] + 1), slice(left, columns[-1] + 1))
    half = tuple(a[::2, ::2].astype(np.float32) for a in (image[area], cloth[area], image[tile], context, inner))
    where, seen, piece, around, needed = half
    if any(a < b for a, b in zip(where.shape[:2], piece.shape[:2], strict=True)):
        return None
    differ = cv2.matchTemplate(where, piece, cv2.TM_SQDIFF, mask=np.repeat(around[..., None], 3, 2))
    missing = cv2.matchTemplate(1 - seen, np.maximum(needed, around), cv2.TM_CCORR)
    y, x = np.indices(differ.shape)
    away = np.hypot(2 * y + top - tile[0].start, 2 * x + left - tile[1].start)
    cost = differ / (3 * around.sum()) + FAR * away
    cost[missing > 0.5] = np.inf
    best = np.unravel_index(cost.argmin(), cost.shape)
    if not np.isfinite(cost[best]):
        return None
    y, x = int(2 * best[0] + top), int(2 * best[1] + left)
    height, width = inner.shape
    return image[y : y + height, x : x + width]


def _in_light(piece: np.ndarray, tile: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The piece in the light and colours of the tile, [h, w, 3] in 0..255, where these are `right`."""
    cv2, share = load_cv2(), right.astype(np.float32)
    differ = cv2.GaussianBlur((tile.astype(np.float32) - piece) * share[..., None], (0, 0), EVEN)
    return (piece + differ / np.maximum(cv2.GaussianBlur(share, (0, 0), EVEN), 1e-3)[..., None]).clip(0, 255)
