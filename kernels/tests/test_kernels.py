"""The Triton kernels against their definition in float64, on a GPU or in Triton's interpreter; layouts; registration."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

ROOT = Path(__file__).resolve().parents[1]  # the folder of the kernels
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton
os.environ["IASA_KERNELS_TUNE"] = "0"  # one configuration of each kernel: what is tested is the result
pytest.importorskip("triton", reason="the kernels need Triton: pip install triton")

import iasa_kernels as kernels  # noqa: E402
import triton  # noqa: E402
from iasa_kernels import api  # noqa: E402
from iasa_kernels.forward import drop_configs, parts_of  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
QUICK = settings(max_examples=8, deadline=None)


def random_layout(sizes, seed=0, density=0.5, tested=True, own=True, **options):
    """A layout over blocks of the given sizes on both sides: random kept blocks, half of them full, random bits."""
    random = np.random.default_rng(seed)
    size = torch.tensor(sizes)
    start = size.cumsum(0) - size
    kept = torch.from_numpy(random.uniform(size=(len(sizes), len(sizes))) < density)
    if own:
        kept |= torch.eye(len(sizes), dtype=torch.bool)
    rows, columns = kept.nonzero(as_tuple=True)
    pointer = torch.nn.functional.pad(kept.sum(1).cumsum(0), (1, 0))
    full = torch.from_numpy(random.uniform(size=len(rows)) < 0.5) | (own & (rows == columns))
    bits = [torch.from_numpy(random.integers(0, 8, int(size.sum())).astype(np.uint8)) for _ in range(2)]
    options = {"tile": 32, "tile_back": 32, **options}
    layout = kernels.make_layout(
        pointer, columns, start, size, full=full if tested else None, q_bits=bits[0], k_bits=bits[1], **options
    )
    return layout.to(DEVICE), pair_mask(kept, full, tested, start, size, bits)


def pair_mask(kept, full, tested, start, size, bits):
    """The same mask pair by pair, from the definition."""
    tokens = int(size.sum())
    mask = np.zeros((tokens, tokens), bool)
    test = dict(zip(map(tuple, kept.nonzero().tolist()), (~full & tested).tolist(), strict=True))
    for row, column in test:
        for i in range(int(start[row]), int(start[row] + size[row])):
            for j in range(int(start[column]), int(start[column] + size[column])):
                mask[i, j] = not test[row, column] or int(bits[0][i]) & int(bits[1][j]) != 0
    return mask


def random_qkv(tokens, d=16, b=1, nh=2, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, nh, tokens, d, generator=generator).to(DEVICE, dtype) for _ in range(3)]


def results(function, tensors, grad):
    """(out, lse, dq, dk, dv); both outputs take part in the gradients."""
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    out, lse = function(*leaves)
    seen = torch.where(torch.isfinite(lse), lse, 0.0)  # a query without keys: minus infinity
    loss = (out.double() * grad.double()).sum() + seen.double().sum()
    return [out.detach(), lse.detach(), *torch.autograd.grad(loss, leaves)]


def compare(tensors, layout, bounds=None, **options):
    """Every result against the reference in float64; returns the kernels' results."""
    grad = torch.randn(tensors[0].shape, generator=torch.Generator().manual_seed(1)).to(tensors[0])
    ours = results(lambda *t: kernels.block_sparse_attention(*t, layout, return_lse=True, **options), tensors, grad)
    wide = [t.double() for t in tensors]
    theirs = results(lambda *t: kernels.reference_attention(*t, layout, **options), wide, grad)
    bounds = bounds or error_budget(wide, layout, grad.double(), theirs, tensors[0].dtype)
    for name, mine, wanted, bound in zip(("out", "lse", "dq", "dk", "dv"), ours, theirs, bounds, strict=True):
        finite = torch.isfinite(wanted)
        assert torch.equal(torch.isfinite(mine), finite), name
        error = float((mine.double() - wanted)[finite].abs().max()) if finite.any() else 0.0
        assert error <= bound, f"{name}: {error:.3g} > {bound:.3g}"
    return ours


