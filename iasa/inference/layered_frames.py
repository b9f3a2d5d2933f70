"""Where a photograph's warped layers and the network's pictures meet: the network changes what they show, but for its finest
details, which are the photograph's own."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

REPAIRED = ("face", "hands", "arms")  # regions whose tokens, and a rim of one, are computed where not all of them are


def shrink(pictures: Tensor, size: int) -> Tensor:  # [t, 3, S, S] -> [t, 3, size, size]
    """Pictures as the network sees them."""
    return pictures if pictures.shape[-1] == size else F.interpolate(pictures, (size, size), mode="area")


def to_levels(pictures: Tensor) -> Tensor:  # [t, 3, S, S] in [-1, 1] -> uint8 [t, S, S, 3]
    return pictures.movedim(1, -1).mul(127.5).add(127.5).round_().clamp_(0, 255).to(torch.uint8)


def straighten(frames: np.ndarray) -> np.ndarray:  # uint8 [m, S, S, 3 or 4]
    """Frames as files hold them: colours that are not multiplied by their alpha. Those without alpha stay as they are."""
    if frames.shape[-1] == 3:
        return frames
    color, alpha = frames[..., :3].astype(np.float32), frames[..., 3:]
    color = np.where(alpha > 0, color * 255 / np.maximum(alpha, 1), 0)
    return np.concatenate([(color + 0.5).clip(0, 255).astype(np.uint8), alpha], -1)


def repair(
    pictures: Tensor,  # [t, 3, S, S] in [-1, 1], of the layers
    made: Tensor,  # uint8 [t, H, W, 3], the network's of them at its own size
) -> Tensor:  # uint8 [t, S, S, 3]
    """The layers with what the network changes, at half their size: finer than that it would blur what it is unsure of."""
    made = made.movedim(-1, 1).float() / 127.5 - 1
    half = min(pictures.shape[-1] // 2, made.shape[-1])
    change = shrink(made - shrink(pictures, made.shape[-1]), half)
    return to_levels(pictures + F.interpolate(change, pictures.shape[-2:], mode="bilinear", align_corners=False))
