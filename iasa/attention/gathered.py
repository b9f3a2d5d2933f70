"""Attention by gathered keys: queries that see nearly the same keys form a group, and no pair counts twice.

Each group's keys are gathered once and go through product, softmax, product. Background queries skip the past. Where
the processor multiplies in bf16 this is faster, pair for pair, than torch's CPU attention, which gains nothing from
bf16. The form runs on any device and is differentiable once; `iasa.attention.dispatch` is its way in. Own frame and
reference by torch's dense call, the rest gathered and merged by log-sum-exps, was tried and left: 110 ms instead of 85 at
2,304 tokens, 1,010 instead of 956 at 12,800 (float32, 5 heads of 64). So were, in bf16 at 12,800 tokens, one buffer for the
keys that a frame's groups share (191 instead of 146 ms), tokens gathered for all heads at once (163 instead of 140), and weights
divided by their sum after the product (160).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iasa.config import InputError
from iasa.device import is_bf16_faster
from iasa.masks.blocks import SIGNATURES
from iasa.masks.plan import AttentionPlan

_CALL_PAIRS = 10_000  # what one more group costs, in query-key pairs of one head: measured with 5 heads, bf16


@dataclass(frozen=True)
class QueryGroup:
    """Queries start..stop of the gather's order, the keys they meet, and pairs that are not allowed.

    The keys are those of the spans (whole frames: no index needed) and then those listed one by one.
    """

    start: int
    stop: int
    spans: tuple[tuple[int, int], ...] = ()  # (first, end) in the key sequence
    keys: Tensor | None = None  # int64 [m], positions in the key sequence
    blocked: Tensor | None = None  # bool [stop - start, t] over the last t keys, True where not allowed

    @property
    def pairs(self) -> int:
        listed = 0 if self.keys is None else len(self.keys)
        return (self.stop - self.start) * (listed + sum(end - first for first, end in self.spans))


@dataclass(frozen=True, eq=False)
class GatherPlan:
    """How the queries are grouped: `order` sorts them, `groups` cover the sorted queries in turn."""

    order: Tensor | None  # int64 [queries]; None where they stay in order and no group lists keys
    groups: tuple[QueryGroup, ...]
    keys: int  # length of the key sequence
    _bias: dict = field(default_factory=dict, repr=False)

    @cached_property
    def inverse(self) -> Tensor | None:
        return None if self.order is None else torch.argsort(self.order)

    @property
    def queries(self) -> int:
        return self.groups[-1].stop

    @cached_property
    def pairs(self) -> int:
        """Query-key pairs that are computed, for one head; at least the allowed ones."""
        return sum(group.pairs for group in self.groups)

    def to(self, device: torch.device) -> GatherPlan:
        if self.order is None or self.order.device == device:
            return self
        groups = tuple(replace(g, keys=_to(g.keys, device), blocked=_to(g.blocked, device)) for g in self.groups)
        return GatherPlan(self.order.to(device), groups, self.keys)

    def bias(self, number: int, dtype: torch.dtype) -> Tensor | None:
        """What is added to the logits of group `number`: 0 or -inf, [queries, t]; None if all are allowed."""
        blocked = self.groups[number].blocked
        if blocked is None:
            return None
        key = (number, dtype)
        if key not in self._bias:
            with torch.inference_mode(False):  # as in `once`
                self._bias[key] = torch.zeros_like(blocked, dtype=dtype).masked_fill_(blocked, -torch.inf)
        return self._bias[key]


def frame_gather_plan(
    q_bits: Tensor,  # uint8 [n], region bits of the frame's tokens
    k_bits: Tensor,  # uint8 [m], region bits of the past keys
    own_keys: int,  # keys in front of the past ones that every query sees
) -> GatherPlan:
    """Groups for `frame_attention`: query i sees the own keys, and past key j iff q_bits[i] & k_bits[j]."""
    past = np.arange(own_keys, own_keys + len(k_bits))
    order, groups = _frame_groups(_numpy(q_bits), _numpy(k_bits), ((0, own_keys),), past, 0)
    return GatherPlan(torch.from_numpy(order), tuple(groups), own_keys + len(k_bits))


def plan_frame_gather(plan: AttentionPlan, frame: int) -> tuple[Tensor, GatherPlan]:
    """What a roll-out needs for one frame of a plan: (positions of the past keys int64 [m], groups).

    The positions count tokens of the whole sequence. The own keys are the frame's n tokens, and then the
    sink's n tokens where the frame has a sink (`plan.has_sink`).
    """
    n = plan.grid.tokens_per_frame
    own = 2 * n if plan.has_sink(frame) else n
    if plan.whole[frame] != ((frame, 0) if plan.has_sink(frame) else (frame,)) or not plan.options.causal:
        raise InputError("a roll-out frame by frame takes a causal plan of single frames with at most one reference")
    positions = plan.past_tokens(frame)
    return positions, frame_gather_plan(plan.region_bits[frame], plan.region_bits.flatten()[positions], own)


def plan_chunk_gather(plan: AttentionPlan, frames: range) -> tuple[list[int], Tensor, GatherPlan]:
    """What a roll-out needs for a whole chunk of a plan: (frames seen whole, positions of past keys, groups).

    The keys are those of the chunk's own frames in order, then all tokens of the other frames seen whole, then those
    at the positions (int64 [m], in the whole sequence). Some positions are meant for one frame of the chunk alone.
    """
    n = plan.grid.tokens_per_frame
    whole = [t for t in plan.whole[frames[0]] if t not in frames]
    past = [_numpy(plan.past_tokens(t)) for t in frames]
    positions = np.unique(np.concatenate(past))
    own = (len(frames) + len(whole)) * n
    bits = _numpy(plan.region_bits)
    orders, groups = [], []
    for i, (t, seen) in enumerate(zip(frames, past, strict=True)):
        keys = own + np.searchsorted(positions, seen)
        order, frame_groups = _frame_groups(bits[t], bits.reshape(-1)[seen], ((0, own),), keys, i * n)
        orders.append(order + i * n)
        groups += frame_groups
    order = torch.from_numpy(np.concatenate(orders))
    return whole, torch.from_numpy(positions), GatherPlan(order, tuple(groups), own + len(positions))


def once(plan: AttentionPlan, key: Hashable, make: Callable[[], Any]) -> Any:
    """What `make` returns, made at the first call for this plan and key and kept as long as the plan."""
    if key not in plan.made:
        with torch.inference_mode(False):  # what inference makes first, training may use later
            plan.made[key] = make()
    return plan.made[key]


def plan_gather(plan: AttentionPlan, device: torch.device | str = "cpu") -> GatherPlan:
    """The plan's groups for `gathered_attention`, made once for each plan and device."""
    device = torch.device(device)
    make = _pooled_gather if plan.options.mode == "pooled" else _exact_gather
    return once(plan, ("gather", device), lambda: make(plan).to(device))


