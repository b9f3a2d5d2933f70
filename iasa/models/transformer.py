"""One video transformer for teacher, student and critic (paper, section 3): tokens of latent frames, conditioned on a
reference frame and on poses, with the attention pattern handed in from outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor, nn

from iasa.models.image_encoder import ImageEncoder
from iasa.models.network import Network
from iasa.models.pose_embedding import PoseEmbedding
from iasa.models.rotary import Rope, rope_angles, rotate

# attend(layer, q, k, v) -> o, all [b, nh, f, n, d]: which frames and tokens see each other is the caller's choice.
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


ROPE_BASE = 100.0


@dataclass(frozen=True)
class Condition:
    """What does not change over denoising steps. Frame 0 is the reference; 1..f are the video's latent frames."""

    base: Tensor  # [b, 1 + f, c, h, w] normalised latents: the reference, then the reference warped to each pose
    image_tokens: Tensor  # [b, m, width]
    pose_tokens: Tensor  # [b, 1 + f, n, width]
    pose_summary: Tensor  # [b, 1 + f, width]

    def frames(self, which: slice | list[int] | Tensor) -> Condition:
        """The same condition for some of the frames (0 is the reference)."""
        return Condition(
            self.base[:, which], self.image_tokens, self.pose_tokens[:, which], self.pose_summary[:, which]
        )