def error_budget(wide, layout, grad, theirs, dtype):
    """Largest errors of (out, lse, dq, dk, dv) that rounding explains, to first order.

    Products are exact and summed in float32, so a logit is off by (d + 3) u32 sum |q||k| scale; a weight is off by
    twice that, by the sum's rounding, and by u where it is rounded to the inputs' type for the next product. Weights
    of a query sum to 1, those of a key to at most `column`. Outputs are rounded once more.
    """
    q, k, v = wide
    u, u32 = torch.finfo(dtype).eps / 2, torch.finfo(torch.float32).eps / 2
    scale = q.shape[-1] ** -0.5
    logit = (q.shape[-1] + 3) * u32 * float((q.abs() @ k.abs().mT).max()) * scale
    weight = u + 2 * logit + (k.shape[2] + 3) * u32
    mask = layout.dense_mask().to(q.device).repeat(q.shape[0] * q.shape[1] // layout.plans, 1, 1)
    logits = (scale * q @ k.mT).masked_fill(~mask.view(*q.shape[:3], -1), -torch.inf)
    weights = logits.softmax(-1).nan_to_num(0.0)
    column = float(weights.sum(2).max())
    _, lse, dq, dk, dv = (_largest(x) for x in theirs)
    spread = _largest((grad @ v.mT) - (grad * theirs[0]).sum(-1, keepdim=True)) + 1  # the lse's gradient is 1
    delta = (u + (q.shape[-1] + 1) * u32) * float((grad.abs() * theirs[0].abs()).sum(-1).max())
    delta += (q.shape[-1] + 1) * u32 * float((grad.abs() @ v.abs().mT).max())
    d_logit = (weight + u) * spread + delta
    return (
        (weight + u) * _largest(v),
        logit + 4 * u32 * max(lse, 1.0) + (k.shape[2] + 3) * u32,
        scale * d_logit * _largest(k) + u * dq,
        scale * d_logit * column * _largest(q) + u * dk,
        weight * column * _largest(grad) + u * dv,
    )


def _largest(x):
    x = x[torch.isfinite(x)]
    return float(x.abs().max()) if x.numel() else 0.0


# layouts


def walk(tiles, plan, q_bits, k_bits, shape):
    """The pairs that a list of tiles stands for, row by row as a kernel reads them."""
    seen = np.zeros(shape, int)
    for row in range(tiles.start.shape[1]):
        first, tested, end = tiles.pointer[plan, row].tolist()
        for tile in range(first, end):
            for i in range(int(tiles.start[plan, row]), int(tiles.start[plan, row] + tiles.size[plan, row])):
                for j in range(int(tiles.tile_start[tile]), int(tiles.tile_start[tile] + tiles.tile_size[tile])):
                    seen[i, j] += tile < tested or int(q_bits[plan, i]) & int(k_bits[plan, j]) != 0
    return seen


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any),
    st.integers(0, 100),
    st.sampled_from([0.0, 0.4, 1.0]),
    st.sampled_from([16, 32]),
)
def test_a_layout_holds_every_pair_of_the_definition_once(sizes, seed, density, tile):
    layout, mask = random_layout(sizes, seed, density, own=False, tile=tile, tile_back=16)
    layout = layout.to("cpu")
    bits = [torch.zeros(1, sum(sizes)) if b is None else b for b in (layout.q_bits, layout.k_bits)]
    np.testing.assert_array_equal(walk(layout.forward, 0, *bits, mask.shape), mask)
    np.testing.assert_array_equal(walk(layout.backward_q, 0, *bits, mask.shape), mask)
    np.testing.assert_array_equal(walk(layout.backward_k, 0, *bits[::-1], mask.shape), mask.T)
    np.testing.assert_array_equal(layout.dense_mask()[0], mask)
    for tiles, largest in ((layout.forward, tile), (layout.backward_q, 16), (layout.backward_k, 16)):
        assert not len(tiles.tile_size) or 1 <= int(tiles.tile_size.min()) <= int(tiles.tile_size.max()) <= largest
        lengths = (tiles.pointer[0, :, 2] - tiles.pointer[0, :, 0])[tiles.order[0].long()]
        assert (lengths.diff() <= 0).all()  # longest rows first
        assert sorted(tiles.order[0].tolist()) == list(range(len(sizes)))
    whole, _ = random_layout(sizes, seed, density, tested=False, own=False)
    assert whole.kept_pairs() == int(whole.dense_mask().sum())
    assert whole.density() == pytest.approx(float(whole.dense_mask().double().mean()))


def test_neighbouring_blocks_are_loaded_as_one_tile():
    size = torch.tensor([4, 4, 4, 4])
    layout = kernels.make_layout(torch.tensor([0, 3, 3, 3, 4]), torch.tensor([2, 1, 0, 3]), size.cumsum(0) - 4, size)
    assert layout.forward.tile_start.tolist() == [0, 12] and layout.forward.tile_size.tolist() == [12, 4]
    assert layout.forward.pointer[0].tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 1], [1, 2, 2]]
    assert layout.forward.order[0].tolist() == [0, 3, 1, 2]


