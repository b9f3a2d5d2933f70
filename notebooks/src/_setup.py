# @title Set-up: finds the package, here or (on Colab) as a fresh copy; torch and numpy are never touched
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

SOURCE = "https://github.com/OWNER/iasa"
FAST = os.environ.get("IASA_FAST") == "1"  # tiny sizes, for automatic tests
places = [Path.cwd().resolve(), *Path.cwd().resolve().parents, Path("iasa-course").resolve()]
root = next((p for p in places if (p / "iasa" / "config.py").exists()), places[-1])
if not root.exists():
    subprocess.run(["git", "clone", "-q", "--depth", "1", SOURCE, str(root)], check=True)
if "google.colab" in sys.modules:
    light = ("av", "diffusers", "einops", "librosa", "safetensors")
    missing = [name for name in light if importlib.util.find_spec(name) is None]
    if missing:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", *missing], check=True)
sys.path.insert(0, str(root))
