"""A speaker who listens: sound goes in as it comes, frames come out as they are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from iasa.avatar.rig import RigMotion
from iasa.avatar.speaker import Reference, to_speaker
from iasa.config import AUDIO_RATE, DEFAULT_MOTION, FRAMES_PER_LATENT, VIDEO_FPS, InputError
from iasa.inference.generation import Cancelled, Progress
from iasa.keypoints import Keypoints, fill_latent
from iasa.media.sound import Sound
from iasa.motion import live_motion_model
from iasa.motion.rules import GestureStyle
from iasa.motion.rules_streaming import LOOK_AHEAD as MOTION_AHEAD
from iasa.pipeline import CoSpeechPipeline, Picture
from iasa.speech.streaming import BLOCK, SpeechStream
from iasa.speech.streaming import LOOK_AHEAD as SPEECH_AHEAD

LOOK_AHEAD = (BLOCK + SPEECH_AHEAD + MOTION_AHEAD) / VIDEO_FPS  # seconds of sound that a frame waits for, at most
BUFFER = 4.0  # seconds of poses that may wait for their frames; with more, `push` waits
PIECE = int(0.1 * AUDIO_RATE)  # samples of a file that are pushed at a time

_END = object()


class LiveSpeaker:
    """`push` sound and get the frames that are ready, `finish` for the rest, `close` (or leave the context) to drop it.

    A frame waits for at most LOOK_AHEAD (0.68 s) of sound, with the learned motion model for 0.9 s more, and is then made; the
    lips follow the sound alone. Where frames are made more slowly than sound comes, `push` waits, so that no more than
    BUFFER seconds pile up. If sound stops coming nothing is made until more comes. How the sound is cut decides which push
    returns a frame, and nothing else. Every speaker has threads of its own, so several may run at once.
    """

    def __init__(
        self,
        pipeline: CoSpeechPipeline,
        speaker: Picture,
        steps: int | None = None,
        seed: int = 0,
        style: GestureStyle | None = None,
        motion: str = DEFAULT_MOTION,  # who performs: "rules", or "learned", which waits for 1.2 s of sound instead of 0.24
        compute: str = "all",  # tokens, or "moving"
        model: str | None = None,  # None: as `CoSpeechPipeline.stream`
    ) -> None:
        self.reference = reference = to_speaker(speaker)
        self.heard, self.posed, self.made = 0, 0, 0  # video frames
        self._speech, self._motion = SpeechStream(), live_motion_model(seed, style, motion, pipeline.motion)
        self._poses: SimpleQueue[Keypoints | None] = SimpleQueue()
        poses = (poses for poses in iter(self._poses.get, None))
        made = pipeline.stream(
            image=reference, keypoints=poses, model=model, num_inference_steps=steps, seed=seed, compute=compute
        )
        self.timing, self.settings = made.timing, made.settings | {"stream": True, "motion": motion}
        self._frames = made.frames
        self._executor = pipeline.executor
        self._next: Future[Any] = self._executor.submit(next, self._frames, _END)
        self._open = True

    def __enter__(self) -> LiveSpeaker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def push(self, sound: np.ndarray, rate: int = AUDIO_RATE) -> np.ndarray:
        """The next mono sound [n] (float, or int16) -> frames uint8 [m, 256, 256, 3] that are ready, m may be 0.

        Raises InputError on sound that is none, and once the speaker is finished or closed.
        """
        if not self._open:
            raise InputError("this speaker has finished; a new one is needed for more sound")
        with self.timing.stage("motion"):
            features = self._speech.push(sound, rate)
            motion = self._motion.push(features)
        self.heard += features.frames
        self._pose(motion)
        return self._collect(self.posed - int(BUFFER * VIDEO_FPS))

    def finish(self) -> np.ndarray:
        """The remaining frames: in all, as many as the sound lasts."""
        if not self._open:
            raise InputError("this speaker has finished already")
        with self.timing.stage("motion"):
            features = self._speech.finish()
            motion = self._motion.push(features).concat(self._motion.finish())
        self.heard += features.frames
        self._pose(motion)
        self._poses.put(None)
        frames = self._collect(self.posed)
        self.close()
        return frames

    def close(self) -> None:
        """End the threads; frames under way are dropped."""
        if not self._open:
            return
        self._open = False
        self._poses.put(None)
        wait([self._next])
        self._frames.close()

    def _pose(self, motion: RigMotion) -> None:
        """Blocks are prepared together, but for the first latent frame, which is to come soon."""
        edges = {*range(0, len(motion), BLOCK), len(motion)}
        if self.posed == 0:
            edges.add(min(FRAMES_PER_LATENT, len(motion)))
        for first, end in pairwise(sorted(edges)):
            keypoints = self.reference.to_keypoints(motion[first:end])
            self.posed += len(keypoints)
            self._poses.put(fill_latent(keypoints))

    def _collect(self, at_least: int) -> np.ndarray:
        """What is ready; waits until `at_least` frames have been handed out in all."""
        parts = [np.zeros((0, self.reference.size, self.reference.size, 3), np.uint8)]
        while self.made < self.posed and (self.made < at_least or self._next.done()):
            frames = self._next.result()[: self.posed - self.made]
            self.made += len(frames)
            parts.append(frames)
            self._next = self._executor.submit(next, self._frames, _END)
        return np.concatenate(parts)


def stream_speech(
    pipeline: CoSpeechPipeline, speaker: Picture, pieces: Iterable[np.ndarray], rate: int = AUDIO_RATE, **options
) -> Iterator[np.ndarray]:
    """Frames uint8 [m, 256, 256, 3] as they get ready, for pieces of sound as they come. Options as for LiveSpeaker."""
    with LiveSpeaker(pipeline, speaker, **options) as live:
        for piece in pieces:
            frames = live.push(piece, rate)
            if len(frames):
                yield frames
        yield live.finish()


def write_live(
    pipeline: CoSpeechPipeline,
    audio: np.ndarray,  # float32 [n], mono, 16 kHz
    reference: Reference,
    out: str | Path,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    mark: bool = True,
    motion: str = DEFAULT_MOTION,
    sound: Sound | None = None,  # what is heard in the video, as it was recorded; `audio` itself for None
    compute: str = "all",
    model: str | None = None,
) -> dict:
    """A file's sound as if it came live, frames written, with the visible AI mark, as they are made; the figures of --json."""
    from iasa.media.writer import VideoWriter

    started, first = time.perf_counter(), 0.0
    with (
        VideoWriter(out, VIDEO_FPS, sound or audio, AUDIO_RATE, mark=mark) as writer,
        LiveSpeaker(pipeline, reference, steps, seed, motion=motion, compute=compute, model=model) as speaker,
    ):
        writer.describe(speaker.settings)
        for start in range(0, len(audio) + PIECE, PIECE):
            if should_stop and should_stop():
                raise Cancelled("generation was cancelled")
            frames = speaker.push(audio[start : start + PIECE]) if start < len(audio) else speaker.finish()
            first = first or (time.perf_counter() - started if len(frames) else 0.0)
            with speaker.timing.stage("write"):
                if len(frames):
                    writer.add_frames(frames)
            if progress:
                progress("stream", min(1.0, start / len(audio)))
    elapsed = time.perf_counter() - started
    return {
        **speaker.settings,
        "frames": speaker.made,
        "computed": speaker.timing.computed,
        "seconds": {name: round(value, 3) for name, value in speaker.timing.seconds.items()},
        "elapsed": round(elapsed, 3),
        "first_frame": round(first, 3),
        "fps": round(speaker.made / elapsed, 2),
    }
