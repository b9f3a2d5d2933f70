"""Clips to learn from: random identities speak, the renderer draws them, and shards of frames and poses lie on disk.

`python -m iasa train data --run DIR` fills a folder with shards; a shard is a few .npy files that are read by memory map:
  <name>.frames.npy    uint8 [clips, 1 + length, H, W, 3], picture 0 is the reference
  <name>.xy.npy        float32 [clips, 1 + length, 133, 2]; <name>.confidence.npy float16 [clips, 1 + length, 133]
  <name>.latents.npy   float16 [clips, 1 + length / 2, c, h, w], written by `encode_shards` (the reference is a still pair)
A clip is `segments` runs of consecutive frames out of one performance, so that a window of it holds both neighbours in
time and moments that lie further apart. Clips of people (`photo_clips`) bring their warped layers along.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iasa.avatar.identity import make_identity
from iasa.avatar.renderer import Renderer
from iasa.avatar.rig import make_keypoints, rest_motion
from iasa.config import FRAMES_PER_LATENT, HELDOUT_IDENTITY, IMAGE_SIZE, InputError
from iasa.device import pick_precision
from iasa.keypoints import FACE, LEFT_HAND, MOUTH, RIGHT_HAND
from iasa.models.autoencoder import Autoencoder
from iasa.motion.rules import generate_gestures
from iasa.training.speech_data.corpus import Utterance, make_corpus
from iasa.warp.reference_warp import warp_reference

CLIPS = 12  # of one shard, whose frames are 56 MiB
HELDOUT_CLIPS = 48
SEGMENTS, SEGMENT = 3, 8  # runs of video frames in a clip


def make_clip(seed: int, utterance: Utterance, segments: int = SEGMENTS, segment: int = SEGMENT):
    """One identity, one performance: frames uint8 [1 + L, H, W, 3], xy [1 + L, 133, 2], confidence [1 + L, 133]."""
    rng = np.random.default_rng([seed, 7])
    identity = make_identity(seed)
    motion = generate_gestures(utterance.features, seed=seed)
    keep = min(len(motion), segments * segment * 12)
    start = int(rng.integers(0, len(motion) - keep + 1))
    motion = motion[start : start + keep]
    places = np.sort(rng.integers(0, max(1, keep - segment), segments))
    chosen = np.clip((places[:, None] + np.arange(segment)).reshape(-1), 0, keep - 1)
    rest = rest_motion(1, rest=int(rng.integers(2)))
    motion = rest.concat(motion[chosen])
    keypoints = make_keypoints(identity, motion)
    return Renderer(identity, IMAGE_SIZE).render(motion), keypoints.xy, keypoints.confidence


def make_shard(folder: Path, name: str, seeds: Sequence[int], corpus: list[Utterance]) -> None:
    """Render one clip a seed and write the shard; the frames file is moved into place last, so it marks completion."""
    clips = []
    for seed in seeds:
        clips.append(make_clip(seed, corpus[int(np.random.default_rng([seed, 8]).integers(len(corpus)))]))
    frames, xy, confidence = (np.stack(part) for part in zip(*clips, strict=True))
    np.save(folder / f"{name}.xy.npy", xy.astype(np.float32))
    np.save(folder / f"{name}.confidence.npy", confidence.astype(np.float16))
    partial = folder / f"{name}.partial.npy"
    np.save(partial, frames)
    os.replace(partial, folder / f"{name}.frames.npy")


def make_shards(
    folder: Path, clips: int, corpus_cache: Path | None = None, heldout: bool = False, first: int = 0,
    until: float = math.inf,  # of time.monotonic(): no shard but the first begins after it
) -> None:  # fmt: skip
    """Fill `folder` with `clips` clips, a process for each of torch's threads; shards that are there are kept, so an interrupted
    run goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    split, base = ("heldout", HELDOUT_IDENTITY) if heldout else ("train", 0)
    corpus = [u for u in make_corpus(split, corpus_cache) if u.features.frames >= SEGMENTS * SEGMENT]
    there = {first + i for first, count in _made(folder, split) for i in range(count)}
    wanted = [number for number in range(first, first + clips) if number not in there]
    missing = [
        (f"{split}_{some[0]:06d}", [base + number for number in some])
        for some in (wanted[i : i + CLIPS] for i in range(0, len(wanted), CLIPS))
    ]
    some = bool(there)
    workers = min(len(missing), torch.get_num_threads())
    if workers < 2:
        for name, seeds in missing:
            if time.monotonic() < until or not some:
                make_shard(folder, name, seeds, corpus)
                some = True
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _keep_corpus, (corpus,)) as pool:
        running: set[Future] = set()
        for name, seeds in missing:
            if len(running) == workers:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for shard in done:
                    shard.result()
            if time.monotonic() >= until and (some or running):
                break
            running.add(pool.submit(_make_kept, folder, name, seeds))
        for shard in running:
            shard.result()


