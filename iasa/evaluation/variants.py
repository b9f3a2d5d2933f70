"""The rows of the quality report at work: whose weights each takes, and how it makes its pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iasa.attention.frame_patterns import make_planned
from iasa.avatar.speaker import Reference
from iasa.config import FRAMES_PER_LATENT
from iasa.evaluation.rows import Variant
from iasa.grid import TokenGrid
from iasa.inference.generation import Timing
from iasa.keypoints import Keypoints, concat_keypoints, fill_latent, pool_to_latent
from iasa.masks import make_plan
from iasa.models.autoencoder import Autoencoder
from iasa.models.checkpoint import load_weights, read_card
from iasa.models.transformer import VideoTransformer
from iasa.paths import WEIGHTS
from iasa.pipeline import CoSpeechPipeline
from iasa.sampling import sample_euler
from iasa.warp.reference_warp import ReferenceWarp

CHUNK = 8  # latent frames that are warped or decoded at a time


def find_weights(row: Variant, run: Path | None = None) -> Path | None:
    """The folder with the row's weights: of the run if it trained them, else shipped ones that the row's stage made."""
    if run and row.stage and (run / row.stage / "export" / "config.json").exists():
        return run / row.stage / "export"
    place = WEIGHTS / row.shipped
    if not row.shipped or not (place / "config.json").exists():
        return None
    made_by = read_card(row.shipped).get("made_by", "")
    known = not row.stage or row.shipped == row.stage and not made_by or made_by.endswith(f" {row.stage}")
    return place if known else None


def find_autoencoder(run: Path | None = None) -> Path:
    """The run's own, else the shipped one."""
    for stage in ("decoder", "autoencoder"):
        if run and (run / stage / "export" / "config.json").exists():
            return run / stage / "export"
    return WEIGHTS / "autoencoder"


def mark_of(folder: Path) -> str:
    """A short name of what the weight files hold: figures kept for other weights are not taken for these."""
    digest = hashlib.sha256()
    for part in sorted(folder.glob("part_*.safetensors")):
        digest.update(part.read_bytes())
    return digest.hexdigest()[:12]


class VariantRunner:
    """Makes a row's video of a clip."""

    def __init__(self, row: Variant, autoencoder: Autoencoder, weights: Path | None, steps: int) -> None:
        self.row, self.step_count = row, steps
        models = {}
        if weights is not None:
            models["student" if row.kind == "student" else "teacher"] = load_weights(VideoTransformer, weights)
        self.pipeline = CoSpeechPipeline(autoencoder, models, mask=row.mask)

    def play(
        self, keypoints: Keypoints, reference: Reference, truth: np.ndarray, seed: int = 0
    ) -> tuple[np.ndarray, Timing]:
        """Frames uint8 [f, H, W, 3] and the seconds of each stage."""
        if self.row.name == "truth":
            return truth, Timing()
        if self.row.name == "static":
            return np.repeat(reference.image[None], len(truth), 0), Timing()
        if self.row.name == "warped":
            return warp_speaker(keypoints, reference), Timing()
        if self.row.name == "warped_autoencoder":
            return self._recode(warp_speaker(keypoints, reference), keypoints, reference), Timing()
        if self.row.name == "autoencoder":
            return self._recode(truth, keypoints, reference), Timing()
        if self.row.kind == "sparse":
            return animate_sparse(self.pipeline, keypoints, reference, self.step_count, seed)
        model = "student" if self.row.kind == "student" else "teacher"
        generation = self.pipeline.animate(keypoints, reference, model=model, steps=self.step_count, seed=seed)
        return np.concatenate(list(generation.frames)), generation.timing

    @torch.inference_mode()
    def _recode(self, images: np.ndarray, keypoints: Keypoints, reference: Reference) -> np.ndarray:
        """Pictures through the autoencoder: of the truth, what any generator's pictures cannot be better than."""
        pipe, filled, count = self.pipeline, fill_latent(keypoints), len(images)
        images = np.concatenate([images, images[-1:]])[: len(filled)]
        parts = []
        for start in range(0, len(filled), CHUNK * FRAMES_PER_LATENT):
            which = slice(start, start + CHUNK * FRAMES_PER_LATENT)
            given = torch.from_numpy(images[which]).movedim(-1, -3)[None].float() / 127.5 - 1
            latents = pipe.autoencoder.encode(given.to(pipe.device, pipe.dtype))
            parts.append(pipe.decode(latents, filled[which], reference))
        return np.concatenate(parts)[:count]


@torch.inference_mode()
def warp_speaker(keypoints: Keypoints, reference: Reference) -> np.ndarray:
    """The reference warped to each pose, which transformer and decoder start from: uint8 [f, H, W, 3]."""
    image = torch.from_numpy(reference.image.copy()).movedim(-1, 0)[None] / 127.5 - 1
    still = (torch.from_numpy(x[:1]) for x in (reference.keypoints.xy, reference.keypoints.confidence))
    warp, frames = ReferenceWarp(image, *still), []
    for start in range(0, len(keypoints), CHUNK * FRAMES_PER_LATENT):
        poses = keypoints[start : start + CHUNK * FRAMES_PER_LATENT]
        made = warp(torch.from_numpy(poses.xy)[None], torch.from_numpy(poses.confidence)[None])[0]
        frames.append(((made.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(-3, -1).numpy())
    return np.concatenate(frames)


@torch.inference_mode()
def animate_sparse(
    pipeline: CoSpeechPipeline, keypoints: Keypoints, reference: Reference, steps: int, seed: int = 0
) -> tuple[np.ndarray, Timing]:
    """The fine-tuned teacher's video: many steps over the whole clip at once, with the pipeline's mask.

    Its plan is causal, so a clip of any length costs a frame's attention for each frame: no windows are needed.
    """
    model, timing, t = pipeline.models["teacher"], Timing(), FRAMES_PER_LATENT
    filled = fill_latent(keypoints)
    everything = concat_keypoints(reference.keypoints[np.zeros(t, int)], filled)
    with timing.stage("plan"):
        grid = TokenGrid(len(everything) // t, model.config.rows, model.config.cols)
        attend = make_planned([make_plan(pool_to_latent(everything), grid, pipeline.mask)])
    with timing.stage("condition"):
        condition = pipeline.condition(model, filled, reference)

    def denoise(x: Tensor, level: float) -> Tensor:
        latents = torch.cat([condition.base[:, :1], x], 1)
        levels = torch.full(latents.shape[:2], level, device=x.device)
        levels[:, 0] = 0.0
        return model(latents, levels, condition, attend)[:, 1:].float()

    with timing.stage("denoise"):
        noise = torch.randn(
            (1, grid.frames - 1, *condition.base.shape[2:]), generator=torch.Generator().manual_seed(seed)
        )
        latents = sample_euler(denoise, noise.to(pipeline.device), steps)
    frames = []
    for start in range(0, grid.frames - 1, CHUNK):
        with timing.stage("decode"):
            part = latents[:, start : start + CHUNK]
            frames.append(pipeline.decode(part, filled[start * t : (start + part.shape[1]) * t], reference))
    return np.concatenate(frames)[: len(keypoints)], timing
