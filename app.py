"""The demo in a browser: `python app.py` (with --mcp also as tools for agents). All the work lies in `iasa/demo`."""

from __future__ import annotations

import sys

import iasa.demo.zerogpu  # noqa: F401  (on a ZeroGPU Space it must come before torch)

# isort: split
from iasa.cli.quick_import import quick_import

with quick_import():
    from iasa.demo.launch import launch_options, main, make_app

__all__ = ["launch_options", "main", "make_app"]

if __name__ == "__main__":
    main("--mcp" in sys.argv)
