"""Samplers: functions that integrate from noise to clean latents, with a callback.

`denoise(x, level) -> x0` is any network with its condition bound; x is [b, f, c, h, w] and level a float in (0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
Callback = Callable[[int, Tensor], None]


def make_levels(steps: int, shift: float = 3.0) -> list[float]:
    """`steps` falling noise levels from 1, denser near 1 for a larger shift, by diffusers' flow-matching schedule."""
    if steps < 1:
        raise ValueError(f"{steps} steps asked for; at least 1 is needed")
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    return [float(level) for level in scheduler.sigmas[:-1]]


def sample_euler(denoise: Denoise, noise: Tensor, steps: int, callback: Callback | None = None) -> Tensor:
    """The teacher's sampler: deterministic Euler steps along the flow, x <- x + (t' - t) (x - x0) / t.

    Returns clean latents [b, f, c, h, w]; callback(step, x) after every step.
    """
    x, levels = noise, [*make_levels(steps), 0.0]
    for step, (level, after) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        velocity = (x - denoise(x, level)) / level
        x = x + (after - level) * velocity
        if callback:
            callback(step, x)
    return x


def sample_few_step(
    denoise: Denoise,
    noise: Tensor,
    steps: int,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """The student's sampler: predict x0, renew the noise at the next level, repeat (as distilled generators do).

    Returns clean latents [b, f, c, h, w]; callback(step, x0) after every step.
    """
    x, levels = noise, [*make_levels(steps), 0.0]
    for step, (level, after) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        clean = denoise(x, level)
        if callback:
            callback(step, clean)
        if after == 0.0:
            return clean
        where = x.device if generator is None else generator.device  # its own: the same noise on every machine
        fresh = torch.randn(x.shape, generator=generator, device=where, dtype=x.dtype).to(x.device)
        x = (1 - after) * clean + after * fresh
    return x
