"""The GPU script: every part runs on tiny models, rows are written as they finish, and what no GPU measured says so."""

from __future__ import annotations

import json

import pytest
import torch

from iasa.benchmarks import BackboneOptions, bench_backbone
from iasa.cli.main import main
from iasa.paths import RESULTS

PARTS = {"plan", "attention", "agreement", "forward", "stream", "train", "autoencoder"}


def test_every_part_runs_on_tiny_models(tmp_path):
    pytest.importorskip("peft", reason="a LoRA step needs peft, an extra")
    out = tmp_path / "t.json"
    table, figures = bench_backbone.run(BackboneOptions(quick=True, minutes=5, out=str(out)))
    assert {row["part"] for row in figures["rows"]} == PARTS
    failed = [row for row in figures["rows"] if row.get("ms") == bench_backbone.NOT_MEASURED]
    assert not failed, failed
    assert json.loads(out.read_text())["rows"] == figures["rows"] and table.count("\n") == len(figures["rows"]) + 1
    assert all(row["error"] < 1e-5 for row in figures["rows"] if row["part"] == "agreement")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the rows would be measured, for minutes")
def test_without_a_gpu_the_plans_alone_are_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_backbone, "SIZES", ((512, 512),))
    assert main(["bench", "backbone", "--minutes", "1", "--out", str(tmp_path / "t.json"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    plans = [row for row in rows if row["part"] == "plan"]
    assert len(plans) == 2 and {row["tokens"] for row in plans} == {22_528}
    assert all(row["ms"] > 0 and 0 < row["pairs"] < row["blocks"] < row["blocks_unsorted"] < 1 for row in plans)
    assert {row["ms"] for row in rows if row["part"] != "plan"} == {bench_backbone.NOT_MEASURED}


def test_a_row_that_fails_or_comes_too_late_leaves_the_others(monkeypatch):
    bench = bench_backbone.Bench(BackboneOptions(quick=True, minutes=1))

    def broken():
        raise MemoryError("too large")

    bench.row("forward", "broken", broken)
    bench.row("forward", "whole", lambda: 1.5)
    bench._until = 0
    bench.row("forward", "late", lambda: 1.5)
    assert [row["ms"] for row in bench.rows] == [bench_backbone.NOT_MEASURED, 1.5, bench_backbone.NOT_MEASURED]
    assert "too large" in bench.rows[0]["reason"] and "time" in bench.rows[2]["reason"]


def test_the_committed_table_claims_no_figure_that_a_processor_cannot_have():
    report = json.loads((RESULTS / "bench_backbone.json").read_text())
    assert {row["part"] for row in report["rows"]} == PARTS
    if "H100" not in report["device"] and "H200" not in report["device"]:
        assert {row["ms"] for row in report["rows"] if row["part"] != "plan"} == {bench_backbone.NOT_MEASURED}
