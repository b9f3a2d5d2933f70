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

from iasa_kernels.checks import (
    MAX_TOKENS,
    check_blocks,
    check_dense,
    check_lists,
    check_rows,
    check_whole,
    checked_bits,
)
from iasa_kernels.tiles import TAIL, TileList, count_off, make_tiles, row_of_tile

MAX_DENSE = 1 << 26  # pairs of a dense mask


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
        full, tested = (row_of_tile(tiles.pointer[..., i], tiles.pointer[..., j]) for i, j in ((0, 2), (3, 4)))
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
    row_pointer: Tensor,  # int32 or int64 [rows + 1], as columns, starts and sizes are
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
    check_lists(
        row_pointer=row_pointer, columns=columns, q_start=q_start, q_size=q_size, k_start=k_start, k_size=k_size
    )
    q_start, q_size, k_start, k_size, columns = (x.long() for x in (q_start, q_size, k_start, k_size, columns))
    queries = check_blocks("query", q_start, q_size, queries)
    keys = check_blocks("key", k_start, k_size, keys)
    check_rows(row_pointer, columns, len(q_start), len(k_start))
    for name, value in (("tile", tile), ("tile_back", tile_back)):
        if not isinstance(value, int) or value not in (16, 32, 64, 128):
            raise ValueError(f"{name} is {value}; 16, 32, 64 or 128 is accepted")
    check_whole("segments", segments, 0, MAX_TOKENS)
    if sink and not segments:
        raise ValueError("there is a sink and segments is 0; a sink is the first of 1 or more segments")
    full = torch.ones_like(columns, dtype=torch.bool) if full is None else full
    check_dense("full", full, columns.device)
    if full.shape != columns.shape or full.dtype != torch.bool:
        raise ValueError(
            f"full is {full.dtype} {list(full.shape)}; torch.bool {list(columns.shape)} is needed, one for each block"
        )
    if not full.all():
        q_bits, k_bits = (
            checked_bits(bits, tokens, name, columns.device)
            for bits, tokens, name in ((q_bits, queries, "q_bits"), (k_bits, keys, "k_bits"))
        )
    else:
        q_bits = k_bits = None

    rows = torch.repeat_interleave(torch.arange(len(q_start), device=columns.device), row_pointer.diff())
    by_query = make_tiles(rows, full, k_start[columns], k_size[columns], q_start, q_size, tile_back, k_bits)
    by_key = make_tiles(columns, full, q_start[rows], q_size[rows], k_start, k_size, tile_back, q_bits)
    kept = _make_kept(rows, columns, full, q_start, q_size, k_start, k_size, by_key)
    if segments:
        rest = _outside_segments(rows, columns, full, q_start, q_size, k_start, k_size, (queries, keys), segments, sink)
        rows, columns, full = rows[rest], columns[rest], full[rest]
    first = by_query
    if tile != tile_back or segments:
        first = make_tiles(rows, full, k_start[columns], k_size[columns], q_start, q_size, tile, k_bits)
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
    if not isinstance(layouts, (list, tuple)) or not all(isinstance(layout, BlockLayout) for layout in layouts):
        found = (
            [type(layout).__name__ for layout in layouts]
            if isinstance(layouts, (list, tuple))
            else type(layouts).__name__
        )
        raise ValueError(f"the layouts are {found}; a list of what make_layout returns is needed")
    if not layouts:
        raise ValueError("there are no layouts to stack; one or more are needed")
    where = sorted({str(layout.forward.start.device) for layout in layouts})
    if len(where) > 1:
        raise ValueError(f"the layouts are on {where}; one device is needed")
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


def _make_kept(
    rows: Tensor, columns: Tensor, full: Tensor,  # [kept]
    q_start: Tensor, q_size: Tensor, k_start: Tensor, k_size: Tensor,
    by_key: TileList,
) -> KeptList:  # fmt: skip
    """A block of keys' tiles lie in the matrix by their tokens, full runs before tested ones: a run is one piece of it."""
    pointer = by_key.pointer[0].long()
    row = row_of_tile(pointer[:, 0], pointer[:, 2])
    tested_row = row_of_tile(pointer[:, 3], pointer[:, 4])
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
    of, part = count_off((k_size[columns] + TAIL - 1) // TAIL)
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
