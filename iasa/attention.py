"""Input-aware sparse attention: `sparse_attention` over a whole clip, `frame_attention` for one frame of a roll-out.

Backends of `sparse_attention`:

- "reference": a dense matrix of logits with the plan's mask on it. The oracle; refuses large plans.
- "cpu": gathered keys. Queries that see nearly the same keys form a group; each group's keys are gathered
  once and go through product, softmax, product. Every allowed pair counts exactly once, background queries
  skip the past. On processors with bf16 products this beats torch's CPU attention, which gains nothing from
  bf16, also pair for pair.

The gathered form runs on any device; "cpu" names where it is the best choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from iasa.config import InputError
from iasa.masks.plan import AttentionPlan

BACKENDS = ("reference", "cpu")

_SIGNATURES = 32  # values of a token's region bits
_CALL_PAIRS = (
    4_000  # what one more group costs, in query-key pairs of one head: measured on two AVX512-BF16 cores
)
_TINY_TOKENS = 64  # up to here the masked dense call is faster than any grouping


@dataclass(frozen=True)
class QueryGroup:
    """Queries start..stop of the schedule's order, the keys they gather, and where some pairs are not allowed."""

    start: int
    stop: int
    keys: Tensor  # int64 [m], positions in the key sequence
    blocked: Tensor | None = (
        None  # bool [stop - start, t] over the last t keys, True where a pair is not allowed
    )


@dataclass(frozen=True, eq=False)
class Schedule:
    """How the queries are grouped: `order` sorts them by group, `groups` cover the sorted queries one after another."""

    order: Tensor  # int64 [queries]
    groups: tuple[QueryGroup, ...]
    keys: int  # length of the key sequence
    _bias: dict = field(default_factory=dict, repr=False)

    @cached_property
    def inverse(self) -> Tensor:
        return torch.argsort(self.order)

    @property
    def pairs(self) -> int:
        """Query-key pairs that are computed, for one head; at least the allowed ones."""
        return sum((g.stop - g.start) * len(g.keys) for g in self.groups)

    def to(self, device: torch.device) -> Schedule:
        if self.order.device == device:
            return self
        groups = tuple(
            QueryGroup(
                g.start, g.stop, g.keys.to(device), None if g.blocked is None else g.blocked.to(device)
            )
            for g in self.groups
        )
        return Schedule(self.order.to(device), groups, self.keys)

    def bias(self, number: int, dtype: torch.dtype) -> Tensor | None:
        """What is added to the logits of group `number`: 0 or -inf, [queries, t]; None if all its pairs are allowed."""
        blocked = self.groups[number].blocked
        if blocked is None:
            return None
        key = (number, dtype)
        if key not in self._bias:
            self._bias[key] = torch.zeros_like(blocked, dtype=dtype).masked_fill_(blocked, -torch.inf)
        return self._bias[key]


def sparse_attention(
    q: Tensor,  # [b, nh, f*n, d]
    k: Tensor,  # [b, nh, f*n, d]
    v: Tensor,  # [b, nh, f*n, d]
    plan: AttentionPlan,
    backend: str = "auto",
) -> Tensor:
    """Attention over the pairs that the plan allows, softmax(q k^T / sqrt(d)) v: [b, nh, f*n, d].

    Differentiable once in q, k and v. Under autocast the products run in autocast's type, as torch's
    attention does. Raises InputError on an unknown backend and on shapes that do not match each other or the
    plan's grid.
    """
    name = choose_backend(plan, backend)
    q, k, v = _matched(q, k, v)
    if k.shape != q.shape:
        raise InputError(
            f"queries have shape {list(q.shape)} and keys have {list(k.shape)}; they must be equal"
        )
    if q.shape[2] != plan.grid.tokens:
        raise InputError(
            f"the queries have {q.shape[2]} tokens and the plan is for {plan.grid.tokens} "
            f"({plan.grid.frames} frames of {plan.grid.rows} x {plan.grid.cols})"
        )
    if name == "reference":
        return reference_attention(q, k, v, plan.dense().to(q.device))
    return grouped_attention(q, k, v, plan_schedule(plan, q.device))


def choose_backend(plan: AttentionPlan, backend: str = "auto") -> str:
    """The backend that `sparse_attention` runs. Raises InputError on a name that is not in BACKENDS."""
    if backend == "auto":
        return "reference" if plan.grid.tokens <= _TINY_TOKENS else "cpu"
    if backend not in BACKENDS:
        raise InputError(f"attention backend is {backend!r}; auto, {' or '.join(BACKENDS)} is accepted")
    return backend


