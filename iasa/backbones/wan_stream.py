"""The causal roll-out of a Wan transformer: chunk by chunk with a cache of keys and values, and a decoder that keeps step.

Each chunk (one latent frame, or the three that Self-Forcing's weights know) attends to itself, the references, and the
region tokens of the past frames that its pose chose. Pictures come while later frames are still noise, and a frame's keys
go when no later frame will ask for them, so memory does not grow with the video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from iasa.attention.dispatch import frame_attention
from iasa.attention.gathered import GatherPlan, plan_chunk_gather
from iasa.backbones.replay import Transformer, check_checkpointing, register_state, unregister_state
from iasa.backbones.wan_attention import output, project, self_attentions
from iasa.config import InputError
from iasa.masks.plan import AttentionPlan

Pair = tuple[Tensor, Tensor]  # keys and values of one frame [b, nh, n, d]


@dataclass(frozen=True, eq=False)
class ChunkCall:
    """What the layers read during one call of the transformer; it also serves the call's second run in a backward pass."""

    frames: range
    whole: tuple[int, ...]  # other frames that the chunk sees whole
    chosen: tuple[tuple[int, Tensor], ...]  # past frame, int64 [m]: its tokens that some query sees
    gather: GatherPlan
    kept: dict[str, dict[int, Pair]]  # layer -> frame -> keys: those frames, held for as long as this call is
    keep: bool  # whether the keys of this call enter the cache


