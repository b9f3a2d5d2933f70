"""What a training run can be asked for: the stages in their order, how long each takes, and the options of all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iasa.config import REGION_WEIGHTS

MEMORY_STAGES = (
    "memory_data", "memory_teacher", "memory_student", "memory_self_forcing", "memory_distill", "memory_distill_region",
)  # fmt: skip
STAGES = (
    "all", "motion", "data", "autoencoder", "encoders", "teacher", "finetune", "finetune_global", "finetune_local", "student",
    "self_forcing", "distill", "distill_region", "decoder", "restore", *MEMORY_STAGES,
)  # fmt: skip
STAGE_STEPS = {  # updates; the encoders are three
    "motion": 3000, "autoencoder": 4000, "teacher": 6000, "finetune": 600, "finetune_global": 400, "finetune_local": 400,
    "student": 1500, "self_forcing": 400, "distill": 400, "distill_region": 400, "decoder": 1000,
    "restore": 4000,
    "face_encoder": 300, "part_encoder": 600, "sync_encoder": 300,
    "memory_teacher": 2000, "memory_student": 400, "memory_self_forcing": 400, "memory_distill": 400,
    "memory_distill_region": 400,
}  # fmt: skip


CLIPS, PHOTO_CLIPS = 2000, 12


@dataclass(frozen=True)
class TrainOptions:
    """One run of one stage."""

    stage: str
    run: Path = Path("runs")  # folder for data, checkpoints, sample grids and logs
    preset: str | None = None  # of iasa.config.PRESETS; None: the stage's own
    steps: int | None = None  # updates; None: STAGE_STEPS
    clips: int | None = (
        None  # stage data: training clips or speakers of --pairs; None: CLIPS, of photographs PHOTO_CLIPS each
    )
    pairs: bool = False  # stage data: pairs for stage restore, instead of clips for the others
    photos: Path | None = None  # stage data: a folder of photographs to learn from, instead of drawn speakers
    takes: Path | None = None  # stage data: a folder of takes, likewise
    videos: Path | None = None  # stage data: a folder of videos, likewise
    first: int = 0  # stage data: the first clip's number; another number is another speaker
    resume: bool = False  # go on from the checkpoint under `run`; refused where there is none
    from_scratch: bool = (
        False  # do not start from the shipped weights; with resume: begin anew where there is no checkpoint
    )
    stop_after: float = float("inf")  # seconds, then save and leave, to be resumed
    minutes: float | None = None  # of learning, cooled down by then, or of rendering; stage all shares them out
    export: Path | None = None  # a folder that gets the averaged weights too, in one of the network's name
    compact: bool = False  # the export as the repository keeps weights
    people: bool = (
        False  # begin at the shipped networks for people; compact: as differences from those for drawn speakers
    )
    regions: tuple[str, ...] = tuple(sorted(REGION_WEIGHTS))  # stage distill_region: those that count
    arcface: Path | None = None  # stage distill_region: a TorchScript file, instead of our face encoder
    pose_only: bool = False  # stages of the memory bed: without the warped reference
    seed: int = 0
