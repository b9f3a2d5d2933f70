"""The benchmark without a GPU: a case is a process, what fails is a row, and the one call that a GPU gets runs through."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="the kernels need Triton: pip install triton")

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.append(str(FOLDER))

import attention as benchmark  # noqa: E402
import cases  # noqa: E402
import speed_table  # noqa: E402

SIZE = {"kind": "speed", "device": "cpu", "frames": 2, "tokens": 24, "heads": 1, "width": 16}


def soon() -> float:
    return time.monotonic() + 600


def test_a_case_in_a_process_of_its_own_gives_its_row():
    case = SIZE | {"method": "frames", "block": 16, "tile": 16, "two_pass": True}
    row = benchmark.run_process(case, soon(), 120)
    assert row["forward"] > 0 and row["backward"] > 0 and row["error"] < 0.02
    assert row["density"] > 0.5 and row["method"] == "frames"


@pytest.mark.parametrize("method", [
    {"method": "frames", "block": 8, "tile": 16}, {"method": "blocks", "block": 16, "tile": 16, "density": 0.5},
    {"method": "frames", "block": 16, "tile": 32, "sorts": True}, {"method": "dense", "kernel": "math"},
    {"method": "frames", "block": 8, "tile": 16, "products": 7},
], ids=lambda method: method["method"])  # fmt: skip
def test_every_method_runs(method, monkeypatch):
    monkeypatch.setenv("IASA_KERNELS_KEPT_MB", "1")  # what a case sets ends with its process, here with the test
    row = cases.run_case(SIZE | method)
    assert row["forward"] > 0 and row["backward"] > 0 and row.get("error", 0) < 0.02


def test_what_fails_hangs_or_comes_too_late_is_a_row():
    case = SIZE | {"method": "frames", "block": 999, "tile": 16}
    assert "is accepted" in benchmark.run_process(case | {"tile": 17}, soon(), 120)["failed"]
    assert benchmark.run_process(case, soon(), 0.01)["failed"] == "it ran for more than 0 s"
    assert benchmark.run_process(case, time.monotonic(), 120)["failed"] == "no time was left"


def test_a_wrong_result_does_not_pass(monkeypatch):
    case = {"kind": "correct", "dtype": "bfloat16", "width": 32, "block": 16, "device": "cpu"}
    size = torch.tensor([16, 9])
    layout = cases.make_layout(torch.tensor([0, 1, 2]), torch.tensor([0, 1]), size.cumsum(0) - size, size)
    monkeypatch.setattr(cases, "matrix_masks", lambda block: [("full", layout)])
    assert cases.check_correct(case)["passed"]
    real = cases.block_sparse_attention
    monkeypatch.setattr(cases, "block_sparse_attention", lambda *arguments: 1.1 * real(*arguments))
    row = cases.check_correct(case)
    assert not row["passed"] and row["errors"]["full"]["out"] > 0.05


def test_the_kernel_in_gluon_is_timed_on_hopper_if_it_is_right(monkeypatch):
    monkeypatch.setenv("IASA_KERNELS_GLUON", "0")  # what a case sets ends with its process, here with the test
    with pytest.raises(RuntimeError, match="does not take this case on cpu"):
        cases.run_case(SIZE | {"method": "frames", "block": 16, "tile": 16, "gluon": True})
    assert not list(benchmark.gluon_cases("cpu"))
    monkeypatch.setattr(benchmark, "on_hopper", lambda device: True)
    timed = [case for case in benchmark.speed_cases("cuda", False) if "gluon" in case]
    checked = list(benchmark.gluon_cases("cuda"))
    for case in (*timed, *checked):
        assert {case["width"], case["block"], case.get("tile", 64)} <= {64, 128}
    assert len(timed) == 9 and "in Gluon" in benchmark.name_of(timed[0]) and len(checked) == 3
    right = [case | {"passed": True} for case in checked]
    for report, may in (
        (right, True),
        ([*right, checked[0] | {"failed": "?"}], False),
        ([right[0] | {"passed": False}], False),
    ):
        assert benchmark.may_run(timed[0], {"correct": report}) == may
        assert benchmark.may_run(SIZE | {"method": "frames"}, {"correct": report})


def test_rates_and_tables():
    size = {"frames": 1, "tokens": 8, "heads": 1, "width": 4, "kind": "speed"}
    rows = [
        size | {"name": "dense", "method": "dense", "density": 1.0, "forward": 2.0, "backward": 4.0},
        size | {"name": "ours", "method": "frames", "density": 0.25, "forward": 1.0, "backward": 1.0, "error": 1e-3},
        size | {"name": "flex", "method": "flex", "failed": "?"},
    ]
    benchmark.add_rates(rows)
    assert rows[1]["forward_speedup"] == 2 and rows[1]["backward_speedup"] == 4
    assert rows[1]["forward_tflops"] == pytest.approx(4 * 4 * 16 / 1e12)
    assert "| flex | not measured: ? |" in benchmark.make_tables(rows)


def test_a_report_of_a_gpu_fills_the_readme(tmp_path, monkeypatch, capsys):
    size = {"frames": 1, "tokens": 8, "heads": 1, "width": 4, "kind": "speed"}
    report = {
        "command": "attention.py", "device": "GPU X", "date": "2027-01-02", "torch": "2.11",
        "ceiling": [{"copy_bytes": 4e12, "product_flops": 7e14}], "correct": [{"passed": True}, {"failed": "?"}],
        "speed": [size | {"name": "dense", "method": "dense", "density": 1.0, "forward": 2.0},
                  size | {"name": "flex", "method": "flex", "failed": "no memory"}],
    }  # fmt: skip
    readme, path = tmp_path / "README.md", tmp_path / "kernels.json"
    readme.write_text(speed_table.README.read_text())
    monkeypatch.setattr(speed_table, "README", readme)
    monkeypatch.setattr(sys, "argv", ["speed_table.py", str(path)])
    before = readme.read_text()
    path.write_text(json.dumps(report | {"device": "cpu"}))
    assert speed_table.main() == 2 and "a GPU's is needed" in capsys.readouterr().err and readme.read_text() == before
    path.write_text(json.dumps(report))
    assert speed_table.main() == 0
    text = readme.read_text()
    for part in ("on one GPU X", "4.00 TB/s", "700 TFLOP/s", "1 of 2", "| dense | 100.0% | 2000.000 |", "no memory"):
        assert part in text and part not in before
    assert speed_table.main() == 0 and readme.read_text() == text  # a second time changes nothing
    outside = text[: text.index(speed_table.BEGIN)], text[text.index(speed_table.END) :]
    assert before.startswith(outside[0]) and before.endswith(outside[1])


@pytest.mark.timeout(600)  # more than its process may take
@pytest.mark.skipif(not os.environ.get("IASA_LONG"), reason="takes two minutes: IASA_LONG=1 runs it")
def test_the_one_call_runs_through_without_a_gpu(tmp_path):
    environment = os.environ | {
        "DEVICE": "cpu",
        "OUT": str(tmp_path),
        "TRITON_INTERPRET": "1",
        "PYTHON": sys.executable,
    }
    done = subprocess.run([str(FOLDER / "gpu.sh")], env=environment, capture_output=True, text=True, timeout=480)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    report = json.loads((tmp_path / "kernels.json").read_text())
    assert len(report["ceiling"]) == 1 and len(report["speed"]) >= 5 and len(report["correct"]) == 2
    assert not any("failed" in row for kind in ("ceiling", "speed", "correct") for row in report[kind])
    plans = json.loads((tmp_path / "plans.json").read_text())
    assert all("error" not in row for case in plans["cases"] for row in case["rows"])
    (row,) = json.loads((tmp_path / "generate.json").read_text())["rows"]
    assert row["row"] == "student" and row["fps"] > 0
