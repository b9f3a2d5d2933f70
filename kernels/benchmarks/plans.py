"""IASA's plans of the example poses by every backend of the package on this device: `python kernels/benchmarks/plans.py`.

The sizes, methods and rows are those of `python -m iasa bench attention`, which needs libraries that a bare machine may
lack; this needs PyTorch, Triton, NumPy and Pillow. No method is begun after `--seconds`; what fails is a row with its error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from iasa.benchmarks.bench_attention import Case, make_table, measure_case


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    deadline, device = time.monotonic() + options.seconds, torch.device(options.device)
    cases = [Case((2, 4, 4), 1, 16, torch.float32, device, 1, flex=False)]
    if options.device == "cuda":
        cases = [
            Case((21, 32, 32), 12, 128, torch.bfloat16, device, 10),
            Case((50, 16, 16), 4, 80, torch.bfloat16, device, 10),
        ]
    measured = []
    for case in cases:
        measured.append(measure_case(case, deadline))
        print(make_table(measured[-1]), flush=True)
        if options.out:
            options.out.write_text(json.dumps({"cases": measured}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
