"""The memory bed's clips: speakers whose reference hides what they show later, at a low rate, with masks of every detail.

`python -m iasa train memory_data --run DIR` fills DIR/memory with shards beside `clips.json`, which says what they hold:
  <name>.frames.npy  uint8 [clips, 1 + f, S, S, 3], picture 0 is the reference
  <name>.warped.npy  the same of the reference warped to each pose
  <name>.masks.npy   uint8 [clips, 1 + f, d, S S / 8], bits of `iasa.avatar.details.DETAILS` (numpy.packbits)
  <name>.xy.npy, <name>.confidence.npy  as in `iasa.training.datasets`
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iasa.avatar.details import DETAILS, make_detailed_identity, without_traces
from iasa.avatar.renderer import Renderer
from iasa.avatar.rig import make_keypoints
from iasa.config import HELDOUT_IDENTITY, VIDEO_FPS, InputError
from iasa.files import display_name
from iasa.models.patch_codec import PatchCodec
from iasa.motion.showings import make_showings, reference_motion
from iasa.training.datasets import WarpedWindow, to_model_images, to_pictures
from iasa.warp.reference_warp import warp_reference

SIDE, EVERY, FRAMES = 128, 10, 36  # pixels; drawn frames from one kept frame to the next; frames of a clip
RATE = VIDEO_FPS / EVERY  # kept frames a second
CLIPS, HELDOUT_CLIPS = 20, 64  # of one shard; held out
MAKE = "python -m iasa train memory_data"


def make_clip(seed: int, frames: int = FRAMES) -> tuple[np.ndarray, ...]:
    """One speaker: frames [1 + f, S, S, 3], warped, masks bool [1 + f, d, S, S], xy [1 + f, 133, 2], confidence."""
    identity = make_detailed_identity(seed)
    assert identity.details is not None
    motion = make_showings(identity.details, frames * EVERY / VIDEO_FPS, seed)[::EVERY]
    motion = reference_motion(identity.details).concat(motion)
    renderer, keypoints = Renderer(identity, SIDE), make_keypoints(identity, motion)
    pictures = renderer.render(motion)
    pictures[0] = Renderer(without_traces(identity), SIDE).draw(motion, 0)
    masks = np.stack([renderer.detail_masks(motion, i) for i in range(len(motion))])
    image = to_model_images(pictures[:1])
    xy, confidence = (torch.from_numpy(part)[None] for part in (keypoints.xy, keypoints.confidence))
    warped = to_pictures(warp_reference(image, xy[:, 0], confidence[:, 0], xy, confidence)[0])
    return pictures, warped, masks, keypoints.xy, keypoints.confidence


def make_memory_clips(folder: Path, clips: int, heldout: int = HELDOUT_CLIPS, frames: int = FRAMES) -> None:
    """Fill `folder`; shards that are there are kept. Raises InputError if it holds clips of another kind."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "clips.json").exists():
        check_kind(folder, frames)
    kind = {"details": list(DETAILS), "side": SIDE, "rate": RATE, "frames": frames}
    (folder / "clips.json").write_text(json.dumps(kind))
    for split, base, count in (("train", 0, clips), ("heldout", HELDOUT_IDENTITY, heldout)):
        for start in range(0, count, CLIPS):
            name = f"{split}_{start:06d}"
            if not (folder / f"{name}.frames.npy").exists():
                _make_shard(folder, name, range(base + start, base + min(start + CLIPS, count)), frames)


def _make_shard(folder: Path, name: str, seeds: range, frames: int) -> None:
    parts = [np.stack(part) for part in zip(*(make_clip(seed, frames) for seed in seeds), strict=True)]
    pictures, warped, masks, xy, confidence = parts
    np.save(folder / f"{name}.warped.npy", warped)
    np.save(folder / f"{name}.masks.npy", np.packbits(masks.reshape(*masks.shape[:3], -1), axis=-1))
    np.save(folder / f"{name}.xy.npy", xy.astype(np.float32))
    np.save(folder / f"{name}.confidence.npy", confidence.astype(np.float16))
    partial = folder / f"{name}.partial.npy"
    np.save(partial, pictures)
    os.replace(partial, folder / f"{name}.frames.npy")  # last: it marks the shard as whole


def check_kind(folder: Path, frames: int | None = None) -> dict:
    """What the clips of a folder are. Raises InputError if they are of another kind than this version draws."""
    try:
        kind = json.loads((folder / "clips.json").read_text())
        found, side, length = kind["details"], kind["side"], kind["frames"]
    except FileNotFoundError as error:
        raise InputError(f"there are no memory clips in {display_name(folder)}; make them with: {MAKE}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"clips.json in {display_name(folder)} does not describe memory clips; make them with: {MAKE}"
        ) from error
    if found != list(DETAILS):
        raise InputError(f"the clips show the details {', '.join(map(str, found))}; {', '.join(DETAILS)} are needed")
    if side != SIDE:
        raise InputError(f"the clips have {side} pixels a side; {SIDE} are needed")
    if frames is not None and length != frames:
        raise InputError(f"the clips there have {length} frames; {frames} were asked for: choose another --run")
    return kind


