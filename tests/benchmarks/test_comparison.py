"""A benchmark beside a stored one, and what a report says of where it was measured."""

import json
import re

import pytest

from iasa import __version__, device
from iasa.benchmarks.comparison import compare, read_rows, tell_row
from iasa.config import InputError
from iasa.paths import RESULTS


def a_row(name: str, seconds: float, fps: float) -> dict:
    return {"row": name, "seconds": seconds, "fps": fps, "first_frame": 0.5, "peak_mb": 900, "motion": 1.0}


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "before.json"
    path.write_text(json.dumps({"rows": [a_row("student", 4.0, 20.0), a_row("teacher", 4.0, 1.0)]}))
    return read_rows(str(path))


def test_rows_that_both_have_stand_side_by_side(stored):
    rows, columns = compare([a_row("student", 4.0, 30.0), a_row("student", 30.0, 31.0)], stored)
    assert len(rows) == 1 and set(columns) == rows[0].keys()
    assert rows[0]["fps"] == "20 -> 30" and rows[0]["faster"] == "1.50x"


def test_a_line_for_each_row(stored, capsys):
    tell_row(a_row("student", 4.0, 30.0), stored)
    tell_row(a_row("student", 30.0, 31.0), None)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "student, 4 s: 30 frames/s, the first after 0.5 s, 1.50x as fast"
    assert second == "student, 30 s: 31 frames/s, the first after 0.5 s"


def test_stored_reports_of_this_repository_are_read():
    assert ("student", 30.0) in read_rows(str(RESULTS / "bench_generate_0_2.json"))


@pytest.mark.parametrize("text", ["", "[1]", '{"rows": 3}', '{"rows": [{"row": "student"}]}', "\x00\xff"])
def test_what_is_no_report_is_said(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match="other.json is no report of bench generate"):
        read_rows(str(path))
    with pytest.raises(InputError, match="missing.json cannot be read"):
        read_rows(str(tmp_path / "missing.json"))


def test_the_commit_is_named_and_without_one_the_version(monkeypatch, tmp_path):
    assert (
        re.fullmatch(r"[0-9a-f]{12}\+?", device.describe_machine()["commit"]) or not (device.CHECKOUT / ".git").exists()
    )
    monkeypatch.setattr(device, "CHECKOUT", tmp_path)
    assert device.find_commit() == __version__
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device.find_commit() == __version__
