"""Calls that a CUDA graph will hold: nothing in them waits, a replay gives what a call gives, and padding changes nothing."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from sample_networks import shaken
from tape import GPU, NoTables, Recorder, Refusing

from iasa.avatar.speaker import load_speaker, speaker_names
from iasa.config import MaskOptions
from iasa.inference.conditioning import DenoiserInput
from iasa.inference.fast_codec import FastCodec
from iasa.inference.fast_transformer import FastTransformer
from iasa.inference.graphed import MOST, Graphed, GraphedCodec
from iasa.inference.padded_step import LEAST, KVCachePool, PaddedStep, pad_reads
from iasa.inference.streaming_rollout import StudentStream
from iasa.keypoints import COUNT, Keypoints
from iasa.masks.plan_stream import PlanStream
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import Condition, VideoTransformer
from iasa.pipeline import CoSpeechPipeline
from iasa.warp.reference_warp import ReferenceWarp

FRAMES, CHANNELS, STEPS = 12, 8, 2
SMALL = {"latent_channels": CHANNELS, "widths": (16, 24, 32), "size": 64}
OPTIONS = MaskOptions(top_k=3)


@pytest.fixture(scope="module")
def network() -> VideoTransformer:
    return shaken(VideoTransformer(CHANNELS, width=32, layers=2, heads=2))


@pytest.fixture(scope="module")
def clip(network) -> tuple[Keypoints, Condition]:
    """Poses at latent rate, the first shows everything, and what the networks see of them."""
    rng = np.random.default_rng(3)
    walk = rng.uniform(0.25, 0.75, (1, COUNT, 2)) + 0.04 * rng.normal(size=(FRAMES + 1, COUNT, 2)).cumsum(0)
    poses = Keypoints(walk, np.ones((FRAMES + 1, COUNT)), 12.5)
    torch.manual_seed(5)
    xy, confidence = (
        torch.from_numpy(p)[None, :, None].expand(-1, -1, 2, *p.shape[1:]) for p in (poses.xy, poses.confidence)
    )
    base = torch.randn(1, FRAMES + 1, CHANNELS, 16, 16)
    with torch.inference_mode():
        condition = network.condition(base, torch.rand(1, 3, 256, 256), xy.contiguous(), confidence.contiguous())
    return poses, condition


def roll_out(network, clip, options=OPTIONS, make=None, on_step=None) -> tuple[torch.Tensor, list[int]]:
    """All frames, and how many past keys each of them saw. `make` gives its step from that of fixed shapes."""
    poses, condition = clip
    plan = PlanStream(options)
    rows = plan.push(poses)
    noise = torch.Generator().manual_seed(7)
    stream = StudentStream(
        network, condition, rows[0].bits, plan.capacity, STEPS, options.sink, noise, on_step=on_step
    )  # fmt: skip
    assert stream.padded is None  # on a processor
    if make is not None:
        stream.padded = make(PaddedStep(stream.fast, stream.pool, options.sink))
    with torch.inference_mode():
        modulation = stream.embed(condition.pose_summary[0])
    frames, seen = [], []
    for row in rows[1:]:
        i, (_, k_bits) = row.frame, stream._seen(row)
        seen.append(len(k_bits))
        given = DenoiserInput(row, condition.base[0, i], condition.pose_tokens[0, i], modulation[i])
        frames.append(stream.next_frame(given))
    return torch.stack(frames), seen


@pytest.mark.parametrize("options", [OPTIONS, MaskOptions(top_k=1, sink=False), MaskOptions(top_k=2, local=False)])
def test_padded_keys_change_nothing(network, clip, options):
    plain, seen = roll_out(network, clip, options)
    padded, _ = roll_out(network, clip, options, make=lambda step: step)
    torch.testing.assert_close(padded, plain, rtol=1e-4, atol=1e-4)
    assert plain.std() > 0.1 and len(set(seen)) > 1


def test_keys_of_the_past_count_in_a_padded_step(network, clip):
    """The control of the test above: without what it sees of the past a frame is another one."""
    with_past, seen = roll_out(network, clip, make=lambda step: step)

    def blind(step):
        return lambda reads, bits, *given: step(reads, torch.zeros_like(bits), *given)

    without, _ = roll_out(network, clip, make=blind)
    assert seen[0] == 0 and torch.equal(with_past[0], without[0])
    assert (with_past[1:] - without[1:]).abs().amax((1, 2, 3, 4)).min() > 1e-3


def test_replays_are_the_calls_bit_for_bit(network, clip):
    """Over a roll-out in which the number of past keys changes from frame to frame, through several sizes of padding."""
    called, seen = roll_out(network, clip, make=lambda step: step)
    recorder = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replayed, _ = roll_out(network, clip, make=lambda step: Graphed(step, recorder))
    assert torch.equal(replayed, called)
    sizes = [pad_reads(torch.zeros(n, dtype=torch.int64), torch.zeros(n)).shape[1] for n in seen]
    assert len(set(seen)) > 4 and len(set(sizes)) > 1
    assert [shapes[0] for shapes in recorder.sizes] == [(2, size) for size in dict.fromkeys(sizes)]


def test_a_callback_changes_latents_between_replays(network, clip):
    def brighten(step, level, x):
        return x + 0.1 * (step % STEPS == 0)

    called, _ = roll_out(network, clip, make=lambda step: step, on_step=brighten)
    replayed, _ = roll_out(network, clip, make=lambda step: Graphed(step, Recorder()), on_step=brighten)
    assert torch.equal(replayed, called)
    assert not torch.equal(called, roll_out(network, clip, make=lambda step: step)[0])


def test_few_sizes_hold_any_number_of_keys():
    counts = [0, 1, LEAST, LEAST + 1, 700, 1280, 12_800]
    assert [pad_reads(torch.arange(n), torch.ones(n)).shape[1] for n in counts] == [
        LEAST, LEAST, LEAST, 2 * LEAST, 1024, 2048, 16_384,
    ]  # fmt: skip
    where, bits = pad_reads(torch.tensor([7, 9]), torch.tensor([4, 255], dtype=torch.uint8))
    assert where.tolist() == [7, 9] + [0] * (LEAST - 2) and bits.tolist() == [4, 255] + [0] * (LEAST - 2)


def test_padding_reads_numbers_before_anything_is_kept(monkeypatch):
    """What is not a number times zero is not zero."""
    monkeypatch.setattr(torch, "empty", lambda *shape, **options: torch.full(*shape, float("nan"), **options))
    pool = KVCachePool(torch.ones(2, 1, 1, 4, 2), 3)
    assert pool.read(pad_reads(torch.zeros(0, dtype=torch.int64), torch.zeros(0))[0]).isfinite().all()


@pytest.fixture(scope="module")
def pictures() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    return torch.rand(6, COUNT, 2), (torch.rand(6, COUNT) > 0.2).float(), torch.rand(6, 3, 64, 64) * 2 - 1


def codecs() -> tuple[FastCodec, GraphedCodec, Recorder]:
    net, recorder = shaken(Autoencoder(**SMALL)).to(memory_format=torch.channels_last), Recorder()
    graphed = GraphedCodec(net, recorder)
    graphed.skips = False  # as on a GPU
    return FastCodec(net), graphed, recorder


def test_fields_of_all_keypoints_are_those_of_the_near_ones(pictures):
    codec, graphed, _ = codecs()
    xy, confidence, _ = pictures
    stripes = [(0, torch.tensor([3, 4, 9])), (8, torch.tensor([0, 15]))]
    for some in (None, stripes):
        with torch.inference_mode():
            expected = codec.pose_fields(xy, confidence, 16, 16, some)
            found = graphed.pose_fields(xy, confidence, 16, 16, some)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert expected.std() > 0.01


@torch.inference_mode()
def test_the_codec_replayed_is_the_codec(pictures):
    """Pieces of one to three latent frames, several times, in any order; each result stays when the next is made."""
    codec, graphed, recorder = codecs()
    xy, confidence, images = pictures
    expected, found = [], []
    for first, end in ((0, 2), (2, 4), (0, 6), (4, 6), (0, 2), (0, 6), (0, 6)):
        own = slice(first, end)
        patches = codec.to_patches(images[own] * (1 - 0.1 * len(found)))
        for one, out in ((codec, expected), (graphed, found)):
            latents = one.encode(patches)
            out.append((latents, one.decode(latents, xy[own], confidence[own], patches)))
    for (latents, frames), (truth, drawn) in zip(found, expected, strict=True):
        torch.testing.assert_close(latents, truth, rtol=0, atol=0)
        assert (frames.int() - drawn.int()).abs().max() <= 1 and drawn.float().std() > 5
    assert len(recorder.sizes) == 4  # encoding and decoding of one latent frame, and of three


def test_what_cannot_be_recorded_is_said_once_and_computed():
    asked = []

    def record(call, buffers):
        asked.append(len(buffers))
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    double = Graphed(lambda x: 2 * x, record)
    assert double(torch.ones(3)).tolist() == [2, 2, 2]
    with pytest.warns(UserWarning, match="no CUDA graph could be recorded.*not permitted when stream is capturing$"):
        assert double(torch.full((3,), 2.0)).tolist() == [4, 4, 4]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert double(torch.full((3,), 3.0)).tolist() == [6, 6, 6]
        assert [double(torch.ones(2)).tolist() for _ in range(3)] == [[2, 2]] * 3
    assert asked == [1]


def test_shapes_without_end_take_no_memory_without_end():
    recorder = Recorder()
    double = Graphed(lambda x: 2 * x, recorder)
    for _ in range(3):
        for n in range(1, MOST + 4):
            assert double(torch.full((n,), 3.0)).tolist() == [6] * n
    assert [shape[0] for (shape,) in recorder.sizes] == list(range(1, MOST + 1))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x * x.sum().item(), lambda x: x[x > 0], lambda x: x[:, [0, 1]], lambda x: x * x.new_tensor([1.0, 2.0]),
        lambda x: x.nonzero(), lambda x: x.cpu(), lambda x: x + torch.ones(2).to(GPU),
        lambda x: x.masked_select(x > 0), lambda x: x * torch.tensor(2.0, device=GPU), lambda x: x.sum(1).tolist(),
    ],
)  # fmt: skip
def test_a_recording_refuses_what_waits(call):
    """The control of the test below."""
    x = torch.ones(3, 2, device=GPU)
    with Refusing(), pytest.raises(RuntimeError):
        call(x)
    with Refusing():
        assert (x @ x.T).exp_()[:, None].device.type == GPU


@torch.inference_mode()
def test_nothing_in_a_recorded_call_waits_for_the_device():
    """Not in the embedding of poses, the whole denoising step, or the codec; nor is anything taken there from the processor."""
    codec = GraphedCodec(Autoencoder(**SMALL).to(GPU))
    fast = FastTransformer(VideoTransformer(CHANNELS, width=32, layers=2, heads=2).to(GPU))
    zeros = partial(torch.zeros, device=GPU)
    fast.image = [layer.image_keys(zeros(16, 32)) for layer in fast.layers]
    step = PaddedStep(fast, KVCachePool(fast.own, 3), sink=True)
    pictures, xy, confidence = zeros(2, 3, 64, 64), zeros(2, COUNT, 2), zeros(2, COUNT)
    fast.modulations([1.0], zeros(1, 32))  # the levels are sent once
    base = zeros(CHANNELS, 16, 16)
    reads, bits = zeros(2, 512, dtype=torch.int64), zeros(256, dtype=torch.uint8)
    with Refusing():
        pose_tokens, summary = fast.model.pose(xy[None], confidence[None])
        modulation = fast.modulations([1.0], summary)[:, 0, 0]
        patches = codec.to_patches(pictures)
        latents = FastCodec.encode(codec, patches)
        frames = FastCodec.decode(codec, latents, xy, confidence, patches)
        clean = step(reads, bits, base, base, pose_tokens[0], modulation)
    assert (frames.shape, frames.dtype, clean.shape) == ((2, 64, 64, 3), torch.uint8, (CHANNELS, 16, 16))
    codec.skips = True  # as on a processor
    with Refusing(), pytest.raises(RuntimeError):
        FastCodec.decode(codec, latents, xy, confidence, patches)


def test_the_warp_sends_its_tables_once(clip):
    """It does look at values, for the sizes of its pieces, and is no graph; but each table of indices would wait, too."""
    xy, confidence = (torch.from_numpy(part).float()[None] for part in (clip[0].xy, clip[0].confidence))
    warp = ReferenceWarp(torch.rand(1, 3, 64, 64), xy[:, 0], confidence[:, 0])
    first = warp(xy, confidence)
    with NoTables():
        assert torch.equal(warp(xy, confidence), first)
    with NoTables(), pytest.raises(RuntimeError, match="of numbers"):
        ReferenceWarp(torch.rand(1, 3, 64, 64), xy[:, 0], confidence[:, 0])


def test_a_whole_generation_by_replays_is_the_plain_one(monkeypatch):
    """Through all stages and their threads, several of which decode with one codec at a time."""
    student, autoencoder = (
        shaken(VideoTransformer(CHANNELS, width=16, layers=2, heads=2)),
        shaken(Autoencoder(8, (8, 8, 16))),
    )
    pipeline = CoSpeechPipeline(autoencoder, student, dtype=torch.float32, device="cpu")
    speaker = load_speaker(speaker_names()[0])
    shift = 0.01 * np.random.default_rng(0).normal(size=(12, 1, 2)).cumsum(0)
    still = speaker.keypoints[np.zeros(12, int)]
    poses = Keypoints(still.xy + shift, still.confidence, still.fps)

    def make() -> np.ndarray:
        stream = pipeline.stream(image=speaker, keypoints=poses, num_inference_steps=STEPS, fit_poses=False)
        return np.concatenate(list(stream.frames)).astype(int)

    plain, begin, recorders = make(), StudentStream.__init__, [Recorder(), Recorder()]

    def begin_graphed(self, *given, **options):
        begin(self, *given, **options)
        self.padded = Graphed(PaddedStep(self.fast, self.pool, self.sink), recorders[0])

    monkeypatch.setattr(StudentStream, "__init__", begin_graphed)
    pipeline._codec = GraphedCodec(autoencoder, recorders[1])
    pipeline._codec.skips = False
    replayed = make()
    assert replayed.shape == plain.shape and np.abs(replayed - plain).max() <= 2 and plain.std() > 5
    assert np.abs(np.diff(plain[::2], axis=0)).mean() > 0.5 and all(recorder.sizes for recorder in recorders)
