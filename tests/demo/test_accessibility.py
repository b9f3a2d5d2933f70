"""The page by axe-core, the checker that Lighthouse uses: contrast, labels, names and roles, in light and dark, on a phone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from browser import open_browser

gr = pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")

import app  # noqa: E402
from iasa.demo import launch, service  # noqa: E402
from iasa.paths import CHECKOUT  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
AXE = Path(os.environ.get("IASA_AXE") or CHECKOUT / "node_modules" / "axe-core" / "axe.min.js")
SERIOUS = {"serious", "critical"}
RUN = "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"
# What gradio's own parts do, which nothing here can change: rule -> what their elements hold.
GRADIOS = {
    "aria-prohibited-attr": ("Empty value",),
    "color-contrast": ('class="ͼ',),  # the code's colors
    "label-content-name-mismatch": ("upload-container", "thumbnail-item"),
    "scrollable-region-focusable": ("cm-scroller",),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    if not AXE.exists():
        pytest.skip("axe-core is not here: npm install axe-core, or name its axe.min.js in IASA_AXE")
    made = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "output_folder", lambda: made)
        patch.setattr(launch, "output_folder", lambda: made)
        page = app.make_app()
        _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, share=False, **app.launch_options(False))
        yield url
        page.close()


def findings(page) -> list[str]:
    """Serious ones: the rule, and the element with what is wrong."""
    page.add_script_tag(path=str(AXE))
    return [
        f"{found['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for found in page.evaluate(RUN)
        if found["impact"] in SERIOUS
        for node in found["nodes"]
        if not any(part in node["html"] for part in GRADIOS.get(found["id"], ()))
    ]


@pytest.mark.parametrize(
    "context",
    [{}, {"color_scheme": "dark", "locale": "de-DE", "viewport": {"width": 390, "height": 844}}],
    ids=["desktop", "dark German phone"],
)
def test_no_tab_has_a_serious_finding(address, context):
    with open_browser() as browser:
        page = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | context))
        page.goto(address)
        page.wait_for_selector("#generate")
        for button in page.locator("#inputs button.label-wrap").all():
            button.click()  # what is folded is looked at too
        found = findings(page)
        page.locator("#inputs input[type=radio]").nth(2).click()  # a photograph
        page.wait_for_selector("#people button")
        found += findings(page)
        for number in range(1, 4):
            page.evaluate(f"document.querySelectorAll('[role=tab]')[{number}].click()")
            page.wait_for_timeout(800)
            found += findings(page)
        assert not found, "\n".join(dict.fromkeys(found))
