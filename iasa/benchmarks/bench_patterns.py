"""`python -m iasa bench patterns`: the gallery of attention patterns on the same models, clips and noise.

Rows of one density keep as many blocks of 64 x 64 pairs, as nearly as each pattern can be set; a pattern that cannot be
set so near that half of it is met is left out with its reason. Nothing is trained: the shipped weights run under another
pattern ("dropped in"). Every pattern sees the clip as a whole, the teacher without windows, the student frame by frame.

mass and error come from a dense run that the pattern looks on at (`pattern_probe`); the pictures from a run of its own.
PSNR and SSIM are against the dense run of the same model, and against the truth where there is one. Seconds are of the
processor, on one thread; planning is part of the attention's seconds, and includes the plan made of the poses.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from iasa.attention.pattern import Clip, Pattern
from iasa.attention.patterns import find_pattern, make_pattern
from iasa.avatar.speaker import Reference, photograph_speaker
from iasa.benchmarks import PatternOptions
from iasa.benchmarks.pattern_page import to_page
from iasa.benchmarks.pattern_probe import Probe
from iasa.config import FRAMES_PER_LATENT, IMAGE_SIZE, InputError
from iasa.device import describe_machine
from iasa.evaluation.worker import make_heldout_clips
from iasa.explorer.recorder import latent_poses
from iasa.files import atomic_write
from iasa.grid import TokenGrid
from iasa.keypoints import Keypoints
from iasa.masks import make_plan
from iasa.media.reader import read_image
from iasa.metrics.video_quality import detection_rates, mouth_correlation, psnr, region_psnr, ssim
from iasa.pipeline import CoSpeechPipeline
from iasa.sampling import make_levels

ORDER = (
    "dense", "oracle", "input_aware", "random_frames", "sparse_forcing", "monarch", "svg2", "pab", "radial", "local_window",
    "random_blocks",
)  # fmt: skip
PUBLISHED = {  # at no density that could be chosen: as their papers have them
    "input_aware": "input_aware, the shipped plan",
    "svg2": "svg2, p = 0.9, first quarter dense",
    "pab": "pab, range 2",
}
PROBED_LAYERS = {"teacher": (1, 5), "student": (0, 1, 2, 3)}


@dataclass
class Subject:
    """A speaker with poses to follow; the truth where the speaker is drawn."""

    reference: Reference
    keypoints: Keypoints
    truth: np.ndarray | None = None  # uint8 [f, H, W, 3]
    masks: np.ndarray | None = None  # bool [f, 5, H, W]


@dataclass(frozen=True)
class Setting:
    """A model and its steps."""

    model: str
    steps: int
    densities: tuple[float, ...]
    patterns: tuple[str, ...] = ORDER
    finetuned: int = 0  # steps that the weights were trained under the pattern

    @property
    def middle(self) -> float:
        return middle_of(self.densities)

    @property
    def title(self) -> str:
        tuned = f", fine-tuned {self.finetuned} steps" if self.finetuned else ""
        return f"{self.model}, {self.steps} step{'s' * (self.steps > 1)}{tuned}"


def run(options: PatternOptions) -> tuple[str, dict]:
    """(Markdown tables, figures)."""
    pipeline = CoSpeechPipeline.from_pretrained(options.weights, dtype="float32")
    torch.set_num_threads(1)
    subjects = {"avatars": list(drawn(options))}
    if options.real is not None:
        subjects["photographs"] = list(photographed(Path(options.real), options))
    figures = {"rows": [], "refused": {}, "clips": {kind: len(people) for kind, people in subjects.items()}}
    figures |= {"latent_frames": frames_of(options) // FRAMES_PER_LATENT, "command": command_of(options), "done": []}
    figures |= known_figures(options)
    try:
        measure_all(pipeline, subjects, options, figures)
    except KeyboardInterrupt:  # what is done is told
        figures["stopped"] = True
    machine = describe_machine()
    device = f"{machine['device']}, torch {machine['torch']}, {machine['date']}"
    return to_page(figures, figures["command"], device), figures


def measure_all(
    pipeline: CoSpeechPipeline, subjects: dict[str, list[Subject]], options: PatternOptions, figures: dict
) -> None:
    """Fills the figures' rows and refusals; with `options.out` every row is kept as soon as it is done."""
    settings = settings_of(options)
    teachers = [setting for setting in settings if setting.model == "teacher"]
    if options.finetune and not teachers:
        raise InputError("--finetune trains the teacher; --models student leaves it out")
    for setting in settings:
        for kind, people in subjects.items():
            if (name := f"{kind}, {setting.title}") in figures["done"]:
                continue
            before = figures["rows"]
            some = people[: clips_of(setting, options)]
            for rows in measure(pipeline, some, setting, figures["refused"]):
                figures["rows"] = [*before, *({"subjects": kind, **row} for row in rows)]
                if options.out:
                    with atomic_write(options.out) as partial:
                        partial.write_text(json.dumps({**figures, "stopped": True}, indent=1) + "\n")
            figures["done"].append(name)
    if options.finetune:
        figures["rows"] += finetuned_rows(
            pipeline, subjects["avatars"][: options.clips], options, teachers[0], figures["refused"]
        )


