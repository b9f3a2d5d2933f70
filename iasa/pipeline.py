"""CoSpeechPipeline: speech and a reference picture in, a talking video out (paper, figure 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from iasa.attention.frame_patterns import attend_window
from iasa.avatar.rig import RigMotion
from iasa.avatar.speaker import Reference
from iasa.config import (
    AUDIO_RATE,
    DEFAULT_MOTION,
    FRAMES_PER_LATENT,
    MODELS,
    VIDEO_FPS,
    InputError,
    MaskOptions,
    TransformerConfig,
    check_motion,
    check_steps,
)
from iasa.device import pick_device, pick_dtype, release_memory
from iasa.grid import TokenGrid
from iasa.inference import int8 as eight_bits
from iasa.inference.fast_codec import FastCodec
from iasa.inference.generation import (
    Cancelled,
    Generation,
    Progress,
    Reporter,
    Timing,
    first_frames,
    summarise,
    write_video,
)
from iasa.inference.pose_chunks import LARGEST_PIECE, cut_poses, generate_poses
from iasa.inference.prefetch import Prefetcher
from iasa.inference.stage_threads import StageExecutor
from iasa.inference.streaming_rollout import DenoiserInput, StudentStream
from iasa.inference.windows import denoise_windows
from iasa.keypoints import Keypoints, concat_keypoints, pool_to_latent
from iasa.masks import make_plan
from iasa.masks.plan_stream import PlanRow, PlanStream, join_rows
from iasa.media.sound import Sound
from iasa.models.autoencoder import Autoencoder
from iasa.models.checkpoint import load_weights
from iasa.models.transformer import Condition, VideoTransformer
from iasa.motion.rules import GestureStyle
from iasa.paths import WEIGHTS
from iasa.sampling import sample_euler
from iasa.speech import recognizer as recognizer
from iasa.speech.chunked import ChunkedSpeech
from iasa.warp.reference_warp import ReferenceWarp

__all__ = ["Cancelled", "CoSpeechPipeline", "Progress", "Generation", "Timing", "generate", "summarise", "write_video"]

TEACHER_WINDOW, TEACHER_OVERLAP = 6, 2  # latent frames
RELEASE_EVERY = 125  # latent frames, 10 s of video, after which freed memory is handed back
PAST_CAPACITY = 48  # latent frames whose keys a roll-out keeps: over 12 s the same PSNR as with all of the last 125
STILL = np.zeros(FRAMES_PER_LATENT, int)  # frames of the reference's pose in latent frame 0

Speaker = tuple[Tensor, Tensor, Tensor]  # picture [1, 3, H, W] in [-1, 1], pose [1, 133, 2], [1, 133]


class DecoderInput(NamedTuple):
    """What the decoder needs beside latents, for the video frames of one latent frame."""

    xy: Tensor  # [t, 133, 2]
    confidence: Tensor  # [t, 133]
    patches: Tensor  # of the reference warped to these poses


class CoSpeechPipeline:
    """The whole path. `speak` takes sound, `animate` takes poses; both hand out frames as they are made."""

    def __init__(
        self,
        autoencoder: Autoencoder,
        models: dict[str, VideoTransformer],
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        mask: MaskOptions | None = None,
        int8: bool
        | None = None,  # 8-bit products in student and codec; None: where they are faster, unless dtype is given
    ) -> None:
        self.device = torch.device(device or pick_device())
        self.dtype = dtype or pick_dtype(self.device.type)
        self.int8 = (
            dtype is None and self.device.type == "cpu" and eight_bits.is_faster(self.dtype) if int8 is None else int8
        )
        self.mask = mask or MaskOptions()
        # torch's own to(): diffusers' warns of an empty list of float32 modules
        place = partial(torch.nn.Module.to, device=self.device, dtype=self.dtype)
        self.autoencoder = place(autoencoder, memory_format=torch.channels_last).eval()
        self.models = {name: place(model).eval() for name, model in models.items()}
        self.codec = FastCodec(self.autoencoder, self.int8)
        self.executor = StageExecutor()
        sides = next(iter(self.models.values())).config if self.models else TransformerConfig()
        self.grid = TokenGrid(1, sides.rows, sides.cols)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path | None = None, models: tuple[str, ...] = MODELS, **options
    ) -> CoSpeechPipeline:
        """Load the weights that ship with the package, or a folder that `save_pretrained` wrote."""
        if folder is None:
            autoencoder = load_weights(Autoencoder, WEIGHTS / "autoencoder")
            loaded = {name: load_weights(VideoTransformer, WEIGHTS / name) for name in models}
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
        style: GestureStyle | None = None,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
        edit: Callable[[RigMotion], RigMotion] | None = None,  # of every piece of the motion
        motion: str = DEFAULT_MOTION,  # who performs: "learned" or "rules"
    ) -> Generation:
        """A video as long as the sound. Words are recognized, and poses made, while earlier frames are painted."""
        self._check(model, steps)
        check_motion(motion)
        speech, timing = ChunkedSpeech(audio), Timing()
        if progress:
            progress("motion", 0.0)
        poses = Prefetcher(generate_poses(speech, reference, seed, style, timing, edit, motion), 1, self.executor)
        generation = self._generate(poses, speech.frames, reference, model, steps, seed, progress, should_stop, timing)
        generation.settings["motion"] = motion
        generation.settings["audio_seconds"] = round(len(audio) / AUDIO_RATE, 3)
        generation.settings["phones_from"] = "recognizer" if recognizer.available() else "signal"
        return generation

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
    ) -> Generation:
        """A video that follows the poses."""
        poses, timing = (part for part in [keypoints]), timing or Timing()
        return self._generate(poses, len(keypoints), reference, model, steps, seed, progress, should_stop, timing)

    def _generate(
        self,
        poses: Iterator[Keypoints],
        count: int,  # frames in all
        reference: Reference,
        model: str,
        steps: int | None,
        seed: int,
        progress: Progress | None,
        should_stop: Callable[[], bool] | None,
        timing: Timing,
    ) -> Generation:
        """The video of poses that come in pieces; the last pose is repeated to fill a latent frame."""
        steps = self._check(model, steps)
        settings = self.settings(model, steps, seed, reference)
        report = Reporter(progress, should_stop, -(-count // FRAMES_PER_LATENT))
        known: list[Keypoints] = []
        if model == "student":
            rows: list[PlanRow] = []
            frames = self.stream(cut_poses(poses, known), reference, steps, seed, timing, rows)
            plan = partial(join_rows, rows, self.mask, self.grid)
        else:
            filled = concat_keypoints(*cut_poses(poses, known))
            whole = concat_keypoints(reference.keypoints[STILL], filled)
            plan = cache(
                lambda: make_plan(pool_to_latent(whole), replace(self.grid, frames=report.total + 1), self.mask)
            )
            frames = self._teacher_frames(filled, reference, steps, seed, timing, report)
        return Generation(first_frames(frames, count, report), count, known, plan, timing, settings)

    def stream(
        self,
        pieces: Iterator[Keypoints],  # 25 frames/s, each of whole latent frames
        reference: Reference,
        steps: int | None = None,
        seed: int = 0,
        timing: Timing | None = None,
        rows: list[PlanRow] | None = None,  # takes up the plan's rows: for clips, since it grows
    ) -> Iterator[np.ndarray]:
        """The student's frames uint8 [2, 256, 256, 3], one latent frame after the other, for poses that may never end.

        On a processor poses are prepared and latents made in threads of their own, each a few frames ahead of the next,
        and as many pictures are painted at once as there are cores; so the frames of a seed do not depend on torch's
        number of threads. Memory and the cost of a frame stay the same. Close the iterator to end it.
        """
        timing = timing or Timing()
        if self.device.type != "cpu":
            student, prepared = self._start(pieces, reference, steps, seed, timing, rows)
            return _map_closing(partial(self._paint, timing), _denoise(prepared, student, timing))
        started = self.executor.submit(self._start, pieces, reference, steps, seed, timing, rows)
        student, prepared = started.result()
        prepared = Prefetcher(prepared, 2 * LARGEST_PIECE, self.executor)
        latents = Prefetcher(_denoise(prepared, student, timing), 2, self.executor)
        return Prefetcher(latents, max(2, torch.get_num_threads()), self.executor, partial(self._paint, timing))

    def denoise_alone(
        self, poses: Keypoints, reference: Reference, steps: int | None = None, seed: int = 0
    ) -> Iterator[Tensor]:
        """The student's latents [1, c, h, w] of poses that are prepared at once: what a profile looks at."""
        student, prepared = self._start(cut_poses(p for p in [poses]), reference, steps, seed, Timing(), None)
        for given, _ in list(prepared):
            yield student.next_frame(given)

    def _start(
        self,
        pieces: Iterator[Keypoints],
        reference: Reference,
        steps: int | None,
        seed: int,
        timing: Timing,
        rows: list[PlanRow] | None,
    ) -> tuple[StudentStream, Iterator[tuple[DenoiserInput, DecoderInput]]]:
        """A student that has seen the reference, and what it will be given."""
        steps = self._check("student", steps)
        generator = torch.Generator().manual_seed(seed)
        capacity = max(PAST_CAPACITY, self.mask.top_k + self.mask.window)
        plan = PlanStream(self.mask, self.grid.rows, self.grid.cols, capacity)
        still = reference.keypoints[STILL]
        (first,) = plan.push(pool_to_latent(still))
        if rows is not None:
            rows.append(first)
        model, speaker = self.models["student"], self._reference(reference)
        with torch.inference_mode(), timing.stage("condition"):
            condition = self._reference_condition(model, speaker, still)
            student = StudentStream(
                model, condition, first.bits, plan.capacity, steps, self.mask.sink, generator, self.int8
            )
        return student, self._prepare(pieces, student, plan, speaker, timing, rows)

    def settings(self, model: str, steps: int | None, seed: int, reference: Reference) -> dict:
        """What a file's metadata and every report say of a run."""
        steps = self._check(model, steps)
        return {
            "model": model, "steps": steps, "seed": seed, "reference": reference.name, "fps": VIDEO_FPS,
            "top_k": self.mask.top_k, "device": self.device.type, "dtype": self.precision,
        }  # fmt: skip

    @property
    def precision(self) -> str:
        """Of the student and the codec, as reports name it."""
        return eight_bits.name_precision(self.dtype, self.int8)

    def _check(self, model: str, steps: int | None) -> int:
        steps = check_steps(model, steps)
        if model not in self.models:
            raise InputError(f"the {model} is not loaded; this pipeline holds {', '.join(self.models) or 'no model'}")
        return steps

    def _reference_condition(self, model: VideoTransformer, speaker: Speaker, still: Keypoints) -> Condition:
        xy, confidence = self._poses(still)
        pictures = speaker[0][:, None].expand(-1, FRAMES_PER_LATENT, -1, -1, -1)  # the reference itself is not warped
        base = self.codec.encode(self.codec.to_patches(pictures[0]))[None]
        return model.condition(base, speaker[0].to(self.dtype), xy[:, None], confidence[:, None])

    def _prepare(
        self,
        pieces: Iterator[Keypoints],
        student: StudentStream,
        plan: PlanStream,
        speaker: Speaker,
        timing: Timing,
        rows: list[PlanRow] | None,
    ) -> Iterator[tuple[DenoiserInput, DecoderInput]]:
        """Everything about each latent frame that does not need the one before."""
        warp = ReferenceWarp(*speaker)
        t = FRAMES_PER_LATENT
        with closing(pieces):
            for piece in pieces:
                with timing.stage("plan"):
                    new = plan.push(pool_to_latent(piece))
                if rows is not None:
                    rows += new
                with torch.inference_mode(), timing.stage("condition"):
                    xy, confidence = (part[0] for part in self._poses(piece))
                    patches = self.codec.to_patches(warp(xy[None], confidence[None])[0])
                    base = self.codec.encode(patches)
                    tokens, summary = student.fast.model.pose(
                        xy.unflatten(0, (-1, t)), confidence.unflatten(0, (-1, t))
                    )
                    modulation = student.modulations(summary)
                for i, row in enumerate(new):
                    pair = slice(i * t, (i + 1) * t)
                    yield (
                        DenoiserInput(row, base[i], tokens[i], modulation[:, :, i]),
                        DecoderInput(xy[pair], confidence[pair], patches[pair]),
                    )

    def _paint(self, timing: Timing, made: tuple[Tensor, DecoderInput]) -> np.ndarray:
        latent, extra = made
        with torch.inference_mode(), timing.stage("decode"):
            return self.codec.decode(latent, *extra).cpu().numpy()

    @torch.inference_mode()
    def condition(self, model: VideoTransformer, poses: Keypoints, reference: Reference) -> Condition:
        """Of the reference and all latent frames at once, for the teacher."""
        speaker, t = self._reference(reference), FRAMES_PER_LATENT
        warp = ReferenceWarp(*speaker)
        parts = [self._reference_condition(model, speaker, reference.keypoints[STILL])]
        for piece in cut_poses(p for p in [poses]):
            xy, confidence = self._poses(piece)
            base = self.codec.encode(self.codec.to_patches(warp(xy, confidence)[0]))[None]
            tokens, summary = model.pose(*(part[0].unflatten(0, (-1, t)) for part in (xy, confidence)))
            parts.append(Condition(base, parts[0].image_tokens, tokens[None], summary[None]))
        joined = [torch.cat([getattr(p, n) for p in parts], 1) for n in ("base", "pose_tokens", "pose_summary")]
        return Condition(joined[0], parts[0].image_tokens, *joined[1:])

    def _teacher_frames(self, poses, reference, steps, seed, timing, report) -> Iterator[np.ndarray]:
        frames, model = report.total, self.models["teacher"]
        with timing.stage("condition"):
            condition = self.condition(model, poses, reference)
        noise = torch.randn((1, frames, *condition.base.shape[2:]), generator=torch.Generator().manual_seed(seed))
        done = 0

        def predict(x: Tensor, level: float, which: slice) -> Tensor:
            nonlocal done
            with_reference = torch.cat([condition.base[:, :1], x], 1)
            levels = torch.full(with_reference.shape[:2], level, device=x.device)
            levels[:, 0] = 0.0
            picked = condition.frames([0, *range(which.start + 1, which.stop + 1)])
            clean = model(with_reference, levels, picked, attend_window)[:, 1:]
            done += 1
            report(
                "denoise", min(frames, frames * done / (steps * max(1, frames / (TEACHER_WINDOW - TEACHER_OVERLAP))))
            )
            return clean

        def denoise(x: Tensor, level: float) -> Tensor:
            return denoise_windows(predict, x, level, TEACHER_WINDOW, TEACHER_OVERLAP)

        with timing.stage("denoise"), torch.inference_mode():
            latents = sample_euler(denoise, noise.to(self.device), steps)
        for i in range(0, frames, LARGEST_PIECE):
            part = latents[:, i : i + LARGEST_PIECE]
            with timing.stage("decode"):
                first = i * FRAMES_PER_LATENT
                pictures = self.decode(part, poses[first : first + part.shape[1] * FRAMES_PER_LATENT], reference)
            yield pictures

    @torch.inference_mode()
    def decode(self, latents: Tensor, poses: Keypoints, reference: Reference) -> np.ndarray:
        """Pictures uint8 [2 f, H, W, 3] of normalised latents [1, f, c, h, w] and the poses of those 2 f frames."""
        xy, confidence = self._poses(poses)
        patches = self.codec.to_patches(ReferenceWarp(*self._reference(reference))(xy, confidence)[0])
        return self.codec.decode(latents[0], xy[0], confidence[0], patches).cpu().numpy()

    def _poses(self, keypoints: Keypoints) -> tuple[Tensor, Tensor]:  # [1, f, 133, 2], [1, f, 133]
        return tuple(torch.from_numpy(part)[None].to(self.device) for part in (keypoints.xy, keypoints.confidence))

    def _reference(self, reference: Reference) -> Speaker:
        """Its picture [1, 3, H, W] in [-1, 1] and pose [1, 133, 2], [1, 133]."""
        image = torch.from_numpy(np.array(reference.image)).to(self.device).movedim(-1, 0)[None].float() / 127.5 - 1
        xy, confidence = self._poses(reference.keypoints)
        return image, xy[:, 0], confidence[:, 0]


