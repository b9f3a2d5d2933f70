"""Input-aware sparse attention: `sparse_attention` for a clip, `frame_attention` for one frame of a roll-out.

Backends of `sparse_attention`; all give the same result, that of the plan's mode:

- "reference": a dense matrix of logits with the plan's mask on it, in float32. The oracle; refuses large plans.
- "dense": torch's own dense attention with the plan's mask. The fastest below the break-even; refuses large plans.
- "cpu": gathered keys (`iasa.grouped`). The fastest on a processor; runs on any device.
- "flex": torch's FlexAttention, compiled, with the plan as a BlockMask. No gradients on a processor.
- "triton": the kernels of `kernels/iasa_kernels`. Needs a GPU (or Triton's interpreter, to test).
- "two-pass": the same, but each frame over itself by torch's dense kernel, and the rest by Triton on top of it.
- "auto": one of these by device, size and density; `choose_backend` says which and why.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.config import InputError
from iasa.grouped import (
    QueryGroup,
    Schedule,
    bf16_pays,
    frame_schedule,
    grouped_attention,
    once,
    plan_frame_schedule,
    plan_schedule,
)
from iasa.masks.plan import MAX_DENSE_TOKENS, AttentionPlan

if TYPE_CHECKING:
    from iasa_kernels import BlockLayout

__all__ = [
    "BACKENDS", "Choice", "Schedule", "choose_backend", "dense_attention", "frame_attention", "frame_schedule",
    "plan_frame_schedule", "plan_layout", "plan_schedule", "reference_attention", "sparse_attention",
]  # fmt: skip

BACKENDS = ("reference", "dense", "cpu", "flex", "triton", "two-pass")
KERNELS = Path(__file__).resolve().parents[1] / "kernels"

# Cost on a processor in units of one query-key pair of the fastest of torch's dense calls, which has no mask, with one
# head: a pair of a group, and what a group costs besides. Fitted to results/bench_attention.json (512 to 12,800 tokens,
# densities 1 to 0.05, 5 heads of width 64, AMD EPYC, torch 2.13). Keyed by whether bf16 products are used.
_PAIR = {True: 0.7, False: 1.65}
_GROUP = {True: 20_000, False: 8_500}
_GPU_TOKENS = 8192  # where sparse kernels overtake dense ones in the literature; not measured here
_GPU_DENSITY = 0.5  # of blocks; not measured here
_LOGITS = 1 << 22  # elements of one block of dense logits


@dataclass(frozen=True)
class Choice:
    """The backend that runs, why, and the query-key pairs that it computes for one head."""

    backend: str
    reason: str
    pairs: int
    dense_pairs: int


def sparse_attention(
    q: Tensor,  # [b, nh, f*n, d]
    k: Tensor,  # [b, nh, f*n, d]
    v: Tensor,  # [b, nh, f*n, d]
    plan: AttentionPlan | Sequence[AttentionPlan],
    backend: str = "auto",
) -> Tensor:
    """Attention over the pairs that the plan allows, softmax(q k^T / sqrt(d)) v: [b, nh, f*n, d].

    `plan` is one plan for the whole batch, or b plans. Differentiable once in q, k and v. Under autocast the
    products run in autocast's type, as torch's attention does. Raises InputError on an unknown backend, on one that
    cannot run here, and on shapes that do not match each other or the plan's grid; ImportError if Triton is asked
    for and absent.
    """
    q, k, v = _matched(q, k, v)
    if k.shape != q.shape:
        raise InputError(
            f"queries have shape {list(q.shape)} and keys have {list(k.shape)}; they must be equal"
        )
    if isinstance(plan, AttentionPlan):
        return _one_plan(q, k, v, plan, backend)
    if len(plan) != len(q):
        raise InputError(
            f"there are {len(plan)} plans for a batch of {len(q)}; one for each or one for all is needed"
        )
    parts = zip(q.split(1), k.split(1), v.split(1), plan, strict=True)
    return torch.cat([_one_plan(*tensors, one, backend) for *tensors, one in parts])


def _one_plan(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, backend: str) -> Tensor:
    if q.shape[2] != plan.grid.tokens:
        raise InputError(
            f"the queries have {q.shape[2]} tokens and the plan is for {plan.grid.tokens} "
            f"({plan.grid.frames} frames of {plan.grid.rows} x {plan.grid.cols})"
        )
    name = choose_backend(plan, backend, q.device, q.dtype, q.shape[0] * q.shape[1]).backend
    if name == "cpu":
        return grouped_attention(q, k, v, plan_schedule(plan, q.device))
    if name == "flex":
        return _flex(q, k, v, plan)
    if name in ("triton", "two-pass"):
        return _triton(q, k, v, plan, two_pass=name == "two-pass")
    mask = once(plan, ("dense", q.device), lambda: plan.dense().to(q.device))
    if name == "reference":
        return reference_attention(q, k, v, mask)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def choose_backend(
    plan: AttentionPlan,
    backend: str = "auto",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    heads: int = 1,  # of all clips that share the call
) -> Choice:
    """The backend that `sparse_attention` runs, and why. Raises InputError on a name that is not in BACKENDS.

    On a processor the rule is measured: gathered keys where _PAIR * pairs + _GROUP * groups / heads is below the
    square of the tokens, else torch's dense call on purpose, as long as that takes the plan (`MAX_DENSE_TOKENS`). On a
    GPU it comes from the literature.
    """
    if backend not in ("auto", *BACKENDS):
        raise InputError(f"attention backend is {backend!r}; auto, {' or '.join(BACKENDS)} is accepted")

    def choose() -> Choice:
        if backend != "auto":
            name, reason = backend, "it was asked for"
        elif torch.device(device).type == "cpu":
            name, reason = _best_on_processor(plan, dtype, heads)
        else:
            name, reason = _best_on_gpu(plan, dtype)
        return Choice(name, reason, _pairs(plan, name), plan.grid.tokens**2)

    return once(plan, ("choice", backend, torch.device(device).type, dtype, heads), choose)


def _best_on_processor(plan: AttentionPlan, dtype: torch.dtype, heads: int) -> tuple[str, str]:
    schedule, dense = plan_schedule(plan), plan.grid.tokens**2
    quick = dtype == torch.bfloat16 and bf16_pays()
    cost = _PAIR[quick] * schedule.pairs + _GROUP[quick] * len(schedule.groups) / heads
    reason = (
        f"{schedule.pairs / dense:.1%} of the dense pairs in {len(schedule.groups)} groups "
        f"cost {cost / dense:.0%} of the dense call"
    )
    if cost < dense:
        return "cpu", reason
    if plan.grid.tokens > MAX_DENSE_TOKENS:
        return "cpu", f"too long for a dense mask, so keys are gathered: {reason}"
    return "dense", f"below the break-even: {reason}"


def _best_on_gpu(plan: AttentionPlan, dtype: torch.dtype) -> tuple[str, str]:
    tokens, density = plan.grid.tokens, plan.block_csr().density()
    reason = f"{tokens} tokens, {density:.0%} of the blocks (a rule from the literature, not measured here)"
    if tokens < _GPU_TOKENS or (density > _GPU_DENSITY and tokens <= MAX_DENSE_TOKENS):
        return "dense", f"below the break-even: {reason}"
    if importlib.util.find_spec("triton") is None:
        return "cpu", "Triton is absent (pip install triton), so keys are gathered"
    if dtype == torch.float64 or plan.options.block > 128:
        return "cpu", "the kernels take blocks of up to 128 and no float64, so keys are gathered"
    return "triton", reason


def _pairs(plan: AttentionPlan, backend: str) -> int:
    if backend in ("reference", "dense"):
        return plan.grid.tokens**2
    if backend == "cpu":
        return plan_schedule(plan).pairs
    csr = plan.block_csr(128 if backend == "flex" else None)
    return int((csr.size[csr.rows] * csr.size[csr.columns]).sum())


def reference_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Masked dense attention with float32 logits (float64 for float64 inputs): the oracle of all backends.

    mask: bool, broadcast to [b, nh, nq, nk], True where allowed; a query without any key gets zeros.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        logits = (q.to(wide) @ k.to(wide).transpose(-1, -2)) / math.sqrt(q.shape[-1])
        if mask is None:
            return (logits.softmax(-1) @ v.to(wide)).to(q.dtype)
        some = mask.any(-1, keepdim=True)
        weights = logits.masked_fill(~mask & some, -torch.inf).softmax(-1) * some
        return (weights @ v.to(wide)).to(q.dtype)


def dense_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of all queries to all keys: q [b, nh, nq, d], k and v [b, nh, nk, d] -> [b, nh, nq, d].

    torch's own call, except on a processor that multiplies in bf16: there product, softmax, product in blocks
    of queries is about three times faster.
    """
    q, k, v = _matched(q, k, v)
    if q.device.type != "cpu" or q.dtype != torch.bfloat16 or not bf16_pays():
        return F.scaled_dot_product_attention(q, k, v)
    queries, keys = q.shape[2], k.shape[2]
    rows = max(64, _LOGITS // max(1, q.shape[0] * q.shape[1] * keys))
    starts = range(0, queries, rows)
    groups = tuple(QueryGroup(start, min(start + rows, queries), ((0, keys),)) for start in starts)
    return grouped_attention(q, k, v, Schedule(None, groups, keys))


def frame_attention(
    q: Tensor,  # [b, nh, n, d]: one latent frame
    k_own: Tensor,  # [b, nh, m0, d]: keys that every query sees, of the own frame and of the sink
    v_own: Tensor,  # [b, nh, m0, d]
    k_past: Tensor | None = None,  # [b, nh, m, d]: gathered region tokens of the chosen past frames
    v_past: Tensor | None = None,  # [b, nh, m, d]
    schedule: Schedule | None = None,
) -> Tensor:
    """One frame of a causal roll-out: [b, nh, n, d].

    All queries see `k_own`; the schedule, from `frame_schedule` or `plan_frame_schedule`, says who sees which
    past key. It is the same for all layers and steps of a frame: make it once. Raises InputError if it does
    not fit.
    """
    if k_past is None or v_past is None or k_past.shape[2] == 0:
        if schedule is None:
            return dense_attention(q, k_own, v_own)
        keys, values = k_own, v_own
    else:
        if schedule is None:
            raise InputError(
                "past keys need a schedule; make one with frame_schedule(q_bits, k_bits, own_keys)"
            )
        keys, values = torch.cat([k_own, k_past], dim=2), torch.cat([v_own, v_past], dim=2)
    q, keys, values = _matched(q, keys, values)
    if (schedule.queries, schedule.keys) != (q.shape[2], keys.shape[2]):
        raise InputError(
            f"the schedule is for {schedule.queries} queries and {schedule.keys} keys; "
            f"there are {q.shape[2]} queries and {keys.shape[2]} keys"
        )
    return grouped_attention(q, keys, values, schedule.to(q.device))


def _permuted(x: Tensor, plan: AttentionPlan) -> Tensor:
    """Tokens in the plan's order, in which blocks are runs: [b, nh, f*n, d]."""
    return x.index_select(2, once(plan, ("order", x.device), lambda: plan.permutation().to(x.device)))


def _unpermuted(x: Tensor, plan: AttentionPlan) -> Tensor:
    def inverse() -> Tensor:
        return torch.argsort(plan.permutation()).to(x.device)

    return x.index_select(2, once(plan, ("inverse", x.device), inverse))


def _flex(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan) -> Tensor:
    if q.device.type == "cpu" and torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise InputError("FlexAttention has no backward pass on a processor; use the backend cpu, or no_grad")
    mask = once(plan, ("flex", q.device), lambda: plan.to_flex(device=q.device))
    out = compiled_flex()(*(_permuted(x, plan) for x in (q, k, v)), block_mask=mask)
    return _unpermuted(out, plan)


@lru_cache(maxsize=1)
def compiled_flex():
    """FlexAttention, compiled: uncompiled it makes the whole matrix and reads the mask alone, not the blocks."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def _triton(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, two_pass: bool) -> Tensor:
    block_sparse_attention = import_kernels().block_sparse_attention
    if q.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise InputError(
            "the backend triton needs a GPU and the tensors are on the processor; "
            "cpu is accepted (or TRITON_INTERPRET=1 in the environment, to test)"
        )
    layout = once(plan, ("two-pass" if two_pass else "triton", q.device), lambda: plan_layout(plan, q.device, two_pass))
    return _unpermuted(block_sparse_attention(*(_permuted(x, plan) for x in (q, k, v)), layout), plan)


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


def _matched(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v in one type (autocast's if it is on), or InputError."""
    for name, tensor in (("queries", q), ("keys", k), ("values", v)):
        if tensor.ndim != 4:
            raise InputError(
                f"{name} have shape {list(tensor.shape)}; [batch, heads, tokens, width] is needed"
            )
    if k.shape != v.shape:
        raise InputError(
            f"keys have shape {list(k.shape)} and values have {list(v.shape)}; they must be equal"
        )
    if (*q.shape[:2], q.shape[3]) != (*k.shape[:2], k.shape[3]):
        raise InputError(
            f"queries have shape {list(q.shape)} and keys have {list(k.shape)}; only their tokens may differ"
        )
    if torch.is_autocast_enabled(q.device.type):
        dtype = torch.get_autocast_dtype(q.device.type)
        return q.to(dtype), k.to(dtype), v.to(dtype)
    if not q.dtype == k.dtype == v.dtype:
        raise InputError(
            f"queries, keys and values are {q.dtype}, {k.dtype} and {v.dtype}; one type is needed"
        )
    return q, k, v
