"""What an attention pattern is: it plans, attends, says what it computed, and shows its map. `Dense` is the shortest one.

A network calls a pattern as it calls any `Attend`. Who runs the network tells the pattern three things besides: `begin`,
what is known of the clip; `next_call`, which denoising step this is; and in a roll-out `end_frame`, that a frame is
finished. Frames in front that are references attend to themselves alone, so that their keys stay the same over all steps
and patterns; a pattern is asked for the other frames.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from iasa.attention.dense import dense_attention
from iasa.attention.patterns import register
from iasa.attention.token_blocks import TokenBlocks, attend_blocks
from iasa.config import InputError, Sentence
from iasa.grid import TokenGrid
from iasa.masks.plan import AttentionPlan


@dataclass(frozen=True)
class Clip:
    """What is known of a clip before anything of it is denoised."""

    grid: TokenGrid  # of all latent frames, the references among them
    levels: tuple[float, ...]  # noise of each denoising step, falling from 1
    causal: bool = False  # no frame sees a later one; a roll-out makes them one by one
    references: int = 1  # frames in front that are not denoised
    plan: AttentionPlan | None = None  # what the poses say; None where there are none

    @property
    def steps(self) -> int:
        return len(self.levels)

    @property
    def video_frames(self) -> int:
        return self.grid.frames - self.references

    @property
    def dense_share(self) -> float:
        """Share of the attention matrix that dense attention computes for the video's frames."""
        return (1 + (self.video_frames + 2 * self.references - 1) / 2) / self.grid.frames if self.causal else 1.0


@dataclass(frozen=True)
class Call:
    """One pass through the network."""

    step: int = 0
    level: float = 1.0
    branch: str = ""  # of classifier-free guidance


@dataclass
class Computed:
    """What a pattern has done since `begin`; pairs are those of one head, the mean over heads and clips of a batch."""

    calls: int = 0
    pairs: float = 0.0
    all_pairs: float = 0.0  # of the whole attention matrix in the same calls
    flops: float = 0.0  # of all heads, planning included
    planning: float = 0.0  # seconds of the calling thread's processor
    attending: float = 0.0  # the same, planning included

    @property
    def density(self) -> float:
        """Share of the attention matrix that was computed."""
        return self.pairs / max(self.all_pairs, 1.0)

    @contextmanager
    def clock(self, what: str) -> Iterator[None]:
        start = time.thread_time()
        try:
            yield
        finally:
            setattr(self, what, getattr(self, what) + time.thread_time() - start)


