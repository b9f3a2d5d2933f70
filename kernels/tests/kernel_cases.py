"""What the kernels' tests share: random layouts and inputs, and every result against its definition in float64."""

from __future__ import annotations

import iasa_kernels as kernels
import numpy as np
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def random_layout(sizes, seed=0, density=0.5, tested=True, own=True, **options):
    """A layout over blocks of the given sizes on both sides: random kept blocks, half of them full, random bits."""
    random = np.random.default_rng(seed)
    size = torch.tensor(sizes)
    start = size.cumsum(0) - size
    kept = torch.from_numpy(random.uniform(size=(len(sizes), len(sizes))) < density)
    if own:
        kept |= torch.eye(len(sizes), dtype=torch.bool)
    rows, columns = kept.nonzero(as_tuple=True)
    pointer = torch.nn.functional.pad(kept.sum(1).cumsum(0), (1, 0))
    full = torch.from_numpy(random.uniform(size=len(rows)) < 0.5) | (own & (rows == columns))
    bits = [torch.from_numpy(random.integers(0, 8, int(size.sum())).astype(np.uint8)) for _ in range(2)]
    options = {"tile": 32, "tile_back": 32, **options}
    layout = kernels.make_layout(
        pointer, columns, start, size, full=full if tested else None, q_bits=bits[0], k_bits=bits[1], **options
    )
    return layout.to(DEVICE), pair_mask(kept, full, tested, start, size, bits)


def pair_mask(kept, full, tested, start, size, bits):
    """The same mask pair by pair, from the definition."""
    tokens = int(size.sum())
    mask = np.zeros((tokens, tokens), bool)
    test = dict(zip(map(tuple, kept.nonzero().tolist()), (~full & tested).tolist(), strict=True))
    for row, column in test:
        for i in range(int(start[row]), int(start[row] + size[row])):
            for j in range(int(start[column]), int(start[column] + size[column])):
                mask[i, j] = not test[row, column] or int(bits[0][i]) & int(bits[1][j]) != 0
    return mask


def random_qkv(tokens, d=16, b=1, nh=2, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, nh, tokens, d, generator=generator).to(DEVICE, dtype) for _ in range(3)]


def results(function, tensors, grad):
    """(out, lse, dq, dk, dv); both outputs take part in the gradients."""
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    out, lse = function(*leaves)
    seen = torch.where(torch.isfinite(lse), lse, 0.0)  # a query without keys: minus infinity
    loss = (out.double() * grad.double()).sum() + seen.double().sum()
    return [out.detach(), lse.detach(), *torch.autograd.grad(loss, leaves)]


def compare(tensors, layout, bounds=None, **options):
    """Every result against the reference in float64; returns the kernels' results."""
    grad = torch.randn(tensors[0].shape, generator=torch.Generator().manual_seed(1)).to(tensors[0])
    ours = results(lambda *t: kernels.block_sparse_attention(*t, layout, return_lse=True, **options), tensors, grad)
    wide = [t.double() for t in tensors]
    theirs = results(lambda *t: kernels.reference_attention(*t, layout, **options), wide, grad)
    bounds = bounds or error_budget(wide, layout, grad.double(), theirs, tensors[0].dtype)
    for name, mine, wanted, bound in zip(("out", "lse", "dq", "dk", "dv"), ours, theirs, bounds, strict=True):
        finite = torch.isfinite(wanted)
        assert torch.equal(torch.isfinite(mine), finite), name
        error = float((mine.double() - wanted)[finite].abs().max()) if finite.any() else 0.0
        assert error <= bound, f"{name}: {error:.3g} > {bound:.3g}"
    return ours


def error_budget(wide, layout, grad, theirs, dtype):
    """Largest errors of (out, lse, dq, dk, dv) that rounding explains, to first order.

    Products are exact and summed in float32, so a logit is off by (d + 3) u32 sum |q||k| scale; a weight is off by
    twice that, by the sum's rounding, and by u where it is rounded to the inputs' type for the next product. Weights
    of a query sum to 1, those of a key to at most `column`. Outputs are rounded once more.
    """
    q, k, v = wide
    u, u32 = torch.finfo(dtype).eps / 2, torch.finfo(torch.float32).eps / 2
    scale = q.shape[-1] ** -0.5
    logit = (q.shape[-1] + 3) * u32 * float((q.abs() @ k.abs().mT).max()) * scale
    weight = u + 2 * logit + (k.shape[2] + 3) * u32
    mask = layout.dense_mask().to(q.device).repeat(q.shape[0] * q.shape[1] // layout.plans, 1, 1)
    logits = (scale * q @ k.mT).masked_fill(~mask.view(*q.shape[:3], -1), -torch.inf)
    weights = logits.softmax(-1).nan_to_num(0.0)
    column = float(weights.sum(2).max())
    _, lse, dq, dk, dv = (_largest(x) for x in theirs)
    spread = _largest((grad @ v.mT) - (grad * theirs[0]).sum(-1, keepdim=True)) + 1  # the lse's gradient is 1
    delta = (u + (q.shape[-1] + 1) * u32) * float((grad.abs() * theirs[0].abs()).sum(-1).max())
    delta += (q.shape[-1] + 1) * u32 * float((grad.abs() @ v.abs().mT).max())
    d_logit = (weight + u) * spread + delta
    return (
        (weight + u) * _largest(v),
        logit + 4 * u32 * max(lse, 1.0) + (k.shape[2] + 3) * u32,
        scale * d_logit * _largest(k) + u * dq,
        scale * d_logit * column * _largest(q) + u * dk,
        weight * column * _largest(grad) + u * dv,
    )


def _largest(x):
    x = x[torch.isfinite(x)]
    return float(x.abs().max()) if x.numel() else 0.0
