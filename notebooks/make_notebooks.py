"""Write the notebooks from notebooks/src: student copies without outputs, solutions with small static pictures.

    python notebooks/make_notebooks.py                      student copies, and the solutions' text (their pictures stay)
    python notebooks/make_notebooks.py --execute            the same, and every solution is run to renew its pictures
    python notebooks/make_notebooks.py --execute 02 05      only these
    python notebooks/make_notebooks.py --check              change nothing; exit status 1 if a written notebook is out of date
    python notebooks/make_notebooks.py --nbgrader DIR       a course folder for nbgrader, outside the checkout
    python notebooks/make_notebooks.py --otter DIR          the same for otter-grader: student copies beside their tests
    IASA_REPOSITORY=me/fork python notebooks/make_notebooks.py     the same notebooks for a fork

A source is a jupytext `py:percent` file. A cell tagged `setup` stands for src/_setup.py; a cell tagged `exercise` holds a
function whose solution lies between `### BEGIN SOLUTION` and `### END SOLUTION`; a cell tagged `check` runs the student's
function, and is the only kind that may fail in a student copy; the first picture of a cell tagged `cover` goes to
pictures/, for the index; of a cell tagged `people`, which may show a photograph, no picture is kept.
"""

from __future__ import annotations

import argparse
import base64
import io
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
from concurrent.futures import ProcessPoolExecutor, as_completed
from copy import deepcopy
from pathlib import Path

import jupytext
import nbformat
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from PIL import Image

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "src"
SOLUTIONS = HERE / "solutions"
PICTURES = HERE / "pictures"
PLACEHOLDER = "OWNER/iasa"  # stands in the sources for the repository
REPOSITORY = os.environ.get(
    "IASA_REPOSITORY", PLACEHOLDER
)  # owner/name on GitHub: what badges open and first cells fetch
SECONDS = 900  # limit of one cell: generous, for a busy machine
MOST_BYTES = 500_000  # of a solution
ALONE = ("04", "08")  # they measure time: nothing else runs beside them
KEPT_OUTPUTS = ("text/plain", "image/png")  # widgets and pages of HTML are left out: they need a running kernel

_SOLUTION = re.compile(r"^([ ]*)### BEGIN SOLUTION\n.*?^[ ]*### END SOLUTION$", re.M | re.S)
_MARKERS = re.compile(r"^[ ]*### (?:BEGIN|END) SOLUTION\n?", re.M)


def source_paths(names: list[str] | None = None) -> list[Path]:
    """The sources, or those whose names begin with one of `names`."""
    paths = sorted(SOURCES.glob("[0-9][0-9]_*.py"))
    return [path for path in paths if not names or any(path.stem.startswith(name) for name in names)]