def known_figures(options: PatternOptions) -> dict:
    """What a run of the same command had done in `options.out` when it was stopped; {} where there was none."""
    path = Path(options.out or "")
    known = json.loads(path.read_text()) if path.is_file() else {}
    if not known.get("stopped") or known.get("command") != command_of(options):
        return {}
    done = known.get("done", [])
    rows = [row for row in known["rows"] if f"{row['subjects']}, {row['model']}" in done]
    return {"rows": rows, "refused": known["refused"], "done": done}


def command_of(options: PatternOptions) -> str:
    """What was asked for, without the places of files."""
    default, words = PatternOptions(), ["python -m iasa bench patterns"]
    for name, value in asdict(options).items():
        if name == "out" or value == getattr(default, name):
            continue
        option = "--" + name.replace("_", "-")
        given = {"real": "DIR", "data": "DIR", "weights": "FOLDER"}.get(name, value)
        words += (
            [option] if value is True else [option, *map(str, given if isinstance(given, list | tuple) else [given])]
        )
    return " ".join(words)


def settings_of(options: PatternOptions) -> list[Setting]:
    """The teacher at its smallest number of steps and the student at all densities, slower runs at the middle one."""
    every, steps = tuple(sorted(options.densities)), sorted(options.teacher_step_counts)
    one = (middle_of(every),)
    if options.quick:
        every, steps = one, steps[:1]
    teachers = [Setting("teacher", count, every if count == steps[0] else one) for count in steps]
    return [one for one in (Setting("student", 1, every), *teachers) if one.model in options.models]


def clips_of(setting: Setting, options: PatternOptions) -> int:
    """How many of the people a setting is measured on."""
    return options.student_clips or options.clips if setting.model == "student" else options.clips


