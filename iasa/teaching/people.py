"""Checkers of notebook 13, real people: the paper's filter, runs of frames, dB inside a region, rank correlation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from iasa.teaching.verdict import approve, ask, near, number, require, shaped, to_numpy


def _good(frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidences of 68 face points and 11 points of the upper body, and where these are: frames that pass."""
    return np.full((frames, 68), 0.97), np.full((frames, 11), 0.95), np.full((frames, 11, 2), 0.5)


def check_passes(function: Callable) -> None:
    """passes(face [f, 68], body [f, 11], xy [f, 11, 2]) -> bool [f]: the paper's three conditions."""
    face, body, xy = _good(6)
    face[1] = np.where(np.arange(68) < 34, 1.0, 0.7)  # mean 0.85
    face[0, :3] = 0.5  # the mean is 0.95
    body[2] = 0.75
    xy[3, 9:] = [0.4, 1.2]  # two of eleven outside
    xy[4, 10] = [-0.1, 0.5]  # one of eleven
    body[5, 8:] = 0.45  # the mean is 0.81, three unseen
    kept = shaped(ask(function, face, body, xy), (6,), "the answer")
    require(kept.dtype == bool, f"the answer is {kept.dtype}; True and False are needed")
    require(
        kept[0],
        "three unsure points of a face do no harm: its mean confidence is 0.95, and all else is sure and inside",
    )
    require(
        not kept[1], "the *mean* confidence of the face must exceed 0.9: half of it at 1 and half at 0.7 is not enough"
    )
    require(not kept[2], "the mean confidence of the upper body must exceed 0.8")
    require(
        not kept[3], "points outside of the picture are not visible: two of eleven outside leave 82 %, 90 % are needed"
    )
    require(kept[4], "one point of eleven may be missing: 91 % are visible, at least 90 % are needed")
    require(
        not kept[5], "a point below a confidence of 0.5 is not visible, wherever it is: three of eleven are too many"
    )
    edge_face, edge_body, edge_xy = _good(2)
    edge_face[0], edge_body[1] = 0.9, 0.8
    edge = to_numpy(ask(function, edge_face + 1e-12, edge_body + 1e-12, edge_xy))
    near(edge, [True, True], "thresholds are on the mean of all points: nothing else may count")
    low = to_numpy(ask(function, edge_face - 1e-3, edge_body - 1e-3, edge_xy))
    near(low, [False, False], "a mean just below its threshold must not pass")
    approve("passes", function, "mean of the face", "mean of the upper body", "inside the picture", "seen")


def check_find_runs(function: Callable) -> None:
    """find_runs(keep bool [f], shortest) -> list of (first, one past the last), each at least `shortest` long."""

    def runs(keep: list[int], shortest: int) -> np.ndarray:
        return to_numpy(ask(function, np.array(keep, bool), shortest), "the runs")

    near(runs([0, 1, 1, 1, 0, 0], 1), [[1, 4]], "frames 1, 2, 3 are one run, (1, 4): its end is one past the last")
    found = runs([0, 1, 1, 0, 1, 1, 1], 1)
    require(len(found) == 2, f"here are two runs, the second up to the last frame; yours has {len(found)}")
    near(found, [[1, 3], [4, 7]], "a run that lasts to the end must end one past the last frame")
    near(runs([1, 1, 0, 1, 1], 1), [[0, 2], [3, 5]], "a run may begin at frame 0")
    near(runs([1, 1, 0, 1, 1, 1, 1], 3), [[3, 7]], "runs shorter than `shortest` are left out")
    near(runs([1, 1, 0, 1, 1, 1], 2), [[0, 2], [3, 6]], "a run of just `shortest` frames stays")
    require(len(runs([0, 0, 0], 1)) == 0, "where nothing is kept there are no runs: an empty list")
    approve("find_runs", function, "first and end", "a run to the end", "from the start", "at least `shortest`")


def check_psnr_inside(function: Callable) -> None:
    """psnr_inside(made, truth uint8 [f, h, w, 3], mask bool [f, h, w]) -> dB over the mask's pixels, all frames together."""
    truth = np.full((2, 4, 4, 3), 100, np.uint8)
    made, mask = truth.copy(), np.zeros((2, 4, 4), bool)
    mask[:, :2] = True
    made[0, 0, 0], made[1, 3, 3] = 110, 255  # one inside, one outside
    value = number(ask(function, made, truth, mask), "the PSNR")
    inside = 100.0 / 16  # of 16 pixels one differs by 10
    right = 10 * np.log10(255**2 / inside)
    require(abs(value - 10 * np.log10(1 / inside)) > 1e-3, "the peak of an 8-bit picture is 255")
    whole = (100 + 155**2) / 32
    require(abs(value - 10 * np.log10(255**2 / whole)) > 1e-3, "what lies outside of the mask must not count")
    require(
        abs(value - 10 * np.log10(255**2 / (100.0 / 32))) > 1e-3, "divide by the pixels of the mask, not by all of them"
    )
    near(value, right, "the mean squared error is taken over the mask's pixels and their three colours")
    darker = truth.copy()
    darker[0, 0, 0] = 80
    near(
        ask(function, darker, truth, mask), 10 * np.log10(255**2 / (400.0 / 16)),
        "20 darker is as wrong as 20 brighter: uint8 has no negative numbers, convert before you subtract",
    )  # fmt: skip
    uneven = np.zeros((2, 4, 4), bool)
    uneven[0, 0, 0], uneven[1, :2] = True, True
    near(
        ask(function, made, truth, uneven), 10 * np.log10(255**2 / (100.0 / 9)),
        "all pixels of all frames count the same: one mean over everything, not a mean of frames",
    )  # fmt: skip
    same = number(ask(function, truth, truth, mask), "the PSNR")
    require(
        np.isfinite(same) and same > 90, "two equal pictures: keep the error above 1e-6, so that the answer is finite"
    )
    approve("psnr_inside", function, "peak 255", "only the mask", "no uint8 overflow", "one mean", "finite")


def check_rank_correlation(function: Callable) -> None:
    """rank_correlation(x [m], y [m]) -> float: the correlation of the ranks (no ties)."""
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    require(
        abs(number(ask(function, x, -x), "the correlation") + 1) < 1e-9,
        "where one falls while the other rises the correlation is -1",
    )
    value = number(ask(function, x, np.exp(3 * x)), "the correlation")
    require(
        abs(value - np.corrcoef(x, np.exp(3 * x))[0, 1]) > 1e-3,
        "of the *ranks*: a curve that only ever rises has 1, however bent it is",
    )
    near(value, 1.0, "two quantities that rise together have a rank correlation of 1")
    mixed, other = np.array([0.3, 0.1, 0.9, 0.7, 0.2]), np.array([10.0, 40.0, 20.0, 50.0, 30.0])
    orders = np.corrcoef(mixed.argsort(), other.argsort())[0, 1]
    right = np.corrcoef(mixed.argsort().argsort(), other.argsort().argsort())[0, 1]
    value = number(ask(function, mixed, other), "the correlation")
    require(
        abs(value - orders) > 1e-6, "argsort says which element comes first; its rank is the argsort of that argsort"
    )
    near(value, right, "this is not the correlation of the ranks")
    near(ask(function, mixed, 1000 * other + 7), right, "units and offsets do not change ranks")
    approve("rank_correlation", function, "sign", "ranks, not values", "any units")