def test_bad_layouts_are_named():
    size = torch.tensor([16, 16])
    good = {"row_pointer": torch.tensor([0, 1, 2]), "columns": torch.tensor([0, 1])}
    good |= {"q_start": torch.tensor([0, 16]), "q_size": size}
    bits = torch.zeros(32, dtype=torch.uint8)
    part = torch.tensor([True, False])
    for change, message in (
        ({"columns": torch.tensor([0, 2])}, "columns go from 0 to 2; 0 to 1"),
        ({"row_pointer": torch.tensor([0, 1])}, r"\[2\] and ends at 1; \[3\], rising to 2"),
        ({"q_size": torch.tensor([16, 129])}, "16 to 129 tokens; 0 to 128"),
        ({"q_start": torch.tensor([0, 15])}, "overlap"),
        ({"queries": 31}, "from 0 to 32; 0 to 31"),
        ({"tile": 48}, "tile is 48; 16, 32, 64 or 128"),
        ({"full": part}, "q_bits is missing"),
        ({"full": part, "q_bits": bits, "k_bits": bits[:31]}, r"\[31\]; uint8 or int32 \[32\]"),
        ({"full": part[:1], "q_bits": bits, "k_bits": bits}, r"full has shape \[1\]; \[2\]"),
        ({"segments": 3}, "32 queries and 32 keys do not make 3"),
        ({"segments": 1}, "512 pairs of full blocks; all 1024"),
        ({"segments": 4}, "over the end of a segment of 8"),
        ({"k_start": torch.tensor([0])}, "together"),
    ):
        with pytest.raises(ValueError, match=message):
            kernels.make_layout(**(good | change))
    layout = kernels.make_layout(**good)
    other = kernels.make_layout(**(good | {"tile": 32}))
    with pytest.raises(ValueError, match=r"tile are \[32, 64\]"):
        kernels.stack_layouts([layout, other])


# results


CASES = [
    (torch.float32, 32, [16, 16, 9, 16], False),
    (torch.float32, 80, [32, 7, 20, 1], True),
    (torch.float32, 128, [128, 70], True),
    (torch.bfloat16, 64, [64, 33, 64], True),
    (torch.bfloat16, 80, [16, 16, 5], False),
    (torch.float16, 128, [32, 30, 32], True),
    (torch.float16, 32, [128, 17], True),
]


@pytest.mark.parametrize("dtype, d, sizes, tested", CASES, ids=lambda x: str(x).replace("torch.", ""))
def test_results_and_gradients_stay_within_their_rounding(dtype, d, sizes, tested):
    layout, mask = random_layout(sizes, seed=d, tested=tested)
    np.testing.assert_array_equal(layout.dense_mask()[0].cpu(), mask)
    compare(random_qkv(sum(sizes), d, dtype=dtype), layout)


@QUICK
@given(st.lists(st.integers(0, 20), min_size=1, max_size=4).filter(any), st.integers(0, 100), st.booleans())
def test_any_blocks_rows_without_keys_among_them(sizes, seed, tested):
    layout, _ = random_layout(sizes, seed, 0.4, tested=tested, own=False)
    compare(random_qkv(sum(sizes), nh=1, seed=seed), layout)


def test_the_definition_in_plain_loops():
    layout, mask = random_layout([16, 5, 9], seed=3)
    q, k, v = random_qkv(30)
    out = kernels.block_sparse_attention(q, k, v, layout)
    for head in range(2):
        query, key, value = (x[0, head].cpu().numpy().astype(np.float64) for x in (q, k, v))
        for i in range(30):
            allowed = [j for j in range(30) if mask[i, j]]
            weights = [math.exp(float(query[i] @ key[j]) / math.sqrt(16)) for j in allowed]
            wanted = sum(w * value[j] for w, j in zip(weights, allowed, strict=True)) / sum(weights)
            np.testing.assert_allclose(out[0, head, i].cpu(), wanted, atol=2e-6)


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_no_keys_at_all_and_every_key(density):
    layout, mask = random_layout([16, 10], density=density, tested=False, own=False)
    assert mask.mean() == density
    out, lse, *grads = compare(random_qkv(26), layout)
    if density == 0:
        assert not out.any() and (lse == -torch.inf).all() and not any(g.any() for g in grads)


