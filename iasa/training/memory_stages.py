"""The memory bed's networks: a teacher that learns from random choices of past frames, and causal students with a key cache.

Every stage reads <run>/memory (see `memory_data`) and, but for the teacher, what the stages before it left. `--pose-only`
trains a second family that gets no warped reference: it has to make hands and faces itself. Because the teacher has seen
every kind of memory, one teacher is evaluated with every choice of frames.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from iasa.attention.frame_patterns import make_teacher_forced
from iasa.config import MEMORY_DISTILL, PRESETS, REGION_WEIGHTS, DistillOptions, InputError, MemoryOptions, TrainPreset
from iasa.device import pick_device
from iasa.files import display_name
from iasa.grid import TokenGrid
from iasa.keypoints import Keypoints
from iasa.losses import Denoiser, add_noise, flow_loss, region_loss, region_terms, sample_levels
from iasa.masks import AttentionPlan
from iasa.masks.frame_choice import EVERYTHING, plan_choice, random_table
from iasa.metrics.networks.face_encoder import FaceEncoder
from iasa.metrics.networks.part_encoder import PartEncoder
from iasa.metrics.video_quality import psnr
from iasa.models.checkpoint import find_weights, load_weights, save_weights
from iasa.models.patch_codec import PatchCodec
from iasa.models.transformer import Condition, VideoTransformer
from iasa.sampling import make_levels, sample_euler, sample_few_step
from iasa.training.datasets import WarpedWindow, to_model_images, to_pictures
from iasa.training.distill import DistillBatch, DistillTrainer, RegionTerm, run_distillation
from iasa.training.memory_data import RATE, MemoryClips, MemorySampler, MemoryWindow, make_window
from iasa.training.options import CLIPS, MEMORY_STAGES, TrainOptions
from iasa.training.self_forcing import roll_out
from iasa.training.trainer import Schedule, Trainer

BEFORE = {  # whose weights a stage begins at
    "memory_student": "memory_teacher",
    "memory_self_forcing": "memory_student",
    "memory_distill": "memory_student",
    "memory_distill_region": "memory_student",
}
FITTED, FIT_DETAILS = 400, 20.0  # pictures that the codec is fitted to; how much more a detail's pixels count
STALE = 0.1  # highest noise level of the past in training: a roll-out's own past is not clean either


def stage_folder(run: Path, stage: str, pose_only: bool) -> Path:
    """Where a stage of a family leaves its checkpoints and its export."""
    return run / (f"{stage}_pose" if pose_only else stage)


def load_memory(run: Path, stage: str, pose_only: bool) -> VideoTransformer:
    """A trained network of the bed, frozen. Raises InputError, naming the command that trains it."""
    folder = stage_folder(run, stage, pose_only)
    if not (folder / "export" / "config.json").exists():
        command = f"python -m iasa train {stage}{' --pose-only' if pose_only else ''} --run {display_name(run)}"
        raise InputError(f"there are no weights of {folder.name} in {display_name(run)}; train them with: {command}")
    return load_weights(VideoTransformer, folder / "export").requires_grad_(False)


def load_codec(run: Path, clips: MemoryClips | None = None) -> PatchCodec:
    """The run's codec, fitted to its clips when it is first asked for."""
    folder = run / "memory" / "codec"
    if not (folder / "config.json").exists():
        clips = clips or MemoryClips(run / "memory", "train")
        rng = np.random.default_rng(0)
        places = [(int(rng.integers(len(clips))), int(rng.integers(len(clips.clips[0].frames)))) for _ in range(FITTED)]
        pictures = np.stack([clips.clips[i].frames[t][..., rng.permutation(3)] for i, t in places])
        details = np.stack([clips.clips[i].masks[t].any(0) for i, t in places])
        codec = PatchCodec(MemoryOptions().patch, MemoryOptions().latent_channels)
        codec.fit(to_model_images(pictures), 1 + FIT_DETAILS * torch.from_numpy(details).float())
        save_weights(codec, folder, {"name": "codec", "clips": len(clips)})
    return load_weights(PatchCodec, folder).requires_grad_(False)


def make_network(codec: PatchCodec, side: int, options: MemoryOptions | None = None) -> VideoTransformer:
    """The small transformer of the bed, untrained."""
    options = options or MemoryOptions()
    cells = side // codec.config.patch
    return VideoTransformer(
        codec.config.latent_channels, cells, cells, options.width, options.layers, options.heads, frames=1
    )  # fmt: skip


