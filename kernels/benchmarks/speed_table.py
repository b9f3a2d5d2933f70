"""Writes what a GPU has measured into this folder's README: `python kernels/benchmarks/speed_table.py $OUT/kernels.json`.

The section "Speed" is made anew from the report of attention.py: where and when it was measured, what the device can do at
most, the table of every size, and how many correctness cases passed. A report of a processor is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))

from attention import make_tables

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- speed: written by benchmarks/speed_table.py -->\n", "<!-- end of speed -->\n"


def make_section(report: dict) -> str:
    lines = [
        f"Measured on {report['date']} on one {report['device']} by `{report['command']}`, PyTorch {report['torch']}."
    ]
    for row in report["ceiling"]:
        if "failed" not in row:
            lines.append(
                f"The device copies {row['copy_bytes'] / 1e12:.2f} TB/s and multiplies bf16 matrices at "
                f"{row['product_flops'] / 1e12:.0f} TFLOP/s."
            )
    passed = sum(bool(row.get("passed")) for row in report["correct"])
    lines.append(f"{passed} of {len(report['correct'])} correctness cases passed.")
    return "\n".join(lines) + "\n\n" + make_tables(report["speed"]) + "\n"


def put_section(text: str, section: str) -> str:
    """The README with this section in the place of the one that it has."""
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"the README lacks the lines {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN + section + END + after


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    path = parser.parse_args().report
    try:
        report = json.loads(path.read_text())
        if report["device"] == "cpu":
            raise ValueError("its device is cpu; a GPU's is needed")
        text = put_section(README.read_text(), make_section(report))
    except (OSError, ValueError, KeyError) as error:
        print(f"{path} cannot be shown: {error}", file=sys.stderr)
        return 2
    README.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
