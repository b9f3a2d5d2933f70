"""Distribution matching, the critic, and the differentiable roll-out."""

import numpy as np
import pytest
import torch

from iasa.config import MaskOptions
from iasa.grid import TokenGrid
from iasa.inference.rollout import CausalStudent
from iasa.keypoints import COUNT, Keypoints
from iasa.losses import add_noise, critic_loss, dmd_grad, dmd_loss
from iasa.masks import make_plan
from iasa.models.transformer import VideoTransformer
from iasa.training.self_forcing import roll_out

FRAMES = 4


def test_dmd_gradient_is_the_score_difference_on_a_scale_of_its_own():
    x0, real, fake = torch.randn(3, 2, 3, 2, 4, 4)
    grad = dmd_grad(real, fake, x0)
    for i in range(2):
        torch.testing.assert_close(grad[i], (fake[i] - real[i]) / (x0[i] - real[i]).abs().mean())
    far = torch.cat([real[:1] + 10 * (x0[:1] - real[:1]), x0[1:]])
    far_fake = torch.cat([real[:1] + 10 * (fake[:1] - real[:1]), fake[1:]])
    torch.testing.assert_close(dmd_grad(real, far_fake, far), grad)  # ten times as far weighs the same


def test_dmd_loss_reaches_the_student_and_nothing_else():
    x0 = torch.randn(2, 3, 4, 2, 2, requires_grad=True)
    a, b = torch.nn.Parameter(torch.tensor(0.5)), torch.nn.Parameter(torch.tensor(0.2))
    level, noise = torch.full((2, 3), 0.6), torch.randn(2, 3, 4, 2, 2)
    loss = dmd_loss(x0, lambda x, t: a * x, lambda x, t: b * x, level, noise)
    loss.backward()
    noisy = add_noise(x0.detach(), noise, level)
    torch.testing.assert_close(x0.grad, dmd_grad(0.5 * noisy, 0.2 * noisy, x0.detach()) / x0.numel())
    assert a.grad is None and b.grad is None
    weighted = torch.autograd.grad(
        dmd_loss(x0, lambda x, t: a * x, lambda x, t: b * x, level, noise, torch.eye(4)[:2, None].expand(2, 3, 4)), x0
    )[0]
    ratio = (weighted / x0.grad).flatten(3)
    torch.testing.assert_close(ratio[0, 0, 0], torch.tensor([4.0, 1.0, 1.0, 1.0]) / 1.75)


def gaussian_denoiser(mean, deviation):
    """E[x0 | x_t] of N(mean, deviation^2)."""

    def denoise(x, level):
        t = level[..., None, None, None]
        gain = (1 - t) * deviation**2 / ((1 - t) ** 2 * deviation**2 + t**2)
        return mean + gain * (x - (1 - t) * mean)

    return denoise


