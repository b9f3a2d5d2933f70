"""Clips of people to learn from: a photograph, its layers warped to each pose, and what should have been seen.

Two sources. A photograph (`train data --photos DIR`) moves with speech; one moment of that, cut out anew as if it had been
taken there, is the reference, so that its layers are warped twice and the truth once. A take (`--takes DIR`, `--videos DIR`)
is pictures of one person, filmed or rendered: the first is the photograph, the others are the truth, mediapipe finds the poses.
Shards are those of `datasets`, and <name>.warped.npy beside them: uint8 [clips, length, H, W, 3], the layers.
"""

from __future__ import annotations

import io
import itertools
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from iasa.avatar.moving_parts import Parts, find_parts
from iasa.avatar.photograph import SIDE, Photograph, find_person, forget_unseen, take_photograph
from iasa.avatar.retarget import Retarget
from iasa.avatar.rig import RigMotion
from iasa.backbones.video_clips import PoseFinder, VideoClip
from iasa.config import IMAGE_SIZE, VIDEO_FPS, InputError
from iasa.files import atomic_write
from iasa.keypoints import Keypoints
from iasa.media.reader import read_image
from iasa.motion.rules import generate_gestures
from iasa.pose import extract_keypoints
from iasa.pose.filter import choose_frame
from iasa.training.speech_data.corpus import Utterance
from iasa.training.video_data import Taker, keep_clips
from iasa.warp.layered_warp import LayeredWarp

CLIPS = 4  # of one shard: one photograph's, whose arrays are 37 MiB
SEGMENTS, SEGMENT = 3, 8  # runs of video frames in a clip
LENGTH = SEGMENTS * SEGMENT
VIDEO_LENGTH = 50  # frames of a video's clip: two seconds
TURNS = 3  # clips of a take, each from another of its pictures
CLOSE = 0.3  # of a photograph's later turns show head and shoulders alone
JITTER = 0.0012  # image units: a detector's points are never exact


@dataclass(frozen=True)
class PhotoClip:
    """One person; picture 0 is the photograph."""

    frames: np.ndarray  # uint8 [1 + LENGTH, S, S, 3]
    xy: np.ndarray  # float32 [1 + LENGTH, 133, 2]
    confidence: np.ndarray  # float32 [1 + LENGTH, 133]
    warped: np.ndarray  # uint8 [LENGTH, S, S, 3]


def find_each(pictures: Iterable[np.ndarray], fps: float) -> Keypoints:
    """Poses in pictures that do not follow one another."""
    return extract_keypoints(pictures, fps, static=True)


def choose_frames(count: int, rng: np.random.Generator) -> np.ndarray:
    """[LENGTH] frames of a performance: runs of neighbours, some moments apart."""
    starts = np.sort(rng.integers(0, max(1, count - SEGMENT + 1), SEGMENTS))
    return np.clip((starts[:, None] + np.arange(SEGMENT)).reshape(-1), 0, count - 1)


def photograph_clip(
    photo: Photograph, warp: LayeredWarp, parts: Parts, motion: RigMotion, rng: np.random.Generator
) -> PhotoClip:
    """A photograph that moves, `warp` its layers at SIDE, seen from one of its moments."""
    poses = Retarget(photo, parts).from_motion(motion)
    poses = poses[np.concatenate([rng.integers(0, len(poses), 1), choose_frames(len(poses), rng)])]
    poses = replace(poses, xy=np.where(photo.seen[:, None], poses.xy, photo.xy).astype(np.float32))
    pictures = warp.levels(poses)
    face = photo.face.copy()
    face[: len(warp.depth), :2] = warp.mesh(poses.xy[0].astype(np.float64) * SIDE) / SIDE
    there = replace(
        photo, image=pictures[0], person=find_person(pictures[0]), face=face,
        keypoints=replace(photo.keypoints, xy=poses.xy[:1]),
    )  # fmt: skip
    return _seen_from(there, parts, poses[1:], np.stack([_shrink(one) for one in pictures[1:]]), rng)


def take_clip(pictures: np.ndarray, poses: Keypoints, rng: np.random.Generator, take: Taker) -> PhotoClip:
    """A clip of uint8 [1 + LENGTH, S, S, 3] and the poses of all but the first, which is the photograph.

    Raises InputError if it shows nobody who could be animated.
    """
    photo = take(pictures[0], "whole")
    own, found = photo.keypoints, forget_unseen(poses)
    seen = (found.confidence > 0) & (own.confidence > 0)
    poses = replace(
        found, xy=np.where(seen[..., None], found.xy, own.xy), confidence=np.where(seen, own.confidence, np.float32(0))
    )
    return _seen_from(photo, find_parts(photo), poses, np.stack([_shrink(one) for one in pictures[1:]]), rng)


