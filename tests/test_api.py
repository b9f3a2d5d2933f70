"""What `import iasa` offers, and the quick start that shows it."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import iasa
from iasa.media.reader import read_audio_track, read_metadata, read_video
from iasa.paths import CHECKOUT


def test_every_name_is_there_and_loads_what_it_needs_alone():
    for name in iasa.__all__:
        assert getattr(iasa, name).__name__ == name and name in dir(iasa)
    with pytest.raises(AttributeError, match="no attribute 'Pipeline'"):
        iasa.Pipeline  # noqa: B018
    code = "import iasa, sys; iasa.load_speaker('dana'); iasa.Keypoints; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_quick_start(tmp_path, monkeypatch, capsys):
    """examples/generate.py as it stands, which the README shows."""
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(CHECKOUT / "examples" / "generate.py"))
    first, *shapes = capsys.readouterr().out.splitlines()
    assert first.startswith("50 frames; ") and 0 < float(first.split()[2].rstrip("%")) < 60
    assert shapes[0] == "(2, 256, 256, 3)" and len(shapes) == 13
    frames, fps = read_video(Path("talking.mp4"))
    sound, rate = read_audio_track(Path("talking.mp4"))
    assert len(frames) == 50 and abs(len(sound) / rate - len(frames) / fps) < 1 / fps
    said = read_metadata(Path("talking.mp4"))
    assert (said["model"], said["steps"], said["reference"]) == ("student", 1, "dana") and said["dtype"]
