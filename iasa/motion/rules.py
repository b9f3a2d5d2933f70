"""Speech features to a performance: gestures on accents, nods, brows, blinks, sway, breath (by rules)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

from iasa.avatar.mesh import FACE_CHANNELS
from iasa.avatar.rig import RigMotion, gaze_of, rest_hands
from iasa.config import VIDEO_FPS
from iasa.motion.strokes import GESTURES, LEFT, RIGHT, follow, make_keys, phrases, plan_strokes
from iasa.speech import SpeechFeatures

__all__ = ["GESTURES", "GestureStyle", "make_style", "generate_gestures", "phrases", "plan_strokes"]


@dataclass(frozen=True)
class GestureStyle:
    """A speaker's habits; 1 is ordinary for every amount."""

    amount: float = 1.0  # size and number of hand gestures; 0 keeps the hands at rest
    handedness: float = 0.8  # chance that a one-handed gesture is made by the right hand
    rest: int = 0  # iasa.avatar.rig.rest_hands
    nod: float = 1.0
    brow: float = 1.0
    blink: float = 1.0  # rate
    sway: float = 1.0  # slow head and trunk movement
    smile: float = 0.12  # 0..1, kept on the face
    articulation: float = 1.0  # size of the mouth's movement
    habits: tuple[str, ...] = ()  # favourite gestures, names from GESTURES


def make_style(seed: int) -> GestureStyle:
    """The habits of a random speaker."""
    rng = np.random.default_rng([seed, 1])
    names = list(GESTURES)
    return GestureStyle(
        amount=float(rng.uniform(0.75, 1.25)),
        handedness=0.8 if rng.random() < 0.8 else 0.25,
        rest=int(rng.integers(2)),
        nod=float(rng.uniform(0.6, 1.4)),
        brow=float(rng.uniform(0.5, 1.4)),
        blink=float(rng.uniform(0.7, 1.3)),
        sway=float(rng.uniform(0.6, 1.3)),
        smile=float(rng.uniform(0.02, 0.28)),
        articulation=float(rng.uniform(0.9, 1.3)),
        habits=tuple(names[int(i)] for i in rng.choice(len(names), 4, replace=False)),
    )


def generate_gestures(speech: SpeechFeatures, seed: int = 0, style: GestureStyle | None = None) -> RigMotion:
    """A performance of the speech at 25 frames a second; the same seed and style give the same motion.

    Every list of draws has a stream of its own: more speech does not change the draws for what came before it.
    """
    style = make_style(seed) if style is None else style
    unknown = [name for name in style.habits if name not in GESTURES]
    if unknown:
        raise ValueError(f"no gesture named {unknown[0]!r}; there are {', '.join(GESTURES)}")
    rng = np.random.default_rng([seed, 2])
    frames = speech.frames
    times = (np.arange(frames) + 0.5) / VIDEO_FPS
    breath = _breath(times, rng)
    head = _head(speech, times, style, rng)
    hands = _hands(speech, times, style, rng)
    hands[..., 1] += 0.5 * breath[:, None]
    beats = _pulses(times, speech.accents, 0.02, 0.2) * min(style.amount, 1.2)
    return RigMotion(
        head=head,
        lean=0.9 * style.sway * _wander(rng, frames, 1.6) + 6.0 * (head[:, 2] - head[:, 2].mean()),
        breath=breath,
        twist=0.35 * style.sway * _wander(rng, frames, 1.5),
        shrug=np.stack([0.2 * beats, 0.2 * beats], 1),
        gaze=gaze_of(head),
        face=_face(speech, times, style, rng),
        hands=hands,
    )


def _wander(rng: np.random.Generator, frames: int, seconds: float) -> np.ndarray:
    """Smooth noise [f] of unit spread that forgets itself after `seconds` (an Ornstein-Uhlenbeck path)."""
    warm = int(8 * seconds * VIDEO_FPS)
    keep = np.exp(-1 / (seconds * VIDEO_FPS))
    path = lfilter([np.sqrt(1 - keep * keep)], [1, -keep], rng.spawn(1)[0].normal(size=frames + warm))
    return gaussian_filter1d(path, 5)[warm:]


def _pulses(times: np.ndarray, accents: Sequence[tuple[float, float]], delay: float, width: float) -> np.ndarray:
    """A smooth bump [f] for each accent, as high as its strength."""
    out = np.zeros(len(times))
    for when, strength in accents:
        first, last = np.searchsorted(times, (when + delay - 4 * width, when + delay + 4 * width))
        out[first:last] += strength * np.exp(-(((times[first:last] - when - delay) / width) ** 2))
    return out


