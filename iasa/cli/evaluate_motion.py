"""`iasa evaluate-motion`: the report on the first stage, speech to keypoints."""

from __future__ import annotations

import argparse
from pathlib import Path

from iasa.cli.arguments import add_networks, check_report, count, gather, write_report
from iasa.config import TEMPERATURE
from iasa.training.speech_data.sentences import LANGUAGES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=count, default=12, help="synthetic clips with known stress (default: 12)")
    parser.add_argument("--seeds", type=count, default=10, help="performances of each clip (default: 10)")
    parser.add_argument("--real", type=Path, help="folder of real recordings, with their words in NAME.txt")
    parser.add_argument(
        "--languages", nargs="*", default=[], choices=sorted(LANGUAGES), help="synthetic clips of these too"
    )
    parser.add_argument("--temperature", type=float, default=TEMPERATURE, help=f"default: {TEMPERATURE}")
    parser.add_argument(
        "--video", type=int, default=0, metavar="N", help="clips made to video and read back by mediapipe"
    )
    parser.add_argument("--through", choices=("renderer", "student"), default="renderer", help="what makes that video")
    parser.add_argument("--ablation", type=int, default=0, metavar="STEPS", help="also train each ablation that long")
    parser.add_argument(
        "--run", type=Path, default=Path("runs"), help="folder of held-out speech and of the training's data"
    )
    add_networks(parser)
    parser.add_argument("--out", type=Path, help="write the report as JSON, and its page beside it as .md")


def run(arguments: argparse.Namespace) -> dict:
    check_report(arguments, page=True)
    from iasa.evaluation.motion_report import MotionReportOptions, report_motion

    page, report = report_motion(gather(MotionReportOptions, arguments))
    print(page)
    write_report(arguments.out, report, page)
    return report
