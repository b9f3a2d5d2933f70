"""The movement behind a video: from speech with the visitor's wishes, from a pose file, or from a video of a person."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from iasa.avatar.rig import RigMotion
from iasa.avatar.speaker import Reference
from iasa.config import DEFAULT_MOTION, FRAMES_PER_LATENT, VIDEO_FPS, InputError, Sentence, check_motion
from iasa.files import display_name
from iasa.inference.generation import Timing
from iasa.inference.pose_chunks import move
from iasa.keypoints import Keypoints, concat_keypoints, load_keypoints
from iasa.media.container import open_file
from iasa.motion.rules import GestureStyle, make_style
from iasa.pose.gaps import bridge_gaps
from iasa.speech.chunked import ChunkedSpeech

MAX_POSES = 3000  # frames
MAX_DRIVING_SECONDS = 30.0  # of a video that a person is followed in
LONGEST_RAISE = 12.0  # cm


@dataclass(frozen=True)
class MotionEdits:
    """1 is as the speaker would by itself; hand_height in cm up; head_lock keeps head and trunk still.

    `motion` names who performs, one of MOTION_MODELS.
    """

    amount: float = 1.0
    blink: float = 1.0
    hand_height: float = 0.0
    head_lock: bool = False
    motion: str = DEFAULT_MOTION

    def __post_init__(self) -> None:
        check_motion(self.motion)
        for name, low, high in (("amount", 0, 2), ("blink", 0, 2), ("hand_height", -LONGEST_RAISE, LONGEST_RAISE)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not low <= value <= high:
                raise InputError(
                    "{name} is {value}; {low:g} to {high:g} is accepted",
                    name=Sentence(name.replace("_", " ")),
                    value=value,
                    low=low,
                    high=high,
                )


def wish_style(seed: int, wishes: MotionEdits) -> GestureStyle:
    """The motion model's manner for the seed, with the wishes."""
    style = make_style(seed)
    style = replace(style, amount=style.amount * wishes.amount, blink=style.blink * wishes.blink)
    return replace(style, nod=0.0, sway=0.0) if wishes.head_lock else style


def perform_speech(audio: np.ndarray, reference: Reference, seed: int, wishes: MotionEdits) -> Keypoints:
    """Poses of the speaker for the sound, with the wishes, at 25 a second: those of `CoSpeechPipeline.stream`.

    Raises InputError on unusable sound.
    """
    edit = partial(edit_motion, wishes=wishes)
    speech, style = ChunkedSpeech(audio), wish_style(seed, wishes)
    return concat_keypoints(*move(speech, reference, seed, Timing(), style, edit, wishes.motion))


def edit_motion(motion: RigMotion, wishes: MotionEdits) -> RigMotion:
    """The motion with higher hands and a still head, where that is wished."""
    changed = {}
    if wishes.hand_height:
        hands = motion.hands.copy()
        hands[:, :, 1] += wishes.hand_height
        changed["hands"] = hands
    if wishes.head_lock:
        changed |= {name: np.zeros_like(getattr(motion, name)) for name in ("head", "lean", "breath", "twist")}
    return replace(motion, **changed)


def read_poses(path: str | os.PathLike) -> Keypoints:
    """Poses of an uploaded npz, or of the person in an uploaded video (needs mediapipe). Raises InputError."""
    if is_pose_file(path):
        poses = bridge_gaps(load_keypoints(path))
        if abs(poses.fps - VIDEO_FPS) > 0.01:
            raise InputError(
                "{name} holds {fps:g} poses a second; {wanted:g} are needed",
                name=display_name(path),
                fps=poses.fps,
                wanted=VIDEO_FPS,
            )
    else:
        poses, _ = follow_person(path)
    if not 1 <= len(poses) <= MAX_POSES:
        raise InputError("there are {count} poses; 1 to {most} are accepted", count=len(poses), most=MAX_POSES)
    if not (poses.confidence > 0).any():
        raise InputError("all keypoints are missing; a pose file with seen keypoints is needed")
    if np.abs(poses.xy[poses.confidence > 0]).max() > 10:
        raise InputError("some keypoints lie far outside the picture; coordinates of about 0 to 1 are needed")
    return poses


def is_pose_file(path: str | os.PathLike) -> bool:
    """An npz by its first bytes, which no video has, or by its name: what programs send may have lost either."""
    with open_file(path) as file:
        return file.read(4) == b"PK\x03\x04" or Path(path).suffix.lower() == ".npz"


def follow_person(
    path: str | os.PathLike, max_seconds: float = MAX_DRIVING_SECONDS, watch: Callable[[], None] | None = None
) -> tuple[Keypoints, list[np.ndarray]]:
    """Keypoints of the person in a video at 25 a second, and the first picture of each latent frame. `watch` is called before
    each frame; what it raises ends the work.

    Raises InputError where the video cannot be used or shows nobody.
    """
    from iasa.media.reader import open_video
    from iasa.pose import extract_keypoints

    pictures: list[np.ndarray] = []

    def keep(frames):
        for number, frame in enumerate(frames):
            if watch:
                watch()
            frame = shrink(frame)
            if number % FRAMES_PER_LATENT == 0:
                pictures.append(frame)
            yield frame

    with open_video(path, max_seconds, fps=VIDEO_FPS) as (frames, _):
        poses = extract_keypoints(keep(frames), VIDEO_FPS)
    if not (poses.confidence > 0).any():
        raise InputError(
            "no person is found in {name}; one who faces the camera, waist up, is needed", name=display_name(path)
        )
    return bridge_gaps(poses), pictures


def shrink(picture: np.ndarray, longest: int = 640) -> np.ndarray:
    """uint8 [H, W, 3] with no side above `longest`, by leaving out rows and columns."""
    step = -(-max(picture.shape[:2]) // longest)
    return np.ascontiguousarray(picture[::step, ::step])
