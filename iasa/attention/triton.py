"""Attention under a plan by the Triton kernels of `kernels/iasa_kernels`."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from iasa.attention.gathered import (
    once,
)
from iasa.config import InputError
from iasa.masks.plan import AttentionPlan
from iasa.paths import KERNELS

if TYPE_CHECKING:
    from iasa_kernels import BlockLayout
from iasa.attention.token_order import permute_tokens, unpermute_tokens


def attend_triton(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, two_pass: bool) -> Tensor:
    block_sparse_attention = import_kernels().block_sparse_attention
    if q.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise InputError(
            "the backend triton needs a GPU and the tensors are on the processor; "
            "cpu is accepted (or TRITON_INTERPRET=1 in the environment, to test)"
        )
    layout = once(plan, ("two-pass" if two_pass else "triton", q.device), lambda: plan_layout(plan, q.device, two_pass))
    return unpermute_tokens(block_sparse_attention(*(permute_tokens(x, plan) for x in (q, k, v)), layout), plan)


def plan_layout(
    plan: AttentionPlan,
    device: torch.device | str = "cpu",
    two_pass: bool = False,
    block: int | None = None,
    tile: int = 64,
) -> BlockLayout:
    """The plan as the kernels read it, over tokens in the order of `plan.permutation()`.

    `block` is the tile of the plan (default: the plan's own, at most 128) and `tile` the keys loaded at a time. A
    block lies in one frame, so the frame table is answered block by block: full where the frames see each other
    whole or all tokens share a region, else its pairs are tested by their region bits in the kernel.
    """
    exact = plan.options.mode == "exact"
    csr = plan.block_csr(block)
    if csr.block > 128:
        raise InputError(f"the plan's blocks have {csr.block} tokens; the kernels take up to 128")
    bits = plan.region_bits.flatten()[plan.permutation()]
    layout = import_kernels().make_layout(
        csr.row_pointer, csr.columns, csr.start, csr.size,
        full=csr.full if exact else None, q_bits=bits, k_bits=bits, tile=tile,
        segments=plan.grid.frames if two_pass else 0,
    )  # fmt: skip
    return layout.to(device)


def import_kernels():
    """The package iasa_kernels: an installed one, else that of this checkout. Raises ImportError."""
    if importlib.util.find_spec("triton") is None:
        raise ImportError("the backend triton needs Triton, which is not installed: pip install triton")
    if importlib.util.find_spec("iasa_kernels") is None:
        if not KERNELS.is_dir():
            raise ImportError(f"the backend triton needs iasa_kernels, which is neither installed nor in {KERNELS}")
        sys.path.append(str(KERNELS))  # appended: nothing in it may come before an installed package
    import iasa_kernels

    return iasa_kernels
