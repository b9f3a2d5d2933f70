"""Poses and plans that the tests of masks and attention share."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st

from iasa.config import MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import COUNT, LEFT_HAND, RIGHT_HAND, RIGHT_WRIST, Keypoints
from iasa.masks import AttentionPlan, top_k_past


def standing_pose() -> np.ndarray:
    """A person facing the camera, hands before the body: [133, 2] image units."""
    xy = np.full((COUNT, 2), 0.5)
    xy[0:5] = [[0.5, 0.27], [0.53, 0.24], [0.47, 0.24], [0.57, 0.25], [0.43, 0.25]]
    xy[5:13] = [
        [0.68, 0.5],
        [0.32, 0.5],
        [0.76, 0.7],
        [0.24, 0.7],
        [0.62, 0.8],
        [0.38, 0.8],
        [0.62, 1.0],
        [0.38, 1.0],
    ]
    jaw, brows = np.linspace(0, np.pi, 17), np.linspace(0.43, 0.57, 10)
    xy[23:40] = np.stack([0.5 - 0.08 * np.cos(jaw), 0.26 + 0.12 * np.sin(jaw)], 1)
    xy[40:50] = np.stack([brows, np.full(10, 0.2)], 1)
    xy[50:91] = [0.5, 0.3]
    finger = np.arange(21)
    for hand, x in ((LEFT_HAND, 0.6), (RIGHT_HAND, 0.4)):
        xy[hand] = np.stack([x + 0.04 * np.cos(finger), 0.82 + 0.04 * np.sin(finger)], 1)
    return xy


def performance(frames: int, seed: int = 0) -> Keypoints:
    """Hands and head that wander about the standing pose."""
    random = np.random.default_rng(seed)
    xy = np.repeat(standing_pose()[None], frames, 0)
    xy += np.cumsum(random.normal(0, 0.005, (frames, 1, 2)), 0)
    for hand, wrist in ((LEFT_HAND, 9), (RIGHT_HAND, RIGHT_WRIST)):
        step = np.cumsum(random.normal(0, 0.03, (frames, 1, 2)), 0).clip(-0.15, 0.15)
        xy[:, hand] += step
        xy[:, wrist] += step[:, 0]
    return Keypoints(xy, np.ones((frames, COUNT)), 12.5)


def random_plan(seed: int, frames=4, rows=2, cols=3, k=2, sink=True, mode="exact", block=4) -> AttentionPlan:
    """A plan with any table of the past and any bits, a third of the tokens background."""
    random = np.random.default_rng(seed)
    distance = random.uniform(size=(frames, frames))
    table = top_k_past(torch.from_numpy(distance), k, 1 if sink else 0)
    bits = random.integers(0, 32, (frames, rows * cols)) * (random.uniform(size=(frames, rows * cols)) > 1 / 3)
    options = MaskOptions(top_k=k, window=0, sink=sink, mode=mode, block=block)
    return AttentionPlan(TokenGrid(frames, rows, cols), table, torch.from_numpy(bits).to(torch.uint8), None, options)


plans = st.builds(
    random_plan,
    seed=st.integers(0, 10_000),
    frames=st.integers(1, 5),
    rows=st.integers(1, 3),
    cols=st.integers(1, 3),
    k=st.integers(0, 3),
    sink=st.booleans(),
    block=st.integers(1, 7),
)
