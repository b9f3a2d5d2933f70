"""Distillation of a Wan model to few steps under the plan: the paper's losses, with adapters in the three roles.

Each clip of a batch is rolled out and differentiated alone: what a video model keeps for its backward pass leaves no
room for two. Every random number comes from the run's seed, the step and the clip's key, so that a batch spread over
several processes gives the gradients of one process.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iasa.backbones.lora_roles import LoraRoles
from iasa.backbones.wan_plan import video_plan
from iasa.backbones.wan_stream import CausalWan, few_step_levels, roll_out
from iasa.config import InputError, MaskOptions
from iasa.keypoints import Keypoints
from iasa.losses import critic_loss, dmd_loss
from iasa.masks.plan import AttentionPlan

CONTROL_CHANNELS = 96  # of VACE: 32 of latents, 64 of the mask


@dataclass(frozen=True)
class DistillSettings:
    """Choices of the distillation; the paper states none of them. Defaults follow Self-Forcing and FastVideo."""

    steps: int = 4  # of the student
    shift: float = 5.0
    guidance: float = 3.0  # of the teacher
    critic_updates: int = 5  # on each of the student's
    lr: float = 1e-5
    critic_lr: float = 2e-6
    rank: int = 64
    anneal: int = 200  # updates over which the plan goes from dense to its own density
    causal: bool = True  # the student is rolled out chunk by chunk on what it made itself; off: the whole clip at once
    regression: float = 0.0  # weight of the true latents under the roll-out
    region: float = 0.0  # weight of the region loss on decoded crops
    mask: MaskOptions = MaskOptions(block=128, chunk=3)
    seed: int = 0


@dataclass(frozen=True)
class LatentClip:
    """One training sample, batch 1. Latents are normalised; references stand in front of the control alone."""

    key: str
    latents: Tensor  # [1, 16, f, h, w] the true video
    control: Tensor  # [1, 32, r + f, h, w] the references and skeletons, as `WanVACEPipeline.prepare_video_latents` makes them
    text: Tensor  # [1, 512, d]
    empty_text: Tensor  # [1, 512, d] what guidance leads away from
    poses: Keypoints  # 4 f - 3 poses, 0..1 of width and height

    @property
    def references(self) -> int:
        return self.control.shape[2] - self.latents.shape[2]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return 8 * self.latents.shape[3], 8 * self.latents.shape[4]

    def to(self, device: torch.device, dtype: torch.dtype) -> LatentClip:
        moved = {name: getattr(self, name).to(device, dtype) for name in ("latents", "control", "text", "empty_text")}
        return replace(self, **moved)


def full_control(latents: Tensor, references: int) -> Tensor:
    """VACE's condition [1, 96, f, h, w]: latents [1, 32, f, h, w] and the mask, all of which is to be painted."""
    mask = latents.new_ones(1, CONTROL_CHANNELS - latents.shape[1], *latents.shape[2:])
    mask[:, :, :references] = 0
    return torch.cat([latents, mask], 1)


def annealed(options: MaskOptions, frames: int, step: int, steps: int) -> MaskOptions:
    """The mask on its way from dense to `options`: ever fewer whole frames, and regions last."""
    done = 1.0 if steps <= 0 else step / steps
    if done >= 1:
        return options
    top_k = round(frames - (frames - options.top_k) * done)
    return replace(options, local=False, top_k=max(top_k, options.top_k), reach=max(options.reach, frames))


def plan_clip(clip: LatentClip, options: MaskOptions) -> AttentionPlan:
    return video_plan(clip.poses, *clip.size, clip.references, options=options)


