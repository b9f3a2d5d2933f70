"""Poses of a speaker and seeded gestures between them: arms, head, trunk and face as smooth functions of time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SHOULDER, UPPER, LOWER, HAND = 0.17, 0.28, 0.25, 0.18  # metres: of a shoulder from the middle, and an arm's lengths
MOVED = (0.03, 0.15)  # metres by which a wrist moves from one key pose to the next, the most also from the first
PAUSE = (0.4, 0.85)  # seconds between key poses
BLINK = 0.11  # seconds that lids take to close
STILL = 0.2  # share of an arm's key poses in which it stays


@dataclass(frozen=True)
class Manner:
    """How far a speaker goes, at most."""

    head: tuple[float, float, float]  # degrees of nods, turns and tilts
    trunk: tuple[float, float, float]
    shrug: float  # degrees
    gaze: tuple[float, float]  # degrees of nods and turns
    opened: float  # jaw, of what anny's can


CALM = Manner((10.0, 20.0, 8.0), (2.0, 4.0, 2.0), 3.0, (5.0, 9.0), 0.6)
LIVELY = Manner((14.0, 28.0, 12.0), (4.0, 6.0, 4.0), 4.0, (8.0, 14.0), 1.0)


@dataclass(frozen=True)
class Arm:
    """Where an arm points, as on the left side: for the right one x is mirrored; y is backwards, z up."""

    upper: tuple[float, float, float]
    lower: tuple[float, float, float]
    hand: tuple[float, float, float]
    palm: tuple[float, float, float]  # what it faces
    curl: float  # degrees


@dataclass(frozen=True)
class Pose:
    left: Arm
    right: Arm
    head: tuple[float, float, float]  # degrees that it nods, turns and tilts
    trunk: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shrug: float = 0.0  # degrees that shoulders rise
    gaze: tuple[float, float] = (0.0, 0.0)  # degrees that the eyes nod and turn
    face: dict[str, float] = field(default_factory=dict)  # anny's actions, the same on the left and the right


OPEN_HANDS = tuple(
    np.array(way, float)
    for way in (
        ((0.44, 0.05, -1), (-0.42, -0.52, 0.05), (-0.4, -0.35, 0.65), (-0.6, 0.6, 0.3)),  # before the belly
        ((0.4, 0.08, -1), (-0.35, -0.55, 0.36), (-0.2, -0.32, 0.85), (-0.75, 0.38, 0.3)),  # before the chest
        ((0.4, -0.1, -1), (0.1, -0.8, 0.15), (0.1, -0.7, 0.35), (-0.55, -0.1, 0.85)),  # offering
        ((0.45, -0.12, -1), (-0.15, -0.8, 0.35), (-0.1, -0.5, 0.8), (-1, 0.0, 0.1)),  # palms to each other
        ((0.75, 0.0, -1), (0.2, -0.6, 0.35), (0.25, -0.45, 0.75), (-0.8, -0.3, 0.3)),  # spread
        ((0.5, -0.05, -1), (0.05, -0.5, 0.8), (0.0, -0.2, 1), (-0.5, -0.8, 0.05)),  # raised, palms to the front
        ((0.5, 0.1, -1), (-0.2, -0.65, -0.15), (-0.3, -0.6, 0.2), (-0.5, 0.55, -0.5)),  # low
    )
)


def wrist_of(arm: np.ndarray) -> np.ndarray:
    """[3] metres from the middle between the shoulders; an arm's four directions are [4, 3]."""
    return np.array([SHOULDER, 0.0, 0.0]) + UPPER * unit(arm[0]) + LOWER * unit(arm[1])


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def is_free(arm: np.ndarray) -> bool:
    """Whether it stays out of the trunk, on its own side and below the chin."""
    wrist = wrist_of(arm)
    tip = wrist + HAND * unit(arm[2])
    return (wrist[1] < -0.17 or wrist[0] > 0.36) and tip[0] > 0.04 and -0.36 < wrist[2] < 0.0 and tip[2] < 0.16


def draw_hand(chance: np.random.Generator) -> np.ndarray:
    """Half of them before the trunk."""
    return OPEN_HANDS[chance.integers(2 if chance.random() < 0.4 else len(OPEN_HANDS))]


def draw_arm(chance: np.random.Generator) -> np.ndarray:
    """[4, 3] of two open hands' mix."""
    while True:
        first, second = draw_hand(chance), draw_hand(chance)
        arm = first + chance.uniform(0, 0.5) * (second - first) + chance.normal(0, 0.06, (4, 3))
        if is_free(arm):
            return arm


