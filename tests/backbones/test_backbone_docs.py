"""The twenty lines of docs/backbones.md run as they stand, on a tiny pipeline at a small size."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import torch
from diffusers import WanVACEPipeline
from wan_cases import POSES, model_inputs, quiet

from iasa.backbones import tiny_models, wan_plan
from iasa.backbones.wan_cost import WanShape, speed_table, step_cost
from iasa.config import MaskOptions
from iasa.explorer.page import explorer_html
from iasa.keypoints import save_keypoints
from iasa.paths import RESULTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "backbones.md").read_text()


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
    rows = json.loads((RESULTS / "bench_backbone.json").read_text())["rows"]
    found = [f"{100 * row['blocks']:.1f} %" for row in rows if row["part"] == "plan"]
    told = " ".join(PAGE.split())
    assert f"{found[0]} and {found[2]} of the blocks" in told and f"{found[1]} and {found[3]} (training-free)" in told


def test_the_ceiling_on_the_page_is_computed_from_the_committed_densities():
    rows = [row for row in json.loads((RESULTS / "bench_backbone.json").read_text())["rows"] if row["part"] == "plan"]
    blocks = {rows[i]["tokens"]: (rows[i]["blocks"], rows[i + 1]["blocks"]) for i in (0, 2)}
    for line in speed_table(blocks):
        assert line in PAGE, line


def test_the_cost_of_a_step_is_that_of_the_real_classes():
    """Operations of the linear layers as torch counts them; its fused attention on a processor is not counted."""
    from torch.utils.flop_counter import FlopCounterMode

    model = tiny_models.tiny_vace(2).transformer
    given = model_inputs() | {"timestep": torch.tensor([500.0]), "return_dict": False}
    rope = model.rope(given["hidden_states"])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.blocks[0](torch.zeros(1, 144, 32), torch.zeros(1, 512, 32), torch.zeros(1, 6, 32), rope)
    cost = step_cost(WanShape(32, 64, 1), 144)
    text = 4 * 512 * 32 * 32  # keys and values of the text, which the formula leaves out: a step's text is short
    assert counter.get_total_flops() == cost.linear + text and cost.attention == 4 * 144**2 * 32


def test_the_example_runs(capsys):
    spec = importlib.util.spec_from_file_location("use_in_diffusers", ROOT / "examples" / "use_in_diffusers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures = module.main(["--steps", "2"])
    assert figures["psnr"] < 100
    told = capsys.readouterr().out
    assert "frames of 4 x 6 tokens" in told and "these weights are random" in told


def test_the_explorer_shows_plans_of_video_models():
    poses = wan_plan.to_latent_rate(POSES[:17])
    for plan, said in (
        (wan_plan.video_plan(POSES[:17], 64, 96), '"cols":6'),
        (wan_plan.video_plan(POSES[:17], 64, 64, options=MaskOptions(chunk=2)), '"chunk":2'),
        (wan_plan.video_plan(POSES[:17], 64, 64, options=MaskOptions(whole_window=True)), '"whole_window":true'),
    ):
        assert said in explorer_html(plan, poses).replace(" ", "")
    causal = wan_plan.video_plan(POSES[:17], 64, 64, options=MaskOptions(causal=False))
    assert '"causal": false' in explorer_html(causal, poses) or '"causal":false' in explorer_html(causal, poses)