def middle_of(densities: Sequence[float]) -> float:
    return sorted(densities)[len(densities) // 2]


def drawn(options: PatternOptions) -> Iterator[Subject]:
    """Held-out avatars under held-out speech."""
    for clip in make_heldout_clips(max(options.clips, options.student_clips), frames_of(options)):
        yield Subject(clip.reference, clip.keypoints, clip.truth, clip.masks)


def photographed(folder: Path, options: PatternOptions) -> Iterator[Subject]:
    """Photographs that move as the held-out avatars do. Raises InputError."""
    pictures = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    if not pictures:
        raise InputError(f"there is no photograph in {folder.name}; jpg, png or webp are accepted")
    clips = make_heldout_clips(max(options.clips, options.student_clips), frames_of(options))
    for path, clip in zip(pictures, clips, strict=False):
        reference = photograph_speaker(read_image(str(path)), size=IMAGE_SIZE)
        yield Subject(reference, reference.carry(clip.keypoints))


def measure(pipeline: CoSpeechPipeline, people: list[Subject], setting: Setting, refused: dict) -> Iterator[list[dict]]:
    """The rows of one model and number of steps after every run: means over the people so far."""
    found: dict[tuple[str, float | None], list[dict]] = {}
    for subject in people:
        clip = clip_of(pipeline, subject, setting)
        patterns = {**({} if setting.finetuned else published(clip)), **matched(clip, setting, refused)}
        probe = look_on(pipeline, subject, setting, patterns)
        dense = None
        for key, pattern in {("dense", None): make_pattern("dense"), **patterns}.items():
            begun = time.process_time()
            frames, figures = play(pipeline, subject, setting, pattern)
            dense = frames if dense is None else dense
            figures |= compare(frames, dense, subject)
            figures |= detect(frames, subject) if key[1] in (None, setting.middle) else {}
            figures |= {} if key not in patterns else probe.figures(str(key))
            found.setdefault(key, []).append(figures)
            print(f"{setting.title}, {key}: {time.process_time() - begun:.1f} s", file=sys.stderr, flush=True)
            yield rows_of(found, setting)


def rows_of(found: dict[tuple[str, float | None], list[dict]], setting: Setting) -> list[dict]:
    """A row for each pattern and density, from the figures of its runs."""
    rows = []
    for (name, target), runs in found.items():
        names = dict.fromkeys(figure for one in runs for figure in one)
        means = {figure: mean_of([one.get(figure) for one in runs]) for figure in names}
        title = PUBLISHED.get(name, name) if target is None else name
        rows.append({"model": setting.title, "target": target, "pattern": title, **means, "clips": len(runs)})
    return rows


def finetuned_rows(
    pipeline: CoSpeechPipeline, people: list[Subject], options: PatternOptions, like: Setting, refused: dict
) -> list[dict]:
    """The rows of `like` at its middle density, each pattern with weights that were trained under it for as many steps."""
    from iasa.training.datasets import encode_shards
    from iasa.training.finetune_pattern import finetune_pattern

    if options.data is None:
        raise InputError("--finetune needs --data DIR, the clips that `python -m iasa train data` makes")
    rows, data, frames = [], Path(options.data), frames_of(options) // FRAMES_PER_LATENT
    encode_shards(data, "train", pipeline.autoencoder)
    teacher = pipeline.models["teacher"]
    for name in ORDER:
        setting = replace(like, densities=(like.middle,), patterns=(name,), finetuned=options.finetune)
        if not find_pattern(name).trains:
            refused[f"{setting.title}, {like.middle:g}, {name}"] = f"{name} has no backward pass to be trained under"
            continue
        at = partial(find_pattern(name).at_density, like.middle)
        try:
            tuned = finetune_pattern(teacher, pipeline.autoencoder, data, at, options.finetune, frames)
        except InputError as error:
            refused[f"{setting.title}, {like.middle:g}, {name}"] = str(error)
            continue
        with_tuned = CoSpeechPipeline(pipeline.autoencoder, teacher=tuned, mask=pipeline.mask, dtype="float32")
        *_, found = measure(with_tuned, people, setting, refused)
        rows += [{"subjects": "avatars", **row} for row in found if row["pattern"] == name]
    for row in rows:
        row["target"] = like.middle  # dense too: it stands beside them
    return rows


def clip_of(pipeline: CoSpeechPipeline, subject: Subject, setting: Setting) -> Clip:
    """What a pattern is told of the clip, with a plan that knows its distances."""
    latent = latent_poses(subject.keypoints, subject.reference)
    grid = replace(pipeline.grid, frames=len(latent))
    plan = make_plan(latent, TokenGrid(grid.frames, grid.rows, grid.cols), pipeline.mask)
    return Clip(grid, tuple(make_levels(setting.steps)), causal=setting.model == "student", plan=plan)


def published(clip: Clip) -> dict[tuple[str, float | None], Pattern]:
    """Patterns with the options of their papers, those that can serve."""
    made = {}
    for name in PUBLISHED:
        pattern = find_pattern(name)(**({"follow": clip.plan} if name == "input_aware" else {}))
        try:
            pattern.begin(clip)
        except InputError:
            continue  # its reason stands beside the densities
        made[name, None] = pattern
    return made


def matched(clip: Clip, setting: Setting, refused: dict) -> dict[tuple[str, float | None], Pattern]:
    """Every pattern but dense at every density that it can be set to; the reasons of the others."""
    made = {}
    for density in setting.densities:
        for name in setting.patterns:
            if name == "dense":
                continue
            try:
                pattern = find_pattern(name).at_density(density, clip)
                pattern.begin(clip)
                made[name, density] = pattern
            except InputError as error:
                refused[f"{setting.title}, {density:g}, {name}"] = str(error)
    return made


def look_on(pipeline: CoSpeechPipeline, subject: Subject, setting: Setting, patterns: dict) -> Probe:
    """A dense run at which all patterns look on; maps are compared in its middle step."""
    candidates = {str(key): pattern for key, pattern in patterns.items()}
    probe = Probe(candidates, PROBED_LAYERS[setting.model], [setting.steps // 2])
    play(pipeline, subject, setting, probe)
    return probe


def play(
    pipeline: CoSpeechPipeline, subject: Subject, setting: Setting, pattern: Pattern
) -> tuple[np.ndarray, dict[str, Any]]:
    """Frames uint8 [f, H, W, 3], and what they cost."""
    generation = pipeline.stream(
        image=subject.reference, keypoints=subject.keypoints, model=setting.model, num_inference_steps=setting.steps,
        attention=pattern,
    )  # fmt: skip
    frames = np.concatenate(list(generation.frames))
    done, seconds = pattern.computed, generation.timing.processor
    from_poses = seconds["plan"] if pattern.from_poses else 0.0
    return frames, {
        "density": round(done.density, 4),
        "planning": round(done.planning + from_poses, 3),
        "attention": round(done.attending + from_poses, 2),
        "denoise": round(seconds["denoise"], 2),
        "gflop": round(done.flops / 1e9, 1),
    }


def compare(frames: np.ndarray, dense: np.ndarray, subject: Subject) -> dict[str, float]:
    """Likeness to the dense run and to the truth."""
    figures = {"psnr_dense": psnr(frames, dense), "ssim_dense": ssim(frames, dense)}
    if subject.masks is not None:
        by_region = region_psnr(frames, dense, subject.masks)
        figures |= {"face_dense": by_region["face"], "hands_dense": by_region["hands"]}
    if subject.truth is not None:
        figures |= {"psnr": psnr(frames, subject.truth), "ssim": ssim(frames, subject.truth)}
    return figures


def detect(frames: np.ndarray, subject: Subject) -> dict[str, float]:
    """What the pose detector finds; it takes as long as a student's run, and so looks at one density alone."""
    from iasa.pose import extract_keypoints

    found = extract_keypoints(frames, subject.keypoints.fps)
    hands = detection_rates(found, subject.keypoints)["hands"]
    return {"hands_found": hands, "mouth_r": mouth_correlation(found, subject.keypoints)}


def frames_of(options: PatternOptions) -> int:
    return (4 if options.quick else options.frames) * FRAMES_PER_LATENT


def mean_of(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return round(float(np.mean(known)), 4) if known else None
