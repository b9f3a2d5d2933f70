"""The notebooks' first cell, as it stands, with real pip: what a visitor of Colab meets."""

from __future__ import annotations

import functools
import glob
import json
import os
import shutil
import subprocess
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
import google.colab
names = {"__name__": "__main__"}
for cell in cells:
    exec(re.sub(r";$", "", "".join(cell["source"])), names)
import importlib.util, numpy, ipywidgets
frames = names["frames"]
there = importlib.util.find_spec("mediapipe") is not None
print(json.dumps([list(frames.shape), numpy.__version__, ipywidgets.__version__, there, str(names["root"])]))
"""


@functools.cache
def python312() -> str | None:
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    for python in ("python3.12", *glob.glob(f"{pyenv}/versions/3.12.*/bin/python3.12")):
        if shutil.which(python) and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


@pytest.mark.skipif(
    os.environ.get("IASA_REAL_PIP") != "1", reason="installs PyTorch in a new environment; IASA_REAL_PIP=1 runs it"
)
@pytest.mark.skipif(python312() is None, reason="needs Python 3.12, which Colab has")
@pytest.mark.timeout(1800)
def test_the_first_cell_makes_a_video_on_a_machine_like_colab(tmp_path):
    """Python 3.12 with numpy 2.0.2 and ipywidgets 7.7.1: clone, install, and make notebook 1's video."""
    subprocess.run([python312(), "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *COLAB], check=True)
    packages = Path(subprocess.run([python, "-c", "import site; print(site.getsitepackages()[0])"],
                                   check=True, capture_output=True, text=True).stdout.strip())  # fmt: skip
    (packages / "google" / "colab").mkdir(parents=True)  # a stand-in: its name is what the cell looks for
    (packages / "google" / "colab" / "__init__.py").touch()
    copy = tmp_path / "repository"  # what is committed, and what is not yet
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", ".venv"))
    if not (ROOT / ".git").is_dir():  # a worktree's .git is a file that names another folder
        (copy / ".git").unlink(missing_ok=True)
        for command in (["init", "-q"], ["add", "-A"],
                        ["-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "copy"]):  # fmt: skip
            subprocess.run(["git", *command], cwd=copy, check=True)
    (tmp_path / "content").mkdir()
    run = subprocess.run(
        [python, "-c", PROGRAM, NOTEBOOK], cwd=tmp_path / "content", capture_output=True, text=True,
        env={**os.environ, "IASA_ADDRESS": copy.as_uri(), "PYTHONPATH": ""},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    shape, numpy, ipywidgets, mediapipe, root = json.loads(run.stdout.splitlines()[-1])
    assert shape == [10, 256, 256, 3]
    assert (numpy, ipywidgets, mediapipe) == ("2.0.2", "7.7.1", False)
    assert root == str((tmp_path / "content" / "iasa-course").resolve())
