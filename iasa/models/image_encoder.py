"""The image encoder: a reference picture as a few tokens of meaning.

The paper uses CLIP's; this one is trained together with the transformer.
"""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class ImageEncoder(nn.Module):
    """256 x 256 picture -> 4 x 4 tokens: strided convolutions on 8 x 8 patches."""

    def __init__(self, width: int, tokens: int = 16) -> None:
        super().__init__()
        if tokens != 16:
            raise ValueError(f"{tokens} image tokens asked for; the encoder's 4 x 4 grid gives 16")
        self.patches = nn.PixelUnshuffle(8)
        self.conv1 = nn.Conv2d(192, 128, 3, 2, 1)
        self.conv2 = nn.Conv2d(128, 192, 3, 2, 1)
        self.conv3 = nn.Conv2d(192, width, 3, 2, 1)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:  # [b, 3, 256, 256] in [-1, 1] -> [b, 16, width]
        x = F.silu(self.conv1(self.patches(image)))  # [b, 128, 16, 16]
        x = F.silu(self.conv2(x))  # [b, 192, 8, 8]
        x = self.conv3(x)  # [b, width, 4, 4]
        return self.norm(rearrange(x, "b c h w -> b (h w) c"))
