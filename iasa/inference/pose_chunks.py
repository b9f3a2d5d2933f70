"""The poses of a clip in pieces: made as its speech is heard, and cut as the pipeline takes them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing

from iasa.avatar.rig import RigMotion
from iasa.avatar.speaker import Reference
from iasa.config import DEFAULT_MOTION, FRAMES_PER_LATENT, VIDEO_FPS
from iasa.inference.generation import Timing
from iasa.inference.prefetch import Source
from iasa.keypoints import Keypoints, concat_keypoints, fill_latent, hold_last
from iasa.motion import generate_clip_motion
from iasa.motion.generator import MotionGenerator
from iasa.motion.rules import GestureStyle
from iasa.speech.chunked import ChunkedSpeech

LARGEST_PIECE = 8  # latent frames that are warped and embedded at a time


def move(
    speech: ChunkedSpeech,
    reference: Reference,
    seed: int,
    timing: Timing,
    style: GestureStyle | None = None,
    edit: Callable[[RigMotion], RigMotion] | None = None,  # of every piece of the motion
    model: str = DEFAULT_MOTION,
    network: MotionGenerator | None = None,
) -> Generator[Keypoints]:
    """The poses of a clip on the speaker's body, piece by piece as its speech is heard, by one of MOTION_MODELS."""
    motions = generate_clip_motion(speech, seed, style, model, network)
    spent = 0.0
    while True:
        with timing.stage("motion"):
            motion = next(motions, None)
            keypoints = None if motion is None else reference.to_keypoints(edit(motion) if edit else motion)
        timing.processor["motion"] += speech.spent - spent
        spent = speech.spent
        if keypoints is None:
            return
        yield keypoints


def follow(
    poses: Keypoints, reference: Reference, frames: int | None, fit: bool = True
) -> tuple[Keypoints, dict[str, bool | float]]:
    """Given poses as the speaker follows them, `frames` at least, and what the settings say of that: whether they were
    `fitted` to the speaker, and the seconds in which the last pose is held, or in which they go on without sound."""
    if not len(poses):
        return poses, {}
    fitted = reference.carry(poses) if fit else poses
    said: dict[str, bool | float] = {"fitted": fitted is not poses}
    if frames is not None:
        said["lips_from_poses"] = True
        beyond = round((len(poses) - frames) / VIDEO_FPS, 2)
        if beyond:
            said["held_seconds" if beyond < 0 else "silent_seconds"] = abs(beyond)
        fitted = hold_last(fitted, frames)
    return fitted, said


def iterate(pieces: Iterable[Keypoints]) -> Generator[Keypoints]:
    """Poses that are there, or come from outside; closing it closes what they come from, where that can be closed."""
    yield from pieces


def cut_poses(poses: Source[Keypoints], known: list[Keypoints] | None = None) -> Generator[Keypoints]:
    """Poses that come in pieces, in whole latent frames: few at first, so that the first frame comes soon; later ones are
    prepared together. The last pose is repeated to fill a latent frame. `known` takes up what has come."""
    size, left = FRAMES_PER_LATENT, []
    with closing(poses):
        for piece in poses:
            if known is not None:
                known.append(piece)
            piece = concat_keypoints(*left, piece)
            whole, first = len(piece) - len(piece) % FRAMES_PER_LATENT, 0
            while first < whole:
                yield piece[first : min(first + size, whole)]
                first, size = first + size, min(2 * size, LARGEST_PIECE * FRAMES_PER_LATENT)
            left = [piece[whole:]] if whole < len(piece) else []
    if left:
        yield fill_latent(left[0])
