"""Patterns of the gallery inside diffusers' Wan pipelines: followed by every layer, step and branch, and undone."""

from __future__ import annotations

import pytest
import torch
from wan_cases import HEIGHT, SPARSE, WHOLE, WIDTH, assert_close, model_inputs, poses, quiet, run_vace, with_mask

from iasa.attention.pattern import Clip
from iasa.attention.patterns import find_pattern
from iasa.backbones import apply_iasa, plan_for, remove_iasa, tiny_models
from iasa.backbones.wan_attention import self_attentions
from iasa.backbones.wan_patterns import apply_pattern
from iasa.config import InputError
from iasa.grid import TokenGrid

STEPS = 6
OPTIONS = {
    "monarch": {},
    "pab": {"range": 2},
    "random_blocks": {"block": 5},
    "svg2": {"dense_share": 0.0, "top_p": 0.5, "per_query_cluster": 8, "per_key_cluster": 8},
}


@pytest.fixture(scope="module")
def vace():
    return quiet(tiny_models.tiny_vace())


@pytest.fixture(autouse=True)
def undone(vace):
    yield
    remove_iasa(vace)


def plan_of(pipe, options=WHOLE):
    return plan_for(pipe, poses(), HEIGHT, WIDTH, options=options)


@pytest.mark.parametrize("name", ["monarch", "pab", "svg2"])
def test_a_pattern_is_followed_by_every_layer_and_undone(vace, name):
    before = run_vace(vace, steps=STEPS)
    pattern = find_pattern(name)(**OPTIONS[name])
    controller = apply_pattern(vace, pattern, [plan_of(vace)], STEPS)
    made = run_vace(vace, steps=STEPS)
    assert torch.isfinite(made).all() and (made - before).abs().max() > 1e-3
    layers = self_attentions(vace.transformer)
    assert pattern.computed.calls == len(layers) * STEPS * 2  # with and without the condition
    assert pattern.computed.density < 1 and controller.clips[0].references == 1
    if name == "pab":
        assert set(pattern._kept) == {(layer, branch) for layer in layers for branch in ("cond", "uncond")}
    assert torch.equal(run_vace(vace, steps=STEPS), made)  # a second call begins anew
    remove_iasa(vace)
    assert torch.equal(run_vace(vace, steps=STEPS), before)


def test_a_static_pattern_is_masked_dense_attention(vace):
    pattern = find_pattern("random_blocks")(**OPTIONS["random_blocks"])
    probe = find_pattern("random_blocks")(**OPTIONS["random_blocks"])
    grid = TokenGrid(6, 4, 6)
    probe.begin(Clip(grid, (1.0,)))
    q, k, v = (torch.randn(1, 1, 6, 24, 8) for _ in range(3))
    probe(0, q, k, v)
    mask = torch.zeros(grid.tokens, grid.tokens, dtype=torch.bool)
    mask[:24, :24] = True  # the reference sees itself
    mask[24:] = probe.map(0, q[:, :, 1:].flatten(2, 3), k.flatten(2, 3))[0, 0] > 0
    wanted = with_mask(vace.transformer, mask, lambda: run_vace(vace))
    apply_pattern(vace, pattern, [plan_of(vace)], 2)
    assert_close(run_vace(vace), wanted)


def test_the_paper_s_pattern_is_its_plan(vace):
    plan = plan_of(vace, SPARSE)
    apply_iasa(vace, plan)
    wanted = run_vace(vace)
    apply_pattern(vace, "input_aware", [plan], 2)
    assert_close(run_vace(vace), wanted)


def test_what_cannot_be_served_is_said(vace):
    with pytest.raises(InputError, match="pab uses outputs of earlier denoising steps again, and there is 1 step"):
        apply_pattern(vace, "pab", [plan_of(vace)], steps=1)
    apply_pattern(vace, "monarch", [plan_of(vace)], steps=2)
    with pytest.raises(InputError, match="monarch has no backward pass inside a video model; apply_iasa trains"):
        vace.transformer(**model_inputs(), timestep=torch.tensor([500.0]))
    with torch.no_grad(), pytest.raises(InputError, match="6 latent frames of 4 x 6 tokens and the video has 5"):
        vace.transformer(**model_inputs(frames=5), timestep=torch.tensor([500.0]))
