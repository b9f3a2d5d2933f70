"""Cloth goes on behind a hand: its pattern in its place, in the light that is there."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")

from iasa.warp.matting import fill  # noqa: E402
from iasa.warp.texture import weave  # noqa: E402

SIDE = 256
HOLE = (slice(90, 160), slice(70, 130))


def decibel(a, b):
    return 10 * np.log10(255**2 / max(1e-9, ((a.astype(float) - b) ** 2).mean()))


def shirt(kind):
    y, x = np.mgrid[:SIDE, :SIDE]
    dark = {"checks": (x // 8 + y // 8) % 2, "stripes": (x // 7) % 2}[kind]
    light = 0.6 + 0.4 * x / SIDE
    return ((90 + 90 * dark)[..., None] * light[..., None] * [0.6, 1.0, 0.8]).astype(np.uint8)


@pytest.mark.parametrize("kind", ["checks", "stripes"])
def test_a_pattern_goes_on_behind_a_hand(kind):
    truth = shirt(kind)
    hole = np.zeros((SIDE, SIDE), bool)
    hole[HOLE] = True
    with_hand = truth.copy()
    with_hand[93:157, 73:127] = 255
    smooth = fill(with_hand, hole)
    woven = weave(smooth, hole, ~hole, ~hole)
    assert (woven[~hole] == truth[~hole]).all()
    assert decibel(woven[HOLE], truth[HOLE]) > max(20.0, decibel(smooth[HOLE], truth[HOLE]) + 6)
    assert woven[HOLE].std() > 0.8 * truth[HOLE].std()
    assert np.abs(woven[HOLE].mean((0, 1)) - smooth[HOLE].mean((0, 1))).max() < 6, "in the light that is there"


def test_what_has_no_likeness_stays_as_it_is():
    picture = shirt("checks")
    hole = np.zeros((SIDE, SIDE), bool)
    hole[HOLE] = True
    nothing = np.zeros_like(hole)
    assert (weave(picture, hole, nothing, nothing) == picture).all()
    crumb = nothing.copy()
    crumb[10:20, 10:20] = True  # smaller than a piece
    assert (weave(picture, hole, ~hole, crumb) == picture).all()
    assert (weave(picture, nothing, ~nothing, ~nothing) == picture).all()
