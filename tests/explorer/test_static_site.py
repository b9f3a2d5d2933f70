"""`iasa explorer --static`: a folder of pages that need nothing else, each of which leads to the other."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from browser import open_browser, take_screenshot
from test_explorer_math import decode

from iasa.avatar.details import DETAILS
from iasa.cli.main import main
from iasa.config import HELDOUT_IDENTITY
from iasa.explorer.detail_clip import make_detail_clip
from iasa.training.memory_data import make_clip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "site"
    assert main(["explorer", "--static", str(folder), "--seconds", "0.4", "--json"]) == 0
    return folder


def test_each_bundled_clip_has_a_page_of_its_own(site):
    assert sorted(path.name for path in site.iterdir()) == ["badge.html", "index.html", "library.html"]
    for path in site.iterdir():
        text = path.read_text(encoding="utf-8")
        data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
        frames = data["plan"]["grid"]["frames"]
        assert frames == len(data["thumbnails"]) == (2 if path.name == "badge.html" else 6) and data["camera"] is None
        if path.name == "badge.html":
            assert data["details"]["names"] == list(DETAILS) and data["attention"] is None
            bits, clip = decode(data["details"]["bits"], "u1").reshape(2, 64), make_detail_clip(1, 1)
            assert all(np.array_equal(bits >> d & 1, clip.details[name]) for d, name in enumerate(DETAILS))
        else:
            assert data["attention"]["layers"] > 0 and len(decode(data["change"], "u1")) == 6 * 256
        assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text) and len(text) < 5_000_000


def test_a_token_shows_a_detail_where_a_twentieth_of_it_does():
    pictures, _, masks, *_ = make_clip(HELDOUT_IDENTITY + 1, 4)
    clip = make_detail_clip(1, 4)
    assert np.array_equal(clip.thumbnails, pictures) and clip.plan.grid.frames == 5
    for d, name in enumerate(DETAILS):
        for t, i in np.ndindex(5, 64):
            token = masks[t, d, 16 * (i // 8) : 16 * (i // 8) + 16, 16 * (i % 8) : 16 * (i % 8) + 16]
            assert clip.details[name][t, i] == (token.sum() >= 0.05 * 256)
    assert any(shown.any() for shown in clip.details.values())


def test_a_folder_that_holds_something_is_left_alone(site, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in site.iterdir()}
    assert main(["explorer", "--static", str(site)]) == 2
    assert "a new or empty folder is needed" in capsys.readouterr().err
    assert main(["explorer", "--static", str(site / "index.html")]) == 2
    assert main(["explorer", "--static", str(site.parent / "other"), "--seconds", "11"]) == 2
    assert {path.name: path.stat().st_mtime_ns for path in site.iterdir()} == before
    assert not (site.parent / "other").exists()


def test_the_pages_lead_to_each_other(site):
    """In German, on a phone, without asking the network for anything."""
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844}, locale="de-DE")
        errors, asked = [], []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.locator("#figure-0").wait_for()
        assert page.inner_text("nav [aria-current]") == "welcome" and "Rundgang" in page.inner_text("#start-tour")
        take_screenshot(page, "explorer_site_phone")
        page.click("nav >> text=library")
        page.locator("#figure-0").wait_for()
        assert page.inner_text("nav [aria-current]") == "library" and "/library.html" in page.url
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not errors and all(url.startswith(("file:", "data:", "blob:")) for url in asked)