def explain_backend(plan: AttentionPlan, backend: str = "auto") -> dict[str, object]:
    """Which backend runs and why, with the pairs it computes: ready for JSON."""
    name = choose_backend(plan, backend)
    tokens = plan.grid.tokens
    dense = tokens * tokens
    pairs = dense if name == "reference" else plan_schedule(plan).pairs
    if backend != "auto":
        reason = "it was asked for"
    elif name == "reference":
        reason = f"{tokens} tokens are at most {_TINY_TOKENS}, where one masked dense call beats grouping"
    else:
        reason = f"gathered keys compute {pairs / dense:.1%} of the {dense} dense pairs, {plan.density():.1%} are allowed"
    return {
        "backend": name,
        "reason": reason,
        "pairs": pairs,
        "dense_pairs": dense,
        "token_density": plan.density(),
    }


def reference_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Masked dense attention with float32 logits (float64 for float64 inputs): the oracle of all backends.

    mask: bool, broadcast to [b, nh, nq, nk], True where allowed; a query without any key gets zeros.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    logits = (q.to(wide) @ k.to(wide).transpose(-1, -2)) / math.sqrt(q.shape[-1])
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
        logits = logits.masked_fill(~mask.any(-1, keepdim=True), 0.0)
    weights = logits.softmax(-1)
    if mask is not None:
        weights = weights * mask.any(-1, keepdim=True)
    return (weights @ v.to(wide)).to(q.dtype)


def frame_attention(
    q: Tensor,  # [b, nh, n, d]: one latent frame
    k_own: Tensor,  # [b, nh, m0, d]: keys every query sees, own frame and sink
    v_own: Tensor,  # [b, nh, m0, d]
    k_past: Tensor | None = None,  # [b, nh, m, d]: gathered region tokens of the chosen past frames
    v_past: Tensor | None = None,  # [b, nh, m, d]
    schedule: Schedule | None = None,
) -> Tensor:
    """One frame of a causal roll-out: [b, nh, n, d].

    All queries see `k_own`; the schedule of `frame_schedule(q_bits, k_bits, m0)` says who sees which past
    key. It is the same for all layers and steps of a frame: make it once.
    """
    if k_past is None or v_past is None or k_past.shape[2] == 0:
        keys, values = k_own, v_own
    else:
        keys, values = torch.cat([k_own, k_past], dim=2), torch.cat([v_own, v_past], dim=2)
    q, keys, values = _matched(q, keys, values)
    if schedule is None:
        if keys.shape[2] != k_own.shape[2]:
            raise InputError(
                "past keys need a schedule; make one with frame_schedule(q_bits, k_bits, own_keys)"
            )
        bits = torch.zeros(q.shape[2], dtype=torch.uint8)
        schedule = frame_schedule(bits, bits[:0], keys.shape[2])
    if (len(schedule.order), schedule.keys) != (q.shape[2], keys.shape[2]):
        raise InputError(
            f"the schedule is for {len(schedule.order)} queries and {schedule.keys} keys; "
            f"there are {q.shape[2]} queries and {keys.shape[2]} keys"
        )
    return grouped_attention(q, keys, values, schedule.to(q.device))


def frame_schedule(
    q_bits: Tensor,  # uint8 [n], region bits of the frame's tokens
    k_bits: Tensor,  # uint8 [m], region bits of the past keys
    own_keys: int,  # keys in front of the past ones that every query sees
) -> Schedule:
    """Groups for `frame_attention`: query i sees the first `own_keys` keys, and past key j iff q_bits[i] & k_bits[j]."""
    base = torch.arange(own_keys)
    past = torch.arange(own_keys, own_keys + len(k_bits))
    order, groups = _frame_groups(q_bits.cpu(), k_bits.cpu(), base, past, 0)
    return Schedule(order, tuple(groups), own_keys + len(k_bits))


_schedules: WeakKeyDictionary[AttentionPlan, dict[torch.device, Schedule]] = WeakKeyDictionary()


def plan_schedule(plan: AttentionPlan, device: torch.device | str = "cpu") -> Schedule:
    """The plan's groups for `grouped_attention`, made once for each plan and device."""
    device = torch.device(device)
    known = _schedules.setdefault(plan, {})
    if device not in known:
        make = _pooled_schedule if plan.options.mode == "pooled" else _exact_schedule
        known[device] = make(plan).to(device)
    return known[device]


