"""The explorer's modules: each imports what it uses from modules before it, so that joining them loses nothing."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess

import pytest
from javascript import code_only
from test_explorer_math import make_case, page_data

from iasa.explorer.page import MODULES, join_modules
from iasa.paths import PACKAGE

FOLDER = PACKAGE / "explorer" / "js"
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.MULTILINE)


def read(name: str) -> str:
    return (FOLDER / f"{name}.js").read_text(encoding="utf-8")


def imports(name: str) -> dict[str, set[str]]:
    """Of each module that it imports from, the names."""
    return {module: set(re.findall(r"\w+", names)) for names, module in IMPORT.findall(read(name))}


@functools.cache
def declared(name: str, prefix: str = "") -> set[str]:
    """Names of a module's own scope; those after "export " with that prefix."""
    code = code_only(read(name))
    found = set(re.findall(rf"^{prefix or '(?:export )?'}(?:async )?function\*? (\w+)", code, re.MULTILINE))
    for heads in re.findall(rf"^{prefix or '(?:export )?'}(?:const|let) (.*?); *$", code, re.MULTILINE | re.DOTALL):
        depth, parts = 0, [""]
        for mark in heads:
            depth += (mark in "([{") - (mark in ")]}")
            parts = [*parts, ""] if mark == "," and depth == 0 else [*parts[:-1], parts[-1] + mark]
        for part in parts:
            found |= set(re.findall(r"\w+", part.partition("=")[0]))
    return found


def test_every_file_is_joined_once():
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(MODULES)


def test_every_name_is_declared_once():
    """In the page all modules share one scope."""
    owner: dict[str, str] = {}
    for name in MODULES:
        for word in declared(name):
            assert word not in owner, f"{word} of {name}.js is also {owner.get(word)}.js's"
            owner[word] = name


@pytest.mark.parametrize("name", MODULES)
def test_imports_are_exact_and_point_backwards(name):
    code = code_only(IMPORT.sub("", read(name)))
    used = set(re.findall(r"(?:(?<=\.\.\.)|(?<![.\w]))(\w+)", code))
    for module, names in imports(name).items():
        assert MODULES.index(module) < MODULES.index(name), (
            f"{name}.js imports from {module}.js, which is joined after it"
        )
        assert names <= declared(module, "export "), names - declared(module, "export ")
        assert names <= used, f"{name}.js does not use {names - used}"


def test_nothing_of_modules_is_left_in_the_page():
    assert not re.search(r"^(import|export)\b", join_modules(), re.MULTILINE)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node_links_the_modules(tmp_path):
    """As they stand, without being joined: every name that is imported is exported somewhere."""
    shutil.copytree(FOLDER, tmp_path / "js")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "page.json").write_text(json.dumps(page_data(make_case(3))))
    load = 'globalThis.iasaPage = JSON.parse(fs.readFileSync("page.json", "utf8"));'
    (tmp_path / "run.js").write_text(f'import fs from "fs"; {load} await import("./js/main.js");')
    done = subprocess.run(["node", "run.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
