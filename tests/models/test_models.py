"""Autoencoder, transformer, attention patterns, the causal roll-out and the format of shipped weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from iasa.attention.frame_patterns import attend_own, attend_window, make_planned
from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.inference.rollout import CausalStudent
from iasa.inference.windows import denoise_windows
from iasa.keypoints import COUNT, Keypoints
from iasa.masks import make_plan
from iasa.models.autoencoder import Autoencoder
from iasa.models.checkpoint import load_weights, save_weights
from iasa.models.compact import dequantise, pack, quantise, unpack
from iasa.models.pose_embedding import GAIN, REACH, VISIBLE, PoseField
from iasa.models.transformer import VideoTransformer

FRAMES = 5


@pytest.fixture(scope="module")
def network() -> VideoTransformer:
    torch.manual_seed(0)
    model = VideoTransformer(latent_channels=8, width=32, layers=2, heads=2).eval()
    with torch.no_grad():  # away from the zero initialisation, so that attention matters
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


@pytest.fixture(scope="module")
def poses() -> Keypoints:
    """A figure whose hands move: 1 + FRAMES latent frames of two poses each."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0.2, 0.8, (1, COUNT, 2)) + 0.05 * rng.normal(size=(2 * (1 + FRAMES), COUNT, 2))
    return Keypoints(xy, np.ones(xy.shape[:2]))


def conditioned(network, poses, seed=0):
    torch.manual_seed(seed)
    xy = torch.from_numpy(poses.xy).view(1, -1, 2, COUNT, 2)
    confidence = torch.from_numpy(poses.confidence).view(1, -1, 2, COUNT)
    base = torch.randn(1, xy.shape[1], 8, 16, 16)
    return network.condition(base, torch.rand(1, 3, 256, 256) * 2 - 1, xy, confidence)


def plan_of(poses, **options):
    latent = Keypoints(poses.xy[::2], poses.confidence[::2], 12.5)
    return make_plan(latent, TokenGrid(1 + FRAMES), MaskOptions(top_k=2, **options))


def small_codec() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(latent_channels=6, widths=(16, 16, 24), size=64)


def still_pose(frames: int, x: float = 0.5):
    xy = torch.full((1, frames, COUNT, 2), 0.5)
    xy[..., 0] = x
    return xy, torch.ones(1, frames, COUNT)


def test_autoencoder_shapes_and_normalisation():
    codec = small_codec()
    codec.mean.fill_(0.5)
    codec.std.fill_(2.0)
    images = torch.rand(1, 4, 3, 64, 64) * 2 - 1
    latents = codec.encode(images)
    assert latents.shape == (1, 2, 6, 4, 4)
    raw = codec.to_latents(images.view(1, 2, 6, 64, 64)[:, 0])
    torch.testing.assert_close(latents[:, 0], (raw - 0.5) / 2.0)
    assert codec.decode(latents, *still_pose(4), images).shape == images.shape
    with pytest.raises(ValueError, match="3 frames"):
        codec.encode(images[:, :3])


def test_the_pose_field_is_the_sum_of_windowed_keypoints():
    """Against the definition, cell by cell."""
    field = PoseField(width=3, rows=6, cols=8, frames=1)
    torch.nn.init.normal_(field.weight)
    xy, confidence = torch.rand(2, 1, COUNT, 2), torch.rand(2, 1, COUNT)
    out = field(xy, confidence)
    weight = GAIN * field.weight.view(len(VISIBLE), 3, 3)
    for row, col in ((0, 0), (2, 5), (5, 7)):
        expected = torch.zeros(2, 3)
        for p, point in enumerate(VISIBLE):
            dx = xy[:, 0, point, 0] * 8 - (col + 0.5)
            dy = xy[:, 0, point, 1] * 6 - (row + 0.5)
            g = torch.exp(-(dx**2 + dy**2) / (2 * REACH**2)) * confidence[:, 0, point]
            expected += torch.stack([g, g * dx, g * dy], 1) @ weight[p]
        torch.testing.assert_close(out[:, :, row, col], expected, atol=1e-4, rtol=1e-4)


