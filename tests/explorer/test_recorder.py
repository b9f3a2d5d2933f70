"""Learned attention recorded during a real run, against softmaxes written out by hand."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_explorer_math import NODE, random_poses, run_node

from iasa.avatar.speaker import load_speaker, speaker_names
from iasa.config import InputError, MaskOptions
from iasa.explorer import LearnedAttention, record_attention
from iasa.explorer.recorder import MAX_FRAMES, _Onlooker
from iasa.grid import TokenGrid
from iasa.inference.rollout import CausalStudent
from iasa.keypoints import COUNT, Keypoints
from iasa.masks import AttentionPlan, make_plan
from iasa.models.transformer import Condition, VideoTransformer

LAYERS, HEADS, ROWS, FRAMES, STEPS = 2, 2, 4, 5, 2
N = ROWS * ROWS


@pytest.fixture(scope="module")
def model() -> VideoTransformer:
    torch.manual_seed(0)
    return VideoTransformer(latent_channels=4, rows=ROWS, cols=ROWS, width=16, layers=LAYERS, heads=HEADS).eval()


@pytest.fixture(scope="module")
def plan() -> AttentionPlan:
    bits = torch.randint(0, 32, (FRAMES, N), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    table = torch.tensor([[-1, -1], [-1, -1], [1, -1], [1, 2], [1, 3]])
    return AttentionPlan(TokenGrid(FRAMES, ROWS, ROWS), table, bits, None, MaskOptions(top_k=2))


@pytest.fixture(scope="module")
def condition(model) -> Condition:
    base = torch.randn(1, FRAMES, 4, ROWS, ROWS, generator=torch.Generator().manual_seed(2))
    return Condition(base, torch.randn(1, 3, 16), torch.randn(1, FRAMES, N, 16), torch.randn(1, FRAMES, 16))


def roll_out(model, condition, plan) -> torch.Tensor:
    return torch.cat(list(CausalStudent(model, condition, plan).roll_out(STEPS, torch.Generator().manual_seed(3))))


def test_what_is_recorded_is_the_dense_softmax(model, condition, plan):
    seen: list[dict] = []  # of every call: layer -> (q, k)

    def spy(module, args, kwargs):
        given, call = args[3], {}
        seen.append(call)

        def attend(layer, q, k, v):
            call[layer] = (q[0, :, 0].clone(), k[0, :, 0].clone())
            return given(layer, q, k, v)

        return (*args[:3], attend, *args[4:]), kwargs

    alone = roll_out(model, condition, plan)
    onlooker = _Onlooker(plan, LAYERS, STEPS)
    handles = [
        model.register_forward_pre_hook(hook, with_kwargs=True) for hook in (spy, onlooker.replace_attend(model))
    ]
    watched = roll_out(model, condition, plan)
    for handle in handles:
        handle.remove()
    assert torch.equal(alone, watched)  # looking on changes nothing
    found = onlooker.result("a test")
    assert found.mass.shape == (LAYERS, HEADS, FRAMES, FRAMES)
    last = [seen[0], *seen[STEPS::STEPS]]  # the reference's call, then each frame's last step
    for t in range(FRAMES):
        looked = np.zeros((N, t + 1))
        for layer in range(LAYERS):
            q = last[t][layer][0]
            keys = torch.cat([last[s][layer][1] for s in range(t + 1)], 1)
            share = (q @ keys.mT / math.sqrt(q.shape[-1])).softmax(-1).view(HEADS, N, t + 1, N)
            meets = plan.region_bits[t][:, None, None] & plan.region_bits[: t + 1]  # [n, t + 1, n]
            np.testing.assert_allclose(found.mass[layer, :, t, : t + 1], share.sum(-1).mean(1), atol=1e-5)
            for s in range(32):
                wanted = (share * (meets == s)).sum(-1).mean(1)
                np.testing.assert_allclose(found.meets[layer, :, t, : t + 1, s], wanted, atol=1e-5)
            background = (share * (plan.region_bits[: t + 1] == 0)).sum(-1).mean(1) / share.sum(-1).mean(1)
            np.testing.assert_allclose(found.parts[layer, :, t, : t + 1, 5], background, atol=1e-5)
            looked += share.sum(-1).mean(0).numpy() / LAYERS
        np.testing.assert_allclose(found.patches[t, :, : t + 1], looked, atol=1e-5)
    np.testing.assert_allclose(found.mass.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(found.meets.sum(-1), found.mass, atol=1e-5)
    np.testing.assert_allclose(found.parts.sum(-1)[found.mass > 0], 1, atol=1e-4)
    assert not np.triu(found.mass, 1).any()
    np.testing.assert_allclose(found.patches.sum(-1), 1, atol=1e-5)


def test_a_run_that_was_not_followed_is_an_error(plan):
    with pytest.raises(RuntimeError, match="0 calls were seen where 9 were awaited"):
        _Onlooker(plan, LAYERS, STEPS).result("nothing")


def test_a_clip_is_recorded_from_its_poses(model):
    """Through the pipeline's own condition and decoder, here tiny ones."""
    speaker = load_speaker(speaker_names()[0])
    moves = np.random.default_rng(0).normal(0, 0.03, (5, COUNT, 2))
    poses = Keypoints(speaker.keypoints.xy + moves, np.ones((5, COUNT)))

    def make_condition(filled, image, model):
        f = 1 + len(filled) // 2
        torch.manual_seed(4)
        return Condition(
            torch.randn(1, f, 4, ROWS, ROWS), torch.randn(1, 3, 16), torch.randn(1, f, N, 16), torch.randn(1, f, 16)
        )

    pipeline = SimpleNamespace(
        models={"student": model}, mask=MaskOptions(), condition=make_condition,
        decode=lambda latents, filled, reference: np.zeros((2 * latents.shape[1], 8, 8, 3), np.uint8),
    )  # fmt: skip
    run = record_attention(pipeline, poses, speaker, steps=1)
    assert isinstance(run.attention, LearnedAttention)
    assert len(run.thumbnails) == len(run.keypoints) == run.plan.grid.frames == run.attention.mass.shape[2] == 4
    assert run.thumbnails[0] is speaker.image
    long = Keypoints(np.repeat(poses.xy[:1], 2 * MAX_FRAMES, 0), np.ones((2 * MAX_FRAMES, COUNT)))
    with pytest.raises(InputError, match=f"{MAX_FRAMES + 1} latent frames"):
        record_attention(pipeline, long, speaker)


