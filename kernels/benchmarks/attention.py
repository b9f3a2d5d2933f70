"""Correctness and speed of the kernels on this GPU: `python kernels/benchmarks/attention.py [--quick] [--out JSON]`.

Needs this folder, PyTorch and Triton, nothing else of the project. In this order:

- ceilings: what a copy and a product of matrices reach on this device;
- on Hopper, whether the kernel in Gluon is right: only then is it timed;
- speed: the dense kernels of torch, FlexAttention and these kernels, forward and backward, at the paper's 21,504 tokens,
  the 12,800 of IASA's own model, 32,760 and 75,600: with 10 % of the blocks at random places, and at the structure of
  IASA's plans (own frame and first frame whole, few blocks of four past frames tested by bits), in blocks of 64 and 128,
  in one pass and two, with the sorting of tokens and without, the backward pass in five products and seven; rows of every
  timed call are compared with the definition;
- correctness: types, head widths, block sizes and kinds of mask against the reference in float64, outputs and gradients.

Every case is a process of its own (cases.py) with a time limit: what fails, hangs or takes the process down is a row with
its error. Several processes start and compile at once; one at a time has the device to itself. No case is begun after
`--minutes`; results/<device>.json is written anew after every row. With `--device cpu --quick` and TRITON_INTERPRET=1 the
script tries itself out on tiny sizes; such times mean nothing and are not written unless `--out` is given.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
SIZES = (
    (21, 1024, 12, 128),
    (50, 256, 4, 80),
    (21, 1560, 12, 128),
    (21, 3600, 12, 128),
)  # frames, tokens, heads, width
LIMIT = 120  # seconds for one case
OPERATIONS = {"forward": 4, "backward": 10}  # for each pair and column


def speed_cases(device: str, quick: bool) -> Iterator[dict]:
    sizes = ((2, 40, 1, 16),) if device == "cpu" else SIZES[: 1 if quick else None]
    dense = ("math",) if device == "cpu" else ("cuDNN", "flash")
    flex = () if device == "cpu" else ({"method": "flex", "density": 0.1},)  # compiling it takes minutes there
    blocks = ((16, 16),) if device == "cpu" else ((128, 64), (128, 128), (64, 64))
    for frames, tokens, heads, width in sizes:
        size = {"kind": "speed", "frames": frames, "tokens": tokens, "heads": heads, "width": width}
        methods = [{"method": "dense", "kernel": kernel} for kernel in dense]
        methods += flex
        for block, tile in blocks:
            methods += [
                {"method": "frames", "block": block, "tile": tile},
                {"method": "frames", "block": block, "tile": tile, "two_pass": True},
            ]
            if on_hopper(device) and width in (64, 128):
                methods.append({"method": "frames", "block": block, "tile": tile, "gluon": True})
        block, tile = blocks[0]
        methods.append({"method": "frames", "block": block, "tile": tile, "sorts": True})
        methods += [{"method": "frames", "block": block, "tile": tile, "products": count} for count in (5, 7)]
        methods += [{"method": "blocks", "density": 0.1, "block": block, "tile": tile} for block, tile in blocks[:2]]
        yield from (size | method for method in methods)


def gluon_cases(device: str) -> Iterator[dict]:
    """Correctness of the kernel in Gluon, before anything of it is timed: if it hangs, it does so here alone."""
    if on_hopper(device):
        for dtype, width, block in (("bfloat16", 128, 128), ("bfloat16", 64, 64), ("float16", 128, 64)):
            yield {"kind": "correct", "dtype": dtype, "width": width, "block": block, "gluon": True}


def on_hopper(device: str) -> bool:
    return device == "cuda" and torch.cuda.get_device_capability() == (9, 0)


def correct_cases(device: str, quick: bool) -> Iterator[dict]:
    if device == "cpu":
        matrix = [("bfloat16", 32, 16), ("float32", 24, 16)]
    else:
        matrix = [("bfloat16", *one) for one in itertools.product((128, 80, 64, 32), (128, 64, 32, 16))]
        matrix += [("float32", *one) for one in itertools.product((128, 64), (128, 64))]
        matrix += [("float16", 64, 128), ("float16", 128, 64)]
        matrix = matrix[::4] if quick else matrix
    for dtype, width, block in matrix:
        yield {"kind": "correct", "dtype": dtype, "width": width, "block": block}


def may_run(case: dict, report: dict) -> bool:
    """What the kernel in Gluon got wrong is not timed."""
    wrong = any("gluon" in row and not row.get("passed") for row in report["correct"])
    return not (wrong and case["kind"] == "speed" and "gluon" in case)


def run_cases(cases: list[dict], workers: int, deadline: float, limit: float) -> Iterator[dict]:
    """The row of each case as it comes."""
    with ThreadPoolExecutor(workers) as pool:
        rows = [pool.submit(run_process, case, deadline, limit) for case in cases]
        yield from (row.result() for row in as_completed(rows))


def run_process(case: dict, deadline: float, limit: float) -> dict:
    """The row of one case, run in a process of its own; its error where there is none."""
    left = deadline - time.monotonic()
    if left <= 0:
        return case | {"failed": "no time was left"}
    command = [sys.executable, str(HERE / "cases.py"), json.dumps(case)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=min(limit, left + 20))
    except subprocess.TimeoutExpired as error:
        return case | {"failed": f"it ran for more than {error.timeout:.0f} s"}
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
        return case | {"failed": said[-1][:300]}


def name_of(row: dict) -> str:
    """A method in words."""
    if row["method"] == "dense":
        return f"dense, {row['kernel']}"
    if row["method"] == "flex":
        return f"FlexAttention, {row['density']:.0%} of the blocks"
    what = f"{row['density']:.0%} of the blocks" if row["method"] == "blocks" else "frames"
    passes = ", two passes" if row.get("two_pass") else ""
    sorting = ", tokens sorted in the call" if row.get("sorts") else ""
    products = f", backward in {row['products']} products" if "products" in row else ""
    language = ", in Gluon" if "gluon" in row else ""
    return f"ours{language}, {what}, blocks of {row['block']}, tiles of {row['tile']}{passes}{sorting}{products}"


def add_rates(rows: list[dict]) -> None:
    """TFLOP/s on the pairs computed, and the speed-up over the fastest dense call of the same size."""
    for size in {size_of(row) for row in rows}:
        same = [row for row in rows if size_of(row) == size]
        for name, operations in OPERATIONS.items():
            dense = [row[name] for row in same if row["method"] == "dense" and name in row]
            for row in same:
                if name not in row:
                    continue
                pairs = row["density"] * size[0] ** 2 * size[1]
                row[f"{name}_tflops"] = operations * size[2] * pairs / row[name] / 1e12
                if dense:
                    row[f"{name}_speedup"] = min(dense) / row[name]


def size_of(row: dict) -> tuple[int, int, int]:
    return row["frames"] * row["tokens"], row["heads"], row["width"]


def make_tables(rows: list[dict]) -> str:
    lines = []
    for size in sorted({size_of(row) for row in rows}):
        lines += ["", f"{size[0]} tokens, {size[1]} heads of {size[2]}, bfloat16", ""]
        lines += ["| | pairs | forward ms | TFLOP/s | speed-up | backward ms | TFLOP/s | speed-up | error |"]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        for row in rows:
            if size_of(row) != size:
                continue
            if "failed" in row:
                lines.append(f"| {row['name']} | not measured: {row['failed']} |" + 7 * " |")
                continue
            cells = [row["name"], f"{row['density']:.1%}"]
            for name in OPERATIONS:
                cells.append(f"{1e3 * row[name]:.3f}" if name in row else "none")
                cells += [
                    f"{row[key]:.3g}" if (key := f"{name}_{what}") in row else "" for what in ("tflops", "speedup")
                ]
            cells.append(f"{row['error']:.1e}" if "error" in row else "")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one size, a quarter of the correctness matrix")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, help="default: results/<device>.json beside this script")
    parser.add_argument("--minutes", type=float, default=6.5, help="after which no case is begun")
    parser.add_argument("--workers", type=int, help="processes at once; default: two in three cores")
    options = parser.parse_args()
    started = time.monotonic()
    on_gpu = options.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("no GPU is found; --device cpu with TRITON_INTERPRET=1 tries the script out", file=sys.stderr)
        return 2
    device = torch.cuda.get_device_name() if on_gpu else "cpu"
    path = options.out or (HERE / "results" / f"{device.replace(' ', '_')}.json" if on_gpu else None)
    workers = options.workers or max(1, 2 * len(os.sched_getaffinity(0)) // 3)
    report = {
        "command": "python kernels/benchmarks/attention.py" + (" --quick" if options.quick else ""),
        "device": device, "date": datetime.date.today().isoformat(), "torch": torch.__version__,
        "seconds": 0.0, "ceiling": [], "speed": [], "correct": [],
    }  # fmt: skip
    deadline = started + 60 * options.minutes
    with tempfile.NamedTemporaryFile() as lock:
        shared = {"device": options.device, "lock": lock.name if on_gpu else None}
        for cases, at_once, limit in (
            ([{"kind": "ceiling"}], 1, LIMIT),
            (list(gluon_cases(options.device)), workers, LIMIT / 2),
            (list(speed_cases(options.device, options.quick)), min(workers, 6), LIMIT),
            (list(correct_cases(options.device, options.quick)), workers, LIMIT),
        ):
            for case in cases:  # named before a row's own density replaces the one asked for
                case |= {"name": name_of(case)} if case["kind"] == "speed" else {}
            left_out = [case | {"failed": "its results are wrong"} for case in cases if not may_run(case, report)]
            ready = [case | shared for case in cases if may_run(case, report)]
            for row in (*left_out, *run_cases(ready, at_once, deadline, limit)):
                report[row["kind"]].append({name: value for name, value in row.items() if name not in shared})
                add_rates(report["speed"])
                report["seconds"] = round(time.monotonic() - started, 1)
                print(report[row["kind"]][-1], flush=True)
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(report, indent=1) + "\n")
    print("\n" + make_tables(report["speed"]))
    failed = [row for row in report["correct"] if not row.get("passed")]
    print(f"\n{len(report['correct']) - len(failed)} of {len(report['correct'])} correctness cases passed")
    print(f"{report['seconds']:.0f} seconds in all" + ("" if path is None else f"; written to {path}"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
