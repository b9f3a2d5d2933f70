"""Stage 1: speech features to the motion of a speaker, learned (region codebooks) or by rules."""

from __future__ import annotations

from iasa.avatar.gestures import GestureStyle, perform
from iasa.avatar.identity import Identity
from iasa.avatar.rig import RigMotion, make_keypoints
from iasa.config import DEFAULT_MOTION, MOTION_MODELS, InputError
from iasa.keypoints import Keypoints
from iasa.speech import SpeechFeatures

__all__ = ["speech_to_keypoints", "speech_to_motion"]


def speech_to_motion(
    features: SpeechFeatures, seed: int = 0, style: GestureStyle | None = None, model: str = DEFAULT_MOTION
) -> RigMotion:
    """Rig motion, a frame for each frame of the features; the same seed and style give the same motion.

    `model` is "learned" (iasa.motion.stream, which also streams) or "rules" (iasa.avatar.gestures).
    """
    if model not in MOTION_MODELS:
        raise InputError(f"the motion model is {model!r}; accepted: {' or '.join(MOTION_MODELS)}")
    if model == "rules":
        return perform(features, seed, style)
    from iasa.motion.stream import perform_learned  # torch, which the rules do without

    return perform_learned(features, seed, style)


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
