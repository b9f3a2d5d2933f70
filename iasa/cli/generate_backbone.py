"""`python -m iasa generate --backbone vace`: speech and a picture to a video by a Wan model with the user's weights."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from iasa.cli.arguments import first_speaker, tell
from iasa.config import AUDIO_RATE, DEFAULT_MOTION, InputError

if TYPE_CHECKING:
    import numpy as np

    from iasa.avatar.speaker import Reference
    from iasa.keypoints import Keypoints

BACKBONES = ("vace", "animate")
OWN = ("causal",)  # the paper's causal mask, where input_aware is the plan for weights as they are
DEFAULT_STEPS = {"vace": 50, "animate": 20}
LORA_STEPS = 4
_OPTIONS = ("resolution", "lora", "prompt", "guidance", "compare")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a video model instead of the embedded one (needs its weights, and a GPU)")
    group.add_argument("--backbone", choices=BACKBONES, help="Wan 2.1 VACE or Wan 2.2 Animate, by diffusers")
    group.add_argument("--resolution", metavar="WxH", help="pixels, multiples of 16 (default: 832x480)")
    group.add_argument(
        "--lora", metavar="FILE", help=f"a few-step LoRA; then {LORA_STEPS} steps and no guidance are the default"
    )
    group.add_argument("--prompt", help="what the video shows, in words")
    group.add_argument(
        "--guidance", type=float, help="strength of the prompt (default: 5, and 1 for animate or with --lora)"
    )
    group.add_argument(
        "--compare", action="store_true", help="by dense attention too: V.mp4 shows dense left, sparse right"
    )


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raises InputError on options that do not go together, before anything is loaded."""
    if arguments.backbone is None:
        given = [name for name in _OPTIONS if getattr(arguments, name)]
        if given:
            raise InputError(f"--{given[0]} belongs to --backbone; name one: {' or '.join(BACKBONES)}")
        return
    if not arguments.weights:
        raise InputError(
            "--backbone needs --weights: a folder of diffusers' layout, or a repository of the Hub, OWNER/NAME"
        )
    if arguments.stream:
        raise InputError("--stream is the embedded student's; leave it or --backbone out")
    if arguments.compare and arguments.attention == "dense":
        raise InputError("--compare sets sparse attention beside dense; leave --attention dense out")
    parse_size(arguments.resolution)


def parse_size(text: str | None) -> tuple[int, int]:
    """(height, width) of "832x480"; raises InputError unless both are multiples of 16."""
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text or "832x480")
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not width or not height or width % 16 or height % 16:
        raise InputError(f"the size is {text!r}; WIDTHxHEIGHT in multiples of 16 is accepted, 832x480 say")
    return height, width


def run(arguments: argparse.Namespace, audio: np.ndarray, poses: Keypoints | None) -> dict:
    """Make the video; returns the figures of its --json line."""
    from iasa.backbones.speech_scene import make_scene
    from iasa.backbones.wan_generate import ATTENTION, WanSettings, compare_videos, generate_video
    from iasa.backbones.wan_plan import FPS, VideoSize, fit_poses
    from iasa.backbones.wan_weights import PIPELINES, load_lora, load_pipeline
    from iasa.device import pick_device, pick_precision

    height, width = parse_size(arguments.resolution)
    few = arguments.lora is not None
    usual = 1.0 if few or arguments.backbone == "animate" else 5.0
    settings = WanSettings(
        height, width, (LORA_STEPS if few else DEFAULT_STEPS[arguments.backbone]) if arguments.steps is None else arguments.steps,
        usual if arguments.guidance is None else arguments.guidance, arguments.seed,
        attention=arguments.attention or "input_aware",
    )  # fmt: skip
    if arguments.prompt:
        settings = replace(settings, prompt=arguments.prompt)
    speaker, photograph, found = _read_speaker(arguments)
    keypoints = poses if poses is not None else _perform(audio, speaker, arguments)
    scene = make_scene(speaker, keypoints, height, width, photograph, found)
    frames = len(fit_poses(keypoints, FPS[PIPELINES[arguments.backbone]]))
    tokens = VideoSize(min(frames, 81), height, width, 1).grid.tokens
    device = pick_device(arguments.device)
    pipe = load_pipeline(
        arguments.weights, arguments.backbone, device, pick_precision(arguments.dtype, device).dtype, tokens
    )
    if few:
        load_lora(pipe, arguments.lora)
    video = generate_video(pipe, scene, settings)
    report = {
        "backbone": arguments.backbone, "frames": len(video.frames), "fps": video.fps, "size": [width, height],
        "attention": settings.attention, "steps": settings.steps, "seconds": round(video.seconds, 3),
    }  # fmt: skip
    if video.plans:
        report |= {"tokens": video.plans[0].grid.tokens}
    if video.plans and settings.attention in ATTENTION:
        report |= {"density": round(video.plans[0].density(), 4)}
        report["block_density"] = round(video.plans[0].block_csr().density(), 4)
    shown = video.frames
    if arguments.compare:
        dense = generate_video(pipe, scene, replace(settings, attention="dense"))
        report["compare"] = {"dense_seconds": round(dense.seconds, 3), **compare_videos(video, dense, scene.keypoints)}
        shown = _side_by_side(dense.frames, video.frames)
    _write(arguments, shown, video.fps, audio, report)
    made = f"{len(shown)} frames by {arguments.backbone} in {video.seconds:.1f} s"
    tell(arguments, f"{arguments.out}: {made}, attention {settings.attention}")
    return {**report, "out": arguments.out}


def _read_speaker(arguments: argparse.Namespace) -> tuple[Reference, np.ndarray | None, Keypoints | None]:
    """The speaker whose body moves, and the photograph that it stands for with the pose found in it."""
    from iasa.avatar.speaker import draw_speaker, load_speaker, photo_speaker

    if arguments.reference is not None:
        from iasa.backbones.speech_scene import find_pose
        from iasa.media.reader import read_image

        picture = read_image(arguments.reference)
        return photo_speaker(picture), picture, find_pose(picture)
    if arguments.avatar is not None:
        return draw_speaker(arguments.avatar), None, None
    return load_speaker(arguments.speaker or first_speaker()), None, None


def _perform(audio: np.ndarray, speaker: Reference, arguments: argparse.Namespace) -> Keypoints:
    from iasa.avatar.rig import concat_motions, make_keypoints
    from iasa.motion import generate_clip_motion
    from iasa.speech.chunked import ChunkedSpeech

    motion = generate_clip_motion(ChunkedSpeech(audio), arguments.seed, model=arguments.motion or DEFAULT_MOTION)
    return make_keypoints(speaker.identity, concat_motions(*motion))


def _side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.concatenate([left, right], 2)


def _write(arguments: argparse.Namespace, frames: np.ndarray, fps: float, audio: np.ndarray, report: dict) -> None:
    from iasa.media.content_credentials import sign_if_asked
    from iasa.media.writer import VideoWriter

    settings = {"model": f"backbone {arguments.backbone}", "seed": arguments.seed, **report}
    with VideoWriter(arguments.out, fps, audio, AUDIO_RATE, metadata=settings, mark=not arguments.no_mark) as writer:
        writer.add_frames(frames)
    sign_if_asked(arguments.out)
