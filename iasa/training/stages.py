"""`python -m iasa train STAGE`: data, autoencoder, teacher, student; each starts from committed weights if its run is gone."""

from __future__ import annotations

import argparse
import platform
from datetime import date
from pathlib import Path

import torch

from iasa.config import PRESETS, InputError, TrainPreset
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.models.weights import FOLDER, load_weights, read_card, save_weights
from iasa.training.loop import Schedule, Trainer

STAGES = ("data", "autoencoder", "teacher", "student")
STEPS = {"autoencoder": 4000, "teacher": 6000, "student": 1500}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--run", type=Path, default=Path("runs"), help="folder for data, checkpoints, sheets and logs")
    parser.add_argument("--preset", choices=sorted(PRESETS), help="sizes and rates; by default the stage's own")
    parser.add_argument("--steps", type=int, help=f"length of the run (default: {STEPS})")
    parser.add_argument("--clips", type=int, default=2000, help="data: training clips to render (50 held-out ones come along)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --run")
    parser.add_argument("--from-scratch", action="store_true", help="do not start from the shipped weights")
    parser.add_argument("--stop-after", type=float, default=float("inf"), help="seconds, then save and leave")
    parser.add_argument("--export", type=Path, help="write the averaged weights and their card into this folder")
    parser.add_argument("--seed", type=int, default=0)


def run_stage(options: argparse.Namespace) -> dict:
    """Run one stage; returns a report for --json."""
    data = options.run / "data"
    if options.stage == "data":
        from iasa.training.data import make_shards

        make_shards(data, options.clips, options.run / "corpus")
        make_shards(data, 50, options.run / "corpus", heldout=True)
        return {"stage": "data", "clips": options.clips}
    if not list(data.glob("train_*.frames.npy")):
        raise InputError(f"there are no clips under {options.run}; make them with: python -m iasa train data --run {options.run}")
    preset = PRESETS[options.preset or options.stage]
    schedule = make_schedule(options.stage, preset, options.steps, options.seed)
    run = options.run / options.stage
    model, trainer = _train(options, data, run, schedule, preset)
    report = {"stage": options.stage, "steps": trainer.step, "seconds": round(trainer.seconds, 1), "device": str(trainer.accelerator.device)}
    if options.export:
        card = make_card(options.stage, trainer, data)
        save_weights(model, options.export, card)
        report["card"] = card
    return report


def make_schedule(stage: str, preset: TrainPreset, steps: int | None, seed: int) -> Schedule:
    return Schedule(
        steps=steps or STEPS[stage], seed=seed, warmup=preset.warmup, lr=preset.lr, muon_lr=preset.muon_lr, ema=preset.ema
    )


def _train(options: argparse.Namespace, data: Path, run: Path, schedule: Schedule, preset: TrainPreset):
    if options.stage == "autoencoder":
        from iasa.training.train_autoencoder import train_autoencoder

        start = shipped(Autoencoder, "autoencoder", options.from_scratch)
        return train_autoencoder(data, run, schedule, preset.batch, start, options.resume, options.stop_after)
    from iasa.training.data import encode_shards
    from iasa.training.train_teacher import train_student, train_teacher

    trained = options.run / "autoencoder" / "export"
    autoencoder = load_weights(Autoencoder, trained if trained.exists() else FOLDER / "autoencoder")
    trainer_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    autoencoder = autoencoder.to(trainer_device).to(memory_format=torch.channels_last)
    for split in ("train", "heldout"):
        encode_shards(data, split, autoencoder)
    if options.stage == "teacher":
        start = shipped(VideoTransformer, "teacher", options.from_scratch)
        return train_teacher(data, run, schedule, preset, autoencoder, start, options.resume, options.stop_after)
    own = options.run / "teacher" / "export"
    start = load_weights(VideoTransformer, own) if own.exists() else shipped(VideoTransformer, "teacher", False)
    return train_student(data, run, schedule, preset, autoencoder, start, options.resume, options.stop_after)


def shipped(kind: type, name: str, from_scratch: bool):
    """The committed weights to go on from, None to begin anew."""
    if from_scratch or not (FOLDER / name / "config.json").exists():
        return None
    return load_weights(kind, FOLDER / name).requires_grad_(True)


def make_card(stage: str, trainer: Trainer, data: Path) -> dict:
    """What a weight file must say of itself; steps and seconds add up over the runs that led to it."""
    earlier = read_card(stage) if (FOLDER / stage / "card.json").exists() else {"steps": 0, "seconds": 0}
    return {
        "name": stage,
        "data": "procedural avatar (iasa.avatar), rendered at 256 x 256, 25 frames/s; no real people",
        "clips": 50 * len(list(data.glob("train_*.frames.npy"))),
        "steps": trainer.step + earlier["steps"],
        "seconds": round(trainer.seconds + earlier["seconds"]),
        "device": f"{trainer.accelerator.device.type} ({platform.machine()}, {torch.get_num_threads()} threads)",
        "torch": torch.__version__,
        "date": date.today().isoformat(),
        "format": "int8 matrices with a float16 scale a row, float16 vectors",
        "licence": "Apache-2.0",
    }

