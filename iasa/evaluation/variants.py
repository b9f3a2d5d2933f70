"""The rows of the quality report at work: whose weights each takes, and how it makes its pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from iasa.avatar.speaker import Reference
from iasa.config import FRAMES_PER_LATENT
from iasa.device import Precision
from iasa.evaluation.rows import Variant
from iasa.inference.generation import Timing
from iasa.keypoints import Keypoints, fill_latent
from iasa.models.autoencoder import Autoencoder
from iasa.models.checkpoint import held_weights, load_weights, read_card, shipped_weights
from iasa.models.transformer import VideoTransformer
from iasa.pipeline import CoSpeechPipeline
from iasa.warp.reference_warp import ReferenceWarp

CHUNK = 8  # latent frames that are warped or decoded at a time


def find_variant(row: Variant, folder: Path | None = None) -> Path | None:
    """The folder with the row's weights: `folder`'s own, of a run or an export, else shipped ones that the row's stage made."""
    if row.stage:
        held = held_weights(folder, row.stage)
    else:  # a run's stages have rows of their own
        held = folder / row.shipped if folder and (folder / row.shipped / "config.json").exists() else None
    place = shipped_weights(row.shipped)
    if held or place is None:
        return held
    made_by = read_card(place).get("made_by", "")
    known = not row.stage or row.shipped == row.stage and not made_by or made_by.endswith(f" {row.stage}")
    return place if known else None


class VariantRunner:
    """Makes a row's video of a clip."""

    def __init__(
        self, row: Variant, autoencoder: Autoencoder, weights: Path | None, steps: int, dtype: Precision | None = None
    ) -> None:
        self.row, self.step_count = row, steps
        self.model = "student" if row.kind == "student" else "teacher"
        network = None if weights is None else load_weights(VideoTransformer, weights)
        student, teacher = (network, None) if self.model == "student" else (None, network)
        self.pipeline = CoSpeechPipeline(autoencoder, student, teacher, mask=row.mask, dtype=dtype)

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
        generation = self.pipeline.stream(
            image=reference, keypoints=keypoints, model=self.model, num_inference_steps=self.step_count, seed=seed,
            attention="input_aware" if self.row.kind == "sparse" else None,
        )  # fmt: skip
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
