"""Which tokens meet which, as lists of tiles: made once from kept blocks, read by every kernel.

A mask is given as compressed rows: block r of queries keeps the blocks columns[row_pointer[r] : row_pointer[r + 1]]
of keys. Blocks are runs of tokens of any length up to 128. Kernels do not need the blocks of keys as such, they need
runs of keys to load, so neighbouring blocks are joined to runs and the runs are cut into tiles of one size. The
backward pass for keys and values reads the transpose: for each block of keys, tiles of queries.

A kept block is either full (every pair in it counts) or tested (a pair counts if the bits of its two tokens have a
one in common); the tested tiles of a row come after its full ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

MAX_BLOCK = 128
MAX_DENSE = 1 << 26  # pairs of a dense mask


@dataclass(frozen=True, eq=False)
class TileList:
    """For each row, a block of tokens, the tiles of tokens on the other side that it meets; p plans side by side.

    Row r of plan p covers tokens start[p, r] .. start[p, r] + size[p, r]. Its full tiles are those from
    pointer[p, r, 0] to pointer[p, r, 1], its tested ones go on to pointer[p, r, 2]. Two rows of which the first
    meets tokens 0..6 and the second meets tokens 0..4 and, by their bits, 4..6, in tiles of 4:

        start [[0, 4]]   size [[4, 2]]   pointer [[[0, 2, 2], [2, 3, 4]]]
        tile_start [0, 4, 0, 4]   tile_size [4, 2, 4, 2]   order [[0, 1]]
    """

    start: Tensor  # int32 [p, rows]
    size: Tensor  # int32 [p, rows]
    pointer: Tensor  # int32 [p, rows, 3]
    order: Tensor  # int32 [p, rows], longest rows first: what starts last should be short
    tile_start: Tensor  # int32 [tiles]
    tile_size: Tensor  # int32 [tiles], 1 or more

    def tensors(self) -> list[Tensor]:
        return [self.start, self.size, self.pointer, self.order, self.tile_start, self.tile_size]

    def to(self, device: torch.device | str) -> TileList:
        return TileList(*(x.to(device) for x in self.tensors()))


@dataclass(frozen=True, eq=False)
class BlockLayout:
    """A mask in the form that the kernels read. Build it with `make_layout`, per head with `stack_layouts`.

    With `segments` > 0 the sequence is that many equal runs that see themselves in full: the forward pass leaves
    these to torch's dense kernel, `forward` holds the rest, and the kernel goes on from the dense result.
    """

    queries: int
    keys: int
    block_q: int  # rows of a tile that a program of the forward pass and of dq owns: a power of two
    block_k: int  # the same for dk and dv
    tile: int  # keys that the forward pass loads at a time
    tile_back: int  # keys (dq) or queries (dk, dv) that the backward pass loads at a time
    forward: TileList
    backward_q: TileList
    backward_k: TileList
    q_bits: Tensor | None = None  # [p, queries], uint8 or int32
    k_bits: Tensor | None = None  # [p, keys]
    complete_q: bool = True  # whether every query is in some block
    complete_k: bool = True
    segments: int = 0

    @property
    def plans(self) -> int:
        return len(self.backward_q.start)

    def kept_pairs(self) -> int:
        """Pairs in kept blocks, over all plans: what a kernel has to compute."""
        tiles = self.backward_q
        row = _row_of_tile(tiles.pointer)
        return int((tiles.size.flatten().long()[row] * tiles.tile_size).sum())

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
                first, tested, end = tiles.pointer[plan, row].tolist()
                a, n = int(tiles.start[plan, row]), int(tiles.size[plan, row])
                for tile in range(first, end):
                    b, m = int(tiles.tile_start[tile]), int(tiles.tile_size[tile])
                    part = mask[plan, a : a + n, b : b + m]
                    if tile < tested:
                        part.fill_(True)
                    else:
                        part |= (self.q_bits[plan, a : a + n, None].cpu() & self.k_bits[plan, b : b + m].cpu()) != 0
        return mask

    def to(self, device: torch.device | str) -> BlockLayout:
        return replace(
            self,
            forward=self.forward.to(device),
            backward_q=self.backward_q.to(device),
            backward_k=self.backward_k.to(device),
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
    by_query = _make_tiles(rows, full, k_start[columns], k_size[columns], q_start, q_size, tile_back)
    by_key = _make_tiles(columns, full, q_start[rows], q_size[rows], k_start, k_size, tile_back)
    if segments:
        rest = _outside_segments(rows, columns, full, q_start, q_size, k_start, k_size, (queries, keys), segments)
        rows, columns, full = rows[rest], columns[rest], full[rest]
    same = tile == tile_back and not segments
    first = by_query if same else _make_tiles(rows, full, k_start[columns], k_size[columns], q_start, q_size, tile)
    return BlockLayout(
        queries, keys, _tile_rows(q_size), _tile_rows(k_size), tile, tile_back,
        first, by_query, by_key, q_bits, k_bits,
        int(q_size.sum()) == queries, int(k_size.sum()) == keys, segments,
    )  # fmt: skip


def stack_layouts(layouts: list[BlockLayout]) -> BlockLayout:
    """One layout for several masks: plan i is used by the heads i, i + p, ... of the flattened batch and heads.

    So nh layouts give every head its own mask, and b * nh give one to every head of every clip. Raises ValueError
    where sizes, number of blocks or tiles differ.
    """
    first = layouts[0]
    for name in ("queries", "keys", "tile", "tile_back", "segments"):
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
    # Runs are cut into tiles.
    pieces = (run_length + tile - 1) // tile
    run = torch.repeat_interleave(torch.arange(len(pieces), device=row.device), pieces)
    offset = tile * (torch.arange(len(run), device=row.device) - (pieces.cumsum(0) - pieces)[run])
    counts = torch.bincount(run_group[run], minlength=2 * len(row_start)).view(-1, 2)
    end = counts.sum(1).cumsum(0)
    pointer = torch.stack([end - counts.sum(1), end - counts[:, 1], end], dim=1)
    order = torch.argsort(counts.sum(1), descending=True, stable=True)
    parts = (row_start, row_size, pointer, order)
    tiles = (run_start[run] + offset, (run_length[run] - offset).clamp_max(tile))
    return TileList(*(x[None].int().contiguous() for x in parts), *(x.int() for x in tiles))


def _outside_segments(
    rows: Tensor, columns: Tensor, full: Tensor,
    q_start: Tensor, q_size: Tensor, k_start: Tensor, k_size: Tensor,
    tokens: tuple[int, int], segments: int,
) -> Tensor:  # fmt: skip
    """Kept blocks that join two segments, bool [kept]; ValueError if a segment does not see itself in full."""
    if tokens[0] != tokens[1] or tokens[0] % segments:
        raise ValueError(f"{tokens[0]} queries and {tokens[1]} keys do not make {segments} equal segments")
    length = tokens[0] // segments
    for start, size in ((q_start, q_size), (k_start, k_size)):
        if ((start // length) != (start + size - 1).clamp_min(0) // length)[size > 0].any():
            raise ValueError(f"a block reaches over the end of a segment of {length} tokens")
    own = q_start[rows] // length == k_start[columns] // length
    inside = (q_size[rows] * k_size[columns])[own & full].sum()
    if int(inside) != segments * length**2:
        raise ValueError(
            f"the segments hold {int(inside)} pairs of full blocks; all {segments * length**2} are needed"
        )
    return ~own


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
    return bits[None].contiguous()


def _tile_rows(size: Tensor) -> int:
    """The smallest power of two from 16 on that holds every block."""
    return max(16, 1 << (int(size.max()) - 1).bit_length())


def _stack_tiles(lists: list[TileList]) -> TileList:
    rows = sorted({one.start.shape[1] for one in lists})
    if len(rows) > 1:
        raise ValueError(f"the layouts have {rows} blocks; one number is needed")
    before = [0]
    for one in lists[:-1]:
        before.append(before[-1] + len(one.tile_start))
    return TileList(
        torch.cat([one.start for one in lists]),
        torch.cat([one.size for one in lists]),
        torch.cat([one.pointer + shift for one, shift in zip(lists, before, strict=True)]),
        torch.cat([one.order for one in lists]),
        torch.cat([one.tile_start for one in lists]),
        torch.cat([one.tile_size for one in lists]),
    )


def _stack_bits(bits: list[Tensor | None], tokens: int, layout: BlockLayout) -> Tensor:
    nothing = torch.zeros(1, tokens, dtype=torch.int32, device=layout.forward.start.device)
    return torch.cat([nothing if one is None else one.int() for one in bits])


def _row_of_tile(pointer: Tensor) -> Tensor:
    """Row (counted over all plans) of each tile: int64 [tiles]."""
    counts = (pointer[..., 2] - pointer[..., 0]).flatten()
    return torch.repeat_interleave(torch.arange(len(counts), device=pointer.device), counts)
