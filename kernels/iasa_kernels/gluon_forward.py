"""The forward kernel in Gluon, for Hopper: one warp brings tiles with the copy engine, warpgroups compute.

For a query i with allowed keys J(i) and s_ij = scale log2(e) q_i . k_j:

    m_i = max_j s_ij     t_i = sum_j 2^(s_ij - m_i)     o_i = sum_j 2^(s_ij - m_i) v_j / t_i     lse_i = (m_i + log2 t_i) ln 2

A program has a block of 64 or 128 queries and walks along its row's tiles as forward.py does: whole, ragged, tested. Its warps
have roles. *Computing*: a warpgroup for every 64 queries, each with its running maximum m, sum t and values o; two of them
run free of each other, so that one multiplies while the other takes exponentials. *Loading*: one warp asks the copy engine
(TMA) for the queries, then for each tile's keys and its values, which lie by turns in a ring of SLOTS buffers. Number n of
them has slot n mod SLOTS, for the floor(n / SLOTS)-th time: `ready` tells the warpgroups that its bytes are there, `free`
tells the loading warp that every warpgroup has read what was there before.

A ragged or tested tile comes as 64 tokens from its start, whatever lies behind its end, and their logits are made minus
infinity. An unseen value that is not finite makes a NaN there (0 times NaN), which no query may get from it: 64 queries
with a NaN among their results are not stored but marked, and the Triton kernel computes them anew with the care it takes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from iasa_kernels.forward import run_forward as run_triton

LOG2_E = gl.constexpr(1.4426950408889634)
LN_2 = gl.constexpr(0.6931471805599453)
ROWS = gl.constexpr(64)  # queries of a warpgroup, keys of a tile that needs a mask
# Of a thread, on average: one program of 128 queries on a multiprocessor, two of 64. The loading warps hand theirs over.
REGISTERS = {64: 128, 128: 168}


@gluon.jit
def bring(box, first, ring, ready, free, place, COUNT: gl.constexpr, SLOTS: gl.constexpr):
    """Asks for tokens first .. first + COUNT as number `place` of the ring, once its slot is free."""
    slot = place % SLOTS
    mbarrier.wait(free.index(slot), (place // SLOTS & 1) ^ 1)  # which all are in the first round
    mbarrier.expect(ready.index(slot), box.block_type.nbytes)
    tma.async_copy_global_to_shared(box, [first, 0], ready.index(slot), ring.index(slot).slice(0, COUNT))
    return place + 1


@gluon.jit
def bring_tiles(
    k_box, v_box, starts, first, end, before, ring, ready, free, place, COUNT: gl.constexpr, SLOTS: gl.constexpr
):
    """Keys and values of tiles first .. end; `before` counts the tokens of the heads before."""
    for tile in range(first, end):
        start = before + gl.load(starts + tile)
        place = bring(k_box, start, ring, ready, free, place, COUNT, SLOTS)
        place = bring(v_box, start, ring, ready, free, place, COUNT, SLOTS)
    return place


@gluon.jit
def load(boxes, queries_first, keys_first, lists, memory, PARTS: gl.constexpr, TILE: gl.constexpr, SLOTS: gl.constexpr):
    """The loading warp: the queries, then every tile's keys and values in turn."""
    q_box, k_box, v_box, k_tail_box, v_tail_box = boxes
    tile_start, tested_start, _, _, _, tiles = lists
    whole, ragged, end, tested, tested_end = tiles
    q, q_ready, ring, ready, free = memory
    for part in gl.static_range(PARTS):
        mbarrier.expect(q_ready.index(part), q_box.block_type.nbytes)
        tma.async_copy_global_to_shared(q_box, [queries_first + part * ROWS, 0], q_ready.index(part), q.index(part))
    place = gl.to_tensor(0)
    place = bring_tiles(k_box, v_box, tile_start, whole, ragged, keys_first, ring, ready, free, place, TILE, SLOTS)
    place = bring_tiles(
        k_tail_box, v_tail_box, tile_start, ragged, end, keys_first, ring, ready, free, place, ROWS, SLOTS
    )
    bring_tiles(
        k_tail_box, v_tail_box, tested_start, tested, tested_end, keys_first, ring, ready, free, place, ROWS, SLOTS
    )


