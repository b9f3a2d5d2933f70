"""Losses, samplers, the optimizer, and a training run that is killed and resumed."""

import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from iasa.attention.patterns import find_pattern
from iasa.config import InputError
from iasa.keypoints import COUNT
from iasa.losses import add_noise, flow_loss, reconstruction_loss
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.sampling import make_levels, sample_euler, sample_few_step
from iasa.training.datasets import CropSampler, encode_shards, find_shards, read_window
from iasa.training.finetune_pattern import finetune_pattern
from iasa.training.muon import Muon, orthogonalise
from iasa.training.trainer import Schedule, Trainer, lr_factor


def test_levels_fall_from_one():
    levels = make_levels(4)
    assert levels[0] == pytest.approx(1.0) and all(a > b > 0 for a, b in zip(levels, levels[1:], strict=False))
    with pytest.raises(ValueError, match="0 steps"):
        make_levels(0)


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_samplers_reach_the_target_of_a_perfect_denoiser(steps):
    target = torch.randn(1, 2, 3, 4, 4)
    noise = torch.randn_like(target)
    torch.testing.assert_close(sample_euler(lambda x, t: target, noise, steps), target, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(sample_few_step(lambda x, t: target, noise, steps), target)


def test_euler_follows_the_exact_flow_of_a_gaussian():
    """Data N(0, s^2): E[x0 | x_t] is linear in x, and the flow maps noise z to s z."""
    s = 0.5

    def denoise(x, t):
        return x * (1 - t) * s**2 / ((1 - t) ** 2 * s**2 + t**2)

    noise = torch.randn(1, 1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    coarse, fine = ((sample_euler(denoise, noise, n) - s * noise).abs().max() for n in (10, 200))
    assert fine < 0.03
    assert fine < 0.1 * coarse  # first order: twenty times the steps, about a twentieth of the error


def test_few_step_noise_is_renewed_at_the_next_level():
    seen = []
    target = torch.zeros(1, 1, 1, 64, 64)

    def denoise(x, t):
        seen.append((t, float(x.std())))
        return target

    sample_few_step(denoise, torch.randn_like(target), 4, torch.Generator().manual_seed(0))
    for level, deviation in seen:
        assert deviation == pytest.approx(level, rel=0.05)


def test_flow_loss_weights_important_tokens_and_reaches_the_output():
    clean = torch.zeros(1, 1, 2, 2, 2)
    output = torch.ones_like(clean).requires_grad_()
    level = torch.ones(1, 1)
    token_weight = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    flow_loss(output, clean, level, token_weight, weight_scale=3.0, floor=0.0).backward()
    grad = output.grad[0, 0].sum(0).flatten()
    assert grad[0] == pytest.approx(4 * float(grad[1]))
    assert flow_loss(clean, clean, level) == 0
    noisy = add_noise(clean + 2, torch.full_like(clean, 6.0), torch.full((1, 1), 0.25))
    assert torch.all(noisy == 3.0)


def test_reconstruction_loss_counts_weighted_pixels_more():
    target = torch.zeros(1, 6, 16, 16)
    weight = torch.ones(1, 1, 16, 16)
    weight[..., :8] = 5.0
    left, right = target.clone(), target.clone()
    left[..., 2:6, 2:6] = 0.3
    right[..., 2:6, 10:14] = 0.3
    assert reconstruction_loss(left, target, weight) > 4 * reconstruction_loss(right, target, weight) > 0
    assert reconstruction_loss(target, target, weight) == 0


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (12, 12)])
def test_orthogonalised_updates_have_unit_singular_values(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)).float())
    assert values.min() > 0.4 and values.max() < 1.4


def test_muon_moves_a_convolution_by_its_rate():
    p = torch.nn.Parameter(torch.zeros(8, 4, 3, 3))
    p.grad = torch.randn_like(p)
    Muon([p], lr=0.1, weight_decay=0.0).step()
    top = torch.linalg.matrix_norm(p.detach().flatten(1), 2)
    assert 0.05 < top < 0.15


def test_lr_warms_up_and_cools_down():
    assert lr_factor(0, 100, 10) == pytest.approx(0.1)
    assert lr_factor(30, 100, 10) == 1.0
    assert lr_factor(99, 100, 10) == pytest.approx(0.02)


@pytest.fixture
def shards(tmp_path):
    """A folder with one tiny shard of each split: noise pictures of 32 x 32."""
    rng = np.random.default_rng(0)
    for split in ("train", "heldout"):
        frames = rng.integers(0, 256, (4, 9, 32, 32, 3), dtype=np.uint8)
        np.save(tmp_path / f"{split}_000000.frames.npy", frames)
        np.save(tmp_path / f"{split}_000000.xy.npy", rng.uniform(0, 1, (4, 9, COUNT, 2)).astype(np.float32))
        np.save(tmp_path / f"{split}_000000.confidence.npy", np.ones((4, 9, COUNT), np.float16))
    return tmp_path


