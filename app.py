"""The demo in a browser: `python app.py` (with --mcp also as tools for agents). All the work lies in `iasa/demo`."""

from __future__ import annotations

import importlib.util
import logging
import signal
import sys

import iasa.demo.zerogpu  # noqa: F401  (on a ZeroGPU Space it must come before torch)

# isort: split
import gradio as gr

from iasa.demo.service import keep_tidy, load_pipeline, missing_parts, output_folder
from iasa.demo.tabs import CSS, make_page
from iasa.demo.words import translations
from iasa.paths import EXAMPLES, SPEAKERS, SPEECH

MAX_FILE = "50mb"
REMEMBERED = 200  # visitors whose last clip is at hand in Explore


def launch_options(tools: bool) -> dict:
    """How the page is served; `tools`: its endpoints are MCP tools too (unset, gradio's own variable decides)."""
    return {
        "theme": gr.themes.Soft(font=["system-ui", "sans-serif"]),
        "css": CSS,
        "max_file_size": MAX_FILE,
        "ssr_mode": False,
        "run_history": False,
        "state_session_capacity": REMEMBERED,
        "i18n": translations,
        "mcp_server": tools or None,
    }


def make_app() -> gr.Blocks:
    """The page with its queue: one heavy job at a time, and few may wait. What is made is served from where it lies: of
    results that gradio copies some are never deleted."""
    gr.set_static_paths([output_folder(), SPEAKERS, SPEECH, EXAMPLES / "results"])
    return make_page().queue(default_concurrency_limit=1, max_size=16)


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that what is kept is deleted
    output_folder()  # before ZeroGPU forks, so that a stop flag is seen on both sides
    lacking = missing_parts()
    for sentence in lacking:
        print(sentence, file=sys.stderr)
    app = make_app()
    if not any("weights" in sentence for sentence in lacking):
        load_pipeline()
    tools = "--mcp" in sys.argv
    if tools and importlib.util.find_spec("mcp") is None:
        print('MCP tools are off: pip install "gradio[mcp]"', file=sys.stderr)
        tools = False
    keep_tidy(app)
    try:
        app.launch(**launch_options(tools))
    finally:
        app.close(verbose=False)


if __name__ == "__main__":
    main()
