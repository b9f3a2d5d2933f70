"""Eyelids of the warped reference: opened and closed by the pose."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from iasa import keypoints as kp

CELLS = 32  # the warp is computed at 32 x 32 places and interpolated
AROUND = 0.035  # image units around an eye's points in which pixels may move
EYES = tuple(
    tuple(kp.FACE.start + i for i in range(first, first + 6)) for first in (36, 42)
)  # corner, upper lid, corner, lower
LIDS = {point for eye in EYES for point in (*eye[1:3], *eye[4:6])}
ARC_AT_LIDS = (1 - (1 / 3) ** 2) ** 0.5  # height of a lid's arc, of its highest, at its two points
ABOVE, BELOW = 0.2, 0.25  # of an eye's width: the skin beyond the lids that stretches when they move
MARGIN = 0.15  # of an eye's opening, above and below: its outline is drawn outside of the points


class _Box(NamedTuple):
    """Rows top..bottom and columns left..right of CELLS x CELLS: eyelids move where they are, not in the whole picture."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, x: Tensor) -> Tensor:
        """The part of x [..., side, side] in the box, a view."""
        top, bottom, left, right = (edge * x.shape[-1] // CELLS for edge in self)
        return x[..., top:bottom, left:right]


def _box_around(points: Tensor) -> _Box | None:
    """Whole cells that hold eyes [k, 6, 2], what moves around them, and one more; None if none is in the picture."""
    if not len(points):
        return None
    first = ((points.amin((0, 1)) - AROUND) * CELLS - 1).floor()
    last = ((points.amax((0, 1)) + AROUND) * CELLS + 1).ceil()
    left, top, right, bottom = torch.cat([first, last]).clamp(0, CELLS).int().tolist()
    return _Box(top, bottom, left, right) if top < bottom and left < right else None


def move_lids(
    where: Tensor,  # [b, m, 2, H, W] where each pixel comes from; changed in place
    eye: Tensor,  # [b, m, 6, 2] corner, two points of the upper lid, corner, two of the lower
    reference: Tensor,  # [b, m, 6, 2]
    seen: Tensor,  # [b, m, 6]
) -> None:
    """Close or open one eye: between the lids' edges, and over the skin beyond them, a column of pixels is stretched.

    In the reference's eye, along the line of its corners (0..1) and across it (in its widths), the lids' edges are arcs;
    a pixel that the pose has on an arc comes from the same arc of the reference, and between arcs positions are linear.
    """
    whole = seen.amin(-1) > 0  # [b, m]
    box = _box_around(eye[whole])
    if box is None:
        return
    here = box.of(where)
    start, axis = reference[:, :, 0], reference[:, :, 3] - reference[:, :, 0]  # [b, m, 2]
    size = axis.square().sum(-1).clamp_min(1e-8)[..., None, None]
    dx, dy = (here - start[..., None, None]).unbind(2)  # [b, m, rows, columns]
    ax, ay = (a[..., None, None] for a in axis.unbind(-1))
    along, across = (dx * ax + dy * ay) / size, (dy * ax - dx * ay) / size
    arc = (1 - (2 * along - 1).square()).clamp_min(0).sqrt()
    (up, low), (up_reference, low_reference) = _lids(eye), _lids(reference)
    limits = (-ABOVE - up_reference.relu(), BELOW + low_reference.relu())
    target = [limits[0] * arc, -up * arc, torch.maximum(low, -up) * arc, limits[1] * arc]
    origin = [limits[0] * arc, -up_reference * arc, torch.maximum(low_reference, -up_reference) * arc, limits[1] * arc]
    moved = across
    for a, b, c, d in zip(target, target[1:], origin, origin[1:], strict=False):
        inside = (across >= a) & (across < b) & whole[..., None, None]
        moved = torch.where(inside, c + (across - a) * (d - c) / (b - a).clamp_min(1e-6), moved)
    step = moved - across
    here += torch.stack([-step * ay, step * ax], 2)


def _lids(eye: Tensor) -> tuple[Tensor, Tensor]:  # [b, m, 6, 2]
    """How far the upper arc rises above the line of the corners, and the lower one sinks below it, in the eye's width.

    Two tensors [b, m, 1, 1].
    """
    start, axis = eye[:, :, :1], eye[:, :, 3:4] - eye[:, :, :1]
    dx, dy = (eye - start).unbind(-1)
    across = (dy * axis[..., 0] - dx * axis[..., 1]) / (axis.square().sum(-1).clamp_min(1e-8) * ARC_AT_LIDS)
    up, low = -across[:, :, 1:3].mean(-1)[..., None, None], across[:, :, 4:6].mean(-1)[..., None, None]
    margin = MARGIN * (up + low).relu()
    return up + margin, low + margin
