"""The autoencoder as a roll-out runs it: the arithmetic of its modules in fewer passes (see `fast_transformer`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iasa.inference.fused import conv_onto, conv_silu
from iasa.inference.strips import STRIPE
from iasa.models.autoencoder import BOUND, Autoencoder, ResidualBlock
from iasa.models.pose_embedding import FAR, GAIN, window

PATCH = 4  # pixels on the side of the patches in which the codec's pictures come
POINTS = 8  # their keypoints come in multiples of this: oneDNN compiles a kernel for every size


class FastCodec:
    """Pictures <-> latents. Pictures come as patches [m, 48, H / 4, W / 4] with channels last (`to_patches`).

    With `int8` latent frames are taken one by one: levels span what comes in, and must not depend on its neighbours.
    """

    def __init__(self, autoencoder: Autoencoder, int8: bool = False) -> None:
        self.net = net = autoencoder
        self.int8 = int8
        self.dtype, self.device = net.mean.dtype, net.mean.device
        # keypoints that a stripe of the fields does not feel; a GPU would have to wait
        self.skips = self.device.type == "cpu"
        self.frames, self.width = net.config.frames, net.guide.out_channels
        small, large = net.config.size // 16, net.config.size // PATCH
        self.encoder = chain(list(net.encoder)[1:], (1, 48 * self.frames, large, large), int8)
        self.coarse = chain(net.coarse, (1, net.config.latent_channels, small, small), int8)
        self.guide = chain([net.guide], (self.frames, 48, large, large), int8)
        self.fine = chain(net.fine, (self.frames, self.width, large, large), int8)
        # What each frame's keypoints do to its own picture, and to all pictures of its latent frame: [p, 3, 2 a].
        own, shared = GAIN * net.pose.weight, (GAIN * net.poses.weight).chunk(self.frames)
        self.fields = [torch.cat([own, all_], 1).unflatten(0, (-1, 3)) for all_ in shared]
        self.heads = [chain([head], (1, self.width, large, large), int8) for head in stack_heads(net)]

    def to_patches(self, pictures: Tensor) -> Tensor:  # [m, 3, H, W] in [-1, 1]
        return to_cells(pictures.to(self.dtype))

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
        patches: Tensor,  # [f * frames, 48, H / 4, W / 4] of the reference warped to these poses
    ) -> Tensor:  # uint8 [f * frames, H, W, 3]
        net, t, a = self.net, self.frames, self.width
        if self.int8 and len(latents) > 1:
            parts = (latents.split(1), xy.split(t), confidence.split(t), patches.split(t))
            return torch.cat([self.decode(*one) for one in zip(*parts, strict=True)])
        raw = latents.to(self.dtype) * net.std[:, None, None] + net.mean[:, None, None]
        x = self.coarse(raw.contiguous(memory_format=torch.channels_last))  # [f, a, H / 4, W / 4]
        rows, cols = x.shape[-2:]
        fields = self.pose_fields(xy, confidence, rows, cols).unflatten(0, (-1, t))  # [f, t, cells, 2 a]
        own, shared = fields.split(a, -1)
        shared = sum(
            shared.unbind(1), x.permute(0, 2, 3, 1).reshape(len(latents), -1, a)
        )  # faster than a sum over a dimension
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

    def pose_fields(
        self,
        xy: Tensor,
        confidence: Tensor,
        rows: int,
        cols: int,
        stripes: Sequence[tuple[int, Tensor]] | None = None,  # first row and columns of those that are wanted
    ) -> Tensor:
        """`PoseField` of each picture, its own and its share in the pair's: [m, rows * cols, 2 a], or stripe after stripe.

        The field's windows are products of a function of x and one of y, so a cell's features are one multiplication;
        and they are narrow, so that a stripe of rows feels the few keypoints near it.
        """
        visible = self.net.pose.visible
        x, y = xy[:, visible, 0] * cols, xy[:, visible, 1] * rows  # [m, p] in cells
        dx = (x - (torch.arange(cols, device=xy.device)[:, None, None] + 0.5)).movedim(1, 0)  # [m, cols, p]
        dy = (y - (torch.arange(rows, device=xy.device)[:, None, None] + 0.5)).movedim(1, 0)
        across = window(dx) * confidence[:, None, visible]
        down = window(dy)
        across = torch.stack([across, across * dx, across], -1).to(self.dtype)  # [m, cols, p, 3]
        down = torch.stack([down, down, down * dy], -1).to(self.dtype)
        if not self.skips:
            return self._fields_of_all(down, across, stripes)
        whole = torch.arange(cols, device=xy.device)
        if stripes is None:
            stripes = [(top, whole) for top in range(0, rows, STRIPE)]
        cells = [min(STRIPE, rows - top) * len(columns) for top, columns in stripes]
        out, begin = across.new_empty(len(xy), sum(cells), 2 * self.width), 0
        for (top, columns), count in zip(stripes, cells, strict=True):
            some = across if columns is whole else across.index_select(1, columns.to(xy.device))
            stripe, own = slice(top, top + STRIPE), slice(begin, begin + count)
            close = ((y - top - STRIPE / 2).abs() < STRIPE / 2 + FAR) & (confidence[:, visible] > 0)
            felt = close.sum(1).tolist()
            first = close.byte().argsort(dim=1, descending=True, stable=True)  # those that are felt
            for m, points_felt in enumerate(felt):
                which = first[m, : points_felt + -points_felt % POINTS]  # the others' windows are zero here
                windows = down[m, stripe].index_select(1, which)[:, None] * some[m].index_select(1, which)
                weight = self.fields[m % self.frames].index_select(0, which)
                torch.matmul(windows.flatten(0, 1).flatten(1), weight.flatten(0, 1), out=out[m, own])
            begin += count
        return out

    def _fields_of_all(
        self,
        down: Tensor,  # [m, rows, p, 3]
        across: Tensor,  # [m, cols, p, 3]
        stripes: Sequence[tuple[int, Tensor]] | None,
    ) -> Tensor:  # as `pose_fields`
        """The sums over all keypoints, none skipped: shapes depend on no pose."""
        t, (m, rows), cols = self.frames, down.shape[:2], across.shape[1]
        windows = (down[:, :, None] * across[:, None]).view(-1, t, rows * cols, down.shape[2] * 3)
        fields = (windows @ torch.stack(self.fields).flatten(1, 2)).view(m, rows, cols, -1)
        if stripes is None:
            return fields.flatten(1, 2)
        parts = [fields[:, top : top + STRIPE, columns.to(fields.device)] for top, columns in stripes]
        return torch.cat([part.flatten(1, 2) for part in parts], 1)


def to_cells(pictures: Tensor) -> Tensor:  # [m, 3, H, W] -> [m, 48, H / 4, W / 4], channels last
    m, c, h, w = pictures.shape
    cells = pictures.view(m, c, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(m, h // PATCH, w // PATCH, -1).permute(0, 3, 1, 2)


def stack_heads(net: Autoencoder) -> list[nn.Conv2d]:
    """Each frame's head with the gate, which looks at the same cells: one convolution."""
    gate, gate_bias, padding = layer_parts(net.gate)
    heads = []
    for head in net.heads:
        weight, bias, _ = layer_parts(head)
        both = nn.Conv2d(weight.shape[1], len(weight) + len(gate), 3, padding=padding)
        both.weight, both.bias = (
            nn.Parameter(torch.cat(pair).detach(), requires_grad=False) for pair in ((weight, gate), (bias, gate_bias))
        )
        heads.append(both)
    return heads


