"""The speed tables: what their rows say, on sizes that take no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import iasa.benchmarks.bench_attention as bench_attention
import iasa.benchmarks.bench_plan as bench_plan
from iasa.attention.dispatch import choose_backend
from iasa.benchmarks.bench_attention import Case, Method, add_rates, measure_case, random_blocks, runs
from iasa.cli.main import main
from iasa.grid import TokenGrid
from iasa.masks import make_plan

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


def test_rates_count_the_pairs_that_are_computed():
    rows = [
        {"method": "dense, slow", "pairs": 100, "forward": 4.0, "backward": 5.0},
        {"method": "dense, fast", "pairs": 100, "forward": 2.0, "backward": 10.0},
        {"method": "ours", "pairs": 25, "forward": 1.0},
    ]
    add_rates(rows, heads=3, width=8)
    assert rows[2]["forward_tflops"] == pytest.approx(4 * 8 * 3 * 25 / 1e12)
    assert rows[2]["forward_rate_of_dense"] == pytest.approx(0.5) and rows[2]["forward_speedup"] == 2.0
    assert rows[0]["backward_tflops"] == pytest.approx(10 * 8 * 3 * 100 / 5 / 1e12)
    assert rows[1]["backward_speedup"] == 0.5 and "backward_tflops" not in rows[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_case_measures_every_method_and_their_results_agree(dtype):
    case = measure_case(Case((3, 8, 8), 1, 16, dtype, CPU, 1, flex=False))
    rows = {row["method"]: row for row in case["rows"]}
    assert {"dense, torch flash", "dense, ours", "cpu, exact", "cpu, pooled", "blocks 40%"} <= set(rows)
    assert all(row["forward"] > 0 and row["backward"] > 0 for row in rows.values())
    assert rows["cpu, exact"]["pairs"] < rows["cpu, pooled"]["pairs"] <= rows["dense, ours"]["pairs"] == 192**2
    assert case["auto"]["backend"] in ("dense", "cpu")
    table = bench_attention.make_table(case)
    assert table.count("\n") == 3 + len(rows) and "192 tokens (3 x 8 x 8)" in table


def test_auto_takes_no_call_that_was_measured_slower_than_torch_dense(monkeypatch):
    """The committed table: wherever `auto` gathers keys, that was faster than every dense call of torch."""
    monkeypatch.setattr("iasa.attention.dispatch.is_bf16_faster", lambda: True)
    report = json.loads((ROOT / "docs" / "results" / "bench_attention.json").read_text())
    chosen = set()
    for case in report["cases"]:
        plan = make_plan(bench_plan.example_poses(case["shape"][0]), TokenGrid(*case["shape"]))
        choice = choose_backend(plan, "auto", "cpu", getattr(torch, case["dtype"]), case["heads"])
        chosen.add(choice.backend)
        rows = {row["method"]: row for row in case["rows"]}
        for name in ("forward", "backward"):
            dense = min(row[name] for method, row in rows.items() if method.startswith("dense, torch"))
            assert choice.backend == "dense" or rows["cpu, exact"][name] <= dense, (case["tokens"], case["dtype"])
    assert chosen == {"cpu", "dense"}


def test_blocks_of_a_given_density():
    kept = random_blocks(2560, 0.2)
    assert kept.shape == (20, 20) and (kept.sum(1) == 4).all() and kept.diagonal().all()


def test_given_blocks_by_groups_and_by_the_kernels(monkeypatch):
    pytest.importorskip("triton", reason="the kernels need Triton: pip install triton")
    monkeypatch.setattr(bench_attention, "BLOCK", 16)
    kept = random_blocks(40, 0.6)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    q, k, v = (torch.randn(1, 1, 40, 16, device=device) for _ in range(3))
    (groups, pairs), (kernel, same) = (
        make(kept, 40, device) for make in (bench_attention._grouped_call, bench_attention._kernel_call)
    )
    assert pairs == same
    torch.testing.assert_close(kernel(q, k, v), groups(q, k, v), atol=1e-5, rtol=0)


def test_kernels_that_torch_lacks_are_left_out_and_other_errors_are_not():
    case = Case((1, 4, 4), 1, 16, torch.float32, CPU, 1)

    def missing(q, k, v):
        raise RuntimeError("No available kernel. Aborting execution.")

    def broken(q, k, v):
        raise RuntimeError("out of memory")

    assert not runs(Method("dense", missing, 1), case)
    with pytest.raises(RuntimeError, match="out of memory"):
        runs(Method("dense", broken, 1), case)


def test_bench_plan_writes_densities_times_and_where_they_were_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_plan, "GRIDS", ((4, 8, 8),))
    monkeypatch.setattr(bench_plan, "LONG", (6, 4, 4))
    path = tmp_path / "plan.json"
    assert main(["bench", "plan", "--quick", "--device", "cpu", "--json", "--out", str(path)]) == 0
    report = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == report
    assert {"date", "device", "threads", "python", "torch"} <= set(report)
    assert report["command"] == "python -m iasa bench plan --quick", "a device is that of generate alone"
    assert [row["block"] for row in report["density"][:4]] == [16, 32, 64, 128]
    for row in report["density"]:
        assert 0 < row["token_density"] <= row["block_density"] <= row["block_density_unpermuted"] <= 1
    assert [row["tokens"] for row in report["plans"]] == [96, 256] and report["plans"][0]["plan"] > 0


def test_example_poses_are_played_to_and_fro():
    poses = bench_plan.example_poses(400)
    assert len(poses) == 400
    short = bench_plan.example_poses(20)
    torch.testing.assert_close(torch.from_numpy(poses.xy[:20]), torch.from_numpy(short.xy))


def test_bad_arguments_of_bench_are_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "speed"])
    assert stopped.value.code == 2 and "'speed'" in capsys.readouterr().err
    assert main(["bench", "plan", "--out", "table.txt"]) == 2
    assert ".json" in capsys.readouterr().err
