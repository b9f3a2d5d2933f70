"""Checkers of notebook 10, what the past is for: first showings, the oracle's frames, a detail's change, an honest interval."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from iasa.teaching.verdict import approve, ask, near, number, require, shaped

# Frames by details: 0 is the reference, which shows nothing.
_AREAS = np.array([[0, 0], [40, 3], [50, 0], [0, 30], [20, 35], [45, 0], [60, 30]])


def check_first_shown(function: Callable) -> None:
    """first_shown(areas [f, d], least [d]) -> int [f, d]: the earliest frame, up to each, that showed enough; -1 if none."""
    first = shaped(ask(function, _AREAS, np.array([40, 30])), _AREAS.shape, "the answer")
    require(np.issubdtype(first.dtype, np.integer), f"frame numbers are integers, not {first.dtype}")
    require(first[0, 0] == -1, f"frame 0 shows nothing and has no past: -1, not {first[0, 0]}")
    require(
        first[1, 1] == -1, "in frame 1 detail 1 has never been seen: -1; a later frame may not be asked (causality)"
    )
    require(first[1, 0] == 1, "frame 1 shows just enough of detail 0 itself (>=): it is the first, 1")
    require(first[6, 0] == 1, f"detail 0 was first shown in frame 1, whoever shows more of it later: not {first[6, 0]}")
    near(
        first,
        [[-1, -1], [1, -1], [1, -1], [1, 3], [1, 3], [1, 3], [1, 3]],
        "once shown, a detail keeps its first frame, also where it is covered again",
    )
    approve("first_shown", function, "earliest", "causal", "-1 where never shown")


def check_oracle_frames(function: Callable) -> None:
    """oracle_frames(areas [f, d], frame, k) -> int [k]: past frames that together show most of what `frame` shows; -1 pads."""
    areas = np.array([[90, 90], [40, 0], [50, 0], [0, 30], [45, 25], [60, 30]])
    one = shaped(ask(function, areas, 5, 1), (1,), "the answer for k = 1")
    require(np.issubdtype(one.dtype, np.integer), f"frame numbers are integers, not {one.dtype}")
    require(one[0] != 0, "frame 0 is the reference, which every frame sees anyhow: it is never chosen")
    require(one[0] != 5, "a frame cannot remember itself: only the past, s < t")
    near(one, [4], "frame 4 shows 45 of the first and 25 of the second detail: together more than any other frame")
    two = shaped(ask(function, areas, 5, 2), (2,), "the answer for k = 2")
    require(
        set(two.tolist()) != {4, 1},
        "the second frame is the one that *adds* most to what the first one shows: max(0, found - covered)",
    )
    near(two, [4, 3], "after frame 4, frame 2 adds 5 of the first detail, frame 3 adds 5 of the second: the later one")
    near(ask(function, areas, 2, 3), [1, -1, -1], "frame 2 has one past frame besides the reference: the rest is -1")
    hidden = np.array([[0, 0], [9, 90], [30, 0], [9, 0]])
    near(ask(function, hidden, 3, 1), [2], "only what the frame itself shows counts: min(area there, area here)", 1e-9)
    approve("oracle_frames", function, "adds most", "only the past", "never the reference", "-1 pads")


def check_detail_change(function: Callable) -> None:
    """detail_change(looks [s, c, 3]) -> float: root mean square difference of each later showing from the first, mean."""
    looks = np.zeros((3, 4, 3))
    require(abs(number(ask(function, looks), "the change")) < 1e-9, "a detail that never changes has a change of 0")
    looks[1] += 3
    looks[2] -= 9
    value = number(ask(function, looks), "the change")
    require(abs(value + 3) > 1e-6, "differences of either sign count: square them before the mean")
    require(abs(value - 7.5) > 1e-6, "every showing is compared with the *first* one, not with the one before it")
    require(abs(value - 4) > 1e-6, "the first showing is not compared with itself: the mean is over the later ones")
    near(value, 6.0, "showings that differ from the first by 3 and by 9 grey levels everywhere change by 6")
    looks[:] = 0
    looks[1:, 0, 0] = 12.0
    near(
        ask(function, looks),
        12 / np.sqrt(12),
        "square, take the mean over cells *and* colours, then the root",
    )
    approve("detail_change", function, "against the first", "root mean square", "mean over later showings")


def check_paired_interval(function: Callable) -> None:
    """paired_interval(a [n], b [n], draws int [m, n]) -> (low, high): 95 % bootstrap interval of the mean of a - b."""
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 10, 40)  # clips differ far more than methods do
    a, b = hard + 1 + rng.normal(0, 0.3, 40), hard
    draws = rng.integers(40, size=(400, 40))
    answer = shaped(ask(function, a, b, draws), (2,), "the answer (low, high)")
    low, high = (float(end) for end in answer)
    require(low <= high, "the lower end of the interval comes first")
    require(high - low < 3, "the same clips are drawn for both: take differences first, then draw (paired)")
    require(high > 0, "a minus b, not b minus a")
    means = (a - b)[draws].mean(1)
    require(
        abs(high - low) > 1e-9 and abs(low - means.min()) > 1e-9,
        "95 %: leave 2.5 % of the drawn means below and 2.5 % above, not none",
    )
    near((low, high), np.percentile(means, [2.5, 97.5]), "the 2.5th and the 97.5th percentile of the drawn means", 1e-6)
    approve("paired_interval", function, "paired", "95 %", "low before high")