def test_a_crop_is_decoded_as_a_part_of_the_pose_field():
    codec = small_codec()
    torch.nn.init.normal_(codec.poses.weight)
    xy, confidence = torch.rand(1, 2, COUNT, 2), torch.rand(1, 2, COUNT)
    whole = codec.poses(xy, confidence)
    part = codec.poses(xy, confidence, (8, 4), torch.tensor([[3.0, 5.0]]))
    torch.testing.assert_close(part, whole[:, :, 5:13, 3:7], atol=1e-4, rtol=1e-4)


def test_each_frame_of_a_pair_is_painted_with_its_own_pose_and_warped_reference():
    codec = small_codec().eval()
    with torch.no_grad():
        for p in codec.parameters():
            p.add_(0.1 * torch.randn_like(p))
        codec.poses.weight.zero_()
        latents = torch.randn(1, 1, 6, 4, 4)
        xy, confidence = still_pose(2)
        moved, warped = xy.clone(), torch.rand(1, 2, 3, 64, 64)
        moved[:, 1] += 0.2
        changed = warped.clone()
        changed[:, 1] += 0.2
        a = codec.decode(latents, xy, confidence, warped)
        for b in (codec.decode(latents, moved, confidence, warped), codec.decode(latents, xy, confidence, changed)):
            torch.testing.assert_close(a[:, 0], b[:, 0])
            assert (a[:, 1] - b[:, 1]).abs().max() > 1e-3


def test_an_untrained_transformer_returns_the_warped_reference(poses):
    model = VideoTransformer(latent_channels=8, width=32, layers=1, heads=2)
    condition = conditioned(model, poses)
    out = model(torch.randn(1, 1 + FRAMES, 8, 16, 16), torch.rand(1, 1 + FRAMES), condition, attend_own)
    torch.testing.assert_close(out, condition.base)


def test_the_reference_never_sees_the_video(network, poses):
    condition = conditioned(network, poses)
    latents = torch.randn(1, 1 + FRAMES, 8, 16, 16)
    level = torch.full((1, 1 + FRAMES), 0.7)
    changed = latents.clone()
    changed[:, 1:] += 1.0
    for attend in (attend_own, attend_window, make_planned([plan_of(poses)])):
        with torch.no_grad():
            a, b = (network(x, level, condition, attend) for x in (latents, changed))
        torch.testing.assert_close(a[:, 0], b[:, 0])
        assert (a[:, 1:] - b[:, 1:]).abs().max() > 1e-3


def test_own_pattern_keeps_frames_apart_and_the_window_joins_them(network, poses):
    condition = conditioned(network, poses)
    latents, level = torch.randn(1, 1 + FRAMES, 8, 16, 16), torch.full((1, 1 + FRAMES), 0.7)
    changed = latents.clone()
    changed[:, 4] += 1.0
    with torch.no_grad():
        own = [network(x, level, condition, attend_own)[:, 2] for x in (latents, changed)]
        joint = [network(x, level, condition, attend_window)[:, 2] for x in (latents, changed)]
    torch.testing.assert_close(*own)
    assert (joint[0] - joint[1]).abs().max() > 1e-5


def test_the_student_is_causal(network, poses):
    condition = conditioned(network, poses)
    latents, level = torch.randn(1, 1 + FRAMES, 8, 16, 16), torch.full((1, 1 + FRAMES), 0.7)
    changed = latents.clone()
    changed[:, 4:] += 1.0
    attend = make_planned([plan_of(poses)])
    with torch.no_grad():
        a, b = (network(x, level, condition, attend) for x in (latents, changed))
    torch.testing.assert_close(a[:, :4], b[:, :4])


