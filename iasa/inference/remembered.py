"""A clip's clean frames as keys, read once: any choice of past frames can then be tried without reading them again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from iasa.attention.frame_patterns import attend_own, past_pairs
from iasa.masks import AttentionPlan
from iasa.models.transformer import Condition, VideoTransformer


class RememberedFrames:
    """One clip's frames in the memory of a network that was trained by `make_teacher_forced`."""

    @torch.no_grad()
    def __init__(self, model: VideoTransformer, condition: Condition, clean: Tensor) -> None:  # clean [1, f, c, h, w]
        self.model, self.condition = model, condition
        self.keys: dict[int, tuple[Tensor, Tensor]] = {}  # by layer, [1, nh, (1 + f) n, d], the reference first

        def read(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self.keys[layer] = (k.flatten(2, 3), v.flatten(2, 3))
            return attend_own(layer, q, k, v)

        latents = torch.cat([condition.base[:, :1], clean], 1)
        model(latents, latents.new_zeros(latents.shape[:2]), condition, read)

    @torch.no_grad()
    def predict(self, noisy: Tensor, level: Tensor, targets: Sequence[int], plan: AttentionPlan) -> Tensor:
        """x0 [1, q, c, h, w] of frames `targets` (from 1 on), each of which sees the frames that the plan chose for it."""
        rows = past_pairs(plan)[[t - 1 for t in targets]][:, None].to(noisy.device)  # [q, 1, n, (2 + f) n]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            own = [rearrange(x, "b nh f n d -> (b f) nh n d") for x in (q, k, v)]
            keys, values = (
                torch.cat([mine, past.expand(len(mine), -1, -1, -1)], 2)
                for mine, past in zip(own[1:], self.keys[layer], strict=True)
            )
            seen = scaled_dot_product_attention(own[0], keys, values, rows)
            return rearrange(seen, "(b f) nh n d -> b nh f n d", b=len(q))

        condition = self.condition.frames(list(targets))
        return self.model(noisy, level, condition, attend, first_is_reference=False)
