"""Checkers of notebook 9, the neighbours: pairs by pose, persistent blocks, Monarch's factors, clusters, a table of steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from iasa.teaching.verdict import approve, ask, near, require, shaped, to_numpy


def check_pose_pairs(function: Callable) -> None:
    """pose_pairs(distance [f, f], bits uint8 [f, n], t, k) -> bool [n, (t + 1) n]: frame t's row of the paper's mask."""
    distance = torch.tensor([0.0, 0.5, 0.2, 0.9, 0.0, 0.1]).expand(6, 6)  # frame 0 and the future look nearest
    bits = torch.tensor([[1, 0, 2], [0, 1, 2], [1, 3, 0], [1, 1, 1], [1, 0, 2], [1, 0, 2]], dtype=torch.uint8)

    def pairs_of(t: int, k: int) -> np.ndarray:
        made = shaped(ask(function, distance, bits, t, k), (3, 3 * (t + 1)), f"the pairs of frame {t}")
        require(made.dtype == bool, f"the pairs are {made.dtype}; True and False are needed")
        return made.reshape(3, t + 1, 3)

    pairs = pairs_of(4, 2)
    require(pairs[:, 4].all(), "a token sees all of its own frame, whatever the regions")
    require(pairs[:, 0].all(), "a token sees all of frame 0, the reference, whatever the regions")
    require(not pairs[:, 3].any(), "of the past, only the k frames with the smallest distance are seen: not the latest")
    require(
        pairs[:, 1].any() and pairs[:, 2].any(),
        "frames 2 and 1 are the nearest past ones (0.2, 0.5); frame 0 and frame t are seen anyway and do not count among the k",
    )
    require(not pairs[1, 1:4].any(), "token 1 is background (bits 0): it shares a region with nothing of another frame")
    require(pairs[2, 2, 1], "bits 2 and 3 share a region: one common bit is enough")
    require(not pairs[0, 1, 2] and not pairs[2, 2, 0], "tokens of other regions are seen: bits 1 and 2 share none")
    shared = (bits[4][:, None] & bits[1]).numpy() != 0
    near(pairs[:, 1], shared, "rows of the answer are the queries of frame t, columns the keys")
    require(not pairs_of(4, 0)[:, 1:4].any(), "k = 0 leaves the own frame and the reference")
    require(pairs_of(1, 3).all() and pairs_of(0, 3).all(), "frames 0 and 1 have no past but the reference")
    near(
        pairs_of(3, 9)[:, 1], (bits[3][:, None] & bits[1]).numpy() != 0, "a k above the number of past frames takes all"
    )
    approve("pose_pairs", function, "own frame", "reference", "k nearest", "a common region", "no future")


def _forced(
    qc: Tensor, kc: Tensor, persistent: Tensor, tiles: int, window: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(A over what is seen, whether a block is of the window)."""
    frame = torch.arange(len(kc)) // tiles
    inside = frame > frame[-1] - window
    seen = (qc @ kc.T / temperature).masked_fill(~(persistent | inside), -torch.inf)
    return seen.softmax(1), inside


