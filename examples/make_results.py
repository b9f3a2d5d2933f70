"""Make the small videos of examples/results, which the demo shows without computing: the shipped student on the example clips.

    python -m examples.make_results

Each is below 400 KB. results.json says with which networks, on what machine and when they were made; speakers.webp, which the
README shows, is their first seconds side by side.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from iasa.avatar.speaker import load_speaker
from iasa.config import AUDIO_RATE, VIDEO_FPS
from iasa.device import pick_device
from iasa.media.reader import read_video
from iasa.media.writer import VideoWriter
from iasa.models.checkpoint import read_card
from iasa.paths import EXAMPLES, SPEECH
from iasa.pipeline import CoSpeechPipeline, summarise
from iasa.speech import read_audio

FOLDER = EXAMPLES / "results"
TAKES = (("dana", "welcome"), ("bruno", "sky"), ("emre", "tea"))  # speaker, clip
SECONDS = 6.0
MAX_BYTES = 400_000
QUALITIES = (20, 24, 28, 32)  # of h264, the best first
SHOWN, EVERY = 4.0, 2  # seconds of speakers.webp, and which of the frames


def write_small(path: Path, frames: np.ndarray, sound: np.ndarray, settings: dict) -> None:
    """The best quality that stays below MAX_BYTES."""
    for quality in QUALITIES:
        with VideoWriter(path, VIDEO_FPS, sound, AUDIO_RATE, settings, quality, "slow", mark=True) as writer:
            writer.add_frames(frames)
        if path.stat().st_size < MAX_BYTES:
            return
    raise RuntimeError(f"{path.name} has {path.stat().st_size} bytes even at quality {QUALITIES[-1]}")


def show_together(path: Path, videos: Sequence[Path]) -> None:
    """One animated picture of the videos' beginnings."""
    beginnings = [read_video(video)[0][: int(SHOWN * VIDEO_FPS) : EVERY] for video in videos]
    first, *others = (Image.fromarray(np.concatenate(frames, 1)) for frames in zip(*beginnings, strict=True))
    duration = round(1000 * EVERY / VIDEO_FPS)
    first.save(path, save_all=True, append_images=others, duration=duration, loop=0, quality=75, method=6)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    pipeline = CoSpeechPipeline.from_pretrained(teacher=None)
    reports = {}
    for speaker, clip in TAKES:
        sound, _ = read_audio(SPEECH / f"{clip}.mp3")
        sound = sound[: int(SECONDS * AUDIO_RATE)]
        started = time.perf_counter()
        generation = pipeline.stream(sound, load_speaker(speaker), seed=1)
        frames = np.concatenate(list(generation.frames))
        report = summarise(generation, started)
        path = FOLDER / f"{speaker}_{clip}.mp4"
        write_small(path, frames, sound, generation.settings)
        reports[path.stem] = report
        print(f"{path.name}: {report['frames']} frames, {report['fps']:.1f} frames/s, {path.stat().st_size // 1024} KB")
    about = {
        "command": "python -m examples.make_results",
        "date": date.today().isoformat(),
        "device": pick_device().type,
        "student_steps_trained": read_card("student")["steps"],
        "videos": reports,
    }
    show_together(FOLDER / "speakers.webp", [FOLDER / f"{name}.mp4" for name in reports])
    (FOLDER / "results.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