class ClipRoles:
    """The three roles on one clip, as `iasa.losses` takes them: (noisy [1, f, c, h, w], level [1, f]) -> x0."""

    def __init__(self, roles: LoraRoles, clip: LatentClip, guidance: float, generator: torch.Generator) -> None:
        self.roles, self.clip, self.guidance = roles, clip, guidance
        self.control = full_control(clip.control, clip.references)
        self.reference = clip.control[:, :16, : clip.references]
        self.noise = self.draw(self.reference, generator)
        self.generator = generator

    @staticmethod
    def draw(like: Tensor, generator: torch.Generator) -> Tensor:
        """Noise, the same on every device."""
        return torch.randn(like.shape, generator=generator).to(like)

    def velocity(self, role: str, x: Tensor, level: float | Tensor, text: Tensor) -> Tensor:
        """Of the video's frames: x [1, c, f, h, w]; the references in front are as noisy as the video."""
        model = self.roles.become(role)
        level = torch.as_tensor(level, device=x.device, dtype=torch.float32)
        noisy = (1 - level) * self.reference + level * self.noise
        hidden = torch.cat([noisy.to(x), x], 2)
        given = dict(
            hidden_states=hidden, control_hidden_states=self.control, encoder_hidden_states=text, return_dict=False
        )
        out = model(timestep=(1000 * level).view(1), **given)[0]
        return out[:, :, self.clip.references :]

    def denoiser(self, role: str) -> Callable[[Tensor, Tensor], Tensor]:
        def denoise(noisy: Tensor, level: Tensor) -> Tensor:
            x, t = noisy.transpose(1, 2).to(self.clip.latents), level[0, 0]
            v = self.velocity(role, x, t, self.clip.text)
            if role == "teacher" and self.guidance > 1:
                away = self.velocity(role, x, t, self.clip.empty_text)
                v = away + self.guidance * (v - away)
            return (x.float() - t * v.float()).transpose(1, 2)

        return denoise

    def sample(self, stream: CausalWan | None, levels: list[float]) -> Tensor:
        """The student's own clip x0 [1, f, c, h, w] after these denoising steps; gradients, if on, reach the last."""
        noise = self.draw(self.clip.latents, self.generator)
        self.roles.become("student")
        made = self._denoise_whole(noise, levels) if stream is None else self._roll_out(stream, noise, levels)
        return made.transpose(1, 2).float()

    def _denoise_whole(self, x: Tensor, levels: list[float]) -> Tensor:
        graph = torch.is_grad_enabled()
        for i, level in enumerate(levels):
            last = i + 1 == len(levels)
            with torch.set_grad_enabled(graph and last):
                clean = x - level * self.velocity("student", x, level, self.clip.text)
            if not last:
                x = (1 - levels[i + 1]) * clean + levels[i + 1] * self.draw(clean, self.generator)
        return clean

    def _roll_out(self, stream: CausalWan, noise: Tensor, levels: list[float]) -> Tensor:
        def arguments(frames: range) -> dict:
            control = self.control[:, :, frames.start : frames.stop]
            return dict(control_hidden_states=control, encoder_hidden_states=self.clip.text)

        padded = torch.cat([self.reference, noise], 2)  # the references' places are not read
        return torch.cat(list(roll_out(stream, padded, self.reference, levels, arguments, self.generator)), 2)


RegionTerm = Callable[[Tensor, LatentClip, torch.Generator], Tensor]


def clip_losses(
    roles: LoraRoles,
    clip: LatentClip,
    plan: AttentionPlan,
    settings: DistillSettings,
    student: bool,  # whether the student learns, else the critic
    step: int,
    region: RegionTerm | None = None,
    share: float = 1.0,  # what the clip counts in its batch
) -> float:
    """One clip's loss; its gradients are added to the adapter's."""
    generator = clip_generator(settings.seed, step, clip.key)
    on_clip = ClipRoles(roles, clip, settings.guidance, generator)
    if not settings.causal:
        roles.follow(plan)
    with CausalWan(roles.model, plan, *clip.latents.shape[3:]) if settings.causal else nullcontext() as stream:
        with torch.set_grad_enabled(student):
            x0 = on_clip.sample(stream, draw_levels(settings, step))
        level = torch.rand(1, 1, generator=generator).mul(0.96).add(0.02).expand(1, x0.shape[1]).to(x0)
        noise = on_clip.draw(x0, generator)
        if not student:
            loss = critic_loss(on_clip.denoiser("critic"), x0, level, noise)
        else:
            loss = dmd_loss(x0, on_clip.denoiser("teacher"), on_clip.denoiser("critic"), level, noise)
            if settings.regression:
                loss = loss + settings.regression * (x0 - clip.latents.transpose(1, 2).float()).square().mean()
            if settings.region and region is not None:
                loss = loss + settings.region * region(x0, clip, generator)
        roles.become("student" if student else "critic")
        (share * loss).backward()
    return float(loss.detach())


def draw_levels(settings: DistillSettings, step: int) -> list[float]:
    """The first few of the student's noise levels, as many for all clips of a step: sharded weights are gathered in step."""
    levels = few_step_levels(settings.steps, settings.shift)
    count = int(torch.randint(len(levels), (), generator=clip_generator(settings.seed, step, ""))) + 1
    return levels[:count]


def clip_generator(seed: int, step: int, key: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {step} {key}".encode()))


def check_clips(clips: Sequence[LatentClip]) -> None:
    """Raises InputError unless the clips fit each other."""
    for clip in clips:
        frames = clip.latents.shape[2]
        if len(clip.poses) != 4 * frames - 3:
            count = len(clip.poses)
            raise InputError(
                f"clip {clip.key} has {count} poses for {frames} latent frames; {4 * frames - 3} are needed"
            )
        if clip.control.shape[3:] != clip.latents.shape[3:]:
            raise InputError(f"clip {clip.key} has a control of another size than its latents")
