"""Draws a speaker's frames, and the masks of their regions, from an identity and its motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from iasa.avatar.arms import draw_arms
from iasa.avatar.body import draw_body
from iasa.avatar.detail_drawing import draw_clip
from iasa.avatar.details import DETAILS, mask_paints, split_masks
from iasa.avatar.drawing import Canvas
from iasa.avatar.face import draw_head
from iasa.avatar.hair import draw_hair_back, draw_hair_front
from iasa.avatar.identity import Identity
from iasa.avatar.mesh import base_mesh, face_normals
from iasa.avatar.puppet import draw_photo_head, load_photo_skin
from iasa.avatar.rig import Geometry, RigMotion, make_geometries, make_geometry, neutral_face
from iasa.avatar.scene import Scene, draw_backdrop
from iasa.keypoints import REGIONS

CHUNK = 64  # frames whose geometry is held at once


def _hollows(v: np.ndarray) -> np.ndarray:
    """How deep each vertex of a face [478, 3] lies among its neighbours, cm, smoothed: [478]."""
    smoother = base_mesh().smoother
    normals, _ = face_normals(v)
    depth = np.clip(((smoother @ v - v) * normals).sum(1), -0.12, 0.12)
    return (smoother @ (smoother @ depth) + depth) / 2


class Renderer:
    """Draws one identity. A frame depends on the identity and that frame's parameters alone.

    Raises ImportError with the commands that install Skia where it is missing.
    """

    def __init__(self, identity: Identity, size: int = 256) -> None:
        if not 16 <= size <= 4096:
            raise ValueError(f"picture size is {size}; 16 to 4096 pixels are accepted")
        self.identity, self.size = identity, size
        self._neutral = neutral_face(identity)
        self._hollow = _hollows(self._neutral)
        self._canvas = Canvas(size)
        self._skin = None if identity.photo is None else load_photo_skin(self._canvas, identity, identity.photo)
        draw_backdrop(self._canvas, identity)
        self._backdrop = self._canvas.pixels.copy()

    def draw(self, motion: RigMotion, i: int) -> np.ndarray:
        """Frame i: uint8 [size, size, 3], RGB."""
        return self._draw(make_geometry(self.identity, motion, i))[0]

    def render(self, motion: RigMotion) -> np.ndarray:
        """All frames: uint8 [f, size, size, 3], RGB."""
        frames = np.empty((len(motion), self.size, self.size, 3), np.uint8)
        for start in range(0, len(motion), CHUNK):
            batch = make_geometries(self.identity, motion[start : start + CHUNK])
            for j in range(len(batch.lean)):
                frames[start + j] = self._draw(batch.at(j))[0]
        return frames

    def matte(self, motion: RigMotion, i: int) -> np.ndarray:
        """How much of each pixel of frame i is the speaker: float32 [size, size], from a black and a white backdrop."""
        geometry, backdrop, levels = make_geometry(self.identity, motion, i), self._backdrop, []
        for level in (0, 255):
            self._backdrop = np.full_like(backdrop, level)
            self._backdrop[..., 3] = 255
            levels.append(self._draw(geometry)[0].mean(-1))
        self._backdrop = backdrop
        return np.clip(1 - (levels[1] - levels[0]) / 255, 0, 1).astype(np.float32)

    def region_masks(self, motion: RigMotion, i: int) -> np.ndarray:
        """Where `iasa.keypoints.REGIONS` lie in frame i, hidden parts too: bool [5, size, size]."""
        _, scene = self._draw(make_geometry(self.identity, motion, i))
        masks = np.zeros((len(REGIONS), self.size, self.size), bool)
        canvas = Canvas(self.size)
        for row, name in enumerate(REGIONS):
            canvas.pixels[:] = 0
            for path in scene.regions[name]:
                canvas.fill(path, (1, 1, 1))
            masks[row] = canvas.pixels[..., 0] > 127
        return masks

    def detail_masks(self, motion: RigMotion, i: int) -> np.ndarray:
        """Where `iasa.avatar.details.DETAILS` show in frame i: bool [d, size, size], what lies before them left out."""
        details = self.identity.details
        if details is None:
            return np.zeros((len(DETAILS), self.size, self.size), bool)
        geometry = make_geometry(self.identity, motion, i)
        painted = [replace(self.identity, details=replace(details, flat=paint)) for paint in mask_paints()]
        return split_masks(*(self._draw(geometry, identity)[0] for identity in painted))

    def _draw(self, geometry: Geometry, identity: Identity | None = None) -> tuple[np.ndarray, Scene]:
        identity = identity or self.identity
        self._canvas.pixels[:] = self._backdrop
        scene = Scene(self._canvas, identity, geometry, self._neutral, self._hollow)
        if self._skin is None:
            draw_hair_back(scene)
            draw_body(scene)
            draw_head(scene)
            draw_hair_front(scene)
            if identity.details is not None:
                draw_clip(scene, identity.details)
        else:
            draw_body(scene)
            draw_photo_head(scene, self._skin)
        draw_arms(scene)
        return self._canvas.image(), scene
