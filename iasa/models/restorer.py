"""The restorer: a small network that repairs what the warped layers of a photograph miss around its face and hands.

It sees a crop of the warped layers, the same part of the photograph as it was taken, and both poses, and says what to add.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from iasa.models.autoencoder import ResidualBlock
from iasa.models.network import Network
from iasa.models.pose_embedding import PoseField

PATCH = 4  # pixels: convolutions run at a quarter of the crop's side or below


class Restorer(Network):
    """A U-Net of two scales; it adds nothing at initialisation."""

    adam_parameters = ("stem.", "poses.", "head.")

    @register_to_config
    def __init__(self, size: int = 128, widths: tuple[int, int] = (64, 128)) -> None:
        super().__init__()
        a, b = widths
        self.unshuffle, self.shuffle = nn.PixelUnshuffle(PATCH), nn.PixelShuffle(PATCH)
        self.stem = nn.Conv2d(2 * 3 * PATCH**2, a, 3, padding=1)
        self.poses = PoseField(a, size // PATCH, size // PATCH, 2)  # of the photograph and of the frame
        self.fine = ResidualBlock(a)
        self.down = nn.Conv2d(a, b, 4, 2, 1)
        self.coarse = nn.Sequential(ResidualBlock(b), ResidualBlock(b))
        self.up = nn.Conv2d(b, 4 * a, 1)
        self.last = ResidualBlock(a)
        self.head = nn.Conv2d(a, 3 * PATCH**2, 3, padding=1)
        for weight in self.head.parameters():
            nn.init.zeros_(weight)

    def forward(
        self,
        layers: Tensor,  # [m, 3, size, size] in [-1, 1], a part of the warped layers
        photo: Tensor,  # [m, 3, size, size], the same part of the photograph
        xy: Tensor,  # [m, 2, 133, 2] of the photograph and of the frame, each in units of its own crop
        confidence: Tensor,  # [m, 2, 133]
    ) -> Tensor:  # [m, 3, size, size], to be added to `layers`
        x = self.stem(self.unshuffle(torch.cat([layers, photo], 1)))  # [m, a, size / 4, size / 4]
        x = self.fine(x + self.poses(xy, confidence))
        deep = self.coarse(F.silu(self.down(F.silu(x))))
        x = self.last(x + F.pixel_shuffle(self.up(F.silu(deep)), 2))
        return self.shuffle(self.head(F.silu(x)))
