"""A scene to a video by a Wan pipeline under the plan, segment after segment, and the comparison with dense attention."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from iasa.attention.patterns import check_pattern
from iasa.backbones.skeletons import draw_skeletons, face_video
from iasa.backbones.speech_scene import Scene, warped_reference
from iasa.backbones.wan_attention import apply_iasa, remove_iasa
from iasa.backbones.wan_patterns import apply_pattern
from iasa.backbones.wan_plan import FPS, TRAINING_FREE, fit_poses, plan_for
from iasa.config import InputError, MaskOptions
from iasa.keypoints import Keypoints
from iasa.masks.plan import AttentionPlan
from iasa.masks.region_masks import SOFT_REGIONS, soft_masks
from iasa.metrics.video_quality import flicker, psnr, region_psnr

# What a run may attend to: the plan for weights as they are, the paper's causal mask, or everything; and any pattern of
# the gallery, which gets the first of these plans.
ATTENTION = {"input_aware": TRAINING_FREE, "causal": MaskOptions(block=128), "dense": None}
PROMPT = "A person speaks to the camera and gestures with both hands, plain background, steady camera."
NEGATIVE = "blurred, distorted hands, extra fingers, flickering background, text"
SEGMENTS = {"WanVACEPipeline": 81, "WanAnimatePipeline": 77}  # pictures that are denoised at a time
VACE_SHARED = 5  # pictures that two of VACE's segments have in common


@dataclass(frozen=True)
class WanSettings:
    """How a video is made. Raises InputError on choices out of range."""

    height: int
    width: int
    steps: int
    guidance: float = 5.0
    seed: int = 0
    prompt: str = PROMPT
    attention: str = "input_aware"
    backend: str = "auto"
    dense_steps: int = 1  # the first step settles where things are, and costs one dense pass
    segment: int | None = None  # pictures; None: what the backbone was trained on

    def __post_init__(self) -> None:
        if self.attention not in ATTENTION:
            check_pattern(self.attention)
        if not 1 <= self.steps <= 100:
            raise InputError(f"{self.steps} steps asked for; 1 to 100 are accepted")

    @property
    def first_dense(self) -> int:
        """Steps that run dense; the last one always follows the plan."""
        return min(self.dense_steps, self.steps - 1)


@dataclass
class WanVideo:
    frames: np.ndarray  # uint8 [f, H, W, 3]
    fps: float
    plans: list[AttentionPlan] = field(default_factory=list)
    seconds: float = 0.0


def generate_video(pipe: Any, scene: Scene, settings: WanSettings) -> WanVideo:
    """The scene's motion as a video, as long as its poses."""
    kind = type(pipe).__name__
    fps, segment = FPS[kind], settings.segment or SEGMENTS[kind]
    make = _run_animate if kind == "WanAnimatePipeline" else _run_vace
    started = time.perf_counter()
    try:
        frames, plans = make(pipe, scene, settings, fps, segment)
    finally:
        remove_iasa(pipe)
    wanted = max(1, round(len(scene.keypoints) / scene.keypoints.fps * fps))
    return WanVideo(frames[:wanted], fps, plans, time.perf_counter() - started)


def split_segments(frames: int, segment: int, shared: int) -> list[range]:
    """4 n + 1 frames as segments of at most `segment` that share `shared` with the one before; each is 4 n + 1 too."""
    if segment % 4 != 1 or segment <= shared:
        raise InputError(f"segments of {segment} pictures are refused; 4 n + 1 above {shared} are accepted")
    parts = [range(0, min(segment, frames))]
    while parts[-1].stop < frames:
        start = parts[-1].stop - shared
        parts.append(range(start, min(start + segment, frames)))
    return parts


def compare_videos(sparse: WanVideo, dense: WanVideo, keypoints: Keypoints) -> dict[str, float | None]:
    """How far the plan's video is from dense attention's: PSNR by region, and the background's unrest beyond dense's.

    None where a region never appears, or where nothing is still.
    """
    count, height, width = sparse.frames.shape[:3]
    poses = fit_poses(keypoints, sparse.fps)[:count]
    xy = torch.from_numpy(poses.xy * np.array([width, height], np.float32))
    soft = soft_masks(xy, torch.from_numpy(poses.confidence), (height, width), float(min(height, width)))
    masks = (soft > 0.5).numpy()
    person = masks.any(1)
    figures = {"psnr": psnr(sparse.frames, dense.frames)}
    by_region = region_psnr(sparse.frames, dense.frames, masks, SOFT_REGIONS)
    by_region |= region_psnr(sparse.frames, dense.frames, ~person[:, None], ("elsewhere",))
    figures |= {f"psnr_{name}": value for name, value in by_region.items()}
    figures["background_flicker"] = flicker(sparse.frames, dense.frames, person)
    figures["speedup"] = dense.seconds / sparse.seconds
    return {name: round(value, 4) if math.isfinite(value) else None for name, value in figures.items()}


