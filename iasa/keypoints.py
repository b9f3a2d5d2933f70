"""The 133-point COCO-WholeBody layout with confidences: the pose that drives the video and makes the masks.

Order: 17 body, 6 feet, 68 face (iBUG order), 21 left hand, 21 right hand; "left" is the person's left. DWPose and RTMW
emit this layout; `from_holistic` maps mediapipe's to it.
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np

from iasa.config import FRAMES_PER_LATENT, MAX_UPLOAD_BYTES, VIDEO_FPS, InputError
from iasa.files import display_name, missing_file, write_npz

COUNT = 133
_BROKEN_ARCHIVE = (
    ValueError, OSError, EOFError, TypeError, SyntaxError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
BODY = slice(0, 17)
FEET = slice(17, 23)
FACE = slice(23, 91)
LEFT_HAND = slice(91, 112)
RIGHT_HAND = slice(112, 133)

REGIONS = ("face", "hands", "arms", "body", "shoulders")  # bit order of the region masks

NOSE, LEFT_EAR, RIGHT_EAR = 0, 3, 4
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST, LEFT_HIP, RIGHT_HIP = range(5, 13)

FINGERTIPS = (4, 8, 12, 16, 20)  # in a hand, from the thumb on

# P of the paper (it names neither the points nor their number): head, arms, and the tips of all fingers.
UPPER_BODY = (NOSE, LEFT_EAR, RIGHT_EAR, *range(LEFT_SHOULDER, RIGHT_WRIST + 1)) + tuple(
    hand.start + tip for hand in (LEFT_HAND, RIGHT_HAND) for tip in FINGERTIPS
)

_FACE0 = FACE.start
MOUTH = tuple(range(_FACE0 + 48, _FACE0 + 68))
UPPER_LIP, LOWER_LIP = _FACE0 + 62, _FACE0 + 66  # middle of the inner lips
MOUTH_CORNERS = (_FACE0 + 48, _FACE0 + 54)
EYE_CORNERS = (_FACE0 + 36, _FACE0 + 45)  # outer corners, the scale of a face

_FINGERS = [(0, f) if k == 0 else (f + k - 1, f + k) for f in (1, 5, 9, 13, 17) for k in range(4)]
BONES = (
    (LEFT_SHOULDER, RIGHT_SHOULDER), (LEFT_SHOULDER, LEFT_ELBOW), (LEFT_ELBOW, LEFT_WRIST),
    (RIGHT_SHOULDER, RIGHT_ELBOW), (RIGHT_ELBOW, RIGHT_WRIST), (LEFT_SHOULDER, LEFT_HIP),
    (RIGHT_SHOULDER, RIGHT_HIP), (LEFT_HIP, RIGHT_HIP), (NOSE, 1), (NOSE, 2), (1, 3), (2, 4),
    *((LEFT_HAND.start + a, LEFT_HAND.start + b) for a, b in _FINGERS),
    *((RIGHT_HAND.start + a, RIGHT_HAND.start + b) for a, b in _FINGERS),
)  # fmt: skip

# mediapipe -> COCO-WholeBody
_POSE_TO_BODY = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
_POSE_TO_FEET = (31, 31, 29, 32, 32, 30)
MESH_TO_FACE = (
    127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356,  # jaw
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # brows
    168, 197, 5, 4, 98, 97, 2, 326, 327,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # outer lips
    78, 82, 13, 312, 308, 317, 14, 87,  # inner lips
)  # fmt: skip


@dataclass(frozen=True)
class Keypoints:
    """Poses of `f` frames.

    xy: float32 [f, 133, 2] in image units (x right, y down; 0..1 spans the square picture; points may lie outside).
    confidence: float32 [f, 133] in 0..1, 0 where a point is missing or unseen. fps: frames a second.
    """

    xy: np.ndarray
    confidence: np.ndarray
    fps: float = VIDEO_FPS

    def __post_init__(self) -> None:
        xy = np.ascontiguousarray(self.xy, np.float32)
        confidence = np.ascontiguousarray(self.confidence, np.float32)
        if xy.ndim != 3 or xy.shape[1:] != (COUNT, 2):
            raise InputError(
                "keypoints have shape {shape}; [frames, {points}, 2] is needed", shape=list(xy.shape), points=COUNT
            )
        if confidence.shape != xy.shape[:2]:
            raise InputError(
                "confidences have shape {shape}; {wanted} is needed",
                shape=list(confidence.shape),
                wanted=list(xy.shape[:2]),
            )
        seen = confidence > 0
        if not (np.isfinite(confidence).all() and np.isfinite(xy[seen]).all()):
            raise InputError("keypoints hold NaN or infinite values at points of confidence above 0")
        xy = np.where(seen[..., None], xy, np.nan_to_num(xy, nan=0.0, posinf=0.0, neginf=0.0))
        object.__setattr__(self, "xy", xy)
        object.__setattr__(self, "confidence", confidence)

    def __len__(self) -> int:
        return len(self.xy)

    def __getitem__(self, frames: slice | np.ndarray) -> Keypoints:
        return Keypoints(self.xy[frames], self.confidence[frames], self.fps)


def concat_keypoints(*parts: Keypoints) -> Keypoints:
    """One sequence after another; the first one's frame rate counts."""
    return Keypoints(np.concatenate([p.xy for p in parts]), np.concatenate([p.confidence for p in parts]), parts[0].fps)


