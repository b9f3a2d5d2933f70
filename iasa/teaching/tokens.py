"""Checkers of notebook 1, a talking video as tokens: counting, locating and paying for them."""

from __future__ import annotations

from collections.abc import Callable

from iasa.grid import TokenGrid
from iasa.teaching.verdict import approve, ask, number, require, shaped


def _whole(value: object, name: str) -> int:
    found = number(value, name)
    require(found.is_integer(), f"{name} is {found:g}; a whole number is needed")
    return int(found)


def check_count_tokens(function: Callable) -> None:
    """count_tokens(video_frames, per_latent, rows, cols) -> int."""
    require(_whole(ask(function, 1, 1, 16, 16), "the count") == 256, "one frame of 16 x 16 tokens has 256")
    value = _whole(ask(function, 100, 2, 16, 16), "the count")
    require(value != 100 * 256, "two video frames share one latent frame: 100 video frames make 50 latent ones")
    require(value == 50 * 256, f"100 video frames, 2 in a latent frame, 16 x 16: 12800 tokens; yours {value}")
    odd = _whole(ask(function, 101, 2, 16, 16), "the count")
    require(
        odd != 50 * 256, "101 video frames need 51 latent frames: the last one is half empty, but it exists (round up)"
    )
    require(odd == 51 * 256, f"101 video frames make 51 latent frames, {51 * 256} tokens; yours {odd}")
    oblong = _whole(ask(function, 8, 4, 6, 10), "the count")
    require(oblong == 2 * 60, f"rows and columns may differ: 2 latent frames of 6 x 10 have 120 tokens; yours {oblong}")
    approve("count_tokens", function, "latent frames", "rounded up", "any grid")


def check_locate(function: Callable) -> None:
    """locate(token, rows, cols) -> (latent frame, row, column)."""
    grid = TokenGrid(3, rows=4, cols=6)

    def place(token: int) -> tuple[int, ...]:
        return tuple(shaped(ask(function, token, 4, 6), (3,), "the place (frame, row, column)").tolist())

    require(place(0) == (0, 0, 0), f"token 0 is the top left of frame 0; yours {place(0)}")
    require(place(5) != (0, 5, 0), "tokens run along a row first: token 5 is the last of the first row")
    require(place(5) == (0, 0, 5), f"token 5 of a 4 x 6 grid is (0, 0, 5); yours {place(5)}")
    require(
        place(6) == (0, 1, 0),
        f"token 6 of a 4 x 6 grid begins the second row: (0, 1, 0); yours {place(6)}. A row has `cols` tokens",
    )
    require(
        place(24) == (1, 0, 0), f"after 4 x 6 tokens the next frame begins: token 24 is (1, 0, 0); yours {place(24)}"
    )
    for token in range(grid.tokens):
        require(place(token) == grid.locate(token), f"token {token} is at {grid.locate(token)}; yours {place(token)}")
    approve("locate", function, "rows first", "frames", "all 72 tokens of a 3 x 4 x 6 grid")


def check_token_of(function: Callable) -> None:
    """token_of(x, y, frame, rows, cols) -> int: the token that shows a point (x right, y down, 0..1)."""

    def token(x: float, y: float, frame: int = 0) -> int:
        return _whole(ask(function, x, y, frame, 4, 8), "the token")

    require(token(0.01, 0.01) == 0, "the top left corner lies in token 0")
    require(
        token(0.99, 0.01) not in (3 * 8, 7 * 8), "x runs to the right, along the columns; y runs down, along the rows"
    )
    require(token(0.99, 0.01) == 7, f"the top right corner lies in token 7 of a 4 x 8 grid; yours {token(0.99, 0.01)}")
    require(token(0.01, 0.3) == 8, f"y = 0.3 of 4 rows is row 1: token 8; yours {token(0.01, 0.3)}")
    require(
        token(0.45, 0.2) == 3,
        "x = 0.45 of 8 columns is column 3, y = 0.2 of 4 rows is row 0: round down, do not round to nearest",
    )
    require(token(0.5, 0.5, 2) == 2 * 32 + 2 * 8 + 4, "in frame 2 the number grows by 2 x rows x cols")
    require(
        token(1.0, 1.0) == 31,
        "a point on the right or lower edge belongs to the last token: clip row and column to the grid",
    )
    require(
        token(-0.2, 1.4) == 24, "a point outside the picture goes to the nearest token: clip row and column to the grid"
    )
    approve("token_of", function, "x is the column", "rounds down", "frames", "clipped at the edges")


def check_dense_flops(function: Callable) -> None:
    """dense_flops(tokens, heads, width) -> int or float: multiplications and additions of q k^T and of weights times v."""

    def operations(*sizes: int) -> float:
        value = number(ask(function, *sizes), "the number of operations")
        require(value > 0, f"{sizes[0]} tokens need operations; yours are {value:g}")
        return value

    base = operations(100, 1, 8)
    require(abs(operations(200, 1, 8) / base - 4) < 1e-9, "twice the tokens make four times the pairs")
    require(
        abs(operations(100, 3, 8) / base - 3) < 1e-9,
        "every head does its own product: the cost is proportional to the heads",
    )
    require(
        abs(operations(100, 1, 16) / base - 2) < 1e-9,
        "a logit of width d costs d multiplications: proportional to the width",
    )
    pairs = 100 * 100 * 8
    require(base != pairs, "count multiplications *and* additions, for q k^T *and* for weights times v")
    require(
        base != 2 * pairs,
        "that is one of the two: either the products q k^T or the weights times v; or an addition was not counted",
    )
    require(base == 4 * pairs, f"100 tokens, 1 head, width 8: 4 t^2 d = {4 * pairs}; yours {base:g}")
    approve("dense_flops", function, "square of the tokens", "heads", "width", "both products")
