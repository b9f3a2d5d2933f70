"""Bodies of anny in a speaker's pose, with MakeHuman's hair, clothes and eyes laid on them: plain arrays for a renderer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import anny
import numpy as np
import torch

FRONT = np.array([0.0, -1.0, 0.0])  # where a body looks; z is up, x to its left
SKIN_VERTICES = 13380  # of MakeHuman's base mesh; what follows are helpers that clothes hang on
BENDS = (0.75, 1.0, 0.7)  # of a finger's joints, in shares of the arm's `curl`
SPREAD = {2: 5.0, 3: 1.0, 4: -3.0, 5: -8.0}  # degrees by which fingers part
THUMB = ((4.0, 0.0), (6.0, -8.0), (12.0, -8.0))  # degrees that its joints bend and turn away
LOWER_ARM = (0.3, 0.75)  # of the hand's twist, in the bones from elbow to wrist


@dataclass(frozen=True)
class Mesh:
    vertices: np.ndarray  # [V, 3], metres
    faces: np.ndarray  # [F, 4] of vertices; triangles repeat their last corner
    uvs: np.ndarray  # [F, 4, 2]


@dataclass(frozen=True)
class Arm:
    """Where an arm points, as on the left side: for the right one x is mirrored."""

    upper: tuple[float, float, float]
    lower: tuple[float, float, float]
    hand: tuple[float, float, float]
    palm: tuple[float, float, float]  # what it faces
    curl: float  # degrees


def unit(vector) -> np.ndarray:
    return np.asarray(vector, float) / np.linalg.norm(vector)


def frame(first, second) -> np.ndarray:
    """[3, 3], columns: `first`, what of `second` is square to it, and the normal of both."""
    a = unit(first)
    b = unit(np.asarray(second, float) - a * np.dot(a, second))
    return np.stack([a, b, np.cross(a, b)], 1)


def turn(axis, degrees: float) -> np.ndarray:
    """[3, 3] rotation about an axis."""
    x, y, z = unit(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def swing(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """[3, 3]: the shortest way from one unit vector to another."""
    axis = np.cross(start, end)
    length = np.linalg.norm(axis)
    return turn(axis, np.degrees(np.arctan2(length, start @ end))) if length > 1e-6 else np.eye(3)


def twist_about(rotation: np.ndarray, axis: np.ndarray) -> float:
    """Degrees that a rotation turns about an axis, beside swinging it elsewhere."""
    rest = swing(rotation @ axis, axis) @ rotation
    skew = np.array([rest[2, 1] - rest[1, 2], rest[0, 2] - rest[2, 0], rest[1, 0] - rest[0, 1]]) / 2
    return float(np.degrees(np.arctan2(skew @ axis, (np.trace(rest) - 1) / 2)))


@cache
def load_model() -> anny.Anny:
    """With all of MakeHuman's vertices and shapes; the first time takes minutes, in which anny builds its cache."""
    every = {"phenotypes": "all", "local_changes": "all", "facial_actions": "all"}
    model = anny.Anny(topology="makehuman", phenotype_blendshapes="original", skinning_method="lbs", **every)
    return model.to(torch.float32)


