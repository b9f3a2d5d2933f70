"""The backward kernels: dq over each block of queries' tiles of keys, dk and dv over the transposed list.

Weights are made again from the log-sum-exp, P = exp(logits - lse), as in flash attention. With delta = sum(out * grad)
- grad_lse the gradient of the logits is dS = P (grad v^T - delta); dq = scale dS k, dk = scale dS^T q, dv = P^T grad.
Accumulation in float32; the scale is applied in float32 after the products, as in the forward pass.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from iasa_kernels.forward import LOG2_E, dot_precision, drop_configs, make_configs, padded_width, parts_of
from iasa_kernels.primitives import (
    find_row,
    load_numbers,
    load_tokens,
    product,
    share_a_bit,
    store_numbers,
    store_tokens,
)


@triton.jit
def add_dq(
    dq, q, grad, lse, delta, q_bits, k, v, k_bits, tile_start, tile_size, first, end, scale,
    TILE: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, TESTED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    for tile in tl.range(first, end):
        start, size = tl.load(tile_start + tile), tl.load(tile_size + tile)
        keys = load_tokens(k, start, size, TILE, WIDTH, PADDED)
        logits = product(q, tl.trans(keys), PRECISION) * (scale * LOG2_E)
        seen = tl.arange(0, TILE)[None, :] < size
        if TESTED:
            seen = seen & share_a_bit(q_bits, load_numbers(k_bits, start, size, 0, TILE).to(tl.int32))
        weights = tl.exp2(tl.where(seen, logits - lse[:, None], float("-inf")))
        values = load_tokens(v, start, size, TILE, WIDTH, PADDED)
        d_weights = product(grad, tl.trans(values), PRECISION)
        d_logits = weights * (d_weights - delta[:, None])
        dq = product(d_logits.to(keys.dtype), keys, PRECISION, dq)
    return dq


@triton.autotune(
    make_configs(stages=(1, 2, 3)),
    key=["BLOCK", "TILE", "PADDED", "TESTED"],
    prune_configs_by={"early_config_prune": drop_configs},
)
@triton.jit
def dq_kernel(
    q, k, v, out, lse, grad, grad_lse, dq, delta, q_bits, k_bits,
    row_start, row_size, pointer, order, tile_start, tile_size,
    rows, plans, queries, keys, scale,
    BLOCK: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    PARTS: tl.constexpr, TESTED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq [b*nh, queries, WIDTH] of one block of queries, and its delta [b*nh, queries] for the other kernel."""
    plan, start, size, full, tested, end = find_row(
        row_start, row_size, pointer, order, rows, plans, BLOCK, PARTS
    )
    head = tl.program_id(1).to(tl.int64)
    to_query, to_key, to_row = head * queries * WIDTH, head * keys * WIDTH, head * queries

    query = load_tokens(q + to_query, start, size, BLOCK, WIDTH, PADDED)
    gradient = load_tokens(grad + to_query, start, size, BLOCK, WIDTH, PADDED)
    result = load_tokens(out + to_query, start, size, BLOCK, WIDTH, PADDED)
    sums = tl.sum(result.to(tl.float32) * gradient.to(tl.float32), 1)
    sums -= load_numbers(grad_lse + to_row, start, size, 0.0, BLOCK)
    store_numbers(delta + to_row, sums, start, size, BLOCK)
    level = load_numbers(lse + to_row, start, size, float("inf"), BLOCK) * LOG2_E
    level = tl.where(level == float("-inf"), float("inf"), level)  # a query without keys has no weights

    acc = tl.zeros([BLOCK, PADDED], tl.float32)
    acc = add_dq(
        acc, query, gradient, level, sums, 0, k + to_key, v + to_key, k_bits, tile_start, tile_size, full, tested, scale,
        TILE, WIDTH, PADDED, False, PRECISION,
    )  # fmt: skip
    if TESTED:
        bits = load_numbers(q_bits + plan * queries, start, size, 0, BLOCK).to(tl.int32)
        acc = add_dq(
            acc, query, gradient, level, sums, bits, k + to_key, v + to_key, k_bits + plan * keys,
            tile_start, tile_size, tested, end, scale, TILE, WIDTH, PADDED, True, PRECISION,
        )  # fmt: skip
    store_tokens(dq + to_query, acc * scale, start, size, BLOCK, WIDTH, PADDED)


