"""The reference's arms and hands carried to a pose by a piecewise rigid limb warp, as a jointed puppet's are.

One smooth warp would smear fingers that bend. Here an upper arm and a forearm are one piece each, a finger three, a palm
seven; each is turned with its bone and shortened along it. They are painted over one another: the upper arm, the forearm, the
thumb, the palm, and the fingers up to the little one, each from its root to its tip (the order that is right most often for
hands before a body). Pieces of arms are as wide as the reference's sleeves or bare arms are (`measure_arm`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.device import constant

ELBOW, SHOULDER = 21, 22  # an arm's points are the hand's 21, the elbow and the shoulder
SHORT = 1e-4  # image units: of a bone that points at the camera
JOINT = 0.1  # of the upper arm, from the shoulder, where its piece begins
PLACES, ACROSS = 16, 24  # at which arms are measured, along their bone and from it outwards
LEAST = 0.4  # of a piece's width: no arm is thinner
RANKS = 1 << 20  # to which the depth of a pixel's edge is told apart
DIFFERS = 0.14  # of colours in [-1, 1], where an arm differs from what is behind it

Pieces = dict[tuple[int, int], tuple[float, float]]
Widths = tuple[
    Tensor, Tensor
]  # half widths of an upper arm and a forearm at PLACES along each, image units, [b, PLACES]


def _finger(first: int, *widths: float) -> Pieces:
    return {(first + k, first + k + 1): (widths[k], widths[k + 1]) for k in range(3)}


# Pieces between two points, and their half widths at both, outline included, at most, in image units.
UPPER_ARM: Pieces = {(SHOULDER, ELBOW): (0.066, 0.062)}
FOREARM: Pieces = {(ELBOW, 0): (0.060, 0.040)}
THUMB: Pieces = _finger(1, 0.0168, 0.0155, 0.0140, 0.0125)
PALM: Pieces = {(0, 5): (0.026, 0.014), (0, 9): (0.026, 0.014), (0, 13): (0.026, 0.014), (0, 17): (0.026, 0.014),
               (5, 17): (0.014, 0.014), (0, 1): (0.020, 0.016), (1, 5): (0.014, 0.014)}  # fmt: skip
FINGERS: Pieces = {
    **_finger(5, 0.0168, 0.0152, 0.0134, 0.0119),
    **_finger(9, 0.0168, 0.0152, 0.0134, 0.0119),
    **_finger(13, 0.0168, 0.0152, 0.0134, 0.0119),
    **_finger(17, 0.0157, 0.0137, 0.0121, 0.0112),
}
PARTS = (UPPER_ARM, FOREARM, THUMB, PALM, FINGERS)  # in painting order, as their pieces are


def paint_arm(
    pictures: Tensor,  # [b, m, 3, H, W] contiguous, painted on in place
    image: Tensor,  # [b, 3, H, W] reference pictures
    reference: Tensor,  # [b, 23, 2] their hand, elbow and shoulder, image units
    xy: Tensor,  # [b, m, 23, 2] the new poses
    seen: Tensor,  # [b, m, 23] 0 for a point that is not: pieces at it are not painted
    widths: Widths,  # of the reference pictures
) -> None:
    """The left or the right arm and hand of every picture."""
    b, m, channels = pictures.shape[:3]
    size, painted = image.shape[-1], pictures.view(-1)
    planes = size**2 * torch.arange(channels, device=pictures.device)[:, None]
    ends = m * channels * size**2 * torch.arange(b + 1, device=pictures.device)  # of each image's pictures
    for pieces, width in zip(PARTS, (*widths, None, None, None), strict=True):
        shown = _seen(pieces, seen).flatten().nonzero()[:, 0]  # of the b m pictures
        owner = shown // m
        before, after = _start_at(JOINT, reference[owner]), _start_at(JOINT, xy.flatten(0, 1)[shown])
        first = shown * channels * size**2
        part = _lay(pieces, before, after, size, first, None if width is None else width[owner])
        own = [len(part.pixel)] if b == 1 else torch.searchsorted(part.pixel, ends).diff().tolist()  # of each image
        over = [
            F.grid_sample(one[None], grid[None, None], padding_mode="border", align_corners=False)[0, :, 0]
            for one, grid in zip(image.float(), (part.places * 2 - 1).T.split(own), strict=True)
        ]
        where = (part.pixel + planes).flatten()  # [channels k]
        under = painted.index_select(0, where).view(channels, -1)
        painted.index_copy_(0, where, torch.lerp(under, torch.cat(over, 1), part.share).flatten())


def cover_arm(
    xy: Tensor,  # [m, 23, 2]
    seen: Tensor,  # [m, 23]
    size: int,
    grow: float = 1.0,
    start: float = 0.0,  # of the upper arm, from the shoulder
) -> Tensor:  # [m, size, size]
    """1 where the arm and the hand may be in a picture of `size` pixels, drawn `grow` times as wide as their pieces; else 0."""
    out = xy.new_zeros(len(xy), size, size)
    for pieces in PARTS:
        wide = {bone: (a * grow, b * grow) for bone, (a, b) in pieces.items()}
        moved = _start_at(start, xy)
        shown = _seen(pieces, seen).nonzero()[:, 0]
        out.view(-1)[_lay(wide, moved[shown], moved[shown], size, shown * size**2).pixel] = 1
    return out


def measure_arm(
    image: Tensor,  # [b, 3, H, W]
    behind: Tensor,  # [b, 3, H, W] the same without arms
    xy: Tensor,  # [b, 23, 2]
    outer: int,  # 1: the left of shoulder -> elbow is away from the trunk, -1: the right
) -> Widths:
    """How wide the arm is: as far as the picture differs from what is behind it.

    What a piece holds beside its arm would be laid onto the pose with it, and bare arms are thinner than sleeves. On a
    forearm the narrower side counts; an upper arm is measured on its outer side, for clothes hide the other.
    """
    other = (image - behind).abs().amax(1, keepdim=True)  # [b, 1, H, W]
    along = torch.linspace(0, 1, PLACES, device=xy.device)
    share = torch.linspace(LEAST, 1, ACROSS, device=xy.device)
    found = []
    for pieces in (UPPER_ARM, FOREARM):
        bone = _Bones.of(_start_at(JOINT, xy), pieces)
        middle = bone.start + bone.unit * (along * bone.length)[..., None]  # [b, PLACES, 2]
        left = torch.stack([bone.unit[..., 1], -bone.unit[..., 0]], -1)[:, :, None]  # [b, 1, 1, 2]
        ((start, stop),) = pieces.values()
        widest = torch.lerp(xy.new_tensor(start), xy.new_tensor(stop), along)  # [PLACES]
        offset = (widest[:, None] * share)[..., None] * left  # [b, PLACES, ACROSS, 2]
        reach = []
        for side in (offset * outer, -offset * outer):
            grid = (middle[:, :, None] + side) * 2 - 1
            differs = F.grid_sample(other, grid, padding_mode="border", align_corners=False)[:, 0] > DIFFERS
            reach.append((differs * share).amax(-1).clamp_min(LEAST))  # [b, PLACES]
        outside, inside = reach
        found.append(_median(widest * (outside if pieces is UPPER_ARM else torch.minimum(outside, inside))))
    return tuple(found)


def _median(x: Tensor) -> Tensor:  # [b, n]
    """Of each value and the two on either side."""
    return F.pad(x[:, None], (2, 2), mode="replicate")[:, 0].unfold(-1, 5, 1).median(-1).values


def _seen(pieces: Pieces, seen: Tensor) -> Tensor:  # [..., 23] -> bool [...]
    """Whether all points of these pieces are; a hand is seen as a whole."""
    points = tuple(sorted({point for bone in pieces for point in bone}))
    if points[-1] < ELBOW:
        return seen[..., :ELBOW].amin(-1) > 0
    return seen.index_select(-1, constant(points, seen.device, torch.int64)).amin(-1) > 0


def _start_at(share: float, xy: Tensor) -> Tensor:  # [..., 23, 2]
    """The shoulder moved down the upper arm, to where a piece begins."""
    start = torch.lerp(xy[..., SHOULDER, :], xy[..., ELBOW, :], share)
    return torch.cat([xy[..., :SHOULDER, :], start[..., None, :]], -2)


class _Bones(NamedTuple):
    start: Tensor  # [m, n, 2]
    unit: Tensor  # [m, n, 2] from start to stop
    length: Tensor  # [m, n]

    @classmethod
    def of(cls, xy: Tensor, pieces: Pieces) -> _Bones:  # [m, 23, 2]
        """One without length points to the right."""
        a, b = constant(tuple(pieces), xy.device, torch.int64).T
        start, along = xy[:, a], xy[:, b] - xy[:, a]
        length = along.norm(dim=-1)
        along = torch.where((length < SHORT)[..., None], constant((SHORT, 0.0), xy.device, xy.dtype), along)
        length = length.clamp_min(SHORT)
        return cls(start, along / length[..., None], length)


class _Boxes(NamedTuple):
    """Boxes of pixels, one for each piece, and where these lie relative to its bone; image units."""

    held: Tensor  # [m, n, rows, columns] along the bone, between its ends
    beyond: Tensor  # [m, n, rows, columns] along the bone, outside of them
    beside: Tensor  # [m, n, rows, columns]
    depth: Tensor  # [m, n, rows, columns] how far inside the piece's outline, in pixels

    @classmethod
    def at(cls, x: Tensor, y: Tensor, bones: _Bones, widths: Tensor, size: int, measured: Tensor | None) -> _Boxes:
        """x [m, n, columns] and y [m, n, rows] of their pixels; half widths at the bones' ends [n, 2], of a single piece
        `measured` [m, PLACES] instead."""
        start, unit, length = bones
        dx, dy = ((side + 0.5) / size - start[..., axis, None] for axis, side in enumerate((x, y)))
        along = (dx * unit[..., :1])[:, :, None] + (dy * unit[..., 1:])[..., None]
        beside = (dx * -unit[..., 1:])[:, :, None] + (dy * unit[..., :1])[..., None]
        held = along.clamp_min(0).minimum(length[..., None, None])
        beyond = along.sub_(held)
        away = (beyond * beyond).addcmul_(beside, beside).sqrt_()
        if measured is None:
            taper = (widths[:, 1] - widths[:, 0]) / length
            width = (held * taper[..., None, None]).add_(widths[:, :1, None])
        else:
            place = held * ((PLACES - 1) / length[..., None, None])
            first = place.long().clamp_(max=PLACES - 2)
            near, far = (measured.gather(1, (first + k).flatten(1)).view_as(place) for k in (0, 1))
            width = torch.lerp(near, far, place - first)
        return cls(held, beyond, beside, width.sub_(away).mul_(size))


class _Cover(NamedTuple):
    """The pixels that pieces cover."""

    pixel: Tensor  # [k] their numbers, ascending
    share: Tensor  # [k] of each that is covered
    places: Tensor  # [2, k] where in the reference they come from, x and y


def _lay(
    pieces: Pieces,
    reference: Tensor,  # [m, 23, 2]
    xy: Tensor,  # [m, 23, 2] poses
    size: int,
    first: Tensor,  # int64 [m] the number of each picture's first pixel, ascending
    measured: Tensor | None = None,  # [m, PLACES] half widths of a single piece
) -> _Cover:
    """What an arm's pieces cover of pictures of `size` pixels."""
    if not len(xy):
        return _Cover(first, xy.new_zeros(0), xy.new_zeros(2, 0))
    bones, image = _Bones.of(xy, pieces), _Bones.of(reference, pieces)
    widths = constant(tuple(pieces.values()), xy.device, xy.dtype)
    stop = bones.start + bones.unit * bones.length[..., None]
    wide = widths.amax(-1)[:, None] + 1 / size
    low = ((torch.minimum(bones.start, stop) - wide) * size).floor().clamp(0, size)  # [m, n, 2] of each piece
    end = ((torch.maximum(bones.start, stop) + wide) * size).ceil().clamp(0, size)
    sides = (end - low).amax((0, 1)).clamp_min(1)  # of all boxes
    low = low.minimum(size - sides)
    x, y = (low[..., i, None] + torch.arange(side, device=xy.device) for i, side in enumerate(sides.int().tolist()))
    boxes = _Boxes.at(x, y, bones, widths, size, measured)
    element = (boxes.depth > -0.5).flatten().nonzero()[:, 0]  # [k]
    share = boxes.depth.flatten().index_select(0, element).add_(0.5).clamp_(max=1)
    if len(pieces) > 1:
        element, share = _take_last(boxes.depth, x, y, element, share)
    pixel = _number(x, y, size, first).flatten().index_select(0, element)
    return _Cover(pixel, share, _find_places(boxes, bones, image).flatten(1).index_select(1, element))