def test_distribution_matching_moves_a_gaussian_onto_the_teacher():
    """The student is N(m, s^2) by m + s z; with the exact critic both m and s must arrive, s not collapsing to 0."""
    torch.manual_seed(0)
    mean, deviation = torch.nn.Parameter(torch.tensor(-1.0)), torch.nn.Parameter(torch.tensor(0.2))
    teacher = gaussian_denoiser(2.0, 0.7)
    optimizer = torch.optim.Adam([mean, deviation], 0.03)
    for _ in range(400):
        z, noise = torch.randn(2, 64, 1, 1, 4, 4)
        x0 = mean + deviation * z
        critic = gaussian_denoiser(float(mean.detach()), float(deviation.detach()))
        loss = dmd_loss(x0, teacher, critic, torch.rand(64, 1) * 0.9 + 0.05, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(mean.detach()) == pytest.approx(2.0, abs=0.1)
    assert float(deviation.detach()) == pytest.approx(0.7, abs=0.12)


def test_the_critic_learns_the_students_samples():
    torch.manual_seed(0)
    weight, bias = torch.nn.Parameter(torch.tensor(0.0)), torch.nn.Parameter(torch.tensor(0.0))
    optimizer = torch.optim.Adam([weight, bias], 0.05)
    level = torch.full((64, 1), 0.5)
    start = torch.tensor(3.0, requires_grad=True)
    for _ in range(1000):
        z, noise = torch.randn(2, 64, 1, 1, 4, 4)
        loss = critic_loss(lambda x, t: weight * x + bias, start + 0.5 * z, level, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    expected = gaussian_denoiser(3.0, 0.5)(torch.tensor([[[[[2.0]]]]]), level[:1])
    assert float((weight * 2.0 + bias).detach()) == pytest.approx(float(expected), abs=0.06)
    assert start.grad is None


@pytest.fixture(scope="module")
def network() -> VideoTransformer:
    torch.manual_seed(0)
    model = VideoTransformer(latent_channels=8, width=32, layers=2, heads=2)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


@pytest.fixture(scope="module")
def clips():
    """Conditions' arguments and plans of two clips with different poses."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0.2, 0.8, (2, 1, 1, COUNT, 2)) + 0.05 * rng.normal(size=(2, 1 + FRAMES, 2, COUNT, 2))
    plans = []
    for clip in xy:
        latent = Keypoints(clip[:, 0], np.ones((1 + FRAMES, COUNT)), 12.5)
        plans.append(make_plan(latent, TokenGrid(1 + FRAMES), MaskOptions(top_k=1)))
    torch.manual_seed(1)
    base = torch.randn(2, 1 + FRAMES, 8, 16, 16)
    return (
        base,
        torch.rand(2, 3, 256, 256) * 2 - 1,
        torch.from_numpy(xy).float(),
        torch.ones(2, 1 + FRAMES, 2, COUNT),
    ), plans


def test_the_training_roll_out_is_the_streaming_one(network, clips, monkeypatch):
    """Clip by clip and step by step, with all noise replaced by zeros; a batch of two plans is two roll-outs."""
    arguments, plans = clips
    monkeypatch.setattr(torch, "randn", lambda shape, **kwargs: torch.zeros(shape))
    with torch.no_grad():
        rolled = roll_out(network, network.condition(*arguments), plans, torch.zeros_like(arguments[0][:, 1:]), 2)
        for i, plan in enumerate(plans):
            condition = network.condition(*(part[i : i + 1] for part in arguments))
            streamed = torch.stack(list(CausalStudent(network, condition, plan).roll_out(2)), 1)
            torch.testing.assert_close(rolled[i : i + 1], streamed, rtol=1e-4, atol=1e-4)


def test_gradients_pass_through_the_last_step_and_not_into_past_frames(network, clips):
    arguments, plans = clips
    modes = []
    hook = network.register_forward_pre_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    noise = torch.randn_like(arguments[0][:, 1:]).requires_grad_()
    x0 = roll_out(network, network.condition(*arguments), plans, noise, 1)
    hook.remove()
    (grad,) = torch.autograd.grad(x0[:, 2].square().sum(), noise)
    assert grad[:, 2].abs().max() > 0 and not grad[:, [0, 1, 3]].any()
    modes.clear()
    hook = network.register_forward_pre_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    roll_out(network, network.condition(*arguments), plans, noise, 4)
    hook.remove()
    assert modes == [True] + [False, False, False, True] * FRAMES  # the reference's keys, then the frames


def test_every_parameter_learns_from_the_roll_out_under_autocast(network, clips):
    """Autocast keeps weights that were cast without a graph; the roll-out must not meet those."""
    arguments, plans = clips
    network.zero_grad()

    def precision():
        return torch.autocast("cpu", torch.bfloat16)

    with precision():
        condition = network.condition(*arguments)
    roll_out(network, condition, plans, torch.randn_like(arguments[0][:, 1:]), 2, precision).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_without_the_local_mask_chosen_frames_are_seen_whole():
    rng = np.random.default_rng(0)
    poses = Keypoints(rng.uniform(0.2, 0.8, (5, COUNT, 2)), np.ones((5, COUNT)), 12.5)
    grid = TokenGrid(5, 4, 4)
    local, whole = (make_plan(poses, grid, MaskOptions(top_k=2, local=on)) for on in (True, False))
    assert torch.equal(local.frame_table, whole.frame_table)
    expected = torch.zeros(5, 5, dtype=torch.bool)
    for t in range(5):
        expected[t, [t, 0, *whole.past_frames(t)]] = True
    assert torch.equal(whole.dense(), expected.repeat_interleave(16, 0).repeat_interleave(16, 1))
    assert local.density() < whole.density()
