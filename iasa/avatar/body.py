"""Draws neck, torso, clothes and upper arms as one smooth silhouette."""

from __future__ import annotations

from typing import Any

import numpy as np

from iasa.avatar.detail_drawing import draw_badge
from iasa.avatar.drawing import Linear, limb
from iasa.avatar.identity import Color, shade
from iasa.avatar.scene import Scene

SLEEVE_END = {"long": 1.0, "mid": 1.0, "short": 0.52}  # share of the upper arm under cloth
ELBOW_RADIUS = 3.7


def neck_half_width(scene: Scene) -> float:
    """cm"""
    return 4.4 if scene.identity.feminine else 5.2


def cloth_paint(scene: Scene, color: Color) -> Linear:
    """The trunk's light across its width; sleeves use it too, so that no seam shows at the shoulder."""
    width = scene.identity.shoulder_width + 4
    ends = scene.trunk([(-width, -10), (width, -10)])
    bright, dim = (-0.02, -0.30), (-0.30, -0.02)
    left, right = dim if scene.light_side > 0 else bright
    stops = [0, 0.62 if scene.light_side > 0 else 0.38, 1]
    return Linear(ends[0], ends[1], [shade(color, left), shade(color, 0.10), shade(color, right)], stops)


def shade_inside(scene: Scene, path: Any, strength: float = 0.22) -> None:
    """Darken a shape softly along the edges that the light does not reach."""
    c = scene.canvas
    with c.clip(path):
        shifted = c.skia.Path(path)
        shifted.offset(scene.light_side * 3.0, -2.0)
        c.stroke(shifted, (0, 0, 0, strength), 11, blur=4.5)


def draw_body(scene: Scene) -> None:
    """Neck, torso with its clothes, and both upper arms."""
    _draw_neck(scene)
    torso = _draw_torso(scene)
    _draw_clothes(scene)
    _draw_collar(scene)
    if scene.identity.details is not None:
        draw_badge(scene, scene.identity.details)
    for side, sign in enumerate((-1, 1)):
        draw_upper_arm(scene, side, torso)
        slope = scene.canvas.path(scene.trunk(_half_torso(scene, sign)[:4]), False)
        scene.canvas.stroke(slope, (*shade(scene.identity.cloth_color, -0.6), 0.4), 1.1)


def _draw_neck(scene: Scene) -> None:
    c, skin, half = scene.canvas, scene.identity.skin, neck_half_width(scene)
    chin = scene.geometry.face[152]
    jaw = 4.7 if scene.identity.feminine else 5.2
    jaws = scene.geometry.head_points([(-jaw, -4.5, -6), (jaw, -4.5, -6)])
    base = scene.trunk(
        [
            (-half, 2.5),
            (-half - 0.8, -0.2),
            (-half - 2.6, -2.4),
            (-4, -11),
            (4, -11),
            (half + 2.6, -2.4),
            (half + 0.8, -0.2),
            (half, 2.5),
        ]
    )
    top = scene.to_drawing(jaws + [[0.6, 0, 0], [-0.6, 0, 0]])
    neck = c.path(np.concatenate([top[:1], base, top[1:]]))
    scene.add_region("body", neck)
    ends = scene.trunk([(-half, 0), (half, 0)])
    away = 0.18 * np.array([scene.light_side > 0, scene.light_side < 0])
    c.fill(
        neck,
        Linear(ends[0], ends[1], [shade(skin, -0.10 - away[0]), shade(skin, -0.06), shade(skin, -0.10 - away[1])]),
    )
    with c.clip(neck):
        offsets = (
            [-1, 2, 0],
            [0.4, -3.2, 0],
            [-3, -2.2, 0],
            [0, -2.8, 0],
            [3, -2.2, 0],
            [-0.4, -3.2, 0],
            [1, 2, 0],
        )
        anchors = np.stack([jaws[0], jaws[0], chin, chin, chin, jaws[1], jaws[1]])
        under = anchors + offsets
        c.fill(c.path(scene.to_drawing(under)), (*shade(skin, -0.42), 0.75), blur=5)
        for sign in (-1, 1):
            tendon = scene.trunk([(sign * half * 0.75, 2), (sign * 2.2, -2.6), (sign * 1.0, -4.0)])
            c.stroke(c.path(tendon, False), (*shade(skin, -0.35), 0.3), 2.2, blur=1)
    c.stroke(neck, (*shade(skin, -0.5), 0.35), 1.0)


