"""Checkers of notebook 11, the real thing: poses at latent rate, operations of a step, Amdahl, rotary attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from iasa.teaching.verdict import approve, ask, near, number, require, shaped


def check_pool_poses(function: Callable) -> None:
    """pool_poses(xy [4 n + 1, p, 2], confidence [4 n + 1, p]) -> [n + 1, p, 2]: the first alone, then the mean of every four."""
    xy = np.zeros((9, 2, 2)) + np.arange(9.0)[:, None, None]
    sure = np.ones((9, 2))

    def poses_of(xy: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        count = (len(xy) - 1) // 4 + 1
        return shaped(ask(function, xy, confidence), (count, *xy.shape[1:]), "the poses")

    poses = poses_of(xy, sure)
    near(poses[0], xy[0], "latent frame 0 holds the first picture alone, not the mean of four")
    near(poses[1], 2.5, "latent frame 1 holds pictures 1, 2, 3 and 4: their mean")
    near(poses[2], 6.5, "latent frame 2 holds pictures 5 to 8")
    unsure = sure.copy()
    unsure[2, 0] = 0.0  # one point that nobody saw
    near(
        poses_of(xy, unsure)[1, 0],
        (1 + 3 + 4) / 3,
        "a point with confidence 0 must not pull the mean: weight each point by its confidence",
    )
    unsure[1:5, 0] = [0.8, 0.0, 0.4, 0.4]
    near(poses_of(xy, unsure)[1, 0], (0.8 + 1.2 + 1.6) / 1.6, "weights are the confidences, and divided by their sum")
    near(
        poses_of(xy, unsure)[1, 1], 2.5, "each point has weights of its own: another point's confidence is not its own"
    )
    unsure[5:, 1] = 0.0
    require(
        np.isfinite(poses_of(xy, unsure)).all(), "a point that no picture shows gives 0 / 0: guard the sum of weights"
    )
    near(poses_of(xy[:1], sure[:1])[0], xy[0], "a video of one picture is one latent frame")
    approve("pool_poses", function, "the first alone", "every four", "weighted by confidence")


def check_step_flops(function: Callable) -> None:
    """step_flops(tokens, width, ffn, blocks, text) -> (linear, attention, cross): operations of one pass, two a product."""

    def parts(*sizes: int) -> np.ndarray:
        made = ask(function, *sizes)
        require(
            isinstance(made, tuple | list) and len(made) == 3,
            "the answer must be three numbers: linear, attention, cross",
        )
        return np.array([number(one, name) for one, name in zip(made, ("linear", "attention", "cross"), strict=True)])

    small, longer = parts(100, 8, 20, 1, 10), parts(200, 8, 20, 1, 10)
    near(longer[0] / small[0], 2, "linear layers work on each token alone: twice the tokens, twice the operations")
    near(
        longer[1] / small[1],
        4,
        "in self-attention every token meets every token: twice the tokens, four times the operations",
    )
    near(
        longer[2] / small[2],
        2,
        "in cross-attention tokens meet the text, whose length stays: twice the tokens cost twice",
    )
    near(parts(100, 8, 20, 3, 10) / small, 3, "all three grow with the number of blocks", 1e-9)
    near(
        small[1],
        4 * 100 * 100 * 8,
        "self-attention multiplies q k^T and the weights with v: 2 + 2 operations, tokens², width",
    )
    near(small[2], 4 * 100 * 10 * 8, "cross-attention is 4 · tokens · text · width")
    without = parts(100, 8, 0, 1, 10)[0]
    near(
        small[0] - without,
        100 * 4 * 8 * 20,
        "the feed-forward layer is width -> ffn -> width: 2 products of 2 · width · ffn a token",
    )
    near(
        without,
        100 * 12 * 8**2,
        "projections of a token: q, k, v and output of self-attention, query and output of cross-attention, 2 · width² each",
    )
    approve("step_flops", function, "linear in tokens", "quadratic", "the text's length", "per block")


def check_speed_up(function: Callable) -> None:
    """speed_up(share, kept, rate) -> float: Amdahl's law for attention."""

    def gain(share: float, kept: float, rate: float = 1.0) -> float:
        return number(ask(function, share, kept, rate), "the speed-up")

    near(gain(0.6, 1.0), 1, "everything kept at the same rate: nothing gained, 1")
    near(gain(0.5, 0.0), 2, "free attention that took half of the time: twice as fast, and never more")
    near(gain(0.0, 0.1), 1, "where attention takes no time, nothing can be gained")
    near(gain(1.0, 0.25), 4, "if attention is all there is, a quarter of it is four times as fast")
    near(gain(0.5, 0.2), 1 / 0.6, "the rest, 1 - share, stays; of attention's share only `kept` is left")
    require(
        gain(0.5, 1.0, 0.5) < 1,
        "a kernel that multiplies at half the rate takes twice the time for what it keeps: divide by `rate`",
    )
    near(gain(0.6, 0.3, 0.75), 1 / (0.4 + 0.6 * 0.3 / 0.75), "kept products take kept / rate of attention's time")
    approve("speed_up", function, "the rest stays", "the ceiling", "a slower kernel")


