"""Checkers of notebook 2, which frames matter: rigid fit, pose distance, the K most similar past frames."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from iasa.masks.similarity import rigid_distance, top_k_past
from iasa.teaching.verdict import approve, ask, near, number, pair, require, shaped, to_numpy


def _turn(points: np.ndarray, angle: float, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]]) + np.array(shift)


def _poses(count: int, points: int = 9, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, points, 2))


def check_rigid_fit(function: Callable) -> None:
    """rigid_fit(source [p, 2], target [p, 2]) -> (rotation [2, 2], shift [2]); moved = source @ rotation.T + shift."""
    source = _poses(1)[0]

    def fit(target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rotation, shift = pair(ask(function, source, target), "rotation, shift")
        return shaped(rotation, (2, 2), "the rotation"), shaped(shift, (2,), "the shift")

    rotation, shift = fit(source)
    near(rotation, np.eye(2), "equal poses need no rotation")
    near(shift, np.zeros(2), "equal poses need no shift")
    rotation, shift = fit(source + np.array([0.3, -0.2]))
    near(rotation, np.eye(2), "a shifted pose needs no rotation: subtract the means before you look for the angle")
    near(shift, [0.3, -0.2], "a pose shifted by (0.3, -0.2) gives that shift")
    for angle in (0.4, 2.5):  # beyond a quarter turn a plain arctangent fails
        rotation, shift = fit(_turn(source, angle, (1.0, 2.0)))
        near(rotation @ rotation.T, np.eye(2), "a rotation keeps lengths: R times its transpose is the identity")
        require(
            not np.allclose(rotation, _turn(np.eye(2), angle), atol=1e-5),
            "the rotation turns the wrong way: it must carry the source onto the target, moved = source @ R.T + shift",
        )
        near(rotation, _turn(np.eye(2), angle).T, f"a pose turned by {angle} radians gives that rotation")
        near(
            source @ rotation.T + shift,
            _turn(source, angle, (1.0, 2.0)),
            "source @ R.T + shift must land on the target",
        )
    mirrored = source * np.array([-1.0, 1.0])
    rotation, _ = fit(mirrored)
    require(np.linalg.det(rotation) > 0, "a mirror image came out: determinant -1. A body cannot be reflected")
    noisy = _turn(source, 0.7) + 0.3 * _poses(1, seed=1)[0]
    rotation, shift = fit(noisy)
    best = _best_residual(noisy, source)
    near(
        np.linalg.norm(noisy - source @ rotation.T - shift), best,
        "with noise no motion may fit better than yours, by least squares",
    )  # fmt: skip
    approve("rigid_fit", function, "identity", "shift", "turns beyond 90 degrees", "no mirror", "least squares")


def _best_residual(target: np.ndarray, source: np.ndarray) -> float:
    pair = torch.from_numpy(np.stack([target, source]))
    return float(rigid_distance(pair)[0, 1])


def check_pose_distance(function: Callable) -> None:
    """pose_distance(p [p, 2], q [p, 2]) -> float: the norm that is left after the best rigid motion of q onto p."""
    p, q = _poses(2)
    zero = number(ask(function, p, p), "the distance")
    require(abs(zero) < 1e-6, f"a pose is at distance 0 from itself; yours is {zero:.3g}")
    moved = number(ask(function, p, _turn(p, 1.1, (0.4, 0.1))), "the distance")
    require(abs(moved) < 1e-5, f"a pose that was only turned and shifted is at distance 0; yours is {moved:.3g}")
    scaled = number(ask(function, p, 2 * p), "the distance")
    require(scaled > 1e-3, "a pose of twice the size is not the same pose: rigid motions do not scale")
    mirrored = number(ask(function, p, p * np.array([-1.0, 1.0])), "the distance")
    require(mirrored > 1e-3, "a mirror image is another pose: left and right are not exchanged")
    near(ask(function, p, q), ask(function, q, p), "S is symmetric: moving p onto q leaves as much as q onto p")
    value, truth = number(ask(function, p, q), "the distance"), _best_residual(p, q)
    require(abs(value - truth**2) > 1e-6, "this is the square of the norm: take the root")
    require(
        abs(value - truth / np.sqrt(len(p))) > 1e-6,
        "this is the root mean square: the paper's norm sums over the points and does not divide by their number",
    )
    near(value, truth, "S(p, q) is the Euclidean norm of all 2 p differences after the best fit")
    approve(
        "pose_distance", function, "zero for rigid motions", "symmetric", "no scaling, no mirror", "the right value"
    )


def check_choose_past(function: Callable) -> None:
    """choose_past(S [f, f], k) -> int [f, k]: each row the k nearest past frames, nearest first, -1 pads."""
    distance = rigid_distance(torch.from_numpy(_poses(12))).numpy()
    k = 3
    table = shaped(ask(function, distance, k), (12, k), "the table")
    require(np.issubdtype(table.dtype, np.integer), f"frame numbers are integers; the table holds {table.dtype}")
    own = np.arange(12)[:, None]
    require(not (table == own).any(), "a frame chose itself: its own tokens are visible anyhow, past means tk < tq")
    require((table < own).all(), "a frame chose a frame of its future: causality says tk < tq")
    require((table[0] == -1).all(), "frame 0 has no past: its row is all -1")
    counts = (table >= 0).sum(1)
    require(
        (counts == np.minimum(np.arange(12), k)).all(), f"frame t keeps min(t, k) frames; yours keep {counts.tolist()}"
    )
    for t, row in enumerate(table):
        kept = row[row >= 0]
        require((row[: len(kept)] >= 0).all(), f"row {t} is {row.tolist()}: the -1 that pad it stand at the end")
        require(len(set(kept.tolist())) == len(kept), f"row {t} names a frame twice: {row.tolist()}")
        require((np.diff(distance[t, kept]) >= 0).all(), f"row {t} is not sorted: the most similar frame comes first")
    truth = top_k_past(torch.from_numpy(distance), k).numpy()
    t = int((table != truth).any(1).argmax())
    require((table == truth).all(), f"frame {t} should choose {truth[t].tolist()}; yours chose {table[t].tolist()}")
    none = to_numpy(ask(function, distance, 0), "the table")
    require(none.shape == (12, 0), f"k = 0 keeps nothing: a table of shape [12, 0], not {list(none.shape)}")
    many = shaped(ask(function, distance, 20), (12, 20), "with k = 20 for 12 frames the table")
    require((many[:, 11:] == -1).all(), "with k larger than the number of frames the rest of a row is -1")
    approve(
        "choose_past", function, "only the past", "min(t, k) frames", "nearest first", "-1 pads", "k = 0 and large k"
    )


def check_frame_mask(function: Callable) -> None:
    """frame_mask(table [f, k]) -> bool [f, f]: own frame, frame 0 (the sink), and the chosen frames are visible."""
    table = np.array([[-1, -1], [-1, -1], [1, -1], [1, 2], [3, 1]])
    mask = shaped(ask(function, table), (5, 5), "the mask")
    require(mask.dtype == bool, f"the mask is {mask.dtype}; True and False are needed")
    require(mask.diagonal().all(), "every frame sees itself: the diagonal is True")
    require(mask[:, 0].all(), "every frame sees frame 0, the reference: the first column is True")
    require(
        not np.triu(mask, 1).any(),
        "the upper triangle is the future and must be False (does a -1 index the last column?)",
    )
    rows, columns = np.array([2, 3, 3, 4, 4]), np.array([1, 1, 2, 3, 1])
    require(mask[rows, columns].all(), "a chosen frame is not visible: mask[t, table[t, i]] must be True")
    require(mask.sum() == 5 + 4 + len(rows), f"{mask.sum()} pairs are visible; this table gives {9 + len(rows)}")
    approve("frame_mask", function, "own frame", "sink", "chosen frames", "-1 means nothing", "no future")
