"""Training losses; models and targets come in as arguments, a scalar goes out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gradient_loss(x: Tensor, y: Tensor, weight: Tensor, scales: int = 3) -> Tensor:
    """Weighted mean difference of neighbouring-pixel differences over a pyramid: punishes blur and seams.

    x, y [m, c, H, W], weight [m, 1, H, W] -> scalar.
    """
    loss = x.new_zeros(())
    for _ in range(scales):
        error = x - y
        rows, cols = error.diff(dim=-2).abs() * weight[..., 1:, :], error.diff(dim=-1).abs() * weight[..., 1:]
        loss = loss + (rows.mean() + cols.mean()) / weight.mean()
        x, y, weight = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2), F.avg_pool2d(weight, 2)
    return loss


def reconstruction_loss(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Of the autoencoder: L1, squares (PSNR counts those) and half the gradient loss, all weighted by pixel.

    output, target [m, c, H, W] in [-1, 1], weight [m, 1, H, W] -> scalar.
    """
    difference = output - target
    pointwise = (difference.abs() + 2.0 * difference.square()) * weight
    return pointwise.mean() / weight.mean() + 0.5 * gradient_loss(output, target, weight)


def add_noise(clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:  # [b, f, c, h, w], level [b, f]
    """Flow matching's straight path: (1 - t) x0 + t noise."""
    t = level[..., None, None, None]
    return (1 - t) * clean + t * noise


def flow_loss(
    output: Tensor,  # [b, f, c, h, w] predicted x0
    clean: Tensor,  # [b, f, c, h, w]
    level: Tensor,  # [b, f] in [0, 1]
    importance: Tensor | None = None,  # [b, f, n] 0..1, how much more a token counts
    emphasis: float = 3.0,
    floor: float = 0.2,
) -> Tensor:
    """Flow matching (Lipman et al. 2023) for a network that predicts x0.

    The velocity is (x_t - x0) / t, so its squared error is the error of x0 over t^2; `floor` bounds that weight near
    t = 0. Tokens with importance 1 count 1 + emphasis times.
    """
    error = (output - clean).square().mean(2).flatten(2) / (level[..., None] + floor)  # [b, f, n]
    if importance is not None:
        weight = 1 + emphasis * importance
        return (error * weight).sum() / weight.sum()
    return error.mean()


def sample_levels(shape: tuple[int, ...], pure_noise: float = 0.2, device: torch.device | str = "cpu") -> Tensor:
    """Noise levels for training: logit-normal towards the noisy end, and `pure_noise` of them at 1."""
    level = torch.sigmoid(torch.randn(shape, device=device) * 1.2 + 0.8)
    return torch.where(torch.rand(shape, device=device) < pure_noise, torch.ones_like(level), level)