def _seen_from(
    photo: Photograph, parts: Parts, poses: Keypoints, truth: np.ndarray, rng: np.random.Generator
) -> PhotoClip:
    """What the product would make of a photograph and poses, beside the truth."""
    own = replace(photo.keypoints, xy=_jitter(photo.keypoints.xy, rng))
    photo, poses = replace(photo, keypoints=own), replace(poses, xy=_jitter(poses.xy, rng))
    warped = LayeredWarp(photo, IMAGE_SIZE, parts.moving).levels(poses)
    return PhotoClip(
        np.concatenate([_shrink(photo.image)[None], truth]),
        np.concatenate([own.xy, poses.xy]).astype(np.float32),
        np.concatenate([own.confidence, poses.confidence]).astype(np.float32),
        warped,
    )


def _jitter(xy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (xy + rng.normal(0, JITTER, xy.shape)).astype(np.float32)


def _shrink(picture: np.ndarray) -> np.ndarray:  # uint8 [S, S, 3] -> [IMAGE_SIZE, IMAGE_SIZE, 3]
    from PIL import Image

    size = (IMAGE_SIZE, IMAGE_SIZE)
    return (
        picture
        if len(picture) == IMAGE_SIZE
        else np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
    )


def photographed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # uint8 [H, W, 3], likewise
    """The picture as another camera in other light would have taken it, and perhaps mirrored."""
    from PIL import Image

    image = picture[:, ::-1] if rng.random() < 0.5 else picture
    levels = (image / 255.0) ** float(np.exp(rng.normal(0, 0.2)))
    warmth = rng.normal(0, 0.08)
    levels = levels * np.exp([warmth, 0.0, -warmth]) * min(1.15, np.exp(rng.normal(-0.05, 0.25)))
    if rng.random() < 0.3:  # vignette
        y, x = np.mgrid[-1 : 1 : 1j * len(image), -1 : 1 : 1j * image.shape[1]]
        levels = levels * (1 - rng.uniform(0.1, 0.45) * (x**2 + y**2) / 2)[..., None]
    if rng.random() < 0.3:  # a lens that is a little out of focus
        levels = ndimage.gaussian_filter(levels, (*([rng.uniform(0.3, 1.2) * len(image) / SIDE] * 2), 0))
    if rng.random() < 0.3:
        levels = levels + rng.normal(0, rng.uniform(0.005, 0.03), levels.shape)
    levels = (np.clip(levels, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.4:
        file = io.BytesIO()
        Image.fromarray(levels).save(file, "JPEG", quality=int(rng.integers(50, 95)))
        levels = np.asarray(Image.open(file))
    return levels


def make_photo_clips(
    folder: Path, photos: list[tuple[str, np.ndarray]], corpus: list[Utterance], clips: int,
    until: float = math.inf,  # of time.monotonic(): no shard but the first begins after it
    split: str = "train",
) -> list[str]:  # fmt: skip
    """`clips` clips of photographs (name, uint8 [H, W, 3]), in whole shards, each of one of them in another light; those that
    are there are kept. Returns a sentence for each picture that is no use, of those that it came to.

    Raises InputError if none of them is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    usable, refused, shards = dict(photos), [], 0
    for number in itertools.count():
        if not usable or shards * CLIPS >= clips or (shards and time.monotonic() >= until):
            break
        turn, one = divmod(number, len(photos))
        name, picture = photos[one]
        if name not in usable:
            continue
        shard = f"{split}_photo_{name}_{turn:03d}"
        shards += 1
        if (folder / f"{shard}.frames.npy").exists():
            continue
        rng = np.random.default_rng([turn, one, 19])
        try:
            framing = "portrait" if turn and rng.random() < CLOSE else "auto"
            photo = take_photograph(photographed(picture, rng) if turn else picture, framing)
        except InputError as error:
            if not turn:  # else only this light is too dark for it
                del usable[name]
                refused.append(f"{name}: {error}")
                shards -= 1
            continue
        parts = find_parts(photo)
        warp = LayeredWarp(photo, SIDE, parts.moving)
        speech = [corpus[int(k)].features for k in rng.integers(len(corpus), size=CLIPS)]
        motions = [generate_gestures(features, seed=int(rng.integers(2**31))) for features in speech]
        save_shard(folder, shard, [photograph_clip(photo, warp, parts, motion, rng) for motion in motions])
    if not usable:
        raise InputError("none of the pictures shows a person who could be animated: " + "; ".join(refused[:3]))
    return refused


def make_take_clips(
    folder: Path, takes: Path, find_poses: PoseFinder = find_each, take: Taker = take_photograph, split: str = "train"
) -> list[str]:
    """A shard of each take: a folder of 1 + LENGTH pictures, of which the first is the photograph, and then others, in another
    light and perhaps mirrored. Hidden folders are none. Shards that are there are kept. Returns a sentence for each take that
    is no use.

    Raises InputError if none of them is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refused, made = [], 0
    paths = sorted(one for one in takes.iterdir() if one.is_dir() and not one.name.startswith("."))
    if not paths:
        raise InputError(
            "{folder} holds no takes; a take is a folder of {files} PNG files", folder=takes.name, files=1 + LENGTH
        )
    for number, path in enumerate(paths):
        shard = f"{split}_take_{path.name}_000"
        if not (folder / f"{shard}.frames.npy").exists():
            try:
                clips = _take_turns(_read_take(path), number, find_poses, take)
            except InputError as error:
                refused.append(f"{path.name}: {error}")
                continue
            save_shard(folder, shard, clips)
        made += 1
    if not made:
        raise InputError("none of the takes can be learnt from: {first}", first="; ".join(refused[:3]))
    return refused


def _read_take(path: Path) -> np.ndarray:  # uint8 [1 + LENGTH, S, S, 3]
    files = sorted(path.glob("[!.]*.png"))
    if len(files) != 1 + LENGTH:
        raise InputError(f"{len(files)} PNG files; a take has {1 + LENGTH}")
    pictures = [read_image(one) for one in files]
    height, width, _ = pictures[0].shape
    for file, picture in zip(files, pictures, strict=True):
        if height != width or picture.shape != pictures[0].shape:
            size = "{1} x {0}".format(*picture.shape)
            raise InputError(f"{file.name} is {size} pixels; a take's pictures are square and of one size")
    return np.stack(pictures)


def _take_turns(pictures: np.ndarray, number: int, find_poses: PoseFinder, take: Taker) -> list[PhotoClip]:
    """The take, and from others of its pictures where these show enough."""
    clips = []
    for turn in range(TURNS):
        rng = np.random.default_rng([number, turn, 23])
        if turn:
            seed, first = int(rng.integers(2**31)), int(rng.integers(1, len(pictures)))
            shown = np.stack([photographed(one, np.random.default_rng(seed)) for one in pictures])
            shown[0] = shown[first]
        else:
            shown = pictures
        try:
            clips.append(take_clip(shown, find_poses(shown[1:], VIDEO_FPS), rng, take))
        except InputError:
            if not turn:
                raise
    return clips


def make_video_clips(
    folder: Path, videos: Path, find_poses: PoseFinder = extract_keypoints, take: Taker = take_photograph,
    split: str = "train",
) -> list[str]:  # fmt: skip
    """A shard of each of the videos' clips; those that are there are kept. Returns and raises as `keep_clips`."""

    def keep(clip: VideoClip, name: str, rng: np.random.Generator) -> None:
        shard = f"{split}_video_{name}"
        if not (folder / f"{shard}.frames.npy").exists():
            first = choose_frame(forget_unseen(clip.poses))
            chosen = np.concatenate([[first], choose_frames(len(clip.pictures), rng)])
            save_shard(folder, shard, [take_clip(clip.pictures[chosen], clip.poses[chosen[1:]], rng, take)])

    folder.mkdir(parents=True, exist_ok=True)
    return keep_clips(videos, VIDEO_LENGTH, find_poses, keep)


def save_shard(folder: Path, name: str, clips: list[PhotoClip]) -> None:
    """The frames are moved into place last, so they mark completion."""
    for field, kind in (("xy", np.float32), ("confidence", np.float16), ("warped", np.uint8), ("frames", np.uint8)):
        with atomic_write(folder / f"{name}.{field}.npy") as partial, open(partial, "wb") as file:
            np.save(file, np.stack([getattr(clip, field) for clip in clips]).astype(kind))
