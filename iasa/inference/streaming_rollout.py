"""The causal roll-out as it streams: the same arithmetic in fewer passes, with memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.device import upload
from iasa.inference.conditioning import DecoderInput, DenoiserInput, WarpedFrame
from iasa.inference.fast_transformer import FastTransformer, Past
from iasa.inference.generation import Timing
from iasa.inference.graphed import Graphed, has_graphs
from iasa.inference.padded_step import KVCachePool, PaddedStep, pad_reads
from iasa.inference.prefetch import Source
from iasa.masks.plan_stream import PlanRow
from iasa.models.transformer import Condition, VideoTransformer
from iasa.sampling import draw_noise, make_levels, sample_few_step

# on_step(steps done before, noise level, latents [1, f, c, h, w]) -> latents that go on in their place
OnStep = Callable[[int, float, Tensor], Tensor]
QUERIES, KEYS = 32, 64  # those of the past come in multiples of these: oneDNN compiles a kernel for every size


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
        self.padded: Callable[..., Tensor] | None = None
        with torch.inference_mode():
            self.fast.read_reference(reference)
            self.pool = KVCachePool(self.fast.own, capacity + 1)
            self._bits = {0: bits}
            if not sink:
                self.pool.keep(0, self.fast.own)
        if self.fast.device.type == "cuda":
            step = PaddedStep(self.fast, self.pool, sink)
            self.padded = Graphed(step) if has_graphs(self.fast.device) else step

    def embed(self, summary: Tensor) -> Tensor:  # [f, width] -> [f, layers, steps, 6, width]
        """The modulations of each frame."""
        return self.fast.modulations(self.levels, summary).movedim(2, 0)

    def denoise(self, frames: Source[WarpedFrame], timing: Timing) -> Generator[tuple[Tensor, DecoderInput]]:
        """The latents [1, c, h, w] of each frame."""
        with closing(frames):
            for given, shown in frames:
                with timing.stage("denoise", self.fast.device):
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
        run = self._step_of(given, row)

        def denoise(x: Tensor, level: float) -> Tensor:
            return run(x, given.base, given.pose_tokens, given.pose[:, next(step)])

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

    def _step_of(self, given: DenoiserInput, row: PlanRow) -> Callable[..., Tensor]:
        """One denoising step of a frame, for its noisy latents, base, pose tokens and modulation."""
        if self.padded is None or given.computed is not None:
            return partial(self.fast.step, past=self._past(row), sink=self.sink, computed=given.computed)
        tokens, k_bits = self._seen(row)
        reads = upload(pad_reads(self.pool.places(row.past, tokens), k_bits), self.fast.device)
        return partial(self.padded, reads, upload(row.bits, self.fast.device))

    def _seen(self, row: PlanRow) -> tuple[list[Tensor], Tensor]:
        """Of each past frame the tokens that some query of the frame sees, int64 [k]; and the regions of all, uint8 [m]."""
        reached = int(np.bitwise_or.reduce(row.bits.numpy()))
        tokens = [(self._bits[frame] & reached).nonzero()[:, 0] for frame in row.past]
        bits = [self._bits[frame][t] for frame, t in zip(row.past, tokens, strict=True)]
        return tokens, torch.cat([row.bits[:0], *bits])

    def _past(self, row: PlanRow) -> Past | None:
        if not row.past:
            return None
        tokens, k_bits = self._seen(row)
        allowed = (row.bits[:, None] & k_bits) != 0
        queries = allowed.any(1).nonzero()[:, 0]
        if not len(queries):
            return None
        keys, values = self.pool.gather(row.past, tokens, KEYS)
        spare = -len(queries) % QUERIES
        allowed = F.pad(allowed[queries], (0, keys.shape[2] - len(k_bits), 0, spare))
        queries = F.pad(queries, (0, spare))
        return Past(keys, values, queries.to(keys.device), None if allowed.all() else allowed.to(keys))
