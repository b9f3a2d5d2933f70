"""The causal roll-out, the oracle of the streaming one: one latent frame after another, each attending to itself, the
reference, and the region tokens of the past frames that its pose chose (paper, sections 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from iasa.attention.dense import dense_attention
from iasa.attention.dispatch import frame_attention
from iasa.attention.gathered import plan_frame_gather
from iasa.masks import AttentionPlan
from iasa.models.transformer import Attend, Condition, VideoTransformer
from iasa.sampling import sample_few_step

Keys = dict[int, tuple[Tensor, Tensor]]  # layer -> keys and values [b, nh, n, d] of one frame


class KeyCache:
    """Keys and values of past latent frames, per layer; a frame is evicted after the last frame that chose it.

    Frame 0 is the reference, the sink that every frame sees. What is kept of a past frame are the keys of its last
    denoising step: no extra pass is spent on the cache.
    """

    def __init__(self, plan: AttentionPlan) -> None:
        self.tokens = plan.grid.tokens_per_frame
        self.last_use = {past: t for t in range(plan.grid.frames) for past in plan.past_frames(t)}
        self.kept: dict[int, Keys] = {}  # by frame

    def keep(self, frame: int, keys: Keys) -> None:
        """Store a finished frame and forget what no later frame will ask for."""
        self.kept[frame] = keys
        for past in [p for p in self.kept if p > 0 and self.last_use.get(p, -1) <= frame]:
            del self.kept[past]

    def gather(self, layer: int, chosen: dict[int, Tensor]) -> tuple[Tensor, Tensor] | None:
        """Keys and values [b, nh, m, d] of the chosen tokens of each past frame; None if there is none."""
        parts = [(self.kept[frame][layer], tokens) for frame, tokens in chosen.items()]
        if not parts:
            return None
        keys = torch.cat([k[:, :, tokens] for (k, _), tokens in parts], 2)
        values = torch.cat([v[:, :, tokens] for (_, v), tokens in parts], 2)
        return keys, values


def split_by_frame(positions: Tensor, tokens: int) -> dict[int, Tensor]:
    """Positions in the sequence -> {frame: positions inside it}, in the order in which they come."""
    frames = positions // tokens
    return {int(f): positions[frames == f] % tokens for f in torch.unique_consecutive(frames)}


def make_pattern(plan: AttentionPlan, frame: int, cache: KeyCache, layers: int) -> tuple[Attend, Keys]:
    """Attention of one new frame: to itself, the sink, and the tokens of the past frames that its plan chose.

    The keys and values of the frame itself are put into the second, anew in every denoising step.
    """
    positions, gather = plan_frame_gather(plan, frame)
    chosen = split_by_frame(positions, plan.grid.tokens_per_frame)
    past = {layer: cache.gather(layer, chosen) for layer in range(layers)}
    sink = cache.kept[0] if plan.has_sink(frame) else None
    keys: Keys = {}

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = q[:, :, 0], k[:, :, 0], v[:, :, 0]
        keys[layer] = (k, v)
        if sink is not None:
            k, v = torch.cat([k, sink[layer][0]], 2), torch.cat([v, sink[layer][1]], 2)
        before = past[layer]
        if before is None:
            return frame_attention(q, k, v)[:, :, None]
        return frame_attention(q, k, v, before[0], before[1], gather)[:, :, None]

    return attend, keys


class CausalStudent:
    """Rolls a student out over a plan; `next_frame` makes one latent frame."""

    def __init__(self, model: VideoTransformer, condition: Condition, plan: AttentionPlan) -> None:
        self.model, self.condition, self.plan = model, condition, plan
        self.cache = KeyCache(plan)
        self.frame = 0
        self._read_reference()

    @torch.inference_mode()
    def _read_reference(self) -> None:
        keys: Keys = {}

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys[layer] = (k[:, :, 0], v[:, :, 0])
            return dense_attention(q[:, :, 0], k[:, :, 0], v[:, :, 0])[:, :, None]

        reference = self.condition.base[:, :1]
        self.model(reference, reference.new_zeros(reference.shape[:2]), self.condition.frames([0]), attend)
        self.cache.keep(0, keys)

    @torch.inference_mode()
    def next_frame(self, steps: int, generator: torch.Generator | None = None) -> Tensor:
        """The next latent frame [b, c, h, w], by `steps` few-step denoising steps."""
        self.frame += 1
        frame = self.frame
        if frame >= self.plan.grid.frames:
            raise IndexError(f"the plan has {self.plan.grid.frames - 1} frames to make; there is no frame {frame}")
        attend, keys = make_pattern(self.plan, frame, self.cache, len(self.model.blocks))
        condition = self.condition.frames([frame])

        def denoise(x: Tensor, level: float) -> Tensor:
            levels = torch.full(x.shape[:2], level, device=x.device)
            return self.model(x, levels, condition, attend, first_is_reference=False)

        base = self.condition.base[:, :1]
        noise = torch.randn(base.shape, generator=generator).to(base.device)
        clean = sample_few_step(denoise, noise, steps, generator)
        self.cache.keep(frame, keys)
        return clean[:, 0]

    def roll_out(self, steps: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """All remaining latent frames, one by one."""
        while self.frame + 1 < self.plan.grid.frames:
            yield self.next_frame(steps, generator)
