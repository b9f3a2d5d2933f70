"""The rule-based performance while the speech is still coming.

`generate_gestures` draws the same path for what it has heard however much follows, so it is called anew for each block of frames
with all speech since an anchor; what a new accent changes in the past (a hand that should have been on its way) is not
taken back: the difference is carried over and dies away within a few frames. The anchor moves on every few seconds.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from iasa.avatar.rig import RigMotion, concat_motions, gaze_of, rest_motion
from iasa.motion.rules import GestureStyle, generate_gestures, make_style
from iasa.speech import SpeechFeatures
from iasa.speech.features import CONTOURS
from iasa.speech.streaming import BLOCK, join_features

LOOK_AHEAD = BLOCK  # frames of speech after a block that are heard before it is made
WINDOW, KEPT = 250, 50  # frames since the anchor at most, and when it has moved
SILENCE = 25  # frames appended, so that filters meet no edge
FADE = 8.0  # frames in which a difference falls to 1 / e


def _silence() -> SpeechFeatures:
    none = join_features([])
    contours = {name: np.zeros((SILENCE, *getattr(none, name).shape[1:]), np.float32) for name in CONTOURS}
    return replace(none, **contours)


class GestureStream:
    """Push features as they come, get the motion of the frames that they make certain.

    In blocks of a set size, how the features are cut changes nothing; without one (None) each push makes what is certain
    at a time, which costs less. `window` bounds what is kept: the draws are those of `generate_gestures` until the anchor moves.
    """

    def __init__(
        self,
        seed: int = 0,
        style: GestureStyle | None = None,
        block: int | None = BLOCK,  # frames
        look_ahead: int = LOOK_AHEAD,
        window: int = WINDOW,
    ) -> None:
        self.seed, self.style = seed, style or make_style(seed)
        self.block, self.look_ahead, self.window = block, look_ahead, window
        self._heard = join_features([])  # since the anchor
        self._made = 0  # frames since the anchor that are made
        self._anchors = 0
        self._last: RigMotion | None = None  # the last frame made

    def push(self, features: SpeechFeatures) -> RigMotion:
        """The next piece of speech -> the motion of all frames that it makes certain."""
        self._heard = join_features([self._heard, features])
        parts = [rest_motion(0)]
        while 0 < (block := self.block or self._certain) <= self._certain:
            parts.append(self._make(self._made + block, self._made + block + self.look_ahead))
        return concat_motions(*parts)

    def finish(self) -> RigMotion:
        """The remaining frames: as many come out as went in."""
        parts = [rest_motion(0)]
        while (left := self._heard.frames - self._made) > 0:
            parts.append(self._make(self._made + min(self.block or left, left), self._heard.frames))
        return concat_motions(*parts)

    @property
    def _certain(self) -> int:
        """Frames that may be made now."""
        return self._heard.frames - self.look_ahead - self._made

    def _make(self, end: int, heard: int) -> RigMotion:
        """Frames `_made`..`end` since the anchor, from the speech up to `heard`."""
        seed = self.seed + self._anchors * 1_000_003
        new = generate_gestures(join_features([self._heard[:heard], _silence()]), seed, self.style)
        here = new[self._made : end]
        if self._last is not None:
            before = new[max(self._made - 1, 0) : max(self._made, 1)]
            fade = np.exp(-(np.arange(len(here)) + 1) / FADE)
            moved = {}
            for field in fields(RigMotion):
                a, b, c = (getattr(motion, field.name) for motion in (here, self._last, before))
                moved[field.name] = a + (b - c) * fade.reshape(-1, *[1] * (a.ndim - 1))
            moved["gaze"] = gaze_of(moved["head"])
            here = RigMotion(**moved)
        self._last, self._made = here[-1:], end
        if self._made > self.window:
            drop = self._made - KEPT
            self._heard, self._made, self._anchors = self._heard[drop:], KEPT, self._anchors + 1
        return here
