"""Eyes of a photograph whose lids are shut: what lies behind them is painted where a pose opens them, in the picture's light.

Nobody knows the colour of eyes that were never seen: irises are a dark brown, and the report says that they are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iasa.avatar.mesh import smoothstep
from iasa.warp.face_skin import EYES
from iasa.warp.mouth import CHEEKS, box_around, eye_white, soft_polygon

CORNERS = ((33, 133), (263, 362))  # of each lid's ring, outer and inner
# Lengths are in halves of an eye's width, as those of grown-ups are.
IRIS, PUPIL, GLINT = 0.40, 0.17, 0.07  # radii
RAISED = 0.2  # of the iris' middle above the line of the corners, when the head looks ahead
LID_SHADOW = 0.22  # how far the upper lid's shadow reaches down
LASHES = 0.07  # thickness of the dark line along the upper lid
LINE_BELOW = 0.2  # of the shut lids' line of lashes, which the lower lid does not have when they part
OPENS = (0.08, 0.22)  # gap between the lids from which on something is painted behind them, and at which all of it is
BRIGHT = 1.15  # beside the iris, against the mean of the white
BROWN, BLACK, LINE = (0.34, 0.26, 0.22), (0.1, 0.1, 0.1), (0.24, 0.22, 0.20)  # of the white: iris, pupil, lashes


@dataclass(frozen=True, eq=False)
class Eyeballs:
    """All colours are shares of one."""

    white: np.ndarray  # [3] in 0..255

    @classmethod
    def of(cls, image: np.ndarray, mesh: np.ndarray) -> Eyeballs:
        """For a photograph uint8 [S, S, 3] and its face mesh [468, 2], pixels."""
        spots = np.clip(mesh[list(CHEEKS)].round().astype(int), 0, len(image) - 1)
        skin = np.median(image[spots[:, 1], spots[:, 0]].astype(np.float64), 0)
        return cls(BRIGHT * eye_white(skin))

    def paint(self, frame: np.ndarray, mesh: np.ndarray) -> None:
        """Fill both eyes' outlines of a posed mesh [468, 2] in a float frame [S, S, 3]."""
        for ring, corners in zip(EYES, CORNERS, strict=True):
            self._paint_one(frame, mesh[list(ring)], *mesh[list(corners)])

    def _paint_one(self, frame: np.ndarray, ring: np.ndarray, outer: np.ndarray, inner: np.ndarray) -> None:
        half = float(np.linalg.norm(inner - outer)) / 2
        box = box_around(ring, len(frame), 2 + int(2 * LINE_BELOW * half))
        if box is None or half < 1:
            return
        x, y, w, h = box
        across = (inner - outer) / (2 * half) * np.sign(inner[0] - outer[0] or 1.0)
        grid = np.stack(np.meshgrid(np.arange(w) + x + 0.5, np.arange(h) + y + 0.5), -1) - (inner + outer) / 2
        u, v = grid @ across / half, grid @ np.array([-across[1], across[0]]) / half  # to the right, and down
        upper = (ring[:9] - (inner + outer) / 2) @ np.stack([across, [-across[1], across[0]]], 1) / half
        lower = (
            (ring[[0, *range(15, 7, -1)]] - (inner + outer) / 2) @ np.stack([across, [-across[1], across[0]]], 1) / half
        )
        gap = float((lower - upper)[:, 1].max())
        opened = float(smoothstep(*OPENS, np.array(gap)))
        if opened < 0.02:
            return
        lid, rim = (
            np.interp(u, *edge[np.argsort(edge[:, 0])].T) for edge in (upper, lower)
        )  # above and below each pixel
        soft = max(0.05, 0.9 / half)  # of edges: a pixel at least
        part = frame[y : y + h, x : x + w]
        below = v - rim
        line = opened * smoothstep(LINE_BELOW, 0.6 * LINE_BELOW, below) * (below > 0) * smoothstep(1.1, 0.7, np.abs(u))
        part += 0.8 * line[..., None] * (_from_below(part, LINE_BELOW * half) - part)
        share = opened * soft_polygon(ring, x, y, w, h)[..., None]
        part += share * (self._color(u, v, lid, soft) - part)
        lashes = opened * smoothstep(LASHES + soft, 0.0, np.abs(v - lid)) * smoothstep(1.05, 0.8, np.abs(u))
        part += 0.75 * lashes[..., None] * (self.white * np.array(LINE) - part)

    def _color(self, u: np.ndarray, v: np.ndarray, lid: np.ndarray, soft: float) -> np.ndarray:  # [h, w] -> [h, w, 3]
        white = self.white * (1 - 0.35 * smoothstep(0.35, 1.0, np.abs(u)))[..., None]
        away = np.hypot(u, v + RAISED)
        brown = np.array(BROWN) * (0.75 + 0.55 * smoothstep(-0.3, 0.4, v + RAISED))[..., None]
        brown = brown * (1 - 0.5 * smoothstep(0.7, 1.0, away / IRIS))[..., None]  # darker at its rim
        color = _lay(white, self.white * brown, smoothstep(IRIS + soft, IRIS - soft, away))
        color = _lay(color, self.white * np.array(BLACK), smoothstep(PUPIL + soft, PUPIL - soft, away))
        color = color * (1 - 0.5 * smoothstep(LID_SHADOW, 0.0, v - lid))[..., None]
        glint = smoothstep(GLINT + soft, GLINT - soft, np.hypot(u - 0.12, v + RAISED + 0.14))
        return _lay(color, np.minimum(255.0, 1.4 * self.white), 0.8 * glint)


def _from_below(part: np.ndarray, rows: float) -> np.ndarray:
    """Each pixel's neighbour so many rows down."""
    return part[np.minimum(np.arange(len(part)) + max(1, round(rows)), len(part) - 1)]


def _lay(under: np.ndarray, color: np.ndarray, share: np.ndarray) -> np.ndarray:
    return under + share[..., None] * (color - under)
