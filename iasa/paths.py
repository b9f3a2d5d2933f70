"""Where the package's data lie: the one place that knows a path."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent  # of the repository; an installed package has none of what lies beside it

WEIGHTS = PACKAGE / "weights"  # networks with their cards, one folder each
PEOPLE_WEIGHTS = WEIGHTS / "people"  # those that were trained on from these for photographs of people
ASSETS = PACKAGE / "assets"
SPEECH = ASSETS / "speech"  # clips as NAME.mp3, each with its text and phones in NAME.json
POSES = ASSETS / "poses"  # poses made from two of these clips, NAME.npz
SPEAKERS = ASSETS / "speakers"  # pictures of drawn speakers, NAME.png, and their seeds in speakers.json
PEOPLE = ASSETS / "people"  # pictures of rendered people, NAME.jpg
LIP_NETWORK = ASSETS / "lip_network.npz"
FACE_MESH = ASSETS / "face_mesh.npz"

RESULTS = CHECKOUT / "docs" / "results"  # measured tables
EXAMPLES = CHECKOUT / "examples"
KERNELS = CHECKOUT / "kernels"  # holds the package iasa_kernels
