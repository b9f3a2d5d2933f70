"""The example people: photograph-like pictures that the project rendered, each under its name."""

from __future__ import annotations

import os
from pathlib import Path

from iasa.config import InputError
from iasa.files import display_name
from iasa.paths import PEOPLE


def people_names() -> list[str]:
    """Of the committed pictures."""
    return sorted(path.stem for path in PEOPLE.glob("*.jpg"))


def find_picture(name: str) -> Path:
    """The file of that name; a name that is no file is that of an example person. Raises InputError."""
    people = people_names()
    if name in people and not os.path.isfile(name):
        return PEOPLE / f"{name}.jpg"
    if name and (Path(name).suffix or "/" in name or os.sep in name or os.path.exists(name)):
        return Path(name)
    raise InputError(f"there is no file {display_name(name)}, and no such example person: they are {', '.join(people)}")


def is_example(file: str | os.PathLike | None) -> bool:
    """Whether a file, under whatever name, is one of these pictures: nobody is in it who could be asked."""
    if file is None or not os.path.isfile(file):
        return False
    size = os.path.getsize(file)
    return any(
        path.stat().st_size == size and path.read_bytes() == Path(file).read_bytes() for path in PEOPLE.glob("*.jpg")
    )