def chain(layers: Iterable[nn.Module], shape: Sequence[int], int8: bool = False) -> Callable[[Tensor], Tensor]:
    """Convolutions, residual blocks and pixel shuffles in turn, for x [m, c, h, w] with channels last, like `shape`.

    Where a residual block comes first, x may be written over.
    """
    steps: list[Callable[[Tensor], Tensor]] = []
    m, c, h, w = shape

    def pack(layer: nn.Conv2d, silu: bool = False) -> Callable[[Tensor], Tensor]:
        weight, bias, padding = layer_parts(layer)
        return conv_silu(weight, bias, (m, c, h, w), layer.stride, padding, silu, int8)

    for layer in layers:
        if isinstance(layer, ResidualBlock):
            weight, bias, padding = layer_parts(layer.conv2)
            second = conv_onto(weight, bias, (m, c, h, w), padding, int8)
            steps.append(partial(_residual, pack(layer.conv1, True), second))
        elif isinstance(layer, nn.PixelShuffle):
            s = layer.upscale_factor
            steps.append(partial(shuffle, s))
            c, h, w = c // s**2, h * s, w * s
        elif isinstance(layer, nn.Conv2d):
            steps.append(pack(layer))
            c, h, w = layer.out_channels, h // layer.stride[0], w // layer.stride[1]
        else:
            raise TypeError(f"a chain holds no {type(layer).__name__}")

    def run(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return run


def layer_parts(layer: nn.Module) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Weight, bias and padding."""
    if not isinstance(layer, nn.Conv2d) or layer.bias is None or isinstance(layer.padding, str):
        raise TypeError(f"{layer} needs a bias, and its padding in numbers")
    down, right = layer.padding
    return layer.weight, layer.bias, (down, right)


def _residual(first: Callable[[Tensor], Tensor], second: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
    return second(first(F.silu(x)), x)


def shuffle(s: int, x: Tensor) -> Tensor:
    m, c, h, w = x.shape
    cells = x.permute(0, 2, 3, 1).view(m, h, w, c // s**2, s, s).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(m, h * s, w * s, c // s**2).permute(0, 3, 1, 2)
