"""`iasa train all --minutes N`: from data to the distilled student in a given time, on a machine that is lent for minutes, say.

Every stage has its share of the time that is left when it begins, ends cooled down when that is over, and what a fast machine
does not need goes to the stages after it. It starts from the shipped weights, or from noise with --from-scratch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from iasa.config import InputError
from iasa.training.options import TrainOptions
from iasa.training.trainer import find_checkpoint

CHAIN = {"data": 0.2, "teacher": 0.3, "finetune_local": 0.1, "student": 0.2, "distill_region": 0.2}  # shares
BEFORE = {"data": 0.2, "autoencoder": 0.3, "encoders": 0.1}  # these networks are shipped; from scratch they come first
RESTORE = 0.15  # where there are pairs of photographs


def plan_stages(options: TrainOptions) -> dict[str, float]:
    """The stages in their order, and what each takes of the time, as weights."""
    shares = {**BEFORE, **CHAIN} if options.from_scratch else dict(CHAIN)
    if any((options.run / "data" / "pairs").glob("restore_*.npz")):
        shares["restore"] = RESTORE
    return shares


def train_all(options: TrainOptions, run_stage: Callable[[TrainOptions], dict]) -> dict:
    """Run the chain; returns the report of every stage. Raises InputError without a time."""
    if options.minutes is None:
        raise InputError("train all wants to know for how long: --minutes N")
    end = time.monotonic() + 60 * options.minutes
    shares, reports = plan_stages(options), []
    while shares:
        stage = next(iter(shares))
        left = max(0.0, end - time.monotonic()) / 60
        mine = left * shares[stage] / sum(shares.values())
        del shares[stage]
        resume = options.resume and (find_checkpoint(options.run / stage) / "state.json").exists()
        reports.append(run_stage(replace(options, stage=stage, minutes=mine, resume=resume)))
    return {"stage": "all", "stages": reports}