def scale_keypoints(keypoints: Keypoints, extent: np.ndarray) -> Keypoints:
    """Coordinates in other units, (x, y) times `extent`; see `TokenGrid.extent`."""
    if (extent == 1).all():
        return keypoints
    return Keypoints(keypoints.xy * np.asarray(extent, np.float32), keypoints.confidence, keypoints.fps)


def resample_keypoints(keypoints: Keypoints, fps: float) -> Keypoints:
    """The poses at another frame rate, linear between the two nearest frames; the last frame's time is kept.

    A point that only one of the two shows is taken from it; its confidence falls with the distance in time.
    """
    if not 0 < fps < 1000:
        raise InputError("{fps} frames a second are asked for; above 0 and below 1000 are accepted", fps=fps)
    if fps == keypoints.fps or not len(keypoints):
        return Keypoints(keypoints.xy, keypoints.confidence, fps)
    frames = int((len(keypoints) - 1) * fps / keypoints.fps + 1e-6) + 1
    place = np.minimum(np.arange(frames) * (keypoints.fps / fps), len(keypoints) - 1)
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, len(keypoints) - 1)
    share = (place - before)[:, None]
    weight = np.stack([(1 - share) * keypoints.confidence[before], share * keypoints.confidence[after]])
    total = weight.sum(0)
    xy = (weight[..., None] * keypoints.xy[np.stack([before, after])]).sum(0) / np.maximum(total, 1e-9)[..., None]
    return Keypoints(xy, total, fps)


def pool_to_latent(keypoints: Keypoints, frames: int = FRAMES_PER_LATENT) -> Keypoints:
    """Confidence-weighted mean over each latent frame's video frames: [f, ...] -> [f // frames, ...].

    A point seen in some of them keeps the mean of their confidences. Raises ValueError if f is not a multiple.
    """
    if len(keypoints) % frames:
        raise ValueError(f"{len(keypoints)} frames are not a multiple of the {frames} in a latent frame")
    xy = keypoints.xy.reshape(-1, frames, COUNT, 2)
    weight = keypoints.confidence.reshape(-1, frames, COUNT)
    total = weight.sum(1)
    mean = (xy * weight[..., None]).sum(1) / np.maximum(total, 1e-6)[..., None]
    return Keypoints(mean, total / frames, keypoints.fps / frames)


def fill_latent(keypoints: Keypoints, frames: int = FRAMES_PER_LATENT) -> Keypoints:
    """The last pose repeated until the frames fill latent frames. Raises ValueError if there is none."""
    if not len(keypoints):
        raise ValueError("there are no poses; at least one is needed")
    missing = -len(keypoints) % frames
    return concat_keypoints(keypoints, keypoints[np.full(missing, len(keypoints) - 1)]) if missing else keypoints


def hold_last(keypoints: Keypoints, frames: int) -> Keypoints:
    """At least that many frames: the last pose stays for those that are missing."""
    missing = frames - len(keypoints)
    return concat_keypoints(keypoints, keypoints[np.full(missing, len(keypoints) - 1)]) if missing > 0 else keypoints


def face_scale(keypoints: Keypoints) -> np.ndarray:
    """Distance of the outer eye corners, image units: [f]."""
    a, b = EYE_CORNERS
    return np.linalg.norm(keypoints.xy[:, a] - keypoints.xy[:, b], axis=-1)


def mouth_opening(keypoints: Keypoints) -> np.ndarray:
    """Gap of the inner lips over the distance of the outer eye corners: [f]."""
    gap = np.linalg.norm(keypoints.xy[:, UPPER_LIP] - keypoints.xy[:, LOWER_LIP], axis=-1)
    return gap / np.maximum(face_scale(keypoints), 1e-6)


