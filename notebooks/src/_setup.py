# @title Set-up: finds the package, here or (on Colab) as a fresh copy; torch and numpy stay
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ADDRESS = os.environ.get("IASA_ADDRESS", "https://github.com/OWNER/iasa")  # where copies come from
NEEDED = "av diffusers einops imageio ipywidgets librosa matplotlib safetensors soxr".split()
FAST = os.environ.get("IASA_FAST") == "1"  # tiny sizes, for automatic tests


class SetUpFailed(Exception):
    def _render_traceback_(self):
        return [f"{self}"]  # the sentence alone


def run(command, failure):
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetUpFailed(failure) from error


here, found = Path.cwd().resolve(), importlib.util.find_spec("iasa")
installed = [Path(found.origin).parents[1]] if found else []
places = [here, *here.parents, *installed, here / "iasa-course"]
root = next((p for p in places if (p / "iasa" / "config.py").exists()), places[-1])
if sys.version_info < (3, 11):
    raise SetUpFailed(f"This is Python {sys.version.split()[0]}; the course needs 3.11 or newer.")
if not root.exists():
    if "OWNER" in ADDRESS:
        raise SetUpFailed("No repository is named: put its address into ADDRESS, and run again.")
    clone = ["git", "clone", "-q", "--depth", "1", ADDRESS, str(root)]
    run(clone, f"{ADDRESS} could not be fetched: is the address right, and is git installed?")
missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if "google.colab" in sys.modules:
    keep = Path(tempfile.mkdtemp()) / "keep.txt"  # what pip must leave as it is
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "torch")}
    keep.write_text("\n".join(f"{name}=={version}" for name, version in versions.items()))
    pip = [sys.executable, "-m", "pip", "install", "-q", "-c", str(keep), "-e", str(root)]
    run(pip, f"The package could not be installed beside {versions}; pip's own words are above.")
elif missing:
    print(f"missing: {', '.join(missing)}.", end=" ")
    print(f"In a terminal: pip install -e '{root}[laptop]', then run this cell again.")
sys.path.insert(0, str(root))
