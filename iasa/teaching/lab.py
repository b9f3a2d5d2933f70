"""Checkers of notebook 12, the training lab: a free run, the mask of teacher forcing, a drift's rate, whose turn it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from iasa.teaching.verdict import approve, ask, call, near, number, require, shaped, to_tensor


def check_free_run(function: Callable) -> None:
    """free_run(weights [p], first [m, p], steps) -> [m, steps]: every value from the p before it, its own ones too."""
    first = torch.tensor([[1.0, 2.0, 4.0], [0.0, 1.0, 0.0]])
    newest = torch.tensor([0.0, 0.0, 1.0])
    held = shaped(ask(function, newest, first, 4), (2, 4), "the run")
    require(
        held[0, 0] != 1,
        "the weights go with the values from the oldest to the newest: a weight of 1 on the last one repeats the last one",
    )
    near(held, [[4.0] * 4, [0.0] * 4], "a weight of 1 on the newest value, 0 on the others, repeats that value")
    double = torch.tensor([0.0, 0.0, 2.0])
    value = shaped(ask(function, double, first, 3), (2, 3), "the run")
    require(
        abs(value[0] - 8).max() > 1e-6,
        "every step must start from the value made before it, not from the recording's last one again",
    )
    require(
        abs(value[0, 0] - 4) > 1e-6, "the run holds new values only: the first p are the recording's, leave them out"
    )
    near(value[0], [8.0, 16.0, 32.0], "with a weight of 2 on the newest value it doubles at every step")
    weights = torch.tensor([0.5, -0.25, 1.0])
    expected = [[4.0, 4.0, 5.0, 6.0], [-0.25, 0.25, 0.3125, 0.125]]
    near(ask(function, weights, first, 4), expected, "a value is the weighted sum of the p values just before it")
    tracked = weights.clone().requires_grad_()
    made = to_tensor(call(function, tracked, first.clone(), 4), "the run")
    require(made.requires_grad, "training needs the gradient through the whole run: no detach, no no_grad, no numpy")
    (by_weights,) = torch.autograd.grad(made[0, 3], tracked)
    # Through all four steps; a detached past would give the last three values alone, [4, 4, 5].
    require(
        abs(by_weights - torch.tensor([4.0, 4.0, 5.0])).max() > 1e-4,
        "the gradient stops at the last step: earlier values of the run depend on the weights too, do not detach them",
    )
    approve(
        "free_run",
        function,
        "its own values",
        "the order of weights",
        "new values only",
        "a gradient through all steps",
    )


def _causal(n: int) -> torch.Tensor:
    """A mask of four frames: the own one, frame 0, and of frame 3 also half of frame 1's tokens."""
    frame = torch.arange(4 * n) // n
    mask = (frame[:, None] == frame) | (frame == 0)
    mask[3 * n :, n : n + n // 2] = True
    return mask


def check_forced_mask(function: Callable) -> None:
    """forced_mask(causal bool [f n, f n], n) -> bool [(2f-1) n, (2f-1) n]: clean frames 0.., then noisy frames 1.."""
    n, frames = 2, 4
    causal, total = _causal(n), (2 * frames - 1) * n
    mask = shaped(ask(function, causal, n), (total, total), "the mask")
    require(mask.dtype == bool, f"the mask is {mask.dtype}; True and False are needed")
    split = frames * n
    require(
        not mask[:split, split:].any(), "a clean frame sees a noisy one: the past must not depend on what is guessed"
    )
    near(mask[:split, :split], causal, "among clean frames the causal mask holds as it is")
    noisy_clean = mask[split:, :split].reshape(frames - 1, n, frames, n)
    noisy_noisy = mask[split:, split:].reshape(frames - 1, n, frames - 1, n)
    for t in range(1, frames):
        require(
            not noisy_clean[t - 1, :, t].any(),
            f"noisy frame {t} sees its own clean copy: there stands the answer, and training would learn to copy it",
        )
        require(not noisy_clean[t - 1, :, t + 1 :].any(), f"noisy frame {t} sees a clean frame of its future")
        require(noisy_noisy[t - 1, :, t - 1].all(), f"noisy frame {t} must see all of itself")
        others = np.delete(noisy_noisy[t - 1], t - 1, axis=1)
        require(not others.any(), f"noisy frame {t} sees another noisy frame: in use the past is finished, level 0")
    truth = causal.numpy().reshape(frames, n, frames, n)
    for t in range(1, frames):
        require(
            (noisy_clean[t - 1, :, :t] == truth[t, :, :t]).all(),
            f"noisy frame {t} must see of the clean past just what row {t} of the causal mask allows",
        )
    approve("forced_mask", function, "clean past", "no own copy", "no other noisy frame", "the causal rows")


def check_drift_rate(function: Callable) -> None:
    """drift_rate(scores [f]) -> float: slope of the least-squares line, per frame."""
    line = 2.0 - 0.05 * np.arange(31)
    value = number(ask(function, line), "the rate")
    require(abs(value - 0.05) > 1e-6, "the sign: a score that falls has a negative rate")
    require(abs(value + 1.5) > 1e-6, "the rate is a change per frame: divide by the frames it took")
    near(value, -0.05, "a line that falls by 0.05 a frame has a rate of -0.05")
    near(ask(function, np.full(5, 3.0)), 0.0, "scores that stay the same do not drift, whatever their level")
    near(ask(function, line + 7), -0.05, "a higher level is no drift: subtract the means")
    bumps = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    slope = float(np.polyfit(np.arange(6), bumps, 1)[0])
    value = number(ask(function, bumps), "the rate")
    require(
        abs(value - (bumps[-1] - bumps[0]) / 5) > 1e-6,
        "first and last score alone are at the mercy of two frames: fit a line to all of them",
    )
    near(value, slope, "this is not the slope of the least-squares line")
    approve("drift_rate", function, "sign", "per frame", "no level", "all frames")


def check_student_turns(function: Callable) -> None:
    """student_turns(steps, warm_up, lessons) -> list of bool: True for a student's update, False for the critic's."""
    turns = shaped(ask(function, 3, 4, 2), (13,), "the schedule of 3 steps, 4 lessons of warm-up and 2 lessons a step")
    require(
        turns.dtype == bool, f"the schedule is {turns.dtype}; True for the student and False for the critic are needed"
    )
    require(turns.sum() == 3, f"the student is to make 3 steps, not {turns.sum()}")
    require(not turns[:4].any(), "the warm-up is the critic's alone: the student waits until it is over")
    require(not turns[4], "each step of the student comes after the critic's lessons, not before them")
    require(turns[-1], "after the student's last step nobody uses the critic any more: end with the student")
    where = np.flatnonzero(turns)
    require(
        (np.diff(where) == 3).all(),
        f"between two steps of the student the critic has 2 lessons; your steps are at {where.tolist()}",
    )
    near(turns, [False] * 6 + [True] + ([False] * 2 + [True]) * 2, "the order of the updates is wrong")
    near(ask(function, 2, 0, 1), [False, True] * 2, "without a warm-up they begin with the critic's lessons")
    near(ask(function, 2, 1, 0), [False, True, True], "no lessons a step: after the warm-up the student alone learns")
    approve("student_turns", function, "warm-up", "lessons before each step", "ends with the student")