def _exact_schedule(plan: AttentionPlan) -> Schedule:
    n = plan.grid.tokens_per_frame
    orders, groups = [], []
    token = torch.arange(plan.grid.tokens).view(plan.grid.frames, n)
    for t in range(plan.grid.frames):
        past = plan.past_frames(t)
        bits = plan.region_bits[past].flatten()
        position = token[past].flatten()
        base = torch.cat([token[0], token[t]]) if plan.has_sink(t) else token[t]
        order, frame_groups = _frame_groups(plan.region_bits[t], bits, base, position, t * n)
        orders.append(order + t * n)
        groups += frame_groups
    return Schedule(torch.cat(orders), tuple(groups), plan.grid.tokens)


def _pooled_schedule(plan: AttentionPlan) -> Schedule:
    """One group for each row of kept blocks."""
    csr, order = plan.block_csr(), plan.permutation()
    pieces = order.split(csr.size.tolist())
    starts, sizes, pointer = csr.start.tolist(), csr.size.tolist(), csr.row_pointer.tolist()
    columns = csr.columns.tolist()
    groups = tuple(
        QueryGroup(
            starts[r],
            starts[r] + sizes[r],
            torch.cat([pieces[c] for c in columns[pointer[r] : pointer[r + 1]]]),
        )
        for r in range(len(sizes))
    )
    return Schedule(order, groups, plan.grid.tokens)


def _frame_groups(
    q_bits: Tensor,  # uint8 [n]
    k_bits: Tensor,  # uint8 [m]
    base: Tensor,  # int64 [m0], positions of the keys that all see
    past: Tensor,  # int64 [m], positions of the past keys
    offset: int,  # of the frame's first query in the sorted sequence
) -> tuple[Tensor, list[QueryGroup]]:
    """(order of the frame's queries int64 [n], its groups)."""
    order, groups = [], []
    for signatures, union in _merge_signatures(q_bits, k_bits):
        members = torch.isin(q_bits, torch.tensor(signatures, dtype=torch.uint8)).nonzero()[:, 0]
        seen = ((k_bits & union) != 0).nonzero()[:, 0]
        blocked = None
        if len(seen):
            blocked = (q_bits[members, None] & k_bits[seen]) == 0
            blocked = blocked if blocked.any() else None
        start = offset + sum(map(len, order))
        groups.append(QueryGroup(start, start + len(members), torch.cat([base, past[seen]]), blocked))
        order.append(members)
    return torch.cat(order), groups


def _merge_signatures(q_bits: Tensor, k_bits: Tensor) -> list[tuple[list[int], int]]:
    """Sets of query bits that are worth one group, and the union of the bits that each set reaches.

    Starts from one group for each value of the bits that occurs, and merges the best pair as long as the
    pairs computed in vain cost less than the call saved. Bits that meet no past key reach 0 and stay a group
    of their own.
    """
    k_count = torch.bincount(k_bits.long(), minlength=_SIGNATURES)
    q_count = torch.bincount(q_bits.long(), minlength=_SIGNATURES)
    value = torch.arange(_SIGNATURES)
    reach = (
        ((value[:, None] & value) != 0).long() @ k_count
    ).tolist()  # keys that each value of the bits meets
    present = q_count.nonzero()[:, 0].tolist()
    bare = [s for s in present if reach[s] == 0]
    groups = [([s], s, int(q_count[s])) for s in present if reach[s] > 0]
    while len(groups) > 1:
        best, pair = 0, None
        for i, (_, bits_i, n_i) in enumerate(groups):
            for j, (_, bits_j, n_j) in enumerate(groups[:i]):
                union = reach[bits_i | bits_j]
                gain = _CALL_PAIRS - n_i * (union - reach[bits_i]) - n_j * (union - reach[bits_j])
                if gain > best:
                    best, pair = gain, (i, j)
        if pair is None:
            break
        (s_i, bits_i, n_i), (s_j, bits_j, n_j) = groups[pair[0]], groups[pair[1]]
        groups = [g for place, g in enumerate(groups) if place not in pair]
        groups.append((s_i + s_j, bits_i | bits_j, n_i + n_j))
    merged = [(signatures, bits) for signatures, bits, _ in groups]
    return ([(bare, 0)] if bare else []) + merged


def grouped_attention(q: Tensor, k: Tensor, v: Tensor, schedule: Schedule) -> Tensor:
    """Attention of each group over its gathered keys: q [b, nh, nq, d], k and v [b, nh, nk, d] -> [b, nh, nq, d]."""
    return _GroupedAttention.apply(q, k, v, schedule)


