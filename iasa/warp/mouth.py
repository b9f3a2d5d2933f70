"""The inside of a mouth that opens farther than in the photograph: teeth, tongue and dark in the person's colours and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iasa.avatar.mesh import smoothstep
from iasa.warp.face_skin import EYES, MOUTH
from iasa.warp.matting import load_cv2

LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
CHEEKS = (50, 101, 118, 280, 330, 347)
UPPER, LOWER, CORNERS = 13, 14, (78, 308)
GAPS = (0.0, 0.2, 0.38, 0.54, 0.68, 0.82, 0.96, 1.1)  # between teeth, in halves of the mouth's width from its middle
GAP = 0.1  # how much darker it is between them
REACH = (0.6, 2.0)  # of the mouth's corners from there, in the same unit
UPPER_TEETH, LOWER_TEETH = 0.21, 0.17  # how far they reach from the lips at rest, in the same unit
OPENS = 0.12  # of half the mouth's width, by which lips part farther than in the photograph until all inside is painted
BRIGHTER, PALER, SHOWN = 1.15, 0.8, 0.12  # teeth against the lips, in light and colour; their share of an open mouth
OWN_TEETH = 1.5  # of the photograph's gap between the lips, to which teeth that it shows may be stretched
DIMMED = 0.65, 0.3  # of teeth in the eyes' colour, and of teeth that the photograph shows with the lips' shadow on them
EYE_WHITE, EYE_TINT = 0.76, 0.57  # its light against the skin's, and what it has of its tint: fitted on 35 portraits
LASHES = 0.4  # of the skin's light: whatever is darker between the lids is no white
FINE = 4  # samples of a pixel's side, on outlines


def eye_white(skin: np.ndarray) -> np.ndarray:
    """What colour [3] the white of the eyes has in the light of a face whose skin has the colour `skin` [3]."""
    return EYE_WHITE * skin.mean() * (skin / max(float(skin.mean()), 1.0)) ** EYE_TINT


def soft_polygon(points: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """Share of each pixel of a box that lies inside an outline [n, 2]: float32 [height, width]."""
    cv2 = load_cv2()
    fine = np.zeros((height * FINE, width * FINE), np.uint8)
    corners = np.round(((points - (x, y)) * FINE - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(fine, [corners], 255, cv2.LINE_8, 4)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def box_around(points: np.ndarray, size: int, margin: int = 2) -> tuple[int, int, int, int] | None:
    """x, y, width and height of the pixels around points [n, 2] in a picture of `size`; None outside of it."""
    low = np.clip(np.floor(points.min(0)).astype(int) - margin, 0, size)
    high = np.clip(np.ceil(points.max(0)).astype(int) + margin, 0, size)
    return (*low.tolist(), *(high - low).tolist()) if (high > low).all() else None


def find_teeth(inside: np.ndarray, lips: np.ndarray) -> np.ndarray | None:  # [n, 3], [3] -> [3]
    """The colour of the teeth that a photograph shows between its lips; None where it shows none.

    They are brighter than the lips and have less colour.
    """
    light = inside.mean(-1)
    color = np.ptp(inside, axis=-1) / np.maximum(inside.max(-1), 1.0)
    teeth = inside[(light > BRIGHTER * lips.mean()) & (color < PALER * np.ptp(lips) / max(float(lips.max()), 1.0))]
    if len(teeth) < max(8, SHOWN * len(inside)):
        return None
    light = teeth.mean(-1)
    return np.median(teeth[light >= np.median(light)], 0)


@dataclass(frozen=True, eq=False)
class Mouth:
    """Colours float [3] in 0..255, and where the mouth is in the photograph, pixels."""

    dark: np.ndarray
    teeth: np.ndarray
    tongue: np.ndarray
    middle: np.ndarray  # [2] of the inner upper lip when the mouth is closed
    half: float  # of the mouth's width
    across: np.ndarray  # [2] unit vector to the person's left
    dimmed: float  # how much darker teeth get at the mouth's corners and under the lip, 0..1
    gap: float  # between the lips, up to which the photograph's own mouth is seen: as far as they are apart there, or more

    @classmethod
    def of(cls, image: np.ndarray, mesh: np.ndarray) -> Mouth:
        """Of a photograph uint8 [S, S, 3] and its face mesh [468, 2], pixels."""
        size = image.shape[0]

        def pixels(ring: tuple[int, ...], hole: tuple[int, ...] = ()) -> np.ndarray:
            box = box_around(mesh[list(ring)], size, 1)
            if box is None:
                return np.zeros((0, 3))
            x, y, w, h = box
            inside = soft_polygon(mesh[list(ring)], x, y, w, h) > 0.6
            if hole:
                inside &= soft_polygon(mesh[list(hole)], x, y, w, h) < 0.1
            return image[y : y + h, x : x + w][inside].astype(np.float64)

        def middle_of(values: np.ndarray, fallback: np.ndarray) -> np.ndarray:
            return np.median(values, 0) if len(values) > 3 else fallback

        spots = np.clip(mesh[list(CHEEKS)].round().astype(int), 0, size - 1)
        skin = np.median(image[spots[:, 1], spots[:, 0]].astype(np.float64), 0)
        lips = middle_of(pixels(LIPS, MOUTH), skin * [0.8, 0.6, 0.6])
        eyes = np.concatenate([pixels(eye) for eye in EYES])
        light = eyes.mean(-1)
        white = np.median(eyes[light >= np.percentile(light, 80)], 0) if len(eyes) > 8 else np.zeros(3)
        if white.mean() < LASHES * skin.mean():  # of eyes that are shut
            white = eye_white(skin)
        teeth = np.clip(white * max(1.0, 0.95 * skin.mean() / max(white.mean(), 1.0)), 15, 218) * [0.97, 0.95, 0.90]
        shown = find_teeth(pixels(MOUTH), lips)
        teeth, dimmed = (teeth, DIMMED[0]) if shown is None else (shown, DIMMED[1])
        left, right = mesh[CORNERS[1]], mesh[CORNERS[0]]
        across = (left - right) / max(float(np.linalg.norm(left - right)), 1e-6)
        return cls(
            dark=lips * [0.30, 0.20, 0.19], teeth=teeth, tongue=lips * [0.78, 0.58, 0.58],
            middle=(mesh[UPPER] + mesh[LOWER]) / 2, half=float(np.linalg.norm(left - right)) / 2, across=across,
            dimmed=dimmed, gap=(1.0 if shown is None else OWN_TEETH) * float(np.linalg.norm(mesh[UPPER] - mesh[LOWER])),
        )  # fmt: skip

    def paint(self, frame: np.ndarray, mesh: np.ndarray, turn: np.ndarray, jaw: np.ndarray) -> None:
        """Fill the inner lips' outline of a posed mesh [468, 2] in a float frame [S, S, 3]; `turn` [2, 3] of the head, `jaw`
        [2] how far the lower lip has moved in the head's frame."""
        ring = mesh[list(MOUTH)]
        box = box_around(ring, len(frame))
        if box is None:
            return
        x, y, w, h = box
        gap = float(np.linalg.norm(mesh[UPPER] - mesh[LOWER]))
        opened = float(smoothstep(0, OPENS * self.half, np.array(gap - self.gap)))
        share = opened * soft_polygon(ring, x, y, w, h)[..., None]
        if share.max() < 0.02:
            return
        grid = np.stack(np.meshgrid(np.arange(w) + x + 0.5, np.arange(h) + y + 0.5), -1)
        back = np.linalg.inv(turn[:, :2]).T
        local = (grid - turn[:, 2]) @ back - self.middle
        tooth = local @ self.across / self.half  # which tooth it is
        reach = np.abs((mesh[list(CORNERS)] - turn[:, 2]) @ back - self.middle) @ np.abs(self.across) / self.half
        u = tooth / np.where(
            tooth < 0, *reach.clip(*REACH)
        )  # -1..1 between the corners of a wide and of a pursed mouth
        v = local @ np.array([-self.across[1], self.across[0]]) / self.half
        drop = float(jaw @ np.array([-self.across[1], self.across[0]])) / self.half
        soft = max(0.05, 0.9 / self.half)  # of edges: a pixel at least
        arc = np.sqrt(np.clip(1 - (u / 0.92) ** 2, 0, 1))
        color = np.broadcast_to(self.dark, (h, w, 3)) * (0.75 + 0.5 * smoothstep(0.1, 0.9, v))[..., None]
        tongue = (
            smoothstep(-soft, soft, v - (drop - 0.30 * arc + 0.08))
            * smoothstep(0.95, 0.6, np.abs(u))
            * smoothstep(0.2, 0.5, drop)
        )
        color = _lay(color, self.tongue * 0.8, 0.9 * tongue)
        gaps = 1 - GAP * np.max([np.exp(-(((np.abs(tooth) - g) / (0.025 + 0.3 * soft)) ** 2)) for g in GAPS], 0)
        dim = smoothstep(1.0, 0.35, np.abs(u)) * gaps
        low = (
            smoothstep(soft, -soft, drop - LOWER_TEETH * arc - v)
            * smoothstep(0.85, 0.6, np.abs(u))
            * smoothstep(0.3, 0.6, drop)
        )
        color = _lay(color, self.teeth * 0.72, 0.85 * low * (0.4 + 0.6 * dim))
        up = smoothstep(soft, -soft, v - UPPER_TEETH * arc) * smoothstep(0.92, 0.75, np.abs(u))
        color = _lay(color, self.teeth, 0.95 * up * (1 - self.dimmed * (1 - dim)))
        lip = (
            ((mesh[UPPER] - turn[:, 2]) @ back - self.middle) @ np.array([-self.across[1], self.across[0]]) / self.half
        )
        lip_shadow = 1 - 0.43 * self.dimmed * (1 - smoothstep(0.0, 0.14, v - min(float(lip), 0.0)))
        part = frame[y : y + h, x : x + w]
        part += share * (color * lip_shadow[..., None] - part)


def _lay(under: np.ndarray, color: np.ndarray, share: np.ndarray) -> np.ndarray:
    return under + share[..., None] * (color - under)
