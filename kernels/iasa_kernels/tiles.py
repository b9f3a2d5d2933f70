"""Rows of tokens and the tiles of tokens on the other side that they meet: what a kernel walks along."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

TAIL = 64  # tokens of a tile that needs a mask, at most


@dataclass(frozen=True, eq=False)
class TileList:
    """For each row, a block of tokens, the tiles of tokens on the other side that it meets; p plans side by side.

    Row r of plan p covers tokens start[p, r] .. start[p, r] + size[p, r]. Its whole tiles are those from
    pointer[p, r, 0] to pointer[p, r, 1], its ragged ones go on to pointer[p, r, 2], and its tested ones, counted apart,
    go from pointer[p, r, 3] to pointer[p, r, 4]. Two rows of which the first meets tokens 0..6 and the second meets
    tokens 0..4 and, by their bits, 4..6, in tiles of 4:

        start [[0, 4]]   size [[4, 2]]   pointer [[[0, 1, 2, 0, 0], [2, 3, 3, 0, 1]]]   order [[0, 1]]
        tile_start [0, 4, 0]   tile_size [4, 2, 4]   tested_start [4]   tested_size [2]   tested_bits [[b4, b5, 0, 0]]
    """

    start: Tensor  # int32 [p, rows]
    size: Tensor  # int32 [p, rows]
    pointer: Tensor  # int32 [p, rows, 5]
    order: Tensor  # int32 [p, rows], longest rows first: what starts last should be short
    tile_start: Tensor  # int32 [tiles]
    tile_size: Tensor  # int32 [tiles], 1 or more
    tested_start: Tensor  # int32 [tested tiles]
    tested_size: Tensor  # int32 [tested tiles], 1 or more
    tested_bits: Tensor  # int32 [tested tiles, tail], 0 beyond a tile's end: it needs no other mask

    def tensors(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(self)]

    def spans(self, plan: int, row: int) -> list[tuple[int, int, bool]]:
        """(first token, tokens, whether tested) of each tile of a row."""
        first, _, end, tested, tested_end = self.pointer[plan, row].tolist()
        starts = (*self.tile_start[first:end].tolist(), *self.tested_start[tested:tested_end].tolist())
        sizes = (*self.tile_size[first:end].tolist(), *self.tested_size[tested:tested_end].tolist())
        return [(a, n, i >= end - first) for i, (a, n) in enumerate(zip(starts, sizes, strict=True))]

    def to(self, device: torch.device | str) -> TileList:
        return TileList(*(x.to(device) for x in self.tensors()))


def make_tiles(
    row: Tensor,  # [kept], the row that each block belongs to
    full: Tensor,  # bool [kept]
    start: Tensor,  # [kept], first token of the block on the other side
    size: Tensor,  # [kept]
    row_start: Tensor,  # [rows]
    row_size: Tensor,  # [rows]
    tile: int,
    bits: Tensor | None,  # int32 [1, tokens of the other side]
) -> TileList:
    some = size > 0
    row, full, start, size = row[some], full[some], start[some], size[some]
    group = 2 * row + (~full).long()  # a row's full blocks, then its tested ones
    length = int((start + size).max()) if len(start) else 0
    by_place = torch.argsort(group * (length + 1) + start)
    group, start, size = group[by_place], start[by_place], size[by_place]
    # Blocks that touch make a run.
    new = torch.ones_like(group, dtype=torch.bool)
    new[1:] = (group[1:] != group[:-1]) | (start[1:] != start[:-1] + size[:-1])
    run_length = torch.zeros(int(new.sum()), dtype=torch.int64, device=row.device)
    run_length.scatter_add_(0, new.cumsum(0) - 1, size)
    run_start, run_group = start[new], group[new]
    # Runs are cut into tiles: as many whole ones as a full run holds, and shorter ones.
    tail = min(tile, TAIL)
    whole = torch.where(run_group % 2 == 0, run_length // tile, 0)
    short = (run_length - whole * tile + tail - 1) // tail
    run, place = count_off(whole)
    tail_run, tail_place = count_off(short)
    offset = torch.cat([tile * place, tile * whole[tail_run] + tail * tail_place])
    size = torch.cat([torch.full_like(run, tile), (run_length[tail_run] - offset[len(run) :]).clamp_max(tail)])
    kind = torch.cat([torch.zeros_like(run), 1 + run_group[tail_run] % 2])  # whole, ragged, tested
    run = torch.cat([run, tail_run])
    kind_of_row = 3 * (run_group[run] // 2) + kind
    by_kind = torch.argsort(kind_of_row, stable=True)
    start, size, tested = (run_start[run] + offset)[by_kind], size[by_kind], (kind == 2)[by_kind]
    counts = torch.bincount(kind_of_row, minlength=3 * len(row_start)).view(-1, 3)
    ends = counts.cumsum(0)
    first = ends - counts  # of each kind's tiles, as if each were counted apart
    full_first = first[:, 0] + first[:, 1]
    pointer = torch.stack([
        full_first, full_first + counts[:, 0], full_first + counts[:, 0] + counts[:, 1], first[:, 2], ends[:, 2],
    ], dim=1)  # fmt: skip
    order = torch.argsort(counts.sum(1), descending=True, stable=True)
    parts = (row_start, row_size, pointer, order)
    tiles = (start[~tested], size[~tested], start[tested], size[tested])
    return TileList(
        *(x[None].int().contiguous() for x in parts),
        *(x.int() for x in tiles),
        _bits_of_tiles(start[tested], size[tested], bits, tail),
    )


def _bits_of_tiles(start: Tensor, size: Tensor, bits: Tensor | None, tail: int) -> Tensor:
    """The bits of the tokens of each tested tile: int32 [tiles, tail], 0 beyond its end."""
    if bits is None:
        return start.new_zeros(0, tail, dtype=torch.int32)
    place = torch.arange(tail, device=start.device)
    token = (start[:, None] + place).clamp_max(bits.shape[1] - 1)
    return torch.where(place < size[:, None], bits[0][token], 0)


def count_off(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Index of each of counts[i] things, and its number among those of i: [2, 0, 1] -> ([0, 0, 2], [0, 1, 0])."""
    index = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    return index, torch.arange(len(index), device=counts.device) - (counts.cumsum(0) - counts)[index]


def row_of_tile(first: Tensor, end: Tensor) -> Tensor:
    """Row (counted over all plans) of each tile, from where the tiles of each row begin and end: int64 [tiles]."""
    counts = (end - first).flatten()
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
