"""The Triton kernels against their definition in float64, on a GPU or in Triton's interpreter; layouts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

triton = pytest.importorskip("triton", reason="the kernels need Triton: pip install triton")

from iasa_kernels import backward, forward  # noqa: E402
from kernel_cases import DEVICE, compare, kernels, random_layout, random_qkv, results  # noqa: E402

QUICK = settings(max_examples=8, deadline=None)


# layouts


def walk(tiles, plan, q_bits, k_bits, shape):
    """The pairs that a list of tiles stands for, row by row as a kernel reads them."""
    seen = np.zeros(shape, int)
    for row in range(tiles.start.shape[1]):
        for first, size, tested in tiles.spans(plan, row):
            for i in range(int(tiles.start[plan, row]), int(tiles.start[plan, row] + tiles.size[plan, row])):
                for j in range(first, first + size):
                    seen[i, j] += not tested or int(q_bits[plan, i]) & int(k_bits[plan, j]) != 0
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
        for sizes_of in (tiles.tile_size, tiles.tested_size):
            assert not len(sizes_of) or 1 <= int(sizes_of.min()) <= int(sizes_of.max()) <= largest
        lengths = torch.tensor([len(tiles.spans(0, row)) for row in tiles.order[0]])
        assert (lengths.diff() <= 0).all()  # longest rows first
        assert sorted(tiles.order[0].tolist()) == list(range(len(sizes)))
    whole, _ = random_layout(sizes, seed, density, tested=False, own=False)
    assert whole.kept_pairs() == int(whole.dense_mask().sum())
    assert whole.density() == pytest.approx(float(whole.dense_mask().double().mean()))


def test_neighbouring_blocks_are_loaded_as_one_tile():
    size = torch.tensor([4, 4, 4, 4])
    layout = kernels.make_layout(torch.tensor([0, 3, 3, 3, 4]), torch.tensor([2, 1, 0, 3]), size.cumsum(0) - 4, size)
    assert layout.forward.tile_start.tolist() == [0, 12] and layout.forward.tile_size.tolist() == [12, 4]
    assert layout.forward.pointer[0].tolist() == [[0, 0, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 2, 0, 0]]
    assert layout.forward.order[0].tolist() == [0, 3, 1, 2]


# results


CASES = [
    (torch.float32, 32, [16, 16, 9, 16], False),
    (torch.float32, 80, [32, 7, 20, 1], True),
    (torch.float32, 128, [128, 70], True),
    (torch.bfloat16, 64, [64, 33, 64], True),
    (torch.bfloat16, 80, [16, 16, 5], False),
    (torch.float16, 128, [32, 30, 32], True),
    (torch.float16, 32, [128, 17], True),
    (torch.float32, 72, [16, 9], True),
    (torch.bfloat16, 48, [20, 16], True),
    (torch.float32, 3, [16, 9], True),
]


@pytest.fixture
def products(request, monkeypatch):
    """Of a tile of the backward pass: 5, dS is kept for dq, or 7, it is made again."""
    if request.param == 7:
        monkeypatch.setenv("IASA_KERNELS_KEPT_MB", "0")


@pytest.mark.parametrize(
    "dtype, d, sizes, tested, products",
    [(*case, 5) for case in CASES] + [(*CASES[i], 7) for i in (1, 3, 6)],
    indirect=["products"],
    ids=lambda x: str(x).replace("torch.", ""),
)
def test_results_and_gradients_stay_within_their_rounding(dtype, d, sizes, tested, products):
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


@pytest.mark.parametrize("tile, boxes, d", [(32, False, 16), (64, True, 80), (128, True, 16), (128, False, 80)])
def test_whole_ragged_and_tested_tiles_of_one_row(tile, boxes, d, monkeypatch):
    """Runs of 200 full and 90 tested tokens: whole tiles of any length, the rest in tiles of at most 64."""
    if boxes and DEVICE == "cuda" and torch.cuda.get_device_capability() < (9, 0):
        pytest.skip("the copy engine came with Hopper")
    monkeypatch.setattr(
        forward.forward_kernel, "early_config_prune",
        lambda *given, **options: [triton.Config({"BOXES": boxes}, num_stages=2, num_warps=8 if tile == 128 else 4)],
    )  # fmt: skip
    size = torch.tensor([128, 72, 90])
    bits = torch.from_numpy(np.random.default_rng(0).integers(0, 4, 290).astype(np.uint8))
    layout = kernels.make_layout(
        torch.tensor([0, 3, 3, 3]), torch.tensor([0, 1, 2]), size.cumsum(0) - size, size,
        full=torch.tensor([True, True, False]), q_bits=bits, k_bits=bits, tile=tile,
    )  # fmt: skip
    tail = min(tile, 64)
    whole, rest = divmod(200, tile)
    assert layout.forward.tile_size.tolist() == whole * [tile] + (rest // tail) * [tail] + [rest % tail]
    assert layout.forward.pointer[0, 0].tolist() == [0, whole, len(layout.forward.tile_size), 0, -(-90 // tail)]
    assert max(layout.forward.tested_size) <= tail and int(layout.forward.tested_size.sum()) == 90
    tensors = random_qkv(290, d, dtype=torch.bfloat16)
    with torch.no_grad():
        ours = kernels.block_sparse_attention(*(t.to(DEVICE) for t in tensors), layout.to(DEVICE))
    wanted = kernels.reference_attention(*(t.double() for t in tensors), layout.to(DEVICE))[0]
    torch.testing.assert_close(ours.double(), wanted, atol=0.02, rtol=0)


@pytest.mark.parametrize("sink", [False, True])
def test_two_passes_are_one(sink):
    """Each segment densely by torch, and the first for all; the kernel on top: the same results and gradients."""
    size, frame = torch.tensor([16, 12, 16, 12]), torch.tensor([0, 0, 1, 1])
    kept = torch.tensor([[1, 1, 0, 1], [1, 1, 0, 0], [1, sink, 1, 1], [sink, sink, 1, 1]], dtype=torch.bool)
    rows, columns = kept.nonzero(as_tuple=True)
    pointer = torch.nn.functional.pad(kept.sum(1).cumsum(0), (1, 0))
    bits = torch.from_numpy(np.random.default_rng(0).integers(0, 8, 56).astype(np.uint8))
    full = (frame[rows] == frame[columns]) | (sink & (frame[columns] == 0))
    options = {"full": full, "q_bits": bits, "k_bits": bits, "tile": 32, "tile_back": 32}
    one = kernels.make_layout(pointer, columns, size.cumsum(0) - size, size, **options)
    two = kernels.make_layout(pointer, columns, size.cumsum(0) - size, size, **options, segments=2, sink=sink)
    assert torch.equal(two.dense_mask(), one.dense_mask())
    assert int(two.forward.tested_size.sum()) == (12 if sink else 12 + 16)  # blocks outside the dense passes
    assert not len(two.forward.tile_size)
    dtype = torch.bfloat16 if DEVICE == "cuda" else torch.float32  # torch's kernel on a processor rounds exp in bf16
    compare(random_qkv(56, dtype=dtype), two.to(DEVICE))


def test_a_sink_that_is_not_seen_in_full_is_refused():
    size = torch.tensor([16, 16])
    with pytest.raises(ValueError, match="0 pairs of full blocks in their first segment; all 256"):
        kernels.make_layout(
            torch.tensor([0, 1, 2]), torch.tensor([0, 1]), size.cumsum(0) - 16, size, segments=2, sink=True
        )


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


@pytest.mark.parametrize("queries, keys", [(0, 16), (16, 0)])
def test_no_queries_and_no_keys(queries, keys, monkeypatch):
    """What nobody sees has no gradient, and what sees nobody gets zeros: written, not left as memory was."""
    nothing = torch.tensor([0])
    layout = kernels.make_layout(
        torch.tensor([0, 0]), nothing[:0], nothing, torch.tensor([queries]), nothing, torch.tensor([keys]),
        queries=queries, keys=keys,
    ).to(DEVICE)  # fmt: skip
    fresh = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *given, **options: fresh(*given, **options).fill_(torch.nan))
    q, k = (torch.randn(1, 1, tokens, 16, device=DEVICE).requires_grad_() for tokens in (queries, keys))
    out, lse = kernels.block_sparse_attention(q, k, k, layout, return_lse=True)
    assert out.shape == q.shape and not out.any() and (lse == -torch.inf).all()
    assert not any(gradient.any() for gradient in torch.autograd.grad(out.sum(), [q, k]))


def test_logits_beyond_the_range_of_float16_are_scaled_in_float32():
    layout, _ = random_layout([16, 16], density=1.0, tested=False)
    q, k, v = random_qkv(32, d=128, dtype=torch.float16)
    q, k = 30 + q, 30 + k  # sums of 128 products near 900: 115,000, and float16 ends at 65,504
    compare([q, k, v], layout)
    compare([q, k, v], layout, bounds=(0.02, 0.01, 0.2, 0.2, 0.02), scale=0.001)


@pytest.mark.parametrize("scale", [-0.3, 0.0])
def test_a_scale_below_zero_and_of_zero(scale):
    layout, _ = random_layout([16, 9], seed=2)
    compare(random_qkv(25), layout, scale=scale)


def test_what_is_kept_is_limited(monkeypatch):
    """76 rows of 32 numbers of four bytes for each of two heads: 19,456 bytes."""
    layout, _ = random_layout([16, 22], density=1.0, tested=False)
    assert layout.kept_rows == 76 and layout.block_k == 32
    ran = []
    for name in ("dq_kernel", "kept_dq_kernel"):
        kernel = getattr(backward, name)
        monkeypatch.setattr(kernel, "run", lambda *a, run=kernel.run, name=name, **o: (ran.append(name), run(*a, **o)))
    for megabytes in (19456 / 2**20, 19455 / 2**20):
        monkeypatch.setenv("IASA_KERNELS_KEPT_MB", str(megabytes))
        leaves = [t.requires_grad_() for t in random_qkv(38)]
        kernels.block_sparse_attention(*leaves, layout).sum().backward()
    assert ran == ["kept_dq_kernel", "dq_kernel"]


# numbers that are not finite


@pytest.mark.parametrize(
    "which, bad, products",
    [(which, bad, 5) for which in (1, 2) for bad in (math.nan, math.inf, -math.inf)]
    + [(1, math.nan, 7), (2, math.nan, 7)],
    indirect=["products"],
)
def test_what_is_not_finite_reaches_those_that_see_it_alone(which, bad, products):
    """Within a tested tile, where unseen keys are loaded and multiplied too; dense rows of other blocks beside it."""
    layout, mask = random_layout([16, 9, 16], seed=5, density=0.7)
    seen = mask[:, 20]
    assert 5 < seen.sum() < 35
    tensors = random_qkv(41)
    clean = [t.clone() for t in tensors]
    tensors[which][:, :, 20, 3] = bad
    for t in clean[1:]:
        t[:, :, 20] = 0.0
    grad = torch.randn(1, 2, 41, 16, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    grad[:, :, seen] = 0.0

    def attend(q, k, v):
        return kernels.block_sparse_attention(q, k, v, layout, return_lse=True)

    leaves = [t.requires_grad_() for t in tensors]
    out, lse = attend(*leaves)
    if which == 2 or math.isnan(bad):  # an infinite key may also get no weight
        assert not torch.isfinite(out[:, :, seen]).all(-1).any()
    wanted, wanted_lse = attend(*clean)
    torch.testing.assert_close(out[:, :, ~seen], wanted[:, :, ~seen], atol=1e-6, rtol=0)
    torch.testing.assert_close(lse[:, :, ~seen], wanted_lse[:, :, ~seen], atol=1e-6, rtol=0)
    (dq,) = torch.autograd.grad(out, leaves[:1], grad)
    (wanted_dq,) = torch.autograd.grad(attend(*[t.requires_grad_() for t in clean])[0], clean[:1], grad)
    torch.testing.assert_close(dq[:, :, ~seen], wanted_dq[:, :, ~seen], atol=1e-6, rtol=0)


@pytest.mark.parametrize("products", [5, 7], indirect=True)
def test_a_query_that_is_not_finite_spoils_its_own_row_and_the_keys_that_it_sees(products):
    layout, mask = random_layout([16, 9, 16], seed=5, density=0.7)
    tensors = random_qkv(41)
    clean = [t.clone().requires_grad_() for t in tensors]
    tensors[0][:, :, 18, 0] = math.nan
    leaves = [t.requires_grad_() for t in tensors]
    grad = torch.randn(1, 2, 41, 16, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    others = np.arange(41) != 18
    assert 5 < mask[18].sum() < 38
    out, wanted = (kernels.block_sparse_attention(*three, layout) for three in (leaves, clean))
    torch.testing.assert_close(out[:, :, others], wanted[:, :, others], atol=1e-6, rtol=0)
    ours, theirs = (torch.autograd.grad(x, t, grad) for x, t in ((out, leaves), (wanted, clean)))
    for i, apart in enumerate((others, ~mask[18], ~mask[18])):
        torch.testing.assert_close(ours[i][:, :, apart], theirs[i][:, :, apart], atol=1e-6, rtol=0)
