"""The kernel in Gluon, its own source on the emulator: results against the definition, and no slip in its waits goes unseen."""

from __future__ import annotations

import math

import pytest
import torch

pytest.importorskip("triton", reason="the kernels need Triton: pip install triton")

from gluon_emulator import emulate  # noqa: E402
from gluon_machine import Fault  # noqa: E402
from iasa_kernels import api, primitives  # noqa: E402
from iasa_kernels.forward import run_forward  # noqa: E402
from kernel_cases import compare, kernels, random_layout, random_qkv  # noqa: E402


def block_layout(kept, sizes, **options):
    """Full blocks from a dense table."""
    size = torch.tensor(sizes)
    pointer = torch.nn.functional.pad(kept.sum(1).cumsum(0), (1, 0))
    return kernels.make_layout(pointer, kept.nonzero()[:, 1], size.cumsum(0) - size, size, **options)


def causal(blocks, size, last, **options):
    kept = torch.ones(blocks, blocks, dtype=torch.bool).tril()
    return block_layout(kept, [size] * (blocks - 1) + [last], **options)


LAYOUTS = {
    "ragged and tested, a short end": lambda: random_layout([64, 64, 64, 50], seed=1, tile=64)[0],
    "128 queries, tiles of 128": lambda: random_layout([128, 128, 70], seed=2, tile=128)[0],
    "128 queries, tiles of 64": lambda: random_layout([128, 100, 128], seed=3, tile=64)[0],
    "rows without tiles": lambda: random_layout([64] * 5, seed=0, density=0.3, own=False, tile=64)[0],
    "causal, the ring goes round five times": lambda: causal(11, 64, 33, tile=64),
    "small blocks": lambda: random_layout([40, 7, 64, 0, 25, 64], seed=4, density=0.7, tile=64)[0],
    "one for each head": lambda: kernels.stack_layouts([
        random_layout([64, 64, 20], seed=seed, tile=64)[0] for seed in (5, 6)
    ]),
    "another number of keys": lambda: kernels.make_layout(
        torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1]), torch.tensor([0, 64]), torch.tensor([64, 9]),
        torch.tensor([0, 100]), torch.tensor([100, 90]), tile=64,
    ),
}  # fmt: skip


def record_marks(module):
    """What the kernel in Gluon leaves to Triton's: a list that fills."""
    marks, real = [], module.run_triton

    def run(*arguments, only):
        marks.append(only)
        real(*arguments, only=only)

    module.run_triton = run
    return marks


def run(module, tensors, layout):
    """(out, lse); nothing is left from before where a row has no tokens."""
    q, k, v = tensors
    out, lse = q.new_full(q.shape, torch.nan), q.new_full(q.shape[:3], torch.nan, dtype=torch.float32)
    tiles = layout.forward.tensors()
    module.run_forward(q, k, v, out, lse, tiles, layout.q_bits, q.shape[-1] ** -0.5, layout.block_q, layout.tile, False)
    return out, lse


