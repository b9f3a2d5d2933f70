"""`iasa avatar`: the procedural speaker itself, the ground truth that the networks learn from."""

from __future__ import annotations

import argparse
import time

from iasa.cli.arguments import VIDEO_OUT, add_audio, add_seed, input_files, read_speech, tell
from iasa.cli.progress import StageBar
from iasa.config import VIDEO_FPS

DRAWN_AT_A_TIME = 50  # frames


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_audio(parser)
    parser.add_argument("--size", type=int, choices=(256, 512), default=256, help="pixels (default: 256)")
    add_seed(parser)
    parser.add_argument("--out", required=True, help=VIDEO_OUT)


def run(arguments: argparse.Namespace) -> dict:
    from iasa.media.writer import VideoWriter, check_video_output

    check_video_output(arguments.out, input_files(arguments))
    from iasa.avatar.identity import make_identity
    from iasa.avatar.renderer import Renderer
    from iasa.motion import speech_to_motion
    from iasa.speech import analyse

    audio, sound = read_speech(arguments)
    renderer = Renderer(make_identity(arguments.seed), arguments.size)
    started = time.perf_counter()
    bar = StageBar()
    bar("motion", 0.0)
    performance = speech_to_motion(analyse(audio), arguments.seed)
    frames = len(performance)
    settings = {
        "speaker": f"avatar {arguments.seed}",
        "seed": arguments.seed,
        "fps": VIDEO_FPS,
        "model": "renderer",
    }
    try:
        with VideoWriter(arguments.out, VIDEO_FPS, sound, metadata=settings) as writer:
            for start in range(0, frames, DRAWN_AT_A_TIME):
                bar("draw", start / frames)
                writer.add_frames(renderer.render(performance[start : start + DRAWN_AT_A_TIME]))
    finally:
        bar.close()
    seconds = time.perf_counter() - started
    tell(arguments, f"{arguments.out}: {frames} frames in {seconds:.1f} s")
    return {
        "frames": frames,
        "seconds": round(seconds, 3),
        "fps": round(frames / seconds, 2),
        "out": arguments.out,
    }
