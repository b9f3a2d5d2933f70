"""The whole picture around a photograph's square: what moves is put back into it, so that the frame keeps its shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iasa.avatar.framing import Square

LONGEST = 1920  # pixels of the larger side
RIM = 0.03  # of the square's side, over which it passes into the picture around it


@dataclass(frozen=True, eq=False)
class WholePicture:
    """A picture uint8 [H, W, 3] of even sides, and the square in it that moves."""

    picture: np.ndarray
    square: Square

    @classmethod
    def of(cls, picture: np.ndarray, square: Square, size: int) -> WholePicture:
        """Of a picture uint8 [H, W, 3], made as large as lets its square have `size` pixels, or LONGEST at most."""
        from PIL import Image

        height, width = picture.shape[:2]
        scale = min(size / square.side, LONGEST / max(height, width))
        small = [max(2, 2 * round(side * scale / 2)) for side in (width, height)]
        side = min(max(2, round(square.side * scale)), *small)
        x, y = (min(round(start * scale), length - side) for start, length in zip(square[:2], small, strict=True))
        resized = Image.fromarray(picture).resize((small[0], small[1]), Image.Resampling.LANCZOS)
        return cls(np.asarray(resized), Square(x, y, side))

    def put(self, frames: np.ndarray) -> np.ndarray:
        """Frames of the square, uint8 [m, S, S, 3] -> of the whole picture, uint8 [m, H, W, 3]."""
        from PIL import Image

        x, y, side = self.square
        share = self._share()
        out = np.repeat(self.picture[None], len(frames), 0)
        under = out[:, y : y + side, x : x + side].astype(np.float32)
        if side != frames.shape[1]:
            frames = np.stack(
                [np.asarray(Image.fromarray(f).resize((side, side), Image.Resampling.LANCZOS)) for f in frames]
            )
        out[:, y : y + side, x : x + side] = (under + share * (frames - under) + 0.5).astype(np.uint8)
        return out

    def _share(self) -> np.ndarray:  # float32 [side, side, 1]
        """1 inside of the square, falling to 0 at those of its edges that are not the picture's own."""
        (height, width), (x, y, side) = self.picture.shape[:2], self.square
        place, far = np.arange(side) + 0.5, np.full(side, np.inf)
        across = np.minimum(place if x > 0 else far, side - place if x + side < width else far)
        down = np.minimum(place if y > 0 else far, side - place if y + side < height else far)
        inside = np.minimum(down[:, None], across[None])
        return np.clip(inside / (RIM * side), 0, 1).astype(np.float32)[..., None]
