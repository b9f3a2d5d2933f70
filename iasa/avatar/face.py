"""Draws the head without its hair: ears, shaded skin, nose, eyes, brows, mouth, beard and glasses."""

from __future__ import annotations

import numpy as np

from iasa.avatar.drawing import Linear, Radial
from iasa.avatar.identity import mix, shade
from iasa.avatar.mesh import (
    BROW_BOTTOM,
    BROW_TOP,
    LOWER_INNER,
    LOWER_LID,
    LOWER_OUTER,
    OVAL,
    UPPER_INNER,
    UPPER_LID,
    UPPER_OUTER,
    base_mesh,
    face_normals,
)
from iasa.avatar.rig import HEAD_SIZE
from iasa.avatar.scene import Scene

SKULL_CENTER = np.array([0, 3.3, -4.2])
SKULL_RADII = np.array([7.3, 8.6, 8.6])
_JAW_LINE = list(OVAL[8:29])
_CHEEKS_AND_JAW = list(OVAL[6:31])
_FOREHEAD = [127, 162, 21, 54, 103, 67, 109, 10, 338, 297, 332, 284, 251, 389, 356]
_NOSE_BASE = [129, 64, 98, 97, 2, 326, 327, 294, 358]
_NOSTRILS = ([79, 166, 60, 20, 238], [309, 392, 290, 250, 458])
_NOSE_SIDES = ([417, 465, 412, 399, 456, 420], [193, 245, 188, 174, 236, 198])  # by the side the light leaves


def skull_outline(scene: Scene, angles: np.ndarray, size: float = 1.0) -> np.ndarray:
    """The skull's outline in the picture at angles (0: the person's left, pi/2: up): [n, 2]."""
    g = scene.geometry
    axes = g.head_rotation[:2] * SKULL_RADII * HEAD_SIZE
    ellipse = np.linalg.cholesky(axes @ axes.T + 1e-6 * np.eye(2))
    ring = np.stack([np.cos(angles), np.sin(angles)], 1) @ ellipse.T
    return scene.to_drawing(g.head_points(SKULL_CENTER)[:2] + size * ring)


def yaw_of(scene: Scene) -> float:
    """The head's turn to the person's left, radians."""
    return float(np.arcsin(np.clip(scene.geometry.head_rotation[0, 2], -1, 1)))


def draw_head(scene: Scene) -> None:
    """Everything of the head but hair."""
    _draw_ears(scene)
    _draw_skin(scene)
    if scene.identity.beard != "none":
        _draw_beard(scene)
    _draw_nose(scene)
    for side in range(2):
        _draw_eye(scene, side)
        _draw_brow(scene, side)
    draw_mouth(scene)
    if scene.identity.glasses != "none":
        _draw_glasses(scene)


def _draw_ears(scene: Scene) -> None:
    c, skin, yaw = scene.canvas, scene.identity.skin, yaw_of(scene)
    if scene.identity.hair in ("long", "bob"):
        return
    outer = (
        (6.9, 3.2, -6),
        (7.5, 4.2, -7.5),
        (8.3, 4.1, -8),
        (8.55, 2.6, -8),
        (8.2, 0.6, -7.6),
        (7.9, -1, -7),
        (7.1, -1.2, -6),
    )
    inner = ((7.5, 2.9, -6.5), (7.9, 3.3, -7.5), (8.0, 2.2, -7.7), (7.8, 0.9, -7))
    for sign in (-1, 1):
        if sign * yaw > 0.35:
            continue
        mirror = (sign, 1, 1)
        ear = c.path(scene.head(np.multiply(outer, mirror)))
        c.fill(ear, shade(mix(skin, (0.85, 0.35, 0.3), 0.08), -0.06))
        c.stroke(ear, (*shade(skin, -0.55), 0.55), 1.1)
        c.stroke(c.path(scene.head(np.multiply(inner, mirror)), False), (*shade(skin, -0.4), 0.7), 1.6, blur=0.5)
        if scene.identity.earring:
            c.circle(scene.head((sign * 7.7, -1.7, -7)), 2.6, (0.95, 0.85, 0.5))