def check_forcing_step(function: Callable) -> None:
    """forcing_step(qc [r, d], kc [m, d], persistent bool [m], tiles, window, top, keep) -> (kept bool [r, m], after bool [m])."""
    generator = torch.Generator().manual_seed(3)
    qc, kc = torch.randn(2, 16, generator=generator), torch.randn(10, 16, generator=generator)
    persistent = torch.tensor([1, 0, 0, 1, 0, 0, 0, 0, 0, 0], dtype=torch.bool)

    def step(*arguments: object) -> tuple[np.ndarray, np.ndarray]:
        made = ask(function, *arguments)
        require(isinstance(made, tuple | list) and len(made) == 2, "the answer must be two things: kept, after")
        rows, blocks = len(arguments[0]), len(arguments[1])  # type: ignore[arg-type]
        kept, after = shaped(made[0], (rows, blocks), "kept"), shaped(made[1], (blocks,), "the new persistent blocks")
        require(kept.dtype == bool and after.dtype == bool, "both answers hold True and False")
        return kept, after

    kept, after = step(qc, kc, persistent, 2, 3, 2, 2)  # frames 2, 3 and 4 are the window, of two blocks each
    require(kept[:, [0, 3]].all(), "every row keeps every persistent block")
    require(not kept[:, [1, 2]].any(), "blocks that left the window and are not persistent cannot be seen any more")
    require((kept[:, 4:].sum(1) == 2).all(), "each row keeps `top` blocks of the window, beside the persistent ones")
    a, inside = _forced(qc, kc, persistent, 2, 3, 4.0)
    best = torch.zeros_like(a, dtype=torch.bool).scatter(1, a.masked_fill(~inside, -1).topk(2).indices, True)
    near(kept[:, 4:], best[:, 4:], "other blocks of the window score higher: each row keeps its own best")
    require(
        not after[6:].any(), "frames that stay in the window are not persistent yet: only the frame that leaves can be"
    )
    require(after.sum() == 2, f"`keep` = 2 blocks stay persistent, not {after.sum()}")
    require(not after[[1, 2]].any(), "a block that was dropped is gone: candidates are P and the frame that leaves")
    _, after = step(qc, kc, persistent & False, 2, 3, 2, 4)
    near(
        after[:6],
        [0, 0, 0, 0, 1, 1],
        "where there are fewer than `keep` candidates all of them stay, and no dropped block",
    )
    _check_columns(step)
    kept, after = step(qc[:1], kc[:2], persistent[:2] & False, 2, 3, 5, 2)
    require(kept.all(), "at the beginning there are fewer than `top` blocks: all are kept")
    require(not after.any(), "no frame leaves the window at the beginning: nothing is persistent yet")
    approve("forcing_step", function, "P for all rows", "each row's best", "what leaves the window", "column sums of A")


