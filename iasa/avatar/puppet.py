"""Draws a photographed head: the portrait on its own mesh, which turns, blinks and speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from iasa.avatar.drawing import Canvas
from iasa.avatar.face import draw_mouth_inside
from iasa.avatar.identity import Identity, PhotoTexture, shade
from iasa.avatar.mesh import LOWER_INNER, LOWER_LID, OVAL, UPPER_INNER, UPPER_LID, base_mesh, smoothstep
from iasa.avatar.rig import DRAWING_SIZE, HEAD_HOME, HEAD_SIZE, NECK_PIVOT
from iasa.avatar.scene import Scene

# Rings around the face that carry hair and neck: cm outwards and backwards from the face's edge.
_OUT = np.array([0.0, 1.2, 3.0, 5.5, 9.0, 13.0])
_BACK = np.array([0.0, 0.8, 2.0, 3.0, 3.5, 3.5])
_NECK_FOLLOWS = np.array([1.0, 0.85, 0.5, 0.2, 0.05, 0.0])  # share of the head's motion, below the chin
_JAW_FOLLOWS = np.array([1.0, 0.7, 0.25, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class PhotoSkin:
    """The cut-out head of a photo as a texture no finer than the picture needs, and its size relative to the photo."""

    photo: PhotoTexture
    texture: Any
    factor: float


def load_photo_skin(canvas: Canvas, identity: Identity, photo: PhotoTexture) -> PhotoSkin:
    """The texture of an identity's photo for pictures of the canvas's size."""
    head = photo.head
    wanted = 1.3 * HEAD_SIZE * identity.scale * canvas.size / DRAWING_SIZE  # texture pixels a cm
    factor = min(1.0, wanted / photo.scale)
    if factor < 1:
        size = (round(head.shape[1] * factor), round(head.shape[0] * factor))
        head = np.asarray(Image.fromarray(head).resize(size, Image.Resampling.BOX))
    return PhotoSkin(photo, canvas.texture(head), factor)


def draw_photo_head(scene: Scene, skin: PhotoSkin) -> None:
    """The photographed head in the scene's pose."""
    c, f, texture = scene.canvas, scene.face, skin.texture
    places, source, triangles = _surround(scene, skin.photo)
    c.textured_mesh(places, source * skin.factor, triangles, texture)
    oval = c.path(f[list(OVAL)])
    scene.add_region("face", oval)
    front = base_mesh().triangles
    order = np.argsort(scene.geometry.face[front].mean(1)[:, 2])  # far ones first; near ones hide them
    points = skin.photo.points * skin.factor
    c.textured_mesh(f, points, front[order], texture)
    for side in range(2):
        _draw_eye(scene, side, skin)
    upper, lower = f[list(UPPER_INNER)], f[list(LOWER_INNER)]
    if abs(lower[5, 1] - upper[5, 1]) > 1.2:
        draw_mouth_inside(scene)
    else:
        c.stroke(c.path(upper, False), (*shade(scene.identity.lips, -0.6), 0.8), 1.4)


def _surround(scene: Scene, photo: PhotoTexture) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rings in the picture [n, 2] and in the photo [n, 2], and their triangles [t, 3]."""
    g = scene.geometry
    oval = list(OVAL)
    edge = scene.neutral[oval]  # [36, 3]
    out = edge[:, :2] / np.linalg.norm(edge[:, :2], axis=1, keepdims=True)
    rings = np.repeat(edge[None], len(_OUT), 0)
    rings[..., :2] += _OUT[:, None, None] * out
    rings[..., 2] -= _BACK[:, None]

    turned = rings @ photo.rotation.T.astype(np.float64) * photo.scale
    source = photo.middle + turned[..., :2] * [1, -1]
    source[0] = photo.points[oval]

    below = smoothstep(-3.5, -6.5, edge[:, 1])  # 1 at the chin
    jaw = (g.face_local - scene.neutral)[oval]
    moved = g.head_points(rings + _JAW_FOLLOWS[:, None, None] * jaw)
    still = HEAD_SIZE * (rings - NECK_PIVOT) + NECK_PIVOT + HEAD_HOME + g.lean
    follow = 1 - below * (1 - _NECK_FOLLOWS[:, None])
    places = scene.to_drawing(moved * follow[..., None] + still * (1 - follow[..., None]))

    n, k = len(oval), len(_OUT)
    a = np.arange(n * (k - 1)).reshape(k - 1, n)
    b = np.roll(a, -1, 1)
    triangles = np.stack([np.stack([a, b, a + n], -1), np.stack([b, b + n, a + n], -1)], 2).reshape(-1, 3)
    return (
        places.reshape(-1, 2),
        source.reshape(-1, 2),
        triangles[::-1],
    )  # the outermost ring lies farthest back


def _draw_eye(scene: Scene, side: int, skin: PhotoSkin) -> None:
    """The open eye of the photo, seen through the lids as they are now."""
    c, f, points = scene.canvas, scene.face, skin.photo.points * skin.factor
    upper, lower = list(UPPER_LID[side]), list(LOWER_LID[side])
    ring = upper + lower[-2:0:-1]
    open_eye = scene.head(scene.neutral[ring])
    places = np.concatenate([open_eye.mean(0, keepdims=True), open_eye])
    source = np.concatenate([points[ring].mean(0, keepdims=True), points[ring]])
    n = len(ring)
    fan = np.array([(0, 1 + i, 1 + (i + 1) % n) for i in range(n)])
    with c.clip(c.path(f[ring])):
        c.textured_mesh(places, source, fan, skin.texture)
    c.stroke(c.path(f[upper], False), (*shade(scene.identity.skin, -0.8), 0.7), 1.5)
