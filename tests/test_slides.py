"""notebooks/make_slides.py: every prediction with its answer and its figure, as marp's Markdown and as a page of its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
sys.path.append(str(NOTEBOOKS))
slides = pytest.importorskip("make_slides", reason="nbformat reads the notebooks: pip install -r requirements-dev.txt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("slides")
    for number in slides.MEETINGS:
        slides.write_meeting(number, made)
    return made


def test_meetings_are_those_of_the_syllabus():
    rows = re.findall(r"^\| (\d) \*\*([^*]+)\*\* \|", (NOTEBOOKS / "syllabus.md").read_text(), re.M)
    assert [(int(number), name) for number, name in rows] == [(n, name) for n, (name, _) in slides.MEETINGS.items()]


@pytest.mark.parametrize("number", slides.MEETINGS)
def test_every_prediction_is_asked_before_it_is_answered(number, folder):
    pages = (folder / f"meeting_{number}.md").read_text().split("\n---\n")
    titles = [re.search(r"^## (.*)$", page, re.M)[1] for page in pages if "\n## " in page]
    asked = sum(
        path.read_text().count("**Predict")
        for notebook in slides.MEETINGS[number][1]
        for path in NOTEBOOKS.glob(f"{notebook}_*.ipynb")
    )
    assert titles.count("Predict") == asked >= 3
    assert all(titles[place + 1] == "What comes out" for place, title in enumerate(titles) if title == "Predict")


@pytest.mark.parametrize("number", slides.MEETINGS)
def test_pages_hold_the_same_slides_and_figures_that_exist(number, folder):
    text = (folder / f"meeting_{number}.md").read_text()
    page = (folder / f"meeting_{number}.html").read_text()
    figures = re.findall(r"!\[\]\((figures/[^)]+)\)", text)
    assert figures and re.findall(r'<img src="([^"]+)"', page) == figures
    assert all((folder / figure).read_bytes().startswith(b"\x89PNG") for figure in figures)
    assert page.count("<section>") == len(re.findall(r"^## ", text, re.M))
    assert "</details>" not in page and 'src="http' not in page, "nothing folded, nothing fetched"
    assert not re.search(r"\]\((?!figures/|http)", text), "a slide leads nowhere in the repository"


def test_a_prediction_is_followed_by_the_figure_that_answers_it():
    figures: dict[str, bytes] = {}
    (first, *_) = [slide for slide in slides.notebook_slides("08", figures) if slide.title == "What comes out"]
    assert "Some 940" in first.text and first.figures == ["08_07_0.png"] and first.figures[0] in figures


def test_text_becomes_html_and_nothing_in_it_is_taken_for_a_tag():
    made = slides._blocks("- **a** < b\n- `x*y*z` and $K_t$\n\nfrom *here* to [there](https://example.org)")
    assert made == (
        "<ul><li><b>a</b> &lt; b</li><li><code>x*y*z</code> and <code>K_t</code></li></ul>"
        '<p>from <i>here</i> to <a href="https://example.org">there</a></p>'
    )


def test_a_meeting_that_there_is_not_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["make_slides.py", str(tmp_path), "7"])
    with pytest.raises(SystemExit) as caught:
        slides.main()
    assert caught.value.code == 2 and "no meeting 7; 1 to 6" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
