"""Videos of people who talk to clips of motion that the trainer mixes in: mediapipe, the paper's filter, a fit of the rig."""

from __future__ import annotations

import hashlib
import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from iasa.config import VIDEO_FPS, InputError
from iasa.media.reader import open_video
from iasa.motion.rig_fitting import fit_motion
from iasa.motion.rig_regions import STYLE_SIZE, to_channels, to_vectors
from iasa.pose import bridge_gaps, extract_keypoints, find_cuts, find_jumps, find_runs, keep_frames
from iasa.speech import analyse, read_audio
from iasa.training.train_motion import Piece, make_piece, save_pieces

logger = logging.getLogger(__name__)

SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi")
SHORTEST = 50  # frames of an unbroken run that passes the filter
LONGEST_NAME = 255  # bytes, of most file systems
SPLIT = 250  # frames fitted at a time: the person's proportions may drift with the camera


def make_clips(videos: Path, folder: Path) -> dict:
    """One file of clips a video under `folder`; videos that are there already are left alone. Raises InputError."""
    paths = sorted(p for p in videos.glob("*") if p.suffix.lower() in SUFFIXES)
    if not videos.is_dir():
        raise InputError(f"there is no folder {videos}")
    if not paths:
        raise InputError(f"there are no videos in {videos}; accepted are {', '.join(SUFFIXES)}")
    clips = frames = kept = 0
    for path in tqdm(paths, desc="videos", leave=False):
        target = folder / clip_name(path)
        if target.exists():
            continue
        try:
            pieces, seen, passed = read_clips(path)
        except InputError as error:
            logger.warning("%s is left out: %s", path.name, error)
            continue
        frames, kept, clips = frames + seen, kept + passed, clips + len(pieces)
        if pieces:
            save_pieces(target, pieces)
    share = kept / frames if frames else 0.0
    return {
        "videos": len(paths),
        "clips": clips,
        "frames": frames,
        "kept": round(share, 4),
        "seconds": kept / VIDEO_FPS,
    }


def clip_name(path: Path) -> str:
    """The file of a video's clips: named by its whole name, for talk.mp4 and talk.mkv may lie in one folder."""
    name = path.name.encode("utf-8", "surrogateescape")
    if len(name) + len(".npz") > LONGEST_NAME or not path.name.isprintable():
        return hashlib.sha256(name).hexdigest() + ".npz"
    return f"{path.name}.npz"


def read_clips(path: Path) -> tuple[list[Piece], int, int]:
    """(clips, frames of the video, frames in the clips); a clip is an unbroken run of frames of one shot and one
    person that pass the paper's filter."""
    channels = to_channels(analyse(read_audio(path)[0]))
    with open_video(path, fps=VIDEO_FPS) as (pictures, _):
        cuts = find_cuts(pictures)
    with open_video(path, fps=VIDEO_FPS) as (pictures, _):
        keypoints = extract_keypoints(pictures, VIDEO_FPS, cuts=cuts)
    count = min(len(keypoints), len(channels))
    keep = keep_frames(keypoints[:count])
    borders = sorted({0, count, *(border for border in cuts + find_jumps(keypoints) if border < count)})
    pieces, passed = [], 0
    for begin, end in pairwise(borders):
        shot, heard = bridge_gaps(keypoints[begin:end]), channels[begin:end]
        for run in find_runs(keep[begin:end], SHORTEST):
            for start, stop in split_run(*run):
                fit = fit_motion(shot[start:stop])
                style = np.zeros(STYLE_SIZE, np.float32)  # ordinary habits: a person's own are not known
                pieces.append(make_piece(heard[start:stop], to_vectors(fit.motion), fit.known, style))
                passed += stop - start
    return pieces, count, passed


def split_run(first: int, last: int) -> list[tuple[int, int]]:
    """A run of frames in parts of SPLIT frames, the last of up to SPLIT + SHORTEST."""
    return list(pairwise([*range(first, last - SHORTEST + 1, SPLIT), last]))
