"""A clip as a page of its own, and who visits it."""

from __future__ import annotations

import numpy as np
import pytest
from browser import open_browser
from explorer_visit import COLS, EVIL, FRAMES, ROWS, Visit, make_attention, make_poses

from iasa.config import MaskOptions
from iasa.explorer import explorer_html
from iasa.grid import TokenGrid
from iasa.keypoints import Keypoints
from iasa.masks import AttentionPlan, make_plan


@pytest.fixture(scope="module")
def poses() -> Keypoints:
    return make_poses()


@pytest.fixture(scope="module")
def plan(poses) -> AttentionPlan:
    return make_plan(poses, TokenGrid(FRAMES, ROWS, COLS), MaskOptions(block=128))


@pytest.fixture(scope="module")
def address(poses, plan, tmp_path_factory) -> str:
    """The page as a file of its own."""
    thumbnails = np.random.default_rng(0).integers(0, 255, (FRAMES, 40, 60, 3), np.uint8)
    bench = [{"tokens": 20_000, "density": 0.1, "speedup": 5.5, "method": EVIL, "device": EVIL, "date": "2026-11-23"}]
    text = explorer_html(plan, poses, thumbnails, make_attention(FRAMES), bench, title=EVIL, note=EVIL)
    assert len(text) < 1_500_000  # of which most is pictures: the mask itself is never sent
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    path.write_text(text, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


@pytest.fixture
def visit(browser, address):
    visits = []

    def start(**context) -> Visit:
        visits.append(Visit(browser, context.pop("address", address), **context))
        return visits[-1]

    yield start
    for made in visits:
        made.context.close()
        assert not made.errors, made.errors
