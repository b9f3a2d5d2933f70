"""`python -m iasa evaluate`: teacher and student on held-out identities and speech, beside the truth, the autoencoder and a copy.

Every clip is a drawn identity that training never saw (seeds from HELDOUT_IDENTITY on), performing held-out speech; the
networks get its rest picture and its true keypoints, so the ground truth can be compared pixel by pixel.
`--ablation` takes the rows of the paper's table 2 instead. With `--keep FILE` each clip's figures are kept as they come,
so that a long evaluation may be stopped and goes on. `--workers N` shares the clips out to processes of one thread each,
which together are faster than one process of N threads. `--metric NAME=FILE` adds a published metric's own figures.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from iasa.config import HELDOUT_IDENTITY, InputError
from iasa.device import Precision, pick_device, pick_precision
from iasa.evaluation.rows import ABLATION, DEFAULT_ROWS, ROWS, STUDENT, Variant
from iasa.evaluation.tables import COMPARED, compare_rows, make_table, summarise
from iasa.evaluation.variants import find_variant
from iasa.evaluation.worker import FIRST_CLIP, EvaluationJob, evaluate_all, make_heldout_clips, unpack
from iasa.files import display_name
from iasa.metrics.proxy import compare_features

TABLE = (  # the columns that the Markdown opens with; all of them follow
    "fps", "fps_processor", "psnr", "psnr_face", "psnr_hands", "psnr_arms", "ssim", "hands", "hkc", "mouth_r", "lips_r", "sync",
    "identity", "identity_kept", "flicker", "lpips", "arcface", "sync_c", "sync_d", "fid", "fvd",
)  # fmt: skip
PAIRS = (  # rows whose difference over the same clips is told: (which, against which)
    ("finetuned", "teacher"), ("global", "finetuned"), ("local", "finetuned"), ("regression", "finetuned"),
    ("dmd", "finetuned"), ("region", "finetuned"), ("dmd", "regression"), ("dmd", "rollout"), ("region", "dmd"),
    ("rollout", "student"), ("region", "rollout"), ("region", "student"), ("student", "finetuned"), ("student", "teacher"),
    ("regression", "autoencoder"),
)  # fmt: skip
POOLED = {"parts": "fd_parts", "fid": "fid", "fvd": "fvd"}  # features that are kept: figure of all clips together


def evaluate(
    rows: list[Variant],
    clips: int,
    frames: int,
    steps: dict[str, int | None],
    weights: Path | None = None,  # a folder of them, which are preferred to the shipped ones
    keep: Path | None = None,
    workers: int = 1,
    published: Mapping[str, Path] | None = None,
) -> tuple[str, dict]:
    """(Markdown, report) over `clips` held-out clips of `frames` frames; rows without weights are listed as not trained."""
    missing = [row for row in rows if row.kind != "given" and find_variant(row, weights) is None]
    rows = [row for row in rows if row not in missing]
    precision = pick_precision()
    work = EvaluationJob(tuple(rows), steps, weights, keep, published or {}, workers == 1, precision)
    scores, looks = [], {row.name: {} for row in rows}
    heldout = make_heldout_clips(clips, frames)
    for number, records in enumerate(tqdm(evaluate_all(work, heldout, workers), total=clips, desc="clips")):
        for row, one in zip(rows, records, strict=True):
            scores.append({"model": row.title, "clip": number, **one["scores"]})
            for name, packed in one["features"].items():
                looks[row.name].setdefault(name, []).append(unpack(packed))
    pooled = {row.title: _pool(looks[row.name], looks.get("truth", {})) for row in rows if row.name != "truth"}
    table, summary = summarise(scores, pooled)
    there = {row.name: row.title for row in rows}
    pairs = [(there[a], there[b]) for a, b in PAIRS if a in there and b in there]
    asked = {
        "steps": steps.get("student"),
        "teacher-steps": steps.get("teacher"),
        "workers": workers if workers > 1 else None,
        "weights": weights and display_name(weights),
    }
    extra = "".join(f" --{name} {value}" for name, value in asked.items() if value)
    extra += "".join(f" --metric {name}={display_name(path)}" for name, path in sorted(work.published.items()))
    report = {
        "command": f"python -m iasa evaluate --clips {clips} --frames {frames} --rows {' '.join(r.name for r in rows)}{extra}",
        "date": date.today().isoformat(),
        "device": _describe_device(workers, precision),
        "dtype": str(precision),
        "torch": torch.__version__,
        "clips": clips,
        "frames": frames,
        "seed": 0,
        "identities": f"{HELDOUT_IDENTITY + FIRST_CLIP}..{HELDOUT_IDENTITY + FIRST_CLIP + clips - 1}",
        "steps": {row.title: row.steps(steps) for row in rows if row.kind != "given"},
        "made_by": {row.title: row.command for row in rows if row.stage},
        "not_trained": {row.title: row.command for row in missing},
        "rows": summary,
        "differences": compare_rows(scores, pairs),
    }
    return write_markdown(report, table), report


def _pool(made: Mapping[str, list[np.ndarray]], truth: Mapping[str, list[np.ndarray]]) -> dict[str, dict]:
    """Frechet distances of a row from the truth, of the features that both have."""
    return {POOLED[name]: compare_features(clips, truth[name]) for name, clips in made.items() if name in truth}


def _describe_device(workers: int, precision: Precision) -> str:
    threads = f"{torch.get_num_threads()} threads" if workers == 1 else f"{workers} processes of one thread"
    return f"{pick_device().type} ({platform.machine()}, {threads}, {precision})"


def write_markdown(report: dict, table: str) -> str:
    """The report for reading: how it was made, the main columns, rows that are missing, then everything."""
    counts = {title: report["clips"] for title in (*report["rows"], *report["differences"])}
    lines = [
        f"`{report['command']}`, {report['date']}, {report['device']}, torch {report['torch']}: {report['clips']} clips of "
        f"{report['frames']} frames, identities {report['identities']}, held-out speech, true keypoints given, seed "
        f"{report['seed']}. Mean [95 % bootstrap interval over clips].",
        "",
        make_table(report["rows"], counts, TABLE),
        "",
    ]
    for title, command in report["not_trained"].items():
        lines.append(f"- {title}: not trained; its weights come from `{command}`")
    steps = ", ".join(f"{title} {n}" for title, n in report["steps"].items())
    lines += [f"Denoising steps: {steps}."]
    if report["differences"]:
        compared = make_table(report["differences"], counts, COMPARED, "difference", "+")
        lines += [
            "",
            "Differences over the same clips, mean [95 % bootstrap interval of the paired differences]:",
            "",
            compared,
        ]
    lines += ["", "All figures:", "", table]
    return "\n".join(lines)


def choose_rows(names: Sequence[str] | None, ablation: bool = False, weights: Path | None = None) -> list[Variant]:
    """The rows asked for. Raises InputError if one that was named is not trained."""
    if ablation:
        return [ROWS["truth"], ROWS["autoencoder"], *ABLATION]  # the second: what perfect latents would get
    rows = [ROWS[name] for name in names or DEFAULT_ROWS]
    for row in rows:
        if row.kind != "given" and find_variant(row, weights) is None:
            made = row.command if row is not STUDENT else "python -m iasa train student"
            raise InputError(f"the row {row.name} has no weights yet; train them with: {made}")
    return rows
