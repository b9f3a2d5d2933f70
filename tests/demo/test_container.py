"""The Dockerfile, by what it says: it runs what a Space runs, with the same Python, packages and file, and not as root."""

from __future__ import annotations

import json
import re

from iasa.paths import CHECKOUT

TEXT = re.sub(r"^#.*\n", "", (CHECKOUT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
STEPS = [line.split(maxsplit=1) for line in TEXT.replace("\\\n", " ").splitlines() if line.strip()]
FRONT = dict(re.findall(r"^(\w+): (.+)$", (CHECKOUT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))


def given(name: str) -> list[str]:
    return [words for step, words in STEPS if step == name]


def test_every_file_that_is_copied_or_read_is_there_in_time():
    here: set[str] = set()
    for step, words in STEPS:
        if step == "COPY":
            *sources, target = [word for word in words.split() if not word.startswith("--")]
            assert target == "./" and all((CHECKOUT / source).exists() for source in sources), words
            here |= set(sources)
        for name in re.findall(r"(?:-a|-r|-c) (\S+)", words) if step == "RUN" else ():
            assert name in here, f"{name} is read before it is copied"
    assert "." in here


def test_it_runs_what_a_space_runs():
    assert given("FROM") == [f"python:{FRONT['python_version'].strip(chr(34))}-slim-bookworm"]
    (command,) = given("CMD")
    assert json.loads(command) == ["python", FRONT["app_file"]] and (CHECKOUT / FRONT["app_file"]).exists()
    installs = " ".join(given("RUN"))
    assert "-r requirements.txt -c constraints.txt" in installs and "xargs -a packages.txt apt-get install" in installs
    assert given("USER") == ["user"] and "--uid 1000 user" in installs
    assert "GRADIO_SERVER_NAME=0.0.0.0" in " ".join(given("ENV")) and given("EXPOSE") == ["7860"]


def test_steps_that_change_seldom_come_first():
    """The libraries are installed before the code is copied, so that a change of it does not install them again."""
    order = [" ".join(step) for step in STEPS]
    code = next(number for number, step in enumerate(order) if step.startswith("COPY") and step.endswith(". ./"))
    assert all(number < code for number, step in enumerate(order) if step.startswith("RUN"))
