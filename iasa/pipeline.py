"""CoSpeechPipeline: speech and a reference picture in, a talking video out (paper, figure 2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iasa.config import (
    AUDIO_RATE,
    FRAMES_PER_LATENT,
    LATENT_FPS,
    MODELS,
    VIDEO_FPS,
    InputError,
    MaskOptions,
    check_steps,
)
from iasa.device import pick_device, pick_dtype
from iasa.grid import TokenGrid
from iasa.keypoints import Keypoints, concat_keypoints, fill_latent, pool_to_latent
from iasa.masks import AttentionPlan, make_plan
from iasa.models.attend import attend_window
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import Condition, VideoTransformer
from iasa.models.warp import warp_reference
from iasa.models.weights import FOLDER, load_weights
from iasa.motion import speech_to_keypoints
from iasa.reference import Reference
from iasa.sampling import sample_euler
from iasa.speech import analyse
from iasa.streaming import CausalStudent, denoise_windows

TEACHER_WINDOW, TEACHER_OVERLAP = 6, 2  # latent frames
DECODE_CHUNK = 5  # latent frames decoded, and handed out, at a time
CONDITION_CHUNK = 16  # latent frames that are bent and embedded at a time

Progress = Callable[[str, float], None]  # stage, share done in 0..1


class Cancelled(Exception):
    """Raised out of generation when the caller's `should_stop` said so."""


