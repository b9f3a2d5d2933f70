"""The speaker: a reference picture, its pose, and the identity whose body turns motion into keypoints."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from iasa.avatar.driver import DrawnTarget, carry_poses
from iasa.avatar.identity import Identity, make_identity
from iasa.avatar.moving_parts import Parts, find_parts
from iasa.avatar.photograph import Photograph, take_photograph
from iasa.avatar.retarget import BODY_SEED, Retarget
from iasa.avatar.rig import RigMotion, make_keypoints, rest_motion
from iasa.avatar.whole_picture import WholePicture
from iasa.config import IMAGE_SIZE, PHOTO_SIZE, InputError, Sentence
from iasa.keypoints import Keypoints
from iasa.paths import SPEAKERS

FLAT = Sentence("The person does not stand out from the picture, as in drawings; a puppet of it moves better")

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Reference:
    """image uint8 [256, 256, 3]; keypoints of that picture (one frame); identity: the body that will move.

    Of a photograph the picture itself moves: `photo` holds it, frames have `size` pixels a side, and `room`, uint8
    [size, size, 3 or 4], stands behind the person instead of what the photograph shows there. Frames are put back into the
    picture `around` them, if there is one, and then have its size.
    """

    image: np.ndarray
    keypoints: Keypoints
    identity: Identity
    name: str
    photo: Photograph | None = None
    size: int = IMAGE_SIZE
    room: np.ndarray | None = None
    around: WholePicture | None = None
    chosen: bool = False  # the photograph's face, by its number

    @property
    def transparent(self) -> bool:
        """Whether nothing stands behind the person, so that frames have an alpha."""
        return self.room is not None and self.room.shape[-1] == 4

    @cached_property
    def parts(self) -> Parts | None:
        """What can move in a photograph; None for drawn speakers, of whom everything does."""
        return None if self.photo is None else find_parts(self.photo)

    def describe(self) -> list[Sentence]:
        """Sentences about a photograph: who of it speaks, and what moves; none about drawn speakers."""
        if self.photo is None or self.parts is None:
            return []
        said = [] if self.photo.stands_out else [FLAT]
        if self.photo.faces > 1 and not self.chosen:
            said.append(Sentence("The picture shows {count} faces; the largest one speaks", count=self.photo.faces))
        return [*said, self.parts.describe()]

    def before(self, room: np.ndarray | None = None, keep_frame: bool = False) -> Reference:
        """The same photograph's person before another room, or put back into the whole picture."""
        photo, around = self.photo, None
        if keep_frame and photo is not None and photo.whole is not None:
            around = WholePicture.of(photo.whole, photo.square, self.size)
        return replace(self, room=room, around=around)

    @cached_property
    def _target(self) -> Retarget:
        if self.photo is None or self.parts is None:
            return DrawnTarget(self.identity)
        return Retarget(self.photo, self.parts)

    def to_keypoints(self, motion: RigMotion) -> Keypoints:
        """The motion on this speaker's body."""
        return make_keypoints(self.identity, motion) if self.photo is None else self._target.from_motion(motion)

    def carry(self, poses: Keypoints) -> Keypoints:
        """Anybody's poses on this speaker, whose proportions they take on; the speaker's own stay as they are."""
        return carry_poses(self._target, poses)


def speaker_names() -> list[str]:
    """The committed example speakers."""
    return sorted(path.stem for path in SPEAKERS.glob("*.png"))


def load_speaker(name: str) -> Reference:
    """An example speaker: a committed picture of a drawn identity; nothing is rendered and Skia is not needed."""
    if name not in speaker_names():
        raise InputError(
            "there is no example speaker {name}; choose from {names}", name=name, names=", ".join(speaker_names())
        )
    from iasa.media.reader import read_image

    seed = json.loads((SPEAKERS / "speakers.json").read_text())[name]
    identity = make_identity(seed)
    return Reference(read_image(SPEAKERS / f"{name}.png"), make_keypoints(identity, rest_motion(1)), identity, name)


def to_speaker(image: Reference | str | os.PathLike | np.ndarray | Image) -> Reference:
    """The speaker of a photograph: a file, the name of an example person, uint8 [H, W, 3] or a PIL image (needs mediapipe); a
    speaker is one already.

    Raises InputError on a picture that is none or shows no face.
    """
    if isinstance(image, Reference):
        return image
    from iasa.avatar.example_people import find_picture
    from iasa.media.reader import read_image

    image = find_picture(image) if isinstance(image, str) else image
    return photograph_speaker(read_image(image) if isinstance(image, os.PathLike) else _to_picture(image))


def _to_picture(image: np.ndarray | Image) -> np.ndarray:  # uint8 [H, W, 3]
    picture = np.asarray(image if isinstance(image, np.ndarray) else image.convert("RGB"))
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(
            "the picture is {kind} {shape}; uint8 [H, W, 3] is needed", kind=picture.dtype, shape=list(picture.shape)
        )
    return picture


def draw_speaker(seed: int) -> Reference:
    """The drawn identity of a seed, at rest (needs Skia)."""
    return _draw(make_identity(seed), f"avatar {seed}")


def photograph_speaker(
    picture: np.ndarray,  # uint8 [H, W, 3]
    name: str = "photograph",
    framing: str = "auto",
    face: int | None = None,
    size: int = PHOTO_SIZE,
    room: np.ndarray | None = None,  # uint8 [size, size, 3]
    keep_frame: bool = False,  # put what moves back into the whole picture
) -> Reference:
    """The person of a photograph, who moves as a picture (needs mediapipe). `framing` is one of
    `iasa.avatar.framing.FRAMINGS`, `face` the number of a face from the left.

    Raises InputError if no face is found, or it is too small.
    """
    from PIL import Image

    photo = take_photograph(picture, framing, face)
    small = np.asarray(Image.fromarray(photo.image).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX))
    chosen = face is not None
    speaker = Reference(small, photo.keypoints, make_identity(BODY_SEED), name, photo, size, chosen=chosen)
    return speaker.before(room, keep_frame)


def photo_speaker(picture: np.ndarray, name: str = "photo") -> Reference:
    """The photo puppet of a portrait uint8 [H, W, 3], at rest (needs mediapipe and Skia).

    Raises InputError if no face is found.
    """
    from iasa.avatar.photo import make_photo_identity

    return _draw(make_photo_identity(picture), name)


def puppet_would_do(picture: np.ndarray) -> bool:
    """Whether a picture uint8 [H, W, 3] that is no photograph can be a puppet: its face is looked for less strictly."""
    from iasa.avatar.photo import make_photo_identity

    try:
        make_photo_identity(picture)
    except InputError:
        return False
    return find_spec("skia") is not None


def _draw(identity: Identity, name: str) -> Reference:
    from iasa.avatar.renderer import Renderer

    motion = rest_motion(1)
    return Reference(Renderer(identity, IMAGE_SIZE).draw(motion, 0), make_keypoints(identity, motion), identity, name)


def write_speakers(seeds: dict[str, int]) -> None:
    """Draw the example speakers into iasa/assets/speakers (how the committed pictures were made)."""
    from PIL import Image

    SPEAKERS.mkdir(parents=True, exist_ok=True)
    for name, seed in seeds.items():
        Image.fromarray(draw_speaker(seed).image).save(SPEAKERS / f"{name}.png", optimize=True)
    (SPEAKERS / "speakers.json").write_text(json.dumps(seeds, indent=1) + "\n")
