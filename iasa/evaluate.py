"""`python -m iasa evaluate`: teacher and student on held-out identities and speech, beside the truth, the autoencoder and a copy.

Every clip is a drawn identity that training never saw (seeds from HELDOUT_IDENTITY on), performing held-out speech; the
networks get its rest picture and its true keypoints, so the rendered truth can be compared pixel by pixel.
`--ablation` takes the rows of the paper's table 2 instead. With `--keep FILE` each clip's figures are kept as they come,
so that a long evaluation may be stopped and goes on.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from iasa.ablation import (
    ABLATION,
    DEFAULT_ROWS,
    ROWS,
    STUDENT,
    Player,
    Row,
    find_autoencoder,
    find_weights,
    mark_of,
)
from iasa.avatar.gestures import perform
from iasa.avatar.identity import make_identity
from iasa.avatar.renderer import Renderer
from iasa.avatar.rig import make_keypoints, rest_motion
from iasa.config import AUDIO_RATE, HELDOUT_IDENTITY, IMAGE_SIZE, VIDEO_FPS, InputError
from iasa.evaluation import make_table, score_video, summarise
from iasa.files import check_output, whole_file
from iasa.judges import Judges, compare_features
from iasa.keypoints import Keypoints
from iasa.models.autoencoder import Autoencoder
from iasa.models.weights import load_weights
from iasa.reference import Reference
from iasa.training.corpus import Utterance, make_corpus

FIRST_CLIP = 500  # identities below it (from HELDOUT_IDENTITY) are drawn on training's sample sheets
TABLE = (  # the columns that the Markdown opens with; all of them follow
    "fps", "psnr", "psnr_face", "psnr_hands", "psnr_arms", "ssim", "hands", "hkc", "mouth_r", "lips_r", "sync", "identity_kept",
    "flicker",
)  # fmt: skip


@dataclass(frozen=True)
class HeldoutClip:
    """One clip: what is to be drawn, its sound float32 [n], and what is drawn of it when first asked for."""

    seed: int
    utterance: Utterance
    frames: int

    @cached_property
    def start(self) -> int:
        return int(np.random.default_rng([self.seed, 9]).integers(0, self.utterance.features.frames - self.frames + 1))

    @cached_property
    def motion(self):
        return perform(self.utterance.features, seed=self.seed)[self.start : self.start + self.frames]

    @cached_property
    def renderer(self) -> Renderer:
        return Renderer(make_identity(self.seed), IMAGE_SIZE)

    @cached_property
    def truth(self) -> np.ndarray:
        """uint8 [f, H, W, 3]."""
        return self.renderer.render(self.motion)

    @cached_property
    def masks(self) -> np.ndarray:
        """bool [f, 5, H, W]."""
        return np.stack([self.renderer.region_masks(self.motion, k) for k in range(self.frames)])

    @cached_property
    def keypoints(self) -> Keypoints:
        return make_keypoints(make_identity(self.seed), self.motion)

    @cached_property
    def reference(self) -> Reference:
        identity, rest = make_identity(self.seed), rest_motion(1)
        return Reference(self.renderer.draw(rest, 0), make_keypoints(identity, rest), identity, f"avatar {self.seed}")

    @property
    def audio(self) -> np.ndarray:
        hop = round(AUDIO_RATE / VIDEO_FPS)
        return self.utterance.audio[self.start * hop : (self.start + self.frames) * hop]


def make_heldout_clips(count: int, frames: int) -> list[HeldoutClip]:
    """`count` clips of `frames` video frames, one identity each, going round the held-out utterances. Raises InputError."""
    corpus = [u for u in make_corpus("heldout") if u.features.frames >= frames + 10]
    if not corpus:
        raise InputError(f"no held-out utterance has {frames + 10} frames; ask for shorter clips")
    return [HeldoutClip(HELDOUT_IDENTITY + FIRST_CLIP + i, corpus[i % len(corpus)], frames) for i in range(count)]


class Ledger:
    """Figures of (row, clip, frames, steps, weights), kept in a file of one JSON object a line if there is one."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.known = path, {}
        if path and path.exists():
            for line in path.read_text().splitlines():
                try:
                    one = json.loads(line)
                except json.JSONDecodeError:
                    continue  # the line that an interruption cut short
                self.known[one["key"]] = one

    def get(self, key: str) -> dict | None:
        return self.known.get(key)

    def put(self, key: str, scores: dict, features: np.ndarray | None) -> dict:
        one = {"key": key, "scores": scores, "features": None if features is None else np.round(features, 4).tolist()}
        self.known[key] = one
        if self.path:
            with open(self.path, "a") as file:
                file.write(json.dumps(one) + "\n")
        return one


