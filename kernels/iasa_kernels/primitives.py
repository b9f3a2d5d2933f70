"""Steps that all kernels share: finding a program's rows, loading and storing tokens, testing pairs.

Heads that are no power of two wide come in two parts, MAIN columns and REST more (80 = 64 + 16), since products take
powers of two alone; REST is 0 where one part holds all. A function that returns "both parts" returns a pair, of which
the second is a number that is never read where there is no rest.
"""

from __future__ import annotations

import triton
import triton.language as tl

TRITON = triton.__version__
HAS_GLUON = tuple(int(part) for part in TRITON.split(".")[:2]) >= (3, 6)  # with what gluon_forward.py takes from it
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


def split_width(width: int) -> tuple[int, int]:
    """(MAIN, REST) for heads of this width: powers of two of at least 16, or 0; the fewest columns in all."""
    main = 16
    while 2 * main <= width:
        main *= 2
    if width <= main:
        return main, 0
    rest = max(16, triton.next_power_of_2(width - main))
    return (2 * main, 0) if rest >= main else (main, rest)


@triton.jit
def find_row(start, size, pointer, order, rows, plans, BLOCK: tl.constexpr, PARTS: tl.constexpr):
    """(plan, first token, tokens, first whole tile, first ragged one, end, first tested one, end) of a program's rows.

    Axis 0 of the grid counts rows, longest first, and in each the parts of BLOCK tokens; axis 1 counts heads: the
    rows of one head run together and share its keys in the cache, and the last to start are short. There may be
    more tokens than BLOCK (the next part's) or none; loading and storing look at the first BLOCK.
    """
    plan = tl.program_id(1) % plans
    row = plan * rows + tl.load(order + plan * rows + tl.program_id(0) // PARTS)
    before = tl.program_id(0) % PARTS * BLOCK
    where = pointer + 5 * row
    first, tokens = tl.load(start + row) + before, tl.load(size + row) - before
    whole, ragged, end = tl.load(where), tl.load(where + 1), tl.load(where + 2)
    return plan, first, tokens, whole, ragged, end, tl.load(where + 3), tl.load(where + 4)


@triton.jit
def find_again(start, size, order, rows, plans, tokens, BLOCK: tl.constexpr, PARTS: tl.constexpr):
    """(first token, counted over all heads, tokens) of a program's rows, loaded anew.

    To store by. From what `find_row` gave the compiler would keep the comparisons and offsets of the first load in
    registers through all loops, and some would spill.
    """
    plan, before = tl.program_id(1) % plans, tl.program_id(0) % PARTS * BLOCK
    row = plan * rows + tl.load(order + plan * rows + tl.program_id(0) // PARTS, volatile=True)
    first = tl.program_id(1) * tokens + tl.load(start + row, volatile=True) + before
    return first, tl.load(size + row, volatile=True) - before


@triton.jit
def place_columns(head, start, COUNT: tl.constexpr, WIDTH: tl.constexpr, FIRST: tl.constexpr, COLUMNS: tl.constexpr):
    """(offset of each token's row [COUNT, 1], addresses [COUNT, COLUMNS], columns [1, COLUMNS]).

    Rows are told apart by their offsets alone, masks too: with nothing else computed from a token's number the compiler
    sees offsets as one of the thread and a constant, and keeps one address in registers instead of one for each row.
    """
    first, column = (tl.arange(0, COUNT) * WIDTH)[:, None], (FIRST + tl.arange(0, COLUMNS))[None, :]
    return first, head + (start.to(tl.int64) * WIDTH + first + column), column


@triton.jit
def load_columns(
    head, start, size, COUNT: tl.constexpr, WIDTH: tl.constexpr, FIRST: tl.constexpr, COLUMNS: tl.constexpr,
    WHOLE: tl.constexpr,
):  # fmt: skip
    """Columns FIRST .. FIRST + COLUMNS of tokens start .. start + size: [COUNT, COLUMNS], zeros beyond.

    WHOLE: there are COUNT tokens, so that none needs a mask.
    """
    first, where, column = place_columns(head, start, COUNT, WIDTH, FIRST, COLUMNS)
    if FIRST + COLUMNS > WIDTH:
        inside = column < WIDTH
        if not WHOLE:
            inside = inside & (first < tl.minimum(size, COUNT) * WIDTH)
        return tl.load(where, mask=inside, other=0.0)
    elif WHOLE:
        return tl.load(where)
    else:
        return tl.load(where, mask=first < tl.minimum(size, COUNT) * WIDTH, other=0.0)


@triton.jit
def load_tokens(
    head, start, size, COUNT: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
    WHOLE: tl.constexpr = False,
):  # fmt: skip
    """Both parts of tokens start .. start + size of a contiguous [tokens, WIDTH]: [COUNT, MAIN] and [COUNT, REST]."""
    main = load_columns(head, start, size, COUNT, WIDTH, 0, MAIN, WHOLE)
    rest = 0.0
    if REST:
        rest = load_columns(head, start, size, COUNT, WIDTH, MAIN, REST, WHOLE)
    return main, rest


@triton.jit
def load_boxes(box, rest_box, first, MAIN: tl.constexpr, REST: tl.constexpr):
    """Both parts of whole tiles, by the descriptors of [rows, WIDTH]: what `load_tokens` gives, brought by the copy engine."""
    main = box.load([first, 0])
    rest = 0.0
    if REST:
        rest = rest_box.load([first, MAIN])
    return main, rest


@triton.jit
def store_columns(
    head, value, start, size, COUNT: tl.constexpr, WIDTH: tl.constexpr, FIRST: tl.constexpr, COLUMNS: tl.constexpr
):
    """The opposite of `load_columns`, in the type of the memory."""
    first, where, column = place_columns(head, start, COUNT, WIDTH, FIRST, COLUMNS)
    inside = (first < tl.minimum(size, COUNT) * WIDTH) & (column < WIDTH)
    tl.store(where, value.to(head.dtype.element_ty), mask=inside)


@triton.jit
def store_tokens(
    head, main, rest, start, size, COUNT: tl.constexpr, WIDTH: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr
):
    """The opposite of `load_tokens`."""
    store_columns(head, main, start, size, COUNT, WIDTH, 0, MAIN)
    if REST:
        store_columns(head, rest, start, size, COUNT, WIDTH, MAIN, REST)


@triton.jit
def zeros(COUNT: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr):
    """Both parts of an accumulator."""
    main = tl.zeros([COUNT, MAIN], tl.float32)
    if REST:
        return main, tl.zeros([COUNT, REST], tl.float32)
    else:
        return main, tl.zeros([COUNT, 1], tl.float32)


@triton.jit
def load_numbers(vector, start, size, beyond, COUNT: tl.constexpr, WHOLE: tl.constexpr = False):
    """Numbers start .. start + size of a vector as [COUNT], `beyond` after them; WHOLE: there are COUNT."""
    place = tl.arange(0, COUNT)
    if WHOLE:
        return tl.load(vector + start + place)
    else:
        return tl.load(vector + start + place, mask=place < size, other=beyond)


@triton.jit
def store_numbers(vector, value, start, size, COUNT: tl.constexpr):
    place = tl.arange(0, COUNT)
    tl.store(vector + start + place, value, mask=place < size)


@triton.jit
def hide_unseen(row_bits, tile_bits):
    """float32 [rows, tile]: 0 where the bitfields of two tokens have a one in common, minus infinity elsewhere.

    Written out for each pair: taken as three steps over all pairs, the assembler keeps their predicates in registers,
    which costs more instructions than the test itself.
    """
    if INTERPRETED:
        return tl.where((row_bits[:, None] & tile_bits[None, :]) != 0, 0.0, float("-inf"))
    return tl.inline_asm_elementwise(
        "{ .reg .b32 both; .reg .pred none; and.b32 both, $1, $2; setp.eq.b32 none, both, 0; "
        "selp.b32 $0, 0xff800000, 0, none; }",
        "=f,r,r", [row_bits[:, None], tile_bits[None, :]], dtype=tl.float32, is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def any_nan(main, rest, REST: tl.constexpr):
    """Whether a number of either part is none: 1 or 0."""
    nan = tl.max(tl.max((main != main).to(tl.int32), 1), 0)
    if REST:
        nan = nan | tl.max(tl.max((rest != rest).to(tl.int32), 1), 0)
    return nan


@triton.jit
def finite_or_nan(main, rest, REST: tl.constexpr):
    """0 for each token of which all numbers are finite, NaN for every other: float32 [tokens]."""
    sums = tl.sum(main.to(tl.float32) * 0.0, 1)
    if REST:
        sums += tl.sum(rest.to(tl.float32) * 0.0, 1)
    return sums


@triton.jit
def only_finite(main, rest, sums, REST: tl.constexpr):
    """Both parts of tokens of which `finite_or_nan` gave 0; zeros for every other."""
    main = tl.where((sums == 0.0)[:, None], main, tl.zeros_like(main))
    if REST:
        rest = tl.where((sums == 0.0)[:, None], rest, tl.zeros_like(rest))
    return main, rest


@triton.jit
def product(a, b, PRECISION: tl.constexpr, acc=None):
    """a b, added to `acc` where there is one: float32."""
    if INTERPRETED:  # it has no bfloat16 products; those of float32 are the same, exact before the sum
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision=PRECISION)


@triton.jit
def inner(a, a_rest, b, b_rest, REST: tl.constexpr, PRECISION: tl.constexpr, acc=None):
    """Products of every token of a with every token of b, over both parts of their columns: float32 [a, b]."""
    sums = product(a, tl.trans(b), PRECISION, acc)
    if REST:
        sums = product(a_rest, tl.trans(b_rest), PRECISION, sums)
    return sums
