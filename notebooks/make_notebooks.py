"""Write the notebooks from notebooks/src: student copies without outputs, solutions with small static pictures.

    python notebooks/make_notebooks.py                      student copies, and the solutions' text (their pictures stay)
    python notebooks/make_notebooks.py --execute            the same, and every solution is run to renew its pictures
    python notebooks/make_notebooks.py --execute 02 05      only these
    python notebooks/make_notebooks.py --check              change nothing; exit status 1 if a written notebook is out of date

A source is a jupytext `py:percent` file. A cell tagged `setup` stands for src/_setup.py; a cell tagged `exercise` holds a
function whose solution lies between `### BEGIN SOLUTION` and `### END SOLUTION`; a cell tagged `check` runs the student's
function, and is the only kind that may fail in a student copy; the first picture of a cell tagged `cover` goes to
pictures/, for the index.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import tempfile
import uuid
from copy import deepcopy
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode
from PIL import Image

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "src"
SOLUTIONS = HERE / "solutions"
PICTURES = HERE / "pictures"
REPOSITORY = "OWNER/iasa"  # on GitHub: what the Colab badges open and the set-up cell fetches; a fork changes it here
SECONDS = 1800  # limit of one cell: generous, for a busy machine
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
            cell.metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}  # folded on Colab and in JupyterLab
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        cell.source = cell.source.replace("OWNER/iasa", REPOSITORY)
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
    from traitlets.config import Config

    sockets = str(Path(tempfile.gettempdir()) / f"notebook-{uuid.uuid4().hex[:12]}")
    config = Config({} if os.name == "nt" else {"ConnectionFileMixin": {"transport": "ipc", "ip": sockets}})
    return NotebookClient(
        notebook, timeout=seconds, startup_timeout=300, kernel_name="python3", config=config,
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip


def execute(solution: NotebookNode) -> NotebookNode:
    """Run a solution in its own kernel and keep its text and small pictures."""
    client = make_client(solution, SOLUTIONS, SECONDS)
    client.execute()
    for cell in solution.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_small, cell.outputs) if output]
    solution.metadata.pop("widgets", None)
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
    """The files that a source makes, as {path: content}."""
    notebook = read_source(path)
    written = SOLUTIONS / f"{path.stem}.ipynb"
    solution = to_solution(notebook)
    if run:
        solution = execute(solution)
    else:
        keep_outputs(solution, written)
    files = {HERE / f"{path.stem}.ipynb": to_bytes(to_student(notebook)), written: to_bytes(solution)}
    picture = cover(solution)
    return files | ({PICTURES / f"{path.stem[:2]}.png": picture} if picture else {})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="first digits of some notebooks, by default all")
    parser.add_argument("--execute", action="store_true", help="run the solutions to renew their pictures")
    parser.add_argument("--check", action="store_true", help="only say whether the written notebooks are up to date")
    options = parser.parse_args()
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    stale = []
    for path in source_paths(options.names):
        for target, content in build(path, options.execute).items():
            if not options.check:
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(content)
                print(f"{target.relative_to(HERE)}: {len(content) / 1000:.0f} kB")
            elif not target.exists() or target.read_bytes() != content:
                stale.append(str(target.relative_to(HERE)))
    if stale:
        print(f"out of date: {', '.join(stale)}; run python notebooks/make_notebooks.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
