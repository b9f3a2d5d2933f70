"""A generation under way: its frames as they are made, what they cost, and the file that they become."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from iasa.config import DEFAULT_MOTION, FRAMES_PER_LATENT, LATENT_FPS, MaskOptions, Sentence
from iasa.device import synchronize
from iasa.grid import TokenGrid
from iasa.inference.prefetch import Source
from iasa.keypoints import Keypoints, concat_keypoints
from iasa.masks import AttentionPlan
from iasa.masks.plan_stream import PlanRow, join_rows

if TYPE_CHECKING:
    import torch

    from iasa.attention.pattern import Pattern
    from iasa.avatar.rig import RigMotion
    from iasa.avatar.speaker import Reference
    from iasa.inference.streaming_rollout import OnStep
    from iasa.inference.strip_codec import StripCodec
    from iasa.media.writer import VideoWriter
    from iasa.motion.rules import GestureStyle
    from iasa.speech.chunked import ChunkedSpeech

Progress = Callable[[str, float], None]  # stage, share done in 0..1


# What a run has done with poses that were given: settings of `pose_chunks.follow`, and the sentence about each.
SAID = {
    "fitted": "The poses are another person's or place's: they were fitted to the speaker",
    "lips_from_poses": "The lips follow the poses, not the speech",
    "held_seconds": "The poses end {value:g} s before the speech; the last one stays",
    "silent_seconds": "The poses go on for {value:g} s after the speech, in silence",
}


class Cancelled(Exception):
    """Raised out of generation when the caller's `should_stop` said so."""


@dataclass
class Timing:
    """Seconds of each stage, on the wall and of the processor. Stages run side by side: the sum exceeds what passes."""

    seconds: dict[str, float] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)  # of the stage's own threads
    multiplications: int = 0  # in the networks so far
    multiplications_of_all: int = 0  # what they would be if all tokens were computed
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)  # a stage may run in several at once

    @contextmanager
    def stage(self, name: str, device: torch.device | None = None) -> Iterator[None]:
        """Time what happens inside; where a device computes it, until that has done so."""
        start, busy = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            if device is not None:
                synchronize(device)
            passed, worked = time.perf_counter() - start, time.thread_time() - busy
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + passed
                self.processor[name] = self.processor.get(name, 0.0) + worked

    def multiply(self, done: int, of_all: int) -> None:
        """Count multiplications of a network."""
        with self._lock:
            self.multiplications += done
            self.multiplications_of_all += of_all

    @property
    def computed(self) -> float:
        """Share of the multiplications that computing all tokens would take; 1 where nothing is left out."""
        return round(self.multiplications / self.multiplications_of_all, 4) if self.multiplications_of_all else 1.0


class Generation:
    """A generation under way: iterate `frames` to get uint8 [m, 256, 256, 3] chunks; the rest fills up meanwhile."""

    def __init__(
        self,
        count: int | None,
        grid: TokenGrid,
        mask: MaskOptions,
        settings: dict,
        dense: bool,
        pattern: Pattern | None = None,
    ) -> None:
        self.count = count  # video frames in all; None where poses may never end, of which nothing is kept
        self.settings, self.timing = settings, Timing()
        self.frames: Source[np.ndarray] = (frame for frame in ())
        self.poses: list[Keypoints] | None = None if count is None else []
        self.rows: list[PlanRow] | None = None if count is None else []
        self.pattern = pattern  # of the gallery; None: the model's own attention
        self._grid, self._mask, self._dense = grid, mask, dense

    @property
    def keypoints(self) -> Keypoints:
        """The poses so far; of all frames once they are made."""
        return concat_keypoints(*(self.poses or ()))[: self.count]

    @property
    def plan(self) -> AttentionPlan:
        """The plan of the latent frames so far; of all once the frames are made."""
        return join_rows(self.rows or [], self._mask, self._grid)

    @property
    def density(self) -> float:
        """Share of the attention matrix that is computed; of a pattern, in the calls so far."""
        if self.pattern is not None and self.pattern.name != "input_aware":
            return round(self.pattern.computed.density, 4)
        return 1.0 if self._dense else round(self.plan.density(), 4)


def first_frames(frames: Source[np.ndarray], count: int | None, report: Reporter) -> Generator[np.ndarray]:
    """The first `count` frames, reported as they pass."""
    done = 0
    with closing(frames):
        for chunk in frames:
            done += len(chunk)
            report("denoise", done / FRAMES_PER_LATENT)
            yield chunk if count is None else chunk[: len(chunk) - max(0, done - count)]


class Reporter:
    """Tells the caller how far it is, and stops when asked to."""

    def __init__(self, progress: Progress | None, should_stop: Callable[[], bool] | None, total: int) -> None:
        self.progress, self.should_stop, self.total = progress, should_stop, total

    def __call__(self, stage: str, done: float) -> None:
        if self.should_stop and self.should_stop():
            raise Cancelled("generation was cancelled")
        if self.progress:
            self.progress(stage, done / max(1, self.total))

    def share(self, stage: str, share: float) -> None:
        self(stage, share * self.total)


def summarise(generation: Generation, started: float) -> dict:
    """What --json prints: frames, seconds of each stage (they overlap) and in all, fps end to end, and the settings."""
    elapsed = time.perf_counter() - started
    return {
        "frames": generation.count,
        "seconds": {name: round(value, 3) for name, value in generation.timing.seconds.items()},
        "elapsed": round(elapsed, 3),
        "fps": round((generation.count or 0) / max(elapsed, 1e-9), 2),
        "density": generation.density,
        "computed": generation.timing.computed,
        **{k: generation.settings[k] for k in ("steps", "device", "dtype", "model", "seed", "reference")},
        **{k: v for k, v in generation.settings.items() if k in (*SAID, "attention")},
        "latent_fps": LATENT_FPS,
    }


def remarks(report: dict) -> list[Sentence]:
    """Sentences about what a run has done with the poses that it was given, out of its `summarise`."""
    return [Sentence(text, value=report[key]) for key, text in SAID.items() if report.get(key)]


@dataclass
class Run:
    """What is asked of one generation."""

    reference: Reference
    model: str
    steps: int
    seed: int
    noise: torch.Generator
    report: Reporter
    speech: ChunkedSpeech | None = None  # moves, unless poses are given
    poses: Source[Keypoints] = field(default_factory=lambda: (piece for piece in ()))
    motion: str = DEFAULT_MOTION
    style: GestureStyle | None = None
    edit: Callable[[RigMotion], RigMotion] | None = None
    pattern: Pattern | None = None  # of attention; None: the model's own
    whole: bool = False  # all frames together, whichever the model
    on_step: OnStep | None = None
    sparse: StripCodec | None = None  # None: all tokens are computed


def write(generation: Generation, writer: VideoWriter) -> Generator[np.ndarray]:
    """The generation's frames, each chunk once it is written; at the end the file's metadata say what happened."""
    writer.describe(generation.settings)
    with closing(generation.frames):
        for frames in generation.frames:
            with generation.timing.stage("write"):
                writer.add_frames(frames)
            yield frames
    writer.describe(generation.settings)
