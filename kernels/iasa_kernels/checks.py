"""What callers may get wrong: ValueError names the thing, the value found and what is accepted, before anything computes."""

from __future__ import annotations

import operator

import torch
from torch import Tensor

MAX_BLOCK = 128
MAX_TOKENS = (1 << 31) - 1 - MAX_BLOCK  # the kernels count in int32
INTEGERS = (torch.int32, torch.int64)


def check_whole(name: str, value: int, least: int, most: int) -> None:
    try:
        whole = least <= operator.index(value) <= most and not isinstance(value, bool)
    except TypeError:
        whole = False
    if not whole:
        raise ValueError(f"{name} is {value!r}; a whole number from {least} to {most} is accepted")


def check_dense(name: str, value: Tensor, device: torch.device | None = None) -> None:
    """An ordinary tensor, on that device if one is given."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is {type(value).__name__}; a torch tensor is needed")
    if value.is_nested or value.layout != torch.strided:
        raise ValueError(f"{name} is {'nested' if value.is_nested else value.layout}; a dense tensor is needed")
    if device not in (None, value.device):
        raise ValueError(f"{name} is on {value.device}; {device} is needed, where the lists of blocks are")


def check_lists(**numbers: Tensor) -> None:
    """Integers on one device that holds values."""
    for name, value in numbers.items():
        check_dense(name, value)
        if value.dtype not in INTEGERS:
            raise ValueError(f"{name} is {value.dtype}; one of {INTEGERS} is needed")
    where = sorted({str(value.device) for value in numbers.values()})
    if where != [where[0]] or where == ["meta"]:
        raise ValueError(f"the lists of blocks are on {', '.join(where)}; one device that holds values is needed")
    if numbers["columns"].ndim != 1:
        raise ValueError(f"columns has shape {list(numbers['columns'].shape)}; [kept blocks] is needed")


def check_blocks(name: str, start: Tensor, size: Tensor, tokens: int | None) -> int:
    """The number of tokens, up to the end of the last block unless it is given."""
    if start.shape != size.shape or start.ndim != 1 or not len(start):
        raise ValueError(f"{name} blocks have starts {list(start.shape)} and sizes {list(size.shape)}; [blocks] twice")
    if int(size.min()) < 0 or int(size.max()) > MAX_BLOCK:
        raise ValueError(
            f"{name} blocks hold {int(size.min())} to {int(size.max())} tokens; 0 to {MAX_BLOCK} are accepted"
        )
    if int(start.max()) > MAX_TOKENS:  # before it is added to
        raise ValueError(f"{name} blocks start at up to {int(start.max())}; 0 to {MAX_TOKENS} is accepted")
    if tokens is None:
        tokens = int((start + size).max())
    check_whole(f"the number of {'keys' if name == 'key' else 'queries'}", tokens, 0, MAX_TOKENS)
    if int(start.min()) < 0 or int((start + size).max()) > tokens:
        raise ValueError(
            f"{name} blocks go from {int(start.min())} to {int((start + size).max())}; 0 to {tokens} is accepted"
        )
    some = size > 0
    order = torch.argsort(start[some])
    start, size = start[some][order], size[some][order]
    if (start[1:] < (start + size)[:-1]).any():
        raise ValueError(f"{name} blocks overlap; each token may be in one block")
    return tokens


def check_rows(row_pointer: Tensor, columns: Tensor, rows: int, blocks: int) -> None:
    ends = row_pointer[[0, -1]].tolist() if row_pointer.ndim == 1 and len(row_pointer) else []
    if row_pointer.shape != (rows + 1,) or ends != [0, len(columns)] or (row_pointer.diff() < 0).any():
        raise ValueError(
            f"row_pointer has shape {list(row_pointer.shape)} and goes from {' to '.join(map(str, ends))}; "
            f"[{rows + 1}], rising from 0 to {len(columns)}, is needed"
        )
    if len(columns) and not (0 <= int(columns.min()) and int(columns.max()) < blocks):
        raise ValueError(
            f"columns go from {int(columns.min())} to {int(columns.max())}; 0 to {blocks - 1} are accepted"
        )
    row = torch.repeat_interleave(torch.arange(rows, device=columns.device), row_pointer.diff())
    kept, counts = (row * blocks + columns).unique(return_counts=True)
    if len(kept) < len(columns):
        twice = int(kept[counts > 1][0])
        raise ValueError(f"row {twice // blocks} names column {twice % blocks} more than once; once is accepted")


def checked_bits(bits: Tensor | None, tokens: int, name: str, device: torch.device) -> Tensor:
    if bits is None:
        raise ValueError(f"{name} is missing; blocks that are not full need it")
    check_dense(name, bits, device)
    if bits.shape != (tokens,) or bits.dtype not in (torch.uint8, torch.int32):
        raise ValueError(f"{name} is {bits.dtype} {list(bits.shape)}; uint8 or int32 [{tokens}] is needed")
    return bits[None].int().contiguous()
