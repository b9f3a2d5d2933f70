"""The face as mediapipe's mesh of 478 vertices: a neutral base, a person's shape, nine channels of motion.

Units are cm in the head's frame: x to the person's left (right in the picture), y up, z to the camera.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from iasa.paths import FACE_MESH

if TYPE_CHECKING:
    from iasa.avatar.identity import Identity

VERTICES = 478
FACE_CHANNELS = ("open", "wide", "press", "tuck", "teeth", "smile", "blink", "brow_left", "brow_right")

# Rings of the lips, from the person's right corner to the left one.
LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_LOWER_MIDDLE = (
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
)
_UPPER_MIDDLE = (
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
)

# Sides are always (right, left) of the person. Lids run from the outer corner to the inner one.
UPPER_LID = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362))
LOWER_LID = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (263, 249, 390, 373, 374, 380, 381, 382, 362))
IRIS = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))
BROW_TOP = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))
BROW_BOTTOM = ((46, 53, 52, 65, 55), (276, 283, 282, 295, 285))
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip

UPPER_LIP_MIDDLE = 13
_JAW_SHARE = np.array(
    [0.12, 0.5, 0.8, 0.95, 1, 1, 1, 0.95, 0.8, 0.5, 0.12]
)  # how far a lower-lip point follows the jaw


class BaseMesh(NamedTuple):
    """The neutral face and what is derived from it once."""

    vertices: np.ndarray  # float64 [478, 3]
    triangles: np.ndarray  # int [t, 3], wound so that front faces have a normal towards +z
    mirror: np.ndarray  # int [478], the vertex on the other side
    smoother: np.ndarray  # float64 [478, 478], mean of the neighbours


def smoothstep(low: float, high: float, x: np.ndarray | float) -> np.ndarray:
    """0 at `low`, 1 at `high`, with flat ends; `low` may be the larger."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _lip_weights() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lower, upper, lips = np.zeros(VERTICES), np.zeros(VERTICES), np.zeros(VERTICES, bool)
    for ring in (LOWER_OUTER, LOWER_INNER, *_LOWER_MIDDLE):
        lower[list(ring)] = _JAW_SHARE
        lips[list(ring)] = True
    for ring in (UPPER_OUTER, UPPER_INNER, *_UPPER_MIDDLE):
        upper[list(ring[1:-1])] = _JAW_SHARE[1:-1]
        lips[list(ring)] = True
    return lower, upper, lips


LOWER_LIP_SHARE, UPPER_LIP_SHARE, IS_LIP = _lip_weights()


def jaw_share(v: np.ndarray) -> np.ndarray:
    """How far each vertex follows the opening jaw, 0..1: [478]."""
    mouth = v[UPPER_LIP_MIDDLE, 1]
    share = smoothstep(mouth + 0.4, mouth - 1.4, v[:, 1]) * np.clip((v[:, 2] + 8) / 8, 0, 1)
    return np.where(IS_LIP, LOWER_LIP_SHARE, share)


def neutralise(v: np.ndarray) -> np.ndarray:
    """Close the mouth of a measured mesh and take its smile away: [478, 3] -> [478, 3]."""
    v = v.copy()
    v[:, 1] += jaw_share(v) * (v[13, 1] - v[14, 1])
    mouth = v[UPPER_LIP_MIDDLE].copy()
    near = 1 - smoothstep(0.6, 1.7, np.hypot((v[:, 0] - mouth[0]) / 3.4, (v[:, 1] - mouth[1]) / 2.2))
    v[:, 0] *= 1 - near * (1 - 2.55 / v[291, 0])
    corner = np.exp(-(((np.abs(v[:, 0]) - 2.55) / 1.3) ** 2) - ((v[:, 1] - v[61, 1]) / 1.4) ** 2)
    v[:, 1] += corner * (v[13, 1] - 0.12 - v[61, 1])
    return v


@lru_cache(maxsize=1)
def base_mesh() -> BaseMesh:
    """The neutral base: a symmetrised mesh of the public-domain astronaut portrait of scikit-image."""
    with np.load(FACE_MESH, allow_pickle=False) as data:
        vertices = data["vertices"].astype(np.float64)
        triangles, mirror = data["triangles"].astype(np.int64), data["mirror"].astype(np.int64)
    smoother = np.eye(VERTICES)
    neighbours: list[set[int]] = [set() for _ in range(VERTICES)]
    for a, b, c in triangles.tolist():
        neighbours[a] |= {b, c}
        neighbours[b] |= {a, c}
        neighbours[c] |= {a, b}
    for i, others in enumerate(neighbours):
        if others:
            smoother[i, i] = 0
            smoother[i, list(others)] = 1 / len(others)
    return BaseMesh(vertices, triangles, mirror, smoother)