def evaluate(
    rows: list[Row], clips: int, frames: int, steps: dict[str, int | None], run: Path | None = None, keep: Path | None = None
) -> tuple[str, dict]:
    """(Markdown, report) over `clips` held-out clips of `frames` frames; rows without weights are listed as not trained."""
    places = {row.name: find_weights(row, run) for row in rows if row.kind != "given"}
    missing = [row for row in rows if row.kind != "given" and places[row.name] is None]
    rows = [row for row in rows if row not in missing]
    codec = find_autoencoder(run)
    autoencoder, judges = load_weights(Autoencoder, codec), Judges.load(run)
    marks = {row.name: f"{mark_of(codec)}+{mark_of(places[row.name])}" if row.name in places else mark_of(codec) for row in rows}
    players: dict[str, Player] = {}
    ledger, scores, looks = Ledger(keep), [], {row.name: [] for row in rows}
    for clip in tqdm(make_heldout_clips(clips, frames), desc="clips"):
        for row in rows:
            key = f"{row.name} {clip.seed} {frames} {row.steps(steps)} {marks[row.name]} {judges is not None}"
            one = ledger.get(key)
            if one is None:
                if row.name not in players:
                    players[row.name] = Player(row, autoencoder, places.get(row.name), row.steps(steps))
                one = ledger.put(key, *_measure(players[row.name], clip, judges))
            scores.append({"model": row.title, **one["scores"]})
            if one["features"] is not None:
                looks[row.name].append(np.array(one["features"]))
    truth = looks.get("truth")
    pooled = {r.title: {"fd_parts": compare_features(looks[r.name], truth)} for r in rows if truth and r.name != "truth"}
    table, summary = summarise(scores, pooled)
    report = {
        "command": f"python -m iasa evaluate --clips {clips} --frames {frames} --rows {' '.join(r.name for r in rows)}",
        "date": date.today().isoformat(),
        "device": _describe_device(players),
        "torch": torch.__version__,
        "clips": clips,
        "frames": frames,
        "seed": 0,
        "identities": f"{HELDOUT_IDENTITY + FIRST_CLIP}..{HELDOUT_IDENTITY + FIRST_CLIP + clips - 1}",
        "steps": {row.title: row.steps(steps) for row in rows if row.kind != "given"},
        "made_by": {row.title: row.command for row in rows if row.stage},
        "not_trained": {row.title: row.command for row in missing},
        "rows": summary,
    }
    return write_markdown(report, table), report


def _measure(player: Player, clip: HeldoutClip, judges: Judges | None) -> tuple[dict, np.ndarray | None]:
    """Figures of one clip, and the features that the Frechet distance needs."""
    began = time.perf_counter()
    made, timing = player.play(clip.keypoints, clip.reference, clip.truth)
    elapsed = time.perf_counter() - began
    reference = clip.reference.image, clip.reference.keypoints
    scores = score_video(made, clip.truth, clip.keypoints, clip.masks, judges, reference, clip.audio)
    if "denoise" in timing.seconds:
        scores |= {"fps": len(made) / elapsed, "fps_denoise": len(made) / timing.seconds["denoise"]}
    return scores, None if judges is None else judges.look(made, clip.keypoints)


def _describe_device(players: dict[str, Player]) -> str:
    kind = f"{platform.machine()}, {torch.get_num_threads()} threads"
    if not players:
        return kind
    pipeline = next(iter(players.values())).pipeline
    return f"{pipeline.device.type} ({kind}, {pipeline.dtype})"


def write_markdown(report: dict, table: str) -> str:
    """The report for reading: how it was made, the main columns, rows that are missing, then everything."""
    counts = {title: report["clips"] for title in report["rows"]}
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
    lines += [f"Denoising steps: {steps}.", "", "All figures:", "", table]
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="8 clips of 48 frames instead of 64 of 100")
    parser.add_argument("--ablation", action="store_true", help="the rows of the paper's table 2, as far as they are trained")
    parser.add_argument("--clips", type=int)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--rows", nargs="+", choices=sorted(ROWS), help=f"default: {' '.join(DEFAULT_ROWS)}")
    parser.add_argument("--steps", type=int, help="of the student")
    parser.add_argument("--teacher-steps", type=int)
    parser.add_argument("--run", type=Path, help="a training run, whose weights are preferred to the shipped ones")
    parser.add_argument("--keep", type=Path, help="keep each clip's figures in this file, and go on from it")
    parser.add_argument("--out", type=Path, help="write the report as JSON, and for reading beside it as .md")


def choose_rows(options: argparse.Namespace) -> list[Row]:
    """The rows asked for. Raises InputError if one that was named is not trained."""
    if options.ablation:
        return [ROWS["truth"], *ABLATION]
    rows = [ROWS[name] for name in options.rows or DEFAULT_ROWS]
    for row in rows:
        if row.kind != "given" and find_weights(row, options.run) is None:
            made = row.command if row is not STUDENT else "python -m iasa train student"
            raise InputError(f"the row {row.name} has no weights yet; train them with: {made}")
    return rows


def run(options: argparse.Namespace) -> dict:
    """The command: prints the table, returns the report."""
    clips = options.clips or (8 if options.quick else 64)
    frames = options.frames or (48 if options.quick else 100)
    if options.out:
        check_output(options.out, (".json",))
    steps = {"student": options.steps, "teacher": options.teacher_steps}
    text, report = evaluate(choose_rows(options), clips, frames, steps, options.run, options.keep)
    print(text)
    if options.out:
        for path, content in ((options.out, json.dumps(report, indent=1)), (options.out.with_suffix(".md"), text)):
            with whole_file(path) as partial:
                partial.write_text(content + "\n")
    return report
