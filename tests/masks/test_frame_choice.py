"""Every choice of past frames against a slow oracle."""

import numpy as np
import pytest
import torch

from iasa.config import InputError
from iasa.grid import TokenGrid
from iasa.keypoints import COUNT, UPPER_BODY, Keypoints
from iasa.masks.frame_choice import CHOICES, choose_frames, first_showings, plan_choice, random_table, showings

FRAMES, REACH = 9, 5


@pytest.fixture(scope="module")
def poses() -> Keypoints:
    rng = np.random.default_rng(3)
    still = rng.uniform(0.2, 0.8, (1, COUNT, 2))
    xy = still + 0.05 * rng.normal(size=(FRAMES, COUNT, 2)) + 0.1 * rng.normal(size=(FRAMES, 1, 2))
    return Keypoints(xy, np.ones((FRAMES, COUNT)), 2.5)


@pytest.fixture(scope="module")
def areas() -> torch.Tensor:
    return torch.tensor(
        [[0, 0], [9, 0], [4, 0], [0, 0], [0, 7], [9, 7], [9, 0], [0, 3], [9, 9]]
    )  # fmt: skip


def distance(poses: Keypoints, q: int, k: int, rigid: bool, points=UPPER_BODY) -> float:
    a, b = (poses.xy[t, list(points)].astype(np.float64) for t in (q, k))
    if rigid:
        a, b = a - a.mean(0), b - b.mean(0)
        u, _, v = np.linalg.svd(b.T @ a)
        turn = u @ np.diag([1, np.sign(np.linalg.det(u @ v))]) @ v
        b = b @ turn
    return float(np.sqrt(((a - b) ** 2).sum()))


def candidates(t: int) -> list[int]:
    return list(range(max(1, t - REACH), t))


def rows(table: torch.Tensor) -> list[list[int]]:
    return [[t for t in row if t >= 0] for row in table.tolist()]


@pytest.mark.parametrize("top_k", [1, 3])
@pytest.mark.parametrize(
    ("choice", "rigid", "sign", "points"),
    [
        ("pose", True, 1, UPPER_BODY),
        ("unaligned", False, 1, UPPER_BODY),
        ("unlike", True, -1, UPPER_BODY),
        ("hands", False, 1, range(91, 133)),
    ],
)
def test_choices_by_distance(poses, choice, rigid, sign, points, top_k):
    for t, row in enumerate(rows(choose_frames(choice, poses, top_k, REACH))):
        assert row == sorted(candidates(t), key=lambda k, t=t: sign * distance(poses, t, k, rigid, points))[:top_k]


def test_last_and_all(poses):
    for t, row in enumerate(rows(choose_frames("last", poses, 2, REACH))):
        assert row == candidates(t)[::-1][:2]
    for t, row in enumerate(rows(choose_frames("all", poses, 2, REACH))):
        assert sorted(row) == candidates(t)


def test_random_frames_are_of_the_past_each_once_and_follow_the_seed(poses):
    table = choose_frames("random", poses, 3, REACH, seed=1)
    for t, row in enumerate(rows(table)):
        assert len(set(row)) == len(row) == min(3, len(candidates(t))) and set(row) <= set(candidates(t))
    assert torch.equal(table, choose_frames("random", poses, 3, REACH, seed=1))
    assert not torch.equal(table, choose_frames("random", poses, 3, REACH, seed=2))


def test_the_oracle_takes_frames_that_show_what_will_be_shown(poses, areas):
    """Against all subsets: its K frames cover as much of what a frame will show as any K could, where greed is enough."""
    from itertools import combinations

    for top_k in (1, 2):
        for t, row in enumerate(rows(choose_frames("oracle", poses, top_k, REACH, areas))):
            assert len(row) == min(top_k, len(candidates(t))) and set(row) <= set(candidates(t))

            def covered(chosen, t=t):
                return sum(min(int(areas[t, d]), max((int(areas[k, d]) for k in chosen), default=0)) for d in range(2))

            best = max((covered(c) for c in combinations(candidates(t), len(row))), default=0)
            assert covered(row) == best
    assert rows(choose_frames("oracle", poses, 2, REACH, areas))[5] == [1, 4]  # most first
    assert rows(choose_frames("oracle", poses, 2, REACH, areas))[3] == [2, 1]  # nothing to show: the last


def test_who_showed_this_first(areas):
    first = first_showings(areas, 5)
    assert first[0].tolist() == [-1, -1] and first[3].tolist() == [1, -1] and first[8].tolist() == [1, 4]
    assert showings(areas[:, 0].numpy(), 5) == [(1, 2), (5, 7), (8, 9)]


def test_tokens_of_chosen_frames(poses):
    grid = TokenGrid(FRAMES, 8, 8)
    plans = {
        t: plan_choice("pose", poses, grid, 2, REACH, t) for t in ("all", "mls", "hull", "body", "merged", "random")
    }
    assert len({tuple(map(tuple, rows(plan.frame_table))) for plan in plans.values()}) == 1
    densities = {name: plan.density() for name, plan in plans.items()}
    assert densities["mls"] < densities["merged"] < densities["all"]
    for t in range(FRAMES):  # as many pairs of each two frames, but other ones
        assert torch.equal(plans["random"].signature_counts[t], plans["mls"].signature_counts[t])
    assert densities["random"] == pytest.approx(densities["mls"])
    assert not torch.equal(plans["random"].region_bits, plans["mls"].region_bits)


def test_random_tables_for_training_hold_the_past_alone():
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(50):
        for t, row in enumerate(rows(random_table(6, rng))):
            assert len(set(row)) == len(row) and all(1 <= k < t for k in row)
            sizes.add(len(row))
    assert sizes == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nearest", 2, 5), "the choice of frames is 'nearest'"),
        (("pose", 0, 5), "a memory of 0 frames within 5"),
        (("last", 2, 0), "a memory of 2 frames within 0"),
        (("oracle", 2, 5), "the oracle's choice needs masks"),
    ],
)
def test_bad_choices_are_refused_in_a_sentence(poses, arguments, sentence):
    choice, top_k, reach = arguments
    with pytest.raises(InputError, match=sentence):
        choose_frames(choice, poses, top_k, reach)
    with pytest.raises(InputError, match="the choice of tokens is 'none'"):
        plan_choice("pose", poses, TokenGrid(FRAMES, 8, 8), 2, REACH, "none")
    assert len(CHOICES) == 8
