"""The checkers of the notebooks: the solution passes, plausible wrong answers fail with a message that helps."""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path

import pytest
import teaching_slips

from iasa.teaching import WrongAnswer

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "notebooks"))
build = pytest.importorskip(
    "make_notebooks", reason="jupytext makes the notebooks: pip install -r requirements-dev.txt"
)

PRELUDE = "import math\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\nfrom torch import Tensor\n"


@functools.cache
def exercises() -> dict[str, tuple[str, str, str]]:
    """{name of the function: (notebook, the whole cell, name of its checker)}."""
    found = {}
    for path in build.source_paths():
        cells = build.read_source(path).cells
        for place, cell in enumerate(cells):
            if "exercise" in cell.metadata.get("tags", []):
                name = re.search(r"^def (\w+)", cell.source, re.M)[1]
                checker = re.search(rf"(check_\w+)\({name}\b", cells[place + 1].source)
                assert checker, f"{path.stem}: no check follows {name}"
                found[name] = (path.stem, cell.source, checker[1])
    return found


def run(source: str, name: str):
    namespace: dict = {}
    exec(PRELUDE + source, namespace)
    return namespace[name]


def check(name: str, function) -> None:
    import iasa.teaching

    getattr(iasa.teaching, exercises()[name][2])(function)


@pytest.mark.parametrize("name", exercises())
def test_the_solution_passes(name, capsys):
    check(name, run(exercises()[name][1], name))
    assert f"{name}:" in capsys.readouterr().out


@pytest.mark.parametrize("name", exercises())
def test_the_stub_says_what_to_write(name):
    with pytest.raises(NotImplementedError, match=name):
        check(name, run(build.make_stub(exercises()[name][1]), name))


@pytest.mark.parametrize("name", exercises())
def test_there_are_five_wrong_answers(name):
    slips = teaching_slips.SLIPS[name]
    assert len({(old, new) for old, new, _ in slips}) == len(slips) >= 5
    assert len({words for _, _, words in slips}) >= 3, "one message for all of them helps nobody"


def test_no_wrong_answer_is_left_over():
    assert set(teaching_slips.SLIPS) == set(exercises())


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name, slips in teaching_slips.SLIPS.items() for i in range(len(slips))]
)
def test_a_wrong_answer_is_told_why(name, number):
    """A slip is (old text, new text, message): the solution with one thing wrong; old "" replaces the whole body."""
    old, new, message = teaching_slips.SLIPS[name][number]
    source = exercises()[name][1]
    if old:
        assert old in source, f"the solution of {name} no longer holds {old!r}"
        wrong = source.replace(old, new)
    else:
        wrong = build._SOLUTION.sub(lambda found: found[1] + new.replace("\n", "\n" + found[1]), source)
    with pytest.raises(WrongAnswer, match=message) as caught:
        check(name, run(wrong, name))
    assert len(str(caught.value).split()) >= 6, f"too short to help: {caught.value}"


def test_an_answer_that_changes_its_input_is_told_so():
    wrong = exercises()["rigid_fit"][1].replace(
        "a, b = source - source.mean(0), target - target.mean(0)",
        "shift = target.mean(0) - source.mean(0); source -= source.mean(0); a, b = source, target - target.mean(0)",
    )
    with pytest.raises(WrongAnswer, match="in place"):
        check("rigid_fit", run(wrong, "rigid_fit"))
