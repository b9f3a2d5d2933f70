"""Draws hands with the outlines, creases and nails that hand detectors look for."""

from __future__ import annotations

import numpy as np

from iasa.avatar.detail_drawing import draw_palm_mark
from iasa.avatar.drawing import Linear, Radial, capsule, limb
from iasa.avatar.hands import JOINT_RADII
from iasa.avatar.identity import Color, mix, shade
from iasa.avatar.scene import Scene

WRIST_RADIUS = 2.35  # cm


def _side_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Unit vector across the line from a to b."""
    n = b - a
    return np.array([-n[1], n[0]]) / (np.linalg.norm(n) + 1e-6)


def draw_hand(scene: Scene, side: int) -> None:
    """One hand: fingers behind the palm, the palm, fingers before it."""
    hand = _Hand(scene, side)
    for finger in hand.behind:
        hand.draw_finger(finger)
    hand.draw_palm()
    for finger in hand.front:
        hand.draw_finger(finger)
    hand.blend_roots()
    if not hand.palm_seen:
        hand.draw_knuckles()


class _Hand:
    """The drawing of one hand, in drawing space."""

    def __init__(self, scene: Scene, side: int) -> None:
        self.scene, self.canvas, self.side = scene, scene.canvas, side
        g, skin = scene.geometry, scene.identity.skin
        self.joints3, self.frame = g.hands[side], g.hand_frames[side]
        self.joints = scene.to_drawing(self.joints3)
        self.size = g.hand_length * scene.identity.scale
        self.radii = JOINT_RADII * self.size
        self.palm_seen = bool(self.frame[2, 2] > 0)
        facing = float(np.clip(self.frame[2, 2] * 3, 0, 1))  # no jump of colour while the hand turns
        pink = mix(shade(skin, -0.02), (0.95, 0.72, 0.66), 0.14 if sum(skin) > 1.4 else 0.25)
        self.color: Color = mix(shade(skin, -0.05), pink, facing)
        self.outline = shade(skin, -0.62)
        self.width = max(1.5, self.size * 0.017)
        light = np.array([scene.identity.light[0], -scene.identity.light[1]])
        self.light = light / np.linalg.norm(light)
        self.sign = -1 if side else 1  # the thumb's side, along the frame's x
        self.across = self.sign * self.frame[:2, 0] * [1, -1] * self.size  # one hand length to the thumb
        palm_depth = self.joints3[[0, 5, 9, 13, 17], 2].mean()
        depth = {root: self.joints3[[root + 1, root + 2, root + 3], 2].mean() for root in (1, 5, 9, 13, 17)}
        order = sorted(depth, key=lambda root: depth[root])
        self.behind = [root for root in order if depth[root] < palm_depth - 0.2]
        self.front = [root for root in order if depth[root] >= palm_depth - 0.2]
        h, x = self.joints, self.across
        self.palm_outline = np.array(
            [h[0] + x * 0.14, h[1] + (h[1] - h[17]) * 0.13, h[2] + (h[2] - h[17]) * 0.10,
             h[2] * 0.55 + h[5] * 0.45, h[5] + (h[5] - h[9]) * 0.42, h[9] + (h[9] - h[0]) * 0.06,
             h[13] + (h[13] - h[0]) * 0.05, h[17] + (h[17] - h[13]) * 0.50,
             h[17] * 0.5 + h[0] * 0.5 + (h[17] - h[13]) * 0.55, h[0] - x * 0.15]
        )  # fmt: skip
        self.palm = self.canvas.path(self.palm_outline)
        elbow, wrist = (scene.to_drawing(points[side]) for points in (g.elbows, g.wrists))
        joint = limb(
            wrist * 0.93 + elbow * 0.07,
            wrist,
            np.array([2.2, WRIST_RADIUS * 0.93]) * scene.identity.scale,
            (False, True),
        )
        self.wrist = self.canvas.path(joint)
        scene.add_region("hands", self.palm)

    def draw_palm(self) -> None:
        c, h, size = self.canvas, self.joints, self.size
        c.stroke(c.path(self.palm_outline, False), (*self.outline, 0.9), self.width * 1.5)
        tones = [shade(self.color, 0.12), self.color, shade(self.color, -0.22)]
        c.fill(self.palm, Radial((h[0] + h[9]) / 2 + self.light * size * 0.18, size * 0.55, tones, [0, 0.55, 1]))
        with c.clip(self.wrist):
            c.circle(h[0], size * 0.12, (*shade(self.color, -0.06), 0.9), blur=3)
        if self.palm_seen:
            thumb = [h[5] * 0.7 + h[2] * 0.3, h[5] * 0.45 + h[0] * 0.3 + h[9] * 0.25,
                     h[0] * 0.62 + h[9] * 0.38 + (h[1] - h[0]) * 0.25, h[0] * 0.85 + h[1] * 0.15]  # fmt: skip
            heart = [
                h[17] * 0.80 + h[0] * 0.20,
                h[13] * 0.72 + h[0] * 0.28,
                h[9] * 0.78 + h[0] * 0.22,
                h[5] * 0.92 + h[9] * 0.1,
            ]
            c.stroke(c.path(np.array(thumb), False), (*self.outline, 0.40), self.width * 0.8)
            c.stroke(c.path(np.array(heart), False), (*self.outline, 0.35), self.width * 0.7)
            c.circle((h[1] + h[2]) / 2, size * 0.07, (1, 1, 1, 0.10), blur=3)
            if self.scene.identity.details is not None:
                draw_palm_mark(self.scene, self.scene.identity.details, self.side, h, self.across)
        else:
            for root in self.behind:
                if root > 1:
                    c.ellipse(
                        h[root],
                        self.radii[root] * 0.8,
                        self.radii[root] * 0.62,
                        (*shade(self.color, 0.12), 0.5),
                        blur=1.5,
                    )

    def draw_finger(self, root: int) -> None:
        c = self.canvas
        chain = [root, root + 1, root + 2, root + 3]
        points, radii = self.joints[chain], self.radii[chain]
        pieces = [c.path(capsule(points[j], points[j + 1], radii[j], radii[j + 1]), curved=False) for j in range(3)]
        for piece in pieces:
            self.scene.add_region("hands", piece)
            c.stroke(piece, (*self.outline, 0.9), self.width * 1.5)
        tones = [shade(self.color, 0.06), shade(self.color, 0.12), self.color, shade(self.color, -0.28)]
        for j, piece in enumerate(pieces):
            normal = _side_of(points[j], points[j + 1])
            if normal @ self.light < 0:
                normal = -normal
            middle, radius = (points[j] + points[j + 1]) / 2, radii[j]
            c.fill(piece, Linear(middle + normal * radius, middle - normal * radius, tones, [0, 0.3, 0.6, 1]))
        for j in (1, 2):
            normal = _side_of(points[j - 1], points[j + 1]) * radii[j] * 0.7
            crease = np.array(
                [points[j] - normal, points[j] + (points[j + 1] - points[j - 1]) * 0.01, points[j] + normal]
            )
            c.stroke(c.path(crease, False), (*self.outline, 0.38), self.width * 0.6)
        self._draw_nail(root, points, radii)

    def _draw_nail(self, root: int, points: np.ndarray, radii: np.ndarray) -> None:
        tip = self.joints3[root + 3] - self.joints3[root + 2]
        tip = tip / (np.linalg.norm(tip) + 1e-9)
        if root == 1:
            back = -self.frame[:, 2] * 0.5 + self.frame[:, 0] * 0.6 * self.sign
        else:
            back = -np.cross(self.frame[:, 0], tip)
        if back[2] <= 0.15:
            return
        skin = self.scene.identity.skin
        color = self.scene.identity.nails or mix(shade(skin, 0.3), (1, 0.8, 0.78), 0.3)
        along = points[3] - points[2]
        place = points[3] - along / (np.linalg.norm(along) + 1e-6) * radii[3] * 0.1
        length = radii[3] * 0.72 * min(1, 0.4 + 0.6 * float(np.linalg.norm(tip[:2])))
        breadth = radii[3] * 0.58 * min(1.0, (float(back[2]) - 0.15) / 0.2)
        self.canvas.ellipse(place, length, breadth, color, float(np.degrees(np.arctan2(along[1], along[0]))))

    def blend_roots(self) -> None:
        """Let the fingers grow out of the palm without a line between."""
        c, h = self.canvas, self.joints
        with c.clip(self.palm):
            for root in self.front:
                if root == 1:
                    place, radius = h[1] * 0.6 + h[2] * 0.4 + (h[0] - h[2]) * 0.12, self.radii[1]
                else:
                    place, radius = h[root] - (h[root + 1] - h[root]) * 0.25, self.radii[root]
                c.circle(place, radius * 1.02, self.color, blur=1.3)

    def draw_knuckles(self) -> None:
        c, h = self.canvas, self.joints
        for root in (5, 9, 13, 17):
            fold = np.array(
                [
                    h[root] - self.across * 0.02,
                    h[root] + (h[root] - h[0]) * 0.02,
                    h[root] + self.across * 0.02,
                ]
            )
            c.stroke(c.path(fold, False), (*self.outline, 0.4), self.width * 0.7)