def mouth_width(keypoints: Keypoints) -> np.ndarray:
    """Distance of the mouth corners over the distance of the outer eye corners: [f]."""
    a, b = MOUTH_CORNERS
    width = np.linalg.norm(keypoints.xy[:, a] - keypoints.xy[:, b], axis=-1)
    return width / np.maximum(face_scale(keypoints), 1e-6)


def mouth_shape(keypoints: Keypoints) -> np.ndarray:
    """Lips seen from the eyes, to the right and down, in distances of the outer eye corners: float32 [f, 20, 2]."""
    a, b = (keypoints.xy[:, corner] for corner in EYE_CORNERS)
    across = b - a
    size = np.maximum((across**2).sum(-1), 1e-8)[:, None]
    offset = keypoints.xy[:, list(MOUTH)] - ((a + b) / 2)[:, None]
    right = (offset * across[:, None]).sum(-1) / size
    down = (offset[..., 1] * across[:, None, 0] - offset[..., 0] * across[:, None, 1]) / size
    return np.stack([right, down], -1).astype(np.float32)


def from_holistic(
    face: np.ndarray | None,  # [f, 478 or 468, 2] image units, NaN where no face was found
    pose: np.ndarray | None,  # [f, 33, 2]
    left: np.ndarray | None,  # [f, 21, 2]
    right: np.ndarray | None,  # [f, 21, 2]
    face_confidence: np.ndarray | float = 1.0,  # scalar or [f]
    pose_confidence: np.ndarray | float = 1.0,  # scalar or [f, 33]
    left_confidence: np.ndarray | float = 1.0,  # scalar or [f] or [f, 21]
    right_confidence: np.ndarray | float = 1.0,
    fps: float = VIDEO_FPS,
) -> Keypoints:
    """mediapipe Holistic's landmarks as the 133 points. NaN points, and parts given as None, get confidence 0."""
    frames = next(len(part) for part in (face, pose, left, right) if part is not None)
    xy = np.full((frames, COUNT, 2), np.nan, np.float32)
    confidence = np.zeros((frames, COUNT), np.float32)

    def put(where, points, score, columns=None):
        if points is None:
            return
        score = np.asarray(score, np.float32)
        score = score.reshape(score.shape + (1,) * (2 - score.ndim))
        if columns is not None:
            points = points[:, list(columns)]
            score = score[:, list(columns)] if score.shape[1] > 1 else score
        xy[:, where] = points[..., :2]
        confidence[:, where] = np.broadcast_to(score, points.shape[:2])

    put(BODY, pose, pose_confidence, _POSE_TO_BODY)
    put(FEET, pose, pose_confidence, _POSE_TO_FEET)
    put(FACE, face, face_confidence, MESH_TO_FACE)
    put(LEFT_HAND, left, left_confidence)
    put(RIGHT_HAND, right, right_confidence)
    confidence[~np.isfinite(xy).all(-1)] = 0.0
    return Keypoints(xy, confidence, fps)


def save_keypoints(path: str | os.PathLike, keypoints: Keypoints) -> None:
    """Write an npz with `xy`, `confidence` and `fps`."""
    write_npz(path, xy=keypoints.xy, confidence=keypoints.confidence, fps=np.float32(keypoints.fps))


def load_keypoints(path: str | os.PathLike) -> Keypoints:
    """Read an npz of `save_keypoints`; pickled content is refused. Raises InputError."""
    name = display_name(path)
    try:
        _check_sizes(path, name)
        with np.load(path, allow_pickle=False) as data:
            missing = {"xy", "confidence"} - set(data.files)
            if missing:
                raise InputError(
                    "{name} lacks {what}; a pose file holds xy and confidence",
                    name=name,
                    what=" and ".join(sorted(missing)),
                )
            return Keypoints(data["xy"], data["confidence"], float(data["fps"]) if "fps" in data.files else VIDEO_FPS)
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except InputError:
        raise
    except _BROKEN_ARCHIVE as error:
        raise InputError("{name} is not a pose file: an npz with xy and confidence is needed", name=name) from error


def _check_sizes(path: str | os.PathLike, name: str) -> None:
    """Raise before numpy sets memory aside: a small archive may claim arrays of any size."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, kind = read(file)
            claimed = math.prod(shape) * kind.itemsize
            if max(claimed, entry.file_size) > MAX_UPLOAD_BYTES:
                raise InputError(
                    "{name} unpacks to {size:,.0f} MB; at most {most:.0f} MB are accepted",
                    name=name,
                    size=max(claimed, entry.file_size) / 2**20,
                    most=MAX_UPLOAD_BYTES / 2**20,
                )
