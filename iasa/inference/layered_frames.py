"""Where a photograph's warped layers and the network's pictures meet: the network changes what they show, but for its finest
details, which are the photograph's own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from iasa.warp.matting import load_cv2

REPAIRED = ("face", "hands", "arms")  # regions whose tokens, and a rim of one, are computed where not all of them are


def to_levels(pictures: Tensor) -> Tensor:  # [t, 3, S, S] in [-1, 1] -> uint8 [t, S, S, 3]
    return pictures.movedim(1, -1).mul(127.5).add(127.5).round_().clamp_(0, 255).to(torch.uint8)


def straighten(frames: np.ndarray) -> np.ndarray:  # uint8 [m, S, S, 3 or 4]
    """Frames as files hold them: colours that are not multiplied by their alpha. Those without alpha stay as they are."""
    if frames.shape[-1] == 3:
        return frames
    color, alpha = frames[..., :3].astype(np.float32), frames[..., 3:]
    color = np.where(alpha > 0, color * 255 / np.maximum(alpha, 1), 0)
    return np.concatenate([(color + 0.5).clip(0, 255).astype(np.uint8), alpha], -1)


def shrink(frames: np.ndarray, size: int) -> np.ndarray:  # [t, S, S, 3] -> [t, size, size, 3]
    """Pictures, or their changes, as the network sees them."""
    cv2 = load_cv2()
    if frames.shape[1] == size:
        return frames
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames])


def repair(
    layers: np.ndarray,  # uint8 [t, S, S, 3]
    made: np.ndarray,  # uint8 [t, H, W, 3], the network's of them at its own size
) -> np.ndarray:  # uint8 [t, S, S, 3]
    """The layers with what the network changes, at half their size: finer than that it would blur what it is unsure of."""
    cv2, size = load_cv2(), layers.shape[1]
    change = np.subtract(made, shrink(layers, made.shape[1]), dtype=np.int16)
    change = shrink(change, min(size // 2, made.shape[1]))
    large = (cv2.resize(one, (size, size), interpolation=cv2.INTER_LINEAR) for one in change)
    return np.stack([cv2.add(a, b, dtype=cv2.CV_8U) for a, b in zip(layers, large, strict=True)])