def _check_columns(step: Callable) -> None:
    """The new persistent blocks are those with the largest sums of A."""
    for seed in range(6):  # some tell raw scores from shares, some the scale of the softmax
        generator = torch.Generator().manual_seed(seed)
        qc, kc = 2 * torch.randn(4, 16, generator=generator), torch.randn(12, 16, generator=generator)
        persistent = torch.arange(12) % 3 == 0
        persistent[6:] = False
        kc[1] = 5 * qc[0]  # hidden: it must not take row 0's mass
        _, after = step(qc, kc, persistent, 2, 3, 2, 2)
        require(
            not after[8:].any(),
            "frames that stay in the window are not persistent yet: only the frame that leaves can be",
        )
        a, _ = _forced(qc, kc, persistent, 2, 3, 4.0)
        candidates = persistent | (torch.arange(12) // 2 == 3)
        heavy = a.sum(0).masked_fill(~candidates, -1).topk(2).indices
        truth = torch.zeros(12, dtype=torch.bool).index_fill(0, heavy, True)
        near(
            after,
            truth,
            "the persistent blocks are the columns with the largest sums of A, softmax(q k^T / sqrt d) over what is seen: "
            "the sums of the shares, not of the logits, and a hidden block takes no share",
        )


def check_monarch_attention(function: Callable) -> None:
    """monarch_attention(q [b1, b2, d], k [f, b1, b2, d], v [f, b1, b2, e]) -> [b1, b2, e]: the two factors' product times v."""
    q, k, v = _tiles(3, 4, 2)

    def answer(*inputs: Tensor) -> Tensor:
        shape = (*inputs[0].shape[:2], inputs[2].shape[-1])
        return torch.from_numpy(shaped(ask(function, *inputs), shape, "the output"))

    near(answer(q, k, torch.ones_like(v)), 1.0, "values that are all 1 must come out as 1: the weights w R add up to 1")
    out = answer(q, k, v)
    require(not torch.allclose(out, _dense(q, k, v), atol=1e-4), "this is dense attention, not its two factors")
    words = {
        "no entropy": "H is missing: a key row counts for as many keys as it spreads over",
        "minus": "the sign of H: a row that spreads its weight must count for more, not for less",
        "rows alone": "w is one softmax over all tiles and rows (f, k), not one for each tile",
        "unscaled": "both products are divided by sqrt(d), as in ordinary attention",
    }
    for kind, message in words.items():
        require(not torch.allclose(out, _monarch(q, k, v, kind), atol=1e-5), message)
    thin = _tiles(1, 6, 2)
    near(answer(*thin), _dense(*thin), "with tiles of one row (b1 = 1) the factorisation is exact: ordinary attention")
    same = q[:1].expand(q.shape).contiguous()
    near(
        answer(same, k, v),
        _dense(same, k, v),
        "where the queries of a column are the same in all rows it is exact: R[f, k, j, :] belongs to query row k, column j",
        1e-4,
    )
    near(out, _monarch(q, k, v, ""), "the output is not sum over (f, k) of w y", 1e-4)
    approve("monarch_attention", function, "weights add up to 1", "exact for b1 = 1", "exact for equal rows", "entropy")


def _tiles(rows: int, cols: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    q, k = torch.randn(rows, cols, 8, generator=generator), torch.randn(frames, rows, cols, 8, generator=generator)
    return 2 * q, k, torch.randn(frames, rows, cols, 5, generator=generator)


def _dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    logits = torch.einsum("ijd,fkld->ijfkl", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("ijx,xd->ijd", logits.flatten(2).softmax(-1), v.flatten(0, 2))


def _monarch(q: Tensor, k: Tensor, v: Tensor, kind: str) -> Tensor:
    """The factorisation query by query, or a wrong kind of it."""
    scale = 1.0 if kind == "unscaled" else 1 / math.sqrt(q.shape[-1])
    out = q.new_zeros(*q.shape[:2], v.shape[-1])
    entropy = {"no entropy": 0.0, "minus": -1.0}.get(kind, 1.0)
    for i in range(q.shape[0]):
        for j in range(q.shape[1]):
            logits, values = [], []
            for f in range(len(k)):
                for row in range(q.shape[0]):
                    r = (scale * k[f, row] @ q[row, j]).softmax(0)
                    spread = -(r * r.log()).sum()
                    logits.append(scale * q[i, j] @ (r @ k[f, row]) + entropy * spread)
                    values.append(r @ v[f, row])
            w = torch.stack(logits)
            w = w.view(len(k), -1).softmax(1).flatten() / len(k) if kind == "rows alone" else w.softmax(0)
            out[i, j] = w @ torch.stack(values)
    return out


def check_cluster_blocks(function: Callable) -> None:
    """cluster_blocks(q [nq, d], k [nk, d], cq, ck, rounds, p) -> (q_label [nq], k_label [nk], kept bool [Cq, Ck])."""

    def blocks(*inputs: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        made = ask(function, *inputs)
        require(
            isinstance(made, tuple | list) and len(made) == 3, "the answer must be three things: q_label, k_label, kept"
        )
        q, k, cq, ck = (len(one) for one in inputs[:4])  # type: ignore[arg-type]
        labels = [
            shaped(one, (size,), name) for one, size, name in zip(made, (q, k), ("q_label", "k_label"), strict=False)
        ]
        require(all(one.dtype.kind in "iu" for one in labels), "labels are numbers of clusters: integers")
        kept = shaped(made[2], (cq, ck), "kept")
        require(kept.dtype == bool, f"kept is {kept.dtype}; True and False are needed")
        return labels[0], labels[1], kept

    _check_shares(blocks)
    q, k = (
        torch.tensor([[0.0, 0], [1, 0], [9, 0], [10, 1]]),
        torch.tensor([[5.0, 0], [5, 2], [-7, 0], [-5, 0], [-6, 3]]),
    )
    cq, ck = torch.tensor([[4.0, 0], [6, 0]]), torch.tensor([[1.0, 0], [-1, 0], [99, 99]])
    q_label, k_label, kept = blocks(q, k, cq, ck, 5, 0.5)
    near(q_label, [0, 0, 1, 1], "each query belongs to the mean that is nearest")
    near(k_label, [0, 0, 1, 1, 1], "each key belongs to the mean that is nearest")
    near(
        kept[1], [1, 0, 0], "the last queries' own keys lie on their side: and a cluster without a key is worth nothing"
    )
    generator = torch.Generator().manual_seed(5)
    q, k = torch.randn(24, 4, generator=generator), 2 * torch.randn(40, 4, generator=generator)
    for rounds in (0, 1, 6):
        for mine, true in zip(blocks(q, k, q[:4], k[:6], rounds, 0.7), _clustered(q, k, rounds), strict=True):
            near(
                mine,
                true,
                f"after {rounds} rounds (labels, then means of the labelled) the clusters or the choice differ",
            )
    approve("cluster_blocks", function, "k-means", "weighted by size", "the one that passes p stays", "p = 1 keeps all")


def _check_shares(blocks: Callable) -> None:
    """Shares 0.5, 0.2, 0.3 of three clusters of keys: five with logit 0, one with log 2, one with log 3."""
    means = torch.tensor([[0.0, 0, 0, 0], [math.log(2), 20, 0, 0], [math.log(3), 0, 20, 0]])
    query = torch.tensor([[2.0, 0, 0, 0]])  # S = q k / sqrt 4 is the first number of a key
    keys = means[[0, 0, 0, 0, 0, 1, 2]]

    def kept(p: float) -> list[int]:
        return np.flatnonzero(blocks(query, keys, query, means, 2, p)[2][0]).tolist()

    require(kept(1.0) == [0, 1, 2], "p = 1 keeps every cluster: dense attention")
    found = kept(0.6)
    require(
        found != [1, 2],
        "a cluster of five keys counts five times: P_ij is proportional to |K_j| exp(S_ij)",
    )
    require(found != [0], "keep the largest *until* their sum passes p: 0.5 has not passed 0.6, so one more is kept")
    require(found == [0, 2], f"shares 0.5, 0.2 and 0.3 with p = 0.6 keep clusters 0 and 2, not {found}")
    require(kept(0.1) == [0], f"p = 0.1 keeps the largest alone (0.5), not {kept(0.1)}")


def _clustered(q: Tensor, k: Tensor, rounds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of means q[:4] and k[:6], with p = 0.7."""
    labels, means = [], []
    for x, count in ((q, 4), (k, 6)):
        mean = x[:count].clone()
        for _ in range(rounds):
            label = torch.cdist(x, mean).argmin(1)
            for j in range(count):
                mean[j] = x[label == j].mean(0) if (label == j).any() else mean[j]
        labels.append(torch.cdist(x, mean).argmin(1))
        means.append(mean)
    weight = torch.bincount(labels[1], minlength=6) * torch.exp(means[0] @ means[1].T / 2)
    share = weight / weight.sum(1, keepdim=True)
    kept = np.zeros((4, 6), bool)
    for i, row in enumerate(share.tolist()):
        spent = 0.0
        for j in sorted(range(6), key=lambda j: -row[j]):
            kept[i, j], spent = spent < 0.7, spent + row[j]
    return labels[0].numpy(), labels[1].numpy(), kept


def check_broadcast_table(function: Callable) -> None:
    """broadcast_table(levels [steps], every, window) -> int [steps]: the step whose output each step uses."""
    levels = np.array([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.05])

    def table(every: int, window: tuple[float, float] = (0.1, 0.85)) -> np.ndarray:
        made = shaped(ask(function, levels, every, window), (10,), "the table")
        require(np.issubdtype(made.dtype, np.integer), f"the table names steps, which are integers, not {made.dtype}")
        return made

    three, steps = table(3), np.arange(10)
    require((three <= steps).all(), "a step cannot use the output of a later one")
    require(
        (three[three] == three).all(), "only a step that is computed can lend its output: table[table] is the table"
    )
    require((three[[0, 1, 9]] == [0, 1, 9]).all(), "outside of the window every step is computed")
    require(three[2] == 2, "the first step within the window is computed: what lies outside is not lent to it")
    require(three[3] == 2, "within the window the step after a computed one uses its output")
    require(three[4] == 2, "every = 3: three steps share an output, the computed one among them")
    require(
        three[5] == 5, "three steps share an output and no more: step 5 is computed, counted from the last computed one"
    )
    near(three, [0, 1, 2, 2, 2, 5, 5, 5, 8, 9], "the table for every = 3 is wrong")
    near(table(1), steps, "every = 1 computes all steps: dense")
    near(table(2, (0.3, 0.8)), [0, 1, 2, 2, 4, 4, 6, 6, 8, 9], "the ends of the window belong to it")
    near(
        to_numpy(table(20, (0.0, 1.0))),
        np.zeros(10),
        "a range beyond the clip and a window of everything: step 0 alone",
    )
    approve("broadcast_table", function, "outside the window", "ranges", "counted from the computed step", "every = 1")
