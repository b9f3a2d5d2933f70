"""Writes docs/cli.md from the commands' own --help: python docs/make_cli.py"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cli.md"
OPENING = """# The command line

Made from `--help` by `python docs/make_cli.py`; a test keeps it true.

`iasa COMMAND` after `pip install .`, `python -m iasa COMMAND` in a checkout. Exit status 0, or 2 and one plain sentence
on stderr for bad input. `--json` prints the figures as one line of JSON, last on stdout.
"""


def make_page() -> str:
    sys.path.insert(0, str(ROOT))
    os.environ["COLUMNS"] = "110"  # argparse's width, whatever terminal this runs in
    from iasa.cli.main import COMMANDS, make_parser

    rows = [f"| [`{name}`](#iasa-{name}) | {text} |" for name, text in COMMANDS.items()]
    parts = [OPENING, "| command | what for |\n|---|---|\n" + "\n".join(rows)]
    for name in COMMANDS:
        parser = make_parser(name)
        (choices,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
        parts.append(f"## iasa {name}\n\n```\n{choices[name].format_help().strip()}\n```")
    return "\n\n".join(part.strip() for part in parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
