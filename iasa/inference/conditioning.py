"""From poses to what each latent frame is made of, and from latents to pictures: the stages plan, warp and decode.

Each stage is a generator that draws on the one before; closing the last closes all.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from iasa.avatar.photograph import Photograph
from iasa.avatar.speaker import Reference
from iasa.config import FRAMES_PER_LATENT, IMAGE_SIZE
from iasa.device import release_memory, upload
from iasa.inference.fast_codec import FastCodec, to_cells
from iasa.inference.generation import Timing
from iasa.inference.layered_frames import REPAIRED, repair, shrink, to_levels
from iasa.inference.made_once import MadeOnce
from iasa.inference.prefetch import Source
from iasa.inference.strip_codec import FINE, StripCodec
from iasa.inference.strips import Strips
from iasa.keypoints import Keypoints, pool_to_latent
from iasa.masks.computed import ComputedTokens, name_moving, name_regions, token_change
from iasa.masks.plan_stream import PlanRow, PlanStream
from iasa.models.transformer import Condition, VideoTransformer
from iasa.warp.layered_warp import LayeredWarp
from iasa.warp.reference_warp import ReferenceWarp

RELEASE_EVERY = 125  # latent frames, 10 s of video, after which freed memory is handed back
STILL = np.zeros(FRAMES_PER_LATENT, int)  # frames of the reference's pose in latent frame 0


class SpeakerTensors(NamedTuple):
    """The reference on a device."""

    image: Tensor  # [1, 3, H, W] in [-1, 1]
    xy: Tensor  # [1, 133, 2]
    confidence: Tensor  # [1, 133]


class DenoiserInput(NamedTuple):
    """What one latent frame is made from, beside noise."""

    row: PlanRow  # what it attends to
    base: Tensor  # [c, h, w] latents of the reference warped to its pose
    pose_tokens: Tensor  # [n, width]
    pose: Tensor  # what the denoiser made of the pose's summary [width]: the student modulations [layers, steps, 6, width]
    computed: ComputedTokens | None = None  # None: all tokens


class DecoderInput(NamedTuple):
    """What the decoder needs beside latents, for the t video frames of each of f latent frames."""

    xy: Tensor  # [f * t, 133, 2]
    confidence: Tensor  # [f * t, 133]
    patches: Tensor | None  # of the reference warped to these poses; None: they are made again, which a whole clip does
    layers: np.ndarray | None = None  # uint8 [f * t, S, S, 3] of a photograph, warped to them
    strips: Strips | None = None  # of the tokens that are computed, and `patches` with them; None: all
    still: Tensor | None = None  # uint8 [t, cells, 48] of the warped reference, for where they are not


Warp = ReferenceWarp | LayeredWarp
_layers: WeakKeyDictionary[Photograph, MadeOnce[tuple, LayeredWarp]] = WeakKeyDictionary()
WarpedFrame = tuple[DenoiserInput, DecoderInput]
PlannedPoses = tuple[Keypoints, list[PlanRow]]


class Denoiser(Protocol):
    """A network with its sampler, for one clip whose reference it has seen."""

    model: VideoTransformer
    reference: Condition

    def embed(self, summary: Tensor) -> Tensor:  # [f, width] -> [f, ...]
        """What each frame needs of its pose's summary, made for several frames together."""
        ...

    def denoise(self, frames: Source[WarpedFrame], timing: Timing) -> Generator[tuple[Tensor, DecoderInput]]:
        """Latents [f, c, h, w] of one or more frames at a time, as they are made."""
        ...


def plan(
    pieces: Source[Keypoints],  # of whole latent frames
    stream: PlanStream,
    timing: Timing,
    rows: list[PlanRow] | None = None,  # takes up the rows
) -> Generator[PlannedPoses]:
    """Poses, and for each latent frame the row of the plan that says what it attends to."""
    with closing(pieces):
        for piece in pieces:
            with timing.stage("plan"):
                new = stream.push(pool_to_latent(piece))
            if rows is not None:
                rows += new
            yield piece, new