def token_angles(rows: int, cols: int, head_width: int) -> Tensor:  # [n, d / 2]
    """Angles of a frame's tokens: half of the pairs turn with the row, half with the column. Time has none: which
    frames belong together is read from their poses, so a cached key stays valid however long the video is."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    return torch.cat([rope_angles(place.flatten(), head_width // 4, ROPE_BASE) for place in (y, x)], -1)


class NoiseEmbedding(nn.Module):
    """Noise level in [0, 1] -> vector, through sines (Vaswani et al. 2017) and two layers."""

    def __init__(self, width: int, sines: int = 64) -> None:
        super().__init__()
        self.sines = sines
        self.inner = nn.Linear(2 * sines, width)
        self.outer = nn.Linear(width, width)

    def forward(self, level: Tensor) -> Tensor:  # [...] -> [..., width]
        frequency = torch.exp(torch.linspace(0, math.log(1000), self.sines, device=level.device))
        angle = level.float()[..., None] * frequency  # in float32 whatever the weights are
        waves = torch.cat([angle.sin(), angle.cos()], -1).to(self.inner.weight.dtype)
        return self.outer(F.silu(self.inner(waves)))


class Block(nn.Module):
    """Attention over frames, attention to the image tokens, and a two-layer network with a 3 x 3 depthwise mix."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.heads = heads
        hidden = int(width * mlp_ratio)
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.image_kv = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, hidden)
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.down = nn.Linear(hidden, width)
        self.modulation = nn.Parameter(torch.zeros(6, width))
        with torch.no_grad():
            self.modulation[2] = self.modulation[5] = 0.3  # the gates start partly open
            for weight in self.mix.parameters():
                weight.zero_()

    def forward(
        self,
        x: Tensor,  # [b, f, n, width]
        shared: Tensor,  # [b, f, 6, width], this step's modulation, the same for every block
        image_tokens: Tensor,  # [b, m, width]
        rope: Rope,
        grid: tuple[int, int],
        attend: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        modulation = (shared + self.modulation).to(x.dtype)[:, :, None]
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.unbind(3)
        h = self.norm1(x) * (1 + scale1) + shift1  # [b, f, n, width]
        q, k, v = rearrange(self.qkv(h), "b f n (a nh d) -> a b nh f n d", a=3, nh=self.heads)
        q = rotate(F.rms_norm(q, q.shape[-1:]), rope)
        k = rotate(F.rms_norm(k, k.shape[-1:]), rope)
        o = attend(q, k, v)  # [b, nh, f, n, d]
        image_k, image_v = rearrange(self.image_kv(image_tokens), "b m (a nh d) -> a b nh m d", a=2, nh=self.heads)
        seen = F.scaled_dot_product_attention(q.flatten(2, 3), F.rms_norm(image_k, image_k.shape[-1:]), image_v)
        o = o + seen.view_as(o)
        x = x + gate1 * self.out(rearrange(o, "b nh f n d -> b f n (nh d)"))
        h = self.norm2(x) * (1 + scale2) + shift2
        planes = rearrange(h, "b f (h w) c -> (b f) c h w", h=grid[0])
        h = h + rearrange(self.mix(planes), "(b f) c h w -> b f (h w) c", b=h.shape[0])
        return x + gate2 * self.down(F.gelu(self.up(h), approximate="tanh"))


class VideoTransformer(Network):
    """Predicts clean latents x0 from noisy ones, a pose per video frame, and a reference frame.

    The reference enters three times: as frame 0 of the sequence (tokens to attend to); warped to each frame's pose
    (`iasa.warp.reference_warp`) beside the noisy latents; and, so warped, as the base that the output is added to: an untrained
    network returns the warped reference.
    """

    cos: Tensor  # [n, d / 2], of the tokens' rotary angles
    sin: Tensor
    adam_parameters = (
        "patch_in", "patch_out", "noise", "pose.token_in", "pose.summary_in", "modulate", "token_type", "image_encoder",
    )  # fmt: skip

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 48,
        rows: int = 16,
        cols: int = 16,
        width: int = 320,
        layers: int = 8,
        heads: int = 4,
        mlp_ratio: float = 3.0,
        image_tokens: int = 16,
        frames: int = 2,
    ) -> None:
        super().__init__()
        if width % heads or (width // heads) % 4:
            raise ValueError(f"width {width} must be divisible by heads {heads} into head widths that 4 divides")
        self.patch_in = nn.Linear(2 * latent_channels, width)
        self.pose = PoseEmbedding(width, rows, cols, frames)
        self.noise = NoiseEmbedding(width)
        self.token_type = nn.Parameter(torch.randn(2, width) * 0.02)  # reference, video
        self.image_encoder = ImageEncoder(width, image_tokens)
        self.modulate = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.patch_out = nn.Linear(width, latent_channels)
        for zero in (self.modulate, self.patch_out):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)
        angles = token_angles(rows, cols, width // heads)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def keep_layers(self, which: Sequence[int]) -> None:
        """Keep these blocks and drop the rest. Raises IndexError if there is no such block."""
        self.blocks = nn.ModuleList(self.blocks[i] for i in which)
        self.register_to_config(layers=len(self.blocks))

    def condition(
        self,
        base: Tensor,  # [b, 1 + f, c, h, w] latents of the reference, and of the reference warped to each pose
        reference_image: Tensor,  # [b, 3, H, W] in [-1, 1]
        xy: Tensor,  # [b, 1 + f, t, 133, 2] image units; frame 0 is the reference's pose, repeated t times
        confidence: Tensor,  # [b, 1 + f, t, 133]
    ) -> Condition:
        """Everything that is computed once a clip."""
        b = xy.shape[0]
        tokens, summary = self.pose(xy.flatten(0, 1), confidence.flatten(0, 1))
        return Condition(
            base,
            self.image_encoder(reference_image),
            rearrange(tokens, "(b f) n c -> b f n c", b=b),
            rearrange(summary, "(b f) c -> b f c", b=b),
        )

    def forward(
        self,
        latents: Tensor,  # [b, f, c, h, w] noisy (level t), for the frames of `condition`
        level: Tensor,  # [b, f] noise level in [0, 1]; 0 for clean frames
        condition: Condition,  # of the same frames
        attend: Attend,
        first_is_reference: bool = True,
    ) -> Tensor:  # [b, f, c, h, w]
        """The clean latents x0 of every frame given."""
        f = latents.shape[1]
        beside = condition.base
        x = rearrange(torch.cat([latents, beside], 2), "b f c h w -> b f (h w) c").to(self.token_type.dtype)
        video = torch.ones(f, dtype=torch.long, device=x.device)
        if first_is_reference:
            video[0] = 0
        x = self.patch_in(x)  # [b, f, n, width], in autocast's type from here on
        x = x + condition.pose_tokens + self.token_type[video].to(x.dtype)[None, :, None]
        vector = F.silu(self.noise(level) + condition.pose_summary)
        shared = rearrange(self.modulate(vector), "b f (a c) -> b f a c", a=6)
        rope = (self.cos.to(x.dtype), self.sin.to(x.dtype))
        grid = (self.config.rows, self.config.cols)
        for layer, block in enumerate(self.blocks):

            def this_layer(q: Tensor, k: Tensor, v: Tensor, layer: int = layer) -> Tensor:
                return attend(layer, q, k, v)

            x = block(x, shared, condition.image_tokens, rope, grid, this_layer)
        change = rearrange(self.patch_out(self.norm(x)), "b f (h w) c -> b f c h w", h=grid[0])
        return beside + change.float()
