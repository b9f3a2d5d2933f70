"""The networks as a roll-out runs them: the arithmetic of their modules, one latent frame at a time, in fewer passes.

`LeanTransformer` is a denoising step of one frame of `VideoTransformer`; `LeanCodec` is `Autoencoder` between pictures and
latents. Both take their weights from a module in evaluation mode, and differ from it by rounding alone. On a processor it
is not the products that they save but what lies around them: shift and scale ride on the norm, rotations write to where
attention reads, queries and keys of bounded length need no maximum in the softmax, modulations and image keys are made
once, and pictures stay in patches with their channels last. With `int8` the products too: layers and convolutions are
computed in 8 bits (`iasa.models.int8`), attention is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iasa.models.autoencoder import BOUND, Autoencoder, ResidualBlock
from iasa.models.int8 import int8_conv, int8_linear
from iasa.models.pose_embedding import FAR, GAIN, window
from iasa.models.transformer import Block, Condition, VideoTransformer

PATCH = 4  # pixels on the side of the patches in which the codec's pictures come
STRIPE = 8  # rows of cells for which the decoder's pose fields are made at once
POINTS = 8  # their keypoints come in multiples of this: oneDNN compiles a kernel for every size


class Past(NamedTuple):
    """What a frame sees of earlier frames, for all layers and steps."""

    keys: Tensor  # [layers, nh, m, d]
    values: Tensor  # [layers, nh, m, d]
    queries: Tensor  # int64 [k], the frame's tokens that see some of them
    allowed: Tensor | None  # [k, m] 1 where the query sees the key, else 0, in the keys' type; None where all do


class LeanTransformer:
    """One frame at a time, of one clip. `own` are the keys and values of the frame under way, after its last step so far."""

    def __init__(self, model: VideoTransformer, int8: bool = False) -> None:
        self.model = model
        config = model.config
        self.tokens = config.rows * config.cols
        self.dtype, self.device = model.role.dtype, model.role.device
        self.layers = [_LeanBlock(block, config.rows, config.cols, int8) for block in model.blocks]
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
    def __init__(self, block: Block, rows: int, cols: int, int8: bool) -> None:
        self.block, self.grid = block, (rows, cols)
        self.width, self.heads = block.out.in_features, block.heads
        self.modulation = block.modulation
        if int8:
            self.qkv, self.out, self.down = (int8_linear(layer, rows * cols) for layer in (block.qkv, block.out, block.down))
            self.up = int8_linear(block.up, rows * cols, "gelu")
        else:
            self.qkv, self.out, self.down = block.qkv, block.out, block.down
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
        qkv = self.qkv(h).view(n, 3, self.heads, -1)
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
        x = torch.addcmul(x, gate1, self.out(o.transpose(0, 1).reshape(n, self.width)))

        h = F.layer_norm(x, (self.width,), scale2, shift2)
        planes = h.view(1, *self.grid, self.width).permute(0, 3, 1, 2)  # channels last
        h = block.mix(planes).permute(0, 2, 3, 1).reshape(n, self.width) + h
        return torch.addcmul(x, gate2, self.down(self.up(h)))


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


def conv_silu(
    weight: Tensor, bias: Tensor, shape: Sequence[int], stride: Sequence[int], padding: Sequence[int], silu: bool, int8: bool
) -> Callable[[Tensor], Tensor]:
    """A convolution, and silu if asked for, on weights packed once for inputs like `shape`: in one pass where oneDNN has it."""
    if int8:
        return int8_conv(weight, bias, shape, stride, padding, "silu" if silu else "none")
    if not _fuses(weight):
        layer = partial(F.conv2d, weight=weight, bias=bias, stride=stride, padding=padding)
        return (lambda x: F.silu(layer(x), inplace=True)) if silu else layer
    how = [list(padding), list(stride), [1, 1], 1]
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight.detach(), *how, list(shape))
    after = "swish" if silu else "none"
    return lambda x: torch.ops.mkldnn._convolution_pointwise(x, packed, bias, *how, after, [], "")


def conv_onto(
    weight: Tensor, bias: Tensor, shape: Sequence[int], padding: Sequence[int], int8: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """x + a convolution of h, for (h, x); x may be written over. In one pass where oneDNN has it and it pays: not in 8 bits."""
    if int8 or not _fuses(weight):
        layer = conv_silu(weight, bias, shape, (1, 1), padding, False, int8)
        return lambda h, x: layer(h).add_(x)
    how = [list(padding), [1, 1], [1, 1], 1]
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight.detach(), *how, list(shape))
    onto = torch.ops.mkldnn._convolution_pointwise_.binary
    return lambda h, x: onto(x, h, packed, bias, *how, "add", 1.0, None, [], None)


def _fuses(weight: Tensor) -> bool:
    """Whether oneDNN's fused calls apply: where it was measured to pay, bfloat16 on a processor with AVX512."""
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16 or not torch.backends.mkldnn.is_available():
        return False
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


