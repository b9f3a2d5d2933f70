"""Which parts of a photograph's speaker can move without being torn, and why others keep still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iasa import keypoints as kp
from iasa.avatar.photograph import ELBOWS, HANDS, SHOULDERS, SIDES, WRISTS, Photograph

MOVES, TOGETHER, HOLDS, HIDDEN, AT_FACE, CUT_OFF = (
    "moves",
    "together",
    "closed, as around a thing",
    "hidden",
    "before the face",
    "cut off",
)
CLOSE = 0.30  # distances between the shoulders: hands that are nearer touch
GRIP = 0.93  # mean of the fingers' ends' distance over their length, below which a hand is closed around something
LIDS_APART = 0.13  # of an eye's width


@dataclass(frozen=True)
class Parts:
    """What each forearm with its hand does, (left, right) of the person; head, face and shoulders always move."""

    hands: tuple[str, str]
    eyes_open: bool = True

    @property
    def moving(self) -> tuple[bool, bool]:
        left, right = (state in (MOVES, TOGETHER) for state in self.hands)
        return left, right

    @property
    def still(self) -> list[str]:
        """One sentence for each part that does not move."""
        out = [f"the {side} hand keeps still ({state})" for side, state in zip(SIDES, self.hands, strict=True)
               if state not in (MOVES, TOGETHER, HIDDEN)]  # fmt: skip
        hidden = [side for side, state in zip(SIDES, self.hands, strict=True) if state == HIDDEN]
        if len(hidden) == 2:
            out.append("no hands were found, so the arms keep to the trunk")
        elif hidden:
            out.append(f"no {hidden[0]} hand was found, so that arm keeps to the trunk")
        if not self.eyes_open:
            out.append("the eyes stay closed, as they are in the picture")
        return out

    @property
    def sentences(self) -> list[str]:
        """What moves, and what does not."""
        moves = ["head", "face", "shoulders"]
        moves += [f"{side} hand" for side, m in zip(SIDES, self.moving, strict=True) if m]
        return [f"{', '.join(moves[:-1])} and {moves[-1]} move", *self.still]

    def describe(self) -> str:
        """All of it in one sentence."""
        return "; ".join(self.sentences)


def find_parts(photo: Photograph) -> Parts:
    """What can move in a photograph."""
    left, right = (_hand_state(photo, side) for side in range(2))
    if left == right == MOVES and _touch(photo):
        left = right = TOGETHER
    elif _touch(photo) and HOLDS in (left, right):  # both hands at one thing
        left, right = (HOLDS if state == MOVES else state for state in (left, right))
    return Parts((left, right), _eyes_open(photo))


def _hand_state(photo: Photograph, side: int) -> str:
    seen = photo.seen
    if not seen[HANDS[side]].any():
        return HIDDEN
    if holds_something(photo, side):
        return HOLDS
    if not seen[[SHOULDERS[side], ELBOWS[side], WRISTS[side]]].all() or not seen[HANDS[side]].all():
        return CUT_OFF
    hand = photo.xy[HANDS[side]]
    face = photo.face[:468, :2]
    if ((hand > face.min(0)) & (hand < face.max(0))).all(-1).any():
        return AT_FACE
    return MOVES


def _touch(photo: Photograph) -> bool:
    if not (photo.seen[kp.LEFT_HAND].any() and photo.seen[kp.RIGHT_HAND].any()):
        return False
    left, right = photo.xy[kp.LEFT_HAND], photo.xy[kp.RIGHT_HAND]
    unit = np.linalg.norm(photo.xy[SHOULDERS[0]] - photo.xy[SHOULDERS[1]])
    return bool(np.linalg.norm(left[:, None] - right[None], axis=-1).min() < CLOSE * unit * 0.5)


def _eyes_open(photo: Photograph) -> bool:
    """Whether lids are apart by more than a line of lashes."""
    xy = photo.xy[kp.FACE]
    gaps = [np.linalg.norm(xy[list(up)].mean(0) - xy[list(low)].mean(0)) / np.linalg.norm(xy[a] - xy[b])
            for up, low, a, b in (((37, 38), (40, 41), 36, 39), ((43, 44), (46, 47), 42, 45))]  # fmt: skip
    return float(np.mean(gaps)) > LIDS_APART


def holds_something(photo: Photograph, side: int) -> bool:
    """Whether a hand's fingers are bent as around a thing. A fist counts: nothing tells it from a grip."""
    hand = photo.hands[side]
    if hand is None:
        return False
    chains = [hand[[first, first + 1, first + 2, first + 3]] for first in (5, 9, 13, 17)]
    straight = [
        np.linalg.norm(c[3] - c[0]) / max(1e-9, np.linalg.norm(np.diff(c, axis=0), axis=-1).sum()) for c in chains
    ]
    return float(np.mean(straight)) < GRIP
