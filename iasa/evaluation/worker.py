"""What an evaluation is made of: held-out clips, the file that keeps figures, and the worker that makes and measures."""

from __future__ import annotations

import base64
import copy
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
import torch

from iasa.avatar.identity import make_identity
from iasa.avatar.renderer import Renderer
from iasa.avatar.rig import make_keypoints, rest_motion
from iasa.avatar.speaker import Reference
from iasa.config import AUDIO_RATE, HELDOUT_IDENTITY, IMAGE_SIZE, VIDEO_FPS, InputError
from iasa.device import Precision, pick_precision
from iasa.evaluation.rows import Variant
from iasa.evaluation.tables import score_video
from iasa.evaluation.variants import VariantRunner, find_variant
from iasa.files import display_name
from iasa.keypoints import Keypoints
from iasa.metrics.proxy import NAMES, ProxyMetrics
from iasa.metrics.published import PublishedMetrics
from iasa.models.autoencoder import Autoencoder
from iasa.models.checkpoint import STAGES_OF, find_weights, load_weights, mark_of
from iasa.motion.rules import generate_gestures
from iasa.pose import extract_keypoints
from iasa.training.speech_data.corpus import Utterance, make_corpus

DRAWN = ("truth", "static", "warped")  # rows that no network makes
FIRST_CLIP = 500  # identities below it (from HELDOUT_IDENTITY) are drawn on training's sample sheets


@dataclass(frozen=True)
class HeldoutClip:
    """One clip: what is to be drawn, its sound float32 [n], and what is drawn of it when first asked for."""

    seed: int
    utterance: Utterance
    frames: int

    @cached_property
    def start(self) -> int:
        return int(np.random.default_rng([self.seed, 9]).integers(0, self.utterance.features.frames - self.frames + 1))

    @cached_property
    def motion(self):
        return generate_gestures(self.utterance.features, seed=self.seed)[self.start : self.start + self.frames]

    @cached_property
    def renderer(self) -> Renderer:
        return Renderer(make_identity(self.seed), IMAGE_SIZE)

    @cached_property
    def truth(self) -> np.ndarray:
        """uint8 [f, H, W, 3]."""
        return self.renderer.render(self.motion)

    @cached_property
    def masks(self) -> np.ndarray:
        """bool [f, 5, H, W]."""
        return np.stack([self.renderer.region_masks(self.motion, k) for k in range(self.frames)])

    @cached_property
    def keypoints(self) -> Keypoints:
        return make_keypoints(make_identity(self.seed), self.motion)

    @cached_property
    def reference(self) -> Reference:
        identity, rest = make_identity(self.seed), rest_motion(1)
        return Reference(self.renderer.draw(rest, 0), make_keypoints(identity, rest), identity, f"avatar {self.seed}")

    @property
    def audio(self) -> np.ndarray:
        hop = round(AUDIO_RATE / VIDEO_FPS)
        return self.utterance.audio[self.start * hop : (self.start + self.frames) * hop]


def make_heldout_clips(count: int, frames: int) -> list[HeldoutClip]:
    """`count` clips of `frames` video frames, one identity each, going round the held-out utterances. Raises InputError."""
    corpus = [u for u in make_corpus("heldout") if u.features.frames >= frames + 10]
    if not corpus:
        raise InputError(f"no held-out utterance has {frames + 10} frames; ask for shorter clips")
    return [HeldoutClip(HELDOUT_IDENTITY + FIRST_CLIP + i, corpus[i % len(corpus)], frames) for i in range(count)]