def test_one_full_row_among_empty_ones():
    size = torch.tensor([16, 16, 16])
    layout = kernels.make_layout(torch.tensor([0, 0, 3, 3]), torch.tensor([0, 1, 2]), size.cumsum(0) - 16, size)
    out, _, dq, *_ = compare(random_qkv(48), layout.to(DEVICE))
    for x in (out, dq):
        assert x[:, :, 16:32].abs().min() > 0 and not x[:, :, :16].any() and not x[:, :, 32:].any()


def test_tokens_in_no_block_and_other_numbers_of_keys():
    """Queries 5..21 of 40, keys 3..19 of 24: the rest sees nothing, is seen by nobody, and gets zeros."""
    layout = kernels.make_layout(
        torch.tensor([0, 1]), torch.tensor([0]), torch.tensor([5]), torch.tensor([16]),
        torch.tensor([3]), torch.tensor([16]), queries=40, keys=24,
    ).to(DEVICE)  # fmt: skip
    q = random_qkv(40)[0]
    _, k, v = random_qkv(24)
    out, lse, dq, dk, dv = compare([q, k, v], layout)
    assert not out[:, :, 21:].any() and (lse[:, :, :5] == -torch.inf).all()
    assert not dq[:, :, :5].any() and not dk[:, :, :3].any() and not dv[:, :, 19:].any()
    assert dk[:, :, 3:19].abs().amax(-1).min() > 0


def test_every_number_of_a_complete_layout_is_written(monkeypatch):
    layout, _ = random_layout([16, 5, 9], seed=3)
    fresh = torch.Tensor.new_empty

    def poisoned(*arguments, **options):
        new = fresh(*arguments, **options)
        return new.fill_(torch.nan) if new.is_floating_point() else new

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    ours = compare(random_qkv(30), layout)
    assert all(torch.isfinite(x).all() for x in ours)


def test_a_plan_for_every_head_and_for_every_head_of_every_clip():
    sizes = [16, 9, 14]
    layouts = [random_layout(sizes, seed, tested=seed != 2)[0] for seed in range(4)]
    tensors = random_qkv(39, b=2)
    for count in (2, 4):
        stacked = kernels.stack_layouts(layouts[:count])
        ours = compare(tensors, stacked)
        for i in range(4):
            b, head = divmod(i, 2)
            one = [t[b : b + 1, head : head + 1] for t in tensors]
            wanted = kernels.block_sparse_attention(*one, layouts[i % count])
            torch.testing.assert_close(ours[0][b, head], wanted[0, 0], atol=1e-6, rtol=0)


def test_two_passes_are_one():
    """Each segment densely by torch, the kernel on top of it: the same results and gradients."""
    size, frame = torch.tensor([16, 12, 16, 12]), torch.tensor([0, 0, 1, 1])
    kept = torch.tensor([[1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 1, 1]], dtype=torch.bool)
    rows, columns = kept.nonzero(as_tuple=True)
    pointer = torch.nn.functional.pad(kept.sum(1).cumsum(0), (1, 0))
    bits = torch.from_numpy(np.random.default_rng(0).integers(0, 8, 56).astype(np.uint8))
    options = {"full": frame[rows] == frame[columns], "q_bits": bits, "k_bits": bits, "tile": 32, "tile_back": 32}
    one = kernels.make_layout(pointer, columns, size.cumsum(0) - size, size, **options)
    two = kernels.make_layout(pointer, columns, size.cumsum(0) - size, size, **options, segments=2)
    assert torch.equal(two.dense_mask(), one.dense_mask())
    assert int(two.forward.tile_size.sum()) == 12 + 16  # what is left: two blocks outside the segments
    dtype = torch.bfloat16 if DEVICE == "cuda" else torch.float32  # torch's kernel on a processor rounds exp in bf16
    compare(random_qkv(56, dtype=dtype), two.to(DEVICE))