def check(module, layout, width=64, dtype=torch.bfloat16):
    tensors = [x[:, :, : n] for x, n in zip(random_qkv(max(layout.queries, layout.keys), d=width, dtype=dtype),
                                            (layout.queries, layout.keys, layout.keys), strict=True)]  # fmt: skip
    marks = record_marks(module)
    out, lse = run(module, [x.contiguous() for x in tensors], layout)
    assert len(marks) == 1 and not marks[0].any()  # all by this kernel
    wanted, wanted_lse = kernels.reference_attention(*(t.double() for t in tensors), layout)
    torch.testing.assert_close(out.double(), wanted, atol=0.02, rtol=0.02)
    torch.testing.assert_close(lse.double(), wanted_lse, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", LAYOUTS)
def test_results_are_those_of_the_definition(name):
    check(emulate(), LAYOUTS[name](), *((128, torch.float16) if "head" in name else ()))


@pytest.fixture
def by_gluon(monkeypatch):
    """The public call takes the kernel in Gluon, on the emulator; what it leaves to Triton's."""
    module = emulate()
    marks = record_marks(module)
    monkeypatch.setattr(api, "_choose_forward", lambda *given: module.run_forward)
    return marks


def test_the_public_call_with_gradients(by_gluon):
    layout, _ = random_layout([64, 30], seed=1, tile=64, tile_back=64)
    compare(random_qkv(94, d=64, nh=1, dtype=torch.bfloat16), layout)
    assert len(by_gluon) == 1


def test_it_goes_on_from_a_dense_pass(by_gluon):
    """Also where a row is computed anew: behind the 20 tokens of the second frame that it sees lie those of the third."""
    frames = torch.arange(8) // 2
    kept = (frames[:, None] == frames) | (frames == 0)
    kept[6, 3] = True
    layout = block_layout(kept, [64, 20] * 4, tile=64, segments=4, sink=True)
    tensors = random_qkv(336, d=64, dtype=torch.bfloat16)
    wanted, wanted_lse = kernels.reference_attention(*(x.double() for x in tensors), layout)
    spoiled = [*tensors[:2], tensors[2].clone()]
    spoiled[2][:, :, 190] = math.nan  # of the third frame, 168 to 251
    # marked in both heads: the block of the fourth frame, and the two of the third, which see the bad value
    for case, others, marks in ((tensors, slice(0, 336), 0), (spoiled, slice(252, 336), 6)):
        out, lse = kernels.block_sparse_attention(*case, layout, return_lse=True)
        torch.testing.assert_close(out[:, :, others].double(), wanted[:, :, others], atol=0.02, rtol=0.02)
        torch.testing.assert_close(lse.double(), wanted_lse, atol=0.01, rtol=0.01)
        assert int(by_gluon[-1].sum()) == marks
    assert layout.forward.tile_start.numel() == 1


@pytest.mark.parametrize("which, bad", [(1, math.nan), (2, math.nan), (2, math.inf)])
@pytest.mark.parametrize("sizes", [[64, 64, 30], [128, 128, 30]], ids=str)
def test_what_is_not_finite_stays_with_those_who_see_it(by_gluon, which, bad, sizes):
    """Token `last` comes behind the end of a ragged tile, and untested in a tested one."""
    tokens = sum(sizes)
    layout, mask = random_layout(sizes, seed=3, tile=64)
    tensors = random_qkv(tokens, d=64, dtype=torch.bfloat16)
    clean = [x.clone() for x in tensors]
    token = sizes[0] + 40
    tensors[which][:, :, token, 5] = bad
    out, lse = kernels.block_sparse_attention(*tensors, layout, return_lse=True)
    wanted, _ = kernels.reference_attention(*(x.double() for x in clean), layout)
    seen = torch.from_numpy(mask[:, token])
    assert 0 < int(seen.sum()) < tokens and by_gluon[0].any()
    torch.testing.assert_close(out[:, :, ~seen].double(), wanted[:, :, ~seen], atol=0.02, rtol=0.02)
    assert not torch.isfinite(out[:, :, seen]).all(-1).any()


def test_a_tensor_that_begins_anywhere(by_gluon):
    layout = causal(2, 64, 64, tile=64)
    tensors = random_qkv(128, d=64, dtype=torch.bfloat16)
    moved = [torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape) for x in tensors]
    assert any(x.data_ptr() % 16 for x in moved)
    torch.testing.assert_close(
        kernels.block_sparse_attention(*moved, layout), kernels.block_sparse_attention(*tensors, layout)
    )


def test_only_what_is_marked_is_computed_anew():
    """By Triton's kernel, in halves of a block as the kernel in Gluon marks them."""
    layout = causal(2, 128, 100, tile=64)
    tensors = random_qkv(228, d=64, dtype=torch.bfloat16)
    out, lse = torch.full_like(tensors[0], 7.0), torch.full((1, 2, 228), 7.0)
    only = torch.zeros(2, 4, dtype=torch.int32)
    longest = layout.forward.order[0, 0]
    assert longest == 1
    only[1, 1] = only[0, 2] = 1  # the second half of the longest row, the first of the other
    run_forward(*tensors, out, lse, layout.forward.tensors(), None, 0.125, 128, 64, False, only=only)
    wanted, _ = kernels.reference_attention(*(x.double() for x in tensors), layout)
    marked = torch.zeros(1, 2, 228, dtype=torch.bool)
    marked[0, 1, 192:] = marked[0, 0, :64] = True
    torch.testing.assert_close(out[marked].double(), wanted[marked], atol=0.02, rtol=0.02)
    assert (out[~marked] == 7).all() and (lse[~marked] == 7).all() and (lse[marked] != 7).all()


