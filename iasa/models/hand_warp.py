"""The reference's hands laid onto a pose bone by bone, as a jointed puppet's are: one smooth warp would smear fingers that bend.

A finger is three pieces, each turned with its bone and shortened along it; the palm is flat, so that whichever way it
turns in space, its picture moves by an affine map. Pieces are painted over one another: the thumb first, then the palm
and the fingers up to the little one, each from its root to its tip (the order that is right most often for hands before a body).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PALM_POINTS = (0, 5, 9, 13, 17)  # wrist and knuckles: one plane
# Pieces between two of the hand's 21 points, in painting order, and their half widths at both, outline included, in image units.
_PALM = {(0, 5): (0.026, 0.014), (0, 9): (0.026, 0.014), (0, 13): (0.026, 0.014), (0, 17): (0.026, 0.014),
         (5, 17): (0.014, 0.014), (0, 1): (0.020, 0.016), (1, 5): (0.014, 0.014)}  # fmt: skip
_WIDTHS = {1: (0.0168, 0.0155, 0.0140, 0.0125), 17: (0.0157, 0.0137, 0.0121, 0.0112)}
_OTHERS = (0.0168, 0.0152, 0.0134, 0.0119)


def _finger(first: int) -> dict[tuple[int, int], tuple[float, float]]:
    widths = _WIDTHS.get(first, _OTHERS)
    return {(first + k, first + k + 1): (widths[k], widths[k + 1]) for k in range(3)}


PIECES = _finger(1) | _PALM | _finger(5) | _finger(9) | _finger(13) | _finger(17)
SHORT = 1e-4  # image units: of a bone that points at the camera
FLAT = 5e-5  # image units squared: how thin a palm seen from its edge is taken to be


def paint_hands(
    pictures: Tensor,  # [b, m, 3, H, W], painted on in place
    image: Tensor,  # [b, 3, H, W] reference pictures
    reference: Tensor,  # [b, 21, 2] their hands, image units
    xy: Tensor,  # [b, m, 21, 2] the hands' new poses
    seen: Tensor,  # bool [b, m]: the others are not painted
) -> None:
    """One hand, left or right, of every picture."""
    b, m = seen.shape
    reference = reference[:, None].expand(-1, m, -1, -1)
    xy = torch.where(seen[..., None, None], xy, reference)
    share, where, corner = _places(reference.flatten(0, 1), xy.flatten(0, 1), image.shape[-1])
    grid = where.unflatten(0, (b, m)).flatten(1, 2) * 2 - 1  # [b, m rows, columns, 2]
    over = F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    over = over.unflatten(2, (m, -1)).movedim(2, 1).flatten(0, 1)  # [b m, 3, rows, columns]
    share = share * seen.flatten()[:, None, None]
    for picture, part, hand, (x, y) in zip(pictures.flatten(0, 1), share, over, corner.tolist(), strict=True):
        under = picture[:, y : y + len(part), x : x + len(part)]
        under += part * (hand - under)


def _places(reference: Tensor, xy: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:  # [m, 21, 2] twice
    """A square around each hand: how much of each pixel is hand [m, side, side], where in the reference it comes from
    [m, side, side, 2], and the square's corner x, y [m, 2] in a picture of `size` pixels."""
    pieces, widths = torch.tensor(list(PIECES), device=xy.device), xy.new_tensor(list(PIECES.values()))
    start, unit, length = _bones(xy, pieces)
    start_0, unit_0, length_0 = _bones(reference, pieces)

    # Each piece has a square of its own: across its columns and down its rows, relative to where it starts.
    stop = start + unit * length[..., None]
    wide = widths.amax(-1)[:, None] + 1 / size
    low, high = ((torch.minimum(start, stop) - wide) * size).floor(), ((torch.maximum(start, stop) + wide) * size).ceil()
    low = low.clamp(-1, size)  # [m, n, 2]
    cells = torch.arange(int((high - low).amax().clamp(1, size)), device=xy.device)
    column, row = (low[..., None] + cells).unbind(2)  # [m, n, side]
    x, y = (column + 0.5) / size, (row + 0.5) / size
    dx, dy = x - start[..., :1], y - start[..., 1:]
    along = (dx * unit[..., :1])[:, :, None] + (dy * unit[..., 1:])[..., None]  # [m, n, rows, columns]
    aside = (dx * -unit[..., 1:])[:, :, None] + (dy * unit[..., :1])[..., None]
    inside = along.clamp_min(0).minimum(length[..., None, None])
    beyond = along.sub_(inside)
    away = (beyond * beyond).addcmul_(aside, aside).sqrt_()
    taper = (widths[:, 1] - widths[:, 0]) / length
    depth = (inside * taper[..., None, None]).add_(widths[:, :1, None]).sub_(away).mul_(size)  # pixels inside the outline

    # The hand's square, and the piece that comes last of those that cover a pixel.
    corner = low.amin(1).clamp(0, size)  # [m, 2]
    side = int((high.amax(1).clamp(0, size) - corner).amax().clamp(1, size))
    corner = corner.minimum(corner.new_tensor(size - side))
    column, row = column - corner[:, None, :1], row - corner[:, None, 1:]
    within = ((row >= 0) & (row < side))[..., None] & ((column >= 0) & (column < side))[:, :, None]
    pixel = (row.clamp(0, side - 1)[..., None] * side + column.clamp(0, side - 1)[:, :, None]).long().flatten(1)
    depth = torch.where(within, depth, -1.0)
    turn = torch.arange(1, len(PIECES) + 1, device=xy.device, dtype=xy.dtype)[:, None, None]
    rank = torch.where(depth > 0, turn, depth).flatten(1)
    canvas = xy.new_full((len(xy), side * side), -1.0)
    deepest = canvas.scatter_reduce(1, pixel, depth.flatten(1), "amax")
    last = canvas.scatter_reduce(1, pixel, rank, "amax")
    m, element = ((rank > -0.5) & (rank == last.gather(1, pixel))).nonzero(as_tuple=True)
    piece = element // len(cells) ** 2

    # Its place in the reference: along the bone, shortened as the bone is but not beyond its ends, and beside it.
    stretch = (length_0 / length)[m, piece]
    a = inside.flatten(1)[m, element] * stretch + beyond.flatten(1)[m, element]
    u, v = unit_0[m, piece], aside.flatten(1)[m, element, None]
    found = start_0[m, piece] + a[:, None] * u + v * torch.stack([-u[:, 1], u[:, 0]], -1)
    is_palm = torch.tensor([bone in _PALM for bone in PIECES], device=xy.device)[piece]
    of_palm, at = m[is_palm], element[is_palm] % len(cells) ** 2
    i, j = piece[is_palm], piece.new_tensor(len(cells))
    place = torch.stack([x[of_palm, i, at % j], y[of_palm, i, at // j], torch.ones_like(at, dtype=x.dtype)], -1)
    found[is_palm] = (place[:, None] @ _palm_map(reference, xy)[of_palm])[:, 0]
    where = xy.new_zeros(len(xy), side * side, 2)
    where[m, pixel[m, element]] = found
    share = (deepest + 0.5).clamp_(0, 1)
    return share.unflatten(1, (side, side)), where.unflatten(1, (side, side)), corner.int()


def _bones(xy: Tensor, pieces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where pieces start [m, n, 2], their unit vectors [m, n, 2] and lengths [m, n]; a bone without length points to the right."""
    start, along = xy[:, pieces[:, 0]], xy[:, pieces[:, 1]] - xy[:, pieces[:, 0]]
    length = along.norm(dim=-1)
    along = torch.where((length < SHORT)[..., None], along.new_tensor([SHORT, 0.0]), along)
    length = length.clamp_min(SHORT)
    return start, along / length[..., None], length


def _palm_map(reference: Tensor, xy: Tensor) -> Tensor:  # [m, 21, 2] twice -> [m, 3, 2]
    """The affine map (x, y, 1) -> the reference that takes the palm's points nearest to where they are there."""
    points, goals = xy[:, PALM_POINTS, :], reference[:, PALM_POINTS, :]
    mean, goal = points.mean(1, keepdim=True), goals.mean(1, keepdim=True)
    points, goals = points - mean, goals - goal
    square = points.mT @ points + FLAT * torch.eye(2, device=xy.device)
    turn = torch.linalg.solve(square, points.mT @ goals)
    return torch.cat([turn, goal - mean @ turn], 1)
