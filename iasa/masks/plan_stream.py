"""The plan made as poses come: each frame's row, from a bounded memory of past poses.

`make_plan` sees a whole clip; a roll-out that must run for hours sees one pose after the other. Both give the same rows
as long as the memory holds all frames within `MaskOptions.reach`. With a smaller `capacity` something must be evicted:
of the two poses in memory that are most alike the older goes, so that what stays is diverse (and the frames just before
always stay). The reference is the sink and is never evicted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import REGIONS, UPPER_BODY, Keypoints, concat_keypoints
from iasa.masks.plan import AttentionPlan, check_options
from iasa.masks.regions import parts_shown, region_bits
from iasa.masks.similarity import closeness_rank, cross_distance


@dataclass(frozen=True, eq=False)
class PlanRow:
    """What one frame attends to beside itself and the sink."""

    frame: int
    past: tuple[int, ...]  # frames that it sees through the region rule, ascending, without the sink
    bits: Tensor  # uint8 [n]
    chosen: tuple[int, ...]  # its row of `AttentionPlan.frame_table`: K by pose, then the window; -1 pads
    evicted: tuple[int, ...]  # frames that no later row will name


class PlanStream:
    """Push poses at latent rate, get their rows; the first pose is frame 0, the reference where there is a sink."""

    def __init__(
        self,
        options: MaskOptions | None = None,
        rows: int = 16,
        cols: int = 16,
        capacity: int | None = None,  # past frames that are remembered; all within reach for None
    ) -> None:
        self.options = options or MaskOptions()
        check_options(self.options)
        if self.options.sinks > 1 or self.options.chunk > 1 or self.options.whole_window or not self.options.causal:
            raise InputError("a stream's plan is causal, frame by frame, with at most one reference")
        least = self.options.top_k + self.options.window
        if capacity is not None and capacity < max(least, 1):
            raise InputError(f"a memory of {capacity} past frames is too small; each frame sees {least} of them")
        self.grid = TokenGrid(1, rows, cols)
        self.capacity = min(capacity or self.options.reach, self.options.reach)  # frames in memory at most
        self.frame = 0  # of the next pose
        self._shapes: Keypoints | None = None  # the first frames that show each part of the body
        self._shown = np.zeros(0, bool)
        points = len(UPPER_BODY)
        self._frames: list[int] = []  # in memory, ascending
        self._xy = torch.zeros(0, points, 2, dtype=torch.float64)
        self._weights = torch.zeros(0, points, dtype=torch.float64)
        self._apart = np.zeros((0, 0))  # ranks of the distances between the poses in memory

    def push(self, poses: Keypoints) -> list[PlanRow]:
        """The rows of the next poses, at latent rate."""
        bits = self._bits(poses)
        body = list(UPPER_BODY)
        xy = torch.from_numpy(poses.xy[:, body]).double()
        weights = torch.from_numpy(poses.confidence[:, body]).double()
        known = [*self._frames, *range(self.frame, self.frame + len(poses))]
        all_xy, all_weights = torch.cat([self._xy, xy]), torch.cat([self._weights, weights])
        distances = closeness_rank(cross_distance(xy, all_xy, weights, all_weights)).numpy()  # [poses, known]
        place = {frame: i for i, frame in enumerate(known)}
        rows = []
        for row, own in zip(distances, bits, strict=True):
            rows.append(self._row(row[[place[f] for f in self._frames]], own))
        kept = [place[f] for f in self._frames]
        self._xy, self._weights = all_xy[kept], all_weights[kept]
        return rows

    def _bits(self, poses: Keypoints) -> Tensor:
        if not self.options.local:
            return torch.full((len(poses), self.grid.tokens_per_frame), (1 << len(REGIONS)) - 1, dtype=torch.uint8)
        bits, start = [], 0
        for i, shown in enumerate(parts_shown(poses)):
            if self._shapes is not None and not (shown & ~self._shown).any():
                continue
            if i > start:  # the frames before do not know this one
                bits.append(self._regions(poses[start:i]))
                start = i
            pose = poses[i : i + 1]
            self._shapes = pose if self._shapes is None else concat_keypoints(self._shapes, pose)
            self._shown = shown if self._shown.size == 0 else self._shown | shown
        return torch.cat([*bits, self._regions(poses[start:])])

    def _regions(self, poses: Keypoints) -> Tensor:
        return region_bits(poses, self.grid, self.options.method, self._shapes)

    def _row(self, distance: np.ndarray, bits: Tensor) -> PlanRow:
        """The next row, from the distances of its pose to those in memory."""
        options, frame = self.options, self.frame
        nearest = sorted((d, -f) for d, f in zip(distance.tolist(), self._frames, strict=True) if d < np.inf)
        chosen = [-f for _, f in nearest[: options.top_k]]
        window = range(frame - 1, frame - 1 - options.window, -1)
        padded = chosen + [-1] * (options.top_k - len(chosen))
        padded += [f if f in self._frames and f not in chosen else -1 for f in window]
        if frame > 0 or not options.sink:
            self._frames.append(frame)
            self._apart = np.pad(self._apart, ((0, 1), (0, 1)), constant_values=np.inf)
            self._apart[-1, :-1] = distance  # in a row the distances to older poses
        self.frame += 1
        return PlanRow(frame, tuple(sorted(set(padded) - {-1})), bits, tuple(padded), self._forget())

    def _forget(self) -> tuple[int, ...]:
        """Generation out of the memory what the next row may not name, and what there is no room for."""
        gone = [f for f in self._frames if f < self.frame - self.options.reach]
        for frame in gone:
            self._drop(self._frames.index(frame))
        while len(self._frames) > self.capacity:
            free = sum(f < self.frame - self.options.window for f in self._frames)
            nearest = self._apart[:, :free].min(0)  # of each, to a newer one
            gone.append(self._frames[int(nearest.argmin())])
            self._drop(int(nearest.argmin()))
        return tuple(gone)

    def _drop(self, place: int) -> None:
        keep = np.arange(len(self._frames)) != place
        self._frames.pop(place)
        self._apart = self._apart[keep][:, keep]


def join_rows(rows: list[PlanRow], options: MaskOptions, grid: TokenGrid) -> AttentionPlan:
    """The rows of frames 0, 1, 2, ... as a plan; `grid` gives the rows and columns of its tokens."""
    table = torch.tensor([row.chosen for row in rows], dtype=torch.int64).reshape(len(rows), -1)
    bits = torch.stack([row.bits for row in rows])
    return AttentionPlan(TokenGrid(len(rows), grid.rows, grid.cols), table, bits, None, options)
