"""Correctness and speed of the kernels on this GPU: `python kernels/benchmarks/attention.py [--quick] [--out JSON]`.

Needs this folder, PyTorch and Triton, nothing else of the project. Two parts:

- the correctness matrix: every type, head width, block size and kind of mask against the reference in float64, outputs
  and gradients, as the largest error over the largest value. Compiling takes most of its time, so several processes
  share it, each kernel in one untuned configuration;
- the speed table: the dense kernels of torch, FlexAttention and these kernels at given shares of 128 x 128 blocks, and
  at the structure of IASA's plans (own frame and first frame whole, few blocks of four past frames tested by bits).

Results go to results/<device>.json with versions and date, anew after every row, so that a run that is cut off leaves
what it has; no row is begun after `--minutes`, and a method that fails is written down with its error. With
`--device cpu --quick` and TRITON_INTERPRET=1 the script tries itself out on tiny sizes; such times mean nothing and
are not written unless `--out` is given.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, flex_attention

sys.path.append(str(Path(__file__).resolve().parents[1]))

import triton
from iasa_kernels import BlockLayout, block_sparse_attention, make_layout, reference_attention, stack_layouts

HERE = Path(__file__).resolve().parent
BLOCK = 128
HEADS, WIDTH = 12, 128
SIZES = ((21, 1024), (21, 1560), (21, 3600))  # frames and tokens of a frame: 21,504, 32,760 and 75,600
DENSITIES = (0.05, 0.1, 0.2, 0.4)
FAILURES = (RuntimeError, triton.runtime.errors.OutOfResources)  # what a method may raise without ending the run
DENSE = {
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}


def blocks_of(tokens: int, block: int) -> tuple[Tensor, Tensor]:
    start = torch.arange(0, tokens, block)
    return start, (tokens - start).clamp_max(block)


def layout_of(kept: Tensor, start: Tensor, size: Tensor, **options) -> BlockLayout:
    """From a dense table of kept blocks."""
    return make_layout(F.pad(kept.sum(1).cumsum(0), (1, 0)), kept.nonzero()[:, 1], start, size, **options)


def random_blocks(rows: int, density: float, seed: int = 0) -> Tensor:
    """As many in every row, the diagonal among them: bool [rows, rows]."""
    score = torch.rand(rows, rows, generator=torch.Generator().manual_seed(seed)).fill_diagonal_(2.0)
    chosen = score.topk(max(1, round(density * rows)), dim=1).indices
    return torch.zeros(rows, rows, dtype=torch.bool).scatter_(1, chosen, True)


def frame_layout(frames: int, tokens: int, two_pass: bool, block: int = BLOCK, seed: int = 0) -> BlockLayout:
    """The structure of IASA's plans: blocks stay in their frame, a fifth of each frame's blocks looks at the past."""
    generator = torch.Generator().manual_seed(seed)
    first, first_size = blocks_of(tokens, block)
    start = (first + tokens * torch.arange(frames)[:, None]).flatten()
    frame = torch.arange(frames).repeat_interleave(len(first))
    place = torch.arange(len(first)).repeat(frames)
    past = torch.zeros(frames, frames, dtype=torch.bool)
    for t in range(1, frames):
        past[t, torch.randperm(t, generator=generator)[:4]] = True
    active = place < max(1, len(first) // 5)
    sees_whole = (frame[:, None] == frame) | (frame == 0)
    kept = sees_whole | (past[frame[:, None], frame] & active[:, None] & active)
    rows, columns = kept.nonzero(as_tuple=True)
    bits = (1 << torch.randint(0, 5, (frames * tokens,), generator=generator)).to(torch.uint8)
    return layout_of(
        kept, start, first_size.repeat(frames), full=sees_whole[rows, columns], q_bits=bits, k_bits=bits,
        segments=frames if two_pass else 0,
    )  # fmt: skip


# correctness


def correctness(device: str, quick: bool, workers: int) -> Iterator[list[dict]]:
    """The rows of each type, width and block, as they come."""
    dtypes = ("float32", "bfloat16", "float16")  # float32 takes longest to compile
    widths, blocks = ((32,), (16,)) if quick else ((128, 80, 64, 32), (128, 64, 32, 16))
    cases = itertools.product(dtypes, widths, blocks, (device,))
    if workers == 1:
        yield from map(check_case, cases)
        return
    os.environ["IASA_KERNELS_TUNE"] = "0"  # the workers inherit it
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(check_case, cases)
    del os.environ["IASA_KERNELS_TUNE"]


def check_case(case: tuple[str, int, int, str]) -> list[dict]:
    """One row for each kind of mask."""
    name, width, block, device = case
    dtype = getattr(torch, name)
    # Rounding of the output, of the weights and of the products; three tf32 products lose some more bits than one
    # of float32 would.
    bound = (32 if dtype == torch.float32 else 4) * torch.finfo(dtype).eps
    rows = []
    for mask, layout in make_masks(block):
        if mask == "two passes" and dtype == (torch.float32 if device == "cuda" else torch.float16):
            continue  # torch's dense kernel there has no such type
        row = {"dtype": name, "width": width, "block": block, "mask": mask, "bound": bound}
        try:
            errors = compare(layout.to(device), dtype, width, device)
            rows.append(row | {"errors": errors, "passed": max(errors.values()) <= bound})
        except FAILURES as error:
            rows.append(row | {"error": first_line(error), "passed": False})
    return rows


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def make_masks(block: int) -> Iterator[tuple[str, BlockLayout]]:
    """Short last blocks, tested blocks, empty rows, one full row, a mask for every head, two passes."""
    tokens = 5 * block - block // 2 - 1
    start, size = blocks_of(tokens, block)
    bits = torch.randint(1, 8, (tokens,), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    kept = random_blocks(5, 0.6)
    tested = {"q_bits": bits, "k_bits": bits}
    yield "full", layout_of(kept, start, size)
    yield "tested", layout_of(kept, start, size, full=torch.zeros(int(kept.sum()), dtype=torch.bool), **tested)
    one = torch.zeros(5, 5, dtype=torch.bool)
    one[2] = True
    yield "one row", layout_of(one, start, size)
    yield "per head", stack_layouts([layout_of(random_blocks(5, 0.4, seed), start, size) for seed in range(2)])
    yield "two passes", frame_layout(3, 2 * block - 3, two_pass=True, block=block)


def compare(layout: BlockLayout, dtype: torch.dtype, width: int, device: str) -> dict[str, float]:
    """Largest error over largest value of the output and the gradients."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, grad = (
        torch.randn(1, 2, layout.queries, width, generator=generator).to(device, dtype) for _ in range(4)
    )
    found = []
    for function, convert in ((block_sparse_attention, Tensor.clone), (reference_attention, Tensor.double)):
        leaves = [convert(t).requires_grad_() for t in (q, k, v)]
        out = function(*leaves, layout)
        out = out[0] if isinstance(out, tuple) else out
        found.append([out.detach(), *torch.autograd.grad(out, leaves, convert(grad))])
    names = ("out", "dq", "dk", "dv")
    return {
        name: float((a.double() - b).abs().max() / b.abs().max().clamp_min(1e-9))
        for name, a, b in zip(names, *found, strict=True)
    }


