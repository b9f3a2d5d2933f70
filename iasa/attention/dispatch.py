"""Input-aware sparse attention: `sparse_attention` for a clip, `frame_attention` for one frame of a roll-out.

Backends of `sparse_attention`; all give the same result, that of the plan's mode:

- "reference": a dense matrix of logits with the plan's mask on it, in float32. The oracle; refuses large plans.
- "dense": torch's own dense attention with the plan's mask. The fastest below the break-even; refuses large plans.
- "cpu": gathered keys (`iasa.attention.gathered`). The fastest on a processor; runs on any device.
- "flex": torch's FlexAttention, compiled, with the plan as a BlockMask. No gradients on a processor.
- "triton": the kernels of `kernels/iasa_kernels`. Needs a GPU (or Triton's interpreter, to test).
- "two-pass": the same, but each frame over itself by torch's dense kernel, and the rest by Triton on top of it.
- "auto": one of these by device, size and density; `choose_backend` says which and why. On a GPU, where its rule is not
  measured, the candidates are timed at the first call of a size (`iasa.attention.measured_choice`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.attention.dense import dense_attention, match_types
from iasa.attention.finite import attend_finite
from iasa.attention.flex import attend_flex
from iasa.attention.gathered import GatherPlan, gathered_attention, once, plan_gather
from iasa.attention.measured_choice import fastest
from iasa.attention.reference import reference_attention
from iasa.attention.triton import attend_triton, why_no_kernels
from iasa.config import InputError
from iasa.device import is_bf16_faster
from iasa.masks.plan import MAX_DENSE_TOKENS, AttentionPlan

BACKENDS = ("reference", "dense", "cpu", "flex", "triton", "two-pass")
# Cost on a processor in units of one query-key pair of the fastest of torch's dense calls, which has no mask, with one
# head: a pair of a group, and what a group costs besides. Fitted to results/bench_attention.json (512 to 12,800 tokens,
# densities 1 to 0.05, 5 heads of width 64, AMD EPYC, torch 2.13). Keyed by whether bf16 products are used.
_PAIR = {True: 0.7, False: 1.65}
_GROUP = {True: 20_000, False: 8_500}
_GPU_TOKENS = 8192  # where sparse kernels overtake dense ones in the literature; not measured here
_GPU_DENSITY = 0.5  # of blocks; not measured here


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
    products run in autocast's type, as torch's attention does. A key or value that is not finite makes NaN of the rows
    that may see it, and changes no other. Raises InputError on an unknown backend, on one that
    cannot run here, and on shapes that do not match each other or the plan's grid; ImportError if Triton is asked
    for and absent.
    """
    q, k, v = match_types(q, k, v)
    if k.shape != q.shape:
        raise InputError(f"queries have shape {list(q.shape)} and keys have {list(k.shape)}; they must be equal")
    if isinstance(plan, AttentionPlan):
        return _one_plan(q, k, v, plan, backend)
    if not isinstance(plan, Sequence) or not all(isinstance(one, AttentionPlan) for one in plan):
        raise InputError(
            f"the plan is {type(plan).__name__}; an AttentionPlan or a list of one for each clip is needed"
        )
    if len(plan) != len(q):
        raise InputError(f"there are {len(plan)} plans for a batch of {len(q)}; one for each or one for all is needed")
    if not len(plan):
        return q + k + v  # nothing, that can be differentiated
    parts = zip(zip(q.split(1), k.split(1), v.split(1), strict=True), plan, strict=True)
    return torch.cat([_one_plan(*tensors, one, backend) for tensors, one in parts])


def _one_plan(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, backend: str) -> Tensor:
    if q.shape[2] != plan.grid.tokens:
        raise InputError(
            f"the queries have {q.shape[2]} tokens and the plan is for {plan.grid.tokens} "
            f"({plan.grid.frames} frames of {plan.grid.rows} x {plan.grid.cols})"
        )
    name = choose_backend(plan, backend, q.device, q.dtype, q.shape[0] * q.shape[1]).backend
    if not q.numel():
        return q + k + v  # nothing, that can be differentiated
    if backend == "auto" and q.device.type == "cuda" and not torch.compiler.is_compiling():
        name = measured_backend(q, k, v, plan, name)
    return _run(q, k, v, plan, name)


def measured_backend(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, by_rule: str) -> str:
    """The fastest backend for these tensors on their device; `by_rule` where none of those in question runs."""
    density = plan.block_csr().density()
    names = [by_rule, *(["dense"] if plan.grid.tokens <= MAX_DENSE_TOKENS else [])]
    if why_no_kernels() is None and q.dtype != torch.float64 and plan.options.block <= 128:
        names += ["triton"] if q.dtype == torch.float32 else ["triton", "two-pass"]
    key = (q.device, q.dtype, *q.shape, round(density, 2), plan.options.mode)
    return fastest(key, {name: partial(_run, q, k, v, plan, name) for name in names}, q.device)


