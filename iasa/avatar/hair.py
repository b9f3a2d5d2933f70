"""Draws hair in two layers, behind the body and over the face, fixed to the turning skull."""

from __future__ import annotations

import numpy as np

from iasa.avatar.drawing import Linear, Radial
from iasa.avatar.face import SKULL_CENTER, SKULL_RADII, skull_outline, yaw_of
from iasa.avatar.identity import mix, shade
from iasa.avatar.scene import Scene

_HALF_RING = np.linspace(np.pi * 1.05, -np.pi * 0.05, 13)


def _mirrored(points: list[tuple[float, float, float]], middle: tuple[float, float, float] | None = None) -> np.ndarray:
    """A line from the person's left to the right: the given left half, a middle point, the mirrored half."""
    right = [(-x, y, z) for x, y, z in points[::-1]]
    return np.array([*points, *([middle] if middle else []), *right], float)


def draw_hair_back(scene: Scene) -> None:
    """Hair that hangs behind neck and shoulders."""
    c, identity = scene.canvas, scene.identity
    hair, dark, style = identity.hair_color, shade(identity.hair_color, -0.35), identity.hair
    size = 1.06 + 0.07 * identity.volume
    if style == "long":
        top = skull_outline(scene, _HALF_RING, size + 0.03)
        y = -12 - 9 * identity.volume
        left = [(9.4, -4.0), (10.2, y * 0.5 - 2), (8.6, y - 1.5), (5.0, y + 2)]
        bottom = scene.trunk([*left, (0, y + 6), *((-a, b) for a, b in left[::-1])]) + scene.identity.scale * np.array(
            [0, -5.5]
        )
        path = c.path(np.concatenate([top, scene.head([(9.3, -3, -5)]), bottom, scene.head([(-9.3, -3, -5)])]))
        c.fill(path, Linear(top[6], bottom[4], [hair, dark, shade(hair, -0.5)]))
    elif style == "bob":
        top = skull_outline(scene, _HALF_RING, size + 0.04)
        ends = _mirrored([(9.6, -3, -5), (9.7, -8, -4), (8, -10.2, -3), (4, -9.5, -6)], (0, -9, -7))
        c.fill(c.path(np.concatenate([top, scene.head(ends)])), dark)
    if style in ("long", "bob"):
        _draw_side_locks(scene, behind=True)
    if style == "pony":
        tail = [
            (5, 8, -10),
            (11, 5, -12),
            (12.5, -3, -12),
            (10.5, -11, -11),
            (8.5, -14, -10),
            (8.8, -7, -10),
            (7.5, 0, -10),
        ]
        c.fill(c.path(scene.head(tail)), dark)
    elif style == "bun":
        center = scene.head((0, 13.8, -8))
        c.circle(center, 23, Radial(center - [6, 8], 34, [shade(hair, 0.2), hair, shade(hair, -0.4)]))
        for bend in (0.3, 0.6):
            coil = center + np.array([(-21 * bend, 4), (0, -20 * bend), (21 * bend, 6)])
            c.stroke(c.path(coil, False), (*shade(hair, -0.5), 0.3), 1.6, blur=0.6)
    elif style == "curly":
        _draw_curls(scene, front=False)


_CURL = (
    np.stack([np.cos(np.linspace(0.6, 4.6, 6)), np.sin(np.linspace(0.6, 4.6, 6))], 1) * np.linspace(1, 0.6, 6)[:, None]
)


def _turned(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, s], [-s, c]])


