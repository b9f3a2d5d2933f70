"""`python -m iasa evaluate`: teacher and student on held-out identities and speech, beside the truth, the autoencoder and a copy.

Every clip is a drawn identity that training never saw (seeds from HELDOUT_IDENTITY on), performing held-out speech; the
networks get its rest picture and its true keypoints, so the rendered truth can be compared pixel by pixel.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from iasa.avatar.gestures import perform
from iasa.avatar.identity import make_identity
from iasa.avatar.renderer import Renderer
from iasa.avatar.rig import make_keypoints, rest_motion
from iasa.config import DEFAULT_STEPS, FRAMES_PER_LATENT, HELDOUT_IDENTITY, IMAGE_SIZE
from iasa.evaluation import score_video, summarise
from iasa.keypoints import Keypoints
from iasa.pipeline import CoSpeechPipeline
from iasa.reference import Reference
from iasa.training.corpus import make_corpus

ROWS = ("truth", "autoencoder", "copy", "teacher", "student")
FIRST_CLIP = 500  # identities below it (from HELDOUT_IDENTITY) are drawn on training's sample sheets


@dataclass(frozen=True)
class HeldoutClip:
    """One clip: rendered truth uint8 [f, H, W, 3], its poses and region masks, and the reference."""

    truth: np.ndarray
    keypoints: Keypoints
    masks: np.ndarray  # bool [f, 5, H, W]
    reference: Reference


def make_heldout_clips(count: int, frames: int) -> Iterator[HeldoutClip]:
    """`count` clips of `frames` video frames, one identity each, going round the held-out utterances."""
    corpus = [u for u in make_corpus("heldout") if u.features.frames >= frames + 10]
    if not corpus:
        raise ValueError(f"no held-out utterance has {frames + 10} frames; ask for shorter clips")
    for i in range(count):
        seed = HELDOUT_IDENTITY + FIRST_CLIP + i
        utterance = corpus[i % len(corpus)]
        start = int(np.random.default_rng([seed, 9]).integers(0, utterance.features.frames - frames + 1))
        motion = perform(utterance.features, seed=seed)[start : start + frames]
        identity = make_identity(seed)
        renderer = Renderer(identity, IMAGE_SIZE)
        rest = rest_motion(1)
        reference = Reference(renderer.draw(rest, 0), make_keypoints(identity, rest), identity, f"avatar {seed}")
        masks = np.stack([renderer.region_masks(motion, k) for k in range(frames)])
        yield HeldoutClip(renderer.render(motion), make_keypoints(identity, motion), masks, reference)


def make_row(pipeline: CoSpeechPipeline, name: str, clip: HeldoutClip, steps: int | None) -> np.ndarray:
    """The frames of one line of the table."""
    if name == "truth":
        return clip.truth
    if name == "copy":
        return np.repeat(clip.reference.image[None], len(clip.truth), 0)
    if name == "autoencoder":
        images = torch.from_numpy(clip.truth).movedim(-1, -3)[None].float() / 127.5 - 1
        parts = []
        for start in range(0, len(clip.truth), 10 * FRAMES_PER_LATENT):
            which = slice(start, start + 10 * FRAMES_PER_LATENT)
            with torch.inference_mode():
                latents = pipeline.autoencoder.encode(images[:, which].to(pipeline.device, pipeline.dtype))
            parts.append(pipeline.decode(latents, clip.keypoints[which], clip.reference))
        return np.concatenate(parts)
    take = pipeline.animate(clip.keypoints, clip.reference, model=name, steps=steps)
    return np.concatenate(list(take.frames))


def evaluate(
    pipeline: CoSpeechPipeline, rows: tuple[str, ...], clips: int, frames: int, steps: dict[str, int | None]
) -> tuple[str, dict]:
    """(Markdown table, report) over `clips` held-out clips of `frames` frames."""
    scores = []
    for clip in tqdm(make_heldout_clips(clips, frames), total=clips, desc="clips"):
        for name in rows:
            start = time.perf_counter()
            made = make_row(pipeline, name, clip, steps.get(name))
            seconds = time.perf_counter() - start
            score = score_video(made, clip.truth, clip.keypoints, clip.masks)
            scores.append({"model": name, "fps": len(made) / seconds, **score})
    table, summary = summarise(scores)
    for name in rows:
        if name in DEFAULT_STEPS:
            made = [s["fps"] for s in scores if s["model"] == name]
            summary[name]["fps"] = float(np.median(made))
            summary[name]["steps"] = steps.get(name) or DEFAULT_STEPS[name]
    report = {
        "command": f"python -m iasa evaluate --clips {clips} --frames {frames}",
        "date": date.today().isoformat(),
        "device": f"{pipeline.device.type} ({platform.machine()}, {torch.get_num_threads()} threads, {pipeline.dtype})",
        "torch": torch.__version__,
        "clips": clips,
        "frames": frames,
        "identities": f"{HELDOUT_IDENTITY + FIRST_CLIP}..{HELDOUT_IDENTITY + FIRST_CLIP + clips - 1}",
        "rows": summary,
    }
    return table, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="8 clips of 48 frames instead of 64 of 100")
    parser.add_argument("--clips", type=int)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--steps", type=int, help="of the student")
    parser.add_argument("--teacher-steps", type=int)
    parser.add_argument("--out", type=Path, help="write the report as JSON, and the table beside it as .md")


def run(options: argparse.Namespace) -> dict:
    """The command: prints the table, returns the report."""
    clips = options.clips or (8 if options.quick else 64)
    frames = options.frames or (48 if options.quick else 100)
    models = tuple(name for name in ("teacher", "student") if name in options.rows)
    pipeline = CoSpeechPipeline.from_pretrained(models=models)
    steps = {"student": options.steps, "teacher": options.teacher_steps}
    table, report = evaluate(pipeline, tuple(options.rows), clips, frames, steps)
    print(table)
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(table + "\n")
    return report