def _exact_gather(plan: AttentionPlan) -> GatherPlan:
    n = plan.grid.tokens_per_frame
    bits = _numpy(plan.region_bits)
    orders, groups = [], []
    for t in range(plan.grid.frames):
        past = _numpy(plan.past_tokens(t))
        spans = tuple((first * n, end * n) for first, end in plan.whole_spans[t])
        order, frame_groups = _frame_groups(bits[t], bits.reshape(-1)[past], spans, past, t * n)
        orders.append(order + t * n)
        groups += frame_groups
    return GatherPlan(torch.from_numpy(np.concatenate(orders)), tuple(groups), plan.grid.tokens)


def _pooled_gather(plan: AttentionPlan) -> GatherPlan:
    """One group for each row of kept blocks."""
    csr, order = plan.block_csr(), plan.permutation()
    pieces = order.split(csr.size.tolist())
    starts, sizes = csr.start.tolist(), csr.size.tolist()
    pointer, columns = csr.row_pointer.tolist(), csr.columns.tolist()
    groups = []
    for row, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        kept = columns[pointer[row] : pointer[row + 1]]
        groups.append(QueryGroup(start, start + size, keys=torch.cat([pieces[column] for column in kept])))
    return GatherPlan(order, tuple(groups), plan.grid.tokens)


