"""Marks that the reference hides: exact masks, hidden where promised, shown and shown again."""

from dataclasses import replace

import numpy as np
import pytest

from iasa.avatar.details import DETAILS, make_detailed_identity, make_details, mask_paints, split_masks, without_traces
from iasa.avatar.identity import make_identity
from iasa.avatar.renderer import Renderer
from iasa.masks.frame_choice import showings
from iasa.metrics.memory_quality import LEAST
from iasa.motion.showings import make_showings, reference_motion

SIDE = 128


@pytest.fixture(scope="module")
def clips():
    """Three people's motion at the bed's rate, with masks."""
    found = []
    for seed in (2, 5, 8):
        identity = make_detailed_identity(seed)
        motion = make_showings(identity.details, 14.4, seed)[::10]
        renderer = Renderer(identity, SIDE)
        found.append((renderer, motion, np.stack([renderer.detail_masks(motion, i) for i in range(len(motion))])))
    return found


def test_the_same_seed_draws_the_same_marks_and_another_seed_others():
    assert make_details(7) == make_details(7) != make_details(8)
    a, b = (make_showings(make_details(7), 4.0, 7) for _ in range(2))
    assert np.array_equal(a.hands, b.hands) and np.array_equal(a.head, b.head)
    assert not np.array_equal(a.hands, make_showings(make_details(7), 4.0, 9).hands)


def test_a_speaker_without_marks_has_no_masks():
    renderer = Renderer(make_identity(3), 64)
    assert not renderer.detail_masks(reference_motion(make_details(3)), 0).any()


@pytest.mark.parametrize("seed", range(100, 112))
def test_the_reference_hides_every_mark(seed):
    identity = make_detailed_identity(seed)
    motion = reference_motion(identity.details)
    assert not Renderer(identity, SIDE).detail_masks(motion, 0).any()
    pictures = []  # whoever wears other marks looks the same in the reference
    for other in (identity.details, make_details(seed + 1000)):
        marks = replace(other, clip_side=identity.details.clip_side)
        worn = replace(identity, details=marks)
        pictures.append(Renderer(without_traces(worn), SIDE).draw(motion, 0))
    assert np.array_equal(*pictures)


def test_masks_are_where_the_mark_is_painted(clips):
    """A frame drawn with one mark repainted differs inside that mark's mask, and nowhere else but at its rim."""
    for renderer, motion, masks in clips:
        for number, name in enumerate(DETAILS):
            frame = int(masks[:, number].sum((1, 2)).argmax())
            mask = masks[frame, number]
            if not mask.any():
                continue
            flats = []
            for color in ((1.0, 0.0, 1.0), (0.0, 1.0, 0.0)):
                details = renderer.identity.details
                flat = [details.colors(other)[0] for other in DETAILS]
                flat[number] = color
                drawn = Renderer(replace(renderer.identity, details=replace(details, flat=tuple(flat))), SIDE)
                flats.append(drawn.draw(motion, frame).astype(int))
            change = np.abs(flats[0] - flats[1]).min(-1)
            assert (change[mask] > 120).all(), name
            rim = np.zeros_like(mask)
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    rim |= np.roll(mask, (dy, dx), (0, 1))
            assert (change[~rim] <= 128).all(), name
            assert (change > 128).sum() <= mask.sum(), name


def test_split_masks_names_each_detail_by_its_code():
    black, coded = (np.zeros((1, 1 + len(DETAILS), 3), np.uint8) for _ in range(2))
    for column, code in enumerate(mask_paints()[1]):
        coded[0, column] = np.array(code) * 200
    masks = split_masks(black, coded)[:, 0]
    assert np.array_equal(masks[:, :-1], np.eye(len(DETAILS), dtype=bool)) and not masks[:, -1].any()
    assert not split_masks(black, coded // 2).any()  # less than half of a pixel


def test_marks_show_and_show_again_after_one_to_eight_seconds(clips):
    gaps, shown = [], set()
    for _, _, masks in clips:
        for number, area in enumerate(masks.sum((2, 3)).T):
            runs = showings(area, LEAST)
            shown |= {number} if runs else set()
            gaps += [(b[0] - a[1] + 1) / 2.5 for a, b in zip(runs, runs[1:], strict=False)]
    assert shown == set(range(len(DETAILS)))
    assert len(gaps) >= 9
    assert np.mean([0.4 <= gap <= 8.4 for gap in gaps]) > 0.9 and max(gaps) > 1.5