def move_arm(chance: np.random.Generator, arm: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The next key pose after `arm` in a gesture that began with `first`; stays where none is found."""
    if chance.random() < STILL:
        return arm
    for _ in range(200):
        moved = arm + chance.uniform(0, 0.6) * (draw_hand(chance) - arm) + chance.normal(0, 0.12, (4, 3))
        if MOVED[0] <= distance(moved, arm) <= MOVED[1] and distance(moved, first) <= MOVED[1] and is_free(moved):
            return moved
    return arm


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(wrist_of(a) - wrist_of(b)))


@dataclass(frozen=True)
class Track:
    """Key values [K, D] at times [K]: between two of them as a hand moves, with the least jerk."""

    times: np.ndarray
    values: np.ndarray

    def at(self, time: float) -> np.ndarray:
        after = int(np.clip(np.searchsorted(self.times, time, "right"), 1, len(self.times) - 1))
        start, end = self.times[after - 1 : after + 1]
        share = np.clip((time - start) / (end - start), 0, 1)
        eased = share**3 * (10 - 15 * share + 6 * share**2)
        return self.values[after - 1] + eased * (self.values[after] - self.values[after - 1])


@dataclass(frozen=True)
class Bumps:
    """A sum of smooth rises to `heights` and falls, each `widths` seconds long on either side of its middle."""

    middles: np.ndarray
    widths: np.ndarray
    heights: np.ndarray

    def at(self, time: float) -> float:
        near = np.clip(np.abs(time - self.middles) / self.widths, 0, 1)
        return float((self.heights * np.cos(near * np.pi / 2) ** 2).sum())


def draw_times(chance: np.random.Generator, seconds: float, pause: tuple[float, float]) -> np.ndarray:
    """From 0 to beyond the end."""
    times = [0.0]
    while times[-1] < seconds:
        times.append(times[-1] + chance.uniform(*pause))
    return np.array(times)


def draw_track(chance: np.random.Generator, seconds: float, most, pause: tuple[float, float], calm: float) -> Track:
    """Values up to +-`most` [D]; `calm` is the first one's share of that."""
    times = draw_times(chance, seconds, pause)
    values = np.asarray(most) * chance.uniform(-1, 1, (len(times), len(most)))
    values[0] *= calm
    return Track(times, values)


def draw_arm_track(chance: np.random.Generator, seconds: float) -> Track:
    """Twelve numbers for the arm's directions and the fingers' curl."""
    times = draw_times(chance, seconds, PAUSE)
    arms = [draw_arm(chance)]
    curls = [chance.uniform(4, 14)]
    for _ in times[1:]:
        arms.append(move_arm(chance, arms[-1], arms[0]))
        curls.append(np.clip(curls[-1] + chance.normal(0, 6), 2, 28))
    return Track(times, np.concatenate([np.reshape(arms, (-1, 12)), np.reshape(curls, (-1, 1))], 1))


def draw_speech(chance: np.random.Generator, seconds: float, opened: float) -> Bumps:
    """A syllable is a bump that opens the jaw to `opened` at most; the mouth is closed at 0."""
    syllables, time = [], chance.uniform(0.2, 0.4)
    while time < seconds:
        syllables.append((time, chance.uniform(0.08, 0.16), chance.uniform(0.12, 0.84 * opened)))
        time += chance.uniform(0.15, 0.28) + (chance.uniform(0.2, 0.5) if chance.random() < 0.12 else 0)
    return Bumps(*np.array(syllables).T)


class Gesture:
    """A few seconds of a speaker, who rests at time 0 with the mouth closed: the same seed, the same gesture."""

    def __init__(self, seed: int, seconds: float = 3.0, manner: Manner = CALM):
        chance = np.random.default_rng(seed)
        self.seconds, self.manner = seconds, manner
        self.left, self.right = (draw_arm_track(chance, seconds) for _ in range(2))
        self.head = draw_track(chance, seconds, manner.head, PAUSE, 0.5)
        self.trunk = draw_track(chance, seconds, (*manner.trunk, manner.shrug), (0.6, 1.2), 0.5)
        self.gaze = draw_track(chance, seconds, manner.gaze, (0.15, 0.8), 0.0)
        self.brows = draw_track(chance, seconds, (0.6, 0.5), PAUSE, 0.3)
        self.lips = draw_track(chance, seconds, (0.5, 0.25), (0.15, 0.4), 0.0)  # how round and how wide
        self.smile = chance.uniform(0.1, 0.6)
        self.speech = draw_speech(chance, seconds, manner.opened)
        blinks = chance.uniform(0.3, seconds, 2)
        self.blinks = Bumps(blinks, np.full(2, BLINK), np.ones(2))

    def at(self, time: float) -> Pose:
        *trunk, shrug = self.trunk.at(time)
        return Pose(
            left=as_arm(self.left.at(time)),
            right=as_arm(self.right.at(time)),
            head=tuple(self.head.at(time)),
            trunk=tuple(trunk),
            shrug=float(shrug),
            gaze=tuple(self.gaze.at(time)),
            face=self.face_at(time),
        )

    def face_at(self, time: float) -> dict[str, float]:
        opened = min(self.speech.at(time), self.manner.opened)
        inner, outer = self.brows.at(time)
        rounded, wide = self.lips.at(time).clip(0)
        return {
            "jawOpen": opened,
            "mouthLowerDown": 0.35 * opened,
            "mouthUpperUp": 0.25 * opened,
            "mouthFunnel": rounded * min(1.0, 3 * opened),
            "mouthSmile": self.smile * (1 - 0.4 * opened) + wide * opened,
            "cheekSquint": 0.25 * self.smile,
            "browInnerUp": max(inner, 0.0),
            "browOuterUp": max(outer, 0.0),
            "browDown": max(-outer, 0.0) * 0.5,
            "eyeBlink": min(self.blinks.at(time), 1.0),
        }


def as_arm(numbers: np.ndarray) -> Arm:
    upper, lower, hand, palm = (tuple(way) for way in numbers[:12].reshape(4, 3))
    return Arm(upper, lower, hand, palm, float(numbers[12]))


def draw_moments(seed: int, seconds: float, runs: int, length: int, rate: float, resting: float) -> list[float]:
    """Times of a take's pictures: one photograph, at 0 in a share `resting` of them, then `runs` of `length` frames each in
    its own part of the gesture."""
    chance = np.random.default_rng(seed)
    part, span = seconds / runs, (length - 1) / rate
    starts = [part * run + chance.uniform(0, part - span) for run in range(runs)]
    photograph = 0.0 if chance.random() < resting else chance.uniform(0, seconds)
    return [photograph] + [start + frame / rate for start in starts for frame in range(length)]
