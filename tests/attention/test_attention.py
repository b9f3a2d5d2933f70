"""Sparse attention against brute force and against itself: every backend, gradients, roll-out, bad input."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_plans import performance, plans, random_plan

from iasa.attention import gathered
from iasa.attention.dense import dense_attention
from iasa.attention.dispatch import frame_attention, sparse_attention
from iasa.attention.gathered import frame_gather_plan, plan_frame_gather, plan_gather
from iasa.attention.reference import reference_attention
from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.masks import AttentionPlan, make_plan

QUICK = settings(max_examples=25, deadline=None)


def random_qkv(tokens: int, b=2, nh=2, d=8, seed=0, dtype=torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, nh, tokens, d, generator=generator, dtype=dtype) for _ in range(3)]


def gradients(function, tensors, seed=1):
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    out = function(*leaves)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(out.dtype)
    return out.detach(), torch.autograd.grad(out, leaves, weight)


@pytest.mark.parametrize("backend", ["reference", "dense", "cpu"])
@pytest.mark.parametrize("sink", [True, False])
def test_backends_follow_the_definition(backend, sink):
    plan = random_plan(3, frames=4, rows=3, cols=3, sink=sink)
    q, k, v = random_qkv(36)
    out = sparse_attention(q, k, v, plan, backend)
    table = [[t for t in row if t >= 0] for row in plan.frame_table.tolist()]
    mask = oracles.allowed_pairs(table, plan.region_bits.numpy(), sink)
    for b in range(2):
        for head in range(2):
            wanted = oracles.attention(q[b, head].numpy(), k[b, head].numpy(), v[b, head].numpy(), mask)
            np.testing.assert_allclose(out[b, head], wanted, atol=1e-12)


@QUICK
@given(plans, st.sampled_from(["exact", "pooled"]), st.sampled_from([0, 10, 4000]))
def test_gathered_equals_masked_dense_with_gradients(plan, mode, call_pairs):
    """At every price of a group, from one group for each value of the bits to one group for each frame."""
    options = MaskOptions(**{**plan.options.__dict__, "mode": mode})
    plan = AttentionPlan(plan.grid, plan.frame_table, plan.region_bits, None, options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathered, "_CALL_PAIRS", call_pairs)
        tensors = random_qkv(plan.grid.tokens)
        out, grads = gradients(lambda *t: sparse_attention(*t, plan, "cpu"), tensors)
    wanted, wanted_grads = gradients(lambda *t: sparse_attention(*t, plan, "reference"), tensors)
    torch.testing.assert_close(out, wanted, atol=1e-12, rtol=0)
    for ours, theirs in zip(grads, wanted_grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_gradients_are_those_of_finite_differences():
    plan = random_plan(1, frames=3, rows=2, cols=2)
    tensors = [t.requires_grad_() for t in random_qkv(12, b=1, nh=1, d=3)]
    assert torch.autograd.gradcheck(lambda *t: sparse_attention(*t, plan, "cpu"), tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_errors_of_short_types_stay_within_their_rounding(dtype):
    """Against float64 on the same rounded inputs; the bound is a few roundings of logits of size 4."""
    plan = make_plan(performance(6), TokenGrid(6, 8, 8))
    tensors = [t.to(dtype) for t in random_qkv(384, d=16)]
    out, grads = gradients(lambda *t: sparse_attention(*t, plan, "cpu"), tensors)
    wanted, wanted_grads = gradients(lambda *t: sparse_attention(*t, plan, "reference"), [t.double() for t in tensors])
    bound = 16 * torch.finfo(dtype).eps
    assert out.dtype == dtype
    for ours, theirs in zip((out, *grads), (wanted, *wanted_grads), strict=True):
        assert (ours.double() - theirs).abs().max() < bound * theirs.abs().max()
        assert (ours.double() - theirs).square().mean().sqrt() < bound / 4 * theirs.square().mean().sqrt()


def test_every_output_and_gradient_is_written(monkeypatch):
    plan = random_plan(5, frames=4)
    monkeypatch.setattr(torch, "empty_like", lambda x: torch.full_like(x, torch.nan))
    out, grads = gradients(lambda *t: sparse_attention(*t, plan, "cpu"), random_qkv(24))
    assert all(torch.isfinite(x).all() for x in (out, *grads))


def test_the_future_and_foreign_regions_do_not_reach_a_frame():
    plan = random_plan(7, frames=4, rows=3, cols=3)
    q, k, v = random_qkv(36, b=1, nh=1)
    v = v.requires_grad_()
    sees = plan.dense()
    for query in (0, 10, 20, 35):
        (grad,) = torch.autograd.grad(sparse_attention(q, k, v, plan, "cpu")[0, 0, query].sum(), v)
        assert torch.equal(grad[0, 0].abs().sum(-1) > 0, sees[query])


@pytest.mark.parametrize("bits", [0, 31])
@pytest.mark.parametrize("k", [0, 2])
def test_all_background_every_region_and_no_past(bits, k):
    plan = random_plan(0, k=k)
    plan = AttentionPlan(plan.grid, plan.frame_table, torch.full_like(plan.region_bits, bits), None, plan.options)
    q, key, v = random_qkv(24)
    torch.testing.assert_close(
        sparse_attention(q, key, v, plan, "cpu"),
        sparse_attention(q, key, v, plan, "reference"),
        atol=1e-12,
        rtol=0,
    )


def test_groups_compute_little_more_than_the_allowed_pairs():
    plan = make_plan(performance(12), TokenGrid(12))
    gather = plan_gather(plan)
    allowed = plan.density() * plan.grid.tokens**2
    assert allowed <= gather.pairs < 1.15 * allowed
    assert plan_gather(plan) is gather
    covered = [row for group in gather.groups for row in range(group.start, group.stop)]
    assert covered == list(range(plan.grid.tokens))


def test_a_batch_may_have_a_plan_for_each_clip():
    batch = [random_plan(seed, frames=3) for seed in (1, 2)]
    tensors = random_qkv(18)
    out, grads = gradients(lambda *t: sparse_attention(*t, batch, "cpu"), tensors)
    for i, plan in enumerate(batch):
        wanted, wanted_grads = gradients(lambda *t, p=plan: sparse_attention(*t, p, "reference"), tensors)
        torch.testing.assert_close(out[i], wanted[i], atol=1e-12, rtol=0)
        for ours, theirs in zip(grads, wanted_grads, strict=True):
            torch.testing.assert_close(ours[i], theirs[i], atol=1e-12, rtol=0)
    with pytest.raises(InputError, match="2 plans for a batch of 3"):
        sparse_attention(*random_qkv(18, b=3), batch)


# roll-out


def test_a_rollout_frame_by_frame_is_the_whole_clip():
    plan = make_plan(performance(6), TokenGrid(6, 8, 8), MaskOptions(top_k=2))
    n = 64
    q, k, v = random_qkv(6 * n)
    whole = sparse_attention(q, k, v, plan, "reference")
    for t in range(6):
        own = slice(t * n, (t + 1) * n)
        frames = [own, slice(0, n)] if plan.has_sink(t) else [own]
        positions, gather = plan_frame_gather(plan, t)
        k_own, v_own = (torch.cat([x[:, :, f] for f in frames], 2) for x in (k, v))
        out = frame_attention(q[:, :, own], k_own, v_own, k[:, :, positions], v[:, :, positions], gather)
        torch.testing.assert_close(out, whole[:, :, own], atol=1e-12, rtol=0)


@QUICK
@given(st.integers(0, 1000), st.integers(1, 20), st.integers(0, 20), st.integers(0, 5))
def test_frame_attention_masks_by_bits(seed, queries, past, own):
    random = np.random.default_rng(seed)
    q_bits, k_bits = (torch.from_numpy(random.integers(0, 8, size).astype(np.uint8)) for size in (queries, past))
    q, k, v = (torch.from_numpy(random.normal(size=(1, 2, size, 4))) for size in (queries, own + past, own + past))
    gather = frame_gather_plan(q_bits, k_bits, own)
    out = frame_attention(q, k[:, :, :own], v[:, :, :own], k[:, :, own:], v[:, :, own:], gather)
    mask = torch.cat([torch.ones(queries, own, dtype=torch.bool), (q_bits[:, None] & k_bits) != 0], 1)
    torch.testing.assert_close(out, reference_attention(q, k, v, mask), atol=1e-12, rtol=0)


def test_a_first_frame_needs_no_schedule_and_a_wrong_one_is_refused():
    q, k, v = random_qkv(9)
    torch.testing.assert_close(frame_attention(q, k, v), reference_attention(q, k, v), atol=1e-12, rtol=0)
    bits = torch.ones(9, dtype=torch.uint8)
    with pytest.raises(InputError, match="9 queries and 12 keys.*9 queries and 18 keys"):
        frame_attention(q, k, v, k, v, frame_gather_plan(bits, bits[:3], 9))
    with pytest.raises(InputError, match="frame_gather_plan"):
        frame_attention(q, k, v, k, v)


# types and shapes


@pytest.mark.parametrize("queries, keys", [(5, 7), (300, 130)])
def test_dense_attention_in_blocks_is_dense_attention(queries, keys, monkeypatch):
    monkeypatch.setattr("iasa.attention.dense._LOGITS", 1 << 12)
    monkeypatch.setattr("iasa.attention.dense.is_bf16_faster", lambda: True)
    monkeypatch.setattr(gathered, "is_bf16_faster", lambda: True)
    q = random_qkv(queries, dtype=torch.bfloat16)[0]
    _, k, v = random_qkv(keys, dtype=torch.bfloat16)
    out, grads = gradients(dense_attention, (q, k, v))
    wanted, wanted_grads = gradients(reference_attention, [t.double() for t in (q, k, v)])
    for ours, theirs in zip((out, *grads), (wanted, *wanted_grads), strict=True):
        torch.testing.assert_close(ours.double(), theirs, atol=0.1 * float(theirs.abs().max()), rtol=0)
    torch.testing.assert_close(dense_attention(*(t.double() for t in (q, k, v))), wanted)


def test_without_bf16_products_the_work_is_done_in_float32(monkeypatch):
    monkeypatch.setattr(gathered, "is_bf16_faster", lambda: False)
    plan = random_plan(2)
    q, k, v = random_qkv(24, dtype=torch.bfloat16)
    out = sparse_attention(q, k, v, plan, "cpu")
    wanted = sparse_attention(q.float(), k.float(), v.float(), plan, "reference").bfloat16()
    torch.testing.assert_close(out, wanted, atol=1e-2, rtol=0)


def test_autocast_runs_in_its_type_and_gradients_return_in_theirs():
    plan = random_plan(4)
    q, k, v = (t.float().requires_grad_() for t in random_qkv(24))
    with torch.autocast("cpu", torch.bfloat16):
        out = sparse_attention(q, k, v.bfloat16(), plan, "cpu")
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert q.grad.dtype == torch.float32 and torch.isfinite(q.grad).all()


def test_tensors_that_are_views_give_the_same():
    plan = random_plan(6)
    q, k, v = random_qkv(24)
    views = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v)]
    torch.testing.assert_close(
        sparse_attention(*views, plan, "cpu"), sparse_attention(q, k, v, plan, "cpu"), atol=1e-14, rtol=0
    )


def test_bad_input_is_named():
    plan = random_plan(0)
    q, k, v = random_qkv(24)
    with pytest.raises(InputError, match="'cuda'; auto, reference or .* is accepted"):
        sparse_attention(q, k, v, plan, "cuda")
    with pytest.raises(InputError, match="24 tokens.*30"):
        sparse_attention(q, k, v, random_plan(0, frames=5))
    with pytest.raises(InputError, match=r"24, 8.*23, 8"):
        sparse_attention(q, k[:, :, :23], v[:, :, :23], plan)
    with pytest.raises(InputError, match="keys have.*values have"):
        sparse_attention(q, k, v[..., :4], plan)
    with pytest.raises(InputError, match="one type"):
        sparse_attention(q, k, v.float(), plan)
    with pytest.raises(InputError, match=r"\[batch, heads, tokens, width\]"):
        sparse_attention(q[0], k, v, plan)
