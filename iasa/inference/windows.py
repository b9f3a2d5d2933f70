"""The teacher: a whole clip at once, by overlapping windows whose overlaps are fused (paper, section 3.3), or under a pattern."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing

import torch
from torch import Tensor

from iasa.attention.frame_patterns import attend_window
from iasa.attention.pattern import Call, Clip, Pattern
from iasa.grid import TokenGrid
from iasa.inference.conditioning import DecoderInput, WarpedFrame, join_conditions
from iasa.inference.generation import Timing
from iasa.inference.prefetch import Source
from iasa.inference.streaming_rollout import OnStep
from iasa.masks import AttentionPlan
from iasa.models.transformer import Condition, VideoTransformer
from iasa.sampling import draw_noise, make_levels, sample_euler

TEACHER_WINDOW, TEACHER_OVERLAP = 6, 2  # latent frames
DECODED = 8  # latent frames that are decoded at a time


class TeacherClip:
    """Denoises all frames of a clip together: densely in windows, or without windows under a pattern.

    The paper's pattern is causal, so under it a clip of any length costs a frame's attention for each frame.
    """

    def __init__(
        self,
        model: VideoTransformer,
        reference: Condition,  # whose frame 0 is the reference
        steps: int,
        generator: torch.Generator | None = None,
        plan: Callable[[], AttentionPlan] | None = None,  # asked once all poses are planned, for the pattern
        pattern: Pattern | None = None,  # None: dense windows
        on_step: OnStep | None = None,
        report: Callable[[float], None] | None = None,  # of the share that is done, 0 to 1
    ) -> None:
        self.model, self.reference, self.steps, self.generator = model, reference, steps, generator
        self.plan, self.pattern, self.on_step, self.report = plan, pattern, on_step, report

    def embed(self, summary: Tensor) -> Tensor:
        return summary

    def denoise(self, frames: Source[WarpedFrame], timing: Timing) -> Generator[tuple[Tensor, DecoderInput]]:
        """The latents of DECODED frames at a time, once all are made. Pictures are not kept meanwhile: they would fill the
        memory."""
        with closing(frames):
            given, poses = zip(*((frame, shown[:2]) for frame, shown in frames), strict=True)
        attend, window, overlap = attend_window, TEACHER_WINDOW, TEACHER_OVERLAP
        if self.pattern is not None:
            with timing.stage("plan"):
                grid = TokenGrid(1 + len(given), self.model.config.rows, self.model.config.cols)
                levels, plan = tuple(make_levels(self.steps)), self.plan and self.plan()
                self.pattern.begin(Clip(grid, levels, plan=plan))
                attend, window, overlap = self.pattern, len(given), 0
        with timing.stage("denoise", self.reference.base.device), torch.inference_mode():
            latents = self._sample(join_conditions(self.reference, given), attend, window, overlap)[0]
        for i in range(0, len(latents), DECODED):
            xy, confidence = (torch.cat(part) for part in zip(*poses[i : i + DECODED], strict=True))
            yield latents[i : i + DECODED], DecoderInput(xy, confidence, None)

    def _sample(self, condition: Condition, attend, window: int, overlap: int) -> Tensor:  # [1, f, c, h, w]
        frames, levels = condition.base.shape[1] - 1, make_levels(self.steps)
        noise = draw_noise((1, frames, *condition.base.shape[2:]), self.generator, condition.base.device)
        calls, done = self.steps * len(window_starts(frames, window, overlap)), 0

        def predict(x: Tensor, level: float, which: slice) -> Tensor:
            nonlocal done
            with_reference = torch.cat([condition.base[:, :1], x], 1)
            levels = torch.full(with_reference.shape[:2], level, device=x.device)
            levels[:, 0] = 0.0
            picked = condition.frames([0, *range(which.start + 1, which.stop + 1)])
            clean = self.model(with_reference, levels, picked, attend)[:, 1:].float()
            done += 1
            if self.report:
                self.report(done / calls)
            return clean

        def denoise(x: Tensor, level: float) -> Tensor:
            if self.pattern is not None:
                self.pattern.next_call(Call(levels.index(level), level))
            return denoise_windows(predict, x, level, window, overlap)

        on_step = self.on_step
        tell = None if on_step is None else lambda step, x: on_step(step, levels[step], x)
        return sample_euler(denoise, noise, self.steps, tell)


def window_starts(frames: int, window: int = TEACHER_WINDOW, overlap: int = TEACHER_OVERLAP) -> range:
    """Where the windows over a video begin."""
    return range(0, max(1, frames - overlap), window - overlap)


@torch.inference_mode()
def denoise_windows(
    predict: Callable[[Tensor, float, slice], Tensor], x: Tensor, level: float, window: int, overlap: int
) -> Tensor:
    """One teacher step over a video of any length: overlapping windows, fused by frame (paper, long video).

    predict(x_window, level, frames) -> x0 of that window; in an overlap the later window's share rises linearly.
    x [b, f, c, h, w] -> x0 of the same shape.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"an overlap of {overlap} does not fit a window of {window}")
    frames = x.shape[1]
    total, weight = torch.zeros_like(x), x.new_zeros(frames)
    for start in window_starts(frames, window, overlap):
        stop = min(start + window, frames)
        ramp = x.new_ones(stop - start)
        rising = torch.arange(1, overlap + 1, device=x.device) / (overlap + 1)
        if start > 0:
            ramp[:overlap] = rising[: len(ramp)]
        if stop < frames:
            ramp[len(ramp) - overlap :] *= rising.flip(0)
        part = predict(x[:, start:stop], level, slice(start, stop))
        total[:, start:stop] += part * ramp[:, None, None, None]
        weight[start:stop] += ramp
    return total / weight[:, None, None, None]
