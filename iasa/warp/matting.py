"""Which pixels of a photograph are a forearm and its hand, and what lies behind a layer: classical cut-outs, no network."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from iasa.avatar.pixel_parts import distance_inside, label_parts, nearest_outside
from iasa.warp.limb_widths import FINGER, FINGERS, FOREARM, PALM, PALM_BONES, WRIST

SURE, REACH = 0.4, 1.5  # of the limbs' widths: certainly an arm within, certainly none beyond
TOWARDS = 0.7  # by how much wider a forearm that points at the camera may look at the elbow
SLEEVE = -0.25  # of these widths, from within: what may be a sleeve beside the trunk
TINT = 9.0  # of CIE Lab's a and b: what differs less from the palm may be the hand
SAME = 0.5  # of what differs from the palm: what differs less from the room has its tint
SLEEVE_END = 0.45  # of the forearm, from the elbow: before it a sleeve of the upper arm may hang over
ROUNDS = 3  # of the cut
FEATHER = 3.0  # pixels over which a filled hole sets in


def load_cv2() -> Any:
    """OpenCV, which comes with mediapipe."""
    import cv2

    return cv2


def cut_forearm(
    image: np.ndarray,  # uint8 [S, S, 3]
    person: np.ndarray,  # [S, S] 0..1
    hand: np.ndarray,  # [21, 2] pixels
    elbow: np.ndarray,  # [2]
    shoulders: float,  # pixels between the shoulders
    trunk: np.ndarray,  # [S, S] 0..1, where the trunk is behind
) -> np.ndarray:  # float32 [2, S, S] 0..1
    """The forearm from the elbow on and the hand, by GrabCut (Rother et al. 2004) between capsules around the points; and
    all of the person beside the trunk that a sleeve may be."""
    cv2 = load_cv2()
    size = len(image)
    reach = depth_inside(size, hand, elbow, shoulders)  # > 0 inside, in units of the local half width
    box = find_box(reach > 1 - REACH)
    if box is None:
        return np.zeros((2, size, size), np.float32)
    core = depth_inside(size, hand, elbow + SLEEVE_END * (hand[0] - elbow), shoulders, bare=True)[box]
    depth, crop, mask = reach[box], image[box], person[box]
    trimap = np.full(depth.shape, cv2.GC_PR_BGD, np.uint8)
    trimap[(depth > 0) & (mask > 0.3)] = cv2.GC_PR_FGD
    trimap[(depth < 1 - REACH) | ((mask < 0.04) & (depth < 0.2))] = cv2.GC_BGD
    trimap[(core > 1 - SURE) & (mask > 0.1)] = cv2.GC_FGD
    if not ((trimap == cv2.GC_FGD).any() and (trimap == cv2.GC_BGD).any()):
        return np.zeros((2, size, size), np.float32)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(np.ascontiguousarray(crop), trimap, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    sure, corner = (core > 1 - SURE) & (mask > 0.1), np.array([box[1].start, box[0].start])
    between = _room_between(crop, hand - corner, sure, (mask < 0.1) & (depth < 1 - REACH))
    cut &= (depth > 1 - REACH) & ~between
    cut = np.asarray(ndimage.binary_opening(cut, iterations=1), bool) | sure & ~between
    cut = _main_parts(ndimage.binary_closing(cut, iterations=1), core > 1 - SURE)
    sleeve = (depth > SLEEVE) & (mask > 0.5) & (trunk[box] < 0.5)
    out = np.zeros((2, size, size), np.float32)
    out[(slice(None), *box)] = [ndimage.gaussian_filter(part.astype(np.float32), 0.8) for part in (cut, sleeve)]
    return out


def depth_inside(size: int, hand: np.ndarray, elbow: np.ndarray, shoulders: float, bare: bool = False) -> np.ndarray:
    """1 on the bones, 0 at the half width of what may be an arm, negative beyond, -1 from twice that width on: [size, size].

    `bare`: without clothes.
    """
    short = max(0.0, 1 - float(np.linalg.norm(hand[0] - elbow)) / (0.5 * shoulders))
    widest = FOREARM * (1 + TOWARDS * short)
    parts = [(elbow, hand[0], WRIST, WRIST) if bare else (elbow, hand[0], widest, WRIST + short * (widest - WRIST))]
    parts += [(hand[a], hand[b], PALM, PALM) for a, b in PALM_BONES]
    parts += [(hand[a], hand[b], FINGER, FINGER) for a, b in FINGERS]
    grid = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), -1)
    depth = np.full((size, size), -1.0)
    for a, b, start, stop in parts:
        margin = 2 * shoulders * max(start, stop)
        left, top = np.clip(np.floor(np.minimum(a, b) - margin), 0, size).astype(int)
        right, bottom = np.clip(np.ceil(np.maximum(a, b) + margin), 0, size).astype(int)
        near = (slice(top, bottom), slice(left, right))
        away, along = distance_to_bone(grid[near], a, b)
        depth[near] = np.maximum(depth[near], 1 - away / (shoulders * (start + (stop - start) * along)))
    return depth


def distance_to_bone(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of points [..., 2] to the segment a-b, and where along it the nearest place lies, 0..1."""
    (dx, dy), (x, y) = b - a, (points[..., axis] - a[axis] for axis in (0, 1))
    along = np.clip((dx * x + dy * y) / max(float(dx**2 + dy**2), 1e-6), 0, 1)
    return np.sqrt((x - along * dx) ** 2 + (y - along * dy) ** 2), along


