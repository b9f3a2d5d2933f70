"""`iasa generate`: the main job, a talking video from speech and a speaker."""

from __future__ import annotations

import argparse
import time
from typing import Any

from iasa.cli import generate_backbone
from iasa.cli.arguments import add_audio, add_seed, add_speaker, read_poses, read_reference, read_speech, tell
from iasa.cli.progress import StageBar
from iasa.config import DEFAULT_MOTION, DEFAULT_STEPS, MAX_STEPS, MODELS, MOTION_MODELS, InputError, check_steps
from iasa.files import check_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_audio(parser)
    add_speaker(parser, photograph=True)
    parser.add_argument("--pose", metavar="P.npz", help="follow these poses instead of those made from the speech")
    parser.add_argument("--model", choices=MODELS, default="student", help="default: student")
    parser.add_argument(
        "--motion",
        choices=MOTION_MODELS,
        help=f"who performs: the learned motion model, or rules (default: {DEFAULT_MOTION})",
    )
    limits = ", ".join(f"{name} 1 to {MAX_STEPS[name]}, default {DEFAULT_STEPS[name]}" for name in MODELS)
    parser.add_argument("--steps", type=int, help=f"denoising steps ({limits})")
    parser.add_argument("--no-mark", action="store_true", help="leave the visible AI mark out of the frames")
    parser.add_argument(
        "--stream", action="store_true", help="hear the file as if it came live: no look ahead, frames at once"
    )
    add_seed(parser)
    parser.add_argument("--out", required=True, help="V.mp4")
    generate_backbone.add_arguments(parser)


def run(arguments: argparse.Namespace) -> dict:
    check_output(arguments.out, (".mp4",))
    generate_backbone.check_arguments(arguments)
    if arguments.backbone is None:
        check_steps(arguments.model, arguments.steps)
    if arguments.stream and (arguments.pose is not None or arguments.model != "student"):
        raise InputError("--stream is the student's, and makes its own poses; leave --pose and --model out")
    if arguments.motion and arguments.pose is not None:
        raise InputError("--motion chooses who makes the poses, and --pose gives them; leave one out")
    poses = None if arguments.pose is None else read_poses(arguments.pose)
    audio = read_speech(arguments.audio)
    if arguments.backbone is not None:
        return generate_backbone.run(arguments, audio, poses)
    reference = read_reference(arguments)
    bar = StageBar()
    bar("load", 0.0)
    try:
        started = time.perf_counter()
        if poses is None and not arguments.stream:
            from iasa.speech.recognizer_process import shared_recognizer

            shared_recognizer().start()  # loads beside the networks
        from iasa.pipeline import CoSpeechPipeline, generate

        pipeline = CoSpeechPipeline.from_pretrained(models=(arguments.model,))
        loading = time.perf_counter() - started
        options: dict[str, Any] = {
            "mark": not arguments.no_mark, "steps": arguments.steps, "seed": arguments.seed, "progress": bar,
        }  # fmt: skip
        if arguments.motion:
            options["motion"] = arguments.motion
        if arguments.stream:
            from iasa.session import write_live

            report = write_live(pipeline, audio, reference, arguments.out, **options)
        else:
            report = generate(pipeline, audio, reference, arguments.out, poses, model=arguments.model, **options)
    finally:
        bar.close()
    from iasa.media.content_credentials import sign_if_asked

    sign_if_asked(arguments.out)
    report["seconds"] = {"load": round(loading, 3), **report["seconds"]}
    made = f"{report['frames']} frames in {loading + report['elapsed']:.1f} s"
    tell(
        arguments,
        f"{arguments.out}: {made} by the {report['model']} in {report['steps']} steps, "
        f"the first after {report['first_frame']} s, "
        + ("" if arguments.stream else f"attention density {report['density']:.3f}, ")
        + f"{report['device']} {report['dtype']}",
    )
    return {**report, "out": arguments.out}