def _breath(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    period = rng.uniform(3.2, 4.2)
    phase = 2 * np.pi * (times / period + rng.random()) + 0.6 * _wander(rng, len(times), 4.0)
    return 0.25 * np.sin(phase)


def _head(speech: SpeechFeatures, times: np.ndarray, style: GestureStyle, rng: np.random.Generator) -> np.ndarray:
    """Yaw, pitch (down) and roll [f, 3]: nods on accents, a pitch that follows the voice, slow wandering."""
    frames = len(times)
    alive = 0.45 + 0.55 * gaussian_filter1d(speech.speaking.astype(float), 10, mode="nearest")
    sizes, sides = rng.spawn(2)
    chosen = [(t, min(s, 2.5) * sizes.uniform(0.4, 1.2)) for t, s in speech.accents]
    nods = _pulses(times, chosen, 0.04, 0.14) - 0.35 * _pulses(times, chosen, -0.26, 0.16)  # up, then down
    voice = np.clip(gaussian_filter1d(speech.pitch.astype(float), 5), -0.4, 0.4)
    yaw = 0.10 * style.sway * _wander(rng, frames, 1.3) * alive + rng.uniform(-0.08, 0.08)
    pitch = 0.03 * style.sway * _wander(rng, frames, 1.1) * alive + 0.045 * style.nod * nods - 0.10 * voice
    tilts = [(t, s * sides.choice([-1, 1])) for t, s in chosen]
    roll = 0.035 * style.sway * _wander(rng, frames, 1.6) * alive
    roll = roll + 0.012 * style.nod * _pulses(times, tilts, 0.1, 0.3)
    limit = np.array([0.32, 0.25, 0.16])
    return limit * np.tanh(np.stack([yaw, pitch, roll], 1) / limit)


def _face(speech: SpeechFeatures, times: np.ndarray, style: GestureStyle, rng: np.random.Generator) -> np.ndarray:
    """Face channels [f, 9]."""
    frames = len(times)
    face = np.zeros((frames, len(FACE_CHANNELS)))
    mouth = speech.visemes.astype(float)
    mouth[:, :2] *= style.articulation
    face[:, :5] = mouth
    quiet = 1 - gaussian_filter1d(speech.speaking.astype(float), 8, mode="nearest")
    smile = style.smile * (1 + 0.4 * _wander(rng, frames, 3.0)) + 0.08 * quiet
    face[:, 5] = np.clip(smile, 0, 0.45)
    blinks, brows = rng.spawn(2)
    face[:, 6] = _blinks(speech, times, style, blinks)
    raised = [(t, min(s, 2.5)) for t, s in speech.accents if brows.random() < 0.55]
    lift = 0.3 * _pulses(times, raised, -0.02, 0.24) + 0.5 * np.clip(speech.pitch - 0.15, 0, 0.5)
    lift = style.brow * lift
    drift = 0.08 * style.brow * _wander(rng, frames, 2.0)
    face[:, 7] = lift * rng.uniform(0.85, 1.0) + drift
    face[:, 8] = lift * rng.uniform(0.85, 1.0) + drift
    limits = np.array([(0, 1), (-1, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (-1, 1), (-1, 1)], float)
    return np.clip(face, limits[:, 0], limits[:, 1])


def _blinks(speech: SpeechFeatures, times: np.ndarray, style: GestureStyle, rng: np.random.Generator) -> np.ndarray:
    """Eyes closed, 0..1 [f]: every few seconds, more readily in pauses; closing is faster than opening."""
    out = np.zeros(len(times))
    if style.blink <= 0:
        return out
    ends = [end for _, end in phrases(speech)]
    now, last = rng.uniform(0.5, 2.5) / style.blink, times[-1]
    while now < last:
        pause = next((e for e in ends if now - 0.8 < e < now + 0.8), None)
        at = pause + 0.08 if pause is not None and rng.random() < 0.7 else now
        since = times - at
        shut = np.where(since < 0, 1 + since / 0.09, 1.35 - since / 0.13)
        out = np.maximum(out, np.clip(1.2 * shut, 0, 1) * (since > -0.09))
        now = max(now, at) + (0.9 + rng.gamma(3.0, 0.85)) / style.blink
    return out


def _hands(speech: SpeechFeatures, times: np.ndarray, style: GestureStyle, rng: np.random.Generator) -> np.ndarray:
    """Hand parameters [f, 2, 20]."""
    planning, *moving = rng.spawn(3)
    strokes = plan_strokes(speech, style, planning)
    ends = [end for _, end in phrases(speech)]
    hands = []
    for side in (RIGHT, LEFT):
        hand = follow(make_keys(strokes, side, rest_hands(style.rest)[side], ends, moving[side]), times)
        hand[:, :3] += 0.22 * np.stack([_wander(rng, len(times), 0.9) for _ in range(3)], 1)
        hands.append(hand)
    return np.stack(hands, 1)
