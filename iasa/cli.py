"""The command line, `python -m iasa COMMAND`: exit status 0, or 2 and one plain sentence on stderr for bad input.

Arguments and files are checked before torch is imported, so that a slip is answered at once; libraries load inside
the command that needs them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from iasa import __version__
from iasa.config import (
    DEFAULT_STEPS,
    FRAMES_PER_LATENT,
    MAX_STEPS,
    MODELS,
    VIDEO_FPS,
    InputError,
    MaskOptions,
    check_steps,
)
from iasa.files import check_output

if TYPE_CHECKING:
    import numpy as np

    from iasa.keypoints import Keypoints
    from iasa.reference import Reference

MAX_SEED = 2**32 - 1
DRAWN_AT_A_TIME = 50  # frames


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = list(sys.argv[1:] if words is None else words)
    try:
        arguments = make_parser(words[0] if words else "").parse_args(words)
        report = arguments.run(arguments)
    except (InputError, ImportError) as error:  # an optional library that is missing is named with its command
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
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run, text: str, seed: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print the figures as one line of JSON, last on stdout")
        if seed:
            sub.add_argument("--seed", type=_seed, default=0, help="of everything random (default: 0)")
        return sub

    _add_generate(add("generate", generate, "make a talking video from speech and a speaker"))
    sub = add("motion", motion, "speech to keypoints: the first stage alone")
    sub.add_argument("--audio", required=True, help="speech in any usual sound or video file")
    _add_body(sub)
    sub.add_argument("--out", required=True, help="P.npz with xy, confidence and fps")
    sub = add("pose", pose, "the keypoints of a real video (needs mediapipe)")
    sub.add_argument("--video", required=True)
    sub.add_argument("--out", required=True, help="P.npz with xy, confidence and fps")
    _add_mask(add("mask", mask, "the attention plan of a pose file, its density, its picture"))
    sub = add("avatar", avatar, "draw the procedural speaker of a seed speaking (needs Skia)")
    sub.add_argument("--audio", required=True, help="speech in any usual sound or video file")
    sub.add_argument("--size", type=int, choices=(256, 512), default=256, help="pixels (default: 256)")
    sub.add_argument("--out", required=True, help="V.mp4")
    sub = add("train", train, "train one stage: data, autoencoder, teacher, student", seed=False)
    if command == "train":
        from iasa.training.stages import add_arguments as add_stages

        add_stages(sub)
    sub = add("evaluate", evaluate, "measure teacher and student on held-out speakers and speech")
    if command == "evaluate":
        from iasa.evaluate import add_arguments as add_evaluation

        add_evaluation(sub)
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
    limits = ", ".join(f"{name} 1 to {MAX_STEPS[name]}, default {DEFAULT_STEPS[name]}" for name in MODELS)
    sub.add_argument("--steps", type=int, help=f"denoising steps ({limits})")
    sub.add_argument("--out", required=True, help="V.mp4")


def _add_mask(sub: argparse.ArgumentParser) -> None:
    default = MaskOptions()
    sub.add_argument("--pose", required=True, metavar="P.npz")
    sub.add_argument("--rows", type=int, default=16, help="token rows of a frame (default: 16)")
    sub.add_argument("--cols", type=int, default=16, help="token columns of a frame (default: 16)")
    sub.add_argument("--top-k", type=int, default=default.top_k, help=f"chosen past frames (default: {default.top_k})")
    sub.add_argument(
        "--window", type=int, default=default.window, help=f"frames just before, always seen (default: {default.window})"
    )
    sub.add_argument("--method", choices=("mls", "hull"), default=default.method, help="how regions are found")
    sub.add_argument("--block", type=int, default=default.block, help=f"tile of the matrix (default: {default.block})")
    sub.add_argument("--no-sink", action="store_true", help="the first frame is not visible to all")
    sub.add_argument("--out", help="plan.npz or plan.json (everything), or mask.png (a picture)")


def generate(arguments: argparse.Namespace) -> dict:
    """The main job."""
    check_output(arguments.out, (".mp4",))
    check_steps(arguments.model, arguments.steps)
    poses = None if arguments.pose is None else _read_poses(arguments.pose)
    audio = _read_speech(arguments.audio)
    reference = _read_reference(arguments)
    bar = StageBar()
    bar("load", 0.0)
    try:
        started = time.perf_counter()
        from iasa.pipeline import CoSpeechPipeline
        from iasa.pipeline import generate as make_video

        pipeline = CoSpeechPipeline.from_pretrained(models=(arguments.model,))
        loading = time.perf_counter() - started
        report = make_video(
            pipeline, audio, reference, arguments.out, poses,
            model=arguments.model, steps=arguments.steps, seed=arguments.seed, progress=bar,
        )  # fmt: skip
    finally:
        bar.close()
    report["seconds"] = {"load": round(loading, 3), **report["seconds"]}
    total = sum(report["seconds"].values())
    _tell(
        arguments,
        f"{arguments.out}: {report['frames']} frames in {total:.1f} s by the {report['model']} in {report['steps']} steps, "
        f"attention density {report['density']:.3f}, {report['device']} {report['dtype']}",
    )
    return {**report, "out": arguments.out}


def motion(arguments: argparse.Namespace) -> dict:
    """Speech to keypoints on a speaker's body."""
    check_output(arguments.out, (".npz",))
    from iasa.avatar.identity import make_identity
    from iasa.keypoints import save_keypoints
    from iasa.motion import speech_to_keypoints
    from iasa.reference import load_speaker
    from iasa.speech import analyse

    audio = _read_speech(arguments.audio)
    if arguments.avatar is not None:
        identity = make_identity(arguments.avatar)
    else:
        identity = load_speaker(arguments.speaker or _first_speaker()).identity
    started = time.perf_counter()
    features = analyse(audio)
    _, keypoints = speech_to_keypoints(features, identity, arguments.seed)
    save_keypoints(arguments.out, keypoints)
    seconds = round(time.perf_counter() - started, 3)
    _tell(arguments, f"{arguments.out}: poses of {len(keypoints)} frames, mouth from the {features.source}")
    return {"frames": len(keypoints), "seconds": seconds, "phones_from": features.source, "out": arguments.out}


