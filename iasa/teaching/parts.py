"""Checkers of notebook 3, which parts matter: rigid moving least squares, the local mask, its density."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from iasa.masks.regions import warp_rigid
from iasa.teaching.verdict import approve, ask, near, number, require, shaped


def _controls(count: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 0.9, (count, 2))


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def check_mls_weights(function: Callable) -> None:
    """mls_weights(place [2], controls [p, 2]) -> [p]: 1 / squared distance, divided by their sum."""
    place, controls = np.array([0.5, 0.5]), np.array([[0.6, 0.5], [0.5, 0.3], [0.1, 0.5]])  # at 0.1, 0.2 and 0.4
    weights = shaped(ask(function, place, controls), (3,), "the weights")
    require((weights > 0).all(), "weights are positive")
    require(weights[0] > weights[1] > weights[2], "a nearer control point must weigh more than a farther one")
    ratio = weights[0] / weights[1]
    require(abs(ratio - 2) > 1e-3, "twice as far must weigh a quarter, not half: the distance is squared")
    near(ratio, 4.0, "twice as far must weigh a quarter", 1e-3)
    near(weights.sum(), 1.0, "the weights add up to 1: divide them by their sum", 1e-4)
    met = shaped(ask(function, controls[0], controls), (3,), "the weights")
    require(
        np.isfinite(met).all(), "a place that meets a control point divides by 0: keep the squared distance above 1e-6"
    )
    require(met[0] > 0.99, f"a place that meets a control point follows that point alone; its weight is {met[0]:.3f}")
    approve(
        "mls_weights",
        function,
        "positive",
        "nearer counts more",
        "inverse square",
        "sum 1",
        "finite on a control point",
    )


def check_warp_place(function: Callable) -> None:
    """warp_place(place [2], source [p, 2], target [p, 2]) -> [2]: rigid moving least squares."""
    source, place = _controls(), np.array([0.42, 0.37])

    def warp(where: np.ndarray, to: np.ndarray) -> np.ndarray:
        return shaped(ask(function, where, source, to), (2,), "the moved place")

    near(warp(place, source), place, "control points that did not move leave every place where it is")
    shift = np.array([0.2, -0.1])
    near(warp(place, source + shift), place + shift, "control points that all shift carry a place along with them")
    turn = _turn(0.6)
    moved, means = warp(place, source @ turn.T), _weighted_means(place, source, source @ turn.T)
    require(
        not np.allclose(moved, means[1] + turn.T @ (place - means[0]), atol=1e-5),
        "the rotation turns the wrong way: source and target are exchanged in the angle",
    )
    near(moved, turn @ place, "control points that all turn carry a place with the same rotation")
    target = source + 0.1 * _controls(seed=1)
    near(
        warp(source[2], target),
        target[2],
        "a control point must land on its mate: the means must be weighted too",
        1e-3,
    )
    where, start, end = (torch.from_numpy(x[None]) for x in (place, source, target))
    truth = warp_rigid(where, start, end, torch.ones(1, 6).double())
    large = warp(place, 2 * source)
    means = _weighted_means(place, source, 2 * source)
    near(
        np.linalg.norm(large - means[1]), np.linalg.norm(place - means[0]),
        "target points spread twice as wide must not stretch the picture: a rigid warp turns, it does not scale",
        1e-3,
    )  # fmt: skip
    near(
        warp(place, target),
        truth[0, 0],
        "for a mixed motion the place is not where the least-squares rotation puts it",
        1e-3,
    )
    approve("warp_place", function, "rest", "shift", "turn", "control points are met", "no scaling", "mixed motion")


def _weighted_means(place: np.ndarray, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weights = 1 / ((source - place) ** 2).sum(1)
    weights /= weights.sum()
    return weights @ source, weights @ target


def check_share_region(function: Callable) -> None:
    """share_region(query_bits uint8 [n], key_bits uint8 [m]) -> bool [n, m]: is some region common to both?"""
    face, hands, arms = 1, 2, 4
    query = np.array([0, face, hands, hands | arms], np.uint8)
    key = np.array([0, face, arms, face | hands, 16], np.uint8)
    mask = shaped(ask(function, query, key), (4, 5), "the mask (rows are queries, columns are keys)")
    require(mask.dtype == bool, f"the mask is {mask.dtype}; True and False are needed")
    require(
        not mask[0].any() and not mask[:, 0].any(),
        "background (bits 0) is in no region: it shares none, not even with itself",
    )
    require(mask[1, 1], "face and face share a region")
    require(mask[2, 3] and mask[3, 2], "a token may be in several regions: one common bit is enough")
    require(not mask[1, 2] and not mask[2, 1], "face and arms share nothing")
    require(not mask[:, 4].any(), "bit 16 (shoulders) appears in no query")
    everything = np.arange(32, dtype=np.uint8)
    near(
        ask(function, everything, everything),
        (everything[:, None] & everything) != 0,
        "for some pair of bits the answer is wrong",
    )
    approve("share_region", function, "background shares nothing", "one common region is enough", "all 32 x 32 pairs")


def check_token_mask(function: Callable) -> None:
    """token_mask(table [f, k], bits uint8 [f, n]) -> bool [f*n, f*n]: the whole rule of section 3.2."""
    rng = np.random.default_rng(3)
    f, n = 5, 6
    bits = rng.choice(np.array([0, 0, 1, 2, 4, 6], np.uint8), (f, n))
    bits[2], bits[4, 0] = 0, 1
    table = np.array([[-1, -1], [-1, -1], [1, -1], [1, 2], [3, 2]])
    mask = shaped(ask(function, table, bits), (f * n, f * n), "the mask").reshape(f, n, f, n)
    require(mask.dtype == bool, f"the mask is {mask.dtype}; True and False are needed")
    for t in range(f):
        require(
            mask[t, :, t].all(),
            f"frame {t} must see all of itself, background included: attention within a frame is dense",
        )
        require(mask[t, :, 0].all(), f"frame {t} must see all of frame 0, the reference")
        require(
            not mask[t, :, t + 1 :].any(), f"frame {t} sees a later frame (does a -1 in the table name the last frame?)"
        )
    share = (bits[:, :, None, None] & bits) != 0
    for t in range(1, f):
        for past in range(1, t):
            seen = mask[t, :, past]
            if past in table[t]:
                require(
                    not (seen & ~share[t, :, past]).any(),
                    f"frame {t} sees tokens of frame {past} in other regions: a pair needs a common one",
                )
                near(seen, share[t, :, past], f"frame {t} misses tokens of its chosen frame {past} in a common region")
            else:
                require(not seen.any(), f"frame {t} sees frame {past}, which is not in its row of the table")
    approve(
        "token_mask",
        function,
        "own frame dense",
        "reference seen",
        "only chosen frames",
        "only common regions",
        "no future",
    )


def check_density_formula(function: Callable) -> None:
    """density_formula(f, k, shares [r]) -> float: 1/f + (k/f) sum of squared shares."""
    shares = np.array([0.1, 0.2, 0.3])
    require(abs(number(ask(function, 1, 0, shares), "the density") - 1) < 1e-9, "one frame alone is dense: density 1")
    near(ask(function, 8, 0, shares), 1 / 8, "with k = 0 only the own frame is left: 1 / f")
    value = number(ask(function, 10, 4, shares), "the density")
    require(
        abs(value - (0.1 + 0.4 * shares.sum())) > 1e-9,
        "a region pairs its tokens with its tokens: its share counts squared",
    )
    require(
        abs(value - (0.1 + 0.4 * shares.sum() ** 2)) > 1e-9,
        "square each share and then add: face does not pair with hands",
    )
    require(abs(value - (0.1 + 4 * (shares**2).sum())) > 1e-9, "k frames of f: divide k by f")
    near(value, 0.1 + 0.4 * (shares**2).sum(), "for f = 10, k = 4 and shares 0.1, 0.2, 0.3 the density is another")
    near(ask(function, 20, 4, shares), value / 2, "twice as many frames halve the density")
    approve("density_formula", function, "k = 0", "squares of shares", "halves with twice the frames")
