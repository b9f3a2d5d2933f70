"""Hand gestures: where the strokes fall, and the smooth paths of the hands from one to the next.

A gesture goes through the phases described by Kendon and McNeill: preparation, stroke (which ends on the
accent), rebound, hold, retraction. Every move is a minimum-jerk path between resting points, so the whole is
smooth however moves follow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from iasa.avatar.hands import hand_shape
from iasa.speech import SpeechFeatures

if TYPE_CHECKING:
    from iasa.motion.rules import GestureStyle

RIGHT, LEFT = 0, 1
LOW, HIGH = np.array([5.0, -36.0, 14.0]), np.array([20.0, -14.0, 26.0])  # of a wrist, cm, x outwards
APART = 8.0  # cm from the middle for each wrist when both hands act, so that fingers do not cross
PAUSE = 0.35  # seconds of silence that end a phrase
FIRST_STROKE = 0.45  # seconds needed to raise a hand


@dataclass(frozen=True)
class Gesture:
    """One kind of hand gesture, written for the left hand (x outwards); the right hand mirrors it."""

    both: float  # chance that both hands make it
    normal: tuple[float, float, float]  # where the palm looks
    direction: tuple[float, float, float]  # where the fingers point
    shape: str
    prepare: tuple[float, float, float]  # cm from the centre to where the stroke starts
    stroke: tuple[float, float, float]  # cm from the centre to where it ends
    lower: float = 0.0  # cm by which its centre lies lower than usual (upright fingers stay below the chin)


GESTURES: dict[str, Gesture] = {
    "chop": Gesture(0.4, (-0.9, 0.05, -0.35), (-0.15, 0.7, 0.65), "flat", (0, 4, -0.5), (0, -4, 2), 1.5),
    "offer": Gesture(0.6, (-0.2, 0.95, -0.3), (0.35, 0.3, 0.8), "cup", (-2, 1.0, -3.0), (4, 0.5, 3.0)),
    "pinch": Gesture(0.1, (-0.75, -0.35, 0.2), (-0.1, 0.8, 0.55), "pinch", (0, 4.0, 0), (0, -3.5, 2.0), 1.5),
    "point": Gesture(0.0, (-0.6, -0.35, 0.6), (-0.05, 0.9, 0.5), "point", (0, 3.5, 0), (1, -3.5, 2.5), 4.0),
    "frame": Gesture(1.0, (-0.97, 0.05, -0.05), (-0.05, 0.5, 0.8), "flat", (1.5, 2.5, 0), (2, -3.0, 2.0)),
    "open": Gesture(0.6, (-0.35, 0.7, -0.4), (0.5, 0.45, 0.65), "open", (-3.5, 1.0, -2.0), (4.5, -0.5, 2.5)),
    "sweep": Gesture(0.2, (0.0, -0.9, 0.35), (0.2, 0.35, 0.85), "spread", (-5.0, 1.5, 0), (4.5, -1.0, 2.0)),
    "calm": Gesture(0.7, (0.0, -0.95, 0.25), (0.0, 0.3, 0.9), "flat", (0, 3.0, 0), (0, -3.5, 1.0)),
    "self": Gesture(0.1, (-0.3, 0.0, -0.95), (-0.85, 0.35, 0.1), "relax", (2, 0.5, 2), (-1.5, 0, -2), 2.0),
}


@dataclass(frozen=True)
class Stroke:
    """One planned stroke: it ends at `time`, on an accent."""

    time: float
    size: float
    gesture: Gesture
    hands: tuple[int, ...]
    centre: np.ndarray  # [3] cm, x outwards


@dataclass(frozen=True)
class Key:
    """A hand at rest at one moment; between keys it moves along a minimum-jerk path."""

    time: float
    wrist: np.ndarray  # [3]
    normal: np.ndarray  # [3]
    direction: np.ndarray  # [3]
    shape: np.ndarray  # [11]

    @cached_property
    def frame(self) -> np.ndarray:  # [3, 3], columns
        """x beside the hand, y to the fingers, z out of the palm."""
        y = self.direction / np.linalg.norm(self.direction)
        z = self.normal - (self.normal @ y) * y
        z = z / np.linalg.norm(z)
        return np.stack([np.cross(y, z), y, z], 1)


def phrases(speech: SpeechFeatures, pause: float = PAUSE) -> list[tuple[float, float]]:
    """Stretches of speech between pauses of at least `pause` seconds, as (start, end) in seconds."""
    edges = np.flatnonzero(np.diff(np.r_[0, speech.speaking > 0.5, 0].astype(int)))
    spans: list[tuple[float, float]] = []
    for start, end in zip(edges[::2] / speech.fps, edges[1::2] / speech.fps, strict=True):
        if spans and start - spans[-1][1] < pause:
            spans[-1] = (spans[-1][0], float(end))
        else:
            spans.append((float(start), float(end)))
    return spans


def plan_strokes(speech: SpeechFeatures, style: GestureStyle, rng: np.random.Generator) -> list[Stroke]:
    """Strokes on the stronger accents: within a phrase a gesture is repeated as smaller beats, or changes."""
    if style.amount <= 0:
        return []
    strokes: list[Stroke] = []
    threshold = 1.6 - 0.7 * style.amount
    for start, end in phrases(speech):
        inside = [a for a in speech.accents if start - 0.05 <= a[0] <= end + 0.05 and a[1] > threshold]
        if strokes and end - start < 4.0 and rng.random() > 0.9 * min(style.amount, 1.0):
            continue
        gesture, hands, centre, beat = None, (RIGHT,), np.zeros(3), 0
        for when, strength in inside:
            previous = strokes[-1].time if strokes else 0.0
            if when - previous < FIRST_STROKE:
                continue
            if gesture is None or (when - previous > 0.9 and rng.random() < 0.45) or beat >= 3:
                gesture, hands = _choose(style, rng)
                centre = rng.uniform((8.5, -25, 18.5), (14, -18.5, 23)) - (0, gesture.lower, 0)
                beat = 0
            size = style.amount * (0.65 + 0.22 * min(strength, 3)) * 0.8 ** min(beat, 2)
            strokes.append(Stroke(when, size, gesture, hands, centre + rng.normal(size=3) * 0.5))
            centre = centre + rng.normal(size=3) * (0.9, 0.7, 0.5)
            beat += 1
    return strokes


def _choose(style: GestureStyle, rng: np.random.Generator) -> tuple[Gesture, tuple[int, ...]]:
    names = style.habits if style.habits and rng.random() < 0.75 else tuple(GESTURES)
    gesture = GESTURES[names[int(rng.integers(len(names)))]]
    if rng.random() < gesture.both:
        return gesture, (RIGHT, LEFT)
    return gesture, (RIGHT,) if rng.random() < style.handedness else (LEFT,)


def make_keys(
    strokes: list[Stroke], side: int, rest: np.ndarray, ends: list[float], rng: np.random.Generator
) -> list[Key]:
    """Keys of one hand: preparation, stroke, rebound, hold, and retraction when no stroke follows soon."""
    mirror = np.array([-1.0 if side == RIGHT else 1.0, 1, 1])
    home = Key(0.0, rest[:3], rest[3:6], rest[6:9], rest[9:])
    keys = [home]
    mine = [s for s in strokes if side in s.hands]
    for i, stroke in enumerate(mine):
        lag = 0.0 if len(stroke.hands) == 1 or side == RIGHT else rng.uniform(0.0, 0.05)
        ready, apex = _stroke_keys(stroke, stroke.time + 0.02 + lag, mirror, rng)
        ready = _reach(keys[-1], ready)
        if ready is None:
            continue
        leave = ready.time - _move_seconds(keys[-1], ready)
        if leave > keys[-1].time + 0.02:
            keys.append(_at(keys[-1], leave))
        back = replace(apex, time=apex.time + 0.16, wrist=apex.wrist + 0.18 * (ready.wrist - apex.wrist))
        keys += [ready, apex, back]
        following = mine[i + 1].time if i + 1 < len(mine) else np.inf
        hold = rng.uniform(0.25, 0.6)
        silence = min((e for e in ends if e > apex.time), default=apex.time)
        if following - apex.time > 1.7 or (following - silence > 1.2 and silence < following):
            drop = replace(back, time=back.time + hold, wrist=back.wrist - (0, 0.5, 0))
            keys += [drop, _at(home, drop.time + 1.25 * _move_seconds(drop, home) + rng.uniform(0.1, 0.3))]
    return keys


def _stroke_keys(stroke: Stroke, time: float, mirror: np.ndarray, rng: np.random.Generator) -> tuple[Key, Key]:
    """Where a stroke starts and where it ends."""
    gesture = stroke.gesture
    normal = np.array(gesture.normal) + 0.06 * rng.normal(size=3)
    direction = np.array(gesture.direction) + 0.06 * rng.normal(size=3)
    shape = hand_shape(gesture.shape) * rng.uniform(0.85, 1.15)
    low = np.maximum(LOW, (APART, -np.inf, -np.inf)) if len(stroke.hands) == 2 else LOW
    start = np.clip(stroke.centre + stroke.size * np.array(gesture.prepare), low, HIGH)
    end = np.clip(stroke.centre + stroke.size * np.array(gesture.stroke), low, HIGH)
    seconds = float(np.clip(0.13 + 0.014 * np.linalg.norm(end - start), 0.18, 0.34))
    flick = direction * (1, 0.8, 1.1)
    ready = Key(time - seconds, start * mirror, normal * mirror, direction * mirror, shape)
    return ready, Key(time, end * mirror, normal * mirror, flick * mirror, shape)


def _move_seconds(a: Key, b: Key) -> float:
    """A comfortable duration for a move: longer for a longer way or a larger turn of the palm."""
    turn = 2 * np.arcsin(min(1.0, np.linalg.norm(b.frame - a.frame) / 8**0.5))
    return float(max(0.26 + 0.019 * np.linalg.norm(b.wrist - a.wrist), 0.22 + 0.22 * turn))


def _reach(last: Key, ready: Key) -> Key | None:
    """`ready`, or as much of the way to it as there is time for; None when there is no time at all."""
    available, needed = ready.time - last.time, _move_seconds(last, ready)
    if available < 0.2:
        return None
    if available >= 0.8 * needed:
        return ready
    share = available / (0.8 * needed)
    before, after = Rotation.from_matrix(np.stack([last.frame, ready.frame]))
    axes = (Rotation.from_rotvec(share * (after * before.inv()).as_rotvec()) * before).as_matrix()
    return Key(
        ready.time,
        last.wrist + share * (ready.wrist - last.wrist),
        axes[:, 2],
        axes[:, 1],
        last.shape + share * (ready.shape - last.shape),
    )


def _at(key: Key, time: float) -> Key:
    return replace(key, time=time)


def _minimum_jerk(t: np.ndarray) -> np.ndarray:
    return t**3 * (10 - 15 * t + 6 * t * t)


def follow(keys: list[Key], times: np.ndarray) -> np.ndarray:
    """Hand parameters [f, 20] along the keys: arcs that bulge to the camera, turns along the shortest way."""
    when = np.array([k.time for k in keys])
    index = np.clip(np.searchsorted(when, times, side="right") - 1, 0, max(len(keys) - 2, 0))
    after = np.minimum(index + 1, len(keys) - 1)
    span = np.maximum(when[after] - when[index], 1e-6)
    u = _minimum_jerk(np.clip((times - when[index]) / span, 0, 1))[:, None]
    wrist, shape = np.stack([k.wrist for k in keys]), np.stack([k.shape for k in keys])
    step = wrist[after] - wrist[index]  # [f, 3]
    position = wrist[index] + u * step
    position[:, 2] += np.sin(np.pi * u[:, 0]) * np.minimum(0.10 * np.linalg.norm(step, axis=1), 2.0)
    frames = Rotation.from_matrix(np.stack([k.frame for k in keys]))
    at: Any = index  # scipy declares one number or a slice, and takes arrays
    following: Any = np.minimum(np.arange(len(keys)) + 1, len(keys) - 1)
    turns = (frames[following] * frames.inv()).as_rotvec()  # of each key to the next, the shortest way
    axes = (Rotation.from_rotvec(u * turns[index]) * frames[at]).as_matrix()
    fingers = shape[index] + u * (shape[after] - shape[index])
    out = np.concatenate([position, axes[:, :, 2], axes[:, :, 1], fingers], 1)
    return gaussian_filter1d(out, 0.7, axis=0, mode="nearest")
