"""The region loss of a roll-out: crops around the face and one hand are decoded and compared with what was drawn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from iasa.config import FRAMES_PER_LATENT, REGION_WEIGHTS
from iasa.device import pick_precision
from iasa.keypoints import FACE, LEFT_HAND, RIGHT_HAND
from iasa.losses import FaceEmbedding, Features, region_loss, region_terms
from iasa.models.autoencoder import Autoencoder
from iasa.training.datasets import WarpedWindow, to_model_images

CROP = 96  # pixels: a whole face, or a hand with its wrist


class RegionLoss:
    """Callable as `distill` wants it. Only a few crops are decoded: whole pictures would cost more than the roll-out.

    `face` and `features` may be any callables of these forms: `FaceEncoder.embed` and `PartEncoder`, or a recognizer of
    real faces on `align_faces`' crops and the layers of LPIPS. All networks are read alone. Regions that `weights` does
    not name do not count.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        face: FaceEmbedding,
        features: Features,
        weights: Mapping[str, float] = REGION_WEIGHTS,
        frames: int = 2,
    ) -> None:
        self.autoencoder, self.face, self.features = autoencoder, face, features
        self.weights, self.frames = weights, frames

    def __call__(self, x0: Tensor, window: WarpedWindow, truth: np.ndarray, rng: np.random.Generator) -> Tensor:
        """x0 [b, f, c, h, w] normalised latents, truth uint8 [b, f t, H, W, 3] -> scalar.

        `frames` latent frames of each clip are drawn from `rng`.
        """
        b, f = x0.shape[:2]
        picked = [(clip, int(frame)) for clip in range(b) for frame in rng.permutation(f)[: self.frames]]
        hand = LEFT_HAND if rng.random() < 0.5 else RIGHT_HAND
        loss = x0.new_zeros(())
        for part, around in ((FACE, ("face", "mouth")), (hand, ("hands", "arms"))):
            regions = tuple(region for region in around if region in self.weights)
            if regions:
                loss = loss + region_loss(self.terms(x0, window, truth, picked, part, regions), self.weights)
        return loss

    def terms(
        self, x0: Tensor, window: WarpedWindow, truth: np.ndarray, picked, part: slice, regions
    ) -> dict[str, Tensor]:
        """`region_terms` of one crop around `part` in each picked (clip, latent frame)."""
        t, side = FRAMES_PER_LATENT, truth.shape[2]
        patch = side // x0.shape[-1]
        cells = CROP // patch
        clips, frames = (torch.tensor(column, device=x0.device) for column in zip(*picked, strict=True))
        xy, confidence = window.xy[clips, frames + 1], window.confidence[clips, frames + 1]  # [m, t, 133, 2]
        centre = xy[:, :, part].mean((1, 2)) * side
        corner = ((centre - CROP / 2) / patch).round().clamp(0, side // patch - cells).long() * patch  # [m, 2] (x, y)
        warped = window.warped.unflatten(1, (-1, t))
        latents, seen, drawn = [], [], []
        for (clip, frame), (x, y) in zip(picked, corner.tolist(), strict=True):
            here = (slice(y // patch, y // patch + cells), slice(x // patch, x // patch + cells))
            cut = (slice(y, y + CROP), slice(x, x + CROP))
            latents.append(x0[clip, frame, :, *here])
            seen.append(warped[clip, frame, :, :, *cut])
            drawn.append(truth[clip, frame * t : (frame + 1) * t, *cut])
        codec, kind, dtype = self.autoencoder, x0.device.type, pick_precision(device=x0.device).dtype
        with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
            raw = torch.stack(latents) * codec.std[:, None, None] + codec.mean[:, None, None]
            pairs = codec.to_pairs(
                raw.to(memory_format=torch.channels_last),
                xy,
                confidence,
                torch.stack(seen).flatten(1, 2),
                corner.float(),
            )
            output = rearrange(pairs.float(), "m (t c) h w -> (m t) c h w", t=t)
            target = to_model_images(np.stack(drawn)).flatten(0, 1).to(x0.device)
            pixels = (xy * side - corner[:, None, None]).flatten(0, 1)
            return region_terms(
                output, target, pixels, confidence.flatten(0, 1), self.face, self.features, regions, side
            )
