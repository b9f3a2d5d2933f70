"""Draws forearms and their sleeves, joined to the upper arms at the elbow, and the hands on them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from iasa.avatar.body import ELBOW_RADIUS, cloth_paint, shade_inside
from iasa.avatar.detail_drawing import SLIDE, draw_lining, draw_watch, raised
from iasa.avatar.drawing import Paint, capsule, limb
from iasa.avatar.hand_drawing import WRIST_RADIUS, draw_hand
from iasa.avatar.identity import Color, shade
from iasa.avatar.scene import Scene

CUFF_RADIUS = 2.75  # cm


class _Piece(NamedTuple):
    """One part of a forearm: its outline in the drawing, the colour its line is made from, its paint and shading."""

    outline: np.ndarray
    color: Color
    paint: Paint
    shading: float


def draw_arms(scene: Scene) -> None:
    """Both forearms with their hands, the farther one first."""
    wrists = scene.geometry.wrists
    for side in sorted(range(2), key=lambda s: wrists[s, 2]):
        _draw_shadow(scene, side)
        _draw_forearm(scene, side)
        draw_hand(scene, side)


def _draw_shadow(scene: Scene, side: int) -> None:
    """The forearm's and the hand's soft shadow on the trunk."""
    c, g, k = scene.canvas, scene.geometry, scene.identity.scale
    offset = np.array([-scene.light_side * 5, 9])
    elbow, wrist = scene.to_drawing(g.elbows[side]) + offset, scene.to_drawing(g.wrists[side]) + offset
    with c.clip(scene.regions["body"][1]):
        c.fill(c.path(capsule(elbow, wrist, 3.6 * k, 2.8 * k), curved=False), (0, 0, 0, 0.28), blur=7)
        hand = scene.to_drawing(g.hands[side])[[0, 5, 9, 17]].mean(0)
        c.circle(hand + offset * 1.3, 17, (0, 0, 0, 0.28), blur=8)


def _forearm_pieces(scene: Scene, elbow: np.ndarray, wrist: np.ndarray, slide: float = 0.0) -> list[_Piece]:
    """Skin first, then the sleeve over it; a long one is `slide` of the forearm short of the wrist."""
    identity, k = scene.identity, scene.identity.scale
    skin, cloth, paint = identity.skin, identity.cloth_color, cloth_paint(scene, identity.cloth_color)
    if identity.sleeve == "short":
        bare = limb(elbow, wrist, np.array([2.8, 3.0, 2.7, 2.4, WRIST_RADIUS]) * k)
        return [_Piece(bare, skin, shade(skin, -0.02), 0.25)]
    if identity.sleeve == "mid":
        bare = limb(elbow, wrist, np.array([2.7, 2.9, 2.7, 2.4, WRIST_RADIUS]) * k)
        sleeve = limb(elbow, elbow * 0.58 + wrist * 0.42, np.array([ELBOW_RADIUS, 3.7, 3.45]) * k, (True, False))
        return [_Piece(bare, skin, shade(skin, -0.02), 0.25), _Piece(sleeve, cloth, paint, 0.2)]
    start = elbow * (0.2 + slide) + wrist * (0.8 - slide)
    pieces = [_Piece(limb(start, wrist, np.array([2.4, WRIST_RADIUS]) * k), skin, skin, 0.2)]
    cuff = elbow * (0.05 + slide) + wrist * (0.95 - slide)
    if identity.clothes == "blazer":
        shirt, white = limb(start, wrist, np.array([2.6, 2.55]) * k, (False, False)), identity.cloth_second
        pieces.append(_Piece(shirt, white, shade(white, 0.2), 0.15))
        cuff = elbow * 0.1 + wrist * 0.9
    radii = np.array([ELBOW_RADIUS, 3.75, 3.4, 3.0, CUFF_RADIUS]) * k
    return [*pieces, _Piece(limb(elbow, cuff, radii, (True, False)), cloth, paint, 0.22)]


def _draw_forearm(scene: Scene, side: int) -> None:
    c, identity, g, k = scene.canvas, scene.identity, scene.geometry, scene.identity.scale
    shoulder, elbow, wrist = (scene.to_drawing(p[side]) for p in (g.shoulders, g.elbows, g.wrists))
    scene.add_region("arms", c.path(limb(elbow, wrist, np.array([3.7, 3.5, 3.0, 2.5]) * k)))
    details = identity.details
    slide = 0.0 if details is None else SLIDE * raised(scene, side)
    pieces = _forearm_pieces(scene, elbow, wrist, slide)
    paths = [c.path(piece.outline) for piece in pieces]
    for path, piece in zip(paths, pieces, strict=True):
        c.stroke(path, (*shade(piece.color, -0.62), 0.65), 1.5)

    # The end of the upper arm is painted over that outline, so that the elbow is one shape.
    bare = identity.sleeve == "short"
    radii = np.array([3.1, 2.95, 2.75] if bare else [ELBOW_RADIUS * 0.98] * 3)
    end = c.path(limb(shoulder * 0.3 + elbow * 0.7, elbow, radii * k, (False, True)))
    with c.clip(scene.upper_arms[side]):
        c.fill(end, shade(identity.skin, -0.03) if bare else cloth_paint(scene, identity.cloth_color), blur=2.5)

    for path, piece in zip(paths, pieces, strict=True):
        if details is not None and piece is pieces[-1]:
            draw_watch(scene, details, side)
        c.fill(path, piece.paint)
        shade_inside(scene, path, piece.shading)
    if details is not None:
        draw_lining(scene, details, elbow, elbow * (0.05 + slide) + wrist * (0.95 - slide), side)
    elif identity.sleeve == "long":
        near, far = elbow * 0.16 + wrist * 0.84, elbow * 0.12 + wrist * 0.88
        hem = limb(near, far, np.array([2.7, 2.6]) * k, (False, False))
        c.stroke(c.path(hem[[1, 2]], False), (*shade(identity.cloth_color, -0.55), 0.5), 1.2)