def warp(
    planned: Source[PlannedPoses],
    reference: Warp,
    codec: FastCodec,
    denoiser: Denoiser,
    timing: Timing,
    sparse: StripCodec | None = None,  # computes some tokens alone; None: all are computed
) -> Generator[WarpedFrame]:
    """Everything about each latent frame that does not need the one before."""
    t = FRAMES_PER_LATENT
    with closing(planned):
        for piece, rows in planned:
            with torch.inference_mode(), timing.stage("condition", codec.device):
                shown = warp_to(reference, *to_tensors(piece, codec.device))
                pairs = (part.unflatten(0, (-1, t)) for part in (shown.xy, shown.confidence))
                tokens, summary = denoiser.model.pose(*pairs)
                poses = denoiser.embed(summary)
                if sparse is None:
                    encoded = encode_all(codec, shown, len(rows))
                else:
                    encoded = encode_moving(sparse, shown, rows, reference, denoiser.reference.base[0, 0], timing)
            for i, (row, (base, computed, seen)) in enumerate(zip(rows, encoded, strict=True)):
                if shown.layers is not None:
                    seen = seen._replace(layers=shown.layers[i * t : (i + 1) * t])
                yield DenoiserInput(row, base, tokens[i], poses[i], computed), seen


Encoded = tuple[Tensor, ComputedTokens | None, DecoderInput]  # base [c, h, w], and what was computed of it


def encode_all(codec: FastCodec, shown: WarpedPictures, frames: int) -> list[Encoded]:
    """Every token of some latent frames."""
    patches = codec.to_patches(shown.small)
    pairs = (part.chunk(frames) for part in (shown.xy, shown.confidence, patches))
    seen = (DecoderInput(*pair) for pair in zip(*pairs, strict=True))
    return [(base, None, pair) for base, pair in zip(codec.encode(patches), seen, strict=True)]


def encode_moving(
    sparse: StripCodec, shown: WarpedPictures, rows: Sequence[PlanRow], reference: Warp, still: Tensor, timing: Timing
) -> list[Encoded]:
    """The tokens that are to be computed; the latents of the others are the reference's, `still` [c, h, w]."""
    t, (h, w), out = FRAMES_PER_LATENT, still.shape[-2:], []
    cells = to_cells(shown.small)  # [m, 48, H / 4, W / 4]
    levels = to_levels(cells).flatten(1, 2)
    change = None
    if isinstance(reference, ReferenceWarp):
        change = token_change(shown.small, reference.image[0], t, h, w).cpu()
    for i, row in enumerate(rows):
        own = slice(i * t, (i + 1) * t)
        named = name_regions(row.bits, REPAIRED, h, w) if change is None else name_moving(row.bits, change[i])
        strips = Strips(named, still.device)
        patches = strips.around(cells[own], FINE, "picture").to(sparse.codec.dtype)
        base = still.flatten(1).index_copy(1, named.tokens.to(still.device), sparse.encode(patches, strips).T)
        timing.multiply(sparse.multiplications(strips), sparse.multiplications(None))
        seen = DecoderInput(shown.xy[own], shown.confidence[own], patches, strips=strips, still=levels[own])
        out.append((base.view_as(still), named, seen))
    return out


def decode(
    reference: Warp,
    codec: FastCodec,
    timing: Timing,
    made: tuple[Tensor, DecoderInput],
    sparse: StripCodec | None = None,
) -> np.ndarray:  # uint8 [2 f, H, W, 3]
    """The pictures of one part of the latents; parts may be decoded side by side."""
    part, shown = made
    with torch.inference_mode(), timing.stage("decode", codec.device):
        if shown.patches is None:
            warped = warp_to(reference, shown.xy, shown.confidence)
            shown = shown._replace(patches=codec.to_patches(warped.small), layers=warped.layers)
        assert shown.patches is not None
        if shown.strips is None or shown.still is None:
            frames = codec.decode(part, shown.xy, shown.confidence, shown.patches)
        else:
            assert sparse is not None  # which made the strips
            frames = sparse.decode(
                part[0], shown.xy, shown.confidence, shown.patches, shown.still, shown.strips
            )  # fmt: skip
        pictures = frames.cpu().numpy()
        return pictures if shown.layers is None else repair(shown.layers, pictures)


