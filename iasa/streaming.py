"""The causal roll-out: one latent frame after another, each attending to itself, the reference, and the region tokens
of the past frames that its pose chose (paper, sections 3.2 and 3.3)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.attention import Schedule, dense_attention, frame_attention, plan_frame_schedule
from iasa.masks import AttentionPlan
from iasa.masks.stream import PlanRow
from iasa.models.lean import LeanTransformer, Past
from iasa.models.transformer import Condition, VideoTransformer
from iasa.sampling import make_levels, sample_few_step

Item = TypeVar("Item")
QUERIES, KEYS = 32, 64  # those of the past come in multiples of these: oneDNN compiles a kernel for every size
_END = object()
_THREADS = torch.get_num_threads()  # before any stage set its own


class KeyCache:
    """Keys and values of past latent frames, per layer; a frame is forgotten after the last frame that chose it.

    Frame 0 is the reference, the sink that every frame sees. What is kept of a past frame are the keys of its last
    denoising step: no extra pass is spent on the cache.
    """

    def __init__(self, plan: AttentionPlan) -> None:
        self.tokens = plan.grid.tokens_per_frame
        self.last_use = {past: t for t in range(plan.grid.frames) for past in plan.past_frames(t)}
        self.kept: dict[int, dict[int, tuple[Tensor, Tensor]]] = {}  # frame -> layer -> k, v [b, nh, n, d]

    def keep(self, frame: int, keys: dict[int, tuple[Tensor, Tensor]]) -> None:
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


class CausalStudent:
    """Rolls a student out over a plan; `next_frame` makes one latent frame."""

    def __init__(self, model: VideoTransformer, condition: Condition, plan: AttentionPlan) -> None:
        self.model, self.condition, self.plan = model, condition, plan
        self.cache = KeyCache(plan)
        self.frame = 0
        self._read_reference()

    @torch.inference_mode()
    def _read_reference(self) -> None:
        keys: dict[int, tuple[Tensor, Tensor]] = {}

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
        positions, schedule = plan_frame_schedule(self.plan, frame)
        chosen = split_by_frame(positions, self.plan.grid.tokens_per_frame)
        past = {layer: self.cache.gather(layer, chosen) for layer in range(len(self.model.blocks))}
        sink = self.cache.kept[0] if self.plan.has_sink(frame) else None
        condition = self.condition.frames([frame])
        keys: dict[int, tuple[Tensor, Tensor]] = {}

        def denoise(x: Tensor, level: float) -> Tensor:
            levels = torch.full(x.shape[:2], level, device=x.device)
            attend = self.make_attend(sink, past, schedule, keys)
            return self.model(x, levels, condition, attend, first_is_reference=False)

        base = self.condition.base[:, :1]
        noise = torch.randn(base.shape, generator=generator).to(base.device)
        clean = sample_few_step(denoise, noise, steps, generator)
        self.cache.keep(frame, keys)
        return clean[:, 0]

    @staticmethod
    def make_attend(sink, past, schedule: Schedule, keys: dict) -> Callable[[int, Tensor, Tensor, Tensor], Tensor]:
        """Attention of one new frame: to itself, the sink and its chosen past; its keys and values are put into `keys`."""
        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = q[:, :, 0], k[:, :, 0], v[:, :, 0]
            keys[layer] = (k, v)
            own_k, own_v = k, v
            if sink is not None:
                own_k, own_v = torch.cat([k, sink[layer][0]], 2), torch.cat([v, sink[layer][1]], 2)
            if past[layer] is None:
                return frame_attention(q, own_k, own_v)[:, :, None]
            return frame_attention(q, own_k, own_v, *past[layer], schedule)[:, :, None]

        return attend

    def roll_out(self, steps: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """All remaining latent frames, one by one."""
        while self.frame + 1 < self.plan.grid.frames:
            yield self.next_frame(steps, generator)


@dataclass(frozen=True)
class FrameInput:
    """What one latent frame is made from, beside noise."""

    row: PlanRow
    base: Tensor  # [c, h, w] latents of the reference bent to its pose
    pose_tokens: Tensor  # [n, width]
    modulation: Tensor  # [layers, steps, 6, width]


class KeyArena:
    """Keys and values of the past frames that may be asked for, each at a place that is reserved once."""

    def __init__(self, frame: Tensor, room: int) -> None:  # keys and values of one frame [2, layers, nh, n, d]
        shape = (*frame.shape[:3], room, *frame.shape[3:])
        self._store = torch.empty(shape, dtype=frame.dtype, device=frame.device)
        self._gathered = self._store.new_empty(0)  # filled again and again: fresh pages cost more than the copy
        self._free, self._place = list(range(room)), {}

    @property
    def frames(self) -> list[int]:
        return list(self._place)

    def keep(self, frame: int, keys_values: Tensor) -> None:
        self._place[frame] = self._free.pop()
        self._store[:, :, :, self._place[frame]] = keys_values

    def forget(self, frames: Iterable[int]) -> None:
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
        room: int,  # past frames that the plan's rows may name
        steps: int,
        sink: bool = True,
        generator: torch.Generator | None = None,
        int8: bool = False,
    ) -> None:
        self.lean = LeanTransformer(model, int8)
        self.levels = make_levels(steps)
        self.sink, self.generator = sink, generator
        with torch.inference_mode():
            self.lean.read_reference(reference)
            self.arena = KeyArena(self.lean.own, room + 1)
            self._bits = {0: bits}
            if not sink:
                self.arena.keep(0, self.lean.own)

    def modulations(self, pose_summary: Tensor) -> Tensor:  # [f, width] -> [layers, steps, f, 6, width]
        return self.lean.modulations(self.levels, pose_summary)

    @torch.inference_mode()
    def next_frame(self, given: FrameInput) -> Tensor:  # [1, c, h, w]
        """The latents of the next frame."""
        row, step = given.row, iter(range(len(self.levels)))
        past = self._past(row)

        def denoise(x: Tensor, level: float) -> Tensor:
            return self.lean.step(x, given.base, given.pose_tokens, given.modulation[:, next(step)], past, self.sink)

        noise = torch.randn(given.base.shape, generator=self.generator).to(given.base.device)
        clean = sample_few_step(denoise, noise, len(self.levels), self.generator)
        self.arena.keep(row.frame, self.lean.own)
        self._bits[row.frame] = row.bits
        self.arena.forget(row.forgotten)
        for frame in row.forgotten:
            del self._bits[frame]
        return clean[None]

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
        keys, values = self.arena.gather(row.past, tokens, KEYS)
        spare = -len(queries) % QUERIES
        allowed = F.pad(allowed[queries], (0, keys.shape[2] - len(k_bits), 0, spare))
        queries = F.pad(queries, (0, spare))
        return Past(keys, values, queries.to(keys.device), None if allowed.all() else allowed.to(keys))


class RunAhead(Iterator[Item]):
    """The items of `source`, made in a thread of its own, at most `depth` of them before they are asked for.

    With one such thread for each stage of a pipeline, the stages share the processor's cores; each computes with one
    thread. It begins at once. Closing it ends the thread and closes the source.
    """

    def __init__(self, source: Iterator[Item], depth: int = 2) -> None:
        self._source = source
        self._worker = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
        self._waiting = deque(self._worker.submit(next, source, _END) for _ in range(depth))

    def __next__(self) -> Item:
        with ExitStack() as at_end:
            at_end.callback(self.close)  # also when the source fails
            item = self._waiting.popleft().result() if self._waiting else _END
            if item is _END:
                raise StopIteration
            self._waiting.append(self._worker.submit(next, self._source, _END))
            at_end.pop_all()
        return item

    def close(self) -> None:
        self._worker.shutdown(cancel_futures=True)
        self._waiting.clear()
        self._source.close()
        torch.set_num_threads(_THREADS)


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
