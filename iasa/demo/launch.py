"""The demo as a server: one heavy job at a time, what is made served from where it lies, and deleted after a while."""

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
from iasa.demo.words import ChosenLanguage, translations
from iasa.paths import EXAMPLES, PEOPLE, SPEAKERS, SPEECH

MAX_FILE = "50mb"
REMEMBERED = 200  # visitors whose last clip is at hand in Explore


def make_theme() -> gr.themes.Base:
    """Soft, with every text dark or light enough to be read: 4.5 to 1 at least."""
    return gr.themes.Soft(font=["system-ui", "sans-serif"]).set(
        background_fill_primary="*neutral_50",  # Soft's own, which another `set` forgets
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300",
        block_label_text_color="*primary_700", block_title_text_color="*primary_700",
        color_accent="*primary_600",
        link_text_color="*primary_700", link_text_color_hover="*primary_800", link_text_color_visited="*primary_700",
        link_text_color_dark="*primary_300", link_text_color_hover_dark="*primary_200",
        link_text_color_visited_dark="*primary_300",
        button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700",
        checkbox_label_background_fill_selected="*primary_600", checkbox_label_background_fill_selected_dark="*primary_700",
    )  # fmt: skip


def launch_options(tools: bool) -> dict:
    """How the page is served; `tools`: its endpoints are MCP tools too (unset, gradio's own variable decides)."""
    return {
        "theme": make_theme(),
        "css": CSS,
        "max_file_size": MAX_FILE,
        "ssr_mode": False,
        "run_history": False,
        "state_session_capacity": REMEMBERED,
        "i18n": translations,
        "app_kwargs": {"middleware": [(ChosenLanguage, (), {})]},  # class and arguments, as Starlette takes them
        "mcp_server": tools or None,
    }


def make_app() -> gr.Blocks:
    """The page with its queue: one heavy job at a time, and few may wait. What is made is served from where it lies: of
    results that gradio copies some are never deleted."""
    gr.set_static_paths([output_folder(), SPEAKERS, PEOPLE, SPEECH, EXAMPLES / "results"])
    return make_page().queue(default_concurrency_limit=1, max_size=16)


def main(tools: bool = False, port: int | None = None) -> None:
    """Serve the demo until it is interrupted. Raises OSError on a port that cannot be had."""
    logging.basicConfig(level=logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that what is kept is deleted
    output_folder()  # before ZeroGPU forks, so that a stop flag is seen on both sides
    lacking = missing_parts()
    for sentence in lacking:
        print(sentence, file=sys.stderr)
    app = make_app()
    if not any("weights" in sentence for sentence in lacking):
        load_pipeline()
    if tools and importlib.util.find_spec("mcp") is None:
        print('MCP tools are off: pip install "gradio[mcp]"', file=sys.stderr)
        tools = False
    keep_tidy(app)
    try:
        app.launch(server_port=port, **launch_options(tools))
    finally:
        app.close(verbose=False)