def face_normals(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vertex normals [478, 3] and raw triangle normals [t, 3] of a posed mesh [478, 3]."""
    t = base_mesh().triangles
    of_triangle = np.cross(v[t[:, 1]] - v[t[:, 0]], v[t[:, 2]] - v[t[:, 0]])
    normals = np.stack(
        [np.bincount(t.ravel(), np.repeat(of_triangle[:, k], 3), minlength=VERTICES) for k in range(3)], 1
    )
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9), of_triangle


def identity_mesh(identity: Identity) -> np.ndarray:
    """The neutral face of one person: [478, 3]."""
    v = (base_mesh().vertices if identity.photo is None else identity.photo.mesh).astype(np.float64).copy()
    shape = identity.face
    lower = smoothstep(2, -7, v[:, 1])
    v[:, 0] *= shape.width * (1 + shape.jaw * lower)
    v[:, 1] *= shape.length
    for upper_lid, lower_lid in zip(UPPER_LID, LOWER_LID, strict=True):
        center = v[list(upper_lid + lower_lid)].mean(0)
        near = 1 - smoothstep(0.55, 1.3, np.hypot((v[:, 0] - center[0]) / 2.6, (v[:, 1] - center[1]) / 1.5))
        move = (shape.eye_size - 1) * (v[:, :2] - center[:2]) * [0.7, 1.3] + [
            np.sign(center[0]) * shape.eye_distance,
            0,
        ]
        v[:, :2] += near[:, None] * move
    nose = v[[1, 2, 98, 327]].mean(0)
    near = 1 - smoothstep(0.5, 1.3, np.hypot(v[:, 0] / 2.8, (v[:, 1] - nose[1]) / 1.8))
    v[:, 0] *= 1 + near * (shape.nose_width - 1)
    v[:, 1] += near * shape.nose_length
    mouth = v[UPPER_LIP_MIDDLE].copy()
    thicker = (shape.lip_thickness - 1) * 0.8 * (LOWER_LIP_SHARE + UPPER_LIP_SHARE)
    v[:, 1] += np.where(IS_LIP, (v[:, 1] - mouth[1]) * thicker, 0)
    near = 1 - smoothstep(0.7, 1.6, np.hypot(v[:, 0] / 3.2, (v[:, 1] - mouth[1]) / 2))
    v[:, 0] *= 1 + near * (shape.mouth_width - 1)
    return v


def expression_basis(v: np.ndarray) -> np.ndarray:
    """Displacements of a neutral face at full strength: [9, 478, 3].

    Rows: open, spread (wide > 0), round (wide < 0), press, tuck, teeth, smile, right brow, left brow. The
    blink is not linear: `express` does it.
    """
    x, y = v[:, 0], v[:, 1]
    mouth = v[UPPER_LIP_MIDDLE, 1]
    jaw, upper, lower = jaw_share(v), UPPER_LIP_SHARE, LOWER_LIP_SHARE
    near = 1 - smoothstep(0.6, 1.7, np.hypot(x / 3.4, (y - mouth) / 2.6))
    corner = np.exp(-(((np.abs(x) - 2.6) / 1.5) ** 2) - ((y - mouth) / 1.5) ** 2)
    basis = np.zeros((9, VERTICES, 3))
    basis[0, :, 1] = 0.18 * upper - 2.6 * jaw
    basis[0, :, 2] = -0.7 * jaw
    basis[1, :, 0] = 0.16 * near * x
    basis[2, :, 0] = -0.36 * near * x
    basis[2, :, 1] = (0.12 * upper - 0.15 * lower) * IS_LIP
    basis[2, :, 2] = 0.7 * near
    basis[3, :, 1] = 0.22 * (lower - upper) * IS_LIP * np.abs(y - mouth) / 0.8
    basis[4, :, 1] = 0.35 * lower * IS_LIP
    basis[5, :, 1] = 0.12 * upper
    basis[6, :, 0] = 0.45 * corner * np.sign(x)
    basis[6, :, 1] = 0.55 * corner
    for side in range(2):
        basis[6, list(LOWER_LID[side]), 1] += 0.12 * np.array([0, 0.4, 0.8, 1, 1, 1, 0.8, 0.4, 0])
        center = v[list(BROW_TOP[side] + BROW_BOTTOM[side])].mean(0)
        around = 1 - smoothstep(0.5, 1.4, np.hypot((x - center[0]) / 3, (y - center[1]) / 1.3))
        basis[7 + side, :, 1] = 0.75 * around
    return basis


def express(v: np.ndarray, basis: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """The face in motion: neutral [478, 3], its `expression_basis`, channels [f, 9] -> [f, 478, 3]."""
    c = dict(zip(FACE_CHANNELS, np.asarray(channels, np.float64).T, strict=True))
    weights = np.stack(
        [c["open"], np.maximum(c["wide"], 0), np.maximum(-c["wide"], 0), c["press"], c["tuck"], c["teeth"],
         c["smile"], c["brow_right"], c["brow_left"]], 1
    )  # fmt: skip
    moved = v + np.einsum("fk,kvc->fvc", weights, basis, optimize=True)
    blink = 0.97 * np.clip(c["blink"], 0, 1)[:, None, None]
    for side in range(2):
        upper, lower = list(UPPER_LID[side]), list(LOWER_LID[side])
        closed = moved[:, lower, :2] + [0, 0.12]
        moved[:, upper, :2] += blink * (closed - moved[:, upper, :2])
    return moved
