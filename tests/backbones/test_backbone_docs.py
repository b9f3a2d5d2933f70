"""The twenty lines of docs/backbones.md run as they stand, on a tiny pipeline at a small size."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from diffusers import WanVACEPipeline
from wan_cases import POSES, quiet

from iasa.backbones import tiny_models, wan_plan
from iasa.config import InputError, MaskOptions
from iasa.explorer.page import explorer_html
from iasa.keypoints import save_keypoints

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "backbones.md").read_text()


def test_the_twenty_lines_run(tmp_path, monkeypatch, capsys):
    code = re.search(r"```python\n(.+?)```", PAGE, re.S)[1]
    save_keypoints(tmp_path / "poses.npz", POSES[:30])
    pipe = quiet(tiny_models.tiny_vace(2, text=True))
    monkeypatch.setattr(pipe, "to", lambda device: pipe, raising=False)
    monkeypatch.setattr(WanVACEPipeline, "from_pretrained", lambda name, torch_dtype: pipe)
    smaller = {
        "480, 832": "64, 96", "height=480, width=832": "height=64, width=96", "[:81]": "[:17]",
        "num_frames=81": "num_frames=17, num_inference_steps=2", '"poses.npz"': repr(str(tmp_path / "poses.npz")),
    }  # fmt: skip
    for there, here in smaller.items():
        assert there in code, there
        code = code.replace(there, here)
    names: dict = {}
    exec(compile(code, "docs/backbones.md", "exec"), names)
    assert names["frames"].shape == (17, 64, 96, 3)
    assert names["control"].calls == {"sparse": 2, "dense": 2}  # the first step dense, two branches of guidance
    assert capsys.readouterr().out.startswith("0.")


def test_the_densities_on_the_page_are_those_of_the_committed_table():
    rows = json.loads((Path(__file__).resolve().parents[2] / "docs/results/bench_backbone.json").read_text())["rows"]
    found = [f"{100 * row['blocks']:.1f} %" for row in rows if row["part"] == "plan"]
    told = " ".join(PAGE.split())
    assert f"{found[0]} and {found[2]} of the blocks" in told and f"{found[1]} and {found[3]} (training-free)" in told


def test_the_explorer_refuses_what_it_cannot_show():
    poses = wan_plan.to_latent_rate(POSES[:17])
    for plan in (
        wan_plan.video_plan(POSES[:17], 64, 96),
        wan_plan.video_plan(POSES[:17], 64, 64, options=MaskOptions(chunk=2)),
        wan_plan.video_plan(POSES[:17], 64, 64, options=MaskOptions(whole_window=True)),
    ):
        with pytest.raises(InputError, match="the explorer shows plans of single frames of square pictures"):
            explorer_html(plan, poses)
    causal = wan_plan.video_plan(POSES[:17], 64, 64, options=MaskOptions(causal=False))
    assert '"causal": false' in explorer_html(causal, poses) or '"causal":false' in explorer_html(causal, poses)
