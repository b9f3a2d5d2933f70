"""The networks as a roll-out runs them: the arithmetic of their modules, one latent frame at a time, in fewer passes.

`FastTransformer` is a denoising step of one frame of `VideoTransformer`; `FastCodec` is `Autoencoder` between pictures and
latents. Both take their weights from a module in evaluation mode, and differ from it by rounding alone. On a processor it
is not the products that they save but what lies around them: shift and scale ride on the norm, rotations write to where
attention reads, queries and keys of bounded length need no maximum in the softmax, modulations and image keys are made
once, and pictures stay in patches with their channels last. With `int8` the products too: layers and convolutions are
computed in 8 bits (`iasa.inference.int8`), attention is not.

Where only some tokens of a frame are computed (`iasa.masks.computed`), with a rim, no others have queries, keys or values: the
frame sees these and all of the reference, and its memory for later frames holds them alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.inference.fused import linear_gelu
from iasa.inference.int8 import int8_linear
from iasa.masks.computed import ComputedTokens
from iasa.models.rotary import Rope, rotate_into
from iasa.models.transformer import Block, Condition, VideoTransformer


class Past(NamedTuple):
    """What a frame sees of earlier frames, for all layers and steps."""

    keys: Tensor  # [layers, nh, m, d]
    values: Tensor  # [layers, nh, m, d]
    queries: Tensor | None  # int64 [k], the frame's tokens that see some of them; None: all are asked
    allowed: Tensor | None  # [k, m] 1 where the query sees the key, else 0, in the keys' type; None where all do


class FastTransformer:
    """One frame at a time, of one clip. `own` are the keys and values of the frame under way, after its last step so far."""

    def __init__(self, model: VideoTransformer, int8: bool = False) -> None:
        self.model = model
        config = model.config
        self.tokens = config.rows * config.cols
        self.dtype, self.device = model.token_type.dtype, model.token_type.device
        blocks = [block for block in model.blocks if isinstance(block, Block)]
        self.layers = [_FastBlock(block, config.rows, config.cols, int8) for block in blocks]
        self.rope = model.cos.to(self.dtype), model.sin.to(self.dtype)
        # Keys and values [2, layers, nh, 2 n, d] of the reference's tokens, and of the frame's own, which every step writes.
        shape = (2, len(self.layers), config.heads, 2 * self.tokens, config.width // config.heads)
        self._near = torch.zeros(shape, dtype=self.dtype, device=self.device)
        self.image: list[tuple[Tensor, Tensor]] = []
        self._noise: dict[tuple[float, ...], Tensor] = {}  # what the network makes of levels, by these
        self.count = self.tokens  # of the frame under way that are computed

    @property
    def own(self) -> Tensor:
        """Keys and values [2, layers, nh, k, d] of its computed tokens, a view."""
        return self._near[..., self.tokens : self.tokens + self.count, :]

    def read_reference(self, condition: Condition) -> None:
        """Make the image's keys and the reference's: once a clip, from frame 0 of the condition."""
        self.image = [layer.image_keys(condition.image_tokens[0]) for layer in self.layers]
        modulation = self.modulations([0.0], condition.pose_summary[0, :1])[:, 0, 0]
        self.step(
            condition.base[0, 0],
            condition.base[0, 0],
            condition.pose_tokens[0, 0],
            modulation,
            sink=False,
            token_type=0,
        )
        self._near[..., : self.tokens, :] = self.own

    def modulations(self, levels: list[float], pose_summary: Tensor) -> Tensor:
        """Shifts, scales and gates of noise levels [s] and frames [f, width]: [layers, s, f, 6, width]."""
        key = tuple(levels)
        if key not in self._noise:
            self._noise[key] = self.model.noise(torch.tensor(levels, device=self.device))
        noise = self._noise[key]
        shared = self.model.modulate(F.silu(noise[:, None] + pose_summary)).unflatten(-1, (6, -1))
        out = torch.stack([(shared + layer.modulation).to(self.dtype) for layer in self.layers])
        out[..., 1::3, :] += 1  # both scales, as weights of a norm
        return out

    def step(
        self,
        latents: Tensor,  # [c, h, w] noisy
        base: Tensor,  # [c, h, w]
        pose_tokens: Tensor,  # [n, width]
        modulation: Tensor,  # [layers, 6, width] of this frame and level
        past: Past | None = None,
        sink: bool = True,  # whether the frame sees the reference
        token_type: int = 1,  # 0: it is the reference
        computed: ComputedTokens | None = None,  # None: all tokens
    ) -> Tensor:  # [c, h, w] float32
        """The clean latents; of tokens that are not computed the base."""
        model, rope = self.model, self.rope
        which = None if computed is None else computed.context.to(self.device)
        x = torch.cat([latents, base]).flatten(1).T  # [n, 2 c]
        if which is not None:
            x, pose_tokens = x[which], pose_tokens[which]
            rope = rope[0][which], rope[1][which]
        x = model.patch_in(x.to(self.dtype)).add_(pose_tokens).add_(model.token_type[token_type])  # [k, width]
        self.count = len(x)
        near = self._near[..., : self.tokens + self.count, :] if sink else self.own
        for i, layer in enumerate(self.layers):
            seen = past and Past(past.keys[i], past.values[i], past.queries, past.allowed)
            keys, values = near[:, i]
            x = layer.step(x, modulation[i], keys, values, seen, self.image[i], rope, which)
        change = model.patch_out(model.norm(x)).float().T  # [c, k]
        if which is None:
            return base + change.unflatten(1, base.shape[1:])
        return base.flatten(1).index_add(1, which, change).view_as(base)

    def multiplications(self, computed: ComputedTokens | None = None, sink: bool = True) -> int:
        """Of one step in all layers, but for what it sees of earlier frames, which the plan's density counts."""
        model, width = self.model, self.layers[0].width
        tokens = self.tokens if computed is None else len(computed.context)
        seen = tokens + sink * self.tokens
        linear = 0
        for layer in self.layers:
            block = layer.block
            linear += sum(part.weight.numel() for part in (block.qkv, block.out, block.up, block.down))
            seen_image = self.image[0][1].shape[1] if self.image else 0
            linear += 2 * width * (seen + seen_image)
        return tokens * (linear + model.patch_in.weight.numel() + model.patch_out.weight.numel())


