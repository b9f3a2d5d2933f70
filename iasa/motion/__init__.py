"""Stage 1: speech features to the motion of a speaker."""

from iasa.motion.rules import speech_to_keypoints, speech_to_motion

__all__ = ["speech_to_keypoints", "speech_to_motion"]
