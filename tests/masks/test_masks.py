"""The masks against brute force: rigid fit, past frames, moving least squares, regions, plans, blocks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_plans import performance, plans, random_plan, standing_pose

from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import COUNT, LEFT_HAND, REGIONS, RIGHT_HAND, UPPER_BODY, Keypoints
from iasa.masks import AttentionPlan, make_plan, past_distance, region_bits, rigid_distance, top_k_past
from iasa.masks.regions import warp_rigid
from iasa.masks.visibility import add_window

QUICK = settings(max_examples=30, deadline=None)
DISTANCES = st.sampled_from([0, 1, 2, torch.inf])


def rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


# rigid distance


def test_distance_is_the_least_squares_fit_of_every_pair():
    random = np.random.default_rng(0)
    poses, weights = random.normal(size=(7, 9, 2)), random.uniform(0.2, 1, (7, 9))
    weights[2, :4] = 0
    weights[5, 1:] = 0  # one point: no fit
    ours = rigid_distance(torch.from_numpy(poses), torch.from_numpy(weights)).numpy()
    for a in range(7):
        for b in range(7):
            if a != b:
                wanted = oracles.rigid_residual(poses[a], poses[b], weights[a] * weights[b])
                assert ours[a, b] == pytest.approx(wanted, rel=1e-9)
    assert np.isinf(ours[5, :5]).all() and np.isinf(ours[5, 5])
    np.testing.assert_allclose(ours, ours.T, rtol=1e-12)


def test_distance_agrees_with_scikit_image():
    transform = pytest.importorskip("skimage.transform", reason="the fit to compare with is that of scikit-image")
    random = np.random.default_rng(1)
    poses = random.normal(size=(4, 12, 2))
    ours = rigid_distance(torch.from_numpy(poses))
    for a in range(4):
        for b in range(a):
            fit = transform.EuclideanTransform.from_estimate(poses[b], poses[a])
            assert float(ours[a, b]) == pytest.approx(np.linalg.norm(fit(poses[b]) - poses[a]), rel=1e-9)


@QUICK
@given(angle=st.floats(-3.1, 3.1), shift=st.floats(-2, 2), seed=st.integers(0, 100))
def test_distance_ignores_rigid_motion_but_not_scale_or_mirror(angle, shift, seed):
    pose = np.random.default_rng(seed).normal(size=(8, 2))
    others = [pose, pose @ rotation(angle).T + shift, 1.5 * pose, pose * [-1, 1]]
    distance = rigid_distance(torch.from_numpy(np.stack(others)))[0]
    assert distance[1] == 0.0  # exactly: a repeated pose is a tie
    assert distance[2] == pytest.approx(0.5 * np.linalg.norm(pose - pose.mean(0)), rel=1e-6)
    assert distance[3] > 1e-3


def test_one_row_for_a_rollout_is_the_row_of_the_matrix():
    random = np.random.default_rng(2)
    poses, weights = (
        torch.from_numpy(random.normal(size=(6, 5, 2))),
        torch.from_numpy(random.uniform(0, 1, (6, 5))),
    )
    row = past_distance(poses[5], poses[:5], weights[5], weights[:5])
    torch.testing.assert_close(row, rigid_distance(poses, weights)[5, :5])


def test_long_clips_are_the_same_in_blocks_of_rows(monkeypatch):
    poses = torch.from_numpy(np.random.default_rng(3).normal(size=(11, 6, 2)))
    whole = rigid_distance(poses)
    monkeypatch.setattr("iasa.masks.similarity._ROWS", 3)
    torch.testing.assert_close(rigid_distance(poses), whole)


def test_float32_gives_the_distances_of_float64_and_ties_stay_ties():
    random = np.random.default_rng(8)
    poses, weights = random.normal(size=(9, 20, 2)), torch.from_numpy(random.uniform(0.1, 1, (9, 20)))
    poses[7] = poses[3] @ rotation(1.0).T + 5  # the same pose elsewhere
    poses, weights[7] = torch.from_numpy(poses), weights[3]
    short = rigid_distance(poses.float(), weights.float())
    assert short.dtype == torch.float32 and short[3, 7] == 0
    torch.testing.assert_close(short.double(), rigid_distance(poses, weights), rtol=1e-4, atol=1e-4)


def test_missing_points_may_hold_nan_and_seen_points_may_not():
    poses = torch.rand(3, 5, 2)
    poses[1, 2] = torch.nan
    weights = torch.ones(3, 5)
    with pytest.raises(InputError, match="NaN"):
        rigid_distance(poses, weights)
    weights[1, 2] = 0
    assert torch.isfinite(rigid_distance(poses, weights)).all()
    with pytest.raises(InputError, match=r"\[3, 4\].*\[3, 5\]"):
        rigid_distance(poses, torch.ones(3, 4))


# past frames


@QUICK
@given(
    values=st.integers(0, 12).flatmap(lambda f: st.lists(DISTANCES, min_size=f * f, max_size=f * f)),
    k=st.integers(0, 5),
    first=st.integers(0, 1),
)
def test_the_k_nearest_of_the_past_newest_first_among_equals(values, k, first):
    frames = int(len(values) ** 0.5)
    distance = torch.tensor(values, dtype=torch.float64).view(frames, frames)
    table = top_k_past(distance, k, first)
    wanted = oracles.past_table(distance.numpy(), k, first)
    assert table.shape == (frames, k)
    for row, chosen in zip(table.tolist(), wanted, strict=True):
        assert row == chosen + [-1] * (k - len(chosen))


def test_the_window_adds_only_what_the_table_lacks():
    table = torch.tensor([[-1], [-1], [1], [1], [3]])
    assert add_window(table, MaskOptions(window=2)).tolist() == [
        [-1, -1, -1], [-1, -1, -1], [1, -1, -1], [1, 2, -1], [3, -1, 2],
    ]  # fmt: skip


# regions


def test_warp_follows_the_formula_of_the_paper():
    random = np.random.default_rng(4)
    source, target = random.uniform(size=(6, 2)), random.uniform(size=(6, 2))
    places = random.uniform(size=(20, 2))
    ours = warp_rigid(*(torch.from_numpy(x) for x in (places, source[None], target[None])), torch.ones(1, 6))[0]
    wanted = np.stack([oracles.rigid_mls(place, source, target) for place in places])
    np.testing.assert_allclose(ours, wanted, atol=1e-6)


def test_warp_is_exact_on_rigid_motion_and_meets_its_control_points():
    random = np.random.default_rng(5)
    source = random.uniform(size=(3, 8, 2)).astype(np.float32)
    turn = np.stack([rotation(a) for a in (0.3, -1.2, 2.9)])
    target = (source @ turn.swapaxes(1, 2) + [[0.2, -0.1]]).astype(np.float32)
    places = random.uniform(size=(50, 2)).astype(np.float32)
    moved = warp_rigid(*(torch.from_numpy(x) for x in (places, source, target)), torch.ones(3, 8))
    np.testing.assert_allclose(moved, places @ turn.swapaxes(1, 2) + [[0.2, -0.1]], atol=1e-4)

    target = random.uniform(size=(3, 8, 2)).astype(np.float32)
    met = warp_rigid(torch.from_numpy(source[1]), *(torch.from_numpy(x) for x in (source, target)), torch.ones(3, 8))
    np.testing.assert_allclose(met[1], target[1], atol=2e-3)


@QUICK
@given(angle=st.floats(-3.1, 3.1), seed=st.integers(0, 1000))
def test_warp_is_continuous_about_rigid_motion(angle, seed):
    """Control points off by up to 1e-3 move no place by more than a few times that."""
    random = np.random.default_rng(seed)
    source, places = standing_pose()[5:13], random.uniform(size=(50, 2))
    target = source @ rotation(angle).T
    noise = random.uniform(-1e-3, 1e-3, target.shape)
    moved = warp_rigid(*(torch.from_numpy(x) for x in (places, source[None], (target + noise)[None])), torch.ones(1, 8))
    np.testing.assert_allclose(moved[0], places @ rotation(angle).T, atol=1e-2)


def test_warp_ignores_control_points_of_weight_zero_and_shifts_with_one():
    random = np.random.default_rng(6)
    source, target = torch.from_numpy(random.uniform(size=(2, 1, 5, 2)).astype(np.float32))
    places = torch.from_numpy(random.uniform(size=(9, 2)).astype(np.float32))
    weight = torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.0]])
    kept = [0, 1, 3]
    some = warp_rigid(places, source[:, kept], target[:, kept], torch.ones(1, 3))
    torch.testing.assert_close(warp_rigid(places, source, target, weight), some, atol=1e-5, rtol=0)
    one = warp_rigid(places, source[:, :1], target[:, :1], torch.ones(1, 1))
    torch.testing.assert_close(one[0], places + (target - source)[0, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["mls", "hull", "body"])
def test_every_seen_keypoint_lies_in_a_token_of_its_region(method):
    grid, poses = TokenGrid(6), performance(6)
    bits = region_bits(poses, grid, method)
    for name, points in (
        ("hands", range(91, 133)),
        ("face", range(23, 50)),
        ("arms", range(5, 11)),
        ("body", range(5, 7)),
    ):
        for t in range(6):
            for point in points:
                column, row = np.floor(poses.xy[t, point] * 16).astype(int)
                if 0 <= column < 16 and 0 <= row < 16:
                    assert bits[t, row * 16 + column] >> REGIONS.index(name) & 1, (name, t, point)


@pytest.mark.parametrize("method", ["mls", "hull", "body"])
def test_regions_move_with_the_body(method):
    """A shift by whole tokens moves the tokens' regions by as many columns, and leaves no trace."""
    pose = standing_pose()
    poses = Keypoints(np.stack([pose, pose + [2 / 16, 1 / 16]]), np.ones((2, COUNT)))
    first, second = region_bits(poses, TokenGrid(2), method).view(2, 16, 16)
    torch.testing.assert_close(second[1:, 2:], first[:-1, :-2])