def _skin_colors(scene: Scene) -> np.ndarray:
    """Skin lit from one side, darker in hollows, warmer on cheeks and nose: [478, 3]."""
    identity, skin = scene.identity, np.array(scene.identity.skin)
    normals, _ = face_normals(scene.geometry.face)
    lit = np.clip((normals @ np.array(identity.light) + 0.25) / 1.25, 0, 1)
    tone = ((lit - 0.80) - np.clip(2.2 * scene.hollows, 0, 0.5))[:, None]
    dark = skin * (1 + np.clip(tone, -0.75, 0) * [0.62, 0.80, 0.92])
    bright = skin + (np.array([1, 0.97, 0.92]) - skin) * np.clip(tone * 1.3, 0, 0.5)
    x, y = scene.neutral[:, 0], scene.neutral[:, 1]
    warm = np.exp(-(((np.abs(x) - 4.3) / 1.6) ** 2) - ((y + 0.3) / 1.7) ** 2)
    warm += 0.6 * np.exp(-((x / 1.1) ** 2) - (y + 0.2) ** 2)
    return np.where(tone < 0, dark, bright) * (1 - warm[:, None] * 0.15 * np.array([0, 0.9, 0.8]))


def _draw_skin(scene: Scene) -> None:
    c, f, skin = scene.canvas, scene.face, scene.identity.skin
    oval = c.path(f[list(OVAL)])
    scene.add_region("face", oval)
    colors = _skin_colors(scene)
    tones = [colors[list(k)].mean(0) for k in ((21, 54), (103, 67), (10,), (332, 297), (251, 284))]
    forehead = Linear(f[127], f[356], [tones[0] * 0.9, *tones[1:4], tones[4] * 0.9])
    c.fill(c.path(skull_outline(scene, np.linspace(0, 2 * np.pi, 28, endpoint=False))), forehead)
    c.fill(oval, skin)
    with c.clip(oval):
        triangles = base_mesh().triangles
        _, of_triangle = face_normals(scene.geometry.face)
        order = np.argsort(scene.geometry.face[triangles].mean(1)[:, 2])
        c.shaded_mesh(f, colors, triangles[order][of_triangle[order, 2] > 0])
        c.stroke(c.path(f[_CHEEKS_AND_JAW], False), (*shade(skin, -0.45), 0.28), 10, blur=4)
        c.stroke(c.path(f[_FOREHEAD], False), forehead, 9, blur=4)
    c.stroke(c.path(f[_JAW_LINE], False), (*shade(skin, -0.55), 0.4), 1.2)


def _draw_nose(scene: Scene) -> None:
    c, f, skin, light = scene.canvas, scene.face, scene.identity.skin, scene.light_side
    base = [48, 64, 98, 97, 2, 326, 327, 294, 278, 344, 4, 115]
    c.fill(c.path(f[base]), (*shade(skin, -0.35), 0.2), blur=3)
    c.stroke(c.path(f[_NOSE_BASE], False), (*shade(skin, -0.5), 0.5), 1.5, blur=0.6)
    for ring, tilt in zip(_NOSTRILS, (-12, 12), strict=True):
        c.ellipse(f[ring].mean(0) + [0, 0.6], 2.9, 1.6, (*shade(skin, -0.75), 0.8), tilt, blur=0.5)
    c.ellipse(f[4] * 0.6 + f[5] * 0.4 + [light, -1], 4.2, 3.2, (1, 1, 1, 0.18), blur=2)
    c.stroke(c.path(f[[6, 197, 195, 5]], False), (1, 1, 1, 0.12), 4, blur=2)
    c.stroke(c.path(f[_NOSE_SIDES[light > 0]], False), (*shade(skin, -0.5), 0.28), 4, blur=2.2)


