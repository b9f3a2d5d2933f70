"""The house's rules: floors, no cycles, optional libraries stay optional, a checkout that a Space can run."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from javascript import code_only, function_lines

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "iasa"

# A part of the package imports from parts that stand before it, never from one behind it.
ORDER = (
    "paths", "config", "device", "grid", "sampling", "files", "keypoints",
    "media", "pose", "avatar", "speech", "warp", "masks", "models", "losses", "attention", "motion", "teaching",
    "metrics", "inference", "backbones", "training", "pipeline", "session", "explorer", "evaluation",
    "benchmarks", "demo", "cli", "__main__",
)  # fmt: skip
LONGEST_FUNCTION, LONGEST_FILE = 80, 400  # lines
OPTIONAL = {
    "mediapipe",
    "cv2",
    "dlib",
    "gradio",
    "triton",
    "skia",
    "pocketsphinx",
    "librosa",
    "numba",
    "c2pa",
    "pillow_heif",
}
DISTRIBUTION = {
    "PIL": "pillow",
    "skia": "skia-python",
    "espeakng_loader": "espeakng-loader",
    "c2pa": "c2pa-python",
    "pillow_heif": "pillow-heif",
    "cv2": "mediapipe",  # which brings OpenCV
    "dlib": "dlib-bin",
    "skimage": "scikit-image",
    "tokenizers": "transformers",
}


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def modules() -> frozenset[str]:
    return frozenset(module_name(path) for path in python_files())


def imports(path: Path, anywhere: bool = True) -> set[str]:
    """Every module that a file imports; without `anywhere` only what its own import runs at once."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree)) if anywhere else _at_once(tree.body)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports by a relative name; write the whole one"
            found |= {_target(node.module, alias.name) for alias in node.names}
    return found


def _target(module: str, name: str) -> str:
    """What `from module import name` reaches: a module of that name, or the module itself."""
    return f"{module}.{name}" if f"{module}.{name}" in modules() else module


def _at_once(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements outside functions, and not under `if TYPE_CHECKING`."""
    found = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        found.append(node)
        for part in ("body", "orelse", "finalbody"):
            found += _at_once(getattr(node, part, []))
        for handler in getattr(node, "handlers", []):
            found += _at_once(handler.body)
    return found


def unit(module: str) -> str:
    """The part of the package that a module belongs to, "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def test_every_part_has_its_place():
    assert {unit(name) for name in modules()} - {""} == set(ORDER)


@pytest.mark.parametrize("path", python_files(), ids=module_name)
def test_no_import_points_upwards(path):
    here = unit(module_name(path))
    for name in imports(path):
        assert name != "app", f"{path.name} imports the app"
        there = unit(name) if name.startswith("iasa.") else ""
        if here and there and there != here:
            assert ORDER.index(there) < ORDER.index(here), f"{module_name(path)} imports {name}, which stands above it"


def test_every_file_has_a_name_of_its_own():
    names = [path.name for path in python_files() if path.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))
    assert len([path for path in python_files() if path.parent == PACKAGE]) <= 12


def test_functions_are_short():
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                assert lines <= LONGEST_FUNCTION, f"{module_name(path)}.{node.name} has {lines} lines"


def test_javascript_functions_and_files_are_short():
    files = sorted(PACKAGE.rglob("*.js"))
    assert files
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= LONGEST_FILE, f"{path.name} is too long"
        for first, lines in function_lines(text):
            assert lines <= LONGEST_FUNCTION, f"the function in line {first} of {path.name} has {lines} lines"


def test_the_lines_of_javascript_functions_are_counted():
    text = """// function no() { } }
const text = "{" + `a } ${[1].map((x) => {
  return `}${x}`;
})} {`, pattern = /[/{]\\/{/g;
function long(a, b = {
  c: 1,
}) {
  if (a / 2 > 1 / b) {
    return 1;
  }
  for (const x of a) { x.each({ method() {
    return "}";
  } }); }
}
const short = (x) => x,
  wide = (y) => [
    y, { z: 1 },
  ];
"""
    code = code_only(text)
    assert code.count("\n") == text.count("\n") and "no" not in code and "pattern" in code and "map" in code
    assert sorted(function_lines(text)) == [(2, 3), (5, 10), (11, 3), (15, 1), (16, 3)]