def test_between_spread_fingers_the_bodys_bones_leave_what_a_hull_takes():
    """A large hand: its tokens lie on its bones, fewer than within its outline, and the same elsewhere."""
    pose = standing_pose()
    middle = pose[LEFT_HAND].mean(0)
    angles = np.linspace(-1.2, 1.2, 5)
    for finger, angle in enumerate(angles):
        for joint in range(4):
            away = 0.05 * (joint + 1) * np.array([np.sin(angle), -np.cos(angle)])
            pose[LEFT_HAND.start + 1 + 4 * finger + joint] = middle + away
    pose[LEFT_HAND.start] = middle
    poses, grid = Keypoints(pose[None], np.ones((1, COUNT))), TokenGrid(1, 64, 64)
    hull, body = (region_bits(poses, grid, method)[0] for method in ("hull", "body"))
    hands = 1 << REGIONS.index("hands")
    assert 0 < (body & hands > 0).sum() < 0.8 * (hull & hands > 0).sum()
    gap = middle + 0.19 * np.array([np.sin(0.3), -np.cos(0.3)])  # between two fingertips
    column, row = (gap * 64).astype(int)
    assert hull[row * 64 + column] & hands and not body[row * 64 + column] & hands
    same = sum(1 << REGIONS.index(name) for name in ("face", "body", "shoulders"))
    torch.testing.assert_close(hull & same, body & same)


