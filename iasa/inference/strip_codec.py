"""The autoencoder on the computed tokens alone: the layers of `FastCodec` on strips (see `strips`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iasa.inference.fast_codec import PATCH, FastCodec, layer_parts, shuffle, stack_heads
from iasa.inference.fused import conv_silu
from iasa.inference.strips import SCALES, Source, Strips
from iasa.models.autoencoder import BOUND, ResidualBlock

FINE = SCALES[-1]  # scale at which pictures enter and leave
HINT = 128  # tokens of the strips for which weights are packed
Step = Callable[[Tensor, Strips], Tensor]


class StripCodec:
    """Pictures <-> latents where they are computed; pictures come as what `Strips.around` makes of their patches."""

    def __init__(self, codec: FastCodec) -> None:
        self.codec, net, int8 = codec, codec.net, codec.int8
        self.frames, self.width = codec.frames, codec.width
        self.encoder = StripChain(list(net.encoder)[1:], 1, FINE, int8, given=True)
        self.coarse = StripChain(net.coarse, 1, 1, int8, source="picture")
        self.guide = StripChain([net.guide], self.frames, FINE, int8, given=True)
        self.fine = StripChain(net.fine, self.frames, FINE, int8)
        self.heads = [StripChain([head], 1, FINE, int8) for head in stack_heads(net)]
        self._chains = (self.encoder, self.coarse, self.guide, self.fine, *self.heads)

    def multiplications(self, strips: Strips | None) -> int:
        """Of one latent frame in all convolutions; in a whole picture's for None."""
        rows, cols = (side // (4 * PATCH) for side in (self.codec.net.config.size,) * 2)
        return sum(chain.multiplications(strips, rows * cols) for chain in self._chains)

    def encode(self, patches: Tensor, strips: Strips) -> Tensor:  # [frames, 48, 6, L] -> [k, c]
        """Normalised latents of the computed tokens, float32."""
        net = self.codec.net
        x = self.encoder(patches.flatten(0, 1)[None].contiguous(memory_format=torch.channels_last), strips)
        raw = (BOUND * torch.tanh(strips.inside(x, 1)[0] / BOUND)).float()
        return (raw - net.mean) / net.std

    def decode(
        self,
        latents: Tensor,  # [c, h, w] normalised
        xy: Tensor,  # [frames, 133, 2] image units
        confidence: Tensor,  # [frames, 133]
        patches: Tensor,  # [frames, 48, 6, L] of the reference warped to these poses
        still: Tensor,  # uint8 [frames, cells, 48], its levels
        strips: Strips,
    ) -> Tensor:  # uint8 [frames, H, W, 3]
        codec, net, t, a = self.codec, self.codec.net, self.frames, self.width
        raw = latents.to(codec.dtype) * net.std[:, None, None] + net.mean[:, None, None]
        x = self.coarse(raw[None].contiguous(memory_format=torch.channels_last), strips)  # [1, a, 4, L - 2]
        rows, cols = strips.rows * FINE, strips.cols * FINE
        fields = codec.pose_fields(xy, confidence, rows, cols, strips.stripes)  # [t, stripes' cells, 2 a]
        fields = strips.settle(fields[:, None].permute(0, 3, 1, 2), FINE, "stripes")
        own, shared = fields.split(a, 1)
        x = own + sum(shared.split(1), x) + self.guide(patches, strips)
        x = self.fine(x, strips)
        painted = torch.cat([head(x[i::t], strips) for i, head in enumerate(self.heads)])
        colours, gate = strips.inside(painted, FINE).float().split((48, 16), -1)  # [t, cells of tokens, ...]
        seen = strips.inside(patches[..., 1:-1, 1:-1], FINE).float().unflatten(-1, (3, PATCH**2))
        share = strips.feather.unsqueeze(-2) * gate.neg().sigmoid_().unsqueeze(-2)
        mixed = seen + share * (colours.unflatten(-1, (3, PATCH**2)) - seen)
        levels = mixed.mul_(127.5).add_(127.5).round_().clamp_(0, 255).to(torch.uint8)
        out = still.index_copy(1, strips.cells, levels.flatten(2))
        return to_pictures(out, rows, cols)


class StripChain:
    """Convolutions, residual blocks and pixel shuffles in turn, of x that begins at one scale."""

    def __init__(
        self,
        layers: Iterable[nn.Module],
        m: int,
        scale: int,
        int8: bool,
        given: bool = False,  # x has the cells around it already
        source: Source = "strips",  # of x, where it has not
    ) -> None:
        self.steps: list[Step] = []
        self.sizes: list[tuple[int, int]] = []  # scale of what each convolution makes, multiplications of a cell
        self.m, self.int8 = m, int8
        for layer in layers:
            if isinstance(layer, ResidualBlock):
                first, second = self._conv(layer.conv1, scale, True), self._conv(layer.conv2, scale)
                self.steps.append(partial(_residual, scale, first, second))
            elif isinstance(layer, nn.PixelShuffle):
                scale *= layer.upscale_factor
                self.steps.append(partial(_enlarge, scale))
            elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
                self.steps.append(partial(_alone, self._conv(layer, scale)))
            elif isinstance(layer, nn.Conv2d):
                out = scale // layer.stride[0]
                conv = self._conv(layer, scale)
                self.steps.append(partial(_alone, conv) if given else partial(_around, scale, source, conv))
                if out != scale:
                    self.steps.append(partial(_halve, out))
                scale = out
            else:
                raise TypeError(f"a chain holds no {type(layer).__name__}")
            given, source = False, "strips"

    def _conv(self, layer: nn.Conv2d, scale: int, silu: bool = False) -> Callable[[Tensor], Tensor]:
        weight, bias, _ = layer_parts(layer)
        self.sizes.append((scale // layer.stride[0], weight.numel() * self.m))
        rim = 0 if layer.kernel_size == (1, 1) else 2
        shape = (self.m, layer.in_channels, scale + rim, HINT * scale + rim)
        return conv_silu(weight, bias, shape, layer.stride, (0, 0), silu, self.int8)

    def multiplications(self, strips: Strips | None, tokens: int) -> int:
        if strips is None:
            return sum(each * tokens * scale**2 for scale, each in self.sizes)
        return sum(each * scale * (strips.length(scale) - 2) for scale, each in self.sizes)

    def __call__(self, x: Tensor, strips: Strips) -> Tensor:
        for step in self.steps:
            x = step(x, strips)
        return x


def to_pictures(cells: Tensor, rows: int, cols: int) -> Tensor:  # [m, rows * cols, 48] -> [m, H, W, 3]
    parts = cells.view(-1, rows, cols, 3, PATCH, PATCH)
    return parts.permute(0, 1, 4, 2, 5, 3).reshape(-1, rows * PATCH, cols * PATCH, 3)


def _alone(conv: Callable[[Tensor], Tensor], x: Tensor, _: Strips) -> Tensor:
    return conv(x)


def _around(scale: int, source: Source, conv: Callable[[Tensor], Tensor], x: Tensor, strips: Strips) -> Tensor:
    return conv(strips.around(x, scale, source))


def _halve(scale: int, x: Tensor, strips: Strips) -> Tensor:
    return strips.settle(x, scale, "halved")


def _enlarge(scale: int, x: Tensor, strips: Strips) -> Tensor:
    return strips.settle(shuffle(2, x), scale, "shuffled")


def _residual(
    scale: int, first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor], x: Tensor, strips: Strips
) -> Tensor:
    h = first(strips.around(F.silu(x), scale))
    return second(strips.around(h, scale)).add_(x)
