"""The reference picture warped to a pose by rigid moving least squares: a prior of the frame, made without a network.

The paper carries its regions through the body by this warp (section 3.2, after Schaefer et al. 2006); here it carries
the reference's pixels too, so that the transformer need not learn to shift codes of 16 x 16 pixels by a fraction of
their size. Arms and hands are cut out of the picture and the hole is filled, clothes from clothes and the wall
from the wall; head and shoulders warp what is left, and the eyelids, too fine for the warp's cells, are drawn over the
eyes as far as the pose closes them; arms and hands are laid over it by a piecewise rigid limb warp
(`iasa.warp.limb_warp`). What the reference does not show (the inside of a mouth, the buttons behind a hand) is left to
the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from iasa import keypoints as kp
from iasa.device import constant
from iasa.warp.eyelids import CELLS, EYES, LIDS, move_lids
from iasa.warp.inpainting import fill_holes
from iasa.warp.limb_warp import cover_arm, measure_arm, paint_arm
from iasa.warp.moving_least_squares import moving_least_squares

EXPONENT, SOFTENING = 2, 1e-4  # weights are distance^-4, beyond a hundredth of the picture
ANCHORS = 13  # points that stay put on each side of the picture, so that the background does
HOLD = 3.0  # weight of each of them; a face has 68 points
CALM = (kp.NOSE, 1, 2, kp.LEFT_EAR, kp.RIGHT_EAR, kp.LEFT_SHOULDER, kp.RIGHT_SHOULDER, kp.LEFT_HIP, kp.RIGHT_HIP,
        *(i for i in range(kp.FACE.start, kp.FACE.stop) if i not in LIDS))  # fmt: skip
ARMS = (  # the points of each hand, its elbow and its shoulder
    (*range(kp.LEFT_HAND.start, kp.LEFT_HAND.stop), kp.LEFT_ELBOW, kp.LEFT_SHOULDER),
    (*range(kp.RIGHT_HAND.start, kp.RIGHT_HAND.stop), kp.RIGHT_ELBOW, kp.RIGHT_SHOULDER),
)
OUTER = (1, -1)  # the side of each upper arm that is away from the trunk: to the left of shoulder -> elbow, or right
CUT = 1.15  # by how much wider arms and hands are cut out than their pieces may be
STUB = 0.2  # of an upper arm, from the shoulder, that is not cut out: the root of its piece is laid over it
# The trunk's width, in distances between the shoulders, so many of them below the shoulders.
FLANKS = ((0.1, 1.05), (0.3, 0.97), (0.5, 0.92), (0.9, 0.86), (1.05, 0.87), (1.3, 0.95))
UNSURE = 0.06  # of that width, on both sides of the trunk's edge: neither clothes nor wall are taken from there


def warp_reference(
    image: Tensor,  # [b, 3, H, W] the reference picture
    reference_xy: Tensor,  # [b, 133, 2] its pose, image units
    reference_confidence: Tensor,  # [b, 133]
    xy: Tensor,  # [b, m, 133, 2] the poses to warp it to
    confidence: Tensor,  # [b, m, 133]
) -> Tensor:  # [b, m, 3, H, W]
    """One warped picture for each pose. A point unseen in either pose pulls at nothing."""
    return ReferenceWarp(image, reference_xy, reference_confidence)(xy, confidence)


class ReferenceWarp:
    """`warp_reference` for poses that come bit by bit: the arms are cut out of the picture once."""

    def __init__(self, image: Tensor, xy: Tensor, confidence: Tensor) -> None:
        """The reference picture [b, 3, H, W] and its pose [b, 133, 2] in image units, [b, 133]."""
        self.image, self.xy, self.confidence = image, xy.float(), confidence
        with torch.autocast(image.device.type, enabled=False):
            behind = self._fill_behind_arms()
            arms = self._cover_arms(STUB)
            self.without_arms = self.image.float() * (1 - arms) + behind * arms
            self.widths = [
                measure_arm(self.image.float(), behind, self.xy[:, arm], outer)
                for arm, outer in zip(ARMS, OUTER, strict=True)
            ]

    def _fill_behind_arms(self) -> Tensor:  # [b, 3, H, W]
        """The picture as it goes on where arms are."""
        image, no_arms, size = self.image.float(), 1 - self._cover_arms(0.0), self.image.shape[-1]
        trunk, clothes, person = (
            _cover_trunk(self.xy, self.confidence, size, grow, above)[:, None]
            for grow, above in ((1, 0), (1 - UNSURE, 0), (1 + UNSURE, 1))
        )
        return trunk * fill_holes(image, no_arms * clothes) + (1 - trunk) * fill_holes(image, no_arms * (1 - person))

    def _cover_arms(self, start: float) -> Tensor:  # [b, 1, H, W]
        """1 on both arms and hands, upper arms from there on."""
        covers = [cover_arm(self.xy[:, arm], self.confidence[:, arm], self.image.shape[-1], CUT, start) for arm in ARMS]
        return torch.maximum(*covers)[:, None]

    def __call__(self, xy: Tensor, confidence: Tensor) -> Tensor:
        """Poses [b, m, 133, 2], [b, m, 133] -> warped pictures [b, m, 3, H, W]."""
        with torch.autocast(self.image.device.type, enabled=False):  # sums of squares cancel: float32 is needed
            return self._bend(xy.float(), confidence)

    def _bend(self, xy: Tensor, confidence: Tensor) -> Tensor:
        b, m = xy.shape[:2]
        reference_xy = self.xy[:, None].expand(-1, m, -1, -1)
        seen = ((self.confidence[:, None] > 0) & (confidence > 0)).float()  # [b, m, 133]
        edge = anchor_points(xy.device).expand(b, m, -1, -1)
        calm, *eyes = (constant(points, xy.device, torch.int64) for points in (CALM, *EYES))
        controls, images = (torch.cat([points[:, :, calm], edge], 2) for points in (xy, reference_xy))
        weights = torch.cat([seen[:, :, calm], seen.new_full(edge.shape[:-1], HOLD)], 2)
        where = _places(controls, images, weights, self.image.shape[-1])
        for eye in eyes:
            move_lids(where, xy[:, :, eye], reference_xy[:, :, eye], seen[:, :, eye])
        warped = _read(self.without_arms, where)
        for points, widths in zip(ARMS, self.widths, strict=True):
            arm = constant(points, xy.device, torch.int64)
            paint_arm(warped, self.image, self.xy[:, arm], xy[:, :, arm], seen[:, :, arm], widths)
        return warped.to(self.image.dtype)


def _cover_trunk(
    xy: Tensor,  # [b, 133, 2]
    confidence: Tensor,  # [b, 133]
    size: int,
    grow: float = 1.0,
    above: float = 0.0,  # the shoulders, image units
) -> Tensor:  # [b, size, size]
    """1 on the trunk, drawn `grow` times as wide, from the shoulders towards the hips (straight down where hips are unseen)."""
    left, right = xy[:, kp.LEFT_SHOULDER], xy[:, kp.RIGHT_SHOULDER]
    middle, across = (left + right) / 2, left - right
    hips = [kp.LEFT_HIP, kp.RIGHT_HIP]
    has_hips = (confidence[:, hips].amin(-1) > 0)[:, None]
    down = torch.where(has_hips, xy[:, hips].mean(1) - middle, torch.stack([-across[:, 1], across[:, 0]], -1))
    ux, uy = F.normalize(down, dim=-1)[..., None, None].unbind(1)  # [b, 1, 1]
    pixels = (torch.arange(size, device=xy.device) + 0.5) / size
    dx, dy = pixels - middle[:, :1, None], pixels[:, None] - middle[:, 1:, None]
    along, beside = dx * ux + dy * uy, (dy * ux - dx * uy).abs()
    apart = across.norm(dim=-1).clamp_min(1e-6)[:, None, None]
    half = _interpolate(along / apart, FLANKS) * apart * grow / 2
    return ((half - beside) * size + 0.5).clamp(0, 1) * (along > -above)


def _interpolate(x: Tensor, knots: Sequence[tuple[float, float]]) -> Tensor:
    """The polygon through knots (x, y); level before the first and after the last."""
    out = torch.full_like(x, knots[0][1])
    for (a, low), (b, high) in pairwise(knots):
        out += ((x - a) / (b - a)).clamp(0, 1) * (high - low)
    return out


def _places(
    controls: Tensor,  # [b, m, p, 2]
    images: Tensor,  # [b, m, p, 2]
    weights: Tensor,  # [b, m, p]
    side: int,
) -> Tensor:  # [b, m, 2, side, side]
    """Where each pixel of a picture of `side` pixels comes from, in image units."""
    middles = (torch.arange(CELLS, device=controls.device) + 0.5) / CELLS
    cells = torch.stack(torch.meshgrid(middles, middles, indexing="xy"), -1).view(-1, 2)
    found = moving_least_squares(cells, controls, images, weights, EXPONENT, SOFTENING)  # [b, m, cells, 2]
    return _enlarge(found.unflatten(2, (CELLS, CELLS)).movedim(-1, 2), side)


def _read(image: Tensor, where: Tensor) -> Tensor:  # [b, 3, H, W], [b, m, 2, rows, columns] -> [b, m, 3, rows, columns]
    b, m = where.shape[:2]
    grid = (where * 2 - 1).flatten(0, 1).movedim(1, -1)
    pictures = image[:, None].expand(-1, m, -1, -1, -1).flatten(0, 1).float()
    warped = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.unflatten(0, (b, m))


def _enlarge(values: Tensor, size: int) -> Tensor:  # [..., n, n] -> [..., size, size]
    """Bilinear interpolation as two matrix products, several times faster than torch's call on two channels."""
    stretch = _interpolation(values.shape[-1], size, values.device)
    return stretch @ values @ stretch.T


@lru_cache(maxsize=128)
def _interpolation(cells: int, size: int, device: torch.device) -> Tensor:  # [size, cells]
    with torch.inference_mode(False):
        return F.interpolate(torch.eye(cells, device=device)[None], size, mode="linear", align_corners=False)[0].T


def anchor_points(device: torch.device | None = None) -> Tensor:
    """Points along the picture's border: [4 (ANCHORS - 1), 2]."""
    s = torch.linspace(0, 1, ANCHORS, device=device)[:-1]
    zero, one = torch.zeros_like(s), torch.ones_like(s)
    return torch.cat([torch.stack(p, -1) for p in ((s, zero), (one, s), (1 - s, one), (zero, 1 - s))])