def test_merging_two_sets_of_keys_is_attention_over_both():
    layouts = [random_layout([16, 16], seed=1, density=0, tested=False)[0]]
    size = torch.tensor([16, 16])
    other = kernels.make_layout(torch.tensor([0, 1, 1]), torch.tensor([1]), size.cumsum(0) - 16, size).to(DEVICE)
    both = kernels.make_layout(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1]), size.cumsum(0) - 16, size).to(DEVICE)
    tensors, grad = random_qkv(32), torch.randn(1, 2, 32, 16).to(DEVICE)

    def merged(q, k, v):
        parts = [kernels.block_sparse_attention(q, k, v, one, return_lse=True) for one in (layouts[0], other)]
        return kernels.merge_attention(*parts[0], *parts[1])

    def whole(q, k, v):
        return kernels.reference_attention(q, k, v, both)

    for ours, theirs in zip(results(merged, tensors, grad), results(whole, tensors, grad), strict=True):
        torch.testing.assert_close(ours, theirs, atol=5e-6, rtol=0)


def test_logits_beyond_the_range_of_float16_are_scaled_in_float32():
    layout, _ = random_layout([16, 16], density=1.0, tested=False)
    q, k, v = random_qkv(32, d=128, dtype=torch.float16)
    q, k = 30 + q, 30 + k  # sums of 128 products near 900: 115,000, and float16 ends at 65,504
    compare([q, k, v], layout)
    compare([q, k, v], layout, bounds=(0.02, 0.01, 0.2, 0.2, 0.02), scale=0.001)


# registration with torch


def op_arguments(tensors, layout):
    sizes = [layout.block_q, layout.block_k, layout.tile, layout.tile_back]
    sizes += [int(layout.complete_q), int(layout.complete_k), layout.segments]
    lists = [tiles.tensors() for tiles in (layout.forward, layout.backward_q, layout.backward_k)]
    return (*tensors, *lists, layout.q_bits, layout.k_bits, 0.25, sizes)


