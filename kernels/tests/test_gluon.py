"""The Gluon kernel's own source in the emulator: results against the definition, and that every slip in its waits is seen."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="the kernels need Triton: pip install triton")

from gluon_emulator import Fault, emulate  # noqa: E402
from kernel_cases import kernels, random_layout, random_qkv  # noqa: E402


def run(module, tensors, layout):
    """(out, lse) by the kernel in Gluon, with what it marks computed by Triton's."""
    q, k, v = tensors
    out, lse = q.new_full(q.shape, torch.nan), q.new_full(q.shape[:3], torch.nan, dtype=torch.float32)
    if not layout.complete_q:
        out, lse = torch.zeros_like(out), torch.full_like(lse, -torch.inf)
    tiles = layout.forward.tensors()
    module.run_forward(q, k, v, out, lse, tiles, layout.q_bits, q.shape[-1] ** -0.5, layout.block_q, layout.tile, False)
    return out, lse


def check(module, tensors, layout):
    out, lse = run(module, tensors, layout)
    wanted, wanted_lse = kernels.reference_attention(*(t.double() for t in tensors), layout)
    torch.testing.assert_close(out.double(), wanted, atol=2e-2, rtol=2e-2, equal_nan=True)
    torch.testing.assert_close(lse.double(), wanted_lse, atol=1e-3, rtol=1e-3, equal_nan=True)


def test_first():
    layout, _ = random_layout([64, 64, 64, 64, 50], seed=1, tile=64)
    import time
    module = emulate()
    t = time.time()
    check(module, random_qkv(306, d=64, dtype=torch.bfloat16), layout)
    print(time.time() - t)
