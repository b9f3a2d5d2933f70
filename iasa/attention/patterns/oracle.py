"""Control: the tiles that hold the most attention mass, found by computing all of it. No choice of tiles keeps more.

A = softmax(Q K^T / sqrt d);  mass[a, b] = sum over i in block a, j in block b of A[i, j];  keep the largest of each row

Other blocks than tiles of the picture may: clusters of like tokens do (`svg2`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from iasa.attention.frame_tiles import RankedTiles
from iasa.attention.patterns import register
from iasa.attention.token_blocks import sizes


@register
@dataclass
class Oracle(RankedTiles):
    """A bound for tiles and no method: planning costs more than dense attention."""

    name: ClassVar[str] = "oracle"

    def score(self, q: Tensor, k: Tensor, q_label: Tensor, k_label: Tensor) -> Tensor:
        seen = self.visible(q, k)
        rows = torch.zeros(*q.shape[:2], *seen.shape, device=q.device)
        columns = k_label.expand(*k.shape[:3])
        for block in range(len(seen)):
            mine = (q_label[0, 0] == block).nonzero()[:, 0]
            logits = (q[:, :, mine] @ k.mT).float() / math.sqrt(q.shape[-1])
            mass = logits.masked_fill(~seen[block][k_label[0, 0]], -torch.inf).softmax(-1).sum(2)
            rows[:, :, block].scatter_add_(-1, columns, mass)
        pairs = float(sizes(k_label[0, 0], seen.shape[1]).sum()) * q.shape[2]
        self.computed.flops += 2.0 * q.shape[-1] * q.shape[0] * q.shape[1] * pairs
        return rows