class _GroupedAttention(torch.autograd.Function):
    """Keeps q, k and v alone; the backward pass makes each group's weights again, as flash attention does."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, schedule: Schedule) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.schedule = schedule
        b, nh, nq, d = q.shape
        with torch.autocast(q.device.type, enabled=False):
            q3, k3, v3 = _sorted_queries(q, schedule), k.reshape(b * nh, -1, d), v.reshape(b * nh, -1, d)
            out = torch.empty_like(q3)
            for number, group in enumerate(schedule.groups):
                rows = slice(group.start, group.stop)
                keys, values = k3.index_select(1, group.keys), v3.index_select(1, group.keys)
                weights = _weights(q3[:, rows], keys, schedule.bias(number, q.dtype))
                out[:, rows] = torch.bmm(weights, values)
            return out.index_select(1, schedule.inverse).view(b, nh, nq, d)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        q, k, v = ctx.saved_tensors
        schedule = ctx.schedule
        b, nh, nq, d = q.shape
        wide = torch.promote_types(q.dtype, torch.float32)
        with torch.autocast(q.device.type, enabled=False):
            q3, grad3 = (
                _sorted_queries(q, schedule),
                grad.reshape(b * nh, nq, d).index_select(1, schedule.order),
            )
            k3, v3 = k.reshape(b * nh, -1, d), v.reshape(b * nh, -1, d)
            dq = torch.empty_like(q3)
            dk, dv = torch.zeros_like(k3, dtype=wide), torch.zeros_like(v3, dtype=wide)
            for number, group in enumerate(schedule.groups):
                rows = slice(group.start, group.stop)
                keys, values = k3.index_select(1, group.keys), v3.index_select(1, group.keys)
                q_group, grad_group = q3[:, rows], grad3[:, rows]
                weights = _weights(q_group, keys, schedule.bias(number, q.dtype))
                dv.index_add_(1, group.keys, torch.bmm(weights.transpose(1, 2), grad_group).to(wide))
                d_weights = torch.bmm(grad_group, values.transpose(1, 2))
                d_logits = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, q.dtype)
                dq[:, rows] = torch.bmm(d_logits, keys)
                dk.index_add_(1, group.keys, torch.bmm(d_logits.transpose(1, 2), q_group).to(wide))
            dq = dq.index_select(1, schedule.inverse).mul_(1 / math.sqrt(d))
        # q3 carries the scale, so dk has it already
        return dq.view_as(q), dk.to(k.dtype).view(k.shape), dv.to(v.dtype).view(v.shape), None


def _sorted_queries(q: Tensor, schedule: Schedule) -> Tensor:
    """[b, nh, nq, d] -> [b*nh, nq, d] in the schedule's order, times 1 / sqrt(d)."""
    b, nh, nq, d = q.shape
    return q.reshape(b * nh, nq, d).index_select(1, schedule.order).mul_(1 / math.sqrt(d))


def _weights(q: Tensor, keys: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax of a group's logits: [b*nh, queries, keys]. The bias covers the last keys."""
    logits = torch.bmm(q, keys.transpose(1, 2))
    if bias is not None:
        logits[..., keys.shape[1] - bias.shape[1] :] += bias
    return torch.softmax(logits, dim=-1)


def _matched(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v in one type (autocast's if it is on), or InputError."""
    for name, tensor in (("queries", q), ("keys", k), ("values", v)):
        if tensor.ndim != 4:
            raise InputError(
                f"{name} have shape {list(tensor.shape)}; [batch, heads, tokens, width] is needed"
            )
    if k.shape != v.shape:
        raise InputError(
            f"keys have shape {list(k.shape)} and values have {list(v.shape)}; they must be equal"
        )
    if (*q.shape[:2], q.shape[3]) != (*k.shape[:2], k.shape[3]):
        raise InputError(
            f"queries have shape {list(q.shape)} and keys have {list(k.shape)}; only tokens may differ"
        )
    if torch.is_autocast_enabled(q.device.type):
        dtype = torch.get_autocast_dtype(q.device.type)
        return q.to(dtype), k.to(dtype), v.to(dtype)
    if not q.dtype == k.dtype == v.dtype:
        raise InputError(
            f"queries, keys and values are {q.dtype}, {k.dtype} and {v.dtype}; one type is needed"
        )
    return q, k, v
