"""The checkers of the notebooks: the solution passes, plausible wrong answers fail with a message that helps."""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import teaching_slips
import torch

from iasa.teaching import WrongAnswer, answers, yours
from iasa.teaching.unseen import check_unseen, questions

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


class Odd:
    """Something that is no answer to anything."""

    def __repr__(self) -> str:
        return "<an odd thing>"


def stop(*arguments):
    return [][0]


# What a function may return that is wrong whatever the exercise.
ANSWERS = {
    "None": lambda value: None,
    "text": lambda value: "42",
    "an object": lambda value: Odd(),
    "a dictionary": lambda value: {"answer": 1},
    "ragged rows": lambda value: [[1.0], [1.0, 2.0]],
    "a class": lambda value: Odd,
    "complex numbers": lambda value: np.ones(3) * 1j,
    "nothing at all": lambda value: (),
    "a row too many": lambda value: np.ones((99, 2)),
    "None for each": lambda value: (None, None),
}


def answering(name: str, change):
    """The solution, with its answer changed; its body still runs."""
    solution = run(exercises()[name][1], name)

    @functools.wraps(solution)
    def answer(*arguments):
        return change(solution(*arguments))

    return answer


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("name", exercises())
def test_a_bad_answer_gets_a_sentence_and_no_traceback(name, kind):
    with pytest.raises(WrongAnswer) as caught:
        check(name, answering(name, ANSWERS[kind]))
    assert len(str(caught.value).splitlines()[0].split()) >= 5, "too short to help"


@pytest.mark.parametrize("name", exercises())
def test_an_error_inside_is_said_in_one_sentence(name):
    source = exercises()[name][1]
    broken = build._SOLUTION.sub(lambda found: f"{found[1]}sizes = []\n{found[1]}return sizes[3]", source)
    with pytest.raises(WrongAnswer, match=rf"^{name} stopped in line \d+ of its cell.* with IndexError: list index"):
        check(name, run(broken, name))
    with pytest.raises(WrongAnswer, match="stopped before its first line .* with TypeError"):
        check(name, lambda: 1)
    with pytest.raises(WrongAnswer, match="a function is needed here, not 3"):
        check(name, 3)


@pytest.mark.parametrize("name", exercises())
def test_lists_arrays_and_tensors_are_the_same_answer(name, capsys):
    """A list for a tuple, numpy for torch and torch for numpy are right, but where a gradient has to pass."""

    def other(value):
        if isinstance(value, tuple):
            return [other(part) for part in value]
        if isinstance(value, torch.Tensor):
            return value if value.requires_grad else value.numpy()
        return torch.from_numpy(value) if isinstance(value, np.ndarray) and value.ndim else value

    check(name, answering(name, other))
    assert capsys.readouterr().out.startswith("\N{CHECK MARK}")


@pytest.mark.parametrize("name", exercises())
def test_a_right_answer_gets_no_warning(name, recwarn):
    check(name, run(exercises()[name][1], name))
    assert not [str(warning.message) for warning in recwarn]


@pytest.mark.parametrize("name", ["surrogate", "critic_step", "region_loss"])
def test_an_array_cannot_carry_a_gradient(name):
    with pytest.raises(WrongAnswer, match="a torch tensor is needed"):
        check(name, answering(name, lambda value: value.detach().numpy()))


def test_a_notebook_shows_the_sentence_before_anything_else(monkeypatch, tmp_path):
    """What IPython prints for a wrong answer and for a stub: the sentence alone, in place of the traceback."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = pytest.importorskip(
        "IPython.core.interactiveshell", reason="it is notebooks that show it"
    ).InteractiveShell()
    shown = []
    shell._showtraceback = lambda etype, value, lines: shown.append(lines)
    shell.run_cell("from iasa.teaching import check_guide\ncheck_guide(lambda told, untold, scale: told)")
    shell.run_cell("def guide(told, untold, scale):\n    raise NotImplementedError('write guide')\ncheck_guide(guide)")
    wrong, stub = shown
    assert len(wrong) == 1 and wrong[0].startswith("\N{BALLOT X} scale 0 ignores the condition")
    assert stub == ["\N{BALLOT X} not written yet: write guide"]


@pytest.mark.parametrize("name", exercises())
def test_the_package_answers_every_exercise_itself(name):
    """What a notebook goes on with while a student's function is not right."""
    check(name, getattr(answers, name))


def test_a_notebook_goes_on_with_the_students_own_function(capsys):
    mine = run(exercises()["guide"][1], "guide")
    assert yours(mine) is answers.guide, "unchecked functions do not count"
    assert "the package's guide stands in" in capsys.readouterr().out
    check("guide", mine)
    capsys.readouterr()
    assert yours(mine) is mine and not capsys.readouterr().out
    later = run(exercises()["guide"][1], "guide")  # its cell was run again and may have changed
    assert yours(later) is answers.guide
    with pytest.raises(WrongAnswer):
        check("guide", wrong := (lambda told, untold, scale: told))
    wrong.__name__ = "guide"
    assert yours(wrong) is answers.guide


@pytest.mark.parametrize("name", exercises())
def test_a_right_answer_is_right_for_unseen_numbers(name):
    check_unseen(run(exercises()[name][1], name))
    assert questions(name) or name == "online_attention", "nothing is asked again"


@pytest.mark.parametrize(
    "name", ["rigid_fit", "mls_weights", "block_attention", "velocity", "score", "best_lag", "frame_rate"]
)
def test_an_answer_learnt_by_heart_passes_its_check_and_fails_for_unseen_numbers(name):
    solution, known = run(exercises()[name][1], name), {}

    @functools.wraps(solution)
    def noting(*arguments):
        value = solution(*arguments)
        known[repr(arguments)] = value
        return value

    check(name, noting)

    @functools.wraps(solution)
    def by_heart(*arguments):
        return known.get(repr(arguments), 0.0)

    check(name, by_heart)
    with pytest.raises(WrongAnswer, match=f"{name}: right for the numbers of the notebook's check"):
        check_unseen(by_heart)