class ResultCache:
    """Figures of (row, clip, frames, steps, weights), kept in a file of one JSON object a line if there is one.

    Several processes may add to one file: each waits for the lock and appends a whole line.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self.known = path, {}
        if path and path.exists():
            for line in path.read_text().splitlines():
                try:
                    one = json.loads(line)
                except json.JSONDecodeError:
                    continue  # the line that an interruption cut short
                self.known[one["key"]] = one

    def get(self, key: str) -> dict | None:
        return self.known.get(key)

    def put(self, key: str, scores: dict, features: Mapping[str, np.ndarray]) -> dict:
        """Keep the figures of one row and clip; raises InputError if the file cannot take them."""
        one = {"key": key, "scores": scores, "features": {name: pack(array) for name, array in features.items()}}
        self.known[key] = one
        if self.path:
            try:
                self._append(self.path, json.dumps(one) + "\n")
            except OSError as error:
                raise InputError(
                    f"{display_name(self.path)} cannot take the figures: {error.strerror or error}"
                ) from error
        return one

    def _append(self, path: Path, line: str) -> None:
        with open(path, "ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = "\n" + line  # a line that was cut short stays alone
            file.write(line.encode())


def pack(features: np.ndarray) -> dict:
    """Features [m, d] as half floats in text, for a record."""
    half = np.asarray(features, np.float16)
    return {"shape": half.shape, "half": base64.b64encode(half.tobytes()).decode()}


def unpack(packed: dict) -> np.ndarray:
    """Features float32 [m, d] of a kept record."""
    return np.frombuffer(base64.b64decode(packed["half"]), np.float16).reshape(packed["shape"]).astype(np.float32)


@dataclass(frozen=True)
class EvaluationJob:
    """What every process of an evaluation needs to know."""

    rows: tuple[Variant, ...]
    steps: Mapping[str, int | None]
    weights: Path | None = None  # a folder of them, which are preferred to the shipped ones
    keep: Path | None = None
    published: Mapping[str, Path] = field(default_factory=dict)
    alone: bool = True  # whether its time on the clock tells anything
    precision: Precision = field(default_factory=pick_precision)  # decided once, for all processes


class EvaluationWorker:
    """Makes and measures the rows' videos of one clip after the other; networks are loaded when first needed."""

    def __init__(self, work: EvaluationJob) -> None:
        self.work, self.cache, self.runners = work, ResultCache(work.keep), {}
        self.places = {
            row.name: place
            for row in work.rows
            if row.kind != "given" and (place := find_variant(row, work.weights)) is not None
        }
        codec = find_weights(work.weights, *STAGES_OF["autoencoder"])
        self.autoencoder, self.proxy = load_weights(Autoencoder, codec), ProxyMetrics.load(work.weights)
        self.published = PublishedMetrics.load(work.published)
        measured_by = [mark_of(find_weights(work.weights, name)) for name in NAMES] if self.proxy else []
        measured_by += [
            f"{name}:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
            for name, path in sorted(work.published.items())
        ]
        self.measured_by = "+".join(measured_by) or "no proxy"
        numbers = str(work.precision).replace(", ", "/")
        self.marks = {row.name: "drawn" if row.name in DRAWN else mark_of(codec) for row in work.rows}
        self.marks |= {name: f"{self.marks[name]}+{mark_of(place)} {numbers}" for name, place in self.places.items()}

    def evaluate_clip(self, clip: HeldoutClip) -> list[dict]:
        """What the cache holds of each row's video of the clip, measured now where it does not yet."""
        clip = copy.copy(clip)  # what is drawn of it is let go afterwards
        found = []
        for row in self.work.rows:
            steps = 0 if row.kind == "given" else row.steps(self.work.steps)
            key = f"{row.name} {clip.seed} {clip.frames} {steps} {self.marks[row.name]} {self.measured_by}"
            one = self.cache.get(key)
            if one is None:
                if row.name not in self.runners:
                    place = self.places.get(row.name)
                    self.runners[row.name] = VariantRunner(row, self.autoencoder, place, steps, self.work.precision)
                one = self.cache.put(key, *self.measure(self.runners[row.name], clip))
            found.append(one)
        return found

    def measure(self, runner: VariantRunner, clip: HeldoutClip) -> tuple[dict, dict[str, np.ndarray]]:
        """Figures of one clip, and the features that Frechet distances need."""
        given = clip.keypoints, clip.reference, clip.truth  # drawn before the clock starts
        began, busy = time.perf_counter(), time.process_time()
        made, timing = runner.play(*given)
        elapsed, busy = time.perf_counter() - began, time.process_time() - busy
        reference = clip.reference.image, clip.reference.keypoints
        found = extract_keypoints(made, fps=clip.keypoints.fps)
        scores = score_video(made, clip.truth, clip.keypoints, clip.masks, self.proxy, reference, clip.audio, found)
        scores |= self.published.score(made, clip.truth, found, reference, clip.audio)
        if "denoise" in timing.seconds:
            scores["fps_processor"] = len(made) / busy
            if self.work.alone:
                scores |= {"fps": len(made) / elapsed, "fps_denoise": len(made) / timing.seconds["denoise"]}
        features = self.published.extract_features(made)
        if self.proxy is not None:
            features["parts"] = self.proxy.extract_features(made, clip.keypoints)
        return scores, features


_worker: EvaluationWorker | None = None  # of a process that was started to share the clips


def _begin(work: EvaluationJob) -> None:
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _worker = EvaluationWorker(work)


def _end_with_parent() -> None:
    """An evaluation that is killed leaves no process at work behind it."""
    parent = parent_process()
    if parent is None:
        return
    parent.join()
    os._exit(1)


def _evaluate_clip(clip: HeldoutClip) -> list[dict]:
    if _worker is None:
        raise RuntimeError("a process of the evaluation was asked for a clip before it began")
    return _worker.evaluate_clip(clip)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """For processes started meanwhile: torch.set_num_threads speaks for the thread that calls it, not for those that the
    roll-out starts, and processes whose threads outnumber the cores wait for one another."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def evaluate_all(work: EvaluationJob, clips: Sequence[HeldoutClip], workers: int) -> Iterator[list[dict]]:
    """`EvaluationWorker.evaluate_clip` of every clip, in order. Raises InputError if one of several processes ends by itself."""
    if workers == 1:
        yield from map(EvaluationWorker(work).evaluate_clip, clips)
        return
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (work,)) as pool:
            with _one_thread_each():
                found = pool.map(_evaluate_clip, clips)  # starts the processes
            yield from found
    except BrokenProcessPool as error:
        raise InputError(
            "a process of the evaluation ended by itself (memory?); with --keep another try goes on"
        ) from error
