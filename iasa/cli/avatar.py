"""`iasa avatar`: the procedural speaker itself, the ground truth that the networks learn from."""

from __future__ import annotations

import argparse
import time

from iasa.cli.arguments import add_audio, add_seed, read_speech, tell
from iasa.cli.progress import StageBar
from iasa.config import AUDIO_RATE, VIDEO_FPS
from iasa.files import check_output

DRAWN_AT_A_TIME = 50  # frames


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_audio(parser)
    parser.add_argument("--size", type=int, choices=(256, 512), default=256, help="pixels (default: 256)")
    add_seed(parser)
    parser.add_argument("--out", required=True, help="V.mp4")


def run(arguments: argparse.Namespace) -> dict:
    check_output(arguments.out, (".mp4",))
    from iasa.avatar.identity import make_identity
    from iasa.avatar.renderer import Renderer
    from iasa.media.writer import VideoWriter
    from iasa.motion import speech_to_motion
    from iasa.speech import analyse

    audio = read_speech(arguments.audio)
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
        with VideoWriter(arguments.out, VIDEO_FPS, audio, AUDIO_RATE, metadata=settings) as writer:
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