def _run_vace(
    pipe: Any, scene: Scene, settings: WanSettings, fps: float, segment: int
) -> tuple[np.ndarray, list[AttentionPlan]]:
    """Segments go on by VACE's own means: pictures that are known stand before the skeletons, with a black mask."""
    poses, size = fit_poses(scene.keypoints, fps), (settings.height, settings.width)
    white, black = (Image.new("L", (size[1], size[0]), level) for level in (255, 0))
    made, plans = np.zeros((0, *size, 3), np.uint8), []
    for part in split_segments(len(poses), segment, VACE_SHARED):
        here = poses[part.start : part.stop]
        known = [Image.fromarray(frame) for frame in made[part.start :]]
        control = known + draw_skeletons(here, *size, "vace")[len(known) :]
        mask = [black] * len(known) + [white] * (len(control) - len(known))
        if options := ATTENTION.get(settings.attention, TRAINING_FREE):
            plan = plan_for(pipe, here, *size, reference_pose=scene.pose, options=options)
            assert isinstance(plan, AttentionPlan)  # as for every pipeline but Animate
            plans.append(plan)
            _follow(pipe, [plan], settings)
        frames = pipe(
            video=control, mask=mask, reference_images=[Image.fromarray(scene.picture)], height=size[0], width=size[1],
            num_frames=len(control), **_shared_arguments(pipe, settings),
        ).frames[0]  # fmt: skip
        made = np.concatenate([made, _to_bytes(frames)[len(known) :]])
    return made, plans


def _run_animate(
    pipe: Any, scene: Scene, settings: WanSettings, fps: float, segment: int
) -> tuple[np.ndarray, list[AttentionPlan]]:
    """Animate cuts its segments itself. Its face video is cut from the speaker's picture, warped to the poses."""
    poses, own = fit_poses(scene.keypoints, fps), fit_poses(scene.speaker_keypoints, fps)
    size, faces = (settings.height, settings.width), []
    for warped in warped_reference(scene, own):
        here = own[len(faces) : len(faces) + len(warped)]
        faces += face_video(warped, here, pipe.transformer.config.motion_encoder_size)
    segment, plans = min(segment, len(poses)), []
    if options := ATTENTION.get(settings.attention, TRAINING_FREE):
        plans = plan_for(pipe, poses, *size, reference_pose=scene.pose, options=options, segment=segment)
        assert isinstance(plans, list)  # as for every Animate
        _follow(pipe, plans, settings)
    frames = pipe(
        image=Image.fromarray(scene.picture), pose_video=draw_skeletons(poses, *size, "animate"), face_video=faces,
        height=size[0], width=size[1], segment_frame_length=segment, **_shared_arguments(pipe, settings),
    ).frames[0]  # fmt: skip
    return _to_bytes(frames), plans


def _follow(pipe: Any, plans: list[AttentionPlan], settings: WanSettings) -> None:
    """Set the pipeline to what is asked for, segment by segment."""
    if settings.attention in ATTENTION:
        apply_iasa(pipe, plans, settings.first_dense, backend=settings.backend)
    else:
        apply_pattern(pipe, settings.attention, plans, settings.steps)


def _shared_arguments(pipe: Any, settings: WanSettings) -> dict:
    """What both pipelines take; one without a text encoder gets an empty text."""
    generator = torch.Generator().manual_seed(settings.seed)
    given = dict(
        num_inference_steps=settings.steps, guidance_scale=settings.guidance, generator=generator, output_type="np"
    )
    if pipe.text_encoder is not None:
        return given | dict(prompt=settings.prompt, negative_prompt=NEGATIVE)
    empty = torch.zeros(1, 512, pipe.transformer.config.text_dim)
    return given | dict(prompt_embeds=empty, negative_prompt_embeds=empty.clone())


def _to_bytes(frames: np.ndarray) -> np.ndarray:  # float [f, H, W, 3] in 0..1
    return (np.asarray(frames).clip(0, 1) * 255 + 0.5).astype(np.uint8)
