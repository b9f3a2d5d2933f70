"""The student's roll-out under any pattern of the gallery: frame after frame, each attending to the keys that the pattern
picks from those of all earlier frames. `StudentStream` is the faster one, and the paper's pattern alone."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial

import torch
from torch import Tensor

from iasa.attention.dense import dense_attention
from iasa.attention.pattern import Call, Clip, Pattern
from iasa.config import InputError
from iasa.grid import TokenGrid
from iasa.inference.conditioning import DecoderInput, WarpedFrame, join_conditions
from iasa.inference.generation import Timing
from iasa.inference.prefetch import Source
from iasa.inference.streaming_rollout import OnStep
from iasa.masks import AttentionPlan
from iasa.models.transformer import Condition, VideoTransformer
from iasa.sampling import draw_noise, make_levels, sample_few_step

MAX_FRAMES = 125  # latent frames, 10 s: the keys of all are kept


class PatternRollout:
    """Denoises one frame after the other once all poses are known; the keys kept are those of a frame's last step."""

    def __init__(
        self,
        model: VideoTransformer,
        reference: Condition,  # whose frame 0 is the reference
        pattern: Pattern,
        steps: int,
        generator: torch.Generator | None,
        plan: Callable[[], AttentionPlan],  # asked once all poses are planned
        on_step: OnStep | None = None,
    ) -> None:
        self.model, self.reference, self.pattern = model, reference, pattern
        self.levels, self.generator = make_levels(steps), generator
        self.plan, self.on_step = plan, on_step
        self.steps = 0  # done so far
        self._keys: list[dict[int, tuple[Tensor, Tensor]]] = []  # of each frame: layer -> k and v [b, nh, 1, n, d]

    def embed(self, summary: Tensor) -> Tensor:
        return summary

    def denoise(self, frames: Source[WarpedFrame], timing: Timing) -> Generator[tuple[Tensor, DecoderInput]]:
        """The latents [1, c, h, w] of each frame."""
        with closing(frames):
            given, shown = zip(*frames, strict=True)
        if len(given) > MAX_FRAMES:
            raise InputError(
                f"{self.pattern.name} keeps the keys of all frames, and there are {len(given)} latent ones; "
                f"up to {MAX_FRAMES} are accepted, and any number under input_aware"
            )
        with torch.inference_mode(), timing.stage("condition", self.reference.base.device):
            condition = join_conditions(self.reference, given)
        with timing.stage("plan"):
            config = self.model.config
            grid = TokenGrid(1 + len(given), config.rows, config.cols)
            self.pattern.begin(Clip(grid, tuple(self.levels), causal=True, plan=self.plan()))
        with timing.stage("denoise", self.reference.base.device):
            self._read_reference(condition)
        for frame, of_decoder in enumerate(shown, start=1):
            with timing.stage("denoise", self.reference.base.device):
                latents = self._next_frame(condition.frames([frame]))
            yield latents, of_decoder

    @torch.inference_mode()
    def _read_reference(self, condition: Condition) -> None:
        self._keys = [{}]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self._keys[0][layer] = (k, v)
            return dense_attention(q[:, :, 0], k[:, :, 0], v[:, :, 0])[:, :, None]

        first = condition.base[:, :1]
        self.model(first, first.new_zeros(first.shape[:2]), condition.frames([0]), attend)

    @torch.inference_mode()
    def _next_frame(self, condition: Condition) -> Tensor:  # [1, c, h, w]
        self._keys.append({})

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self._keys[-1][layer] = (k, v)
            k, v = (torch.cat(parts, 2) for parts in zip(*(keys[layer] for keys in self._keys), strict=True))
            return self.pattern(layer, q, k, v)

        def denoise(x: Tensor, level: float) -> Tensor:
            self.pattern.next_call(Call(self.levels.index(level), level))
            level_of = torch.full((1, 1), level, device=x.device)
            return self.model(x[None, None], level_of, condition, attend, first_is_reference=False)[0, 0]

        tell = None if self.on_step is None else partial(self._tell, self.on_step)
        base = condition.base[0, 0]
        noise = draw_noise(base.shape, self.generator, base.device)
        clean = sample_few_step(denoise, noise, len(self.levels), self.generator, tell)
        self.pattern.end_frame()
        return clean[None]

    def _tell(self, on_step: OnStep, step: int, x: Tensor) -> Tensor:
        self.steps += 1
        return on_step(self.steps - 1, self.levels[step], x[None, None])[0, 0]
