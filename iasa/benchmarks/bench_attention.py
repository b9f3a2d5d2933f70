"""`python -m iasa bench attention`: one attention call, dense and sparse, at the sizes that matter on this machine.

The plan is that of the example poses. A row says how long the call took forward and backward, at what rate it computed
the pairs it kept (4 d operations a pair forward, 10 d backward), how that rate compares with the fastest dense call's,
and how much faster the call is. On a GPU: the paper's 21,504 tokens, 32,760 and 75,600, twelve heads of width 128. On a
processor: the embedded model's tokens, in five heads of width 64 (it has four of 80). Rows "blocks p %" keep that share
of 128 x 128 blocks, at random places: what a perfect choice of blocks of that density would cost.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from iasa.attention.dense import dense_attention
from iasa.attention.dispatch import choose_backend, sparse_attention
from iasa.attention.gathered import GatherPlan, QueryGroup, gathered_attention, plan_gather
from iasa.attention.triton import import_kernels, plan_layout
from iasa.benchmarks.bench_plan import example_poses
from iasa.config import MaskOptions
from iasa.device import is_bf16_faster, pick_device, synchronize
from iasa.grid import TokenGrid
from iasa.masks import AttentionPlan, make_plan

DENSITIES = (0.05, 0.1, 0.2, 0.4)
BLOCK = 128  # of the rows of given density
MATH_TOKENS = 4096  # torch's plain path keeps the whole matrix

Call = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """One size: [1, heads, frames * rows * cols, width]."""

    shape: tuple[int, int, int]
    heads: int
    width: int
    dtype: torch.dtype
    device: torch.device
    repeats: int
    flex: bool = True  # compiling it takes minutes on a processor


@dataclass(frozen=True)
class Method:
    """A way to attend; `pairs` are those it computes for one head."""

    name: str
    call: Call
    pairs: int
    backward: bool = True
    exact: bool = False  # gives the plan's exact result


def make_cases(device: torch.device, quick: bool) -> list[Case]:
    if device.type == "cuda":
        shapes = [(21, 32, 32), (21, 30, 52), (21, 45, 80)][: 1 if quick else 3]
        return [Case(shape, 12, 128, torch.bfloat16, device, 20) for shape in shapes]
    frames = (9,) if quick else (2, 9, 21, 50)
    dtypes = [torch.bfloat16, torch.float32] if is_bf16_faster() else [torch.float32]
    return [
        Case((f, 16, 16), 5, 64, dtype, device, 3, flex=not quick and f == 50 and dtype == torch.float32)
        for dtype in dtypes
        for f in frames
    ]


def dense_methods(case: Case, tokens: int) -> Iterator[Method]:
    """Every kernel of torch's dense attention that runs here, and ours."""
    kernels = {
        "torch cuDNN": SDPBackend.CUDNN_ATTENTION,
        "torch flash": SDPBackend.FLASH_ATTENTION,
        "torch efficient": SDPBackend.EFFICIENT_ATTENTION,
        "torch plain": SDPBackend.MATH,
    }
    for name, kernel in kernels.items():
        if kernel == SDPBackend.MATH and tokens > MATH_TOKENS:
            continue

        def call(q: Tensor, k: Tensor, v: Tensor, kernel: SDPBackend = kernel) -> Tensor:
            with sdpa_kernel(kernel):
                return F.scaled_dot_product_attention(q, k, v)

        method = Method(f"dense, {name}", call, tokens**2)
        if runs(method, case):
            yield method
    if case.device.type == "cpu":
        yield Method("dense, ours", dense_attention, tokens**2)


def runs(method: Method, case: Case) -> bool:
    """Whether torch has this kernel for the case's device, type and width (asked with 64 tokens)."""
    x = torch.zeros(1, 1, 64, case.width, dtype=case.dtype, device=case.device)
    try:
        method.call(x, x, x)
    except RuntimeError as error:
        if "No available kernel" in str(error) or "No viable backend" in str(error):
            return False
        raise
    return True


