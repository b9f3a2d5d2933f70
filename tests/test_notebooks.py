"""The notebooks: written from their sources, built by the course's rules, and run from the first cell to the last."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
sys.path.append(str(NOTEBOOKS))
build = pytest.importorskip(
    "make_notebooks", reason="jupytext makes the notebooks: pip install -r requirements-dev.txt"
)

SOURCES = build.source_paths()
WIDTH = 100  # characters of code that a page of 1,280 pixels shows without scrolling
CELL_SECONDS = 300  # limit of one cell, for a busy machine; a whole notebook takes 5 to 15 s of one core

each = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


WIDGETS = {  # the controls that ipywidgets 7 and 8 both have, with the arguments that both take
    "interact": None,  # any: they belong to the function
    "IntSlider": {"value", "min", "max", "step"},
    "FloatSlider": {"value", "min", "max", "step"},
    "Dropdown": {"options", "value"},
    "Checkbox": {"value"},
}


PIXEL = (  # a PNG of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


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


def test_answers_for_instructors_are_in_the_course_folder_and_in_no_notebook(tmp_path):
    build.write_course(tmp_path, SOURCES[:1])
    answers = (tmp_path / "instructors.md").read_text()
    for path in SOURCES:
        number = int(path.stem[:2])
        asked = prose(build.read_source(path).cells).split("## Further questions")[1].split("**")[0]
        wanted = len(re.findall(r"^\d\. ", asked, re.M))
        given = re.search(rf"^## Notebook {number}\n(.*?)(?=^## |\Z)", answers, re.M | re.S)
        assert given and len(re.findall(r"^\d\. ", given[1], re.M)) == wanted, path.stem
        assert "instructors" not in (NOTEBOOKS / f"{path.stem}.ipynb").read_text()
    bank = (NOTEBOOKS / "README.md").read_text().split("## Question bank")[1].split("\n## ")[0]
    answered = answers.split("## Question bank")[1].split("\n## ")[0]
    count = len(re.findall(r"^\d+\. ", bank, re.M))
    assert count == len(re.findall(r"^\d+\. ", answered, re.M)) >= 17
    assert not re.search(r"^\d+\. .*\*$", bank, re.M), "an answer in italics, for students to read"


def test_a_folder_for_otter_holds_students_copies_and_tests_apart(tmp_path, monkeypatch):
    """What `otter generate -t tests` packs and `otter run` calls with what the notebook defines, tried without otter.

    By otter-grader 7.0.0 itself: 4 of 4 points for right answers, 0 for an empty copy.
    """
    (source,) = build.source_paths(["02"])
    monkeypatch.setattr(sys, "argv", ["make_notebooks.py", "--otter", str(tmp_path), "02"])
    assert build.main() == 0 and (tmp_path / "rubric.md").exists()
    folder = tmp_path / source.stem
    assert (folder / f"{source.stem}.ipynb").read_bytes() == (NOTEBOOKS / f"{source.stem}.ipynb").read_bytes()
    stand_in = types.ModuleType("otter.test_files")
    stand_in.test_case = lambda: lambda function: function
    monkeypatch.setitem(sys.modules, "otter.test_files", stand_in)
    tests = {}
    for file in (folder / "tests").iterdir():
        names: dict = {}
        exec(file.read_text(), names)
        assert names["name"] == file.stem and names["points"] == 1 and names["OK_FORMAT"] is False
        tests[file.stem] = names[f"test_{file.stem}"]
    assert set(tests) == {"rigid_fit", "pose_distance", "choose_past", "frame_mask"}
    from iasa.teaching import WrongAnswer, answers

    for name, test in tests.items():
        test(getattr(answers, name))
        with pytest.raises(WrongAnswer, match="a function is needed here, not None"):
            test(None)  # the notebook's cell was taken out
    monkeypatch.setattr(sys, "argv", ["make_notebooks.py", "--otter", str(NOTEBOOKS / "course")])
    with pytest.raises(SystemExit):
        build.main()
    assert not (NOTEBOOKS / "course").exists()


@each
def test_solutions_hold_small_pictures_and_no_errors(path):
    file = NOTEBOOKS / "solutions" / f"{path.stem}.ipynb"
    assert file.stat().st_size < build.MOST_BYTES == 500_000
    outputs = [o for c in json.loads(file.read_text())["cells"] if c["cell_type"] == "code" for o in c["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    assert not [output for output in outputs if output["output_type"] == "error"]


@each
def test_every_cell_of_a_solution_was_run(path):
    """A cell that changed loses what it showed: `python notebooks/make_notebooks.py --execute NN` runs it again."""
    cells = json.loads((NOTEBOOKS / "solutions" / f"{path.stem}.ipynb").read_text())["cells"]
    assert [n for n, cell in enumerate(cells) if cell["cell_type"] == "code" and cell["execution_count"] is None] == []


@each
def test_no_picture_of_a_person_is_kept(path):
    """A cell that shows a photograph or frames made of one is tagged `people`, and its solution holds no picture."""
    shows = re.compile(r"imshow\((film|picture|talk|image)\b|imshow\(.* else picture\)")
    cells = build.read_source(path).cells
    photographs = any("photograph_speaker" in cell.source for cell in cells)
    for cell in cells:
        assert not (photographs and shows.search(cell.source)) or "people" in tags(cell), cell.source
    solved = json.loads((NOTEBOOKS / "solutions" / f"{path.stem}.ipynb").read_text())["cells"]
    pictures = [o for c in solved if "people" in c["metadata"].get("tags", []) for o in c["outputs"] if "data" in o]
    assert not [output for output in pictures if "image/png" in output["data"]]


def test_a_run_leaves_out_the_pictures_of_cells_that_show_people(monkeypatch):
    """One cell of two that draw is tagged: after a run it holds its text alone."""
    notebook = build.nbformat.v4.new_notebook()
    for cell_tags in (["people"], []):
        cell = build.nbformat.v4.new_code_cell("a picture", metadata={"tags": cell_tags})
        shown = build.nbformat.v4.new_output("display_data", {"image/png": PIXEL})
        cell.outputs = [build.nbformat.v4.new_output("stream", name="stdout", text="one face"), shown]
        notebook.cells.append(cell)
    monkeypatch.setattr(build, "make_client", lambda *given: types.SimpleNamespace(execute=lambda: None))
    tagged, plain = build.execute(notebook).cells
    assert [output.output_type for output in tagged.outputs] == ["stream"]
    assert [output.output_type for output in plain.outputs] == ["stream", "display_data"]


@each
def test_the_rules_of_the_course(path):
    cells = build.read_source(path).cells
    assert 25 <= len(cells) <= 45, f"{len(cells)} cells"
    code = [cell for cell in cells if cell.cell_type == "code"]
    long = [cell.source for cell in code if "setup" not in tags(cell) and len(cell.source.splitlines()) > 25]
    assert not long, f"a cell of more than 25 lines: {long[0].splitlines()[0]}"
    wide = [line for cell in code for line in cell.source.splitlines() if len(line) > WIDTH]
    assert not wide, f"runs past the edge of a page: {wide[0]}"
    assert 3 <= sum("exercise" in tags(cell) for cell in cells) <= 5
    text = prose(cells)
    assert "You will be able to" in cells[0].source and "The question" in cells[0].source
    assert "plt.show()" in cells[2].source + cells[3].source, "the first cells after the set-up show a picture"
    assert text.count("<details><summary>Hint") == sum("exercise" in tags(cell) for cell in cells)
    predictions = len(re.findall(r"\*\*Predict", text))
    assert predictions >= 3
    assert text.count("<details><summary>Answer</summary>") == predictions, "an answer is folded under every Predict"
    assert any("interact(" in cell.source for cell in code)
    assert "## Summary" in text and "## Further questions" in text


@each
def test_every_exercise_has_its_six_parts(path):
    """A formula and a typed specification, a stub with a docstring, a check, a hint, a solution."""
    cells = build.read_source(path).cells
    for place, cell in enumerate(cells):
        if "exercise" not in tags(cell):
            continue
        name = re.search(r"^def (\w+)", cell.source, re.M)[1]
        before, check, after = cells[place - 1], cells[place + 1], cells[place + 2]
        section = before.source[before.source.rindex("## ") :]
        assert re.match(r"## Exercise \d", section), name
        assert "$" in before.source, f"{name}: no formula"
        assert re.search(r"^\| returns \|.*\|$", section, re.M), f"{name}: no specification"
        assert '"""' in cell.source and "### BEGIN SOLUTION" in cell.source, name
        assert "check" in tags(check) and f"({name}" in check.source, f"{name}: no check"
        assert after.source.startswith("<details><summary>Hint"), f"{name}: no hint"


