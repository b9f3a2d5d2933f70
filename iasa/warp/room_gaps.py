"""Room that shows between an arm and the trunk, which a segmentation takes for the person."""

from __future__ import annotations

import numpy as np

from iasa.avatar.photograph import ELBOWS, HANDS, SHOULDERS, Photograph
from iasa.avatar.pixel_parts import distance_inside, nearest_outside
from iasa.warp.matting import load_cv2

LIGHT = 0.5  # what a difference in CIE Lab's L counts against one in tint
DIFFERENT, SAME = 10.0, 0.35  # from every colour of the person, at least; from the room's, of that, at most
COLORS, SPARSE = 8, 23  # of a person, and every which of the pixels is looked at for them
LIMB = 0.09  # distances between the shoulders from the bones of an arm: certainly the arm
AROUND = 0.12  # distances between the shoulders around the bones of an arm in which there may be such a gap
WITHIN = 6  # pixels within the person's outline from which on a colour is certainly the person's
WIDE = 9  # pixels: a gap is
SOFT = 1.5  # pixels of an edge


def without_gaps(photo: Photograph) -> np.ndarray:
    """The photograph's mask of the person, float32 [S, S], without them: what is enclosed by an arm that is bent, and has the
    colour of the room nearby and none of the person's."""
    cv2, size = load_cv2(), len(photo.image)
    between, bones = np.zeros((2, size, size), np.uint8)
    for points in zip(SHOULDERS, ELBOWS, (hand.start for hand in HANDS), strict=True):
        if photo.seen[list(points)].all():
            corners = np.round(photo.xy[list(points)] * size).astype(np.int32)
            cv2.fillConvexPoly(between, corners, 1)
            cv2.polylines(bones, [corners], False, 1)
    unit = size * float(np.linalg.norm(photo.xy[SHOULDERS[0]] - photo.xy[SHOULDERS[1]]))
    limb = cv2.distanceTransform(1 - bones, cv2.DIST_L2, 5) < LIMB * unit
    reach = 2 * int(AROUND * unit) + 1
    between = (cv2.dilate(between, np.ones((reach, reach), np.uint8)) > 0) & ~limb
    room, person = photo.person < 0.1, photo.person > 0.5
    between &= ~room
    sure = person & ~between & (distance_inside(person) > WITHIN)
    if not between.any() or not room.any() or sure.sum() < COLORS * SPARSE:
        return photo.person
    lab = cv2.GaussianBlur(cv2.cvtColor(photo.image, cv2.COLOR_RGB2LAB).astype(np.float32), (0, 0), 1)
    lab *= np.array([LIGHT, 1, 1], np.float32)
    _, nearest = nearest_outside(~room)
    seen, there = lab[between], lab[nearest[0][between], nearest[1][between]]
    criteria = (cv2.TERM_CRITERIA_MAX_ITER, 10, 0.0)
    cv2.setRNGSeed(0)
    _, _, colors = cv2.kmeans(lab[sure][::SPARSE], COLORS, None, criteria, 1, cv2.KMEANS_PP_CENTERS)
    from_person = np.linalg.norm(seen[:, None] - colors, axis=-1).min(-1)
    from_room = np.linalg.norm(seen - there, axis=-1)
    gap = between.copy()
    gap[between] = (from_person > DIFFERENT) & (from_room < SAME * from_person)
    wide = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (WIDE, WIDE))
    gap = cv2.morphologyEx(gap.astype(np.float32), cv2.MORPH_OPEN, wide)  # a rim of light on a sleeve is none
    soft = cv2.GaussianBlur(cv2.dilate(gap, np.ones((5, 5), np.uint8)), (0, 0), SOFT)
    return np.minimum(photo.person, 1 - soft).astype(np.float32)
