"""The plan's rules between frames: which see each other whole, and which a frame may choose by pose.

The first `options.sinks` frames are references, seen whole by all later ones. The others are denoised in chunks of
`options.chunk` frames that see each other whole. A frame chooses among the frames before its chunk and, unless
`options.causal`, among those after it. `options.window` frames on each open side of the chunk are always visible: by
the region rule, or whole with `options.whole_window`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iasa.config import MaskOptions

Spans = tuple[tuple[int, int], ...]  # runs of frames: (first, end), ...


def chunk_bounds(frames: int, options: MaskOptions) -> tuple[Tensor, Tensor]:
    """First and end frame of every frame's chunk: two int64 [f]. The sinks are a chunk of their own."""
    first = min(options.sinks, frames)
    index = torch.arange(frames)
    start = first + (index - first) // options.chunk * options.chunk
    end = (start + options.chunk).clamp_max(frames)
    sink = index < first
    return start.masked_fill(sink, 0), end.masked_fill(sink, first)


def whole_spans(frames: int, options: MaskOptions) -> tuple[Spans, ...]:
    """For each frame the frames that it sees whole: those about its own, then the sinks where it is not one."""
    first = min(options.sinks, frames)
    around = options.window if options.whole_window else 0
    spans = []
    for t, (start, end) in enumerate(zip(*(bound.tolist() for bound in chunk_bounds(frames, options)), strict=True)):
        low = max(start - around, first) if t >= first else 0
        high = end if options.causal else min(end + around, frames)
        spans.append(((low, high), (0, first)) if t >= first > 0 else ((low, high),))
    return tuple(spans)


def candidates(rows: slice, frames: int, options: MaskOptions) -> Tensor:
    """Frames that the frames of `rows` may choose by pose: bool [rows, f]. Never a sink, nor what is seen whole."""
    index = torch.arange(frames)
    start, end = (bound[rows, None] for bound in chunk_bounds(frames, options))
    around = options.window if options.whole_window else 0
    found = (index < start - around) & (index >= start - options.reach)
    if not options.causal:
        found |= (index >= end + around) & (index < end + options.reach)
    return found & (index >= options.sinks)


def add_window(frame_table: Tensor, options: MaskOptions) -> Tensor:
    """The table with each frame's window that it lacks, nearest first: int64 [f, k + window, or twice the window]."""
    frames = len(frame_table)
    start, end = chunk_bounds(frames, options)
    columns = [frame_table]
    for step in range(0 if options.whole_window else options.window):
        for other in (start - 1 - step,) if options.causal else (start - 1 - step, end + step):
            known = (torch.cat(columns, 1) == other[:, None]).any(1)
            columns.append(torch.where((other >= options.sinks) & (other < frames) & ~known, other, -1)[:, None])
    return torch.cat(columns, dim=1)
