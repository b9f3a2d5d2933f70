"""Plans for video models: references, chunks, both directions, whole neighbours, wide pictures; on every backend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iasa import paths
from iasa.attention.dispatch import frame_attention, sparse_attention
from iasa.attention.gathered import plan_chunk_gather, plan_frame_gather
from iasa.attention.triton import plan_layout
from iasa.config import InputError, MaskOptions
from iasa.grid import TokenGrid
from iasa.keypoints import Keypoints, load_keypoints, resample_keypoints
from iasa.masks import AttentionPlan, make_plan
from iasa.masks.export import load_plan, save_plan
from iasa.masks.plan_stream import PlanStream
from iasa.masks.plot import draw_plan

POSES = load_keypoints(paths.POSES / "welcome.npz")
QUICK = settings(max_examples=20, deadline=None)
options_of_video_models = st.builds(
    MaskOptions,
    top_k=st.integers(0, 3), window=st.integers(0, 2), sink=st.booleans(), references=st.integers(1, 3), chunk=st.integers(1, 4),
    causal=st.booleans(), whole_window=st.booleans(), block=st.integers(1, 7), reach=st.integers(2, 9),
)  # fmt: skip


def video_plan(options: MaskOptions, frames: int = 9, seed: int = 0) -> AttentionPlan:
    """A real table with random bits, a third of the tokens background."""
    grid = TokenGrid(frames, 2, 3, 1.5)
    made = make_plan(POSES[: 4 * frames : 4], grid, options)
    random = np.random.default_rng(seed)
    bits = random.integers(0, 32, (frames, 6)) * (random.uniform(size=(frames, 6)) > 1 / 3)
    return AttentionPlan(grid, made.frame_table, torch.from_numpy(bits).to(torch.uint8), made.distance, options)


def brute_mask(plan: AttentionPlan) -> np.ndarray:
    """The mask pair by pair, from the definitions in words."""
    options, f, n = plan.options, plan.grid.frames, plan.grid.tokens_per_frame
    first = min(options.references, f) if options.sink else 0
    chunk = [-1 if t < first else (t - first) // options.chunk for t in range(f)]
    mask = np.zeros((f, n, f, n), bool)
    for tq in range(f):
        mates = [t for t in range(f) if chunk[t] == chunk[tq]]
        before = [t for t in range(mates[0] - options.window, mates[0]) if t >= first]
        after = [t for t in range(mates[-1] + 1, mates[-1] + 1 + options.window) if t < f and not options.causal]
        for tk in range(f):
            whole = tk in mates or (tk < first <= tq) or (options.whole_window and tk in before + after)
            share = (plan.region_bits[tq][:, None] & plan.region_bits[tk]).numpy() != 0
            chosen = tk in plan.frame_table[tq].tolist() and not whole
            mask[tq, :, tk] = True if whole else share if chosen else False
    return mask.reshape(f * n, f * n)


@QUICK
@given(options=options_of_video_models, frames=st.integers(1, 9))
def test_every_form_of_the_mask_is_the_definition(options, frames):
    plan = video_plan(options, frames)
    mask = brute_mask(plan)
    np.testing.assert_array_equal(plan.dense(), mask)
    tokens = torch.arange(plan.grid.tokens)
    np.testing.assert_array_equal(plan.allowed(tokens[:, None], tokens), mask)
    assert plan.density() == pytest.approx(mask.mean())
    order = plan.permutation().numpy()
    csr, permuted = plan.block_csr(), mask[np.ix_(order, order)]
    covered = np.zeros_like(mask)
    for row, column, full in zip(csr.rows.tolist(), csr.columns.tolist(), csr.full.tolist(), strict=True):
        place = tuple(slice(int(csr.start[b]), int(csr.start[b] + csr.size[b])) for b in (row, column))
        covered[place] = True
        assert permuted[place].any() and (not full or permuted[place].all())
    assert not (permuted & ~covered).any()


@QUICK
@given(options=options_of_video_models)
def test_frames_are_chosen_by_pose_where_the_rule_allows(options):
    plan = video_plan(options)
    f, first = plan.grid.frames, options.sinks
    for t, row in enumerate(plan.frame_table[:, : options.top_k].tolist()):
        chosen = [s for s in row if s >= 0]
        start = 0 if t < first else first + (t - first) // options.chunk * options.chunk
        end = first if t < first else min(start + options.chunk, f)
        around = options.window if options.whole_window else 0
        free = [s for s in range(max(first, start - options.reach), start - around)]
        if not options.causal:
            free += [s for s in range(end + around, min(f, end + options.reach))]
        free = [s for s in free if s >= first]
        wanted = sorted(free, key=lambda s: (float(plan.distance[t, s]), -s))[: options.top_k]
        np.testing.assert_allclose(plan.distance[t, chosen], plan.distance[t, wanted])
        assert set(chosen) <= set(free) and len(chosen) == len(wanted)


@QUICK
@given(options=options_of_video_models, mode=st.sampled_from(["exact", "pooled"]))
def test_backends_agree(options, mode):
    plan = video_plan(replace(options, mode=mode))
    q, k, v = (
        torch.randn(1, 2, plan.grid.tokens, 4, generator=torch.Generator().manual_seed(i)).double() for i in range(3)
    )
    wanted = sparse_attention(q, k, v, plan, "reference")
    for backend in ("cpu", "dense"):
        torch.testing.assert_close(sparse_attention(q, k, v, plan, backend), wanted, atol=1e-12, rtol=0)


@QUICK
@given(options=options_of_video_models)
def test_flex_and_the_kernels_read_the_same_pairs(options):
    """Their layouts pair by pair: compiling them for each plan would take minutes."""
    plan = video_plan(options)
    order = plan.permutation()
    permuted = plan.dense()[order][:, order]
    mask = plan.to_flex(block=8)
    place = torch.arange(plan.grid.tokens)
    zero = torch.zeros((), dtype=torch.int64)
    tested = mask.mask_mod(zero, zero, place[:, None], place)
    np.testing.assert_array_equal(tested, permuted)
    kept = mask.to_dense()[0, 0].bool().repeat_interleave(8, 0).repeat_interleave(8, 1)[: len(place), : len(place)]
    assert not (permuted & ~kept).any()
    for two_pass in (False, True):
        np.testing.assert_array_equal(plan_layout(plan, two_pass=two_pass, tile=16).dense_mask()[0], permuted)


def test_chunk_by_chunk_is_the_whole_clip():
    options = MaskOptions(top_k=2, window=1, references=2, chunk=3, whole_window=True)
    plan = video_plan(options, frames=11)
    n = plan.grid.tokens_per_frame
    q, k, v = (
        torch.randn(1, 2, plan.grid.tokens, 4, generator=torch.Generator().manual_seed(i)).double() for i in range(3)
    )
    wanted = sparse_attention(q, k, v, plan, "reference")
    cut = [range(0, 2), range(2, 5), range(5, 8), range(8, 11)]
    for frames in cut:
        own = slice(frames[0] * n, (frames[-1] + 1) * n)
        whole, positions, gather = plan_chunk_gather(plan, frames)
        assert max([*whole, *(positions // n).tolist()], default=-1) < frames[0]
        near = torch.cat([torch.arange(own.start, own.stop), *(torch.arange(t * n, (t + 1) * n) for t in whole)])
        out = frame_attention(
            q[:, :, own], k[:, :, near], v[:, :, near], k[:, :, positions], v[:, :, positions], gather
        )
        torch.testing.assert_close(out, wanted[:, :, own], atol=1e-12, rtol=0)
    with pytest.raises(InputError, match="causal plan of single frames"):
        plan_frame_gather(plan, 5)
    with pytest.raises(InputError, match="causal, frame by frame"):
        PlanStream(options)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_plan_comes_back_from_a_file_and_can_be_drawn(tmp_path, suffix):
    options = MaskOptions(top_k=2, references=2, chunk=3, causal=False, whole_window=True)
    plan = video_plan(options)
    save_plan(tmp_path / f"p{suffix}", plan)
    again = load_plan(tmp_path / f"p{suffix}")
    assert again.options == options and again.grid == plan.grid and again.grid.aspect == 1.5
    np.testing.assert_array_equal(again.dense(), plan.dense())
    assert draw_plan(again).dtype == np.uint8


def test_the_same_person_has_the_same_tokens_in_a_wide_picture():
    square = make_plan(POSES[:40:5], TokenGrid(8, 16, 16))
    xy = POSES.xy[:40:5].copy()
    xy[..., 0] = 0.25 + 0.5 * xy[..., 0]  # a square in the middle of a picture twice as wide as high
    wide = make_plan(Keypoints(xy, POSES.confidence[:40:5], POSES.fps), TokenGrid(8, 16, 32, 2.0))
    middle = wide.region_bits.view(8, 16, 32)[:, :, 8:24]
    assert torch.equal(middle, square.region_bits.view(8, 16, 16)) and torch.equal(wide.frame_table, square.frame_table)
    torch.testing.assert_close(wide.distance, square.distance, atol=1e-6, rtol=0)
    squeezed = make_plan(Keypoints(xy, POSES.confidence[:40:5], POSES.fps), TokenGrid(8, 16, 32))
    assert not torch.equal(squeezed.region_bits, wide.region_bits)


def test_resampled_poses_lie_on_the_line_between_their_neighbours():
    line = np.linspace(0, 1, 26, dtype=np.float32)
    xy = np.broadcast_to(line[:, None, None], (26, 133, 2))
    confidence = np.ones((26, 133), np.float32)
    confidence[10, 5] = 0
    found = resample_keypoints(Keypoints(xy, confidence, 25.0), 16.0)
    assert len(found) == 17 and found.fps == 16.0
    np.testing.assert_allclose(found.xy[:, 0, 0], np.arange(17) / 16, atol=1e-6)
    assert (found.confidence[:, 0] == 1).all() and found.confidence[6, 5] < 1
    seen = found.confidence[:, 5] > 0
    assert np.abs(found.xy[seen, 5, 0] - np.arange(17)[seen] / 16).max() < 0.04  # one neighbour's place, never 0's
    same = resample_keypoints(POSES, POSES.fps)
    np.testing.assert_array_equal(same.xy, POSES.xy)
    with pytest.raises(InputError, match="0 frames a second"):
        resample_keypoints(POSES, 0)


@pytest.mark.parametrize("change", [{"references": 0}, {"chunk": 0}, {"window": -1}])
def test_options_out_of_range_are_refused(change):
    name, value = next(iter(change.items()))
    with pytest.raises(InputError, match=f"{name} is {value}"):
        make_plan(POSES[:4], TokenGrid(4), MaskOptions(**change))
