"""The local mask: which tokens of each frame show the face, hands, arms, body and shoulders, read from the pose alone.

Paper, section 3.2: token i of one frame may attend token j of another only if some region holds both. Every
region is a set of parts, every part the convex hull of some keypoints, made thicker by a share of the
shoulder width and by half a token. Two methods place the parts:

- "mls": the hull is drawn once, on the reference pose, and each token of each frame is carried to the
  reference pose by rigid moving least squares (Schaefer, McPhail and Warren 2006) with the part's keypoints
  as control points. The warp has a closed form in complex numbers: with weights w_i = 1 / |p_i - v|^2,
  weighted means p*, q* of the keypoints in the frame and in the reference, and c = sum w_i conj(p_i - p*)
  (q_i - q*), token v comes from q* + (c / |c|) (v - p*).
- "hull": the hull is drawn anew from each frame's keypoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from iasa.config import InputError
from iasa.grid import TokenGrid
from iasa.keypoints import (
    FACE,
    LEFT_ELBOW,
    LEFT_HAND,
    LEFT_HIP,
    LEFT_SHOULDER,
    LEFT_WRIST,
    REGIONS,
    RIGHT_ELBOW,
    RIGHT_HAND,
    RIGHT_HIP,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
    Keypoints,
)

METHODS = ("mls", "hull")


@dataclass(frozen=True)
class Part:
    """A piece of a region: the convex hull of `points`, thickened by `radius` shoulder widths."""

    region: str
    points: tuple[int, ...]
    radius: float
    fewest: int  # the part is absent where fewer of its points are seen


_EYES_AND_NOSE = (0, 1, 2)
_OUTLINE = tuple(range(FACE.start, FACE.start + 27))  # jaw and brows

PARTS = (
    Part("face", _OUTLINE + _EYES_AND_NOSE, radius=0.12, fewest=2),
    Part("hands", tuple(range(LEFT_HAND.start, LEFT_HAND.stop)), radius=0.05, fewest=5),
    Part("hands", tuple(range(RIGHT_HAND.start, RIGHT_HAND.stop)), radius=0.05, fewest=5),
    Part("arms", (LEFT_SHOULDER, LEFT_ELBOW), radius=0.14, fewest=2),
    Part("arms", (LEFT_ELBOW, LEFT_WRIST), radius=0.11, fewest=2),
    Part("arms", (RIGHT_SHOULDER, RIGHT_ELBOW), radius=0.14, fewest=2),
    Part("arms", (RIGHT_ELBOW, RIGHT_WRIST), radius=0.11, fewest=2),
    Part("body", (LEFT_SHOULDER, RIGHT_SHOULDER, RIGHT_HIP, LEFT_HIP), radius=0.08, fewest=4),
    Part("shoulders", (LEFT_SHOULDER, RIGHT_SHOULDER), radius=0.2, fewest=2),
)

_TORSO = 1.3  # shoulder widths from shoulder to hip, where a hip is not seen
_USUAL_SHOULDERS = 0.4  # shoulder width in image units where the reference shows none
_DIRECTIONS = 32  # half planes that bound a hull
_CLOSE = 1e-6  # squared distance below which a control point is met: a thousandth of the picture


def region_bits(
    keypoints: Keypoints,  # f frames
    grid: TokenGrid,
    method: str = "mls",
    reference: Keypoints | None = None,
) -> Tensor:
    """Regions of every token: uint8 [f, n], bit r set where the token is in `REGIONS[r]`; background tokens are 0.

    `reference` holds the pose on which mls draws its shapes, by default the frames themselves: a part is
    taken from the first of its frames that shows the part. A part whose keypoints are missing in a frame has
    no tokens there. The grid's number of frames plays no part. Raises InputError on an unknown method.
    """
    if method not in METHODS:
        raise InputError(f"region method is {method!r}; {' or '.join(METHODS)} is accepted")
    reference = keypoints if reference is None else reference
    if not len(reference):
        raise InputError("the reference pose has no frames; at least 1 is needed")
    bits = torch.zeros(len(keypoints), grid.tokens_per_frame, dtype=torch.uint8)
    if not len(keypoints):
        return bits
    scale = _shoulder_width(reference)
    xy, confidence = _with_hips(keypoints, scale)
    reference_xy, reference_confidence = _with_hips(reference, scale)
    tokens = torch.from_numpy(grid.centres())  # [n, 2]
    half_token = 0.5 * max(1 / grid.rows, 1 / grid.cols)

    for part in PARTS:
        index = list(part.points)
        points, weight = xy[:, index], confidence[:, index]  # [f, p, 2], [f, p]
        reach = part.radius * scale + half_token
        present = (weight > 0).sum(1) >= part.fewest  # [f]
        if method == "mls":
            shown = ((reference_confidence[:, index] > 0).sum(1) >= part.fewest).nonzero()
            if not len(shown):
                continue
            first = int(shown[0])
            shape, shape_weight = reference_xy[first, index], reference_confidence[first, index]
            weight = weight * shape_weight
            present = (weight > 0).sum(1) >= part.fewest
            where = warp_rigid(tokens, points, shape.expand_as(points), weight)  # [f, n, 2]
            inside = _inside(where, shape[None], shape_weight[None] > 0, reach)  # [f, n]
        else:
            inside = _inside(tokens[None], points, weight > 0, reach)
        inside &= present[:, None]
        bits |= inside.to(torch.uint8) << REGIONS.index(part.region)
    return bits


def warp_rigid(
    places: Tensor,  # [n, 2]
    source: Tensor,  # [f, p, 2] control points where the places are
    target: Tensor,  # [f, p, 2] control points where the places go
    weight: Tensor,  # [f, p], 0 switches a control point off
) -> Tensor:
    """Rigid moving least squares (Schaefer et al. 2006, section 2.3, alpha = 1): places carried along, [f, n, 2].

    The warp takes every control point of `source` to its mate in `target`, and is the motion itself if all
    mates are related by one rotation and translation.
    """
    used = weight[..., None]
    total = used.sum(1, keepdim=True).clamp_min(1e-12)
    source_mean, target_mean = (
        (used * source).sum(1, keepdim=True) / total,
        (used * target).sum(1, keepdim=True) / total,
    )
    p, q = source - source_mean, target - target_mean  # [f, p, 2], centred: float32 then keeps its digits
    v = places - source_mean  # [f, n, 2]

    # w [f, n, p]; the sums over control points that the closed form needs are one product with seven columns.
    distance = torch.baddbmm(v.square().sum(-1, keepdim=True), v, p.transpose(1, 2), alpha=-2)
    distance += p.square().sum(-1)[:, None]
    w = distance.clamp_min_(_CLOSE).reciprocal_().mul_(weight[:, None])
    (px, py), (qx, qy) = p.unbind(-1), q.unbind(-1)
    columns = torch.stack([torch.ones_like(px), px, py, qx, qy, px * qx + py * qy, px * qy - py * qx], dim=-1)
    sums = w @ columns  # [f, n, 7]
    mean = sums[..., 1:] / sums[..., :1].clamp_min(1e-12)
    p_mean_x, p_mean_y, q_mean_x, q_mean_y, dot, turn = mean.unbind(-1)
    dot = dot - (p_mean_x * q_mean_x + p_mean_y * q_mean_y)  # real part of c / sum w
    turn = turn - (p_mean_x * q_mean_y - p_mean_y * q_mean_x)  # imaginary part
    length = torch.hypot(dot, turn)
    still = length < 1e-12  # one control point, or all in one place: no rotation
    cos = torch.where(still, 1.0, dot / length.clamp_min(1e-12))
    sin = torch.where(still, 0.0, turn / length.clamp_min(1e-12))
    x, y = v[..., 0] - p_mean_x, v[..., 1] - p_mean_y
    moved = torch.stack([cos * x - sin * y + q_mean_x, sin * x + cos * y + q_mean_y], dim=-1)
    return moved + target_mean


def _inside(places: Tensor, points: Tensor, seen: Tensor, reach: float) -> Tensor:
    """Whether places [f or 1, n, 2] lie within `reach` of the convex hull of points [f or 1, p, 2]: bool [f, n].

    Two points: the exact distance from the segment. More: `_DIRECTIONS` half planes that touch the hull.
    """
    if points.shape[1] == 2:
        start, along = points[:, :1], points[:, 1:] - points[:, :1]  # [f, 1, 2]
        share = ((places - start) * along).sum(-1, keepdim=True) / along.square().sum(
            -1, keepdim=True
        ).clamp_min(1e-12)
        away = places - start - share.clamp(0, 1) * along
        return away.square().sum(-1) <= reach**2
    angle = torch.arange(_DIRECTIONS, dtype=places.dtype) * (2 * math.pi / _DIRECTIONS)
    directions = torch.stack([angle.cos(), angle.sin()])  # [2, directions]
    extent = (points @ directions).masked_fill(~seen[..., None], -torch.inf).amax(1)  # [f, directions]
    return ((places @ directions) <= extent[:, None] + reach).all(-1)


def _shoulder_width(reference: Keypoints) -> float:
    """Shoulder width of the first frame that shows both shoulders, image units."""
    pair = [LEFT_SHOULDER, RIGHT_SHOULDER]
    shown = (reference.confidence[:, pair] > 0).all(1).nonzero()[0]
    if not len(shown):
        return _USUAL_SHOULDERS
    left, right = reference.xy[shown[0], pair]
    return max(float(math.dist(left, right)), 0.05)


def _with_hips(keypoints: Keypoints, scale: float) -> tuple[Tensor, Tensor]:
    """Coordinates and confidences where a hip that is not seen stands straight below its shoulder, across the shoulder line."""
    xy, confidence = torch.from_numpy(keypoints.xy.copy()), torch.from_numpy(keypoints.confidence.copy())
    across = xy[:, LEFT_SHOULDER] - xy[:, RIGHT_SHOULDER]
    across = across / across.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    down = torch.stack([-across[:, 1], across[:, 0]], dim=-1)  # the person's left is the picture's right
    down = torch.where(down[:, 1:] < 0, -down, down)
    both = confidence[:, [LEFT_SHOULDER, RIGHT_SHOULDER]].amin(1)
    for shoulder, hip in ((LEFT_SHOULDER, LEFT_HIP), (RIGHT_SHOULDER, RIGHT_HIP)):
        missing = confidence[:, hip] <= 0
        xy[missing, hip] = (xy[:, shoulder] + _TORSO * scale * down)[missing]
        confidence[missing, hip] = both[missing]
    return xy, confidence
