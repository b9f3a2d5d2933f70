"""What a trained network attends to, recorded during a real run, beside the mask that the run was under.

While the student rolls out over a clip (`CausalStudent`), each call of the network gets an `attend` that answers as the
given one does, and looks on: it keeps all past keys, and adds up where a dense softmax over the reference, the past and
the frame itself would have put its mass. So one sees what the mask throws away (1 - recall).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from iasa.avatar.speaker import Reference
from iasa.config import FRAMES_PER_LATENT, InputError, check_steps
from iasa.grid import TokenGrid
from iasa.inference.conditioning import make_warp, to_tensors, warp_to
from iasa.inference.rollout import CausalStudent
from iasa.keypoints import REGIONS, Keypoints, concat_keypoints, fill_latent, pool_to_latent
from iasa.masks import AttentionPlan, make_plan
from iasa.masks.computed import token_change
from iasa.models.transformer import Attend
from iasa.pipeline import CoSpeechPipeline
from iasa.warp.reference_warp import ReferenceWarp

MAX_FRAMES = 128  # latent frames, 10 s: all their keys are kept, and the page grows with their square
SIGNATURES = 2 ** len(REGIONS)  # sets of regions
_QUERIES = 64  # handled at once: bounds the memory to 30 MB at the longest clip
_WARPED = 8 * FRAMES_PER_LATENT  # pictures warped at once


@dataclass(frozen=True)
class LearnedAttention:
    """Shares of attention, the mean over a query frame's tokens at the last denoising step; nh heads, frame 0 the reference.

    mass: float32 [layers, nh, f, f], from query frame to key frame; rows sum to 1, nothing goes to the future.
    meets: float32 [layers, nh, f, f, 32], `mass` by what query and key have in common: entry s is of pairs whose common
    regions are just the bits of s (0: none), so that any switching of regions can be followed. parts: float32
    [layers, nh, f, f, 6], how `mass` divides among the key's first region (REGIONS) and the background, as shares of 1.
    patches: float32 [f, n, f], from each query token to each key frame, the mean over layers and heads. source: a sentence.
    """

    mass: np.ndarray
    meets: np.ndarray
    parts: np.ndarray
    patches: np.ndarray
    source: str = ""


@dataclass(frozen=True)
class RecordedRun:
    """A clip, its plan, and for each of the plan's frames its pose, its picture and what was attended to."""

    attention: LearnedAttention
    plan: AttentionPlan
    keypoints: Keypoints  # at latent rate, frame 0 the reference
    thumbnails: list[np.ndarray]  # uint8 [H, W, 3]
    change: np.ndarray | None  # float32 [f, n], grey levels by which a drawn reference is warped; None of a photograph


def record_attention(
    pipeline: CoSpeechPipeline,
    keypoints: Keypoints,  # at video rate
    reference: Reference,
    steps: int | None = None,
    seed: int = 0,
    watch: Callable[[], None] | None = None,  # called before each frame; what it raises ends the work
) -> RecordedRun:
    """Make the clip with the student, and look on.

    Raises InputError on a clip of more than MAX_FRAMES latent frames.
    """
    steps = check_steps("student", steps)
    filled, latent = fill_latent(keypoints), latent_poses(keypoints, reference)
    if len(latent) > MAX_FRAMES:
        raise InputError(
            "the clip has {frames} latent frames; attention is recorded of up to {most}",
            frames=len(latent),
            most=MAX_FRAMES,
        )
    model = pipeline.models["student"]
    plan = make_plan(latent, TokenGrid(len(latent), model.config.rows, model.config.cols), pipeline.mask)
    condition = pipeline.condition(filled, reference, "student")
    onlooker = _Onlooker(plan, len(model.blocks), steps)
    handle = model.register_forward_pre_hook(onlooker.replace_attend(model), with_kwargs=True)
    latents = []
    try:
        for frame in CausalStudent(model, condition, plan).roll_out(steps, torch.Generator().manual_seed(seed)):
            latents.append(frame)
            if watch:
                watch()
    finally:
        handle.remove()
    frames = pipeline.decode(torch.stack(latents, 1), filled, reference)
    source = (
        f"student, steps: {steps}, {reference.name}, seed {seed}: the last step's softmax over all of the past, "
        "recorded beside the sparse run"
    )
    thumbnails = [reference.image, *frames[::FRAMES_PER_LATENT]]
    change = measure_change(filled, reference, plan.grid)
    return RecordedRun(onlooker.result(source), plan, latent, thumbnails, change)


@torch.inference_mode()
def measure_change(filled: Keypoints, reference: Reference, grid: TokenGrid) -> np.ndarray | None:
    """By how much each token of the warped reference differs from the still one: what region-sparse inference goes by."""
    warp = make_warp(reference, torch.device("cpu"))
    if not isinstance(warp, ReferenceWarp):
        return None
    n, found = grid.tokens_per_frame, [np.zeros((1, grid.tokens_per_frame), np.float32)]  # of the reference itself
    for start in range(0, FRAMES_PER_LATENT * (grid.frames - 1), _WARPED):
        piece = filled[start : start + _WARPED]
        shown = warp_to(warp, *to_tensors(piece, torch.device("cpu")))
        change = token_change(shown.small, warp.image[0], FRAMES_PER_LATENT, grid.rows, grid.cols)
        found.append(change.view(-1, n).float().numpy())
    return np.concatenate(found)