def check_attend(function: Callable) -> None:
    """attend(q, k, v [n, d], angle [n, d / 2], allowed bool [n, n]) -> [n, d]: rotary embedding, then masked attention."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(6, 8, generator=generator) for _ in range(3))
    still, everything = torch.zeros(6, 4), torch.ones(6, 6, dtype=torch.bool)
    angle = torch.rand(6, 4, generator=generator) * 3
    lower = everything.tril()

    def answer(*given: Tensor) -> np.ndarray:
        return shaped(ask(function, *given), (6, 8), "the output")

    ones = torch.ones_like(v)
    near(
        answer(q, k, ones, angle, lower),
        1.0,
        "values that are all 1 come out as 1: the weights of a row add up to 1, and v is not turned",
        1e-4,
    )
    near(
        answer(q, k, v, angle, everything.tril().triu()),
        v,
        "a token that sees itself alone hands its own v on, as it is",
        1e-4,
    )
    other = v.clone()
    other[4:] += 10
    near(
        answer(q, k, other, angle, lower)[:4],
        answer(q, k, v, angle, lower)[:4],
        "rows 0 to 3 may not see tokens 4 and 5: allowed[i, j] says whether query i sees key j",
        1e-4,
    )
    near(
        answer(q, k, v, still, everything),
        _plain(q, k, v, everything),
        "with all angles 0 this is ordinary attention, scaled by sqrt(d)",
        1e-4,
    )
    near(
        answer(q, k, v, still, lower),
        _plain(q, k, v, lower),
        "masked logits are -inf before the softmax, not 0 after it",
        1e-4,
    )
    made = answer(q, k, v, angle, lower)
    near(
        answer(q, k, v, angle + 1.3, lower),
        made,
        "turning all tokens by the same angle changes nothing: only differences of places count",
        1e-3,
    )
    require(
        not np.allclose(made, _plain(_turn_halves(q, angle), _turn_halves(k, angle), v, lower).numpy(), atol=1e-4),
        "pairs are neighbours, (0, 1), (2, 3), ..., and not the first and the second half",
    )
    near(
        made,
        _plain(_turn(q, angle), _turn(k, angle), v, lower),
        "pair (x, y) becomes (x cos a - y sin a, x sin a + y cos a), for q and k",
        1e-4,
    )
    approve("attend", function, "rows add up to 1", "the mask", "only differences of places", "v as it is")


def _plain(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
    logits = (q @ k.T / q.shape[1] ** 0.5).masked_fill(~allowed, -torch.inf)
    return logits.softmax(1) @ v


def _turn(x: Tensor, angle: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.unflatten(1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(1)


def _turn_halves(x: Tensor, angle: Tensor) -> Tensor:
    first, second = x.chunk(2, 1)
    return torch.cat([first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], 1)
