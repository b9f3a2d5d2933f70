"""The command line, `python -m iasa COMMAND`: exit status 0, or 2 and one plain sentence on stderr for bad input."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence

from iasa import __version__
from iasa.cli import commands
from iasa.config import (
    DEFAULT_MOTION,
    DEFAULT_STEPS,
    MAX_STEPS,
    MODELS,
    MOTION_MODELS,
    InputError,
    MaskOptions,
)

MAX_SEED = 2**32 - 1


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = list(sys.argv[1:] if words is None else words)
    try:
        arguments = make_parser(words[0] if words else "").parse_args(words)
        report = arguments.command(arguments)
    except (InputError, ImportError) as error:  # the latter names a missing library's install command
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        print("iasa: stopped", file=sys.stderr)
        return 130
    if arguments.json:
        print(json.dumps(report), flush=True)
    return 0


def _refuse(sentence: str) -> int:
    print("iasa:", " ".join(sentence.split()), file=sys.stderr)
    return 2


class Parser(argparse.ArgumentParser):
    """Answers a wrong command line with one sentence instead of the whole usage."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def make_parser(command: str = "") -> argparse.ArgumentParser:
    """All commands; only the named one's options are filled in where that would load torch."""
    parser = Parser(prog="iasa", description="Speech and a picture in, a talking speaker out.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, run: Callable[[argparse.Namespace], dict], text: str, seed: bool = True
    ) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=text, description=text)
        sub.set_defaults(command=run)
        sub.add_argument("--json", action="store_true", help="print the figures as one line of JSON, last on stdout")
        if seed:
            sub.add_argument("--seed", type=_seed, default=0, help="of everything random (default: 0)")
        return sub

    _add_generate(add("generate", commands.generate, "make a talking video from speech and a speaker"))
    sub = add("motion", commands.motion, "speech to keypoints: the first stage alone")
    sub.add_argument("--audio", required=True, help="speech in any usual sound or video file")
    _add_body(sub)
    sub.add_argument(
        "--model", choices=MOTION_MODELS, default=DEFAULT_MOTION, help=f"who performs (default: {DEFAULT_MOTION})"
    )
    sub.add_argument("--out", required=True, help="P.npz with xy, confidence and fps")
    sub = add("pose", commands.pose, "the keypoints of a real video (needs mediapipe)")
    sub.add_argument("--video", required=True)
    sub.add_argument("--out", required=True, help="P.npz with xy, confidence and fps")
    _add_mask(add("mask", commands.mask, "the attention plan of a pose file, its density, its picture"))
    sub = add("avatar", commands.avatar, "draw the procedural speaker of a seed speaking (needs Skia)")
    sub.add_argument("--audio", required=True, help="speech in any usual sound or video file")
    sub.add_argument("--size", type=int, choices=(256, 512), default=256, help="pixels (default: 256)")
    sub.add_argument("--out", required=True, help="V.mp4")
    sub = add(
        "motion-data", commands.motion_data, "videos of people who talk to clips for `train motion` (needs mediapipe)"
    )
    sub.add_argument("--videos", required=True, metavar="DIR", help="folder of videos, each of up to two minutes")
    sub.add_argument(
        "--run", default="runs", help="the training's folder; clips go to RUN/motion/clips (default: runs)"
    )
    sub = add("train", commands.train, "train one stage, from the data to the distilled student", seed=False)
    if command == "train":
        from iasa.training.stages import add_arguments as add_stages

        add_stages(sub)
    sub = add("evaluate", commands.evaluate, "measure teacher and student on held-out speakers and speech")
    if command == "evaluate":
        from iasa.evaluation.run import add_arguments as add_evaluation

        add_evaluation(sub)
    sub = add(
        "evaluate-motion", commands.evaluate_motion, "measure the learned motion model beside the rules and the truth"
    )
    if command == "evaluate-motion":
        from iasa.evaluation.evaluate_motion import add_arguments as add_motion_evaluation

        add_motion_evaluation(sub)
    sub = add("bench", commands.bench, "measure speed on this machine", seed=False)
    sub.add_argument("what", choices=commands.BENCHES, help="the part to measure")
    sub.add_argument("--quick", action="store_true", help="fewer sizes and repeats")
    sub.add_argument("--out", metavar="JSON", help="write the figures with device, versions and date")
    if command == "bench":
        from iasa.benchmarks.bench_generate import add_arguments as add_generation

        add_generation(sub)
    return parser


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed; a whole number from 0 to {MAX_SEED} is needed")
    return int(text)


def _add_body(sub: argparse.ArgumentParser) -> None:
    speaker = sub.add_mutually_exclusive_group()
    speaker.add_argument("--avatar", type=_seed, metavar="N", help="the drawn speaker of this seed")
    speaker.add_argument("--speaker", metavar="NAME", help="an example speaker (default: the first one)")


def _add_generate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--audio", required=True, help="speech in any usual sound or video file")
    speaker = sub.add_mutually_exclusive_group()
    speaker.add_argument("--reference", metavar="IMG", help="a portrait photograph (needs mediapipe and Skia)")
    speaker.add_argument("--avatar", type=_seed, metavar="N", help="the drawn speaker of this seed (needs Skia)")
    speaker.add_argument("--speaker", metavar="NAME", help="an example speaker (default: the first one)")
    sub.add_argument("--pose", metavar="P.npz", help="follow these poses instead of those made from the speech")
    sub.add_argument("--model", choices=MODELS, default="student", help="default: student")
    sub.add_argument(
        "--motion",
        choices=MOTION_MODELS,
        help=f"who performs: the learned motion model, or rules (default: {DEFAULT_MOTION})",
    )
    limits = ", ".join(f"{name} 1 to {MAX_STEPS[name]}, default {DEFAULT_STEPS[name]}" for name in MODELS)
    sub.add_argument("--steps", type=int, help=f"denoising steps ({limits})")
    sub.add_argument("--no-mark", action="store_true", help="leave the visible AI mark out of the frames")
    sub.add_argument(
        "--stream", action="store_true", help="hear the file as if it came live: no look ahead, frames at once"
    )
    sub.add_argument("--out", required=True, help="V.mp4")


def _add_mask(sub: argparse.ArgumentParser) -> None:
    default = MaskOptions()
    sub.add_argument("--pose", required=True, metavar="P.npz")
    sub.add_argument("--rows", type=int, default=16, help="token rows of a frame (default: 16)")
    sub.add_argument("--cols", type=int, default=16, help="token columns of a frame (default: 16)")
    sub.add_argument("--top-k", type=int, default=default.top_k, help=f"chosen past frames (default: {default.top_k})")
    sub.add_argument(
        "--window",
        type=int,
        default=default.window,
        help=f"frames just before, always seen (default: {default.window})",
    )
    sub.add_argument("--method", choices=("mls", "hull"), default=default.method, help="how regions are found")
    sub.add_argument("--block", type=int, default=default.block, help=f"tile of the matrix (default: {default.block})")
    sub.add_argument("--no-sink", action="store_true", help="the first frame is not visible to all")
    sub.add_argument(
        "--out",
        help="plan.npz or plan.json (everything), mask.png (a picture), explorer.html (to explore in a browser)",
    )
    sub.add_argument("--video", metavar="V.mp4", help="the video of these poses, for the explorer's pictures")
    sub.add_argument(
        "--attention",
        action="store_true",
        help="let the student make the clip, and show in the explorer what it attends to",
    )
    sub.add_argument("--speaker", metavar="NAME", help="who speaks with --attention (default: the first example)")
