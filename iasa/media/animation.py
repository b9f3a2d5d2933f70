"""Pictures that move without sound: GIF, WebP and PNG animations, or a folder of PNG frames, by imageio."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from iasa.config import InputError
from iasa.media.container import check_pixels, open_file
from iasa.media.metadata import AI_MARK, TITLE, append_to_gif, to_xmp
from iasa.media.picture import BROKEN_PICTURE

SUFFIXES = (".gif", ".webp", ".png")
MAX_SECONDS = 60.0  # of an animation: all of its pictures are held at once
NAMES = "{:05d}.png"  # of a folder's frames
SHORTEST = 10.0  # milliseconds that a picture stays

_FORMATS = {b"GIF8": "GIF", b"RIFF": "WEBP", b"\x89PNG": "PNG"}


def read_if_animation(path: str | os.PathLike) -> bytes | None:
    """The bytes of a file that may hold pictures that move, None for any other. Raises InputError."""
    with open_file(path) as file:
        head = file.read(16)
        if head[:4] not in _FORMATS or (head[:4] == b"RIFF" and head[8:12] != b"WEBP"):
            return None
        file.seek(0)
        return file.read()


def read_animation(data: bytes, name: str, max_pixels: int) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds at which it appears, uint8 RGB [H, W, 3]) of each picture. Raises InputError."""
    try:
        with Image.open(io.BytesIO(data), formats=(_FORMATS[data[:4]],)) as picture:
            check_pixels(name, picture.width, picture.height, max_pixels)
        milliseconds = 0.0
        with iio.imopen(data, "r", plugin="pillow") as opened:
            file: Any = opened  # what a plugin takes is not in imageio's own kind
            for index, frame in enumerate(file.iter(mode="RGB")):
                yield milliseconds / 1000, frame
                milliseconds += max(SHORTEST, float(file.metadata(index=index).get("duration") or 100))
    except InputError:
        raise
    except (*BROKEN_PICTURE, Image.DecompressionBombError) as error:
        raise InputError(f"{name} is damaged or not really an animation") from error


class AnimationEncoder:
    """Takes uint8 frames [H, W, 3] one by one and writes them together at the end."""

    def __init__(self, path: Path, fps: Fraction) -> None:
        self._path, self._fps = path, fps
        self._frames: list[np.ndarray] = []

    def add(self, frame: np.ndarray) -> None:
        if len(self._frames) >= MAX_SECONDS * self._fps:
            raise InputError(f"an animation of over {MAX_SECONDS:.0f} s is asked for; name a .mp4 or .webm instead")
        self._frames.append(frame)

    def finish(self, comment: str) -> None:
        suffix, packet = self._path.suffix, to_xmp(comment)
        options = {"duration": 1000 / float(self._fps), "loop": 0}  # for ever
        if suffix == ".webp":
            options |= {"quality": 90, "method": 2, "xmp": packet}
        elif suffix == ".png":
            options |= {"pnginfo": _png_texts(comment)}
        else:
            options |= {"comment": AI_MARK.encode(), "optimize": False}
        iio.imwrite(self._path, np.stack(self._frames), plugin="pillow", extension=suffix, **options)
        if suffix == ".gif":
            append_to_gif(self._path, packet)

    def abandon(self) -> None:
        self._frames.clear()


class FolderEncoder:
    """Takes uint8 frames [H, W, 3] one by one and writes each as a PNG of its own, numbered from 0."""

    def __init__(self, path: Path, comment: str) -> None:
        self._path, self._texts, self._count = path, _png_texts(comment), 0
        self._path.mkdir()

    def add(self, frame: np.ndarray) -> None:
        target = self._path / NAMES.format(self._count)
        iio.imwrite(target, frame, plugin="pillow", extension=".png", pnginfo=self._texts, compress_level=3)
        self._count += 1

    def finish(self, comment: str) -> None:
        """Nothing is left to do: each frame says what was known when it was written."""

    def abandon(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


def _png_texts(comment: str) -> PngInfo:
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", to_xmp(comment).decode())
    texts.add_text("Title", TITLE)
    texts.add_text("Description", AI_MARK)
    texts.add_text("Comment", comment)
    return texts
