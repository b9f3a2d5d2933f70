"""Plans for FlexAttention and FlashInfer against the dense mask, and the kernels under a plan."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_plans import performance, plans, random_plan
from torch.nn.attention.flex_attention import create_mask, flex_attention

from iasa.attention import dispatch
from iasa.attention.dispatch import choose_backend, sparse_attention
from iasa.attention.triton import plan_layout
from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.masks import AttentionPlan, make_plan

QUICK = settings(max_examples=25, deadline=None)


def with_mode(plan: AttentionPlan, mode: str) -> AttentionPlan:
    options = MaskOptions(**{**plan.options.__dict__, "mode": mode})
    return AttentionPlan(plan.grid, plan.frame_table, plan.region_bits, None, options)


def permuted_mask(plan: AttentionPlan) -> torch.Tensor:
    order = plan.permutation()
    return plan.dense()[order[:, None], order]


@settings(max_examples=15, deadline=None)
@given(plans, st.sampled_from(["exact", "pooled"]), st.integers(1, 9))
def test_flex_tests_the_same_pairs_and_keeps_every_block_that_holds_one(plan, mode, block):
    plan = with_mode(plan, mode)
    mask, wanted = plan.to_flex(block), permuted_mask(plan)
    tokens = plan.grid.tokens
    assert torch.equal(create_mask(mask.mask_mod, 1, 1, tokens, tokens, device="cpu")[0, 0], wanted)
    assert mask.seq_lengths == (tokens, tokens)
    padding = -tokens % block
    tiles = torch.nn.functional.pad(wanted, (0, padding, 0, padding)).unfold(0, block, block).unfold(1, block, block)
    kept = mask.to_dense()[0, 0].bool()
    assert not (tiles.flatten(2).any(2) & ~kept).any()
    if plan.grid.tokens_per_frame % block == 0 and mode == "exact":
        assert torch.equal(tiles.flatten(2).any(2), kept)
    full = listed(mask.full_kv_num_blocks, mask.full_kv_indices)
    assert not (full & ~tiles.flatten(2).all(2)).any()
    assert not (full & listed(mask.kv_num_blocks, mask.kv_indices)).any()
    needless = torch.zeros(2 * [tokens + padding], dtype=torch.bool)  # pairs of the plan's full blocks
    csr = plan.block_csr(None if mode == "pooled" else block)
    for row, column in zip(*(x[csr.full | (mode == "pooled")].tolist() for x in (csr.rows, csr.columns)), strict=True):
        a, b = (slice(int(csr.start[i]), int(csr.start[i] + csr.size[i])) for i in (row, column))
        needless[a, b] = True
    assert torch.equal(full, needless.unfold(0, block, block).unfold(1, block, block).flatten(2).all(2))
    if block == 1 and (mode == "exact" or plan.options.block == 1):
        assert full.sum() == wanted.sum()  # a pair that is allowed needs no test


def listed(counts: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
    """The blocks that a flex list names: bool [rows, columns]."""
    first = torch.arange(names.shape[-1]) < counts[0, 0, :, None]
    return torch.zeros(names.shape[-2:], dtype=torch.bool).scatter_(1, names[0, 0].long(), first)


@pytest.mark.parametrize("mode", ["exact", "pooled"])
def test_the_backend_flex_permutes_there_and_back(mode, monkeypatch):
    """Uncompiled: compiling takes minutes on a processor; `iasa bench attention` compares it compiled."""
    monkeypatch.setattr("iasa.attention.flex._flex", lambda compiled: flex_attention)
    plan = with_mode(make_plan(performance(5), TokenGrid(5, 6, 7), MaskOptions(top_k=2, block=16)), mode)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 210, 16, generator=generator) for _ in range(3))
    with torch.no_grad():
        ours, wanted = (sparse_attention(q, k, v, plan, backend) for backend in ("flex", "reference"))
    torch.testing.assert_close(ours, wanted, atol=2e-6, rtol=0)
    with pytest.raises(InputError, match="no backward pass on a processor"):
        sparse_attention(q.requires_grad_(), k, v, plan, "flex")


@QUICK
@given(plans, st.integers(1, 7))
def test_flashinfer_lists_the_kept_blocks_and_their_sizes(plan, block):
    blocks = plan.to_flashinfer(block)
    pooled = AttentionPlan(
        plan.grid, plan.frame_table, plan.region_bits, None,
        MaskOptions(**{**plan.options.__dict__, "mode": "pooled", "block": block}),
    )  # fmt: skip
    assert (blocks.M, blocks.N, blocks.R, blocks.C) == (plan.grid.tokens, plan.grid.tokens, block, block)
    sizes = blocks.block_row_sz[0]
    assert torch.equal(sizes, blocks.block_col_sz[0]) and int(sizes.sum()) == plan.grid.tokens
    kept = blocks.block_mask_map()[0]
    filled = kept.repeat_interleave(sizes, 0).repeat_interleave(sizes, 1)
    assert torch.equal(filled, permuted_mask(pooled))
    assert blocks.indptr.dtype == blocks.indices.dtype == torch.int32
    assert blocks.uniform == (plan.grid.tokens_per_frame % block == 0)


@QUICK
@given(plans)
def test_full_blocks_are_those_that_need_no_test(plan):
    csr, mask = plan.block_csr(), permuted_mask(plan)
    frame = csr.start // plan.grid.tokens_per_frame
    for row, column, full in zip(csr.rows.tolist(), csr.columns.tolist(), csr.full.tolist(), strict=True):
        a, b = (slice(int(csr.start[i]), int(csr.start[i] + csr.size[i])) for i in (row, column))
        assert not full or mask[a, b].all()
        assert full or frame[row] != frame[column]  # a frame sees itself whole
    turned = csr.transpose()
    assert set(zip(turned.columns.tolist(), turned.rows.tolist(), turned.full.tolist(), strict=True)) == set(
        zip(csr.rows.tolist(), csr.columns.tolist(), csr.full.tolist(), strict=True)
    )


@QUICK
@given(plans, st.sampled_from(["exact", "pooled"]), st.booleans())
def test_the_kernels_layout_is_the_plan(plan, mode, two_pass):
    plan = with_mode(plan, mode)
    layout = plan_layout(plan, two_pass=two_pass, tile=16)
    assert torch.equal(layout.dense_mask()[0], permuted_mask(plan))
    assert layout.segments == (plan.grid.frames if two_pass else 0)


@pytest.mark.parametrize("mode", ["exact", "pooled"])
@pytest.mark.parametrize("backend", ["triton", "two-pass"])
def test_the_kernels_follow_a_plan_with_gradients(mode, backend):
    """Frames of 21 tokens in blocks of 16 and 5."""
    pytest.importorskip("triton", reason="the kernels need Triton: pip install triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    plan = with_mode(make_plan(performance(4), TokenGrid(4, 3, 7), MaskOptions(top_k=2, block=16)), mode)
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(1, 1, 84, 32, generator=generator).to(device, dtype).requires_grad_() for _ in range(3)]
    results = []
    for name in (backend, "reference"):
        out = sparse_attention(*tensors, plan, name)
        results.append((out.detach(), *torch.autograd.grad(out.square().sum(), tensors)))
    for ours, wanted in zip(*results, strict=True):
        bound = 8 * torch.finfo(dtype).eps * float(wanted.abs().max())
        torch.testing.assert_close(ours, wanted, atol=bound, rtol=0)


def test_the_choice_says_why():
    small, large = random_plan(0), make_plan(performance(40), TokenGrid(40))
    below = choose_backend(small)
    assert below.backend == "dense" and "below the break-even" in below.reason
    assert below.pairs == below.dense_pairs == 24 * 24
    above = choose_backend(large, dtype=torch.bfloat16, heads=5)
    assert above.backend == "cpu" and "% of the dense pairs" in above.reason
    assert above.pairs == dispatch.plan_gather(large).pairs < 0.1 * above.dense_pairs
    asked = choose_backend(large, "triton")
    assert asked.reason == "it was asked for"
    assert asked.pairs == plan_layout(large).kept_pairs()
    with pytest.raises(InputError, match="'fast'; auto, reference or dense"):
        choose_backend(small, "fast")


def test_the_break_even_is_where_the_costs_meet(monkeypatch):
    """One frame has every pair: gathering pays only where its pairs are cheaper than the dense call's."""
    plan = make_plan(performance(1), TokenGrid(1))
    for cost, wanted in ((0.5, "cpu"), (1.01, "dense")):
        monkeypatch.setattr(dispatch, "_PAIR", {True: cost, False: cost})
        monkeypatch.setattr(dispatch, "_GROUP", {True: 0, False: 0})
        plan.made.clear()
        assert choose_backend(plan).backend == wanted


