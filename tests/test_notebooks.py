"""The notebooks: written from their sources, built by the course's rules, and run from the first cell to the last."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
sys.path.append(str(NOTEBOOKS))
build = pytest.importorskip(
    "make_notebooks", reason="jupytext makes the notebooks: pip install -r requirements-dev.txt"
)

SOURCES = build.source_paths()
CELL_SECONDS = 300  # limit of one cell, for a busy machine; a whole notebook takes 5 to 15 s of one core

each = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def prose(cells) -> str:
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_the_written_notebooks_are_up_to_date(monkeypatch):
    """What `python notebooks/make_notebooks.py --check` finds."""
    monkeypatch.setattr(sys, "argv", ["make_notebooks.py", "--check"])
    assert build.main() == 0


@each
def test_student_copies_hold_no_outputs_and_no_solutions(path):
    text = (NOTEBOOKS / f"{path.stem}.ipynb").read_text()
    cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
    assert "SOLUTION" not in text


@each
def test_solutions_hold_small_pictures_and_no_errors(path):
    file = NOTEBOOKS / "solutions" / f"{path.stem}.ipynb"
    assert file.stat().st_size < 500_000
    outputs = [o for c in json.loads(file.read_text())["cells"] if c["cell_type"] == "code" for o in c["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert not [output for output in outputs if output["output_type"] == "error"]


@each
def test_the_rules_of_the_course(path):
    cells = build.read_source(path).cells
    assert 25 <= len(cells) <= 45, f"{len(cells)} cells"
    code = [cell for cell in cells if cell.cell_type == "code"]
    long = [cell.source for cell in code if "setup" not in tags(cell) and len(cell.source.splitlines()) > 25]
    assert not long, f"a cell of more than 25 lines: {long[0].splitlines()[0]}"
    assert 3 <= sum("exercise" in tags(cell) for cell in cells) <= 5
    text = prose(cells)
    assert "You will be able to" in cells[0].source and "The question" in cells[0].source
    assert "show" in cells[2].source, "the third cell shows a picture"
    assert text.count("<details><summary>Hint") == sum("exercise" in tags(cell) for cell in cells)
    assert len(re.findall(r"\*\*Predict", text)) >= 3
    assert any("interact(" in cell.source for cell in code)
    assert "## Summary" in text and "## Further questions" in text


@each
def test_links_lead_somewhere(path):
    for name, folder in ((f"{path.stem}.ipynb", NOTEBOOKS), (f"solutions/{path.stem}.ipynb", NOTEBOOKS / "solutions")):
        cells = json.loads((NOTEBOOKS / name).read_text())["cells"]
        text = "".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if not target.startswith("http") and not target.startswith("data:"):
                assert (folder / target).exists(), f"{name}: {target}"


@each
def test_a_summary_names_functions_that_exist(path):
    """[`name in iasa/file.py`](../iasa/file.py): every name before "in" or the comma is defined in that file."""
    text = prose(build.read_source(path).cells)
    links = re.findall(r"\[((?:`\w+`(?:, | and )?)+)[^\]]*\]\(\.\./((?:iasa|kernels)/[\w/]+\.py)\)", text)
    assert links
    for names, file in links:
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"(def|class) {name}\b|^{name}\b", (ROOT / file).read_text(), re.M), (
                f"{file} lacks {name}"
            )


@pytest.mark.notebooks
@pytest.mark.timeout(1200)
@each
def test_it_runs_and_a_student_copy_fails_only_where_it_should(path, monkeypatch):
    """One run of both copies: at each exercise first the stub, then the solution, then the stub again for the rest.

    A check must raise NotImplementedError on the stub and nothing on the solution; all else must do without either.
    """
    from nbclient.exceptions import CellExecutionError
    from nbformat.v4 import new_code_cell

    monkeypatch.setenv("IASA_FAST", "1")
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = build.read_source(path)
    client = build.make_client(notebook, NOTEBOOKS, CELL_SECONDS)
    with client.setup_kernel():
        exercise = ""
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            if "exercise" in tags(cell):
                exercise = cell.source
                client.execute_cell(new_code_cell(build.make_stub(exercise)), number)
                continue
            if "check" in tags(cell):
                with pytest.raises(CellExecutionError) as caught:
                    client.execute_cell(new_code_cell(cell.source), number)
                assert caught.value.ename == "NotImplementedError", cell.source
                client.execute_cell(new_code_cell(exercise), number)
                client.execute_cell(new_code_cell(cell.source), number)
                client.execute_cell(new_code_cell(build.make_stub(exercise)), number)
                continue
            client.execute_cell(cell, number)
