"""A line to drag between two of the pictures of a comparison, which are in one video and so in step."""

from __future__ import annotations

from importlib.resources import files

import gradio as gr

from iasa.demo.words import words

WIPE = """<div class="wipe" hidden data-strip="{strip}" data-height="{height}"><canvas></canvas>
<input type="range" min="0" max="100" value="50"><div><select></select><select></select></div></div>"""
WIPE_SCRIPT = (files("iasa.demo") / "wipe.js").read_text(encoding="utf-8")
WIPE_STYLE = """
.wipe canvas { display: block; width: 100%; max-width: 512px; border-radius: 8px; }
.wipe input { width: 100%; max-width: 512px; margin: 6px 0; accent-color: var(--color-accent); }
.wipe div { display: flex; gap: 8px; justify-content: space-between; max-width: 512px; }
.wipe select { min-width: 0; font-size: 14px; padding: 4px; border-radius: 6px; border: 1px solid var(--border-color-primary);
  background: var(--input-background-fill); color: var(--body-text-color); }
"""


def make_wipe(strip: int, height: int) -> None:
    """Shown once the Compare tab has a video, of pictures `height` pixels high of which the lowest `strip` hold names."""
    gr.Markdown(words("Drag the line from one to the other"), elem_id="wipe-words")
    gr.HTML(
        WIPE.format(strip=strip, height=height),
        css_template=WIPE_STYLE,
        js_on_load=WIPE_SCRIPT,
        label="Wipe",
        show_label=False,
        elem_id="wipe",
    )