def test_in_float32_two_frames_are_below_the_break_even_and_six_are_not():
    assert choose_backend(make_plan(performance(2), TokenGrid(2)), heads=5).backend == "dense"
    assert choose_backend(make_plan(performance(6), TokenGrid(6)), heads=5).backend == "cpu"


def test_auto_gathers_keys_and_says_so_where_a_dense_mask_would_be_refused(monkeypatch):
    monkeypatch.setattr(dispatch, "MAX_DENSE_TOKENS", 20)
    choice = choose_backend(random_plan(0))
    assert choice.backend == "cpu" and "too long for a dense mask" in choice.reason


def test_on_a_gpu_the_rule_is_size_density_and_triton(monkeypatch):
    long, short = make_plan(performance(40), TokenGrid(40)), make_plan(performance(4), TokenGrid(4))
    assert choose_backend(long, device="cuda", dtype=torch.bfloat16).backend == "triton"
    assert choose_backend(long, device="cuda", dtype=torch.float64).backend == "cpu"
    assert choose_backend(short, device="cuda").backend == "dense"
    assert "not measured" in choose_backend(short, device="cuda").reason
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    missing = choose_backend(long, device="cuda")
    assert missing.backend == "cpu" and "pip install triton" in missing.reason


def test_what_cannot_run_here_is_named(monkeypatch):
    plan = random_plan(0)
    q, k, v = (torch.zeros(1, 1, 24, 16) for _ in range(3))
    pytest.importorskip("triton", reason="the kernels need Triton: pip install triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    for backend in ("triton", "two-pass"):
        with pytest.raises(InputError, match="needs a GPU and the tensors are on the processor; cpu is accepted"):
            sparse_attention(q, k, v, plan, backend)
    with pytest.raises(InputError, match="blocks have 130 tokens; the kernels take up to 128"):
        plan_layout(plan, block=130)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install triton"):
        sparse_attention(q, k, v, plan, "triton")


def test_dense_backends_refuse_long_clips():
    plan = AttentionPlan(
        TokenGrid(65), torch.full((65, 1), -1), torch.zeros(65, 256, dtype=torch.uint8), None, MaskOptions()
    )
    q = torch.zeros(1, 1, 65 * 256, 4)
    for backend in ("reference", "dense"):
        with pytest.raises(InputError, match="16640 tokens is refused; up to 16384"):
            sparse_attention(q, q, q, plan, backend)


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """Elements of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, list | tuple) else [out]:
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.untyped_storage().nbytes() // one.element_size())
        return out


def test_the_memory_of_a_plan_is_linear_in_the_tokens():
    """Twice the rows and columns, four times the memory; a matrix of all tokens would take sixteen times."""
    largest = {}
    poses = performance(10)
    for side in (16, 32, 64):
        with LargestTensor() as mode:
            plan = make_plan(poses, TokenGrid(10, side, side))
            plan.permutation()
            plan.density()
        largest[side] = mode.elements
        with LargestTensor() as mode:
            kept = len(plan.block_csr(128).transpose().columns)
        assert mode.elements <= max(4 * kept, 8 * plan.grid.tokens)
    assert largest[64] < 4.5 * largest[32] and largest[32] < 4.5 * largest[16]
    assert largest[64] <= 8 * 10 * 64 * 64


def test_the_memory_of_a_plan_is_linear_in_the_frames_but_for_their_distances():
    for frames in (50, 200):
        poses = performance(frames)
        with LargestTensor() as mode:
            csr = make_plan(poses, TokenGrid(frames)).block_csr().transpose()
        assert len(csr.columns) < 100 * frames
        assert mode.elements <= max(frames * frames, 100 * frames * 8, 8 * 256 * frames, 4096 * 133), frames
