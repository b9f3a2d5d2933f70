"""`iasa bench`: one of the speed tables, on this machine."""

from __future__ import annotations

import argparse
import importlib

from iasa.benchmarks import BENCHMARKS, GENERATE_ROWS, BackboneOptions, GenerateOptions, PatternOptions
from iasa.cli.arguments import (
    add_device,
    add_networks,
    check_report,
    count,
    duration,
    gather,
    input_folder,
    tell,
    write_report,
)
from iasa.config import COMPUTE, IMAGE_SIZE, PHOTO_SIZE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = GenerateOptions()
    parser.add_argument("what", choices=BENCHMARKS, help="the part to measure")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and repeats")
    parser.add_argument("--out", metavar="JSON", help="write the figures with device, versions and date")
    parser.add_argument_group("of bench backbone").add_argument(
        "--minutes", type=duration, default=BackboneOptions.minutes, help="no row begins later (default: 8)"
    )
    named = (
        ", ".join(repr(row) for row in GENERATE_ROWS)
        + " (default: all of the networks, of a photograph the student and its layers)"
    )
    group = parser.add_argument_group("of bench generate")
    lengths = " ".join(f"{seconds:g}" for seconds in default.seconds)
    group.add_argument(
        "--seconds", type=duration, nargs="+", default=default.seconds, help=f"lengths of speech (default: {lengths})"
    )
    group.add_argument(
        "--rows", nargs="+", choices=GENERATE_ROWS, default=default.rows, metavar="ROW", help=f"of {named}"
    )
    group.add_argument("--steps", type=count, help="denoising steps of the student")
    group.add_argument("--teacher-steps", type=count, help="denoising steps of the teacher")
    group.add_argument(
        "--compute", choices=COMPUTE, default=default.compute, help="tokens of the rows student and live"
    )
    add_networks(group)
    add_device(group)
    group.add_argument(
        "--reference",
        metavar="IMG",
        help="a photograph of a person, or an example's name, who speaks instead (needs mediapipe)",
    )
    group.add_argument(
        "--size", type=int, choices=(IMAGE_SIZE, PHOTO_SIZE), help=f"pixels of its frames (default: {PHOTO_SIZE})"
    )
    group.add_argument("--all-lengths", action="store_true", help="slow rows too: hours")
    group.add_argument("--breakdown", action="store_true", help="attention, linear, norm and the rest of the denoising")
    group.add_argument("--soak", type=count, metavar="N", help="memory over N short generations instead")
    group.add_argument("--against", metavar="JSON", help="a report that --out wrote, to compare with row by row")
    group.add_argument(
        "--drift", type=count, metavar="MINUTES", help="look at one long video instead (needs mediapipe, Skia)"
    )
    patterns, group = PatternOptions(), parser.add_argument_group("of bench patterns (needs mediapipe, Skia)")
    group.add_argument(
        "--models", nargs="+", choices=patterns.models, default=patterns.models, help="whose rows (default: of both)"
    )
    group.add_argument(
        "--clips", type=count, default=patterns.clips, help=f"held-out avatars (default: {patterns.clips})"
    )
    group.add_argument(
        "--student-clips", type=count, default=0, metavar="CLIPS", help="of the student's rows (default: as --clips)"
    )
    group.add_argument(
        "--frames", type=count, default=patterns.frames, help=f"latent frames of each (default: {patterns.frames})"
    )
    group.add_argument(
        "--densities", type=float, nargs="+", default=patterns.densities, metavar="SHARE",
        help="of the pairs, at which patterns are compared (default: " + " ".join(map(str, patterns.densities)) + ")",
    )  # fmt: skip
    group.add_argument(
        "--teacher-step-counts", type=count, nargs="+", default=patterns.teacher_step_counts, metavar="N",
        help="denoising steps of the teacher (default: " + " ".join(map(str, patterns.teacher_step_counts)) + ")",
    )  # fmt: skip
    group.add_argument("--real", type=input_folder, metavar="DIR", help="photographs that are animated too")
    group.add_argument(
        "--finetune",
        type=count,
        default=0,
        metavar="STEPS",
        help="train the teacher under each pattern first, on --data",
    )
    group.add_argument(
        "--data",
        type=input_folder,
        metavar="DIR",
        help="clips of `train data`, encoded by `train teacher` or a later stage",
    )


def run(arguments: argparse.Namespace) -> dict:
    check_report(arguments, page=arguments.what == "patterns")
    from iasa.device import describe_machine, pick_device

    asked = arguments.device if arguments.what == "generate" else "auto"
    device = pick_device(asked)
    kind = {"generate": GenerateOptions, "backbone": BackboneOptions, "patterns": PatternOptions}.get(arguments.what)
    options = gather(kind, arguments) if kind else arguments.quick
    table, figures = importlib.import_module(f"iasa.benchmarks.bench_{arguments.what}").run(options)
    words = " --quick" * arguments.quick + f" --device {asked}" * (asked != "auto")
    report = {"command": f"python -m iasa bench {arguments.what}{words}", **describe_machine(device), **figures}
    tell(arguments, table)
    write_report(arguments.out, report, table if arguments.what == "patterns" else "")
    return report
