"""Make the small videos of examples/results, which the demo shows without computing: rendered people by their pictures' layers,
drawn speakers by the shipped student.

    python -m examples.make_results

results.json says with which networks, on what machine and when they were made; speakers.webp, which the README shows, is
their first seconds in two rows, people above.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from iasa.avatar.example_people import find_picture
from iasa.avatar.speaker import Reference, load_speaker, photograph_speaker, speaker_names
from iasa.config import AUDIO_RATE, VIDEO_FPS
from iasa.media.reader import read_image, read_video
from iasa.media.writer import VideoWriter
from iasa.models.checkpoint import read_card
from iasa.paths import EXAMPLES, SPEECH
from iasa.pipeline import CoSpeechPipeline, summarise
from iasa.speech import read_audio

FOLDER = EXAMPLES / "results"
PEOPLE_TAKES = (("maya", "fishermen"), ("kofi", "library"))  # person, clip
DRAWN_TAKES = (("dana", "welcome"), ("bruno", "sky"), ("emre", "tea"))  # speaker, clip
SECONDS = 6.0
MAX_BYTES = {256: 400_000, 512: 1_500_000}  # by the side in pixels
QUALITIES = (20, 24, 28, 32)  # of h264, the best first
SHOWN, EVERY, WIDTH = 4.0, 2, 768  # of speakers.webp: seconds, which of the frames, pixels


def write_small(path: Path, frames: np.ndarray, sound: np.ndarray, settings: dict) -> None:
    """The best quality that stays below MAX_BYTES."""
    most = MAX_BYTES[frames.shape[1]]
    for quality in QUALITIES:
        with VideoWriter(path, VIDEO_FPS, sound, AUDIO_RATE, settings, quality, "slow", mark=True) as writer:
            writer.add_frames(frames)
        if path.stat().st_size < most:
            return
    raise RuntimeError(f"{path.name} has {path.stat().st_size} bytes even at quality {QUALITIES[-1]}")


def show_together(path: Path, rows: Sequence[Sequence[Path]]) -> None:
    """One animated picture of the videos' beginnings: each row as wide as the picture."""
    shown = np.concatenate([lay_side_by_side([begin(video) for video in row]) for row in rows], 1)
    first, *others = (Image.fromarray(frame) for frame in shown)
    duration = round(1000 * EVERY / VIDEO_FPS)
    first.save(path, save_all=True, append_images=others, duration=duration, loop=0, quality=70, method=6)


def begin(video: Path) -> np.ndarray:  # uint8 [n, H, W, 3]
    return read_video(video)[0][: int(SHOWN * VIDEO_FPS) : EVERY]


def lay_side_by_side(videos: Sequence[np.ndarray]) -> np.ndarray:  # uint8 [n, WIDTH / videos, WIDTH, 3]
    side = WIDTH // len(videos)
    scaled = [[np.asarray(Image.fromarray(frame).resize((side, side))) for frame in video] for video in videos]
    return np.concatenate([np.stack(frames) for frames in scaled], 2)


def find_speaker(name: str) -> Reference:
    if name in speaker_names():
        return load_speaker(name)
    return photograph_speaker(read_image(find_picture(name)), name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [speaker for speaker, _ in PEOPLE_TAKES + DRAWN_TAKES]
    parser.add_argument("speakers", nargs="*", metavar="SPEAKER", help=f"make these alone anew, of {', '.join(names)}")
    wanted = parser.parse_args().speakers or names
    FOLDER.mkdir(exist_ok=True)
    table = FOLDER / "results.json"
    about = json.loads(table.read_text()) if table.exists() else {"videos": {}}
    pipeline = CoSpeechPipeline.from_pretrained(teacher=None, restorer=None)
    for speaker, clip in PEOPLE_TAKES + DRAWN_TAKES:
        if speaker not in wanted:
            continue
        sound, _ = read_audio(SPEECH / f"{clip}.mp3")
        sound = sound[: int(SECONDS * AUDIO_RATE)]
        started = time.perf_counter()
        generation = pipeline.stream(sound, find_speaker(speaker), seed=1)
        frames = np.concatenate(list(generation.frames))
        report = summarise(generation, started) | {"date": date.today().isoformat()}
        path = FOLDER / f"{speaker}_{clip}.mp4"
        write_small(path, frames, sound, generation.settings)
        about["videos"][path.stem] = report
        print(f"{path.name}: {report['frames']} frames, {report['fps']:.1f} frames/s, {path.stat().st_size // 1024} KB")
    about["command"] = "python -m examples.make_results"
    about["student_steps_trained"] = read_card("student")["steps"]
    rows = [[FOLDER / f"{speaker}_{clip}.mp4" for speaker, clip in takes] for takes in (PEOPLE_TAKES, DRAWN_TAKES)]
    show_together(FOLDER / "speakers.webp", rows)
    table.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