class _FastBlock:
    def __init__(self, block: Block, rows: int, cols: int, int8: bool) -> None:
        self.block, self.grid = block, (rows, cols)
        self.width, self.heads = block.out.in_features, block.heads
        self.modulation = block.modulation
        if int8:
            self.qkv, self.out, self.down = (
                int8_linear(layer, rows * cols) for layer in (block.qkv, block.out, block.down)
            )
            self.up = int8_linear(block.up, rows * cols, "gelu")
        else:
            self.qkv, self.out, self.down = block.qkv, block.out, block.down
            self.up = linear_gelu(block.up, rows * cols)

    def image_keys(self, tokens: Tensor) -> tuple[Tensor, Tensor]:  # [m, width] -> [nh, d, m], [nh, m, d]
        k, v = self.block.image_kv(tokens).unflatten(-1, (2, self.heads, -1)).unbind(1)
        return F.rms_norm(k, k.shape[-1:]).permute(1, 2, 0).contiguous(), v.transpose(0, 1).contiguous()

    def step(
        self,
        x: Tensor,  # [k, width]
        modulation: Tensor,  # [6, width]
        keys: Tensor,  # [nh, k or n + k, d], the last k are the frame's own and written here
        values: Tensor,
        past: Past | None,  # of this layer
        image: tuple[Tensor, Tensor],
        rope: Rope,
        which: Tensor | None,  # int64 [k], which of the frame's tokens they are; None: all
    ) -> Tensor:
        n = len(x)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.unbind(0)
        h = F.layer_norm(x, (self.width,), scale1, shift1)
        qkv = self.qkv(h).view(n, 3, self.heads, -1)
        q, k = F.rms_norm(qkv[:, :2], qkv.shape[-1:]).permute(1, 2, 0, 3).unbind(0)  # [nh, k, d]
        q = rotate_into(torch.empty_like(keys[:, -n:]), q, rope).mul_(q.shape[-1] ** -0.5)
        rotate_into(keys[:, -n:], k, rope)
        values[:, -n:] = qkv[:, 2].transpose(0, 1)

        weights = torch.bmm(q, keys.transpose(1, 2)).exp_()  # norms of 1 and sqrt(d): a logit is below 10
        total, o = weights.sum(-1, keepdim=True), torch.bmm(weights, values)
        if past is not None:
            asking = q if past.queries is None else q.index_select(1, past.queries)
            weights = torch.bmm(asking, past.keys.transpose(1, 2)).exp_()
            if past.allowed is not None:
                weights.mul_(past.allowed)
            if past.queries is None:
                total.add_(weights.sum(-1, keepdim=True))
                o.baddbmm_(weights, past.values)
            else:
                total.index_add_(1, past.queries, weights.sum(-1, keepdim=True))
                o.index_add_(1, past.queries, torch.bmm(weights, past.values))
        o.div_(total)
        weights = torch.bmm(q, image[0]).exp_()
        o.add_(torch.bmm(weights, image[1]).div_(weights.sum(-1, keepdim=True)))
        x = torch.addcmul(x, gate1, self.out(o.transpose(0, 1).reshape(n, self.width)))

        h = F.layer_norm(x, (self.width,), scale2, shift2)
        h = self._mix(h, which) + h
        return torch.addcmul(x, gate2, self.down(self.up(h)))

    def _mix(self, h: Tensor, which: Tensor | None) -> Tensor:  # [k, width]
        """Each token's neighbours; those that are not computed are zero, as beyond the picture's edge."""
        rows, cols = self.grid
        whole = h if which is None else h.new_zeros(rows * cols, self.width).index_copy_(0, which, h)
        planes = whole.view(1, rows, cols, self.width).permute(0, 3, 1, 2)  # channels last
        mixed = self.block.mix(planes).permute(0, 2, 3, 1).reshape(rows * cols, self.width)
        return mixed if which is None else mixed.index_select(0, which)
