"""`iasa explorer`: the mask explorer of the bundled clips as a folder of plain files, to be put on any web server."""

from __future__ import annotations

import argparse
from pathlib import Path

from iasa.cli.arguments import add_networks, duration, tell
from iasa.config import VIDEO_FPS, InputError
from iasa.files import display_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--static",
        required=True,
        metavar="DIR",
        help="a new or empty folder, which gets index.html and a page for each further clip",
    )
    parser.add_argument("--seconds", type=duration, default=10.0, help="of each clip, up to 10 (default: all)")
    parser.add_argument(
        "--webcam",
        action="store_true",
        help="let visitors ask for their own pose by camera, for which their browsers load mediapipe from the web",
    )
    add_networks(parser)


def run(arguments: argparse.Namespace) -> dict:
    folder = Path(arguments.static)
    if folder.is_symlink() or folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"the site cannot be written to {display_name(folder)}: a new or empty folder is needed")
    from iasa.explorer.static_site import MAX_SECONDS, write_site
    from iasa.pipeline import CoSpeechPipeline

    if not 2 / VIDEO_FPS <= arguments.seconds <= MAX_SECONDS:
        raise InputError(f"--seconds is {arguments.seconds:g}; 0.1 to {MAX_SECONDS:g} are accepted")
    pipeline = CoSpeechPipeline.from_pretrained(arguments.weights, teacher=None)
    files = write_site(
        folder, pipeline, arguments.seconds, lambda name: tell(arguments, f"{name} is made again, looking on"),
        arguments.webcam,
    )  # fmt: skip
    size = sum(file.stat().st_size for file in files)
    tell(
        arguments, f"{folder}: {', '.join(file.name for file in files)}, {size / 2**20:.1f} MB, nothing else is needed"
    )
    return {"files": [file.name for file in files], "bytes": size, "out": arguments.static}