def test_a_latent_frame_is_read_with_its_own_pictures_and_poses(shards):
    codec = Autoencoder(latent_channels=4, widths=(16, 16, 16))
    encode_shards(shards, "train", codec)
    shard = find_shards(shards, "train")[0]
    latents, image, xy, confidence, layers = read_window(shard, 2, 0, np.array([1, 4]))
    assert layers is None
    assert latents.shape == (3, 4, 2, 2) and xy.shape == (3, 2, COUNT, 2) and confidence.shape == (3, 2, COUNT)
    np.testing.assert_array_equal(image, shard.frames[2, 0])
    np.testing.assert_array_equal(xy[0], np.stack([shard.xy[2, 0]] * 2))
    np.testing.assert_array_equal(xy[2], shard.xy[2, 7:9])
    with torch.inference_mode():
        pair = torch.from_numpy(shard.frames[2, 7:9].copy()).movedim(-1, 1)[None].float() / 127.5 - 1
        expected = codec.encode(pair)[0, 0].numpy()
    np.testing.assert_allclose(latents[2], expected, atol=0.05)


def test_crops_are_weighted_around_hands_and_faces(shards):
    crops = CropSampler(find_shards(shards, "train"), 16).sample(np.random.default_rng(0), 5)
    assert crops.pairs.shape == (5, 6, 16, 16) and crops.weight.shape == (5, 1, 16, 16)
    assert crops.weight.max() == 8.0 and crops.weight.min() >= 1.0
    assert (crops.corner % 4 == 0).all() and crops.xy.shape == (5, 2, COUNT, 2)
    assert crops.warped.shape == crops.pairs.shape


def tiny_trainer(folder, steps):
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    return Trainer(model, folder, Schedule(steps=steps, warmup=2, ema=0.9, lr=1e-2, muon_lr=0.02))


def batch_loss(network, rng):
    x = torch.from_numpy(rng.normal(size=(16, 6)).astype(np.float32))
    return (network(x + 0.1 * torch.randn_like(x)) - x[:, :2]).square().mean()


def test_a_killed_run_continues_the_same_curve(tmp_path):
    whole = tiny_trainer(tmp_path / "whole", 12)
    whole.fit(batch_loss)
    part = tiny_trainer(tmp_path / "part", 12)

    def killed(network, rng):
        if part.step == 7:
            raise KeyboardInterrupt
        if part.step == 5:
            part.save()
        return batch_loss(network, rng)

    with pytest.raises(KeyboardInterrupt):
        part.fit(killed)
    rest = tiny_trainer(tmp_path / "part", 12)
    rest.resume()
    assert rest.step == 5
    rest.fit(batch_loss)
    for a, b in zip(whole.bare.parameters(), rest.bare.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole.ema.shadow_params, rest.ema.shadow_params, strict=True):
        assert torch.equal(a, b)


def test_training_lowers_the_loss_and_stops_on_nan(tmp_path):
    trainer = tiny_trainer(tmp_path, 150)
    first = float(batch_loss(trainer.bare, np.random.default_rng(5)).detach())
    trainer.fit(batch_loss)
    last = float(batch_loss(trainer.averaged(), np.random.default_rng(5)).detach())
    assert last < 0.5 * first
    broken = tiny_trainer(tmp_path / "broken", 5)
    with pytest.raises(FloatingPointError, match="step 2"):
        broken.fit(lambda net, rng: batch_loss(net, rng) * (float("nan") if broken.step == 2 else 1.0))


def test_an_interrupted_save_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    trainer = tiny_trainer(tmp_path, 5)
    trainer.save()
    trainer.step = 3

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("iasa.training.trainer.save_file", full_disk)
    with pytest.raises(InputError, match="step 3 cannot be written.*No space.*step 0 is whole"):
        trainer.save()
    again = tiny_trainer(tmp_path, 5)
    again.resume()
    assert again.step == 0 and not (tmp_path / "checkpoint.partial").exists()


