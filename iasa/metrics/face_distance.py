"""How unlike two faces are, by dlib's face-recognition network, which has seen three million real ones (CC0 weights).

Distances below 0.6 are one person by its authors' threshold. Needs `pip install dlib-bin face-recognition-models`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from iasa.config import InputError
from iasa.keypoints import FACE, Keypoints

SAME_PERSON = 0.6
INSTALL = "the identity distance needs dlib and its weights: pip install dlib-bin face-recognition-models"
LANDMARKS, NETWORK = "shape_predictor_5_face_landmarks.dat", "dlib_face_recognition_resnet_model_v1.dat"
LEAST = 20  # pixels of a face's side


class FaceDistance:
    """Descriptors of faces whose keypoints are known. Raises InputError where dlib is missing."""

    def __init__(self) -> None:
        spec = find_spec("face_recognition_models")  # not imported: it asks for a module that setuptools has dropped
        try:
            import dlib  # pyright: ignore[reportMissingImports]  # of an extra that the checker does without
        except ImportError as error:
            raise InputError(INSTALL) from error
        if spec is None or not spec.submodule_search_locations:
            raise InputError(INSTALL)
        folder = Path(spec.submodule_search_locations[0]) / "models"
        self._dlib: Any = dlib  # its stubs know none of these
        self._landmarks = self._dlib.shape_predictor(str(folder / LANDMARKS))
        self._network = self._dlib.face_recognition_model_v1(str(folder / NETWORK))

    def embed(self, frame: np.ndarray, face: np.ndarray) -> np.ndarray | None:
        """The descriptor [128] of the face with points [68, 2], image units, in uint8 [S, S, 3]; None if it is too small."""
        low, high = face.min(0) * len(frame), face.max(0) * len(frame)
        side = float((high - low).max())
        if side < LEAST:
            return None
        x, y = (low + high) / 2
        box = [round(v) for v in (x - side / 2, y - side / 2, x + side / 2, y + side / 2)]
        image = np.ascontiguousarray(frame)
        shape = self._landmarks(image, self._dlib.rectangle(*box))
        return np.array(self._network.compute_face_descriptor(image, shape))

    def to(self, picture: np.ndarray, pose: Keypoints, frames: np.ndarray, found: Keypoints) -> float:
        """Mean distance of the frames' faces [f, S, S, 3] to that of a picture; NaN if none of them has one."""
        own = self.embed(picture, pose.xy[0, FACE])
        seen = found.confidence[:, FACE].max(1) > 0
        others = [self.embed(frames[i], found.xy[i, FACE]) for i in np.flatnonzero(seen)]
        distances = [float(np.linalg.norm(own - one)) for one in others if one is not None and own is not None]
        return float(np.mean(distances)) if distances else float("nan")
