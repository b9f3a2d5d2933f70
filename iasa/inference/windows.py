"""Long video by the teacher: overlapping windows whose overlaps are fused (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


@torch.inference_mode()
def denoise_windows(
    predict: Callable[[Tensor, float, slice], Tensor], x: Tensor, level: float, window: int, overlap: int
) -> Tensor:
    """One teacher step over a video of any length: overlapping windows, fused by frame (paper, long video).

    predict(x_window, level, frames) -> x0 of that window; in an overlap the later window's share rises linearly.
    x [b, f, c, h, w] -> x0 of the same shape.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"an overlap of {overlap} does not fit a window of {window}")
    frames = x.shape[1]
    total, weight = torch.zeros_like(x), x.new_zeros(frames)
    starts = list(range(0, max(1, frames - overlap), window - overlap))
    for start in starts:
        stop = min(start + window, frames)
        ramp = x.new_ones(stop - start)
        rising = torch.arange(1, overlap + 1, device=x.device) / (overlap + 1)
        if start > 0:
            ramp[:overlap] = rising[: len(ramp)]
        if stop < frames:
            ramp[len(ramp) - overlap :] *= rising.flip(0)
        part = predict(x[:, start:stop], level, slice(start, stop))
        total[:, start:stop] += part * ramp[:, None, None, None]
        weight[start:stop] += ramp
    return total / weight[:, None, None, None]
