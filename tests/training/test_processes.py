"""Several processes (torchrun, which `accelerate launch` runs too): the same curve as one, no clip twice, a common end."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from iasa.config import PRESETS
from iasa.motion.audio_embedding import AHEAD, PAST, STRIDE
from iasa.motion.codebooks import EMACodebookUpdate, ResidualCodebook
from iasa.motion.generator import MotionGenerator
from iasa.motion.rig_regions import CHANNELS, PARAMETERS, REGIONS, STYLE_SIZE
from iasa.training import train_motion
from iasa.training.datasets import Shard, WindowSampler
from iasa.training.train_motion import Piece
from iasa.training.trainer import Schedule, Trainer, share_weights

ROOT = Path(__file__).resolve().parents[2]
GLOBAL_BATCH, STEPS = 8, 6
RANK = int(os.environ.get("RANK", 0))


def train(folder: Path, name: str) -> dict:
    """A small network with a companion on the share of one global batch that falls to this process; run by each of them.

    Each process draws weights of its own, as networks are built before they are told of one another.
    """
    torch.manual_seed(RANK)

    def network() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))

    schedule = Schedule(steps=STEPS, warmup=2, ema=0.9, lr=1e-2, muon_lr=0.02)
    trainer = Trainer(network(), folder / name, schedule, auxiliary_models={"critic": network()})
    accelerator = trainer.accelerator
    losses = []

    def loss_of(model: torch.nn.Module, rng: np.random.Generator) -> torch.Tensor:
        everything = np.random.default_rng(trainer.step).normal(size=(GLOBAL_BATCH, 6)).astype(np.float32)
        share = GLOBAL_BATCH // accelerator.num_processes
        x = torch.from_numpy(everything[accelerator.process_index * share :][:share]).to(accelerator.device)
        made = model(x)
        critic = trainer.auxiliary_models["critic"]
        losses.append(critic.update((critic.bare(x) - made.detach()).square().mean()))
        return (made - x[:, :2]).square().mean() + 0.1 * (made - critic.bare(x).detach()).square().mean()

    trainer.fit(loss_of)
    turns = [list(trainer.sample_indices(2)) for trainer.step in range(3)]
    report = {
        "losses": losses,
        "last": trainer.smooth["loss"],
        "weights": [p.detach().flatten().tolist() for p in trainer.bare.parameters()],
        "turns": turns,
        "processes": accelerator.num_processes,
    }
    (folder / f"{name}_{accelerator.process_index}.json").write_text(json.dumps(report))
    return report


def follow(name: str, folder: Path) -> dict[str, torch.Tensor]:
    """Codebooks that follow latents, of which half fall to each of two processes, from tables that differ at first."""
    torch.manual_seed(10 + RANK)
    codebook = ResidualCodebook(levels=2, entries=4, dim=3)
    update = EMACodebookUpdate(codebook)
    whole = torch.nn.ModuleList([codebook, update])
    accelerator = Accelerator(cpu=True)
    share_weights(whole, accelerator)
    latents = torch.randn(40, 16, 3, generator=torch.Generator().manual_seed(0))
    for step in latents.split(16 // accelerator.num_processes, 1)[accelerator.process_index]:
        update(codebook, step, codebook.encode(step))
    tables = {key: value.clone() for key, value in whole.state_dict().items()}
    save_file(tables, folder / f"{name}_{RANK}.safetensors")
    return tables


def train_from_scratch(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The stage `motion`, both parts of it, on a bank of noise that all processes share; no weights are given."""
    torch.manual_seed(99 + RANK)  # whatever happened before
    rng = np.random.default_rng(0)

    def piece(steps: int) -> Piece:
        channels = rng.normal(size=(PAST + STRIDE * steps + AHEAD, len(CHANNELS))).astype(np.float16)
        vectors = rng.normal(size=(STRIDE * (steps + 2), PARAMETERS)).astype(np.float16)
        return Piece(channels, vectors, np.ones((steps, len(REGIONS)), bool), np.zeros(STYLE_SIZE, np.float32))

    pieces = [piece(20) for _ in range(4)]
    train_motion.make_bank = lambda run: (pieces, pieces[:1])
    schedule = Schedule(steps=5, warmup=1, ema=0.5)
    preset = replace(PRESETS["tiny"], batch=4 if RANK == 0 and "WORLD_SIZE" not in os.environ else 2, frames=8)
    model, _ = train_motion.train_motion(folder / name, schedule, preset, None, False, float("inf"))
    tables = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(tables, folder / f"{name}_{RANK}.safetensors")
    return tables


