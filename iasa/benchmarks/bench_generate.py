"""`python -m iasa bench generate`: frames a second from speech to pictures, and where the time goes.

Every row is the whole path but for the writing of a file: speech, motion, plan, bending and encoding the reference,
denoising, decoding. Stages run side by side, so their processor times add up to more than the time that passes; figures
are per latent frame (two video frames, 80 ms of video). "Process ms" is what the whole process spends on one, libraries'
own threads counted, which the stages' times miss. "End over start" is what a frame costs in the last seconds over
what it cost around second ten. Both are processor time without the recognizer's, which is a process of its own; memory
counts both. On a GPU a stage ends when that has done its work, and its memory is a column of its own. `--reference IMG`
measures the layers of a photograph. `--breakdown` tells what the denoising consists of, in
kind of the paper's Figure 8; `--drift M` looks at M minutes of one video, minute by minute; `--soak N` watches the
memory; `--dtype` says what other numbers would give.
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from iasa.avatar.example_people import find_picture
from iasa.avatar.speaker import Reference, load_speaker, photograph_speaker, speaker_names
from iasa.benchmarks import GENERATE_ROWS, PHOTO_ROWS, GenerateOptions
from iasa.benchmarks.comparison import compare, read_rows, tell_row
from iasa.config import (
    AUDIO_RATE,
    FRAMES_PER_LATENT,
    LATENT_FPS,
    LAYERS,
    MODELS,
    PHOTO_SIZE,
    VIDEO_FPS,
    InputError,
    MaskOptions,
)
from iasa.device import pick_device
from iasa.files import display_name
from iasa.inference.graphed import has_graphs
from iasa.inference.streaming_rollout import StudentStream
from iasa.keypoints import Keypoints, fill_latent
from iasa.media.reader import read_image
from iasa.metrics.video_quality import detection_rates, psnr
from iasa.motion import speech_to_motion
from iasa.paths import SPEECH
from iasa.pipeline import CoSpeechPipeline
from iasa.session import LiveSpeaker
from iasa.speech import analyse, read_audio

DENSE_FRAMES = 50  # latent frames that the dense student sees: 4 s, beyond which it is no student of this package
LONGEST = {"student dense": 30.0, "student live": 30.0, "teacher": 8.0}  # of the slow rows, and of what waits for sound
EARLY = 10.0  # seconds: where the cost of a frame is first looked at
SPAN = 2.0  # seconds over which it is averaged
TAIL = 3.0  # seconds at the end that are left out: the earlier stages have finished by then
HEARD = 0.04  # seconds of sound pushed at a time to the live speaker
LOOKED_AT = 250  # frames of each minute, ten seconds, that the detector looks at
KINDS = {  # profiled operations -> what they are for, in the student's and the teacher's code
    "attention": ("aten::bmm", "aten::exp_", "aten::_softmax", "aten::sum", "aten::div_", "aten::index_select",
                  "aten::index_add_", "aten::_scaled_dot_product_flash_attention_for_cpu", "aten::mul_"),
    "linear": ("aten::addmm", "aten::mm", "mkldnn::_linear_pointwise", "onednn::qlinear_pointwise"),
    "norm": ("aten::native_layer_norm", "aten::_fused_rms_norm", "aten::pow", "aten::mean", "aten::rsqrt"),
}  # fmt: skip


def example_speech(seconds: float) -> np.ndarray:
    """The example clips one after another, again and again: float32 [n] at 16 kHz."""
    clips = sorted(SPEECH.glob("*.mp3"))
    if not clips:
        raise InputError(f"there are no example clips in {SPEECH.parent.name}/{SPEECH.name}")
    sound = np.concatenate([read_audio(clip)[0] for clip in clips])
    return np.resize(sound, round(seconds * AUDIO_RATE))


def resident_mb() -> float:
    """Memory of this process and of those that it started, in MB (Linux)."""
    children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
    places = [
        path
        for path in map(Path, ("/proc/self/statm", *(f"/proc/{child}/statm" for child in children)))
        if path.exists()
    ]
    return sum(int(path.read_text().split()[1]) for path in places) * resource.getpagesize() / 1e6


def reset_device_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def device_peak(device: torch.device) -> dict[str, int]:
    """The most memory of a GPU, in MB, that was taken since it was reset, recorded graphs counted."""
    return {"device_peak_mb": round(torch.cuda.max_memory_reserved(device) / 1e6)} if device.type == "cuda" else {}


def measure(
    pipeline: CoSpeechPipeline,
    reference: Reference,
    row: str,
    sound: np.ndarray,
    steps: int | None,
    compute: str = "all",  # of the students with a plan
) -> dict:
    """One row of the table for one length of speech."""
    if row == "student live":
        return measure_live(pipeline, reference, sound, steps, compute)
    model, compute = row.split()[0], compute if row == "student" else "all"
    reset_device_peak(pipeline.device)
    begun, spent = time.perf_counter(), time.process_time()
    generation = pipeline.stream(sound, reference, model=model, num_inference_steps=steps, compute=compute)
    marks, memory = [], []
    for frames in generation.frames:
        marks += [(time.perf_counter() - begun, time.process_time() - spent)] * len(frames)
        memory.append(resident_mb())
    wall, processor = np.array(marks).T
    assert generation.count is not None  # the sound has an end
    latents = generation.count / FRAMES_PER_LATENT
    return {
        "row": row,
        "seconds": round(len(sound) / AUDIO_RATE, 2),
        "steps": generation.settings["steps"],
        "fps": round(generation.count / wall[-1], 2),
        "fps_after_first": round((generation.count - FRAMES_PER_LATENT) / (wall[-1] - wall[0]), 2),
        "first_frame": round(float(wall[0]), 3),
        "motion": round(generation.timing.seconds["motion"], 3),
        "end_over_start": _cost_ratio(processor) if model != "teacher" else None,
        "peak_mb": round(max(memory)),
        **device_peak(pipeline.device),
        "end_mb_over_middle": round(float(np.mean(memory[-5:]) / memory[len(memory) // 2]), 3),
        "density": generation.density,
        "computed": generation.timing.computed,
        "process_ms": round(1e3 * processor[-1] / latents, 2),
        "ms_wall": {name: round(1e3 * s / latents, 2) for name, s in generation.timing.seconds.items()},
        "ms_processor": {name: round(1e3 * s / latents, 2) for name, s in generation.timing.processor.items()},
    }


def _cost_ratio(processor: np.ndarray) -> float | None:
    """Processor time of a frame in SPAN seconds near the end over that around EARLY; None for a short video."""
    span, early, last = round(SPAN * VIDEO_FPS), round(EARLY * VIDEO_FPS), len(processor) - 1 - round(TAIL * VIDEO_FPS)
    if last < early + 2 * span:
        return None
    first = processor[early + span // 2] - processor[early - span // 2]
    return round(float((processor[last] - processor[last - span]) / first), 3)


def measure_live(
    pipeline: CoSpeechPipeline, reference: Reference, sound: np.ndarray, steps: int | None, compute: str = "all"
) -> dict:
    """Sound as fast as a microphone gives it: when frames come, after the sound that they belong to has begun."""
    piece, late, memory = round(HEARD * AUDIO_RATE), [], []
    reset_device_peak(pipeline.device)
    with LiveSpeaker(pipeline, reference, steps, compute=compute) as speaker:
        begun = time.perf_counter()
        for start in range(0, len(sound), piece):
            ready = (start + piece) / AUDIO_RATE
            time.sleep(max(0.0, ready - (time.perf_counter() - begun)))
            frames = speaker.push(sound[start : start + piece])
            if len(frames):
                late.append(time.perf_counter() - begun - (speaker.made - len(frames)) / VIDEO_FPS)
                memory.append(resident_mb())
        frames = speaker.finish()
        late.append(time.perf_counter() - begun - (speaker.made - len(frames)) / VIDEO_FPS)
    elapsed = time.perf_counter() - begun
    latents = speaker.made / FRAMES_PER_LATENT
    return {
        "row": "student live",
        "seconds": round(len(sound) / AUDIO_RATE, 2),
        "steps": speaker.settings["steps"],
        "fps": round(speaker.made / elapsed, 2),
        "first_frame": round(late[0], 3),
        "latest_frame": round(max(late), 3),
        "peak_mb": round(max(memory or [resident_mb()])),
        **device_peak(pipeline.device),
        "ms_wall": {name: round(1e3 * s / latents, 2) for name, s in speaker.timing.seconds.items()},
        "ms_processor": {name: round(1e3 * s / latents, 2) for name, s in speaker.timing.processor.items()},
    }


def breakdown(pipeline: CoSpeechPipeline, reference: Reference, row: str, steps: int | None, profiled: int = 3) -> dict:
    """Milliseconds of processor time in which a latent frame is denoised after DENSE_FRAMES others, by kind of work."""
    from torch.profiler import ProfilerActivity, profile

    model = row.split()[0]
    count = DENSE_FRAMES + profiled if model == "student" else 6
    sound = example_speech((count + 1) / LATENT_FPS)
    motion = speech_to_motion(analyse(sound, method="signal"), 0)
    poses = fill_latent(_keypoints(reference, motion))[: count * FRAMES_PER_LATENT]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if model == "student":
        student, given = pipeline.prepare(poses, reference, num_inference_steps=steps)
        assert isinstance(student, StudentStream)
        for frame, _ in given[:DENSE_FRAMES]:
            student.next_frame(frame)
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            made = sum(len(student.next_frame(frame)) for frame, _ in given[DENSE_FRAMES:])
    else:
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            work = pipeline.stream(image=reference, keypoints=poses, model=model, num_inference_steps=steps)
            made = sum(1 for _ in work.frames)
    torch.set_num_threads(threads)
    spent = dict.fromkeys((*KINDS, "other"), 0.0)
    for event in seen.key_averages():
        kind = next((kind for kind, names in KINDS.items() if event.key in names), "other")
        spent[kind] += event.self_cpu_time_total / 1e3 / made
    return {"row": row, **{kind: round(ms, 2) for kind, ms in spent.items()}, "all": round(sum(spent.values()), 2)}


def _keypoints(reference: Reference, motion) -> Keypoints:
    from iasa.avatar.rig import make_keypoints

    return make_keypoints(reference.identity, motion)


def drift(pipeline: CoSpeechPipeline, reference: Reference, minutes: int, steps: int | None) -> list[dict]:
    """What each minute of one long video looks like, on LOOKED_AT frames in its middle, beside the drawn truth."""
    from iasa.avatar.renderer import Renderer
    from iasa.metrics.proxy import ProxyMetrics
    from iasa.pose import extract_keypoints

    motion = speech_to_motion(analyse(example_speech(60.0 * minutes), method="signal"), 0)
    poses, renderer, proxy = (
        fill_latent(_keypoints(reference, motion)),
        Renderer(reference.identity),
        ProxyMetrics.load(),
    )
    frames = _frames(pipeline, poses, reference, steps)
    rows, minute = [], round(60 * VIDEO_FPS)
    for number in range(minutes):
        shown = list(islice(frames, minute))
        middle = slice((minute - LOOKED_AT) // 2, (minute + LOOKED_AT) // 2)
        made, at = np.stack(shown[middle]), slice(number * minute + middle.start, number * minute + middle.stop)
        truth = renderer.render(motion[at])
        found, drawn = (extract_keypoints(pictures, VIDEO_FPS) for pictures in (made, truth))
        row = {
            "minute": number + 1,
            "colour": [round(float(c), 2) for c in np.mean([f.mean((0, 1)) for f in shown[::25]], 0)],
            "psnr": round(psnr(made, truth), 2),
            **{name: round(value, 4) for name, value in detection_rates(found, poses[at]).items()},
            "hands_of_truth": round(detection_rates(drawn, poses[at])["hands"], 4),
            "memory_mb": round(resident_mb()),
        }
        if proxy is not None:
            likeness = proxy.embed(made, found) @ proxy.embed(reference.image[None], reference.keypoints)[0]
            row["identity"] = round(float(np.nanmean(likeness)), 4)
        rows.append(row)
    return rows


def soak(pipeline: CoSpeechPipeline, reference: Reference, count: int) -> list[dict]:
    """`count` short live speakers one after another, every third dropped half-way: memory and threads at ten points."""
    sound, rows = example_speech(1.2), []
    for number in range(1, count + 1):
        with LiveSpeaker(pipeline, reference, steps=1, seed=number) as speaker:
            speaker.push(sound)
            if number % 3:
                speaker.finish()
        if number % max(1, count // 10) == 0:
            rows.append({"generations": number, "memory_mb": round(resident_mb()), "threads": threading.active_count()})
    return rows


def _frames(
    pipeline: CoSpeechPipeline, poses: Keypoints, reference: Reference, steps: int | None
) -> Iterator[np.ndarray]:
    for pair in pipeline.stream(image=reference, keypoints=poses, num_inference_steps=steps).frames:
        yield from pair


def run(options: GenerateOptions) -> tuple[str, dict]:
    """(Markdown tables, figures). Raises InputError before anything is measured if there is nothing to compare with,
    or no person in the picture."""
    stored = None if options.against is None else read_rows(options.against)
    if options.reference is not None:
        if options.drift or options.soak or set(options.rows or ()) - {*PHOTO_ROWS}:
            raise InputError(f"of a photograph the rows {' and '.join(PHOTO_ROWS)} are measured; leave the rest out")
        if options.steps is not None and LAYERS in (options.rows or PHOTO_ROWS):
            raise InputError(f"the row {LAYERS} has no denoising steps; leave --steps out")
    device = pick_device(options.device)
    if options.breakdown and device.type == "cuda":
        raise InputError("--breakdown counts processor time; leave it out on a GPU, or add --device cpu")
    reference = _read_speaker(options)
    sparse = CoSpeechPipeline.from_pretrained(options.weights, teacher=None, device=device)
    kind = {
        "dtype": str(sparse.precision), "speaker": reference.name, "size": reference.size, "compute": options.compute,
        "cuda_graphs": has_graphs(device),
    }  # fmt: skip
    if options.drift:
        rows = drift(sparse, reference, options.drift, options.steps)
        return to_table(rows, tuple(rows[0])), {**kind, "drift": rows}
    if options.soak:
        rows = soak(sparse, reference, options.soak)
        return to_table(rows, tuple(rows[0])), {**kind, "soak": rows}
    pipelines = {"student": sparse, "student live": sparse, LAYERS: sparse}
    rows, parts = [], []
    usual = PHOTO_ROWS if reference.photo else [row for row in GENERATE_ROWS if row != LAYERS]
    for row in options.rows or usual:
        pipeline = pipelines.get(row) or _pipeline(row, options.weights, sparse)
        steps = {"teacher": options.teacher_steps, LAYERS: None}.get(row, options.steps)
        _warm(pipeline, reference, row.split()[0])
        for seconds in sorted([4.0] if options.quick else options.seconds):
            if options.all_lengths or seconds <= LONGEST.get(row, seconds):
                rows.append(measure(pipeline, reference, row, example_speech(seconds), steps, options.compute))
                tell_row(rows[-1], stored)
        if options.breakdown and row not in ("student live", LAYERS):
            parts.append(breakdown(pipeline, reference, row, steps))
    columns = (
        "row", "seconds", "steps", "fps", "fps_after_first", "first_frame", "process_ms", "end_over_start", "peak_mb",
        *device_peak(device),
    )  # fmt: skip
    table = to_table(rows, columns)
    if stored is not None:
        table += f"\n\nAgainst {display_name(options.against or '')}:\n\n" + to_table(*compare(rows, stored))
    clocks = {"ms_processor": "Processor milliseconds"} | ({"ms_wall": "Milliseconds"} if device.type == "cuda" else {})
    for clock, said in clocks.items():
        stages = [{"row": r["row"], "seconds": r["seconds"], **r[clock]} for r in rows]
        names = dict.fromkeys(name for stage in stages for name in stage)
        table += f"\n\n{said} of a latent frame by stage:\n\n" + to_table(stages, tuple(names))
    figures = {**kind, "rows": rows, **ratios(rows, parts)}
    for name, value in ratios(rows, parts).items():
        table += f"\n\n{name.replace('_', ' ')}: {value}"
    if parts:
        table += "\n\nDenoising of a latent frame after 50 others, one thread, milliseconds:\n\n"
        table += to_table(parts, tuple(parts[0]))
        figures["breakdown"] = parts
    return table, figures


def _read_speaker(options: GenerateOptions) -> Reference:
    """The photograph's person, or the first of the example speakers."""
    if options.reference is not None:
        return photograph_speaker(read_image(find_picture(options.reference)), size=options.size or PHOTO_SIZE)
    if options.size is not None:
        raise InputError("--size is for a photograph; give one with --reference IMG")
    return load_speaker(speaker_names()[0])


