"""How a photograph's head with its hair turns: the skin around the face with the face, the outline as that of a round body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iasa.warp.face_skin import STEADY

EARS, NOSE_TIP, FOREHEAD, CHIN = (234, 454), 1, 10, 152  # of the face's mesh
# How much deeper than the ears the outline lies, in depths of the nose's tip before them: at the jaw, where neck and hair
# are behind it, at the ears and at the crown; for a turn to the side and for a nod. Measured on filmed heads.
HEIGHTS = (-0.7, 0.0, 0.9)  # of these three above the ears, in heights of the face
SIDE_DEPTH, NOD_DEPTH = (1.9, 0.9, -0.2), (0.7, 0.7, 0.7)
LENGTH = 1.3  # of a head from front to back over its width: it looks wider when it turns to the side


@dataclass(frozen=True, eq=False)
class HeadSkin:
    """Points of the body's layer as the head moves them; pixels.

    A turned face is foreshortened, the outline of a head is not: what disappears at one side comes forth at the other.
    So points at the face turn at their depth, the outline shifts with the depth that it lies at.
    """

    points: np.ndarray  # [v, 2]
    near: np.ndarray  # [v] share of the face's turn, against the outline's
    depth: np.ndarray  # [v] of points at the face, pixels away from the camera
    centre: np.ndarray  # [2] between the ears
    middle: float  # depth of the ears
    axes: np.ndarray  # [2, 2] unit vectors across the head and up it
    outline: np.ndarray  # [v, 2] depths behind the ears for a turn to the side and a nod

    @classmethod
    def of(cls, face: np.ndarray, depth: np.ndarray, points: np.ndarray, around: np.ndarray) -> HeadSkin:
        """Of the face's mesh [468, 2], its depth [468], points [v, 2] and how they follow the mesh's steady points."""
        centre, middle = face[list(EARS)].mean(0), float(depth[list(EARS)].mean())
        up = face[FOREHEAD] - face[CHIN]
        height = max(float(np.linalg.norm(up)), 1e-6)
        up = up / height
        axes = np.stack([[-up[1], up[0]], up])
        share = around.sum(1)
        near = around @ depth[list(STEADY)] / np.maximum(share, 1e-3)
        above = (points - centre) @ up / height
        outline = np.stack([np.interp(above, HEIGHTS, depths) for depths in (SIDE_DEPTH, NOD_DEPTH)], 1)
        outline *= middle - depth[NOSE_TIP]
        return cls(points, share.clip(0, 1), near, centre, middle, axes, outline)

    def place(self, turn: np.ndarray, local: np.ndarray) -> np.ndarray:  # [2, 4], [v, 2] -> [v, 2]
        """Points of a head turned by `turn` after moves `local` of the skin."""
        moved = self.points + local
        size = float(np.sqrt((turn[:, :3] ** 2).sum() / 2))
        roll = np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1])
        c, s = np.cos(roll), np.sin(roll)
        axes = self.axes @ np.array([[c, s], [-s, c]])
        away = axes @ turn[:, 2] / size  # of what is deeper: across the head and up it
        stretch = np.array([np.sqrt(1 + (LENGTH**2 - 1) * away[0] ** 2), 1.0])
        place = (moved - self.centre) @ self.axes.T * stretch + self.outline * away
        outline = turn_points(turn, self.centre, np.array(self.middle)) + size * place @ axes
        near = turn_points(turn, moved, self.depth)
        return outline + self.near[:, None] * (near - outline)


def turn_points(matrix: np.ndarray, points: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """[2, 4] on points [..., 2] at depths [...]."""
    return points @ matrix[:, :2].T + depth[..., None] * matrix[:, 2] + matrix[:, 3]
