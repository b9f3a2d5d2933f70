"""`iasa demo`: the demo in a browser (needs gradio)."""

from __future__ import annotations

import argparse

from iasa.cli.quick_import import quick_import
from iasa.config import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mcp", action="store_true", help="its endpoints are tools for agents too (needs gradio[mcp])")
    parser.add_argument("--port", type=port_number, help="where it is served (default: 7860, or the next that is free)")


def port_number(text: str) -> int:
    """The type of a port on the command line."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; 1 to 65535 are accepted")
    return int(text)


def run(arguments: argparse.Namespace) -> dict:
    with quick_import():
        from iasa.demo.launch import main

    try:
        main(arguments.mcp, arguments.port)
    except OSError as error:
        raise InputError(f"the demo cannot be served at port {arguments.port or 7860}: {error}") from error
    return {}