def window_poses(window: MemoryWindow) -> list[Keypoints]:
    """Each clip's poses, one a frame, the reference first."""
    xy, confidence = window.xy[:, :, 0].cpu().numpy(), window.confidence[:, :, 0].cpu().numpy()
    return [Keypoints(*one, RATE) for one in zip(xy, confidence, strict=True)]


def random_plans(window: MemoryWindow, rng: np.random.Generator) -> list[AttentionPlan]:
    """Each frame remembers a random number of random frames of its past, whole."""
    frames = window.latents.shape[1]
    return [whole_frames(window, random_table(frames, rng)) for _ in range(len(window.latents))]


def whole_frames(window: MemoryWindow, table: Tensor) -> AttentionPlan:
    """The plan of a frame table [1 + f, k], -1 pads, of whose frames every token is seen."""
    grid = TokenGrid(window.latents.shape[1], *window.latents.shape[-2:])
    bits = torch.full((grid.frames, grid.tokens_per_frame), EVERYTHING, dtype=torch.uint8)
    return AttentionPlan(grid, table, bits, None, MemoryOptions().mask(table.shape[1]))


def chosen_plans(window: MemoryWindow, choice: str, top_k: int, reach: int, tokens: str = "all", seed: int = 0):
    """Each clip's plan by one of `iasa.masks.frame_choice.CHOICES`."""
    grid = TokenGrid(window.latents.shape[1], *window.latents.shape[-2:])
    parts = zip(window_poses(window), window.areas, strict=True)
    return [
        plan_choice(choice, poses, grid, top_k, reach, tokens, areas, seed + clip)
        for clip, (poses, areas) in enumerate(parts)
    ]


def make_condition(model: VideoTransformer, window: MemoryWindow) -> Condition:
    return model.condition(window.base, window.image, window.xy, window.confidence)


def predict_forced(
    model: VideoTransformer,
    condition: Condition,  # of 1 + f frames
    past: Tensor,  # [b, f, c, h, w] clean frames, which are remembered
    noisy: Tensor,  # [b, f, c, h, w]
    level: Tensor,  # [b, f]
    plans: list[AttentionPlan],
    past_level: Tensor | None = None,  # [b, f]
) -> Tensor:
    """x0 of every noisy frame, each of which remembers clean frames by its plan: [b, f, c, h, w]."""
    f = noisy.shape[1]
    past_level = torch.zeros_like(level) if past_level is None else past_level
    latents = torch.cat([condition.base[:, :1], past, noisy], 1)
    levels = torch.cat([torch.zeros_like(level[:, :1]), past_level, level], 1)
    video = [*range(1, f + 1)]
    return model(latents, levels, condition.frames([0, *video, *video]), make_teacher_forced(plans))[:, 1 + f :]


def token_weight(model: VideoTransformer, window: MemoryWindow) -> Tensor:
    """How much more a token counts: faces and hands by their keypoints, details by their masks: [b, f, n] 0..2."""
    frames = window.xy[:, 1:].flatten(0, 1), window.confidence[:, 1:].flatten(0, 1)
    return (model.pose.token_weight(*frames).view_as(window.weight) + 2 * window.weight).clamp(max=2.0)


def run_memory(options: TrainOptions, make_schedule: Callable[[str, TrainPreset], Schedule], card: Callable) -> dict:
    """One stage of the bed; returns a report for --json."""
    from iasa.training.memory_data import make_memory_clips

    if options.stage == "memory_data":
        make_memory_clips(options.run / "memory", options.clips or CLIPS)
        clips = MemoryClips(options.run / "memory", "train")
        load_codec(options.run, clips)
        return {"stage": options.stage, "clips": len(clips)}
    assert options.stage in MEMORY_STAGES
    clips = MemoryClips(options.run / "memory", "train")
    folder = stage_folder(options.run, options.stage, options.pose_only)
    preset = PRESETS[options.preset or options.stage]
    schedule = make_schedule(options.stage, preset)
    codec = load_codec(options.run, clips).to(pick_device())
    sampler = MemorySampler(clips, preset.frames, codec, prior=not options.pose_only)
    common = {"resume": options.resume, "stop_after": options.stop_after}
    if options.stage == "memory_teacher":
        model, trainer = train_memory_teacher(sampler, options.run, folder, schedule, preset, **common)
    else:
        start = load_memory(options.run, BEFORE[options.stage], options.pose_only).requires_grad_(True)
        if options.stage == "memory_student":
            model, trainer = train_memory_student(sampler, options.run, folder, schedule, preset, start, **common)
        else:
            teacher = load_memory(options.run, "memory_teacher", options.pose_only)
            terms = {"memory_self_forcing": DistillOptions(dmd=0.0, clean_keys=True)}
            region = RegionTermOfPictures(codec) if options.stage == "memory_distill_region" else None
            model, trainer = distill_memory(
                sampler, options.run, folder, schedule, preset, start, teacher, **common,
                options=terms.get(options.stage, MEMORY_DISTILL), region_term=region,
            )  # fmt: skip
    if trainer.accelerator.is_main_process:
        save_weights(model, folder / "export", card(trainer, folder.name, len(clips)))
    return {"stage": folder.name, "steps": trainer.step, "seconds": round(trainer.seconds, 1)}


