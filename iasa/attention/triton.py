"""Attention under a plan by the Triton kernels of `kernels/iasa_kernels`."""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from iasa.attention.gathered import once
from iasa.attention.token_order import permute_tokens, unpermute_tokens
from iasa.config import InputError
from iasa.masks.plan import AttentionPlan
from iasa.paths import KERNELS

if TYPE_CHECKING:
    from iasa_kernels import BlockLayout


def attend_triton(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, two_pass: bool) -> Tensor:
    """Attention over the pairs of the plan: [b, nh, f*n, d]. Raises InputError on tensors that the kernels do not take."""
    kernels = import_kernels()
    if q.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise InputError(
            "the backend triton needs a GPU and the tensors are on the processor; "
            "cpu is accepted (or TRITON_INTERPRET=1 in the environment, to test)"
        )
    # Longer tiles pay where a program has 128 queries; in float32 they do not fit.
    tile = 128 if plan.options.block >= 128 and q.dtype != torch.float32 else 64
    layout = once(plan, ("layout", two_pass, tile, q.device), lambda: plan_layout(plan, q.device, two_pass, tile=tile))
    q, k, v = (permute_tokens(x, plan) for x in (q, k, v))
    try:
        out = kernels.block_sparse_attention(q, k, v, layout)
    except ValueError as error:
        raise InputError(f"the backend triton refuses: {error}") from error
    return unpermute_tokens(out, plan)


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
        segments=plan.grid.frames if two_pass else 0, sink=two_pass and plan.options.sink,
    )  # fmt: skip
    return layout.to(device)


def why_no_kernels() -> str | None:
    """What is missing for the kernels, or None. They need Triton, and their package installed or in this checkout."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (pip install triton)"
    if importlib.util.find_spec("iasa_kernels") is None and not (KERNELS / "iasa_kernels").is_dir():
        return f"iasa_kernels is neither installed nor in {KERNELS}"
    return None


def import_kernels() -> ModuleType:
    """The package iasa_kernels: an installed one, else that of this checkout. Raises ImportError."""
    missing = why_no_kernels()
    if missing:
        raise ImportError(f"the backend triton cannot run: {missing}")
    if importlib.util.find_spec("iasa_kernels") is None:
        folder = KERNELS / "iasa_kernels"
        spec = importlib.util.spec_from_file_location(
            "iasa_kernels", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None  # as it is for every file of Python
        package = sys.modules["iasa_kernels"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    import iasa_kernels

    return iasa_kernels
