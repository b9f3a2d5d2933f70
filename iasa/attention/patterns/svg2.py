"""Sparse VideoGen2 (arXiv 2505.18875): clusters of like queries and keys, and for each the clusters with most mass.

For each layer, head and step, after the rotary embedding, k-means puts queries into Cq clusters with means cq, keys into
Ck clusters K_j with means ck; it starts from the means of the step before.

    S_ij = cq_i . ck_j / sqrt d ;   P_ij = |K_j| exp(S_ij) / sum_j |K_j| exp(S_ij)
    row i keeps the largest P_ij until their sum passes p, and at least a tenth of the clusters

Tokens are then permuted by their clusters, attended in blocks of variable size, and permuted back. p = 1 keeps all. The
first quarter of the steps is dense. The paper's clusters hold 250 to 750 queries and 75 to 150 keys of tens of thousands;
on frames of 256 tokens that leaves one cluster of queries a frame, so the default here is the block of the other rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from iasa.attention.pattern import BlockPattern, Clip
from iasa.attention.patterns import register
from iasa.attention.token_blocks import TokenBlocks, sizes
from iasa.config import Sentence

Means = tuple[Tensor, Tensor]  # of queries [b, nh, Cq, d] and of keys [b, nh, Ck, d]


@register
@dataclass
class SVG2(BlockPattern):
    """Training-free; it chooses anew at every call, so that planning is paid for at every call."""

    name: ClassVar[str] = "svg2"
    top_p: float = 0.9
    least: float = 0.1  # of the clusters, kept whatever their mass
    dense_share: float = 0.25  # of the steps, at the beginning
    per_query_cluster: int = 64  # tokens, on average
    per_key_cluster: int = 64
    iterations: tuple[int, int] = (50, 2)  # of k-means: from nothing, and from the step before
    density: float | None = None  # instead of p: keep the largest until they hold this share of the clip's tokens

    def plan(self, clip: Clip) -> None:
        self._means: dict[Any, Means] = {}

    @classmethod
    def at_density(cls, density: float, clip: Clip) -> SVG2:
        """Without dense steps, which alone are more than a small density allows."""
        return cls(density=density, dense_share=0.0)

    def blocks(self, layer: Any, q: Tensor, k: Tensor) -> TokenBlocks:
        if self.call.step < int(self.dense_share * self.clip.steps):
            return all_together(q, k)
        if self.clip.causal and q.shape[2] > self.clip.grid.tokens_per_frame:
            self.refuse(
                Sentence("mixes frames in its clusters, so a causal clip must come frame by frame"),
                Sentence("sparse_forcing or monarch"),
            )
        key = (layer, self.call.branch)
        before = self._means.get(key, (None, None))
        counts = [
            max(1, round(x.shape[2] / per)) for x, per in ((q, self.per_query_cluster), (k, self.per_key_cluster))
        ]
        (q_label, cq), (k_label, ck) = (
            self._cluster(x, count, means) for x, count, means in zip((q, k), counts, before, strict=True)
        )
        self._means[key] = (cq, ck)
        return TokenBlocks(q_label, k_label, self._choose(cq, ck, sizes(k_label, ck.shape[2])))

    def _choose(self, cq: Tensor, ck: Tensor, members: Tensor) -> Tensor:
        """Clusters of keys for each cluster of queries: bool [b, nh, Cq, Ck]. members int64 [b, nh, Ck]."""
        s = (cq @ ck.mT).float() / math.sqrt(cq.shape[-1])
        p = (s + members[:, :, None].float().log()).softmax(-1)
        worth, order = p.sort(-1, descending=True)
        if self.density is None:
            limit, spent = self.top_p, worth.cumsum(-1) - worth
        else:
            tokens = members[:, :, None].expand(p.shape).gather(-1, order).double()
            # half of a cluster's tokens: nearest to the budget on average, and not always beyond it
            limit, spent = self.density * self.clip.grid.tokens, tokens.cumsum(-1) - tokens / 2
        first = torch.arange(p.shape[-1], device=p.device)
        kept = (spent < limit) | (first == 0)
        if self.density is None:
            kept |= (first < self.least * p.shape[-1]) | (self.top_p >= 1)
        return torch.zeros_like(kept).scatter_(-1, order, kept)

    def _cluster(self, x: Tensor, count: int, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """(cluster of each token int64 [b, nh, tokens], means [b, nh, count, d]) by k-means."""
        spread = torch.linspace(0, x.shape[2] - 1, count, device=x.device).round().long()
        if before is None or before.shape[2] > count:
            means, rounds = x[:, :, spread], self.iterations[0]
        else:  # a roll-out's keys grow by a frame, and so does their number of clusters
            means, rounds = torch.cat([before, x[:, :, spread[before.shape[2] :]]], 2), self.iterations[1]
        label = nearest(x, means)
        for _ in range(rounds):
            means = mean_of(x, label, means)
            known, label = label, nearest(x, means)
            self.computed.flops += 2.0 * x.numel() * count
            if torch.equal(known, label):
                break
        return label, means


def nearest(x: Tensor, means: Tensor) -> Tensor:
    """The mean that is nearest to each token: int64 [b, nh, tokens]."""
    return (x @ means.mT - means.square().sum(-1)[:, :, None] / 2).argmax(-1)


def mean_of(x: Tensor, label: Tensor, before: Tensor) -> Tensor:
    """Means of the clusters' tokens; one that has none stays where it was: [b, nh, clusters, d]."""
    index = label[..., None].expand(x.shape)
    return before.scatter_reduce(2, index, x, "mean", include_self=False)


def all_together(q: Tensor, k: Tensor) -> TokenBlocks:
    """One block of all tokens: dense."""
    q_label, k_label = (torch.zeros(1, 1, x.shape[2], dtype=torch.int64, device=x.device) for x in (q, k))
    return TokenBlocks(q_label, k_label, torch.ones(1, 1, 1, 1, dtype=torch.bool, device=q.device))