def train_memory_teacher(
    sampler: MemorySampler, run: Path, folder: Path, schedule: Schedule, preset: TrainPreset, resume: bool,
    stop_after: float,
) -> tuple[VideoTransformer, Trainer[VideoTransformer]]:  # fmt: skip
    """Flow matching; every frame has a level of its own and remembers random true frames."""
    torch.manual_seed(schedule.seed)
    side = sampler.clips.clips[0].frames.shape[1]
    trainer = Trainer(make_network(sampler.codec, side).train(), folder, schedule)
    if resume:
        trainer.resume()
    device = trainer.accelerator.device

    def loss_of(network: nn.Module, rng: np.random.Generator) -> Tensor:
        window = sampler.sample(rng, preset.batch).to(device)
        level = sample_levels(tuple(window.latents[:, 1:].shape[:2]), device=device)
        return forced_loss(trainer, window, level, random_plans(window, rng))

    trainer.fit(loss_of, make_sheet(run, sampler, preset, sample_forced_euler), stop_after)
    return trainer.averaged(), trainer


def train_memory_student(
    sampler: MemorySampler, run: Path, folder: Path, schedule: Schedule, preset: TrainPreset, start: VideoTransformer,
    resume: bool, stop_after: float,
) -> tuple[VideoTransformer, Trainer[VideoTransformer]]:  # fmt: skip
    """Regression: the levels of a roll-out of 1, 2 or 4 steps, true frames in the memory that the pose chooses."""
    trainer = Trainer(start.train(), folder, schedule)
    if resume:
        trainer.resume()
    device = trainer.accelerator.device

    def loss_of(network: nn.Module, rng: np.random.Generator) -> Tensor:
        window = sampler.sample(rng, preset.batch).to(device)
        met = torch.tensor(make_levels(int(rng.choice(DistillOptions().steps))), device=device)
        level = met[torch.randint(len(met), tuple(window.latents[:, 1:].shape[:2]), device=device)]
        plans = chosen_plans(window, "pose", preset.mask.top_k, preset.mask.reach)
        return forced_loss(trainer, window, level, plans)

    trainer.fit(loss_of, make_sheet(run, sampler, preset, sample_rolled), stop_after)
    return trainer.averaged(), trainer


def forced_loss(
    trainer: Trainer[VideoTransformer], window: MemoryWindow, level: Tensor, plans: list[AttentionPlan]
) -> Tensor:
    """Flow-matching loss of frames that remember true ones, a little noisy half of the time."""
    clean, model = window.latents[:, 1:], trainer.bare
    past_level = torch.rand_like(level) * STALE * (torch.rand_like(level) < 0.5)
    past = add_noise(clean, torch.randn_like(clean), past_level)
    noisy = add_noise(clean, torch.randn_like(clean), level)
    with trainer.accelerator.autocast():
        output = predict_forced(model, make_condition(model, window), past, noisy, level, plans, past_level)
    return flow_loss(output.float(), clean, level, token_weight(model, window))


def distill_memory(
    sampler: MemorySampler, run: Path, folder: Path, schedule: Schedule, preset: TrainPreset, start: VideoTransformer,
    teacher: VideoTransformer, resume: bool, stop_after: float, options: DistillOptions,
    region_term: RegionTerm | None = None,
) -> tuple[VideoTransformer, DistillTrainer]:  # fmt: skip
    """Distribution matching on roll-outs. Both scores are those of a frame given the student's own past: by the chain rule
    the sum over frames is the divergence of whole clips."""

    def draw(trainer: DistillTrainer, rng: np.random.Generator, in_order: bool) -> DistillBatch:
        window = sampler.sample(rng, preset.batch).to(trainer.accelerator.device)
        plans = chosen_plans(window, "pose", preset.mask.top_k, preset.mask.reach)

        def denoiser(model: VideoTransformer, x0: Tensor) -> Denoiser:
            condition = make_condition(model, window)
            return lambda noisy, level: predict_forced(model, condition, x0.detach(), noisy, level, plans)

        return DistillBatch(window, plans, token_weight(trainer.bare, window), denoiser, lambda: window.pictures)

    def sheet(trainer: DistillTrainer):
        return make_sheet(run, sampler, preset, sample_rolled)

    return run_distillation(folder, schedule, start, teacher, options, draw, sheet, resume, stop_after, region_term)