def _take_last(
    depth: Tensor,  # [m, n, rows, columns]
    x: Tensor,  # [m, n, columns]
    y: Tensor,  # [m, n, rows]
    element: Tensor,  # [k] of depth, those that count
    share: Tensor,  # [k]
) -> tuple[Tensor, Tensor]:
    """Of the elements that share a pixel one, and how much of it they cover: of pieces that reach its middle the last one,
    else the one that reaches furthest. Two pieces are equally far from what lies beyond the joint that they share: the
    last one counts there, too, and not whichever thread writes last."""
    x, y = (side - side.amin((1, 2), keepdim=True) for side in (x, y))
    width, height = (side + 1 for side in torch.stack([x.amax(), y.amax()]).int().tolist())
    plane = height * width
    turn = torch.arange(1, depth.shape[1] + 1, device=depth.device, dtype=depth.dtype)[:, None, None]
    rank = torch.where(depth > 0, turn, depth + 0.5).flatten().index_select(0, element)
    order = torch.arange(len(element), device=depth.device) + ((rank * RANKS).long() << 32)
    where = _number(x, y, width, plane * torch.arange(len(x), device=x.device)).flatten().index_select(0, element)
    canvas = order.new_full((len(x) * plane,), -1).scatter_reduce_(0, where, order, "amax")
    covered = (canvas >= 0).nonzero()[:, 0]
    most = share.new_zeros(len(canvas)).scatter_reduce_(0, where, share, "amax")
    return element[canvas[covered] & 0xFFFFFFFF], most[covered]


def _number(x: Tensor, y: Tensor, width: int, first: Tensor) -> Tensor:
    """The numbers of pixels, [m, n, rows, columns], of x [m, n, columns] and y [m, n, rows], in pictures whose first ones are
    numbered `first` [m]."""
    return (y.long() * width + first[:, None, None])[..., None] + x.long()[:, :, None]


def _find_places(boxes: _Boxes, bones: _Bones, image: _Bones) -> Tensor:  # [2, m, n, rows, columns]
    """The same places of the reference's bones `image`: along a bone shortened as it is, but not beyond its ends."""
    stretch = (image.length / bones.length)[..., None, None]
    along = (boxes.held * stretch).add_(boxes.beyond)
    (x, y), (ux, uy) = (part[..., None, None].unbind(2) for part in (image.start, image.unit))
    return torch.stack([x + along * ux - boxes.beside * uy, y + along * uy + boxes.beside * ux])
