"""The forward kernel: one program for each block of queries, an online softmax over the row's tiles of keys.

Accumulation in float32. Logits are scaled in float32 after the product and taken to base 2 (exp2 is the machine's
instruction); the log-sum-exp is stored in natural units.
"""

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl
from torch import Tensor

from iasa_kernels.primitives import (
    find_row,
    load_numbers,
    load_tokens,
    product,
    share_a_bit,
    store_numbers,
    store_tokens,
)

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


def make_configs(stages: tuple[int, ...]) -> list[triton.Config]:
    """What autotuning may choose from; the interpreter knows neither warps nor stages."""
    if triton.knobs.runtime.interpret:
        return [triton.Config({})]
    return [triton.Config({}, num_warps=warps, num_stages=depth) for warps in (4, 8) for depth in stages]


def drop_configs(configs: list[triton.Config], arguments: dict, **options) -> list[triton.Config]:
    """Eight warps from 64 rows on; four do not hold 128 rows of 128 numbers in their registers.

    float32 has room for two stages at most. With IASA_KERNELS_TUNE=0 in the environment the first configuration that
    is left is taken untried: it needs the least memory.
    """
    given = {**arguments, **options}
    least = 8 if given["BLOCK"] * given["PADDED"] > 128 * 64 else 4
    most = 8 if given["BLOCK"] >= 64 else 4
    depth = 2 if given["PRECISION"] == "tf32x3" else 4
    kept = [config for config in configs if least <= config.num_warps <= most and config.num_stages <= depth]
    return kept[:1] if os.environ.get("IASA_KERNELS_TUNE") == "0" else kept


@triton.jit
def attend(
    acc, top, total, q, q_bits, k, v, k_bits, tile_start, tile_size, first, end, scale,
    TILE: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, TESTED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Adds tiles first .. end to the running softmax: weighted values, largest logit and sum of each query."""
    for tile in tl.range(first, end):
        start, size = tl.load(tile_start + tile), tl.load(tile_size + tile)
        keys = load_tokens(k, start, size, TILE, WIDTH, PADDED)
        logits = product(q, tl.trans(keys), PRECISION) * (scale * LOG2_E)
        seen = tl.arange(0, TILE)[None, :] < size
        if TESTED:
            seen = seen & share_a_bit(q_bits, load_numbers(k_bits, start, size, 0, TILE).to(tl.int32))
        logits = tl.where(seen, logits, float("-inf"))
        new_top = tl.maximum(top, tl.max(logits, 1))
        base = new_top
        if TESTED:  # a query may have met no key yet
            base = tl.where(new_top == float("-inf"), 0.0, new_top)
        weights = tl.exp2(logits - base[:, None])
        shrink = tl.exp2(top - base)
        values = load_tokens(v, start, size, TILE, WIDTH, PADDED)
        acc = product(weights.to(values.dtype), values, PRECISION, acc * shrink[:, None])
        total = total * shrink + tl.sum(weights, 1)
        top = new_top
    return acc, top, total


@triton.autotune(
    make_configs(stages=(1, 2, 3, 4)),
    key=["BLOCK", "TILE", "PADDED", "TESTED"],
    restore_value=["out", "lse"],  # a run that continues a dense pass changes what it starts from
    prune_configs_by={"early_config_prune": drop_configs},
)
@triton.jit
def forward_kernel(
    q, k, v, out, lse, q_bits, k_bits,
    row_start, row_size, pointer, order, tile_start, tile_size,
    rows, plans, queries, keys, scale,
    BLOCK: tl.constexpr, TILE: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    PARTS: tl.constexpr, TESTED: tl.constexpr, CONTINUES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out [b*nh, queries, WIDTH] and lse [b*nh, queries] of one block of queries."""
    plan, start, size, full, tested, end = find_row(
        row_start, row_size, pointer, order, rows, plans, BLOCK, PARTS
    )
    head = tl.program_id(1).to(tl.int64)
    q, out, lse = q + head * queries * WIDTH, out + head * queries * WIDTH, lse + head * queries
    k, v = k + head * keys * WIDTH, v + head * keys * WIDTH

    query = load_tokens(q, start, size, BLOCK, WIDTH, PADDED)
    if CONTINUES:  # from what another pass left in out and lse
        acc = load_tokens(out, start, size, BLOCK, WIDTH, PADDED).to(tl.float32)
        top = load_numbers(lse, start, size, 0.0, BLOCK) * LOG2_E
        total = tl.full([BLOCK], 1.0, tl.float32)
    else:
        acc = tl.zeros([BLOCK, PADDED], tl.float32)
        top = tl.full([BLOCK], float("-inf"), tl.float32)
        total = tl.zeros([BLOCK], tl.float32)

    acc, top, total = attend(
        acc, top, total, query, 0, k, v, k_bits, tile_start, tile_size, full, tested, scale,
        TILE, WIDTH, PADDED, False, PRECISION,
    )  # fmt: skip
    if TESTED:
        bits = load_numbers(q_bits + plan * queries, start, size, 0, BLOCK).to(tl.int32)
        acc, top, total = attend(
            acc, top, total, query, bits, k, v, k_bits + plan * keys, tile_start, tile_size, tested, end, scale,
            TILE, WIDTH, PADDED, True, PRECISION,
        )  # fmt: skip

    total = tl.where(total == 0.0, 1.0, total)  # a query without keys: zeros, and top is minus infinity
    store_tokens(out, acc / total[:, None], start, size, BLOCK, WIDTH, PADDED)
    store_numbers(lse, (top + tl.log2(total)) * LN_2, start, size, BLOCK)


def run_forward(
    q: Tensor,  # [b, nh, queries, d], contiguous
    k: Tensor,  # [b, nh, keys, d], contiguous
    v: Tensor,  # [b, nh, keys, d], contiguous
    out: Tensor,  # [b, nh, queries, d], written where a row has tokens
    lse: Tensor,  # float32 [b, nh, queries], written likewise
    tiles: list[Tensor],  # of a TileList
    q_bits: Tensor | None,  # [p, queries]
    k_bits: Tensor | None,  # [p, keys]
    scale: float,
    block: int,
    tile: int,
    continues: bool,  # whether out and lse already hold the result over other keys
) -> None:
    plans, rows = tiles[0].shape
    width = q.shape[-1]
    parts = parts_of(block, width, q.dtype)
    forward_kernel[(rows * parts, q.shape[0] * q.shape[1])](
        q, k, v, out, lse, q_bits, k_bits, *tiles,
        rows, plans, q.shape[2], k.shape[2], scale,
        BLOCK=block // parts, TILE=tile, WIDTH=width, PADDED=padded_width(width), PARTS=parts,
        TESTED=q_bits is not None, CONTINUES=continues, PRECISION=dot_precision(q.dtype),
    )  # fmt: skip


def padded_width(width: int) -> int:
    """Tensor cores want a power of two of at least 16."""
    return max(16, triton.next_power_of_2(width))


def parts_of(block: int, width: int, dtype: torch.dtype) -> int:
    """Programs that share a block: two where float32 numbers of 128 rows of 128 would not fit in shared memory."""
    return 2 if dtype == torch.float32 and block * padded_width(width) > 64 * 128 else 1


def dot_precision(dtype: torch.dtype) -> str:
    """float32 products as three tf32 ones: tensor cores at nearly float32's precision."""
    return "tf32x3" if dtype == torch.float32 else "ieee"
