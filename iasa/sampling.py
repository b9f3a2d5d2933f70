"""Samplers: functions that integrate from noise to clean latents, with a callback.

`denoise(x, level) -> x0` is any network with its condition bound; x is [b, f, c, h, w] and level a float in (0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from iasa.device import upload

Denoise = Callable[[Tensor, float], Tensor]
Callback = Callable[[int, Tensor], Tensor | None]  # may return what is to be taken instead of its tensor


def make_levels(steps: int, shift: float = 3.0) -> list[float]:
    """`steps` falling noise levels from 1, denser near 1 for a larger shift, by diffusers' flow-matching schedule."""
    if steps < 1:
        raise ValueError(f"{steps} steps asked for; at least 1 is needed")
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    assert scheduler.sigmas is not None  # set just now
    return [float(level) for level in scheduler.sigmas[:-1]]


def draw_noise(
    shape: Sequence[int], generator: torch.Generator | None, device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Normal noise on the device, drawn where the generator is: the same on every machine."""
    where = device if generator is None else generator.device
    return upload(torch.randn(shape, generator=generator, device=where, dtype=dtype), torch.device(device))


def sample_euler(denoise: Denoise, noise: Tensor, steps: int, callback: Callback | None = None) -> Tensor:
    """The teacher's sampler: deterministic Euler steps along the flow, x <- x + (t' - t) (x - x0) / t.

    Returns clean latents [b, f, c, h, w]; callback(step, x) after every step.
    """
    x, levels = noise, [*make_levels(steps), 0.0]
    for step, (level, after) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        velocity = (x - denoise(x, level)) / level
        x = x + (after - level) * velocity
        x = _after(callback, step, x)
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
        clean = _after(callback, step, clean)
        if after == 0.0:
            return clean
        x = (1 - after) * clean + after * draw_noise(x.shape, generator, x.device, x.dtype)
    return x


def _after(callback: Callback | None, step: int, x: Tensor) -> Tensor:
    changed = callback(step, x) if callback else None
    return x if changed is None else changed