# speed


def median_seconds(function: Callable[[], object], device: str) -> float:
    """Of 20 calls, or of as many as 2 seconds hold but at least 5, with a cold cache.

    Three calls before them do not count: the first ones compile and tune.
    """
    if device == "cpu":
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    for _ in range(3):
        function()
    flush = torch.empty(1 << 26, dtype=torch.int32, device=device)
    times = []
    while len(times) < 5 or (len(times) < 20 and sum(times) < 2):
        flush.zero_()
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        function()
        after.record()
        torch.cuda.synchronize()
        times.append(before.elapsed_time(after) / 1e3)
    return sorted(times)[len(times) // 2]


def methods(frames: int, tokens: int, device: str) -> Iterator[tuple[str, Callable, int]]:
    """(name, call, pairs that it computes for a head)."""
    n = frames * tokens
    for name, kernel in DENSE.items():
        if device == "cuda":
            yield f"dense, {name}", dense_call(kernel), n * n
    if device == "cpu":
        yield "dense", F.scaled_dot_product_attention, n * n
    start, size = blocks_of(n, BLOCK)
    for density in DENSITIES:
        kept = random_blocks(len(start), density)
        if device == "cuda":
            yield f"flex, blocks {density:.0%}", flex_call(kept, n, device), pairs_of(kept, size)
        for tile in (64, 128):
            layout = layout_of(kept, start, size, tile=tile).to(device)
            yield f"ours, blocks {density:.0%}, tiles of {tile}", sparse_call(layout), layout.kept_pairs()
    for name, two_pass in (("one pass", False), ("two passes", True)):
        layout = frame_layout(frames, tokens, two_pass).to(device)
        yield f"ours, frames, exact, {name}", sparse_call(layout), layout.kept_pairs()


def pairs_of(kept: Tensor, size: Tensor) -> int:
    return int((kept * size[:, None] * size).sum())


def dense_call(kernel: SDPBackend) -> Callable:
    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(kernel):
            return F.scaled_dot_product_attention(q, k, v)

    return call


def sparse_call(layout: BlockLayout) -> Callable:
    return lambda q, k, v: block_sparse_attention(q, k, v, layout)


def flex_call(kept: Tensor, tokens: int, device: str) -> Callable:
    names = torch.argsort(kept.to(torch.uint8), dim=1, descending=True, stable=True).int()[None, None]
    counts = kept.sum(1).int()[None, None]
    nothing = torch.zeros_like(counts), names.clone()
    mask = BlockMask.from_kv_blocks(
        *(x.to(device) for x in nothing), counts.to(device), names.contiguous().to(device), BLOCK_SIZE=BLOCK,
        mask_mod=every_pair, seq_lengths=(tokens, tokens),
    )  # fmt: skip
    return lambda q, k, v: compiled_flex()(q, k, v, block_mask=mask)


def every_pair(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """All blocks are full, so this is never run; without a test of pairs, older versions of torch fail."""
    return query >= 0


@lru_cache(maxsize=1)
def compiled_flex() -> Callable:
    return torch.compile(flex_attention, dynamic=False)


def speed(device: str, quick: bool, deadline: float) -> Iterator[dict]:
    """The table of one size, as far as it is, after every row."""
    sizes = ((2, 160),) if device == "cpu" else SIZES[: 1 if quick else None]
    heads, width = (1, 16) if device == "cpu" else (HEADS, WIDTH)
    for frames, tokens in sizes:
        torch.compiler.reset()  # else flex counts the sizes as recompilations, and gives up compiling
        tensors = [
            torch.randn(1, heads, frames * tokens, width, device=device, dtype=torch.bfloat16, requires_grad=True)
            for _ in range(3)
        ]
        case = {"tokens": frames * tokens, "heads": heads, "width": width, "dtype": "bfloat16", "rows": []}
        for name, call, pairs in methods(frames, tokens, device):
            row = {"method": name, "pairs": pairs}
            try:
                row |= times_of(call, tensors, device) if time.monotonic() < deadline else {"error": "no time was left"}
            except FAILURES as error:
                row["error"] = first_line(error)
            case["rows"].append(row)
            print(case["tokens"], row, flush=True)
            add_rates(case)
            yield case


def add_rates(case: dict) -> None:
    """TFLOP/s on the kept pairs, the share of the fastest dense call's rate, the speed-up over that call."""
    rows = [row for row in case["rows"] if "error" not in row]
    dense = [row for row in rows if row["method"].startswith("dense")]
    for name, operations in (("forward", 4), ("backward", 10)):
        best = min((row[name] for row in dense), default=float("nan"))
        for row in rows:
            rate = operations * case["width"] * case["heads"] * row["pairs"] / row[name]
            row[f"{name}_tflops"] = rate / 1e12
            row[f"{name}_rate_of_dense"] = row["pairs"] / row[name] / (case["tokens"] ** 2 / best)
            row[f"{name}_speedup"] = best / row[name]


def times_of(call: Callable, tensors: list[Tensor], device: str) -> dict[str, float]:
    with torch.no_grad():
        forward = median_seconds(lambda: call(*tensors), device)
    out = call(*tensors)
    grad = torch.ones_like(out)
    backward = median_seconds(lambda: torch.autograd.grad(out, tensors, grad, retain_graph=True), device)
    return {"forward": forward, "backward": backward}


def make_table(case: dict) -> str:
    lines = [
        f"{case['tokens']} tokens, {case['heads']} heads of {case['width']}, {case['dtype']}",
        "",
        "| | pairs | forward ms | TFLOP/s | of dense rate | speed-up | backward ms | TFLOP/s | of dense rate | speed-up |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in case["rows"]:
        cells = [row["method"], f"{row['pairs'] / case['tokens'] ** 2:.1%}"]
        for name in ("forward", "backward"):
            if "error" in row:
                cells += ["not measured", "", "", ""]
                continue
            cells += [f"{1e3 * row[name]:.3f}", f"{row[f'{name}_tflops']:.3g}"]
            cells += [f"{row[f'{name}_rate_of_dense']:.0%}", f"{row[f'{name}_speedup']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one width, one block, one size")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, help="default: results/<device>.json beside this script")
    parser.add_argument("--minutes", type=float, default=9, help="after which no row of the speed table is begun")
    parser.add_argument("--workers", type=int, help="processes of the correctness matrix; default: three in four cores")
    options = parser.parse_args()
    started = time.monotonic()
    on_gpu = options.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("no GPU is found; --device cpu with TRITON_INTERPRET=1 tries the script out", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    path = options.out or (HERE / "results" / f"{name.replace(' ', '_')}.json" if on_gpu else None)
    report = {
        "command": "python kernels/benchmarks/attention.py" + (" --quick" if options.quick else ""),
        "device": name, "date": datetime.date.today().isoformat(),
        "torch": torch.__version__, "triton": triton.__version__, "cuda": torch.version.cuda,
        "seconds": 0.0, "correctness": [], "speed": [],
    }  # fmt: skip

    def save() -> None:
        report["seconds"] = round(time.monotonic() - started, 1)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(report, indent=1) + "\n")

    workers = options.workers or (max(1, 3 * len(os.sched_getaffinity(0)) // 4) if on_gpu else 1)
    for rows in correctness(options.device, options.quick, workers):
        report["correctness"] += rows
        print(*rows, sep="\n", flush=True)
        save()
    for case in speed(options.device, options.quick, started + 60 * options.minutes):
        report["speed"] = [*(c for c in report["speed"] if c["tokens"] != case["tokens"]), case]
        save()
    print("\n\n".join(make_table(case) for case in report["speed"]))
    failed = [row for row in report["correctness"] if not row["passed"]]
    total = len(report["correctness"])
    print(f"\n{total - len(failed)} of {total} correctness cases passed; {report['seconds']:.0f} seconds in all")
    if path is not None:
        print(f"written to {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
