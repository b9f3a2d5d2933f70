"""Twenty visitors at once on the running app for ten minutes: `python tests/load/ten_minutes.py --out docs/results/load.md`.

The app is started as a user starts it, in a folder of its own; afterwards it has a minute to tidy up.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from visitors import Record, visit_together

from iasa.device import describe_machine

ROOT = Path(__file__).resolve().parents[2]
KEPT = 120  # seconds for which the app keeps files in this run, instead of an hour
SETTLED = 0.25  # of the time, after which memory counts as warmed up


@contextlib.contextmanager
def running_app(scratch: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """`python app.py` with its files under `scratch`: (address, process)."""
    environment = os.environ | {
        "TMPDIR": str(scratch), "GRADIO_TEMP_DIR": str(scratch / "gradio"), "IASA_KEPT_SECONDS": str(KEPT),
        "GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    log = (scratch.parent / "app.log").open("w+")
    app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(120):
            time.sleep(1)
            found = re.search(r"http://\S+", Path(log.name).read_text())
            if found or app.poll() is not None:
                break
        if not found:
            raise SystemExit(f"the app has not started: {Path(log.name).read_text()}")
        yield found[0], app
    finally:
        app.send_signal(signal.SIGTERM)
        app.wait(30)


class Watcher(threading.Thread):
    """Looks at the app every few seconds: memory in MB with its children's, and how many files it keeps."""

    def __init__(self, app: subprocess.Popen, scratch: Path) -> None:
        super().__init__(daemon=True)
        self.app, self.scratch = psutil.Process(app.pid), scratch
        self.memory: list[float] = []
        self.files: list[int] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(3):
            with contextlib.suppress(psutil.NoSuchProcess):
                family = [self.app, *self.app.children(recursive=True)]
                self.memory.append(sum(one.memory_info().rss for one in family) / 2**20)
                self.files.append(count_files(self.scratch))


def count_files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def run(visitors: int, seconds: float) -> dict:
    """The figures of a run."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "files"
        scratch.mkdir()
        with running_app(scratch) as (address, app):
            watcher = Watcher(app, scratch)
            watcher.start()
            started = time.monotonic()
            record = visit_together(address, visitors, seconds)
            elapsed = time.monotonic() - started
            time.sleep(2.5 * KEPT)
            watcher.stopped.set()
            left, alive = count_files(scratch), app.poll() is None
        errors = (Path(folder) / "app.log").read_text().count("Traceback")
        return figures(record, watcher, elapsed) | {
            "visitors": visitors, "files_left": left, "files_after_exit": count_files(scratch), "alive": alive,
            "tracebacks": errors, **describe_machine(),
        }  # fmt: skip


def figures(record: Record, watcher: Watcher, elapsed: float) -> dict:
    memory = np.array(watcher.memory)
    warm = memory[int(SETTLED * len(memory)) :]
    halves = np.array_split(warm, 2)
    waits = sorted(record.waits) or [0.0]
    return {
        "minutes": round(elapsed / 60, 2),
        "done": dict(sorted(record.done.items())),
        "heavy_jobs": len(record.heavy),
        "overlapping": record.overlaps(),
        "overtaken": record.overtaken(),
        "wait_median": round(waits[len(waits) // 2], 1),
        "wait_longest": round(waits[-1], 1),
        "memory_first_half": round(float(halves[0].mean())),
        "memory_second_half": round(float(halves[1].mean())),
        "memory_by_minute": [round(float(part.mean())) for part in np.array_split(memory, max(1, round(elapsed / 60)))],
        "memory_most": round(float(memory.max())),
        "files_most": max(watcher.files),
        "faults": record.faults,
    }


def write_page(report: dict) -> str:
    done = ", ".join(f"{name} {count}" for name, count in report["done"].items())
    rows = [
        ("what they did", done),
        ("heavy jobs seen to their end", report["heavy_jobs"]),
        ("two heavy jobs at a time", report["overlapping"]),
        ("jobs that a later one overtook", report["overtaken"]),
        ("wait in the line, median and longest", f"{report['wait_median']} s, {report['wait_longest']} s"),
        ("memory of all processes, after the first quarter", f"{report['memory_first_half']} MB, then "
         f"{report['memory_second_half']} MB (at most {report['memory_most']} MB)"),
        ("memory in equal parts of the run and the wait behind it, MB", ", ".join(map(str, report["memory_by_minute"]))),
        ("files kept: at most, a while after the last visit, after the end",
         f"{report['files_most']}, {report['files_left']}, {report['files_after_exit']}"),
        ("tracebacks in the app's log", report["tracebacks"]),
        ("faults that visitors saw", len(report["faults"])),
    ]  # fmt: skip
    lines = [f"| {name} | {value} |" for name, value in rows]
    faults = "".join(f"- {text}\n" for text in sorted(set(report["faults"]))[:20])
    return f"""# Load: {report["visitors"]} visitors at once

`python tests/load/ten_minutes.py` starts the app as a user does, lets {report["visitors"]} visitors act at random for
{report["minutes"]} minutes over loopback (videos, poses, comparisons, the explorer, cancels, reloads in the middle of a
run, junk), then waits. Every video holds the seed that its visitor chose and nobody else has. Files are kept for {KEPT} s
here instead of an hour. {report["date"]}, {report["device"]}, {report["threads"]} threads.

| | |
|---|---|
{chr(10).join(lines)}
{faults}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    report = run(arguments.visitors, 60 * arguments.minutes)
    print(json.dumps(report, indent=1))
    if arguments.out:
        arguments.out.write_text(write_page(report), encoding="utf-8")


if __name__ == "__main__":
    main()
