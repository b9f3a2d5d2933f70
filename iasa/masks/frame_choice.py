"""Which past frames a frame remembers: the paper's choice by pose, and the others that it is measured against."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import COUNT, LEFT_HAND, RIGHT_HAND, UPPER_BODY, Keypoints, scale_keypoints
from iasa.masks.plan import AttentionPlan
from iasa.masks.regions import METHODS, region_bits
from iasa.masks.similarity import rigid_distance, top_k_past

CHOICES = ("pose", "unaligned", "hands", "last", "random", "unlike", "oracle", "all")
TOKENS = ("all", "mls", "hull", "body", "merged", "random")  # which tokens of a chosen frame are seen
EVERYTHING = 31  # bits of a token that shares a region with every other


def choose_frames(
    choice: str,
    keypoints: Keypoints,  # one pose a latent frame, of which frame 0 is the reference
    top_k: int,
    reach: int,
    areas: Tensor | None = None,  # [f, d] of each detail that shows, for "oracle"
    extent: np.ndarray | None = None,
    seed: int = 0,
) -> Tensor:  # int64 [f, k], -1 pads
    """Past frames of each frame, at most `top_k` (for "all": `reach`), none more than `reach` back, never the reference.

    pose: smallest S after the best rigid motion (paper); unaligned: smallest distance of the poses as they lie; hands: of all
    points of both hands as they lie, and of nothing else; last: the frames just before; random; unlike: largest S; oracle:
    those that show most of what the frame will show, then the last; all: everything within reach. Among equals the later
    frame comes first. Raises InputError.
    """
    if choice not in CHOICES:
        raise InputError(f"the choice of frames is {choice!r}; {', '.join(CHOICES)} are accepted")
    if top_k < 1 or reach < 1:
        raise InputError(f"a memory of {top_k} frames within {reach} is asked for; 1 or more are accepted for both")
    frames = len(keypoints)
    if choice == "oracle":
        if areas is None:
            raise InputError("the oracle's choice needs masks of the details, and the clips have none")
        return torch.stack([most_shown(areas, t, top_k, reach) for t in range(frames)])
    index = torch.arange(frames, dtype=torch.float64)
    if choice in ("last", "all"):
        distance, top_k = (index[:, None] - index).abs(), reach if choice == "all" else top_k
    elif choice == "random":
        distance = torch.from_numpy(np.random.default_rng([seed, 23]).random((frames, frames)))
    else:
        body = [*range(COUNT)[LEFT_HAND], *range(COUNT)[RIGHT_HAND]] if choice == "hands" else list(UPPER_BODY)
        scaled = keypoints if extent is None else scale_keypoints(keypoints, extent)
        xy = torch.from_numpy(scaled.xy[:, body]).double()
        weights = torch.from_numpy(keypoints.confidence[:, body]).double()
        distance = _plain_distance(xy, weights) if choice in ("unaligned", "hands") else rigid_distance(xy, weights)
        if choice == "unlike":
            distance = torch.where(torch.isfinite(distance), -distance, distance)
    return top_k_past(distance, top_k, first=1, reach=reach)


def _plain_distance(xy: Tensor, weights: Tensor) -> Tensor:
    """The norm of S without a rigid motion: [f, p, 2], [f, p] -> [f, f], infinite for pairs that share no point."""
    pair = weights[:, None] * weights  # [f, f, p]
    total = pair.sum(-1)
    squares = (pair * (xy[:, None] - xy).square().sum(-1)).sum(-1)
    return (xy.shape[1] * squares / total.clamp_min(1e-12)).sqrt().masked_fill(total <= 0, torch.inf)


def most_shown(areas: Tensor, frame: int, top_k: int, reach: int) -> Tensor:
    """The oracle's row: one after another the frame that adds most of what `frame` shows, else the last: int64 [k]."""
    wanted = areas[frame].double()
    left = list(range(frame - 1, max(0, frame - reach - 1), -1))  # the later first
    left = [past for past in left if past > 0]
    covered, row = torch.zeros_like(wanted), torch.full((top_k,), -1, dtype=torch.int64)
    for place in range(min(top_k, len(left))):
        found = [torch.minimum(areas[past].double(), wanted) for past in left]
        gains = [float((f - covered).clamp_min(0).sum()) for f in found]
        best = gains.index(max(gains))
        covered = torch.maximum(covered, found[best])
        row[place] = left.pop(best)
    return row


def plan_choice(
    choice: str,
    keypoints: Keypoints,
    grid: TokenGrid,
    top_k: int,
    reach: int,
    tokens: str = "all",
    areas: Tensor | None = None,
    seed: int = 0,
) -> AttentionPlan:
    """A causal plan whose past frames are `choose_frames`' and whose tokens are, of each chosen frame,

    all; those of the query's regions by moving least squares (mls), by hulls or by the body's bones; those of any region,
    seen by those of any (merged); or, for each pair of frames, as many at random as mls keeps. Raises InputError.
    """
    if tokens not in TOKENS:
        raise InputError(f"the choice of tokens is {tokens!r}; {', '.join(TOKENS)} are accepted")
    table = choose_frames(choice, keypoints, top_k, reach, areas, grid.extent, seed)
    options = MaskOptions(top_k=table.shape[1], window=0, reach=max(reach, 1), local=tokens != "all")
    if tokens == "all":
        bits = torch.full((grid.frames, grid.tokens_per_frame), EVERYTHING, dtype=torch.uint8)
        return AttentionPlan(grid, table, bits, None, options)
    method = tokens if tokens in METHODS else "mls"
    bits = region_bits(keypoints, grid, method)
    if tokens == "merged":
        bits = torch.where(bits > 0, EVERYTHING, 0).to(torch.uint8)
    elif tokens == "random":  # each frame's bits, dealt out to other tokens of it
        source = np.random.default_rng([seed, 24])
        order = torch.from_numpy(np.stack([source.permutation(grid.tokens_per_frame) for _ in range(grid.frames)]))
        bits = bits.gather(1, order)
    return AttentionPlan(grid, table, bits, None, replace(options, method=method))


def random_table(frames: int, rng: np.random.Generator) -> Tensor:
    """For training: of each frame's past a random number of random frames: int64 [f, f - 2], -1 pads; 0 is the reference."""
    table = torch.full((frames, max(1, frames - 2)), -1, dtype=torch.int64)
    for frame in range(2, frames):
        count = int(rng.integers(0, frame))
        table[frame, :count] = torch.from_numpy(rng.choice(np.arange(1, frame), count, replace=False))
    return table


def first_showings(areas: np.ndarray | Tensor, least: float) -> np.ndarray:
    """Who showed this first: for each frame and detail the earliest frame with at least `least` of it, up to the frame
    itself: int64 [f, d], -1 where none did. areas [f, d]; frame 0, the reference, counts too.
    """
    shown = np.asarray(areas) >= least
    first = np.where(shown.any(0), shown.argmax(0), -1)  # [d]
    frame = np.arange(len(shown))[:, None]
    return np.where((first >= 0) & (first <= frame), first, -1)


def showings(area: np.ndarray, least: float) -> list[tuple[int, int]]:
    """Runs of frames that show a detail, (first, end): area [f] of at least `least`."""
    edges = np.flatnonzero(np.diff(np.r_[0, np.asarray(area) >= least, 0].astype(int)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
