"""TokenGrid: pixels <-> latent frames <-> token rows and columns, and the axis letters of the whole package.

Axis letters: b batch, f latent frames, h w token rows and columns, n = h * w tokens a frame, nh heads, d head width,
c channels, r regions, k chosen past frames, nq nk block counts, p keypoints. Latents [b, f, c, h, w]; attention
[b, nh, f*n, d]; images [b, f, 3, H, W] in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TokenGrid:
    """Sizes of the token lattice: `frames` latent frames of `rows` x `cols` tokens.

    Token (t, row, col) stands at position t * rows * cols + row * cols + col of the sequence and covers the square
    [col / cols, (col + 1) / cols] x [row / rows, (row + 1) / rows] of the picture.

    Keypoints count 0..1 along each side of the picture. Distances are measured in units of its shorter side, so that a
    person is the same person in a square picture and in a wide one: `extent` scales from the former to the latter.
    """

    frames: int
    rows: int = 16
    cols: int = 16
    aspect: float = 1.0  # the picture's width over its height

    def __post_init__(self) -> None:
        for name in ("frames", "rows", "cols"):
            if getattr(self, name) < 1:
                raise ValueError(f"TokenGrid.{name} is {getattr(self, name)}; at least 1 is needed")
        if not 0.05 <= self.aspect <= 20:
            raise ValueError(f"TokenGrid.aspect is {self.aspect}; 0.05 to 20 is accepted")

    @property
    def extent(self) -> np.ndarray:
        """The picture's width and height in units of its shorter side: float32 [2]."""
        return np.array([max(self.aspect, 1.0), max(1 / self.aspect, 1.0)], np.float32)

    @property
    def tokens_per_frame(self) -> int:
        return self.rows * self.cols

    @property
    def tokens(self) -> int:
        return self.frames * self.tokens_per_frame

    def centres(self) -> np.ndarray:
        """Centres of a frame's tokens, 0..1 along each side of the picture: float32 [n, 2] (x, y)."""
        y, x = np.mgrid[: self.rows, : self.cols].astype(np.float32) + np.float32(0.5)
        return np.stack([x / self.cols, y / self.rows], axis=-1).reshape(-1, 2).astype(np.float32)

    def locate(self, index: int) -> tuple[int, int, int]:
        """(latent frame, row, column) of a position in the sequence."""
        if not 0 <= index < self.tokens:
            raise IndexError(f"token {index} is outside the grid's 0..{self.tokens - 1}")
        frame, inside = divmod(index, self.tokens_per_frame)
        return frame, *divmod(inside, self.cols)
