"""The gallery's table: what the probe sees against brute force, which rows there are, and the page."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sample_plans import performance

from iasa.attention.pattern import Call, Clip
from iasa.attention.patterns import make_pattern
from iasa.benchmarks import PatternOptions, bench_patterns
from iasa.benchmarks.bench_patterns import (
    ORDER,
    clips_of,
    command_of,
    finetuned_rows,
    known_figures,
    matched,
    measure_all,
    published,
    settings_of,
)
from iasa.benchmarks.pattern_page import came_out, to_page
from iasa.benchmarks.pattern_probe import Probe
from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import REGIONS
from iasa.masks import make_plan
from iasa.sampling import make_levels

ROOT = Path(__file__).resolve().parents[2]
GRID = TokenGrid(4, 16, 16)


def clip_of(steps: int, causal: bool = False) -> Clip:
    plan = make_plan(performance(4), GRID, MaskOptions(top_k=1))
    return Clip(GRID, tuple(make_levels(steps)), causal, plan=plan)


def test_the_probe_measures_mass_and_error_of_a_dense_run():
    clip, generator = clip_of(2), torch.Generator().manual_seed(0)
    q, k, v = (2 * torch.randn(1, 2, 4, 256, 16, generator=generator) for _ in range(3))
    candidates = {name: make_pattern(name) for name in ("oracle", "random_blocks", "dense", "monarch")}
    probe = Probe(candidates, layers=(1,), map_steps=(1,))
    probe.begin(clip)
    dense = make_pattern("dense")
    dense.begin(clip)
    for step in range(2):
        probe.next_call(Call(step, clip.levels[step]))
        for layer in range(2):
            assert torch.equal(probe(layer, q, k, v), dense(layer, q, k, v))
    a = dense.map(1, q[:, :, 1:].flatten(2, 3), k.flatten(2, 3))
    o = dense(1, q, k, v)[:, :, 1:].flatten(2, 3)
    face = (clip.plan.region_bits[1:].flatten() >> REGIONS.index("face") & 1).bool()
    for name in ("oracle", "random_blocks"):
        candidate, found = candidates[name], probe.figures(name)
        kept = candidate.map(1, q[:, :, 1:].flatten(2, 3), k.flatten(2, 3)) > 0
        assert found["mass"] == pytest.approx(float((a * kept).sum(-1).mean()), abs=1e-3)
        made = candidate(1, q, k, v)[:, :, 1:].flatten(2, 3)
        apart = ((made - o)[:, :, face].norm() / o[:, :, face].norm()).item()
        assert found["error_face"] == pytest.approx(apart, abs=1e-3)
        assert len(probe.mass[name]) == 1 and len(probe.error[name]["all"]) == 2  # one layer, in one step and in both
    assert probe.figures("dense") == {"mass": 1.0, "error_face": 0.0, "error_hands": 0.0, "error_all": 0.0}
    assert probe.figures("random_blocks")["mass"] < probe.figures("oracle")["mass"] < 1


def test_a_pattern_that_leaves_steps_out_has_no_mass():
    clip = clip_of(6)
    probe = Probe({"pab": make_pattern("pab", range=3)}, layers=(0,), map_steps=range(6))
    probe.begin(clip)
    q, k, v = (torch.randn(1, 1, 4, 256, 8) for _ in range(3))
    for step, level in enumerate(clip.levels):
        probe.next_call(Call(step, level))
        probe(0, q + step, k, v)
    assert "mass" not in probe.figures("pab") and probe.figures("pab")["error_all"] > 0


def test_every_pattern_is_a_row_or_has_its_reason():
    student, teacher, slow = settings_of(PatternOptions())
    assert [s.title for s in (student, teacher, slow)] == ["student, 1 step", "teacher, 6 steps", "teacher, 20 steps"]
    assert settings_of(PatternOptions(models=["teacher"])) == [teacher, slow]
    with pytest.raises(InputError, match="--finetune trains the teacher; --models student leaves it out"):
        measure_all(None, {}, PatternOptions(models=["student"], finetune=2), {"done": []})  # type: ignore[arg-type]
    assert slow.densities == (0.2,) and student.densities == teacher.densities == (0.05, 0.1, 0.2, 0.4)
    refused: dict[str, str] = {}
    clip = clip_of(1, causal=True)
    rows = matched(clip, student, refused)
    assert len(rows) + len(refused) == 4 * (len(ORDER) - 1)
    assert all("pab" not in name for name, _ in rows)
    assert "there is 1 step" in refused["student, 1 step, 0.2, pab"]
    assert {name for name, _ in published(clip)} == {"input_aware", "svg2"}


def test_nothing_is_trained_under_a_pattern_without_a_backward_pass(monkeypatch, tmp_path):
    monkeypatch.setattr(bench_patterns, "ORDER", ("pab",))
    monkeypatch.setattr("iasa.training.datasets.encode_shards", lambda *_: None)
    _, teacher, _ = settings_of(PatternOptions())
    refused: dict[str, str] = {}
    options = PatternOptions(finetune=2, data=str(tmp_path))
    pipeline: Any = SimpleNamespace(autoencoder=None, models={"teacher": None})
    assert finetuned_rows(pipeline, [], options, teacher, refused) == []
    assert refused == {"teacher, 6 steps, fine-tuned 2 steps, 0.2, pab": "pab has no backward pass to be trained under"}


def test_the_command_names_what_was_asked_for_and_no_place():
    asked = PatternOptions(clips=2, real="/somewhere", out="/elsewhere.json", densities=[0.1, 0.2])
    assert command_of(asked) == "python -m iasa bench patterns --clips 2 --densities 0.1 0.2 --real DIR"


def test_the_student_may_be_measured_on_more_clips():
    student, teacher, _ = settings_of(PatternOptions())
    for asked, counts in (
        ({"clips": 2}, (2, 2)),
        ({"clips": 2, "student_clips": 5}, (5, 2)),
        ({"student_clips": 3}, (3, 1)),
    ):
        options = PatternOptions(**asked)
        assert (clips_of(student, options), clips_of(teacher, options)) == counts
    assert command_of(PatternOptions(student_clips=3)) == "python -m iasa bench patterns --student-clips 3"


def test_a_run_that_was_stopped_goes_on_with_what_is_missing(tmp_path):
    """Rows of a model that was not finished are measured again; those of another command are not taken."""
    options = PatternOptions(clips=2, out=str(tmp_path / "rows.json"))
    assert known_figures(options) == {}
    rows = [
        {"subjects": "avatars", "model": model, "pattern": "dense"} for model in ("student, 1 step", "teacher, 6 steps")
    ]
    kept = {"rows": rows, "refused": {"x": "y"}, "done": ["avatars, student, 1 step"], "stopped": True}
    (tmp_path / "rows.json").write_text(json.dumps(kept | {"command": command_of(options)}))
    assert known_figures(options) == {"rows": rows[:1], "refused": {"x": "y"}, "done": ["avatars, student, 1 step"]}
    assert known_figures(PatternOptions(clips=3, out=options.out)) == {}
    (tmp_path / "rows.json").write_text(json.dumps(kept | {"command": command_of(options), "stopped": False}))
    assert known_figures(options) == {}


def test_what_came_out_is_read_from_the_rows():
    def row(pattern: str, psnr: float, mass: float, error: float, seconds: float, target: float | None = 0.2) -> dict:
        place = {"subjects": "avatars", "model": "teacher, 6 steps", "target": target, "pattern": pattern}
        return {**place, "psnr_dense": psnr, "mass": mass, "error_all": error, "attention": seconds}

    rows = [
        row("dense", 100.0, 1.0, 0.0, 2.0, None), row("oracle", 33.0, 0.9, 0.5, 3.0), row("input_aware", 36.5, 0.3, 0.3, 1.0),
        row("random_frames", 37.75, 0.2, 0.4, 1.5), row("random_blocks", 30.0, 0.1, 0.9, 1.9), row("svg2", 40.0, 0.5, 0.35, 2.1),
    ]  # fmt: skip
    (found,) = came_out(rows)
    assert list(found.values()) == [
        "teacher, 6 steps, avatars, 20%", "svg2 40.0, random_frames 37.8, input_aware 36.5", "33.0, 30.0", "oracle 0.90",
        "input_aware 0.30", "-1.2", "input_aware, random_frames, random_blocks",
    ]  # fmt: skip
    assert came_out(rows[:4]) == []  # three patterns are no comparison
    figures = {"rows": rows, "refused": {}, "clips": {"avatars": 1}, "latent_frames": 7, "stopped": True, "done": []}
    assert "What came out" not in to_page(figures, "it", "this machine")  # a model that was not measured to the end
    assert "svg2 40.0" in to_page(figures | {"done": ["avatars, teacher, 6 steps"]}, "it", "this machine")


@pytest.mark.parametrize("name", ["patterns", "patterns_real"])
def test_the_page_is_that_of_its_figures(name):
    figures = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text())
    page = (ROOT / "docs" / "results" / f"{name}.md").read_text()
    device = f"{figures['device']}, torch {figures['torch']}, {figures['date']}"
    assert page.strip() == to_page(figures, figures["command"], device).strip()
    oracle, others = {}, {}
    for row in figures["rows"]:
        if row["target"] is not None and "mass" in row and row["pattern"] != "monarch" and row["density"] < 0.6:
            place = others if row["pattern"] != "oracle" else oracle
            place.setdefault((row["subjects"], row["model"], row["target"]), []).append((row["mass"], row["pattern"]))
    assert oracle and all(np.isfinite(mass) for rows in others.values() for mass, _ in rows)
    for key, rows in others.items():  # none of the patterns that share the oracle's blocks keeps more than it
        assert all(
            mass <= oracle[key][0][0] + 5e-3 for mass, name in rows if name.startswith(("random_b", "local", "radial"))
        )
