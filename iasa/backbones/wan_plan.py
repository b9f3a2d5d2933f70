"""From poses at video rate to the plan on a Wan model's latent grid.

Wan's autoencoder turns 4 n + 1 pictures into n + 1 latent frames: the first alone, then four at a time. VACE and Animate
put the latents of reference pictures in front. A token is a patch of 1 x 2 x 2 latents, 16 x 16 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import COUNT, Keypoints, concat_keypoints, pool_to_latent, resample_keypoints
from iasa.masks.plan import AttentionPlan, make_plan

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

TEMPORAL, SIDE = 4, 16  # pictures in a latent frame, pixels along a token
FPS = {
    "WanVACEPipeline": 16.0,
    "WanAnimatePipeline": 30.0,
    "WanImageToVideoPipeline": 16.0,
    "WanPipeline": 16.0,
}
SEGMENT = 77  # pictures that Animate denoises at a time

# For weights that were trained with full attention: both directions, and the neighbours whole, so that the background,
# which is in no region, sees more than its own frame.
TRAINING_FREE = MaskOptions(causal=False, whole_window=True, block=128)


@dataclass(frozen=True)
class VideoSize:
    """What one call of the transformer denoises. Raises InputError on sizes that Wan does not divide."""

    frames: int  # pictures, 4 n + 1
    height: int
    width: int
    references: int = 0  # latent frames in front that hold pictures

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames % TEMPORAL != 1:
            raise InputError(f"{self.frames} pictures do not fill latent frames; {TEMPORAL} n + 1 are accepted, 81 say")
        if min(self.height, self.width) < SIDE or self.height % SIDE or self.width % SIDE:
            raise InputError(f"a video of {self.width} x {self.height} is refused; multiples of {SIDE} are accepted")
        if self.references < 0:
            raise InputError(f"{self.references} references are refused; 0 or more are accepted")

    @property
    def grid(self) -> TokenGrid:
        frames = self.references + (self.frames - 1) // TEMPORAL + 1
        return TokenGrid(frames, self.height // SIDE, self.width // SIDE, self.width / self.height)


def fit_poses(keypoints: Keypoints, fps: float) -> Keypoints:
    """The poses at a model's frame rate, the last one held until there are 4 n + 1."""
    poses = resample_keypoints(keypoints, fps)
    if not len(poses):
        raise InputError("there are no poses; at least one is needed")
    missing = (1 - len(poses)) % TEMPORAL
    return poses[np.minimum(np.arange(len(poses) + missing), len(poses) - 1)]


def to_latent_rate(keypoints: Keypoints) -> Keypoints:
    """One pose for each latent frame: the first picture's, then the mean of every four."""
    return concat_keypoints(keypoints[:1], pool_to_latent(keypoints[1:], TEMPORAL))


def plan_for(
    pipe: DiffusionPipeline,
    keypoints: Keypoints,  # at the model's frame rate, 0..1 of the video's width and height; see `fit_poses`
    height: int,
    width: int,
    references: int | None = None,  # pictures in front; None: what the pipeline usually has
    reference_pose: Keypoints | None = None,  # one pose for each reference; None: they are seen whole, no more
    options: MaskOptions | None = None,
    segment: int = SEGMENT,  # Animate: pictures denoised at a time
    shared: int = 1,  # Animate: pictures that two segments have in common
) -> AttentionPlan | list[AttentionPlan]:
    """The plan of a video for a Wan pipeline, from poses alone; for Animate one plan for each segment.

    The default options suit weights that know full attention; `MaskOptions(block=128)` is the paper's causal mask.
    Raises InputError on sizes that Wan does not divide and on references that the pipeline does not take.
    """
    kind = type(pipe).__name__
    if kind not in FPS:
        raise InputError(f"{kind} is not a pipeline that takes a plan; accepted: {', '.join(FPS)}")
    usual = 1 if kind in ("WanVACEPipeline", "WanAnimatePipeline") else 0
    references = usual if references is None else references
    if kind != "WanVACEPipeline" and references != usual:
        raise InputError(f"{kind} has {usual} latent frames of references, not {references}")
    if kind != "WanAnimatePipeline":
        return video_plan(keypoints, height, width, references, reference_pose, options)
    return [
        video_plan(part, height, width, references, reference_pose, options)
        for part in animate_segments(keypoints, segment, shared)
    ]


def video_plan(
    keypoints: Keypoints,  # at the model's frame rate, 4 n + 1 poses
    height: int,
    width: int,
    references: int = 0,
    reference_pose: Keypoints | None = None,
    options: MaskOptions | None = None,
) -> AttentionPlan:
    """The plan of one call of a Wan transformer; see `plan_for`."""
    size = VideoSize(len(keypoints), height, width, references)
    poses = to_latent_rate(keypoints)
    if references:
        front = _unseen(references) if reference_pose is None else reference_pose
        if len(front) != references:
            raise InputError(f"there are {len(front)} poses for {references} references; one for each is needed")
        poses = concat_keypoints(front, poses)
    options = replace(options or TRAINING_FREE, sink=references > 0, references=max(references, 1))
    return make_plan(poses, size.grid, options)


def full_plan(size: VideoSize) -> AttentionPlan:
    """Every pair allowed: what the unmodified model computes."""
    grid = size.grid
    bits = torch.zeros(grid.frames, grid.tokens_per_frame, dtype=torch.uint8)
    options = MaskOptions(top_k=0, window=0, sink=False, chunk=grid.frames, causal=False, block=128)
    return AttentionPlan(grid, torch.zeros(grid.frames, 0, dtype=torch.int64), bits, None, options)


def animate_segments(keypoints: Keypoints, segment: int = SEGMENT, shared: int = 1) -> list[Keypoints]:
    """The poses of each segment as WanAnimatePipeline cuts them; the end is padded by going back and forth."""
    if segment % TEMPORAL != 1 or shared not in (1, 5) or segment <= shared:
        raise InputError(f"segments of {segment} pictures that share {shared} are refused; 4 n + 1 that share 1 or 5")
    step = segment - shared
    if len(keypoints) < 2:
        raise InputError(f"there are {len(keypoints)} poses; two or more are needed for Animate")
    missing = -(len(keypoints) - shared) % step
    last = len(keypoints) - 1
    there_and_back = np.arange(len(keypoints) + missing) % (2 * last)
    padded = keypoints[np.where(there_and_back <= last, there_and_back, 2 * last - there_and_back)]
    return [padded[start : start + segment] for start in range(0, len(padded) - shared, step)]


def _unseen(count: int) -> Keypoints:
    return Keypoints(np.zeros((count, COUNT, 2), np.float32), np.zeros((count, COUNT), np.float32))
