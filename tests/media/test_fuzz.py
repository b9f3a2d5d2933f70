"""Damaged files of every kind that is read: a sentence or a result, in little memory and time, and no other file opened."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from samples import make_seeds, mutate

LONG = bool(os.environ.get("IASA_LONG"))
COUNT = 2000 if LONG else 12  # of each of the 19 kinds: over 200 in all
ROOT = Path(__file__).resolve().parents[2]
SLOWEST = 5.0  # seconds of the processor for one file


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> dict[str, bytes]:
    return make_seeds(tmp_path_factory.mktemp("seeds"))


@pytest.mark.timeout(3600 if LONG else 300)
def test_damaged_files_are_read_or_refused_in_a_sentence(tmp_path, seeds):
    canary = tmp_path / "canary.wav"
    canary.write_bytes(seeds["a.wav"])
    old = canary.stat().st_mtime - 7 * 86_400
    os.utime(canary, (old, canary.stat().st_mtime))  # any reading would now move the access time (relatime)
    folder = tmp_path / "damaged"
    folder.mkdir()
    for name, data in seeds.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        first, last = name.split(".")
        for number in range(COUNT):
            (folder / f"{first}.{number:04d}.{last}").write_bytes(mutate(data, rng))
    done = run_child(folder)
    answers = [line.split(" ", 3) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{done.returncode} at {done.stdout.splitlines()[-1:]}: {done.stderr[-2000:]}"
    assert len(answers) == COUNT * len(seeds)
    for name, said, seconds, others in answers:
        assert said in ("read", "refused") and float(seconds) < SLOWEST and others == "alone", (
            name,
            said,
            seconds,
            others,
        )
    kinds = Counter(said for _, said, *_ in answers)
    assert kinds["read"] > 0.1 * len(answers) and kinds["refused"] > 0.1 * len(answers), kinds  # both ways are tried
    assert canary.stat().st_atime == old


def test_whole_files_of_every_kind_are_read(tmp_path, seeds):
    """What is damaged above was good before."""
    for name, data in seeds.items():
        if not name.startswith("a."):  # sound alone is refused as video
            first, last = name.split(".")
            (tmp_path / f"{first}.0.{last}").write_bytes(data)
    done = run_child(tmp_path)
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["read"] * 14, done.stdout + done.stderr


def run_child(folder: Path) -> subprocess.CompletedProcess:
    """Reads the folder's files in a process of its own, which may crash without taking this one along."""
    child = Path(__file__).with_name("fuzz_child.py")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    limit = 3500 if LONG else 280
    return subprocess.run(
        [sys.executable, str(child), str(folder)], capture_output=True, text=True, env=environment, timeout=limit
    )