def read_source(path: Path) -> NotebookNode:
    """The whole notebook: set-up filled in, stable cell ids, nbgrader's fields, solutions between their markers."""
    notebook = jupytext.read(path, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags", [])
        cell.id = f"{path.stem[:2]}-{number:02d}"
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        if "setup" in tags:
            cell.source = (SOURCES / "_setup.py").read_text().rstrip()
            cell.metadata |= {
                "cellView": "form",
                "jupyter": {"source_hidden": True},
            }  # folded on Colab and in JupyterLab
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        cell.source = cell.source.replace(PLACEHOLDER, REPOSITORY)
        if "exercise" in tags:
            cell.metadata.nbgrader = _grading(f"{cell.id}-solution", solution=True)
        elif "check" in tags and "check_" in cell.source:
            cell.metadata.nbgrader = _grading(f"{cell.id}-check", solution=False)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = NotebookNode({"kernelspec": kernel, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def _grading(grade_id: str, solution: bool) -> NotebookNode:
    fields = {
        "grade_id": grade_id,
        "schema_version": 3,
        "solution": solution,
        "grade": not solution,
        "locked": not solution,
    }
    return NotebookNode(fields | {"cell_type": "code", "task": False} | ({} if solution else {"points": 1}))


def to_student(notebook: NotebookNode) -> NotebookNode:
    """A copy with stubs in place of solutions; the cells that then fail carry the tag `raises-exception`."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        tags = cell.metadata.get("tags", [])
        if "exercise" in tags:
            cell.source = make_stub(cell.source)
        if "check" in tags:
            cell.metadata.tags = [*tags, "raises-exception"]
    return copy


def make_stub(source: str) -> str:
    """The cell with every solution replaced by a NotImplementedError that names the function."""
    names = re.findall(r"^def (\w+)", source, re.M)
    return _SOLUTION.sub(
        lambda found: f'{found[1]}# YOUR CODE HERE\n{found[1]}raise NotImplementedError("write {names[0]}")', source
    )


def to_solution(notebook: NotebookNode) -> NotebookNode:
    """A copy without the markers, with links that start one folder deeper."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        cell.source = _MARKERS.sub("", cell.source)
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](../../").replace("](solutions/", "](")
    return copy


NBGRADER_CONFIG = """# nbgrader's settings; commands are run in this folder
import os

os.environ["IASA_FAST"] = "1"  # notebooks train in seconds; checks are the same
c = get_config()
c.CourseDirectory.course_id = "iasa"
c.ExecutePreprocessor.timeout = 600
"""


OTTER_TEST = """from otter.test_files import test_case

OK_FORMAT = False  # tests are functions that raise
name, points = "{name}", 1


@test_case()
def test_{name}({name}):
    from iasa.teaching import check_{name}
    from iasa.teaching.unseen import check_unseen

    check_{name}({name})
    check_unseen({name})
"""


def checked(cell: NotebookNode) -> str | None:
    """The exercise that a cell checks."""
    found = re.search(r"^check_(\w+)\(\1\)$", cell.source, re.M)
    return found[1] if found and "check" in cell.metadata.get("tags", []) else None


def to_graded(notebook: NotebookNode) -> NotebookNode:
    """An instructor's source for nbgrader: solutions between their markers, unseen numbers in hidden tests."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if name := checked(cell):
            hidden = f"from iasa.teaching.unseen import check_unseen\n\ncheck_unseen({name})"
            cell.source += f"\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
    return copy


def make_course_folder(folder: Path) -> Path:
    """The folder with rubric and answers. Raises ValueError for a place inside the checkout, which students could see."""
    folder = folder.resolve()
    if HERE.parent in (folder, *folder.parents):
        raise ValueError(f"{folder} lies inside the checkout; a folder outside {HERE.parent} is accepted")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("rubric.md", "instructors.md"):  # beside what is released, never in it
        shutil.copy(HERE / name, folder / name)
    return folder


def write_otter(folder: Path, paths: list[Path]) -> None:
    """For otter-grader: of each notebook the copy for students, and tests that `otter generate` packs for grading."""
    folder = make_course_folder(folder)
    for path in paths:
        notebook = read_source(path)
        tests = folder / path.stem / "tests"
        tests.mkdir(parents=True, exist_ok=True)
        (folder / path.stem / f"{path.stem}.ipynb").write_bytes(to_bytes(to_student(notebook)))
        for name in filter(None, map(checked, notebook.cells)):
            (tests / f"{name}.py").write_text(OTTER_TEST.format(name=name))


def write_course(folder: Path, paths: list[Path]) -> None:
    """A course folder for nbgrader."""
    folder = make_course_folder(folder)
    for path in paths:
        target = folder / "source" / path.stem / f"{path.stem}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(to_bytes(to_graded(read_source(path))))
    config = folder / "nbgrader_config.py"
    if not config.exists():  # an instructor may have changed it
        config.write_text(NBGRADER_CONFIG)


def keep_outputs(solution: NotebookNode, written: Path) -> None:
    """Put the outputs of an earlier run into cells whose code did not change."""
    if not written.exists():
        return
    known = {c.source: c for c in nbformat.read(written, as_version=4).cells if c.cell_type == "code"}
    for cell in solution.cells:
        if cell.cell_type == "code" and cell.source in known:
            cell.outputs = known[cell.source].outputs
            cell.execution_count = known[cell.source].execution_count


def make_client(notebook: NotebookNode, folder: Path, seconds: int):
    """What runs a notebook in a kernel of its own, by local sockets where there are any: two runs never share a port."""
    from nbclient import NotebookClient
    from nbclient.output_widget import OutputWidget
    from traitlets.config import Config

    class QuietOutput(OutputWidget):
        """Takes what an interactive figure shows, and tells the kernel nothing: such a message leaves by the socket on which
        the cell's reply is awaited, past asyncio, so that the reply may go unnoticed and the run wait for ever."""

        def sync_state(self) -> None:
            pass

    sockets = str(Path(tempfile.gettempdir()) / f"notebook-{uuid.uuid4().hex[:12]}")
    config = Config({} if os.name == "nt" else {"ConnectionFileMixin": {"transport": "ipc", "ip": sockets}})
    client = NotebookClient(
        notebook, timeout=seconds, startup_timeout=300, kernel_name="python3", config=config,
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    client.widget_registry["@jupyter-widgets/output"]["OutputModel"] = QuietOutput
    return client


def execute(solution: NotebookNode) -> NotebookNode:
    """Run a solution in its own kernel and keep its text and small pictures."""
    metadata = deepcopy(solution.metadata)  # the run adds the version of this machine's Python
    client = make_client(solution, SOLUTIONS, SECONDS)
    client.execute()
    solution.metadata = metadata
    for cell in solution.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_small, cell.outputs) if output]
            if "people" in cell.metadata.get("tags", []):  # no picture of a person is kept
                cell.outputs = [output for output in cell.outputs if "image/png" not in output.get("data", {})]
    return solution


def _small(output: NotebookNode) -> NotebookNode | None:
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    if output.output_type == "error":
        return output
    if "application/vnd.jupyter.widget-view+json" in output.data:
        return None
    output.data = {kind: value for kind, value in output.data.items() if kind in KEPT_OUTPUTS}
    if "image/png" in output.data:
        output.data = {"image/png": _fewer_colours(output.data["image/png"])}
    output.metadata = {}
    return output if output.data else None


def _fewer_colours(png: str) -> str:
    """The picture with a palette of 128 colours: a third of the bytes, and figures look the same."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        small = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def to_bytes(notebook: NotebookNode) -> bytes:
    return (nbformat.writes(notebook) + "\n").encode()


def cover(solution: NotebookNode) -> bytes | None:
    """The first picture of the cell tagged `cover`, None before the first run."""
    for cell in solution.cells:
        if "cover" in cell.metadata.get("tags", []):
            pictures = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
            return base64.b64decode(pictures[0]) if pictures else None
    raise ValueError("no cell is tagged cover")


def build(path: Path, run: bool = False) -> dict[Path, bytes]:
    """The files that a source makes, as {path: content}. Raises ValueError for a solution that is too large."""
    notebook = read_source(path)
    written = SOLUTIONS / f"{path.stem}.ipynb"
    solution = to_solution(notebook)
    if run:
        solution = execute(solution)
    else:
        keep_outputs(solution, written)
    files = {HERE / f"{path.stem}.ipynb": to_bytes(to_student(notebook)), written: to_bytes(solution)}
    if len(files[written]) >= MOST_BYTES:
        raise ValueError(f"{written.name} has {len(files[written])} bytes; fewer than {MOST_BYTES} are accepted")
    picture = cover(solution)
    return files | ({PICTURES / f"{path.stem[:2]}.png": picture} if picture else {})


def write(path: Path, run: bool = False) -> str:
    """Write the files that a source makes; returns what to say of it."""
    began, before = time.monotonic(), os.times()
    files = build(path, run)
    for target, content in files.items():
        target.parent.mkdir(exist_ok=True)
        partial = target.with_name(f".{target.name}")
        partial.write_bytes(content)
        os.replace(partial, target)  # whole or not at all
    said = ", ".join(f"{target.relative_to(HERE)} {len(content) / 1000:.0f} kB" for target, content in files.items())
    if run:
        now = os.times()  # the kernel has ended: its time is known
        used = now.children_user + now.children_system - before.children_user - before.children_system
        said += f"; {time.monotonic() - began:.0f} s, {used:.0f} s of processor time"
    return said


def write_executed(paths: list[Path], jobs: int) -> dict[str, BaseException]:
    """Run and write the notebooks, `jobs` at a time, those that measure time alone; returns {name: what went wrong}.

    A kernel that died or got stuck (kernels of ipykernel 7 did so once on a starved machine) is tried once more at the end.
    """
    together = [path for path in paths if path.stem[:2] not in ALONE][::-1]  # the longest come last in the course
    alone = [path for path in paths if path.stem[:2] in ALONE]
    cores, wrong, spawn = os.cpu_count() or 1, {}, multiprocessing.get_context("spawn")
    stuck: list[Path] = []
    for some, at_once in ((together, jobs), (alone, 1), (stuck, 1)):
        os.environ["OMP_NUM_THREADS"] = str(max(1, cores // at_once))
        with ProcessPoolExecutor(at_once, mp_context=spawn, max_tasks_per_child=1) as pool:
            runs = {pool.submit(write, path, True): path for path in some}
            for run in as_completed(runs):
                name, error = runs[run].stem, run.exception()
                print(f"{name}: {'FAILED' if error else run.result()}", flush=True)
                wrong.pop(name, None)
                if error:
                    wrong[name] = error
                if isinstance(error, TimeoutError | DeadKernelError) and some is not stuck:
                    stuck.append(runs[run])
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="first digits of some notebooks, by default all")
    parser.add_argument("--execute", action="store_true", help="run the solutions to renew their pictures")
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time (default 2)")
    parser.add_argument("--check", action="store_true", help="only say whether the written notebooks are up to date")
    grader = parser.add_mutually_exclusive_group()
    grader.add_argument("--nbgrader", type=Path, metavar="DIR", help="write a course folder for nbgrader there")
    grader.add_argument(
        "--otter", type=Path, metavar="DIR", help="write student copies and tests for otter-grader there"
    )
    options = parser.parse_args()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", REPOSITORY):
        parser.error(f"IASA_REPOSITORY is {REPOSITORY!r}; accepted: owner/name, as on GitHub")
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    paths = source_paths(options.names)
    if options.nbgrader or options.otter:
        try:
            (write_course if options.nbgrader else write_otter)(options.nbgrader or options.otter, paths)
        except ValueError as error:
            parser.error(str(error))
        following = "nbgrader generate_assignment NAME" if options.nbgrader else "otter generate -t tests, in NAME"
        print(f"{options.nbgrader or options.otter}: {len(paths)} assignments; next, there: {following}")
        return 0
    if options.check:
        made = {target: content for path in paths for target, content in build(path).items()}
        stale = [path for path, content in made.items() if not path.exists() or path.read_bytes() != content]
        if stale:
            names = ", ".join(str(path.relative_to(HERE)) for path in stale)
            print(f"out of date: {names}; run python notebooks/make_notebooks.py", file=sys.stderr)
        return 1 if stale else 0
    if options.execute:
        wrong = write_executed(paths, max(1, options.jobs))
        for name, error in wrong.items():
            print(f"\n{name} failed, its files are left as they were: {type(error).__name__}: {error}", file=sys.stderr)
        if wrong:
            print(f"\n{len(wrong)} of {len(paths)} failed: {', '.join(sorted(wrong))}", file=sys.stderr)
        return 1 if wrong else 0
    for path in paths:
        print(f"{path.stem}: {write(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