def _curl_centers(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Curls spread evenly over the crown and sides: centres [n, 3] in the head frame and radii [n], cm."""
    r = np.random.default_rng(scene.identity.seed)
    count = 190
    height = 1 - 1.7 * (np.arange(count) + 0.5) / count
    turn = np.arange(count) * np.pi * (3 - 5**0.5)
    flat = np.sqrt(1 - height**2)
    sphere = np.stack([flat * np.sin(turn), height, flat * np.cos(turn)], 1)
    swell = 1.03 + 0.12 * scene.identity.volume
    centers = SKULL_CENTER + sphere * SKULL_RADII * swell + r.normal(0, 0.35, (count, 3))
    radii = r.uniform(1.0, 1.6, count) * (0.85 + 0.3 * scene.identity.volume)
    x, y, z = centers.T
    hairline = 8.3 - 1.2 * scene.identity.fringe - 0.05 * np.abs(x) ** 2  # bare below it in front
    keep = np.where(z > -4.0, y > hairline, y > np.where(z > -7.5, 1.5, -3.5))
    return centers[keep], radii[keep]


def _draw_curls(scene: Scene, front: bool) -> None:
    """Overlapping round curls, far ones first, lit from one side."""
    c, hair = scene.canvas, scene.identity.hair_color
    centers, radii = _curl_centers(scene)
    depth = scene.geometry.head_points(centers)[:, 2] - scene.geometry.head_points(SKULL_CENTER)[2]
    chosen = depth > -1.0 if front else depth <= -1.0
    order = np.flatnonzero(chosen)[np.argsort(depth[chosen])]
    places = scene.head(centers)
    toward = np.array([scene.light_side * 0.35, -0.4])
    if front:
        outer = skull_outline(scene, np.linspace(np.pi, 0, 15), 1.05)
        line = scene.head(_hairline(scene))
        sides = scene.head([(7.9, 1.8, -6.4), (-7.9, 1.8, -6.4)])
        c.fill(c.path(np.concatenate([outer, sides[:1], line, sides[1:]])), shade(hair, -0.35))
    for i in order:
        radius = float(radii[i]) * scene.identity.scale
        near = 0.012 * float(depth[i])
        tones = [shade(hair, 0.08 + near), shade(hair, -0.14 + near), shade(hair, -0.42)]
        c.circle(places[i], radius, Radial(places[i] + toward * radius, radius * 1.6, tones, [0, 0.55, 1]))
        ring = places[i] + radius * 0.62 * _CURL @ _turned(float(centers[i, 0]))
        c.stroke(c.path(ring, False), (*shade(hair, 0.32), 0.35), radius * 0.16)


def draw_hair_front(scene: Scene) -> None:
    """Hair on the crown, around the face, and the strands that fall in front of the shoulders."""
    c, identity, style = scene.canvas, scene.identity, scene.identity.hair
    if style == "bald":
        c.ellipse(scene.head((2.5 * scene.light_side, 10.5, 2)), 13, 7, (1, 1, 1, 0.18), blur=5)
        return
    if style != "buzz":
        shadow = c.path(scene.head(_hairline(scene)[1:-1]) + [0, 2.5], False)
        c.stroke(shadow, (*shade(identity.skin, -0.5), 0.35), 10, blur=4)
    if style == "curly":
        _draw_curls(scene, front=True)
        return
    hair = identity.hair_color
    sizes = {"buzz": 1.015, "short": 1.05 + 0.06 * identity.volume, "bun": 1.035, "pony": 1.04}
    size = sizes.get(style, 1.06 + 0.06 * identity.volume)
    outer = skull_outline(scene, np.linspace(np.pi, 0, 15), size)
    line3d = _hairline(scene)
    if style == "short":
        r = np.random.default_rng(identity.seed + 7)
        outer = outer + np.stack([r.uniform(-1.5, 1.5, 15), r.uniform(-3, 1.2, 15)], 1)
        line3d[3:6, 1] += r.uniform(-0.6, 0.3, 3)
    low = 1.0 if style == "buzz" else -0.5
    burns3d = np.array([(7.75, low, -6.4), (-7.75, low, -6.4)])
    for side, sign in enumerate((1, -1)):  # keep the sideburn of the far cheek from sliding over the face
        turned = max(0.0, sign * yaw_of(scene))
        burns3d[side] += np.multiply((sign, 3, 8), turned)
        line3d[-side] += np.multiply((sign, 1, 6), turned)
    line, burns = scene.head(line3d), scene.head(burns3d)
    cap = c.path(np.concatenate([outer, burns[:1], line, burns[1:]]))
    if style == "buzz":
        c.fill(cap, (*mix(hair, identity.skin, 0.25), 0.85), blur=1.2)
    else:
        light = scene.light_side
        ends = scene.head([(light * 8, 12, 0), (-light * 8, -4, 0)])
        c.fill(cap, Linear(ends[0], ends[1], [shade(hair, 0.2), hair, shade(hair, -0.35)]))
        c.stroke(cap, (*shade(hair, -0.6), 0.45), 1.1)
    with c.clip(cap):
        gloss = scene.head((scene.light_side * 3, 10.2, 3))
        strength = 0.12 if style == "buzz" else 0.26
        c.ellipse(gloss, 26, 7, (*shade(hair, 0.55), strength), -10 * scene.light_side, blur=6)
        if style != "buzz":
            _draw_strands(scene, outer, line)
    if style in ("long", "bob"):
        _draw_side_locks(scene, behind=False)


def _hairline(scene: Scene) -> np.ndarray:
    """Where hair meets the face, from the person's left temple to the right one: [9, 3], head frame."""
    identity = scene.identity
    part = identity.parting * 3.2
    if identity.hair in ("long", "bob") and identity.fringe > 0.62:
        return _mirrored([(6.9, 1, -3.2), (6.6, 4.4, -1), (5.2, 5.6, 1), (2.7, 5.9, 2.6)], (0, 6.1, 3))
    if identity.hair in ("long", "bob", "side", "pony"):
        return np.array(
            [(6.9, 1.2, -3.6), (6.5, 4.6, -1.4), (5.4, 6.9, 0.6), ((part + 5.4) / 2, 8.5, 1.7),
             (part, 9.6, 1.6), ((part - 5.4) / 2, 8.3, 1.9), (-5.4, 6.7, 0.6), (-6.5, 4.6, -1.4),
             (-6.9, 1.2, -3.6)]
        )  # fmt: skip
    y = 8.3 - 1.9 * identity.fringe * (identity.hair == "short")
    return _mirrored([(6.9, 1.0, -4.2), (6.4, 3.0, -2.2), (6.2, 5.8, -0.6), (4.4, y - 0.5, 1.2)], (0, y + 0.3, 2.0))


def _draw_strands(scene: Scene, outer: np.ndarray, line: np.ndarray) -> None:
    """Soft combed strands that follow the crown from the parting down both sides."""
    c, hair = scene.canvas, scene.identity.hair_color
    parted = scene.identity.hair in ("long", "bob", "side", "pony")
    at = 0.5 - 0.5 * np.clip(scene.identity.parting * 0.35 if parted else 0, -1, 1)
    along = np.linspace(0, 1, 9)
    top = np.stack([np.interp(along, np.linspace(0, 1, 15), outer[:, k]) for k in range(2)], 1)
    low = np.stack([np.interp(along, np.linspace(0, 1, 9), line[::-1, k]) for k in range(2)], 1)
    share = np.linspace(0.12, 0.92, 6)
    for i, s in enumerate(share):
        curve = top * (1 - s) + low * s
        left, right = curve[along <= at + 0.06], curve[along >= at - 0.06]
        color = (*shade(hair, 0.3), 0.22) if i % 2 else (*shade(hair, -0.45), 0.28)
        for half in (left, right):
            if len(half) > 2:
                c.stroke(c.path(half, False), color, 1.8, blur=0.6)


def _draw_side_locks(scene: Scene, behind: bool) -> None:
    """Hair that falls beside the cheeks; the cheek hides the lock of the side to which the head turns."""
    c, hair = scene.canvas, scene.identity.hair_color
    end = -9.5 if scene.identity.hair == "bob" else -14.0
    lock = np.array(
        [(7.2, 5, -2.5), (8.2, 1, -2.5), (8.7, -4, -2.5), (8.9, end * 0.75, -2), (7.6, end, -2),
         (7.0, end * 0.7, -2.2), (6.9, -3, -2.8), (6.6, 1.2, -2.8)]
    )  # fmt: skip
    for sign in (-1, 1):
        turned = sign * yaw_of(scene)
        if (turned > 0.14) != behind:
            continue
        points = scene.head((lock + [3 * max(0.0, turned), 0, 0]) * (sign, 1, 1))
        path = c.path(points)
        c.fill(path, Linear(points[0], points[4], [hair, shade(hair, -0.28)]))
        c.stroke(path, (*shade(hair, -0.6), 0.4), 1.0)
        middle = np.array([points[0], (points[2] + points[6]) / 2, points[4]])
        c.stroke(c.path(middle, False), (*shade(hair, 0.3), 0.3), 1.6, blur=0.5)
