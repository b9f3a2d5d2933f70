"""The public call, and its registration with torch: autograd, torch.compile and fake tensors see one operator.

Triton is imported when a kernel first runs; layouts and the reference need torch alone.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable

import torch
from torch import Tensor

from iasa_kernels.checks import check_dense
from iasa_kernels.csr import BlockLayout

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MAX_WIDTH = 128
MAX_SCALE = 1e38  # float32 holds it in base 2 as well


def block_sparse_attention(
    q: Tensor,  # [b, nh, queries, d]
    k: Tensor,  # [b, nh, keys, d]
    v: Tensor,  # [b, nh, keys, d]
    layout: BlockLayout,
    scale: float | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """softmax(scale q k^T) v over the pairs that the layout allows: [b, nh, queries, d], and the log-sum-exp.

    The scale is 1 / sqrt(d) unless given. The log-sum-exp is float32 [b, nh, queries], in natural units, minus
    infinity for a query without keys (whose output is zeros). Differentiable once in q, k and v, through both
    results. A key or value that is not finite spoils the results of the queries that may see it, and of no other; the
    gradients likewise. Raises ValueError on tensors that do not fit each other, the layout
    or the device, and ImportError where Triton is absent.
    """
    _check(q, k, v, layout)
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1])
    elif not abs(float(scale)) <= MAX_SCALE:
        raise ValueError(f"the scale is {float(scale)}; a finite number of up to {MAX_SCALE:g} is needed")
    elif scale <= 0:  # the kernels take the largest logit before they scale
        q, scale = (-q, -float(scale)) if scale < 0 else (0 * q, 1.0)
    sizes = [
        layout.block_q, layout.block_k, layout.tile, layout.tile_back,
        int(layout.complete_q), int(layout.complete_k), layout.segments, int(layout.sink), layout.kept_rows,
    ]  # fmt: skip
    out, lse = _attention(
        q.contiguous(), k.contiguous(), v.contiguous(),
        layout.forward.tensors(), layout.backward_q.tensors(), layout.backward_k.tensors(), layout.kept.tensors(),
        layout.q_bits, layout.k_bits, float(scale), sizes,
    )  # fmt: skip
    return (out, lse) if return_lse else out


def merge_attention(out: Tensor, lse: Tensor, other: Tensor, other_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over the union of two disjoint sets of keys from the results over each: (out, lse).

    out and other [..., d], lse and other_lse [...]: o = o_a e^(l_a - l) + o_b e^(l_b - l), l = logaddexp(l_a, l_b).
    """
    for name, value in (("out", out), ("lse", lse), ("other", other), ("other_lse", other_lse)):
        check_dense(name, value)
    if not out.shape == other.shape or not lse.shape == other_lse.shape == out.shape[:-1] or out.device != other.device:
        raise ValueError(
            f"the results have shapes {list(out.shape)}, {list(lse.shape)} on {out.device} and {list(other.shape)}, "
            f"{list(other_lse.shape)} on {other.device}; [..., d] and [...] on one device are needed, both times"
        )
    top = torch.maximum(lse, other_lse).detach()
    base = torch.where(top == -torch.inf, 0.0, top)
    share, other_share = torch.exp(lse - base), torch.exp(other_lse - base)
    total = share + other_share
    some = torch.where(total == 0, 1.0, total)  # keys on neither side: zeros, and no gradient that is NaN
    merged = (share / some)[..., None] * out + (other_share / some)[..., None] * other
    return merged.to(out.dtype), torch.where(total == 0, -torch.inf, base + some.log())


