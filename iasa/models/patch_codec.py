"""Pictures as tokens by one matrix: each patch's principal components, half whitened. It has nothing to learn from poses and
nothing to paint with, so whatever a picture shows came through the latents."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor

from iasa.models.network import Network


class PatchCodec(Network):
    """[b, f, 3, H, W] in [-1, 1] <-> latents [b, f, c, H / patch, W / patch] of mean 0 and mean square 1.

    `fit` finds the components. Their deviations lie between those of the picture, where fine detail is nothing, and white
    noise, where it is as much as the rest: each is the square root of what it was.
    """

    mean: Tensor  # [3 patch^2]
    basis: Tensor  # [c, 3 patch^2], orthonormal rows
    scale: Tensor  # [c], what a component is divided by

    @register_to_config
    def __init__(self, patch: int = 16, latent_channels: int = 128) -> None:
        super().__init__()
        size = 3 * patch**2
        if not 1 <= latent_channels <= size:
            raise ValueError(f"{latent_channels} channels asked for; a patch of {patch} pixels has 1 to {size}")
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.eye(size)[:latent_channels].clone())
        self.register_buffer("scale", torch.ones(latent_channels))

    @torch.no_grad()
    def fit(self, images: Tensor, weight: Tensor | None = None) -> None:
        """Take the components of the patches of [m, 3, H, W]; `weight` [m, H, W] says how much each pixel's patch counts."""
        patches = self._to_patches(images[None]).flatten(0, -2).double()
        counts = torch.ones(len(patches), 1).double()
        if weight is not None:
            counts = F.avg_pool2d(weight[:, None], self.config.patch).flatten()[:, None].double()
        mean = (patches * counts).sum(0) / counts.sum()
        centred = (patches - mean) * counts.sqrt()
        values, vectors = torch.linalg.eigh(centred.T @ centred / counts.sum())
        kept = torch.arange(len(values) - 1, len(values) - 1 - len(self.scale), -1)
        deviation = values[kept].clamp_min(1e-8).sqrt()
        self.mean.copy_(mean)
        self.basis.copy_(vectors[:, kept].T)
        self.scale.copy_((deviation * deviation.mean()).sqrt())

    def encode(self, images: Tensor) -> Tensor:  # [b, f, 3, H, W] -> [b, f, c, h, w]
        """Latents of pictures. Raises ValueError if patches do not fill them."""
        patch = self.config.patch
        if images.shape[-2] % patch or images.shape[-1] % patch:
            raise ValueError(f"pictures of {tuple(images.shape[-2:])} pixels are not filled by patches of {patch}")
        latents = (self._to_patches(images) - self.mean) @ self.basis.T / self.scale
        return rearrange(latents, "b f h w c -> b f c h w")

    def decode(self, latents: Tensor) -> Tensor:  # [b, f, c, h, w] -> [b, f, 3, H, W]
        """Pictures in [-1, 1]."""
        patches = rearrange(latents, "b f c h w -> b f h w c") * self.scale @ self.basis + self.mean
        pictures = rearrange(patches, "b f h w (c y x) -> b f c (h y) (w x)", c=3, y=self.config.patch)
        return pictures.clamp(-1, 1)

    def _to_patches(self, images: Tensor) -> Tensor:  # [b, f, 3, H, W] -> [b, f, h, w, 3 patch^2]
        y = self.config.patch
        return rearrange(images.float(), "b f c (h y) (w x) -> b f h w (c y x)", y=y, x=y)
