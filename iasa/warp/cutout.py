"""A photograph in layers: the room, the person without forearms, and each forearm with its hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from iasa.avatar.photograph import ELBOWS, HANDS, SHOULDERS, Photograph
from iasa.avatar.pixel_parts import distance_inside, label_parts
from iasa.warp.head_skin import CHIN
from iasa.warp.limb_widths import FINGER, FINGERS, PALM_BONES, UPPER_ARM
from iasa.warp.matting import (
    bleed,
    cut_forearm,
    depth_inside,
    distance_to_bone,
    fill,
    find_box,
    load_cv2,
)
from iasa.warp.room_gaps import without_gaps
from iasa.warp.texture import weave

ROOM_MARGIN = 0.018  # image units around the person in which the room is not trusted
FADE = 0.1  # distances between the shoulders over which the forearm's layer sets in at the elbow
FRINGE = 6  # pixels around a forearm in which the segmentation's soft edge is the forearm's
ROUND = 4.0  # pixels: spikes at the ends of upper arms are thinner
SOLID = 4.0  # pixels within the person's outline to which it may be soft: no room shines through a face
SURE, OWN = 0.92, 0.6  # of a pixel that is the person's alone; that keeps its own colour
CORE, CORE_LENGTH = 0.12, 0.75  # of an upper arm: half its width in distances between the shoulders, and of its bone
WIDEST = 0.62  # half the trunk's width, in distances between the shoulders
LOOSE = 0.5  # half widths of a forearm, by which its sleeve may be wider
FLANK = 0.46  # half the trunk's width in distances between the shoulders, where nothing shows it


@dataclass(frozen=True, eq=False)
class Layer:
    """Colours uint8 [S, S, 3], right where the layer is seen and going on around it; share of each pixel [S, S] in 0..1."""

    color: np.ndarray
    alpha: np.ndarray


@dataclass(frozen=True, eq=False)
class Layers:
    """From back to front. `forearms` by side, (left, right), None where it is not a layer of its own."""

    room: np.ndarray  # uint8 [S, S, 3], without the person
    body: Layer
    forearms: tuple[Layer | None, Layer | None]


def cut_layers(photo: Photograph, moving: tuple[bool, bool]) -> Layers:
    """The layers of a photograph at its own size; `moving` says which forearms (left, right) are cut out of the body."""
    cv2 = load_cv2()
    photo = replace(photo, person=without_gaps(photo))
    image, size = photo.image, photo.image.shape[0]
    person = np.clip((photo.person - 0.5) * 1.6 + 0.5, 0, 1)
    person = np.maximum(person, np.clip(distance_inside(photo.person > 0.5) / SOLID - 1, 0, 1))
    trunk = _trunk(photo, person, moving)
    mattes = [_forearm(photo, side, trunk) if moves else None for side, moves in enumerate(moving)]
    for matte in mattes:
        if matte is not None:
            person = np.maximum(person, matte[0])
    margin = 2 * int(ROOM_MARGIN * size) + 1
    around = cv2.dilate(
        (person > 0.15).astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (margin, margin))
    )
    room = fill(image, around > 0)
    alpha, color, sure = person, image, photo.person > OWN
    hole = np.any([matte[1] for matte in mattes if matte is not None] or [np.zeros((size, size), bool)], 0)
    if hole.any():
        arms, core = _upper_arms(photo)
        behind, trunk = hole & (trunk > 0.02), np.where(hole & core, np.maximum(trunk, person), trunk)
        ring = ndimage.binary_dilation(hole, iterations=FRINGE) & ~arms
        alpha = np.where(hole, trunk, np.where(ring, np.minimum(person, trunk), person))
        alpha = round_ends(alpha * _main_part(alpha), hole)
        beyond = ~np.asarray(ndimage.binary_dilation(hole, iterations=FRINGE), bool)
        known = (photo.person > SURE) & beyond
        color = fill(image, hole & (trunk > 0.02), known)
        cloth = known & (trunk > SURE) & (np.arange(size)[:, None] > size * photo.xy[list(SHOULDERS), 1].mean())
        color = weave(color, behind, known, cloth)
        sure = (alpha > OWN) & ((photo.person > OWN) | hole)
    body = Layer(bleed(color, sure), alpha.astype(np.float32))
    left, right = (None if m is None else Layer(bleed(image, m[0] > SURE), m[0]) for m in mattes)
    return Layers(room, body, (left, right))


def round_ends(alpha: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """A body's layer whose edges near a hole have no spikes: what the cut left of a sleeve or an elbow is rounded off."""
    smooth = np.clip((ndimage.gaussian_filter(alpha, ROUND) - 0.5) * ROUND + 0.5, 0, 1)
    near = ndimage.gaussian_filter(ndimage.binary_dilation(hole, iterations=2 * FRINGE).astype(np.float32), 2)
    return alpha + near * (np.minimum(smooth, alpha) - alpha)


def _main_part(alpha: np.ndarray) -> np.ndarray:
    """1 on the largest connected part of a layer, with soft edges: scraps of an arm are no body."""
    labels, count = label_parts(alpha > 0.3)
    if count < 2:
        return np.ones_like(alpha)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    others = (labels > 0) & (labels != sizes.argmax())
    return 1 - ndimage.gaussian_filter(ndimage.binary_dilation(others, iterations=5).astype(np.float32), 1).clip(0, 1)


