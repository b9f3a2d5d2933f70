"""Malformed uploads by a seeded generator: what a careless or hostile visitor might send to the demo."""

from __future__ import annotations

import io
import json
import pickle
import struct
import wave
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from iasa.keypoints import COUNT
from iasa.media.writer import write_video

SECRET = "the-secret-of-the-server"
SCRIPT = "<img src=x onerror=alert(1)><script>alert(1)</script>"
DOORS = {"speech": ".wav", "photo": ".png", "poses": ".npz", "video": ".mp4"}


@dataclass(frozen=True)
class Upload:
    """A file, and which of the demo's doors it is brought to."""

    kind: str
    door: str
    path: Path


FITTING = (
    ("speech", "video"),
    ("video", "poses"),
)  # doors that take another's kind: sound of a video, poses as a driver


def make_sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes((8000 * np.sin(np.arange(4000) * 0.3)).astype("<i2").tobytes())
    return file.getvalue()


def make_picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def make_poses(**arrays) -> bytes:
    given = dict(xy=np.full((4, COUNT, 2), 0.5, np.float32), confidence=np.ones((4, COUNT), np.float32)) | arrays
    file = io.BytesIO()
    np.savez(file, **given)
    return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A tiny file whose header claims that many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10_000_000))
        + chunk(b"IEND", b"")
    )


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("unpickled"),))


def make_uploads(folder: Path, count: int, seed: int = 0) -> Iterator[Upload]:
    """`count` uploads in `folder`, going round all kinds; every one must be refused."""
    rng = np.random.default_rng(seed)
    secret = folder / "secret.txt"
    secret.write_text(SECRET)
    clip = folder / "clip.mp4"
    write_video(clip, rng.integers(0, 255, (6, 64, 64, 3), np.uint8), np.zeros(4000, np.float32), 16_000)
    huge = folder / "huge.mp4"
    write_video(huge, np.zeros((1, 4320, 7680, 3), np.uint8))
    good = {"speech": make_sound(), "photo": make_picture(), "poses": make_poses(), "video": clip.read_bytes()}
    playlist = f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile '{secret}'\n".encode()
    nan = np.full((4, COUNT, 2), np.nan, np.float32)

    def pick(door: str | None = None) -> tuple[str, bytes]:
        door = door or str(rng.choice(list(DOORS)))
        return door, good[door]

    def truncated():
        door, data = pick()
        kept = {"speech": 40, "photo": len(data) // 2, "poses": len(data) // 2, "video": len(data) // 3}[door]
        return door, data[: int(rng.integers(1, kept))]

    def wrong_magic():
        door, data = pick()
        return door, rng.bytes(12) + data[12:] if door != "poses" else b"XX" + data[2:]

    def another_kind():
        door = str(rng.choice(list(DOORS)))
        other = str(rng.choice([d for d in DOORS if d != door and (door, d) not in FITTING]))
        return door, good[other]

    def noise():
        return str(rng.choice(list(DOORS))), rng.bytes(int(rng.integers(1, 4000)))

    def bent_bytes():
        data = bytearray(good["poses"])
        for at in rng.integers(0, len(data), 400):
            data[at] = int(rng.integers(256))
        return "poses", bytes(data)

    kinds = {
        "truncated": truncated,
        "wrong magic": wrong_magic,
        "another kind": another_kind,
        "noise": noise,
        "bent bytes": bent_bytes,
        "empty": lambda: (str(rng.choice(list(DOORS))), b""),
        "playlist": lambda: (str(rng.choice(["speech", "video"])), playlist),
        "concat": lambda: (str(rng.choice(["speech", "video"])), concat),
        "bomb": lambda: ("photo", png_of_size(int(rng.integers(20_000, 60_000)), 50_000)),
        "bomb of poses": lambda: ("poses", make_bomb(int(rng.integers(2**31)))),
        "8K frame": lambda: ("video", huge.read_bytes()),
        "NaN poses": lambda: ("poses", make_poses(xy=nan)),
        "odd shapes": lambda: ("poses", make_poses(xy=np.zeros(rng.integers(0, 5, 3)), confidence=np.zeros((2, 2)))),
        "pickle": lambda: ("poses", make_poses(xy=np.array([Evil()], dtype=object))),
        "bare pickle": lambda: ("poses", pickle.dumps(Evil())),
        "SVG": lambda: (
            "photo",
            f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{secret}"/></svg>'.encode(),
        ),
        "JSON": lambda: ("poses", json.dumps([[0] * 1000] * 500).encode()),
        "HTML": lambda: (str(rng.choice(list(DOORS))), f"<html>{SCRIPT}</html>".encode()),
    }
    names = ["../../etc/passwd", "a\nb", SCRIPT.replace("/", ""), "x" * 200, "-i", "file:secret", "ünïcödé"]
    for number in range(count):
        kind = list(kinds)[number % len(kinds)]
        door, data = kinds[kind]()
        path = folder / str(number)
        path.mkdir()
        name = str(rng.choice(names)) if rng.random() < 0.3 else "upload"
        path = path / (name.replace("/", "_") + DOORS[door])
        path.write_bytes(data)
        yield Upload(kind, door, path)


def make_bomb(seed: int) -> bytes:
    """An npz whose array claims billions of frames."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**31 + seed}, {COUNT}, 2), }}".ljust(117) + "\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("xy.npy", array + b"\0" * 1000)
        bundle.writestr("confidence.npy", array + b"\0" * 1000)
    return file.getvalue()
