"""Keypoints as the networks see them: for every token or cell, where each keypoint lies relative to it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from iasa import keypoints as kp

VISIBLE = (*range(kp.NOSE, kp.RIGHT_HIP + 1), *range(kp.FACE.start, kp.COUNT))  # legs and feet are out of the picture
GAIN = 8.0  # of the field: its weights start at zero, and Adam's steps should move it at once
REACH = 1.2  # tokens: the deviation of the Gaussian window in which a token feels a keypoint
FAR = 6.0  # tokens across or down from a keypoint at which it is no longer felt: there the window is below 4e-6


def window(offset: Tensor) -> Tensor:
    """The Gaussian window along one axis, cut off at FAR: products of what lies beyond are denormal numbers, for which
    processors take a hundred times as long."""
    return torch.exp(-offset.square() / (2 * REACH**2)) * (offset.abs() < FAR)


class PoseEmbedding(nn.Module):
    """Poses of the video frames of a latent frame -> token features and one summary vector.

    A token feels keypoint p at offset (dx, dy), in token sides, through g, g dx and g dy with g = confidence *
    exp(-(dx^2 + dy^2) / (2 REACH^2)): sub-pixel positions survive, and nothing is drawn. The summary sees all
    keypoints, once in the picture's frame and the face once more in its own.
    """

    centres: Tensor  # [n, 2] of the tokens
    sides: Tensor  # [2], tokens across and down
    visible: Tensor  # int64 [p], VISIBLE

    def __init__(self, width: int, rows: int, cols: int, frames: int) -> None:
        super().__init__()
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(cols) + 0.5, indexing="ij")
        self.register_buffer("centres", torch.stack([x, y], -1).view(-1, 2), persistent=False)  # [n, 2]
        self.register_buffer("visible", torch.tensor(VISIBLE), persistent=False)
        self.register_buffer("sides", torch.tensor([float(cols), float(rows)]), persistent=False)
        points = len(VISIBLE)
        face = kp.FACE.stop - kp.FACE.start
        self.token_in = nn.Linear(points * 3 * frames, width)
        self.token_out = nn.Linear(width, width)
        self.summary_in = nn.Linear(frames * (points * 3 + face * 2), width)
        self.summary_out = nn.Linear(width, width)

    def forward(self, xy: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """xy [m, t, 133, 2] in image units, confidence [m, t, 133] -> tokens [m, n, width], summary [m, width]."""
        seen = confidence[:, :, self.visible]  # [m, t, p]
        points = xy[:, :, self.visible]  # [m, t, p, 2]
        offset = points[:, :, None] * self.sides - self.centres[:, None]  # [m, t, n, p, 2]
        near = window(offset).prod(-1) * seen[:, :, None]  # [m, t, n, p]
        felt = torch.stack([near, near * offset[..., 0], near * offset[..., 1]], -1)
        tokens = self.token_in(rearrange(felt, "m t n p a -> m n (t p a)").to(self.token_in.weight.dtype))

        face = xy[:, :, kp.FACE]
        a, b = (corner - kp.FACE.start for corner in kp.EYE_CORNERS)
        scale = (face[:, :, a] - face[:, :, b]).norm(dim=-1).clamp_min(1e-3)[:, :, None, None]
        local = (face - face.mean(2, keepdim=True)) / scale * confidence[:, :, kp.FACE, None]
        whole = (points * 2 - 1).clamp(-2, 2) * seen[..., None]
        summary = torch.cat([whole.flatten(2), seen, local.flatten(2)], -1).flatten(1)
        summary = self.summary_out(F.silu(self.summary_in(summary.to(self.summary_in.weight.dtype))))
        return self.token_out(F.silu(tokens)), summary

    def token_weight(self, xy: Tensor, confidence: Tensor) -> Tensor:
        """How near each token is to a face or hand keypoint, 0..1, and to the mouth, another 0..1 (weights of the loss).

        [m, t, 133, 2] -> [m, n].
        """
        offset = xy[:, :, None] * self.sides - self.centres[:, None]
        near = torch.exp(-offset.square().sum(-1) / 2) * confidence[:, :, None]  # [m, t, n, 133]
        return near[..., kp.FACE.start :].amax((1, 3)) + near[..., list(kp.MOUTH)].amax((1, 3))


class PoseField(nn.Module):
    """Poses of a latent frame's video frames -> a map [m, width, rows, cols], for the decoder.

    The same features as PoseEmbedding's on a fine grid, followed by one linear map. The Gaussian window is a product
    of a function of x and one of y, so a row of the map is one matrix product and the [cells, keypoints] table of
    features never exists.
    """

    visible: Tensor  # int64 [p], VISIBLE

    def __init__(self, width: int, rows: int, cols: int, frames: int) -> None:
        super().__init__()
        self.register_buffer("visible", torch.tensor(VISIBLE), persistent=False)
        self.sides = (cols, rows)
        self.weight = nn.Parameter(torch.zeros(frames * len(VISIBLE) * 3, width))  # starts silent

    def forward(self, xy: Tensor, confidence: Tensor, shape: tuple[int, int] | None = None, origin=None) -> Tensor:
        """xy [m, t, 133, 2] in image units, confidence [m, t, 133] -> [m, width, rows, cols].

        For crops: `shape` (rows, cols) of the part of the map that is wanted and `origin` [m, 2], its first column
        and row, in cells.
        """
        rows, cols = shape or (self.sides[1], self.sides[0])
        points = xy[:, :, self.visible] * xy.new_tensor(self.sides)  # [m, t, p, 2] in cells
        if origin is not None:
            points = points - origin[:, None, None]
        seen = confidence[:, :, self.visible, None]
        dx = points[..., :1] - (torch.arange(cols, device=xy.device) + 0.5)  # [m, t, p, cols]
        dy = points[..., 1:] - (torch.arange(rows, device=xy.device) + 0.5)
        across = window(dx) * seen
        down = window(dy)
        across = torch.stack([across, across * dx, across], 3).flatten(1, 3)  # [m, (t p 3), cols]
        down = torch.stack([down, down, down * dy], 3).flatten(1, 3)  # [m, (t p 3), rows]
        weight = GAIN * self.weight
        kind = torch.get_autocast_dtype(xy.device.type) if torch.is_autocast_enabled(xy.device.type) else weight.dtype
        scaled = rearrange(down.to(kind), "m q r -> m r q 1") * weight.to(kind)  # [m, rows, q, width]
        field = rearrange(across.to(kind), "m q c -> m 1 c q") @ scaled  # [m, rows, cols, width]
        return rearrange(field, "m r c w -> m w r c")
