"""Distillation by adapters: roles, checkpointing, annealing, two processes, exact resume; the backbone stays as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from wan_cases import HEIGHT, POSES, WIDTH

pytest.importorskip("peft", reason="adapters need peft, an extra")

from iasa.backbones import tiny_models
from iasa.backbones.lora_roles import LoraRoles
from iasa.backbones.replay import enable_checkpointing
from iasa.backbones.wan_distill import DistillSettings, LatentClip, annealed, clip_losses, full_control, plan_clip
from iasa.backbones.wan_region_loss import make_region_loss
from iasa.backbones.wan_trainer import BackboneTrainer
from iasa.config import InputError, MaskOptions

MASK = MaskOptions(top_k=1, window=1, block=16)
SETTINGS = DistillSettings(
    steps=2, critic_updates=1, lr=1e-3, critic_lr=1e-3, rank=4, anneal=0, mask=MASK, causal=True, regression=0.1
)  # fmt: skip


class Clips:
    """Random latents and real poses."""

    def __init__(self, count: int = 4, frames: int = 3) -> None:
        self.count, self.frames = count, frames

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> LatentClip:
        generator = torch.Generator().manual_seed(index)
        latents = torch.randn(1, 16, self.frames, HEIGHT // 8, WIDTH // 8, generator=generator)
        control = torch.randn(1, 32, self.frames + 1, HEIGHT // 8, WIDTH // 8, generator=generator)
        poses = POSES[20 * index : 20 * index + 4 * self.frames - 3]
        text = tiny_models.text_embedding()
        return LatentClip(f"clip{index}", latents, control, text, torch.zeros_like(text), poses)


def trainer(folder: Path, settings: DistillSettings = SETTINGS, **more) -> BackboneTrainer:
    return BackboneTrainer(tiny_models.tiny_vace(2).transformer, Clips(), settings, folder, **more)


def vector(weights) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in weights])


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "whole clip"])
def test_the_adapters_learn_and_the_backbone_stays(tmp_path, causal):
    one = trainer(tmp_path, SETTINGS.__class__(**{**SETTINGS.__dict__, "causal": causal}), batch=2)
    base = {name: p.clone() for name, p in one.roles.model.named_parameters() if "lora" not in name}
    before = {name: vector(one.roles.parameters(name)) for name in ("student", "critic")}
    losses = list(one.fit(2))
    assert all(np.isfinite(list(found.values())).all() for found in losses) and len(losses) == 2
    for name in ("student", "critic"):
        assert (vector(one.roles.parameters(name)) - before[name]).abs().max() > 1e-4
    after = dict(one.roles.model.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in base.items())


def test_roles_differ_only_in_adapter_and_plan():
    model = tiny_models.tiny_vace(2).transformer
    clip = Clips()[0]
    given = dict(
        hidden_states=torch.cat([clip.latents[:, :, :1], clip.latents], 2), control_hidden_states=full_control(clip.control, 1),
        encoder_hidden_states=clip.text, timestep=torch.tensor([500.0]), return_dict=False,
    )  # fmt: skip
    with torch.no_grad():
        plain = model(**given)[0]
        roles = LoraRoles(model, 4)
        roles.follow(plan_clip(clip, MASK))
        assert torch.equal(roles.become("teacher")(**given)[0], plain)
        for weight in roles.parameters("critic"):
            weight.add_(0.05)
        assert torch.equal(roles.become("teacher")(**given)[0], plain)
        critic, student = roles.become("critic")(**given)[0], roles.become("student")(**given)[0]
    assert (critic - plain).abs().max() > 1e-3 and (student - plain).abs().max() > 1e-3  # the student's mask alone
    with pytest.raises(ValueError, match="role is 'judge'"):
        roles.become("judge")


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "whole clip"])
@pytest.mark.parametrize("student", [True, False], ids=["student", "critic"])
def test_checkpointing_changes_no_gradient(causal, student):
    """The roles take turns between the student's forward pass and its backward pass, and blocks run again in it."""
    found = []
    settings = SETTINGS.__class__(**{**SETTINGS.__dict__, "causal": causal})
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = tiny_models.tiny_vace(2).transformer.train()
        roles = LoraRoles(model, 4)
        for name in ("student", "critic"):  # B begins at zero: without this half of the gradients would be
            for weight in roles.parameters(name):
                weight.data += 0.02
        if checkpointing:
            enable_checkpointing(model)
        clip = Clips()[1]
        clip_losses(roles, clip, plan_clip(clip, MASK), settings, student, 0)
        found.append(torch.cat([p.grad.flatten() for p in roles.parameters("student" if student else "critic")]))
        assert all(p.grad is None for p in roles.parameters("critic" if student else "student"))
    assert torch.equal(*found) and found[0].abs().max() > 0


def test_resume_goes_on_exactly(tmp_path):
    whole = trainer(tmp_path / "whole", batch=2)
    losses = list(whole.fit(2))
    part = trainer(tmp_path / "part", batch=2)
    list(part.fit(1))
    again = trainer(tmp_path / "part", batch=2)
    assert again.resume() == 1
    assert list(again.fit(2)) == losses[1:]
    for name in ("student", "critic"):
        assert torch.equal(vector(again.roles.parameters(name)), vector(whole.roles.parameters(name)))
    with pytest.raises(InputError, match="other settings"):
        trainer(tmp_path / "part").resume()
    with pytest.raises(InputError, match="no checkpoint"):
        trainer(tmp_path / "none").resume()
    pipe = tiny_models.tiny_vace(2)
    pipe.load_lora_weights(tmp_path / "whole" / "student.safetensors", adapter_name="iasa")
    loaded = {n: p for n, p in pipe.transformer.named_parameters() if ".iasa." in n}
    own = whole.roles.named_parameters("student")
    assert len(loaded) == len(own)
    assert all(torch.equal(p, own[name.replace(".iasa.", ".student.")]) for name, p in loaded.items())


