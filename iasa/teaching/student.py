"""Checkers of notebook 6, the student: score, gradient of DMD, its surrogate, the critic's loss, the region loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from iasa.teaching.verdict import approve, ask, call, near, number, require, shaped, to_tensor


def _points(seed: int, rows: int = 6, width: int = 4) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def check_score(function: Callable) -> None:
    """score(clean [m, d], noisy [m, d], t [m]) -> [m, d]: ((1 - t) clean - noisy) / t^2, the gradient of log p_t."""
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
    noisy = _points(0).requires_grad_()
    # Data that are one Gaussian of mean m and deviation s: everything is known in closed form.
    mean, deviation = 0.7, 0.4
    variance = ((1 - t) * deviation) ** 2 + t**2
    log_density = -((noisy - (1 - t)[:, None] * mean) ** 2).sum(1) / (2 * variance)
    truth = torch.autograd.grad(log_density.sum(), noisy)[0]
    with torch.no_grad():
        gain = ((1 - t) * deviation**2 / variance)[:, None]
        clean = mean + gain * (noisy - (1 - t)[:, None] * mean)
    value = shaped(ask(function, clean, noisy.detach(), t), (6, 4), "the score")
    require(abs(value + truth.numpy()).max() > 1e-3, "the sign: the score points from the noisy point towards the data")
    velocity_like = ((clean - noisy.detach()) / t[:, None] ** 2).numpy()
    require(
        abs(value - velocity_like).max() > 1e-3,
        "at level t the clean point has shrunk to (1 - t) clean: compare the noisy point with that",
    )
    once = (((1 - t)[:, None] * clean - noisy.detach()) / t[:, None]).numpy()
    require(abs(value - once).max() > 1e-3, "divide by t squared, the variance of the noise, not by t")
    near(value, truth, "for Gaussian data this is not the gradient of the log density", 1e-3)
    approve("score", function, "points to the data", "(1 - t) clean", "t squared", "exact for a Gaussian")


def check_dmd_gradient(function: Callable) -> None:
    """dmd_gradient(real_x0 [m, d], fake_x0 [m, d], x0 [m, d]) -> [m, d]: (fake - real) / mean |x0 - real| of each row."""
    real, fake, x0 = _points(1), _points(2), _points(3)
    value = shaped(ask(function, real, fake, x0), (6, 4), "the gradient")
    plain = (fake - real).numpy()
    require(
        (value * plain).sum() > 0,
        "the sign: going *against* the gradient must lead from the critic's guess towards the teacher's",
    )
    require(abs(value - plain).max() > 1e-4, "normalise: divide every row by its mean |x0 - real|")
    whole = (x0 - real).abs().mean().item()
    require(
        abs(value - plain / whole).max() > 1e-4,
        "every sample has its own scale: take the mean over its own numbers (keepdim=True), not over all",
    )
    scale = (x0 - real).abs().mean(1, keepdim=True)
    near(value, (fake - real) / scale, "a row is scaled wrongly: by the mean of |x0 - real|")
    near(ask(function, real, real, x0), 0, "if critic and teacher agree there is nothing to learn: gradient 0")
    large = shaped(ask(function, 10 * real, 10 * fake, 10 * x0), (6, 4), "the gradient")
    near(large, value, "measured in other units (ten times as large) the gradient stays the same")
    tracked = real.clone().requires_grad_()
    answer = call(function, tracked, fake.clone(), x0.clone())
    require(
        not torch.is_tensor(answer) or not answer.requires_grad,
        "teacher and critic are only read: compute inside torch.no_grad(), or detach",
    )
    same = shaped(call(function, x0.clone(), x0 + 1, x0.clone()), (6, 4), "the gradient")
    require(
        np.isfinite(same).all(),
        "where x0 equals the teacher's guess the scale is 0: keep it above 1e-6",
    )
    approve(
        "dmd_gradient",
        function,
        "sign",
        "a scale for each sample",
        "0 when they agree",
        "no gradient into the teacher",
        "no division by 0",
    )


def check_surrogate(function: Callable) -> None:
    """surrogate(x0 [m, d], gradient [m, d]) -> scalar whose derivative by x0 is gradient / number of elements."""
    x0, gradient = _points(4).requires_grad_(), _points(5).requires_grad_()
    loss = to_tensor(call(function, x0, gradient), "the loss")
    shaped(loss, (), "the loss (take a mean)")
    require(loss.requires_grad, "the loss must depend on x0: only the target is detached")
    by_x0, by_gradient = torch.autograd.grad(loss, (x0, gradient), allow_unused=True)
    require(
        by_x0 is not None and by_x0.abs().max() > 0,
        "no gradient reaches x0: detach the target alone, not the whole difference",
    )
    ratio = (by_x0 * gradient.detach()).sum() / gradient.detach().square().sum() * gradient.numel()
    require(ratio > 0, "the sign: the derivative by x0 must be +gradient, so that descent goes against it")
    require(abs(float(ratio) - 2) > 1e-4, "the derivative is twice the gradient: put 0.5 in front of the square")
    near(
        by_x0 * gradient.numel(),
        gradient.detach(),
        "the derivative by x0 must be the gradient itself (divided by the number of elements)",
    )
    require(
        by_gradient is None or by_gradient.abs().max() == 0, "no gradient may flow into `gradient`: detach the target"
    )
    approve("surrogate", function, "a scalar", "derivative by x0", "nothing flows elsewhere")


def check_critic_step(function: Callable) -> None:
    """critic_step(critic, x0 [m, d], noise [m, d], t [m]) -> scalar: mean (critic(noisy, t) - x0)^2, x0 taken as data."""
    x0, noise = _points(6).requires_grad_(), _points(7)
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
    weight = torch.ones((), requires_grad=True)
    seen: dict[str, Tensor] = {}

    def critic(noisy: Tensor, level: Tensor) -> Tensor:
        seen["noisy"], seen["level"] = noisy.detach(), level.detach()
        return weight * 0.5 * noisy

    loss = to_tensor(call(function, critic, x0, noise, t), "the loss")
    require("noisy" in seen, "the critic was not called")
    shaped(loss, (), "the loss (take a mean)")
    truth_noisy = (1 - t)[:, None] * x0.detach() + t[:, None] * noise
    require(not torch.allclose(seen["noisy"], x0.detach()), "the critic must be shown noisy samples, not clean ones")
    near(seen["noisy"], truth_noisy, "the noisy samples must be (1 - t) x0 + t noise")
    near(seen["level"], t, "the critic must be told the level t")
    require(
        loss.requires_grad, "no gradient reaches the critic: do not call it under no_grad, do not detach its answer"
    )
    by_x0, by_weight = torch.autograd.grad(loss, (x0, weight), allow_unused=True)
    require(
        by_x0 is None or by_x0.abs().max() == 0,
        "a gradient flows into the student's samples: detach x0, the critic only learns about them",
    )
    require(by_weight is not None, "no gradient reaches the critic: do not call it under no_grad")
    guess = 0.5 * truth_noisy
    require(
        abs(loss.item() - ((guess - noise) ** 2).mean().item()) > 1e-5,
        "the target is the student's sample x0, not the noise",
    )
    near(loss, ((guess - x0.detach()) ** 2).mean(), "the loss is the mean squared error against x0")
    approve("critic_step", function, "noisy input", "told the level", "target x0", "nothing flows into the student")


def check_region_loss(function: Callable) -> None:
    """region_loss(x [m, p], x_hat [m, p], masks {name: [m, p]}, weights {name: float}) -> scalar."""
    x, x_hat = _points(8), _points(9)
    face, hands = torch.zeros(2, 6, 4)
    face[:, 0], hands[:3, 1:3] = 1, 1
    masks, weights = {"face": face, "hands": hands}, {"face": 2.0, "hands": 0.5}
    square = (x - x_hat) ** 2

    def loss(masks: dict, weights: dict, other: Tensor = x_hat) -> float:
        return number(call(function, x.clone(), other.clone(), dict(masks), dict(weights)), "the loss")

    require(abs(loss(masks, weights, x)) < 1e-12, "two equal pictures must have a loss of 0")
    outside = x_hat.clone()
    outside[:, 3] += 5
    require(
        abs(loss(masks, weights, outside) - loss(masks, weights)) < 1e-5,
        "what lies in no region must not count: multiply by the mask",
    )
    one = float((square * face).sum() / face.sum())
    alone = loss({"face": face}, {"face": 1.0})
    require(
        abs(alone - float((square * face).mean())) > 1e-5,
        "divide by the pixels of the region, not of the picture: else a small region counts little",
    )
    near(alone, one, "the loss of one region is the mean squared difference over its pixels")
    two = float((square * hands).sum() / hands.sum())
    require(abs(loss(masks, weights) - (one + two)) > 1e-5, "every region has its weight, lambda_r in the formula")
    near(loss(masks, weights), 2.0 * one + 0.5 * two, "the regions add up, each times its weight")
    gone = loss(masks | {"arms": torch.zeros_like(face)}, weights | {"arms": 1.0})
    require(gone == gone, "a region that no picture shows divides 0 by 0: it must count 0")
    near(gone, loss(masks, weights), "a region that no picture shows must count 0")
    tracked = x_hat.clone().requires_grad_()
    answer = to_tensor(call(function, x, tracked, masks, weights), "the loss")
    require(answer.requires_grad, "no gradient reaches the student's picture x_hat: do not detach it")
    by_x_hat = torch.autograd.grad(answer, tracked)[0]
    require(by_x_hat[:, 0].abs().max() > 0, "no gradient reaches the student's picture x_hat inside the regions")
    approve(
        "region_loss",
        function,
        "only the regions",
        "mean over a region's pixels",
        "weights",
        "empty regions",
        "gradient into x_hat",
    )