class CausalWan:
    """Runs a transformer chunk by chunk under a causal plan. Use it as a context: it borrows the layers' processors.

    Calls of the transformer that do not come through the stream do what they did before, also between its chunks.
    """

    def __init__(self, model: Transformer, plan: AttentionPlan, latent_height: int, latent_width: int) -> None:
        if not plan.options.causal:
            raise InputError("a roll-out takes a causal plan; this one sees frames to come")
        self.model, self.plan = model, plan
        whole_clip = torch.empty(1, 1, plan.grid.frames, latent_height, latent_width, device="meta")
        self.rope = model.rope(whole_clip)  # reads the shape alone: (cos, sin), each [1, f*n, 1, d]
        self.cache: dict[str, dict[int, Pair]] = {name: {} for name in self_attentions(model)}
        self.call: ChunkCall | None = None  # while the transformer runs for the stream
        self._prepared: ChunkCall | None = None  # of the chunk at hand: all its denoising steps share it
        self.chunks = split_chunks(plan)
        self.last_use = {}
        for frames in self.chunks:
            for frame in frames:
                self.last_use.update(dict.fromkeys((*plan.whole[frame], *plan.past[frame]), frames[-1]))

    def __enter__(self) -> CausalWan:
        self._before = {name: attn.processor for name, attn in self_attentions(self.model).items()}
        for name, attn in self_attentions(self.model).items():
            attn.set_processor(_ChunkProcessor(self, name, attn.processor))
        self._hook = self.model.rope.register_forward_hook(lambda module, given, out: self._rope_of_chunk(out))
        register_state(self.model, self)
        return self

    def __exit__(self, *error) -> None:
        self._hook.remove()
        unregister_state(self.model, self)
        for name, attn in self_attentions(self.model).items():
            attn.set_processor(self._before[name])

    def __call__(self, frames: range, hidden: Tensor, keep: bool = True, **arguments) -> Tensor:
        """The transformer's output for one of `chunks`, [b, c, len(frames), h, w]; with `keep` its keys are remembered."""
        if torch.is_grad_enabled():
            check_checkpointing(self.model)
        if self._prepared is None or self._prepared.frames != frames:
            self._prepared = self._prepare(frames)
        self.call = replace(self._prepared, keep=keep)
        try:
            out = self.model(hidden_states=hidden, return_dict=False, **arguments)[0]
        finally:
            self.call = None
        if keep:
            self._forget(frames[-1])
        return out

    def _prepare(self, frames: range) -> ChunkCall:
        if frames not in self.chunks:
            raise InputError(f"frames {frames.start} to {frames.stop - 1} are not a chunk of the plan")
        whole, positions, gather = plan_chunk_gather(self.plan, frames)
        n = self.plan.grid.tokens_per_frame
        past = torch.unique_consecutive(positions // n).tolist()
        chosen = tuple((frame, positions[positions // n == frame] % n) for frame in past)
        needed = {*whole, *past}
        missing = needed - set(next(iter(self.cache.values())))
        if missing:
            raise InputError(f"frame {min(missing)} has not been rolled out; frames come in order, each kept once")
        kept = {name: {frame: pairs[frame] for frame in needed} for name, pairs in self.cache.items()}
        return ChunkCall(frames, tuple(whole), chosen, gather, kept, True)

    def _forget(self, done: int) -> None:
        for pairs in self.cache.values():
            for frame in [f for f in pairs if self.last_use.get(f, -1) <= done]:
                del pairs[frame]

    def _rope_of_chunk(self, own: Pair) -> Pair:
        if self.call is None:
            return own
        n, frames = self.plan.grid.tokens_per_frame, self.call.frames
        cos, sin = (part[:, frames.start * n : frames.stop * n] for part in self.rope)
        return cos, sin

    def snapshot(self) -> ChunkCall | None:
        return None if self.call is None else replace(self.call, keep=False)  # a second run writes no keys

    def restore(self, then: ChunkCall | None) -> None:
        self.call = then


class _ChunkProcessor:
    _attention_backend = None
    _parallel_config = None

    def __init__(self, stream: CausalWan, name: str, before) -> None:
        self.stream, self.name, self.before = stream, name, before

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None):
        if self.stream.call is None:
            return self.before(attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb)
        call, cache = self.stream.call, self.stream.cache[self.name]
        q, k, v = project(attn, hidden_states, rotary_emb)
        kept = call.kept[self.name]
        own = [torch.cat([mine, *(kept[frame][i] for frame in call.whole)], 2) for i, mine in enumerate((k, v))]
        k_past = v_past = None
        if call.chosen:
            k_past, v_past = (torch.cat([kept[f][i][:, :, tokens] for f, tokens in call.chosen], 2) for i in range(2))
        out = frame_attention(q, own[0], own[1], k_past, v_past, call.gather)
        if call.keep:
            parts = [x.detach().tensor_split(len(call.frames), 2) for x in (k, v)]
            cache.update({frame: (a, b) for frame, a, b in zip(call.frames, *parts, strict=True)})
        return output(attn, out, hidden_states)


def split_chunks(plan: AttentionPlan) -> list[range]:
    """The frames in the order of a roll-out: the references, then chunk by chunk."""
    options, frames = plan.options, plan.grid.frames
    sinks = min(options.sinks, frames)
    rest = [range(start, min(start + options.chunk, frames)) for start in range(sinks, frames, options.chunk)]
    return ([range(sinks)] if sinks else []) + rest


def few_step_levels(steps: int, shift: float = 5.0) -> list[float]:
    """Falling noise levels from 1: evenly spaced, then shifted towards noise as Wan's few-step weights were trained."""
    even = [1 - i / steps for i in range(steps)]
    return [shift * t / (1 + (shift - 1) * t) for t in even]


def roll_out(
    stream: CausalWan,
    noise: Tensor,  # [b, c, f, h, w]; the references' frames are not read
    reference: Tensor | None,  # [b, c, sinks, h, w] clean latents
    levels: Sequence[float],  # falling noise levels, 1 first
    arguments: Callable[[range], dict],  # what a chunk's call needs beside latents and timestep
    generator: torch.Generator | None = None,
    clean_pass: bool = True,  # keys come from one more pass over the clean chunk; off: from the last denoising step
) -> Iterator[Tensor]:
    """Clean latents chunk by chunk, without the references: x0 = x_t - t v at each level, fresh noise between.

    Gradients, if they are on, go through a chunk's last step alone.
    """
    graph = torch.is_grad_enabled()

    def velocity(frames: range, x: Tensor, level: float, keep: bool, last: bool = False) -> Tensor:
        timestep = torch.full(x.shape[:1], 1000.0 * level, device=x.device)
        with torch.set_grad_enabled(graph and last):
            return stream(frames, x, keep, timestep=timestep, **arguments(frames))

    chunks = list(stream.chunks)
    if stream.plan.options.sinks:
        if reference is None or reference.shape[2] != len(chunks[0]):
            raise InputError(f"the plan has {len(chunks[0])} references; their latents are needed")
        velocity(chunks.pop(0), reference, 0.0, True)
    for frames in chunks:
        x = noise[:, :, frames.start : frames.stop]
        for i, level in enumerate(levels):
            last = i + 1 == len(levels)
            clean = x - level * velocity(frames, x, level, last and not clean_pass, last)
            if not last:
                fresh = torch.randn(clean.shape, generator=generator).to(clean)
                x = (1 - levels[i + 1]) * clean + levels[i + 1] * fresh
        if clean_pass:
            velocity(frames, clean.detach(), 0.0, True)
        yield clean


class StreamDecoder:
    """Wan's autoencoder decodes causally: latent frames as they come give the same pictures as all at once."""

    def __init__(self, vae: Any) -> None:
        from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

        self.vae, self.first = vae, True
        if vae.config.patch_size is not None:
            raise InputError("the streamed decoder takes Wan 2.1's autoencoder, whose pictures are not in patches")
        self._seen = [None] * sum(isinstance(module, WanCausalConv3d) for module in vae.decoder.modules())
        self.mean, self.std = (
            torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
        )

    def __call__(self, latents: Tensor) -> Tensor:
        """Normalised latents [b, c, m, h, w] -> pictures [b, 3, 4 m (3 fewer at the very beginning), H, W] in [-1, 1]."""
        raw = latents.to(self.vae.dtype)
        raw = self.vae.post_quant_conv(raw * self.std.to(raw) + self.mean.to(raw))
        made = []
        for frame in raw.split(1, 2):
            made.append(self.vae.decoder(frame, feat_cache=self._seen, feat_idx=[0], first_chunk=self.first))
            self.first = False
        return torch.cat(made, 2).clamp(-1, 1)
