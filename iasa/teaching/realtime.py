"""Checkers of notebook 8, real time: keys of a frame, what a cache may forget, honest rates, start delay, chosen blocks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from iasa.teaching.verdict import approve, ask, near, number, require, shaped, to_numpy

_TABLE = np.array([[-1, -1], [-1, -1], [1, -1], [1, 2], [3, 1], [2, 4]])


def check_count_keys(function: Callable) -> None:
    """count_keys(table [f, k], bits uint8 [f, n]) -> int [f]: own frame, reference, and region tokens of the chosen frames."""
    bits = np.array([[1, 0, 2, 4], [1, 1, 0, 2], [0, 0, 0, 0], [1, 0, 0, 0], [4, 0, 2, 2], [1, 1, 1, 3]], np.uint8)
    counts = shaped(ask(function, _TABLE, bits), (6,), "the counts")
    require(counts[0] == 4, f"frame 0 is the reference: it reads its own 4 tokens only, not {counts[0]}")
    require(counts[1] == 8, f"frame 1 has no past: its own 4 tokens and the reference's 4 make 8, not {counts[1]}")
    require(
        counts[2] == 8,
        f"frame 2 is background only: no token of a chosen frame shares a region with it; 8, not {counts[2]}",
    )
    require(
        counts[3] != 8 + 8,
        "of a chosen frame only those tokens count that share a region with some token of this frame",
    )
    require(
        counts[3] == 10, f"frame 3 (face) chooses frames 1 and 2: two face tokens there, 8 + 2 = 10, not {counts[3]}"
    )
    require(
        counts[4] == 9,
        f"frame 4 (hands, arms) chooses 3 (face: nothing in common) and 1 (one hand token): 9, not {counts[4]}",
    )
    near(counts, [4, 8, 8, 10, 9, 10], "a frame's number of keys is wrong")
    approve("count_keys", function, "reference", "no past", "only common regions", "-1 means nothing")


def check_last_use(function: Callable) -> None:
    """last_use(table [f, k]) -> int [f]: the last frame that chose each frame, -1 if none did."""
    use = shaped(ask(function, _TABLE), (6,), "the answer")
    require(np.issubdtype(use.dtype, np.integer), f"frame numbers are integers, not {use.dtype}")
    require(
        use[5] == -1, f"frame 5 is chosen by nobody: -1, not {use[5]} (does a -1 of the table name the last frame?)"
    )
    require(use[1] != 2, "frame 1 is chosen by 2, 3 and 4: the *last* of them counts")
    near(use, [-1, 4, 5, 4, 5, -1], "the last user of a frame is wrong")
    none = to_numpy(ask(function, np.full((3, 2), -1)))
    near(none, [-1, -1, -1], "a table without choices: all -1")
    approve("last_use", function, "the last one", "-1 where never chosen", "padding ignored")


def check_frame_rate(function: Callable) -> None:
    """frame_rate(seconds [m], per_latent, warm_up) -> float: video frames a second by the median, the first ones left out."""
    steady = np.full(10, 0.1)
    value = number(ask(function, steady, 1, 0), "the rate")
    require(abs(value - 0.1) > 1e-9, "that is seconds a frame; frames a second is its inverse")
    near(value, 10.0, "0.1 s a frame is 10 frames a second")
    near(
        ask(function, steady, 2, 0),
        20.0,
        "a latent frame holds `per_latent` video frames: 2 frames in 0.1 s are 20 a second",
    )
    slow_start = np.r_[np.full(12, 3.0), steady]
    near(
        ask(function, slow_start, 1, 12),
        10.0,
        "the first `warm_up` measurements (loading, allocating) must be left out",
    )
    hiccup = np.r_[np.full(9, 0.1), 5.0]
    near(ask(function, hiccup, 1, 0), 10.0, "one hiccup of the machine must not change the answer: take the median")
    uneven = np.array([0.1, 0.8, 0.2, 0.4])  # an even count: the median of the inverses is another number
    near(ask(function, uneven, 1, 0), 1 / 0.3, "take the median of the seconds and invert it once, at the end")
    approve("frame_rate", function, "inverse", "frames in a latent frame", "warm-up", "median")


def check_start_delay(function: Callable) -> None:
    """start_delay(done_at [f], fps) -> float: seconds to wait before playback so that no frame is late."""
    fps = 10.0
    near(
        number(ask(function, np.arange(5) / fps, fps), "the delay"),
        0.0,
        "frames that are ready exactly when they are shown need no delay",
    )
    near(ask(function, np.arange(5) / fps + 0.7, fps), 0.7, "if every frame is 0.7 s late, wait 0.7 s")
    slow = 0.2 * np.arange(1, 6)
    value = number(ask(function, slow, fps), "the delay")
    require(
        abs(value - 0.2) > 1e-9,
        "the first frame is not the only one that may be late: a slow machine falls behind further and further",
    )
    require(abs(value - 1.0) > 1e-9, "waiting for everything is too long: later frames are shown later")
    near(value, 0.6, "at half speed frame 4, done at 1.0 s and due at 0.4 s, sets the delay: 0.6 s")
    burst = np.array([0.1, 0.1, 0.9, 0.9, 0.9])
    near(ask(function, burst, fps), 0.7, "the latest frame, relative to when it is due, sets the delay (here frame 2)")
    near(ask(function, np.zeros(4), fps), 0.0, "a delay is never negative")
    approve("start_delay", function, "punctual frames", "constant lag", "slow machine", "bursts", "never negative")


def check_choose_blocks(function: Callable) -> None:
    """choose_blocks(q [t, d], k [t, d], block, keep) -> bool [nb, nb]: own block and the `keep` best earlier ones by means."""
    generator = torch.Generator().manual_seed(0)
    own, shared = (torch.randn(2, m, 8, generator=generator) for m in (24, 6))
    q, k = own + shared.repeat_interleave(4, 1)  # tokens of a block are alike
    kept = shaped(ask(function, q, k, 4, 2), (6, 6), "the kept blocks")
    require(kept.dtype == bool, f"the kept blocks are {kept.dtype}; True and False are needed")
    require(not np.triu(kept, 1).any(), "a block of the future is kept: only earlier blocks may be chosen")
    require(kept.diagonal().all(), "every row keeps its own block")
    counts = kept.sum(1).tolist()
    require(
        counts == [1, 2, 3, 3, 3, 3],
        f"a row keeps its own block and min(keep, earlier) others: 1, 2, 3, 3, 3, 3, not {counts}",
    )
    means = [x.view(6, 4, 8).mean(1) for x in (q, k)]
    scores = means[0] @ means[1].T / math.sqrt(8)
    truth = np.eye(6, dtype=bool)
    for row in range(1, 6):
        truth[row, scores[row, :row].topk(min(2, row)).indices.numpy()] = True
    require(
        (kept == truth).all(),
        "other blocks score higher: the score is the product of the mean query and the mean key of the blocks",
    )
    near(ask(function, q, k, 4, 0), np.eye(6, dtype=bool), "keep = 0 leaves each row its own block")
    approve("choose_blocks", function, "no future", "own block", "`keep` others", "scores of means")
