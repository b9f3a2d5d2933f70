# @title Set-up: finds the package, here or (on Colab) as a fresh copy; torch and numpy stay
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

SOURCE = "https://github.com/OWNER/iasa"
LIGHT = ("av", "diffusers", "einops", "imageio", "librosa", "safetensors", "soxr")  # Colab may lack
FAST = os.environ.get("IASA_FAST") == "1"  # tiny sizes, for automatic tests
places = [Path.cwd().resolve(), *Path.cwd().resolve().parents, Path("iasa-course").resolve()]
root = next((p for p in places if (p / "iasa" / "config.py").exists()), places[-1])
if not root.exists():
    subprocess.run(["git", "clone", "-q", "--depth", "1", SOURCE, str(root)], check=True)
missing = [name for name in LIGHT if importlib.util.find_spec(name) is None]
if "google.colab" in sys.modules:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
    subprocess.run([*pip, *missing, "-e", str(root)], check=True)
elif missing:
    print(f"missing: {', '.join(missing)}.", end=" ")
    print(f"In a terminal: pip install -e '{root}[notebooks,speech]'")
sys.path.insert(0, str(root))