def _made(folder: Path, split: str) -> list[tuple[int, int]]:
    """The first number of every complete shard, and how many clips it holds."""
    paths = sorted(Path(folder).glob(f"{split}_[0-9]*.frames.npy"))
    return [(int(path.name.split(".")[0].split("_")[1]), len(np.load(path, mmap_mode="r"))) for path in paths]


def count_clips(folder: Path, names: str = "") -> int:
    """How many clips there are to learn from; `names` "[0-9]": of drawn speakers alone."""
    return sum(len(np.load(path, mmap_mode="r")) for path in Path(folder).glob(f"train_{names}*.frames.npy"))


_corpus: list[Utterance] = []  # of a process that renders


def _keep_corpus(corpus: list[Utterance]) -> None:
    torch.set_num_threads(1)
    _corpus[:] = corpus


def _make_kept(folder: Path, name: str, seeds: Sequence[int]) -> None:
    make_shard(folder, name, seeds, _corpus)


@dataclass(frozen=True)
class Shard:
    """Memory maps of one shard; `latents` is None until it is encoded."""

    frames: np.ndarray
    xy: np.ndarray
    confidence: np.ndarray
    latents: np.ndarray | None
    warped: np.ndarray | None = None  # a photograph's layers at the poses; else the warp of drawn speakers is made anew

    @property
    def encoded(self) -> np.ndarray:
        """The latents. Raises InputError before `encode_shards`."""
        if self.latents is None:
            raise InputError("a shard has no latents; if clips were made while the stage began, run it again")
        return self.latents


def find_shards(folder: Path, split: str) -> list[Shard]:
    """The complete shards of "train" or "heldout". Raises FileNotFoundError if there is none."""
    shards = []
    for path in sorted(Path(folder).glob(f"{split}_*.frames.npy")):
        stem = path.name.removesuffix(".frames.npy")
        latents, warped = (path.with_name(f"{stem}.{kind}.npy") for kind in ("latents", "warped"))
        shards.append(
            Shard(
                np.load(path, mmap_mode="r"),
                np.load(path.with_name(f"{stem}.xy.npy")),
                np.load(path.with_name(f"{stem}.confidence.npy")),
                np.load(latents, mmap_mode="r") if latents.exists() else None,
                np.load(warped, mmap_mode="r") if warped.exists() else None,
            )
        )
    if not shards:
        raise FileNotFoundError(f"no {split} shards in {folder}; make them with: python -m iasa train data")
    return shards


def draw_clip(shards: list[Shard], rng: np.random.Generator) -> tuple[Shard, int]:
    """A shard and the number of a clip in it; every clip of all shards is as likely, however many its shard holds."""
    return find_clip(shards, int(rng.integers(sum(len(shard.frames) for shard in shards))))


def find_clip(shards: list[Shard], number: int) -> tuple[Shard, int]:
    """The clip of a number that counts through all shards."""
    ends = np.cumsum([len(shard.frames) for shard in shards])
    place = int(np.searchsorted(ends, number, side="right"))
    return shards[place], number - int(ends[place]) + len(shards[place].frames)


