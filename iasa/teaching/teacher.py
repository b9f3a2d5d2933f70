"""Checkers of notebook 5, the teacher: noise, velocity, Euler's steps, guidance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from iasa.teaching.verdict import approve, ask, call, near, require, shaped, to_numpy


def _pair(rows: int = 5) -> tuple[Tensor, Tensor]:
    clean, noise = torch.randn(2, rows, 3, generator=torch.Generator().manual_seed(0))
    return clean, noise


def check_mix_noise(function: Callable) -> None:
    """mix_noise(clean [m, d], noise [m, d], t [m]) -> [m, d]: (1 - t) clean + t noise."""
    clean, noise = _pair()

    def mix(t: list[float]):
        return shaped(ask(function, clean, noise, torch.tensor(t)), (5, 3), "the noisy points")

    half = mix([0.5] * 5)
    require(
        not (abs(mix([0.0] * 5) - to_numpy(noise)) < 1e-5).all(),
        "t = 0 is clean and t = 1 is noise: yours is the other way round",
    )
    near(mix([0.0] * 5), clean, "at t = 0 nothing is changed: the clean points come out")
    near(mix([1.0] * 5), noise, "at t = 1 only noise is left")
    near(
        half,
        (clean + noise) / 2,
        "half way (t = 0.5) is the middle of clean point and noise: the path is a straight line, without square roots",
    )
    levels = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    near(
        mix(levels.tolist()),
        clean + levels[:, None] * (noise - clean),
        "every row has its own t: turn t [m] into a column [m, 1]",
    )
    approve("mix_noise", function, "clean at 0", "noise at 1", "straight line", "a level for each row")


def check_velocity(function: Callable) -> None:
    """velocity(clean [m, d], noisy [m, d], t [m]) -> [m, d]: how fast the point moves as t grows, (noisy - clean) / t."""
    clean, noise = _pair()
    t = torch.tensor([0.1, 0.3, 0.5, 0.8, 1.0])
    noisy = clean + t[:, None] * (noise - clean)
    value = shaped(ask(function, clean, noisy, t), (5, 3), "the velocity")
    truth = noise - clean
    require(abs(value + to_numpy(truth)).max() > 1e-4, "the sign: as t grows the point moves from clean to noise")
    require(abs(value - to_numpy(noisy - clean)).max() > 1e-4, "divide by t: that distance was covered in a time t")
    near(value, truth, "on a straight path the velocity is noise - clean, the same at every t")
    approve("velocity", function, "sign", "divided by t", "constant along the path")


def check_euler(function: Callable) -> None:
    """euler(denoise, noise [m, d], levels) -> [m, d]: steps through the falling levels and then to 0."""
    goal, noise = _pair()
    asked: list[float] = []

    def constant(x: Tensor, level: float) -> Tensor:
        asked.append(float(level))
        return goal

    def run(denoise: Callable, levels: list[float]):
        return shaped(call(function, denoise, noise.clone(), list(levels)), (5, 3), "the sample")

    out = run(constant, [1.0])
    require(
        abs(out - to_numpy(noise)).max() > 1e-4,
        "with one level nothing happened: the last step goes from the last level to 0",
    )
    near(out, goal, "one step from 1 to 0 lands on what the network predicts")
    asked.clear()
    near(
        run(constant, [1.0, 0.6, 0.2]),
        goal,
        "if the network always predicts the same point, every schedule must end there",
    )
    require(len(asked) == 3, f"3 levels need 3 calls of the network; yours made {len(asked)}")
    require(
        all(abs(a - b) < 1e-9 for a, b in zip(asked, [1.0, 0.6, 0.2], strict=True)),
        f"the network must be told the level of its input: 1, 0.6, 0.2, not {asked}",
    )

    def shrink(x: Tensor, level: float) -> Tensor:
        return 0.5 * x * (1 - 0.3 * level)

    x, levels = noise, [1.0, 0.7, 0.3, 0.0]
    for level, after in zip(levels[:-1], levels[1:], strict=True):
        x = x + (after - level) * (x - shrink(x, level)) / level
    near(
        run(shrink, [1.0, 0.7, 0.3]),
        x,
        "for a network that depends on x the steps go elsewhere: x + (next level - level) * velocity",
    )
    approve("euler", function, "ends at level 0", "one call a level", "the right level", "the right steps")


def check_guide(function: Callable) -> None:
    """guide(told, untold, scale) -> the prediction pushed from untold towards told, and beyond for scale > 1."""
    told, untold = _pair()
    near(
        shaped(ask(function, told, untold, 1.0), (5, 3), "the prediction"),
        told,
        "scale 1 is the ordinary conditional prediction",
    )
    near(ask(function, told, untold, 0.0), untold, "scale 0 ignores the condition")
    value = shaped(ask(function, told, untold, 3.0), (5, 3), "the prediction")
    require(
        abs(value - to_numpy(untold + 3 * told)).max() > 1e-4,
        "add the *difference* of the two, scaled; not the prediction itself",
    )
    near(value, untold + 3 * (told - untold), "scale 3 goes three times as far from untold as told is")
    approve("guide", function, "scale 0", "scale 1", "extrapolates")