def pose(arguments: argparse.Namespace) -> dict:
    """Keypoints of a real video, and how much of it is good enough to learn from."""
    check_output(arguments.out, (".npz",))
    from tqdm import tqdm

    from iasa.keypoints import BODY, FACE, LEFT_HAND, RIGHT_HAND, save_keypoints
    from iasa.pose import extract_keypoints, keep_frames
    from iasa.video import open_video

    started = time.perf_counter()
    with open_video(arguments.video, fps=VIDEO_FPS) as (pictures, _):
        keypoints = extract_keypoints(tqdm(pictures, desc="pose", unit=" frames", leave=False), VIDEO_FPS)
    seen = keypoints.confidence > 0
    found = {
        name: round(float(seen[:, part].any(1).mean()), 4)
        for name, part in (("pose", BODY), ("face", FACE), ("left_hand", LEFT_HAND), ("right_hand", RIGHT_HAND))
    }
    if not seen.any():
        raise InputError(f"no person is found in {arguments.video}; one who faces the camera, waist up, is needed")
    save_keypoints(arguments.out, keypoints)
    kept = round(float(keep_frames(keypoints).mean()), 4)
    _tell(
        arguments,
        f"{arguments.out}: {len(keypoints)} frames; found pose {found['pose']:.0%}, face {found['face']:.0%}, "
        f"hands {found['left_hand']:.0%} and {found['right_hand']:.0%}; the paper's filter keeps {kept:.0%}",
    )
    seconds = round(time.perf_counter() - started, 3)
    return {"frames": len(keypoints), "seconds": seconds, "found": found, "kept": kept, "out": arguments.out}


def mask(arguments: argparse.Namespace) -> dict:
    """The attention plan of a pose file."""
    if arguments.out:
        check_output(arguments.out, (".npz", ".json", ".png"))
    options = MaskOptions(
        arguments.top_k, arguments.window, not arguments.no_sink, arguments.method, arguments.block
    )
    for name in ("rows", "cols"):
        if not 1 <= getattr(arguments, name) <= 128:
            raise InputError(f"--{name} is {getattr(arguments, name)}; 1 to 128 are accepted")
    poses = _read_poses(arguments.pose)
    from iasa.grid import TokenGrid
    from iasa.keypoints import fill_latent, pool_to_latent
    from iasa.masks import make_plan
    from iasa.masks.files import save_plan

    started = time.perf_counter()
    latent = pool_to_latent(fill_latent(poses))
    plan = make_plan(latent, TokenGrid(len(latent), arguments.rows, arguments.cols), options)
    report: dict[str, Any] = plan.report()
    if arguments.out:
        save_plan(arguments.out, plan)
    report |= {"seconds": round(time.perf_counter() - started, 3), "out": arguments.out}
    _tell(
        arguments,
        f"{report['frames']} latent frames of {FRAMES_PER_LATENT} pictures, {report['tokens']} tokens: "
        f"{report['token_density']:.1%} of the token pairs, {report['block_density']:.1%} of the "
        f"{report['block']} x {report['block']} blocks ({report['block_density_unpermuted']:.1%} in picture order)",
    )
    return report


