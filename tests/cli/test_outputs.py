"""No command writes onto what it reads, whatever the way to it; and names that are long or cannot be shown are written."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from iasa.cli.main import main
from iasa.keypoints import COUNT, Keypoints, load_keypoints, save_keypoints
from iasa.media.reader import read_sound
from iasa.media.writer import write_video

CLIP = Path(__file__).resolve().parents[2] / "iasa" / "assets" / "speech" / "welcome.mp3"

# Every option that names a file which is read, with an ending that the command's --out takes where one exists:
# the file itself is then the nearest thing to overwrite.
PAIRS = [
    ("generate --audio {x} --out {out}", ".mp4"),
    ("generate --stream --audio {x} --out {out}", ".mp4"),
    ("generate --audio {speech} --pose {x} --out {out}", ".mp4"),
    ("generate --audio {speech} --reference {x} --out {out}", ".png"),
    ("generate --audio {speech} --reference {x} --out {out}", ".webp"),
    ("motion --audio {x} --out {out}", ".npz"),
    ("avatar --audio {x} --out {out}", ".mp4"),
    ("avatar --audio {x} --out {out}", ".webm"),
    ("pose --video {x} --out {out}", ".npz"),
    ("mask --pose {x} --out {out}", ".npz"),
    ("mask --pose {x} --out {out}", ".json"),
    ("mask --pose {x} --out {out}", ".png"),
    ("mask --pose {poses} --video {x} --out {out}", ".html"),
    ("evaluate --metric fid={x} --out {out}", ".json"),
    ("evaluate --keep {x} --out {out}", ".json"),
    ("evaluate --metric fid={x} --keep {out}", ".json"),
]
WAYS = ("itself", "hard link", "relative", "dots", "linked folder", "link to it", "link from it")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("words", "suffix"), PAIRS)
def test_an_input_is_never_written_over(tmp_path, monkeypatch, capsys, words, suffix, way):
    poses, given = tmp_path / "poses.npz", tmp_path / f"given{suffix}"
    save_keypoints(poses, Keypoints(np.full((4, COUNT, 2), 0.5, np.float32), np.ones((4, COUNT), np.float32)))
    if suffix in (".mp4", ".webm"):
        shutil.copy(CLIP, given)
    else:
        shutil.copy(poses, given)
    monkeypatch.chdir(tmp_path)
    out = {
        "itself": given, "hard link": tmp_path / f"twin{suffix}", "relative": Path(given.name),
        "dots": tmp_path / "inner" / ".." / given.name, "linked folder": tmp_path / "door" / given.name,
        "link to it": tmp_path / f"link{suffix}", "link from it": given,
    }[way]  # fmt: skip
    (tmp_path / "inner").mkdir()
    (tmp_path / "door").symlink_to(tmp_path)
    read = given
    if way == "hard link":
        os.link(given, out)
    elif way == "link to it":
        out.symlink_to(given)
    elif way == "link from it":
        read = tmp_path / f"alias{suffix}"
        read.symlink_to(given)
    before = given.read_bytes()
    filled = words.format(x=read, out=out, speech=CLIP, poses=poses)
    assert main(filled.split()) == 2
    said = capsys.readouterr().err
    assert "also the input" in said or "it is a link" in said, said
    assert given.read_bytes() == before and not [p for p in tmp_path.iterdir() if "partial" in p.name]


def test_every_command_that_writes_a_file_is_tried_above():
    """A command that is added with an --out has to be added to the pairs, too."""
    from iasa.cli.main import COMMANDS

    folder = Path(sys.modules["iasa.cli.main"].__file__).parent
    writing = {name for name in COMMANDS if '"--out"' in (folder / f"{name.replace('-', '_')}.py").read_text()}
    tried = {words.split()[0] for words, _ in PAIRS}
    # these read no file of the user's, and the last writes shards of its own names into a folder
    assert writing - tried == {"bench", "evaluate-motion", "backbone-data"}


def test_a_link_and_a_protected_file_are_refused_before_the_work(tmp_path, capsys):
    precious = tmp_path / "precious.npz"
    precious.write_bytes(b"precious")
    (tmp_path / "link.npz").symlink_to(precious)
    for name, mode, reason in (
        ("link.npz", 0o644, "it is a link"),
        ("precious.npz", 0o444, "protected against writing"),
    ):
        precious.chmod(mode)
        assert main(["motion", "--audio", str(CLIP), "--out", str(tmp_path / name)]) == 2
        assert reason in capsys.readouterr().err and precious.read_bytes() == b"precious"
    assert (tmp_path / "link.npz").is_symlink()


@pytest.mark.parametrize("length", [238, 255])
def test_long_names_are_written(tmp_path, length):
    audio = shorten(CLIP, tmp_path)
    out = tmp_path / ("x" * (length - 4) + ".mp4")
    assert main(["avatar", "--audio", str(audio), "--out", str(out)]) == 0
    assert read_sound(out).seconds == pytest.approx(0.6, abs=0.05)


def test_a_name_that_the_terminal_cannot_show_is_written_and_said(tmp_path, monkeypatch):
    audio = shorten(CLIP, tmp_path)
    for encoding, name in (("ascii", "größe.npz"), ("utf-8", os.fsdecode(b"bytes\xff.npz"))):
        shown = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", shown)
        assert main(["motion", "--audio", str(audio), "--avatar", "7", "--out", str(tmp_path / name)]) == 0
        shown.flush()
        assert b"\\x" in shown.buffer.getvalue() or b"\\udcff" in shown.buffer.getvalue()
        assert len(load_keypoints(tmp_path / name)) == 15


def test_the_track_that_is_asked_for_is_heard(tmp_path, capsys):
    audio = shorten(CLIP, tmp_path)
    out = tmp_path / "p.npz"
    assert main(["motion", "--audio", str(audio), "--track", "1", "--avatar", "7", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 15
    assert main(["motion", "--audio", str(audio), "--track", "2", "--avatar", "7", "--out", str(out)]) == 2
    assert "has no sound track 2; it holds one" in capsys.readouterr().err


def shorten(clip: Path, folder: Path, seconds: float = 0.6) -> Path:
    """The first moments of a clip, as a video."""
    sound = read_sound(clip)
    path = folder / "speech.mp4"
    frames = np.zeros((round(seconds * 25), 16, 16, 3), np.uint8)
    write_video(path, frames, sound.samples[0, : int(seconds * sound.rate)], sound.rate)
    return path