@triton.jit
def add_dkv(
    dk, dv, key, value, k_bits, q, grad, lse, delta, q_bits, tile_start, tile_size, first, end, scale,
    TILE: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, TESTED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Rows are keys here and columns queries, so every matrix is the transpose of the forward pass's."""
    for tile in tl.range(first, end):
        start, size = tl.load(tile_start + tile), tl.load(tile_size + tile)
        query = load_tokens(q, start, size, TILE, WIDTH, PADDED)
        logits = product(key, tl.trans(query), PRECISION) * (scale * LOG2_E)
        level = load_numbers(lse, start, size, float("inf"), TILE) * LOG2_E
        level = tl.where(level == float("-inf"), float("inf"), level)
        logits -= level[None, :]  # no weight beyond the tile's end, where the level is infinite
        if TESTED:
            seen = share_a_bit(k_bits, load_numbers(q_bits, start, size, 0, TILE).to(tl.int32))
            logits = tl.where(seen, logits, float("-inf"))
        weights = tl.exp2(logits)
        gradient = load_tokens(grad, start, size, TILE, WIDTH, PADDED)
        dv = product(weights.to(gradient.dtype), gradient, PRECISION, dv)
        d_weights = product(value, tl.trans(gradient), PRECISION)
        sums = load_numbers(delta, start, size, 0.0, TILE)
        d_logits = weights * (d_weights - sums[None, :])
        dk = product(d_logits.to(query.dtype), query, PRECISION, dk)
    return dk, dv


@triton.autotune(
    make_configs(stages=(1, 2, 3)),
    key=["BLOCK", "TILE", "PADDED", "TESTED"],
    prune_configs_by={"early_config_prune": drop_configs},
)
@triton.jit
def dkv_kernel(
    q, k, v, lse, grad, delta, dk, dv, q_bits, k_bits,
    row_start, row_size, pointer, order, tile_start, tile_size,
    rows, plans, queries, keys, scale,
    BLOCK: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    PARTS: tl.constexpr, TESTED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dk and dv [b*nh, keys, WIDTH] of one block of keys."""
    plan, start, size, full, tested, end = find_row(
        row_start, row_size, pointer, order, rows, plans, BLOCK, PARTS
    )
    head = tl.program_id(1).to(tl.int64)
    to_query, to_key, to_row = head * queries * WIDTH, head * keys * WIDTH, head * queries
    q, grad, lse, delta = q + to_query, grad + to_query, lse + to_row, delta + to_row

    key = load_tokens(k + to_key, start, size, BLOCK, WIDTH, PADDED)
    value = load_tokens(v + to_key, start, size, BLOCK, WIDTH, PADDED)
    d_key = tl.zeros([BLOCK, PADDED], tl.float32)
    d_value = tl.zeros([BLOCK, PADDED], tl.float32)
    d_key, d_value = add_dkv(
        d_key, d_value, key, value, 0, q, grad, lse, delta, q_bits, tile_start, tile_size, full, tested, scale,
        TILE, WIDTH, PADDED, False, PRECISION,
    )  # fmt: skip
    if TESTED:
        bits = load_numbers(k_bits + plan * keys, start, size, 0, BLOCK).to(tl.int32)
        d_key, d_value = add_dkv(
            d_key, d_value, key, value, bits, q, grad, lse, delta, q_bits + plan * queries,
            tile_start, tile_size, tested, end, scale, TILE, WIDTH, PADDED, True, PRECISION,
        )  # fmt: skip
    store_tokens(dk + to_key, d_key * scale, start, size, BLOCK, WIDTH, PADDED)
    store_tokens(dv + to_key, d_value, start, size, BLOCK, WIDTH, PADDED)


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
    q_bits: Tensor | None,
    k_bits: Tensor | None,
    scale: float,
    block_q: int,
    block_k: int,
    tile: int,
) -> None:
    delta = lse.new_empty(lse.shape)
    heads, width = q.shape[0] * q.shape[1], q.shape[-1]
    shared = {
        "TILE": tile, "WIDTH": width, "PADDED": padded_width(width),
        "TESTED": q_bits is not None, "PRECISION": dot_precision(q.dtype),
    }  # fmt: skip
    plans, rows = by_query[0].shape
    parts = parts_of(block_q, width, q.dtype)
    dq_kernel[(rows * parts, heads)](
        q, k, v, out, lse, grad, grad_lse, dq, delta, q_bits, k_bits, *by_query,
        rows, plans, q.shape[2], k.shape[2], scale, BLOCK=block_q // parts, PARTS=parts, **shared,
    )  # fmt: skip
    plans, rows = by_key[0].shape
    parts = parts_of(block_k, width, q.dtype)
    dkv_kernel[(rows * parts, heads)](
        q, k, v, lse, grad, delta, dk, dv, q_bits, k_bits, *by_key,
        rows, plans, q.shape[2], k.shape[2], scale, BLOCK=block_k // parts, PARTS=parts, **shared,
    )  # fmt: skip
