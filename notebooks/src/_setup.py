# @title Set-up: finds the package, here or (on Colab) as a fresh copy; torch and numpy are never touched
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

SOURCE = "https://github.com/OWNER/iasa"
LIGHT = ("av", "diffusers", "einops", "safetensors", "soxr")  # what Colab may lack
FAST = os.environ.get("IASA_FAST") == "1"  # tiny sizes, for automatic tests
places = [Path.cwd().resolve(), *Path.cwd().resolve().parents, Path("iasa-course").resolve()]
root = next((p for p in places if (p / "iasa" / "config.py").exists()), places[-1])
if not root.exists():
    subprocess.run(["git", "clone", "-q", "--depth", "1", SOURCE, str(root)], check=True)
missing = [name for name in LIGHT if importlib.util.find_spec(name) is None]
if "google.colab" in sys.modules:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", *missing, "-e", str(root)], check=True)
elif missing:
    print(f"missing: {', '.join(missing)}. In a terminal: pip install -e '{root}[notebooks,speech]'")
sys.path.insert(0, str(root))
