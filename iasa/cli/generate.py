"""`iasa generate`: the main job, a talking video from speech and a speaker."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iasa.attention.patterns import pattern_names
from iasa.cli import generate_backbone
from iasa.cli.arguments import (
    VIDEO_OUT,
    add_audio,
    add_device,
    add_networks,
    add_photograph,
    add_seed,
    add_speaker,
    input_files,
    plural,
    read_poses,
    read_reference,
    read_speech,
    tell,
)
from iasa.cli.progress import StageBar
from iasa.cli.quick_import import quick_import
from iasa.config import (
    COMPUTE,
    DEFAULT_MOTION,
    DEFAULT_STEPS,
    IMAGE_SIZE,
    LAYERS,
    MAX_STEPS,
    MODELS,
    MOTION_MODELS,
    NO_ALPHA,
    NO_PHOTOGRAPH,
    RESTORED,
    WARPED,
    InputError,
    check_compute,
    check_steps,
)  # fmt: skip
from iasa.paths import PEOPLE_WEIGHTS

if TYPE_CHECKING:
    import numpy as np

    from iasa.avatar.speaker import Reference
    from iasa.keypoints import Keypoints
    from iasa.media.sound import Sound


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_audio(parser)
    add_speaker(parser, photograph=True)
    add_photograph(parser)
    parser.add_argument("--pose", metavar="P.npz", help="follow these poses instead of those made from the speech")
    parser.add_argument(
        "--model",
        choices=(*MODELS, *WARPED),
        help=f"default: student; for a photograph {LAYERS}, the warped picture alone, which is quickest and sharpest; its "
        "student learned from people; restored is a network of your own (--weights)",
    )
    parser.add_argument(
        "--motion",
        choices=MOTION_MODELS,
        help=f"gesture model: a trained one, or rules by syllables and pauses (default: {DEFAULT_MOTION})",
    )
    limits = ", ".join(f"{name} 1 to {MAX_STEPS[name]}, default {DEFAULT_STEPS[name]}" for name in MODELS)
    parser.add_argument("--steps", type=int, help=f"denoising steps ({limits})")
    parser.add_argument(
        "--attention",
        choices=(*pattern_names(), *generate_backbone.OWN),
        metavar="PATTERN",
        help="which tokens meet, of the gallery: "
        + ", ".join(pattern_names())
        + " (default: the student's and a video "
        "model's is input_aware, the teacher's dense in windows; a video model also takes causal)",
    )
    parser.add_argument(
        "--compute",
        choices=COMPUTE,
        default="all",
        help="tokens that the student computes: all, or moving, its face, hands and what else moves, over the warped "
        "reference: a quarter of the time less where there is AVX2 alone, a tenth elsewhere, for 0.1 dB (default: all)",
    )
    parser.add_argument("--no-mark", action="store_true", help="leave the visible AI mark out of the frames")
    parser.add_argument(
        "--stream", action="store_true", help="hear the file as if it came live: no look ahead, frames at once"
    )
    add_networks(parser)
    add_device(parser)
    add_seed(parser)
    parser.add_argument("--out", required=True, help=VIDEO_OUT)
    generate_backbone.add_arguments(parser)


def run(arguments: argparse.Namespace) -> dict:
    from iasa.media.writer import check_video_output

    check_video_output(arguments.out, input_files(arguments))
    _check_options(arguments)
    poses = None if arguments.pose is None else read_poses(arguments.pose)
    audio, sound = read_speech(arguments)
    if arguments.backbone is not None:
        return generate_backbone.run(arguments, audio, poses)
    reference = read_reference(arguments)
    if arguments.model == "teacher" and reference.size != IMAGE_SIZE:
        raise InputError(f"the teacher draws {IMAGE_SIZE} x {IMAGE_SIZE} pixels; add --size {IMAGE_SIZE}")
    report = _generate(arguments, audio, sound, poses, reference)
    from iasa.media.content_credentials import sign_if_asked

    sign_if_asked(arguments.out)
    _tell_result(arguments, report)
    if reference.photo is not None and arguments.model == "teacher":
        tell(arguments, "The teacher learned from drawn speakers alone")
    if reference.parts is not None:
        report["parts"] = reference.parts.describe()
        for sentence in reference.describe():
            tell(arguments, sentence)
    return {**report, "out": arguments.out}


def _check_options(arguments: argparse.Namespace) -> None:
    """Choose the model where none is named; raises InputError on options that contradict one another."""
    from iasa.media.backdrop import TRANSPARENT
    from iasa.media.writer import check_alpha

    generate_backbone.check_arguments(arguments)
    if arguments.device == "cuda":  # refused before anything is read, where it is not there
        from iasa.device import pick_device

        pick_device(arguments.device)
    photograph = arguments.reference is not None and not arguments.puppet
    if arguments.model is None:
        arguments.model = LAYERS if photograph else "student"
    if arguments.background == TRANSPARENT:
        check_alpha(Path(arguments.out))
        if arguments.model not in WARPED:
            raise InputError(NO_ALPHA, model=arguments.model)
    if arguments.model == RESTORED and (arguments.reference is None or arguments.puppet):
        raise InputError(NO_PHOTOGRAPH)
    if arguments.model == RESTORED:
        from iasa.models.checkpoint import STAGES_OF, has_weights

        if not has_weights(arguments.weights, *STAGES_OF["restorer"]):
            raise InputError(
                "no restorer ships; train one with python -m iasa train restore, and name it with --weights"
            )
    if arguments.backbone is None:
        check_steps(arguments.model, arguments.steps)
        _check_attention(arguments)
        check_compute(arguments.compute, arguments.model, arguments.attention in (None, "input_aware"))
    elif arguments.compute != "all":
        raise InputError("--compute is the embedded student's; leave it or --backbone out")
    if arguments.stream and arguments.pose is not None:
        raise InputError("--stream makes its own poses; leave --pose out")
    if arguments.stream and arguments.model not in ("student", LAYERS):
        raise InputError(f"--stream works with the student, or {LAYERS} alone; leave --model {arguments.model} out")
    if arguments.motion and arguments.pose is not None:
        raise InputError("--motion chooses who makes the poses, and --pose gives them; leave one out")


def _generate(
    arguments: argparse.Namespace, audio: np.ndarray, sound: Sound, poses: Keypoints | None, reference: Reference
) -> dict:
    """Load the networks that are needed, and write the video."""
    bar = StageBar()
    bar("load", 0.0)
    try:
        started = time.perf_counter()
        if poses is None and not arguments.stream:
            from iasa.speech.recognizer_process import shared_recognizer

            shared_recognizer().start()  # loads beside the networks
        with quick_import():
            from iasa.device import pick_device
            from iasa.pipeline import CoSpeechPipeline, generate

        unused: dict[str, Any] = {name: None for name in MODELS if name != arguments.model}
        if arguments.model != RESTORED:
            unused["restorer"] = None
        folder = arguments.weights
        if folder is None and reference.photo is not None and arguments.model == "student":
            folder = PEOPLE_WEIGHTS  # the others are not needed
        pipeline = CoSpeechPipeline.from_pretrained(folder, device=pick_device(arguments.device), **unused)
        loading = time.perf_counter() - started
        options: dict[str, Any] = {
            "mark": not arguments.no_mark, "num_inference_steps": arguments.steps, "seed": arguments.seed, "progress": bar,
            "sound": sound,
        }  # fmt: skip
        if arguments.compute != "all":
            options["compute"] = arguments.compute
        if arguments.motion:
            options["motion"] = arguments.motion
        if arguments.stream:
            from iasa.session import write_live

            options["steps"] = options.pop("num_inference_steps")
            report = write_live(pipeline, audio, reference, arguments.out, model=arguments.model, **options)
        else:
            if arguments.attention:
                options["attention"] = arguments.attention
            report = generate(pipeline, audio, reference, arguments.out, poses, model=arguments.model, **options)
    finally:
        bar.close()
    return {**report, "seconds": {"load": round(loading, 3), **report["seconds"]}}


def _tell_result(arguments: argparse.Namespace, report: dict) -> None:
    from iasa.inference.generation import remarks
    from iasa.media.writer import WITH_SOUND

    seconds = report["seconds"]["load"] + report["elapsed"]
    of_steps = f" in {plural(report['steps'], 'step')}" if report["steps"] else ""
    said = [
        f"{arguments.out}: {report['frames']} frames in {seconds:.1f} s by the {report['model']}{of_steps}",
        f"the first after {report['first_frame']} s",
    ]
    if arguments.model == "student" and not arguments.stream:
        said.append(f"attention density {report['density']:.3f}, computed {report['computed']:.3f}")
    said.append(f"{report['device']} {report['dtype']}")
    silent = Path(arguments.out).suffix.lower() not in WITH_SOUND
    tell(arguments, ", ".join(said) + ("; this format has no sound" if silent else ""))
    for sentence in remarks(report):
        tell(arguments, sentence)


def _check_attention(arguments: argparse.Namespace) -> None:
    """Raises InputError on a pattern that the embedded models cannot run, before anything is loaded."""
    given = arguments.attention
    if given in generate_backbone.OWN:
        raise InputError(f"--attention {given} belongs to --backbone; {', '.join(pattern_names())} are accepted")
    if given and arguments.model in WARPED:
        raise InputError("the layers are warped without attention; leave --attention out, or name a model with --model")
    if arguments.stream and given not in (None, "input_aware"):
        raise InputError(f"--stream rolls out under input_aware, and --attention is {given}; leave one of the two out")