def test_it_is_taken_where_it_is_asked_for_and_serves_alone(monkeypatch):
    monkeypatch.setattr(api, "_on_hopper", lambda device: True)
    q = torch.zeros(1, 1, 8, 128, dtype=torch.bfloat16)
    assert not api.gluon_serves(q, 128, 64)
    monkeypatch.setenv("IASA_KERNELS_GLUON", "1")
    monkeypatch.setattr(primitives, "HAS_GLUON", True)
    assert api.gluon_serves(q, 128, 64) and api.gluon_serves(q[..., :64].half(), 64, 128)
    for other, block, tile in ((q.float(), 128, 64), (q[..., :80], 128, 64), (q, 32, 64), (q, 64, 32)):
        assert not api.gluon_serves(other, block, tile)
    monkeypatch.setattr(primitives, "HAS_GLUON", False)
    with pytest.raises(ImportError, match="needs Triton 3.6 or newer; .* is installed"):
        api.gluon_serves(q, 128, 64)
    monkeypatch.setattr(api, "_on_hopper", lambda device: False)
    assert not api.gluon_serves(q, 128, 64)


FREES = "        mbarrier.arrive(free.index(slot), count=1)\n"
PRODUCT, SUM = (f"        {name} = warpgroup_mma_wait(0, deps=[{name}])\n" for name in ("logits", "acc"))
PHASE = "place // SLOTS & 1"
WAITS = f"wait(ready.index(slot), {PHASE})"
SLIPS = {
    "the loader's phase": (f"({PHASE}) ^ 1)", f"{PHASE})"),
    "the loader does not wait": (f"    mbarrier.wait(free.index(slot), ({PHASE}) ^ 1)", "    #"),
    "a warpgroup's phase": (WAITS, f"wait(ready.index(slot), ({PHASE}) ^ 1)"),
    "a phase that never changes": (f"{PHASE})\n", "0)\n"),
    "the slot of keys and values": ("slot = place % SLOTS\n        mbarrier", "slot = (place + 1) % SLOTS\n        mbarrier"),
    "a slot that is not freed": (FREES, ""),
    "keys freed before they are read": (PRODUCT + FREES, FREES + PRODUCT),
    "values freed before they are read": (SUM + FREES, FREES + SUM),
    "one warpgroup frees a slot for both": ("free.index(slot), count=PARTS", "free.index(slot), count=1"),
    "a warpgroup too many is waited for": ("free.index(slot), count=PARTS", "free.index(slot), count=PARTS + 1"),
    "a product that is not awaited": ("warpgroup_mma_wait(0, deps=[logits])", "warpgroup_mma_wait(1, deps=[logits])"),
    "queries that are not awaited": ("    mbarrier.wait(q_ready.index(PART), 0)\n", ""),
    "the other warpgroup's queries": ("q.index(PART), gl.to_tensor(0)", "q.index(0), gl.to_tensor(0)"),
    "half of the bytes are expected": ("(slot), box.block_type.nbytes", "(slot), box.block_type.nbytes // 2"),
    "a copy is not counted": ("    return place + 1\n", "    return place\n"),
    "keys where values should be": ("place = bring(v_box", "place = bring(k_box"),
    "what lies behind a ragged tile": ("gl.where(inside[None, :], ", "gl.where(inside[None, :] >= 0, "),
    "barriers that are not published": ("    fence_async_shared()", "    #"),
    "tested tiles are not brought": ("tested, tested_end, keys_first", "tested, tested, keys_first"),
}  # fmt: skip


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_in_the_source_is_seen(name):
    """On a GPU each of these hangs, or is wrong now and then."""
    old, new = SLIPS[name]
    layouts = (causal(6, 64, 33, tile=64), random_layout([128, 100, 128, 128], seed=3, density=1.0, tile=64)[0])

    def change(source):
        assert old in source
        return source.replace(old, new)

    with pytest.raises((Fault, AssertionError)):
        for layout in layouts:
            check(emulate(change), layout)
