"""The f16 autoencoder: two video frames of 256 x 256 <-> one latent frame of c x 16 x 16 (the VAE of the paper's backbone).

Its decoder is told the pose, and shown the reference warped to that pose (`iasa.warp.reference_warp`): both are known wherever
latents are decoded, so that fingers and lips, glasses and collars need not be spelt out by latents of 16 x 16 pixels.
The last convolutions paint one frame at a time, each with its own pose and its own warped reference, else what moves
between the two frames of a pair comes out as their blend.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor, nn

from iasa.models.network import Network
from iasa.models.pose_embedding import PoseField

BOUND = 3.0  # latents stay in (-BOUND, BOUND)


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x)))), the identity at initialisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for weight in self.conv2.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class Autoencoder(Network):
    """A plain convolutional autoencoder with bounded, channel-normalised latents.

    The picture enters and leaves in 4 x 4 patches, so all convolutions run at a quarter of its side or below: cheap
    on a CPU. A pair of frames shares one latent frame: what stands still is stored once.

    The codec works on any side that is a multiple of 16. `mean` and `std` hold the statistics of training latents;
    `encode` returns latents with mean 0 and deviation 1 per channel.
    """

    mean: Tensor  # [c], of training latents
    std: Tensor  # [c]
    adam_parameters = ("encoder.1.", "encoder.8.", "heads.", "pose.", "poses.", "guide.", "gate.")

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 48,
        widths: tuple[int, int, int] = (96, 160, 320),
        frames: int = 2,
        size: int = 256,
    ) -> None:
        super().__init__()
        a, b, c = widths
        pixels = 3 * frames * 16
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(pixels, a, 3, padding=1),
            ResidualBlock(a),
            nn.Conv2d(a, b, 4, 2, 1),
            ResidualBlock(b),
            nn.Conv2d(b, c, 4, 2, 1),
            ResidualBlock(c),
            ResidualBlock(c),
            nn.Conv2d(c, latent_channels, 3, padding=1),
        )
        self.coarse = nn.Sequential(  # to a quarter of the picture's side
            nn.Conv2d(latent_channels, c, 3, padding=1),
            ResidualBlock(c),
            nn.Conv2d(c, b * 4, 1),
            nn.PixelShuffle(2),
            ResidualBlock(b),
            nn.Conv2d(b, a * 4, 1),
            nn.PixelShuffle(2),
        )
        self.poses = PoseField(a, size // 4, size // 4, frames)  # of all frames of the latent frame
        self.pose = PoseField(a, size // 4, size // 4, 1)  # of the one frame that is being painted
        self.guide = nn.Conv2d(48, a, 3, padding=1)  # of the warped reference
        for weight in self.guide.parameters():
            nn.init.zeros_(weight)
        self.fine = nn.Sequential(ResidualBlock(a), ResidualBlock(a), ResidualBlock(a))
        self.heads = nn.ModuleList(nn.Conv2d(a, 48, 3, padding=1) for _ in range(frames))
        self.gate = nn.Conv2d(a, 16, 3, padding=1)  # how far each pixel is taken from the warped reference as it is
        nn.init.zeros_(self.gate.weight)
        assert self.gate.bias is not None
        nn.init.constant_(self.gate.bias, -3.0)
        self.shuffle, self.unshuffle = nn.PixelShuffle(4), nn.PixelUnshuffle(4)
        self.register_buffer("mean", torch.zeros(latent_channels))
        self.register_buffer("std", torch.ones(latent_channels))

    def to_latents(self, pairs: Tensor) -> Tensor:  # [m, 3 * frames, H, W] -> [m, c, H / 16, W / 16]
        """Raw bounded latents, as training sees them."""
        return BOUND * torch.tanh(self.encoder(pairs) / BOUND)

    def to_pairs(
        self,
        latents: Tensor,  # [m, c, h, w], raw
        xy: Tensor,  # [m, frames, 133, 2] image units
        confidence: Tensor,  # [m, frames, 133]
        warped: Tensor,  # [m, 3 * frames, H, W] the reference warped to each pose
        origin: Tensor | None = None,  # [m, 2]
    ) -> Tensor:  # [m, 3 * frames, H, W]
        """Pictures. For a crop, `origin` is its corner (x, y) in pixels; xy still spans the whole picture, `warped` does not."""
        x = self.coarse(latents)  # [m, a, H / 4, W / 4]
        where = (x.shape[-2:], None if origin is None else origin / 4)
        x = x + self.poses(xy, confidence, *where)
        frames = range(self.config.frames)
        each = [
            x + self.pose(xy[:, t : t + 1], confidence[:, t : t + 1], *where) + self.guide(self.unshuffle(seen))
            for t, seen in zip(frames, warped.chunk(len(frames), 1), strict=True)
        ]
        finished = []
        features = self.fine(torch.cat(each)).chunk(len(each))
        for head, part, seen in zip(self.heads, features, warped.chunk(len(each), 1), strict=True):
            painted = self.shuffle(head(part))
            finished.append(painted + self.shuffle(self.gate(part)).sigmoid() * (seen - painted))
        return torch.cat(finished, 1)

    def encode(self, images: Tensor) -> Tensor:  # [b, f * frames, 3, H, W] -> [b, f, c, h, w]
        """Normalised latents of images in [-1, 1]. Raises ValueError if the frames do not fill latent frames."""
        frames = self.config.frames
        if images.shape[1] % frames:
            raise ValueError(f"{images.shape[1]} frames are not a multiple of the {frames} in a latent frame")
        pairs = rearrange(images, "b (f t) c h w -> (b f) (t c) h w", t=frames)
        raw = self.to_latents(pairs.to(memory_format=torch.channels_last)).float()
        latents = (raw - self.mean[:, None, None]) / self.std[:, None, None]
        return rearrange(latents, "(b f) c h w -> b f c h w", b=images.shape[0])

    def decode(self, latents: Tensor, xy: Tensor, confidence: Tensor, warped: Tensor) -> Tensor:
        """Images [b, f * frames, 3, H, W] in [-1, 1] of normalised latents [b, f, c, h, w].

        xy [b, f * frames, 133, 2] in image units, confidence [b, f * frames, 133]; `warped` [b, f * frames, 3, H, W] is the
        reference warped to each of these poses.
        """
        t = self.config.frames
        raw = latents.flatten(0, 1) * self.std[:, None, None] + self.mean[:, None, None]
        xy = rearrange(xy, "b (f t) p a -> (b f) t p a", t=t)
        confidence = rearrange(confidence, "b (f t) p -> (b f) t p", t=t)
        warped = rearrange(warped.to(raw.dtype), "b (f t) c h w -> (b f) (t c) h w", t=t)
        pairs = self.to_pairs(raw.to(memory_format=torch.channels_last), xy, confidence, warped).float().clamp(-1, 1)
        return rearrange(pairs, "(b f) (t c) h w -> b (f t) c h w", b=latents.shape[0], t=t)
