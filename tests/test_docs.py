"""What docs/ says of the code is what the code is; each page that a script makes names that script here."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest
from test_layout import ROOT, imports, module_name, python_files, unit

DOCS = ROOT / "docs"


def load(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def architecture() -> ModuleType:
    return load("make_architecture")


def test_the_page_of_the_command_line_is_that_of_its_help():
    assert (DOCS / "cli.md").read_text() == load("make_cli").make_page(), "run python docs/make_cli.py"


def test_the_page_of_the_command_line_holds_every_option_with_its_words():
    """Read back from the page, not from the script: one that left options out would agree with itself."""
    from iasa.cli.main import COMMANDS

    sections = re.split(r"^## iasa ", (DOCS / "cli.md").read_text(), flags=re.M)[1:]
    assert [section.split()[0] for section in sections] == list(COMMANDS)
    for section in sections:
        path = ROOT / "iasa" / "cli" / f"{section.split()[0].replace('-', '_')}.py"
        for option in re.findall(r'add_argument\(\s*"(--[a-z-]+)"', path.read_text()):
            assert re.search(rf"^  {option}\b", section, re.M), f"{path.name}: {option}"


def test_the_graph_that_is_drawn_is_that_of_the_code(architecture):
    """Lines that follow from others are not drawn: what each reaches must be the same, and no line may be too many."""
    drawn: dict[str, set[str]] = {}
    for name, other in re.findall(r"<title>(\w+) imports (\w+)</title>", (DOCS / "architecture.svg").read_text()):
        drawn.setdefault(name, set()).add(other)
    code: dict[str, set[str]] = {}
    for path in python_files():
        name = unit(module_name(path))
        code.setdefault(name, set()).update(unit(other) for other in imports(path) if other.startswith("iasa."))
    code = {name: others - {name} for name, others in code.items() if name not in ("", "__main__")}
    assert {name: reach(drawn, name) for name in code} == {name: reach(code, name) for name in code}, (
        "run python docs/make_architecture.py"
    )
    for name, others in drawn.items():
        assert others <= code[name], "a line that is no import"
        for other in others:
            assert not any(other in reach(drawn, third) for third in others - {other}), f"{name} -> {other} follows"


def reach(graph: dict[str, set[str]], name: str) -> set[str]:
    found, left = set(), set(graph.get(name, ()))
    while left:
        new = left.pop()
        found.add(new)
        left |= graph.get(new, set()) - found
    return found


def test_a_line_never_points_upwards_in_the_picture(architecture):
    units = architecture.read_units()
    floors = architecture.place(architecture.reduce(architecture.read_imports(units)))
    height = {name: level for level, floor in enumerate(floors) for name in floor}
    assert height.keys() == units.keys()
    for name, others in architecture.read_imports(units).items():
        assert all(height[other] < height[name] for other in others), name


def test_every_package_stands_in_the_table_with_its_sentence(architecture):
    page = (DOCS / "architecture.md").read_text()
    units = architecture.read_units()
    again = architecture.fill(page, units, architecture.read_imports(units))
    assert page == again, "run python docs/make_architecture.py"
    for name in units:
        assert architecture.purpose(name).endswith((".", ")")), f"{name} says nothing of what it is for"
        assert architecture.purpose(name) in page


def test_every_place_that_the_pages_link_to_is_there():
    for page in [*DOCS.glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