def test_the_operator_is_registered_as_torch_wants_it():
    layout, _ = random_layout([16, 9], seed=1)
    tensors = [t.requires_grad_() for t in random_qkv(25, nh=1)]
    torch.library.opcheck(api._attention, op_arguments(tensors, layout))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_torch_compile_sees_one_operator(backend):
    layout, _ = random_layout([16, 9], seed=1)
    tensors = [t.requires_grad_() for t in random_qkv(25, nh=1)]

    def function(q, k, v):
        return kernels.block_sparse_attention(q, k, v, layout).sin()

    compiled = torch.compile(function, backend=backend, fullgraph=True)
    ours, theirs = compiled(*tensors), function(*tensors)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(*(torch.autograd.grad(x.sum(), tensors) for x in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b)


def test_fake_tensors_have_shapes_and_types():
    layout, _ = random_layout([16, 9], seed=1)
    with FakeTensorMode(allow_non_fake_inputs=True):
        q, k, v = (torch.empty(2, 3, 25, 40, dtype=torch.bfloat16, device=DEVICE, requires_grad=True) for _ in range(3))
        out, lse = kernels.block_sparse_attention(q, k, v, layout, return_lse=True)
        out.sum().backward()
    assert out.shape == (2, 3, 25, 40) and out.dtype == torch.bfloat16
    assert lse.shape == (2, 3, 25) and lse.dtype == torch.float32 and q.grad.shape == q.shape


def test_views_are_taken_as_they_come():
    layout, _ = random_layout([16, 9], seed=1)
    tensors = random_qkv(25)
    views = [t.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for t in tensors]
    out = kernels.block_sparse_attention(*views, layout)
    torch.testing.assert_close(out, kernels.block_sparse_attention(*tensors, layout))
    (grad,) = torch.autograd.grad(out.sum(), views[2])  # the gradient of a sum has no memory of its own
    assert torch.isfinite(grad).all()


# bad input


def test_bad_input_is_named(monkeypatch):
    layout, _ = random_layout([16, 9], seed=1)
    q, k, v = random_qkv(25)
    attend = kernels.block_sparse_attention
    with pytest.raises(ValueError, match="24 queries and 25 keys; the layout is for 25 and 25"):
        attend(q[:, :, :24], k, v, layout)
    with pytest.raises(ValueError, match=r"\[1, 2, 25, 16\], \[1, 2, 25, 16\] and \[1, 2, 25, 8\]"):
        attend(q, k, v[..., :8], layout)
    with pytest.raises(ValueError, match="batch, heads, tokens, width"):
        attend(q[0], k, v, layout)
    with pytest.raises(ValueError, match="float64"):
        attend(q.double(), k.double(), v.double(), layout)
    with pytest.raises(ValueError, match="float16.*float32"):
        attend(q.half(), k, v, layout)
    with pytest.raises(ValueError, match="144 wide; up to 128"):
        attend(*random_qkv(25, d=144), layout)
    with pytest.raises(ValueError, match=r"3 plans; 1, 2 \(heads\) or 2"):
        attend(q, k, v, kernels.stack_layouts([layout] * 3))
    with pytest.raises(ValueError, match="one device"):
        attend(*(x.to("meta") for x in (q, k, v)), layout)
    if DEVICE == "cpu":
        monkeypatch.delenv("TRITON_INTERPRET")
        with pytest.raises(ValueError, match="a GPU is needed"):
            attend(q, k, v, layout)
    monkeypatch.setattr(api.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install triton"):
        attend(q, k, v, layout)


@pytest.mark.parametrize("precision", ["tf32x3", "ieee"])
@pytest.mark.parametrize("block, padded", [(16, 32), (64, 64), (64, 128), (128, 64), (128, 128)])
def test_some_configuration_is_left_and_the_smallest_is_taken_untried(precision, block, padded, monkeypatch):
    given = {"BLOCK": block, "PADDED": padded, "PRECISION": precision}
    configs = [triton.Config({}, num_warps=warps, num_stages=depth) for warps in (4, 8) for depth in (1, 2, 3, 4)]
    (one,) = drop_configs(configs, given)
    monkeypatch.delenv("IASA_KERNELS_TUNE")
    kept = drop_configs(configs, given)
    assert len(kept) > 1 and one is kept[0] and one.num_stages == min(config.num_stages for config in kept)
    assert max(config.num_stages for config in kept) == (2 if precision == "tf32x3" else 4)


def test_two_programs_share_a_block_that_does_not_fit():
    assert [parts_of(128, width, torch.float32) for width in (64, 80, 128)] == [1, 2, 2]
    assert parts_of(64, 128, torch.float32) == parts_of(128, 128, torch.bfloat16) == 1


def test_the_benchmark_writes_down_what_fails(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark", ROOT / "benchmarks" / "attention.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.setattr(benchmark, "compare", lambda *arguments: {"out": 0.0, "dq": 1.0})
    assert not any(row["passed"] for row in benchmark.check_case(("bfloat16", 32, 16, DEVICE)))

    def broken(*arguments):
        raise RuntimeError("out of memory\nat length")

    monkeypatch.setattr(benchmark, "compare", broken)
    rows = benchmark.check_case(("bfloat16", 32, 16, DEVICE))
    assert len(rows) == 5 and {row["error"] for row in rows} == {"RuntimeError: out of memory"}
    rows = [{"method": "dense", "pairs": 64, "forward": 2.0, "backward": 4.0}]
    rows += [{"method": "ours", "pairs": 16, "forward": 1.0, "backward": 1.0}, {"method": "flex", "pairs": 16, "error": "?"}]
    case = {"tokens": 8, "heads": 1, "width": 4, "dtype": "bfloat16", "rows": rows}
    benchmark.add_rates(case)
    assert rows[1]["forward_speedup"] == 2 and rows[1]["backward_rate_of_dense"] == 1
    assert "| flex | 25.0% | not measured |" in benchmark.make_table(case)
    monkeypatch.setattr(benchmark, "methods", lambda *arguments: [("ours", broken, 16)])
    assert [c["rows"][0]["error"] for c in benchmark.speed("cpu", True, float("inf"))] == ["RuntimeError: out of memory"]
    assert [c["rows"][0]["error"] for c in benchmark.speed("cpu", True, 0.0)] == ["no time was left"]


def test_the_kernels_compile_for_hopper():
    """To machine code, without a GPU: the interpreter would let through what the compiler refuses."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "benchmarks/compile.py", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.split()[1] for line in done.stdout.splitlines()[2:]] == ["forward", "dq", "dkv"]


def test_the_processor_of_the_readme_is_attention_of_diffusers():
    attention = pytest.importorskip("diffusers.models.attention_processor", reason="the processor is for diffusers")
    text = (ROOT / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    assert len(code.strip().splitlines()) <= 18
    names: dict = {}
    exec(code, names)
    torch.manual_seed(0)
    attn = attention.Attention(32, heads=2, dim_head=16).to(DEVICE)
    layout, _ = random_layout([16, 9], density=1.0, tested=False)
    x, order = torch.randn(2, 25, 32, device=DEVICE), torch.randperm(25).to(DEVICE)
    wanted = attn(x)
    attn.set_processor(names["SparseProcessor"](layout, order))
    torch.testing.assert_close(attn(x), wanted, atol=2e-6, rtol=0)
