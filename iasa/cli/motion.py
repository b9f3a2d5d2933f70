"""`iasa motion`: speech to keypoints on a speaker's body."""

from __future__ import annotations

import argparse
import time

from iasa.cli.arguments import (
    add_audio,
    add_seed,
    add_speaker,
    add_weights,
    first_speaker,
    input_files,
    read_speech,
    tell,
)
from iasa.config import DEFAULT_MOTION, MOTION_MODELS
from iasa.files import check_output

MOUTH_FROM = {"given": "the phones given", "recognizer": "recognized phones", "signal": "the sound alone"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_audio(parser)
    add_speaker(parser)
    parser.add_argument(
        "--model", choices=MOTION_MODELS, default=DEFAULT_MOTION, help=f"gesture model (default: {DEFAULT_MOTION})"
    )
    add_weights(parser)
    add_seed(parser)
    parser.add_argument("--out", required=True, help="P.npz with xy, confidence and fps")


def run(arguments: argparse.Namespace) -> dict:
    check_output(arguments.out, (".npz",), input_files(arguments))
    from iasa.avatar.identity import make_identity
    from iasa.avatar.rig import concat_motions, make_keypoints
    from iasa.avatar.speaker import load_speaker
    from iasa.keypoints import save_keypoints
    from iasa.motion import generate_clip_motion
    from iasa.speech.chunked import ChunkedSpeech

    audio, _ = read_speech(arguments)
    if arguments.avatar is not None:
        identity = make_identity(arguments.avatar)
    else:
        identity = load_speaker(arguments.speaker or first_speaker()).identity
    started = time.perf_counter()
    speech = ChunkedSpeech(audio)
    network = None
    if arguments.weights is not None:
        from iasa.models.checkpoint import check_folder
        from iasa.motion.generator_streaming import load_generator

        network = load_generator(check_folder(arguments.weights))
    motions = generate_clip_motion(speech, arguments.seed, model=arguments.model, network=network)
    motion = concat_motions(*motions)
    keypoints = make_keypoints(identity, motion)
    save_keypoints(arguments.out, keypoints)
    seconds = round(time.perf_counter() - started, 3)
    tell(arguments, f"{arguments.out}: poses of {len(keypoints)} frames, mouth shapes from {MOUTH_FROM[speech.source]}")
    return {
        "frames": len(keypoints),
        "seconds": seconds,
        "phones_from": speech.source,
        "model": arguments.model,
        "out": arguments.out,
    }
