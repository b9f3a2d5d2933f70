"""A generation under way: its frames as they are made, what they cost, and the file that they become."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from iasa.config import AUDIO_RATE, FRAMES_PER_LATENT, LATENT_FPS, VIDEO_FPS
from iasa.keypoints import Keypoints, concat_keypoints
from iasa.masks import AttentionPlan
from iasa.media.sound import Sound

Progress = Callable[[str, float], None]  # stage, share done in 0..1


class Cancelled(Exception):
    """Raised out of generation when the caller's `should_stop` said so."""


@dataclass
class Timing:
    """Seconds of each stage, on the wall and of the processor. Stages run side by side: the sum exceeds what passes."""

    seconds: dict[str, float] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)  # of the stage's own threads
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)  # a stage may run in several at once

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start, busy = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            passed, worked = time.perf_counter() - start, time.thread_time() - busy
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + passed
                self.processor[name] = self.processor.get(name, 0.0) + worked


class Generation:
    """A generation under way: iterate `frames` to get uint8 [m, 256, 256, 3] chunks; the rest fills up meanwhile."""

    def __init__(
        self,
        frames: Iterator[np.ndarray],
        count: int,
        poses: list[Keypoints],
        plan: Callable[[], AttentionPlan],
        timing: Timing,
        settings: dict,
    ) -> None:
        self.frames, self.timing, self.settings = frames, timing, settings
        self.count = count  # video frames in all
        self._poses, self._plan = poses, plan

    @property
    def keypoints(self) -> Keypoints:
        """The poses so far; of all frames once they are made."""
        return concat_keypoints(*self._poses)[: self.count]

    @property
    def plan(self) -> AttentionPlan:
        """The plan of the latent frames so far; of all once the frames are made."""
        return self._plan()

    @property
    def density(self) -> float:
        """Share of the attention matrix that is computed."""
        return round(self.plan.density(), 4) if self.settings["model"] == "student" else 1.0


def first_frames(frames: Iterator[np.ndarray], count: int, report: Reporter) -> Iterator[np.ndarray]:
    """The first `count` frames, reported as they pass."""
    done = 0
    with closing(frames):
        for chunk in frames:
            done += len(chunk)
            report("denoise", done / FRAMES_PER_LATENT)
            yield chunk[: len(chunk) - max(0, done - count)]


class Reporter:
    """Tells the caller how far it is, and stops when asked to."""

    def __init__(self, progress: Progress | None, should_stop: Callable[[], bool] | None, total: int) -> None:
        self.progress, self.should_stop, self.total = progress, should_stop, total

    def __call__(self, stage: str, done: float) -> None:
        if self.should_stop and self.should_stop():
            raise Cancelled("generation was cancelled")
        if self.progress:
            self.progress(stage, done / max(1, self.total))


def summarise(generation: Generation, started: float) -> dict:
    """What --json prints: frames, seconds of each stage (they overlap) and in all, fps end to end, and the settings."""
    elapsed = time.perf_counter() - started
    return {
        "frames": generation.count,
        "seconds": {name: round(value, 3) for name, value in generation.timing.seconds.items()},
        "elapsed": round(elapsed, 3),
        "fps": round(generation.count / max(elapsed, 1e-9), 2),
        "density": generation.density,
        **{k: generation.settings[k] for k in ("steps", "device", "dtype", "model", "seed", "reference")},
        "latent_fps": LATENT_FPS,
    }


def write_video(
    start: Callable[[], Generation], out: str | Path, audio: np.ndarray | Sound, mark: bool = True
) -> tuple[Generation, dict]:
    """Write the generation that `start` begins, with its sound and the visible AI mark; returns it and `summarise`'s report."""
    from iasa.media.writer import VideoWriter

    started, first = time.perf_counter(), 0.0
    with VideoWriter(
        out, VIDEO_FPS, audio, AUDIO_RATE, mark=mark
    ) as writer:  # entered first: an unwritable target costs no work
        generation = start()
        writer.describe(generation.settings)
        for frames in generation.frames:
            first = first or time.perf_counter() - started
            with generation.timing.stage("write"):
                writer.add_frames(frames)
    return generation, summarise(generation, started) | {"first_frame": round(first, 3)}
