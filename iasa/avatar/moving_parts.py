"""Which parts of a photograph's speaker can move without being torn, and why others keep still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from iasa import keypoints as kp
from iasa.avatar.photograph import ELBOWS, HANDS, SHOULDERS, SHUT, SIDES, WRISTS, Photograph
from iasa.config import Sentence

MOVES, TOGETHER, HOLDS, HIDDEN, AT_FACE, CUT_OFF = (
    "moves",
    "together",
    "closed, as around a thing",
    "hidden",
    "before the face",
    "cut off",
)
OPEN, NARROW, DRAWN = "open", "nearly closed", "drawn"  # states of the eyes
CLOSE = 0.30  # distances between the shoulders: hands that are nearer touch
GRIP = 0.93  # mean of the fingers' ends' distance over their length, below which a hand is closed around something
LIDS_APART = 0.13  # of an eye's width: more than a line of lashes


@dataclass(frozen=True)
class Parts:
    """What each forearm with its hand does, (left, right) of the person, and the eyes; head, face and shoulders always move."""

    hands: tuple[str, str]
    eyes: str = OPEN

    @property
    def moving(self) -> tuple[bool, bool]:
        left, right = (state in (MOVES, TOGETHER) for state in self.hands)
        return left, right

    @property
    def still(self) -> list[Sentence]:
        """One sentence for each part that does not move."""
        out = [
            Sentence("the {side} hand keeps still ({why})", side=Sentence(side), why=Sentence(state))
            for side, state in zip(SIDES, self.hands, strict=True)
            if state not in (MOVES, TOGETHER, HIDDEN)
        ]
        hidden = [side for side, state in zip(SIDES, self.hands, strict=True) if state == HIDDEN]
        if len(hidden) == 2:
            out.append(Sentence("no hands were found, so the arms keep to the trunk"))
        elif hidden:
            side = Sentence(hidden[0])
            out.append(Sentence("no {side} hand was found, so that arm keeps to the trunk", side=side))
        if self.eyes == NARROW:
            out.append(Sentence("the eyes stay nearly closed, as they are in the picture"))
        elif self.eyes == DRAWN:
            out.append(Sentence("the eyes are closed in the picture, so open ones are drawn, with dark irises"))
        return out

    @property
    def sentences(self) -> list[Sentence]:
        """What moves, and what does not."""
        hands = [Sentence(side) for side, moves in zip(SIDES, self.moving, strict=True) if moves]
        if len(hands) == 2:
            moves = Sentence("head, face, shoulders, left hand and right hand move")
        elif hands:
            moves = Sentence("head, face, shoulders and {side} hand move", side=hands[0])
        else:
            moves = Sentence("head, face and shoulders move")
        return [moves, *self.still]

    def describe(self) -> Sentence:
        """All of it in one sentence."""
        said = {f"part{number}": sentence for number, sentence in enumerate(self.sentences)}
        return Sentence("; ".join(f"{{{name}}}" for name in said), **said)


def find_parts(photo: Photograph) -> Parts:
    """What can move in a photograph."""
    left, right = (_hand_state(photo, side) for side in range(2))
    if left == right == MOVES and _touch(photo):
        left = right = TOGETHER
    elif _touch(photo) and HOLDS in (left, right):  # both hands at one thing
        left, right = (HOLDS if state == MOVES else state for state in (left, right))
    return Parts((left, right), _eye_state(photo))


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


def _eye_state(photo: Photograph) -> str:
    if photo.lids_apart < SHUT:
        return DRAWN
    return OPEN if photo.lids_apart > LIDS_APART else NARROW


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
