"""The fast twins against the modules they stand for, and the roll-out without a whole plan against the one with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sample_networks import shaken

from iasa.config import MaskOptions
from iasa.grid import TokenGrid
from iasa.inference.conditioning import DenoiserInput
from iasa.inference.fast_codec import POINTS, FastCodec
from iasa.inference.fused import linear_gelu
from iasa.inference.rollout import CausalStudent
from iasa.inference.streaming_rollout import KEYS, QUERIES, KVCachePool, StudentStream
from iasa.keypoints import COUNT, Keypoints
from iasa.masks import make_plan
from iasa.masks.plan_stream import PlanStream
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer

FRAMES = 9


@pytest.fixture(scope="module")
def network() -> VideoTransformer:
    return shaken(VideoTransformer(latent_channels=8, width=32, layers=2, heads=2))


@pytest.fixture(scope="module")
def poses() -> Keypoints:
    """A walk through poses, at latent rate; its first frame shows everything."""
    rng = np.random.default_rng(3)
    walk = rng.uniform(0.25, 0.75, (1, COUNT, 2)) + 0.04 * rng.normal(size=(FRAMES + 1, COUNT, 2)).cumsum(0)
    return Keypoints(walk, np.ones((FRAMES + 1, COUNT)), 12.5)


def test_the_lean_codec_is_the_autoencoder():
    """In float32 to the last level; in bfloat16 it is no further from the float32 result than the module is."""
    codec = shaken(Autoencoder(latent_channels=8, widths=(16, 24, 32), size=64)).to(memory_format=torch.channels_last)
    torch.manual_seed(1)
    xy, confidence = torch.rand(1, 4, COUNT, 2), (torch.rand(1, 4, COUNT) > 0.2).float()
    warped = torch.rand(1, 4, 3, 64, 64) * 2 - 1

    @torch.inference_mode()
    def both():
        dtype, fast = codec.mean.dtype, FastCodec(codec)
        patches = fast.to_patches(warped[0])
        encoded = codec.encode(warped.to(dtype))[0], fast.encode(patches)
        images = codec.decode(latents.to(dtype), xy, confidence, warped.to(dtype))[0].movedim(1, -1) * 127.5 + 127.5
        return *encoded, images, fast.decode(latents[0], xy[0], confidence[0], patches).float()

    with torch.no_grad():
        latents = codec.encode(warped)
    encoded, found_encoded, images, found = both()
    torch.testing.assert_close(found_encoded, encoded, atol=1e-4, rtol=1e-4)
    assert (found - images).abs().max() <= 0.51 and images.std() > 5
    torch.nn.Module.to(codec, torch.bfloat16)
    rough_encoded, found_encoded, rough, found = both()
    assert (found_encoded - encoded).abs().mean() <= 1.2 * (rough_encoded - encoded).abs().mean()
    assert (found - images).abs().mean() <= 1.2 * (rough - images).abs().mean() + 0.3


def test_pose_fields_come_in_few_sizes(monkeypatch):
    """oneDNN compiles and keeps a kernel for every size of a product."""
    fast, sizes, matmul = FastCodec(shaken(Autoencoder(latent_channels=8, widths=(16, 24, 32)))), set(), torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda a, b, out: sizes.add(len(b)) or matmul(a, b, out=out))
    torch.manual_seed(2)
    for _ in range(8):
        confidence = (torch.rand(2, COUNT) > torch.rand(2, 1)).float()
        with torch.inference_mode():
            fast.pose_fields(torch.rand(2, COUNT, 2), confidence, 64, 64)
    assert len(sizes) > 3 and all(size % (3 * POINTS) == 0 for size in sizes)


def test_linear_and_gelu_in_one_pass():
    torch.manual_seed(0)
    layer = torch.nn.Linear(32, 48).bfloat16()
    x = torch.randn(10, 32).bfloat16()
    with torch.inference_mode():
        expected = torch.nn.functional.gelu(layer(x).float(), approximate="tanh")
        torch.testing.assert_close(linear_gelu(layer, 10)(x).float(), expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (MaskOptions(top_k=2), 2),
        (MaskOptions(top_k=1, sink=False), 1),
        (MaskOptions(top_k=2, window=2, local=False), 2),
    ],
)
def test_the_stream_is_the_roll_out(network, poses, options, steps):
    """Same noise, same frames: without the plan of the whole clip, and in fewer passes."""
    torch.manual_seed(5)
    xy, confidence = (
        torch.from_numpy(p)[None, :, None].expand(-1, -1, 2, *p.shape[1:]) for p in (poses.xy, poses.confidence)
    )
    base = torch.randn(1, FRAMES + 1, 8, 16, 16)
    with torch.inference_mode():
        condition = network.condition(base, torch.rand(1, 3, 256, 256), xy.contiguous(), confidence.contiguous())
    whole = CausalStudent(network, condition, make_plan(poses, TokenGrid(FRAMES + 1), options))
    expected = torch.stack(list(whole.roll_out(steps, torch.Generator().manual_seed(7))))

    plan = PlanStream(options)
    rows = plan.push(poses)
    generator = torch.Generator().manual_seed(7)
    stream = StudentStream(network, condition, rows[0].bits, plan.capacity, steps, options.sink, generator)
    with torch.inference_mode():
        modulation = stream.embed(condition.pose_summary[0])
    found = []
    for row in rows[1:]:
        i = row.frame
        past = stream._past(row)
        assert past is None or (len(past.queries) % QUERIES, past.keys.shape[2] % KEYS) == (
            0,
            0,
        )  # few sizes: few kernels
        found.append(stream.next_frame(DenoiserInput(row, base[0, i], condition.pose_tokens[0, i], modulation[i])))
    torch.testing.assert_close(torch.stack(found), expected, rtol=1e-3, atol=1e-3)
    assert expected.std() > 0.1


def test_the_arena_gives_back_what_was_kept():
    frames = torch.randn(5, 2, 3, 2, 4, 6)  # 5 frames of 4 tokens
    pool = KVCachePool(frames[0], capacity=2)
    pool.keep(7, frames[0])
    pool.keep(8, frames[1])
    pool.evict([7])
    pool.keep(9, frames[2])
    assert sorted(pool.frames) == [8, 9]
    tokens = [torch.tensor([0, 3]), torch.tensor([1])]
    expected = torch.cat([frames[1][..., tokens[0], :], frames[2][..., tokens[1], :]], 3)
    torch.testing.assert_close(pool.gather([8, 9], tokens), expected)
    assert pool.gather([8, 9], tokens, 8).shape[3] == 8
    torch.testing.assert_close(pool.gather([8, 9], tokens, 8)[..., :3, :], expected)
    with pytest.raises(IndexError):
        pool.keep(10, frames[3])  # there is no third place
