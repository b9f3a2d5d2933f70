"""The forward kernel: one program for each block of queries, an online softmax over the row's tiles of keys.

Accumulation in float32. Logits are scaled in float32 after the product and taken to base 2 (exp2 is the machine's
instruction); the log-sum-exp is stored in natural units.
"""

from __future__ import annotations

import itertools
import os

import torch
import triton
import triton.language as tl
from torch import Tensor

try:
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # before Triton 3.4
    TensorDescriptor = None

from iasa_kernels.primitives import (
    any_nan,
    find_again,
    find_row,
    finite_or_nan,
    hide_unseen,
    inner,
    load_boxes,
    load_numbers,
    load_tokens,
    only_finite,
    product,
    split_width,
    store_numbers,
    store_tokens,
    zeros,
)
from iasa_kernels.tiles import TAIL as MASKED_TILE

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
# Sums of a query that are kept apart to the end: those of every eighth column are one thread's own.
LANES = tl.constexpr(8)


def make_configs(stages: tuple[int, ...], **choices: tuple) -> list[triton.Config]:
    """What autotuning may choose from, every value of each choice among it.

    The interpreter knows no warps or stages and has nothing to measure: it gets one configuration, for which no version of
    Triton asks a device.
    """
    given = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    if triton.knobs.runtime.interpret:
        return [triton.Config(given[0])]
    return [triton.Config(one, num_warps=w, num_stages=depth) for one in given for w in (4, 8) for depth in stages]


def drop_configs(configs: list[triton.Config], arguments: dict, **options) -> list[triton.Config]:
    """Eight warps from 128 rows on, four below: four do not hold 128 rows of 128 numbers in their registers.

    float32 has room for two stages at most, other types gain nothing from one. With IASA_KERNELS_TUNE=0 in the environment
    the first configuration that is left is taken untried: it needs the least memory and no copy engine.
    """
    given = {**arguments, **options}
    kept = [one for one in configs if not one.kwargs.get("BOXES") or given["key_box"] is not None]
    warps = 8 if given["BLOCK"] >= 128 else 4
    depths = (1, 2) if given["PRECISION"] == "tf32x3" else (2, 3)
    kept = [one for one in kept if one.num_warps == warps and one.num_stages in depths]
    return kept[:1] if os.environ.get("IASA_KERNELS_TUNE") == "0" else kept


# Of these numbers the compiler need not know whether they are 1 or multiples of 16: one build serves all sizes.
SIZES = ["rows", "plans", "queries", "keys"]


