"""A course folder for nbgrader, by its own commands: assign, collect, grade, feedback."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 400  # seconds; it takes 40
NAME = "02_which_frames_matter"
pytest.importorskip("nbgrader", reason="nbgrader grades the notebooks: pip install -r requirements-dev.txt")
pytest.importorskip("jupytext", reason="jupytext makes the notebooks: pip install -r requirements-dev.txt")


def make_course(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "notebooks" / "make_notebooks.py", "--nbgrader", folder, NAME]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def submit(course: Path, student: str, solutions: dict[str, str]) -> None:
    """Hand in the released notebook, with these sources in place of the stubs."""
    notebook = json.loads((course / "release" / NAME / f"{NAME}.ipynb").read_text())
    for cell in notebook["cells"]:
        fields = cell["metadata"].get("nbgrader", {})
        if fields.get("solution"):
            cell["source"] = solutions.get(fields["grade_id"], cell["source"])
    target = course / "submitted" / student / NAME / f"{NAME}.ipynb"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps(notebook))


@pytest.mark.notebooks
@pytest.mark.timeout(1200)
def test_right_answers_get_every_point_and_empty_ones_none(tmp_path):
    course = tmp_path / "course"
    made = make_course(course)
    assert made.returncode == 0, made.stderr
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / "ipython"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }  # fmt: skip

    def nbgrader(*arguments: str) -> None:
        command = [sys.executable, "-m", "nbgrader", *arguments]
        options: dict[str, Any] = dict(cwd=course, env=environment, capture_output=True, text=True)
        try:
            run = subprocess.run(command, timeout=PATIENCE, **options)
        except subprocess.TimeoutExpired:  # a kernel sometimes never answers
            warnings.warn(f"nbgrader {arguments[0]} did not end and began again", stacklevel=1)
            run = subprocess.run([*command, "--force"], timeout=PATIENCE, **options)
        assert run.returncode == 0, run.stderr[-3000:]

    nbgrader("generate_assignment", NAME)
    released = (course / "release" / NAME / f"{NAME}.ipynb").read_text()
    assert "SOLUTION" not in released and "HIDDEN" not in released and "check_unseen" not in released
    assert released.count("NotImplementedError") == 4 or released.count("YOUR CODE HERE") == 4
    source = json.loads((course / "source" / NAME / f"{NAME}.ipynb").read_text())
    cells = [cell for cell in source["cells"] if cell["metadata"].get("nbgrader", {}).get("solution")]
    right = {cell["metadata"]["nbgrader"]["grade_id"]: "".join(cell["source"]) for cell in cells}
    assert len(right) == 4
    submit(course, "right", right)
    submit(course, "empty", {})
    first, *others = right
    submit(course, "half", {first: right[first]} | {others[0]: right[others[0]].replace("kept, 0.0", "kept * 2, 0.0")})
    nbgrader("autograde", NAME)
    nbgrader("generate_feedback", NAME)
    nbgrader("export", "--to", "grades.csv")
    grades = {
        row["student_id"]: (row["score"], row["max_score"]) for row in csv.DictReader((course / "grades.csv").open())
    }
    assert grades == {"right": ("4.0", "4.0"), "empty": ("0.0", "4.0"), "half": ("1.0", "4.0")}
    feedback = (course / "feedback" / "half" / NAME / f"{NAME}.html").read_text()
    assert "\N{BALLOT X}" in feedback, "the checker's sentence is in the feedback"


def test_a_course_folder_inside_the_checkout_is_refused(tmp_path):
    made = make_course(ROOT / "notebooks" / "course")
    assert made.returncode == 2 and "lies inside the checkout" in made.stderr
    assert not (ROOT / "notebooks" / "course").exists()