def _lift(scene: Scene) -> tuple[float, float]:
    """How far the shoulders are shrugged (right, left), cm."""
    g = scene.geometry
    right, left = (float(g.shoulders[side, 1] - g.lean[1] + 5.6) for side in range(2))
    return right, left


def _half_torso(scene: Scene, sign: int) -> list[tuple[float, float]]:
    """One side's outline from the neck over the shoulder and the armpit to the hem, cm."""
    w, n = scene.identity.shoulder_width, neck_half_width(scene)
    up = _lift(scene)[sign > 0]
    neck = [(n + 0.3, 1.2), (n + 2.2, -0.5), (w * 0.56, -1.9 + up * 0.5)]
    shoulder = [(w - 3.6, -3.3 + up), (w - 1.0, -6.0 + up), (w - 0.9, -10)]
    flank = [(w * 0.86, -17), (w * 0.80, -28), (w * 0.78, -36), (w * 0.86, -56)]
    return [(sign * x, y) for x, y in neck + shoulder + flank]


def _neckline(scene: Scene) -> list[tuple[float, float]]:
    """From the person's left to the right, cm."""
    n = neck_half_width(scene)
    side = {
        "vneck": ((n - 0.6, -1.6), (2.4, -6), (0, -10)),
        "shirt": ((n - 0.6, -0.8), (2, -3.6), (0, -6)),
        "hoodie": ((n - 0.1, -1.0), (2.8, -3.6), (0, -4.4)),
        "turtle": ((n + 0.2, 2.6), (2.5, 1.6), (0, 1.3)),
    }.get(scene.identity.clothes, ((n - 0.1, -1.2), (2.8, -3.7), (0, -4.4)))
    return [*side, *((-x, y) for x, y in side[1::-1])]


def _draw_torso(scene: Scene) -> Any:
    c, identity, w = scene.canvas, scene.identity, scene.identity.shoulder_width
    base = identity.cloth_color
    right, left = _half_torso(scene, -1), _half_torso(scene, 1)
    torso = c.path(scene.trunk([*right, *left[::-1], *_neckline(scene)]))
    scene.add_region("body", torso)
    c.fill(torso, cloth_paint(scene, base))
    with c.clip(torso):
        if identity.stripes:
            for y in range(-8, -56, -6):
                band = scene.trunk([(-w - 3, y + 0.8), (-w * 0.4, y - 0.6), (w * 0.4, y - 0.6), (w + 3, y + 0.8)])
                c.stroke(c.path(band, False), (*identity.cloth_second, 0.8), 10)
        c.ellipse(scene.trunk([(-4 * scene.identity.light[0], -3.5)])[0], 60, 18, (0, 0, 0, 0.18), blur=9)
        for sign in (-1, 1):
            c.ellipse(scene.trunk([(sign * w * 0.42, -15.5)])[0], 36, 15, (0, 0, 0, 0.06), blur=9)
            for (x0, y0), (x1, y1), (x2, y2), alpha in (
                ((0.92, -14), (0.62, -18.0), (0.38, -19.2), 0.10),
                ((0.82, -30), (0.5, -33.5), (0.26, -33.5), 0.07),
                ((0.80, -40), (0.45, -43.0), (0.2, -42.5), 0.07),
            ):
                fold = scene.trunk([(sign * w * x0, y0), (sign * w * x1, y1), (sign * w * x2, y2)])
                c.stroke(c.path(fold, False), (0, 0, 0, alpha), 3, blur=2)
        fall = scene.trunk([(0, -28), (0, -54)])
        box = scene.trunk([(-w - 4, -28), (w + 4, -28), (w + 4, -60), (-w - 4, -60)])
        c.fill(c.path(box, curved=False), Linear(fall[0], fall[1], [(0, 0, 0, 0), (0, 0, 0, 0.2)]))
    c.stroke(torso, (*shade(base, -0.6), 0.35), 1.1)
    return torso


