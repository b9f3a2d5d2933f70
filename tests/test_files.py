"""Where output may go: never onto an input, a link or a protected file; whole or not at all; under any name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from iasa.config import InputError
from iasa.files import atomic_write, check_output, is_same_file, partial_name


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "talk.npz"
    path.write_bytes(b"precious")
    return path


def ways_to(path: Path) -> dict[str, Path]:
    """Other names of a file: by a folder's link, with dots, relative, and a second name of the same bytes."""
    (path.parent / "inner").mkdir()
    (path.parent / "door").symlink_to(path.parent)
    os.link(path, path.with_name("twin.npz"))
    return {
        "itself": path,
        "dots": path.parent / "inner" / ".." / path.name,
        "a linked folder": path.parent / "door" / path.name,
        "relative": Path(os.path.relpath(path)),
        "a hard link": path.with_name("twin.npz"),
    }


def test_an_input_is_no_output_by_whatever_way(source):
    for way, target in ways_to(source).items():
        with pytest.raises(InputError, match="is also the input talk.npz"):
            check_output(target, (".npz",), [None, "/nowhere/else.npz", source])
        assert is_same_file(target, source), way
    assert source.read_bytes() == b"precious"
    check_output(source.with_name("other.npz"), (".npz",), [source])


def test_an_input_that_is_a_link_protects_what_it_points_to(source):
    link = source.with_name("link.npz")
    link.symlink_to(source)
    with pytest.raises(InputError, match="is also the input link.npz"):
        check_output(source, (".npz",), [link])


def test_links_and_protected_files_are_not_replaced(source):
    link = source.with_name("link.npz")
    link.symlink_to(source)
    dangling = source.with_name("dangling.npz")
    dangling.symlink_to(source.with_name("missing.npz"))
    protected = source.with_name("protected.npz")
    protected.write_bytes(b"precious")
    protected.chmod(0o444)
    os.mkfifo(source.with_name("pipe.npz"))
    for target, reason in {
        link: "it is a link",
        dangling: "it is a link",
        protected: "protected against writing",
        source.with_name("pipe.npz"): "not a plain file",
        source.parent: "must end in",
    }.items():
        with pytest.raises(InputError, match=reason):
            check_output(target, (".npz",))
        if target != source.parent:
            with pytest.raises(InputError, match=reason), atomic_write(target) as partial:
                partial.write_bytes(b"new")
    assert link.is_symlink() and dangling.is_symlink() and source.read_bytes() == protected.read_bytes() == b"precious"
    assert not [path for path in source.parent.iterdir() if "partial" in path.name]


@pytest.mark.parametrize("length", [200, 238, 255])
def test_names_as_long_as_the_file_system_takes(tmp_path, length):
    target = tmp_path / ("x" * (length - 4) + ".npz")
    assert check_output(target, (".npz",)) == target
    with atomic_write(target) as partial:
        partial.write_bytes(b"new")
    assert target.read_bytes() == b"new" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(InputError, match="File name too long"):
        check_output(tmp_path / ("x" * 252 + ".npz"), (".npz",))


def test_no_file_of_the_user_s_has_a_partial_name(tmp_path):
    """Two writers of one target must not meet either."""
    assert len({partial_name(tmp_path / "a.npz") for _ in range(100)}) == 100


def test_a_replaced_file_keeps_its_permissions(source):
    source.chmod(0o600)
    with atomic_write(source) as partial:
        partial.write_bytes(b"new")
    assert source.stat().st_mode & 0o777 == 0o600 and source.read_bytes() == b"new"


def test_a_failure_keeps_the_old_file(source):
    with pytest.raises(KeyError), atomic_write(source) as partial:
        partial.write_bytes(b"half")
        raise KeyError
    assert source.read_bytes() == b"precious" and len(list(source.parent.iterdir())) == 1


def test_a_process_that_is_killed_while_it_saves_leaves_a_whole_file(tmp_path):
    code = (
        "import os, signal, sys, pathlib, numpy as np; from iasa.files import write_npz\n"
        "write_npz(sys.argv[1], value=np.full(200_000, 1))\n"
        "def die_half_way(path, data):\n"
        "    with open(path, 'wb') as file: file.write(data[: len(data) // 2])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "pathlib.Path.write_bytes = die_half_way\n"
        "write_npz(sys.argv[1], value=np.full(200_000, 2))"
    )
    path = tmp_path / "state.npz"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -signal.SIGKILL
    with np.load(path) as stored:
        value = stored["value"]
    assert len(value) == 200_000 and np.all(value == 1)