@each
def test_a_control_has_a_static_figure_beside_it(path):
    """For readers without a kernel: the cell after a control calls the same function."""
    code = [cell.source for cell in build.read_source(path).cells if cell.cell_type == "code"]
    controls = [(cell, name) for cell, source in enumerate(code) for name in re.findall(r"\binteract\((\w+),", source)]
    assert controls
    for cell, name in controls:
        assert f"{name}(" in code[cell + 1], name


@each
def test_controls_are_those_of_ipywidgets_7_and_8(path):
    """Colab has ipywidgets 7.7; what was run with 7.7.1 and numpy 2.2 stands in notebooks/README.md."""
    code = "\n".join(cell.source for cell in build.read_source(path).cells if cell.cell_type == "code")
    tree = ast.parse(code)
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "ipywidgets"]
    assert {alias.name for node in imported for alias in node.names} <= set(WIDGETS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and WIDGETS.get(node.func.id):
            assert {keyword.arg for keyword in node.keywords} <= WIDGETS[node.func.id], ast.unparse(node)


def run_setup(
    monkeypatch, folder: Path, address: str = "", result: int = 0, missing: tuple[str, ...] = ()
) -> tuple[dict, list[list[str]]]:
    """The set-up cell's names, and the commands that it would have run; each of them ends with `result`."""
    commands: list[list[str]] = []
    known = importlib.metadata.version

    def version(name: str) -> str:
        if name in missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)

    def run(command: list[str], check: bool) -> None:
        commands.append(command)
        if command[0] == "git" and not result:  # what a clone would bring
            (Path(command[-1]) / "iasa").mkdir(parents=True)
            shutil.copy(ROOT / "pyproject.toml", command[-1])
        if result:
            raise subprocess.CalledProcessError(result, command)

    monkeypatch.chdir(folder)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "path", list(sys.path))
    if address:
        monkeypatch.setenv("IASA_ADDRESS", address)
    names: dict = {}
    exec((NOTEBOOKS / "src" / "_setup.py").read_text(), names)
    return names, commands


