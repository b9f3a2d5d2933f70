"""The notebooks' first cell, as it stands, with real pip: on Colab, on a laptop, on Binder, in a bare clone."""

from __future__ import annotations

import functools
import glob
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "solutions" / "01_a_talking_video_as_tokens.ipynb"
COLAB = ["numpy==2.0.2", "ipywidgets==7.7.1", "ipykernel<7", "matplotlib==3.10.0", "torch==2.13.0"]  # and no mediapipe

# Runs a notebook's code cells one after another, as a kernel of Colab would, and says what is there in the end.
PROGRAM = """
import json, os, re, sys
os.environ |= {"IASA_FAST": "1", "MPLBACKEND": "agg"}
cells = [cell for cell in json.load(open(sys.argv[1]))["cells"] if cell["cell_type"] == "code"]
if sys.argv[2:] == ["colab"]:
    import google.colab
names = {"__name__": "__main__"}
for cell in cells:
    exec(re.sub(r";$", "", "".join(cell["source"])), names)
import importlib.util, numpy, ipywidgets
frames = names["frames"]
there = importlib.util.find_spec("mediapipe") is not None
print(json.dumps([list(frames.shape), numpy.__version__, ipywidgets.__version__, there, str(names["root"])]))
"""


BINDER = (ROOT / ".binder" / "runtime.txt").read_text().strip().removeprefix("python-")

# How the other places install: Python's version, pip's words in a clone.
PLACES = {
    "laptop, 3.11": ("3.11", ["-e", ".[laptop]"]),
    "laptop, 3.12": ("3.12", ["-e", ".[laptop]"]),
    "Binder": (BINDER, ["-r", ".binder/requirements.txt"]),
    "bare clone": ("3.12", ["-r", "requirements.txt"]),  # and the package is not installed
}

real_pip = pytest.mark.skipif(
    os.environ.get("IASA_REAL_PIP") != "1", reason="installs PyTorch in a new environment; IASA_REAL_PIP=1 runs it"
)


@functools.cache
def find_python(version: str) -> str | None:
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    for python in (f"python{version}", *glob.glob(f"{pyenv}/versions/{version}.*/bin/python{version}")):
        if shutil.which(python) and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


def make_environment(folder: Path, version: str, words: list[str], cwd: Path = ROOT) -> Path:
    """A new virtual environment with these packages; its python."""
    found = find_python(version)
    if found is None:
        pytest.skip(f"needs Python {version}")
    subprocess.run([found, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *words], cwd=cwd, check=True)
    return python


def copy_repository(folder: Path) -> Path:
    """What is committed, and what is not yet."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", ".venv"))
    if not (ROOT / ".git").is_dir():  # a worktree's .git is a file that names another folder
        (folder / ".git").unlink(missing_ok=True)
        for command in (["init", "-q"], ["add", "-A"],
                        ["-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "copy"]):  # fmt: skip
            subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def run_notebook(python: Path, cwd: Path, *words: str, **environment: str) -> list:
    """What PROGRAM says in the end."""
    run = subprocess.run(
        [python, "-c", PROGRAM, NOTEBOOK, *words], cwd=cwd, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": "", **environment},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    assert "missing:" not in run.stdout, run.stdout
    return json.loads(run.stdout.splitlines()[-1])


@real_pip
@pytest.mark.timeout(1800)
def test_the_first_cell_makes_a_video_on_a_machine_like_colab(tmp_path):
    """Python 3.12 with numpy 2.0.2 and ipywidgets 7.7.1: clone, install, and make notebook 1's video."""
    python = make_environment(tmp_path / "venv", "3.12", COLAB)
    packages = Path(subprocess.run([python, "-c", "import site; print(site.getsitepackages()[0])"],
                                   check=True, capture_output=True, text=True).stdout.strip())  # fmt: skip
    (packages / "google" / "colab").mkdir(parents=True)  # a stand-in: its name is what the cell looks for
    (packages / "google" / "colab" / "__init__.py").touch()
    copy = copy_repository(tmp_path / "repository")
    (tmp_path / "content").mkdir()
    shape, numpy, ipywidgets, mediapipe, root = run_notebook(
        python, tmp_path / "content", "colab", IASA_ADDRESS=copy.as_uri()
    )
    assert shape == [10, 256, 256, 3]
    assert (numpy, ipywidgets, mediapipe) == ("2.0.2", "7.7.1", False)
    assert root == str((tmp_path / "content" / "iasa-course").resolve())


@real_pip
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("place", PLACES)
def test_the_first_notebook_makes_its_video(place, tmp_path):
    """Installed as notebooks/README.md says, begun in the folder of the notebooks: a video, within three minutes."""
    version, words = PLACES[place]
    copy = copy_repository(tmp_path / "repository")
    python = make_environment(tmp_path / "venv", version, words, copy)
    began = time.monotonic()
    shape, *_, root = run_notebook(python, copy / "notebooks")
    assert time.monotonic() - began < 180
    assert shape == [10, 256, 256, 3] and root == str(copy.resolve())
    shutil.rmtree(tmp_path / "venv")  # some gigabytes each