def test_a_disk_that_fills_up_keeps_the_old_checkpoint(tmp_path):
    """No file may grow beyond some bytes: a write fails half-way, as on a full disk."""
    import resource

    trainer = tiny_trainer(tmp_path, 5)
    trainer.save()
    before = {p.name: p.read_bytes() for p in (tmp_path / "checkpoint").iterdir()}
    trainer.step = 4
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match="the checkpoint of step 4 cannot be written.*that of step 0 is whole"):
            trainer.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {p.name: p.read_bytes() for p in (tmp_path / "checkpoint").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_a_save_that_was_killed_between_its_two_renames_loses_nothing(tmp_path, monkeypatch):
    """At any moment of a save there is a whole checkpoint to go on from: the old one, or the new one."""
    trainer = tiny_trainer(tmp_path, 5)
    trainer.save()
    trainer.step = 3
    done, rename = [], Path.rename

    def killed(path, target):
        if len(done) == kill_at:
            raise KeyboardInterrupt
        done.append(rename(path, target))

    monkeypatch.setattr(Path, "rename", killed)
    for kill_at in (0, 1, 0):
        done.clear()
        with pytest.raises(KeyboardInterrupt):
            trainer.save()
        again = tiny_trainer(tmp_path, 5)
        again.resume()
        assert again.step == 0, kill_at
    monkeypatch.setattr(Path, "rename", rename)
    again.step = 4
    again.save()
    tiny_trainer(tmp_path, 5).resume()
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path):
    tiny_trainer(tmp_path, 5).save()
    other = Trainer(torch.nn.Sequential(torch.nn.Linear(7, 8)), tmp_path, Schedule(steps=5))
    with pytest.raises(InputError, match=r"0.weight in the checkpoint of .* has shape \[8, 6\]; \[8, 7\] is needed"):
        other.resume()
    deeper = Trainer(torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 8)), tmp_path, Schedule(steps=5))
    with pytest.raises(InputError, match="lacks 1.weight"):
        deeper.resume()
    auxiliary_models = {"critic": torch.nn.Linear(2, 2)}
    with_critic = Trainer(
        tiny_trainer(tmp_path, 5).bare, tmp_path, Schedule(steps=5), auxiliary_models=auxiliary_models
    )
    with pytest.raises(InputError, match="critic.safetensors .*cannot be read"):
        with_critic.resume()
    (tmp_path / "checkpoint" / "optimizers.pt").write_bytes(b"no archive")
    with pytest.raises(InputError, match="optimizers.pt .*cannot be read"):
        tiny_trainer(tmp_path, 5).resume()


def test_there_must_be_something_to_resume(tmp_path):
    """No checkpoint, or one without its state, is no reason to begin anew without a word."""
    trainer = tiny_trainer(tmp_path / "teacher", 5)
    with pytest.raises(InputError, match="checkpoint to resume in .*teacher is not there; .*--from-scratch"):
        trainer.resume()
    trainer.save()
    (tmp_path / "teacher" / "checkpoint" / "state.json").unlink()
    with pytest.raises(InputError, match=r"checkpoint to resume in .*teacher lacks state\.json"):
        tiny_trainer(tmp_path / "teacher", 5).resume()


@pytest.mark.parametrize(
    ("name", "content"),
    [("state.json", b"{"), ("state.json", b"{}"), ("state.json", b"[1]"), ("ema.safetensors", b"{"),
     ("ema.safetensors", struct.pack("<Q", 2) + b"{}")],
)  # fmt: skip
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, name, content):
    tiny_trainer(tmp_path, 5).save()
    (tmp_path / "checkpoint" / name).write_bytes(content)
    with pytest.raises(InputError, match="the checkpoint in .* is damaged"):
        tiny_trainer(tmp_path, 5).resume()


def test_the_message_of_a_broken_loss_names_the_step_and_the_checkpoint(tmp_path):
    trainer = tiny_trainer(tmp_path, 6)

    def loss_of(network, rng):
        if trainer.step == 3:
            trainer.save()
        return batch_loss(network, rng) * (float("inf") if trainer.step == 4 else 1.0)

    with pytest.raises(FloatingPointError, match="inf at step 4; the checkpoint is that of step 3"):
        trainer.fit(loss_of)
    again = tiny_trainer(tmp_path, 6)
    again.resume()
    assert again.step == 3
    assert all(torch.isfinite(p).all() for p in again.bare.parameters())


def test_a_teacher_goes_on_under_any_pattern_that_trains(shards):
    """The same windows for all: other patterns lead elsewhere, and one without a backward pass is refused."""
    torch.manual_seed(0)
    codec = Autoencoder(latent_channels=4, widths=(16, 16, 16))
    encode_shards(shards, "train", codec)
    start = VideoTransformer(latent_channels=4, rows=2, cols=2, width=16, layers=1, heads=2).eval()
    before = {name: p.clone() for name, p in start.state_dict().items()}
    tuned = {
        name: finetune_pattern(
            start, codec, shards, lambda clip, name=name: find_pattern(name)(), 2, frames=3
        ).state_dict()
        for name in ("dense", "monarch")
    }
    assert all(torch.equal(before[name], p) for name, p in start.state_dict().items())
    again = finetune_pattern(start, codec, shards, lambda clip: find_pattern("dense")(), 2, frames=3).state_dict()
    assert all(torch.equal(again[name], p) for name, p in tuned["dense"].items())
    for other in (before, tuned["monarch"]):
        assert any((other[name] != p).any() for name, p in tuned["dense"].items())
    with pytest.raises(InputError, match="pab .*; svg2 or sparse_forcing could serve"):
        finetune_pattern(start, codec, shards, partial(find_pattern("pab").at_density, 0.5), 1, frames=3)
