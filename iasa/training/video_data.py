"""Pairs for the restorer from videos: one frame of a take is the photograph, its other frames are what the layers should show.

`train data --pairs --videos DIR`: videos become clips as those of the backbones do (scene cuts, poses, the paper's filter,
crops).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from iasa import keypoints as kp
from iasa.avatar.moving_parts import find_parts
from iasa.avatar.photograph import SIDE, Photograph, forget_unseen, take_photograph
from iasa.backbones.video_clips import PoseFinder, VideoClip, find_videos, read_clips
from iasa.config import VIDEO_FPS, InputError
from iasa.pose import extract_keypoints
from iasa.pose.filter import choose_frame
from iasa.training.restore_data import FRAMES, collect, cut_pairs

LENGTH = 50  # frames of a clip: two seconds

Keeper = Callable[[VideoClip, str, np.random.Generator], None]  # clip, its name, randomness of its own
Taker = Callable[[np.ndarray, str], Photograph]  # picture, framing


def clip_pairs(
    clip: VideoClip, rng: np.random.Generator, take: Taker = take_photograph
) -> Iterator[tuple[np.ndarray, ...]]:
    """The clip's frame that looks at the camera is the photograph, some other ones are the truth.

    Raises InputError if nobody in it can be animated.
    """
    poses = forget_unseen(clip.poses)
    first = choose_frame(poses)
    photo = take(clip.pictures[first], "whole")
    found = (poses.confidence[:, kp.FACE] > 0).all(1)
    found[first] = False
    chosen = np.sort(rng.permutation(np.flatnonzero(found))[:FRAMES])
    xy = np.where((poses.confidence[chosen] > 0)[..., None], poses.xy[chosen], photo.xy).astype(np.float64)
    yield from cut_pairs(photo, find_parts(photo).moving, list(xy), list(clip.pictures[chosen]), rng)


def make_video_shards(
    folder: Path, videos: Path, find_poses: PoseFinder = extract_keypoints, take: Taker = take_photograph
) -> list[str]:
    """One shard of each clip of a folder's videos; those that are there already are kept. Returns and raises as `keep_clips`."""

    def keep(clip: VideoClip, name: str, rng: np.random.Generator) -> None:
        shard = folder / f"restore_video_{name}.npz"
        if not shard.exists():
            collect(clip_pairs(clip, rng, take)).save(shard)

    folder.mkdir(parents=True, exist_ok=True)
    return keep_clips(videos, LENGTH, find_poses, keep)


def keep_clips(videos: Path, length: int, find_poses: PoseFinder, keep: Keeper) -> list[str]:
    """Hand every clip of `length` frames of a folder's videos to `keep`. Returns a sentence for each clip and each video that is
    no use.

    Raises InputError if none of them is.
    """
    refused, made = [], 0
    for number, path in enumerate(find_videos(videos)):
        try:
            clips, report = read_clips(path, SIDE, SIDE, VIDEO_FPS, length, find_poses)
        except InputError as error:
            refused.append(f"{path.name}: {error}")
            continue
        if not report.kept:
            refused.append(f"{path.name}: no {length} frames in a row show a face and an upper body well enough")
        for turn, clip in enumerate(clips):
            try:
                keep(clip, f"{path.stem}_{turn:03d}", np.random.default_rng([number, turn, 17]))
            except InputError as error:
                refused.append(f"{clip.key}: {error}")
                continue
            made += 1
    if not made:
        raise InputError(
            "none of the videos shows a person who could be animated: {first}", first="; ".join(refused[:3])
        )
    return refused
