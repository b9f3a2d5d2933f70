"""Block masks side by side in the explorer, without a run: every query spreads its attention evenly over its keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from iasa.attention.frame_tiles import BLOCK, tile_labels, tiles_per_frame
from iasa.config import InputError
from iasa.explorer.pattern_recorder import PatternMaps
from iasa.masks import AttentionPlan
from iasa.masks.foreign_blocks import ForeignBlocks, blocks_from_flex

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

MAX_MAPPED_FRAMES = 128  # latent frames: the maps grow with their square


def block_maps(plan: AttentionPlan, masks: Mapping[str, ForeignBlocks | BlockMask]) -> PatternMaps:
    """The plan's own kept blocks and others' beside them; no mass is known of a mask alone. Raises InputError."""
    if plan.grid.frames > MAX_MAPPED_FRAMES:
        raise InputError(
            f"the clip has {plan.grid.frames} latent frames; block masks are shown of up to {MAX_MAPPED_FRAMES}"
        )
    csr = plan.block_csr()
    kept = torch.zeros(len(csr.size), len(csr.size), dtype=torch.bool)
    kept[csr.rows, csr.columns] = True
    label = torch.empty(plan.grid.tokens, dtype=torch.int64)
    label[plan.permutation()] = torch.repeat_interleave(torch.arange(len(csr.size)), csr.size)
    maps, density = {"input_aware": _tiled(plan, label, kept)}, [csr.density()]
    for name, mask in masks.items():
        blocks = mask if isinstance(mask, ForeignBlocks) else blocks_from_flex(mask)
        blocks.check_grid(plan.grid)
        maps[name if name not in maps else f"{name} (2)"] = _tiled(plan, blocks.label, blocks.kept)
        density.append(blocks.density())
    stacked = np.stack([one.float().numpy() for one in maps.values()])[:, None, None]
    unknown = np.full((len(maps), 1, 1), math.nan, np.float32)
    planning = (math.nan,) * len(maps)
    return PatternMaps(tuple(maps), tiles_per_frame(plan.grid, BLOCK), stacked, unknown, tuple(density), planning)


def _tiled(plan: AttentionPlan, label: Tensor, kept: Tensor) -> Tensor:
    """Share of its attention that a token of the row's tile gives to the column's tile, the mean: float64 [f*tiles, f*tiles]."""
    grid = plan.grid
    tiles = grid.frames * tiles_per_frame(grid, BLOCK)
    tile = tile_labels(grid, BLOCK, grid.frames)[0, 0]
    held = torch.bincount(label * tiles + tile, minlength=len(kept) * tiles).view(-1, tiles).double()  # tokens of both
    seen = kept.double() @ held  # [blocks, tiles], keys that a token of the block sees
    seen /= seen.sum(1, keepdim=True).clamp_min(1)
    return held.T @ seen / held.sum(0)[:, None]