def plan_methods(case: Case, plan: AttentionPlan, pooled: AttentionPlan) -> Iterator[Method]:
    """The plan by every backend that can run on the case's device."""
    backends = ["triton", "two-pass"] if case.device.type == "cuda" else []
    for backend in ["cpu", *backends]:
        for name, one in (("exact", plan), ("pooled", pooled)):
            pairs = choose_backend(one, backend).pairs
            yield Method(f"{backend}, {name}", attend_plan(one, backend), pairs, exact=name == "exact")
    if case.flex:
        on_gpu = case.device.type == "cuda"  # on a processor flex has no backward pass
        yield Method("flex, exact", attend_plan(plan, "flex"), choose_backend(plan, "flex").pairs, on_gpu, exact=True)


def attend_plan(plan: AttentionPlan, backend: str) -> Call:
    return lambda q, k, v: sparse_attention(q, k, v, plan, backend)


def random_methods(case: Case, tokens: int) -> Iterator[Method]:
    """Given shares of the blocks, by the device's own sparse backend."""
    for density in DENSITIES:
        kept = random_blocks(tokens, density)
        make = _kernel_call if case.device.type == "cuda" else _grouped_call
        call, pairs = make(kept, tokens, case.device)
        yield Method(f"blocks {density:.0%}", call, pairs)


def random_blocks(tokens: int, density: float, seed: int = 0) -> Tensor:
    """Kept blocks, as many in every row: bool [rows, rows], the diagonal among them."""
    rows = math.ceil(tokens / BLOCK)
    score = torch.rand(rows, rows, generator=torch.Generator().manual_seed(seed)).fill_diagonal_(2.0)
    chosen = score.topk(max(1, round(density * rows)), dim=1).indices
    return torch.zeros(rows, rows, dtype=torch.bool).scatter_(1, chosen, True)


def _grouped_call(kept: Tensor, tokens: int, device: torch.device) -> tuple[Call, int]:
    pieces = torch.arange(tokens).split(BLOCK)
    groups = tuple(
        QueryGroup(int(own[0]), int(own[-1]) + 1, keys=torch.cat([pieces[c] for c in row.nonzero()[:, 0].tolist()]))
        for own, row in zip(pieces, kept, strict=True)
    )
    gather = GatherPlan(torch.arange(tokens), groups, tokens).to(device)
    return (lambda q, k, v: gathered_attention(q, k, v, gather)), gather.pairs


def _kernel_call(kept: Tensor, tokens: int, device: torch.device) -> tuple[Call, int]:
    kernels = import_kernels()
    start = torch.arange(0, tokens, BLOCK)
    pointer = F.pad(kept.sum(1).cumsum(0), (1, 0))
    layout = kernels.make_layout(pointer, kept.nonzero()[:, 1], start, (tokens - start).clamp_max(BLOCK)).to(device)
    return (lambda q, k, v: kernels.block_sparse_attention(q, k, v, layout)), layout.kept_pairs()


def best_seconds(function: Callable[[], object], device: torch.device, repeats: int) -> tuple[float, float]:
    """(shortest wall time, shortest processor time) of a call, after one that does not count."""
    function()
    wall, processor = math.inf, math.inf
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter(), time.process_time()
        function()
        synchronize(device)
        wall = min(wall, time.perf_counter() - start[0])
        processor = min(processor, time.process_time() - start[1])
    return wall, processor


def measure(method: Method, case: Case, tensors: list[Tensor], truth: Tensor | None) -> tuple[dict, Tensor]:
    """(one row, the method's output)."""
    plain = [t.detach() for t in tensors]
    with torch.no_grad():
        out = method.call(*plain)
        forward, processor = best_seconds(lambda: method.call(*plain), case.device, case.repeats)
    row = {"method": method.name, "pairs": method.pairs, "forward": forward, "forward_processor": processor}
    if method.exact and truth is not None:
        row["difference"] = float((out.float() - truth.float()).abs().max())
    if method.backward:
        made = method.call(*tensors)
        grad = torch.ones_like(made)
        row["backward"], row["backward_processor"] = best_seconds(
            lambda: torch.autograd.grad(made, tensors, grad, retain_graph=True), case.device, case.repeats
        )
    return row, out


