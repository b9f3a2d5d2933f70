"""A photograph carried to a pose in layers: room, body, face, mouth and forearms, each bent by itself and laid over the last.

It stands where `ReferenceWarp` stands for drawn speakers: poses in, pictures out. The room is filled once and holds still;
the person's edges are those of the segmentation; head and hair turn as one against the trunk; the face follows its mesh.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from iasa import keypoints as kp
from iasa.avatar.photograph import HANDS, SHUT, Photograph
from iasa.keypoints import Keypoints
from iasa.warp.cutout import Layer, cut_layers
from iasa.warp.eyeballs import Eyeballs
from iasa.warp.face_skin import EYES, POINTS, STEADY, FaceSkin
from iasa.warp.head_skin import HeadSkin, turn_points
from iasa.warp.matting import distance_to_bone, load_cv2
from iasa.warp.mouth import LOWER, UPPER, Mouth, soft_polygon
from iasa.warp.skin import CALM_FACE, BodySkin, ForearmSkin, fit_turn, keep_together, spread
from iasa.warp.triangles import NOWHERE, Flow, grid_mesh, rasterise

BODY_CELLS, FOREARM_CELLS = 40, 64  # cells along the picture's side
BEYOND = 0.15  # of that side, by which layers go on outside of the picture: what moves inwards has something to show
BODY_FLOW = 128  # pixels along the side at which the body's flow is made, which is smooth
RIM = 0.08  # heights of the face, inside of its outline, over which it sets in: what it holds of an ear must not show twice
FACE_REACH = 0.16  # heights of the face: how far the skin around it follows
STILL_REACH = 0.1  # image units around a hand that keeps still in which nothing follows the head


@dataclass(frozen=True, eq=False)
class _Sheet:
    """A layer as OpenCV reads it, and its mesh."""

    texture: np.ndarray  # uint8 [S + 2 border, S + 2 border, 4]
    border: int
    points: np.ndarray  # [v, 2] pixels of the picture
    triangles: np.ndarray  # [t, 3]

    @classmethod
    def of(cls, layer: Layer, size: int, cells: int) -> _Sheet:
        cv2 = load_cv2()
        alpha = (np.clip(layer.alpha, 0, 1) * 255 + 0.5).astype(np.uint8)
        texture = np.dstack([layer.color, alpha])
        if size != len(texture):
            texture = cv2.resize(texture, (size, size), interpolation=cv2.INTER_AREA)
        border = int(BEYOND * size)
        color = cv2.copyMakeBorder(texture[..., :3], *(border,) * 4, cv2.BORDER_REFLECT_101)
        alpha = cv2.copyMakeBorder(texture[..., 3], *(border,) * 4, cv2.BORDER_REPLICATE)
        points, triangles = grid_mesh(alpha > 2, max(2, size // cells))
        return cls(np.dstack([color, alpha]), border, points - border, triangles)

    def without_ends(self, ends: np.ndarray, size: int) -> _Sheet:
        """Without what goes on beyond the picture at the points `ends` [v]: an arm does, a hand would be stretched."""
        beyond = ((self.points < -1) | (self.points > size + 1)).any(1) & ends
        return replace(self, triangles=self.triangles[~beyond[self.triangles].any(1)])

    def read(self, flow: np.ndarray) -> np.ndarray:  # [h, w, 2] pixels of the picture -> uint8 [h, w, 4]
        cv2 = load_cv2()
        return cv2.remap(self.texture, flow + (self.border - 0.5), None, cv2.INTER_LINEAR)


class LayeredWarp:
    """Poses -> pictures of one photograph at `size` pixels. `moving`: forearms (left, right) that leave the body.

    It holds nothing of the photograph itself, and drawing changes nothing of it: several threads may draw at once.
    """

    def __init__(self, photo: Photograph, size: int = 512, moving: tuple[bool, bool] = (True, True)) -> None:
        cv2 = load_cv2()
        self.size = size
        layers = cut_layers(photo, moving)
        self.room = _to_room(layers.room, size)
        self.rest = photo.xy.astype(np.float64) * size
        self.body = _Sheet.of(layers.body, size, BODY_CELLS)
        self.face = FaceSkin.of(photo.face[:, :2] * size)
        chin, top = self.face.rest[152], self.face.rest[10]
        self.height = float(np.linalg.norm(chin - top))
        self.around = spread(self.face.rest[list(STEADY)], self.body.points, FACE_REACH * self.height, 0.05)
        self.depth = photo.face[:POINTS, 2].astype(np.float64) * size
        self.head = HeadSkin.of(self.face.rest, self.depth, self.body.points, self.around)
        self.skin = BodySkin.of(self.rest, photo.seen, self.body.points, self._still(photo.seen, moving), size)
        picture = (
            cv2.resize(photo.image, (size, size), interpolation=cv2.INTER_AREA)
            if len(photo.image) != size
            else photo.image
        )
        self.mouth = Mouth.of(picture, self.face.rest)
        self.eyeballs = Eyeballs.of(picture, self.face.rest) if photo.lids_apart < SHUT else None
        self.face_sheet = self._face_sheet()
        self.forearms = []
        for side, layer in enumerate(layers.forearms):
            if layer is not None:
                sheet = _Sheet.of(layer, size, FOREARM_CELLS)
                if len(sheet.points):
                    skin = ForearmSkin.of(side, self.rest, sheet.points)
                    self.forearms.append((sheet.without_ends(skin.hand > 0, size), skin))

    def before(self, room: np.ndarray | None) -> LayeredWarp:
        """The same person before a room, uint8 [S, S, 3], or 4 for frames with alpha; None is the photograph's own."""
        if room is None:
            return self
        other = copy(self)
        other.room = _to_room(room, self.size)
        return other

    def __call__(self, xy: Tensor, confidence: Tensor) -> Tensor:
        """Poses [1, m, 133, 2], image units, and [1, m, 133] -> pictures [1, m, 3, size, size] in [-1, 1].

        Before a transparent room they have four channels, the last one how much of each pixel is the person, whose
        colours are multiplied by it.
        """
        frames = np.stack(list(self._draw_all(xy[0].cpu().numpy(), confidence[0].cpu().numpy())))
        return (torch.from_numpy(frames).movedim(-1, 1)[None] / 127.5 - 1).to(xy.device)

    def levels(self, poses: Keypoints) -> np.ndarray:
        """The same as files hold them: uint8 [m, size, size, 3 or 4]."""
        frames = self._draw_all(poses.xy, poses.confidence)
        return np.stack([load_cv2().convertScaleAbs(frame) for frame in frames])

    def _draw_all(self, xy: np.ndarray, confidence: np.ndarray) -> Iterator[np.ndarray]:  # [m, 133, 2], [m, 133]
        for pose, unseen in zip(xy.astype(np.float64) * self.size, confidence <= 0, strict=True):
            yield self.draw(keep_together(self.rest, pose, unseen))

    def draw(self, pose: np.ndarray) -> np.ndarray:  # [133, 2] pixels -> float32 [size, size, 3 or 4] in 0..255
        """One frame."""
        turn, moves = self._pose_face(pose)
        mesh = turn_points(turn, self.face.rest + moves, self.depth)
        frame = self.room.copy()
        head = self.head.place(turn, self.around @ moves[list(STEADY)])
        _lay(frame, self.body, self._body_flow(self.skin.place(pose, head)))
        self._lay_face(frame, mesh)
        if self.eyeballs is not None:
            self.eyeballs.paint(frame[..., :3], mesh)
        self.mouth.paint(frame[..., :3], mesh, _flat(turn, self.depth[UPPER]), moves[LOWER])
        for sheet, skin in self.forearms:
            for points, shown in skin.place(pose):
                triangles = sheet.triangles[shown[sheet.triangles].all(1)]
                flow = rasterise(points, sheet.points, triangles, self.size, "shown")
                _lay(frame, sheet, flow)
        return frame

    def mesh(self, pose: np.ndarray) -> np.ndarray:  # [133, 2] pixels -> [468, 2]
        """The face's mesh in a pose."""
        turn, moves = self._pose_face(pose)
        return turn_points(turn, self.face.rest + moves, self.depth)

    def _pose_face(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [133, 2] -> [2, 4], [468, 2]
        """The head's turn, and how the mesh moves in the head's frame."""
        face = self.face.rest[list(kp.MESH_TO_FACE)]
        depth = self.depth[list(kp.MESH_TO_FACE)]
        calm = list(CALM_FACE)
        turn = fit_turn(np.concatenate([face, depth[:, None]], 1)[calm], pose[kp.FACE][calm])
        local = (pose[kp.FACE] - depth[:, None] * turn[:, 2] - turn[:, 3]) @ np.linalg.inv(turn[:, :2]).T
        return turn, self.face.moves(local - face)

    def _body_flow(self, points: np.ndarray) -> Flow | None:
        """As fine as the frame, of a coarse one."""
        cv2, times = load_cv2(), self.size // BODY_FLOW
        flow = rasterise(points / times, self.body.points, self.body.triangles, BODY_FLOW)
        if flow is None:
            return None
        height, width = flow.covered.shape
        known = flow.covered[..., None].astype(np.float32)
        shift = (flow.source - times * _middles(flow.x, flow.y, width, height)) * known
        around = cv2.blur(known, (3, 3))[..., None]  # goes on over the rim: nothing between it and nowhere is read
        shift = np.where(known > 0, shift, cv2.blur(shift, (3, 3)) / np.maximum(around, 1e-6))
        sides = (times * width, times * height)
        covered = cv2.resize(flow.covered.astype(np.uint8), sides, interpolation=cv2.INTER_NEAREST) > 0
        x, y = times * flow.x, times * flow.y
        source = cv2.resize(shift, sides, interpolation=cv2.INTER_LINEAR) + _middles(x, y, *sides)
        source[~covered] = NOWHERE
        return Flow(x, y, source, covered)

    def _lay_face(self, frame: np.ndarray, mesh: np.ndarray) -> None:
        flow = rasterise(mesh, self.face_sheet.points, self.face_sheet.triangles, self.size, "behind")
        if flow is None:
            return
        h, w = flow.covered.shape
        visible = np.ones((h, w), np.float32)
        for eye in EYES:
            visible -= soft_polygon(mesh[list(eye)], flow.x, flow.y, w, h)
        _lay(frame, self.face_sheet, flow, visible.clip(0, 1))

    def _face_sheet(self) -> _Sheet:
        """The body's colours, setting in over a rim inside the face's outline."""
        cv2, border = load_cv2(), self.body.border
        side = self.size + 2 * border
        oval = soft_polygon(self.face.rest[list(STEADY[:36])] + border, 0, 0, side, side)
        inside = cv2.distanceTransform((oval > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
        share = np.clip(inside / max(1.0, RIM * self.height), 0, 1)
        texture = np.dstack([self.body.texture[..., :3], (share * 255).astype(np.uint8)])
        return _Sheet(texture, border, self.face.rest, self.face.triangles)

    def _still(self, seen: np.ndarray, moving: tuple[bool, bool]) -> np.ndarray | None:  # bool [133]
        """1 on the body's points at hands that do not move, 0 away from them."""
        out = None
        for side, where in enumerate(HANDS):
            if not moving[side] and seen[where].any():
                hand = self.rest[where]
                bones = ((0, 5), (0, 9), (0, 17), (5, 8), (9, 12), (13, 16), (17, 20), (1, 4))
                away = np.min([distance_to_bone(self.body.points, hand[a], hand[b])[0] for a, b in bones], 0)
                near = np.clip(1.5 - away / (STILL_REACH * self.size), 0, 1)
                out = near if out is None else np.maximum(out, near)
        return out


def _to_room(picture: np.ndarray, size: int) -> np.ndarray:  # uint8 [S, S, c] -> float32 [size, size, c]
    cv2 = load_cv2()
    if len(picture) != size:
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return picture.astype(np.float32)


def _flat(turn: np.ndarray, depth: float) -> np.ndarray:
    """What a head's turn [2, 4] does at one depth: [2, 3]."""
    return np.concatenate([turn[:, :2], (depth * turn[:, 2] + turn[:, 3])[:, None]], 1)


def _middles(x: int, y: int, width: int, height: int) -> np.ndarray:
    """Those of a box's pixels: float32 [height, width, 2]."""
    columns, rows = (
        np.arange(first, first + count, dtype=np.float32) + 0.5 for first, count in ((x, width), (y, height))
    )
    return np.stack(np.meshgrid(columns, rows), -1)


def _lay(frame: np.ndarray, sheet: _Sheet, flow: Flow | None, visible: np.ndarray | None = None) -> None:
    """A layer over the frame, `visible` [h, w] of it, and its opacity where the frame has an alpha."""
    if flow is None:
        return
    cv2, read = load_cv2(), sheet.read(flow.source)
    share = cv2.extractChannel(read, 3).astype(np.float32) / 255
    if visible is not None:
        share *= visible
    read[..., 3] = 255
    channels = frame.shape[-1]
    over = (read if channels == 4 else cv2.cvtColor(read, cv2.COLOR_RGBA2RGB)).astype(np.float32)
    h, w = share.shape
    under = frame[flow.y : flow.y + h, flow.x : flow.x + w]
    over -= under
    over *= cv2.merge([share] * channels)
    under += over
