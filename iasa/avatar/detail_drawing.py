"""Draws the marks of `iasa.avatar.details` where they lie on the posed body."""

from __future__ import annotations

import numpy as np

from iasa.avatar.details import BADGE_PLACE, BADGE_RADIUS, Details, Mark
from iasa.avatar.drawing import limb
from iasa.avatar.scene import Scene

SLIDE = 0.25  # share of the forearm by which a sleeve slides down when the hand is up
CUFF = 0.15  # share of the forearm that the turned sleeve shows
WATCH_AT, DIAL = 0.86, 3.0  # share of the forearm; cm
PALM_RADIUS, CLIP_RADIUS = 0.24, 3.6  # hand lengths; cm
CLIP_PLACE, CLIP_NORMAL = np.array([7.6, 7.0, -1.5]), np.array([0.93, 0.2, 0.3])
FACING = 0.12  # of a hair clip's normal to the camera, below which the head hides it

_RING = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_OUTLINES = {
    "disc": np.stack([np.cos(_RING), np.sin(_RING)], 1),
    "square": np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.85,
    "star": np.stack([np.sin(a := np.arange(10) * np.pi / 5), np.cos(a)], 1) * np.resize([1.1, 0.5], 10)[:, None],
    "cross": np.array(
        [(-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1), (1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1)]
    ) / 3,
    "triangle": np.array([(-1, -0.75), (1, -0.75), (0, 1.05)]),
}  # fmt: skip


def draw_mark(scene: Scene, name: str, mark: Mark, centre: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """A mark spanned by two half axes [2] in the drawing, on a round plate that keeps its area from person to person."""
    c, details = scene.canvas, scene.identity.details
    assert details is not None  # who has none is not asked to draw one
    first, second = details.colors(name)
    axes = np.stack([x, y])

    def figure(shape: str, size: float):
        return c.path(centre + size * _OUTLINES[shape] @ axes, curved=shape == "disc")

    c.fill(figure("disc", 1.0), second)
    c.fill(figure(mark.shape, 0.72), first)


def draw_badge(scene: Scene, details: Details) -> None:
    """The print on the chest."""
    x, y = BADGE_PLACE
    identity = scene.identity
    radius = BADGE_RADIUS * identity.shoulder_width / 17.2 * (0.93 if identity.feminine else 1.0)  # as hands are
    centre, right, up = scene.trunk([(x, y), (x + radius, y), (x, y + radius)])
    draw_mark(scene, "badge", details.badge, centre, right - centre, up - centre)


def draw_palm_mark(scene: Scene, details: Details, side: int, joints: np.ndarray, across: np.ndarray) -> None:
    """The mark in a palm that is seen: joints [21, 2] in the drawing, `across` [2] one hand length to the thumb."""
    if side != details.palm_side:
        return
    along = (joints[9] - joints[0]) / 0.525  # one hand length
    centre = joints[0] * 0.45 + joints[9] * 0.55
    draw_mark(scene, "palm", details.palm, centre, across * PALM_RADIUS * 0.8, along * PALM_RADIUS)


def raised(scene: Scene, side: int) -> float:
    """How far an arm is up, 0..1: its sleeve has slid down by that."""
    g = scene.geometry
    return float(np.clip((g.wrists[side, 1] - g.elbows[side, 1] - 6.0) / 5.0, 0, 1))


def draw_watch(scene: Scene, details: Details, side: int) -> None:
    """A watch on the forearm, which the sleeve covers where the arm hangs; call it before the sleeve is drawn."""
    up = raised(scene, side)
    if side != details.watch_side or up <= 0:
        return
    c, k = scene.canvas, scene.identity.scale
    elbow, wrist = (scene.to_drawing(p[side]) for p in (scene.geometry.elbows, scene.geometry.wrists))
    strap, dial = details.colors("watch")
    near, far = (elbow * (1 - s) + wrist * s for s in (WATCH_AT - 0.05, WATCH_AT + 0.05))
    c.fill(c.path(limb(near, far, np.array([2.75, 2.6]) * k, (False, False)), curved=False), strap)
    middle = elbow * (1 - WATCH_AT) + wrist * WATCH_AT
    c.circle(middle, DIAL * up * k, strap)
    c.circle(middle, DIAL * 0.68 * up * k, dial)


def draw_lining(scene: Scene, details: Details, elbow: np.ndarray, cuff: np.ndarray, side: int) -> None:
    """The sleeve's inside, turned up at the cuff of an arm that is raised."""
    up = raised(scene, side)
    if up <= 0:
        return
    c, k = scene.canvas, scene.identity.scale
    near = cuff + (elbow - cuff) * CUFF * up
    first, second = details.colors("lining")
    c.fill(c.path(limb(near, cuff, np.array([3.55, 3.35]) * k, (False, False)), curved=False), first)
    middle = (near + cuff) / 2
    c.fill(c.path(limb(middle, cuff, np.array([3.45, 3.35]) * k, (False, False)), curved=False), second)


def draw_clip(scene: Scene, details: Details) -> None:
    """The clip in the hair, where the head does not hide it."""
    sign = np.array([1.0 if details.clip_side else -1.0, 1, 1])
    normal = CLIP_NORMAL * sign / np.linalg.norm(CLIP_NORMAL)
    facing = float((scene.geometry.head_rotation @ normal)[2])
    if facing <= FACING:
        return
    side = np.cross([0.0, 1.0, 0.0], normal)
    side /= np.linalg.norm(side)
    place = CLIP_PLACE * sign
    points = np.stack([place, place + CLIP_RADIUS * side, place + CLIP_RADIUS * np.cross(normal, side)])
    centre, x, y = scene.head(points)
    draw_mark(scene, "clip", details.clip, centre, x - centre, y - centre)
