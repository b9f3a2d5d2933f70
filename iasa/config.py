"""Every number that is a choice: limits, model sizes, training presets (frozen dataclasses, no other source)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

VIDEO_FPS = 25.0  # frames a second, everywhere
FRAMES_PER_LATENT = 2  # video frames in one latent frame
LATENT_FPS = VIDEO_FPS / FRAMES_PER_LATENT
AUDIO_RATE = 16_000  # hertz, mono
IMAGE_SIZE = 256  # pixels, square
PHOTO_SIZE = 512  # of frames made of a photograph

MAX_UPLOAD_BYTES = 200 * 2**20
MAX_AUDIO_SECONDS = 600.0
MAX_VIDEO_SECONDS = 120.0
MAX_PIXELS = 4096 * 4096  # of one frame of a video
MAX_PICTURE_PIXELS = 12_000 * 9_000  # of a photograph, which is decoded small
HELDOUT_IDENTITY = 1_000_000  # identity seeds from here on are never trained on

MODELS = ("student", "teacher")
DEVICES = ("auto", "cpu", "cuda")  # auto: a GPU where torch sees one
PRECISIONS = ("float32", "bfloat16", "int8", "auto")  # names of number types
LAYERS = "layers"  # instead of a model: the warped reference alone, which no network touches
RESTORED = (
    "restored"  # for photographs: the warped reference, repaired at 512 around face and hands by a network of one's own
)
WARPED = (LAYERS, RESTORED)
NO_PHOTOGRAPH = "the restorer repairs photographs; for a drawn speaker choose student, teacher or layers"
NO_ALPHA = "the {model} paints no alpha; for a transparent background leave the model out"
MOTION_MODELS = ("learned", "rules")
DEFAULT_MOTION = "rules"  # begins sooner: the learned one hears 1.2 s ahead (both are measured in results/motion.md)
TEMPERATURE = 1.0  # of the learned motion model's draws; 0 takes the most likely entry
COMPUTE = (
    "all",
    "moving",
)  # tokens of a frame: all, or the student's face, hands and what else moves (masks/computed.py)
DEFAULT_STEPS = {"student": 1, "teacher": 20}  # denoising steps
MAX_STEPS = {"student": 4, "teacher": 100}
STUDENT_LAYERS = (0, 1, 5, 7)  # of the teacher's, those that the student keeps: hands and faces hardly need the others
PUBLISHED_METRICS = ("lpips", "syncnet", "inception", "i3d", "arcface")  # by a user's own weights
ROLL_OUT_STEPS = (1, 1, 2, 4)  # the student trains for: one of them is drawn for every batch


class Sentence(str):
    """What a user is told, in English; it keeps the template and the values, from which the demo says it in German."""

    template: str
    values: dict[str, Any]

    def __new__(cls, template: str, /, **values: Any) -> Self:
        text = super().__new__(cls, template.format(**values) if values else template)
        text.template, text.values = template, values
        return text


class InputError(ValueError):
    """Bad input from a user: one plain sentence that says what was wrong and what is accepted.

    Values are given by name, `InputError("{name} is empty (0 bytes)", name=name)`: its one argument is a `Sentence`.
    """

    def __init__(self, template: str, /, **values: Any) -> None:
        super().__init__(template if isinstance(template, Sentence) else Sentence(template, **values))


def check_motion(model: str) -> None:
    """Raises InputError unless it is one of MOTION_MODELS."""
    if model not in MOTION_MODELS:
        raise InputError(
            "the motion model is {model!r}; accepted: {names}", model=model, names=" or ".join(MOTION_MODELS)
        )


def check_steps(model: str, steps: int | None) -> int:
    """Denoising steps for a model, its default for None. Raises InputError."""
    if model in WARPED:
        if steps:
            raise InputError("the layers are warped without denoising steps; leave the steps out")
        return 0
    if model not in MODELS:
        raise InputError(
            "the model is {model!r}; accepted: {names}, {layers} or {restored}",
            model=model,
            names=", ".join(MODELS),
            layers=LAYERS,
            restored=RESTORED,
        )
    steps = DEFAULT_STEPS[model] if steps is None else steps
    if not 1 <= steps <= MAX_STEPS[model]:
        raise InputError(
            "{steps} steps asked for; the {model} takes 1 to {most}", steps=steps, model=model, most=MAX_STEPS[model]
        )
    return steps


def check_compute(compute: str, model: str, own_attention: bool) -> None:
    """Raises InputError unless these tokens of COMPUTE can be chosen for a model, under its own attention or another."""
    if compute not in COMPUTE:
        raise InputError(
            "the tokens to compute are {compute!r}; accepted: {names}", compute=compute, names=" or ".join(COMPUTE)
        )
    if compute == "moving" and (model != "student" or not own_attention):
        raise InputError("only the student under its own attention computes moving tokens alone; compute all instead")


@dataclass(frozen=True)
class MaskOptions:
    """Choices of the input-aware mask (paper, section 3.2); the paper does not state `top_k`."""

    top_k: int = 4  # chosen past latent frames
    window: int = 1  # frames just before, always among the visible ones
    sink: bool = True  # frame 0, the reference, is visible to every token
    local: bool = True  # off: every token of a chosen frame is visible, the paper's global mask alone
    method: str = "mls"  # regions: "mls" (the paper's text), "hull" (per-frame polygons) or "body" (bones)
    block: int = 64  # tile of the attention matrix
    mode: str = "exact"  # "exact" pairs or "pooled" blocks (a block is kept if any pair in it is)
    reach: int = 125  # latent frames back that are candidates (10 s): bounds the memory of a roll-out
    references: int = 1  # frames in front that are the sink, where there is one
    chunk: int = 1  # frames that are denoised together and see each other whole
    causal: bool = True  # off: frames to come are chosen too, for a model that denoises the whole clip at once
    whole_window: bool = False  # the window's frames are visible to every token, not by region

    @property
    def sinks(self) -> int:
        """Frames in front that every later frame sees whole."""
        return self.references if self.sink else 0


@dataclass(frozen=True)
class AutoencoderConfig:
    """The f16 autoencoder: two video frames become one grid of `latent_channels` x 16 x 16."""

    latent_channels: int = 48
    widths: tuple[int, int, int] = (96, 160, 320)  # channels at 1/4, 1/8 and 1/16 of the picture
    frames: int = FRAMES_PER_LATENT


@dataclass(frozen=True)
class TransformerConfig:
    """The video transformer that serves as teacher, student and critic."""

    latent_channels: int = 48
    rows: int = 16
    cols: int = 16
    width: int = 320
    layers: int = 8
    heads: int = 4
    mlp_ratio: float = 3.0
    image_tokens: int = 16  # from the image encoder
    keypoints: int = 133
    frames: int = FRAMES_PER_LATENT


@dataclass(frozen=True)
class TrainPreset:
    """One stage's training choices."""

    batch: int
    frames: int  # latent frames in a window, the reference not counted
    lr: float
    muon_lr: float
    warmup: int = 50
    ema: float = 0.999
    mask: MaskOptions = field(default_factory=MaskOptions)


