"""Reads every file of a folder in a process of little memory; prints its name before, and how it went after, one a line."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

from iasa.config import InputError
from iasa.media import reader
from iasa.media.picture import read_image

SECONDS = 2.0  # of sound and video that are asked for
ALLOWED = 2**30  # bytes more than what the libraries need to begin with


def read(path: Path) -> None:
    if path.name.startswith("p."):
        read_image(path)
        return
    reads = [reader.read_metadata, lambda p: reader.read_video(p, SECONDS, fps=25)]
    if not path.name.startswith("m."):
        reads.append(lambda p: reader.read_sound(p, SECONDS))
    refused = None
    for one in reads:
        try:
            one(path)
        except InputError as error:
            refused = error
    if refused:
        raise refused


def main(folder: str) -> None:
    opened: list[str] = []

    def watch(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes):
            opened.append(os.fsdecode(arguments[0]))

    paths = sorted(Path(folder).iterdir())
    for kind in {path.suffix: path for path in paths}.values():  # whatever a library loads late is loaded now
        try:
            read(kind)
        except InputError:
            pass
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ALLOWED, size + ALLOWED))
    sys.addaudithook(watch)
    for path in paths:
        print(path.name, end=" ", flush=True)
        opened.clear()
        started = time.process_time()
        try:
            read(path)
            said = "read"
        except InputError as error:
            said = "refused" if "\n" not in str(error) and len(str(error)) < 300 else "badly refused"
        others = {name for name in opened if Path(name) != path and "/site-packages/" not in name}
        print(said, round(time.process_time() - started, 2), sorted(others) or "alone", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
