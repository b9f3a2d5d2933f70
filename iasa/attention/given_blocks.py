"""A pattern that follows a block mask made elsewhere; the gallery's own choose theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from iasa.attention.pattern import BlockPattern, Clip
from iasa.attention.token_blocks import TokenBlocks
from iasa.masks.foreign_blocks import ForeignBlocks


@dataclass
class GivenBlocks(BlockPattern):
    """Later frames are left out where the clip is causal, whatever the mask says of them; a token without a key gets zeros."""

    name: ClassVar[str] = "given_blocks"
    given: ForeignBlocks

    def plan(self, clip: Clip) -> None:
        self.given.check_grid(clip.grid)
        self._label = self.given.label

    def blocks(self, layer: Any, q: Tensor, k: Tensor) -> TokenBlocks:
        keys, queries, n = k.shape[2], q.shape[2], self.clip.grid.tokens_per_frame
        label, kept = self._label.to(q.device), self.given.kept.to(q.device)
        if self.clip.causal and queries > n:  # the clip at once: blocks that hold tokens of several frames come apart
            frame = torch.arange(self.clip.grid.tokens, device=q.device) // n
            parts, label = (frame * len(kept) + label).unique(return_inverse=True)
            block, of_frame = parts % len(kept), parts // len(kept)
            kept = kept[block[:, None], block] & (of_frame <= of_frame[:, None])
        return TokenBlocks(label[None, None, keys - queries : keys], label[None, None, :keys], kept[None, None])