def to_model_images(frames: np.ndarray) -> Tensor:  # uint8 [..., H, W, 3] -> float32 [..., 3, H, W] in [-1, 1]
    """Pictures as the networks take them."""
    return torch.from_numpy(np.array(frames)).movedim(-1, -3).float().div_(127.5).sub_(1.0)


def to_pictures(images: Tensor) -> np.ndarray:  # [..., 3, H, W] in [-1, 1] -> uint8 [..., H, W, 3]
    """Pictures as files hold them."""
    return (images.movedim(-3, -1).clamp(-1, 1) * 127.5 + 127.5).round().byte().cpu().numpy()


@torch.inference_mode()
def encode_shards(folder: Path, split: str, autoencoder: Autoencoder) -> None:
    """Write the latents of every shard that lacks them (or whose autoencoder was another one)."""
    mark = f"{float(autoencoder.get_parameter('encoder.1.weight').double().sum()):.9e}"
    device = autoencoder.mean.device
    dtype = pick_precision(device=device).dtype
    for path in sorted(folder.glob(f"{split}_*.frames.npy")):
        stem = path.name.removesuffix(".frames.npy")
        target, note = folder / f"{stem}.latents.npy", folder / f"{stem}.latents.json"
        if target.exists() and note.exists() and json.loads(note.read_text()) == mark:
            continue
        frames = np.load(path, mmap_mode="r")
        latents = []
        for clip in frames:
            images = to_model_images(np.concatenate([clip[:1], clip]))[None].to(device)  # the reference, twice
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                latents.append(autoencoder.encode(images)[0].cpu().numpy().astype(np.float16))
        partial = folder / f"{stem}.latents.partial.npy"
        np.save(partial, np.stack(latents))
        os.replace(partial, target)
        note.write_text(json.dumps(mark))


@dataclass(frozen=True)
class Crops:
    """A batch for the autoencoder."""

    pairs: Tensor  # [m, 3 * frames, size, size]
    weight: Tensor  # [m, 1, size, size], how much a pixel counts
    xy: Tensor  # [m, frames, 133, 2] of the whole picture
    confidence: Tensor  # [m, frames, 133]
    corner: Tensor  # [m, 2] pixels, (x, y) of the crop
    warped: Tensor  # [m, 3 * frames, size, size] the reference warped to the pose

    def to(self, device: torch.device) -> Crops:
        return Crops(*(part.to(device) for part in vars(self).values()))


