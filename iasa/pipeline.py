"""CoSpeechPipeline: speech and a reference picture in, a talking video out (paper, figure 2)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from iasa.attention.pattern import Pattern
from iasa.attention.patterns import make_pattern
from iasa.attention.patterns.input_aware import InputAware
from iasa.avatar.rig import RigMotion
from iasa.avatar.speaker import Reference, to_speaker
from iasa.config import (
    AUDIO_RATE,
    DEFAULT_MOTION,
    FRAMES_PER_LATENT,
    LAYERS,
    NO_ALPHA,
    NO_PHOTOGRAPH,
    RESTORED,
    VIDEO_FPS,
    WARPED,
    InputError,
    Sentence,
    check_compute,
    check_motion,
    check_steps,
)
from iasa.inference.conditioning import (
    STILL,
    Denoiser,
    Warp,
    WarpedFrame,
    condition_reference,
    decode,
    join_conditions,
    make_warp,
    plan,
    read_speaker,
    release_often,
    to_tensors,
    warp,
    warp_alone,
    warp_to,
)
from iasa.inference.generation import (
    Cancelled,
    Generation,
    Progress,
    Reporter,
    Run,
    Timing,
    first_frames,
    summarise,
    write,
)
from iasa.inference.networks import PipelineNetworks
from iasa.inference.output import CoSpeechOutput, to_output_type
from iasa.inference.pattern_rollout import PatternRollout
from iasa.inference.pose_chunks import LARGEST_PIECE, cut_poses, follow, iterate, move
from iasa.inference.prefetch import Prefetcher, in_turn
from iasa.inference.restoration import LayerRestorer, restore
from iasa.inference.streaming_rollout import StudentStream
from iasa.inference.windows import TeacherClip
from iasa.keypoints import Keypoints, pool_to_latent
from iasa.masks.plan import AttentionPlan
from iasa.masks.plan_stream import PlanRow, PlanStream
from iasa.media.sound import Sound, read_sound
from iasa.models.transformer import Condition
from iasa.motion.rules import GestureStyle
from iasa.speech import to_speech
from iasa.speech.chunked import Speech, hear, read_speech
from iasa.speech.features import count_frames

__all__ = [
    "Cancelled", "CoSpeechOutput", "CoSpeechPipeline", "Generation", "Progress", "Timing", "generate", "summarise", "write",
]  # fmt: skip

PAST_CAPACITY = 48  # latent frames whose keys a roll-out keeps: over 12 s the same PSNR as with all of the last 125

Picture = Reference | str | os.PathLike | np.ndarray | Image
# callback_on_step_end(pipe, step, timestep, {"latents": [1, f, c, h, w]}) -> None, or {"latents": ...} that go on instead
StepCallback = Callable[["CoSpeechPipeline", int, float, dict], dict | None]


class CoSpeechPipeline(PipelineNetworks):
    """The whole path, a diffusers pipeline. Calling it makes a video; `stream` hands out its frames as they are made.

    `student`, `teacher` or `restorer` may be None, and is then not there to be asked for; without a `motion` model of its
    own the learned motion is the shipped one's. `dtype` is a torch.dtype, a Precision, or a name of config.PRECISIONS; None
    leaves it to the environment's IASA_DTYPE and then to the machine.
    """

    def __call__(
        self,
        audio: Speech | None = None,
        image: Picture | None = None,
        *,
        output_type: str = "pil",  # or "np" or "pt", in [0, 1], as in diffusers
        return_dict: bool = True,
        **options: Any,
    ) -> CoSpeechOutput | tuple:
        """A whole video at once. Options are those of `stream`."""
        to_frames = to_output_type(output_type)
        sound = None
        if isinstance(audio, str | os.PathLike):
            sound = read_sound(audio)
            speech = to_speech(sound)
        else:
            speech = audio
        generation = self.stream(speech, image, **options)
        frames = to_frames(np.concatenate(list(generation.frames)))
        output = CoSpeechOutput(frames, speech, generation.keypoints, generation.plan, generation.settings, sound)
        return output if return_dict else (output.frames, output.audio, output.keypoints, output.plan)

    def stream(
        self,
        audio: Speech | None = None,
        image: Picture | None = None,
        *,
        keypoints: Keypoints | Iterator[Keypoints] | None = None,  # 25 frames/s: they move instead of the speech
        fit_poses: bool = True,  # keypoints take on the speaker's proportions
        model: str | None = None,  # None: the student, for a photograph its layers
        num_inference_steps: int | None = None,
        seed: int = 0,  # of motion and noise
        generator: torch.Generator | None = None,  # of the noise; its own seed takes the place of `seed`
        motion: str = DEFAULT_MOTION,  # who performs: "learned" or "rules"
        style: GestureStyle | None = None,
        edit: Callable[[RigMotion], RigMotion] | None = None,  # of every piece of the motion
        attention: str | Pattern | None = None,  # of the gallery; None: the teacher's windows, the student's plan
        compute: str = "all",  # tokens, or "moving": the student's face, hands and what else moves, over the warped reference
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> Generation:
        """A video as long as the sound, or as the poses: its frames uint8 [m, S, S, 3] come as they are made; S is 256, of a
        photograph its size.

        Words are recognized and poses made while earlier frames are painted. Poses of another person, or of another
        place in the picture, are carried to the speaker; the speaker's own stay as they are. Those that are shorter than
        the sound hold their last one. Poses that come from an iterator, in pieces of whole latent frames, may never end,
        and are the speaker's own.
        `callback_on_step_end(pipe, step, timestep, {"latents": [1, f, c, h, w]})` is called, in the thread that
        denoises, after every step of the teacher's clip or of each of the student's frames, steps counted from the
        first on; the latents that it returns take the place of its own. Nothing is computed before the first frame is
        asked for. Raises InputError.
        """
        steps = None if model is None else self._check(model, num_inference_steps)
        check_motion(motion)
        if image is None:
            raise InputError("there is no speaker; a picture is needed, or one of load_speaker's")
        reference = to_speaker(image)
        if model == RESTORED and reference.photo is None:
            raise InputError(NO_PHOTOGRAPH)
        if model is None or steps is None:
            model = "student" if reference.photo is None else LAYERS
            steps = self._check(model, num_inference_steps)
        if reference.transparent and model not in WARPED:
            raise InputError(NO_ALPHA, model=model)
        pattern = self._pattern(attention, model, steps)
        seed = generator.initial_seed() % 2**32 if generator else seed
        check_compute(compute, model, pattern is None)
        settings, speech, count = self._settings(model, steps, seed, reference, compute), None, None
        if pattern is not None:
            settings["attention"] = pattern.name
        if keypoints is None:
            speech, poses = hear(audio), iterate(())
            count, settings["motion"] = speech.frames, motion
            settings["audio_seconds"] = round(len(speech.audio) / AUDIO_RATE, 3)
            settings["phones_from"] = speech.expected  # corrected at the end
        elif isinstance(keypoints, Keypoints):
            sound = None if audio is None else count_frames(read_speech(audio))
            keypoints, said = follow(keypoints, reference, sound, fit_poses)
            settings |= said
            count, poses = len(keypoints), iterate([keypoints])
        else:
            poses = iterate(keypoints)
        if count is None and pattern is not None:
            raise InputError(f"{pattern.name} begins when all poses are known; input_aware takes poses that never end")
        on_step = callback_on_step_end and partial(
            self._tell, callback_on_step_end, tuple(callback_on_step_end_tensor_inputs)
        )
        report = Reporter(progress, should_stop, -(-(count or 0) // FRAMES_PER_LATENT))
        painter = self._painter(reference, model)
        run = Run(
            reference, model, steps, seed, generator or torch.Generator().manual_seed(seed), report,
            speech=speech, poses=poses, motion=motion, style=style, edit=edit, pattern=pattern, on_step=on_step,
            sparse=painter.strip_codec if compute == "moving" else None,
        )  # fmt: skip
        dense = model == "teacher" and pattern is None
        generation = Generation(count, self.grid, self.mask, settings, dense, pattern)
        generation.frames = painter._frames(run, generation)
        return generation

    def _painter(self, reference: Reference, model: str) -> CoSpeechPipeline:
        """Whose networks make the pictures."""
        return self.people if reference.photo is not None and model == "student" else self

    def _frames(self, run: Run, generation: Generation) -> Generator[np.ndarray]:
        """hear -> move -> plan -> warp -> denoise -> decode: each stage a generator that draws on the one before.

        On a processor the student's stages work ahead of one another, each in a thread of its own, and as many pictures are
        decoded at once as there are cores; so the frames of a seed do not depend on torch's number of threads.
        """
        timing, codec = generation.timing, self.codec
        threads = run.model != "teacher" and self.device.type == "cpu"
        ahead = partial(Prefetcher, executor=self.executor) if threads else in_turn
        heard, poses = run.speech, run.poses
        if heard is not None:
            motions = move(heard, run.reference, run.seed, timing, run.style, run.edit, run.motion, self.motion)
            poses = Prefetcher(motions, 1, self.executor)
        with closing(poses):
            pieces = poses if generation.count is None else cut_poses(poses, generation.poses)
            if run.model in WARPED:
                planned = plan(pieces, self._plan(run, generation)[0], timing, generation.rows)
                warped = ahead(warp_alone(planned, make_warp(run.reference, self.device), self.device, timing), 2)
                frames = restore(warped, self._restorer(run), timing)
            else:
                begin = partial(self._begin, run, generation)
                rows, reference, denoiser = self.executor.submit(begin).result() if threads else begin()
                planned = plan(pieces, rows, timing, generation.rows)
                warped = ahead(warp(planned, reference, codec, denoiser, timing, run.sparse), 2 * LARGEST_PIECE)
                latents = ahead(release_often(denoiser.denoise(warped, timing)), 2)
                paint = partial(decode, reference, codec, timing, sparse=run.sparse)
                frames = ahead(latents, max(2, torch.get_num_threads()), finish=paint)
            around = run.reference.around
            with closing(first_frames(frames, generation.count, run.report)) as shown:
                for chunk in shown:
                    yield chunk if around is None else around.put(chunk)
        if heard is not None:
            generation.settings["phones_from"] = heard.source

    def _restorer(self, run: Run) -> LayerRestorer | None:
        """What repairs the layers, if that was asked for."""
        if run.model != RESTORED:
            return None
        assert self.restorer is not None  # checked when the run was asked for
        return LayerRestorer(self.restorer, run.reference)

    def _begin(self, run: Run, generation: Generation) -> tuple[PlanStream, Warp, Denoiser]:
        """A plan, a warp and a denoiser that have seen the reference."""
        mask, model, rolls_out = self.mask, self.models[run.model], run.model == "student" and not run.whole
        stream, first = self._plan(run, generation, max(PAST_CAPACITY, mask.top_k + mask.window) if rolls_out else None)
        speaker = read_speaker(run.reference, self.device)
        with torch.inference_mode(), generation.timing.stage("condition", self.device):
            reference = make_warp(run.reference, self.device)
            if run.reference.room is not None:  # else the network paints the photograph's own room again
                speaker = speaker._replace(image=warp_to(reference, speaker.xy, speaker.confidence).small)
            condition = condition_reference(model, self.codec, speaker)

            def of_all() -> AttentionPlan:
                return generation.plan

            if rolls_out and run.pattern is not None:
                denoiser = PatternRollout(model, condition, run.pattern, run.steps, run.noise, of_all, run.on_step)
            elif rolls_out:
                denoiser = StudentStream(
                    model, condition, first.bits, stream.capacity, run.steps, mask.sink, run.noise,
                    self.precision.int8, run.on_step,
                )  # fmt: skip
            else:
                share = partial(run.report.share, "denoise")
                denoiser = TeacherClip(
                    model, condition, run.steps, run.noise, of_all, run.pattern, run.on_step, share
                )  # fmt: skip
        return stream, reference, denoiser

    def _plan(self, run: Run, generation: Generation, capacity: int | None = None) -> tuple[PlanStream, PlanRow]:
        """A plan that has seen the reference, and its row."""
        stream = PlanStream(self.mask, self.grid.rows, self.grid.cols, capacity)
        (first,) = stream.push(pool_to_latent(run.reference.keypoints[STILL]))
        if generation.rows is not None:
            generation.rows.append(first)
        return stream, first

    def prepare(
        self,
        poses: Keypoints,
        image: Picture,
        model: str = "student",
        num_inference_steps: int | None = None,
        seed: int = 0,
        whole: bool = False,  # for all frames together, whichever the model
    ) -> tuple[Denoiser, list[WarpedFrame]]:
        """A generation of poses up to its denoising: the denoiser, and what it would be given. For those who look inside."""
        reference, steps = to_speaker(image), self._check(model, num_inference_steps)
        painter = self._painter(reference, model)
        noise, report = torch.Generator().manual_seed(seed), Reporter(None, None, len(poses))
        run = Run(reference, model, steps, seed, noise, report, whole=whole)
        generation = Generation(len(poses), self.grid, self.mask, {}, dense=model == "teacher")
        rows, warped, denoiser = painter._begin(run, generation)
        planned = plan(cut_poses(iterate([poses])), rows, generation.timing)
        return denoiser, list(warp(planned, warped, painter.codec, denoiser, generation.timing))

    def condition(self, poses: Keypoints, image: Picture, model: str) -> Condition:
        """Of the reference and all latent frames of a clip at once."""
        denoiser, frames = self.prepare(poses, image, model, whole=True)
        return join_conditions(denoiser.reference, [frame for frame, _ in frames])

    @torch.inference_mode()
    def decode(self, latents: Tensor, poses: Keypoints, image: Picture, model: str = "student") -> np.ndarray:
        """Pictures uint8 [2 f, H, W, 3] of normalised latents [1, f, c, h, w] and the poses of those 2 f frames."""
        speaker = to_speaker(image)
        codec = self._painter(speaker, model).codec
        shown = warp_to(make_warp(speaker, self.device), *to_tensors(poses, self.device))
        patches = codec.to_patches(shown.small)
        return codec.decode(latents[0], shown.xy, shown.confidence, patches).cpu().numpy()

    def _settings(self, model: str, steps: int, seed: int, reference: Reference, compute: str) -> dict:
        """What a file's metadata and every report say of a run."""
        return {
            "model": model, "steps": steps, "seed": seed, "reference": reference.name, "fps": VIDEO_FPS,
            "top_k": self.mask.top_k, "device": self.device.type, "dtype": str(self.precision),
            "compute": compute,
        }  # fmt: skip

    def _check(self, model: str, steps: int | None) -> int:
        steps = check_steps(model, steps)
        if model == RESTORED and self.restorer is None:
            raise InputError("the restorer is not loaded; train it with: python -m iasa train restore")
        if model not in WARPED and model not in self.models:
            raise InputError(
                "the {model} is not loaded; this pipeline holds {names}",
                model=model,
                names=", ".join(self.models) or Sentence("no model"),
            )
        return steps

    def _pattern(self, attention: str | Pattern | None, model: str, steps: int) -> Pattern | None:
        if attention is None:
            return None
        if model in WARPED:
            raise InputError("the layers are warped without attention; leave the attention out, or name a model")
        pattern = make_pattern(attention)
        pattern.check_run(steps, causal=model == "student")
        own = model == "student" and pattern == InputAware()  # what it does anyhow, as poses come
        return None if own else pattern

    def _tell(self, callback: StepCallback, names: tuple[str, ...], step: int, level: float, latents: Tensor) -> Tensor:
        """Call a callback of diffusers' kind; what it returns goes on."""
        changed = callback(self, step, 1000 * level, {name: latents for name in names})
        return (changed or {}).get("latents", latents)


def generate(
    pipeline: CoSpeechPipeline,
    audio: np.ndarray,  # float32 [n], mono, 16 kHz
    image: Picture,
    out: str | Path,
    keypoints: Keypoints | None = None,  # move instead of the speech
    mark: bool = True,
    sound: Sound | None = None,  # what is heard in the video, as it was recorded; `audio` itself for None
    **options: Any,
) -> dict:
    """The main job: make the video and write it with its sound; returns `summarise`'s report. Options as for `stream`.

    Nothing is left behind if it fails half-way.
    """
    from iasa.media.writer import VideoWriter

    started, first = time.perf_counter(), 0.0
    with VideoWriter(out, VIDEO_FPS, sound or audio, AUDIO_RATE, mark=mark) as writer:  # entered first: an unwritable
        generation = pipeline.stream(audio, image, keypoints=keypoints, **options)  # target costs no work
        for _ in write(generation, writer):
            first = first or time.perf_counter() - started
    return summarise(generation, started) | {"first_frame": round(first, 3)}
