"""Which tokens of a frame are computed at all: face and hands, by the plan, and whatever else moves.

A mask over pairs shortens attention alone. What is not named here goes through no layer of any network: encoder, transformer
and decoder take these tokens from one place, and the rest of the picture is the warped reference. Where that still is what the
reference shows nothing has moved, and the networks have next to nothing to add: on drawn speakers it tells better than the
regions what counts, for hair, collars and the edges of a trunk move too, and a wide sleeve hardly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.keypoints import REGIONS

ALWAYS = ("face", "hands")  # regions whose tokens are computed, whether they move or not
MOVED = 3.0  # grey levels, root of the mean square over a token, from which on it has moved
MULTIPLE = 16  # of tokens that the transformer computes: oneDNN compiles a kernel for every size
FEATHER = 4  # pixels over which computed tokens set in at the edge of what is not computed


@dataclass(frozen=True, eq=False)
class ComputedTokens:
    """Those of one latent frame."""

    named: Tensor  # bool [rows, cols]

    @cached_property
    def tokens(self) -> Tensor:
        """int64 [k], ascending."""
        return self.named.flatten().nonzero()[:, 0]

    @property
    def share(self) -> float:
        """Of all tokens."""
        return len(self.tokens) / self.named.numel()

    @cached_property
    def context(self) -> Tensor:
        """The tokens and those beside them, through which the transformer sees what is around: int64 [m], ascending, m a
        multiple of MULTIPLE where there are so many."""
        near = self.named | _shift(self.named, 0) | _shift(self.named, 1)
        count = int(near.sum())
        rank = 2 * near.int() + (_shift(near, 0) | _shift(near, 1)).int()  # the next ones fill up the last multiple
        return rank.flatten().argsort(descending=True, stable=True)[: count + -count % MULTIPLE].sort().values

    @cached_property
    def runs(self) -> list[tuple[int, int, int]]:
        """(row, first column, last column + 1) of tokens side by side, in the order of the tokens."""
        edges = F.pad(self.named, (1, 1)).int().diff(dim=1).nonzero().tolist()
        return [(row, first, end) for (row, first), (_, end) in zip(edges[::2], edges[1::2], strict=True)]

    def feather(self, side: int) -> Tensor:
        """How much of each pixel is the networks', 0 where a token is not named: float32 [rows * side, cols * side]."""
        down, across = (_spread(n, n * side) for n in self.named.shape)
        return (2 * (down @ self.named.float() @ across.T) - 1).clamp_(0, 1)


def name_moving(
    bits: Tensor,  # uint8 [rows * cols], the plan's regions
    change: Tensor,  # [rows, cols] of `token_change`
) -> ComputedTokens:
    """Face, hands, and every token that has moved; one that is alone in its row or column takes its neighbours along, for
    a convolution that sees nothing on both sides has nothing to go by."""
    always = sum(1 << REGIONS.index(name) for name in ALWAYS)
    named = ((bits & always) > 0).view(change.shape) | (change >= MOVED)
    if not named.any():  # a picture of nobody
        named = change >= change.max()
    for dim in (1, 0):
        named = named | _shift(named & ~_shift(named, dim), dim)
    return ComputedTokens(named)


def _shift(named: Tensor, dim: int) -> Tensor:
    """The tokens on both sides of some."""
    apart = F.pad(named, (1, 1) if dim else (0, 0, 1, 1))
    n = named.shape[dim]
    return apart.narrow(dim, 0, n) | apart.narrow(dim, 2, n)


def name_regions(bits: Tensor, regions: tuple[str, ...], rows: int, cols: int) -> ComputedTokens:
    """Regions of the plan and a rim of one token."""
    wanted = sum(1 << REGIONS.index(name) for name in regions)
    inside = (bits.view(1, 1, rows, cols) & wanted > 0).float()
    return ComputedTokens(F.max_pool2d(inside, 3, 1, 1)[0, 0] > 0)


def token_change(
    pictures: Tensor,  # [f * t, 3, S, S] in [-1, 1], the reference warped to the poses of f latent frames
    still: Tensor,  # [3, S, S], the reference
    frames: int,  # t
    rows: int,
    cols: int,
) -> Tensor:  # [f, rows, cols]
    """By how many grey levels the tokens of each latent frame differ from the reference's, as a root of the mean square."""
    away = (pictures - still).square_().sum(1)  # [f * t, S, S]
    cells = F.adaptive_avg_pool2d(away, (rows, cols)).view(-1, frames, rows, cols)
    return (cells.mean(1) / 3).sqrt_() * 127.5


@lru_cache(maxsize=16)
def _spread(tokens: int, size: int) -> Tensor:  # [size, tokens]
    """Share of each token among the 2 FEATHER + 1 pixels around a pixel, of those inside of the picture."""
    with torch.inference_mode(False):
        near = torch.zeros(size, tokens)
        edges = [round(i * size / tokens) for i in range(tokens + 1)]
        for token, (first, end) in enumerate(pairwise(edges)):
            for pixel in range(size):
                low, high = max(pixel - FEATHER, 0), min(pixel + FEATHER + 1, size)
                near[pixel, token] = max(0, min(end, high) - max(first, low)) / (high - low)
        return near