DRIVER = """
const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
const floats = (name) => decode(given[name], Float32Array);
const poses = { frames: given.grid.frames, xy: floats("xy"), confidence: floats("confidence"), extent: [1, 1] };
const recorded = { layers: 1, heads: 1, signatures: Array.from({ length: 32 }, (_, s) => s),
  bits: decode(given.bits, Uint8Array), mass: floats("mass"), meets: floats("meets") };
const answers = given.options.map((changed) => {
  const options = { ...DEFAULTS, ...changed };
  const plan = makePlan(poses, given.grid, options, regionBits(poses, given.grid, options.method));
  return [recall(plan, recorded, keptShares(plan, recorded), 0, 0), isExact(plan, recorded)];
});
process.stdout.write(JSON.stringify(answers));
"""


def to_text(array: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode()


@pytest.mark.skipif(NODE is None, reason="node is not installed; the explorer's arithmetic needs it")
def test_recall_of_a_changed_mask_counts_alike_pairs_evenly():
    """Attention that is even among pairs of the same common regions: then the estimate is exact, summed token by token."""
    rng, grid = np.random.default_rng(4), TokenGrid(6, 6, 6)
    n = grid.tokens_per_frame
    poses = random_poses(rng, grid.frames)
    poses = Keypoints(poses.xy.astype(np.float32), np.maximum(poses.confidence, 0.3).astype(np.float32))
    bits = make_plan(poses, grid, MaskOptions()).region_bits.numpy()
    meets = np.zeros((grid.frames, grid.frames, 32))
    tokens = np.zeros((grid.frames, n, grid.frames, n))
    for q in range(grid.frames):
        for k in range(q + 1):
            common = bits[q][:, None] & bits[k]
            for s in np.unique(common):
                meets[q, k, s] = rng.random()
                tokens[q, :, k][common == s] = meets[q, k, s] / (common == s).sum()
    changes = [
        {}, {"top_k": 1}, {"sink": False, "window": 0}, {"local": False}, {"method": "hull"},
        {"mode": "pooled", "block": 16}, {"mode": "pooled", "block": 32, "method": "hull"},
    ]  # fmt: skip
    pairs = np.tril_indices(grid.frames)
    given = dict(
        grid=asdict(grid), options=changes, xy=to_text(poses.xy, "<f4"), confidence=to_text(poses.confidence, "<f4"),
        bits=to_text(bits, "u1"), mass=to_text(meets.sum(-1)[pairs], "<f4"), meets=to_text(meets[pairs], "<f4"),
    )  # fmt: skip
    for changed, (recall, exact) in zip(changes, json.loads(run_node(DRIVER, json.dumps(given))), strict=True):
        allowed = make_plan(poses, grid, MaskOptions(**changed)).dense().numpy().reshape(tokens.shape)
        assert recall == pytest.approx((tokens * allowed)[1:].sum() / tokens[1:].sum(), abs=1e-5), changed
        assert exact == (set(changed) <= {"top_k", "sink", "window", "local"}), changed