class RegionTermOfPictures:
    """The region loss on whole decoded pictures, at the size that the encoders were trained on; as `distill` wants it."""

    def __init__(self, codec: PatchCodec, frames: int = 2, size: int = 256) -> None:
        self.codec, self.frames, self.size = codec, frames, size
        device = codec.mean.device
        self.face, self.parts = (
            load_weights(kind, find_weights(None, name)).requires_grad_(False).to(device)
            for kind, name in ((FaceEncoder, "face_encoder"), (PartEncoder, "part_encoder"))
        )

    def __call__(self, x0: Tensor, window: WarpedWindow, truth: np.ndarray, rng: np.random.Generator) -> Tensor:
        chosen = [int(t) for t in rng.permutation(x0.shape[1])[: self.frames]]
        poses = window.xy[:, 1:, 0][:, chosen].flatten(0, 1), window.confidence[:, 1:, 0][:, chosen].flatten(0, 1)
        pictures = (self.codec.decode(x0[:, chosen]), to_model_images(truth[:, chosen]).to(x0.device))
        output, target = (
            nn.functional.interpolate(x.flatten(0, 1), (self.size, self.size), mode="bilinear", align_corners=False)
            for x in pictures
        )
        regions = tuple(REGION_WEIGHTS)
        terms = region_terms(
            output, target, poses[0] * self.size, poses[1], self.face.embed, self.parts, regions, self.size
        )
        return region_loss(terms, REGION_WEIGHTS)


def sample_rolled(model: VideoTransformer, window: MemoryWindow, plans: list[AttentionPlan], steps: int = 1) -> Tensor:
    """What a student streams: [b, f, c, h, w]."""
    noise = torch.randn_like(window.latents[:, 1:])
    return roll_out(model, make_condition(model, window), plans, noise, steps, sampler=sample_few_step, clean_keys=True)


def sample_rolled_euler(
    model: VideoTransformer, window: MemoryWindow, plans: list[AttentionPlan], steps: int = 8
) -> Tensor:
    """What the teacher makes frame by frame, remembering its own frames."""
    noise = torch.randn_like(window.latents[:, 1:])
    return roll_out(model, make_condition(model, window), plans, noise, steps, sampler=sample_euler, clean_keys=True)


def sample_forced_euler(
    model: VideoTransformer, window: MemoryWindow, plans: list[AttentionPlan], steps: int = 8
) -> Tensor:
    """Every frame apart, remembering true ones: what a choice of frames is worth where nothing else went wrong."""
    condition, past = make_condition(model, window), window.latents[:, 1:]

    def denoise(x: Tensor, level: float) -> Tensor:
        levels = torch.full(x.shape[:2], level, device=x.device)
        return predict_forced(model, condition, past, x, levels, plans).float()

    return sample_euler(denoise, torch.randn_like(past), steps)


def make_sheet(run: Path, sampler: MemorySampler, preset: TrainPreset, sample: Callable, clips: int = 4):
    """Sheets of held-out clips (reference, truth, sample) and the PSNR of all, and inside details, for the log."""
    heldout = MemoryClips(run / "memory", "heldout").clips[:clips]
    length = len(heldout[0].frames) - 1
    chosen = np.tile(np.linspace(1, length, min(preset.frames, length)).astype(int), (len(heldout), 1))
    window = make_window(heldout, chosen, sampler.codec, sampler.prior)

    @torch.no_grad()
    def sample_grid(model: VideoTransformer, folder: Path, step: int) -> str:
        torch.manual_seed(0)
        plans = chosen_plans(window, "oracle", preset.mask.top_k, preset.mask.reach)
        on_device = window.to(sampler.codec.mean.device)
        images = sampler.codec.decode(sample(model, on_device, plans)).cpu()
        truth = to_model_images(window.pictures)
        rows = np.stack([window.pictures, to_pictures(images)], 1)  # [b, 2, f, S, S, 3]
        sheet = rearrange(rows, "b r f h w c -> (b r h) (f w) c")
        Image.fromarray(sheet).save(folder / "samples.png")
        return f"held-out PSNR {psnr(images, truth, peak=2.0):.2f} dB"

    return sample_grid
