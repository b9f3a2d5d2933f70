"""The local mask: which tokens of a frame show the face, hands, arms, body and shoulders, read from the pose.

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
from typing import NamedTuple

import numpy as np
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
    scale_keypoints,
)

METHODS = ("mls", "hull")


@dataclass(frozen=True)
class Part:
    """A piece of a region: the convex hull of `points`, thickened by `radius` shoulder widths."""

    region: str
    points: tuple[int, ...]
    radius: float
    fewest: int  # the part is absent where fewer of its points are seen


class _Poses(NamedTuple):
    xy: Tensor  # float32 [f, 133, 2]
    confidence: Tensor  # float32 [f, 133]


_EYES_AND_NOSE = (0, 1, 2)
_OUTLINE = tuple(range(FACE.start, FACE.start + 27))  # jaw and brows

PARTS = (
    Part("face", _OUTLINE + _EYES_AND_NOSE, radius=0.1, fewest=2),
    Part("hands", tuple(range(LEFT_HAND.start, LEFT_HAND.stop)), radius=0.05, fewest=5),
    Part("hands", tuple(range(RIGHT_HAND.start, RIGHT_HAND.stop)), radius=0.05, fewest=5),
    Part("arms", (LEFT_SHOULDER, LEFT_ELBOW), radius=0.14, fewest=2),
    Part("arms", (LEFT_ELBOW, LEFT_WRIST), radius=0.11, fewest=2),
    Part("arms", (RIGHT_SHOULDER, RIGHT_ELBOW), radius=0.14, fewest=2),
    Part("arms", (RIGHT_ELBOW, RIGHT_WRIST), radius=0.11, fewest=2),
    Part("body", (LEFT_SHOULDER, RIGHT_SHOULDER, RIGHT_HIP, LEFT_HIP), radius=0.08, fewest=4),
    Part("shoulders", (LEFT_SHOULDER, RIGHT_SHOULDER), radius=0.13, fewest=2),
)

_TORSO = 1.3  # shoulder widths from shoulder to hip, where a hip is not seen
_USUAL_SHOULDERS = 0.4  # shoulder width in image units where the reference shows none
_DIRECTIONS = 32  # half planes that bound a hull
_CHUNK = 4096  # tokens handled at once, so that the work stays in the cache
_CLOSE = 1e-6  # squared distance below which a control point is met: a thousandth of the picture


def region_bits(
    keypoints: Keypoints,  # f frames
    grid: TokenGrid,
    method: str = "mls",
    reference: Keypoints | None = None,
) -> Tensor:
    """Regions of every token: uint8 [f, n], bit r set where it is in `REGIONS[r]`; background tokens are 0.

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
    keypoints, reference = (scale_keypoints(part, grid.extent) for part in (keypoints, reference))
    scale = _shoulder_width(reference)
    poses, reference_poses = _with_hips(keypoints, scale), _with_hips(reference, scale)
    tokens = torch.from_numpy(grid.centres() * grid.extent)  # [n, 2]
    frames = max(1, _CHUNK // len(tokens))
    half_token = 0.5 * max(grid.extent / (grid.cols, grid.rows))
    for part in PARTS:
        index = list(part.points)
        shape = _first_seen(part, reference_poses) if method == "mls" else None
        if method == "mls" and shape is None:
            continue
        for start in range(0, len(keypoints), frames):
            chunk = slice(start, start + frames)
            points, weight = poses.xy[chunk, index], poses.confidence[chunk, index]  # [f, p, 2], [f, p]
            inside = _part_tokens(part, tokens, points, weight, shape, part.radius * scale + half_token)
            bits[chunk] |= inside.to(torch.uint8) << REGIONS.index(part.region)
    return bits


def parts_shown(keypoints: Keypoints) -> np.ndarray:
    """Whether each frame shows enough points of each of PARTS: bool [f, parts]."""
    seen = _with_hips(keypoints, _USUAL_SHOULDERS).confidence > 0
    return torch.stack([seen[:, list(part.points)].sum(1) >= part.fewest for part in PARTS], 1).numpy()


def _part_tokens(
    part: Part,
    tokens: Tensor,  # [n, 2]
    points: Tensor,  # [f, p, 2]
    weight: Tensor,  # [f, p]
    shape: tuple[Tensor, Tensor] | None,  # the part's points [1, p, 2] and weights [1, p] in the reference, for mls
    reach: float,
) -> Tensor:
    """Tokens of one part: bool [f, n]."""
    if shape is None:
        inside = _inside(tokens[None], points, weight > 0, reach)
    else:
        target, target_weight = shape
        weight = weight * target_weight
        where = warp_rigid(tokens, points, target.expand_as(points), weight)  # [f, n, 2]
        inside = _inside(where, target, target_weight > 0, reach)
    return inside & ((weight > 0).sum(1) >= part.fewest)[:, None]


def _first_seen(part: Part, poses: _Poses) -> tuple[Tensor, Tensor] | None:
    """Points [1, p, 2] and weights [1, p] of the first frame that shows the part."""
    index = list(part.points)
    seen = ((poses.confidence[:, index] > 0).sum(1) >= part.fewest).nonzero()
    if not len(seen):
        return None
    first = int(seen[0])
    return poses.xy[first : first + 1, index], poses.confidence[first : first + 1, index]


def warp_rigid(
    places: Tensor,  # [n, 2]
    source: Tensor,  # [f, p, 2] control points where the places are
    target: Tensor,  # [f, p, 2] control points where the places go
    weight: Tensor,  # [f, p], 0 switches a control point off
) -> Tensor:
    """Places carried by rigid moving least squares (Schaefer et al. 2006, alpha = 1): [f, n, 2].

    The warp takes every control point of `source` to its mate in `target`, and is the motion itself if all
    mates are related by one rotation and translation.
    """
    used = weight[..., None]
    total = used.sum(1, keepdim=True).clamp_min(1e-12)
    source_mean = (used * source).sum(1, keepdim=True) / total  # [f, 1, 2]
    target_mean = (used * target).sum(1, keepdim=True) / total
    p, q = source - source_mean, target - target_mean  # centred, so that float32 keeps its digits
    v = (places - source_mean).transpose(1, 2)  # [f, 2, n]

    # w [f, p, n]. The sums over control points that the closed form needs are one product with seven rows.
    distance = torch.baddbmm(v.square().sum(1, keepdim=True), p, v, alpha=-2)
    distance += p.square().sum(-1, keepdim=True)
    w = distance.clamp_min_(_CLOSE).reciprocal_().mul_(used)
    (px, py), (qx, qy) = p.unbind(-1), q.unbind(-1)
    rows = torch.stack([torch.ones_like(px), px, py, qx, qy, px * qx + py * qy, px * qy - py * qx], dim=1)
    sums = rows @ w  # [f, 7, n]
    mean = sums[:, 1:] / sums[:, :1].clamp_min(1e-12)
    p_mean_x, p_mean_y, q_mean_x, q_mean_y, real, imaginary = mean.unbind(1)  # each [f, n]
    real = real - (p_mean_x * q_mean_x + p_mean_y * q_mean_y)  # c / sum w
    imaginary = imaginary - (p_mean_x * q_mean_y - p_mean_y * q_mean_x)
    length = torch.hypot(real, imaginary)
    still = length < 1e-12  # one control point, or all in one place: no rotation
    cos = torch.where(still, 1.0, real / length.clamp_min(1e-12))
    sin = torch.where(still, 0.0, imaginary / length.clamp_min(1e-12))
    x, y = v[:, 0] - p_mean_x, v[:, 1] - p_mean_y
    moved = torch.stack([cos * x - sin * y + q_mean_x, sin * x + cos * y + q_mean_y], dim=-1)
    return moved + target_mean


def _inside(places: Tensor, points: Tensor, seen: Tensor, reach: float) -> Tensor:
    """Whether places [f or 1, n, 2] are within `reach` of the hull of points [f or 1, p, 2]: bool [f, n].

    Two points: the exact distance from the segment. More: `_DIRECTIONS` half planes that touch the hull.
    """
    if points.shape[1] == 2:
        start, along = points[:, :1], points[:, 1:] - points[:, :1]  # [f, 1, 2]
        share = ((places - start) * along).sum(-1, keepdim=True)
        share = (share / along.square().sum(-1, keepdim=True).clamp_min(1e-12)).clamp(0, 1)
        return (places - start - share * along).square().sum(-1) <= reach**2
    angle = torch.arange(_DIRECTIONS, dtype=places.dtype) * (2 * math.pi / _DIRECTIONS)
    directions = torch.stack([angle.cos(), angle.sin()], dim=1)  # [directions, 2]
    extent = (points @ directions.T).masked_fill(~seen[..., None], -torch.inf).amax(1)  # [f, directions]
    beyond = directions @ places.transpose(1, 2) - extent[..., None]  # [f, directions, n]
    return beyond.amax(1) <= reach


def _shoulder_width(reference: Keypoints) -> float:
    """Shoulder width of the first frame that shows both shoulders, image units."""
    pair = [LEFT_SHOULDER, RIGHT_SHOULDER]
    shown = (reference.confidence[:, pair] > 0).all(1).nonzero()[0]
    if not len(shown):
        return _USUAL_SHOULDERS
    left, right = reference.xy[shown[0], pair]
    return max(float(math.dist(left, right)), 0.05)


def _with_hips(keypoints: Keypoints, scale: float) -> _Poses:
    """Coordinates and confidences in which a hip that is not seen stands square below its shoulder."""
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
    return _Poses(xy, confidence)
