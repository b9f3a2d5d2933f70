"""`iasa train STAGE`: one stage of the training."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from iasa.cli.arguments import add_dtype, add_seed, count, duration, gather, input_folder, tell
from iasa.config import PRESETS, REGION_WEIGHTS
from iasa.training.options import CLIPS, PHOTO_CLIPS, STAGE_STEPS, STAGES, TrainOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = TrainOptions("data")
    lengths = ", ".join(f"{stage} {steps}" for stage, steps in STAGE_STEPS.items())
    parser.add_argument("stage", choices=STAGES, metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument(
        "--run", type=Path, default=default.run, help="folder for data, checkpoints, sample grids and logs"
    )
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        metavar="NAME",
        help="sizes and rates of a stage, or the small ones of tiny (default: the stage's own)",
    )
    parser.add_argument("--steps", type=count, help=f"length of the run (default: {lengths})")
    parser.add_argument(
        "--clips",
        type=count,
        help=f"data: training clips of drawn speakers, beside 48 held-out ones, or of --photos (default: {CLIPS}, of --photos "
        f"{PHOTO_CLIPS} each)",
    )
    parser.add_argument("--pairs", action="store_true", help="data: pairs for restore, not clips for the other stages")
    for name, of in (
        ("--photos", "clips or pairs of this folder's photographs, moved by their layers"),
        ("--takes", "clips of this folder's takes, each a folder of 25 PNG files of one person, first the photograph"),
        ("--videos", "clips or pairs of the people in this folder's videos"),
    ):
        parser.add_argument(name, type=input_folder, metavar="DIR", help=f"data: {of}, not of drawn speakers")
    parser.add_argument(
        "--first", type=int, default=0, help="data: the first clip's number; another number is another speaker"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in --run; refused where there is none"
    )
    parser.add_argument(
        "--from-scratch",
        action="store_true",
        help="do not start from the shipped weights; with --resume: begin anew where there is no checkpoint",
    )
    parser.add_argument("--stop-after", type=duration, default=default.stop_after, help="seconds, then save and leave")
    parser.add_argument(
        "--minutes",
        type=duration,
        help="learn or render for so long, the rates cooled down by then; all wants it, and gives each stage a share",
    )
    parser.add_argument(
        "--export",
        type=Path,
        metavar="FOLDER",
        help="also put the averaged weights into this folder, each network in one of its own name, for --weights FOLDER",
    )
    parser.add_argument(
        "--compact",
        action="store_true",
        help="export in 8 bits and parts of less than 10 MB, as this package ships them",
    )
    parser.add_argument(
        "--people",
        action="store_true",
        help="begin at the shipped networks for photographs of people, and export --compact as what these differ in, in 4 bits",
    )
    parser.add_argument(
        "--regions",
        nargs="+",
        choices=sorted(REGION_WEIGHTS),
        metavar="REGION",
        default=default.regions,
        help=f"distill_region: those that count, with their weights of iasa/config.py (default: {' '.join(default.regions)})",
    )
    parser.add_argument(
        "--arcface",
        type=Path,
        help="distill_region: a TorchScript file of ArcFace for the face, instead of our face encoder",
    )
    parser.add_argument("--pose-only", action="store_true", help="memory stages: networks that get no warped reference")
    add_dtype(parser)
    add_seed(parser)


def run(arguments: argparse.Namespace) -> dict:
    import torch.distributed

    from iasa.training.stages import run_stage

    try:
        report = run_stage(gather(TrainOptions, arguments))
    finally:
        if torch.distributed.is_initialized():  # the group's threads must not outlive the interpreter
            torch.distributed.destroy_process_group()
    tell(arguments, json.dumps(report))
    return report