def _frame_groups(
    q_bits: np.ndarray,  # uint8 [n]
    k_bits: np.ndarray,  # uint8 [m]
    spans: tuple[tuple[int, int], ...],  # of the keys that all queries see
    past: np.ndarray,  # int64 [m], positions of the past keys
    offset: int,  # of the frame's first query in the sorted sequence
) -> tuple[np.ndarray, list[QueryGroup]]:
    """(order of the frame's queries int64 [n], its groups)."""
    order, groups, start = [], [], offset
    for signatures, union in _merge_signatures(q_bits, k_bits):
        chosen = np.zeros(SIGNATURES, bool)
        chosen[signatures] = True
        members = np.flatnonzero(chosen[q_bits])
        seen = np.flatnonzero(k_bits & np.uint8(union))
        blocked = (q_bits[members, None] & k_bits[seen]) == 0
        keys = torch.from_numpy(past[seen]) if len(seen) else None
        stop = start + len(members)
        groups.append(QueryGroup(start, stop, spans, keys, torch.from_numpy(blocked) if blocked.any() else None))
        order.append(members)
        start = stop
    return np.concatenate(order), groups


def _merge_signatures(q_bits: np.ndarray, k_bits: np.ndarray) -> list[tuple[list[int], int]]:
    """Sets of query bits that are worth one group, and the union of the bits that each set reaches.

    Starts from one group for each value of the bits that occurs, and merges the best pair as long as the
    pairs computed in vain cost less than the call saved. Bits that meet no past key reach 0 and stay a group
    of their own.
    """
    k_count = np.bincount(k_bits, minlength=SIGNATURES)
    q_count = np.bincount(q_bits, minlength=SIGNATURES)
    value = np.arange(SIGNATURES)
    reach = ((value[:, None] & value) != 0) @ k_count  # keys that each value of the bits meets
    present = np.flatnonzero(q_count)
    bare = present[reach[present] == 0].tolist()
    bits = present[reach[present] > 0]
    sets, count = [[s] for s in bits.tolist()], q_count[bits]
    while len(sets) > 1:
        vain = count[:, None] * (reach[bits[:, None] | bits] - reach[bits][:, None])  # [sets, sets]
        cost = vain + vain.T
        np.fill_diagonal(cost, _CALL_PAIRS)
        i, j = divmod(int(cost.argmin()), len(sets))
        if cost[i, j] >= _CALL_PAIRS:
            break
        i, j = min(i, j), max(i, j)
        sets[i] += sets.pop(j)
        bits[i] |= bits[j]
        count[i] += count[j]
        bits, count = np.delete(bits, j), np.delete(count, j)
    return ([(bare, 0)] if bare else []) + list(zip(sets, bits.tolist(), strict=True))


def gathered_attention(q: Tensor, k: Tensor, v: Tensor, gather: GatherPlan) -> Tensor:
    """Attention of each group over its keys: q [b, nh, nq, d], k and v [b, nh, nk, d] -> [b, nh, nq, d]."""
    if q.device.type == "cpu" and q.dtype in (torch.bfloat16, torch.float16):
        if q.dtype == torch.float16 or not is_bf16_faster():
            return _GatheredAttention.apply(q.float(), k.float(), v.float(), gather).to(q.dtype)
    return _GatheredAttention.apply(q, k, v, gather)