class Body:
    """One shape of anny, posed by turning its bones in the world's axes."""

    def __init__(self, shape: dict[str, float], local: dict[str, float], face: dict[str, float]):
        model = load_model()
        shape = dict.fromkeys(model.phenotype_labels, 0.5) | shape
        given = model.get_tensor_inputs(None, shape, local, face)[1:]
        rest = model.get_rest_model(model._get_phenotype_blendshape_coefficients(*given))
        self.rest = rest["rest_vertices"][0].numpy().astype(float)
        self.heads = rest["rest_bone_poses"][0, :, :3, 3].numpy().astype(float)
        self.names, self.parents = list(model.bone_labels), list(model.bone_parents)
        self.weights = np.zeros((len(self.rest), len(self.names)))
        rows = np.arange(len(self.rest))[:, None]
        np.add.at(self.weights, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
        self.template = model.template_vertices.numpy().astype(float)
        self.quads = model.faces.numpy()
        self.uvs = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()]
        self.turns = np.tile(np.eye(3), (len(self.names), 1, 1))  # of bones, against their rest

    def head_of(self, bone: str) -> np.ndarray:
        return self.heads[self.names.index(bone)]

    def pose(self, left: Arm, right: Arm, head: tuple[float, float, float]) -> None:
        """`head`: degrees that it nods, turns and tilts."""
        fixed, added = {}, {}
        for side, arm in (("L", left), ("R", right)):
            self._pose_arm(side, arm, fixed, added)
        share = turn((1, 0, 0), head[0] / 3) @ turn((0, 0, 1), head[1] / 3) @ turn((0, 1, 0), head[2] / 3)
        added |= dict.fromkeys(("neck02", "neck03", "head"), share)
        for bone, (name, parent) in enumerate(zip(self.names, self.parents, strict=True)):
            before = self.turns[parent] if parent >= 0 else np.eye(3)
            self.turns[bone] = fixed[name] if name in fixed else added.get(name, np.eye(3)) @ before

    def _pose_arm(self, side: str, arm: Arm, fixed: dict, added: dict) -> None:
        """Fill in the turns of its bones: `fixed` in the world, `added` to those of the bone before."""
        flip = np.array([1.0 if side == "L" else -1.0, 1.0, 1.0])
        upper, lower, hand, palm = (unit(np.array(way) * flip) for way in (arm.upper, arm.lower, arm.hand, arm.palm))
        shoulder, elbow, wrist, index, middle, small = (
            self.head_of(f"{bone}.{side}")
            for bone in ("upperarm01", "lowerarm01", "wrist", "finger2-1", "finger3-1", "finger5-1")
        )
        upper_rest, lower_rest, hand_rest = unit(elbow - shoulder), unit(wrist - elbow), unit(middle - wrist)
        hinge, hinge_rest = np.cross(upper, lower), np.cross(upper_rest, FRONT)  # elbows bend forwards
        first = frame(upper, hinge) @ frame(upper_rest, hinge_rest).T
        second = swing(first @ lower_rest, lower) @ first
        palm_rest = np.cross(hand_rest, index - small)
        palm_rest *= -np.sign(palm_rest[2])  # down, where arms hang
        third = frame(hand, palm) @ frame(hand_rest, palm_rest).T
        twist = twist_about(third @ second.T, lower)
        for bone, rotation in (("upperarm01", first), ("upperarm02", first), ("wrist", third)):
            fixed[f"{bone}.{side}"] = rotation
        for bone, part in zip(("lowerarm01", "lowerarm02"), LOWER_ARM, strict=True):
            fixed[f"{bone}.{side}"] = turn(lower, part * twist) @ second
        knuckles, away = np.cross(hand, palm), palm * flip[0]
        for joint in (1, 2, 3):
            bend, aside = THUMB[joint - 1]
            added[f"finger1-{joint}.{side}"] = turn(knuckles, bend) @ turn(away, aside)
            for finger in SPREAD:
                bend = arm.curl * BENDS[joint - 1] * (0.8 + 0.15 * (finger - 2))
                apart = turn(away, SPREAD[finger]) if joint == 1 else np.eye(3)
                added[f"finger{finger}-{joint}.{side}"] = turn(knuckles, bend) @ apart

    def carry(self, vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Points at rest, [V, 3] with [V, bones], where the pose takes them."""
        places = self.heads.copy()
        for bone, parent in enumerate(self.parents):
            if parent >= 0:
                places[bone] = places[parent] + self.turns[parent] @ (self.heads[bone] - self.heads[parent])
        shifts = places - np.einsum("bij,bj->bi", self.turns, self.heads)
        turns = np.einsum("vb,bij->vij", weights, self.turns)
        return np.einsum("vij,vj->vi", turns, vertices) + weights @ shifts

    def skin(self, covered: np.ndarray) -> Mesh:
        """All but what lies under clothes, bool [V]."""
        keep = (self.quads < SKIN_VERTICES).all(1) & ~covered[self.quads].all(1)
        return Mesh(self.carry(self.rest, self.weights), self.quads[keep], self.uvs[keep])

    def put_on(self, path: Path) -> tuple[Mesh, np.ndarray]:
        """Hair, clothes or eyes of MakeHuman, as three.js' JSON: each vertex is a mix of three of the body's and an offset.
        Also which of the body's they cover, bool [V]."""
        worn = json.loads(path.read_text())
        of, mix, offset = (np.array(worn[key]) for key in ("ref_vIdxs", "weights", "offsets"))
        offset = 0.1 * np.stack([offset[:, 0], -offset[:, 2], offset[:, 1]], 1)  # decimetres, y up
        used = np.unique(of)
        scale = np.ptp(self.rest[used], axis=0) / np.ptp(self.template[used], axis=0)
        rest = (self.rest[of] * mix[..., None]).sum(1) + offset * scale
        weights = (self.weights[of] * mix[..., None]).sum(1).clip(0)
        weights /= weights.sum(1, keepdims=True)
        faces, corners = read_faces(worn["faces"])
        uvs = np.array(worn["uvs"][0]).reshape(-1, 2)[corners]
        return Mesh(self.carry(rest, weights), faces, uvs), np.array(worn["metadata"]["deleteVerts"], bool)


def read_faces(stream: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """[F, 4] vertices and texture corners of three.js' JSON, version 3: a face is its kind, corners, a material, corners."""
    faces, corners, at = [], [], 0
    while at < len(stream):
        kind = stream[at]
        if kind & ~0b1011 or not kind & 0b1000:
            raise ValueError(f"a face of kind {kind}; quads and triangles with one picture are known")
        count = 4 if kind & 1 else 3
        face = stream[at + 1 : at + 1 + count]
        at += 1 + count + (kind >> 1 & 1)
        corner = stream[at : at + count]
        at += count
        faces.append(face + face[-1:] * (4 - count))
        corners.append(corner + corner[-1:] * (4 - count))
    return np.array(faces), np.array(corners)