def _draw_eye(scene: Scene, side: int) -> None:
    c, f, identity = scene.canvas, scene.face, scene.identity
    skin = identity.skin
    upper, lower = f[list(UPPER_LID[side])], f[list(LOWER_LID[side])]
    opening = c.path(np.concatenate([upper, lower[-2:0:-1]]))
    socket = c.path(np.concatenate([upper + [0, -7], lower[::-1] + [0, 3]]))
    c.fill(socket, (*shade(skin, -0.42), 0.28), blur=3.5)
    c.fill(opening, (0.97, 0.96, 0.95))
    with c.clip(opening):
        radius = 0.215 * float(np.linalg.norm(upper[-1] - upper[0]))
        middle = scene.neutral[list(UPPER_LID[side] + LOWER_LID[side])].mean(0)
        look = scene.geometry.gaze * [0.55, 0.3]
        iris = scene.head(middle + [*look, 0]) + [0, -0.3]
        tones = [shade(identity.iris, 0.35), identity.iris, shade(identity.iris, -0.55)]
        c.circle(iris, radius, Radial(iris + [0, radius * 0.3], radius * 1.1, tones, [0, 0.6, 1]))
        c.circle(iris, radius * 0.48, (0.04, 0.03, 0.03))
        c.circle(iris + [radius * 0.32 * scene.light_side, -radius * 0.4], radius * 0.27, (1, 1, 1, 0.95))
        c.stroke(c.path(upper + [0, 0.8], False), (0.15, 0.1, 0.12, 0.4), 3.4, blur=1.2)
    lash = (0.08, 0.06, 0.07) if identity.feminine else mix(shade(skin, -0.85), (0, 0, 0), 0.4)
    c.stroke(c.path(lower, False), (*shade(skin, -0.5), 0.55), 1.1)
    c.stroke(c.path(upper, False), lash, 2.4 if identity.feminine else 2.0)
    if identity.feminine:
        wing = np.array([upper[1], upper[0], upper[0] + (upper[0] - upper[-1]) * 0.07 + [0, -1.6]])
        c.stroke(c.path(wing, False), lash, 1.7)
    fold = upper - np.outer([0.5, 2.5, 3.6, 4.2, 4.6, 4.4, 3.8, 2.6, 0.5], [0, 1])
    c.stroke(c.path(fold[1:-1], False), (*shade(skin, -0.5), 0.5), 1.2)


def _draw_brow(scene: Scene, side: int) -> None:
    f, identity = scene.face, scene.identity
    top, bottom = f[list(BROW_TOP[side])], f[list(BROW_BOTTOM[side])]
    top[4], bottom[4] = top[4] * 0.5 + top[3] * 0.5, bottom[4] * 0.5 + bottom[3] * 0.5  # keep the brows apart
    middle = (top + bottom) / 2
    tilt = np.stack([np.zeros(5), -(np.arange(5) - 2) * (identity.brow_tilt + 0.5) * 1.2], 1)
    edges = [middle + (edge - middle) * identity.brow_thickness + tilt for edge in (top, bottom[::-1])]
    edges[1] = edges[1] - tilt + tilt[::-1]
    color = mix(identity.hair_color, (0.12, 0.09, 0.08), 0.45)
    scene.canvas.fill(scene.canvas.path(np.concatenate(edges)), (*color, 0.9), blur=0.7)


def draw_mouth(scene: Scene) -> None:
    """Lips and, when they part, the mouth's inside."""
    c, f, skin, lips = scene.canvas, scene.face, scene.identity.skin, scene.identity.lips
    uo, ui, lo, li = (f[list(ring)] for ring in (UPPER_OUTER, UPPER_INNER, LOWER_OUTER, LOWER_INNER))
    gap = abs(li[5, 1] - ui[5, 1])
    c.stroke(c.path(np.concatenate([uo, lo[-2:0:-1]])), (*shade(skin, -0.4), 0.25), 3, blur=2)
    if gap > 1.2:
        draw_mouth_inside(scene)
    c.fill(c.path(np.concatenate([uo, ui[::-1]])), shade(lips, -0.16))
    tones = [shade(lips, -0.08), shade(lips, 0.12), shade(lips, -0.12)]
    c.fill(c.path(np.concatenate([lo, li[::-1]])), Linear(li[5], lo[5], tones))
    shine = (li[5] + lo[5]) / 2 + [2 * scene.light_side, 0]
    c.ellipse(shine, 7, 1.7, (1, 1, 1, 0.28), blur=1.2)
    c.stroke(c.path(ui, False), (*shade(lips, -0.65), 0.9 if gap < 2 else 0.5), 1.5)
    c.stroke(c.path(lo[1:-1], False), (*shade(skin, -0.5), 0.35), 1)
    for corner in (uo[0], uo[-1]):
        c.circle(corner, 1.5, (*shade(skin, -0.6), 0.5), blur=0.8)
    c.ellipse(lo[5] + [0, 5.5], 13, 2.6, (*shade(skin, -0.42), 0.38), blur=2)
    for nostril, corner, out in ((129, 61, -1), (358, 291, 1)):
        start, end = f[nostril] * 0.75 + f[corner] * 0.25 + [2 * out, 0], f[corner] + [3.5 * out, -2]
        bow = (start + end) / 2 + [2.2 * out, -1]
        c.stroke(c.path(np.array([start, bow, end]), False), (*shade(skin, -0.45), 0.28), 1.6, blur=1)


