"""examples/nano_iasa.py: the whole method in one file agrees with the package, and with itself."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from iasa.keypoints import UPPER_BODY, load_keypoints
from iasa.masks import regions
from iasa.masks.similarity import rigid_distance, top_k_past
from iasa.paths import EXAMPLES, POSES

FILE = EXAMPLES / "nano_iasa.py"


@pytest.fixture(scope="module")
def nano():
    return SimpleNamespace(**runpy.run_path(str(FILE)))


@pytest.fixture(scope="module")
def clip(nano):
    return nano.Data(3, seed=4).draw(3, torch.Generator().manual_seed(0))


def test_it_is_one_file_that_takes_the_poses_alone():
    text = FILE.read_text()
    assert len(text.splitlines()) <= 500
    imported = [node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    assert {name for name in imported if name.startswith("iasa")} == {"iasa.keypoints", "iasa.paths"}


def test_frames_are_chosen_as_by_the_package(nano):
    xy = torch.from_numpy(load_keypoints(POSES / "welcome.npz").xy[::7, list(UPPER_BODY)]).double()
    truth = rigid_distance(xy)
    assert torch.allclose(nano.rigid_distance(xy), truth, atol=1e-5)
    table = top_k_past(truth, 3, first=1)
    chosen = torch.zeros(len(xy), len(xy) + 1, dtype=torch.bool)
    chosen.scatter_(1, torch.where(table < 0, len(xy), table), True)
    assert torch.equal(nano.choose_past(truth, 3), chosen[:, :-1])


def test_places_are_warped_as_by_the_package(nano):
    generator = torch.Generator().manual_seed(1)
    places, source, target = torch.rand(20, 2, generator=generator), *torch.rand(2, 7, 2, generator=generator)
    truth = regions.warp_rigid(places, source[None], target[None], torch.ones(1, 7))[0]
    assert torch.allclose(nano.warp_rigid(places, source, target), truth, atol=1e-3)


def test_a_roll_out_with_a_cache_is_one_masked_pass(nano, clip):
    """Each frame is made from noise at level 1, and so are the keys that later frames read."""
    network = nano.Network()
    noise = torch.cat([
        torch.randn(clip.x[:, :1].shape, generator=generator) for generator in [torch.Generator().manual_seed(2)]
        for _ in range(nano.FRAMES)
    ], 1)  # fmt: skip
    made = nano.roll_out(network, clip, torch.Generator().manual_seed(2))
    assert torch.allclose(made, nano.predict(network, clip, noise, torch.ones(3), True), atol=1e-4)


def test_the_mask_hides_the_future_and_other_regions(nano, clip):
    network, frames = nano.Network(), nano.FRAMES + 1
    mask = clip.mask.view(3, frames, nano.N, frames, nano.N)
    for t in range(frames):
        assert mask[:, t, :, t].all() and mask[:, t, :, 0].all() and not mask[:, t, :, t + 1 :].any()
    assert 0.1 < clip.mask.float().mean() < 0.4
    x = clip.x[:, 1:].clone().requires_grad_()
    made = nano.predict(network, clip, x, torch.full((3,), 0.5), True)
    (gradient,) = torch.autograd.grad(made[:, 3].sum(), x)
    assert gradient[:, :4].abs().amax((0, 2, 3))[3] > 0 and not gradient[:, 4:].any(), "frame 3 read its future"


def test_the_loss_of_dmd_moves_samples_where_the_scores_differ(nano, clip):
    teacher, critic = nano.Network(), nano.Network()
    x0 = clip.x[:, 1:].clone().requires_grad_()
    same = nano.dmd_loss(x0, clip, teacher, teacher, torch.Generator().manual_seed(0))
    assert same == 0, "where teacher and critic agree there is nothing to learn"
    loss = nano.dmd_loss(x0, clip, teacher, critic, torch.Generator().manual_seed(0))
    loss.backward()
    assert x0.grad.abs().max() > 0 and all(p.grad is None for n in (teacher, critic) for p in n.parameters())


def test_all_stages_run_and_are_reported(nano, monkeypatch, capsys, tmp_path):
    out = tmp_path / "sheet.png"
    monkeypatch.setattr(
        sys, "argv", ["nano_iasa.py", "--steps", "4", "--batch", "2", "--clips", "2", "--out", str(out)]
    )
    nano.main()
    said = capsys.readouterr().out
    for row in ("copy of the reference", "teacher, 16 steps", "+ mask", "+ DMD, 1 step", "+ region loss, 1 step"):
        assert row in said
    assert Path(out).stat().st_size > 1000
