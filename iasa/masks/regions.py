"""The local mask: which tokens of a frame show the face, hands, arms, body and shoulders, read from the pose.

Paper, section 3.2: token i of one frame may attend token j of another only if some region holds both. Every
region is a set of parts, every part the convex hull of some keypoints, made thicker by a share of the
shoulder width and by half a token. Three methods place the parts:

- "mls": the hull is drawn once, on the reference pose, and each token of each frame is carried to the
  reference pose by rigid moving least squares (Schaefer, McPhail and Warren 2006) with the part's keypoints
  as control points (`iasa.warp.moving_least_squares`, which has the formula).
- "hull": the hull is drawn anew from each frame's keypoints.
- "body": the same, but arms and hands are their bones, as wide as where the warp cuts them out
  (`iasa.warp.limb_widths`; a forearm, which the warp tapers, by the mean): the gaps between spread fingers stay outside.
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
from iasa.warp.limb_widths import FINGER, FINGERS, FOREARM, PALM, PALM_BONES, UPPER_ARM, WRIST
from iasa.warp.moving_least_squares import moving_least_squares

METHODS = ("mls", "hull", "body")


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
_ARMS = ((LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST), (RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST))
BODY_PARTS = (
    *(part for part in PARTS if part.region not in ("hands", "arms")),
    *(
        Part("hands", (hand.start + a, hand.start + b), radius, fewest=2)
        for hand in (LEFT_HAND, RIGHT_HAND)
        for bones, radius in ((PALM_BONES, PALM), (FINGERS, FINGER))
        for a, b in bones
    ),
    *(Part("arms", (shoulder, elbow), UPPER_ARM, fewest=2) for shoulder, elbow, _ in _ARMS),
    *(Part("arms", (elbow, wrist), (FOREARM + WRIST) / 2, fewest=2) for _, elbow, wrist in _ARMS),
)

TORSO = 1.3  # shoulder widths from shoulder to hip, where a hip is not seen
USUAL_SHOULDERS = 0.4  # shoulder width in image units where the reference shows none
NARROWEST_SHOULDERS = 0.05  # of a person seen from the side
DIRECTIONS = 32  # half planes that bound a hull
_CHUNK = 4096  # tokens handled at once, so that the work stays in the cache
EXPONENT, SOFTENING = 1, 1e-8  # of the warp: a control point is met within a ten thousandth of the picture


def region_bits(
    keypoints: Keypoints,  # f frames
    grid: TokenGrid,
    method: str = "mls",
    reference: Keypoints | None = None,
) -> Tensor:
    """Regions of every token: uint8 [f, n], bit r set where it is in `REGIONS[r]`; background tokens are 0.

    `reference` holds the pose on which mls draws its shapes, and whose shoulders give the scale: a part is taken
    from the first of its frames that shows the part. By default it is the frames themselves, each and those before
    it. A part whose keypoints are missing in a frame has no tokens there. The grid's number of frames plays no part.
    Raises InputError on an unknown method.
    """
    if method not in METHODS:
        raise InputError(f"region method is {method!r}; {' or '.join(METHODS)} is accepted")
    if reference is None:
        first = _first_shoulders(keypoints)
        if first is not None and first > 0:  # the frames before know nothing of this width
            early, rest = keypoints[:first], keypoints[first:]
            return torch.cat([region_bits(early, grid, method), region_bits(rest, grid, method, keypoints)])
        reference = keypoints
    if not len(reference):
        raise InputError("the reference pose has no frames; at least 1 is needed")
    bits = torch.zeros(len(keypoints), grid.tokens_per_frame, dtype=torch.uint8)
    keypoints, reference = (scale_keypoints(part, grid.extent) for part in (keypoints, reference))
    scale = _shoulder_width(reference)
    poses, reference_poses = _with_hips(keypoints, scale), _with_hips(reference, scale)
    tokens = torch.from_numpy(grid.centres() * grid.extent)  # [n, 2]
    frames = max(1, _CHUNK // len(tokens))
    half_token = 0.5 * max(grid.extent / (grid.cols, grid.rows))
    for part in BODY_PARTS if method == "body" else PARTS:
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
    seen = _with_hips(keypoints, USUAL_SHOULDERS).confidence > 0
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
    """Places carried by `moving_least_squares` with weights 1 / distance^2: [f, n, 2].

    The warp takes every control point of `source` to its mate in `target`, and is the motion itself if all
    mates are related by one rotation and translation.
    """
    total = weight.sum(1)[:, None, None].clamp_min(1e-12)
    source_mean, target_mean = ((weight[..., None] * x).sum(1, keepdim=True) / total for x in (source, target))
    centred = places - source_mean, source - source_mean, target - target_mean  # so that float32 keeps its digits
    return moving_least_squares(*centred, weight, EXPONENT, SOFTENING) + target_mean


def _inside(places: Tensor, points: Tensor, seen: Tensor, reach: float) -> Tensor:
    """Whether places [f or 1, n, 2] are within `reach` of the hull of points [f or 1, p, 2]: bool [f, n].

    Two points: the exact distance from the segment. More: `DIRECTIONS` half planes that touch the hull, a shape that
    reaches beyond the hull's corners by at most 0.026 of the picture (up to 3 % more tokens on a coarse grid).
    """
    if points.shape[1] == 2:
        start, along = points[:, :1], points[:, 1:] - points[:, :1]  # [f, 1, 2]
        share = ((places - start) * along).sum(-1, keepdim=True)
        share = (share / along.square().sum(-1, keepdim=True).clamp_min(1e-12)).clamp(0, 1)
        return (places - start - share * along).square().sum(-1) <= reach**2
    angle = torch.arange(DIRECTIONS, dtype=places.dtype) * (2 * math.pi / DIRECTIONS)
    directions = torch.stack([angle.cos(), angle.sin()], dim=1)  # [directions, 2]
    extent = (points @ directions.T).masked_fill(~seen[..., None], -torch.inf).amax(1)  # [f, directions]
    beyond = directions @ places.transpose(1, 2) - extent[..., None]  # [f, directions, n]
    return beyond.amax(1) <= reach


def _first_shoulders(poses: Keypoints) -> int | None:
    """The first frame that shows both shoulders."""
    shown = (poses.confidence[:, [LEFT_SHOULDER, RIGHT_SHOULDER]] > 0).all(1).nonzero()[0]
    return int(shown[0]) if len(shown) else None


def _shoulder_width(reference: Keypoints) -> float:
    """Shoulder width of the first frame that shows both shoulders, image units."""
    first = _first_shoulders(reference)
    if first is None:
        return USUAL_SHOULDERS
    return max(float(math.dist(*reference.xy[first, [LEFT_SHOULDER, RIGHT_SHOULDER]])), NARROWEST_SHOULDERS)


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
        xy[missing, hip] = (xy[:, shoulder] + TORSO * scale * down)[missing]
        confidence[missing, hip] = both[missing]
    return _Poses(xy, confidence)
