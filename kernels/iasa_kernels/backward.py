"""The backward kernels: dk and dv over each block of keys' tiles of queries, dq over the transposed list.

Weights are made again from the log-sum-exp, P = exp(logits - lse), as in flash attention. With delta = sum(out * grad)
- grad_lse the gradient of the logits is dS = P (grad v^T - delta); dq = scale dS k, dk = scale dS^T q, dv = P^T grad.
Accumulation in float32; the scale is applied in float32 after the products, as in the forward pass.

That is five products of a tile. Where memory allows the pass for keys keeps its dS, rounded as for its own product, and dq
is one product with it (`kept_gradients`); else dq makes logits, weights and dS again, seven products in all. No sum is
left to chance in either: the same input gives the same bits.
"""

from __future__ import annotations

import os

import triton
import triton.language as tl
from torch import Tensor

from iasa_kernels.forward import LOG2_E, SIZES, dot_precision, drop_configs, make_configs, parts_of
from iasa_kernels.kept_gradients import keep_gradients, kept_dq_kernel
from iasa_kernels.primitives import (
    any_nan,
    find_again,
    find_row,
    finite_or_nan,
    hide_unseen,
    inner,
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

KEPT_MEGABYTES = 2048  # that the backward pass may keep; IASA_KERNELS_KEPT_MB in the environment says otherwise
PREPARED = 64  # queries of a program


@triton.jit
def prepare_kernel(
    out, lse, grad, grad_lse, level, delta, queries,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    """level, the log-sum-exp to base 2, and delta [b*nh, queries]: what every tile of a query needs."""
    head, start = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK
    size, to_row = queries - start, head * queries
    result, result_rest = load_tokens(out + to_row * WIDTH, start, size, BLOCK, WIDTH, MAIN, REST)
    gradient, gradient_rest = load_tokens(grad + to_row * WIDTH, start, size, BLOCK, WIDTH, MAIN, REST)
    sums = tl.sum(result.to(tl.float32) * gradient.to(tl.float32), 1)
    if REST:
        sums += tl.sum(result_rest.to(tl.float32) * gradient_rest.to(tl.float32), 1)
    sums -= load_numbers(grad_lse + to_row, start, size, 0.0, BLOCK)
    store_numbers(delta + to_row, sums, start, size, BLOCK)
    base = load_numbers(lse + to_row, start, size, 0.0, BLOCK) * LOG2_E
    base = tl.where(base == float("-inf"), float("inf"), base)  # a query without keys has no weights
    store_numbers(level + to_row, base, start, size, BLOCK)


@triton.jit
def add_dq(
    dq, dq_rest, q, q_rest, grad, grad_rest, level, delta, q_bits, k, v, tile_start, tile_size, tile_bits, first, end, scale,
    TILE: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    KIND: tl.constexpr, PRECISION: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """Adds tiles first .. end of keys to both parts of dq; `KIND` and the loads ahead are those of the forward pass."""
    WHOLE: tl.constexpr = KIND == "whole"
    for tile in tl.range(first, end, num_stages=None if WHOLE and not CAREFUL else 1):
        start, size = tl.load(tile_start + tile), TILE
        if not WHOLE:
            size = tl.load(tile_size + tile)
        keys, keys_rest = load_tokens(k, start, size, TILE, WIDTH, MAIN, REST, WHOLE)
        values, values_rest = load_tokens(v, start, size, TILE, WIDTH, MAIN, REST, WHOLE)
        if KIND == "tested":
            unseen = hide_unseen(q_bits, tl.load(tile_bits + tile * TILE + tl.arange(0, TILE)))
            if CAREFUL:
                broken = finite_or_nan(keys, keys_rest, REST) + finite_or_nan(values, values_rest, REST)
                keys, keys_rest = only_finite(keys, keys_rest, broken, REST)
                values, values_rest = only_finite(values, values_rest, broken, REST)
            logits = inner(q, q_rest, keys, keys_rest, REST, PRECISION, unseen)
            if CAREFUL:
                logits = tl.where(unseen == 0.0, logits + broken[None, :], float("-inf"))
        else:
            logits = inner(q, q_rest, keys, keys_rest, REST, PRECISION)
        if KIND == "ragged":
            logits = tl.where(tl.arange(0, TILE)[None, :] < size, logits, float("-inf"))
        weights = tl.exp2(tl.fma(logits, scale, -level[:, None]))
        d_weights = inner(grad, grad_rest, values, values_rest, REST, PRECISION)
        d_logits = (weights * (d_weights - delta[:, None])).to(keys.dtype)
        dq = product(d_logits, keys, PRECISION, dq)
        if REST:
            dq_rest = product(d_logits, keys_rest, PRECISION, dq_rest)
    return dq, dq_rest


@triton.jit
def dq_row(
    query, query_rest, gradient, gradient_rest, base, sums, bits, k, v,
    tile_start, tile_size, tested_start, tested_size, tested_bits, whole, ragged, end, tested, tested_end, scale,
    BLOCK: tl.constexpr, TILE: tl.constexpr, TAIL: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    TESTED: tl.constexpr, PRECISION: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """Both parts of dq over all tiles of a row, but for the scale."""
    acc, acc_rest = zeros(BLOCK, MAIN, REST)
    acc, acc_rest = add_dq(
        acc, acc_rest, query, query_rest, gradient, gradient_rest, base, sums, 0, k, v, tile_start, tile_size, 0,
        whole, ragged, scale, TILE, WIDTH, MAIN, REST, "whole", PRECISION, CAREFUL,
    )  # fmt: skip
    acc, acc_rest = add_dq(
        acc, acc_rest, query, query_rest, gradient, gradient_rest, base, sums, 0, k, v, tile_start, tile_size, 0,
        ragged, end, scale, TAIL, WIDTH, MAIN, REST, "ragged", PRECISION, CAREFUL,
    )  # fmt: skip
    if TESTED:
        acc, acc_rest = add_dq(
            acc, acc_rest, query, query_rest, gradient, gradient_rest, base, sums, bits, k, v,
            tested_start, tested_size, tested_bits, tested, tested_end, scale,
            TAIL, WIDTH, MAIN, REST, "tested", PRECISION, CAREFUL,
        )  # fmt: skip
    return acc, acc_rest


@triton.autotune(
    make_configs(stages=(1, 2, 3)),
    key=["BLOCK", "TILE", "WIDTH", "TESTED"],
    prune_configs_by={"early_config_prune": drop_configs},
)
@triton.jit(do_not_specialize=SIZES)
def dq_kernel(
    q, k, v, grad, level, delta, dq, q_bits,
    row_start, row_size, pointer, order, tile_start, tile_size, tested_start, tested_size, tested_bits,
    rows, plans, queries, keys, scale,
    BLOCK: tl.constexpr, TILE: tl.constexpr, TAIL: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    PARTS: tl.constexpr, TESTED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq [b*nh, queries, WIDTH] of one block of queries."""
    plan, start, size, whole, ragged, end, tested, tested_end = find_row(
        row_start, row_size, pointer, order, rows, plans, BLOCK, PARTS
    )
    head = tl.program_id(1).to(tl.int64)
    to_query, to_key, to_row = head * queries * WIDTH, head * keys * WIDTH, head * queries
    k, v = k + to_key, v + to_key

    query, query_rest = load_tokens(q + to_query, start, size, BLOCK, WIDTH, MAIN, REST)
    gradient, gradient_rest = load_tokens(grad + to_query, start, size, BLOCK, WIDTH, MAIN, REST)
    base = load_numbers(level + to_row, start, size, float("inf"), BLOCK)
    sums = load_numbers(delta + to_row, start, size, 0.0, BLOCK)
    bits = 0
    if TESTED:
        bits = load_numbers(q_bits + plan * queries, start, size, 0, BLOCK)
    acc, acc_rest = dq_row(
        query, query_rest, gradient, gradient_rest, base, sums, bits, k, v,
        tile_start, tile_size, tested_start, tested_size, tested_bits, whole, ragged, end, tested, tested_end,
        scale * LOG2_E, BLOCK, TILE, TAIL, WIDTH, MAIN, REST, TESTED, PRECISION, False,
    )  # fmt: skip
    if TESTED:
        if any_nan(acc, acc_rest, REST):
            acc, acc_rest = dq_row(
                query, query_rest, gradient, gradient_rest, base, sums, bits, k, v,
                tile_start, tile_size, tested_start, tested_size, tested_bits, whole, ragged, end, tested, tested_end,
                scale * LOG2_E, BLOCK, TILE, TAIL, WIDTH, MAIN, REST, TESTED, PRECISION, True,
            )  # fmt: skip
    start, size = find_again(row_start, row_size, order, rows, plans, queries, BLOCK, PARTS)
    store_tokens(dq, acc * scale, acc_rest * scale, start, size, BLOCK, WIDTH, MAIN, REST)


@triton.jit
def add_dkv(
    dk, dk_rest, dv, dv_rest, key, key_rest, value, value_rest, k_bits, q, grad, level, delta,
    tile_start, tile_size, tile_bits, first, end, scale, kept, tile_offset,
    TILE: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    KIND: tl.constexpr, PRECISION: tl.constexpr, CAREFUL: tl.constexpr, KEEPS: tl.constexpr,
):  # fmt: skip
    """Rows are keys here and columns queries, so every matrix is the transpose of the forward pass's."""
    WHOLE: tl.constexpr = KIND == "whole"
    for tile in tl.range(first, end, num_stages=None if WHOLE and not CAREFUL else 1):
        start, size = tl.load(tile_start + tile), TILE
        if not WHOLE:
            size = tl.load(tile_size + tile)
        query, query_rest = load_tokens(q, start, size, TILE, WIDTH, MAIN, REST, WHOLE)
        if KIND == "tested":
            unseen = hide_unseen(k_bits, tl.load(tile_bits + tile * TILE + tl.arange(0, TILE)))
            if CAREFUL:
                gradient, gradient_rest = load_tokens(grad, start, size, TILE, WIDTH, MAIN, REST)
                broken = finite_or_nan(query, query_rest, REST) + finite_or_nan(gradient, gradient_rest, REST)
                broken += load_numbers(level, start, size, 0.0, TILE) * 0.0
                broken += load_numbers(delta, start, size, 0.0, TILE) * 0.0
                query, query_rest = only_finite(query, query_rest, broken, REST)
            logits = inner(key, key_rest, query, query_rest, REST, PRECISION, unseen)
            if CAREFUL:
                logits = tl.where(unseen == 0.0, logits + broken[None, :], float("-inf"))
        else:
            logits = inner(key, key_rest, query, query_rest, REST, PRECISION)
        base = load_numbers(level, start, size, float("inf"), TILE, WHOLE)  # no weight beyond the tile's end
        gradient, gradient_rest = load_tokens(grad, start, size, TILE, WIDTH, MAIN, REST, WHOLE)
        if CAREFUL and KIND == "tested":
            base = tl.where(broken == 0.0, base, float("inf"))
            gradient, gradient_rest = only_finite(gradient, gradient_rest, broken, REST)
        weights = tl.exp2(tl.fma(logits, scale, -base[None, :]))
        rounded = weights.to(gradient.dtype)
        dv = product(rounded, gradient, PRECISION, dv)
        d_weights = inner(value, value_rest, gradient, gradient_rest, REST, PRECISION)
        sums = load_numbers(delta, start, size, 0.0, TILE, WHOLE)
        if CAREFUL and KIND == "tested":
            sums = tl.where(broken == 0.0, sums, 0.0)
        d_logits = (weights * (d_weights - sums[None, :])).to(query.dtype)
        if KEEPS:
            if CAREFUL and KIND == "tested":  # a value that is not finite
                d_logits = tl.where(unseen == 0.0, d_logits, 0.0)
            keep_gradients(kept, d_logits, tl.load(tile_offset + tile), size, KEEPS)
        dk = product(d_logits, query, PRECISION, dk)
        if REST:
            dv_rest = product(rounded, gradient_rest, PRECISION, dv_rest)
            dk_rest = product(d_logits, query_rest, PRECISION, dk_rest)
    return dk, dk_rest, dv, dv_rest


@triton.jit
def dkv_row(
    key, key_rest, value, value_rest, bits, q, grad, level, delta,
    tile_start, tile_size, tested_start, tested_size, tested_bits, whole, ragged, end, tested, tested_end, scale,
    kept, offset, tested_offset,
    BLOCK: tl.constexpr, TILE: tl.constexpr, TAIL: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    TESTED: tl.constexpr, PRECISION: tl.constexpr, CAREFUL: tl.constexpr, KEEPS: tl.constexpr,
):  # fmt: skip
    """Both parts of dk, but for the scale, and of dv over all tiles of a row."""
    dk, dk_rest = zeros(BLOCK, MAIN, REST)
    dv, dv_rest = zeros(BLOCK, MAIN, REST)
    dk, dk_rest, dv, dv_rest = add_dkv(
        dk, dk_rest, dv, dv_rest, key, key_rest, value, value_rest, 0, q, grad, level, delta,
        tile_start, tile_size, 0, whole, ragged, scale, kept, offset,
        TILE, WIDTH, MAIN, REST, "whole", PRECISION, CAREFUL, KEEPS,
    )  # fmt: skip
    dk, dk_rest, dv, dv_rest = add_dkv(
        dk, dk_rest, dv, dv_rest, key, key_rest, value, value_rest, 0, q, grad, level, delta,
        tile_start, tile_size, 0, ragged, end, scale, kept, offset,
        TAIL, WIDTH, MAIN, REST, "ragged", PRECISION, CAREFUL, KEEPS,
    )  # fmt: skip
    if TESTED:
        dk, dk_rest, dv, dv_rest = add_dkv(
            dk, dk_rest, dv, dv_rest, key, key_rest, value, value_rest, bits, q, grad, level, delta,
            tested_start, tested_size, tested_bits, tested, tested_end, scale, kept, tested_offset,
            TAIL, WIDTH, MAIN, REST, "tested", PRECISION, CAREFUL, KEEPS,
        )  # fmt: skip
    return dk, dk_rest, dv, dv_rest


@triton.autotune(
    make_configs(stages=(1, 2, 3)),
    key=["BLOCK", "TILE", "WIDTH", "TESTED"],
    prune_configs_by={"early_config_prune": drop_configs},
)
@triton.jit(do_not_specialize=SIZES)
def dkv_kernel(
    q, k, v, grad, level, delta, dk, dv, k_bits, kept, offset, tested_offset,
    row_start, row_size, pointer, order, tile_start, tile_size, tested_start, tested_size, tested_bits,
    rows, plans, queries, keys, kept_rows, scale,
    BLOCK: tl.constexpr, TILE: tl.constexpr, TAIL: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    PARTS: tl.constexpr, TESTED: tl.constexpr, PRECISION: tl.constexpr, KEEPS: tl.constexpr,
):  # fmt: skip
    """dk and dv [b*nh, keys, WIDTH] of one block of keys; KEEPS is the width of the matrix that holds its dS, or 0."""
    plan, start, size, whole, ragged, end, tested, tested_end = find_row(
        row_start, row_size, pointer, order, rows, plans, BLOCK, PARTS
    )
    head = tl.program_id(1).to(tl.int64)
    to_query, to_key, to_row = head * queries * WIDTH, head * keys * WIDTH, head * queries
    q, grad, level, delta = q + to_query, grad + to_query, level + to_row, delta + to_row
    if KEEPS:  # this head's matrix, and in it the columns of this part of the block
        kept += head // plans * kept_rows * KEEPS + tl.program_id(0) % PARTS * BLOCK

    key, key_rest = load_tokens(k + to_key, start, size, BLOCK, WIDTH, MAIN, REST)
    value, value_rest = load_tokens(v + to_key, start, size, BLOCK, WIDTH, MAIN, REST)
    bits = 0
    if TESTED:
        bits = load_numbers(k_bits + plan * keys, start, size, 0, BLOCK)
    d_key, d_key_rest, d_value, d_value_rest = dkv_row(
        key, key_rest, value, value_rest, bits, q, grad, level, delta,
        tile_start, tile_size, tested_start, tested_size, tested_bits, whole, ragged, end, tested, tested_end,
        scale * LOG2_E, kept, offset, tested_offset, BLOCK, TILE, TAIL, WIDTH, MAIN, REST, TESTED, PRECISION, False, KEEPS,
    )  # fmt: skip
    if TESTED:
        if any_nan(d_key, d_key_rest, REST) | any_nan(d_value, d_value_rest, REST):
            d_key, d_key_rest, d_value, d_value_rest = dkv_row(
                key, key_rest, value, value_rest, bits, q, grad, level, delta,
                tile_start, tile_size, tested_start, tested_size, tested_bits, whole, ragged, end, tested, tested_end,
                scale * LOG2_E, kept, offset, tested_offset, BLOCK, TILE, TAIL, WIDTH, MAIN, REST, TESTED, PRECISION, True, KEEPS,
            )  # fmt: skip
    start, size = find_again(row_start, row_size, order, rows, plans, keys, BLOCK, PARTS)
    store_tokens(dk, d_key * scale, d_key_rest * scale, start, size, BLOCK, WIDTH, MAIN, REST)
    store_tokens(dv, d_value, d_value_rest, start, size, BLOCK, WIDTH, MAIN, REST)


def run_backward(
    q: Tensor,  # [b, nh, queries, d]; all contiguous
    k: Tensor,  # [b, nh, keys, d]
    v: Tensor,  # [b, nh, keys, d]
    out: Tensor,  # [b, nh, queries, d]
    lse: Tensor,  # float32 [b, nh, queries]
    grad: Tensor,  # [b, nh, queries, d]
    grad_lse: Tensor,  # float32 [b, nh, queries]
    dq: Tensor,  # written where a row has tokens, as dk and dv
    dk: Tensor,
    dv: Tensor,
    by_query: list[Tensor],  # of a TileList
    by_key: list[Tensor],
    lists: list[Tensor],  # of a KeptList
    kept_rows: int,
    q_bits: Tensor | None,  # int32 [p, queries]
    k_bits: Tensor | None,  # int32 [p, keys]
    scale: float,
    block_q: int,
    block_k: int,
    tile: int,
) -> None:
    heads, width = q.shape[0] * q.shape[1], q.shape[-1]
    main, rest = split_width(width)
    columns = {"WIDTH": width, "MAIN": main, "REST": rest}
    shared = columns | {
        "TILE": tile, "TAIL": min(tile, MASKED_TILE), "TESTED": q_bits is not None, "PRECISION": dot_precision(q.dtype),
    }  # fmt: skip
    level, delta = lse.new_empty(lse.shape), lse.new_empty(lse.shape)
    prepare_kernel[(triton.cdiv(q.shape[2], PREPARED), heads)](
        out, lse, grad, grad_lse, level, delta, q.shape[2], BLOCK=PREPARED, **columns
    )
    plans, rows = by_key[0].shape
    keeps = may_keep(heads // plans * kept_rows * block_k * q.element_size())
    offset, tested_offset, *of_queries = lists
    kept = q.new_empty((heads // plans, kept_rows, block_k)) if keeps else None
    parts = parts_of(block_k, width, q.dtype)
    dkv_kernel[(rows * parts, heads)](
        q, k, v, grad, level, delta, dk, dv, k_bits, kept, offset, tested_offset, *by_key,
        rows, plans, q.shape[2], k.shape[2], kept_rows, scale,
        BLOCK=block_k // parts, PARTS=parts, KEEPS=block_k if keeps else 0, **shared,
    )  # fmt: skip
    plans, rows = by_query[0].shape
    parts = parts_of(block_q, width, q.dtype)
    sizes = {"BLOCK": block_q // parts, "PARTS": parts}
    if keeps:
        kept_dq_kernel[(rows * parts, heads)](
            kept, k, dq, *by_query[:2], by_query[3], *of_queries, rows, plans, q.shape[2], k.shape[2], kept_rows, scale,
            **sizes, KEEPS=block_k, PRECISION=shared["PRECISION"], **columns,
        )  # fmt: skip
    else:
        dq_kernel[(rows * parts, heads)](
            q,
            k,
            v,
            grad,
            level,
            delta,
            dq,
            q_bits,
            *by_query,
            rows,
            plans,
            q.shape[2],
            k.shape[2],
            scale,
            **sizes,
            **shared,
        )


def may_keep(size: int) -> bool:
    """Whether so many bytes are kept between the two kernels rather than made again."""
    return 0 < size <= float(os.environ.get("IASA_KERNELS_KEPT_MB", KEPT_MEGABYTES)) * 2**20
