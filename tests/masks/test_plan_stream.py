"""Plans made as poses come: the same rows as from the whole clip, and a memory that stays diverse."""

import numpy as np
import pytest
import torch

from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import COUNT, LEFT_HAND, LEFT_SHOULDER, UPPER_BODY, Keypoints
from iasa.masks import make_plan, rigid_distance
from iasa.masks.plan_stream import PlanStream, join_rows


def walk(frames: int, seed: int = 0, step: float = 0.02) -> Keypoints:
    """A random walk of poses with a hand that is missing now and then."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0.3, 0.7, (1, COUNT, 2)) + step * rng.normal(size=(frames, COUNT, 2)).cumsum(0)
    confidence = np.ones((frames, COUNT), np.float32)
    confidence[2:5, LEFT_HAND] = 0
    return Keypoints(xy, confidence, 12.5)


@pytest.mark.parametrize("options", [
    MaskOptions(), MaskOptions(top_k=3, window=3, reach=9), MaskOptions(sink=False, method="hull"),
    MaskOptions(top_k=2, window=0, local=False), MaskOptions(top_k=0, window=1),
])  # fmt: skip
@pytest.mark.parametrize("piece", [1, 7])
def test_rows_are_those_of_the_whole_clip(options, piece):
    poses = walk(24)
    plan = make_plan(poses, TokenGrid(24, 6, 7), options)
    stream = PlanStream(options, 6, 7)
    rows = [row for i in range(0, 24, piece) for row in stream.push(poses[i : i + piece])]
    joined = join_rows(rows, options, TokenGrid(1, 6, 7))
    assert joined.frame_table.equal(plan.frame_table) and joined.region_bits.equal(plan.region_bits)
    assert [list(row.past) for row in rows] == [plan.past_frames(t) for t in range(24)]
    assert joined.density() == pytest.approx(plan.density())


def test_a_part_that_shows_later_has_its_shape_from_there():
    """The first frame lacks the left hand: its shape is drawn on the first frame that has it, offline too."""
    poses = walk(10, seed=2)
    confidence = poses.confidence.copy()
    confidence[0, LEFT_HAND] = 0
    poses = Keypoints(poses.xy, confidence, poses.fps)
    stream = PlanStream(rows=8, cols=8)
    bits = [row.bits for i in range(10) for row in stream.push(poses[i : i + 1])]
    plan = make_plan(poses, TokenGrid(10, 8, 8))
    for mine, offline in zip(bits, plan.region_bits, strict=True):
        assert mine.equal(offline)
    assert not (bits[0] & 2).equal(bits[6] & 2)


@pytest.mark.parametrize("capacity", [5, 12])
def test_the_memory_keeps_its_budget_and_stays_diverse(capacity):
    """Nothing evicted is named again; what is kept is further apart than the latest frames are."""
    options = MaskOptions(top_k=3, window=2, reach=60)
    poses = walk(80, seed=1)
    stream, gone, kept = PlanStream(options, 4, 4, capacity), set(), set()
    for row in stream.push(poses):
        assert not gone & set(row.past) and set(row.past) <= kept
        assert {row.frame - 1, row.frame - 2} & kept <= set(row.past)
        kept |= {row.frame} - {0}
        gone |= set(row.evicted)
        kept -= gone
        assert len(kept) <= capacity
    body = list(UPPER_BODY)
    distance = rigid_distance(torch.from_numpy(poses.xy[:, body])).numpy()

    def closest(frames):
        return np.mean([min(distance[a, b] for b in frames if b != a) for a in frames])

    assert closest(sorted(kept)) > 1.2 * closest(range(80 - capacity, 80))


def test_too_small_a_memory_is_refused():
    with pytest.raises(InputError, match="memory of 4 past frames"):
        PlanStream(MaskOptions(top_k=4, window=1), capacity=4)


def test_held_poses_are_equally_near_however_they_come():
    """Among equals the most recent is chosen; products over more or fewer poses differ in their last digits."""
    options = MaskOptions(top_k=1, window=0, sink=False, local=False)
    base, tied = walk(12, seed=3), 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        pick = np.repeat(rng.integers(0, 12, 40), rng.integers(1, 5, 40))[:40]  # each pose is held for a while
        poses = Keypoints(base.xy[pick], base.confidence[pick], base.fps)
        plan = make_plan(poses, TokenGrid(40, 2, 2), options)
        stream = PlanStream(options, 2, 2)
        rows = [row for i in range(40) for row in stream.push(poses[i : i + 1])]
        assert [list(row.chosen) for row in rows] == plan.frame_table.tolist()
        for t in range(1, 40):
            same = [u for u in range(t) if pick[u] == pick[plan.frame_table[t, 0]]]
            assert plan.frame_table[t, 0] == max(same)
            tied += len(same) > 1
    assert tied > 60


@pytest.mark.parametrize("method", ["mls", "hull", "body"])
@pytest.mark.parametrize("piece", [1, 6])
def test_a_shoulder_that_shows_later_does_not_change_the_frames_before(method, piece):
    poses = walk(6, seed=4)
    confidence = poses.confidence.copy()
    confidence[:3, LEFT_SHOULDER] = 0
    xy = poses.xy.copy()
    xy[3:] = 0.5 + 0.5 * (xy[3:] - 0.5)  # and by then the person has stepped back
    poses, options = Keypoints(xy, confidence, poses.fps), MaskOptions(method=method)
    whole, before = make_plan(poses, TokenGrid(6), options), make_plan(poses[:3], TokenGrid(3), options)
    assert whole.region_bits[:3].equal(before.region_bits)
    stream = PlanStream(options)
    rows = [row for i in range(0, 6, piece) for row in stream.push(poses[i : i + piece])]
    assert torch.stack([row.bits for row in rows]).equal(whole.region_bits)


def test_a_window_beyond_what_is_remembered_is_refused():
    options = MaskOptions(top_k=0, window=3, reach=2)
    with pytest.raises(InputError, match="window is 3; up to 2, the reach, is accepted"):
        make_plan(walk(6), TokenGrid(6, 2, 2), options)
    with pytest.raises(InputError, match="window is 3; up to 2, the reach, is accepted"):
        PlanStream(options)
