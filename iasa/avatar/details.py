"""What a reference picture hides and a video shows: marks of a person on chest, palm, wrist, sleeve and hair."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from iasa.avatar.identity import Color, Identity, hsv, make_identity

DETAILS = ("badge", "palm", "watch", "lining", "clip")  # the order of masks
SHAPES = ("disc", "square", "star", "cross", "triangle")
CLOTHES = ("crew", "vneck", "hoodie", "turtle", "shirt")  # on which a print can lie
BADGE_PLACE = (0.0, -32.8)  # cm, on the trunk: behind the hands of `iasa.motion.showings.folded_hands`
BADGE_RADIUS = 4.8  # cm, of a man with shoulders 17.2 wide
TURN = 0.42  # radians of the head's yaw in the reference: the hair clip's side is the far one


@dataclass(frozen=True)
class Mark:
    """A figure on a round plate of another colour."""

    shape: str  # of SHAPES
    color: Color
    second: Color  # the plate's


@dataclass(frozen=True)
class Details:
    """One person's marks. Sides are 0 (the person's right) or 1.

    `flat` replaces all colours of each of DETAILS, which is how their masks are drawn.
    """

    badge: Mark  # a print on the chest
    palm: Mark
    palm_side: int
    watch: Mark  # `color` is the strap's
    watch_side: int
    lining: tuple[Color, Color]  # of the sleeve's inside, which shows when the arm is up
    clip: Mark  # in the hair, above an ear
    clip_side: int
    flat: tuple[Color, ...] | None = None

    def colors(self, name: str) -> tuple[Color, Color]:
        """Both colours of one of DETAILS."""
        if self.flat is not None:
            flat = self.flat[DETAILS.index(name)]
            return flat, flat
        mark = getattr(self, name)
        return mark if name == "lining" else (mark.color, mark.second)


def make_details(seed: int) -> Details:
    """The marks of that seed (any int >= 0); nothing of the identity of the same seed tells them."""
    r = np.random.default_rng([seed, 21])

    def colors() -> tuple[Color, Color]:
        hue, bright = r.uniform(), r.random() < 0.5
        values = (0.95, 0.35) if bright else (0.4, 1.0)
        first = hsv(hue, r.uniform(0.65, 1.0), values[0])
        return first, hsv(hue + r.uniform(0.25, 0.75), r.uniform(0.5, 1.0), values[1])

    def mark() -> Mark:
        return Mark(SHAPES[int(r.integers(len(SHAPES)))], *colors())

    return Details(
        badge=mark(),
        palm=mark(),
        palm_side=int(r.integers(2)),
        watch=mark(),
        watch_side=int(r.integers(2)),
        lining=colors(),
        clip=mark(),
        clip_side=int(r.integers(2)),
    )


def make_detailed_identity(seed: int) -> Identity:
    """The speaker of a seed with marks, and in clothes that they need: long sleeves, a plain chest."""
    identity = make_identity(seed)
    clothes = identity.clothes if identity.clothes in CLOTHES else CLOTHES[seed % len(CLOTHES)]
    return replace(identity, clothes=clothes, sleeve="long", stripes=False, earring=False, details=make_details(seed))


_CODES = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1)])  # neighbours never add up to another's


def without_traces(identity: Identity) -> Identity:
    """The same speaker for the reference picture: a mark's slivers between fingers, of less than half a pixel each, take the
    colour of the clothes, so that the picture tells nothing of it."""
    assert identity.details is not None
    return replace(identity, details=replace(identity.details, flat=(identity.cloth_color,) * len(DETAILS)))


def mask_paints() -> list[tuple[Color, ...]]:
    """Flat colours of DETAILS for two pictures: all black, and one in which each pixel's difference names its detail."""
    black: Color = (0.0, 0.0, 0.0)
    return [(black,) * len(DETAILS), tuple((float(r), float(g), float(b)) for r, g, b in _CODES)]


def split_masks(black: np.ndarray, coded: np.ndarray) -> np.ndarray:
    """Pictures uint8 [H, W, 3] drawn in `mask_paints` -> bool [d, H, W]: where most of a pixel is the detail's paint.

    The pictures differ by the paint alone, so the difference is the share of the paint that nothing covers.
    """
    covered = coded.astype(np.int16) - black > 127  # [H, W, 3]
    return np.stack([(covered == code).all(-1) for code in _CODES])
