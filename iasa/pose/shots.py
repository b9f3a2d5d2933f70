"""Where another shot or another person begins in a video: no clip of motion may reach across."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from PIL import Image

from iasa.keypoints import FACE, Keypoints
from iasa.pose.filter import find_runs

SIDE = 32  # pixels of the small pictures that are compared
SPIKE = 6.0  # of 255: a cut changes the small picture by more than this,
STANDS_OUT = 3.0  # and by so many times more than any of the
NEIGHBOURS = 5  # frames before and behind: movement, however fast, does not come alone in one frame
DISSOLVE_FRAMES = 12  # before and behind, between which a slow transition shows,
DISSOLVE = 0.25  # in this share of the colours
LONGEST_JUMP = 0.6  # of the face's height, from one frame to the next: more is another person's face
LARGEST_GROWTH = 1.4  # of the face's height, likewise


def find_cuts(frames: Iterable[np.ndarray]) -> list[int]:  # uint8 [H, W, 3] each
    """The frames at which another shot begins, by hard cuts, and at which a dissolve begins and ends."""
    pictures = np.stack([shrink(frame) for frame in frames]).astype(np.int16)  # [f, SIDE, SIDE, 3]
    change = np.abs(np.diff(pictures, axis=0)).mean(axis=(1, 2, 3))  # [f - 1]: from frame k to k + 1
    cuts = [k + 1 for k in np.flatnonzero(change > SPIKE) if change[k] > STANDS_OUT * _around(change, k)]
    colours = np.stack([_colours(picture) for picture in pictures])  # [f, 64]
    edges = [0, *cuts, len(pictures)]
    for first, end in pairwise(edges):
        cuts += _find_dissolves(colours[first:end], first)
    return sorted(set(cuts))


def shrink(frame: np.ndarray) -> np.ndarray:  # uint8 [H, W, 3] -> uint8 [SIDE, SIDE, 3]
    """What is compared of a frame: such small pictures may be kept of a long video, and given instead of the frames."""
    return np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BOX))


def _around(change: np.ndarray, k: int) -> float:
    """The largest change near `k`, itself left out."""
    near = np.concatenate([change[max(0, k - NEIGHBOURS) : k], change[k + 1 : k + 1 + NEIGHBOURS]])
    return float(near.max(initial=0.0))


def _colours(picture: np.ndarray) -> np.ndarray:
    """Shares [64] of the colours, four steps in each of red, green and blue; they hardly change as a person moves."""
    red, green, blue = np.moveaxis(picture // 64, -1, 0)
    return np.bincount((16 * red + 4 * green + blue).ravel(), minlength=64) / SIDE**2


def _find_dissolves(colours: np.ndarray, first: int) -> list[int]:
    """The ends of slow transitions in one shot [f, 64] that begins at frame `first`."""
    reach = 2 * DISSOLVE_FRAMES
    apart = np.abs(colours[reach:] - colours[:-reach]).sum(1) / 2 > DISSOLVE
    lasting = find_runs(apart, DISSOLVE_FRAMES // 2)  # a flash of light is apart for a frame or two
    return [first + edge + DISSOLVE_FRAMES for run in lasting for edge in run]


def find_jumps(keypoints: Keypoints) -> list[int]:
    """The frames at which the face is suddenly elsewhere or of another size: the detector has gone over to another person."""
    xy, seen = keypoints.xy[:, FACE], (keypoints.confidence[:, FACE] > 0).all(1)
    middle, height = xy.mean(1), np.ptp(xy[..., 1], axis=1)
    jumps = []
    for before, after in pairwise(np.flatnonzero(seen)):
        far = np.linalg.norm(middle[after] - middle[before]) / max(height[before], 1e-6)
        grown = max(height[after], height[before]) / max(min(height[after], height[before]), 1e-6)
        patience = min(after - before, DISSOLVE_FRAMES) ** 0.5  # unseen in between, a face may have gone further
        if far > LONGEST_JUMP * patience or grown > LARGEST_GROWTH * patience:
            jumps.append(int(after))
    return jumps
