"""A plan in the forms that other block-sparse attention libraries read: torch's FlexAttention and FlashInfer.

Both take tokens in the plan's permuted order: q[..., order, :] with order = plan.permutation(), and the result goes
back with its inverse.
"""

from __future__ import annotations

import itertools
import json
import os
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from iasa.config import InputError, MaskOptions
from iasa.files import atomic_write, check_output, write_npz
from iasa.grid import TokenGrid
from iasa.masks.blocks import BlockCSR, join_bits
from iasa.masks.plan import AttentionPlan
from iasa.masks.plot import draw_plan


class FlashInferBlocks(NamedTuple):
    """Kept blocks for FlashInfer, whose kernels fill whole blocks (mode "pooled", whatever the plan's).

    `BlockSparseAttentionWrapper.plan(indptr, indices, M, N, R, C, ...)` takes the first six where all blocks have one
    size. `VariableBlockSparseAttentionWrapper.plan(block_mask_map, block_row_sz, block_col_sz, ...)` takes the sizes
    otherwise, and `block_mask_map()`; both with one leading axis for the heads.
    """

    indptr: Tensor  # int32 [rows + 1]
    indices: Tensor  # int32 [kept blocks]
    M: int  # queries
    N: int  # keys
    R: int  # rows of a block
    C: int  # columns of a block
    block_row_sz: Tensor  # int32 [1, rows], true sizes
    block_col_sz: Tensor  # int32 [1, columns]

    @property
    def uniform(self) -> bool:
        """Whether every block has R x C pairs."""
        return bool((self.block_row_sz == self.R).all() and (self.block_col_sz == self.C).all())

    def block_mask_map(self) -> Tensor:
        """bool [1, rows, columns], True where a block is kept."""
        rows = torch.repeat_interleave(torch.arange(len(self.indptr) - 1), self.indptr.diff())
        kept = torch.zeros(1, len(self.indptr) - 1, self.block_col_sz.shape[1], dtype=torch.bool)
        kept[0, rows, self.indices.long()] = True
        return kept


def to_flashinfer(plan: AttentionPlan, block: int | None = None) -> FlashInferBlocks:
    """The plan's kept blocks; `block` is the tile (default: the plan's)."""
    csr = plan.block_csr(block)
    tokens, sizes = plan.grid.tokens, csr.size.int()[None]
    return FlashInferBlocks(
        csr.row_pointer.int(), csr.columns.int(), tokens, tokens, csr.block, csr.block, sizes, sizes
    )


def to_flex(plan: AttentionPlan, block: int = 128, device: torch.device | str = "cpu") -> BlockMask:
    """The plan as a BlockMask of FlexAttention, from its kept blocks: no mask of all pairs is made.

    Flex's blocks all have one size and may straddle the plan's: every one that a kept block touches is kept, and one
    that full blocks cover is full. In the others `mask_mod` tests the frames and the region bits of each pair; in mode
    "pooled" a token's bits are those of its block. Memory grows with the square of the number of blocks, as a BlockMask
    does by itself.
    """
    pooled = plan.options.mode == "pooled"
    csr = plan.block_csr(None if pooled else block)
    blocks = -(-plan.grid.tokens // block)
    first, last = csr.start // block, (csr.start + csr.size - 1) // block
    kept = torch.zeros(blocks, blocks, dtype=torch.bool)
    filled = torch.zeros(blocks, blocks, dtype=torch.int64)  # pairs of each block that need no test
    sure = torch.ones_like(csr.full) if pooled else csr.full
    touched = [torch.minimum(first + i, last) for i in range(int((last - first).max()) + 1)]
    for i, j in itertools.product(range(len(touched)), repeat=2):
        row, column = touched[i][csr.rows], touched[j][csr.columns]
        kept[row, column] = True
        pairs = _shared_tokens(csr, touched[i], first + i, block)[csr.rows]
        pairs = pairs * _shared_tokens(csr, touched[j], first + j, block)[csr.columns]
        filled.index_put_((row[sure], column[sure]), pairs[sure], accumulate=True)
    full = filled == block * block
    return BlockMask.from_kv_blocks(
        *_counted(kept & ~full, device),
        *_counted(full, device),
        BLOCK_SIZE=block,
        mask_mod=_mask_mod(plan, csr, device),
        seq_lengths=(plan.grid.tokens, plan.grid.tokens),
    )


def _shared_tokens(csr: BlockCSR, touched: Tensor, wanted: Tensor, block: int) -> Tensor:
    """Tokens that each of the plan's blocks shares with the block of Flex it touches; 0 where it touches no `wanted` one."""
    begin = torch.maximum(csr.start, touched * block)
    end = torch.minimum(csr.start + csr.size, (touched + 1) * block)
    return torch.where(touched == wanted, end - begin, 0)


def _counted(kept: Tensor, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """(number of kept columns int32 [1, 1, rows], their names first int32 [1, 1, rows, columns])."""
    names = torch.argsort(kept.to(torch.uint8), dim=1, descending=True, stable=True)
    return kept.sum(1).int()[None, None].to(device), names.int()[None, None].contiguous().to(device)


def _mask_mod(plan: AttentionPlan, csr: BlockCSR, device: torch.device | str):
    """Whether two tokens, by their places in the permuted order, may meet."""
    n = plan.grid.tokens_per_frame
    bits = plan.region_bits.flatten()[plan.permutation()].int()
    if plan.options.mode == "pooled":
        bits = join_bits(bits, csr)
    bits, level = bits.to(device), (plan.visible + 2 * plan.visible_whole.int()).to(device)

    def allowed(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = level[query // n, key // n]  # 2 whole, 1 by region
        return (seen == 2) | ((seen == 1) & ((bits[query] & bits[key]) != 0))

    return allowed


SUFFIXES = (".npz", ".json", ".png")


def save_plan(path: str | os.PathLike, plan: AttentionPlan) -> None:
    """Write a plan in the format that the name's ending asks for. Raises InputError."""
    suffix = check_output(path, SUFFIXES).suffix.lower()
    with atomic_write(path) as partial:
        if suffix == ".json":
            partial.write_text(plan.to_json() + "\n")
        elif suffix == ".png":
            Image.fromarray(draw_plan(plan)).save(partial, optimize=True)
        else:
            arrays = {"frame_table": plan.frame_table.numpy(), "region_bits": plan.region_bits.numpy()}
            if plan.distance is not None:
                arrays["distance"] = plan.distance.numpy()
            settings = json.dumps({"grid": asdict(plan.grid), "options": asdict(plan.options)})
            write_npz(partial, settings=np.array(settings), **arrays)


def load_plan(path: str | os.PathLike) -> AttentionPlan:
    """Read a .npz or .json of `save_plan`; pickled content is refused. Raises InputError."""
    path = Path(path)
    try:
        if path.suffix.lower() == ".json":
            return AttentionPlan.from_json(path.read_text())
        with np.load(path, allow_pickle=False) as data:
            settings = json.loads(str(data["settings"]))
            distance = torch.from_numpy(data["distance"]) if "distance" in data.files else None
            return AttentionPlan(
                TokenGrid(**settings["grid"]),
                torch.from_numpy(data["frame_table"]),
                torch.from_numpy(data["region_bits"]),
                distance,
                MaskOptions(**settings["options"]),
            )
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path.name}") from error
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path.name} is not a plan: an npz or json of `iasa mask` is needed") from error
