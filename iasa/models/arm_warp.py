"""The reference's arms and hands laid onto a pose bone by bone, as a jointed puppet's are.

One smooth warp would smear fingers that bend. Here an upper arm and a forearm are one piece each, a finger three, a palm
seven; each is turned with its bone and shortened along it. They are painted over one another: the upper arm, the forearm, the
thumb, the palm, and the fingers up to the little one, each from its root to its tip (the order that is right most often for
hands before a body).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ELBOW, SHOULDER = 21, 22  # an arm's points are the hand's 21, the elbow and the shoulder
SHORT = 1e-4  # image units: of a bone that points at the camera

# Pieces between two points, and their half widths at both, outline included, in image units.
Pieces = dict[tuple[int, int], tuple[float, float]]
UPPER_ARM: Pieces = {(SHOULDER, ELBOW): (0.058, 0.058)}
JOINT = 0.2  # of the upper arm, from the shoulder, that stays with the trunk
FOREARM: Pieces = {(ELBOW, 0): (0.055, 0.034)}
_PALM: Pieces = {(0, 5): (0.026, 0.014), (0, 9): (0.026, 0.014), (0, 13): (0.026, 0.014), (0, 17): (0.026, 0.014),
                (5, 17): (0.014, 0.014), (0, 1): (0.020, 0.016), (1, 5): (0.014, 0.014)}  # fmt: skip


def _finger(first: int, *widths: float) -> Pieces:
    return {(first + k, first + k + 1): (widths[k], widths[k + 1]) for k in range(3)}


HAND: Pieces = {
    **_finger(1, 0.0168, 0.0155, 0.0140, 0.0125),
    **_PALM,
    **_finger(5, 0.0168, 0.0152, 0.0134, 0.0119),
    **_finger(9, 0.0168, 0.0152, 0.0134, 0.0119),
    **_finger(13, 0.0168, 0.0152, 0.0134, 0.0119),
    **_finger(17, 0.0157, 0.0137, 0.0121, 0.0112),
}  # in painting order


def paint_arms(
    pictures: Tensor,  # [b, m, 3, H, W], painted on in place
    image: Tensor,  # [b, 3, H, W] reference pictures
    reference: Tensor,  # [b, 23, 2] their hand, elbow and shoulder, image units
    xy: Tensor,  # [b, m, 23, 2] the new poses
    seen: Tensor,  # bool [b, m]: the others are not painted
) -> None:
    """The left or the right arm and hand of every picture."""
    b, m = seen.shape
    reference = reference[:, None].expand(-1, m, -1, -1)
    xy = torch.where(seen[..., None, None], xy, reference)
    reference, xy = _leave_joint(reference), _leave_joint(xy)
    for pieces in (UPPER_ARM, FOREARM, HAND):
        share, where, corner = _lay(pieces, reference.flatten(0, 1), xy.flatten(0, 1), image.shape[-1])
        grid = where.unflatten(0, (b, m)).flatten(1, 2) * 2 - 1  # [b, m rows, columns, 2]
        over = F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        over = over.unflatten(2, (m, -1)).movedim(2, 1).flatten(0, 1)  # [b m, 3, rows, columns]
        share = share * seen.flatten()[:, None, None]
        for picture, part, arm, (x, y) in zip(pictures.flatten(0, 1), share, over, corner.tolist(), strict=True):
            under = picture[:, y : y + len(part), x : x + len(part)]
            under += part * (arm - under)


def _leave_joint(xy: Tensor) -> Tensor:  # [..., 23, 2]
    """The shoulder moved down the arm, to where its piece begins."""
    start = torch.lerp(xy[..., SHOULDER, :], xy[..., ELBOW, :], JOINT)
    return torch.cat([xy[..., :SHOULDER, :], start[..., None, :]], -2)


def cover_arms(xy: Tensor, size: int, grow: float) -> Tensor:  # [m, 23, 2] -> [m, size, size]
    """1 where the forearm and the hand are in a picture of `size` pixels, drawn `grow` times as wide; else 0."""
    out = xy.new_zeros(len(xy), size, size)
    for pieces in (FOREARM, HAND):
        wide = {bone: (a * grow, b * grow) for bone, (a, b) in pieces.items()}
        share, _, corner = _lay(wide, xy, xy, size)
        for picture, part, (x, y) in zip(out, share, corner.tolist(), strict=True):
            here = picture[y : y + len(part), x : x + len(part)]
            torch.maximum(here, part.ceil(), out=here)
    return out


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
    """A small square of pixels around each piece, and where they lie relative to its bone; image units."""

    low: Tensor  # [m, n, 2] column and row of the first pixel
    end: Tensor  # [m, n, 2] and of the first beyond the piece
    held: Tensor  # [m, n, cells, cells] along the bone, between its ends
    beyond: Tensor  # [m, n, cells, cells] along the bone, outside of them
    beside: Tensor  # [m, n, cells, cells]
    depth: Tensor  # [m, n, cells, cells] how far inside the piece's outline, in pixels

    @classmethod
    def around(cls, bones: _Bones, widths: Tensor, size: int) -> _Squares:  # widths [n, 2]
        start, unit, length = bones
        stop = start + unit * length[..., None]
        wide = widths.amax(-1)[:, None] + 1 / size
        low = ((torch.minimum(start, stop) - wide) * size).floor().clamp(-1, size)
        end = ((torch.maximum(start, stop) + wide) * size).ceil()
        cells = torch.arange(int((end - low).amax().clamp(1, size)), device=low.device)
        dx, dy = ((low[..., None] + cells + 0.5) / size - start[..., None]).unbind(2)  # [m, n, cells]
        along = (dx * unit[..., :1])[:, :, None] + (dy * unit[..., 1:])[..., None]
        beside = (dx * -unit[..., 1:])[:, :, None] + (dy * unit[..., :1])[..., None]
        held = along.clamp_min(0).minimum(length[..., None, None])
        beyond = along.sub_(held)
        away = (beyond * beyond).addcmul_(beside, beside).sqrt_()
        taper = (widths[:, 1] - widths[:, 0]) / length
        depth = (held * taper[..., None, None]).add_(widths[:, :1, None]).sub_(away).mul_(size)
        return cls(low, end, held, beyond, beside, depth)


def _lay(pieces: Pieces, reference: Tensor, xy: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Poses [m, 23, 2] -> a square around each arm's pieces, in a picture of `size` pixels: how much of each pixel they
    cover [m, side, side], where in the reference it comes from [m, side, side, 2], and the corner x, y [m, 2].
    """
    bones = _Bones.of(xy, pieces)
    squares = _Squares.around(bones, xy.new_tensor(list(pieces.values())), size)
    cells = torch.arange(squares.depth.shape[-1], device=xy.device)

    # The arm's square; of the pieces that cover a pixel the last one counts.
    corner = squares.low.amin(1).clamp(0, size)  # [m, 2]
    side = int((squares.end.amax(1).clamp(0, size) - corner).amax().clamp(1, size))
    corner = corner.minimum(corner.new_tensor(size - side))
    column, row = (squares.low[..., None] + cells - corner[:, None, :, None]).unbind(2)  # [m, n, cells]
    within = ((row >= 0) & (row < side))[..., None] & ((column >= 0) & (column < side))[:, :, None]
    pixel = (row.clamp(0, side - 1)[..., None] * side + column.clamp(0, side - 1)[:, :, None]).long().flatten(1)
    depth = torch.where(within, squares.depth, -1.0)
    turn = torch.arange(1, len(pieces) + 1, device=xy.device, dtype=xy.dtype)[:, None, None]
    rank = torch.where(depth > 0, turn, depth).flatten(1)
    canvas = xy.new_full((len(xy), side**2), -1.0)
    share = canvas.scatter_reduce(1, pixel, depth.flatten(1), "amax").add_(0.5).clamp_(0, 1)
    last = canvas.scatter_reduce(1, pixel, rank, "amax").gather(1, pixel)
    m, element = ((rank > -0.5) & (rank == last)).nonzero(as_tuple=True)
    piece = element // len(cells) ** 2

    # The same place of the reference: along its bone, shortened as the bone is but not beyond its ends, and beside it.
    image = _Bones.of(reference, pieces)
    stretch = (image.length / bones.length)[m, piece, None]
    u = image.unit[m, piece]
    held, beyond, beside = (part.flatten(1)[m, element, None] for part in squares[2:5])
    found = image.start[m, piece] + (held * stretch + beyond) * u + beside * torch.stack([-u[:, 1], u[:, 0]], -1)
    places = xy.new_zeros(len(xy), side**2, 2)
    places[m, pixel[m, element]] = found
    return share.unflatten(1, (side, side)), places.unflatten(1, (side, side)), corner.int()