class LeanCodec:
    """Pictures <-> latents. Pictures come as patches [m, 48, H / 4, W / 4] with channels last (`to_patches`).

    With `int8` latent frames are taken one by one: levels span what comes in, and must not depend on its neighbours.
    """

    def __init__(self, autoencoder: Autoencoder, int8: bool = False) -> None:
        self.net = net = autoencoder
        self.int8 = int8
        self.dtype, self.device = net.mean.dtype, net.mean.device
        self.frames, self.width = net.config.frames, net.fine[0].conv1.in_channels
        small, large = net.config.size // 16, net.config.size // PATCH
        self.encoder = chain(net.encoder[1:], (1, 48 * self.frames, large, large), int8)
        self.coarse = chain(net.coarse, (1, net.config.latent_channels, small, small), int8)
        self.guide = chain([net.guide], (self.frames, 48, large, large), int8)
        self.fine = chain(net.fine, (self.frames, self.width, large, large), int8)
        # What each frame's keypoints do to its own picture, and to all pictures of its latent frame: [p, 3, 2 a].
        own, shared = GAIN * net.pose.weight, (GAIN * net.poses.weight).chunk(self.frames)
        self.fields = [torch.cat([own, all_], 1).unflatten(0, (-1, 3)) for all_ in shared]
        # Head and gate look at the same cells: one convolution.
        self.heads = [
            conv_silu(
                torch.cat([head.weight, net.gate.weight]), torch.cat([head.bias, net.gate.bias]),
                (1, self.width, large, large), (1, 1), (1, 1), False, int8,
            )
            for head in net.heads
        ]  # fmt: skip

    def to_patches(self, pictures: Tensor) -> Tensor:  # [m, 3, H, W] in [-1, 1]
        m, c, h, w = pictures.shape
        cells = pictures.to(self.dtype).view(m, c, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 2, 4, 1, 3, 5)
        return cells.reshape(m, h // PATCH, w // PATCH, -1).permute(0, 3, 1, 2)

    def encode(self, patches: Tensor) -> Tensor:  # [f * frames, 48, H / 4, W / 4] -> [f, c, h, w]
        """Normalised latents, float32."""
        net = self.net
        x = torch.cat([patches[t :: self.frames] for t in range(self.frames)], 1)
        x = torch.cat([self.encoder(one) for one in x.split(1)]) if self.int8 else self.encoder(x)
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
        if self.int8 and len(latents) > 1:
            parts = (latents.split(1), xy.split(t), confidence.split(t), patches.split(t))
            return torch.cat([self.decode(*one) for one in zip(*parts, strict=True)])
        raw = latents.to(self.dtype) * net.std[:, None, None] + net.mean[:, None, None]
        x = self.coarse(raw.contiguous(memory_format=torch.channels_last))  # [f, a, H / 4, W / 4]
        rows, cols = x.shape[-2:]
        fields = self._pose_fields(xy, confidence, rows, cols).unflatten(0, (-1, t))  # [f, t, cells, 2 a]
        own, shared = fields.split(a, -1)
        shared = sum(shared.unbind(1), x.permute(0, 2, 3, 1).reshape(len(latents), -1, a))  # faster than a sum over a dimension
        x = (own + shared[:, None]).view(-1, rows, cols, a).permute(0, 3, 1, 2) + self.guide(patches)
        x = self.fine(x)
        painted = torch.empty(len(x), rows, cols, 64, dtype=x.dtype, device=x.device)
        for i, head in enumerate(self.heads):
            painted[i::t] = head(x[i::t]).permute(0, 2, 3, 1)
        colours, gate = painted.split((48, 16), -1)
        colours = colours.unflatten(-1, (3, PATCH, PATCH))
        seen = patches.permute(0, 2, 3, 1).unflatten(-1, (3, PATCH, PATCH))
        share = gate.contiguous().sigmoid_().unflatten(-1, (1, PATCH, PATCH))
        mixed = (colours + share * (seen - colours)).float()
        levels = mixed.mul_(127.5).add_(127.5).round_().clamp_(0, 255).to(torch.uint8)  # [m, rows, cols, 3, 4, 4]
        return levels.permute(0, 1, 4, 2, 5, 3).reshape(len(x), rows * PATCH, cols * PATCH, 3)

    def _pose_fields(self, xy: Tensor, confidence: Tensor, rows: int, cols: int) -> Tensor:
        """`PoseField` of each picture, its own and its share in the pair's: [m, rows * cols, 2 a].

        The field's windows are products of a function of x and one of y, so a cell's features are one multiplication;
        and they are narrow, so that a stripe of rows feels the few keypoints near it.
        """
        visible = self.net.pose.visible
        points = xy[:, visible] * xy.new_tensor((cols, rows))  # [m, p, 2] in cells
        dx = (points[..., 0] - (torch.arange(cols, device=xy.device)[:, None, None] + 0.5)).movedim(1, 0)  # [m, cols, p]
        dy = (points[..., 1] - (torch.arange(rows, device=xy.device)[:, None, None] + 0.5)).movedim(1, 0)
        across = window(dx) * confidence[:, None, visible]
        down = window(dy)
        across = torch.stack([across, across * dx, across], -1).to(self.dtype)  # [m, cols, p, 3]
        down = torch.stack([down, down, down * dy], -1).to(self.dtype)
        out = across.new_empty(len(xy), rows, cols, 2 * self.width)
        for top in range(0, rows, STRIPE):
            stripe = slice(top, top + STRIPE)
            close = ((points[..., 1] - top - STRIPE / 2).abs() < STRIPE / 2 + FAR) & (confidence[:, visible] > 0)
            counts = close.sum(1).tolist()
            first = close.byte().argsort(dim=1, descending=True, stable=True)  # those that are felt
            for m, count in enumerate(counts):
                which = first[m, : count + -count % POINTS]  # the others' windows are zero here
                windows = down[m, stripe].index_select(1, which)[:, None] * across[m].index_select(1, which)
                weight = self.fields[m % self.frames].index_select(0, which)
                torch.matmul(windows.flatten(2), weight.flatten(0, 1), out=out[m, stripe])
        return out.flatten(1, 2)


def chain(layers: Iterable[nn.Module], shape: Sequence[int], int8: bool = False) -> Callable[[Tensor], Tensor]:
    """Convolutions, residual blocks and pixel shuffles in turn, for x [m, c, h, w] with channels last, like `shape`.

    Where a residual block comes first, x may be written over.
    """
    steps: list[Callable[[Tensor], Tensor]] = []
    m, c, h, w = shape

    def pack(layer: nn.Conv2d, silu: bool = False) -> Callable[[Tensor], Tensor]:
        return conv_silu(layer.weight, layer.bias, (m, c, h, w), layer.stride, layer.padding, silu, int8)

    for layer in layers:
        if isinstance(layer, ResidualBlock):
            second = conv_onto(layer.conv2.weight, layer.conv2.bias, (m, c, h, w), layer.conv2.padding, int8)
            steps.append(partial(_residual, pack(layer.conv1, True), second))
        elif isinstance(layer, nn.PixelShuffle):
            s = layer.upscale_factor
            steps.append(partial(_shuffle, s))
            c, h, w = c // s**2, h * s, w * s
        else:
            steps.append(pack(layer))
            c, h, w = layer.out_channels, h // layer.stride[0], w // layer.stride[1]

    def run(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return run


def _residual(first: Callable[[Tensor], Tensor], second: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
    return second(first(F.silu(x)), x)


def _shuffle(s: int, x: Tensor) -> Tensor:
    m, c, h, w = x.shape
    cells = x.permute(0, 2, 3, 1).view(m, h, w, c // s**2, s, s).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(m, h * s, w * s, c // s**2).permute(0, 3, 1, 2)
