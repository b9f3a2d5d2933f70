"""Bodies of anny in a speaker's pose, with MakeHuman's hair, clothes and eyes laid on them: plain arrays for a renderer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import anny
import numpy as np
import torch

from examples.people.gestures import Arm, Pose

FRONT = np.array([0.0, -1.0, 0.0])  # where a body looks; z is up, x to its left
SKIN_VERTICES = 13380  # of MakeHuman's base mesh; what follows are helpers that clothes hang on
BENDS = (0.75, 1.0, 0.7)  # of a finger's joints, in shares of the arm's `curl`
SPREAD = {2: 5.0, 3: 1.0, 4: -3.0, 5: -8.0}  # degrees by which fingers part
THUMB = ((4.0, 0.0), (6.0, -8.0), (12.0, -8.0))  # degrees that its joints bend and turn away
LOWER_ARM = (0.3, 0.75)  # of the hand's twist, in the bones from elbow to wrist
TRUNK, NECK = ("spine04", "spine03", "spine02"), ("neck02", "neck03", "head")  # bones that bend, in equal shares
ONE_SIDED = ("browInnerUp", "jawOpen", "mouthFunnel")  # of anny's facial actions; the others are a left and a right one


@dataclass(frozen=True)
class Mesh:
    vertices: np.ndarray  # [V, 3], metres
    faces: np.ndarray  # [F, 4] of vertices; triangles repeat their last corner
    uvs: np.ndarray  # [F, 4, 2]


@dataclass(frozen=True)
class Worn:
    """Hair, clothes or eyes of MakeHuman: each vertex is a mix of three of the body's and an offset."""

    of: np.ndarray  # [V, 3] vertices of the body
    mix: np.ndarray  # [V, 3]
    offset: np.ndarray  # [V, 3], metres
    faces: np.ndarray
    uvs: np.ndarray
    covered: np.ndarray  # bool, which of the body's vertices lie under it


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


def lean(nod: float, aside: float, tilt: float) -> np.ndarray:
    """[3, 3] from degrees."""
    return turn((1, 0, 0), nod) @ turn((0, 0, 1), aside) @ turn((0, 1, 0), tilt)


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
        self.model = model = load_model()
        self.shape, self.local = dict.fromkeys(model.phenotype_labels, 0.5) | shape, local
        self.express(face)
        self.first = self.rest  # clothes are cut by it, whatever the face does later
        self.names, self.parents = list(model.bone_labels), list(model.bone_parents)
        self.weights = np.zeros((len(self.rest), len(self.names)))
        rows = np.arange(len(self.rest))[:, None]
        np.add.at(self.weights, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
        self.template = model.template_vertices.numpy().astype(float)
        self.quads = model.faces.numpy()
        self.uvs = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()]
        self.turns = np.tile(np.eye(3), (len(self.names), 1, 1))  # of bones, against their rest

    def express(self, face: dict[str, float]) -> None:
        """Give the body at rest another face."""
        given = self.model.get_tensor_inputs(None, self.shape, self.local, both_sides(face))[1:]
        rest = self.model.get_rest_model(self.model._get_phenotype_blendshape_coefficients(*given))
        self.rest = rest["rest_vertices"][0].numpy().astype(float)
        self.heads = rest["rest_bone_poses"][0, :, :3, 3].numpy().astype(float)

    def head_of(self, bone: str) -> np.ndarray:
        return self.heads[self.names.index(bone)]

    def pose(self, pose: Pose) -> None:
        """All but its face."""
        fixed, added = {}, {}
        for side, arm, sign in (("L", pose.left, -1), ("R", pose.right, 1)):
            self._pose_arm(side, arm, fixed, added)
            added[f"clavicle.{side}"] = turn((0, 1, 0), sign * pose.shrug)
            added[f"eye.{side}"] = lean(*pose.gaze, 0)
        added |= dict.fromkeys(NECK, lean(*(degrees / len(NECK) for degrees in pose.head)))
        added |= dict.fromkeys(TRUNK, lean(*(degrees / len(TRUNK) for degrees in pose.trunk)))
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
        """Hair, clothes or eyes, and which of the body's vertices they cover, bool [V]."""
        worn = read_worn(path)
        used = np.unique(worn.of)
        scale = np.ptp(self.first[used], axis=0) / np.ptp(self.template[used], axis=0)
        rest = (self.rest[worn.of] * worn.mix[..., None]).sum(1) + worn.offset * scale
        weights = (self.weights[worn.of] * worn.mix[..., None]).sum(1).clip(0)
        weights /= weights.sum(1, keepdims=True)
        return Mesh(self.carry(rest, weights), worn.faces, worn.uvs), worn.covered


def both_sides(face: dict[str, float]) -> dict[str, float]:
    """As anny names its facial actions."""
    return {
        f"{action}{side}": amount
        for action, amount in face.items()
        for side in (("",) if action in ONE_SIDED else ("Left", "Right"))
    }


def worn_file(data: Path, kind: str, name: str) -> Path:
    """Where MakeHuman's data has it."""
    return data / "proxies" / kind / name / f"{name}.json"


@cache
def read_worn(path: Path) -> Worn:
    """From three.js' JSON."""
    worn = json.loads(path.read_text())
    of, mix, offset = (np.array(worn[key]) for key in ("ref_vIdxs", "weights", "offsets"))
    offset = 0.1 * np.stack([offset[:, 0], -offset[:, 2], offset[:, 1]], 1)  # decimetres, y up
    faces, corners = read_faces(worn["faces"])
    uvs = np.array(worn["uvs"][0]).reshape(-1, 2)[corners]
    return Worn(of, mix, offset, faces, uvs, np.array(worn["metadata"]["deleteVerts"], bool))


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
