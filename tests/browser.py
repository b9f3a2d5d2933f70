"""A real headless Chromium for the tests of pages; they are skipped, with the reason, where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("IASA_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SCREENSHOTS = os.environ.get("IASA_SCREENSHOTS")  # a folder for pictures of the pages, for a person to look at


@contextmanager
def open_browser() -> Iterator:
    """A Playwright browser; skips the test where Playwright or Chromium is missing."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on the path (apt-get install chromium, or set IASA_CHROMIUM)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_another(browser, *arguments: str) -> Iterator:
    """A second browser of the same driver, started with Chromium's `arguments`."""
    another = browser.browser_type.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])
    try:
        yield another
    finally:
        another.close()


def take_screenshot(page, name: str, whole: bool = True) -> None:
    """Keep a picture of the page if a folder for them was named."""
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"), full_page=whole)
