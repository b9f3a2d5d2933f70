"""`iasa evaluate`: the quality report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from iasa.cli.arguments import add_networks, check_report, count, input_files, input_folder, write_report
from iasa.config import (
    IMAGE_SIZE,
    MEMORY_TABLES,
    PHOTO_SIZE,
    PUBLISHED_METRICS,
    WARPED,
    InputError,
    MemoryOptions,
)
from iasa.evaluation.real_set import RealSet
from iasa.evaluation.rows import DEFAULT_ROWS, ROWS
from iasa.files import check_output, display_name

REAL_SIZES = {True: (2, 50), False: (None, 100)}  # with --real: of each kind, None for all
SIZES = {True: (8, 48), False: (64, 100)}  # with and without --quick: clips, and frames of each


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="8 clips of 48 frames instead of 64 of 100")
    parser.add_argument(
        "--ablation", action="store_true", help="the rows of the paper's table 2, as far as they are trained"
    )
    parser.add_argument("--clips", type=count, help="held-out clips")
    parser.add_argument("--frames", type=count, help="frames of each clip")
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=sorted({*ROWS, *WARPED}),
        metavar="ROW",
        help=f"of {', '.join(ROWS)} (default: {' '.join(DEFAULT_ROWS)})",
    )
    parser.add_argument("--steps", type=count, help="denoising steps of the student")
    parser.add_argument("--teacher-steps", type=count, help="denoising steps of the teacher")
    parser.add_argument("--keep", type=Path, help="keep each clip's figures in this file, and go on from it")
    parser.add_argument("--workers", type=count, default=1, help="processes of one thread that share the clips")
    names = ", ".join(PUBLISHED_METRICS)
    parser.add_argument(
        "--metric",
        action="append",
        metavar="NAME=FILE",
        help=f"a published metric by your own weights ({names}; see iasa/metrics/published.py); may be repeated",
    )
    add_networks(parser)
    parser.add_argument(
        "--real",
        type=input_folder,
        metavar="DIR",
        help="measure on real people instead: DIR/clips, halfbody, portraits and poses",
    )
    parser.add_argument(
        "--size", type=int, choices=(IMAGE_SIZE, PHOTO_SIZE), default=PHOTO_SIZE, help="of frames with --real"
    )
    parser.add_argument(
        "--memory",
        type=Path,
        nargs="?",
        const=Path("runs"),
        metavar="RUN",
        help="measure the memory bed of this run instead (default: runs): docs/training.md",
    )
    parser.add_argument(
        "--tables", nargs="+", choices=MEMORY_TABLES, metavar="TABLE", default=list(MEMORY_TABLES),
        help=f"memory: of {', '.join(MEMORY_TABLES)} (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--memory-frames",
        type=int,
        default=MemoryOptions().top_k,
        help="memory: past frames in whole clips (default: 4)",
    )
    parser.add_argument("--out", type=Path, help="write the report as JSON, and for reading beside it as .md")


def run(arguments: argparse.Namespace) -> dict:
    check_report(arguments, page=True)
    if arguments.keep:
        check_output(arguments.keep, (arguments.keep.suffix.lower(),), input_files(arguments, ("keep",)))
    if arguments.real:
        return _run_real(arguments)
    if arguments.memory:
        return _run_memory(arguments)
    published = read_metric_files(arguments.metric)
    from iasa.evaluation.run import choose_rows, evaluate
    from iasa.models.checkpoint import check_folder

    weights = None if arguments.weights is None else check_folder(arguments.weights)
    clips, frames = SIZES[arguments.quick]
    text, report = evaluate(
        choose_rows(arguments.rows, arguments.ablation, weights),
        arguments.clips or clips,
        arguments.frames or frames,
        {"student": arguments.steps, "teacher": arguments.teacher_steps},
        weights,
        arguments.keep,
        arguments.workers,
        published,
    )
    print(text)
    write_report(arguments.out, report, text)
    return report


def _run_memory(arguments: argparse.Namespace) -> dict:
    """The memory bed. Of the other options only --quick, --clips and --out count."""
    if not arguments.memory.is_dir():
        raise InputError(f"there is no folder {display_name(arguments.memory)} with a run")
    if arguments.memory_frames < 1:
        raise InputError(f"a memory of {arguments.memory_frames} frames is asked for; 1 or more are accepted")
    from iasa.evaluation.memory_report import evaluate_memory

    clips = SIZES[arguments.quick][0] if arguments.clips is None else arguments.clips
    text, report = evaluate_memory(arguments.memory, clips, arguments.tables, arguments.memory_frames)
    print(text)
    write_report(arguments.out, report, text)
    return report


def _run_real(arguments: argparse.Namespace) -> dict:
    """Photographs and clips. Of the other options --quick, --clips (of each kind), --frames, --rows and --weights count."""
    RealSet.of(arguments.real)  # a wrong folder is answered at once
    from iasa.evaluation.real_people import DEFAULT_ROWS as REAL_DEFAULT
    from iasa.evaluation.real_people import ROWS as REAL_ROWS
    from iasa.evaluation.real_people import evaluate_real
    from iasa.models.checkpoint import check_folder

    clips, frames = REAL_SIZES[arguments.quick]
    rows = tuple(arguments.rows or REAL_DEFAULT)
    unknown = [row for row in rows if row not in REAL_ROWS]
    if unknown:
        raise InputError(f"the row {unknown[0]} is not measured on real people; {', '.join(REAL_ROWS)} are")
    limit, frames = arguments.clips or clips, arguments.frames or frames
    weights = None if arguments.weights is None else check_folder(arguments.weights)
    text, report = evaluate_real(arguments.real, frames, arguments.size, limit, rows, weights)
    print(text)
    write_report(arguments.out, report, text)
    return report


def read_metric_files(given: Sequence[str] | None) -> dict[str, Path]:
    """Files by metric, of NAME=FILE. Raises InputError."""
    files = {}
    for text in given or ():
        name, sign, file = text.partition("=")
        if not sign or name not in PUBLISHED_METRICS:
            raise InputError(
                f"the metric is {text!r}; NAME=FILE is accepted, NAME one of {', '.join(PUBLISHED_METRICS)}"
            )
        if not Path(file).is_file():
            raise InputError(f"there is no file {display_name(file)} for the metric {name}")
        files[name] = Path(file)
    return files
