"""One frame being drawn (canvas, identity, posed body, regions found on the way), and the background."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from iasa.avatar.drawing import Canvas, Linear, Radial
from iasa.avatar.identity import Color, Identity, hsv, shade
from iasa.avatar.rig import DRAWING_SIZE, Geometry, to_drawing


@dataclass
class Scene:
    """What the drawing functions share within one frame. Drawing coordinates are 512 x 512, y down."""

    canvas: Canvas
    identity: Identity
    geometry: Geometry
    neutral: np.ndarray  # [478, 3], the identity's face at rest
    hollows: np.ndarray  # [478], how deep each vertex of that face lies among its neighbours
    regions: dict[str, list[Any]] = field(default_factory=dict)  # name -> paths
    upper_arms: list[Any] = field(default_factory=list)  # (right, left), what a forearm joins at the elbow

    def __post_init__(self) -> None:
        self.face = self.to_drawing(self.geometry.face)  # [478, 2]
        self.light_side = 1.0 if self.identity.light[0] > 0 else -1.0

    def to_drawing(self, points: ArrayLike) -> np.ndarray:
        """cm [..., >=2] -> drawing space [..., 2]."""
        return to_drawing(self.identity, np.asarray(points, np.float64))

    def head(self, points: ArrayLike) -> np.ndarray:
        """Points fixed to the head (cm, head frame) -> drawing space."""
        return self.to_drawing(self.geometry.head_points(points))

    def trunk(self, points: ArrayLike) -> np.ndarray:
        """Points fixed to the trunk (cm [n, 2]), which sways most at the shoulders -> drawing space."""
        p = np.asarray(points, np.float64)
        return self.to_drawing(p + self.geometry.lean[:2] * np.clip(1 + p[:, 1:] / 60, 0.15, 1.3))

    def add_region(self, name: str, path: Any) -> None:
        self.regions.setdefault(name, []).append(path)


def _box(canvas: Canvas, x0: float, y0: float, x1: float, y1: float) -> Any:
    return canvas.path(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float), curved=False)


def draw_backdrop(canvas: Canvas, identity: Identity) -> None:
    """The wall behind the speaker: quiet on purpose, so that a small network can afford it."""
    r = np.random.default_rng(identity.backdrop_seed)
    color: Color = identity.backdrop_color
    full = DRAWING_SIZE
    canvas.fill(
        _box(canvas, 0, 0, full, full),
        Linear((0, 0), (full, full), [shade(color, 0.14), color, shade(color, -0.2)]),
    )
    if identity.backdrop == "glow":
        glow = Radial((256, 190), 330, [(*shade(color, 0.5), 0.8), (*color, 0)])
        canvas.circle((256, 190), 330, glow)
    elif identity.backdrop == "window":
        x = float(r.uniform(0, 300))
        canvas.fill(_box(canvas, x, 20, x + 190, 250), (*shade(color, 0.5), 0.9), blur=1.5)
        sky = Linear((0, 28), (0, 242), [(0.76, 0.86, 0.96), (0.93, 0.95, 0.97)])
        for left, right in ((x + 10, x + 90), (x + 100, x + 180)):
            canvas.fill(_box(canvas, left, 30, right, 240), sky, blur=1.5)
    elif identity.backdrop == "panel":
        low = float(r.uniform(300, 380))
        canvas.fill(_box(canvas, 0, low, full, full), shade(color, -0.28))
        canvas.fill(_box(canvas, 0, low - 12, full, low), shade(color, 0.1))
        x, width = float(r.uniform(20, 330)), float(r.uniform(90, 150))
        other = hsv(r.random(), r.uniform(0.15, 0.45), r.uniform(0.5, 0.85))
        canvas.fill(_box(canvas, x, 60, x + width, 60 + width * 0.75), shade(color, -0.4), blur=1)
        canvas.fill(
            _box(canvas, x + 8, 68, x + width - 8, 52 + width * 0.75),
            Linear((x, 60), (x + width, 60 + width), [shade(other, 0.35), other]),
        )
    elif identity.backdrop == "curtain":
        for i in range(7):
            x = i * 78 + float(r.uniform(-8, 8))
            fold = Linear((x, 0), (x + 50, 0), [(0, 0, 0, 0.0), (0, 0, 0, 0.11), (0, 0, 0, 0)])
            canvas.fill(_box(canvas, x, 0, x + 50, full), fold)
    else:
        for _ in range(7):
            center, radius = (r.uniform(0, full), r.uniform(0, 380)), r.uniform(25, 65)
            canvas.circle(center, radius, (*shade(hsv(r.random(), 0.35, 0.9), 0.2), 0.28), blur=8)
        canvas.fill(_box(canvas, 0, 400, full, full), shade(color, -0.3), blur=3)