def _pipeline(row: str, weights: str | None, sparse: CoSpeechPipeline) -> CoSpeechPipeline:
    place = {"device": sparse.device, "dtype": sparse.precision}
    if row == "teacher":
        return CoSpeechPipeline.from_pretrained(weights, student=None, **place)
    dense = MaskOptions(top_k=0, window=DENSE_FRAMES, local=False)
    return CoSpeechPipeline.from_pretrained(weights, teacher=None, mask=dense, **place)


def ratios(rows: list[dict], parts: list[dict]) -> dict:
    """How much faster the student is than the teacher, by length of speech, and its attention than the dense one's."""
    fps = {(row["row"], row["seconds"]): row["fps"] for row in rows}
    found: dict = {
        "student_over_teacher": {
            f"{seconds:g} s": round(fps["student", seconds] / value, 1)
            for (row, seconds), value in fps.items()
            if row == "teacher" and ("student", seconds) in fps
        }
    }
    spent = {part["row"]: part["attention"] for part in parts}
    if {"student", "student dense"} <= spent.keys():
        found["attention_dense_over_sparse"] = round(spent["student dense"] / spent["student"], 1)
    return {name: value for name, value in found.items() if value}


def _warm(pipeline: CoSpeechPipeline, reference: Reference, model: str) -> None:
    """What is loaded or made on first use is no part of the figures."""
    steps = 1 if model in MODELS else None
    for _ in pipeline.stream(example_speech(1.0), reference, model=model, num_inference_steps=steps).frames:
        pass


def to_table(rows: list[dict], columns: tuple[str, ...]) -> str:
    """Rows as Markdown; a dash where a row has no such figure."""
    lines = ["| " + " | ".join(name.replace("_", " ") for name in columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = ("-" if row.get(name) is None else str(row[name]) for name in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
