"""The package as `pip install .` leaves it: everything inside, and the main job from another directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import wave
import zipfile
from pathlib import Path

import pytest
from test_layout import PACKAGE, ROOT, tracked

from iasa.config import AUDIO_RATE
from iasa.media.reader import read_metadata, read_video
from iasa.paths import SPEECH
from iasa.speech import read_audio

KERNELS = ROOT / "kernels" / "iasa_kernels"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of what git tracks, as a clone has it; no network is asked."""
    folder = tmp_path_factory.mktemp("wheel")
    for path in tracked():
        if path.is_relative_to(PACKAGE) or path.is_relative_to(KERNELS) or path.parent == ROOT:
            copy = folder / "checkout" / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", folder, folder / "checkout")
    (built,) = folder.glob("iasa-*.whl")
    return built


@pytest.fixture(scope="module")
def place(wheel, tmp_path_factory) -> Path:
    """A fresh environment that has the wheel, and beside it the libraries of the one that runs the tests."""
    folder = tmp_path_factory.mktemp("place")
    venv.create(folder / "venv", symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": folder / "venv", "platbase": folder / "venv"}))
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    pip("--python", folder / "venv", "install", "--no-deps", "--no-index", wheel)
    return folder


def pip(*words: object) -> None:
    run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words], ROOT)


def run(words: list, folder: Path) -> str:
    """What a command prints, run in `folder` without the checkout on any path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in words]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {path.relative_to(ROOT) for path in tracked() if path.is_relative_to(PACKAGE)}
    ours |= {path.relative_to(KERNELS.parent) for path in tracked() if path.is_relative_to(KERNELS)}
    assert held == {path.as_posix() for path in ours}


def test_the_main_job_from_another_directory(place):
    with wave.open(str(place / "speech.wav"), "wb") as file:
        file.setparams((1, 2, AUDIO_RATE, 0, "NONE", ""))
        file.writeframes((read_audio(SPEECH / "tea.mp3")[0][: AUDIO_RATE // 2] * 32767).astype("<i2").tobytes())
    words = ["generate", "--audio", "speech.wav", "--steps", "1", "--json", "--out", "talking.mp4"]
    report = json.loads(run([place / "venv" / "bin" / "iasa", *words], place).splitlines()[-1])
    frames, _ = read_video(place / "talking.mp4")
    assert len(frames) == report["frames"] == 12 and frames.std() > 20
    assert read_metadata(place / "talking.mp4")["ai_generated"] is True


def test_every_part_comes_from_the_installed_package(place):
    """Kernels, networks, speakers and speech are found without the checkout."""
    code = """
import importlib.util, json
from iasa import paths
found = {name: str(getattr(paths, name)) for name in ("WEIGHTS", "SPEAKERS", "POSES", "SPEECH")}
print(json.dumps(found | {name: importlib.util.find_spec(name).origin for name in ("iasa", "iasa_kernels")}))
"""
    found = json.loads(run([place / "venv" / "bin" / "python", "-c", code], place))
    assert all(Path(path).is_relative_to(place / "venv") and Path(path).exists() for path in found.values()), found