@dataclass(frozen=True)
class MemoryClip:
    """One clip; picture 0 is the reference."""

    frames: np.ndarray  # uint8 [1 + f, S, S, 3]
    warped: np.ndarray
    bits: np.ndarray  # uint8 [1 + f, d, S S / 8]
    xy: np.ndarray  # float32 [1 + f, 133, 2]
    confidence: np.ndarray

    @property
    def masks(self) -> np.ndarray:
        """bool [1 + f, d, S, S]."""
        side = self.frames.shape[1]
        return np.unpackbits(self.bits, axis=-1).astype(bool).reshape(*self.bits.shape[:2], side, side)


class MemoryClips:
    """All clips of "train" or "heldout", by memory map. Raises InputError if there are none, or some lack their masks."""

    def __init__(self, folder: Path, split: str) -> None:
        check_kind(folder)
        self.clips: list[MemoryClip] = []
        for path in sorted(folder.glob(f"{split}_*.frames.npy")):
            parts = [
                path.with_name(path.name.replace(".frames.", f".{p}.")) for p in ("warped", "masks", "xy", "confidence")
            ]
            missing = [part.name for part in parts if not part.exists()]
            if missing:
                raise InputError(f"{display_name(folder)} lacks {missing[0]}; make the clips anew with: {MAKE}")
            loaded = [np.load(part, mmap_mode="r") for part in (path, *parts)]
            self.clips += [MemoryClip(*(array[i] for array in loaded)) for i in range(len(loaded[0]))]
        if not self.clips:
            raise InputError(f"there are no {split} clips in {display_name(folder)}; make them with: {MAKE}")

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[MemoryClip]:
        return iter(self.clips)


@dataclass(frozen=True)
class MemoryWindow(WarpedWindow):
    """Frames of clips as the networks take them (one picture a latent frame), with what the losses and choices need."""

    areas: Tensor  # [b, 1 + f, d] pixels of each detail that show
    weight: Tensor  # [b, f, n] 0..1, share of a token that details cover
    pictures: np.ndarray  # uint8 [b, f, S, S, 3], true

    def to(self, device: torch.device) -> MemoryWindow:
        moved = {name: part.to(device) for name, part in vars(self).items() if isinstance(part, Tensor)}
        return replace(self, **moved)


def make_window(
    clips: Sequence[MemoryClip],
    chosen: np.ndarray,  # int [b, f] frames of each clip, rising, from 1 on
    codec: PatchCodec,
    prior: bool,  # off: the networks get no warped reference
    channels: np.ndarray
    | None = None,  # int [b, 3] an order of red, green, blue for each clip: more people than were drawn
) -> MemoryWindow:
    """The window of these frames behind each clip's reference."""
    order = np.concatenate([np.zeros((len(clips), 1), int), chosen], 1)
    channels = np.tile(np.arange(3), (len(clips), 1)) if channels is None else channels
    rows = [
        (clip.frames[at][..., c], clip.warped[at][..., c], clip.masks[at], clip.xy[at], clip.confidence[at])
        for clip, at, c in zip(clips, order, channels, strict=True)
    ]
    pictures, warped, masks, xy, confidence = (np.stack(part) for part in zip(*rows, strict=True))
    images, drawn = to_model_images(pictures), to_model_images(warped)
    device = codec.mean.device
    latents = codec.encode(images.to(device))
    base = codec.encode(drawn.to(device)) if prior else torch.zeros_like(latents)
    base = torch.cat([latents[:, :1], base[:, 1:]], 1)
    patch, covered = codec.config.patch, torch.from_numpy(masks[:, 1:].any(2)).float()
    weight = torch.nn.functional.avg_pool2d(covered, patch).flatten(2)
    points, seen = (torch.from_numpy(part)[:, :, None].float() for part in (xy, confidence))
    return MemoryWindow(
        latents, images[:, 0], points, seen, base, drawn[:, 1:],
        areas=torch.from_numpy(masks.sum((-2, -1))), weight=weight, pictures=pictures[:, 1:],
    )  # fmt: skip


class MemorySampler:
    """Windows of `frames` frames drawn from all over a clip, in order, so that showings and covers meet in one window."""

    def __init__(self, clips: MemoryClips, frames: int, codec: PatchCodec, prior: bool) -> None:
        self.clips, self.frames, self.codec, self.prior = clips, frames, codec, prior

    def sample(self, rng: np.random.Generator, count: int) -> MemoryWindow:
        picked = [self.clips.clips[int(i)] for i in rng.integers(len(self.clips), size=count)]
        chosen = [np.sort(rng.choice(len(c.frames) - 1, self.frames, replace=False)) + 1 for c in picked]
        channels = np.stack([rng.permutation(3) for _ in picked])
        return make_window(picked, np.stack(chosen), self.codec, self.prior, channels)
