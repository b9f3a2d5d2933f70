"""The face of a photograph as mediapipe's mesh: 478 points that follow the 68 of a pose, lips and lids apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iasa import keypoints as kp
from iasa.avatar.mesh import LOWER_INNER, LOWER_LID, OVAL, UPPER_INNER, UPPER_LID, base_mesh

POINTS = 468  # of the mesh without the irises
STIFFNESS = 0.35  # of the second-order smoothness against the first-order one
TOP = (10, 338, 297, 332, 284, 109, 67, 103, 54)  # of the forehead, which no point of the pose moves
MOUTH = (*LOWER_INNER, *UPPER_INNER[-2:0:-1])  # the inner lips' outline
EYES = tuple((*upper, *lower[-2:0:-1]) for upper, lower in zip(UPPER_LID, LOWER_LID, strict=True))
STEADY = (*OVAL, 33, 133, 362, 263, 168, 6, 9)  # what the skin around the face follows


@dataclass(frozen=True, eq=False)
class FaceSkin:
    """Movements of the mesh from those of the 68 points, all in the head's frame; pixels."""

    rest: np.ndarray  # [468, 2]
    follow: np.ndarray  # [468, 68]
    triangles: np.ndarray  # [t, 3] without eyes, those between the lips first

    @classmethod
    def of(cls, mesh: np.ndarray) -> FaceSkin:
        """Of the mesh found in the photograph, [478, >= 2] pixels."""
        rest = np.asarray(mesh[:POINTS, :2], np.float64)
        triangles = base_mesh().triangles
        triangles = triangles[(triangles < POINTS).all(1)]
        skin = triangles[~_within_hole(triangles)]
        # between the lips the photograph's own mouth, as far as it is open there, follows them
        return cls(rest, _harmonic(base_mesh().vertices[:POINTS], skin), np.concatenate([_between_lips(), skin]))

    def moves(self, residual: np.ndarray) -> np.ndarray:
        """[68, 2] movements of the pose's face -> [468, 2]."""
        return self.follow @ residual


def _within_hole(triangles: np.ndarray) -> np.ndarray:
    """Triangles all of whose corners lie on the outline of the mouth or of an eye."""
    return np.any([np.isin(triangles, ring).all(1) for ring in (MOUTH, *EYES)], 0)


def _between_lips() -> np.ndarray:  # [t, 3]
    """A strip of triangles from the upper lip's inner edge to the lower one's; at the corners they meet."""
    upper, lower = UPPER_INNER, LOWER_INNER
    steps = range(len(upper) - 1)
    strip = [t for i in steps for t in ((upper[i], lower[i], upper[i + 1]), (lower[i], lower[i + 1], upper[i + 1]))]
    return np.array([t for t in strip if len(set(t)) == 3])


def _harmonic(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[468, 68]: the smoothest movement of a mesh with those of the pose's points given and the forehead's top at rest.

    It runs along the mesh, so that one lip does not follow the other through the mouth.
    """
    edges = np.unique(
        np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1), axis=0
    )
    weight = 1 / np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1).clip(0.05)
    laplacian = np.zeros((POINTS, POINTS))
    np.add.at(laplacian, (edges[:, 0], edges[:, 1]), -weight)
    np.add.at(laplacian, (edges[:, 1], edges[:, 0]), -weight)
    laplacian -= np.diag(laplacian.sum(1))
    energy = laplacian + STIFFNESS * laplacian @ laplacian / np.abs(laplacian).max()
    given = list(dict.fromkeys([*kp.MESH_TO_FACE, *TOP]))
    free = [i for i in range(POINTS) if i not in set(given)]
    values = np.zeros((len(given), len(kp.MESH_TO_FACE)))
    for column, vertex in enumerate(kp.MESH_TO_FACE):
        values[given.index(vertex), column] = 1
    out = np.zeros((POINTS, len(kp.MESH_TO_FACE)))
    out[given] = values
    system = energy[np.ix_(free, free)] + 1e-9 * np.eye(len(free))
    out[free] = np.linalg.solve(system, -energy[np.ix_(free, given)] @ values)
    return out
