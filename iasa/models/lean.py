"""The networks as a roll-out runs them: the arithmetic of their modules, one latent frame at a time, in fewer passes.

`LeanTransformer` is a denoising step of one frame of `VideoTransformer`; `LeanCodec` is `Autoencoder` between pictures and
latents. Both take their weights from a module in evaluation mode, and differ from it by rounding alone. On a processor it
is not the products that they save but what lies around them: shift and scale ride on the norm, rotations write to where
attention reads, queries and keys of bounded length need no maximum in the softmax, modulations and image keys are made
once, and pictures stay in patches with their channels last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iasa.models.autoencoder import BOUND, Autoencoder, ResidualBlock
from iasa.models.pose_embedding import GAIN, REACH
from iasa.models.transformer import Block, Condition, VideoTransformer

PATCH = 4  # pixels on the side of the patches in which the codec's pictures come


class Past(NamedTuple):
    """What a frame sees of earlier frames, for all layers and steps."""

    keys: Tensor  # [layers, nh, m, d]
    values: Tensor  # [layers, nh, m, d]
    queries: Tensor  # int64 [k], the frame's tokens that see some of them
    allowed: Tensor | None  # [k, m] 1 where the query sees the key, else 0, in the keys' type; None where all do


class LeanTransformer:
    """One frame at a time, of one clip. `own` are the keys and values of the frame under way, after its last step so far."""

    def __init__(self, model: VideoTransformer) -> None:
        self.model = model
        config = model.config
        self.tokens = config.rows * config.cols
        self.dtype, self.device = model.role.dtype, model.role.device
        self.layers = [_LeanBlock(block, config.rows, config.cols) for block in model.blocks]
        self.turn = model.cos.to(self.dtype), model.sin.to(self.dtype)
        # Keys and values [2, layers, nh, 2 n, d] of the frame's own tokens, which every step writes, and of the reference's.
        shape = (2, len(self.layers), config.heads, 2 * self.tokens, config.width // config.heads)
        self._near = torch.zeros(shape, dtype=self.dtype, device=self.device)
        self.image: list[tuple[Tensor, Tensor]] = []

    @property
    def own(self) -> Tensor:
        """Keys and values [2, layers, nh, n, d], a view."""
        return self._near[..., : self.tokens, :]

    def read_reference(self, condition: Condition) -> None:
        """Make the image's keys and the reference's: once a clip, from frame 0 of the condition."""
        self.image = [layer.image_keys(condition.image_tokens[0]) for layer in self.layers]
        modulation = self.modulations([0.0], condition.pose_summary[0, :1])[:, 0, 0]
        self.step(condition.base[0, 0], condition.base[0, 0], condition.pose_tokens[0, 0], modulation, sink=False, role=0)
        self._near[..., self.tokens :, :] = self.own

    def modulations(self, levels: list[float], pose_summary: Tensor) -> Tensor:
        """Shifts, scales and gates of noise levels [s] and frames [f, width]: [layers, s, f, 6, width]."""
        noise = self.model.noise(torch.tensor(levels, device=self.device))
        shared = self.model.modulate(F.silu(noise[:, None] + pose_summary)).unflatten(-1, (6, -1))
        out = torch.stack([(shared + layer.modulation).to(self.dtype) for layer in self.layers])
        out[..., [1, 4], :] += 1  # scales, as weights of a norm
        return out

    def step(
        self,
        latents: Tensor,  # [c, h, w] noisy
        base: Tensor,  # [c, h, w]
        pose_tokens: Tensor,  # [n, width]
        modulation: Tensor,  # [layers, 6, width] of this frame and level
        past: Past | None = None,
        sink: bool = True,  # whether the frame sees the reference
        role: int = 1,  # 0: it is the reference
    ) -> Tensor:  # [c, h, w] float32
        """The clean latents."""
        model = self.model
        x = torch.cat([latents, base]).flatten(1).T.to(self.dtype)  # [n, 2 c]
        x = model.patch_in(x).add_(pose_tokens).add_(model.role[role])
        near = self._near if sink else self.own
        for i, layer in enumerate(self.layers):
            seen = past and Past(past.keys[i], past.values[i], past.queries, past.allowed)
            x = layer.step(x, modulation[i], *near[:, i], seen, self.image[i], self.turn)
        change = model.patch_out(model.norm(x)).T.unflatten(1, latents.shape[1:])
        return base + change.float()


class _LeanBlock:
    def __init__(self, block: Block, rows: int, cols: int) -> None:
        self.block, self.grid = block, (rows, cols)
        self.width, self.heads = block.out.in_features, block.heads
        self.modulation = block.modulation
        self.up = linear_gelu(block.up, rows * cols)

    def image_keys(self, tokens: Tensor) -> tuple[Tensor, Tensor]:  # [m, width] -> [nh, d, m], [nh, m, d]
        k, v = self.block.image_kv(tokens).unflatten(-1, (2, self.heads, -1)).unbind(1)
        return F.rms_norm(k, k.shape[-1:]).permute(1, 2, 0).contiguous(), v.transpose(0, 1).contiguous()

    def step(
        self,
        x: Tensor,  # [n, width]
        modulation: Tensor,  # [6, width]
        keys: Tensor,  # [nh, n or 2 n, d], the first n are the frame's own and written here
        values: Tensor,
        past: Past | None,  # of this layer
        image: tuple[Tensor, Tensor],
        turn: tuple[Tensor, Tensor],  # cos, sin [n, d / 2]
    ) -> Tensor:
        block, n = self.block, len(x)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.unbind(0)
        h = F.layer_norm(x, (self.width,), scale1, shift1)
        qkv = block.qkv(h).view(n, 3, self.heads, -1)
        q, k = F.rms_norm(qkv[:, :2], qkv.shape[-1:]).permute(1, 2, 0, 3).unbind(0)  # [nh, n, d]
        q = _rotate_into(torch.empty_like(keys[:, :n]), q, turn).mul_(q.shape[-1] ** -0.5)
        _rotate_into(keys[:, :n], k, turn)
        values[:, :n] = qkv[:, 2].transpose(0, 1)

        weights = torch.bmm(q, keys.transpose(1, 2)).exp_()  # norms of 1 and sqrt(d): a logit is below 10
        total, o = weights.sum(-1, keepdim=True), torch.bmm(weights, values)
        if past is not None:
            weights = torch.bmm(q.index_select(1, past.queries), past.keys.transpose(1, 2)).exp_()
            if past.allowed is not None:
                weights.mul_(past.allowed)
            total.index_add_(1, past.queries, weights.sum(-1, keepdim=True))
            o.index_add_(1, past.queries, torch.bmm(weights, past.values))
        o.div_(total)
        weights = torch.bmm(q, image[0]).exp_()
        o.add_(torch.bmm(weights, image[1]).div_(weights.sum(-1, keepdim=True)))
        x = torch.addcmul(x, gate1, block.out(o.transpose(0, 1).reshape(n, self.width)))

        h = F.layer_norm(x, (self.width,), scale2, shift2)
        planes = h.view(1, *self.grid, self.width).permute(0, 3, 1, 2)  # channels last
        h = block.mix(planes).permute(0, 2, 3, 1).reshape(n, self.width) + h
        return torch.addcmul(x, gate2, block.down(self.up(h)))


def _rotate_into(out: Tensor, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """`iasa.models.transformer.rotate`, written to `out` [nh, n, d]."""
    (a, b), (cos, sin) = x.chunk(2, -1), turn
    first, second = out.chunk(2, -1)
    torch.mul(a, cos, out=first)
    torch.mul(b, cos, out=second)
    first.addcmul_(b, sin, value=-1)
    second.addcmul_(a, sin)
    return out


def linear_gelu(layer: nn.Linear, rows: int) -> Callable[[Tensor], Tensor]:
    """`layer` and the tanh form of gelu: in one pass where oneDNN takes both, else one after the other."""
    if not _fuses(layer.weight):
        return lambda x: F.gelu(layer(x), approximate="tanh")
    packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, layer.bias, "gelu", [], "tanh")


def conv_silu(layer: nn.Conv2d, shape: Sequence[int], silu: bool) -> Callable[[Tensor], Tensor]:
    """`layer`, and silu if asked for: on weights packed once for inputs like `shape`, in one pass where oneDNN takes both."""
    if not _fuses(layer.weight):
        return (lambda x: F.silu(layer(x), inplace=True)) if silu else layer
    how = [list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups]
    packed = torch.ops.mkldnn._reorder_convolution_weight(layer.weight.detach(), *how, list(shape))
    after = "swish" if silu else "none"
    return lambda x: torch.ops.mkldnn._convolution_pointwise(x, packed, layer.bias, *how, after, [], "")


def _fuses(weight: Tensor) -> bool:
    """Whether oneDNN's fused calls apply: where it was measured to pay, bfloat16 on a processor."""
    return weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and torch.backends.mkldnn.is_available()


