"""Speech and a picture to what a video model is conditioned on: the picture at the video's size, and poses that lie on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from iasa.avatar.speaker import Reference
from iasa.config import InputError
from iasa.keypoints import FACE, LEFT_SHOULDER, RIGHT_SHOULDER, Keypoints

MARGIN = 0.06  # of the video's height, between the person's hands and the edge
_FIXED = [*range(5), LEFT_SHOULDER, RIGHT_SHOULDER, *range(FACE.start, FACE.stop)]  # points that place the body
Box = tuple[float, float, float, float]  # left, top, width, height in a picture's pixels


@dataclass(frozen=True)
class Scene:
    """One shot: picture uint8 [H, W, 3]; its pose, and the clip's, 0..1 of width and height; the speaker's own for warping."""

    picture: np.ndarray
    pose: Keypoints  # one frame
    keypoints: Keypoints
    speaker: Reference
    speaker_keypoints: Keypoints  # the same motion in the units of the speaker's square picture


def make_scene(
    speaker: Reference,
    keypoints: Keypoints,  # in the units of the speaker's square picture
    height: int,
    width: int,
    photograph: np.ndarray
    | None = None,  # uint8 [h, w, 3] that the speaker was made of; None: the speaker's own picture
    photograph_pose: Keypoints | None = None,  # found in it, one frame, 0..1 of its width and height
) -> Scene:
    """The speaker's motion laid on a picture, and the picture cut to the video's shape around all that moves."""
    if photograph is None or photograph_pose is None:
        picture, scale, shift = speaker.image, float(len(speaker.image)), np.zeros(2, np.float32)
        pose = replace(speaker.keypoints, xy=speaker.keypoints.xy * scale)
    else:
        picture = photograph
        pose = replace(photograph_pose, xy=photograph_pose.xy * np.array(picture.shape[1::-1], np.float32))
        scale, shift = fit_body(speaker.keypoints, pose)
    moved = replace(keypoints, xy=keypoints.xy * scale + shift)
    box = crop_box(moved, (picture.shape[0], picture.shape[1]), width / height)
    cut = cut_picture(picture, box, height, width)
    return Scene(cut, _in_box(pose, box), _in_box(moved, box), speaker, keypoints)


def find_pose(picture: np.ndarray) -> Keypoints:
    """The pose in a photograph uint8 [h, w, 3], one frame, 0..1 of its width and height (needs mediapipe)."""
    from iasa.pose import extract_keypoints

    found = extract_keypoints([picture], static=True)  # in units of the square in the picture's middle
    size = np.array(picture.shape[1::-1], np.float32)
    side = float(size.min())
    return replace(found, xy=(found.xy * side + (size - side) / 2) / size)


def fit_body(rest: Keypoints, found: Keypoints) -> tuple[float, np.ndarray]:
    """Scale and shift [2] that lay the resting pose on the one found, by face and shoulders: least squares.

    Raises InputError if too little of them is seen.
    """
    weight = (np.minimum(rest.confidence, found.confidence)[0, _FIXED] > 0).astype(np.float32)
    weight[-(FACE.stop - FACE.start) :] *= 0.1  # the 68 points of a face weigh as much as the few of the body
    if (weight > 0).sum() < 3:
        raise InputError("no face and shoulders were found in the photograph; a portrait is needed that shows both")
    weight = weight[:, None] / weight.sum()
    a, b = rest.xy[0, _FIXED], found.xy[0, _FIXED]
    mean_a, mean_b = (weight * a).sum(0), (weight * b).sum(0)
    scale = float((weight * (a - mean_a) * (b - mean_b)).sum() / (weight * (a - mean_a) ** 2).sum())
    return scale, (mean_b - scale * mean_a).astype(np.float32)


def crop_box(poses: Keypoints, size: tuple[int, int], aspect: float) -> Box:
    """The largest box of the aspect inside a picture of `size` (height, width), about the poses (in its pixels).

    Where they need more room the box is larger than the picture.
    """
    high, wide = size
    seen = poses.xy[poses.confidence > 0]
    low, far = np.clip(seen.min(0), 0, (wide, high)), np.clip(seen.max(0), 0, (wide, high))
    needed = max(far[1] - low[1], (far[0] - low[0]) / aspect) / (1 - 2 * MARGIN)
    height = float(max(needed, min(high, wide / aspect)))
    middle = (low + far) / 2
    return _placed(middle[0], height * aspect, wide), _placed(middle[1], height, high), height * aspect, height


def cut_picture(picture: np.ndarray, box: Box, height: int, width: int) -> np.ndarray:
    """The box of a picture at the video's size, uint8 [height, width, 3]; beyond the edge its border is repeated."""
    left, top, wide, high = box
    first_row, first_column = int(np.floor(top)), int(np.floor(left))
    rows = np.arange(first_row, int(np.ceil(top + high))).clip(0, picture.shape[0] - 1)
    columns = np.arange(first_column, int(np.ceil(left + wide))).clip(0, picture.shape[1] - 1)
    start = np.array([left - first_column, top - first_row])
    end = np.minimum(start + [wide, high], [len(columns), len(rows)])
    cut = Image.fromarray(np.ascontiguousarray(picture[rows][:, columns]))
    return np.asarray(cut.resize((width, height), Image.Resampling.LANCZOS, box=(*start, *end)))


def warped_reference(scene: Scene, keypoints: Keypoints, at_a_time: int = 16) -> Iterator[np.ndarray]:
    """The speaker's picture warped to poses in its own units: uint8 [m, H, W, 3] at a time, for Animate's face video."""
    import torch

    from iasa.warp.reference_warp import ReferenceWarp

    image = torch.from_numpy(scene.speaker.image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    rest = scene.speaker.keypoints
    warp = ReferenceWarp(image, torch.from_numpy(rest.xy), torch.from_numpy(rest.confidence))
    for start in range(0, len(keypoints), at_a_time):
        part = keypoints[start : start + at_a_time]
        warped = warp(torch.from_numpy(part.xy)[None], torch.from_numpy(part.confidence)[None])[0]
        yield (warped.clamp(-1, 1) * 127.5 + 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def _placed(middle: float, length: float, available: float) -> float:
    """Start of a stretch about `middle`, inside 0..available where it fits, else centred."""
    if length >= available:
        return (available - length) / 2
    return float(np.clip(middle - length / 2, 0, available - length))


def _in_box(poses: Keypoints, box: Box) -> Keypoints:
    left, top, wide, high = box
    return replace(poses, xy=(poses.xy - np.array([left, top], np.float32)) / np.array([wide, high], np.float32))
