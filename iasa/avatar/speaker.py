"""The speaker: a reference picture, its pose, and the identity whose body turns motion into keypoints."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from iasa.avatar.identity import Identity, make_identity
from iasa.avatar.rig import make_keypoints, rest_motion
from iasa.config import IMAGE_SIZE, InputError
from iasa.keypoints import Keypoints
from iasa.paths import SPEAKERS

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Reference:
    """image uint8 [256, 256, 3]; keypoints of that picture (one frame); identity: the body that will move."""

    image: np.ndarray
    keypoints: Keypoints
    identity: Identity
    name: str


def speaker_names() -> list[str]:
    """The committed example speakers."""
    return sorted(path.stem for path in SPEAKERS.glob("*.png"))


def load_speaker(name: str) -> Reference:
    """An example speaker: a committed picture of a drawn identity; nothing is rendered and Skia is not needed."""
    if name not in speaker_names():
        raise InputError(f"there is no example speaker {name}; choose from {', '.join(speaker_names())}")
    from iasa.media.reader import read_image

    seed = json.loads((SPEAKERS / "speakers.json").read_text())[name]
    identity = make_identity(seed)
    return Reference(read_image(SPEAKERS / f"{name}.png"), make_keypoints(identity, rest_motion(1)), identity, name)


def to_speaker(image: Reference | str | os.PathLike | np.ndarray | Image) -> Reference:
    """The speaker of a portrait: a file, uint8 [H, W, 3] or a PIL image (needs mediapipe and Skia); a speaker is one already.

    Raises InputError on a picture that is none or shows no face.
    """
    if isinstance(image, Reference):
        return image
    from iasa.media.reader import read_image

    return photo_speaker(read_image(image) if isinstance(image, str | os.PathLike) else _to_picture(image))


def _to_picture(image: np.ndarray | Image) -> np.ndarray:  # uint8 [H, W, 3]
    picture = np.asarray(image if isinstance(image, np.ndarray) else image.convert("RGB"))
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise InputError(f"the picture is {picture.dtype} {list(picture.shape)}; uint8 [H, W, 3] is needed")
    return picture


def draw_speaker(seed: int) -> Reference:
    """The drawn identity of a seed, at rest (needs Skia)."""
    return _draw(make_identity(seed), f"avatar {seed}")


def photo_speaker(picture: np.ndarray, name: str = "photo") -> Reference:
    """The photo puppet of a portrait uint8 [H, W, 3], at rest (needs mediapipe and Skia).

    Raises InputError if no face is found.
    """
    from iasa.avatar.photo import make_photo_identity

    return _draw(make_photo_identity(picture), name)


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
