"""Block masks that others made: compressed rows in a JSON file, or a BlockMask of torch's FlexAttention.

    {"tokens": 6, "block": 2, "row_pointer": [0, 1, 3, 4], "columns": [0, 0, 1, 2]}

says that of six tokens in blocks of two the first two see themselves, the next two all four of these, and the last two
themselves. Row r keeps the key blocks columns[row_pointer[r] : row_pointer[r + 1]]. With "order", a list of all tokens,
place p of the blocked sequence holds token order[p]; tokens count frame after frame, each row by row.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from iasa.config import InputError
from iasa.grid import TokenGrid

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

MAX_BLOCKS = 4096  # of a side
NEEDED = '{"tokens": 512, "block": 64, "row_pointer": [0, ...], "columns": [...]}'


@dataclass(frozen=True)
class ForeignBlocks:
    """Kept blocks of a square attention matrix."""

    block: int
    kept: Tensor  # bool [blocks, blocks], rows are queries
    order: Tensor  # int64 [tokens], the token at each place

    @property
    def tokens(self) -> int:
        return len(self.order)

    @property
    def label(self) -> Tensor:
        """The block of each token: int64 [tokens]."""
        label = torch.empty_like(self.order)
        label[self.order] = torch.arange(self.tokens) // self.block
        return label

    def density(self) -> float:
        """Share of the pairs that lie in kept blocks."""
        size = torch.bincount(self.label, minlength=len(self.kept)).double()
        return float(size @ self.kept.double() @ size) / self.tokens**2

    def check_grid(self, grid: TokenGrid) -> None:
        """Raises InputError unless this is a mask of the grid's tokens."""
        if self.tokens != grid.tokens:
            raise InputError(
                f"the block mask is of {self.tokens} tokens; {grid.frames} latent frames of {grid.rows} x {grid.cols} "
                f"have {grid.tokens}"
            )


def read_blocks(path: str | os.PathLike) -> ForeignBlocks:
    """The blocks of a JSON file. Raises InputError."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path.name}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} cannot be read as text; a JSON file of blocks is needed: {NEEDED}") from error
    try:
        return blocks_from_json(text)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


def blocks_from_json(text: str) -> ForeignBlocks:
    """Raises InputError on what is no mask of blocks."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is no JSON; a mask of blocks is needed: {NEEDED}") from error
    if not isinstance(data, dict):
        raise InputError(f"the JSON is no object; a mask of blocks is needed: {NEEDED}")
    tokens, block = (_number(data, name) for name in ("tokens", "block"))
    blocks = -(-tokens // block)
    if blocks > MAX_BLOCKS:
        raise InputError(f"there are {blocks} blocks a side; up to {MAX_BLOCKS} are accepted")
    pointer, columns = (_numbers(data, name) for name in ("row_pointer", "columns"))
    if len(pointer) != blocks + 1:
        raise InputError(
            f"row_pointer has {len(pointer)} entries; {tokens} tokens in blocks of {block} need {blocks + 1}"
        )
    if pointer[0] != 0 or pointer[-1] != len(columns) or (pointer.diff() < 0).any():
        raise InputError(f"row_pointer must rise from 0 to {len(columns)}, the number of columns")
    if len(columns) and not 0 <= int(columns.min()) <= int(columns.max()) < blocks:
        raise InputError(
            f"a column is {int(columns.min() if columns.min() < 0 else columns.max())}; 0 to {blocks - 1} are accepted"
        )
    kept = torch.zeros(blocks, blocks, dtype=torch.bool)
    kept[torch.repeat_interleave(torch.arange(blocks), pointer.diff()), columns] = True
    if int(kept.sum()) != len(columns):
        raise InputError("a row names a column twice; each is named once")
    order = _numbers(data, "order") if data.get("order") is not None else torch.arange(tokens)
    if not torch.equal(order.sort().values, torch.arange(tokens)):
        raise InputError(f"order must hold each of the {tokens} tokens once, from 0 to {tokens - 1}")
    return ForeignBlocks(block, kept, order)


def blocks_from_flex(mask: BlockMask, clip: int = 0, head: int = 0, order: Tensor | None = None) -> ForeignBlocks:
    """A BlockMask of FlexAttention, its full and its partial blocks alike; `order` as in the file. Raises InputError."""
    queries, keys = mask.seq_lengths
    rows, columns = mask.BLOCK_SIZE
    if queries != keys or rows != columns:
        raise InputError(
            f"the BlockMask is of {queries} x {keys} tokens in blocks of {rows} x {columns}; a square one is needed"
        )
    kept = mask.to_dense()
    clips, heads = kept.shape[:2]
    if not (0 <= clip < clips and 0 <= head < heads):
        raise InputError(f"the BlockMask has {clips} clips of {heads} heads; clip {clip}, head {head} is asked for")
    order = torch.arange(queries) if order is None else order
    return ForeignBlocks(rows, kept[clip, head].bool().cpu(), order.cpu())


def _number(data: dict[str, Any], name: str) -> int:
    value = data.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**31:
        raise InputError(f"{name} is {_short(value)}; a whole number from 1 on is needed")
    return value


def _numbers(data: dict[str, Any], name: str) -> Tensor:
    values = data.get(name)
    if not isinstance(values, list):
        raise InputError(f"{name} is {_short(values)}; a list of whole numbers is needed")
    wrong = [value for value in values if type(value) is not int or not -(2**31) <= value < 2**31]
    if wrong:
        raise InputError(f"{name} holds {_short(wrong[0])}; whole numbers are needed")
    return torch.tensor(values, dtype=torch.int64)


def _short(value: object) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
