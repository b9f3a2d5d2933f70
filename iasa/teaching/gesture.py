"""Checkers of notebook 7, from speech to gesture: time scales, windows, codebooks, lag."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from iasa.teaching.verdict import approve, ask, near, number, require, shaped


def check_moving_mean(function: Callable) -> None:
    """moving_mean(x [f], span) -> [f]: mean of the `span` (odd) values around each one, fewer at the ends."""
    x = np.random.default_rng(0).normal(size=20)
    near(shaped(ask(function, x, 1), (20,), "the means"), x, "a span of 1 changes nothing")
    flat = shaped(ask(function, np.full(20, 3.0), 5), (20,), "the means (as many as values)")
    near(
        flat,
        np.full(20, 3.0),
        "the mean of a constant is that constant, at the ends too: divide by the number of values that exist there",
    )
    spike = np.zeros(20)
    spike[10] = 1.0
    out = shaped(ask(function, spike, 5), (20,), "the means")
    require(abs(out.sum() - 1) < 1e-6, "a spike of 1 spreads over the span and keeps its sum: divide by the span")
    require(out[12] > 0 and out[8] > 0, "the window must be centred: it reaches span // 2 frames to both sides")
    near(out[7:14], [0, 0.2, 0.2, 0.2, 0.2, 0.2, 0], "a spike spreads evenly over 5 frames around it")
    ends = shaped(ask(function, x, 5), (20,), "the means")
    near(ends[0], x[:3].mean(), "the first value averages the values 0, 1 and 2")
    truth = [x[max(0, i - 3) : i + 4].mean() for i in range(20)]
    near(ask(function, x, 7), truth, "for span 7 a mean is wrong")
    approve("moving_mean", function, "span 1", "constants", "centred", "ends")


def check_cut_windows(function: Callable) -> None:
    """cut_windows(x [f, c], before, after) -> [f, before + 1 + after, c]: what is heard around each frame, zeros outside."""
    x = np.arange(1, 11, dtype=float).reshape(5, 2)
    windows = shaped(ask(function, x, 2, 1), (5, 4, 2), "the windows")
    near(windows[:, 2], x, "the frame itself stands at index `before` of its window")
    near(windows[2, :3], x[:3], "before it stand the earlier frames, oldest first")
    near(windows[2, 3], x[3], "after it stands the next frame")
    near(windows[0, :2], 0, "before the start there is silence: zeros (a negative index wraps around to the end)")
    near(windows[4, 3], 0, "after the end there is silence: zeros")
    alone = shaped(ask(function, x, 0, 0), (5, 1, 2), "with before = after = 0 the windows")
    near(alone[:, 0], x, "with before = after = 0 a window is the frame alone")
    causal = shaped(ask(function, x, 3, 0), (5, 4, 2), "with after = 0 the windows")
    near(causal[:, 3], x, "with after = 0 nothing of the future may be in a window")
    approve("cut_windows", function, "place of the frame", "order", "silence outside", "no more future than asked for")


def check_nearest_entry(function: Callable) -> None:
    """nearest_entry(x [m, d], codebook [e, d]) -> int [m]: the entry at the smallest Euclidean distance."""
    codebook = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 10.0]])
    x = np.array([[0.4, 0.3], [3.0, 0.5], [1.0, 9.0], [2.2, 0.0]])
    codes = shaped(ask(function, x, codebook), (4,), "the codes")
    require(np.issubdtype(codes.dtype, np.integer), f"codes are integers (they index the codebook), not {codes.dtype}")
    require(codes.tolist() != [2, 2, 1, 2], "these are the farthest entries, not the nearest ones")
    require(
        codes.tolist() != [0, 1, 2, 0] and codes[3] == 1,
        "(2.2, 0) is nearer to (4, 0) than to (0, 0); a dot product is no distance",
    )
    near(codes, [0, 1, 2, 1], "some row got an entry that is not the nearest")
    rng = np.random.default_rng(0)
    x, codebook = rng.normal(size=(50, 6)) + 2, rng.normal(size=(8, 6)) * 3
    truth = ((x[:, None] - codebook) ** 2).sum(-1).argmin(1)
    near(ask(function, x, codebook), truth, "for long vectors the nearest entry by Euclidean distance is another one")
    near(ask(function, codebook, codebook), np.arange(8), "every entry is its own nearest")
    approve("nearest_entry", function, "integers", "Euclidean", "entries name themselves")


def check_move_entries(function: Callable) -> None:
    """move_entries(x [m, d], codebook [e, d], codes [m]) -> [e, d]: every entry at the mean of what it stands for."""
    x = np.array([[0.0, 0.0], [2.0, 0.0], [10.0, 10.0], [10.0, 14.0], [10.0, 12.0]])
    codebook = np.array([[5.0, 5.0], [0.5, 0.5], [9.0, 9.0]])
    moved = shaped(ask(function, x, codebook, np.array([1, 1, 2, 2, 2])), (3, 2), "the codebook")
    require(np.isfinite(moved).all(), "an entry that stands for nothing has no mean (0 / 0): leave it where it is")
    near(moved[1], [1, 0], "entry 1 stands for (0, 0) and (2, 0): their mean is (1, 0)")
    near(moved[2], [10, 12], "entry 2 stands for three points; their mean is (10, 12)")
    near(moved[0], [5, 5], "an entry that stands for nothing stays where it is")
    approve("move_entries", function, "means", "unused entries stay", "the codebook given is not changed")


def check_best_lag(function: Callable) -> None:
    """best_lag(late [f], early [f], reach) -> int: frames by which `late` runs behind, by the highest correlation."""
    rng = np.random.default_rng(1)
    early = np.convolve(rng.normal(size=220), np.ones(4) / 4, "same")

    def lag(late: np.ndarray, reach: int = 6) -> int:
        value = number(ask(function, late, early, reach), "the lag")
        require(value.is_integer(), f"the lag is a whole number of frames, not {value:g}")
        return int(value)

    require(lag(early) == 0, f"equal contours have lag 0, not {lag(early)}")
    behind = np.roll(early, 3)
    require(lag(behind) != -3, "the sign: a contour that comes 3 frames later has lag +3")
    require(lag(behind) == 3, f"a contour that comes 3 frames later has lag 3, not {lag(behind)}")
    require(lag(np.roll(early, -2)) == -2, "a contour that comes 2 frames early has lag -2")
    require(lag(behind, 2) in range(-2, 3), "only lags from -reach to reach are tried")
    loud = 5 * behind + 200
    require(
        lag(loud) == 3, "scale and offset must not matter: correlate, that is, subtract means and divide by deviations"
    )
    ramp = behind + np.linspace(0, 3, 220)
    require(
        lag(ramp) == 3,
        "with a slow drift on top the lag is still 3: take means over the overlapping part of both contours",
    )
    inverse = np.roll(early, 4) - 3 * np.roll(early, -1)
    require(
        lag(inverse) == 4,
        "take the highest correlation, not the largest magnitude: moving the opposite way is not being in time",
    )
    approve("best_lag", function, "zero", "sign", "reach", "scale and offset", "highest, not strongest")
