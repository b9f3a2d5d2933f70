"""A small face encoder: pictures of a face -> a vector that tells drawn speakers apart (stands where the paper has ArcFace).

It was trained on the avatar's identities alone and says nothing about real faces. Whoever has a recognizer of real
faces hands in a callable of the same form; `align_faces` makes its crops.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from iasa.keypoints import EYE_CORNERS
from iasa.models.network import Network

SIDE = 64  # pixels of a crop
REACH, LOWER = 1.1, 0.3  # half side of a crop and its centre below the eyes, distances of the outer eye corners
OVAL = (0.85, 0.95)  # half axes of what is kept of the crop, in its half sides


def align_faces(
    images: Tensor, xy: Tensor, side: int = SIDE
) -> Tensor:  # [m, 3, H, W], [m, 133, 2] -> [m, 3, side, side]
    """Faces upright and of one size, placed by the outer eye corners; xy in pixels of `images`. Differentiable in `images`."""
    a, b = (xy[:, corner] for corner in EYE_CORNERS)
    across = (b - a) * REACH  # [m, 2]
    down = torch.stack([-across[:, 1], across[:, 0]], -1)
    centre = (a + b) / 2 + down * (LOWER / REACH)
    step = torch.linspace(-1, 1, side + 1, device=xy.device)[:-1] + 1 / side
    y, x = torch.meshgrid(step, step, indexing="ij")
    places = centre[:, None, None] + x[..., None] * across[:, None, None] + y[..., None] * down[:, None, None]
    sides = places.new_tensor([images.shape[-1], images.shape[-2]])
    return F.grid_sample(images, places / sides * 2 - 1, mode="bilinear", padding_mode="border", align_corners=False)


class FaceEncoder(Network):
    """Aligned faces -> unit vectors; the distance of two is small for one identity. Hair and background are cut off."""

    oval: Tensor  # [64, 64], how much a pixel counts
    adam_parameters = ("layers.0.", "out.")

    @register_to_config
    def __init__(self, width: int = 32, features: int = 64) -> None:
        super().__init__()
        sizes = (3, width, 2 * width, 3 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(sizes[-1] * 16, features)
        step = torch.linspace(-1, 1, SIDE)
        y, x = torch.meshgrid(step, step, indexing="ij")
        oval = ((1 - ((x / OVAL[0]) ** 2 + (y / OVAL[1]) ** 2).sqrt()) * 8 + 0.5).clamp(0, 1)
        self.register_buffer("oval", oval, persistent=False)

    def forward(self, faces: Tensor) -> Tensor:  # [m, 3, 64, 64] in [-1, 1] -> [m, features]
        return F.normalize(self.out(self.layers(faces * self.oval).flatten(1)).float(), dim=-1)

    def embed(self, images: Tensor, xy: Tensor) -> Tensor:
        """Unit vectors [m, features] of pictures [m, 3, H, W] with poses xy [m, 133, 2] in their pixels."""
        return self(align_faces(images, xy))
