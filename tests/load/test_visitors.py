"""A few visitors at once for some seconds, in CI; `tests/load/ten_minutes.py` is the whole."""

from __future__ import annotations

import time

import pytest

gr = pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")

from visitors import visit_together  # noqa: E402

import app  # noqa: E402
from iasa.demo import launch, service  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def address(tmp_path, monkeypatch):
    (tmp_path / "made").mkdir()
    monkeypatch.setattr(service, "output_folder", lambda: tmp_path / "made")
    monkeypatch.setattr(launch, "output_folder", lambda: tmp_path / "made")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    page = app.make_app()
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, share=False, **app.launch_options(tools=False))
    yield url
    page.close()


@pytest.mark.slow
def test_visitors_at_once_get_their_own_videos_one_after_another(address, tmp_path):
    record = visit_together(address, visitors=4, seconds=6)
    assert record.faults == []
    assert len(record.heavy) >= 3 and record.overlaps() == 0 and record.overtaken() == 0
    copies = [path.name for path in (tmp_path / "gradio").rglob("*.*") if path.suffix in (".mp4", ".npz", ".html")]
    assert copies == [], "gradio would keep them for ever"


def test_old_files_go_even_if_nobody_comes(tmp_path, monkeypatch):
    """Results, and what was uploaded; not the files of the page itself."""
    page = app.make_app()
    (tmp_path / "made").mkdir()
    monkeypatch.setattr(service, "output_folder", lambda: tmp_path / "made")
    monkeypatch.setattr(service, "KEPT_SECONDS", 2.0)
    names = ["old.wav", "example.png", "fresh.wav"]
    monkeypatch.setattr(page, "temp_file_sets", [{str(tmp_path / name) for name in names}])
    monkeypatch.setattr(
        next(iter(page.blocks.values())), "keep_in_cache", {str(tmp_path / "example.png")}, raising=False
    )
    old = service.new_output(".mp4")
    for path in (old, *(tmp_path / name for name in names[:2])):
        path.write_text("a file")
    time.sleep(2.1)
    stopped, until = service.keep_tidy(page, every=0.05), time.monotonic() + 5
    (tmp_path / "fresh.wav").write_text("a file")
    while (old.exists() or (tmp_path / "old.wav").exists()) and time.monotonic() < until:
        time.sleep(0.02)
    assert [(tmp_path / name).exists() for name in names] == [False, True, True] and not old.parent.exists()
    stopped.set()


def test_a_line_knows_jobs_that_overlap_and_overtake():
    from visitors import Record

    fair = Record(heavy=[(0, 0.1, 1, 2), (0.5, 0.6, 2.1, 3), (0.7, 0.8, 3, 4)])
    assert fair.overlaps() == fair.overtaken() == 0
    assert Record(heavy=[(0, 0.1, 1, 2), (0.5, 0.6, 1.5, 3)]).overlaps() == 1
    assert Record(heavy=[(0, 0.1, 3, 4), (0.5, 0.6, 1, 2)]).overtaken() == 1