def warp_alone(
    planned: Source[PlannedPoses], reference: Warp, device: torch.device, timing: Timing
) -> Generator[tuple[np.ndarray, Keypoints]]:
    """The warped reference itself, uint8 [m, S, S, 3] a piece, and its poses."""
    with closing(planned):
        for piece, _ in planned:
            with torch.inference_mode(), timing.stage("warp", device):
                if isinstance(reference, LayeredWarp):
                    frames = reference.levels(piece)
                else:
                    xy, confidence = to_tensors(piece, device)
                    frames = to_levels(reference(xy[None], confidence[None])[0]).cpu().numpy()
            yield frames, piece


def make_warp(reference: Reference, device: torch.device) -> Warp:
    """What carries the reference to poses: for a photograph its layers."""
    if reference.photo is None or reference.parts is None:
        return ReferenceWarp(*read_speaker(reference, device))
    return layers_of(reference.photo, reference.size, reference.parts.moving).before(reference.room)


def layers_of(photo: Photograph, size: int, moving: tuple[bool, bool]) -> LayeredWarp:
    """A photograph's layers, cut out once as long as there is the photograph; whoever needs them meanwhile waits."""
    made = _layers.setdefault(photo, MadeOnce(most=2))
    return made.get((size, moving), lambda: LayeredWarp(photo, size, moving))


def release_often(latents: Source[tuple[Tensor, DecoderInput]]) -> Generator[tuple[Tensor, DecoderInput]]:
    """The same latents; every RELEASE_EVERY of them, and at the end, freed memory is handed back to the system."""
    done = 0
    try:
        with closing(latents):
            for part, shown in latents:
                yield part, shown
                before, done = done, done + len(part)
                if done // RELEASE_EVERY > before // RELEASE_EVERY:
                    release_memory()
    finally:  # hundreds of short clips would never come to RELEASE_EVERY
        release_memory()


def read_speaker(reference: Reference, device: torch.device) -> SpeakerTensors:
    """The reference's picture and pose as tensors."""
    image = upload(torch.from_numpy(np.array(reference.image)), device).movedim(-1, 0)[None].float() / 127.5 - 1
    return SpeakerTensors(image, *to_tensors(reference.keypoints, device))


def to_tensors(poses: Keypoints, device: torch.device) -> tuple[Tensor, Tensor]:  # [f, 133, 2], [f, 133]
    return upload(torch.from_numpy(poses.xy), device), upload(torch.from_numpy(poses.confidence), device)


class WarpedPictures(NamedTuple):
    """The reference warped to some poses."""

    xy: Tensor  # [m, 133, 2]
    confidence: Tensor  # [m, 133]
    small: Tensor  # [m, 3, H, W] in [-1, 1], as the networks see it
    layers: np.ndarray | None = None  # uint8 [m, S, S, 3] of a photograph


def warp_to(reference: Warp, xy: Tensor, confidence: Tensor) -> WarpedPictures:
    """The reference warped to poses [m, 133, 2] with confidences [m, 133]."""
    if isinstance(reference, ReferenceWarp):
        return WarpedPictures(xy, confidence, reference(xy[None], confidence[None])[0])
    poses = Keypoints(xy.cpu().numpy(), confidence.cpu().numpy())
    layers = reference.levels(poses)
    small = upload(torch.from_numpy(shrink(layers, IMAGE_SIZE)), xy.device)
    return WarpedPictures(xy, confidence, small.movedim(-1, 1).float() / 127.5 - 1, layers)


def condition_reference(
    model: VideoTransformer, codec: FastCodec, speaker: SpeakerTensors
) -> Condition:  # of one frame, the reference, which itself is not warped
    pictures = speaker.image.expand(FRAMES_PER_LATENT, -1, -1, -1)
    base = codec.encode(codec.to_patches(pictures))[None]
    pose = (part[STILL][None, None] for part in (speaker.xy, speaker.confidence))
    return model.condition(base, speaker.image.to(codec.dtype), *pose)


def join_conditions(reference: Condition, frames: Sequence[DenoiserInput]) -> Condition:
    """The reference and all frames at once, for a network that takes a clip whole; their `pose` is the summary itself."""
    parts = [
        torch.stack(column)[None] for column in zip(*((f.base, f.pose_tokens, f.pose) for f in frames), strict=True)
    ]
    first = (reference.base, reference.pose_tokens, reference.pose_summary)
    base, tokens, summary = (torch.cat(pair, 1) for pair in zip(first, parts, strict=True))
    return Condition(base, reference.image_tokens, tokens, summary)
