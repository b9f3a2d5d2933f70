"""The speed tables: attention, plans, patterns of attention, and whole generations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BENCHMARKS = (
    "attention",
    "backbone",
    "generate",
    "patterns",
    "plan",
)  # each is iasa.benchmarks.bench_NAME with run(...) -> (Markdown, figures)
GENERATE_ROWS = ("student", "student dense", "student live", "teacher", "layers")
PHOTO_ROWS = ("student", "layers")  # those that are measured of a photograph


@dataclass(frozen=True)
class BackboneOptions:
    """What the table of Wan's shapes can be asked for."""

    quick: bool = False  # tiny models, to try the script out
    minutes: float = 8.0  # no row begins later
    out: str | None = None  # a JSON file that holds every row as soon as it is done


@dataclass(frozen=True)
class GenerateOptions:
    """What the table of whole generations can be asked for."""

    quick: bool = False  # four seconds alone
    seconds: Sequence[float] = (4.0, 30.0, 180.0)  # of speech
    rows: Sequence[str] | None = None  # None: all of the networks, of a photograph the student and its layers
    steps: int | None = None  # of the student
    teacher_steps: int | None = None
    compute: str = "all"  # tokens that the row "student" computes
    weights: str | None = None  # a folder of them; None: the shipped ones
    device: str = "auto"  # of config.DEVICES, what computes the networks
    all_lengths: bool = False  # of the slow rows too: hours
    breakdown: bool = False  # attention, linear, norm and the rest of the denoising
    soak: int | None = None  # watch the memory over that many short generations instead
    drift: int | None = None  # look at one video of that many minutes instead
    against: str | None = None  # a stored report, whose rows stand beside
    reference: str | None = None  # a picture of a person, who speaks instead of the first example speaker
    size: int | None = None  # pixels of the photograph's frames; None: PHOTO_SIZE


@dataclass(frozen=True)
class PatternOptions:
    """What the table of the gallery can be asked for."""

    quick: bool = False  # one density, one number of steps, four latent frames
    weights: str | None = None
    models: Sequence[str] = ("student", "teacher")
    clips: int = 1  # held-out avatars
    student_clips: int = 0  # of the student's rows, which take a tenth of the time; 0: as many
    frames: int = 7  # latent frames of each
    densities: Sequence[float] = (0.05, 0.1, 0.2, 0.4)
    teacher_step_counts: Sequence[int] = (6, 20)
    real: str | None = None  # a folder of photographs
    finetune: int = 0  # steps for each pattern at the middle density; 0: dropped in alone
    data: str | None = None  # shards of `train data`, for it
    out: str | None = None  # a JSON file that holds every row as soon as it is done