@dataclass(frozen=True)
class DistillOptions:
    """Choices of the distillation; the paper states none of them."""

    steps: tuple[int, ...] = ROLL_OUT_STEPS
    dmd: float = 0.25  # weight of distribution matching
    regression: float = 1.0  # weight of the true latents under the roll-out: data are paired here
    region: float = (
        0.25  # weight of the region loss: its gradient is then some five times the regression's, on fewer tokens
    )
    critic_updates: int = 1  # of the critic on each of the student's batches
    critic_rate: float = (
        0.25  # its rates in the student's: at the same rates its own noise outweighs what it has to tell
    )
    critic_warmup: int = 0  # updates of the critic alone, before the student's first
    clean_keys: bool = False  # later frames see keys of the finished frame instead of its last step's
    region_frames: int = 2  # latent frames of a clip that are decoded for the region loss


@dataclass(frozen=True)
class MemoryOptions:
    """The memory bed's sizes: small enough to train in an hour on one processor core."""

    patch: int = 16  # pixels a token, of 128 x 128
    latent_channels: int = 256  # components of a patch
    width: int = 192
    layers: int = 5
    heads: int = 4
    top_k: int = 4
    reach: int = 25  # frames, 10 s at the bed's 2.5 frames a second

    def mask(self, top_k: int | None = None, reach: int | None = None) -> MaskOptions:
        """Whole frames, those of the table alone."""
        return MaskOptions(top_k=top_k or self.top_k, window=0, local=False, reach=reach or self.reach)