def _run(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, name: str) -> Tensor:
    if name in ("triton", "two-pass"):  # the kernels keep apart by themselves what is not finite
        return attend_triton(q, k, v, plan, two_pass=name == "two-pass")
    return attend_finite(q, k, v, plan, lambda q, k, v: _attend(q, k, v, plan, name))


def _attend(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, name: str) -> Tensor:
    if name == "cpu":
        return gathered_attention(q, k, v, plan_gather(plan, q.device))
    if name == "flex":
        return attend_flex(q, k, v, plan)
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
    if not isinstance(plan, AttentionPlan):
        raise InputError(f"the plan is {type(plan).__name__}; an AttentionPlan is needed")
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise InputError(f"the device is {device!r}; a name that torch knows, as cpu or cuda, is accepted") from error

    def choose() -> Choice:
        if backend != "auto":
            name, reason = backend, "it was asked for"
        elif kind == "cpu":
            name, reason = _best_on_processor(plan, dtype, heads)
        else:
            name, reason = _best_on_gpu(plan, dtype)
        return Choice(name, reason, _pairs(plan, name), plan.grid.tokens**2)

    return once(plan, ("choice", backend, kind, dtype, heads), choose)


def _best_on_processor(plan: AttentionPlan, dtype: torch.dtype, heads: int) -> tuple[str, str]:
    gather, dense = plan_gather(plan), plan.grid.tokens**2
    quick = dtype == torch.bfloat16 and is_bf16_faster()
    cost = _PAIR[quick] * gather.pairs + _GROUP[quick] * len(gather.groups) / max(heads, 1)
    reason = (
        f"{gather.pairs / dense:.1%} of the dense pairs in {len(gather.groups)} groups "
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
    missing = why_no_kernels()
    if missing:
        return "cpu", f"{missing}, so keys are gathered"
    if dtype == torch.float64 or plan.options.block > 128:
        return "cpu", "the kernels take blocks of up to 128 and no float64, so keys are gathered"
    return "triton", reason


def _pairs(plan: AttentionPlan, backend: str) -> int:
    if backend in ("reference", "dense"):
        return plan.grid.tokens**2
    if backend == "cpu":
        return plan_gather(plan).pairs
    csr = plan.block_csr(128 if backend == "flex" else None)
    return int((csr.size[csr.rows] * csr.size[csr.columns]).sum())


def frame_attention(
    q: Tensor,  # [b, nh, n, d]: one latent frame
    k_own: Tensor,  # [b, nh, m0, d]: keys that every query sees, of the own frame and of the sink
    v_own: Tensor,  # [b, nh, m0, d]
    k_past: Tensor | None = None,  # [b, nh, m, d]: gathered region tokens of the chosen past frames
    v_past: Tensor | None = None,  # [b, nh, m, d]
    gather: GatherPlan | None = None,
) -> Tensor:
    """One frame of a causal roll-out: [b, nh, n, d].

    All queries see `k_own`; the gather, from `frame_gather_plan` or `plan_frame_gather`, says who sees which
    past key. It is the same for all layers and steps of a frame: make it once. Raises InputError if it does
    not fit.
    """
    q, k_own, v_own = match_types(q, k_own, v_own)
    if (k_past is None) != (v_past is None):
        raise InputError("past keys and past values must be given together; one of them is None")
    if gather is not None and not isinstance(gather, GatherPlan):
        raise InputError(f"the gather is {type(gather).__name__}; what frame_gather_plan returns is needed")
    if k_past is None or v_past is None or k_past.shape[2] == 0:
        if gather is None:
            return dense_attention(q, k_own, v_own)
        keys, values = k_own, v_own
    else:
        _, k_past, v_past = match_types(q, k_past, v_past)
        if gather is None:
            raise InputError("past keys need a gather; make one with frame_gather_plan(q_bits, k_bits, own_keys)")
        keys, values = torch.cat([k_own, k_past], dim=2), torch.cat([v_own, v_past], dim=2)
    if (gather.queries, gather.keys) != (q.shape[2], keys.shape[2]):
        raise InputError(
            f"the gather is for {gather.queries} queries and {gather.keys} keys; "
            f"there are {q.shape[2]} queries and {keys.shape[2]} keys"
        )
    return gathered_attention(q, keys, values, gather.to(q.device))
