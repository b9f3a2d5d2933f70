"""The paper's pattern: K past frames by pose, and of these the tokens of the same part of the body (section 3.2).

    S(tq, tk) = min over rigid tau of || P_tq - tau(P_tk) ||_2 ;   the K past frames with the smallest S are seen
    M(tq, i, tk, j) = 0  if tk = tq, or tk is seen and some region r has i in I_r(tq) and j in I_r(tk);  else -inf

The plan comes from the poses alone (`iasa.masks`), before anything is denoised: no query or key is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from iasa.attention.dispatch import frame_attention, sparse_attention
from iasa.attention.gathered import once, plan_frame_gather
from iasa.attention.pattern import Clip, Pattern, masked_softmax
from iasa.attention.patterns import register
from iasa.attention.token_blocks import TokenBlocks, attend_blocks
from iasa.config import InputError, MaskOptions, Sentence
from iasa.masks.plan import AttentionPlan
from iasa.masks.similarity import top_k_frames
from iasa.masks.visibility import add_window, candidates

MISS = 0.5  # of a density: what the nearest plan may be away


@register
@dataclass
class InputAware(Pattern):
    """The clip's own plan, or another that is to be followed."""

    name: ClassVar[str] = "input_aware"
    from_poses: ClassVar[bool] = True
    follow: AttentionPlan | None = None
    backend: str = "auto"

    def plan(self, clip: Clip) -> None:
        plan = self.follow or clip.plan
        if plan is None:
            self.refuse(
                Sentence("needs the poses of the clip, and there are none"), Sentence("svg2, monarch or sparse_forcing")
            )
        if plan.grid != clip.grid:
            raise InputError(f"{self.name} was given a plan for {plan.grid}, and the clip is {clip.grid}")
        self._plan = self.adapt(plan)
        pooled = self._plan.options.mode == "pooled"
        density = self._plan.block_csr().density() if pooled else self._plan.density()
        own = clip.references * clip.grid.tokens_per_frame  # of the references, which attend to themselves
        self._pairs = density * clip.grid.tokens**2 - own**2

    def adapt(self, plan: AttentionPlan) -> AttentionPlan:
        """The plan that is followed, from the given one."""
        return plan

    def attend(self, layer: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        plan, n = self._plan, self._plan.grid.tokens_per_frame
        if q.shape[2] == n < k.shape[2]:  # a frame of a roll-out
            return self._attend_frame(k.shape[2] // n - 1, q, k, v)
        skipped = k.shape[2] - q.shape[2]  # references, of which the result is not asked for
        self.count(self._pairs, q)
        whole = torch.cat([q.new_zeros(*q.shape[:2], skipped, q.shape[3]), q], 2)
        return sparse_attention(whole, k, v, plan, self.backend)[:, :, skipped:]

    def _attend_frame(self, frame: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        plan, n = self._plan, self._plan.grid.tokens_per_frame
        if plan.options.mode == "pooled":
            blocks = once(plan, ("frame blocks", frame, q.device), lambda: frame_blocks(plan, frame, q.device))
            self.count(blocks.pairs(), q)
            return attend_blocks(q, k, v, blocks)
        positions, gather = once(plan, ("frame", frame), lambda: plan_frame_gather(plan, frame))
        own = [x[:, :, frame * n :] for x in (k, v)]
        if plan.has_sink(frame):
            own = [torch.cat([x, sink[:, :, :n]], 2) for x, sink in zip(own, (k, v), strict=True)]
        self.count(gather.pairs, q)
        return frame_attention(q, own[0], own[1], k[:, :, positions], v[:, :, positions], gather)

    def map(self, layer: Any, q: Tensor, k: Tensor) -> Tensor:
        first = k.shape[2] - q.shape[2]
        return masked_softmax(q, k, self._plan.dense().to(q.device)[first : k.shape[2], : k.shape[2]])

    @classmethod
    def at_density(cls, density: float, clip: Clip) -> InputAware:
        """The plan whose kept blocks, filled, are nearest: K, the window and the reference are what can be turned."""
        if clip.plan is None:
            return cls()  # whose `begin` says what is missing
        found = []
        for sink in (True, False):
            for top_k in range(clip.grid.frames):
                options = replace(clip.plan.options, top_k=top_k, window=0, sink=sink, mode="pooled")
                found.append(change_plan(clip.plan, options))
        shares = [plan.block_csr().density() for plan in found]
        best = min(range(len(found)), key=lambda i: abs(shares[i] - density))
        if abs(shares[best] - density) > MISS * density:
            raise InputError(
                f"{cls.name} keeps {min(shares):.3f} to {max(shares):.3f} of the blocks of {clip.grid.frames} frames, for each "
                f"sees itself and no more than its regions; {density:g} is asked for, which svg2 could serve"
            )
        return cls(follow=found[best])


def change_plan(plan: AttentionPlan, options: MaskOptions) -> AttentionPlan:
    """The same poses and regions under other options. Raises InputError where the plan has lost its distances."""
    if plan.distance is None:
        raise InputError(f"a plan of {plan.grid.frames} frames keeps no distances, so K cannot be changed")
    frames = plan.grid.frames
    seen = candidates(slice(0, frames), frames, options)
    table = add_window(top_k_frames(plan.distance.double(), options.top_k, seen), options)
    return AttentionPlan(plan.grid, table, plan.region_bits, plan.distance, options)


def frame_blocks(plan: AttentionPlan, frame: int, device: torch.device) -> TokenBlocks:
    """The kept blocks of one frame's queries among the keys of all frames up to it."""
    csr, n = plan.block_csr(), plan.grid.tokens_per_frame
    label = torch.empty(plan.grid.tokens, dtype=torch.int64)
    label[plan.permutation()] = torch.repeat_interleave(torch.arange(len(csr.size)), csr.size)
    kept = torch.zeros(1, 1, len(csr.size), len(csr.size), dtype=torch.bool)
    kept[:, :, csr.rows, csr.columns] = True
    label, kept = label[None, None].to(device), kept.to(device)
    return TokenBlocks(label[:, :, frame * n : (frame + 1) * n], label[:, :, : (frame + 1) * n], kept)