def _upper_arms(photo: Photograph) -> np.ndarray:
    """Where upper arms and their sleeves may be, and where they are for certain: bool [2, S, S]."""
    size = photo.image.shape[0]
    xy = photo.xy * size
    unit = float(np.linalg.norm(xy[SHOULDERS[0]] - xy[SHOULDERS[1]]))
    grid = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), -1)
    bones = [(xy[a], xy[b]) for a, b in zip(SHOULDERS, ELBOWS, strict=True)]
    away = [[distance_to_bone(grid, a, a + long * (b - a))[0] for a, b in bones] for long in (1.0, CORE_LENGTH)]
    return np.min(away, 1) < unit * np.array([UPPER_ARM, CORE])[:, None, None]


def _forearm(photo: Photograph, side: int, trunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of each pixel is this forearm's layer, float32 [S, S], and where the body is not seen for it, bool [S, S]."""
    size = photo.image.shape[0]
    xy = photo.xy * size
    hand, elbow = xy[HANDS[side]], xy[ELBOWS[side]]
    shoulders = float(np.linalg.norm(xy[SHOULDERS[0]] - xy[SHOULDERS[1]]))
    skin, sleeve = cut_forearm(photo.image, photo.person, hand, elbow, shoulders, trunk)
    matte, hidden = np.zeros((size, size), np.float32), np.zeros((size, size), bool)
    box = find_box((skin > 0) | (sleeve > 0))
    if box is None:
        return matte, hidden
    skin, sleeve = skin[box], sleeve[box]
    grid = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), -1)[box]
    shoulder = xy[SHOULDERS[side]]
    to_upper, _ = distance_to_bone(grid, shoulder, shoulder + 0.8 * (elbow - shoulder))
    to_hand = np.min([distance_to_bone(grid, hand[a], hand[b])[0] for a, b in (*PALM_BONES, *FINGERS)], 0)
    to_bone, _ = distance_to_bone(grid, elbow, hand[0])
    onset = np.clip((to_upper - np.minimum(to_bone, to_hand)) / (FADE * shoulders) + 0.6, 0, 1)
    near_hand = np.clip(2.2 - to_hand / (1.3 * FINGER * shoulders), 0, 1)
    skin = skin * _ease(np.maximum(onset, near_hand))
    sleeve = sleeve * _ease(onset) * (to_bone <= to_hand + 1)  # cloth beside the fingers is not the forearm's
    matte[box] = arm = np.maximum(skin, ndimage.gaussian_filter(sleeve, 1)).astype(np.float32)
    onset = np.maximum(onset, near_hand)
    behind = ndimage.binary_dilation(arm > 0.05, iterations=2) & ((onset >= 1) | (arm <= 0.05))
    hidden[box] = ndimage.binary_opening(behind, iterations=1)
    return matte, hidden


def _ease(x: np.ndarray) -> np.ndarray:
    return x * x * (3 - 2 * x)


def _trunk(photo: Photograph, person: np.ndarray, moving: tuple[bool, bool]) -> np.ndarray:
    """How much of each pixel is the trunk from the chin down, arms apart: float32 [S, S].

    In rows where an arm hides its edge, that edge lies between those of the nearest rows that show it.
    """
    size = person.shape[0]
    xy = photo.xy * size
    left, right = xy[SHOULDERS[0]], xy[SHOULDERS[1]]
    middle, across = (left + right) / 2, float(np.linalg.norm(left - right))
    hips = photo.keypoints.xy[0, 11:13].mean(0) * size if photo.seen[11:13].all() else middle + [0, 2 * across]
    depth = np.full((size, size), -1.0)
    for side, moves in enumerate(moving):
        if moves:
            depth = np.maximum(depth, depth_inside(size, xy[HANDS[side]], xy[ELBOWS[side]], across))
    hole, wide = depth > 0, depth > -LOOSE
    rows, top = np.arange(size), max(0, int(min(middle[1], photo.face[CHIN, 1] * size)))
    share = np.clip((rows + 0.5 - middle[1]) / max(1.0, hips[1] - middle[1]), 0, 1)
    center = middle[0] + share * (hips[0] - middle[0])
    solid, edges = (person > 0.5) & ~hole, []
    for sign in (-1, 1):
        reach = np.full(size, np.nan)
        for y in range(top, size):
            line = solid[y] if sign > 0 else solid[y, ::-1]
            behind = hole[y] if sign > 0 else hole[y, ::-1]
            covered = wide[y] if sign > 0 else wide[y, ::-1]
            start = int(np.clip(center[y] if sign > 0 else size - 1 - center[y], 0, size - 1))
            seen = start + int(np.argmin(behind[start:]))  # the first that no hand before the middle hides
            gaps = np.flatnonzero(~line[seen:])
            stop = seen + (int(gaps[0]) if len(gaps) else size - seen)
            if stop < size - 1 and stop - start > 0.15 * across and not covered[max(0, stop - 2) : stop + 3].any():
                reach[y] = stop - start
        known = np.flatnonzero(reach < WIDEST * across)  # where it is wider, an upper arm lies against the trunk
        width = np.interp(rows, known, reach[known]) if len(known) else np.full(size, FLANK * across)
        width = np.where(np.isfinite(reach), reach, width)
        edges.append(ndimage.gaussian_filter1d(width, 2))
    x = np.arange(size) + 0.5
    inside = np.minimum(x - (center - edges[0])[:, None], (center + edges[1])[:, None] - x)
    return (np.clip(inside + 0.5, 0, 1) * (rows >= top)[:, None]).astype(np.float32)
