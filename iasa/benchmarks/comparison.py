"""Rows of `iasa bench generate` beside those of a stored report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from iasa.config import InputError
from iasa.files import display_name

Rows = dict[tuple[str, float], dict]  # by what was made and seconds of speech
COMPARED = ("fps", "first_frame", "peak_mb")


def read_rows(path: str) -> Rows:
    """The rows of a report that `--out` wrote. Raises InputError."""
    name = display_name(path)
    try:
        rows = json.loads(Path(path).read_text())["rows"]
        return {(row["row"], float(row["seconds"])): {key: float(row[key]) for key in COMPARED} for row in rows}
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{name} is no report of bench generate; a JSON file that --out wrote is needed") from error


def compare(rows: list[dict], stored: Rows) -> tuple[list[dict], tuple[str, ...]]:
    """A row for each that both have, and the columns: then, now, and how much faster."""
    out = []
    for row in rows:
        then = stored.get((row["row"], float(row["seconds"])))
        if then:
            pairs = {name: f"{then[name]:g} -> {row[name]:g}" for name in COMPARED}
            out.append({"row": row["row"], "seconds": row["seconds"], **pairs, "faster": _times(row, then)})
    return out, ("row", "seconds", *COMPARED, "faster")


def tell_row(row: dict, stored: Rows | None) -> None:
    """One line on stderr as soon as a row is measured."""
    line = f"{row['row']}, {row['seconds']:g} s: {row['fps']:g} frames/s, the first after {row['first_frame']:g} s"
    then = (stored or {}).get((row["row"], float(row["seconds"])))
    print(line + (f", {_times(row, then)} as fast" if then else ""), file=sys.stderr, flush=True)


def _times(row: dict, then: dict) -> str:
    return f"{row['fps'] / max(then['fps'], 1e-9):.2f}x"