def avatar(arguments: argparse.Namespace) -> dict:
    """The procedural speaker itself: the ground truth that the networks learn from."""
    check_output(arguments.out, (".mp4",))
    from iasa.avatar.identity import make_identity
    from iasa.avatar.renderer import Renderer
    from iasa.config import AUDIO_RATE
    from iasa.motion import speech_to_motion
    from iasa.speech import analyse
    from iasa.video import VideoWriter

    audio = _read_speech(arguments.audio)
    renderer = Renderer(make_identity(arguments.seed), arguments.size)
    started = time.perf_counter()
    bar = StageBar()
    bar("motion", 0.0)
    performance = speech_to_motion(analyse(audio), arguments.seed)
    frames = len(performance)
    settings = {"speaker": f"avatar {arguments.seed}", "seed": arguments.seed, "fps": VIDEO_FPS, "model": "renderer"}
    try:
        with VideoWriter(arguments.out, VIDEO_FPS, audio, AUDIO_RATE, metadata=settings) as writer:
            for start in range(0, frames, DRAWN_AT_A_TIME):
                bar("draw", start / frames)
                writer.add_frames(renderer.render(performance[start : start + DRAWN_AT_A_TIME]))
    finally:
        bar.close()
    seconds = time.perf_counter() - started
    _tell(arguments, f"{arguments.out}: {frames} frames in {seconds:.1f} s")
    return {"frames": frames, "seconds": round(seconds, 3), "fps": round(frames / seconds, 2), "out": arguments.out}


def train(arguments: argparse.Namespace) -> dict:
    """One training stage."""
    from iasa.training.stages import run_stage

    report = run_stage(arguments)
    _tell(arguments, json.dumps(report))
    return report


def evaluate(arguments: argparse.Namespace) -> dict:
    """The quality report."""
    from iasa.evaluate import run

    return run(arguments)


def _read_speech(path: str) -> np.ndarray:
    """float32 [n], mono, 16 kHz."""
    from iasa.speech import read_audio

    return read_audio(path)[0]


def _read_poses(path: str) -> Keypoints:
    from iasa.keypoints import load_keypoints

    poses = load_keypoints(path)
    if not len(poses):
        raise InputError(f"{path} holds no poses; at least one frame is needed")
    if abs(poses.fps - VIDEO_FPS) > 0.01:
        raise InputError(f"{path} holds {poses.fps:g} poses a second; {VIDEO_FPS:g} are needed")
    return poses


def _read_reference(arguments: argparse.Namespace) -> Reference:
    from iasa.reference import draw_speaker, load_speaker, photo_speaker

    if arguments.reference is not None:
        from iasa.video import read_image

        return photo_speaker(read_image(arguments.reference))
    if arguments.avatar is not None:
        return draw_speaker(arguments.avatar)
    return load_speaker(arguments.speaker or _first_speaker())


def _first_speaker() -> str:
    from iasa.reference import speaker_names

    names = speaker_names()
    if not names:
        raise InputError("the example speakers are not there; name another with --avatar N or --reference IMG")
    return names[0]


def _tell(arguments: argparse.Namespace, sentence: str) -> None:
    if not arguments.json:
        print(sentence, flush=True)


class StageBar:
    """A progress bar on stderr that names the stage under way; it is gone when closed."""

    def __init__(self) -> None:
        self._bar, self._stage = None, ""

    def __call__(self, stage: str, share: float) -> None:
        if stage != self._stage:
            self.close()
            from tqdm import tqdm

            layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
            self._bar = tqdm(total=1.0, desc=stage, bar_format=layout, leave=False, mininterval=0.2)
            self._stage = stage
        self._bar.update(share - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar, self._stage = None, ""
