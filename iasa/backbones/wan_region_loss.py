"""The paper's region loss on a Wan roll-out: crops about the face and one hand, decoded for two latent frames of a clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from iasa.backbones.wan_distill import LatentClip
from iasa.backbones.wan_plan import to_latent_rate
from iasa.config import REGION_WEIGHTS
from iasa.keypoints import FACE, LEFT_HAND, RIGHT_HAND
from iasa.losses import FaceEmbedding, Features, region_loss, region_terms

CELLS = 16  # side of a crop in latents: 128 pixels
PIXELS = 8  # along a latent


class WanRegionLoss:
    """Callable as `clip_losses` wants it. The true latents are decoded in the same way, so both lack the same past.

    `face` and `features` may be any callables of these forms; the shipped encoders know drawn people, so for real ones
    a recognizer of faces and the layers of LPIPS serve better.
    """

    def __init__(
        self, vae: Any, face: FaceEmbedding, features: Features, weights: Mapping[str, float] = REGION_WEIGHTS
    ) -> None:
        self.vae, self.face, self.features, self.weights = vae.requires_grad_(False), face, features, weights
        self.mean, self.std = (
            torch.tensor(x).view(1, -1, 1, 1, 1) for x in (vae.config.latents_mean, vae.config.latents_std)
        )

    def __call__(self, x0: Tensor, clip: LatentClip, generator: torch.Generator) -> Tensor:
        """x0 [1, f, c, h, w] normalised latents -> scalar."""
        f, (h, w) = x0.shape[1], x0.shape[-2:]
        frame = int(torch.randint(max(f - 1, 1), (), generator=generator))
        hand = LEFT_HAND if float(torch.rand((), generator=generator)) < 0.5 else RIGHT_HAND
        poses = to_latent_rate(clip.poses)[frame : frame + 2]
        size = torch.tensor([w, h]) * PIXELS
        xy = torch.from_numpy(poses.xy) * size  # [2, 133, 2] pixels of the whole picture
        sure = torch.from_numpy(poses.confidence)
        loss = x0.new_zeros(())
        for part, regions in ((FACE, ("face", "mouth")), (hand, ("hands", "arms"))):
            regions = tuple(name for name in regions if name in self.weights)
            side = min(CELLS, h, w)
            corner = (xy[:, part].mean((0, 1)) / PIXELS - side / 2).round().long()
            x, y = (int(c.clamp(0, limit - side)) for c, limit in zip(corner, (w, h), strict=True))
            cut = (..., slice(y, y + side), slice(x, x + side))
            made = self._decode(x0[:, frame : frame + 2].transpose(1, 2)[cut])
            with torch.no_grad():
                truth = self._decode(clip.latents[:, :, frame : frame + 2][cut])
            index = torch.tensor([0] + [len(poses) - 1] * (len(made) - 1))  # one picture of the first, then four
            pixels = (xy[index] - torch.tensor([x, y]) * PIXELS).to(made)
            scale = float(min(h, w) * PIXELS)
            terms = region_terms(made, truth, pixels, sure[index].to(made), self.face, self.features, regions, scale)
            loss = loss + region_loss(terms, self.weights)
        return loss

    def _decode(self, latents: Tensor) -> Tensor:
        """[1, c, m, h, w] -> pictures [1 + 4 (m - 1), 3, H, W] in [-1, 1]."""
        raw = latents.to(self.vae.dtype)
        return (
            self.vae.decode(raw * self.std.to(raw) + self.mean.to(raw), return_dict=False)[0][0].transpose(0, 1).float()
        )


def make_region_loss(vae: Any) -> WanRegionLoss:
    """With the shipped encoders of faces and parts."""
    from iasa.metrics.networks.face_encoder import FaceEncoder
    from iasa.metrics.networks.part_encoder import PartEncoder
    from iasa.models.checkpoint import load_weights
    from iasa.paths import WEIGHTS

    device = next(vae.parameters()).device
    face = load_weights(FaceEncoder, WEIGHTS / "face_encoder").requires_grad_(False).to(device)
    parts = load_weights(PartEncoder, WEIGHTS / "part_encoder").requires_grad_(False).to(device)
    return WanRegionLoss(vae, face.embed, parts)