@torch.library.custom_op("iasa_kernels::attention", mutates_args=())
def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    forward: list[Tensor],
    backward_q: list[Tensor],
    backward_k: list[Tensor],
    kept: list[Tensor],
    q_bits: Tensor | None,
    k_bits: Tensor | None,
    scale: float,
    sizes: list[int],
) -> tuple[Tensor, Tensor]:
    block_q, _, tile, _, complete, _, segments, sink, _ = sizes
    if not (q.numel() and k.numel()):  # a query without keys
        return q.new_zeros(q.shape), q.new_full(q.shape[:3], -torch.inf, dtype=torch.float32)
    if segments:
        out, lse = _dense_segments(q, k, v, scale, segments, bool(sink))
    elif complete:
        out, lse = q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=torch.float32)
    else:
        out, lse = q.new_zeros(q.shape), q.new_full(q.shape[:3], -torch.inf, dtype=torch.float32)
    run_forward = _choose_forward(q, block_q, tile)
    run_forward(q, k, v, out, lse, forward, q_bits, scale, block_q, tile, continues=segments > 0)
    return out, lse


@_attention.register_fake
def _(q, k, v, forward, backward_q, backward_k, kept, q_bits, k_bits, scale, sizes):
    return q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=torch.float32)


def _choose_forward(q: Tensor, block: int, tile: int) -> Callable[..., None]:
    """The kernel in Triton, or the one in Gluon where IASA_KERNELS_GLUON=1 asks for it and it serves."""
    if gluon_serves(q, block, tile):
        from iasa_kernels.gluon_forward import run_forward
    else:
        from iasa_kernels.forward import run_forward
    return run_forward


def gluon_serves(q: Tensor, block: int, tile: int) -> bool:
    """Whether the kernel in Gluon is asked for and takes these: on Hopper, 16 bits, heads, blocks and tiles of 64 or 128.

    Raises ImportError where it does and Triton is too old for it.
    """
    if os.environ.get("IASA_KERNELS_GLUON") != "1" or q.element_size() != 2:
        return False
    if not {q.shape[-1], block, tile} <= {64, 128} or not _on_hopper(q.device):
        return False
    from iasa_kernels.primitives import HAS_GLUON, TRITON

    if not HAS_GLUON:
        raise ImportError(f"IASA_KERNELS_GLUON=1 needs Triton 3.6 or newer; {TRITON} is installed")
    return True


def _on_hopper(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) == (9, 0)


def _dense_segments(q: Tensor, k: Tensor, v: Tensor, scale: float, segments: int, sink: bool) -> tuple[Tensor, Tensor]:
    """Each of `segments` equal runs of the sequence over itself, and over the first where that is the sink.

    Segments are so many more heads. The sink is a second set of keys, merged by the log-sum-exps.
    """
    b, nh, tokens, d = q.shape
    length = tokens // segments
    out, lse = _dense(*(x.view(b, nh * segments, length, d) for x in (q, k, v)), scale)
    out, lse = out.contiguous().view(q.shape), lse.contiguous().view(q.shape[:3])
    if sink and segments > 1:
        later, later_lse = _dense(q[:, :, length:], k[:, :, :length], v[:, :, :length], scale)
        merged, merged_lse = merge_attention(out[:, :, length:], lse[:, :, length:], later, later_lse)
        out[:, :, length:], lse[:, :, length:] = merged, merged_lse
    return out, lse


def _dense(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """torch's dense attention with its log-sum-exp, float32 [b, nh, queries]: cuDNN's from Hopper on."""
    if q.device.type == "cpu":
        if q.dtype == torch.float16:
            raise ValueError("two passes on a processor take float32 or bfloat16; the tensors are torch.float16")
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, scale=scale)
    if q.dtype == torch.float32:
        raise ValueError("two passes on a GPU take float16 or bfloat16; the tensors are torch.float32")
    if torch.cuda.get_device_capability(q.device) >= (9, 0) and q.shape[-1] % 8 == 0:
        attend = torch.ops.aten._scaled_dot_product_cudnn_attention
        out, lse = attend(q, k, v, None, True, scale=scale)[:2]
    else:
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, scale=scale)[:2]
    return out, lse.float().view(q.shape[:3])


