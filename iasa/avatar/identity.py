"""Who the speaker is: everything about a face, hair, clothes and background, drawn from one seed."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from iasa.avatar.details import Details

_T = TypeVar("_T")
Color = tuple[float, float, float]  # red, green, blue in 0..1

HAIR_STYLES = ("short", "side", "buzz", "bob", "long", "bun", "curly", "bald", "pony")
CLOTHES = ("crew", "vneck", "shirt", "blazer", "hoodie", "turtle")
SLEEVES = ("long", "mid", "short")
BEARDS = ("none", "moustache", "full", "stubble")
GLASSES = ("none", "square", "round")
BACKDROPS = ("glow", "window", "panel", "curtain", "bokeh")

_SKINS = (
    (0.98, 0.86, 0.77), (0.95, 0.80, 0.69), (0.91, 0.73, 0.60), (0.84, 0.65, 0.50), (0.74, 0.54, 0.40),
    (0.60, 0.42, 0.30), (0.47, 0.32, 0.23), (0.37, 0.25, 0.18),
)  # fmt: skip
_HAIRS = (
    (0.10, 0.08, 0.08), (0.20, 0.13, 0.09), (0.33, 0.21, 0.13), (0.48, 0.31, 0.17), (0.68, 0.48, 0.24),
    (0.82, 0.66, 0.40), (0.55, 0.22, 0.10), (0.55, 0.54, 0.53), (0.82, 0.81, 0.79),
)  # fmt: skip
_IRISES = (
    (0.30, 0.18, 0.10), (0.20, 0.12, 0.08), (0.30, 0.45, 0.60), (0.35, 0.50, 0.35), (0.45, 0.33, 0.18),
    (0.40, 0.45, 0.50),
)  # fmt: skip


def mix(a: Color, b: Color, share: float) -> Color:
    """`a` at share 0, `b` at share 1."""
    red, green, blue = (float(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def shade(color: Color, amount: float) -> Color:
    """Darker and warmer (amount -1..0) or lighter (0..1)."""
    r, g, b = color[:3]
    if amount < 0:
        out = r * (1 + amount), g * (1 + amount) * (1 + 0.10 * amount), b * (1 + amount) * (1 + 0.16 * amount)
    else:
        out = r + (1 - r) * amount, g + (0.98 - g) * amount, b + (0.95 - b) * amount
    red, green, blue = (min(1.0, max(0.0, float(x))) for x in out)
    return red, green, blue


def hsv(hue: float, saturation: float, value: float) -> Color:
    """A colour by hue (periodic in 1), saturation and value (clipped to 0..1)."""
    return colorsys.hsv_to_rgb(hue % 1, min(1, max(0, saturation)), min(1, max(0, value)))


@dataclass(frozen=True)
class FaceShape:
    """Multipliers (about 1) and shifts (cm, about 0) on the base mesh."""

    width: float = 1.0
    length: float = 1.0
    jaw: float = 0.0  # share added to the width at the chin
    eye_size: float = 1.0
    eye_distance: float = 0.0
    nose_width: float = 1.0
    nose_length: float = 0.0
    lip_thickness: float = 1.0
    mouth_width: float = 1.0


@dataclass(frozen=True)
class PhotoTexture:
    """A portrait to be drawn on the mesh (see `iasa.avatar.photo`)."""

    image: np.ndarray  # uint8 [h, w, 3]
    head: np.ndarray  # uint8 [h, w, 4], the head cut out, not premultiplied
    points: np.ndarray  # float32 [478, 2], the face mesh in the photo, pixels
    mesh: np.ndarray  # float32 [478, 3], this person's neutral mesh, cm
    rotation: np.ndarray  # float32 [3, 3], of the head in the photo
    scale: float  # photo pixels a cm
    middle: np.ndarray  # float32 [2], where the origin of the head frame lies in the photo


@dataclass(frozen=True, eq=False)
class Identity:
    """One speaker: colours (r, g, b) in 0..1, lengths in cm, a place in the 512 x 512 drawing."""

    seed: int
    feminine: bool
    skin: Color
    lips: Color
    iris: Color
    nails: Color | None  # painted nails
    hair_color: Color
    hair: str  # one of HAIR_STYLES
    fringe: float  # 0..1
    parting: float  # -1..1, to the person's left
    volume: float  # 0..1, of the hair
    brow_thickness: float
    brow_tilt: float
    beard: str
    glasses: str
    earring: bool
    face: FaceShape
    clothes: str  # one of CLOTHES
    cloth_color: Color
    cloth_second: Color
    stripes: bool
    sleeve: str  # one of SLEEVES
    shoulder_width: float  # half of the distance between the outer shoulders
    backdrop: str  # one of BACKDROPS
    backdrop_color: Color
    backdrop_seed: int
    scale: float  # drawing units a cm
    center: tuple[float, float]  # where (0, 0, 0), the base of the throat, is drawn
    light: tuple[float, float, float]  # unit vector to the light
    photo: PhotoTexture | None = None
    details: Details | None = None  # marks that the rest picture hides, see iasa.avatar.details


def make_identity(seed: int) -> Identity:
    """The speaker of that seed (any int >= 0); the same seed always gives the same one.

    Seeds from `iasa.config.HELDOUT_IDENTITY` on are never used in training.
    """
    r = np.random.default_rng(seed)

    def uniform(low: float, high: float) -> float:
        return float(r.uniform(low, high))

    def chance(p: float) -> bool:
        return bool(r.random() < p)

    def pick(options: Sequence[_T]) -> _T:
        return options[int(r.integers(len(options)))]

    feminine = chance(0.5)
    tone = uniform(0, len(_SKINS) - 1)
    skin = mix(_SKINS[int(tone)], _SKINS[min(int(tone) + 1, len(_SKINS) - 1)], tone % 1)
    hair_color = mix(pick(_HAIRS), pick(_HAIRS), 0.25 * r.random())
    if sum(skin) < 1.7 and chance(0.8):
        hair_color = mix(_HAIRS[0], _HAIRS[1], r.random())
    if feminine:
        hair = pick(("bob", "long", "bun", "pony", "side", "curly", "long"))
    else:
        hair = pick(("short", "side", "buzz", "short", "curly", "bald"))
    face = FaceShape(
        width=uniform(0.94, 1.06),
        length=uniform(0.95, 1.05),
        jaw=uniform(-0.10, 0.08) - (0.08 if feminine else 0.01),
        eye_size=uniform(0.98, 1.18) + (0.05 if feminine else 0),
        eye_distance=uniform(-0.15, 0.15),
        nose_width=uniform(0.8, 1.15) - (0.05 if feminine else 0),
        nose_length=uniform(-0.25, 0.25),
        lip_thickness=uniform(0.7, 1.25) + (0.2 if feminine else 0),
        mouth_width=uniform(0.9, 1.1),
    )
    red, green, blue = shade(skin, -0.28)
    natural = red, green * 0.72, blue * 0.75
    lips = mix(natural, hsv(uniform(0.95, 1.02), 0.62, 0.72), uniform(0.3, 0.7) if feminine else uniform(0, 0.18))
    clothes = str(pick(CLOTHES))
    hue = uniform(0, 1)
    second_hue = hue + uniform(-0.1, 0.1) if chance(0.6) else uniform(0, 1)
    light = np.array([uniform(-0.7, 0.7), uniform(0.3, 0.6), 1.0])
    light_x, light_y, light_z = (float(x) for x in light / np.linalg.norm(light))
    return Identity(
        seed=int(seed),
        feminine=feminine,
        skin=skin,
        lips=lips,
        iris=pick(_IRISES),
        nails=hsv(uniform(0.9, 1.05), uniform(0.3, 0.8), uniform(0.6, 0.95)) if feminine and chance(0.5) else None,
        hair_color=hair_color,
        hair=str(hair),
        fringe=uniform(0, 1),
        parting=uniform(-1, 1),
        volume=uniform(0.3, 1),
        brow_thickness=uniform(0.5, 0.9) if feminine else uniform(0.9, 1.5),
        brow_tilt=uniform(-0.2, 0.2),
        beard="none" if feminine else str(pick(("none", "none", "none", "moustache", "full", "stubble"))),
        glasses=str(pick(GLASSES[1:])) if chance(0.25) else "none",
        earring=feminine and chance(0.4),
        face=face,
        clothes=clothes,
        cloth_color=hsv(hue, uniform(0.15, 0.75), uniform(0.25, 0.9)),
        cloth_second=hsv(second_hue, uniform(0, 0.5), uniform(0.6, 1)),
        stripes=clothes in ("crew", "turtle") and chance(0.15),
        sleeve="long" if clothes in ("blazer", "hoodie", "turtle") else str(pick(("long", "long", "short", "mid"))),
        shoulder_width=uniform(0.94, 1.02) * (16.2 if feminine else 18.2),
        backdrop=str(pick(BACKDROPS)),
        backdrop_color=hsv(uniform(0, 1), uniform(0.05, 0.35), uniform(0.55, 0.95)),
        backdrop_seed=int(r.integers(1 << 30)),
        scale=uniform(6.3, 6.9),
        center=(256 + uniform(-10, 10), uniform(222, 234)),
        light=(light_x, light_y, light_z),
    )
