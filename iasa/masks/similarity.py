"""The global mask: pose distance of frames after the best rigid motion, and the K most similar past frames.

Paper, section 3.2: S(tq, tk) = min over rigid tau of || P_tq - tau(P_tk) ||, the K smallest of the past are
kept.

In the plane a least-squares rigid fit needs no singular value decomposition. Write a point (x, y) as the
complex number z = x + iy. For centred points the best rotation of z_k onto z_q is c / |c| with c = sum
conj(z_k) z_q, and the squared residual is sum |z_q|^2 + sum |z_k|^2 - 2 |c|. All sums over points are matrix
products, so all pairs come at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from iasa.config import InputError

TIE = 2.0**-20  # of the picture: distances that agree to about a millionth are equal
_ROWS = 256  # query frames handled at once: bounds the memory to a few [_ROWS, f] matrices


def rigid_distance(
    keypoints_xy: Tensor,  # [f, p, 2]
    weights: Tensor | None = None,  # [f, p], >= 0; 0 where a point is missing
) -> Tensor:
    """Distance of every pair of poses after the best rotation and translation: S [f, f].

    Symmetric, 0 on the diagonal. No reflection and no scaling. A pair's point counts with the product of its
    two weights, and the sum of squares is scaled to all p points, S = sqrt(p * sum w |r|^2 / sum w), so that
    a missing point does not shorten the distance; with equal weights this is the paper's norm. Pairs that
    share fewer than two points of weight above 0 are infinitely far. Raises InputError on shapes that do not
    match, NaN, and negative weights.
    """
    xy, weights = _checked(keypoints_xy, weights)
    rows = [block for _, block in distance_rows(xy, weights)]
    return torch.cat(rows) if rows else xy.new_zeros(0, 0)


def past_distance(
    query_xy: Tensor,  # [p, 2]
    past_xy: Tensor,  # [m, p, 2]
    query_weights: Tensor | None = None,  # [p]
    past_weights: Tensor | None = None,  # [m, p]
) -> Tensor:
    """Distance of one pose to each of m earlier ones: [m], the row of `rigid_distance` for a roll-out."""
    one = None if query_weights is None else query_weights[None]
    return cross_distance(query_xy[None], past_xy, one, past_weights)[0]


def cross_distance(
    query_xy: Tensor,  # [q, p, 2]
    past_xy: Tensor,  # [m, p, 2]
    query_weights: Tensor | None = None,  # [q, p]
    past_weights: Tensor | None = None,  # [m, p]
) -> Tensor:
    """Distance of each of q poses to each of m others: [q, m], a part of `rigid_distance`."""
    query, query_weights = _checked(query_xy, query_weights)
    past, past_weights = _checked(past_xy, past_weights)
    if query.shape[1] != past.shape[1]:
        raise InputError(f"the query pose has {query.shape[1]} points and the past poses have {past.shape[1]}")
    return _distance(query, query_weights, past, past_weights)


def distance_rows(xy: Tensor, weights: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Blocks of rows of S with the first row's number: (start, [rows, f]). Memory stays linear in f."""
    frames = torch.arange(len(xy), device=xy.device)
    for start in range(0, len(xy), _ROWS):
        rows = slice(start, start + _ROWS)
        block = _distance(xy[rows], weights[rows], xy, weights)
        own = frames[rows, None] == frames
        yield start, block.masked_fill_(own & (block < torch.inf), 0.0)


def closeness_rank(distance: Tensor) -> Tensor:
    """Distances in whole steps of TIE, by which frames are chosen.

    The last digits of S depend on how many poses one product covers, so that equal poses would be equally near in a whole
    clip and not in a stream of it.
    """
    return (distance / TIE).round()


def top_k_past(distance: Tensor, k: int, first: int = 0, start: int = 0, reach: int | None = None) -> Tensor:
    """The k most similar past frames of each row: int64 [rows, k], nearest first, -1 where there are fewer.

    distance [rows, f]: row r belongs to frame `start + r`. Never the future and never the frame itself; among
    equal distances (to within TIE) the more recent frame comes first; infinitely far frames are not chosen. Frames before
    `first` are not candidates (a sink frame is visible anyhow), nor are frames more than `reach` back.
    Raises InputError if k < 0.
    """
    rows, frames = distance.shape
    index = torch.arange(frames, device=distance.device)
    row = torch.arange(start, start + rows, device=distance.device)
    candidate = (index < row[:, None]) & (index >= first)
    if reach is not None:
        candidate &= index >= row[:, None] - reach
    return top_k_frames(distance, k, candidate)