def test_mls_regions_turn_with_the_body():
    """A quarter turn about the middle of the picture takes tokens to tokens."""
    pose, quarter = standing_pose(), np.array([[0.0, -1.0], [1.0, 0.0]])
    turned = (pose - 0.5) @ quarter.T + 0.5
    bits = region_bits(Keypoints(np.stack([pose, turned]), np.ones((2, COUNT))), TokenGrid(2, 32, 32))
    first, second = bits.view(2, 32, 32)
    assert (torch.rot90(first, -1) == second).double().mean() > 0.999


def test_small_motion_changes_few_tokens():
    pose = standing_pose()
    moved = pose + np.random.default_rng(7).normal(0, 1e-4, pose.shape)
    bits = region_bits(Keypoints(np.stack([pose, moved]), np.ones((2, COUNT))), TokenGrid(2, 32, 32))
    assert (bits[0] != bits[1]).double().mean() < 0.01


@pytest.mark.parametrize("method", ["mls", "hull", "body"])
def test_a_missing_hand_has_no_tokens_and_the_rest_stays(method):
    pose, confidence = standing_pose(), np.ones((2, COUNT))
    confidence[1, LEFT_HAND] = 0
    bits = region_bits(Keypoints(np.stack([pose, pose]), confidence), TokenGrid(2), method).view(2, 16, 16)
    hands = bits >> REGIONS.index("hands") & 1
    assert hands[0, :, 9:].any() and not hands[1, :, 10:].any()
    torch.testing.assert_close(hands[1, :, :7], hands[0, :, :7])
    others = 0b11111 - (1 << REGIONS.index("hands"))
    torch.testing.assert_close(bits[1] & others, bits[0] & others)