MEMORY_TABLES = ("frames", "tokens", "distillation")

# Of the bed: the critic is warmed up alone and learns five times a step at the student's rate; DMD leads, for regression blurs.
MEMORY_DISTILL = DistillOptions(
    dmd=1.0, regression=0.25, critic_updates=5, critic_rate=1.0, critic_warmup=100, clean_keys=True
)

# How much each region counts in the region loss (the paper's lambda_r, which it does not state).
REGION_WEIGHTS: dict[str, float] = {"face": 0.5, "mouth": 1.0, "hands": 1.0, "arms": 0.25}

PRESETS: dict[str, TrainPreset] = {
    "motion": TrainPreset(batch=16, frames=64, lr=1e-3, muon_lr=0.02, warmup=20, ema=0.995),  # frames: steps of four
    "autoencoder": TrainPreset(batch=24, frames=1, lr=1e-3, muon_lr=0.015),
    "encoders": TrainPreset(batch=64, frames=1, lr=2e-3, muon_lr=0.02, warmup=20, ema=0.99),
    "teacher": TrainPreset(batch=4, frames=5, lr=4e-4, muon_lr=0.006),  # larger rates undo the warped reference
    "student": TrainPreset(batch=4, frames=8, lr=4e-4, muon_lr=0.006),
    "finetune": TrainPreset(batch=4, frames=6, lr=4e-4, muon_lr=0.005, warmup=20, ema=0.995),
    "finetune_global": TrainPreset(
        batch=3, frames=8, lr=4e-4, muon_lr=0.005, warmup=20, ema=0.995, mask=MaskOptions(local=False)
    ),
    "finetune_local": TrainPreset(batch=3, frames=8, lr=4e-4, muon_lr=0.005, warmup=20, ema=0.995),
    **dict.fromkeys(
        ("self_forcing", "distill", "distill_region"),
        TrainPreset(batch=2, frames=6, lr=3e-4, muon_lr=0.004, warmup=20, ema=0.99),
    ),
    "restore": TrainPreset(batch=16, frames=1, lr=1e-3, muon_lr=0.01),
    "decoder": TrainPreset(batch=36, frames=4, lr=8e-4, muon_lr=0.005),
    "memory_teacher": TrainPreset(batch=4, frames=8, lr=8e-4, muon_lr=0.01, mask=MemoryOptions().mask()),
    "memory_student": TrainPreset(
        batch=4, frames=8, lr=4e-4, muon_lr=0.006, warmup=20, ema=0.99, mask=MemoryOptions().mask()
    ),
    **dict.fromkeys(
        ("memory_self_forcing", "memory_distill", "memory_distill_region"),
        TrainPreset(batch=2, frames=6, lr=3e-4, muon_lr=0.004, warmup=20, ema=0.99, mask=MemoryOptions().mask()),
    ),
    "tiny": TrainPreset(batch=2, frames=3, lr=1e-3, muon_lr=0.02, warmup=2, ema=0.9),
}
