"""`iasa train all --minutes N`: from data to the distilled student in a given time.

Every stage has its share of the time that is left when it begins, ends cooled down when that is over, and what a fast machine
does not need goes to the stages after it. It goes on from the shipped networks, which learn on; with --from-scratch it begins
at noise, with the networks and the masked fine-tuning that the student then begins at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from accelerate import PartialState

from iasa.config import InputError
from iasa.device import pick_device
from iasa.training.options import TrainOptions
from iasa.training.trainer import find_checkpoint

CHAIN = {"data": 0.2, "teacher": 0.3, "student": 0.25, "distill_region": 0.25}  # shares
FROM_SCRATCH = {
    "data": 0.15, "autoencoder": 0.25, "encoders": 0.05, "teacher": 0.25, "finetune_local": 0.05, "student": 0.1,
    "distill_region": 0.15,
}  # fmt: skip
RESTORE = 0.15  # where there are pairs of photographs
CHECKPOINTS = {"encoders": "face_encoder"}  # where a stage of another name keeps its state


def plan_stages(options: TrainOptions) -> dict[str, float]:
    """The stages in their order, and what each takes of the time, as weights."""
    shares = dict(FROM_SCRATCH if options.from_scratch else CHAIN)
    if any((options.run / "data" / "pairs").glob("restore_*.npz")):
        shares["restore"] = RESTORE
    return shares


def train_all(options: TrainOptions, run_stage: Callable[[TrainOptions], dict]) -> dict:
    """Run the chain; returns the report of every stage. Raises InputError without a time, or when none is left."""
    if options.minutes is None:
        raise InputError("train all wants to know for how long: --minutes N")
    if options.steps is not None or options.stop_after < math.inf:
        raise InputError("train all is given its time by --minutes alone; --steps and --stop-after are for one stage")
    if PartialState(cpu=pick_device().type == "cpu").num_processes > 1:
        raise InputError("train all runs in one process; run its stages one by one in several")
    end = time.monotonic() + 60 * options.minutes
    shares, reports = plan_stages(options), []
    while shares:
        stage = next(iter(shares))
        left = (end - time.monotonic()) / 60
        if left <= 0:
            raise InputError(f"no time is left for {', '.join(shares)}; more --minutes, and --resume goes on from here")
        mine = left * shares[stage] / sum(shares.values())
        del shares[stage]
        folder = options.run / CHECKPOINTS.get(stage, stage)
        resume = options.resume and (find_checkpoint(folder) / "state.json").exists()
        reports.append(run_stage(replace(options, stage=stage, minutes=mine, resume=resume)))
    return {"stage": "all", "stages": reports}
