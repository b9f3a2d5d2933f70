"""Crops around a photograph's face and hands, cut from a frame at one size each and laid back into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iasa import keypoints as kp
from iasa.avatar.photograph import HANDS
from iasa.warp.matting import load_cv2

PARTS = (kp.FACE, *HANDS)
AROUND = (1.5, 1.8)  # the crop's side in extents of the face's points, and of a hand's
RIM = 0.12  # of the crop's side, over which what is added fades out


@dataclass(frozen=True, eq=False)
class PartCrops:
    """Sides of the crops, one a part of PARTS, image units; 0 where the part is not seen or keeps still."""

    sides: tuple[float, ...]
    size: int  # pixels of a crop

    @classmethod
    def of(cls, xy: np.ndarray, seen: np.ndarray, moving: tuple[bool, bool], size: int) -> PartCrops:
        """Of the photograph's pose [133, 2], image units, and which points are seen [133]."""
        sides = []
        for number, part in enumerate(PARTS):
            shown = seen[part].all() and (number == 0 or moving[number - 1])
            extent = float(np.ptp(xy[part], axis=0).max()) * AROUND[min(number, 1)]
            sides.append(extent if shown else 0.0)
        return cls(tuple(sides), size)

    @property
    def parts(self) -> list[int]:
        """Numbers of the parts that have a crop."""
        return [number for number, side in enumerate(self.sides) if side > 0]

    def corner(self, number: int, xy: np.ndarray) -> np.ndarray:  # [2] image units
        """The crop's upper left corner in a pose [133, 2]."""
        return xy[PARTS[number]].mean(0) - self.sides[number] / 2

    def place(self, number: int, xy: np.ndarray) -> np.ndarray:  # [133, 2]
        """A pose in units of the crop around its part."""
        return ((xy - self.corner(number, xy)) / self.sides[number]).astype(np.float32)

    def cut(self, number: int, frame: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """The crop of a frame [S, S, 3] around a part of its pose: [size, size, 3] of the frame's type."""
        cv2, side = load_cv2(), len(frame)
        scale = self.sides[number] * side / self.size  # pixels of the frame in one of the crop
        corner = self.corner(number, xy) * side
        if scale > 1:  # larger crops are averaged down, or they would shimmer
            frame = cv2.GaussianBlur(frame, (0, 0), 0.4 * scale) if scale > 1.5 else frame
        matrix = np.array([[scale, 0, corner[0] + scale / 2 - 0.5], [0, scale, corner[1] + scale / 2 - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(frame, matrix, (self.size, self.size), flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def add(self, number: int, frame: np.ndarray, change: np.ndarray, xy: np.ndarray) -> None:
        """Add a change [size, size, 3] of the crop to a float frame [S, S, 3]; it fades out at the crop's rim."""
        cv2, side = load_cv2(), len(frame)
        scale = self.sides[number] * side / self.size
        corner = self.corner(number, xy) * side
        x, y = np.floor(corner).astype(int)
        left, top = max(0, x), max(0, y)
        right, bottom = np.minimum(np.ceil(corner + self.sides[number] * side).astype(int) + 1, side)
        if right <= left or bottom <= top:
            return
        matrix = np.array(
            [
                [1 / scale, 0, (left + 0.5 - corner[0]) / scale - 0.5],
                [0, 1 / scale, (top + 0.5 - corner[1]) / scale - 0.5],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        faded = np.ascontiguousarray(change * _fade(self.size), np.float32)
        frame[top:bottom, left:right] += cv2.warpAffine(
            faded, matrix, (int(right - left), int(bottom - top)), flags=flags
        )


def _fade(size: int) -> np.ndarray:  # float32 [size, size, 1]
    edge = np.arange(size) + 0.5
    inside = np.clip(np.minimum(edge, size - edge) / (RIM * size), 0, 1).astype(np.float32)
    return np.minimum(inside[:, None], inside[None])[..., None]