def test_small_steps_are_not_lost_to_bfloat16(tmp_path):
    """A step of 1e-5 is below the resolution of bfloat16 at most weights: float32 masters take it, and checkpoints hold them."""
    settings = SETTINGS.__class__(**{**SETTINGS.__dict__, "lr": 1e-5})
    model = tiny_models.tiny_vace(2).transformer.to(torch.bfloat16)
    one = BackboneTrainer(model, Clips(), settings, tmp_path)
    name = next(name for name in one.roles.named_parameters("student") if "lora_B" in name)
    one.roles.named_parameters("student")[name].data.fill_(0.1)  # as late in a training; it begins at zero
    one.masters["student"][name].data.fill_(0.1)
    next(one.fit(1))
    moved = (one.masters["student"][name] - 0.1).abs()
    assert 5e-6 < moved.median() < 2e-5, moved.median()  # one step of Adam's
    weights = one.roles.named_parameters("student")
    assert all(weight.dtype == torch.bfloat16 for weight in weights.values())
    assert all(torch.equal(weight, one.masters["student"][own].bfloat16()) for own, weight in weights.items())
    saved = load_file(tmp_path / "checkpoint" / "state.safetensors")
    assert torch.equal(saved[name], one.masters["student"][name].detach()) and saved[name].dtype == torch.float32


WORKER = """
import sys
from pathlib import Path

import torch
import torch.distributed as dist

here, rank, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
sys.path[:0] = [here, str(Path(here).parents[1])]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
from test_wan_distill import trainer
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


def spread(model):
    mesh = init_device_mesh("cpu", (2,))
    for block in [*model.blocks, *model.vace_blocks]:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


for name, prepare in (("averaged", None), ("sharded", spread)):
    for losses in trainer(folder / name, batch=2, prepare=prepare).fit(1):
        if rank == 0:
            print(losses["critic"], losses["student"])
again = trainer(folder / "sharded", batch=2, prepare=spread)
again.resume()
assert again.step == 1
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tmp_path):
    """With averaged gradients, and with the weights spread over both (FSDP2), whose checkpoint is the same too."""
    alone = trainer(tmp_path / "alone", batch=2)
    wanted = [[losses["critic"], losses["student"]] for losses in alone.fit(1)]
    words = [sys.executable, "-c", WORKER, str(Path(__file__).parent)]
    processes = [
        subprocess.Popen([*words, str(rank), str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    told = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    found = [[float(word) for word in line.split()] for line in told[0][0].splitlines()]
    np.testing.assert_allclose(found, wanted + wanted, rtol=1e-5)
    for name in ("averaged", "sharded"):
        state = load_file(tmp_path / name / "checkpoint" / "state.safetensors")
        for weight, own in alone.roles.named_parameters("student").items():
            torch.testing.assert_close(state[weight], own.detach(), rtol=1e-3, atol=1e-5)


def test_the_region_loss_looks_at_face_and_hands_alone():
    vae = tiny_models.tiny_vae()
    region = make_region_loss(vae)
    clip = Clips()[0]
    x0 = clip.latents.transpose(1, 2).clone().requires_grad_()
    assert float(region(x0, clip, torch.Generator().manual_seed(0))) == pytest.approx(0, abs=1e-6)
    other = (x0 + 0.5 * torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))).detach().requires_grad_()
    loss = region(other, clip, torch.Generator().manual_seed(0))
    loss.backward()
    reached = other.grad.abs().amax((0, 2))  # [f, h, w]
    assert float(loss) > 1e-3 and (reached.amax((1, 2)) > 0).sum() == 2  # two latent frames are decoded
    assert all(p.grad is None for p in vae.parameters())


def test_annealing_goes_from_everything_to_the_plan():
    clip = Clips(frames=5)[0]
    goal = MaskOptions(top_k=1, window=0, block=16)
    densities = [plan_clip(clip, annealed(goal, 6, step, 10)).density() for step in range(11)]
    assert (
        densities == sorted(densities, reverse=True)
        and densities[-1] == plan_clip(clip, goal).density() < densities[0] / 1.5
    )
    assert annealed(goal, 6, 0, 10).top_k == 6 and annealed(goal, 6, 10, 10) == goal == annealed(goal, 6, 0, 0)


def test_bad_input_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no clips"):
        BackboneTrainer(tiny_models.tiny_vace(2).transformer, [], SETTINGS, tmp_path)
    clips = Clips()
    short = clips[0].__class__(**{**clips[0].__dict__, "poses": POSES[:8]})
    with pytest.raises(InputError, match="8 poses for 3 latent frames; 9 are needed"):
        next(BackboneTrainer(tiny_models.tiny_vace(2).transformer, [short], SETTINGS, tmp_path).fit(1))
    model = tiny_models.tiny_vace(2).transformer
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match="pip install peft"):
        LoraRoles(model)
