"""Tables of the Learn tab, read from the reports in results/: nothing is shown that was not measured."""

from __future__ import annotations

import json
import os
import re
from functools import partial
from pathlib import Path

from iasa.config import Sentence
from iasa.demo.translations import translate
from iasa.paths import RESULTS

NAMES = {"truth": "ground truth", "static": "static reference", "warped": "warped reference"}
COLUMNS = (("psnr", "PSNR dB", 2), ("ssim", "SSIM", 3), ("hands", "hand detection", 2), ("mouth_r", "lip-opening r", 2))
SPEED = "bench_generate_0_2_end.json"  # of the version that this is, on the idle machine that the README names
BOTH = "bench_generate_8s_0_2.json"  # there, student and teacher
# How reports name what computed, the longest first.
THREADS = (
    (r"\d+ processes of one thread\b", "{count} processes of one thread"),
    (r"\b1 threads?\b", "1 thread"),
    (r"\b\d+ threads\b", "{count} threads"),
)
# Where the table counts the time of one core.
END_TO_END = (
    "From speech to the file the student makes {fps} frames/s of {seconds} s of speech on {threads} cores of {device}, its "
    "stages side by side. The table's frames/s of one core count all the work as if one core did it, one thing after "
    "the other, the movement given. {date}: `{command}`"
)


def _reports(pattern: str = "evaluate*.json") -> list[Path]:
    """Stored reports by the date that stands in them, the newest last."""
    return sorted(RESULTS.glob(pattern), key=lambda path: (json.loads(path.read_text())["date"], path.name))


def quality_table(path: Path | None = None, language: str = "en") -> str:
    """The evaluation report as Markdown, with its device, date and command; a sentence where there is none."""
    reports = _reports() if path is None else [path]
    if not reports or not reports[-1].exists():
        how = "`python -m iasa evaluate --out docs/results/evaluate.json`"
        return translate("No evaluation has been stored yet ({command}).", language, command=how)
    report = json.loads(reports[-1].read_text())
    shared = not any(
        "fps" in row for row in report["rows"].values()
    )  # processes that share a machine: of one processor alone
    speed, title = ("fps_processor", "frames/s of one core") if shared else ("fps", "frames/s")
    titles = [translate(name, language) for name in (*(name for _, name, _ in COLUMNS), title)]
    lines = [f"| | {' | '.join(titles)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, row in report["rows"].items():
        cells = [_cell(row.get(key), digits, language) for key, _, digits in COLUMNS]
        called = Sentence(NAMES[name] if name in NAMES else name)
        if "steps" in row:
            called = Sentence("{model}, steps: {steps}", model=called, steps=row["steps"])
        cells = [translate(called, language), *cells, _cell(row.get(speed), 1, language)]
        lines.append(f"| {' | '.join(cells)} |")
    measured = "{device}, {date}; {clips} clips of {frames} frames: `{command}`"
    known = {name: report[name] for name in ("date", "clips", "frames", "command")}
    known["device"] = say_device(report["device"], language)
    said = [translate(measured, language, **known), speed_sentence(language) if shared else ""]
    return "\n\n".join(["\n".join(lines), *filter(None, said)])


def speed_sentence(language: str = "en") -> str:
    """The student's speed from speech to the file, which the README gives too, and why the table's is another; or ""."""
    path = RESULTS / SPEED
    if not path.exists():
        return ""
    report = json.loads(path.read_text())
    rows = [row for row in report["rows"] if row["row"] == "student"]
    known = {name: report[name] for name in ("threads", "device", "date", "command")}
    fps, seconds = (
        " / ".join(form.format(row[key]) for row in rows) for key, form in (("fps", "{:.0f}"), ("seconds", "{:g}"))
    )
    return translate(END_TO_END, language, fps=fps, seconds=seconds, **known)


def _cell(figure: dict | None, digits: int, language: str) -> str:
    value = figure["mean"] if figure else None
    if value is None:
        return "-"
    return translate("exact", language) if value >= 99.9 and digits == 2 else f"{value:.{digits}f}"


def say_device(device: str, language: str = "en") -> str:
    """A report's device, its threads in the language's words."""
    for pattern, template in THREADS:
        said = partial(translate, template, language)
        device = re.sub(pattern, lambda found, said=said: said(count=found[0].split()[0]), device)
    return device


def usable_cores() -> int:
    """Cores that this process may compute on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measured_fps(model: str, steps: int) -> float | None:
    """Frames a second of the model from speech to the file, in so many steps, its stages side by side on as many cores as
    the measured run had, or on those that there are: fewer make fewer frames, more than it had are not counted on."""
    if not (RESULTS / BOTH).exists():
        return None
    report = json.loads((RESULTS / BOTH).read_text())
    for row in report["rows"]:
        if row["row"] == model:
            work = row["ms_processor"]
            more = work["denoise"] * (steps / row["steps"] - 1)  # of all the work only this grows with the steps
            share = min(usable_cores(), report["threads"]) / report["threads"]
            return row["fps"] * share * sum(work.values()) / (sum(work.values()) + more)
    return None
