"""Imports without looks for garbage: none while they last, and as it was afterwards."""

from __future__ import annotations

import gc

import pytest

from iasa.cli.quick_import import quick_import


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_not_looked_for_during_an_import_and_then_as_before(enabled):
    before, looks = gc.isenabled(), []
    gc.callbacks.append(lambda phase, info: looks.append(phase))
    (gc.enable if enabled else gc.disable)()
    try:
        with quick_import():
            looks.clear()
            made = [[] for _ in range(100_000)]
            assert not looks and len(made) == 100_000
        assert gc.isenabled() == enabled
        with pytest.raises(ImportError), quick_import():
            raise ImportError("no such library")
        assert gc.isenabled() == enabled
    finally:
        gc.callbacks.pop()
        (gc.enable if before else gc.disable)()
