"""Who speaks: an example speaker, one drawn from a number, or a photograph and what stands behind the person in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
from iasa.media.backdrop import TRANSPARENT, read_backdrop
from iasa.media.reader import read_image

MAX_SEED = 2**32 - 1
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
) -> Reference:
    """The speaker that a visitor has chosen. Raises InputError."""
    if kind == DRAWN:
        return draw_speaker(check_seed(number))
    if kind not in (PHOTO, PUPPET):
        return load_speaker(example or "")
    if photo is None:
        raise InputError("there is no photo; upload a portrait that shows one face from the front")
    if not consent:
        raise InputError("a photo may be used only with the consent of the person in it; tick the box to confirm that")
    picture = read_image(photo)
    if kind == PUPPET:
        return photo_speaker(picture)
    backdrop = backdrop or Backdrop()
    try:
        return photograph_speaker(picture, "photo", room=backdrop.read(), keep_frame=backdrop.kind == WHOLE)
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
