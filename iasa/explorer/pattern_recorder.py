"""What every pattern of the gallery attends to in one run of the student, tile by tile: for the explorer's pickers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from iasa.attention.frame_tiles import BLOCK, pool, tile_labels, tiles_per_frame
from iasa.attention.given_blocks import GivenBlocks
from iasa.attention.pattern import Clip, Dense, DenseBeside, Pattern
from iasa.attention.patterns import find_pattern, pattern_names
from iasa.avatar.speaker import Reference
from iasa.config import InputError, check_steps
from iasa.explorer.pattern_details import PatternDetails
from iasa.explorer.recorder import latent_poses
from iasa.grid import TokenGrid
from iasa.keypoints import Keypoints
from iasa.masks import make_plan
from iasa.masks.foreign_blocks import ForeignBlocks
from iasa.pipeline import CoSpeechPipeline
from iasa.sampling import make_levels

SHOWN = ("input_aware", "sparse_forcing", "monarch", "svg2", "pab", "oracle", "radial", "local_window", "random_blocks")
MAX_TILED_FRAMES = 24  # latent frames: the maps grow with their square
DENSITY = 0.2


@dataclass(frozen=True)
class PatternMaps:
    """Maps of patterns at one density; the first is dense attention.

    maps: float32 [patterns, layers, nh, f*tiles, f*tiles], the share of its attention that a token of the row's tile gives
    to the column's tile; mass: float32 [patterns, layers, nh], the overlap with the dense weights, which is the attention
    mass kept where the pattern is a mask. refused: why some are not there.
    """

    names: tuple[str, ...]
    tiles: int  # of a frame
    maps: np.ndarray
    mass: np.ndarray
    density: tuple[float, ...]
    planning: tuple[float, ...]  # seconds
    refused: Mapping[str, str] = field(default_factory=dict)
    details: PatternDetails | None = None


class MapRecorder(DenseBeside):
    """Rolls out densely, and keeps what every candidate would have attended to in each frame's last step."""

    name: ClassVar[str] = "recorder"

    def __init__(self, candidates: Mapping[str, Pattern], layers: int) -> None:
        self.candidates, self.layers = {"dense": Dense(), **candidates}, layers

    def plan(self, clip: Clip) -> None:
        super().plan(clip)
        self._tiles = tiles_per_frame(clip.grid, BLOCK)
        self.maps = self.mass = np.zeros(0, np.float32)
        self.details = PatternDetails()

    def attend(self, layer: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = super().attend(layer, q, k, v)
        grid, dense = self.clip.grid, self.map(layer, q, k)[0].float()  # [nh, n, tokens so far]
        if not self.maps.size:
            shape = len(self.candidates), self.layers, q.shape[1], grid.frames * self._tiles, grid.frames * self._tiles
            self.maps, self.mass = np.zeros(shape, np.float32), np.zeros(shape[:3], np.float32)
        last = self.call.step == self.clip.steps - 1
        for number, candidate in enumerate(self.candidates.values()):
            candidate.attend(layer, q, k, v)
            if last:
                weights = candidate.map(layer, q, k)[0].float()
                self._keep(number, layer, weights)
                self.details.keep(layer, self.layers, candidate, q, k)
                kept = torch.minimum(weights, dense).sum((1, 2)) / (self.clip.video_frames * grid.tokens_per_frame)
                self.mass[number, layer] += kept.cpu().numpy()
        return out

    def _keep(self, number: int, layer: int, weights: Tensor) -> None:
        """Adds one frame's rows [nh, n, tokens so far], summed over the columns' tiles and averaged over the rows'."""
        grid = self.clip.grid
        so_far = weights.shape[2] // grid.tokens_per_frame
        columns, rows = (tile_labels(grid, BLOCK, frames, weights.device) for frames in (so_far, 1))
        by_column = weights.new_zeros(*weights.shape[:2], so_far * self._tiles)
        by_column.scatter_add_(2, columns.expand(weights.shape), weights)
        tiled = pool(by_column[None], rows, self._tiles)[0]
        place = slice((so_far - 1) * self._tiles, so_far * self._tiles)
        self.maps[number, layer, :, place, : tiled.shape[2]] = tiled.float().cpu().numpy()


def record_patterns(
    pipeline: CoSpeechPipeline,
    keypoints: Keypoints,  # at video rate
    reference: Reference,
    density: float = DENSITY,
    steps: int | None = None,
    seed: int = 0,
    masks: Mapping[str, ForeignBlocks] | None = None,
) -> PatternMaps:
    """Make the clip with the student, and look at what each pattern would have seen, and each of others' `masks`.

    Raises InputError on a long clip, and on a mask of another number of tokens.
    """
    latent = latent_poses(keypoints, reference)
    if len(latent) > MAX_TILED_FRAMES:
        raise InputError(f"the clip has {len(latent)} latent frames; patterns are recorded of up to {MAX_TILED_FRAMES}")
    steps, model = check_steps("student", steps), pipeline.models["student"]
    grid = TokenGrid(len(latent), model.config.rows, model.config.cols)
    clip = Clip(grid, tuple(make_levels(steps)), causal=True, plan=make_plan(latent, grid, pipeline.mask))
    candidates, refused = {}, {}
    for name in SHOWN:
        try:
            candidates[name] = find_pattern(name).at_density(density, clip)
            candidates[name].begin(clip)
        except InputError as error:
            candidates.pop(name, None)
            refused[name] = str(error)
    for name, blocks in (masks or {}).items():
        blocks.check_grid(grid)
        candidates[name if name not in pattern_names() else f"{name} (2)"] = GivenBlocks(blocks)
    recorder = MapRecorder(candidates, len(model.blocks))
    made = pipeline.stream(
        image=reference, keypoints=keypoints, model="student", num_inference_steps=steps, seed=seed, attention=recorder
    )
    for _ in made.frames:
        pass
    done = [candidate.computed for candidate in recorder.candidates.values()]
    every = recorder.layers * steps * clip.video_frames * grid.tokens_per_frame * grid.tokens
    return PatternMaps(
        tuple(recorder.candidates), tiles_per_frame(grid, BLOCK), recorder.maps, recorder.mass,
        tuple(one.pairs / every for one in done), tuple(one.planning for one in done), refused,
        recorder.details,
    )  # fmt: skip
