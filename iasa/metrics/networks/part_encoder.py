"""The part encoder: features of hands and mouths, for the region loss and the Frechet distance.

It was trained here, on drawn hands, mouths and faces, to read their keypoints and to tell how blurred and how noisy a
picture is. Its distance has the form of LPIPS (Zhang et al. 2018) but is another measure, and goes by its own name.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from iasa.models.network import Network


class PartEncoder(Network):
    """Pictures -> feature maps at a half, a quarter and an eighth of their side."""

    adam_parameters = ("layers.0.", "head.")

    @register_to_config
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        sizes = (3, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 4 if i else 5, 2, 1 if i else 2)
            for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False))
        )
        self.channels = sizes[-1]

    def forward(self, images: Tensor) -> list[Tensor]:  # [m, 3, H, W] in [-1, 1] -> [m, 24, H / 2, W / 2], ...
        x, found = images, []
        for layer in self.layers:
            x = F.silu(layer(x))
            found.append(x)
        return found

    @torch.no_grad()
    def pooled(self, images: Tensor) -> Tensor:  # [m, 3, H, W] -> [m, channels]
        """Means of the last maps over the picture, what the Frechet distance compares."""
        return self(images)[-1].mean((-2, -1))