def test_a_part_unseen_in_the_first_frame_is_drawn_where_it_first_appears():
    pose, confidence = standing_pose(), np.ones((3, COUNT))
    confidence[0, RIGHT_HAND] = 0
    hands = region_bits(Keypoints(np.stack([pose] * 3), confidence), TokenGrid(3)).view(3, 16, 16) >> 1 & 1
    assert not hands[0, :, :7].any() and hands[1, :, :7].any()
    torch.testing.assert_close(hands[1], hands[2])


def test_regions_of_a_frame_do_not_depend_on_later_frames():
    poses, grid = performance(5), TokenGrid(5)
    torch.testing.assert_close(region_bits(poses, grid)[:3], region_bits(poses[:3], grid))
    alone = torch.cat([region_bits(poses[t : t + 1], grid, reference=poses[:1]) for t in range(5)])
    torch.testing.assert_close(alone, region_bits(poses, grid))


def test_nobody_in_the_picture_means_background_only():
    empty = Keypoints(np.zeros((2, COUNT, 2)), np.zeros((2, COUNT)))
    for method in ("mls", "hull", "body"):
        assert not region_bits(empty, TokenGrid(2), method).any()
    with pytest.raises(InputError, match="'polygon'.*mls"):
        region_bits(empty, TokenGrid(2), "polygon")


# plans


def brute_mask(plan: AttentionPlan) -> np.ndarray:
    table = [[t for t in row if t >= 0] for row in plan.frame_table.tolist()]
    return oracles.allowed_pairs(table, plan.region_bits.numpy(), plan.options.sink)


@QUICK
@given(plans)
def test_the_plan_allows_exactly_the_pairs_of_the_definition(plan):
    mask = brute_mask(plan)
    np.testing.assert_array_equal(plan.dense(), mask)
    tokens = torch.arange(plan.grid.tokens)
    np.testing.assert_array_equal(plan.allowed(tokens[:, None], tokens), mask)
    assert plan.density() == pytest.approx(mask.mean())
    n = plan.grid.tokens_per_frame
    frame = np.arange(plan.grid.tokens) // n
    assert not mask[frame[:, None] < frame].any()  # no future
    for t in range(plan.grid.frames):
        rows = mask[t * n : (t + 1) * n].reshape(n, -1, n)
        assert rows[:, t].all()
        region_frames = [s for s in range(t) if rows[:, s].any() and not (plan.options.sink and s == 0)]
        assert len(region_frames) <= plan.options.top_k
        seen = rows[:, region_frames].any(0).nonzero() if region_frames else (np.array([], int),) * 2
        wanted = [region_frames[a] * n + j for a, j in zip(*seen, strict=True)]
        assert plan.past_tokens(t).tolist() == wanted