def find_box(mask: np.ndarray, margin: int = 12) -> tuple[slice, slice] | None:
    """What a mask holds and some pixels around it, None where that is nothing."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    down, across = (slice(max(0, int(x[0]) - margin), int(x[-1]) + margin + 1) for x in (rows, columns))
    return down, across


def _room_between(image: np.ndarray, hand: np.ndarray, core: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Where the room shows between thumb and fingers, which a segmentation takes for the hand, and a detector that is off by
    some pixels too: nearer in tint to the `room` around it, whatever its light, than to the palm. uint8 [h, w, 3] ->
    bool [h, w]; `core` is the hand for certain, if the detector is right."""
    grid = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in core.shape[::-1])), -1)
    to_palm, to_fingers = (
        np.min([distance_to_bone(grid, hand[a], hand[b])[0] for a, b in bones], 0) for bones in (PALM_BONES, FINGERS)
    )
    palm = core & (to_palm < to_fingers)
    if not (palm.any() and room.any()):
        return np.zeros(core.shape, bool)
    cv2 = load_cv2()
    tint = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 1:].astype(np.float32), (0, 0), 1)
    _, nearest = nearest_outside(~room)
    from_palm = np.linalg.norm(tint - np.median(tint[palm], 0), axis=-1)
    from_room = np.linalg.norm(tint - tint[nearest[0], nearest[1]], axis=-1)
    inside = np.zeros(core.shape, np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(np.round(hand).astype(np.int32)), 1)
    between = (cv2.dilate(inside, np.ones((5, 5), np.uint8)) > 0) & (to_fingers < to_palm)  # beyond may be a sleeve
    return between & (from_palm > TINT) & (from_room < SAME * from_palm)


def _main_parts(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The connected parts of a mask that touch the seeds, without small holes."""
    labels, _ = label_parts(mask)
    kept = np.isin(labels, np.unique(labels[seeds & mask])) & mask
    holes, count = label_parts(~kept)
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    small = np.flatnonzero(sizes < 0.002 * mask.size)
    return kept | np.isin(holes, small[small > 0])


def fill(image: np.ndarray, hole: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """uint8 [S, S, 3] with the pixels of `hole` taken from around them (of `known`, where given): Telea 2004 at half size,
    with a little of the grain that the rest has."""
    cv2 = load_cv2()
    size = image.shape[0]
    missing = hole if known is None else hole | ~known
    if not missing.any() or missing.all():
        return image
    half = size // 2
    mask = cv2.resize(missing.astype(np.uint8), (half, half), interpolation=cv2.INTER_AREA)
    mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    _, nearest = nearest_outside(missing)
    small = cv2.resize(image[nearest[0], nearest[1]], (half, half), interpolation=cv2.INTER_AREA)
    small = cv2.inpaint(small, mask, 4, cv2.INPAINT_TELEA)
    smooth = cv2.GaussianBlur(small, (0, 0), 3)  # away from the rim Telea's streaks are smoothed out
    deep = np.clip(distance_inside(mask) / 16, 0, 1)[..., None]
    small = (small * (1 - deep) + smooth * deep).astype(np.uint8)
    filled = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    soft = np.clip(distance_inside(hole) / FEATHER, 0, 1)[..., None]
    return (image * (1 - soft) + filled * soft + 0.5).clip(0, 255).astype(np.uint8)


def bleed(image: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Pixels that are not sure take the colour of the nearest sure one, or edges would carry what was behind them."""
    if not sure.any():
        return image
    away, nearest = nearest_outside(~sure)
    colour = image[nearest[0], nearest[1]]
    smooth = np.stack([ndimage.gaussian_filter(colour[..., c].astype(np.float32), 1.5) for c in range(3)], -1)
    share = np.clip(away / 2, 0, 1)[..., None]
    return (image * (1 - share) + smooth * share + 0.5).clip(0, 255).astype(np.uint8)