def top_k_frames(distance: Tensor, k: int, candidate: Tensor) -> Tensor:
    """The k nearest of each row's candidates: int64 [rows, k], -1 where there are fewer.

    distance and candidate [rows, f]. Among equal distances (to within TIE) the later frame comes first; infinitely far
    frames are not chosen. Raises InputError if k < 0.
    """
    if k < 0:
        raise InputError(f"top_k is {k}; 0 or more past frames can be kept")
    rows, frames = distance.shape
    candidate = candidate.to(distance.device) & torch.isfinite(distance)
    newest_first = closeness_rank(distance).masked_fill(~candidate, torch.inf).flip(1)
    nearest, order = torch.sort(newest_first, dim=1, stable=True)
    table = torch.full((rows, k), -1, dtype=torch.int64, device=distance.device)
    kept = min(k, frames)
    table[:, :kept] = torch.where(nearest[:, :kept] < torch.inf, frames - 1 - order[:, :kept], -1)
    return table


def _distance(query: Tensor, query_weights: Tensor, key: Tensor, key_weights: Tensor) -> Tensor:
    """[rows, p, 2], [rows, p], [f, p, 2], [f, p] -> [rows, f], in the inputs' type."""
    # Every pose is centred on its own seen points first, so that the differences below lose few digits.
    zq, zk = _centred(query, query_weights), _centred(key, key_weights)
    wq, wk = query_weights.to(zq.dtype), key_weights.to(zk.dtype)
    total = query_weights @ key_weights.T  # [rows, f]
    scale = 1 / total.clamp_min(torch.finfo(total.dtype).tiny)
    mean_q = ((wq * zq) @ wk.T) * scale
    mean_k = (wq @ (wk * zk).T) * scale
    var_q = ((query_weights * zq.abs().square()) @ key_weights.T) * scale - mean_q.abs().square()
    var_k = (query_weights @ (key_weights * zk.abs().square()).T) * scale - mean_k.abs().square()
    cross = ((wq * zq) @ (wk * zk.conj()).T) * scale - mean_q * mean_k.conj()
    residual = var_q + var_k - 2 * cross.abs()
    # A residual within rounding of the sums is a tie at zero: equal poses must be exactly equally near.
    noise = 64 * torch.finfo(total.dtype).eps * (var_q + var_k)
    residual = torch.where(residual > noise, residual, 0.0)
    common = (query_weights > 0).to(total.dtype) @ (key_weights > 0).to(total.dtype).T
    return (query.shape[1] * residual).sqrt().masked_fill(common < 2, torch.inf)


def _centred(xy: Tensor, weights: Tensor) -> Tensor:
    """Poses as complex numbers about their weighted means: [f, p, 2], [f, p] -> complex [f, p]."""
    mean = (weights[..., None] * xy).sum(1) / weights.sum(1).clamp_min(torch.finfo(xy.dtype).tiny)[:, None]
    return torch.view_as_complex((xy - mean[:, None]).contiguous())


def _checked(xy: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    if xy.ndim != 3 or xy.shape[-1] != 2:
        raise InputError(f"poses have shape {list(xy.shape)}; [frames, points, 2] is needed")
    if not xy.is_floating_point():
        raise InputError(f"poses are {xy.dtype}; float32 or float64 is needed")
    if weights is None:
        weights = torch.ones(xy.shape[:2], dtype=xy.dtype, device=xy.device)
    if weights.shape != xy.shape[:2]:
        raise InputError(
            f"weights have shape {list(weights.shape)}; {list(xy.shape[:2])} is needed, one for each point"
        )
    if not (torch.isfinite(weights).all() and (weights >= 0).all()):
        raise InputError("weights hold NaN, infinite or negative values; 0 or more is needed")
    weights = weights.to(xy.dtype)
    if not torch.isfinite(xy[weights > 0]).all():
        raise InputError(
            "poses hold NaN or infinite coordinates at points of weight above 0; give such points weight 0"
        )
    return torch.where((weights > 0)[..., None], xy, 0.0), weights
