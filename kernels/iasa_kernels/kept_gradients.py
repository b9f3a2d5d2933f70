"""dq from the gradients of the logits that the pass for keys has kept: one product of a tile, dq = scale dS k.

They lie in a matrix [rows, KEEPS] for each plan's heads: every block of keys, KEEPS of them at most, has a row for each query
that it meets (`csr.KeptList`).
"""

from __future__ import annotations

import triton
import triton.language as tl

from iasa_kernels.forward import SIZES, drop_configs, make_configs
from iasa_kernels.primitives import any_nan, finite_or_nan, load_tokens, only_finite, product, store_tokens, zeros
from iasa_kernels.tiles import TAIL as MASKED_TILE

CHUNK = tl.constexpr(MASKED_TILE)  # keys of a part, at most


@triton.jit
def keep_gradients(kept, d_logits, first, size, KEEPS: tl.constexpr):
    """Writes [keys, queries] as rows of queries; `kept` points at the column of the first key."""
    key, query = tl.arange(0, d_logits.shape[0]), tl.arange(0, d_logits.shape[1])
    where = kept + (first.to(tl.int64) + query[None, :]) * KEEPS + key[:, None]
    tl.store(where, d_logits, mask=query[None, :] < size)


@triton.jit
def add_kept(
    acc, acc_rest, kept, k, first, column, key_start, key_size, begin, end, before, size,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    KEEPS: tl.constexpr, PRECISION: tl.constexpr, WHOLE: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """Adds parts begin .. end of blocks of keys to both parts of dq; WHOLE: of CHUNK keys each."""
    COLUMNS: tl.constexpr = CHUNK if WHOLE else min(KEEPS, CHUNK)
    query, key = tl.arange(0, BLOCK), tl.arange(0, COLUMNS)
    for part in tl.range(begin, end, num_stages=None if WHOLE and not CAREFUL else 1):
        start, keys_here = tl.load(key_start + part), COLUMNS
        if not WHOLE:
            keys_here = tl.load(key_size + part)
        row = (tl.load(first + part) + before).to(tl.int64) + query
        where = kept + row[:, None] * KEEPS + tl.multiple_of(tl.load(column + part), CHUNK) + key[None, :]
        inside = query[:, None] < size
        if not WHOLE:
            inside = inside & (key[None, :] < keys_here)
        d_logits = tl.load(where, mask=inside, other=0.0)
        keys, keys_rest = load_tokens(k, start, keys_here, COLUMNS, WIDTH, MAIN, REST, WHOLE)
        if CAREFUL:  # what a query sees of such a key is in dS already
            keys, keys_rest = only_finite(keys, keys_rest, finite_or_nan(keys, keys_rest, REST), REST)
        acc = product(d_logits, keys, PRECISION, acc)
        if REST:
            acc_rest = product(d_logits, keys_rest, PRECISION, acc_rest)
    return acc, acc_rest


@triton.jit
def dq_of_kept(
    kept, k, first, column, key_start, key_size, begin, ragged, end, before, size,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    KEEPS: tl.constexpr, PRECISION: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """Both parts of dq, but for the scale, over a row's parts."""
    acc, acc_rest = zeros(BLOCK, MAIN, REST)
    if KEEPS >= CHUNK:
        acc, acc_rest = add_kept(
            acc, acc_rest, kept, k, first, column, key_start, key_size, begin, ragged, before, size,
            BLOCK, WIDTH, MAIN, REST, KEEPS, PRECISION, True, CAREFUL,
        )  # fmt: skip
    return add_kept(
        acc, acc_rest, kept, k, first, column, key_start, key_size, ragged, end, before, size,
        BLOCK, WIDTH, MAIN, REST, KEEPS, PRECISION, False, CAREFUL,
    )  # fmt: skip


@triton.autotune(
    make_configs(stages=(1, 2, 3)),
    key=["BLOCK", "KEEPS", "WIDTH"],
    prune_configs_by={"early_config_prune": drop_configs},
)
@triton.jit(do_not_specialize=[*SIZES, "kept_rows"])
def kept_dq_kernel(
    kept, k, dq, row_start, row_size, order, pointer, first, column, key_start, key_size,
    rows, plans, queries, keys, kept_rows, scale,
    BLOCK: tl.constexpr, PARTS: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    KEEPS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dq [b*nh, queries, WIDTH] of one block of queries."""
    plan = tl.program_id(1) % plans
    row = plan * rows + tl.load(order + plan * rows + tl.program_id(0) // PARTS)
    before = tl.program_id(0) % PARTS * BLOCK
    start, size = tl.load(row_start + row) + before, tl.load(row_size + row) - before
    begin, ragged, end = tl.load(pointer + 3 * row), tl.load(pointer + 3 * row + 1), tl.load(pointer + 3 * row + 2)
    head = tl.program_id(1).to(tl.int64)
    kept, k = kept + head // plans * kept_rows * KEEPS, k + head * keys * WIDTH
    acc, acc_rest = dq_of_kept(
        kept, k, first, column, key_start, key_size, begin, ragged, end, before, size,
        BLOCK, WIDTH, MAIN, REST, KEEPS, PRECISION, False,
    )  # fmt: skip
    if any_nan(acc, acc_rest, REST):
        acc, acc_rest = dq_of_kept(
            kept, k, first, column, key_start, key_size, begin, ragged, end, before, size,
            BLOCK, WIDTH, MAIN, REST, KEEPS, PRECISION, True,
        )  # fmt: skip
    store_tokens(dq + head * queries * WIDTH, acc * scale, acc_rest * scale, start, size, BLOCK, WIDTH, MAIN, REST)
