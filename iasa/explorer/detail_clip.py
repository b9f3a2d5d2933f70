"""A clip of the memory bed for the explorer: a speaker whose details hide, show and show again, with exact masks of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iasa.avatar.details import DETAILS
from iasa.config import HELDOUT_IDENTITY, MemoryOptions
from iasa.grid import TokenGrid
from iasa.keypoints import Keypoints
from iasa.masks import AttentionPlan, make_plan
from iasa.training.memory_data import FRAMES, RATE, SIDE, make_clip

SHOWS = 0.05  # share of a token's pixels from which on it shows a detail


@dataclass(frozen=True)
class DetailClip:
    """What `explorer_html` takes; frame 0 is the reference, which hides what the others show."""

    plan: AttentionPlan
    keypoints: Keypoints
    thumbnails: list[np.ndarray]  # uint8 [S, S, 3]
    details: dict[str, np.ndarray]  # bool [f, n]


def make_detail_clip(seed: int = 1, frames: int = FRAMES) -> DetailClip:
    """A held-out speaker of the memory bed, and the plan of its teacher: whole frames, chosen by pose."""
    pictures, _, masks, xy, confidence = make_clip(HELDOUT_IDENTITY + seed, frames)
    options = MemoryOptions()
    side = SIDE // options.patch
    cells = masks.reshape(*masks.shape[:2], side, options.patch, side, options.patch).mean((3, 5))  # [1 + f, d, h, w]
    shown = (cells >= SHOWS).reshape(*cells.shape[:2], -1)
    poses = Keypoints(xy, confidence, RATE)
    plan = make_plan(poses, TokenGrid(len(poses), side, side), options.mask())
    return DetailClip(plan, poses, list(pictures), {name: shown[:, d] for d, name in enumerate(DETAILS)})
