"""`iasa motion-data`: clips of real speakers for the training of the motion stage."""

from __future__ import annotations

import argparse
from pathlib import Path

from iasa.cli.arguments import input_folder, tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--videos", type=input_folder, required=True, metavar="DIR", help="folder of videos, each of up to two minutes"
    )
    parser.add_argument(
        "--run", default="runs", help="the training's folder; clips go to RUN/motion/clips (default: runs)"
    )


def run(arguments: argparse.Namespace) -> dict:
    from iasa.training.motion_clips import make_clips

    report = make_clips(arguments.videos, Path(arguments.run) / "motion" / "clips")
    tell(
        arguments,
        f"{report['clips']} clips, {report['seconds']:.0f} s, of {report['videos']} videos; "
        f"the paper's filter kept {report['kept']:.0%} of the frames",
    )
    return report
