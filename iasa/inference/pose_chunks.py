"""The poses of a clip in pieces: made as its speech is heard, and cut as the pipeline takes them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from iasa.avatar.rig import RigMotion
from iasa.avatar.speaker import Reference
from iasa.config import DEFAULT_MOTION, FRAMES_PER_LATENT
from iasa.inference.generation import Timing
from iasa.inference.prefetch import Prefetcher
from iasa.keypoints import Keypoints, concat_keypoints, fill_latent
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
) -> Iterator[Keypoints]:
    """The poses of a clip on the speaker's body, piece by piece as its speech is heard, by one of MOTION_MODELS."""
    motions = generate_clip_motion(speech, seed, style, model, network)
    spent, keypoints = 0.0, None
    while True:
        with timing.stage("motion"):
            motion = next(motions, None)
            if motion is not None:
                keypoints = reference.to_keypoints(edit(motion) if edit else motion)
        timing.processor["motion"] += speech.spent - spent
        spent = speech.spent
        if motion is None:
            return
        yield keypoints


def iterate(poses: Keypoints) -> Iterator[Keypoints]:
    """Poses that are all there, as one piece."""
    yield poses


def cut_poses(
    poses: Generator[Keypoints] | Prefetcher[Keypoints], known: list[Keypoints] | None = None
) -> Iterator[Keypoints]:
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
