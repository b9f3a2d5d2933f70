"""Output files: tried before the work begins, and put in place only when they are whole."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from iasa.config import InputError


def display_name(path: str | os.PathLike) -> str:
    """A file's own name, fit to stand in a sentence."""
    return "".join(c if c.isprintable() else "?" for c in Path(path).name)[:80] or "the file"


def check_output(path: str | os.PathLike, suffixes: Sequence[str]) -> Path:
    """`path` if a file with one of the `suffixes` can be written there. Raises InputError; leaves nothing."""
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise InputError(f"the output cannot be named {target.name}; the name must end in {' or '.join(suffixes)}")
    if target.is_dir():
        raise InputError(f"the output cannot be written to {target.name}: it is a folder")
    try:
        with tempfile.TemporaryFile(dir=target.absolute().parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{target.name} cannot be written to {target.absolute().parent}: {reason}") from error
    return target


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """A name to write to, beside `path`, that becomes `path` on leaving; an exception removes it instead."""
    target = Path(path)
    partial = target.with_name(f".{target.stem}.partial{target.suffix}")  # writers choose a format by suffix
    try:
        yield partial
        os.replace(partial, target)
    except OSError as error:
        raise InputError(f"cannot write {target.name}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def write_npz(path: str | os.PathLike, **arrays: np.ndarray | float | str) -> None:
    """Write arrays by name, compressed.

    Packed in memory first: an archive that a full disk cut short complains a second time when it is collected.
    """
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    Path(path).write_bytes(packed.getbuffer())
