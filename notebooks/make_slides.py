"""Write the slides of the six meetings: Markdown for marp, a plain HTML page of each, and the figures of the solved notebooks.

    python notebooks/make_slides.py ~/iasa-slides            meeting_1.md .. meeting_6.md, .html beside them, figures/
    python notebooks/make_slides.py ~/iasa-slides 2 5        only these meetings

Nothing is computed: text and pictures are those of notebooks/solutions. A notebook gives its question, what it teaches, every
*Predict* with its answer on the next slide beside the figure that shows it, and its summary. In the HTML page the arrow keys
turn slides, and printing gives one slide a page.
"""

from __future__ import annotations

import argparse
import base64
import html
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
SOLUTIONS = HERE / "solutions"
MEETINGS = {  # as in syllabus.md; the last two are taken up again at home
    1: ("Tokens", ("01", "02")),
    2: ("Masks", ("03",)),
    3: ("Speed", ("04",)),
    4: ("Teacher", ("05", "06")),
    5: ("Student", ("06", "12")),
    6: ("In the world", ("08", "09", "10", "11", "13")),
}
MOST_FIGURES = 2  # on a slide

_PREDICT = re.compile(
    r"\*\*Predict\*\*:?\s*(?P<asked>.*?)\n+<details><summary>Answer</summary>\n(?P<said>.*?)</details>", re.S
)
_STYLE = """
body { margin: 0; font: 26px/1.35 system-ui, sans-serif; color: #111; background: #fff }
section { display: none; box-sizing: border-box; width: 100vw; min-height: 100vh; padding: 5vh 6vw }
section.shown { display: block }
h2 { margin: 0 0 3vh; font-size: 40px }
img { max-width: 100%; max-height: 58vh; display: block; margin: 1vh auto }
code { font-size: 0.9em }
@media print { section { display: block; break-after: page; min-height: 0 } }
"""
_SCRIPT = """
const slides = [...document.querySelectorAll("section")];
let at = Math.min(slides.length - 1, Number(location.hash.slice(1)) || 0);
function show(next) {
  slides[at].classList.remove("shown");
  at = Math.max(0, Math.min(slides.length - 1, next));
  slides[at].classList.add("shown");
  location.replace("#" + at);
}
document.addEventListener("keydown", (event) => {
  if (["ArrowRight", "PageDown", " "].includes(event.key)) show(at + 1);
  if (["ArrowLeft", "PageUp"].includes(event.key)) show(at - 1);
});
document.addEventListener("click", (event) => event.target.closest("a") || show(at + 1));
show(at);
"""


@dataclass
class Slide:
    """A title, a text in Markdown, names of figures."""

    title: str
    text: str = ""
    figures: list[str] = field(default_factory=list)


def notebook_slides(number: str, figures: dict[str, bytes]) -> list[Slide]:
    """Slides of one solved notebook; its pictures are added to `figures` by their names."""
    (path,) = SOLUTIONS.glob(f"{number}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    title = re.search(r"^# (.*)", cells[0].source)
    question = re.search(r"\*\*The question\.\*\*(.*?)(?=\n\n)", cells[0].source, re.S)
    able = re.search(r"\*\*You will be able to\*\*\n(.*?)(?=\n\n)", cells[0].source, re.S)
    if not (title and question and able):
        raise ValueError(f"{path.name}: the first cell needs a title, The question, You will be able to")
    slides = [
        Slide(title[1], _without_links(question[1].strip())),
        Slide("You will be able to", _without_links(able[1])),
    ]
    for place, cell in enumerate(cells):
        if cell.cell_type != "markdown":
            continue
        for found in _PREDICT.finditer(cell.source):
            shown = _figures_after(cells, place, number, figures)
            slides.append(Slide("Predict", _one_line(found["asked"])))
            slides.append(Slide("What comes out", _one_line(found["said"]), shown))
        summary = re.search(r"^## Summary\n(.*?)(?=\n## |\Z)", cell.source, re.M | re.S)
        if summary:
            slides.append(Slide("Summary", _without_links(summary[1].strip())))
    return slides


def _figures_after(cells: list[NotebookNode], place: int, number: str, figures: dict[str, bytes]) -> list[str]:
    """Names of the first pictures between a markdown cell and the next one that asks for a prediction."""
    names: list[str] = []
    for index, cell in enumerate(cells[place + 1 :], place + 1):
        if cell.cell_type == "markdown" and "**Predict" in cell.source:
            break
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}) and len(names) < MOST_FIGURES:
                name = f"{number}_{index:02d}_{len(names)}.png"
                figures[name] = base64.b64decode(output.data["image/png"])
                names.append(name)
        if names:
            break
    return names