def measure_case(case: Case, deadline: float = math.inf) -> dict:
    """All rows of one size, the times of its plan, and what `auto` chooses; no method is begun after the deadline."""
    start = time.perf_counter()
    plan = make_plan(example_poses(case.shape[0]), TokenGrid(*case.shape))
    planned = time.perf_counter()
    if case.device.type == "cuda":
        plan_layout(plan, case.device)
        synchronize(case.device)
    else:
        plan_gather(plan)
    laid = time.perf_counter()
    pooled = AttentionPlan(plan.grid, plan.frame_table, plan.region_bits, None, MaskOptions(block=64, mode="pooled"))
    tokens = plan.grid.tokens
    generator = torch.Generator().manual_seed(0)
    shape = (1, case.heads, tokens, case.width)
    tensors = [torch.randn(shape, generator=generator).to(case.device, case.dtype).requires_grad_() for _ in range(3)]
    rows, truth = [], None
    for method in (*dense_methods(case, tokens), *plan_methods(case, plan, pooled), *random_methods(case, tokens)):
        if time.monotonic() > deadline:
            rows.append({"method": method.name, "pairs": method.pairs, "error": "no time was left"})
            continue
        try:
            row, out = measure(method, case, tensors, truth)
        except Exception as error:  # whatever a backend raises is its row: the others are still measured
            rows.append(
                {"method": method.name, "pairs": method.pairs, "error": f"{type(error).__name__}: {error}"[:300]}
            )
            continue
        truth = out if truth is None and method.exact else truth
        rows.append(row)
    add_rates(rows, case.heads, case.width)
    choice = choose_backend(plan, "auto", case.device, case.dtype, case.heads)
    return {
        "shape": list(case.shape),
        "tokens": tokens,
        "heads": case.heads,
        "width": case.width,
        "dtype": str(case.dtype).removeprefix("torch."),
        "token_density": plan.density(),
        "block_density": plan.block_csr().density(),
        "plan_seconds": planned - start,
        "layout_seconds": laid - planned,
        "auto": {"backend": choice.backend, "reason": choice.reason},
        "rows": rows,
    }


def add_rates(rows: list[dict], heads: int, width: int) -> None:
    """TFLOP/s on the pairs computed, the share of the fastest dense call's rate, the speed-up over that call."""
    for name, operations in (("forward", 4), ("backward", 10)):
        dense = [row for row in rows if row["method"].startswith("dense") and name in row]
        if not dense:
            continue
        best = min(dense, key=lambda row: row[name])
        for row in rows:
            if name in row:
                row[f"{name}_tflops"] = operations * width * heads * row["pairs"] / row[name] / 1e12
                row[f"{name}_rate_of_dense"] = row["pairs"] / row[name] / (best["pairs"] / best[name])
                row[f"{name}_speedup"] = best[name] / row[name]


def make_table(case: dict) -> str:
    frames, rows, cols = case["shape"]
    lines = [
        f"{case['tokens']} tokens ({frames} x {rows} x {cols}), {case['heads']} heads of {case['width']}, "
        f"{case['dtype']}; {case['token_density']:.1%} of the pairs, {case['block_density']:.1%} of the blocks; "
        f"plan {1e3 * case['plan_seconds']:.0f} ms and its layout {1e3 * case['layout_seconds']:.0f} ms a clip; "
        f"auto: {case['auto']['backend']}",
        "",
        "| | pairs | forward ms | TFLOP/s | of dense rate | speed-up | backward ms | of dense rate | speed-up |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in case["rows"]:
        if "error" in row:
            lines.append(f"| {row['method']} | not measured: {row['error'].splitlines()[0]} |" + 7 * " |")
            continue
        cells = [row["method"], f"{row['pairs'] / case['tokens'] ** 2:.1%}", f"{1e3 * row['forward']:.2f}"]
        cells += [
            f"{row['forward_tflops']:.3g}",
            f"{row['forward_rate_of_dense']:.0%}",
            f"{row['forward_speedup']:.2f}",
        ]
        if "backward" in row:
            cells += [f"{1e3 * row['backward']:.2f}", f"{row['backward_rate_of_dense']:.0%}"]
            cells += [f"{row['backward_speedup']:.2f}"]
        else:
            cells += ["none", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(quick: bool = False) -> tuple[str, dict]:
    """(Markdown tables, figures)."""
    cases = [measure_case(case) for case in make_cases(pick_device(), quick)]
    return "\n\n".join(make_table(case) for case in cases), {"cases": cases}