def latent_poses(keypoints: Keypoints, reference: Reference) -> Keypoints:
    """The poses as a run's plan sees them: at latent rate, the reference's own first."""
    still = np.zeros(FRAMES_PER_LATENT, int)
    return pool_to_latent(concat_keypoints(reference.keypoints[still], fill_latent(keypoints)))


class _Onlooker:
    """Follows the causal roll-out: one call for the reference, then `steps` calls for each frame."""

    def __init__(self, plan: AttentionPlan, layers: int, steps: int) -> None:
        self.bits = plan.region_bits  # uint8 [f, n]
        self.frames, self.layers, self.steps = plan.grid.frames, layers, steps
        self.calls = 0
        self.keys: list[dict[int, Tensor]] = []  # of each frame so far: layer -> [nh, n, d]
        self.mass = self.meets = self.parts = np.zeros(0)
        self.patches = np.zeros((self.frames, plan.grid.tokens_per_frame, self.frames), np.float32)

    def replace_attend(self, model: nn.Module):
        signature = inspect.signature(model.forward)

        def hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            bound = signature.bind(*args, **kwargs)
            given = bound.arguments["attend"]
            frame, step = (0, self.steps - 1) if self.calls == 0 else divmod(self.calls - 1 + self.steps, self.steps)
            self.calls += 1
            bound.arguments["attend"] = self._look_on(given, frame) if step == self.steps - 1 else given
            return bound.args, bound.kwargs

        return hook

    def _look_on(self, attend: Attend, frame: int) -> Attend:
        self.keys.append({})

        def looking(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # [1, nh, 1, n, d]
            self.keys[frame][layer] = k[0, :, 0]
            self._add(layer, frame, q[0, :, 0])
            return attend(layer, q, k, v)

        return looking

    def _add(self, layer: int, frame: int, q: Tensor) -> None:  # q [nh, n, d]
        heads, n, d = q.shape
        if not self.mass.size:
            shape = (self.layers, heads, self.frames, self.frames)
            self.mass, self.meets = np.zeros(shape, np.float32), np.zeros((*shape, SIGNATURES), np.float32)
            self.parts = np.zeros((*shape, len(REGIONS) + 1), np.float32)
        # The reference attends to itself alone; every other frame could see all frames so far.
        keys = torch.cat([known[layer] for known in self.keys[: frame + 1]], 1)  # [nh, t * n, d]
        bits = self.bits[: frame + 1].to(keys.device)
        first = torch.where(bits == 0, len(REGIONS), _first_region(bits)).flatten()  # [t * n]
        of_part = torch.nn.functional.one_hot(first.long(), len(REGIONS) + 1).float().view(frame + 1, n, -1)
        signatures = bits[frame].unique()  # of the queries
        of_query = (bits[frame][:, None] == signatures).float()  # [n, signatures]
        place = torch.arange(frame + 1, device=keys.device).repeat_interleave(n) * SIGNATURES  # [t * n]
        seen = frame, slice(0, frame + 1)
        for start in range(0, n, _QUERIES):
            some = slice(start, start + _QUERIES)
            share = ((q[:, some].float() @ keys.float().mT) / math.sqrt(d)).softmax(-1)  # [nh, queries, t * n]
            by_query = of_query[some].T @ share  # [nh, signatures, t * n]
            meets = share.new_zeros(heads, (frame + 1) * SIGNATURES)
            for i, own in enumerate(signatures):
                meets.index_add_(1, place + (bits.flatten() & own), by_query[:, i])
            by_frame = by_query.sum(1).view(heads, frame + 1, n)
            self.mass[layer][:, *seen] += by_frame.sum(2).cpu().numpy() / n
            self.meets[layer][:, *seen] += meets.view(heads, frame + 1, SIGNATURES).cpu().numpy() / n
            self.parts[layer][:, *seen] += torch.einsum("hfn,fnr->hfr", by_frame, of_part).cpu().numpy() / n
            to_frame = share.view(heads, -1, frame + 1, n).sum((0, 3)).cpu().numpy() / (heads * self.layers)
            self.patches[frame, some, : frame + 1] += to_frame

    def result(self, source: str) -> LearnedAttention:
        if self.calls != 1 + self.steps * (self.frames - 1):
            raise RuntimeError(f"{self.calls} calls were seen where {1 + self.steps * (self.frames - 1)} were awaited")
        parts = self.parts / np.maximum(self.mass[..., None], 1e-12)
        return LearnedAttention(self.mass, self.meets, parts, self.patches, source)


def _first_region(bits: Tensor) -> Tensor:
    """Number of the lowest bit set; 0 where none is."""
    members = (bits[..., None] >> torch.arange(len(REGIONS), device=bits.device)) & 1
    return members.argmax(-1)