@pytest.mark.parametrize("group", [module_name, lambda path: unit(module_name(path))], ids=["files", "parts"])
def test_no_cycles(group):
    """Among files by what importing them runs, among the parts of the package by any import at all."""
    by_file = group is module_name
    graph: dict[str, set[str]] = {}
    for path in python_files():
        names = {n for n in imports(path, anywhere=not by_file) if n.startswith("iasa")}
        reached = names if by_file else {unit(n) for n in names}
        graph.setdefault(group(path), set()).update(reached - {group(path), "", "iasa"})
    while graph:  # take away whatever imports nothing that is left
        free = {name for name, reached in graph.items() if not reached & graph.keys()}
        assert free, f"a cycle among {sorted(graph)}"
        graph = {name: reached for name, reached in graph.items() if name not in free}


def run(code: str) -> str:
    """What a fresh interpreter in the root prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def brought_in() -> dict[str, list[str]]:
    """Optional libraries that the import of each module brings in, after diffusers and transformers had their turn."""
    code = f"""
import importlib, json, sys
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ModelMixin
from diffusers.training_utils import EMAModel
from transformers import BertConfig, BertModel
before = {OPTIONAL!r} & set(sys.modules)
found = dict()
for name in {sorted(name for name in modules() if name != "iasa.__main__" and unit(name) != "demo")!r}:
    importlib.import_module(name)
    found[name] = sorted({OPTIONAL!r} & set(sys.modules) - before)
print(json.dumps(found))
"""
    return json.loads(run(code))


def test_optional_libraries_stay_optional(brought_in):
    assert {name: extra for name, extra in brought_in.items() if extra} == {}


def test_the_demo_alone_needs_gradio():
    """Nothing imports the demo but app.py and its own command, so that everything else runs without it."""
    for path in python_files():
        names = imports(path)
        if module_name(path) == "iasa.cli.demo":
            assert not {name for name in imports(path, anywhere=False) if name.startswith("iasa.demo")}
        elif unit(module_name(path)) != "demo":
            assert not {name for name in names if name.split(".")[0] == "gradio" or name.startswith("iasa.demo")}, (
                path.name
            )
        else:
            assert not {"mediapipe", "skia", "c2pa"} & {name.split(".")[0] for name in imports(path, anywhere=False)}


def test_the_kernels_folder_is_no_package(brought_in):
    """A package called `kernels` in the root would shadow Hugging Face's, which transformers and diffusers import."""
    assert not (ROOT / "kernels" / "__init__.py").exists()
    assert "iasa.pipeline" in brought_in  # both were imported from the root on the way


def test_the_kernels_stand_alone():
    """The folder can be copied into another project; layouts and the reference need no Triton."""
    for path in sorted((ROOT / "kernels" / "iasa_kernels").glob("*.py")):
        top = {name.split(".")[0] for name in imports(path)}
        assert top - set(sys.stdlib_module_names) <= {"torch", "triton", "iasa_kernels"}, path.name
    code = "import sys; sys.path.append('kernels'); import iasa_kernels; print('triton' in sys.modules)"
    assert run(code).strip() == "False"


def test_one_file_knows_the_kernels_and_finds_them_beside_the_package():
    users = [module_name(path) for path in python_files() if "iasa_kernels" in imports(path)]
    assert users == ["iasa.attention.triton"]
    code = "import sys; from iasa.attention.triton import import_kernels; before = list(sys.path); "
    code += "print(import_kernels().csr.__file__, sys.path == before)"
    assert run(code).split() == [str(ROOT / "kernels" / "iasa_kernels" / "csr.py"), "True"]


