"""A denoising step whose shapes stay while the number of past keys changes: what a CUDA graph can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.inference.fast_transformer import FastTransformer, Past

LEAST = 256  # past keys of a padded step; where there are more it has the next power of two


class KVCachePool:
    """Keys and values of the past frames that may be asked for, each at a place that is reserved once."""

    def __init__(self, frame: Tensor, capacity: int) -> None:  # keys and values of one frame [2, layers, nh, n, d]
        shape = (*frame.shape[:3], capacity, *frame.shape[3:])
        self._store = torch.empty(shape, dtype=frame.dtype, device=frame.device)
        self._store[:, :, :, 0] = 0  # where padding reads, whatever is kept there later
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

    def places(self, frames: Sequence[int], tokens: Sequence[Tensor]) -> Tensor:
        """Where those tokens of these frames are for `read`, one frame after another: int64 [m]."""
        n = self._store.shape[4]
        moved = [t + self._place[f] * n for f, t in zip(frames, tokens, strict=True)]
        return torch.cat([torch.zeros(0, dtype=torch.int64), *moved])

    def read(self, where: Tensor) -> Tensor:  # int64 [m] -> [2, layers, nh, m, d]
        return self._store.flatten(3, 4).index_select(3, where)

    def gather(self, frames: Sequence[int], tokens: Sequence[Tensor], multiple: int = 1) -> Tensor:
        """Those tokens of these frames, one frame after another, and then the first again until their number m is such
        a multiple: [2, layers, nh, m, d], until the next call."""
        where = self.places(frames, tokens)
        where = torch.cat([where, where[:1].expand(-len(where) % multiple)])
        store = self._store.flatten(3, 4)
        shape = (*store.shape[:3], len(where), store.shape[4])
        if math.prod(shape) > len(self._gathered):
            self._gathered = store.new_empty(math.prod(shape))
        out = self._gathered[: math.prod(shape)].view(shape)
        return torch.index_select(store, 3, where.to(store.device), out=out)


class PaddedStep:
    """`FastTransformer.step` of a frame that is computed whole, with its past gathered from the pool inside of it.

    Every token asks the past, and the regions say who sees what. Keys beyond those of the past have no region: nobody
    sees them.
    """

    def __init__(self, fast: FastTransformer, pool: KVCachePool, sink: bool) -> None:
        self.fast, self.pool, self.sink = fast, pool, sink

    def __call__(
        self,
        reads: Tensor,  # int64 [2, m] of `pad_reads`
        bits: Tensor,  # uint8 [n], the frame's regions
        latents: Tensor,  # [c, h, w] noisy
        base: Tensor,  # [c, h, w]
        pose_tokens: Tensor,  # [n, width]
        modulation: Tensor,  # [layers, 6, width]
    ) -> Tensor:  # [c, h, w] float32
        where, k_bits = reads.unbind(0)
        keys, values = self.pool.read(where).unbind(0)
        allowed = ((bits[:, None] & k_bits) != 0).to(keys.dtype)
        return self.fast.step(
            latents, base, pose_tokens, modulation, Past(keys, values, None, allowed), self.sink
        )  # fmt: skip


def pad_reads(where: Tensor, bits: Tensor) -> Tensor:
    """Places in the pool, int64 [m], and the regions of what is there, uint8 [m], padded to one of few sizes:
    int64 [2, p]."""
    size = max(LEAST, 1 << (len(where) - 1).bit_length())
    return F.pad(torch.stack([where, bits.long()]), (0, size - len(where)))
