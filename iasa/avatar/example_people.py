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
    person = PEOPLE / f"{name}.jpg"
    if Path(name).suffix or "/" in name or os.sep in name or Path(name).exists():
        return Path(name)
    if not person.is_file():
        people = ", ".join(people_names())
        raise InputError(f"there is no file {display_name(name)}, and no such example person: they are {people}")
    return person


def is_example(file: str | os.PathLike | None) -> bool:
    """Whether a file, under whatever name, is one of these pictures: nobody is in it who could be asked."""
    if file is None:
        return False
    size = os.path.getsize(file)
    return any(
        path.stat().st_size == size and path.read_bytes() == Path(file).read_bytes() for path in PEOPLE.glob("*.jpg")
    )