@dataclass
class Timing:
    """Seconds of each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass
class Take:
    """A generation under way: iterate `frames` to get uint8 [m, 256, 256, 3] chunks; the rest fills up meanwhile."""

    frames: Iterator[np.ndarray]
    keypoints: Keypoints
    plan: AttentionPlan
    count: int  # video frames in all
    timing: Timing
    settings: dict


class CoSpeechPipeline:
    """The whole path. `speak` takes sound, `animate` takes poses; both hand out frames as they are made."""

    def __init__(
        self,
        autoencoder: Autoencoder,
        models: dict[str, VideoTransformer],
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        mask: MaskOptions | None = None,
    ) -> None:
        self.device = torch.device(device or pick_device())
        self.dtype = dtype or pick_dtype(self.device.type)
        self.mask = mask or MaskOptions()
        # torch's own to(): diffusers' warns of an empty list of float32 modules
        place = partial(torch.nn.Module.to, device=self.device, dtype=self.dtype)
        self.autoencoder = place(autoencoder, memory_format=torch.channels_last).eval()
        self.models = {name: place(model).eval() for name, model in models.items()}

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None, models: tuple[str, ...] = MODELS, **options) -> CoSpeechPipeline:
        """Load the weights that ship with the package, or a folder that `save_pretrained` wrote."""
        if folder is None:
            autoencoder = load_weights(Autoencoder, FOLDER / "autoencoder")
            loaded = {name: load_weights(VideoTransformer, FOLDER / name) for name in models}
        else:
            folder = Path(folder)
            autoencoder = Autoencoder.from_pretrained(folder / "autoencoder")
            loaded = {n: VideoTransformer.from_pretrained(folder / n) for n in models if (folder / n).exists()}
        return cls(autoencoder, loaded, **options)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write every network in diffusers' layout, in full precision of its current type."""
        self.autoencoder.save_pretrained(Path(folder) / "autoencoder")
        for name, model in self.models.items():
            model.save_pretrained(Path(folder) / name)

    def speak(
        self,
        audio: np.ndarray,  # float32 [n], mono, 16 kHz
        reference: Reference,
        model: str = "student",
        steps: int | None = None,
        seed: int = 0,
        style=None,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Take:
        """A video as long as the sound, rounded up to whole latent frames. Raises InputError on unusable sound."""
        timing = Timing()
        if progress:
            progress("motion", 0.0)
        with timing.stage("motion"):
            features = analyse(audio)
            _, keypoints = speech_to_keypoints(features, reference.identity, seed, style)
        take = self.animate(keypoints, reference, model, steps, seed, progress, should_stop, timing)
        take.settings["audio_seconds"] = round(len(audio) / AUDIO_RATE, 3)
        take.settings["phones_from"] = features.source
        return take

    def animate(
        self,
        keypoints: Keypoints,  # 25 frames/s
        reference: Reference,
        model: str = "student",
        steps: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
        timing: Timing | None = None,
    ) -> Take:
        """A video that follows the poses; the last pose is repeated to fill a latent frame."""
        steps = self._check(model, steps)
        timing = timing or Timing()
        count = len(keypoints)
        keypoints = fill_latent(keypoints)
        still = np.zeros(FRAMES_PER_LATENT, int)
        everything = concat_keypoints(reference.keypoints[still], keypoints)  # latent frame 0 is the reference
        with timing.stage("plan"):
            grid = TokenGrid(len(everything) // FRAMES_PER_LATENT)
            plan = make_plan(pool_to_latent(everything), grid, self.mask)
            plan_density = plan.density()
        make = self._student_latents if model == "student" else self._teacher_latents
        report = _Reporter(progress, should_stop, grid.frames - 1)
        latents = make(self.models[model], everything, reference, plan, steps, seed, timing, report)
        settings = {
            "model": model, "steps": steps, "seed": seed, "reference": reference.name, "fps": VIDEO_FPS,
            "density": round(plan_density if model == "student" else 1.0, 4),
            "top_k": self.mask.top_k, "device": self.device.type, "dtype": str(self.dtype).removeprefix("torch."),
        }  # fmt: skip
        frames = self._decode(latents, keypoints, reference, count, timing)
        return Take(frames, keypoints[: count], plan, count, timing, settings)

    def _check(self, model: str, steps: int | None) -> int:
        steps = check_steps(model, steps)
        if model not in self.models:
            raise InputError(f"the {model} is not loaded; this pipeline holds {', '.join(self.models) or 'no model'}")
        return steps

    @torch.inference_mode()
    def _condition(self, model: VideoTransformer, everything: Keypoints, reference: Reference) -> Condition:
        image, still_xy, still_confidence = self._reference(reference)
        t = FRAMES_PER_LATENT
        xy, confidence = (part.unflatten(1, (-1, t)) for part in self._poses(everything))
        parts = []
        for i in range(0, xy.shape[1], CONDITION_CHUNK):
            some = xy[:, i : i + CONDITION_CHUNK], confidence[:, i : i + CONDITION_CHUNK]
            bent = warp_reference(image, still_xy, still_confidence, *(part.flatten(1, 2) for part in some))
            if i == 0:
                bent[:, :t] = image[:, None]  # the reference itself is not bent
            base = self.autoencoder.encode(bent.to(self.dtype)).float()
            parts.append(model.condition(base, image.to(self.dtype), *some))
        joined = [torch.cat([getattr(p, n) for p in parts], 1) for n in ("base", "pose_tokens", "pose_summary")]
        return Condition(joined[0], parts[0].image_tokens, *joined[1:])

    def _student_latents(self, model, everything, reference, plan, steps, seed, timing, report) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        with timing.stage("denoise"):
            student = CausalStudent(model, self._condition(model, everything, reference), plan)
        for frame in range(plan.grid.frames - 1):
            with timing.stage("denoise"):
                latent = student.next_frame(steps, generator)
            report("denoise", frame + 1)
            yield latent

    def _teacher_latents(self, model, everything, reference, plan, steps, seed, timing, report) -> Iterator[Tensor]:
        frames = plan.grid.frames - 1
        noise = torch.randn((1, frames, *self._latent_shape(plan)), generator=torch.Generator().manual_seed(seed))
        with timing.stage("denoise"):
            condition = self._condition(model, everything, reference)
        done = 0

        def predict(x: Tensor, level: float, which: slice) -> Tensor:
            nonlocal done
            with_reference = torch.cat([condition.base[:, :1], x], 1)
            levels = torch.full(with_reference.shape[:2], level, device=x.device)
            levels[:, 0] = 0.0
            picked = condition.frames([0, *range(which.start + 1, which.stop + 1)])
            clean = model(with_reference, levels, picked, attend_window)[:, 1:]
            done += 1
            report("denoise", min(frames, frames * done / (steps * max(1, frames / (TEACHER_WINDOW - TEACHER_OVERLAP)))))
            return clean

        def denoise(x: Tensor, level: float) -> Tensor:
            return denoise_windows(predict, x, level, TEACHER_WINDOW, TEACHER_OVERLAP)

        with timing.stage("denoise"), torch.inference_mode():
            latents = sample_euler(denoise, noise.to(self.device), steps)
        yield from latents.unbind(1)

    def _latent_shape(self, plan: AttentionPlan) -> tuple[int, int, int]:
        return self.autoencoder.config.latent_channels, plan.grid.rows, plan.grid.cols

    @torch.inference_mode()
    def decode(self, latents: Tensor, poses: Keypoints, reference: Reference) -> np.ndarray:
        """Pictures uint8 [2 f, H, W, 3] of normalised latents [1, f, c, h, w] and the poses of those 2 f frames."""
        image, still_xy, still_confidence = self._reference(reference)
        xy, confidence = self._poses(poses)
        bent = warp_reference(image, still_xy, still_confidence, xy, confidence)
        images = self.autoencoder.decode(latents.to(self.dtype), xy, confidence, bent)[0]
        return (images.movedim(-3, -1) * 127.5 + 127.5).round().byte().cpu().numpy()

    def _poses(self, keypoints: Keypoints) -> tuple[Tensor, Tensor]:  # [1, f, 133, 2], [1, f, 133]
        return tuple(torch.from_numpy(part)[None].to(self.device) for part in (keypoints.xy, keypoints.confidence))

    def _reference(self, reference: Reference) -> tuple[Tensor, Tensor, Tensor]:
        """Its picture [1, 3, H, W] in [-1, 1] and pose [1, 133, 2], [1, 133]."""
        image = torch.from_numpy(np.array(reference.image)).to(self.device).movedim(-1, 0)[None].float() / 127.5 - 1
        xy, confidence = self._poses(reference.keypoints)
        return image, xy[:, 0], confidence[:, 0]

    def _decode(
        self, latents: Iterator[Tensor], poses: Keypoints, reference: Reference, count: int, timing: Timing
    ) -> Iterator[np.ndarray]:
        """Frames in chunks; `poses` fill whole latent frames, `count` of them are wanted."""
        waiting: list[Tensor] = []
        done = 0

        def flush() -> np.ndarray:
            nonlocal done, waiting
            with timing.stage("decode"):
                stop = done + len(waiting) * FRAMES_PER_LATENT
                frames = self.decode(torch.stack(waiting, 1), poses[done:stop], reference)[: count - done]
            done, waiting = stop, []
            return frames

        for latent in latents:
            waiting.append(latent)
            if len(waiting) == DECODE_CHUNK:
                yield flush()
        if waiting:
            yield flush()


class _Reporter:
    """Tells the caller how far it is, and stops when asked to."""

    def __init__(self, progress: Progress | None, should_stop: Callable[[], bool] | None, total: int) -> None:
        self.progress, self.should_stop, self.total = progress, should_stop, total

    def __call__(self, stage: str, done: float) -> None:
        if self.should_stop and self.should_stop():
            raise Cancelled("generation was cancelled")
        if self.progress:
            self.progress(stage, done / max(1, self.total))


def summarise(take: Take, started: float) -> dict:
    """What --json prints: frames, seconds of each stage, fps end to end, and the settings."""
    elapsed = time.perf_counter() - started
    return {
        "frames": take.count,
        "seconds": {name: round(value, 3) for name, value in take.timing.seconds.items()},
        "fps": round(take.count / max(elapsed, 1e-9), 2),
        **{k: take.settings[k] for k in ("density", "steps", "device", "dtype", "model", "seed", "reference")},
        "latent_fps": LATENT_FPS,
    }


def generate(
    pipeline: CoSpeechPipeline,
    audio: np.ndarray,  # float32 [n], mono, 16 kHz
    reference: Reference,
    out: str | Path,
    keypoints: Keypoints | None = None,
    **options,
) -> dict:
    """The main job: make the video and write it with its sound; returns `summarise`'s report.

    With `keypoints` the motion stage is skipped. Nothing is left behind if it fails half-way.
    """
    if keypoints is None:
        return write_take(lambda: pipeline.speak(audio, reference, **options), out, audio)[1]
    return write_take(lambda: pipeline.animate(keypoints, reference, **options), out, audio)[1]


def write_take(start: Callable[[], Take], out: str | Path, audio: np.ndarray) -> tuple[Take, dict]:
    """Write the take that `start` begins, with its sound; returns it and `summarise`'s report."""
    from iasa.video import VideoWriter

    started = time.perf_counter()
    with VideoWriter(out, VIDEO_FPS, audio, AUDIO_RATE) as writer:  # entered first: an unwritable target costs no work
        take = start()
        writer.describe(take.settings)
        for frames in take.frames:
            with take.timing.stage("write"):
                writer.add_frames(frames)
    return take, summarise(take, started)
