"""Brute force from the paper's definitions, in plain Python loops: the oracles of masks and attention."""

from __future__ import annotations

import math

import numpy as np


def rigid_residual(target: np.ndarray, source: np.ndarray, weight: np.ndarray) -> float:
    """min over rotations and translations of || target - tau(source) ||, by singular values (Kabsch 1976).

    target, source [p, 2]; points of weight 0 are left out and the sum of squares is scaled to all p points.
    """
    seen = [i for i in range(len(weight)) if weight[i] > 0]
    if len(seen) < 2:
        return math.inf
    w = weight[seen] / weight[seen].sum()
    a = target[seen] - (w[:, None] * target[seen]).sum(0)
    b = source[seen] - (w[:, None] * source[seen]).sum(0)
    u, _, vt = np.linalg.svd((w[:, None] * b).T @ a)
    flip = np.diag([1.0, np.sign(np.linalg.det(u @ vt))])
    moved = b @ u @ flip @ vt
    return math.sqrt(len(weight) * float((w * ((a - moved) ** 2).sum(1)).sum()))


def past_table(distance: np.ndarray, k: int, first: int = 0) -> list[list[int]]:
    """For every frame the k past frames with the smallest distance, newest first among equals."""
    table = []
    for tq in range(len(distance)):
        past = [tk for tk in range(first, tq) if math.isfinite(distance[tq][tk])]
        table.append(sorted(past, key=lambda tk: (distance[tq][tk], -tk))[:k])
    return table


def rigid_mls(place: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Schaefer et al. 2006, equation 8, written as there: matrices A_i, rotated vector of length |v - p*|."""
    w = 1 / ((source - place) ** 2).sum(1)
    p_star, q_star = (w @ source) / w.sum(), (w @ target) / w.sum()
    v = place - p_star
    rotated = np.zeros(2)
    for i in range(len(source)):
        p, q = source[i] - p_star, target[i] - q_star
        left = np.array([p, [p[1], -p[0]]])
        right = np.array([v, [v[1], -v[0]]])
        rotated += q @ (w[i] * left @ right.T)
    return np.linalg.norm(v) * rotated / np.linalg.norm(rotated) + q_star


def allowed_pairs(table: list[list[int]], bits: np.ndarray, sink: bool) -> np.ndarray:
    """The mask M(tq, i, tk, j) of section 3.2 as bool [f*n, f*n], pair by pair."""
    f, n = bits.shape
    mask = np.zeros((f * n, f * n), bool)
    for tq in range(f):
        for tk in range(f):
            for i in range(n):
                for j in range(n):
                    own = tq == tk
                    reference = sink and tk == 0 and tq > 0
                    share = any(int(bits[tq, i]) >> r & 1 and int(bits[tk, j]) >> r & 1 for r in range(5))
                    mask[tq * n + i, tk * n + j] = own or reference or (tk in table[tq] and share)
    return mask


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """softmax(q k^T / sqrt(d)) v over allowed pairs for one head, row by row in float64: [nq, d]."""
    out = np.zeros_like(q, dtype=np.float64)
    for i in range(len(q)):
        keys = [j for j in range(len(k)) if mask[i, j]]
        if not keys:
            continue
        logits = [float(q[i] @ k[j]) / math.sqrt(q.shape[1]) for j in keys]
        top = max(logits)
        weights = [math.exp(x - top) for x in logits]
        for j, weight in zip(keys, weights, strict=True):
            out[i] += weight / sum(weights) * v[j]
    return out


def kept_blocks(mask: np.ndarray, starts: list[int], sizes: list[int]) -> list[list[int]]:
    """Key blocks of every row of blocks in which any pair is allowed; the mask is in the blocks' order."""
    rows = []
    for a, na in zip(starts, sizes, strict=True):
        row = []
        for b, (start, size) in enumerate(zip(starts, sizes, strict=True)):
            if mask[a : a + na, start : start + size].any():
                row.append(b)
        rows.append(row)
    return rows
