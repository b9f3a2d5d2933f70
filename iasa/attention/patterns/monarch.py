"""MonarchRT (Agarwal et al., arXiv 2602.12271): attention as a structured factorisation, which is no mask.

The tokens of a tile form b1 rows x b2 columns. For a tile a of queries and a tile f of keys, s = 1 / sqrt d:

    R[a,f,k,j,:] = softmax_l( s q[a,k,j] . k[f,k,l] )         of key row k, as query column j sees it from the same row
    m = sum_l R k[f,k,l] ;   y = sum_l R v[f,k,l] ;   H = -sum_l R log R
    w[a,i,j,(f,k)] = softmax over (f,k) of ( s q[a,i,j] . m[a,f,k,j] + H[a,f,k,j] ) ;   o[a,i,j] = sum_(f,k) w y

In effect token (i, j) of a attends token (k, l) of f with w[a,i,j,(f,k)] R[a,f,k,j,l]. The two factors hold 1/b1 + 1/b2 of
the pairs. Exact where b1 = 1, and where q is the same in all rows of a tile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor

from iasa.attention.pattern import Clip, Pattern
from iasa.attention.patterns import register
from iasa.config import InputError, Sentence


@register
@dataclass
class Monarch(Pattern):
    """Tiles lie within a frame, so that a causal clip needs no more than to leave later tiles out."""

    name: ClassVar[str] = "monarch"
    b1: int | None = None  # rows of a tile; None: the frame's
    b2: int | None = None  # columns of a tile

    def plan(self, clip: Clip) -> None:
        grid = clip.grid
        self._rows, self._cols = self.b1 or grid.rows, self.b2 or grid.cols
        if grid.rows % self._rows or grid.cols % self._cols:
            self.refuse(
                Sentence(
                    "cuts frames into tiles of {tile} tokens, which do not fill {frame}",
                    tile=f"{self._rows} x {self._cols}",
                    frame=f"{grid.rows} x {grid.cols}",
                ),
                Sentence("svg2 or sparse_forcing"),
            )

    @classmethod
    def at_density(cls, density: float, clip: Clip) -> Monarch:
        """The tile whose 1/b1 + 1/b2 is nearest, of those that fill a frame."""
        rows, cols = ([b for b in range(2, n + 1) if n % b == 0] for n in (clip.grid.rows, clip.grid.cols))
        shares = {(b1, b2): clip.dense_share * (1 / b1 + 1 / b2) for b1 in rows for b2 in cols}
        best = min(shares, key=lambda tile: abs(shares[tile] - density), default=None)
        if best is None or abs(shares[best] - density) > 0.5 * density:
            raise InputError(
                f"monarch computes 1/b1 + 1/b2 of the pairs, {min(shares.values(), default=1):.3f} of all at least on frames "
                f"of {clip.grid.rows} x {clip.grid.cols} tokens; {density:g} is asked for, which svg2 could serve"
            )
        return cls(*best)

    def attend(self, layer: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (self._tiled(x) for x in (q, k, v))
        b1, b2, made = self._rows, self._cols, []
        for a in range(q.shape[2]):
            seen = self._seen(a, q, k)
            weights, _, y = self._factors(q[:, :, a], k[:, :, :seen], v[:, :, :seen])
            made.append(torch.einsum("bnijfk,bnfkjd->bnijd", weights, y))
            self.count(b1 * b2 * seen * b2, q, products=3)  # R, m and y
            self.count(b1 * b2 * seen * b1, q)  # w and o
        return self._flat(torch.stack(made, 2))

    def map(self, layer: Any, q: Tensor, k: Tensor) -> Tensor:
        """The effective map w R."""
        q, k = self._tiled(q), self._tiled(k)
        rows = []
        for a in range(q.shape[2]):
            seen = self._seen(a, q, k)
            weights, r, _ = self._factors(q[:, :, a], k[:, :, :seen], k[:, :, :seen])
            rows.append(torch.zeros(*weights.shape[:4], *k.shape[2:5], device=q.device, dtype=q.dtype))
            rows[-1][..., :seen, :, :] = torch.einsum("bnijfk,bnfkjl->bnijfkl", weights, r)
        effective = torch.stack(rows, 2).flatten(5)  # [b, nh, a, i, j, keys in tiles]
        return self._flat(self._flat(effective).mT.unflatten(2, k.shape[2:5])).mT

    def factors(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """(w [b, nh, a, i, j, f, k], R [b, nh, a, f, k, j, l]) of one frame's tiles a, and the tiles f of all keys."""
        k = self._tiled(k)
        made = [self._factors(tile, k, k)[:2] for tile in self._tiled(q).unbind(2)]
        return torch.stack([w for w, _ in made], 2), torch.stack([r for _, r in made], 2)

    def _factors(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(w [b, nh, i, j, f, k], R [b, nh, f, k, j, l], y [b, nh, f, k, j, d]) of one tile of queries [b, nh, i, j, d] and
        all tiles of keys [b, nh, f, k, l, d]."""
        q = q / math.sqrt(q.shape[-1])
        log_r = torch.einsum("bnkjd,bnfkld->bnfkjl", q, k).log_softmax(-1)
        r = log_r.exp()
        m, y = r @ k, r @ v  # [b, nh, f, k, j, d]
        entropy = -(r * log_r).sum(-1)  # [b, nh, f, k, j]
        logits = torch.einsum("bnijd,bnfkjd->bnijfk", q, m) + rearrange(entropy, "b n f k j -> b n 1 j f k")
        return logits.flatten(-2).softmax(-1).view_as(logits), r, y

    def _seen(self, a: int, q: Tensor, k: Tensor) -> int:
        """Tiles of keys that tile `a` of the queries may see: all, or those up to its frame."""
        per_frame = (self.clip.grid.rows // self._rows) * (self.clip.grid.cols // self._cols)
        return k.shape[2] - (q.shape[2] - a - 1) // per_frame * per_frame if self.clip.causal else k.shape[2]

    def _tiled(self, x: Tensor) -> Tensor:  # [b, nh, f*n, d] -> [b, nh, tiles, b1, b2, d]
        sides = {"x": self.clip.grid.rows // self._rows, "y": self.clip.grid.cols // self._cols, "j": self._cols}
        return rearrange(x, "b n (f x i y j) d -> b n (f x y) i j d", i=self._rows, **sides)

    def _flat(self, x: Tensor) -> Tensor:  # [b, nh, tiles, b1, b2, d] -> [b, nh, f*n, d]
        sides = {"x": self.clip.grid.rows // self._rows, "y": self.clip.grid.cols // self._cols}
        return rearrange(x, "b n (f x y) i j d -> b n (f x i y j) d", **sides)