@torch.library.custom_op("iasa_kernels::attention_backward", mutates_args=())
def _attention_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    grad: Tensor,
    grad_lse: Tensor,
    backward_q: list[Tensor],
    backward_k: list[Tensor],
    kept: list[Tensor],
    q_bits: Tensor | None,
    k_bits: Tensor | None,
    scale: float,
    sizes: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    from iasa_kernels.backward import run_backward

    block_q, block_k, _, tile, complete_q, complete_k, _, _, kept_rows = sizes
    if not (q.numel() and k.numel()):
        return q.new_zeros(q.shape), k.new_zeros(k.shape), v.new_zeros(v.shape)
    dq = q.new_empty(q.shape) if complete_q else q.new_zeros(q.shape)
    dk, dv = (x.new_empty(x.shape) if complete_k else x.new_zeros(x.shape) for x in (k, v))
    run_backward(
        q, k, v, out, lse, grad.contiguous(), grad_lse.contiguous(), dq, dk, dv,
        backward_q, backward_k, kept, kept_rows, q_bits, k_bits, scale, block_q, block_k, tile,
    )  # fmt: skip
    return dq, dk, dv


@_attention_backward.register_fake
def _(q, k, v, out, lse, grad, grad_lse, backward_q, backward_k, kept, q_bits, k_bits, scale, sizes):
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save(ctx, inputs, output) -> None:
    q, k, v, forward, ctx.backward_q, ctx.backward_k, ctx.kept, ctx.q_bits, ctx.k_bits, ctx.scale, ctx.sizes = inputs
    ctx.save_for_backward(q, k, v, *output)
    ctx.unused = [[None] * len(lists) for lists in (forward, ctx.backward_q, ctx.backward_k, ctx.kept)]


def _differentiate(ctx, grad: Tensor, grad_lse: Tensor):
    lists = (ctx.backward_q, ctx.backward_k, ctx.kept, ctx.q_bits, ctx.k_bits, ctx.scale, ctx.sizes)
    gradients = _attention_backward(*ctx.saved_tensors, grad, grad_lse, *lists)
    return (*gradients, *ctx.unused, None, None, None, None)


_attention.register_autograd(_differentiate, setup_context=_save)


def _check(q: Tensor, k: Tensor, v: Tensor, layout: BlockLayout) -> None:
    if not isinstance(layout, BlockLayout):
        raise ValueError(f"the layout is {type(layout).__name__}; what make_layout or stack_layouts returns is needed")
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        check_dense(name, tensor)
        if tensor.ndim != 4:
            raise ValueError(f"{name} has shape {list(tensor.shape)}; [batch, heads, tokens, width] is needed")
    if k.shape != v.shape or (*q.shape[:2], q.shape[3]) != (*k.shape[:2], k.shape[3]):
        raise ValueError(
            f"q, k and v have shapes {list(q.shape)}, {list(k.shape)} and {list(v.shape)}; "
            "only the tokens of q may differ"
        )
    if not q.dtype == k.dtype == v.dtype or q.dtype not in DTYPES:
        raise ValueError(f"q, k and v are {q.dtype}, {k.dtype} and {v.dtype}; one of {DTYPES} is needed")
    if not 1 <= q.shape[-1] <= MAX_WIDTH:
        raise ValueError(f"heads are {q.shape[-1]} wide; 1 to {MAX_WIDTH} is accepted")
    if (q.shape[2], k.shape[2]) != (layout.queries, layout.keys):
        raise ValueError(
            f"there are {q.shape[2]} queries and {k.shape[2]} keys; "
            f"the layout is for {layout.queries} and {layout.keys}"
        )
    if layout.plans not in (1, q.shape[1], q.shape[0] * q.shape[1]):
        raise ValueError(
            f"the layout has {layout.plans} plans; 1, {q.shape[1]} (heads) or "
            f"{q.shape[0] * q.shape[1]} (batch x heads) is accepted"
        )
    where = {x.device for x in (q, k, v, layout.forward.start)}
    if len(where) > 1:
        raise ValueError(f"tensors and layout are on {sorted(map(str, where))}; one device is needed")
    if importlib.util.find_spec("triton") is None:
        raise ImportError("the kernels need Triton: pip install triton")
    if q.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError("the tensors are on the processor; a GPU is needed (or TRITON_INTERPRET=1, to test)")
