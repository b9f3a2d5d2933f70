"""Teacher, dense student and sparse student on one clip, or two patterns of attention: side by side, with their figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import gradio as gr
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from iasa.avatar.speaker import Reference, load_speaker
from iasa.config import (
    AUDIO_RATE,
    DEFAULT_STEPS,
    FRAMES_PER_LATENT,
    MODELS,
    VIDEO_FPS,
    InputError,
    MaskOptions,
    Sentence,
    TransformerConfig,
    check_steps,
)
from iasa.demo.service import (
    language_of,
    load_pipeline,
    new_output,
    plain_errors,
    read_recording,
    show_progress,
    watch_stop,
)
from iasa.demo.speaker_choice import check_seed
from iasa.demo.translations import translate
from iasa.demo.zerogpu import gpu
from iasa.inference.generation import Cancelled
from iasa.inference.windows import TEACHER_WINDOW, window_starts
from iasa.masks import AttentionPlan
from iasa.media.content_credentials import sign_if_asked
from iasa.media.sound import Sound
from iasa.pipeline import CoSpeechPipeline
from iasa.speech import to_speech

SHORT_TEACHER = 8  # steps, where a visitor waits
MAX_COMPARED = 4.0  # seconds of speech
NO_PATTERN = ""  # the networks as they are
LABEL = 22  # pixels of the strip under each picture
PATTERNS = (  # of the gallery; which of them can serve is theirs to say
    "dense", "input_aware", "sparse_forcing", "monarch", "svg2", "pab", "oracle", "radial", "local_window", "random_blocks",
)  # fmt: skip


@dataclass(frozen=True)
class ComparisonRow:
    """One row of the table. density: share of all token pairs of the clip; flop: of attention, all steps."""

    name: str
    steps: int
    density: float
    flop: float
    seconds: float
    fps: float
    psnr: float | None = None
    ssim: float | None = None


def dense_options(frames: int) -> MaskOptions:
    """Every past frame visible whole: the student without its mask."""
    return MaskOptions(top_k=frames, window=0, local=False, reach=max(1, frames))


def dense_pipeline(pipeline: CoSpeechPipeline, frames: int) -> CoSpeechPipeline:
    """The same networks without the mask."""
    options = dense_options(frames)
    parts = {"autoencoder": pipeline.autoencoder, "student": pipeline.student}
    return CoSpeechPipeline(**parts, mask=options, device=pipeline.device, dtype=pipeline.precision)


def teacher_pairs(frames: int, tokens: int) -> int:
    """Query-key pairs of one teacher step: overlapping windows, each dense, each with the reference."""
    sizes = [min(start + TEACHER_WINDOW, frames) - start for start in window_starts(frames)]
    return sum(size * (size + 1) + 1 for size in sizes) * tokens**2


def attention_cost(plan: AttentionPlan, model: str, config: TransformerConfig, steps: int) -> tuple[float, float]:
    """Share of all token pairs of the clip that a step computes, and the FLOP of attention in all steps."""
    pairs = plan.density() * plan.grid.tokens**2
    if model == "teacher":
        pairs = teacher_pairs(plan.grid.frames - 1, plan.grid.tokens_per_frame)
    return pairs / plan.grid.tokens**2, 4 * pairs * config.width * config.layers * steps


@gpu(60)
def compare(
    audio: str | None,
    example: str | None = None,
    seconds: float = 2.0,
    teacher_steps: float = SHORT_TEACHER,
    seed: float = 0,
    pattern: str = NO_PATTERN,
    model: str = "student",
    steps: float = 1,
    other_pattern: str = NO_PATTERN,
    other_model: str = "student",
    other_steps: float = 1,
    request: gr.Request | None = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> tuple[str | None, str]:
    """The same clip by the dense teacher, the dense student and the sparse student, side by side.

    Returns one mp4 with all three and a table: frames a second, density, FLOP of the attention, and quality against
    the ground truth. Takes the first 0.4 to 4 seconds of the speech, an example speaker's name, and 1 to 100 steps
    of the teacher. With two patterns of attention (dense, input_aware, sparse_forcing, monarch, svg2, pab, oracle, radial,
    local_window, random_blocks), each with its model and steps (student: 1 to 4, teacher: 1 to 100), these two take the
    place of the three.
    """
    stopped, language = watch_stop(request), language_of(request)
    with plain_errors(request):
        if not isinstance(seconds, int | float) or not 0.4 <= seconds <= MAX_COMPARED:
            raise InputError(
                "{seconds} seconds are asked for; 0.4 to {most:g} are accepted", seconds=seconds, most=MAX_COMPARED
            )
        pair = read_pair((pattern, model, steps), (other_pattern, other_model, other_steps))
        recording = read_recording(audio)
        sound = to_speech(recording)[: int(seconds * AUDIO_RATE)]
        reference, pipeline, seed = load_speaker(example or ""), load_pipeline(), check_seed(seed)
        video, watch = new_output(".mp4", f"{reference.name}-compared-seed{seed}"), show_progress(progress, language)
        try:
            rows = make_comparison(
                pipeline, sound, reference, video, seed, int(teacher_steps), watch, stopped, recording, pair
            )
        except Cancelled:
            video.parent.rmdir()
            return None, translate("Stopped.", language)
        sign_if_asked(video)
    return str(video), to_table(rows, f"{pipeline.device.type}, {pipeline.precision}", language)


class Side(NamedTuple):
    """One of two that are compared."""

    pattern: str
    model: str
    steps: int


def read_pair(*given: tuple[str, str, float]) -> tuple[Side, Side] | None:
    """Two sides; None where neither has a pattern. Raises InputError."""
    names = [pattern for pattern, *_ in given if pattern]
    if not names:
        return None
    if len(names) < 2 or not set(names) <= set(PATTERNS):
        raise InputError(
            "the patterns are {given}; two of {names} are accepted", given=", ".join(names), names=", ".join(PATTERNS)
        )
    if unknown := [model for _, model, _ in given if model not in MODELS]:
        raise InputError("the model is {model!r}; accepted: {names}", model=unknown[0], names=", ".join(MODELS))
    one, other = (Side(pattern, model, check_steps(model, int(steps))) for pattern, model, steps in given)
    return one, other


def make_comparison(
    pipeline: CoSpeechPipeline,
    audio: np.ndarray,  # float32 [n], mono, 16 kHz
    reference: Reference,
    out: str | Path,
    seed: int = 0,
    teacher_steps: int = SHORT_TEACHER,
    progress: Callable[[str, float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    recording: Sound | None = None,  # what is heard in the video; `audio` itself for None
    pair: tuple[Side, Side] | None = None,  # these, instead of the three
) -> list[ComparisonRow]:
    """Write the three, or the pair, side by side, with the sound, and return their figures.

    PSNR and SSIM compare with the ground truth; they are left out for a photo, and where Skia is missing.
    """
    from iasa.avatar.rig import make_keypoints
    from iasa.media.writer import VideoWriter
    from iasa.metrics.video_quality import psnr, ssim
    from iasa.motion import speech_to_motion
    from iasa.speech import analyse

    motion = speech_to_motion(analyse(audio), seed)
    poses = make_keypoints(reference.identity, motion)
    truth = draw_truth(reference, motion)
    latent = 1 + -(-len(poses) // FRAMES_PER_LATENT)
    few = DEFAULT_STEPS["student"]
    if pair:
        alike = len({side.model for side in pair}) == 1
        runs = [
            (side.pattern if alike else f"{side.model}, {side.pattern}", side.model, pipeline, side.steps, side.pattern)
            for side in pair
        ]
    else:
        runs = [
            ("teacher", "teacher", pipeline, teacher_steps, None),
            ("dense student", "student", dense_pipeline(pipeline, latent), few, None),
            ("sparse student", "student", pipeline, few, None),
        ]
    rows, pictures = [], []
    with VideoWriter(out, VIDEO_FPS, recording or audio, AUDIO_RATE, mark=True) as writer:
        for number, (name, model, run, steps, attention) in enumerate(runs):

            def report(stage: str, share: float, number: int = number, name: str = name) -> None:
                if progress:
                    progress(name, (number + share) / len(runs))

            started = time.perf_counter()
            generation = run.stream(
                image=reference, keypoints=poses, model=model, num_inference_steps=steps, seed=seed,
                attention=attention, progress=report, should_stop=should_stop,
            )  # fmt: skip
            frames = np.concatenate(list(generation.frames))
            seconds = time.perf_counter() - started
            density, flop = attention_cost(generation.plan, model, run.models[model].config, steps)
            if generation.pattern is not None:
                density, flop = generation.density, generation.pattern.computed.flops
            rows.append(
                ComparisonRow(
                    name,
                    steps,
                    density,
                    flop,
                    seconds,
                    len(frames) / seconds,
                    None if truth is None else psnr(frames, truth),
                    None if truth is None else ssim(frames, truth),
                )
            )
            pictures.append(add_label(frames, f"{name}, steps: {steps}"))
        writer.describe({"compared": [asdict(row) for row in rows], "seed": seed, "reference": reference.name})
        writer.add_frames(np.concatenate(pictures, axis=2))
    return rows


def draw_truth(reference: Reference, motion) -> np.ndarray | None:
    """The drawn speaker performing the motion; None for a photo or without Skia."""
    if reference.name == "photo":
        return None
    try:
        from iasa.avatar.renderer import Renderer

        renderer = Renderer(reference.identity)
    except ImportError:
        return None
    return renderer.render(motion)


def add_label(frames: np.ndarray, text: str) -> np.ndarray:
    """Frames uint8 [f, H, W, 3] with a line of text under them: [f, H + LABEL, W, 3]."""
    strip = Image.new("RGB", (frames.shape[2], LABEL), (18, 22, 30))
    place = (frames.shape[2] / 2, LABEL / 2)
    ImageDraw.Draw(strip).text(place, text, (235, 240, 246), ImageFont.load_default(13), anchor="mm")
    under = np.broadcast_to(np.asarray(strip), (len(frames), LABEL, frames.shape[2], 3))
    return np.concatenate([frames, under], 1)


def to_table(rows: list[ComparisonRow], device: str, language: str = "en") -> str:
    """The figures as Markdown."""
    names = ("steps", "frames/s", "seconds", "density", "attention GFLOP", "PSNR dB", "SSIM")
    lines = [f"| | {' | '.join(translate(name, language) for name in names)} |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        quality = "- | -" if row.psnr is None else f"{row.psnr:.2f} | {row.ssim:.3f}"
        lines.append(
            f"| {translate(row.name, language)} | {row.steps} | {row.fps:.1f} | {row.seconds:.1f} | {row.density:.1%} "
            f"| {row.flop / 1e9:.1f} | {quality} |"
        )
    truth = "the ground truth" if rows[0].psnr is not None else "nothing: there is no truth for this speaker"
    measured = translate(
        "Measured now on this machine ({device}), decoding included. Density: share of all token pairs of the clip, in "
        "each step. Quality compares with {truth}.",
        language,
        device=device,
        truth=Sentence(truth),
    )
    return "\n".join([*lines, f"\n{measured}"])
