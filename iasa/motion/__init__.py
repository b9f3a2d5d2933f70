"""Stage 1: speech features to the motion of a speaker, learned (region codebooks) or by rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from iasa.avatar.identity import Identity
from iasa.avatar.rig import RigMotion, make_keypoints
from iasa.config import DEFAULT_MOTION, check_motion
from iasa.keypoints import Keypoints
from iasa.motion.rules import GestureStyle, generate_gestures
from iasa.motion.rules_streaming import GestureStream
from iasa.speech import SpeechFeatures

if TYPE_CHECKING:
    from iasa.motion.generator import MotionGenerator
    from iasa.motion.generator_streaming import MotionStream

__all__ = ["live_motion_model", "generate_clip_motion", "speech_to_keypoints", "speech_to_motion"]

CLIP_AHEAD = 12  # frames of speech that are heard before one is made, in a clip that is all there
CLIP_WINDOW = 1500  # frames that are performed as one; in a longer clip the hands join two such stretches


def speech_to_motion(
    features: SpeechFeatures, seed: int = 0, style: GestureStyle | None = None, model: str = DEFAULT_MOTION
) -> RigMotion:
    """Rig motion, a frame for each frame of the features; the same seed and style give the same motion.

    `model` is "learned" (iasa.motion.generator_streaming, which also streams) or "rules" (iasa.motion.rules).
    """
    check_motion(model)
    if model == "rules":
        return generate_gestures(features, seed, style)
    from iasa.motion.generator_streaming import generate_learned_gestures  # torch, which the rules do without

    return generate_learned_gestures(features, seed, style)


def speech_to_keypoints(
    features: SpeechFeatures,
    identity: Identity,
    seed: int = 0,
    style: GestureStyle | None = None,
    model: str = DEFAULT_MOTION,
) -> tuple[RigMotion, Keypoints]:
    """The performance and its exact keypoints [f, 133, 2] on the body of `identity`."""
    motion = speech_to_motion(features, seed, style, model)
    return motion, make_keypoints(identity, motion)


def generate_clip_motion(
    pieces: Iterable[SpeechFeatures],
    seed: int = 0,
    style: GestureStyle | None = None,
    model: str = DEFAULT_MOTION,
    network: MotionGenerator | None = None,
) -> Iterator[RigMotion]:
    """`speech_to_motion` of features that come piece by piece, in as many frames: the motion that each makes certain.

    The first pieces wait for what follows, so motion comes a little later than its speech. `network` is who performs with
    "learned", by default the shipped one.
    """
    blocks = {"block": None, "look_ahead": CLIP_AHEAD, "window": CLIP_WINDOW}
    stream = _motion_model(seed, style, model, network, **blocks)
    for features in pieces:
        motion = stream.push(features)
        if len(motion):
            yield motion
    yield stream.finish()


def live_motion_model(
    seed: int,
    style: GestureStyle | None,
    model: str = DEFAULT_MOTION,
    network: MotionGenerator | None = None,
) -> GestureStream | MotionStream:
    """`push` features as they come and get the motion that is certain, `finish` for the rest; the cut changes nothing."""
    return _motion_model(seed, style, model, network)


def _motion_model(
    seed: int, style: GestureStyle | None, model: str, network: MotionGenerator | None, **blocks: Any
) -> GestureStream | MotionStream:
    """`blocks` are the rules' own."""
    check_motion(model)
    if model == "rules":
        return GestureStream(seed, style, **blocks)
    from iasa.motion.generator_streaming import MotionStream  # torch, which the rules do without

    return MotionStream(seed, style, model=network)
