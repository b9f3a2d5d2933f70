# @title Set-up: finds the package, here or (on Colab) as a fresh copy; torch and numpy stay
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ADDRESS = os.environ.get("IASA_ADDRESS", "https://github.com/OWNER/iasa")  # where copies come from
FAST = os.environ.get("IASA_FAST") == "1"  # tiny sizes, for automatic tests


class SetUpFailed(Exception):
    def _render_traceback_(self):
        return [f"{self}"]  # the sentence alone


def run(command, failure):
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetUpFailed(failure) from error


def is_missing(requirement):
    try:
        importlib.metadata.version(re.match(r"[\w-]+", requirement)[0])
    except importlib.metadata.PackageNotFoundError:
        return True
    return False


here, found = Path.cwd().resolve(), importlib.util.find_spec("iasa")
installed = [Path(found.origin).parents[1]] if found else []
places = [here, *here.parents, *installed, here / "iasa-course"]
root = next((p for p in places if (p / "iasa" / "config.py").exists()), places[-1])
if not root.exists():
    if "OWNER" in ADDRESS:
        raise SetUpFailed("No repository is named: put its address into ADDRESS, and run again.")
    clone = ["git", "clone", "-q", "--depth", "1", ADDRESS, str(root)]
    run(clone, f"{ADDRESS} could not be fetched: is the address right, and is git installed?")
project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
needed = [*project["dependencies"], *project["optional-dependencies"]["notebooks"]]
missing = [requirement for requirement in needed if is_missing(requirement)]
if "google.colab" in sys.modules:
    keep = Path(tempfile.mkdtemp()) / "keep.txt"  # what pip must leave as it is
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "torch")}
    keep.write_text("\n".join(f"{name}=={version}" for name, version in versions.items()))
    pip = [sys.executable, "-m", "pip", "install", "-q", "-c", str(keep)]
    failure = f"The package could not be installed beside {versions}; pip's own words are above."
    if missing:
        run([*pip, *missing], failure)
    run([*pip, "--no-deps", "-e", str(root)], failure)
elif missing:
    print(f"missing: {', '.join(missing)}.", end=" ")
    print(f"In a terminal: pip install -e '{root}[laptop]', then run this cell again.")
sys.path.insert(0, str(root))