@gluon.jit
def attend(
    acc, top, total, q, bits, tile_size, tile_bits, first, end, scale, ring, ready, free, place,
    KIND: gl.constexpr, COUNT: gl.constexpr, SLOTS: gl.constexpr, OUT: gl.constexpr,
):  # fmt: skip
    """Adds tiles first .. end to the running softmax; KIND as in forward.py."""
    LOGITS: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, COUNT, 16])
    COLUMN: gl.constexpr = gl.SliceLayout(0, LOGITS)
    WEIGHTS: gl.constexpr = gl.DotOperandLayout(0, OUT, 2)
    ROW: gl.constexpr = gl.SliceLayout(1, LOGITS)
    top, total = gl.convert_layout(top, ROW), gl.convert_layout(total, ROW)
    if KIND == "tested":
        bits = gl.convert_layout(bits, ROW)
        tile_bits += first * COUNT
    for tile in range(first, end):
        slot = place % SLOTS
        mbarrier.wait(ready.index(slot), place // SLOTS & 1)
        keys = ring.index(slot).slice(0, COUNT).permute((1, 0))
        logits = gl.zeros([ROWS, COUNT], gl.float32, LOGITS)
        if KIND == "tested":
            tokens = gl.load(tile_bits + gl.arange(0, COUNT, COLUMN))
            tile_bits += COUNT
            logits = gl.where((bits[:, None] & tokens[None, :]) != 0, logits, float("-inf"))
        logits = warpgroup_mma(q, keys, logits, use_acc=KIND == "tested", is_async=True)
        logits = warpgroup_mma_wait(0, deps=[logits])
        mbarrier.arrive(free.index(slot), count=1)
        place += 1
        if KIND == "ragged":
            inside = gl.arange(0, COUNT, COLUMN) < gl.load(tile_size + tile)
            logits = gl.where(inside[None, :], logits, float("-inf"))
        new_top = gl.maximum(top, gl.max(logits, 1) * scale)
        base = new_top
        if KIND == "tested":  # a query may have met no key yet
            base = gl.where(new_top == float("-inf"), 0.0, new_top)
        weights = gl.exp2(logits * scale - base[:, None])
        shrink = gl.exp2(top - base)
        total = total * shrink + gl.sum(weights, 1)
        top = new_top
        acc = acc * gl.convert_layout(shrink, gl.SliceLayout(1, OUT))[:, None]
        rounded = gl.convert_layout(weights.to(ring.dtype), WEIGHTS)
        slot = place % SLOTS
        mbarrier.wait(ready.index(slot), place // SLOTS & 1)
        acc = warpgroup_mma(rounded, ring.index(slot).slice(0, COUNT), acc, is_async=True)
        acc = warpgroup_mma_wait(0, deps=[acc])
        mbarrier.arrive(free.index(slot), count=1)
        place += 1
    top, total = gl.convert_layout(top, gl.SliceLayout(1, OUT)), gl.convert_layout(total, gl.SliceLayout(1, OUT))
    return acc, top, total, place


@gluon.jit
def attend_rows(
    work, lists, memory,
    PART: gl.constexpr, TILE: gl.constexpr, WIDTH: gl.constexpr, SLOTS: gl.constexpr, TESTED: gl.constexpr,
    CONTINUES: gl.constexpr,
):  # fmt: skip
    """A computing warpgroup: the running softmax of 64 queries over all tiles of their row."""
    OUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, WIDTH, 16])
    ROW: gl.constexpr = gl.SliceLayout(1, OUT)
    out, lse, broken, q_bits, first, tokens, scale = work
    _, _, tile_size, tested_size, tested_bits, tiles = lists
    whole, ragged, end, tested, tested_end = tiles
    q, q_ready, ring, ready, free = memory
    row, column = gl.arange(0, ROWS, ROW) + PART * ROWS, gl.arange(0, WIDTH, gl.SliceLayout(0, OUT))
    inside = row < tokens
    where = (first + row[:, None]).to(gl.int64) * WIDTH + column[None, :]
    acc = gl.zeros([ROWS, WIDTH], gl.float32, OUT)
    top = gl.full([ROWS], float("-inf"), gl.float32, ROW)
    total = gl.zeros([ROWS], gl.float32, ROW)
    bits = gl.zeros([ROWS], gl.int32, ROW)
    if CONTINUES:
        acc = gl.load(out + where, mask=inside[:, None], other=0.0).to(gl.float32)
        top = gl.load(lse + first + row, mask=inside, other=0.0) * LOG2_E
        total = gl.full([ROWS], 1.0, gl.float32, ROW)
    if TESTED:
        bits = gl.load(q_bits + row, mask=inside, other=0)
    mbarrier.wait(q_ready.index(PART), 0)
    queries, place = q.index(PART), gl.to_tensor(0)
    acc, top, total, place = attend(
        acc, top, total, queries, bits, tile_size, tested_bits, whole, ragged, scale, ring, ready, free, place,
        "whole", TILE, SLOTS, OUT,
    )  # fmt: skip
    acc, top, total, place = attend(
        acc, top, total, queries, bits, tile_size, tested_bits, ragged, end, scale, ring, ready, free, place,
        "ragged", ROWS, SLOTS, OUT,
    )  # fmt: skip
    if TESTED:
        acc, top, total, place = attend(
            acc, top, total, queries, bits, tested_size, tested_bits, tested, tested_end, scale, ring, ready, free, place,
            "tested", ROWS, SLOTS, OUT,
        )  # fmt: skip
    total = gl.where(total == 0.0, 1.0, total)  # a query without keys: zeros, and top is minus infinity
    acc = acc / total[:, None]
    if gl.max(gl.max(((acc != acc) & inside[:, None]).to(gl.int32), 1), 0) != 0:
        gl.store(broken + PART, 1)
    else:
        gl.store(out + where, acc.to(ring.dtype), mask=inside[:, None])
        gl.store(lse + first + row, (top + gl.log2(total)) * LN_2, mask=inside)


