"""Imports without looks for garbage: none while they last, none later at what they made, and else as before."""

from __future__ import annotations

import gc
import sys

import pytest

from iasa.cli.quick_import import quick_import


@pytest.fixture(params=[True, False])
def enabled(request):
    """Whether garbage is looked for before."""
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_garbage_is_not_looked_for_during_an_import_and_then_as_before(enabled):
    looks = []
    gc.callbacks.append(lambda phase, info: looks.append(phase))
    try:
        with quick_import():
            looks.clear()
            made = [[] for _ in range(100_000)]
            assert not looks and len(made) == 100_000
    finally:
        gc.callbacks.pop()
    assert gc.isenabled() == enabled
    with pytest.raises(ImportError), quick_import():
        raise ImportError("no such library")
    assert gc.isenabled() == enabled


def test_what_was_imported_is_passed_over_later_and_nothing_else(tmp_path, monkeypatch):
    """A module of 5,000 lists is; where all modules are there already nothing is kept that might be garbage one day."""
    (tmp_path / "module_of_many_lists.py").write_text("lists = [[] for _ in range(5_000)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = gc.get_freeze_count()
    try:
        with quick_import():
            import json  # noqa: F401
        assert gc.get_freeze_count() == before
        with quick_import():
            import module_of_many_lists  # noqa: F401
        assert gc.get_freeze_count() > before + 5_000
    finally:
        gc.unfreeze()
        sys.modules.pop("module_of_many_lists", None)