def draw_mouth_inside(scene: Scene) -> None:
    """Tongue and teeth between the inner lips."""
    c, f = scene.canvas, scene.face
    ui, li = f[list(UPPER_INNER)], f[list(LOWER_INNER)]
    gap = abs(li[5, 1] - ui[5, 1])
    inside = c.path(np.concatenate([ui, li[-2:0:-1]]))
    width = float(ui[-1, 0] - ui[0, 0])
    teeth = min(6.5, gap * 0.62 + 1)
    c.fill(inside, (0.22, 0.05, 0.06))
    with c.clip(inside):
        c.ellipse(li[5] + [0, 3 - gap * 0.15], width * 0.33, min(gap * 0.42, 9), (0.74, 0.32, 0.33))
        share = np.linspace(0.12, 0.88, 9)
        x = ui[0, 0] + share * (ui[-1, 0] - ui[0, 0])
        order = np.argsort(ui[:, 0])
        edge = np.interp(x, ui[order, 0], ui[order, 1]) + teeth * (1 - 0.45 * (2 * share - 1) ** 4)
        row = c.path(np.concatenate([ui[1:-1] + [0, -4], np.stack([x, edge], 1)[::-1]]), curved=False)
        c.fill(row, Linear((0, ui[5, 1]), (0, ui[5, 1] + teeth), [(0.72, 0.69, 0.67), (0.93, 0.91, 0.89)]))
        if gap > 15:
            c.ellipse(li[5] + [0, -0.5], width * 0.24, 2.6, (0.84, 0.82, 0.80, 0.9))
        c.fill(c.path(np.concatenate([ui, ui[::-1] + [0, 2.5]])), (0.1, 0, 0, 0.35), blur=1.5)


def _draw_beard(scene: Scene) -> None:
    c, f, color, kind = scene.canvas, scene.face, scene.identity.hair_color, scene.identity.beard
    if kind in ("full", "stubble"):
        jaw = f[
            [
                234,
                93,
                132,
                58,
                172,
                136,
                150,
                149,
                176,
                148,
                152,
                377,
                400,
                378,
                379,
                365,
                397,
                288,
                361,
                323,
                454,
            ]
        ]
        cheek = np.array(
            [f[454] * 0.9 + f[447] * 0.1, f[435], f[416] * 0.6 + f[434] * 0.4, f[287] + [9, -1], f[391],
             f[164] + [0, -1], f[165], f[57] + [-9, -1], f[192] * 0.6 + f[214] * 0.4, f[215],
             f[234] * 0.9 + f[227] * 0.1]
        )  # fmt: skip
        with c.clip(scene.regions["face"][0]):
            c.fill(c.path(np.concatenate([jaw, cheek])), (*color, 0.85 if kind == "full" else 0.3), blur=2.6)
    else:
        above = f[[57, 186, 92, 165, 167, 164, 393, 391, 322, 410, 287]] + [0, -1]
        below = f[[291, 409, 270, 269, 267, 0, 37, 39, 40, 185, 61]] + [0, -0.5]
        c.fill(c.path(np.concatenate([above, below])), (*color, 0.9), blur=0.8)
        c.fill(c.path(f[[83, 182, 194, 201, 200, 421, 418, 406, 313, 18]] + [0, 2]), (*color, 0.7), blur=1.5)


def _draw_glasses(scene: Scene) -> None:
    c, f, frame = scene.canvas, scene.face, (0.12, 0.11, 0.13)
    square = scene.identity.glasses == "square"
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    power = 2 / (3.6 if square else 2.2)
    ring = np.stack([np.sign(t) * np.abs(t) ** power for t in (np.cos(angle), np.sin(angle))], 1)
    ring *= (20 * np.cos(yaw_of(scene)), 15 if square else 18)
    lenses = []
    for side in range(2):
        lens = f[list(UPPER_LID[side] + LOWER_LID[side])].mean(0) + [0, 2] + ring
        path = c.path(lens)
        c.fill(path, (0.85, 0.92, 1, 0.10))
        c.stroke(path, frame, 2.6)
        lenses.append(lens)
    bridge = np.array([lenses[0][0], f[168] + [0, 1.5], lenses[1][10]])
    c.stroke(c.path(bridge, False), frame, 2.4)
    for sign, hinge in ((-1, lenses[0][10]), (1, lenses[1][0])):
        if sign * yaw_of(scene) < 0.35:
            c.stroke(c.path(np.array([hinge, scene.head((sign * 7.3, 3.2, -5.5))]), False), frame, 2.4)