class CropSampler:
    """Square crops of frame pairs for the autoencoder, most of them on hands and faces.

    A codec of convolutions does not mind the size, and half of a talking-head picture is a still wall: crops spend
    the arithmetic where the detail is.
    """

    A_PAIR = 3  # crops of one pair of frames: the reference is warped once for all of them
    WEIGHTS = ((LEFT_HAND, 5.0), (RIGHT_HAND, 5.0), (FACE, 2.5), (MOUTH, 8.0))  # of pixels in these keypoints' boxes
    MARGIN = 6  # pixels around the box

    def __init__(self, shards: list[Shard], size: int = 128, rest_share: float = 0.6) -> None:
        self.shards, self.size, self.rest_share = shards, size, rest_share

    def sample(self, rng: np.random.Generator, count: int) -> Crops:
        """`count` crops."""
        crops = [crop for _ in range(-(-count // self.A_PAIR)) for crop in self._pair(rng)][:count]
        return Crops(*(torch.stack(column) for column in zip(*crops, strict=True)))

    def _pair(self, rng: np.random.Generator) -> list[tuple[Tensor, ...]]:
        shard, clip = draw_clip(self.shards, rng)
        length, side = shard.frames.shape[1:3]
        moves = shard.warped is not None or rng.random() > 0.1
        first = int(rng.integers(1, length - FRAMES_PER_LATENT + 1)) if moves else 0
        pair = np.arange(first, first + FRAMES_PER_LATENT) if first else np.zeros(FRAMES_PER_LATENT, int)
        reference = 0 if rng.random() < self.rest_share else int(rng.integers(length))
        xy, confidence = (torch.from_numpy(part[clip]).float() for part in (shard.xy, shard.confidence))
        if shard.warped is None:
            pose, points = xy[None, pair], confidence[None, pair]
            image = to_model_images(shard.frames[clip, reference])[None]
            warped = warp_reference(image, xy[None, reference], confidence[None, reference], pose, points)[0]
        else:
            warped = to_model_images(shard.warped[clip, pair - 1])
        truth, warped = to_model_images(shard.frames[clip, pair]).flatten(0, 1), warped.flatten(0, 1)
        hands = [LEFT_HAND, RIGHT_HAND] if rng.random() < 0.5 else [RIGHT_HAND, LEFT_HAND]
        crops = []
        for part in (hands[0], FACE, hands[1] if rng.random() < 0.5 else None):
            x, y = self._corner(rng, None if part is None else shard.xy[clip, pair[0], part] * side, side)
            cut = (slice(None), slice(y, y + self.size), slice(x, x + self.size))
            weight = torch.from_numpy(self.weigh(shard.xy[clip, pair] * side - (x, y), self.size))
            corner = torch.tensor([x, y], dtype=torch.float32)
            crops.append((truth[cut], weight, xy[pair], confidence[pair], corner, warped[cut]))
        return crops

    @classmethod
    def weigh(cls, xy: np.ndarray, size: int) -> np.ndarray:
        """How much pixels count: xy [t, 133, 2] in pixels of the crop -> float32 [1, size, size]."""
        weight = np.ones((1, size, size), np.float32)
        for part, value in cls.WEIGHTS:
            for points in xy[:, part]:
                x0, y0 = np.clip(points.min(0) - cls.MARGIN, 0, size).astype(int)
                x1, y1 = np.clip(points.max(0) + cls.MARGIN, 0, size).astype(int)
                np.maximum(weight[:, y0:y1, x0:x1], value, out=weight[:, y0:y1, x0:x1])
        return weight

    def _corner(self, rng: np.random.Generator, points: np.ndarray | None, side: int) -> tuple[int, int]:
        centre = rng.uniform(0, side, 2) if points is None else points.mean(0)
        corner = centre + rng.uniform(-0.2, 0.2, 2) * self.size - self.size / 2
        x, y = np.clip(corner, 0, side - self.size).astype(int) // 4 * 4  # whole cells of the pose field
        return int(x), int(y)


@dataclass(frozen=True)
class Window:
    """A batch for the transformer; frame 0 is the reference."""

    latents: Tensor  # [b, 1 + f, c, h, w]
    image: Tensor  # [b, 3, H, W] the reference picture
    xy: Tensor  # [b, 1 + f, t, 133, 2]
    confidence: Tensor  # [b, 1 + f, t, 133]
    # of each clip [f t, 3, H, W], if it brings them
    layers: tuple[Tensor | None, ...] = field(default=(), kw_only=True)

    def to(self, device: torch.device) -> Window:
        parts = (part.to(device) for part in (self.latents, self.image, self.xy, self.confidence))
        return Window(*parts, layers=tuple(None if one is None else one.to(device) for one in self.layers))

    @torch.no_grad()
    def with_base(self, autoencoder: Autoencoder) -> WarpedWindow:
        """The same window with the reference warped to its poses."""
        layers = self.layers or (None,) * len(self.image)
        drawn = [i for i, given in enumerate(layers) if given is None]
        parts = list(layers)
        if drawn:
            poses = self.xy[drawn, 1:].flatten(1, 2), self.confidence[drawn, 1:].flatten(1, 2)
            made = warp_reference(self.image[drawn], self.xy[drawn, 0, 0], self.confidence[drawn, 0, 0], *poses)
            for i, one in zip(drawn, made, strict=True):
                parts[i] = one
        warped = torch.stack([one for one in parts if one is not None])
        base = torch.cat([self.latents[:, :1], autoencoder.encode(warped).float()], 1)
        return WarpedWindow(self.latents, self.image, self.xy, self.confidence, base, warped)


@dataclass(frozen=True)
class WarpedWindow(Window):
    """A window with what the network and the decoder see of the reference."""

    base: Tensor  # [b, 1 + f, c, h, w] latents of the reference, and of the reference warped to each pose
    warped: Tensor  # [b, f t, 3, H, W] the reference warped to each pose


class WindowSampler:
    """Windows of latent frames with a reference: half of the time the clip's rest picture, else another moment.

    Clips are drawn at random, or come by number: `indices` (of `Trainer.sample_indices`) go through all clips in an order of each
    epoch's own, so that several processes share them out without repeats.
    """

    def __init__(self, shards: list[Shard], frames: int, rest_share: float = 0.6, seed: int = 0) -> None:
        self.shards, self.frames, self.rest_share, self.seed = shards, frames, rest_share, seed
        self.count = sum(len(shard.frames) for shard in shards)

    def sample(self, rng: np.random.Generator, count: int, indices: Sequence[int] | None = None) -> Window:
        return self.stack([read_window(*chosen) for chosen in self.choose(rng, count, indices)])

    def choose(self, rng: np.random.Generator, count: int, indices: Sequence[int] | None = None):
        """(shard, clip, reference, latent frames) of each window, as `read_window` and `read_truth` take them."""
        return [self._one(rng, None if indices is None else indices[i]) for i in range(count)]

    def clip_of(self, index: int) -> tuple[Shard, int]:
        """The clip of an index, in an order of each epoch's own."""
        epoch, place = divmod(int(index), self.count)
        return find_clip(self.shards, int(np.random.default_rng([self.seed, epoch]).permutation(self.count)[place]))

    @staticmethod
    def stack(parts: list[tuple]) -> Window:  # of `read_window`
        *columns, layers = zip(*parts, strict=True)
        latents, image, xy, confidence = (np.stack(column) for column in columns)
        return Window(
            torch.from_numpy(latents).float(),
            to_model_images(image),
            torch.from_numpy(xy).float(),
            torch.from_numpy(confidence).float(),
            layers=tuple(None if one is None else to_model_images(one) for one in layers),
        )

    def _one(self, rng: np.random.Generator, index: int | None):
        if index is None:
            shard, clip = draw_clip(self.shards, rng)
        else:
            shard, clip = self.clip_of(index)
        total = shard.encoded.shape[1] - 1
        start = int(rng.integers(1, total - self.frames + 2))
        chosen = np.arange(start, start + self.frames)
        photo = shard.warped is not None  # its layers are those of picture 0
        reference = 0 if photo or rng.random() < self.rest_share else int(rng.integers(1, total + 1))
        return shard, clip, reference, chosen


def read_window(shard: Shard, clip: int, reference: int, chosen: np.ndarray):
    """Latents, reference picture, xy, confidence and layers of latent frames `chosen`, behind the one named `reference`.

    Latent frame 0 is the still reference pair; latent frame i >= 1 holds pictures 2 i - 1 and 2 i.
    """
    t = FRAMES_PER_LATENT
    order = np.concatenate([[reference], chosen])
    pictures = np.where(order[:, None] == 0, 0, (order[:, None] - 1) * t + 1 + np.arange(t))
    return (
        np.asarray(shard.encoded[clip])[order],
        np.asarray(shard.frames[clip, pictures[0, 0]]),
        shard.xy[clip][pictures],
        shard.confidence[clip][pictures],
        None if shard.warped is None else np.asarray(shard.warped[clip, pictures[1:].reshape(-1) - 1]),
    )


def read_truth(shard: Shard, clip: int, reference: int, chosen: np.ndarray) -> np.ndarray:
    """The drawn pictures of latent frames `chosen`: uint8 [f t, H, W, 3]."""
    t = FRAMES_PER_LATENT
    return np.asarray(shard.frames[clip])[((chosen[:, None] - 1) * t + 1 + np.arange(t)).reshape(-1)]