@pytest.mark.parametrize("sink", [True, False])
def test_roll_out_with_cached_keys_equals_the_whole_sequence(network, poses, sink):
    """With one step, every frame's keys are those of its noise: the cache must reproduce one masked pass."""
    condition, plan = conditioned(network, poses), plan_of(poses, sink=sink)
    generator = torch.Generator().manual_seed(3)
    rolled = torch.stack(list(CausalStudent(network, condition, plan).roll_out(1, generator)), 1)
    generator = torch.Generator().manual_seed(3)
    noise = torch.cat([torch.randn(1, 1, 8, 16, 16, generator=generator) for _ in range(FRAMES)], 1)
    latents = torch.cat([condition.base[:, :1], noise], 1)
    level = torch.ones(1, 1 + FRAMES)
    level[:, 0] = 0.0
    with torch.no_grad():
        whole = network(latents, level, condition, make_planned([plan], backend="reference"))[:, 1:]
    torch.testing.assert_close(rolled, whole, rtol=1e-3, atol=1e-3)


def test_roll_out_forgets_frames_that_nobody_will_ask_for(network, poses):
    plan = plan_of(poses)
    student = CausalStudent(network, conditioned(network, poses), plan)
    for frame, _ in enumerate(student.roll_out(1), start=1):
        needed = {p for t in range(frame + 1, 1 + FRAMES) for p in plan.past_frames(t)}
        assert set(student.cache.kept) - {0} <= needed
    with pytest.raises(IndexError, match="no frame 6"):
        student.next_frame(1)


def test_pose_embedding_feels_a_keypoint_only_nearby(network):
    xy = torch.full((1, 2, COUNT, 2), 0.5)
    confidence = torch.zeros(1, 2, COUNT)
    confidence[:, :, 9] = 1.0
    moved = xy.clone()
    moved[:, :, 9] = torch.tensor([0.52, 0.5])
    with torch.no_grad():
        change = (network.pose(xy, confidence)[0] - network.pose(moved, confidence)[0]).norm(dim=-1).view(16, 16)
    assert change[7:9, 7:9].min() > 100 * change[0, 0]
    assert change.max() > 1e-3


def test_window_fusion_is_exact_for_frame_wise_prediction():
    x = torch.randn(1, 11, 2, 4, 4)
    fused = denoise_windows(lambda part, level, frames: part * 2 + frames.start * 0, x, 0.5, window=4, overlap=2)
    torch.testing.assert_close(fused, x * 2)
    seams = denoise_windows(lambda part, level, frames: torch.full_like(part, frames.start), x, 0.5, 4, 2)
    assert (seams.flatten(2).mean(-1).diff() >= -1e-6).all()  # the later window takes over gradually
    with pytest.raises(ValueError, match="overlap of 4"):
        denoise_windows(lambda *a: a[0], x, 0.5, 4, 4)


