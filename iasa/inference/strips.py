"""The computed tokens of one latent frame as strips: all runs of tokens side by side, so that one dense convolution takes them.

At scale s a token is s x s cells. A run of w tokens is s rows of s w cells; its strip holds the cells around it too, s + 2 rows
of s w + 2, and the strips of all runs stand one after another in one picture [m, c, s + 2, L]. A 3 x 3 convolution without
padding makes [m, c, s, L - 2] of it, in which the two cells between runs are of no use. What is around a run is then looked up
anew: cells of other runs as they are now, zero where nothing is computed, as convolutions see what is outside of a picture. The
top rows of two runs at scale 1, columns 4 to 5 of row 2 and column 7 of row 3:

    in  | 13 14 15 16 | 26 27 28 |      out  | 24 25 -- -- 37 |
        | 23 24 25 26 | 36 37 38 |
        | 33 34 35 36 | 46 47 48 |

So convolutions multiply no more than what they keep, but for the cells between runs and the rounding of L.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from iasa.masks.computed import ComputedTokens

SCALES = (1, 2, 4)  # cells along the side of a token at which the codec computes
PIXELS = 4  # along the side of a cell of the largest scale
ROUND = 8  # tokens of whose multiples strips are long: oneDNN compiles a kernel for every size
STRIPE = 8  # rows of cells for which pose fields are made at once
STRIPE_ROUND = 16  # of a stripe's columns, likewise

# Where cells come from: a whole picture; strips of the same scale; strips of twice the scale after a convolution of stride two;
# strips of half the scale after a pixel shuffle; and the stripes of the pose fields.
Source = Literal["picture", "strips", "halved", "shuffled", "stripes"]


class _Table(NamedTuple):
    index: Tensor  # int64 [cells], where each is found
    outside: Tensor  # int64, those that are zero instead
    shape: tuple[int, int]


class Strips:
    """Index tables of one latent frame; each is made when it is first asked for."""

    def __init__(self, computed: ComputedTokens, device: torch.device | None = None) -> None:
        self.computed, self.device = computed, device
        self.rows, self.cols = computed.named.shape
        row, first, end = np.array(computed.runs).T
        self._row, self._first, self._width = row, first, end - first
        self._tables: dict[tuple[int, Source, bool], _Table] = {}
        self._known: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._taken, self._runs = int(self._width.sum()), len(row)

    def length(self, scale: int) -> int:
        """Of a strip with what is around its runs; even."""
        cells = scale * self._taken + 2 * self._runs
        return cells + -cells % (ROUND * scale)

    def around(self, x: Tensor, scale: int, source: Source = "strips") -> Tensor:  # -> [m, c, scale + 2, L]
        """The cells of all runs and those around them, of x [m, c, h, w] with channels last."""
        return self._take(x, self._table(scale, source, True))

    def settle(self, x: Tensor, scale: int, source: Source) -> Tensor:  # -> [m, c, scale, L - 2]
        """The cells of all runs as a convolution leaves them."""
        return self._take(x, self._table(scale, source, False))

    def inside(self, x: Tensor, scale: int) -> Tensor:  # [m, c, scale, L - 2] -> [m, cells, c]
        """The cells of all tokens and nothing else, run by run, row by row; of scale 1 these are the tokens."""
        return x.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, self._send(self._places(scale, "strips")))

    @cached_property
    def cells(self) -> Tensor:
        """Where `inside` at the largest scale lies in the picture: int64."""
        scale = SCALES[-1]
        y, x = self._cells(scale)
        return self._send(y * self.cols * scale + x)

    @cached_property
    def feather(self) -> Tensor:
        """How much of each pixel of `cells` is the networks': float32 [cells, PIXELS ** 2]."""
        scale = SCALES[-1]
        share = self.computed.feather(scale * PIXELS).view(self.rows * scale, PIXELS, self.cols * scale, PIXELS)
        return share.transpose(1, 2).reshape(-1, PIXELS**2).to(self.cells.device)[self.cells]

    @cached_property
    def stripes(self) -> list[tuple[int, Tensor]]:
        """(first row, columns) of cells at the largest scale in which something is computed."""
        out, scale = [], SCALES[-1]
        wide = self.computed.named.numpy().repeat(scale, 0).repeat(scale, 1)
        for top in range(0, len(wide), STRIPE):
            columns = wide[top : top + STRIPE].any(0).nonzero()[0]
            if len(columns):
                columns = np.pad(columns, (0, -len(columns) % STRIPE_ROUND), mode="edge")
                out.append((top, torch.from_numpy(columns)))
        return out

    def _send(self, table: np.ndarray) -> Tensor:
        return torch.from_numpy(table).to(self.device or "cpu")

    @staticmethod
    def _take(x: Tensor, table: _Table) -> Tensor:
        cells = x.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, table.index)
        if len(table.outside):
            cells.index_fill_(1, table.outside, 0)
        return cells.unflatten(1, table.shape).permute(0, 3, 1, 2)

    def _table(self, scale: int, source: Source, around: bool) -> _Table:
        key = (scale, source, around)
        if key not in self._tables:
            length, rim = self.length(scale), int(around)
            run = np.repeat(np.arange(len(self._row)), scale * self._width + 2)
            x = np.arange(len(run)) - self._starts(scale)[run] + self._first[run] * scale  # rim included
            x, run = (np.pad(part, (0, length - len(part)), mode="edge") for part in (x, run))
            y = self._row[run] * scale + np.arange(scale + 2)[:, None]
            if not around:
                x, y = x[1:-1], y[1:-1, 1:-1]
            found = self._map(scale, source)[y, np.broadcast_to(x, y.shape)]
            outside = np.flatnonzero(found < 0)
            self._tables[key] = _Table(
                self._send(found.clip(0).flatten()), self._send(outside), (scale + 2 * rim, length - 2 + 2 * rim)
            )
        return self._tables[key]

    def _map(self, scale: int, source: Source) -> np.ndarray:  # int64 [rows * scale + 2, cols * scale + 2]
        """Where each cell of the picture, and of a rim around it, is found in the source; -1 where it is not."""
        found = np.full((self.rows * scale + 2, self.cols * scale + 2), -1)
        if source == "picture":
            found[1:-1, 1:-1] = np.arange(self.rows * self.cols * scale**2).reshape(self.rows * scale, -1)
        elif source == "stripes":
            begin = 0
            for top, columns in self.stripes:
                columns = columns.numpy()
                places = begin + np.arange(STRIPE)[:, None] * len(columns) + np.arange(len(columns))
                found[1 + top : 1 + top + STRIPE, 1 + columns] = places
                begin += STRIPE * len(columns)
        else:
            y, x = self._cells(scale)
            found[1 + y, 1 + x] = self._places(scale, source)
        return found

    def _starts(self, scale: int) -> np.ndarray:  # [runs]
        """Where each run begins in a row of a strip."""
        width = scale * self._width + 2
        return width.cumsum() - width

    def _cells(self, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Row and column in the picture of every computed cell, run by run, row by row."""
        run, y, x = self._each(scale)
        return self._row[run] * scale + y, self._first[run] * scale + x

    def _places(self, scale: int, source: Source) -> np.ndarray:
        """Where each of them lies in what strips of a source leave."""
        run, y, x = self._each(scale)
        if source == "halved":
            start, row_length = self._starts(2 * scale) // 2, self.length(2 * scale) // 2 - 1
        elif source == "shuffled":
            start, row_length = self._starts(scale // 2) * 2, (self.length(scale // 2) - 2) * 2
        else:
            start, row_length = self._starts(scale), self.length(scale) - 2
        return y * row_length + start[run] + x

    def _each(self, scale: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run, and row and column inside of it, of every computed cell."""
        if scale not in self._known:
            width = scale * self._width
            run = np.repeat(np.arange(len(width)), width * scale)
            at = np.arange(len(run)) - np.repeat(scale * width.cumsum() - scale * width, width * scale)
            self._known[scale] = (run, *np.divmod(at, width[run]))
        return self._known[scale]