@triton.jit
def attend(
    acc, acc_rest, top, total, q, q_rest, q_bits, k, v, key_box, key_rest_box, value_box, value_rest_box,
    head_start, tile_start, tile_size, tile_bits, first, end, scale,
    TILE: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    KIND: tl.constexpr, PRECISION: tl.constexpr, BOXES: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """Adds tiles first .. end to the running softmax: weighted values, largest logit and sum of each query.

    KIND says what a tile needs: "whole" nothing, "ragged" a mask beyond its end, "tested" the bits of its pairs (those
    beyond its end have none). With BOXES the copy engine brings whole tiles. Only these are loaded ahead: two pipelined
    loops in one program make the assembler wait for every product.
    """
    WHOLE: tl.constexpr = KIND == "whole"
    tile_start += first
    for tile in tl.range(first, end, num_stages=None if WHOLE and not CAREFUL else 1):
        start, size = tl.load(tile_start), TILE
        tile_start += 1
        if not WHOLE:
            size = tl.load(tile_size + tile)
        if WHOLE and BOXES:
            keys, keys_rest = load_boxes(key_box, key_rest_box, head_start + start, MAIN, REST)
        else:
            keys, keys_rest = load_tokens(k, start, size, TILE, WIDTH, MAIN, REST, WHOLE)
        if CAREFUL and KIND == "tested":
            values, values_rest = load_tokens(v, start, size, TILE, WIDTH, MAIN, REST, WHOLE)
            broken = finite_or_nan(keys, keys_rest, REST) + finite_or_nan(values, values_rest, REST)
            keys, keys_rest = only_finite(keys, keys_rest, broken, REST)
        if KIND == "tested":
            bits = tl.load(tile_bits + tile * TILE + tl.arange(0, TILE))
            unseen = hide_unseen(q_bits, bits)
            logits = inner(q, q_rest, keys, keys_rest, REST, PRECISION, unseen)
            if CAREFUL:
                logits = tl.where(unseen == 0.0, logits + broken[None, :], float("-inf"))
        else:
            logits = inner(q, q_rest, keys, keys_rest, REST, PRECISION)
        if KIND == "ragged":
            logits = tl.where(tl.arange(0, TILE)[None, :] < size, logits, float("-inf"))
        new_top = tl.maximum(top, tl.max(logits, 1) * scale)
        base = new_top
        if KIND == "tested":  # a query may have met no key yet
            base = tl.where(new_top == float("-inf"), 0.0, new_top)
        weights = tl.exp2(tl.fma(logits, scale, -base[:, None]))
        shrink = tl.exp2(top - base)
        if WHOLE and BOXES:
            values, values_rest = load_boxes(value_box, value_rest_box, head_start + start, MAIN, REST)
        else:
            values, values_rest = load_tokens(v, start, size, TILE, WIDTH, MAIN, REST, WHOLE)
        if CAREFUL and KIND == "tested":
            values, values_rest = only_finite(values, values_rest, broken, REST)
        rounded = weights.to(values.dtype)
        acc = product(rounded, values, PRECISION, acc * shrink[:, None])
        if REST:
            acc_rest = product(rounded, values_rest, PRECISION, acc_rest * shrink[:, None])
        total = total * shrink[:, None] + tl.sum(tl.reshape(weights, [weights.shape[0], TILE // LANES, LANES]), 1)
        top = new_top
    return acc, acc_rest, top, total


@triton.jit
def attend_row(
    query, query_rest, bits, out, lse, k, v, key_box, key_rest_box, value_box, value_rest_box, head_start, start, size,
    tile_start, tile_size, tested_start, tested_size, tested_bits, whole, ragged, end, tested, tested_end, scale,
    BLOCK: tl.constexpr, TILE: tl.constexpr, TAIL: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    TESTED: tl.constexpr, CONTINUES: tl.constexpr, PRECISION: tl.constexpr, BOXES: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """The running softmax over all tiles of a row, from nothing or from what out and lse hold."""
    acc, acc_rest = zeros(BLOCK, MAIN, REST)
    top = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK, LANES], tl.float32)
    if CONTINUES:
        before, before_rest = load_tokens(out, start, size, BLOCK, WIDTH, MAIN, REST)
        acc += before.to(tl.float32)
        if REST:
            acc_rest += before_rest.to(tl.float32)
        top = load_numbers(lse, start, size, 0.0, BLOCK) * LOG2_E
        total += 1.0 / LANES
    acc, acc_rest, top, total = attend(
        acc, acc_rest, top, total, query, query_rest, 0, k, v, key_box, key_rest_box, value_box, value_rest_box,
        head_start, tile_start, tile_size, 0, whole, ragged, scale, TILE, WIDTH, MAIN, REST, "whole", PRECISION, BOXES, CAREFUL,
    )  # fmt: skip
    acc, acc_rest, top, total = attend(
        acc, acc_rest, top, total, query, query_rest, 0, k, v, 0, 0, 0, 0,
        0, tile_start, tile_size, 0, ragged, end, scale, TAIL, WIDTH, MAIN, REST, "ragged", PRECISION, False, CAREFUL,
    )  # fmt: skip
    if TESTED:
        acc, acc_rest, top, total = attend(
            acc, acc_rest, top, total, query, query_rest, bits, k, v, 0, 0, 0, 0,
            0, tested_start, tested_size, tested_bits, tested, tested_end, scale,
            TAIL, WIDTH, MAIN, REST, "tested", PRECISION, False, CAREFUL,
        )  # fmt: skip
    return acc, acc_rest, top, total


@triton.autotune(
    make_configs(stages=(1, 2, 3), BOXES=(False, True)),
    key=["BLOCK", "TILE", "WIDTH", "TESTED"],
    restore_value=["out", "lse"],  # a run that continues a dense pass changes what it starts from
    prune_configs_by={"early_config_prune": drop_configs},
)
@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    q, k, v, out, lse, only, q_bits, key_box, key_rest_box, value_box, value_rest_box,
    row_start, row_size, pointer, order, tile_start, tile_size, tested_start, tested_size, tested_bits,
    rows, plans, queries, keys, scale,
    BLOCK: tl.constexpr, TILE: tl.constexpr, TAIL: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    PARTS: tl.constexpr, TESTED: tl.constexpr, CONTINUES: tl.constexpr, PRECISION: tl.constexpr, BOXES: tl.constexpr,
):  # fmt: skip
    """out [b*nh, queries, WIDTH] and lse [b*nh, queries] of one block of queries; with `only`, if that has a 1 for it."""
    if only is not None:
        if tl.load(only + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) == 0:
            return
    plan, start, size, whole, ragged, end, tested, tested_end = find_row(
        row_start, row_size, pointer, order, rows, plans, BLOCK, PARTS
    )
    head = tl.program_id(1).to(tl.int64)
    q, out_head, lse_head = q + head * queries * WIDTH, out + head * queries * WIDTH, lse + head * queries
    k, v = k + head * keys * WIDTH, v + head * keys * WIDTH
    scale *= LOG2_E
    head_start = tl.program_id(1) * keys  # first row of the head in the boxes' tensor

    query, query_rest = load_tokens(q, start, size, BLOCK, WIDTH, MAIN, REST)
    bits = 0
    if TESTED:
        bits = load_numbers(q_bits + plan * queries, start, size, 0, BLOCK)
    acc, acc_rest, top, total = attend_row(
        query, query_rest, bits, out_head, lse_head, k, v, key_box, key_rest_box, value_box, value_rest_box,
        head_start, start, size, tile_start, tile_size, tested_start, tested_size, tested_bits,
        whole, ragged, end, tested, tested_end, scale,
        BLOCK, TILE, TAIL, WIDTH, MAIN, REST, TESTED, CONTINUES, PRECISION, BOXES, False,
    )  # fmt: skip
    if TESTED:
        if any_nan(acc, acc_rest, REST):
            acc, acc_rest, top, total = attend_row(
                query, query_rest, bits, out_head, lse_head, k, v, 0, 0, 0, 0, head_start, start, size,
                tile_start, tile_size, tested_start, tested_size, tested_bits, whole, ragged, end, tested, tested_end, scale,
                BLOCK, TILE, TAIL, WIDTH, MAIN, REST, TESTED, CONTINUES, PRECISION, False, True,
            )  # fmt: skip

    start, size = find_again(row_start, row_size, order, rows, plans, queries, BLOCK, PARTS)
    total = tl.sum(total, 1)
    total = tl.where(total == 0.0, 1.0, total)  # a query without keys: zeros, and top is minus infinity
    store_tokens(out, acc / total[:, None], acc_rest / total[:, None], start, size, BLOCK, WIDTH, MAIN, REST)
    store_numbers(lse, (top + tl.log2(total)) * LN_2, start, size, BLOCK)


def run_forward(
    q: Tensor,  # [b, nh, queries, d], contiguous
    k: Tensor,  # [b, nh, keys, d], contiguous
    v: Tensor,  # [b, nh, keys, d], contiguous
    out: Tensor,  # [b, nh, queries, d], written where a row has tokens
    lse: Tensor,  # float32 [b, nh, queries], written likewise
    tiles: list[Tensor],  # of a TileList
    q_bits: Tensor | None,  # int32 [p, queries]
    scale: float,
    block: int,
    tile: int,
    continues: bool,  # whether out and lse already hold the result over other keys
    only: Tensor | None = None,  # int32 [b * nh, rows * parts]: not 0 where that part of a block is to be computed
) -> None:
    plans, rows = tiles[0].shape
    width = q.shape[-1]
    main, rest = split_width(width)
    parts = parts_of(block, width, q.dtype) if only is None else only.shape[1] // rows
    boxes = make_boxes(k, tile, main, rest) + make_boxes(v, tile, main, rest)
    forward_kernel[(rows * parts, q.shape[0] * q.shape[1])](
        q, k, v, out, lse, only, q_bits, *boxes, *tiles,
        rows, plans, q.shape[2], k.shape[2], scale,
        BLOCK=block // parts, TILE=tile, TAIL=min(tile, MASKED_TILE), WIDTH=width, MAIN=main, REST=rest, PARTS=parts,
        TESTED=q_bits is not None, CONTINUES=continues, PRECISION=dot_precision(q.dtype),
    )  # fmt: skip


def make_boxes(x: Tensor, tile: int, main: int, rest: int) -> list:
    """Descriptors of [tile, main] and [tile, rest] columns of [b, nh, tokens, d], for the copy engine; None without one.

    Hopper has one and reads rows that begin at multiples of 16 bytes, which those of a part of a tensor need not; the
    interpreter has it too.
    """
    able = triton.knobs.runtime.interpret or (x.is_cuda and torch.cuda.get_device_capability(x.device) >= (9, 0))
    if not able or TensorDescriptor is None or x.shape[-1] * x.element_size() % 16 or x.data_ptr() % 16:
        return [None, None]
    rows = x.view(-1, x.shape[-1])
    return [TensorDescriptor.from_tensor(rows, [tile, columns]) if columns else None for columns in (main, rest)]


def parts_of(block: int, width: int, dtype: torch.dtype) -> int:
    """Programs that share a block: two where float32 numbers of 128 rows of 128 would not fit in shared memory."""
    return 2 if dtype == torch.float32 and block * sum(split_width(width)) > 64 * 128 else 1


def dot_precision(dtype: torch.dtype) -> str:
    """float32 products as three tf32 ones: tensor cores at nearly float32's precision."""
    return "tf32x3" if dtype == torch.float32 else "ieee"