def _denoise(
    prepared: Iterator[tuple[DenoiserInput, DecoderInput]], student: StudentStream, timing: Timing
) -> Iterator[tuple[Tensor, DecoderInput]]:
    with closing(prepared):
        for count, (given, extra) in enumerate(prepared, 1):
            with timing.stage("denoise"):
                latent = student.next_frame(given)
            yield latent, extra
            if count % RELEASE_EVERY == 0:
                release_memory()


def _map_closing(function: Callable, source: Iterator) -> Iterator:
    with closing(source):
        yield from map(function, source)


def generate(
    pipeline: CoSpeechPipeline,
    audio: np.ndarray,  # float32 [n], mono, 16 kHz
    reference: Reference,
    out: str | Path,
    keypoints: Keypoints | None = None,
    mark: bool = True,
    sound: Sound | None = None,  # what is heard in the video, as it was recorded; `audio` itself for None
    **options,
) -> dict:
    """The main job: make the video and write it with its sound; returns `summarise`'s report.

    With `keypoints` the motion stage is skipped. Nothing is left behind if it fails half-way.
    """
    if keypoints is None:
        return write_video(lambda: pipeline.speak(audio, reference, **options), out, sound or audio, mark)[1]
    return write_video(lambda: pipeline.animate(keypoints, reference, **options), out, sound or audio, mark)[1]
