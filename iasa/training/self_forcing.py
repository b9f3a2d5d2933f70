"""The student's self-rollout with gradients (self-forcing, Huang et al. 2025): in training it sees what it sees when streaming.

Frames come one after another with the key cache and the plans of `iasa.inference.rollout`. Gradients pass through the last
denoising step of every frame and through the reference's keys; the keys of past frames are detached, and all other
steps run without a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from iasa.attention.dense import dense_attention
from iasa.inference.rollout import KeyCache, Keys, make_pattern
from iasa.masks import AttentionPlan
from iasa.models.transformer import Attend, Condition, VideoTransformer
from iasa.sampling import Denoise, make_levels, sample_few_step

Sampler = Callable[[Denoise, Tensor, int], Tensor]  # sample_few_step, or sample_euler for a teacher


def roll_out(
    model: VideoTransformer,
    condition: Condition,  # of b clips of 1 + f frames
    plans: Sequence[AttentionPlan],  # one for each clip
    noise: Tensor,  # [b, f, c, h, w] the frames' first noise
    steps: int,
    precision: Callable[[], AbstractContextManager] = nullcontext,
    sampler: Sampler = sample_few_step,
    clean_keys: bool = False,
) -> Tensor:  # [b, f, c, h, w]
    """All frames' clean latents. Call it outside of autocast and hand autocast in as `precision`.

    Autocast keeps cast weights until it is left, those cast without a graph too; so each step enters it anew.
    With `clean_keys` a frame that is done is read once more, without noise and beside the reference alone, and these keys
    are what later frames see (`make_teacher_forced` trains for it); a one-step student's own keys are made of noise.
    """
    caches = [KeyCache(plan) for plan in plans]
    with precision():
        reference = condition.base[:, :1]
        for cache, keys in zip(caches, _read_frame(model, condition, 0, reference), strict=True):
            cache.keep(0, keys)
    frames = []
    for frame in range(1, 1 + noise.shape[1]):
        clean, found = _next_frame(
            model, condition, plans, caches, frame, noise[:, frame - 1 : frame], steps, precision, sampler
        )
        if clean_keys:
            with torch.no_grad(), precision():
                found = _read_frame(model, condition, frame, clean.detach(), [cache.kept[0] for cache in caches])
        for cache, keys in zip(caches, found, strict=True):
            cache.keep(frame, {layer: (k.detach(), v.detach()) for layer, (k, v) in keys.items()})
        frames.append(clean)
    return torch.cat(frames, 1)


def _read_frame(
    model: VideoTransformer, condition: Condition, frame: int, clean: Tensor, sinks: Sequence[Keys] = ()
) -> list[Keys]:
    """The keys and values of a clean frame [b, 1, c, h, w] that sees itself and each clip's sink, for each clip."""
    keys: list[Keys] = [{} for _ in clean]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = q[:, :, 0], k[:, :, 0], v[:, :, 0]
        for clip, mine in enumerate(keys):
            mine[layer] = (k[clip : clip + 1], v[clip : clip + 1])
        if sinks:
            k, v = (torch.cat([own, torch.cat([s[layer][i] for s in sinks])], 2) for i, own in enumerate((k, v)))
        return dense_attention(q, k, v)[:, :, None]

    model(clean, clean.new_zeros(clean.shape[:2]), condition.frames([frame]), attend, first_is_reference=frame == 0)
    return keys


def _next_frame(model, condition, plans, caches, frame, noise, steps, precision, sampler) -> tuple[Tensor, list[Keys]]:
    """A frame [b, 1, c, h, w] of every clip, and each clip's keys and values of its last step."""
    attends, keys = [], []
    for plan, cache in zip(plans, caches, strict=True):
        attend, own = make_pattern(plan, frame, cache, len(model.blocks))
        attends.append(attend)
        keys.append(own)
    attend, here = each_clip(attends), condition.frames([frame])
    last = make_levels(steps)[-1]

    def denoise(x: Tensor, level: float) -> Tensor:
        with torch.set_grad_enabled(level == last and torch.is_grad_enabled()), precision():
            levels = torch.full(x.shape[:2], level, device=x.device)
            return model(x, levels, here, attend, first_is_reference=False).float()

    return sampler(denoise, noise, steps), keys


def each_clip(attends: Sequence[Attend]) -> Attend:
    """One pattern for each clip of the batch."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = zip(attends, q.split(1), k.split(1), v.split(1), strict=True)
        return torch.cat([one(layer, *tensors) for one, *tensors in parts])

    return attend
