"""Films of notebook 12, the training lab: pictures of 16 x 16 pixels with something told and something to remember.

A face that the portrait alone shows (frame 0), a hand that the pose tells, and a shirt whose stripes nothing tells: one signed
number of the clip, to be invented once and then kept. A picture is 4 x 4 tokens of 4 x 4 pixels.

Axis letters: m clips, f frames beside the portrait, n = 16 tokens a frame, 16 pixels a token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iasa.masks.similarity import rigid_distance

ROWS, PATCH = 4, 4
N = ROWS * ROWS
STRIPES = torch.tensor([-1.0, -1, 1, 1] * 4)
FIST = torch.full((16,), 0.9)
OPEN = 0.9 * torch.tensor([1.0, -1, 1, -1] * 2 + [1.0] * 8)
FACE, SHIRT, CLOSED, OPENED = range(4)  # channels of the pose maps

Clips = dict[str, Tensor]


def draw_clips(count: int, frames: int, seed: int) -> Clips:
    """Clips with both masks: x [m, 1 + f, n, 16], pose [m, 1 + f, n, 4], points [m, 1 + f, 6, 2], value [m]; both, causal."""
    g = torch.Generator().manual_seed(seed)
    wrist, opened, turned = _make_gestures(count, frames, g)
    pose = _draw_pose(wrist, opened, turned)
    value = (torch.randint(2, (count,), generator=g) * 2.0 - 1) * (0.3 + 0.6 * torch.rand(count, generator=g))
    face = 0.8 * (torch.randint(2, (count, 1, 1, 16), generator=g) * 2.0 - 1)
    x = torch.full((count, frames + 1, N, 16), -0.5)
    for part, paint in enumerate((face, value.view(-1, 1, 1, 1) * STRIPES, FIST, OPEN)):
        x = torch.where(pose[..., part, None] > 0, paint, x)
    x[:, 0, ROWS:] = pose[:, 0, ROWS:] = 0  # the portrait shows the head alone
    clips = {"x": x, "pose": pose, "points": _place_points(wrist, opened, turned), "value": value}
    return clips | {"both": make_mask(clips, 2, causal=False), "causal": make_mask(clips, 2, causal=True)}


def _make_gestures(count: int, frames: int, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Wrist [m, 1 + f, 2] in 0..1; whether the hand is open and the head turned, bool [m, 1 + f]."""
    speed, phase = 0.6 + 0.8 * torch.rand(count, 3, 1, generator=g), torch.rand(count, 3, 1, generator=g)
    wave = torch.sin(0.5 * speed * torch.arange(frames + 1) + 6.28 * phase)
    wrist = torch.stack([0.5 + 0.42 * wave[:, 0], 0.62 + 0.3 * wave[:, 1]], -1)
    turned = wave[:, 0] > 0.33
    turned[:, 0] = False
    return wrist, wave[:, 2] > 0, turned


def _draw_pose(wrist: Tensor, opened: Tensor, turned: Tensor) -> Tensor:
    """Which tokens show face, shirt, fist, open hand: [m, 1 + f, n, 4]."""
    clip, frame = torch.meshgrid(*(torch.arange(size) for size in opened.shape), indexing="ij")
    pose = torch.zeros(*opened.shape, ROWS, ROWS, 4)
    pose[clip, frame, 0, 1 + turned.long(), FACE] = 1
    pose[:, :, 1:, 1:3, SHIRT] = 1
    column, row = (wrist * ROWS).long().clamp(0, ROWS - 1).unbind(-1)
    pose[clip, frame, row.clamp_min(1), column, CLOSED + opened.long()] = 1
    return pose.flatten(2, 3)


def _place_points(wrist: Tensor, opened: Tensor, turned: Tensor) -> Tensor:
    """Head, shoulders, wrist and two fingertips: [m, 1 + f, 6, 2]."""
    head = torch.stack([0.4 + 0.2 * turned, 0.15 + 0 * turned], -1)[:, :, None]
    shoulders = torch.tensor([[0.3, 0.35], [0.7, 0.35]]).expand(*opened.shape, 2, 2)
    spread = torch.where(opened, 0.12, 0.02)[..., None, None] * torch.tensor([[1.0, 0], [-1, 0]])
    tips = wrist[:, :, None] + spread - torch.tensor([0, 0.1])
    return torch.cat([head, shoulders, wrist[:, :, None], tips], 2)


def make_mask(clips: Clips, k: int, causal: bool, window: int = 0) -> Tensor:
    """M = M_global + M_local of every clip, bool [m, (1 + f) n, (1 + f) n], rows are queries.

    k frames by pose (of the past alone if `causal`) and `window` neighbours, where a region holds both tokens; the own
    frame and the portrait whole.
    """
    frame = torch.arange(clips["x"].shape[1])
    away = frame[:, None] - frame
    may = (frame > 0) & ((away > 0) if causal else (away != 0))
    whole = (away == 0) | (frame == 0)
    hand = clips["pose"][..., CLOSED:].amax(-1, keepdim=True)
    masks = []
    for points, regions in zip(clips["points"], torch.cat([clips["pose"][..., :CLOSED], hand], -1), strict=True):
        rank = rigid_distance(points).masked_fill(~may, torch.inf).argsort(1).argsort(1)
        chosen = ((rank < k) | (away.abs() <= window)) & may
        local = torch.einsum("inr,jmr->injm", regions, regions) > 0
        mask = chosen[:, None, :, None] & local | whole[:, None, :, None]
        masks.append(mask.flatten(2).flatten(0, 1))
    return torch.stack(masks)


def to_pictures(x: Tensor) -> Tensor:
    """Tokens [..., n, 16] -> pictures [..., 16, 16]."""
    square = x.unflatten(-2, (ROWS, ROWS)).unflatten(-1, (PATCH, PATCH))
    return square.transpose(-3, -2).flatten(-2).flatten(-3, -2)


def shirt_value(x: Tensor, pose: Tensor) -> Tensor:
    """What the stripes of frames x [m, f, n, 16] say: signed [m, f]; pose [m, f, n, 4]."""
    shirt = pose[..., SHIRT] * (1 - pose[..., CLOSED:].amax(-1))
    return ((x * STRIPES.to(x.device)).mean(-1) * shirt).sum(-1) / shirt.sum(-1)


def grade(x: Tensor, clips: Clips) -> dict[str, float]:
    """Of frames x [m, f, n, 16]: the shirt's contrast (0.6 in the data) and its wander within a clip (0), as rms; mean squared
    error of hand and face (0)."""
    pose = clips["pose"][:, 1:]
    value, error = shirt_value(x, pose), (x - clips["x"][:, 1:]).square().mean(-1)
    hand, face = pose[..., CLOSED:].amax(-1), pose[..., FACE]
    grades = {
        "contrast": value.abs().mean(),
        "wander": (value - value.mean(1, keepdim=True)).square().mean().sqrt(),
        "hand": (error * hand).sum() / hand.sum(),
        "face": (error * face).sum() / face.sum(),
    }
    return {name: float(grade) for name, grade in grades.items()}
