"""A small drawing layer on Skia: smooth paths, gradients, soft edges, shaded and textured triangles.

Everything is drawn in a 512 x 512 space whatever the picture's size. Skia is imported with the first canvas.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from iasa.avatar.rig import DRAWING_SIZE
from iasa.config import Sentence


class Linear(NamedTuple):
    """A linear gradient between two points; colours have three or four channels."""

    start: Sequence[float]
    end: Sequence[float]
    colors: Sequence[Sequence[float]]
    stops: Sequence[float] | None = None


class Radial(NamedTuple):
    """A radial gradient from a centre."""

    center: Sequence[float]
    radius: float
    colors: Sequence[Sequence[float]]
    stops: Sequence[float] | None = None


Paint = Sequence[float] | Linear | Radial


@lru_cache(maxsize=1)
def load_skia() -> Any:
    """The skia module. Raises ImportError with the commands that install it."""
    try:
        import skia
    except ImportError as error:
        raise ImportError(
            Sentence(
                "the speaker needs Skia: pip install skia-python; on Linux also apt-get install libgl1 libegl1 ({error})",
                error=str(error),
            )
        ) from error
    return skia


def smooth_curve(points: np.ndarray, closed: bool = True, tension: float = 1 / 6) -> tuple[np.ndarray, np.ndarray]:
    """A Catmull-Rom curve through points [n, 2]: its start [2] and cubic Bezier controls [segments, 3, 2]."""
    p = np.asarray(points, np.float64)
    n = len(p)
    q = np.empty((n + 3 if closed else n + 2, 2))
    q[1 : n + 1] = p
    if closed:
        q[0], q[n + 1], q[n + 2] = p[-1], p[0], p[1]
    else:
        q[0], q[n + 1] = 2 * p[0] - p[1], 2 * p[-1] - p[-2]
    here, there = q[1:-2], q[2:-1]
    controls = np.empty((len(here), 3, 2))
    controls[:, 0] = here + (there - q[:-3]) * tension
    controls[:, 1] = there - (q[3:] - here) * tension
    controls[:, 2] = there
    return here[0], controls


_HALF_TURN = {n: np.stack([np.cos(a), np.sin(a)], 1) for n in (4, 5, 6, 7) for a in [np.linspace(0.5, 1.5, n) * np.pi]}


def capsule(a: np.ndarray, b: np.ndarray, radius_a: float, radius_b: float, points: int = 6) -> np.ndarray:
    """Outline of a round-ended stick from `a` to `b`: [2 * points, 2]."""
    dx, dy = float(b[0] - a[0]), float(b[1] - a[1])
    length = (dx * dx + dy * dy) ** 0.5 + 1e-9
    c, s = dx / length, dy / length
    arc = _HALF_TURN[points] @ np.array([[c, s], [-s, c]])
    return np.concatenate([a + radius_a * arc, b - radius_b * arc])


def limb(
    a: np.ndarray, b: np.ndarray, radii: Sequence[float] | np.ndarray, caps: tuple[bool, bool] = (True, True)
) -> np.ndarray:
    """Outline [n, 2] of a limb from `a` to `b` of half widths `radii`; `caps` says which ends are round."""
    axis = (b - a) / (np.linalg.norm(b - a) + 1e-9)
    side = np.array([-axis[1], axis[0]])
    middle = a + np.linspace(0, 1, len(radii))[:, None] * (b - a)
    left, right = middle + np.outer(radii, side), middle - np.outer(radii, side)
    turn = np.array([0.5, 0.0, -0.5])[:, None]  # a cap bulges by its half width
    end = b + axis * radii[-1] * np.array([[0.75], [1.0], [0.75]]) + 2 * turn * side * radii[-1] * 0.7
    start = a - axis * radii[0] * np.array([[0.75], [1.0], [0.75]]) - 2 * turn * side * radii[0] * 0.7
    parts = [left, end if caps[1] else left[:0], right[::-1], start if caps[0] else left[:0]]
    return np.concatenate(parts)


class Canvas:
    """A square RGBA picture with the drawing operations the speaker needs."""

    def __init__(self, size: int) -> None:
        self.skia = load_skia()
        self.size = size
        self.pixels = np.zeros((size, size, 4), np.uint8)
        self._surface = self.skia.Surface(self.pixels)
        self._canvas = self._surface.getCanvas()
        self._canvas.scale(size / DRAWING_SIZE, size / DRAWING_SIZE)
        rgba = self.skia.ColorType.kN32_ColorType == self.skia.ColorType.kRGBA_8888_ColorType
        self._order = [0, 1, 2] if rgba else [2, 1, 0]

    def image(self) -> np.ndarray:
        """The picture: uint8 [size, size, 3]."""
        return np.ascontiguousarray(self.pixels[..., self._order])

    def _color(self, color: Sequence[float]) -> Any:
        r, g, b = (float(c) for c in color[:3])
        return self.skia.Color4f(r, g, b, float(color[3]) if len(color) > 3 else 1.0)

    def _paint(self, paint: Paint, blur: float = 0.0, width: float | None = None, smooth: bool = True) -> Any:
        skia = self.skia
        out = skia.Paint(AntiAlias=smooth)
        if isinstance(paint, Linear | Radial):
            colors = [self._color(c).toColor() for c in paint.colors]
            stops = list(paint.stops) if paint.stops else []
            if isinstance(paint, Linear):
                ends = [skia.Point(float(p[0]), float(p[1])) for p in (paint.start, paint.end)]
                out.setShader(skia.GradientShader.MakeLinear(ends, colors, stops))
            else:
                center = skia.Point(float(paint.center[0]), float(paint.center[1]))
                out.setShader(skia.GradientShader.MakeRadial(center, float(paint.radius), colors, stops))
        else:
            out.setColor4f(self._color(paint))
        if blur:
            out.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, blur))
        if width is not None:
            out.setStyle(skia.Paint.kStroke_Style)
            out.setStrokeWidth(float(width))
            out.setStrokeCap(skia.Paint.kRound_Cap)
            out.setStrokeJoin(skia.Paint.kRound_Join)
        return out

    def path(self, points: np.ndarray, closed: bool = True, curved: bool = True) -> Any:
        """A path through points [n, 2], curved or straight."""
        path = self.skia.Path()
        if curved and len(points) > 2:
            start, controls = smooth_curve(points, closed)
            path.moveTo(*start.tolist())
            for control in controls.reshape(-1, 6).tolist():
                path.cubicTo(*control)
            if closed:
                path.close()
        else:
            path.addPoly([self.skia.Point(*p) for p in np.asarray(points, np.float64).tolist()], closed)
        return path

    def fill(self, path: Any, paint: Paint, blur: float = 0.0) -> None:
        self._canvas.drawPath(path, self._paint(paint, blur))

    def stroke(self, path: Any, paint: Paint, width: float, blur: float = 0.0) -> None:
        self._canvas.drawPath(path, self._paint(paint, blur, width))

    def circle(self, center: Sequence[float] | np.ndarray, radius: float, paint: Paint, blur: float = 0.0) -> None:
        self._canvas.drawCircle(float(center[0]), float(center[1]), float(radius), self._paint(paint, blur))

    def ellipse(
        self,
        center: Sequence[float] | np.ndarray,
        rx: float,
        ry: float,
        paint: Paint,
        degrees: float = 0.0,
        blur: float = 0.0,
    ) -> None:
        canvas = self._canvas
        canvas.save()
        canvas.translate(float(center[0]), float(center[1]))
        canvas.rotate(float(degrees))
        canvas.drawOval(self.skia.Rect.MakeLTRB(-float(rx), -float(ry), float(rx), float(ry)), self._paint(paint, blur))
        canvas.restore()

    @contextmanager
    def clip(self, path: Any) -> Iterator[None]:
        """Draw only inside the path."""
        self._canvas.save()
        self._canvas.clipPath(path, self.skia.ClipOp.kIntersect, True)
        try:
            yield
        finally:
            self._canvas.restore()

    def shaded_mesh(self, points: np.ndarray, colors: np.ndarray, triangles: np.ndarray) -> None:
        """Triangles [t, 3] over points [n, 2] with a colour [n, 3] at each point."""
        skia = self.skia
        c = np.clip(colors * 255 + 0.5, 0, 255).astype(np.uint32)
        packed = (0xFF000000 | (c[:, 0] << 16) | (c[:, 1] << 8) | c[:, 2]).tolist()
        vertices = skia.Vertices(
            skia.Vertices.kTriangles_VertexMode,
            self._points(points),
            None,
            packed,
            triangles.reshape(-1).tolist(),
        )
        self._canvas.drawVertices(vertices, skia.Paint(), skia.BlendMode.kDst)

    def textured_mesh(
        self, points: np.ndarray, texture_points: np.ndarray, triangles: np.ndarray, texture: Any
    ) -> None:
        """Triangles [t, 3] over points [n, 2] that show the pixels texture_points [n, 2] of a `texture`."""
        skia = self.skia
        vertices = skia.Vertices(
            skia.Vertices.kTriangles_VertexMode, self._points(points), self._points(texture_points), None,
            triangles.reshape(-1).tolist(),
        )  # fmt: skip
        paint = skia.Paint(AntiAlias=True)
        sampling = skia.SamplingOptions(skia.FilterMode.kLinear)  # mipmaps fail on triangles seen edge-on in the photo
        paint.setShader(texture.makeShader(skia.TileMode.kClamp, skia.TileMode.kClamp, sampling))
        self._canvas.drawVertices(vertices, paint, skia.BlendMode.kSrcOver)

    def texture(self, image: np.ndarray) -> Any:
        """A picture [h, w, 3 or 4] (uint8, straight alpha) as a texture."""
        if image.shape[2] == 3:
            image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        alpha = image[..., 3:].astype(np.uint16)
        image = np.dstack([(image[..., :3] * alpha // 255).astype(np.uint8), image[..., 3]])
        return self.skia.Image.fromarray(np.ascontiguousarray(image), self.skia.kRGBA_8888_ColorType)

    def _points(self, points: np.ndarray) -> list[Any]:
        return [self.skia.Point(*p) for p in np.asarray(points, np.float64).tolist()]
