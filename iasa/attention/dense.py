"""Dense attention by the fastest call of the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from iasa.attention.gathered import GatherPlan, QueryGroup, gathered_attention
from iasa.config import InputError
from iasa.device import is_bf16_faster

TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LOGITS = 1 << 22  # elements of one block of dense logits


def dense_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of all queries to all keys: q [b, nh, nq, d], k and v [b, nh, nk, d] -> [b, nh, nq, d].

    torch's own call, except on a processor that multiplies in bf16: there product, softmax, product in blocks
    of queries is about three times faster.
    """
    q, k, v = match_types(q, k, v)
    if q.device.type != "cpu" or q.dtype != torch.bfloat16 or not is_bf16_faster():
        return F.scaled_dot_product_attention(q, k, v)
    queries, keys = q.shape[2], k.shape[2]
    rows = max(64, _LOGITS // max(1, q.shape[0] * q.shape[1] * keys))
    starts = range(0, queries, rows)
    groups = tuple(QueryGroup(start, min(start + rows, queries), ((0, keys),)) for start in starts)
    return gathered_attention(q, k, v, GatherPlan(None, groups, keys))


def match_types(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v in one type (autocast's if it is on), or InputError."""
    for name, tensor in (("queries", q), ("keys", k), ("values", v)):
        _check_tensor(name, tensor)
    if k.shape != v.shape:
        raise InputError(f"keys have shape {list(k.shape)} and values have {list(v.shape)}; they must be equal")
    if (*q.shape[:2], q.shape[3]) != (*k.shape[:2], k.shape[3]):
        raise InputError(
            f"queries have shape {list(q.shape)} and keys have {list(k.shape)}; only their tokens may differ"
        )
    if len({q.device, k.device, v.device}) > 1 or q.device.type == "meta":
        raise InputError(
            f"queries, keys and values are on {q.device}, {k.device} and {v.device}; one device that computes is needed"
        )
    if torch.is_autocast_enabled(q.device.type):
        dtype = torch.get_autocast_dtype(q.device.type)
        return q.to(dtype), k.to(dtype), v.to(dtype)
    if not q.dtype == k.dtype == v.dtype:
        raise InputError(f"queries, keys and values are {q.dtype}, {k.dtype} and {v.dtype}; one type is needed")
    return q, k, v


def _check_tensor(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise InputError(f"{name} are {type(tensor).__name__}; a torch tensor is needed")
    if tensor.is_nested or tensor.layout != torch.strided:
        raise InputError(f"{name} are {'nested' if tensor.is_nested else tensor.layout}; a dense tensor is needed")
    if tensor.ndim != 4:
        raise InputError(f"{name} have shape {list(tensor.shape)}; [batch, heads, tokens, width] is needed")
    if tensor.dtype not in TYPES:
        raise InputError(f"{name} are {tensor.dtype}; {', '.join(str(one)[6:] for one in TYPES)} are accepted")