@gluon.jit(do_not_specialize=["rows", "plans", "queries", "keys"])
def gluon_kernel(
    q_box, k_box, v_box, k_tail_box, v_tail_box, out, lse, broken, q_bits,
    row_start, row_size, pointer, order, tile_start, tile_size, tested_start, tested_size, tested_bits,
    rows, plans, queries, keys, scale,
    BLOCK: gl.constexpr, TILE: gl.constexpr, WIDTH: gl.constexpr, SLOTS: gl.constexpr,
    TESTED: gl.constexpr, CONTINUES: gl.constexpr,
):  # fmt: skip
    """out [b*nh, queries, WIDTH] and lse [b*nh, queries] of a block of queries; for 64 of which one has a NaN, a mark instead."""
    PARTS: gl.constexpr = BLOCK // ROWS
    q = gl.allocate_shared_memory(q_box.dtype, [PARTS, ROWS, WIDTH], q_box.layout)
    ring = gl.allocate_shared_memory(k_box.dtype, [SLOTS, TILE, WIDTH], k_box.layout)
    q_ready = gl.allocate_shared_memory(gl.int64, [PARTS, 1], mbarrier.MBarrierLayout())
    ready = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    free = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    for part in gl.static_range(PARTS):
        mbarrier.init(q_ready.index(part), count=1)
    for slot in gl.static_range(SLOTS):
        mbarrier.init(ready.index(slot), count=1)
        mbarrier.init(free.index(slot), count=PARTS)
    fence_async_shared()  # the copy engine sees the barriers as they are now

    plan, head = gl.program_id(1) % plans, gl.program_id(1)
    row = plan * rows + gl.load(order + plan * rows + gl.program_id(0))
    where = pointer + 5 * row
    tiles = (gl.load(where), gl.load(where + 1), gl.load(where + 2), gl.load(where + 3), gl.load(where + 4))
    first, tokens = gl.load(row_start + row), gl.load(row_size + row)
    broken += (head * rows + gl.program_id(0)) * PARTS
    if TESTED:
        q_bits += plan * queries + first
    boxes = (q_box, k_box, v_box, k_tail_box, v_tail_box)
    first += head * queries
    lists = (tile_start, tested_start, tile_size, tested_size, tested_bits, tiles)
    memory = (q, q_ready, ring, ready, free)
    work = (out, lse, broken, q_bits, first, tokens, scale)
    if PARTS == 2:
        gl.warp_specialize([
            (attend_rows, (work, lists, memory, 0, TILE, WIDTH, SLOTS, TESTED, CONTINUES)),
            (attend_rows, (work, lists, memory, 1, TILE, WIDTH, SLOTS, TESTED, CONTINUES)),
            (load, (boxes, first, head * keys, lists, memory, PARTS, TILE, SLOTS)),
        ], [4, 1], [240, 24])  # fmt: skip
    else:
        gl.warp_specialize([
            (attend_rows, (work, lists, memory, 0, TILE, WIDTH, SLOTS, TESTED, CONTINUES)),
            (load, (boxes, first, head * keys, lists, memory, PARTS, TILE, SLOTS)),
        ], [1], [24])  # fmt: skip


