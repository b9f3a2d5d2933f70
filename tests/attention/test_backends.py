"""What all backends of sparse attention owe alike: numbers that are not finite, empty calls, inference before training."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import time
import weakref
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_plans import performance, plans, random_plan
from torch.nn.attention.flex_attention import flex_attention

import iasa.attention.dispatch as dispatch
import iasa.attention.flex as flex
import iasa.attention.measured_choice as measured_choice
import iasa.attention.triton as triton_backend
from iasa.attention.dispatch import BACKENDS, choose_backend, frame_attention, sparse_attention
from iasa.attention.finite import sees_any
from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.masks import AttentionPlan, make_plan

WITH_GRADIENTS = [name for name in BACKENDS if name != "flex"]  # flex has none on a processor


def with_mode(plan: AttentionPlan, mode: str) -> AttentionPlan:
    options = MaskOptions(**{**plan.options.__dict__, "mode": mode})
    return AttentionPlan(plan.grid, plan.frame_table, plan.region_bits, None, options)


@pytest.fixture
def backend(request, monkeypatch):
    """A backend that can run here: flex uncompiled (compiling takes minutes on a processor), Triton interpreted."""
    if request.param == "flex":
        monkeypatch.setattr(flex, "_flex", lambda compiled: flex_attention)
    elif request.param in ("triton", "two-pass"):
        pytest.importorskip("triton", reason="the kernels need Triton: pip install triton")
    return request.param


every = partial(pytest.mark.parametrize, "backend", indirect=True)


# numbers that are not finite


@settings(max_examples=25, deadline=None)
@given(plans, st.sampled_from(["exact", "pooled"]), st.integers(0, 100))
def test_which_queries_see_a_marked_key(plan, mode, seed):
    plan = with_mode(plan, mode)
    marked = torch.rand(2, 3, plan.grid.tokens, generator=torch.Generator().manual_seed(seed)) < 0.1
    wanted = (plan.dense() & marked[..., None, :]).any(-1)
    assert torch.equal(sees_any(plan, marked), wanted)


@every(argvalues=BACKENDS)
@pytest.mark.parametrize("bad, mode", [(math.nan, "exact"), (math.inf, "exact"), (-math.inf, "pooled")])
def test_what_is_not_finite_spoils_those_that_may_see_it_alone(backend, mode, bad):
    """A key of one head and a value of the other; gradients of the rest are those without them."""
    plan = with_mode(make_plan(performance(4), TokenGrid(4, 3, 7), MaskOptions(top_k=1, window=1, block=16)), mode)
    allowed, generator = plan.dense(), torch.Generator().manual_seed(0)
    token = max(range(21, 63), key=lambda j: int(0 < (~allowed[21:, j]).sum() < 60) * int(allowed[:, j].sum()))
    q, k, v, grad = (torch.randn(1, 2, 84, 16, generator=generator) for _ in range(4))
    clean = [x.clone() for x in (q, k, v)]
    k[0, 0, token, 3], v[0, 1, token, 5] = bad, bad
    clean[1][0, 0, token], clean[2][0, 1, token] = 0.0, 0.0
    hidden = ~allowed[:, token]
    assert 10 < hidden.sum() < 74
    grad[:, :, ~hidden] = 0.0
    gradients = backend != "flex"
    results = []
    for tensors in ((q, k, v), clean):
        leaves = [x.requires_grad_(gradients) for x in tensors]
        out = sparse_attention(*leaves, plan, backend if tensors is not clean else "reference")
        results.append((out.detach(), torch.autograd.grad(out, leaves[0], grad)[0] if gradients else out))
    (out, dq), (wanted, wanted_dq) = results
    assert not torch.isfinite(out[0, 1, ~hidden]).all(-1).any()
    if math.isnan(bad):
        assert not torch.isfinite(out[0, 0, ~hidden]).all(-1).any()
    torch.testing.assert_close(out[:, :, hidden], wanted[:, :, hidden], atol=4e-6, rtol=0)
    torch.testing.assert_close(dq[:, :, hidden], wanted_dq[:, :, hidden], atol=4e-6, rtol=0)


@pytest.mark.parametrize("name", ["cpu", "dense", "reference"])
def test_a_traced_call_treats_them_alike(name):
    """Traced, nothing may wait for the answer whether there are any. (The plan's lists are made before.)"""
    plan = random_plan(3)
    q, k, v = (torch.randn(1, 2, 24, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    bad = v.clone()
    bad[0, 0, 7, 0] = math.nan
    wanted, wanted_bad = (sparse_attention(q, k, x, plan, name) for x in (v, bad))
    traced = torch.compile(lambda *x: sparse_attention(*x, plan, name), backend="eager", fullgraph=True)
    torch.testing.assert_close(traced(q, k, v), wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(traced(q, k, bad), wanted_bad, atol=1e-6, rtol=0, equal_nan=True)


def test_what_is_made_of_a_plan_lives_and_dies_with_it():
    """In no dictionary of all plans: a traced call guarded it, and broke when another plan died meanwhile."""
    plan = random_plan(3)
    x = torch.randn(1, 2, 24, 8)
    sparse_attention(x, x, x, plan, "cpu")
    made = next(iter(plan.made.values()))
    sparse_attention(x, x, x, plan, "cpu")
    assert next(iter(plan.made.values())) is made
    for copied in (replace(plan), copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        assert not copied.made and torch.equal(copied.region_bits, plan.region_bits)
    gone = weakref.ref(plan)
    del plan
    gc.collect()
    assert gone() is None


# empty calls, refusals


@every(argvalues=["auto", *WITH_GRADIENTS])
@pytest.mark.parametrize("b, nh", [(0, 2), (2, 0), (0, 0)])
def test_an_empty_batch_and_no_heads_give_nothing(backend, b, nh):
    plan = random_plan(0)
    for one_or_many in (plan, [plan] * b):
        leaves = [torch.randn(b, nh, 24, 8).requires_grad_() for _ in range(3)]
        out = sparse_attention(*leaves, one_or_many, backend)
        assert out.shape == (b, nh, 24, 8)
        assert [g.shape for g in torch.autograd.grad(out.sum(), leaves)] == 3 * [out.shape]


@every(argvalues=["triton", "two-pass"])
def test_what_the_kernels_refuse_is_bad_input(backend):
    plan = random_plan(0)
    for d, dtype, message in ((144, torch.float32, "heads are 144 wide; 1 to 128"), (16, torch.float64, "float64")):
        q = torch.zeros(1, 1, 24, d, dtype=dtype)
        with pytest.raises(InputError, match=message):
            sparse_attention(q, q, q, plan, backend)


@pytest.mark.parametrize("change, message", [
    (lambda q: (None, q, q), "queries are NoneType; a torch tensor"),
    (lambda q: (q, q.numpy(), q), "keys are ndarray; a torch tensor"),
    (lambda q: (q, q, q.to_sparse()), "values are torch.sparse_coo; a dense tensor"),
    (lambda q: (torch.nested.nested_tensor([q[0]]), q, q), "queries are nested; a dense tensor"),
    (lambda q: (q.int(), q.int(), q.int()), "queries are torch.int32; float16, bfloat16, float32, float64 are accepted"),
    (lambda q: (q.bool(), q.bool(), q.bool()), "queries are torch.bool"),
    (lambda q: [q.to(torch.complex64)] * 3, "queries are torch.complex64"),
    (lambda q: [q.to(torch.float8_e4m3fn)] * 3, "queries are torch.float8_e4m3fn"),
    (lambda q: [q.to("meta")] * 3, "on meta, meta and meta; one device that computes"),
    (lambda q: (q, q.to("meta"), q), "on cpu, meta and cpu; one device that computes"),
])  # fmt: skip
@pytest.mark.parametrize("backend", ["auto", "reference", "triton"])
def test_tensors_that_no_backend_takes_are_named(change, message, backend):
    tensors = change(torch.zeros(1, 2, 24, 8))
    with pytest.raises(InputError, match=message):
        sparse_attention(*tensors, random_plan(3), backend)
    with pytest.raises(InputError, match=message):
        frame_attention(*tensors)


def test_what_is_no_plan_gather_or_device_is_named():
    q, plan = torch.zeros(1, 2, 24, 8), random_plan(3)
    for bad, found in ((None, "NoneType"), ("plan", "str"), ([None], "list"), ((p for p in [plan]), "generator")):
        with pytest.raises(InputError, match=f"the plan is {found}; an AttentionPlan or a list of one for each clip"):
            sparse_attention(q, q, q, bad)
    with pytest.raises(InputError, match="the plan is NoneType; an AttentionPlan"):
        choose_backend(None)
    with pytest.raises(InputError, match="the device is 'gpu'; a name that torch knows"):
        choose_backend(plan, device="gpu")
    with pytest.raises(InputError, match="must be given together; one of them is None"):
        frame_attention(q, q, q, q)
    with pytest.raises(InputError, match="the gather is int; what frame_gather_plan returns"):
        frame_attention(q, q, q, q, q, 3)
    with pytest.raises(InputError, match="queries have shape .* and keys have .*; only their tokens may differ"):
        frame_attention(q, q, q, q[:, :1], q[:, :1])


def test_auto_takes_no_kernels_that_are_not_there(monkeypatch, tmp_path):
    """Installed by pip the package has no folder kernels/ beside it."""
    pytest.importorskip("triton", reason="without Triton there is nothing to choose")
    monkeypatch.setattr(triton_backend, "KERNELS", tmp_path / "kernels")
    known = triton_backend.importlib.util.find_spec
    monkeypatch.setattr(
        triton_backend.importlib.util, "find_spec", lambda name: None if name == "iasa_kernels" else known(name)
    )
    choice = choose_backend(make_plan(performance(40), TokenGrid(40)), device="cuda", dtype=torch.bfloat16)
    assert choice.backend == "cpu" and "iasa_kernels is neither installed nor in" in choice.reason
    with pytest.raises(ImportError, match="iasa_kernels is neither installed"):
        triton_backend.import_kernels()


def test_the_fastest_is_measured_once_for_a_size(monkeypatch):
    """Two candidates of which one sleeps, and one that refuses."""
    monkeypatch.setattr(measured_choice, "_fastest", {})
    calls = []

    def candidate(name, seconds=0.0):
        def call():
            calls.append(name)
            if seconds is None:
                raise InputError("not here")
            time.sleep(seconds)

        return call

    ran = {"dense": candidate("dense", 0.01), "two-pass": candidate("two-pass", None), "triton": candidate("triton")}
    here = torch.device("cpu")
    assert measured_choice.fastest("a size", ran, here) == "triton"
    assert calls.count("dense") == calls.count("triton") == 7 and calls.count("two-pass") == 1
    assert measured_choice.fastest("a size", ran, here) == "triton" and len(calls) == 15
    assert measured_choice.fastest("another", {"cpu": candidate("cpu", None)}, here) == "cpu"


def test_what_is_measured_on_a_gpu_are_those_that_can_serve(monkeypatch):
    asked = {}
    monkeypatch.setattr(dispatch, "fastest", lambda key, candidates, device: asked.update({key: candidates}) or "dense")
    monkeypatch.setattr(dispatch, "why_no_kernels", lambda: None)
    plan = random_plan(0)
    for dtype, names in (
        (torch.float32, ["cpu", "dense", "triton"]),
        (torch.bfloat16, ["cpu", "dense", "triton", "two-pass"]),
        (torch.float64, ["cpu", "dense"]),
    ):
        q, k, v = torch.randn(3, 1, 2, 24, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
        assert dispatch.measured_backend(q, k, v, plan, "cpu") == "dense"
        *_, found = asked.values()
        assert list(found) == names
        torch.testing.assert_close(found["cpu"](), found["dense"](), atol=0.02, rtol=0)  # each runs its own
    assert len(asked) == 3


# one plan, many uses


@every(argvalues=WITH_GRADIENTS)
def test_a_plan_that_inference_has_used_can_be_trained_with(backend):
    plan = random_plan(2, frames=3)
    q, k, v = (torch.randn(1, 2, 18, 8) for _ in range(3))
    with torch.inference_mode():
        sparse_attention(q, k, v, plan, backend)
    sparse_attention(q.requires_grad_(), k, v, plan, backend).sum().backward()
    assert torch.isfinite(q.grad).all()


def test_flex_is_compiled_for_each_shape_and_never_goes_on_uncompiled(monkeypatch):
    """Traced and run eagerly: a dozen shapes are more than torch compiles by itself, and each is its own."""
    traced = torch.compile(flex_attention, dynamic=False, fullgraph=True, backend="eager")
    seen = []
    monkeypatch.setattr(flex, "_flex", lambda compiled: seen.append(compiled) or traced)
    with torch.no_grad():
        for frames in range(2, 14):
            plan = random_plan(frames, frames=frames)
            q, k, v = (torch.randn(1, 1, plan.grid.tokens, 8) for _ in range(3))
            ours, wanted = (sparse_attention(q, k, v, plan, name) for name in ("flex", "reference"))
            torch.testing.assert_close(ours, wanted, atol=2e-6, rtol=0)
    assert seen == 12 * [True]
