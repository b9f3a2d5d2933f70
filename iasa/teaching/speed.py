"""Checkers of notebook 4, from mask to speed: pooled blocks, the order of tokens, CSR, block attention, online softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from iasa.teaching.verdict import approve, ask, call, near, pair, require, shaped


def check_pool_blocks(function: Callable) -> None:
    """pool_blocks(mask bool [t, t], block) -> bool [t / block, t / block]: is any pair of the block allowed?"""
    mask = torch.zeros(12, 12, dtype=torch.bool)
    mask[0, 0] = mask[3, 4] = mask[9:12, 1] = mask[11, 11] = True
    kept = shaped(ask(function, mask, 4), (3, 3), "the kept blocks")
    require(kept.dtype == bool, f"the kept blocks are {kept.dtype}; True and False are needed")
    require(kept[0, 0] and kept[2, 2], "a block with one allowed pair is kept: any pair, not all and not most of them")
    require(kept[0, 1], "pair (row 3, column 4) lies in block (0, 1)")
    require(kept[2, 0] and not kept[0, 2], "rows 9 to 11, column 1 lie in block (2, 0), not (0, 2)")
    near(kept, [[1, 1, 0], [0, 0, 0], [1, 0, 1]], "a block without an allowed pair must go")
    wide = torch.zeros(8, 8, dtype=torch.bool)
    wide[1, 6] = True
    near(
        shaped(ask(function, wide, 2), (4, 4), "with block 2 the kept blocks"),
        [[0, 0, 0, 1], *[[0] * 4] * 3],
        "block 2: the wrong block is kept",
    )
    near(ask(function, mask, 1), mask, "with block 1 the mask itself comes back")
    approve(
        "pool_blocks",
        function,
        "any pair keeps a block",
        "rows and columns",
        "several sizes",
        "block 1 changes nothing",
    )


def check_sort_tokens(function: Callable) -> None:
    """sort_tokens(bits uint8 [f, n]) -> int [f * n]: each frame's tokens sorted so that equal bits stand together."""
    bits = torch.tensor([[0, 2, 1, 0, 2, 4], [4, 0, 0, 1, 1, 2], [0, 0, 0, 0, 0, 0]], dtype=torch.uint8)
    order = shaped(ask(function, bits), (18,), "the order")
    require(order.dtype.kind == "i", f"the order holds positions: integers, not {order.dtype}")
    require(
        sorted(order.tolist()) == list(range(18)),
        "every position of the sequence must appear exactly once (positions count through all frames: t * n + i)",
    )
    require(
        (order // 6 == torch.arange(18).numpy() // 6).all(),
        "frames must stay in order and in place: sort within each frame only",
    )
    sorted_bits = bits.flatten()[torch.from_numpy(order)].view(3, 6)
    for t, row in enumerate(sorted_bits.tolist()):
        runs = [value for i, value in enumerate(row) if i == 0 or row[i - 1] != value]
        require(len(runs) == len(set(runs)), f"frame {t} comes out as {row}: tokens of equal bits must stand together")
    require(
        (sorted_bits[0, -2:] == 0).all(),
        f"frame 0 comes out as {sorted_bits[0].tolist()}: background (bits 0) belongs at the end",
    )
    require(order[12:].tolist() == list(range(12, 18)), "tokens of equal bits keep their order: sort with stable=True")
    approve("sort_tokens", function, "a permutation", "frames stay", "equal bits together", "background last", "stable")


def check_to_csr(function: Callable) -> None:
    """to_csr(kept bool [nq, nk]) -> (pointer int [nq + 1], columns int [kept]): compressed rows."""
    kept = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1]], dtype=torch.bool)

    def csr(blocks: Tensor) -> tuple[np.ndarray, np.ndarray]:
        pointer, columns = pair(ask(function, blocks), "pointer, columns")
        rows = len(blocks)
        require(np.shape(pointer) != (rows,), "the pointer has one entry more than there are rows: the last row's end")
        pointer = shaped(pointer, (rows + 1,), "the pointer")
        return pointer, shaped(columns, (int(blocks.sum()),), "the list of columns")

    pointer, columns = csr(kept)
    require(
        pointer.dtype.kind == "i" and columns.dtype.kind == "i",
        f"both hold integers, not {pointer.dtype} and {columns.dtype}",
    )
    require(pointer[0] == 0, f"the first row starts at 0, not at {pointer[0]}")
    near(pointer, [0, 2, 2, 5], "row r holds columns[pointer[r] : pointer[r + 1]]; an empty row repeats its pointer")
    near(columns, [0, 2, 1, 2, 3], "the columns of row 0, then those of row 1, ..., each ascending")
    other = torch.rand(5, 9, generator=torch.Generator().manual_seed(0)) < 0.4
    pointer, columns = csr(other)
    near(pointer, torch.cat([torch.zeros(1), other.sum(1).cumsum(0)]), "for a larger matrix the pointer is wrong")
    require(columns.min() >= 0 and columns.max() < 9, "for a larger matrix there are columns outside it")
    back = torch.zeros_like(other)
    for row in range(5):
        back[row, columns[pointer[row] : pointer[row + 1]].tolist()] = True
    require(torch.equal(back, other), "for a larger matrix the rows do not give back the kept blocks")
    approve("to_csr", function, "starts at 0", "one entry more than rows", "empty rows", "gives the matrix back")