def _draw_clothes(scene: Scene) -> None:
    """What lies on the torso: buttons and the open jacket."""
    c, identity, n = scene.canvas, scene.identity, neck_half_width(scene)
    color, edge = identity.cloth_color, (*shade(identity.cloth_color, -0.55), 0.7)
    if identity.clothes == "shirt":
        c.stroke(c.path(scene.trunk([(0, -6), (0.2, -30), (0, -55)]), False), edge, 1.3)
        for button in scene.trunk([(1.0, y) for y in (-11, -20, -29, -38)]):
            c.circle(button, 2.3, shade(color, 0.55))
    elif identity.clothes == "blazer":
        front = [(n + 0.5, -2.2), (n + 0.9, -6), (4.6, -16), (0.4, -31)]
        shirt = c.path(scene.trunk([*front, *((-x, y) for x, y in front[::-1]), *_neckline(scene)[::-1]]))
        c.fill(shirt, cloth_paint(scene, identity.cloth_second))
        c.stroke(c.path(scene.trunk([(0.3, -30), (1.2, -42), (1.5, -56)]), False), (*shade(color, -0.6), 0.5), 1.2)
        for sign in (-1, 1):
            lapel = [(n + 0.2, 1.0), (n + 3.4, -1.2), (n + 4.8, -8.5), (n + 3.2, -9.4)]
            lapel += [(n + 4.0, -12), (0.5, -30.5), (3.6, -17), (n - 0.2, -4)]
            path = c.path(scene.trunk([(sign * x, y) for x, y in lapel]), curved=False)
            c.fill(path, shade(color, -0.16))
            c.stroke(path, (*shade(color, -0.6), 0.6), 1.1)
        c.circle(scene.trunk([(-1.0, -36)])[0], 3, shade(color, -0.5))


def _draw_collar(scene: Scene) -> None:
    c, identity, n = scene.canvas, scene.identity, neck_half_width(scene)
    color = identity.cloth_second if identity.clothes == "blazer" else identity.cloth_color
    edge = (*shade(color, -0.55), 0.6)
    if identity.clothes in ("crew", "vneck", "hoodie", "blazer"):
        band = c.path(scene.trunk([(n + 0.9, 0.2), *_neckline(scene), (-n - 0.9, 0.2)]), False)
        c.stroke(band, shade(color, -0.22), 9 if identity.clothes == "hoodie" else 6)
    if identity.clothes == "turtle":
        half = [(n + 0.7, 3.0), (2.6, 2.0), (0, 1.7)]
        low = [(-n - 1.2, -1.6), (-2.8, -3.4), (2.8, -3.4), (n + 1.2, -1.6)]
        path = c.path(scene.trunk([*half, *((-x, y) for x, y in half[1::-1]), *low]))
        c.fill(path, cloth_paint(scene, shade(color, -0.05)))
        c.stroke(path, edge, 1.0)
    for sign in (-1, 1):
        if identity.clothes == "hoodie":
            hood = [(n + 0.3, 1.8), (n + 4.0, 0.3), (n + 4.4, -3.2), (3.4, -8), (0.6, -8.6), (3.2, -4.6)]
            path = c.path(scene.trunk([(sign * x, y) for x, y in hood]))
            c.fill(path, shade(color, -0.12))
            c.stroke(path, edge, 1.2)
            cord = scene.trunk([(sign * 2.2, -7.8), (sign * 2.5, -13), (sign * 2.1, -18)])
            c.stroke(c.path(cord, False), shade(color, 0.6), 2.2)
        elif identity.clothes == "shirt":
            flap = [(n + 0.3, 1.6), (n + 2.4, -0.7), (n + 0.6, -7.2), (0.5, -5.2), (2.8, -3.0)]
            path = c.path(scene.trunk([(sign * x, y) for x, y in flap]), curved=False)
            c.fill(path, shade(color, 0.14))
            c.stroke(path, edge, 1.2)