@QUICK
@given(plans)
def test_the_permutation_is_a_bijection_that_joins_equal_tokens_of_a_frame(plan):
    order = plan.permutation()
    n = plan.grid.tokens_per_frame
    assert sorted(order.tolist()) == list(range(plan.grid.tokens))
    np.testing.assert_array_equal(order // n, np.arange(plan.grid.tokens) // n)
    for frame in plan.region_bits.flatten()[order].view(-1, n).tolist():
        runs = [value for i, value in enumerate(frame) if i == 0 or frame[i - 1] != value]
        assert len(runs) == len(set(runs))
        assert 0 not in runs[:-1]


@QUICK
@given(plans, st.booleans())
def test_blocks_are_kept_if_any_pair_is_and_no_others(plan, permute):
    csr = plan.block_csr(permute=permute)
    order = plan.permutation() if permute else torch.arange(plan.grid.tokens)
    mask = brute_mask(plan)[np.ix_(order, order)]
    rows = [csr.columns[a:b].tolist() for a, b in zip(csr.row_pointer, csr.row_pointer[1:], strict=False)]
    assert rows == oracles.kept_blocks(mask, csr.start.tolist(), csr.size.tolist())
    assert int(csr.size.sum()) == plan.grid.tokens and csr.size.max() <= plan.options.block
    assert csr.density() >= plan.density() - 1e-12
    twice = csr.transpose().transpose()
    for name in ("columns", "row_pointer", "full", "start", "size"):
        assert torch.equal(getattr(twice, name), getattr(csr, name))
    turned = csr.transpose()
    pairs = set(zip(csr.rows.tolist(), csr.columns.tolist(), strict=True))
    assert set(zip(turned.columns.tolist(), turned.rows.tolist(), strict=True)) == pairs


@QUICK
@given(st.integers(0, 1000), st.integers(1, 9))
def test_pooled_contains_exact_and_fills_whole_blocks(seed, block):
    pooled = random_plan(seed, mode="pooled", block=block).dense()
    exact = random_plan(seed, mode="exact", block=block).dense()
    assert (pooled | ~exact).all()
    if block == 1:
        assert torch.equal(pooled, exact)


def test_a_plan_from_poses_keeps_the_nearest_past_frames():
    poses, grid = performance(9), TokenGrid(9)
    plan = make_plan(poses, grid, MaskOptions(top_k=3, window=0))
    body = poses.xy[:, list(UPPER_BODY)].astype(np.float64)
    distance = np.array([[oracles.rigid_residual(a, b, np.ones(len(UPPER_BODY))) for b in body] for a in body])
    table = [[t for t in row if t >= 0] for row in plan.frame_table.tolist()]
    assert table == oracles.past_table(distance, 3, first=1)
    np.testing.assert_allclose(plan.distance, distance * (1 - np.eye(9)), atol=1e-6)
    assert 0.1 < plan.density() < 0.5


@pytest.mark.parametrize("bits, density", [(0, (4 + 3) / 16), (31, (4 + 3 + 3) / 16)])
def test_all_background_and_every_token_in_every_region(bits, density):
    plan = random_plan(0)
    plan = AttentionPlan(plan.grid, plan.frame_table, torch.full_like(plan.region_bits, bits), None, plan.options)
    assert plan.density() == pytest.approx(density)  # own frames, sink frames, and 1 + 2 past frames beside the sink


def test_json_gives_the_same_plan_back():
    plan = make_plan(performance(5), TokenGrid(5, 8, 8), MaskOptions(top_k=2, mode="pooled"))
    again = AttentionPlan.from_json(plan.to_json())
    assert again.grid == plan.grid and again.options == plan.options
    for name in ("frame_table", "region_bits", "distance"):
        assert torch.equal(getattr(again, name), getattr(plan, name))
    for broken in ("{}", "[1]", "no", plan.to_json().replace('"rows": 8', '"rows": 9')):
        with pytest.raises(InputError):
            AttentionPlan.from_json(broken)
    for name, value, message in (
        ("region_bits", "abc", "not an attention plan"),  # no base64
        ("frame_table", [[-1], [0, 1], [0], [0], [0]], "not an attention plan"),
        ("frame_table", [[10**30]] * 5, "not an attention plan"),
        ("options", {"top_k": "four"}, "not an attention plan"),
        ("options", {"top_k": -2}, "top_k is -2; 0 or more"),
        ("regions", ["face", "feet"], "feet.*shoulders"),
        ("version", 2, "version 1"),
    ):
        with pytest.raises(InputError, match=message):
            AttentionPlan.from_json(json.dumps(json.loads(plan.to_json()) | {name: value}))
    assert json.loads(plan.to_json())["options"]["top_k"] == 2


def test_a_table_without_columns_survives_json():
    plan = random_plan(0, k=0)
    assert AttentionPlan.from_json(plan.to_json()).frame_table.shape == (4, 0)


def test_bad_input_is_named():
    poses, grid = performance(3), TokenGrid(3)
    with pytest.raises(InputError, match="3 poses for 4"):
        make_plan(poses, TokenGrid(4))
    others: list[tuple[Any, Any]] = [(poses, (3, 16, 16)), (poses.xy, grid)]
    for one, other in others:
        with pytest.raises(
            InputError, match=r"made from Keypoints and a TokenGrid\(frames, rows, cols\); .* was given"
        ):
            make_plan(one, other)
    with pytest.raises(InputError, match="top_k is -1"):
        make_plan(poses, grid, MaskOptions(top_k=-1))
    with pytest.raises(InputError, match="method is 'blob'"):
        make_plan(poses, grid, MaskOptions(method="blob"))
    with pytest.raises(InputError, match="missing in every frame"):
        make_plan(Keypoints(poses.xy, np.zeros((3, COUNT))), grid)
    with pytest.raises(InputError, match="NaN or infinite"):
        Keypoints(np.full_like(poses.xy, np.nan), poses.confidence)
    with pytest.raises(InputError, match="200 tokens.*100"):
        random_plan(0, frames=2, rows=10, cols=10).dense(max_tokens=100)
    plan = random_plan(0)
    with pytest.raises(InputError, match="past"):
        AttentionPlan(plan.grid, torch.tensor([[0], [1], [1], [1]]), plan.region_bits)
    with pytest.raises(InputError, match=r"\[4, 5\].*\[4, 6\]"):
        AttentionPlan(plan.grid, plan.frame_table, plan.region_bits[:, :5])
    with pytest.raises(InputError, match="key tokens"):
        plan.allowed(0, 24)


def test_the_permutation_makes_blocks_sparser_and_tables_say_so():
    plan = make_plan(performance(12), TokenGrid(12, 32, 32))
    for row in plan.density_table():
        assert row["token_density"] < row["block_density"] < row["block_density_unpermuted"]
    assert plan.report()["block_density"] == plan.density_table([plan.options.block])[0]["block_density"]
    np.testing.assert_array_equal(plan.visible.sum(1), [len(plan.past_frames(t)) for t in range(12)])


def test_reach_bounds_how_far_back_a_frame_is_chosen():
    distance = torch.rand(40, 40, generator=torch.Generator().manual_seed(0))
    table = top_k_past(distance, 3, reach=6)
    for t, row in enumerate(table.tolist()):
        expected = sorted(range(max(0, t - 6), t), key=lambda p: (float(distance[t, p]), -p))[:3]
        assert row == expected + [-1] * (3 - len(expected))