def test_a_wrong_argument_is_answered_without_torch():
    """The package, every command, and what checks its files: a slip costs no seconds of importing."""
    names = ("iasa", "iasa.speech", "iasa.media.reader", "iasa.avatar.speaker", "iasa.keypoints")
    heavy = {"torch", "diffusers"} | OPTIONAL
    code = f"""
import sys, {", ".join(names)}
from iasa.cli.main import COMMANDS, main
answers = set()
for name in COMMANDS:
    try:
        main([name, "--no-such-option"])
    except SystemExit as left:
        answers.add(left.code)
print(answers, sorted({heavy!r} & set(sys.modules)))
"""
    assert run(code).strip() == "{2} []"


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_the_repository_stays_small():
    """A Space refuses files of over 10 MB."""
    sizes = {path: path.stat().st_size for path in tracked()}
    assert sizes, "git lists no files"
    big = [str(path.relative_to(ROOT)) for path, size in sizes.items() if size >= 10_000_000]
    assert not big
    assert sum(sizes.values()) < 60_000_000


def requirement_lines(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def requirement_names(name: str) -> set[str]:
    return {re.split(r"[<>=!~;\s\[]", line)[0].lower() for line in requirement_lines(name)}


def test_the_extra_all_is_requirements_txt():
    """Two lists of one thing: a Space reads requirements.txt, pip install .[all] the package's own.

    But for numpy, which mediapipe holds below 2, and which is 2 without it.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (everything,) = extras["all"]
    parts = everything.removeprefix("iasa[").removesuffix("]").split(",")
    lines = [*project["dependencies"], *(line for name in parts for line in extras[name])]
    ours = {line.replace("'", '"') for line in lines}
    assert {"numpy>=1.26,<2"} == set(requirement_lines("requirements.txt")) - ours
    assert {"numpy>=1.26,<3"} == ours - set(requirement_lines("requirements.txt"))


def test_the_card_s_eight_packages_are_listed_and_used():
    listed = requirement_names("requirements.txt")
    used = {name.split(".")[0] for path in [*python_files(), ROOT / "app.py"] for name in imports(path)}
    for path in [*(ROOT / "kernels").rglob("*.py"), *(ROOT / "notebooks" / "src").glob("*.py")]:
        used |= {name.split(".")[0] for name in imports(path)}
    for name in ("torch", "gradio", "diffusers", "mediapipe", "librosa", "triton", "imageio", "ipywidgets"):
        assert name in listed and name in used, name


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt", "constraints.txt"])
def test_requirements_are_flat(name):
    """A Space installs requirements.txt alone, with no other file of the repository beside it."""
    for line in requirement_lines(name):
        assert re.match(r"[A-Za-z0-9]", line) and "/" not in line and "@" not in line, line


def test_requirements_hold_what_the_code_imports():
    needed: set[str] = set()
    for path in [*python_files(), ROOT / "app.py"]:
        top = {name.split(".")[0] for name in imports(path)}
        needed |= {DISTRIBUTION.get(name, name) for name in top - set(sys.stdlib_module_names)}
    needed -= {"iasa", "iasa_kernels", "cv2", "spaces"}  # cv2 comes with mediapipe, spaces with a ZeroGPU Space
    needed -= {"ray", "rtmlib"}  # a cluster's own, and for a user's own networks: the refusal says what to install
    listed = requirement_names("requirements.txt")
    assert needed - listed <= requirement_names("requirements-dev.txt"), "a library that no file names"
    optional = {"espeakng-loader", "c2pa-python", "pillow-heif", "dlib-bin", "peft", "transformers", "webdataset"}
    assert needed - listed <= optional, "only training speech, signing, HEIC, judging and the backbones may need more"
    everything = listed | requirement_names("requirements-dev.txt")
    assert everything <= requirement_names("constraints.txt"), "a library without a tested version"


def test_the_space_and_the_constraints_agree():
    readme = (ROOT / "README.md").read_text()
    front = dict(re.findall(r"^(\w+): (.+)$", readme.split("---")[1], re.M))
    assert front["sdk"] == "gradio" and front["python_version"] == '"3.12"' and front["app_file"] == "app.py"
    assert len(front["short_description"]) <= 60
    assert f"gradio=={front['sdk_version']}" in requirement_lines("constraints.txt")


def test_every_place_in_this_checkout_that_the_readme_links_to_is_there():
    readme = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in link]
    assert "examples/results/speakers.webp" in links
    for link in links:
        assert (ROOT / link).exists(), link
    assert (ROOT / "examples/results/speakers.webp").stat().st_size < 1_000_000
