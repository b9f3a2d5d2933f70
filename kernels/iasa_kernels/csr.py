"""Which tokens meet which, as lists of tiles: made once from kept blocks, read by every kernel.

A mask is given as compressed rows: block r of queries keeps the blocks columns[row_pointer[r] : row_pointer[r + 1]]
of keys. Blocks are runs of tokens of any length up to 128. Kernels do not need the blocks of keys as such, they need
runs of keys to load, so neighbouring blocks are joined to runs and the runs are cut into tiles of one size. The
backward pass for keys and values reads the transpose: for each block of keys, tiles of queries.

A kept block is either full (every pair in it counts) or tested (a pair counts if the bits of its two tokens have a
one in common). So a row's tiles are of three kinds: whole ones of full runs, which need no mask at all; what is left of
those runs, ragged; and tested ones, which carry the bits of their tokens. Only whole ones may be longer than TAIL.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

MAX_BLOCK = 128
TAIL = 64  # tokens of a tile that needs a mask, at most
MAX_DENSE = 1 << 26  # pairs of a dense mask


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


@dataclass(frozen=True, eq=False)
class KeptList:
    """Where the gradients of the logits lie that the backward pass keeps, block by block of keys, for dq to read.

    They are a matrix [rows, block_k]: each block of keys has a row for every query that it meets. A tile of `backward_k`
    begins at row offset[i] (tested_offset[i]). Part i of a kept block, at most TAIL keys of it, begins at row first[i] and
    column column[i]; row r of queries of plan p reads the parts pointer[p, r, 0] to pointer[p, r, 2], of which those up to
    pointer[p, r, 1] have TAIL keys and need no mask.
    """

    offset: Tensor  # int32 [tiles of backward_k]
    tested_offset: Tensor  # int32 [tested tiles of it]
    pointer: Tensor  # int32 [p, rows, 3]
    first: Tensor  # int32 [parts]
    column: Tensor  # int32 [parts]
    key_start: Tensor  # int32 [parts], token
    key_size: Tensor  # int32 [parts], 1 to TAIL

    def tensors(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(self)]

    def to(self, device: torch.device | str) -> KeptList:
        return KeptList(*(x.to(device) for x in self.tensors()))


@dataclass(frozen=True, eq=False)
class BlockLayout:
    """A mask in the form that the kernels read. Build it with `make_layout`, per head with `stack_layouts`.

    With `segments` > 0 the sequence is that many equal runs that see themselves in full, and with `sink` all of them
    see the first one in full as well: the forward pass leaves these to torch's dense kernel, `forward` holds the rest,
    and the kernel goes on from the dense result.
    """

    queries: int
    keys: int
    block_q: int  # rows of a tile that a program of the forward pass and of dq owns: a power of two
    block_k: int  # the same for dk and dv
    tile: int  # keys that the forward pass loads at a time where they need no mask, else at most TAIL
    tile_back: int  # keys (dq) or queries (dk, dv) that the backward pass loads at a time, likewise
    forward: TileList
    backward_q: TileList
    backward_k: TileList
    kept: KeptList
    kept_rows: int  # of the matrix, all plans together
    q_bits: Tensor | None = None  # int32 [p, queries]
    k_bits: Tensor | None = None  # int32 [p, keys]
    complete_q: bool = True  # whether every query is in some block
    complete_k: bool = True
    segments: int = 0
    sink: bool = False

    @property
    def plans(self) -> int:
        return len(self.backward_q.start)

    def kept_pairs(self) -> int:
        """Pairs in kept blocks, over all plans: what a kernel has to compute."""
        tiles, size = self.backward_q, self.backward_q.size.flatten().long()
        full, tested = (_row_of_tile(tiles.pointer[..., i], tiles.pointer[..., j]) for i, j in ((0, 2), (3, 4)))
        return int((size[full] * tiles.tile_size).sum() + (size[tested] * tiles.tested_size).sum())

    def density(self) -> float:
        """Share of all pairs that lie in kept blocks."""
        return self.kept_pairs() / (self.plans * self.queries * self.keys)

    def dense_mask(self) -> Tensor:
        """bool [p, queries, keys], for tests on small sizes. Raises ValueError on more than 2**26 pairs."""
        if self.plans * self.queries * self.keys > MAX_DENSE:
            raise ValueError(f"a dense mask of {self.queries} x {self.keys} is refused; 2**26 pairs are accepted")
        mask = torch.zeros(self.plans, self.queries, self.keys, dtype=torch.bool)
        tiles = self.backward_q.to("cpu")
        for plan in range(self.plans):
            for row in range(tiles.start.shape[1]):
                a, n = int(tiles.start[plan, row]), int(tiles.size[plan, row])
                for b, m, tested in tiles.spans(plan, row):
                    part = mask[plan, a : a + n, b : b + m]
                    if tested:
                        part |= (self.q_bits[plan, a : a + n, None].cpu() & self.k_bits[plan, b : b + m].cpu()) != 0
                    else:
                        part.fill_(True)
        return mask

    def to(self, device: torch.device | str) -> BlockLayout:
        return replace(
            self,
            forward=self.forward.to(device),
            backward_q=self.backward_q.to(device),
            backward_k=self.backward_k.to(device),
            kept=self.kept.to(device),
            q_bits=None if self.q_bits is None else self.q_bits.to(device),
            k_bits=None if self.k_bits is None else self.k_bits.to(device),
        )


def make_layout(
    row_pointer: Tensor,  # [rows + 1]
    columns: Tensor,  # [kept], names of blocks of keys, each at most once in a row
    q_start: Tensor,  # [rows]
    q_size: Tensor,  # [rows], up to 128
    k_start: Tensor | None = None,  # [key blocks]; None: the queries' blocks
    k_size: Tensor | None = None,  # [key blocks]
    queries: int | None = None,  # tokens; None: up to the end of the last block
    keys: int | None = None,
    full: Tensor | None = None,  # bool [kept]; None: all blocks are full
    q_bits: Tensor | None = None,  # uint8 or int32 [queries], needed where a block is not full
    k_bits: Tensor | None = None,  # [keys]
    tile: int = 64,
    tile_back: int = 64,
    segments: int = 0,
    sink: bool = False,
) -> BlockLayout:
    """The layout of one mask on the device of `columns`. Raises ValueError with the values found and accepted."""
    if (k_start is None) != (k_size is None):
        raise ValueError("k_start and k_size must be given together")
    k_start, k_size = (q_start, q_size) if k_start is None else (k_start, k_size)
    q_start, q_size, k_start, k_size, columns = (x.long() for x in (q_start, q_size, k_start, k_size, columns))
    queries = int((q_start + q_size).max()) if queries is None else queries
    keys = int((k_start + k_size).max()) if keys is None else keys
    for name, start, size, tokens in (("query", q_start, q_size, queries), ("key", k_start, k_size, keys)):
        _check_blocks(name, start, size, tokens)
    _check_rows(row_pointer, columns, len(q_start), len(k_start))
    for name, value in (("tile", tile), ("tile_back", tile_back)):
        if value not in (16, 32, 64, 128):
            raise ValueError(f"{name} is {value}; 16, 32, 64 or 128 is accepted")
    full = torch.ones_like(columns, dtype=torch.bool) if full is None else full
    if full.shape != columns.shape:
        raise ValueError(f"full has shape {list(full.shape)}; {list(columns.shape)} is needed, one for each block")
    if not full.all():
        q_bits, k_bits = _checked_bits(q_bits, queries, "q_bits"), _checked_bits(k_bits, keys, "k_bits")
    else:
        q_bits = k_bits = None

    rows = torch.repeat_interleave(torch.arange(len(q_start), device=columns.device), row_pointer.diff())
    by_query = _make_tiles(rows, full, k_start[columns], k_size[columns], q_start, q_size, tile_back, k_bits)
    by_key = _make_tiles(columns, full, q_start[rows], q_size[rows], k_start, k_size, tile_back, q_bits)
    kept = _make_kept(rows, columns, full, q_start, q_size, k_start, k_size, by_key)
    if segments:
        rest = _outside_segments(rows, columns, full, q_start, q_size, k_start, k_size, (queries, keys), segments, sink)
        rows, columns, full = rows[rest], columns[rest], full[rest]
    first = by_query
    if tile != tile_back or segments:
        first = _make_tiles(rows, full, k_start[columns], k_size[columns], q_start, q_size, tile, k_bits)
    return BlockLayout(
        queries, keys, _tile_rows(q_size), _tile_rows(k_size), tile, tile_back,
        first, by_query, by_key, kept, int(by_key.tile_size.sum() + by_key.tested_size.sum()), q_bits, k_bits,
        int(q_size.sum()) == queries, int(k_size.sum()) == keys, segments, sink,
    )  # fmt: skip


def stack_layouts(layouts: list[BlockLayout]) -> BlockLayout:
    """One layout for several masks: plan i is used by the heads i, i + p, ... of the flattened batch and heads.

    So nh layouts give every head its own mask, and b * nh give one to every head of every clip. Raises ValueError
    where sizes, number of blocks or tiles differ.
    """
    first = layouts[0]
    for name in ("queries", "keys", "tile", "tile_back", "segments", "sink"):
        found = sorted({getattr(layout, name) for layout in layouts})
        if len(found) > 1:
            raise ValueError(f"the layouts' {name} are {found}; one value is needed")
    tested = any(layout.q_bits is not None for layout in layouts)
    return replace(
        first,
        block_q=max(layout.block_q for layout in layouts),
        block_k=max(layout.block_k for layout in layouts),
        forward=_stack_tiles([layout.forward for layout in layouts]),
        backward_q=_stack_tiles([layout.backward_q for layout in layouts]),
        backward_k=_stack_tiles([layout.backward_k for layout in layouts]),
        kept=_stack_kept(layouts),
        kept_rows=sum(layout.kept_rows for layout in layouts),
        q_bits=_stack_bits([layout.q_bits for layout in layouts], first.queries, first) if tested else None,
        k_bits=_stack_bits([layout.k_bits for layout in layouts], first.keys, first) if tested else None,
        complete_q=all(layout.complete_q for layout in layouts),
        complete_k=all(layout.complete_k for layout in layouts),
    )


def _make_tiles(
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
    run, place = _count_off(whole)
    tail_run, tail_place = _count_off(short)
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


def _make_kept(
    rows: Tensor, columns: Tensor, full: Tensor,  # [kept]
    q_start: Tensor, q_size: Tensor, k_start: Tensor, k_size: Tensor,
    by_key: TileList,
) -> KeptList:  # fmt: skip
    """A block of keys' tiles lie in the matrix by their tokens, full runs before tested ones: a run is one piece of it."""
    pointer = by_key.pointer[0].long()
    row = _row_of_tile(pointer[:, 0], pointer[:, 2])
    tested_row = _row_of_tile(pointer[:, 3], pointer[:, 4])
    group = torch.cat([2 * row, 2 * tested_row + 1])
    start = torch.cat([by_key.tile_start, by_key.tested_start]).long()
    size = torch.cat([by_key.tile_size, by_key.tested_size]).long()
    length = int((q_start + q_size).max()) + 1
    key, by_place = torch.sort(group * length + start)
    offset = torch.empty_like(size)
    offset[by_place] = size[by_place].cumsum(0) - size[by_place]
    # The rows of a kept block begin in the last tile of its run that begins before it does.
    some = (q_size[rows] > 0) & (k_size[columns] > 0)
    rows, columns, full = rows[some], columns[some], full[some]
    order = torch.argsort(rows * (int(k_start.max()) + 1) + k_start[columns])
    rows, columns, full = rows[order], columns[order], full[order]
    wanted = (2 * columns + (~full).long()) * length + q_start[rows]
    tile = by_place[torch.searchsorted(key, wanted, right=True) - 1]
    first = offset[tile] + q_start[rows] - start[tile]
    of, part = _count_off((k_size[columns] + TAIL - 1) // TAIL)
    column = part * TAIL
    parts = [first[of], column, k_start[columns][of] + column, (k_size[columns][of] - column).clamp_max(TAIL)]
    row_and_kind = 2 * rows[of] + (parts[-1] < TAIL).long()
    by_kind = torch.argsort(row_and_kind, stable=True)
    counts = torch.bincount(row_and_kind, minlength=2 * len(q_start)).view(-1, 2)
    ends = counts.flatten().cumsum(0).view(-1, 2)
    pointer = torch.cat([ends[:, :1] - counts[:, :1], ends], 1)[None]
    tiles = len(by_key.tile_start)
    lists = (offset[:tiles], offset[tiles:], pointer, *(x[by_kind] for x in parts))
    return KeptList(*(x.int().contiguous() for x in lists))


def _bits_of_tiles(start: Tensor, size: Tensor, bits: Tensor | None, tail: int) -> Tensor:
    """The bits of the tokens of each tested tile: int32 [tiles, tail], 0 beyond its end."""
    if bits is None:
        return start.new_zeros(0, tail, dtype=torch.int32)
    place = torch.arange(tail, device=start.device)
    token = (start[:, None] + place).clamp_max(bits.shape[1] - 1)
    return torch.where(place < size[:, None], bits[0][token], 0)


def _count_off(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Index of each of counts[i] things, and its number among those of i: [2, 0, 1] -> ([0, 0, 2], [0, 1, 0])."""
    index = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    return index, torch.arange(len(index), device=counts.device) - (counts.cumsum(0) - counts)[index]


def _outside_segments(
    rows: Tensor, columns: Tensor, full: Tensor,
    q_start: Tensor, q_size: Tensor, k_start: Tensor, k_size: Tensor,
    tokens: tuple[int, int], segments: int, sink: bool,
) -> Tensor:  # fmt: skip
    """Kept blocks that the dense pass leaves, bool [kept]; ValueError if a segment does not see in full what it must."""
    if tokens[0] != tokens[1] or tokens[0] % segments:
        raise ValueError(f"{tokens[0]} queries and {tokens[1]} keys do not make {segments} equal segments")
    length = tokens[0] // segments
    for start, size in ((q_start, q_size), (k_start, k_size)):
        if ((start // length) != (start + size - 1).clamp_min(0) // length)[size > 0].any():
            raise ValueError(f"a block reaches over the end of a segment of {length} tokens")
    of_query, of_key = q_start[rows] // length, k_start[columns] // length
    dense = of_query == of_key
    for name, one, squares in (("own", dense, segments), ("first", (of_key == 0) & ~dense, segments - 1)):
        if name == "first" and not sink:
            continue
        inside = int((q_size[rows] * k_size[columns])[one & full].sum())
        if inside != squares * length**2:
            raise ValueError(
                f"the segments see {inside} pairs of full blocks in their {name} segment; "
                f"all {squares * length**2} are needed"
            )
    return ~(dense | (of_key == 0)) if sink else ~dense


def _check_blocks(name: str, start: Tensor, size: Tensor, tokens: int) -> None:
    if start.shape != size.shape or start.ndim != 1 or not len(start):
        raise ValueError(f"{name} blocks have starts {list(start.shape)} and sizes {list(size.shape)}; [blocks] twice")
    if int(size.min()) < 0 or int(size.max()) > MAX_BLOCK:
        raise ValueError(
            f"{name} blocks hold {int(size.min())} to {int(size.max())} tokens; 0 to {MAX_BLOCK} are accepted"
        )
    if int(start.min()) < 0 or int((start + size).max()) > tokens:
        raise ValueError(
            f"{name} blocks go from {int(start.min())} to {int((start + size).max())}; 0 to {tokens} is accepted"
        )
    some = size > 0
    order = torch.argsort(start[some])
    start, size = start[some][order], size[some][order]
    if (start[1:] < (start + size)[:-1]).any():
        raise ValueError(f"{name} blocks overlap; each token may be in one block")


def _check_rows(row_pointer: Tensor, columns: Tensor, rows: int, blocks: int) -> None:
    if row_pointer.shape != (rows + 1,) or int(row_pointer[-1]) != len(columns) or (row_pointer.diff() < 0).any():
        raise ValueError(
            f"row_pointer has shape {list(row_pointer.shape)} and ends at {int(row_pointer[-1])}; "
            f"[{rows + 1}], rising to {len(columns)}, is needed"
        )
    if len(columns) and not (0 <= int(columns.min()) and int(columns.max()) < blocks):
        raise ValueError(
            f"columns go from {int(columns.min())} to {int(columns.max())}; 0 to {blocks - 1} are accepted"
        )


def _checked_bits(bits: Tensor | None, tokens: int, name: str) -> Tensor:
    if bits is None:
        raise ValueError(f"{name} is missing; blocks that are not full need it")
    if bits.shape != (tokens,) or bits.dtype not in (torch.uint8, torch.int32):
        raise ValueError(f"{name} is {bits.dtype} {list(bits.shape)}; uint8 or int32 [{tokens}] is needed")
    return bits[None].int().contiguous()


def _tile_rows(size: Tensor) -> int:
    """The smallest power of two from 16 on that holds every block."""
    return max(16, 1 << (int(size.max()) - 1).bit_length())


def _stack_tiles(lists: list[TileList]) -> TileList:
    rows = sorted({one.start.shape[1] for one in lists})
    if len(rows) > 1:
        raise ValueError(f"the layouts have {rows} blocks; one number is needed")
    shift = torch.zeros(5, dtype=torch.int32)
    pointers = []
    for one in lists:
        pointers.append(one.pointer + shift.to(one.pointer.device))
        shift += torch.tensor(3 * [len(one.tile_start)] + 2 * [len(one.tested_start)], dtype=torch.int32)
    joined = {name.name: torch.cat([getattr(one, name.name) for one in lists]) for name in fields(TileList)}
    return TileList(**(joined | {"pointer": torch.cat(pointers)}))


def _stack_kept(layouts: list[BlockLayout]) -> KeptList:
    """The matrices one under the other."""
    parts = rows = 0
    moved = []
    for layout in layouts:
        kept = layout.kept
        at = {name: getattr(kept, name) + rows for name in ("offset", "tested_offset", "first")}
        moved.append(replace(kept, pointer=kept.pointer + parts, **at))
        parts, rows = parts + len(kept.first), rows + layout.kept_rows
    return KeptList(*(torch.cat(column) for column in zip(*(one.tensors() for one in moved), strict=True)))


def _stack_bits(bits: list[Tensor | None], tokens: int, layout: BlockLayout) -> Tensor:
    nothing = torch.zeros(1, tokens, dtype=torch.int32, device=layout.forward.start.device)
    return torch.cat([nothing if one is None else one for one in bits])


def _row_of_tile(first: Tensor, end: Tensor) -> Tensor:
    """Row (counted over all plans) of each tile, from where the tiles of each row begin and end: int64 [tiles]."""
    counts = (end - first).flatten()
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
