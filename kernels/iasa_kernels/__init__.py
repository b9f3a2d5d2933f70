"""Block-sparse attention in Triton: forward with log-sum-exp, backward, pair masks from bitfields, no n x n mask."""

from iasa_kernels.api import block_sparse_attention, merge_attention
from iasa_kernels.csr import BlockLayout, make_layout, stack_layouts
from iasa_kernels.reference import reference_attention
from iasa_kernels.tiles import TileList

__all__ = [
    "BlockLayout",
    "TileList",
    "block_sparse_attention",
    "make_layout",
    "merge_attention",
    "reference_attention",
    "stack_layouts",
]
