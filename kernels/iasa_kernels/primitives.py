"""Steps that all kernels share: finding a program's rows, loading and storing tokens, testing pairs."""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def find_row(start, size, pointer, order, rows, plans, BLOCK: tl.constexpr, PARTS: tl.constexpr):
    """(plan, first token, tokens, first full tile, first tested tile, end) of this program's part of a row.

    Axis 0 of the grid counts rows, longest first, and in each the parts of BLOCK tokens; axis 1 counts heads: the
    rows of one head run together and share its keys in the cache, and the last to start are short. There may be
    more tokens than BLOCK (the next part's) or none; loading and storing look at the first BLOCK.
    """
    plan = tl.program_id(1) % plans
    row = plan * rows + tl.load(order + plan * rows + tl.program_id(0) // PARTS)
    before = tl.program_id(0) % PARTS * BLOCK
    where = pointer + 3 * row
    first, tokens = tl.load(start + row) + before, tl.load(size + row) - before
    return plan, first, tokens, tl.load(where), tl.load(where + 1), tl.load(where + 2)


@triton.jit
def load_tokens(head, start, size, COUNT: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """Tokens start .. start + size of a contiguous [tokens, WIDTH] as [COUNT, PADDED], zeros beyond."""
    token, column = tl.arange(0, COUNT), tl.arange(0, PADDED)
    where = head + start.to(tl.int64) * WIDTH + token[:, None] * WIDTH + column[None, :]
    inside = token[:, None] < size
    if WIDTH != PADDED:
        inside = inside & (column[None, :] < WIDTH)
    return tl.load(where, mask=inside, other=0.0)


@triton.jit
def store_tokens(head, value, start, size, COUNT: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """The opposite of `load_tokens`, in the type of the memory."""
    token, column = tl.arange(0, COUNT), tl.arange(0, PADDED)
    where = head + start.to(tl.int64) * WIDTH + token[:, None] * WIDTH + column[None, :]
    inside = (token[:, None] < size) & (column[None, :] < WIDTH)
    tl.store(where, value.to(head.dtype.element_ty), mask=inside)


@triton.jit
def load_numbers(vector, start, size, beyond, COUNT: tl.constexpr):
    """Numbers start .. start + size of a vector as [COUNT], `beyond` after them."""
    place = tl.arange(0, COUNT)
    return tl.load(vector + start + place, mask=place < size, other=beyond)


@triton.jit
def store_numbers(vector, value, start, size, COUNT: tl.constexpr):
    place = tl.arange(0, COUNT)
    tl.store(vector + start + place, value, mask=place < size)


@triton.jit
def share_a_bit(row_bits, tile_bits):
    """bool [rows, tile]: whether the bitfields of the two tokens have a one in common."""
    return (row_bits[:, None] & tile_bits[None, :]) != 0


@triton.jit
def product(a, b, PRECISION: tl.constexpr, acc=None):
    """a b, added to `acc` where there is one: float32."""
    if INTERPRETED:  # it has no bfloat16 products; those of float32 are the same, exact before the sum
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision=PRECISION)