class Pattern(ABC):
    """One way to choose which pairs of tokens are computed. Subclasses are dataclasses of their options."""

    name: ClassVar[str]
    rolls_out: ClassVar[bool] = True  # can make frames one by one, each from keys of earlier ones
    trains: ClassVar[bool] = True  # gradients pass
    from_poses: ClassVar[bool] = False  # follows the clip's plan, and looks at no query or key
    clip: Clip
    call: Call
    computed: Computed

    def begin(self, clip: Clip) -> None:
        """Plan for a clip and forget the one before. Raises InputError if this pattern cannot serve it."""
        self.clip, self.call, self.computed = clip, Call(), Computed()
        self.check_run(clip.steps, clip.causal)
        self.plan(clip)

    def check_run(self, steps: int, causal: bool) -> None:
        """What can be refused before the clip is known. Raises InputError."""
        if causal and not self.rolls_out:
            self.refuse(
                Sentence("makes a clip as a whole, and this one is made frame by frame"), Sentence("dense or svg2")
            )

    def plan(self, clip: Clip) -> None:  # noqa: B027 (many have nothing to plan)
        """What can be decided before the first call."""

    def next_call(self, call: Call) -> None:
        self.call = call

    def end_frame(self) -> None:  # noqa: B027 (most keep nothing of a frame)
        """The last step of a roll-out's frame is done."""

    @abstractmethod
    def attend(
        self,
        layer: Any,  # number or name of the layer
        q: Tensor,  # [b, nh, fq*n, d], the last fq frames of the keys
        k: Tensor,  # [b, nh, fk*n, d], frame 0 the reference
        v: Tensor,  # [b, nh, fk*n, d]
    ) -> Tensor:
        """Attention of whole frames that are no references: [b, nh, fq*n, d]."""

    @property
    def has_map(self) -> bool:
        """Whether this step's call has one; see `map`."""
        return True

    @abstractmethod
    def map(self, layer: Any, q: Tensor, k: Tensor) -> Tensor:
        """The weights that the last call of `attend` with these q and k used in effect: [b, nh, fq*n, fk*n]."""

    @classmethod
    def at_density(cls, density: float, clip: Clip) -> Pattern:
        """The pattern with options that compute nearest to this share of the clip's pairs. Raises InputError."""
        raise InputError(f"{cls.name} cannot be set to a density; call it with options of its own")

    def __call__(self, layer: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """`Attend`: q [b, nh, fq, n, d], the last frames of k and v [b, nh, fk, n, d] -> [b, nh, fq, n, d]."""
        if not self.trains and torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
            self.refuse(Sentence("has no backward pass"), Sentence("sparse_forcing or monarch"))
        own = self.references_among(q, k)
        with self.computed.clock("attending"):
            out = self.attend(layer, *(x.flatten(2, 3) for x in (q[:, :, own:], k, v)))
        out = out.view_as(q[:, :, own:])
        self.computed.calls += 1
        self.computed.all_pairs += (q.shape[2] - own) * q.shape[3] * self.clip.grid.tokens
        if not own:
            return out
        first = dense_attention(*(x[:, :, :own].flatten(2, 3) for x in (q, k, v)))
        return torch.cat([first.view_as(q[:, :, :own]), out], 2)

    def references_among(self, q: Tensor, k: Tensor) -> int:
        """How many of the queries' frames are references: all of them where the clip comes whole, else none."""
        return self.clip.references if q.shape[2] == k.shape[2] > 1 else 0

    def count(self, pairs: float, q: Tensor, products: float = 2.0) -> None:
        """Add pairs of a call: each takes part in `products` products of the heads' width (two: q k and p v)."""
        self.computed.pairs += pairs
        self.computed.flops += 2.0 * products * q.shape[-1] * q.shape[0] * q.shape[1] * pairs

    def refuse(self, why: Sentence, instead: Sentence) -> NoReturn:
        """Raises the InputError of what this pattern cannot do, and of those that can."""
        raise InputError("{name} {why}; {instead} could serve", name=self.name, why=why, instead=instead)

    def need_frames(self, clip: Clip) -> None:
        if clip.video_frames < 2:
            self.refuse(
                Sentence("chooses among frames, and there is {frames}", frames=clip.video_frames),
                Sentence("dense or monarch"),
            )


class BlockPattern(Pattern):
    """A pattern that says which blocks of tokens meet."""

    @abstractmethod
    def blocks(self, layer: Any, q: Tensor, k: Tensor) -> TokenBlocks:
        """What `attend` computes of q [b, nh, fq*n, d] and k [b, nh, fk*n, d]."""

    def begin(self, clip: Clip) -> None:
        self._last: dict[Any, TokenBlocks] = {}
        super().begin(clip)

    def attend(self, layer: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with self.computed.clock("planning"), torch.no_grad():
            blocks = self._last[layer] = self.blocks(layer, q, k)
        self.count(blocks.pairs(), q)
        return attend_blocks(q, k, v, blocks)

    def last_blocks(self, layer: Any) -> TokenBlocks:
        """What this layer's last call computed."""
        return self._last[layer]

    def map(self, layer: Any, q: Tensor, k: Tensor) -> Tensor:
        return masked_softmax(q, k, self._last[layer].allowed())


@register
@dataclass
class Dense(Pattern):
    """Every pair, but for later frames where the clip is causal: what all others are compared with."""

    name: ClassVar[str] = "dense"

    def attend(self, layer: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        blocks = self._blocks(q, k)
        self.count(blocks.pairs(), q)
        return attend_blocks(q, k, v, blocks) if blocks.kept.numel() > 1 else dense_attention(q, k, v)

    def map(self, layer: Any, q: Tensor, k: Tensor) -> Tensor:
        return masked_softmax(q, k, self._blocks(q, k).allowed())

    @classmethod
    def at_density(cls, density: float, clip: Clip) -> Dense:
        return cls()

    def _blocks(self, q: Tensor, k: Tensor) -> TokenBlocks:
        """A block for each frame where some pairs are left out, else one of all tokens."""
        n, causal = self.clip.grid.tokens_per_frame, self.clip.causal and q.shape[2] > self.clip.grid.tokens_per_frame
        frames = [torch.arange(x.shape[2], device=x.device) // n for x in (q, k)]
        if not causal:
            frames = [torch.zeros_like(frame) for frame in frames]
        kept = [torch.ones(int(frame[-1]) + 1, dtype=torch.bool, device=q.device) for frame in frames]
        square = kept[0][:, None] & kept[1]
        square = square.tril(square.shape[1] - square.shape[0]) if causal else square
        return TokenBlocks(frames[0][None, None], frames[1][None, None], square[None, None])


class DenseBeside(Dense):
    """Attends densely, and takes other patterns through the same clip, calls and frames; subclasses ask them."""

    candidates: dict[str, Pattern]

    def plan(self, clip: Clip) -> None:
        for candidate in self.candidates.values():
            candidate.begin(clip)

    def next_call(self, call: Call) -> None:
        super().next_call(call)
        for candidate in self.candidates.values():
            candidate.next_call(call)

    def end_frame(self) -> None:
        for candidate in self.candidates.values():
            candidate.end_frame()


def masked_softmax(q: Tensor, k: Tensor, allowed: Tensor) -> Tensor:
    """Attention weights over the allowed pairs, float32 at least; a row without any is zero: [b, nh, queries, keys]."""
    wide = torch.promote_types(q.dtype, torch.float32)
    logits = (q.to(wide) @ k.to(wide).mT) / math.sqrt(q.shape[-1])
    logits = logits.masked_fill(~allowed, -torch.inf)
    return logits.softmax(-1).masked_fill(~allowed, 0.0)