class _GatheredAttention(torch.autograd.Function):
    """Keeps q, k and v alone; the backward pass makes each group's weights again, as flash attention does."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, gather: GatherPlan) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.gather = gather
        with torch.autocast(q.device.type, enabled=False):
            q3, k3, v3 = _sorted(q, gather.order) * _scale(q), k.flatten(0, 1), v.flatten(0, 1)
            out = torch.empty_like(q3)  # [b*nh, nq, d]; the groups cover every row
            for number, group in enumerate(gather.groups):
                rows = slice(group.start, group.stop)
                weights = _weights(q3[:, rows], _gathered(k3, group), gather.bias(number, q.dtype))
                out[:, rows] = torch.bmm(weights, _gathered(v3, group))
            return _unsorted(out, gather.inverse).view(q.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        q, k, v = ctx.saved_tensors
        gather = ctx.gather
        wide = torch.promote_types(q.dtype, torch.float32)  # keys are met by many groups: their sums need the digits
        with torch.autocast(q.device.type, enabled=False):
            q3, k3, v3 = _sorted(q, gather.order) * _scale(q), k.flatten(0, 1), v.flatten(0, 1)
            grad3 = _sorted(grad, gather.order)
            dq = torch.empty_like(q3)
            dk, dv = torch.zeros_like(k3, dtype=wide), torch.zeros_like(v3, dtype=wide)
            for number, group in enumerate(gather.groups):
                rows = slice(group.start, group.stop)
                q_group, grad_group = q3[:, rows], grad3[:, rows]
                keys, values = _gathered(k3, group), _gathered(v3, group)
                weights = _weights(q_group, keys, gather.bias(number, q.dtype))
                _scatter_add(dv, group, torch.bmm(weights.transpose(1, 2), grad_group))
                d_weights = torch.bmm(grad_group, values.transpose(1, 2))
                d_logits = _softmax_backward(d_weights, weights)
                dq[:, rows] = torch.bmm(d_logits, keys)
                _scatter_add(dk, group, torch.bmm(d_logits.transpose(1, 2), q_group))  # q carries the scale
            dq = _unsorted(dq, gather.inverse) * _scale(q)
        return dq.view(q.shape), dk.to(k.dtype).view(k.shape), dv.to(v.dtype).view(v.shape), None


def _scale(q: Tensor) -> float:
    return 1 / math.sqrt(q.shape[-1])


def _sorted(x: Tensor, order: Tensor | None) -> Tensor:
    """[b, nh, nq, d] -> [b*nh, nq, d] in the gather's order."""
    x = x.flatten(0, 1)
    return x if order is None else x.index_select(1, order)


def _unsorted(x: Tensor, inverse: Tensor | None) -> Tensor:
    return x if inverse is None else x.index_select(1, inverse)


def _gathered(x: Tensor, group: QueryGroup) -> Tensor:
    """A group's keys or values: [b*nh, nk, d] -> [b*nh, m, d]."""
    parts = [x[:, first:end] for first, end in group.spans]
    if group.keys is not None:
        parts.append(x.index_select(1, group.keys))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _scatter_add(total: Tensor, group: QueryGroup, part: Tensor) -> None:
    """Adds a group's gradient [b*nh, m, d] to all keys' [b*nh, nk, d]."""
    start = 0
    for first, end in group.spans:
        total[:, first:end] += part[:, start : start + end - first]
        start += end - first
    if group.keys is not None:
        total.index_add_(1, group.keys, part[:, start:].to(total.dtype))


def _weights(q: Tensor, keys: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax of a group's logits: [b*nh, queries, keys]. The bias covers the last keys."""
    logits = torch.bmm(q, keys.transpose(1, 2))
    if bias is not None:
        logits[..., keys.shape[1] - bias.shape[1] :] += bias
    return torch.softmax(logits, dim=-1)


def _softmax_backward(grad: Tensor, weights: Tensor) -> Tensor:
    """The logits' gradient of softmax weights and theirs, [b*nh, queries, keys]: weights (grad - sum(grad weights))."""
    if _has_softmax_backward():
        return torch.ops.aten._softmax_backward_data(grad, weights, -1, weights.dtype)
    wide = torch.promote_types(weights.dtype, torch.float32)
    grad, wide_weights = grad.to(wide), weights.to(wide)
    return (wide_weights * (grad - (grad * wide_weights).sum(-1, keepdim=True))).to(weights.dtype)


@lru_cache(maxsize=1)
def _has_softmax_backward() -> bool:
    """Whether torch's own call, which is not public and saves three passes, is there and takes these arguments."""
    try:
        found = torch.ops.aten._softmax_backward_data(torch.eye(2), torch.full((2, 2), 0.5), -1, torch.float32)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return found.dtype == torch.float32 and torch.equal(found, torch.tensor([[0.25, -0.25], [-0.25, 0.25]]))


def _to(x: Tensor | None, device: torch.device) -> Tensor | None:
    return None if x is None else x.to(device)


def _numpy(x: Tensor) -> np.ndarray:
    return x.cpu().numpy()