def _inputs(tokens: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = torch.randn(3, tokens, width, generator=torch.Generator().manual_seed(seed))
    return q, k, v


def _masked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    logits = (q @ k.T / math.sqrt(q.shape[1])).masked_fill(~mask, -torch.inf)
    return logits.softmax(1) @ v


def check_block_attention(function: Callable) -> None:
    """block_attention(q, k, v [t, d], pointer, columns, block) -> [t, d]: softmax attention over the kept blocks only."""
    kept = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)
    pointer, columns = torch.tensor([0, 1, 3, 5]), torch.tensor([0, 0, 1, 0, 2])
    q, k, v = _inputs(12, 8)
    out = shaped(ask(function, q, k, v, pointer, columns, 4), (12, 8), "the output")
    mask = kept.repeat_interleave(4, 0).repeat_interleave(4, 1)
    truth = _masked(q, k, v, mask)
    for scale, words in (
        (1.0, "the logits must be divided by sqrt(d)"),
        (1 / q.shape[1], "divide the logits by sqrt(d), not by d"),
    ):
        unscaled = (q @ k.T * scale).masked_fill(~mask, -torch.inf).softmax(1) @ v
        require(not torch.allclose(torch.from_numpy(out), unscaled), words)
    dense = (q @ k.T / math.sqrt(8)).softmax(1) @ v
    require(
        not torch.allclose(torch.from_numpy(out), dense), "this is dense attention: only the listed blocks may be seen"
    )
    near(out[:4], truth[:4], "row 0 of the blocks keeps block 0 alone, and is wrong")
    near(
        out[4:8],
        truth[4:8],
        "a row with several blocks shares one softmax among all of them; do not average per-block results",
    )
    near(out, truth, "the result differs from masked attention")
    far = k.clone()
    far[4:8] += 50  # block 1 is hidden from rows 0 and 2
    again = shaped(ask(function, q, far, v, pointer, columns, 4), (12, 8), "the output")
    near(
        again[[0, 1, 2, 3, 8, 9, 10, 11]],
        truth[[0, 1, 2, 3, 8, 9, 10, 11]],
        "a hidden block changed the result: it must not even be read",
    )
    approve(
        "block_attention",
        function,
        "only kept blocks",
        "one softmax a row",
        "scaled by sqrt(d)",
        "equals masked attention",
    )


class _Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that is made inside."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, Tensor) and one.untyped_storage().nbytes() <= one.numel() * one.element_size():
                self.size = max(self.size, one.numel())
        return made


def check_online_attention(function: Callable) -> None:
    """online_attention(q [n, d], blocks) -> [n, d]: blocks of (k [m, d], v [m, d]) come one by one, once."""
    q, k, v = _inputs(10, 4)
    q = q[:3]

    def answer(keys: Tensor, values: Tensor, block: int, queries: Tensor = q):
        def blocks() -> Iterator[tuple[Tensor, Tensor]]:
            for k, v in zip(keys.split(block), values.split(block), strict=True):
                k, v = k.clone(), v.clone()
                yield k, v
                for used in (k, v):  # as on a GPU, where the next block comes into the same fast memory
                    used.fill_(torch.nan)

        return shaped(call(function, queries.clone(), blocks()), (len(queries), 4), "the output")

    def in_one_pass() -> bool:
        """Whether no tensor is made that could hold all keys: none is larger than queries and one block are."""
        _, many, others = _inputs(400, 4)
        with _Largest() as largest:
            answer(many, others, 2)
        return largest.size < 400

    truth = (q @ k.T / 2).softmax(1) @ v
    kept = "blocks were kept or joined: each passes by once, and only maximum, sum and output may stay"
    require(not np.isnan(answer(k, v, 10)).any(), kept)
    near(answer(k, v, 10), truth, "with a single block this is plain attention, softmax(q k^T / sqrt(d)) v")
    rising = torch.cat([0.1 * k[:5], 3 * k[5:]])  # the largest logits come last
    two = answer(rising, v, 5)
    later = (q @ rising[5:].T / 2).softmax(1) @ v[5:]
    require(
        not torch.allclose(torch.from_numpy(two), later),
        "only the last block counts: rescale and keep what came before",
    )
    near(
        two,
        (q @ rising.T / 2).softmax(1) @ v,
        "with two blocks: when the maximum rises, shrink the old sum and the old output by exp(old - new)",
    )
    require(in_one_pass(), kept)
    near(answer(k, v, 3), truth, "blocks of different sizes give another result")
    near(answer(k.flip(0), v.flip(0), 3), truth, "the order of the keys must not matter")
    huge = answer(1000 * k, v, 3)
    near(
        huge,
        (q @ (1000 * k).T / 2).softmax(1) @ v,
        "large logits overflow: subtract the running maximum before exp",
        1e-3,
    )
    low = answer(k - 400 * q.mean(0), v, 3)
    near(
        low,
        (q @ (k - 400 * q.mean(0)).T / 2).softmax(1) @ v,
        "very negative logits vanish: the maximum starts at -inf, not at 0",
        1e-2,
    )
    approve(
        "online_attention",
        function,
        "one block",
        "rescaled sums",
        "one pass",
        "any block size and order",
        "large and small logits",
    )
