"""Every format that is written: complete or absent, with the settings and the machine-readable mark in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image
from samples import RATE, make_tone

from iasa.config import InputError
from iasa.media import animation, content_credentials
from iasa.media.metadata import AI_MARK, AI_SOURCE, find_xmp
from iasa.media.reader import open_media, open_video, read_audio_track, read_metadata, read_video
from iasa.media.writer import VideoWriter, write_video

NAMES = ("v.mp4", "v.webm", "v.gif", "v.webp", "v.png", "frames")
SETTINGS = {"seed": np.int64(7), "text": 'Grüße <b> & "quotes" \' ]]> \\ = ; #', "steps": [1, 2.5], "x": None}


def make_frames(count: int = 10) -> np.ndarray:
    """A square that moves right by 4 pixels a frame."""
    frames = np.full((count, 48, 64, 3), (30, 60, 90), np.uint8)
    for i in range(count):
        frames[i, 20:28, 4 * i : 4 * i + 8] = (230, 200, 40)
    return frames


def a_file_of(path: Path) -> Path:
    return path / animation.NAMES.format(3) if path.is_dir() else path


@pytest.mark.parametrize("name", NAMES)
def test_frames_and_settings_come_back(tmp_path, name):
    frames = make_frames()
    write_video(tmp_path / name, frames, make_tone(0.4), RATE, metadata=SETTINGS, crf=8)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name == "frames":
        files = sorted((tmp_path / name).iterdir())
        assert [file.name for file in files] == [f"{i:05d}.png" for i in range(10)]
        found = np.stack([iio.imread(file) for file in files])
    else:
        found, fps = read_video(tmp_path / name, fps=25)
        assert fps == 25
    assert found.shape == frames.shape
    error = np.abs(found.astype(int) - frames)
    assert error.max() == 0 if name in ("v.png", "frames") else error.mean() < 4
    read = read_metadata(a_file_of(tmp_path / name))
    assert {key: read[key] for key in SETTINGS} == {**SETTINGS, "seed": 7}
    assert read["ai_generated"] is True and read["digital_source_type"] == AI_SOURCE


@pytest.mark.parametrize("name", [name for name in NAMES if name != "v.webm"])
def test_the_statement_is_xmp_that_any_reader_finds(tmp_path, name):
    """By the standards' own words: a packet of RDF, in it IPTC's term; where it lies is checked below by exiftool."""
    write_video(tmp_path / name, make_frames(), metadata=SETTINGS)
    packet = find_xmp(a_file_of(tmp_path / name).read_bytes())
    tree = ElementTree.fromstring(re.sub(r"<\?xpacket[^>]*\?>", "", packet.replace("<?xpacket end=", "")).strip())
    found = tree.findtext(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert found == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    described = tree.find(".//{http://purl.org/dc/elements/1.1/}description")
    assert "".join(described.itertext()).strip() == AI_MARK


def test_each_container_holds_it_where_its_standard_says(tmp_path):
    for name in NAMES:
        write_video(tmp_path / name, make_frames(), make_tone(0.4), RATE)
    mp4 = (tmp_path / "v.mp4").read_bytes()
    at, boxes = 0, []
    while at < len(mp4):
        size = int.from_bytes(mp4[at : at + 4])
        boxes.append((mp4[at + 4 : at + 8], mp4[at + 8 : at + 24]))
        at += size
    assert at == len(mp4) and boxes[-1] == (b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac"))
    gif = (tmp_path / "v.gif").read_bytes()
    at = gif.index(b"\x21\xff\x0bXMP DataXMP") + 14
    while gif[at]:  # as a reader that knows no XMP walks over it
        at += 1 + gif[at]
    assert gif[at:] == b"\x00\x3b"
    with Image.open(tmp_path / "v.webp") as picture:
        assert AI_SOURCE.encode() in picture.info["xmp"]
    with Image.open(tmp_path / "v.png") as picture:
        picture.load()
        assert AI_SOURCE in picture.text["XML:com.adobe.xmp"]
    with open_media(tmp_path / "v.webm") as container:
        tags = {name.upper(): value for name, value in container.metadata.items()}
    assert tags["DIGITAL_SOURCE_TYPE"] == AI_SOURCE and AI_MARK in tags["DESCRIPTION"]


@pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="exiftool is not installed (Debian: libimage-exiftool-perl)"
)
def test_exiftool_reads_the_statement(tmp_path):
    for name in NAMES:
        write_video(tmp_path / name, make_frames(), make_tone(0.4), RATE, metadata=SETTINGS)
        command = [
            "exiftool",
            "-json",
            "-G0",
            "-warning",
            "-error",
            "-DigitalSourceType",
            str(a_file_of(tmp_path / name)),
        ]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[0]
        group = "Matroska" if name == "v.webm" else "XMP"
        assert found == {"SourceFile": command[-1], f"{group}:DigitalSourceType": AI_SOURCE}, (name, found)


@pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="exiftool is not installed (Debian: libimage-exiftool-perl)"
)
def test_signing_keeps_the_statement(tmp_path, pems):
    write_video(tmp_path / "v.mp4", make_frames(), metadata=SETTINGS)
    content_credentials.sign_video(tmp_path / "v.mp4", *pems)
    command = ["exiftool", "-s3", "-XMP-iptcExt:DigitalSourceType", str(tmp_path / "v.mp4")]
    assert AI_SOURCE in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert read_metadata(tmp_path / "v.mp4")["seed"] == 7


@pytest.mark.parametrize("name", NAMES)
def test_what_is_learnt_on_the_way_is_written_too(tmp_path, name):
    with VideoWriter(tmp_path / name, audio=make_tone(0.4), rate=RATE, metadata={"phones": "unknown"}) as writer:
        writer.describe({"phones": "recogniser"})
        writer.add_frames(make_frames(5))
        writer.describe({"phones": "signal"})
        writer.add_frames(make_frames(5))
    said = read_metadata(a_file_of(tmp_path / name))["phones"]
    assert said == (
        "recogniser" if name == "frames" else "signal"
    )  # a frame's file says what was known when it was made
    if name in ("v.mp4", "v.webm"):
        found, _ = read_audio_track(tmp_path / name)
        assert len(read_video(tmp_path / name)[0]) == 10 and np.abs(found).max() > 0.3


@pytest.mark.parametrize("name", NAMES)
def test_a_crash_leaves_nothing_and_keeps_what_was_there(tmp_path, name):
    with pytest.raises(RuntimeError, match="crash"):
        with VideoWriter(tmp_path / name) as writer:
            writer.add_frames(make_frames())
            raise RuntimeError("crash")
    assert list(tmp_path.iterdir()) == []
    write_video(tmp_path / name, make_frames(4))
    before = a_file_of(tmp_path / name).read_bytes()
    if name == "frames":
        with pytest.raises(InputError, match="a new or empty folder"):
            VideoWriter(tmp_path / name).__enter__()
    else:
        with pytest.raises(KeyboardInterrupt):
            with VideoWriter(tmp_path / name) as writer:
                writer.add_frames(make_frames())
                raise KeyboardInterrupt
    assert a_file_of(tmp_path / name).read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_visible_mark_is_in_every_format(tmp_path, name):
    plain = np.full((3, 96, 128, 3), 128, np.uint8)
    with VideoWriter(tmp_path / name, mark=True) as writer:
        writer.add_frames(plain)
    if name == "frames":
        found = iio.imread(tmp_path / name / "00000.png")
    else:
        with open_video(tmp_path / name) as (pictures, _):
            found = next(pictures)
    corner, rest = found[-16:, -32:].astype(int), found[:80, :90].astype(int)
    assert np.ptp(corner) > 100 and np.abs(rest - 128).max() < 6


def test_an_empty_folder_is_taken_and_a_link_to_one_is_not(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "frames")
    with pytest.raises(InputError, match="a new or empty folder"):
        write_video(tmp_path / "link", make_frames(2))
    write_video(tmp_path / "frames", make_frames(2))
    assert len(list((tmp_path / "frames").iterdir())) == 2


def test_an_animation_that_memory_would_not_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(animation, "MAX_SECONDS", 0.2)
    with pytest.raises(InputError, match=r"name a \.mp4 or \.webm instead"):
        write_video(tmp_path / "v.gif", make_frames(6))
    write_video(tmp_path / "v.gif", make_frames(5))
    assert len(list(tmp_path.iterdir())) == 1


def test_animations_keep_their_time(tmp_path):
    for name in ("v.gif", "v.webp", "v.png"):
        write_video(tmp_path / name, make_frames(10), fps=12.5)
        assert len(read_video(tmp_path / name, fps=25)[0]) in (19, 20)
        with pytest.raises(InputError, match="too long"):
            read_video(tmp_path / name, max_seconds=0.3)
