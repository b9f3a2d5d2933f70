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

ELBOW, SHOULDER = 21, 22  # an arm's points are the hand's 21, the elbow and the shoulder
SHORT = 1e-4  # image units: of a bone that points at the camera
JOINT = 0.1  # of the upper arm, from the shoulder, where its piece begins
PLACES, ACROSS = 16, 24  # at which arms are measured, along their bone and from it outwards
LEAST = 0.4  # of a piece's width: no arm is thinner
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
    pictures: Tensor,  # [b, m, 3, H, W], painted on in place
    image: Tensor,  # [b, 3, H, W] reference pictures
    reference: Tensor,  # [b, 23, 2] their hand, elbow and shoulder, image units
    xy: Tensor,  # [b, m, 23, 2] the new poses
    seen: Tensor,  # [b, m, 23] 0 for a point that is not: pieces at it are not painted
    widths: Widths,  # of the reference pictures
) -> None:
    """The left or the right arm and hand of every picture."""
    b, m = seen.shape[:2]
    reference = reference[:, None].expand(-1, m, -1, -1)
    for pieces, width in zip(PARTS, (*widths, None, None, None), strict=True):
        whole = _seen(pieces, seen)  # [b, m]
        poses = torch.where(whole[..., None, None], xy, reference)
        before, after = (_start_at(JOINT, pose).flatten(0, 1) for pose in (reference, poses))
        share, where, corner = _lay(
            pieces, before, after, image.shape[-1], None if width is None else width.repeat_interleave(m, 0)
        )
        grid = where.unflatten(0, (b, m)).flatten(1, 2) * 2 - 1  # [b, m rows, columns, 2]
        over = F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        over = over.unflatten(2, (m, -1)).movedim(2, 1).flatten(0, 1)  # [b m, 3, rows, columns]
        share = share * whole.flatten()[:, None, None]
        for picture, part, arm, (x, y) in zip(pictures.flatten(0, 1), share, over, corner.tolist(), strict=True):
            under = picture[:, y : y + len(part), x : x + len(part)]
            under += part * (arm - under)


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
        share, _, corner = _lay(wide, moved, moved, size)
        share = share.ceil() * _seen(pieces, seen)[:, None, None]
        for picture, part, (x, y) in zip(out, share, corner.tolist(), strict=True):
            here = picture[y : y + len(part), x : x + len(part)]
            torch.maximum(here, part, out=here)
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
    points = sorted({point for bone in pieces for point in bone})
    return seen[..., points if points[-1] >= ELBOW else range(ELBOW)].amin(-1) > 0


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
        a, b = torch.tensor(list(pieces), device=xy.device).T
        start, along = xy[:, a], xy[:, b] - xy[:, a]
        length = along.norm(dim=-1)
        along = torch.where((length < SHORT)[..., None], along.new_tensor([SHORT, 0.0]), along)
        length = length.clamp_min(SHORT)
        return cls(start, along / length[..., None], length)


class _Squares(NamedTuple):
    """Squares of pixels, one for each piece, and where these lie relative to its bone; image units."""

    held: Tensor  # [m, n, cells, cells] along the bone, between its ends
    beyond: Tensor  # [m, n, cells, cells] along the bone, outside of them
    beside: Tensor  # [m, n, cells, cells]
    depth: Tensor  # [m, n, cells, cells] how far inside the piece's outline, in pixels

    @classmethod
    def at(cls, low: Tensor, cells: int, bones: _Bones, widths: Tensor, size: int, measured: Tensor | None) -> _Squares:
        """low [m, n, 2] column and row of their first pixels; half widths at the bones' ends [n, 2], of a single piece
        `measured` [m, PLACES] instead."""
        start, unit, length = bones
        dx, dy = ((low[..., None] + torch.arange(cells, device=low.device) + 0.5) / size - start[..., None]).unbind(2)
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


def _lay(
    pieces: Pieces, reference: Tensor, xy: Tensor, size: int, measured: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Poses [m, 23, 2] -> a square around each arm's pieces, in a picture of `size` pixels: how much of each pixel they
    cover [m, side, side], where in the reference it comes from [m, side, side, 2], and the corner x, y [m, 2].
    """
    bones, image = _Bones.of(xy, pieces), _Bones.of(reference, pieces)
    widths = xy.new_tensor(list(pieces.values()))
    stop = bones.start + bones.unit * bones.length[..., None]
    wide = widths.amax(-1)[:, None] + 1 / size
    low = ((torch.minimum(bones.start, stop) - wide) * size).floor().clamp(-1, size)  # [m, n, 2] of each piece
    end = ((torch.maximum(bones.start, stop) + wide) * size).ceil()
    corner = low.amin(1).clamp(0, size)  # [m, 2] of the arm's square
    side = int((end.amax(1).clamp(0, size) - corner).amax().clamp(1, size))
    corner = corner.minimum(corner.new_tensor(size - side))
    if len(pieces) == 1:
        squares = _Squares.at(corner[:, None], side, bones, widths, size, measured)
        share, places = squares.depth[:, 0].add_(0.5).clamp_(0, 1), _find_places(squares, bones, image)[:, 0]
        return share, places, corner.int()

    # Of the pieces that cover a pixel the last one counts.
    cells = int((end - low).amax().clamp(1, size))
    squares = _Squares.at(low, cells, bones, widths, size, measured)
    column, row = (low[..., None] + torch.arange(cells, device=xy.device) - corner[:, None, :, None]).unbind(
        2
    )  # [m, n, cells]
    within = ((row >= 0) & (row < side))[..., None] & ((column >= 0) & (column < side))[:, :, None]
    pixel = (row.clamp(0, side - 1)[..., None] * side + column.clamp(0, side - 1)[:, :, None]).long().flatten(1)
    depth = torch.where(within, squares.depth, -1.0)
    turn = torch.arange(1, len(pieces) + 1, device=xy.device, dtype=xy.dtype)[:, None, None]
    rank = torch.where(depth > 0, turn, depth).flatten(1)
    canvas = xy.new_full((len(xy), side**2), -1.0)
    share = canvas.scatter_reduce(1, pixel, depth.flatten(1), "amax").add_(0.5).clamp_(0, 1)
    last = canvas.scatter_reduce(1, pixel, rank, "amax").gather(1, pixel)
    m, element = ((rank > -0.5) & (rank == last)).nonzero(as_tuple=True)
    # Two pieces are equally far from what lies beyond the joint that they share: there, too, the last one counts, and not
    # whichever thread writes last.
    place, order = m * side**2 + pixel[m, element], torch.arange(len(m), device=xy.device)
    counts = order == order.new_zeros(len(xy) * side**2).scatter_reduce(0, place, order, "amax")[place]
    m, element = m[counts], element[counts]
    places = xy.new_zeros(len(xy), side**2, 2)
    places[m, pixel[m, element]] = _find_places(squares, bones, image).flatten(1, 3)[m, element]
    return share.unflatten(1, (side, side)), places.unflatten(1, (side, side)), corner.int()


def _find_places(squares: _Squares, bones: _Bones, image: _Bones) -> Tensor:  # [m, n, cells, cells, 2]
    """The same places of the reference's bones `image`: along a bone shortened as it is, but not beyond its ends."""
    stretch = (image.length / bones.length)[..., None, None]
    along = (squares.held * stretch).add_(squares.beyond)
    (x, y), (ux, uy) = (part[..., None, None].unbind(2) for part in (image.start, image.unit))
    return torch.stack([x + along * ux - squares.beside * uy, y + along * uy + squares.beside * ux], -1)
