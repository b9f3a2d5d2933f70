"""Stage 1 without learning: the rule-based performance as rig motion and as keypoints (the baseline)."""

from __future__ import annotations

from iasa.avatar.gestures import GestureStyle, perform
from iasa.avatar.identity import Identity
from iasa.avatar.rig import RigMotion, make_keypoints
from iasa.keypoints import Keypoints
from iasa.speech import SpeechFeatures


def speech_to_motion(features: SpeechFeatures, seed: int = 0, style: GestureStyle | None = None) -> RigMotion:
    """Rig motion, a frame for each frame of the features; see `iasa.avatar.gestures.perform`."""
    return perform(features, seed, style)


def speech_to_keypoints(
    features: SpeechFeatures,
    identity: Identity,
    seed: int = 0,
    style: GestureStyle | None = None,
) -> tuple[RigMotion, Keypoints]:
    """The performance and its exact keypoints [f, 133, 2] on the body of `identity`."""
    motion = speech_to_motion(features, seed, style)
    return motion, make_keypoints(identity, motion)