class LeanCodec:
    """Pictures <-> latents. Pictures come as patches [m, 48, H / 4, W / 4] with channels last (`to_patches`)."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.net = net = autoencoder
        self.dtype, self.device = net.mean.dtype, net.mean.device
        self.frames, self.width = net.config.frames, net.fine[0].conv1.in_channels
        small, large = net.config.size // 16, net.config.size // PATCH
        self.encoder = chain(net.encoder[1:], (1, 48 * self.frames, large, large))
        self.coarse = chain(net.coarse, (1, net.config.latent_channels, small, small))
        self.fine = chain(net.fine, (self.frames, self.width, large, large))
        self.poses = (GAIN * net.poses.weight).chunk(self.frames)  # each [3 p, a]
        self.pose = GAIN * net.pose.weight
        # Head and gate look at the same cells: one convolution.
        self.heads = [
            (torch.cat([head.weight, net.gate.weight]), torch.cat([head.bias, net.gate.bias])) for head in net.heads
        ]

    def to_patches(self, pictures: Tensor) -> Tensor:  # [m, 3, H, W] in [-1, 1]
        m, c, h, w = pictures.shape
        cells = pictures.to(self.dtype).view(m, c, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 2, 4, 1, 3, 5)
        return cells.reshape(m, h // PATCH, w // PATCH, -1).permute(0, 3, 1, 2)

    def encode(self, patches: Tensor) -> Tensor:  # [f * frames, 48, H / 4, W / 4] -> [f, c, h, w]
        """Normalised latents, float32."""
        net = self.net
        x = torch.cat([patches[t :: self.frames] for t in range(self.frames)], 1)
        x = self.encoder(x)
        raw = (BOUND * torch.tanh(x / BOUND)).float()
        return (raw - net.mean[:, None, None]) / net.std[:, None, None]

    def decode(
        self,
        latents: Tensor,  # [f, c, h, w] normalised
        xy: Tensor,  # [f * frames, 133, 2] image units
        confidence: Tensor,  # [f * frames, 133]
        patches: Tensor,  # [f * frames, 48, H / 4, W / 4] of the reference bent to these poses
    ) -> Tensor:  # uint8 [f * frames, H, W, 3]
        net, t, a = self.net, self.frames, self.width
        raw = latents.to(self.dtype) * net.std[:, None, None] + net.mean[:, None, None]
        x = self.coarse(raw.contiguous(memory_format=torch.channels_last))  # [f, a, H / 4, W / 4]
        rows, cols = x.shape[-2:]
        felt = self._features(xy, confidence, rows, cols)  # [f * t, cells, 3 p]
        shared = x.permute(0, 2, 3, 1).reshape(len(latents), -1, a)
        for i, weight in enumerate(self.poses):
            shared = shared + felt[i::t] @ weight
        x = (felt @ self.pose).add_(shared.repeat_interleave(t, 0))
        x = x.view(-1, rows, cols, a).permute(0, 3, 1, 2) + net.guide(patches)
        x = self.fine(x)
        painted = torch.empty(len(x), rows, cols, 64, dtype=x.dtype, device=x.device)
        for i, (weight, bias) in enumerate(self.heads):
            painted[i::t] = F.conv2d(x[i::t], weight, bias, padding=1).permute(0, 2, 3, 1)
        colours, gate = painted.split((48, 16), -1)
        colours = colours.unflatten(-1, (3, PATCH, PATCH))
        seen = patches.permute(0, 2, 3, 1).unflatten(-1, (3, PATCH, PATCH))
        share = gate.sigmoid().unflatten(-1, (1, PATCH, PATCH))
        mixed = (colours + share * (seen - colours)).float()
        levels = mixed.mul_(127.5).add_(127.5).round_().clamp_(0, 255).to(torch.uint8)  # [m, rows, cols, 3, 4, 4]
        return levels.permute(0, 1, 4, 2, 5, 3).reshape(len(x), rows * PATCH, cols * PATCH, 3)

    def _features(self, xy: Tensor, confidence: Tensor, rows: int, cols: int) -> Tensor:
        """What `PoseField` feels at every cell of each picture, before its weights: [m, rows * cols, 3 p].

        The field's windows are products of a function of x and one of y, so a cell's features are one multiplication.
        """
        visible = self.net.pose.visible
        points = xy[:, visible] * xy.new_tensor((cols, rows))  # [m, p, 2] in cells
        dx = (points[..., 0] - (torch.arange(cols, device=xy.device)[:, None, None] + 0.5)).movedim(1, 0)  # [m, cols, p]
        dy = (points[..., 1] - (torch.arange(rows, device=xy.device)[:, None, None] + 0.5)).movedim(1, 0)
        across = torch.exp(-dx.square() / (2 * REACH**2)) * confidence[:, None, visible]
        down = torch.exp(-dy.square() / (2 * REACH**2))
        across = torch.stack([across, across * dx, across], -1).flatten(2).to(self.dtype)  # [m, cols, 3 p]
        down = torch.stack([down, down, down * dy], -1).flatten(2).to(self.dtype)
        return (down[:, :, None] * across[:, None]).flatten(1, 2)


def chain(layers: Iterable[nn.Module], shape: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """Convolutions, residual blocks and pixel shuffles in turn, for x [m, c, h, w] with channels last, like `shape`."""
    steps: list[Callable[[Tensor], Tensor]] = []
    m, c, h, w = shape
    for layer in layers:
        if isinstance(layer, ResidualBlock):
            first, second = conv_silu(layer.conv1, (m, c, h, w), True), conv_silu(layer.conv2, (m, c, h, w), False)
            steps.append(partial(_residual, first, second))
        elif isinstance(layer, nn.PixelShuffle):
            s = layer.upscale_factor
            steps.append(partial(_shuffle, s))
            c, h, w = c // s**2, h * s, w * s
        else:
            steps.append(conv_silu(layer, (m, c, h, w), False))
            c, h, w = layer.out_channels, h // layer.stride[0], w // layer.stride[1]

    def run(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return run


def _residual(first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return second(first(F.silu(x))).add_(x)


def _shuffle(s: int, x: Tensor) -> Tensor:
    m, c, h, w = x.shape
    cells = x.permute(0, 2, 3, 1).view(m, h, w, c // s**2, s, s).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(m, h * s, w * s, c // s**2).permute(0, 3, 1, 2)
