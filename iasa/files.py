"""Output files: never an input, tried before the work begins, and put in place only when they are whole."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from iasa.config import InputError


def display_name(path: str | os.PathLike) -> str:
    """A file's own name, fit to stand in a sentence."""
    name = Path(path).name or os.fspath(path) or "the file"  # "." and ".." have no name of their own
    return "".join(c if c.isprintable() else "?" for c in str(name))[:80]


def missing_file(path: str | os.PathLike) -> InputError:
    """Why there is no such file: most often it is the folder that is wrong."""
    folder = Path(path).parent
    if folder.exists():
        return InputError("there is no file {name}", name=display_name(path))
    return InputError(
        "there is no file {name}, for there is no folder {folder}", name=display_name(path), folder=display_name(folder)
    )


def _one_of(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


def check_output(
    path: str | os.PathLike,
    suffixes: Sequence[str],
    inputs: Iterable[str | os.PathLike | None] = (),  # what the command reads; None where nothing is given
) -> Path:
    """`path` if a file with one of the `suffixes` can be written there, else InputError; leaves nothing.

    Refused beside what cannot be written at all: one of the `inputs` (by whatever link or spelling), a link, which
    would be replaced instead of what it points to, and a file that is protected against writing.
    """
    target, name = Path(path), display_name(path)
    if target.suffix.lower() not in suffixes:
        raise InputError(f"the output cannot be named {name}; the name must end in {_one_of(suffixes)}")
    check_replaceable(target)
    for source in inputs:
        if source is not None and is_same_file(target, source):
            raise InputError(f"the output {name} is also the input {display_name(source)}; another name is needed")
    try:
        with tempfile.TemporaryFile(dir=target.absolute().parent):
            pass
    except OSError as error:
        raise _unwritable(target, error) from error
    return target


def check_replaceable(path: str | os.PathLike) -> None:
    """Raise InputError unless `path` is free, or a plain file that its owner lets be written."""
    target, name = Path(path), display_name(path)
    try:
        mode = os.lstat(target).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        raise _unwritable(target, error) from error
    if stat.S_ISDIR(mode):
        raise InputError(f"the output cannot be written to {name}: it is a folder")
    if stat.S_ISLNK(mode):
        raise InputError(f"the output cannot be written to {name}: it is a link; name the file it points to")
    if not stat.S_ISREG(mode):
        raise InputError(f"the output cannot be written to {name}: it is not a plain file")
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise InputError(f"the output cannot be written to {name}: it is protected against writing")


def is_same_file(one: str | os.PathLike, other: str | os.PathLike) -> bool:
    """Whether two paths lead to the same file: links, hard links, and case where the file system ignores it."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one of them is not there (yet)
        return os.path.realpath(one) == os.path.realpath(other)


def partial_name(path: str | os.PathLike) -> Path:
    """A free name beside `path` with its suffix, however long or odd `path`'s own name is."""
    target = Path(path).absolute()
    return target.with_name(f".{uuid.uuid4().hex[:12]}.partial{target.suffix}")  # writers choose a format by suffix


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """A name to write to, beside `path`, that becomes `path` on leaving; an exception removes it instead."""
    target = Path(path)
    check_replaceable(target)
    partial = partial_name(target)
    try:
        yield partial
        put_in_place(partial, target)
    except OSError as error:
        raise InputError(
            "cannot write {name}: {reason}", name=display_name(target), reason=error.strerror or str(error)
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def put_in_place(partial: Path, target: Path) -> None:
    """Rename a finished file; one that it replaces hands on its permissions."""
    if target.exists():
        shutil.copymode(target, partial)
    os.replace(partial, target)


def _unwritable(target: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(
        "{name} cannot be written to {folder}: {reason}",
        name=display_name(target),
        folder=target.absolute().parent,
        reason=reason,
    )


def write_npz(path: str | os.PathLike, **arrays: np.ndarray | np.generic | float | str) -> None:
    """Write arrays by name, compressed; `path` holds the old file or the whole new one, never a part.

    Packed in memory first: an archive that a full disk cut short complains a second time when it is collected.
    """
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    with atomic_write(path) as partial:
        partial.write_bytes(packed.getbuffer())
