"""What the restorer does to the warped layers of a photograph: crops around face and hands, one pass, laid back in."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from iasa.avatar.photograph import Photograph
from iasa.avatar.speaker import Reference
from iasa.inference.generation import Timing
from iasa.inference.layered_frames import straighten
from iasa.inference.prefetch import Source
from iasa.keypoints import Keypoints
from iasa.models.restorer import Restorer
from iasa.warp.matting import load_cv2
from iasa.warp.part_crops import PartCrops


class LayerRestorer:
    """Repairs frames of one photograph. Parts that are not seen in it, or keep still, stay as the layers have them."""

    def __init__(self, network: Restorer, reference: Reference) -> None:
        photo, parts = reference.photo, reference.parts
        if photo is None or parts is None:
            raise ValueError(f"the speaker {reference.name} is drawn; a photograph is needed")
        self.network = network
        self.device, self.dtype = network.device, network.dtype
        self.photo = photo
        self.crops = PartCrops.of(photo.xy, photo.seen, parts.moving, network.config.size)
        self.shown = self._to_images(
            [self.crops.cut(n, self._picture(photo, reference.size), photo.xy) for n in self.crops.parts]
        )
        self.places = [self.crops.place(n, photo.xy) for n in self.crops.parts]

    def __call__(self, frames: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """uint8 [m, S, S, 3 or 4] at poses [m, 133, 2], image units -> repaired ones."""
        parts, count = self.crops.parts, len(frames)
        if not parts:
            return frames
        xy = np.where(self.photo.seen[:, None], xy, self.photo.xy)
        layers = [
            self.crops.cut(n, frame[..., :3], pose) for frame, pose in zip(frames, xy, strict=True) for n in parts
        ]
        places = [
            np.stack([place, self.crops.place(n, pose)])
            for pose in xy
            for n, place in zip(parts, self.places, strict=True)
        ]
        confidence = torch.from_numpy(self.photo.keypoints.confidence[0]).to(self.device, torch.float32)
        with torch.inference_mode():
            change = self.network(
                self._to_images(layers), self.shown.repeat(count, 1, 1, 1),
                torch.from_numpy(np.stack(places)).to(self.device), confidence.expand(len(layers), 2, -1),
            )  # fmt: skip
        change = (change.float().movedim(1, -1) * 127.5).cpu().numpy()
        out = frames.astype(np.float32)
        for i in range(count):
            for k, n in enumerate(parts):
                self.crops.add(n, out[i, ..., :3], change[i * len(parts) + k], xy[i])
        out = (out + 0.5).clip(0, 255)
        if out.shape[-1] == 4:  # nothing is added where nobody is
            out = np.minimum(out, out[..., 3:])
        return out.astype(np.uint8)

    def _to_images(self, crops: list[np.ndarray]) -> Tensor:  # uint8 [n, C, C, 3] -> [n, 3, C, C] in [-1, 1]
        if not crops:
            return torch.zeros(0, 3, self.network.config.size, self.network.config.size, device=self.device)
        images = torch.from_numpy(np.stack(crops)).to(self.device).movedim(-1, 1).to(self.dtype) / 127.5 - 1
        return images.to(memory_format=torch.channels_last)

    @staticmethod
    def _picture(photo: Photograph, size: int) -> np.ndarray:
        cv2 = load_cv2()
        small = len(photo.image) != size
        return cv2.resize(photo.image, (size, size), interpolation=cv2.INTER_AREA) if small else photo.image


def restore(
    warped: Source[tuple[np.ndarray, Keypoints]], restorer: LayerRestorer | None, timing: Timing
) -> Generator[np.ndarray]:
    """Frames of the layers at their poses, uint8 [m, S, S, 3 or 4], repaired if there is a restorer."""
    with closing(warped):
        for frames, poses in warped:
            if restorer is not None:
                with timing.stage("decode"):
                    frames = restorer(frames, poses.xy)
            yield straighten(frames)