def test_quantised_weights_stay_close_and_round_trip(tmp_path):
    weight = torch.randn(7, 5, 3, 3) * torch.logspace(-3, 1, 7)[:, None, None, None]
    back = dequantise(*quantise(weight))
    assert ((back - weight).abs().amax((1, 2, 3)) <= weight.abs().amax((1, 2, 3)) * (0.5 / 127 + 1e-3)).all()
    codec = small_codec()
    save_weights(codec, tmp_path / "codec", {"name": "codec"}, compact=True)
    loaded = load_weights(Autoencoder, tmp_path / "codec")
    assert loaded.config.latent_channels == 6
    images = torch.rand(1, 2, 3, 32, 32)
    assert (loaded.encode(images) - codec.encode(images)).abs().max() < 0.02
    (tmp_path / "codec" / "config.json").write_text(
        '{"latent_channels": 7, "widths": [16, 16, 24], "frames": 2, "size": 64}'
    )
    with pytest.raises(InputError, match="shape"):
        load_weights(Autoencoder, tmp_path / "codec")
    (tmp_path / "codec" / "part_00.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="the weights in codec are damaged"):
        load_weights(Autoencoder, tmp_path / "codec")


def test_four_bits_a_number_are_the_best_of_fifteen_levels():
    weight = torch.randn(9, 65, 3, 3) * torch.logspace(-3, 1, 9)[:, None, None, None]
    codes, scale = pack(weight)
    assert codes.dtype == torch.uint8 and codes.shape == (9, 293)  # 585 numbers, two a byte
    back, top = unpack(codes, scale, weight.shape), weight.abs().flatten(1).amax(1)
    plain = (weight / (top / 7).view(-1, 1, 1, 1)).round() * (top / 7).view(-1, 1, 1, 1)
    assert (back - weight).square().sum() < (plain - weight).square().sum()
    exact = torch.arange(-7, 8).float().repeat(2, 1) * torch.tensor([[0.5], [0.0]])
    assert torch.equal(unpack(*pack(exact), exact.shape), exact)


def test_a_difference_holds_what_was_trained_on_and_knows_from_what(tmp_path, monkeypatch):
    monkeypatch.setattr("iasa.models.checkpoint.WEIGHTS", tmp_path)
    base, tuned = small_codec(), small_codec()
    save_weights(base, tmp_path / "codec", compact=True)
    base = load_weights(Autoencoder, tmp_path / "codec")
    tuned.load_state_dict(base.state_dict())
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if name.startswith("encoder"):
                continue
            parameter += 0.05 * parameter.std(unbiased=False) * torch.randn_like(parameter)
    save_weights(tuned, tmp_path / "people" / "codec", {"name": "codec"}, compact=True, base="codec")
    loaded = load_weights(Autoencoder, tmp_path / "people" / "codec")
    files = [sum(f.stat().st_size for f in (tmp_path / n).glob("*.safetensors")) for n in ("codec", "people/codec")]
    assert files[1] < 0.8 * files[0]
    for (name, a), b, c in zip(base.named_parameters(), tuned.parameters(), loaded.parameters(), strict=True):
        if name.startswith("encoder"):
            assert torch.equal(a, c)
        elif (b - a).abs().amax() > 1e-6:
            assert (c - b).norm() < 0.2 * (b - a).norm(), name
    save_weights(tuned, tmp_path / "codec", compact=True)
    with pytest.raises(InputError, match="a difference from another codec than the one that is shipped"):
        load_weights(Autoencoder, tmp_path / "people" / "codec")
    save_weights(tuned, tmp_path / "people" / "codec", compact=True, base="codec")
    file, config = (tmp_path / "people" / "codec" / name for name in ("difference.safetensors", "config.json"))
    config.write_text(
        config.read_text().replace('"codec"', '"people/codec"')
    )  # itself: only shipped ones are looked at
    load_weights(Autoencoder, tmp_path / "people" / "codec")
    name = next(name for name, tensor in tuned.state_dict().items() if tensor.ndim >= 2)
    for damaged in (
        {name: torch.zeros(1, 1, dtype=torch.uint8), f"{name}.scale": torch.ones(1).half()},
        {"x": torch.ones(1)},
    ):
        save_file(damaged, file)
        with pytest.raises(InputError, match="the weights in codec are damaged"):
            load_weights(Autoencoder, tmp_path / "people" / "codec")
    file.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="the weights in codec are damaged"):
        load_weights(Autoencoder, tmp_path / "people" / "codec")


@pytest.mark.parametrize("compact", [False, True])
def test_weights_of_version_0_1_are_read(network, tmp_path, compact):
    save_weights(network, tmp_path, {"name": "student"}, compact=compact)
    (file,) = tmp_path.glob("*.safetensors")
    save_file({name.replace("token_type", "role"): tensor for name, tensor in load_file(file).items()}, file)
    loaded = load_weights(VideoTransformer, tmp_path)
    torch.testing.assert_close(loaded.token_type, network.token_type, atol=2e-2 if compact else 0, rtol=0)


def test_diffusers_save_pretrained_round_trip(network, tmp_path, poses):
    network.save_pretrained(tmp_path)
    loaded = VideoTransformer.from_pretrained(tmp_path).eval()
    condition = conditioned(network, poses)
    latents, level = torch.randn(1, 1 + FRAMES, 8, 16, 16), torch.rand(1, 1 + FRAMES)
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(latents, level, conditioned(loaded, poses), attend_own),
            network(latents, level, condition, attend_own),
        )