def upper_arm_outline(scene: Scene, side: int, end: float = 1.0) -> tuple[np.ndarray, int]:
    """The upper arm and its shoulder, cm [n, 2], and how many of its last points lie inside the torso.

    `end` < 1 cuts it off there with a straight hem: a short sleeve.
    """
    g, w = scene.geometry, scene.identity.shoulder_width
    sign = 1 if side else -1
    shoulder, elbow = g.shoulders[side, :2], g.elbows[side, :2]
    axis = elbow - shoulder + [0, -3]  # an arm that points at the camera still hangs from its shoulder
    axis /= np.linalg.norm(axis)
    out = sign * np.array([-axis[1], axis[0]])
    tip = shoulder + end * (elbow - shoulder)
    span = tip - shoulder
    radius = ELBOW_RADIUS if end == 1 else 4.4
    lean = g.lean[:2]
    up = np.array([0, _lift(scene)[side]])
    outer = [
        np.array([sign * (w - 4.6), -2.85]) + lean + up,
        shoulder + [sign * -0.6, 1.55],
        shoulder + out * 2.5 + [0, 0.1],
        shoulder + out * 4.1 + axis * 2.6,
        shoulder + out * 4.5 + span * 0.36,
        shoulder + out * 4.3 + span * 0.66,
        tip + out * radius,
    ]
    cap = [
        tip + (out * 0.72 + axis * 0.68) * radius,
        tip + axis * radius * 0.98,
        tip + (-out * 0.72 + axis * 0.68) * radius,
    ]
    inner = [tip - out * radius, shoulder - out * 3.9 + span * 0.6, shoulder - out * 3.6 + span * 0.36]
    hidden = [np.array([sign * w * 0.76, -9.5]) + lean, np.array([sign * w * 0.72, -5.0]) + lean + up * 0.5]
    return np.array([*outer, *(cap if end == 1 else []), *inner, *hidden]), len(hidden)


def draw_upper_arm(scene: Scene, side: int, torso: Any) -> None:
    """One upper arm, sleeve and shoulder, melted into the torso."""
    c, identity = scene.canvas, scene.identity
    end = SLEEVE_END[identity.sleeve]
    arm = c.path(scene.to_drawing(upper_arm_outline(scene, side)[0]))
    scene.add_region("arms", arm)
    scene.upper_arms.append(arm)
    shoulder = scene.to_drawing(scene.geometry.shoulders[side])
    scene.add_region("shoulders", c.path(shoulder + 5.2 * identity.scale * _OCTAGON))
    if end < 1:
        g = scene.geometry
        inside, elbow = g.shoulders[side] * 0.65 + g.elbows[side] * 0.35, g.elbows[side]
        radii = np.array([3.4, 3.2, 2.8]) * identity.scale
        bare = limb(scene.to_drawing(inside), scene.to_drawing(elbow), radii, (False, True))
        path = c.path(bare)
        scene.upper_arms[side] = path
        with c.clip(torso):
            c.stroke(path, (0, 0, 0, 0.2), 6, blur=3)
        c.stroke(path, (*shade(identity.skin, -0.62), 0.6), 1.5)
        c.fill(path, shade(identity.skin, -0.04))
        shade_inside(scene, path, 0.26)
    points, hidden = upper_arm_outline(scene, side, end)
    outline = scene.to_drawing(points)
    path, seen = c.path(outline), c.path(outline[:-hidden], False)
    with c.clip(torso):
        c.stroke(c.path(outline[6:-hidden], False), (0, 0, 0, 0.25), 8, blur=4)
    c.stroke(seen, (*shade(identity.cloth_color, -0.6), 0.6), 1.5)
    c.fill(path, cloth_paint(scene, identity.cloth_color))
    with c.clip(path):
        c.stroke(c.path(outline[4:-hidden], False), (0, 0, 0, 0.2), 10, blur=4.5)


_OCTAGON = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], 1)
