"""Figures of the memory bed on cases whose answers are known."""

import numpy as np
import pytest

from iasa.metrics.memory_quality import (
    consistency,
    decided_by_past,
    describe_detail,
    detail_distance,
    diversity,
    drift,
    paired_difference,
    psnr_inside,
    score_memory,
    sharpness,
    undecided,
)

SIDE, FRAMES = 32, 9


def make_case(colors=((200, 10, 10), (200, 10, 10))):
    """A square of 8 pixels that shows in frames 1 to 2 and, somewhere else, in 5 to 6, each time in a colour."""
    pictures = np.full((FRAMES, SIDE, SIDE, 3), 128, np.uint8)
    masks = np.zeros((FRAMES, 2, SIDE, SIDE), bool)
    for (first, end), (y, x), color in zip(((1, 3), (5, 7)), ((4, 4), (15, 17)), colors, strict=True):
        masks[first:end, 0, y : y + 8, x : x + 8] = True
        pictures[first:end, y : y + 8, x : x + 8] = color
    return pictures, masks


def test_a_detail_that_comes_back_as_it_was_has_distance_zero():
    pictures, masks = make_case()
    assert consistency(pictures, masks) == 0
    other, _ = make_case(((200, 10, 10), (200, 40, 10)))
    assert consistency(other, masks) == pytest.approx(30 / np.sqrt(3))
    assert np.isnan(consistency(pictures[:4], masks[:4]))  # it shows but once
    assert consistency(other, masks[:, ::-1]) == pytest.approx(
        30 / np.sqrt(3)
    )  # one that never shows counts for nothing


def test_a_detail_that_was_half_covered_is_no_showing():
    pictures, masks = make_case(((200, 10, 10), (0, 0, 0)))
    masks[5:7, 0, 15:20] = False  # 3 of 8 rows are left
    assert np.isnan(consistency(pictures, masks))
    assert not decided_by_past(masks).any()


def test_descriptions_follow_the_box_and_skip_what_is_covered():
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[8:16, 8:12], picture[8:16, 12:16] = 40, 80
    mask = np.zeros((SIDE, SIDE), bool)
    mask[8:16, 8:16] = True
    look = describe_detail(picture, mask)
    assert (look[:, :2] == 40).all() and (look[:, 2:] == 80).all()
    moved = describe_detail(np.roll(picture, (5, 7), (0, 1)), np.roll(mask, (5, 7), (0, 1)))
    assert detail_distance(look, moved) == 0
    mask[8:10, 8:10] = False
    assert np.isnan(describe_detail(picture, mask)[0, 0]).all()
    assert detail_distance(look, describe_detail(picture, mask)) == 0
    assert np.isnan(detail_distance(look, np.full_like(look, np.nan)))


def test_what_the_past_decides_is_all_but_the_first_showing():
    _, masks = make_case()
    assert np.array_equal(np.flatnonzero(decided_by_past(masks).any((1, 2))), [5, 6])
    assert np.array_equal(np.flatnonzero(undecided(masks).any((1, 2))), [1, 2])
    assert not (decided_by_past(masks) & undecided(masks)).any()


def test_fidelity_counts_these_pixels_alone():
    truth, masks = make_case()
    pictures = truth.copy()
    pictures[0] = 0
    where = decided_by_past(masks)
    assert psnr_inside(pictures, truth, where) == 100
    pictures[where] = truth[where] - 5
    assert psnr_inside(pictures, truth, where) == pytest.approx(20 * np.log10(255 / 5))
    assert np.isnan(psnr_inside(pictures, truth, np.zeros_like(where)))
    scores = score_memory(truth, truth, masks)
    assert scores["fidelity"] == 100 and scores["consistency"] == 0 and scores["drift"] == 0


def test_a_blur_is_less_sharp_and_noise_sharper():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    where = np.ones((3, SIDE, SIDE), bool)
    assert sharpness(truth, truth, where) == 1
    half = (128 + (truth.astype(float) - 128) / 2).astype(np.uint8)
    assert sharpness(half, truth, where) == pytest.approx(0.5, abs=0.01)
    flat = np.full_like(truth, 7)
    assert sharpness(flat, truth, where) == 0 and np.isnan(sharpness(truth, flat, where))


def test_diversity_is_the_deviation_between_runs():
    a, b = (np.full((2, 4, 4, 3), value, np.uint8) for value in (100, 110))
    b[1] = 100
    where = np.zeros((2, 4, 4), bool)
    where[0] = True
    assert diversity([a, b], where) == pytest.approx(10 / np.sqrt(2))
    assert diversity([a, a], where) == 0
    assert np.isnan(diversity([a], where)) and np.isnan(diversity([a, b], ~where & where))


def test_drift_is_what_the_end_loses():
    truth = np.full((8, 4, 4, 3), 100, np.uint8)
    run = truth + np.array([10, 10, 0, 0, 0, 0, 20, 20], np.uint8)[:, None, None, None]
    assert drift(run, truth) == pytest.approx(-20 * np.log10(2))


def test_differences_are_paired():
    found = paired_difference([1.0, 12.0, np.nan], [0.0, 11.0, 5.0])
    assert found == {"mean": 1.0, "low": 1.0, "high": 1.0, "clips": 2}
    assert paired_difference([np.nan], [1.0])["mean"] is None