def hide_package(monkeypatch) -> None:
    """As where the package is not installed."""
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "iasa" else known(name))


@pytest.mark.parametrize("folder", [".", "notebooks", "notebooks/solutions"])
def test_set_up_finds_a_plain_clone(folder, monkeypatch, capsys):
    names, commands = run_setup(monkeypatch, ROOT / folder)
    assert names["root"] == ROOT and sys.path[0] == str(ROOT)
    assert not commands and not capsys.readouterr().out


def test_set_up_finds_an_installed_checkout_from_any_folder(monkeypatch, tmp_path, capsys):
    """`pip install -e` of a checkout, and the notebook in a course's folder elsewhere."""
    names, commands = run_setup(monkeypatch, tmp_path)
    assert names["root"] == ROOT and not commands and not capsys.readouterr().out


def test_set_up_says_what_is_missing(monkeypatch, capsys):
    _, commands = run_setup(monkeypatch, NOTEBOOKS, missing=("av",))
    assert not commands
    assert "missing: av>=14,<20. In a terminal: pip install" in capsys.readouterr().out


def test_set_up_on_colab_leaves_torch_and_numpy_alone(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    hide_package(monkeypatch)
    names, (clone, fetch, install) = run_setup(
        monkeypatch, tmp_path, "https://example.org/course", missing=("av", "librosa")
    )
    root = str(tmp_path.resolve() / "iasa-course")
    assert str(names["root"]) == root == clone[-1] and clone[:2] == ["git", "clone"]
    assert clone[-2] == "https://example.org/course"
    assert fetch[-2:] == ["av>=14,<20", "librosa>=0.11,<0.12"] and install[-3:] == ["--no-deps", "-e", root]
    kept = Path(fetch[fetch.index("-c") + 1]).read_text().split()
    assert kept == [f"{name}=={importlib.metadata.version(name)}" for name in ("numpy", "torch")]


@pytest.mark.parametrize(
    ("address", "result", "words"),
    [
        ("https://github.com/OWNER/iasa", 0, "No repository is named"),  # a placeholder may be somebody's account
        ("https://example.org/none", 128, "https://example.org/none could not be fetched"),
    ],
)
def test_set_up_that_cannot_fetch_says_so_in_a_sentence(address, result, words, monkeypatch, tmp_path):
    hide_package(monkeypatch)
    with pytest.raises(Exception, match=words) as caught:
        run_setup(monkeypatch, tmp_path, address, result)
    (shown,) = caught.value._render_traceback_()  # what a notebook shows in place of the traceback
    assert shown == str(caught.value) and "\n" not in shown


def test_set_up_that_cannot_install_says_so_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    (tmp_path / "iasa").mkdir()
    (tmp_path / "iasa" / "config.py").touch()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with pytest.raises(Exception, match="could not be installed beside .*numpy.*torch"):
        run_setup(monkeypatch, tmp_path, result=1)


def test_a_fork_names_its_repository(monkeypatch):
    monkeypatch.setenv("IASA_REPOSITORY", "someone/a-fork")
    spec = importlib.util.spec_from_file_location("make_notebooks_of_a_fork", NOTEBOOKS / "make_notebooks.py")
    fork = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fork)
    text = "\n".join(cell.source for cell in fork.read_source(SOURCES[0]).cells)
    assert "github/someone/a-fork/blob/main/notebooks/01" in text
    assert text.count("https://github.com/someone/a-fork") == 1, "the address stands in one place"
    assert build.PLACEHOLDER not in text