def _one_line(text: str) -> str:
    return _without_links(re.sub(r"\s+", " ", text.strip()))


def _without_links(text: str) -> str:
    """Links within the repository as their text: a slide leads nowhere."""
    return re.sub(r"\[([^\]]+)\]\((?!http)[^)]+\)", r"\1", text)


def to_marp(slides: list[Slide]) -> str:
    pages = []
    for slide in slides:
        pictures = "\n".join(f"![](figures/{name})" for name in slide.figures)
        pages.append("\n\n".join(part for part in (f"## {slide.title}", slide.text, pictures) if part))
    return "---\nmarp: true\npaginate: true\nmath: katex\n---\n\n" + "\n\n---\n\n".join(pages) + "\n"


def to_html(title: str, slides: list[Slide]) -> str:
    """One page without anything from elsewhere but its figures."""
    sections = "\n".join(
        f"<section><h2>{_inline(slide.title)}</h2>{_blocks(slide.text)}"
        + "".join(f'<img src="figures/{name}" alt="{html.escape(slide.title)}">' for name in slide.figures)
        + "</section>"
        for slide in slides
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n{sections}\n<script>{_SCRIPT}</script></html>\n"
    )


def _blocks(text: str) -> str:
    """Paragraphs and lists of a Markdown text as HTML."""
    made = []
    for block in re.split(r"\n\s*\n", text.strip()) if text.strip() else []:
        if block.startswith("- "):
            items = re.split(r"^- ", block, flags=re.M)[1:]
            made.append("<ul>" + "".join(f"<li>{_inline(item.strip())}</li>" for item in items) + "</ul>")
        else:
            made.append(f"<p>{_inline(block)}</p>")
    return "".join(made)


def _inline(text: str) -> str:
    """Emphasis, code, links and formulas (as their source) of a line."""
    text = html.escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\$([^$]+)\$", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)
    text = re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"<i>\1</i>", text)
    return re.sub(r"\[([^\]]+)\]\((http[^)]+)\)", r'<a href="\2">\1</a>', text)


def write_meeting(number: int, folder: Path) -> int:
    """Write a meeting's Markdown, page and figures; returns the number of its slides."""
    name, notebooks = MEETINGS[number]
    figures: dict[str, bytes] = {}
    slides = [Slide(f"Meeting {number}: {name}", "Input-aware sparse attention, a course in six meetings.")]
    for notebook in notebooks:
        slides += notebook_slides(notebook, figures)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for figure, content in figures.items():
        (folder / "figures" / figure).write_bytes(content)
    (folder / f"meeting_{number}.md").write_text(to_marp(slides), encoding="utf-8")
    (folder / f"meeting_{number}.html").write_text(to_html(slides[0].title, slides), encoding="utf-8")
    return len(slides)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the slides go")
    parser.add_argument("meetings", nargs="*", type=int, help="numbers of meetings, by default all six")
    options = parser.parse_args()
    unknown = [number for number in options.meetings if number not in MEETINGS]
    if unknown:
        parser.error(f"there is no meeting {unknown[0]}; 1 to {len(MEETINGS)} are accepted")
    for number in options.meetings or MEETINGS:
        print(f"meeting_{number}: {write_meeting(number, options.folder)} slides")
    return 0


if __name__ == "__main__":
    sys.exit(main())
