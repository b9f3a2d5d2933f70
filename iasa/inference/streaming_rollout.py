"""The causal roll-out as it streams: the same arithmetic in fewer passes, with memory that does not grow."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.inference.conditioning import DecoderInput, DenoiserInput, WarpedFrame
from iasa.inference.fast_transformer import FastTransformer, Past
from iasa.inference.generation import Timing
from iasa.inference.prefetch import Source
from iasa.masks.plan_stream import PlanRow
from iasa.models.transformer import Condition, VideoTransformer
from iasa.sampling import draw_noise, make_levels, sample_few_step

# on_step(steps done before, noise level, latents [1, f, c, h, w]) -> latents that go on in their place
OnStep = Callable[[int, float, Tensor], Tensor]
QUERIES, KEYS = 32, 64  # those of the past come in multiples of these: oneDNN compiles a kernel for every size


class KVCachePool:
    """Keys and values of the past frames that may be asked for, each at a place that is reserved once."""

    def __init__(self, frame: Tensor, capacity: int) -> None:  # keys and values of one frame [2, layers, nh, n, d]
        shape = (*frame.shape[:3], capacity, *frame.shape[3:])
        self._store = torch.empty(shape, dtype=frame.dtype, device=frame.device)
        self._gathered = self._store.new_empty(0)  # filled again and again: fresh pages cost more than the copy
        self._free, self._place = list(range(capacity)), {}

    @property
    def frames(self) -> list[int]:
        return list(self._place)

    def keep(self, frame: int, keys_values: Tensor) -> None:
        """Some or all tokens of a frame."""
        self._place[frame] = self._free.pop()
        self._store[:, :, :, self._place[frame], : keys_values.shape[3]] = keys_values

    def evict(self, frames: Iterable[int]) -> None:
        for frame in frames:
            self._free.append(self._place.pop(frame))

    def gather(self, frames: Sequence[int], tokens: Sequence[Tensor], multiple: int = 1) -> Tensor:
        """Those tokens of these frames, one frame after another, and then the first again until their number m is such
        a multiple: [2, layers, nh, m, d], until the next call."""
        n = self._store.shape[4]
        where = torch.cat([t + self._place[f] * n for f, t in zip(frames, tokens, strict=True)])
        where = torch.cat([where, where[:1].expand(-len(where) % multiple)])
        store = self._store.flatten(3, 4)
        shape = (*store.shape[:3], len(where), store.shape[4])
        if math.prod(shape) > len(self._gathered):
            self._gathered = store.new_empty(math.prod(shape))
        out = self._gathered[: math.prod(shape)].view(shape)
        return torch.index_select(store, 3, where.to(store.device), out=out)


class StudentStream:
    """The roll-out of `CausalStudent` without a plan of the whole clip, and in fewer passes: memory and the cost of a
    frame stay the same however long the video. One clip; the same frames up to rounding."""

    def __init__(
        self,
        model: VideoTransformer,
        reference: Condition,  # whose frame 0 is the reference
        bits: Tensor,  # uint8 [n], regions of the reference
        capacity: int,  # past frames that the plan's rows may name
        steps: int,
        sink: bool = True,
        generator: torch.Generator | None = None,
        int8: bool = False,
        on_step: OnStep | None = None,
    ) -> None:
        self.model, self.reference, self.fast = model, reference, FastTransformer(model, int8)
        self.levels = make_levels(steps)
        self.sink, self.generator, self.on_step = sink, generator, on_step
        self.steps = 0  # done so far
        with torch.inference_mode():
            self.fast.read_reference(reference)
            self.pool = KVCachePool(self.fast.own, capacity + 1)
            self._bits = {0: bits}
            if not sink:
                self.pool.keep(0, self.fast.own)

    def embed(self, summary: Tensor) -> Tensor:  # [f, width] -> [f, layers, steps, 6, width]
        """The modulations of each frame."""
        return self.fast.modulations(self.levels, summary).movedim(2, 0)

    def denoise(self, frames: Source[WarpedFrame], timing: Timing) -> Generator[tuple[Tensor, DecoderInput]]:
        """The latents [1, c, h, w] of each frame."""
        with closing(frames):
            for given, shown in frames:
                with timing.stage("denoise"):
                    latents = self.next_frame(given)
                timing.multiply(
                    *(len(self.levels) * self.fast.multiplications(c, self.sink) for c in (given.computed, None))
                )
                yield latents, shown

    @torch.inference_mode()
    def next_frame(self, given: DenoiserInput) -> Tensor:  # [1, c, h, w]
        """The latents of the next frame."""
        row, computed, step = given.row, given.computed, iter(range(len(self.levels)))
        if computed is not None:  # what later frames may ask for, and this one may ask with
            row = replace(row, bits=row.bits[computed.context])
        past = self._past(row)

        def denoise(x: Tensor, level: float) -> Tensor:
            modulation = given.pose[:, next(step)]
            return self.fast.step(
                x, given.base, given.pose_tokens, modulation, past, self.sink, computed=computed
            )  # fmt: skip

        tell = None if self.on_step is None else partial(self._tell, self.on_step)
        noise = draw_noise(given.base.shape, self.generator, given.base.device)
        clean = sample_few_step(denoise, noise, len(self.levels), self.generator, tell)
        self.pool.keep(row.frame, self.fast.own)
        self._bits[row.frame] = row.bits
        self.pool.evict(row.evicted)
        for frame in row.evicted:
            del self._bits[frame]
        return clean[None]

    def _tell(self, on_step: OnStep, step: int, x: Tensor) -> Tensor:
        self.steps += 1
        return on_step(self.steps - 1, self.levels[step], x[None, None])[0, 0]

    def _past(self, row: PlanRow) -> Past | None:
        if not row.past:
            return None
        reached = int(np.bitwise_or.reduce(row.bits.numpy()))
        tokens = [(self._bits[frame] & reached).nonzero()[:, 0] for frame in row.past]
        k_bits = torch.cat([self._bits[frame][t] for frame, t in zip(row.past, tokens, strict=True)])
        allowed = (row.bits[:, None] & k_bits) != 0
        queries = allowed.any(1).nonzero()[:, 0]
        if not len(queries):
            return None
        keys, values = self.pool.gather(row.past, tokens, KEYS)
        spare = -len(queries) % QUERIES
        allowed = F.pad(allowed[queries], (0, keys.shape[2] - len(k_bits), 0, spare))
        queries = F.pad(queries, (0, spare))
        return Past(keys, values, queries.to(keys.device), None if allowed.all() else allowed.to(keys))