def test_the_half_trained_start_of_notebook_5_fits_its_network():
    import torch
    from safetensors.torch import load_file

    from iasa.models.transformer import VideoTransformer

    text = "\n".join(cell.source for cell in build.read_source(SOURCES[4]).cells)
    network = eval(
        re.search(r"^tiny = (VideoTransformer\(.*\))$", text, re.M)[1], {"VideoTransformer": VideoTransformer}
    )
    halves = load_file(NOTEBOOKS / "data" / "tiny_teacher.safetensors")
    network.load_state_dict({name: value.float() for name, value in halves.items()})
    assert all(torch.isfinite(value).all() for value in halves.values())


def test_a_failed_run_is_reported_and_the_others_go_on(capsys):
    """Two sources that do not exist: both are tried, both are named, nothing is written."""
    absent = [build.SOURCES / "98_absent.py", build.SOURCES / "99_absent.py"]
    wrong = build.write_executed(absent, jobs=1)
    assert {name: type(error) for name, error in wrong.items()} == dict.fromkeys(
        ("98_absent", "99_absent"), FileNotFoundError
    )
    assert capsys.readouterr().out.count("FAILED") == 2


def test_a_solution_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(build, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="fewer than 1000 are accepted"):
        build.build(SOURCES[0])


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

    A check must say of the stub that it is not written, and nothing of the solution; all else must do without either.
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
                assert caught.value.ename in ("NotWritten", "NotImplementedError"), cell.source
                client.execute_cell(new_code_cell(exercise), number)
                client.execute_cell(new_code_cell(cell.source), number)
                client.execute_cell(new_code_cell(build.make_stub(exercise)), number)
                continue
            client.execute_cell(cell, number)