def fail_together(folder: Path) -> None:
    """Only process 1 meets a loss that is not finite; both must stop, else one would wait for ever."""
    trainer = Trainer(torch.nn.Linear(2, 2), folder / "nan", Schedule(steps=5, warmup=1))
    accelerator = trainer.accelerator

    def loss_of(model: torch.nn.Module, rng: np.random.Generator) -> torch.Tensor:
        bad = accelerator.process_index == 1 and trainer.step == 2
        return model(torch.ones(1, 2)).square().mean() * (float("nan") if bad else 1.0)

    try:
        trainer.fit(loss_of)
    except FloatingPointError as error:
        (folder / f"nan_{accelerator.process_index}.txt").write_text(str(error))


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """What two processes left."""
    folder = tmp_path_factory.mktemp("two")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        __file__,
        str(folder),
    ]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_two_processes_have_the_losses_and_weights_of_one(two, tmp_path):
    one = train(tmp_path, "whole")
    pair = [json.loads((two / f"pair_{rank}.json").read_text()) for rank in range(2)]
    assert one["processes"] == 1 and pair[0]["processes"] == 2
    for rank in pair:
        np.testing.assert_allclose(rank["losses"], one["losses"], rtol=1e-4)
        assert rank["last"] == pytest.approx(one["last"], rel=1e-4)
        for a, b in zip(rank["weights"], one["weights"], strict=True):
            np.testing.assert_allclose(a, b, atol=2e-3)  # orthogonalised in bf16: sums of another order show there
    assert pair[0]["weights"] == pair[1]["weights"]
    assert sorted(p.name for p in (two / "pair").iterdir()) == ["checkpoint"]


def test_codebooks_of_two_processes_follow_the_latents_of_both(two, tmp_path):
    one = follow("codebook", tmp_path)
    first, second = (load_file(two / f"codebook_{rank}.safetensors") for rank in range(2))
    for name, truth in one.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], truth, atol=1e-4, rtol=1e-4)


def test_from_scratch_all_processes_end_with_the_same_weights(two, tmp_path):
    """Codebooks and generator; and no further from those of one process with as many windows a step than five steps on
    other windows lead: it begins at the same."""
    first, second = (load_file(two / f"scratch_{rank}.safetensors") for rank in range(2))
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
    one = train_from_scratch(tmp_path, "scratch")
    torch.manual_seed(Schedule(steps=1).seed)
    start = MotionGenerator().state_dict()
    for name in ("audio.", "blocks.0.qkv.weight", "codecs.arms.encoder.0.weight"):
        keys = [key for key in one if key.startswith(name) and one[key].ndim > 1]
        moved = torch.cat([(one[key] - start[key]).flatten() for key in keys])
        apart = torch.cat([(one[key] - first[key]).flatten() for key in keys])
        assert 0 < apart.norm() < 1.5 * moved.norm() < torch.cat([start[key].flatten() for key in keys]).norm(), name


def test_processes_share_out_the_clips_without_repeats(two):
    turns = [json.loads((two / f"pair_{rank}.json").read_text())["turns"] for rank in range(2)]
    assert sorted(sum(turns[0] + turns[1], [])) == list(range(12))
    shards = [Shard(np.zeros((n, 3)), np.zeros((n, 3)), np.zeros((n, 3)), None) for n in (5, 2, 4)]
    sampler = WindowSampler(shards, 1)
    epochs = [[sampler.clip_of(turn + 11 * epoch) for turn in range(11)] for epoch in range(2)]
    for epoch in epochs:
        seen = {(id(shard), clip) for shard, clip in epoch}
        assert len(seen) == 11 and all(clip < len(shard.frames) for shard, clip in epoch)
    assert [c for _, c in epochs[0]] != [c for _, c in epochs[1]]


def test_all_processes_stop_when_one_meets_a_loss_that_is_not_finite(two):
    for rank in range(2):
        assert (
            "the loss of the model is nan at step 2; no checkpoint was written" in (two / f"nan_{rank}.txt").read_text()
        )


if __name__ == "__main__":
    train(Path(sys.argv[1]), "pair")
    follow("codebook", Path(sys.argv[1]))
    train_from_scratch(Path(sys.argv[1]), "scratch")
    fail_together(Path(sys.argv[1]))
    torch.distributed.destroy_process_group()  # threads of the group that outlive the interpreter abort it