def run_forward(
    q: Tensor,  # [b, nh, queries, d] float16 or bfloat16, d 64 or 128
    k: Tensor,  # [b, nh, keys, d]
    v: Tensor,  # [b, nh, keys, d]
    out: Tensor,  # [b, nh, queries, d], written where a row has tokens
    lse: Tensor,  # float32 [b, nh, queries], written likewise
    tiles: list[Tensor],  # of a TileList
    q_bits: Tensor | None,  # int32 [p, queries]
    scale: float,
    block: int,  # 64 or 128
    tile: int,  # 64 or 128
    continues: bool,  # whether out and lse already hold the result over other keys
) -> None:
    """What forward.run_forward does, for what `api.py` lets through."""
    plans, rows = tiles[0].shape
    heads, width, parts = q.shape[0] * q.shape[1], q.shape[-1], block // ROWS.value
    broken = torch.zeros(heads, rows * parts, dtype=torch.int32, device=q.device)
    boxes = [make_box(q, ROWS.value), *(make_box(x, tokens) for tokens in (tile, ROWS.value) for x in (k, v))]
    gluon_kernel[(rows, heads)](
        *boxes, out, lse, broken, q_bits, *tiles, rows, plans, q.shape[2], k.shape[2], scale * LOG2_E.value,
        BLOCK=block, TILE=tile, WIDTH=width, SLOTS=slots_of(block, tile), TESTED=q_bits is not None, CONTINUES=continues,
        num_warps=4, maxnreg=REGISTERS[block],
    )  # fmt: skip
    run_triton(q, k, v, out, lse, tiles, q_bits, scale, block, tile, continues, only=broken)


def make_box(x: Tensor, tokens: int) -> TensorDescriptor:
    """For the copy engine: `tokens` rows of [b * nh * tokens, d], which begin at a multiple of 16 bytes."""
    x = x if x.data_ptr() % 16 == 0 else x.clone()
    rows = x.view(-1, x.shape[-1])
    return TensorDescriptor.from_tensor(rows, [tokens, x.shape[-1]], layout_of(tokens, x.shape[-1]))


def layout_of(tokens: int, width: int) -> gl.NVMMASharedLayout:
    """How 16-bit tokens lie in shared memory for the products."""
    return gl.NVMMASharedLayout.get_default_for([tokens, width], gl.float16)


def slots_of(block: int, tile: int) -> int:
    """Tiles of keys or values in the ring: what leaves room for two programs of 64 queries on a multiprocessor."""
    return 8 if block == 128 and tile == 64 else 4
