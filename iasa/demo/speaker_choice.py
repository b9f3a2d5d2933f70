"""Who speaks: an example speaker, one drawn from a number, or a photograph and what stands behind the person in it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import numpy as np

from iasa.avatar.example_people import is_example
from iasa.avatar.framing import NoFaceError
from iasa.avatar.speaker import (
    Reference,
    draw_speaker,
    load_speaker,
    photo_speaker,
    photograph_speaker,
    puppet_would_do,
)
from iasa.config import PHOTO_SIZE, InputError, Sentence
from iasa.files import display_name
from iasa.inference.made_once import MadeOnce
from iasa.media.backdrop import TRANSPARENT, read_backdrop
from iasa.media.reader import read_image

MAX_SEED = 2**32 - 1
UNUSABLE_CROP = "the crop is {given}; left, top, right and bottom are needed, shares of the photo from 0 to 1"
EXAMPLE, DRAWN, PHOTO = "Example speaker", "Drawn from a number", "My photo"
PUPPET = "Puppet of my photo"  # drawn, with the picture's face: for cartoons and bodies that are not seen
OWN, WHOLE, COLOR, PICTURE, CLEAR = "Own room", "Whole photo", "Color", "Another picture", "Transparent"
BACKDROPS = (OWN, WHOLE, COLOR, PICTURE, CLEAR)


@dataclass(frozen=True)
class Backdrop:
    """What stands behind the person of a photograph: one of BACKDROPS, with the color as #rrggbb or the picture's file."""

    kind: str = OWN
    color: str | None = None
    picture: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in BACKDROPS:
            raise InputError(
                "the backdrop is {given}; {names} are accepted", given=self.kind, names=", ".join(BACKDROPS)
            )
        if self.kind == PICTURE and self.picture is None:
            raise InputError("there is no picture to stand behind the person; upload one or choose another backdrop")

    @property
    def file(self) -> str | None:
        """The picture's, where one stands there."""
        return self.picture if self.kind == PICTURE else None

    @property
    def suffix(self) -> str:
        """Of the video's name: what can be transparent is a webm."""
        return ".webm" if self.kind == CLEAR else ".mp4"

    def read(self, size: int = PHOTO_SIZE) -> np.ndarray | None:
        """uint8 [size, size, 3 or 4], or None for what the photograph itself shows. Raises InputError."""
        if self.kind == PICTURE:
            return read_backdrop(self.picture or "", size)
        if self.kind in (COLOR, CLEAR):
            return read_backdrop(to_hex(self.color) if self.kind == COLOR else TRANSPARENT, size)
        return None


@dataclass(frozen=True)
class Crop:
    """The part of a photograph that is used: left, top, right and bottom as shares of its width and height."""

    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    @classmethod
    def read(cls, text: str | None) -> Crop:
        """Of JSON, {"box": [0.2, 0, 0.8, 0.9]}; the whole picture where there is none. Raises InputError."""
        if not text:
            return cls()
        try:
            given = json.loads(text)["box"]
            left, top, right, bottom = (float(share) for share in (given or cls().box))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(UNUSABLE_CROP, given=display_name(str(text))) from error
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise InputError(UNUSABLE_CROP, given=given)
        return cls((left, top, right, bottom))

    def cut(self, picture: np.ndarray) -> np.ndarray:  # uint8 [H, W, 3]
        """That part of the picture, a pixel at least."""
        height, width = picture.shape[:2]
        left, top, right, bottom = self.box
        rows = slice(int(top * height), max(int(top * height) + 1, round(bottom * height)))
        columns = slice(int(left * width), max(int(left * width) + 1, round(right * width)))
        return np.ascontiguousarray(picture[rows, columns])

    @property
    def is_whole(self) -> bool:
        return self == Crop()


PHOTOGRAPHS: MadeOnce[tuple[str, int, Crop], Reference] = MadeOnce(most=3)  # first looked at, then asked to speak


def is_restored(text: str | None) -> bool:
    """Whether a crop comes from a video's settings, so that it is the next photograph's."""
    try:
        given = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return False
    return isinstance(given, dict) and given.get("restored") is True


def to_hex(color: str | None) -> str:
    """The color as #rrggbb; gradio's picker also says rgba(r, g, b, a)."""
    text = (color or "").strip()
    if text.startswith("rgb"):
        numbers = text.partition("(")[2].rstrip(")").split(",")[:3]
        try:
            return "#" + "".join(f"{min(255, max(0, round(float(number)))):02x}" for number in numbers)
        except ValueError:
            pass
    return text if text.startswith("#") else f"#{text}"  # never a file's name


def choose_speaker(
    kind: str,
    example: str | None,
    number: float | None,
    photo: str | None,
    consent: bool,
    backdrop: Backdrop | None = None,
    crop: Crop | None = None,
) -> Reference:
    """The speaker that a visitor has chosen. Raises InputError."""
    if kind == DRAWN:
        return draw_speaker(check_seed(number))
    if kind not in (PHOTO, PUPPET):
        return load_speaker(example or "")
    if photo is None:
        raise InputError("there is no photo; upload a portrait that shows one face from the front")
    if not consent and not is_example(photo):
        raise InputError("a photo may be used only with the consent of the person in it; tick the box to confirm that")
    return take_speaker(kind, photo, backdrop, crop)


def take_speaker(kind: str, photo: str, backdrop: Backdrop | None = None, crop: Crop | None = None) -> Reference:
    """The person of a photograph, or its PUPPET. Raises InputError."""
    crop, backdrop = crop or Crop(), backdrop or Backdrop()
    if kind == PUPPET:
        return photo_speaker(crop.cut(read_image(photo)))
    room = backdrop.read()
    try:
        changed = os.stat(photo).st_mtime_ns
    except (OSError, ValueError):
        changed = 0  # what is wrong with the file its reader tells
    person = PHOTOGRAPHS.get((photo, changed, crop), lambda: _take_photograph(crop.cut(read_image(photo))))
    return person.before(room, backdrop.kind == WHOLE)


def forget_photographs() -> None:
    """Those whose files have been deleted."""
    PHOTOGRAPHS.forget(lambda key: not os.path.exists(key[0]))


def _take_photograph(picture: np.ndarray) -> Reference:  # uint8 [H, W, 3]
    try:
        return photograph_speaker(picture, "photo")
    except NoFaceError as error:
        if puppet_would_do(picture):
            raise InputError(
                "{error}; a drawing or a cartoon can be carried as a puppet: choose {kind}",
                error=error.args[0],
                kind=Sentence(PUPPET),
            ) from error
        raise


def check_seed(number: float | None) -> int:
    """The seed that a visitor has typed. Raises InputError."""
    if number is None or number != int(number) or not 0 <= number <= MAX_SEED:
        raise InputError(
            "the number is {number}; a whole number from 0 to {most} is needed", number=number, most=MAX_SEED
        )
    return int(number)
