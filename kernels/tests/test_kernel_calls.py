"""The kernels as torch and others meet them: registration, configurations, machine code, diffusers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

triton = pytest.importorskip("triton", reason="the kernels need Triton: pip install triton")

from iasa_kernels import api  # noqa: E402
from iasa_kernels.forward import drop_configs, make_configs, parts_of  # noqa: E402
from iasa_kernels.primitives import HAS_GLUON, split_width  # noqa: E402
from kernel_cases import DEVICE, kernels, random_layout, random_qkv  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]  # the folder of the kernels


# registration with torch


def op_arguments(tensors, layout):
    sizes = [layout.block_q, layout.block_k, layout.tile, layout.tile_back]
    sizes += [int(layout.complete_q), int(layout.complete_k), layout.segments, int(layout.sink)]
    sizes += [layout.kept_rows]
    lists = [tiles.tensors() for tiles in (layout.forward, layout.backward_q, layout.backward_k, layout.kept)]
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


def test_one_compiled_function_takes_other_widths_and_types():
    compiled = torch.compile(kernels.block_sparse_attention, backend="eager", fullgraph=True)
    layout, _ = random_layout([16], tested=False, tile=16)
    for d, dtype in ((8, torch.float32), (16, torch.bfloat16)):
        tensors = random_qkv(16, d=d, nh=1, dtype=dtype)
        wanted, _ = kernels.reference_attention(*(t.double() for t in tensors), layout)
        torch.testing.assert_close(compiled(*tensors, layout).double(), wanted, atol=0.02, rtol=0)


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


def test_a_tensor_may_begin_anywhere():
    """A part of a larger one need not begin at a multiple of 16 bytes, as the copy engine wants it."""
    layout, _ = random_layout([16, 9], seed=1)
    tensors = random_qkv(25)
    moved = [torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape) for x in tensors]
    assert all(x.data_ptr() % 16 and x.is_contiguous() for x in moved)
    torch.testing.assert_close(
        kernels.block_sparse_attention(*moved, layout), kernels.block_sparse_attention(*tensors, layout)
    )


# configurations, machine code, the README


@pytest.mark.parametrize("precision", ["tf32x3", "ieee"])
@pytest.mark.parametrize("block, padded", [(16, 32), (64, 64), (64, 128), (128, 64), (128, 128)])
def test_some_configuration_is_left_and_the_smallest_is_taken_untried(precision, block, padded, monkeypatch):
    given = {"BLOCK": block, "MAIN": padded, "REST": 0, "PRECISION": precision, "key_box": object()}
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    configs = make_configs((1, 2, 3), BOXES=(False, True))
    (one,) = drop_configs(configs, given)
    monkeypatch.delenv("IASA_KERNELS_TUNE")
    kept = drop_configs(configs, given)
    assert len(kept) > 1 and one is kept[0] and one.num_stages == min(config.num_stages for config in kept)
    assert max(config.num_stages for config in kept) == (2 if precision == "tf32x3" else 3)
    assert not one.kwargs["BOXES"] and kept[-1].kwargs["BOXES"]
    without = drop_configs(configs, given | {"key_box": None})
    assert without and not any(config.kwargs["BOXES"] for config in without)


def test_heads_are_split_into_the_fewest_columns():
    widths = (1, 16, 20, 24, 40, 64, 72, 80, 96, 100, 112, 128)
    parts = [
        (16, 0),
        (16, 0),
        (32, 0),
        (32, 0),
        (32, 16),
        (64, 0),
        (64, 16),
        (64, 16),
        (64, 32),
        (128, 0),
        (128, 0),
        (128, 0),
    ]
    assert [split_width(width) for width in widths] == parts


@pytest.mark.parametrize("b, nh", [(0, 2), (2, 0)])
def test_nothing_to_attend_gives_nothing(b, nh):
    layouts = [random_layout([16, 9], seed=1)[0]]
    size = torch.tensor([16, 16])
    layouts.append(
        kernels.make_layout(torch.tensor([0, 1, 2]), torch.tensor([0, 1]), size.cumsum(0) - 16, size, segments=2)
    )
    for layout in layouts:
        leaves = [t.requires_grad_() for t in random_qkv(layout.queries, b=b, nh=nh)]
        out, lse = kernels.block_sparse_attention(*leaves, layout.to(DEVICE), return_lse=True)
        assert out.shape == (b, nh, layout.queries, 16) and lse.shape == (b, nh, layout.queries)
        assert [g.shape for g in torch.autograd.grad(out.sum(), leaves)] == [t.shape for t in leaves]


def test_two_programs_share_a_block_that_does_not_fit():
    assert [parts_of(128, width, torch.float32) for width in (64, 80, 128)] == [1, 2, 2]
    assert parts_of(64, 128, torch.float32) == parts_of(128, 128, torch.bfloat16) == 1


def test_the_kernels_compile_for_hopper():
    """To machine code, without a GPU: what decides the speed and what the interpreter does not show.

    Asynchronous products must not be serialised in builds with bit tests, nor the loops' numbers spill.
    """
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "benchmarks/compile.py", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.strip("|").split("|") for line in done.stdout.splitlines()[2:]]
    names = ["forward", "dq", "dkv", "dkv keeping", "dq of kept"] + ["gluon"] * HAS_GLUON
    assert [row[0].strip() for row in rows] == names
    for row in rows:
        loops = [[int(x) for x in loop.split("/")] for loop in row[12].split(";")]
        instructions, products, waits, spills = loops[0]  # whole tiles of 64 tokens, heads of 64
        assert instructions <= 350 and waits < products // 2 and spills == 0
        assert (
            row[0].strip() not in ("forward", "gluon") or int(row[11]) == 0
        )  # nothing spills, outside the loops neither
        if row[0].strip() != "dq of kept":  # it tests no bits
            assert loops[2][0] <= (450 if row[0].strip() in ("forward", "gluon") else 600)
        assert row[13].strip() == "no"


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


def test_a_query_without_keys_on_either_side_has_no_gradient_that_is_nan():
    lse, other = torch.tensor([-torch.inf, 0.3, -torch.inf]), torch.tensor([-torch.inf, -torch.inf, 0.2])
    leaves = [x.requires_grad_() for x in (torch.randn(3, 4), lse, torch.randn(3, 4), other)]
    out, both = kernels.merge_attention(*leaves)
    assert not out[0].any() and both[0] == -torch.inf
    torch.testing.assert_close(both[1:], torch.tensor([0.3, 0.2]))
    torch.testing.assert_close(out[1:], torch.stack([leaves[0][1], leaves[2][2]]))
    gradients = torch.autograd.grad(out.sum() + both[1:].sum(), leaves)
    torch.testing.assert_close(gradients[1], torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(gradients[3], torch.tensor([0.0, 0.0, 1.0]))
