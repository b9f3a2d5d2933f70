"""Several processes (torchrun, which `accelerate launch` runs too): the same curve as one, no clip twice, a common end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from iasa.training.datasets import Shard, WindowSampler
from iasa.training.trainer import Schedule, Trainer

ROOT = Path(__file__).resolve().parents[2]
GLOBAL_BATCH, STEPS = 8, 6


def train(folder: Path, name: str) -> dict:
    """A small network with a companion on the share of one global batch that falls to this process; run by each of them."""
    torch.manual_seed(0)

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
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
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
    fail_together(Path(sys.argv[1]))
    torch.distributed.destroy_process_group()  # threads of the group that outlive the interpreter abort it
