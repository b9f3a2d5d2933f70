"""A patch discriminator (Isola et al. 2017): it tells drawn hands and faces from decoded ones while the decoder is refined."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Pictures of a latent frame -> one verdict for every patch of about 30 pixels, and the features that led to it."""

    def __init__(self, channels: int = 6, width: int = 64) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        self.layers = nn.ModuleList(
            [
                spectral_norm(nn.Conv2d(4 * channels, width, 3, 1, 1)),
                spectral_norm(nn.Conv2d(width, 2 * width, 4, 2, 1)),
                spectral_norm(nn.Conv2d(2 * width, 2 * width, 4, 2, 1)),
            ]
        )
        self.verdict = spectral_norm(nn.Conv2d(2 * width, 1, 3, 1, 1))

    def forward(self, pairs: Tensor) -> tuple[Tensor, list[Tensor]]:  # [m, channels, H, W]
        """Verdicts [m, 1, H / 8, W / 8], larger for what looks drawn; features of every layer."""
        x, features = self.unshuffle(pairs), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.verdict(x), features
