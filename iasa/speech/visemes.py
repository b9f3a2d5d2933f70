"""Phones to mouth shapes: targets co-articulated by a dominance blend (Cohen and Massaro, 1993)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iasa.config import VIDEO_FPS

Phone = tuple[str, float, float]  # ARPAbet name without stress, start and end in seconds

VISEME_CHANNELS = ("open", "wide", "press", "tuck", "teeth")

# A mouth shape a row: jaw opening 0..1, lips round -1 .. spread 1, pressed, lower lip tucked in, teeth seen.
SHAPES: dict[str, tuple[float, float, float, float, float]] = {
    "rest": (0.00, 0.00, 0.0, 0.0, 0.0),
    "ah": (0.62, 0.10, 0.0, 0.0, 0.2),
    "ae": (0.55, 0.45, 0.0, 0.0, 0.4),
    "eh": (0.38, 0.50, 0.0, 0.0, 0.4),
    "ee": (0.20, 0.85, 0.0, 0.0, 0.6),
    "oh": (0.46, -0.65, 0.0, 0.0, 0.0),
    "oo": (0.20, -0.95, 0.0, 0.0, 0.0),
    "uh": (0.36, 0.00, 0.0, 0.0, 0.2),
    "er": (0.24, -0.45, 0.0, 0.0, 0.3),
    "w": (0.12, -1.00, 0.0, 0.0, 0.0),
    "r": (0.18, -0.50, 0.0, 0.0, 0.3),
    "m": (0.00, 0.00, 0.9, 0.0, 0.0),
    "f": (0.08, 0.10, 0.0, 1.0, 0.3),
    "th": (0.16, 0.10, 0.0, 0.0, 0.5),
    "t": (0.14, 0.25, 0.0, 0.0, 0.6),
    "s": (0.08, 0.50, 0.0, 0.0, 0.8),
    "sh": (0.14, -0.60, 0.0, 0.0, 0.7),
    "k": (0.22, 0.05, 0.0, 0.0, 0.2),
    "l": (0.24, 0.15, 0.0, 0.0, 0.3),
    "h": (0.26, 0.00, 0.0, 0.0, 0.1),
}

# A diphthong moves through two shapes.
ARPABET: dict[str, tuple[str, ...]] = {
    "AA": ("ah",), "AE": ("ae",), "AH": ("uh",), "AX": ("uh",), "AO": ("oh",), "EH": ("eh",), "ER": ("er",),
    "IH": ("ee",), "IY": ("ee",), "UH": ("oo",), "UW": ("oo",),
    "AW": ("ah", "oo"), "AY": ("ah", "ee"), "EY": ("eh", "ee"), "OW": ("oh", "oo"), "OY": ("oh", "ee"),
    "B": ("m",), "M": ("m",), "P": ("m",), "F": ("f",), "V": ("f",), "TH": ("th",), "DH": ("th",),
    "T": ("t",), "D": ("t",), "N": ("t",), "S": ("s",), "Z": ("s",), "SH": ("sh",), "ZH": ("sh",),
    "CH": ("sh",), "JH": ("sh",), "K": ("k",), "G": ("k",), "NG": ("k",), "L": ("l",), "R": ("r",),
    "W": ("w",), "Y": ("ee",), "HH": ("h",), "SIL": ("rest",),
}  # fmt: skip

# How firmly a shape holds its place against its neighbours: lips that must close win, tongue sounds yield.
DOMINANCE = {
    "m": 3.5,
    "f": 3.5,
    "w": 3.5,
    "oo": 2.2,
    "t": 0.8,
    "k": 0.8,
    "h": 0.8,
    "s": 0.9,
    "th": 0.9,
    "l": 0.9,
}
DEFAULT_DOMINANCE = 1.4
SHORT_PAUSE = 0.1  # seconds; in a shorter pause the mouth keeps moving to the next sound
LEAD = 0.015  # seconds by which the lips run ahead of the sound
REACH = 0.6  # seconds beyond which a phone has no say


def shapes_of(phone: str) -> tuple[str, ...]:
    """The mouth shapes of an ARPAbet phone; an unknown name is a pause."""
    return ARPABET.get(phone.upper().strip("+<>").rstrip("012"), ("rest",))


def _segments(phones: Sequence[Phone]) -> list[tuple[str, float, float]]:
    """Phones as mouth shapes in time: a diphthong becomes 60 % of its first shape and 40 % of its second."""
    out = []
    for name, start, end in phones:
        if end <= start:
            continue
        shapes = shapes_of(name)
        if len(shapes) == 1:
            out.append((shapes[0], start, end))
        else:
            middle = start + 0.6 * (end - start)
            out += [(shapes[0], start, middle), (shapes[1], middle, end)]
    return out


def make_visemes(
    phones: Sequence[Phone],
    frames: int,
    fps: float = VIDEO_FPS,
) -> np.ndarray:  # float32 [f, 5]
    """Mouth channels at every frame from timed phones; a frame far from every phone is at rest (all zeros).

    Each phone pulls towards its shape with a weight that falls off with the distance from its middle, in
    phone lengths: long vowels are reached, short tongue sounds only leaned towards, and lips still close.
    """
    times = (np.arange(frames) + 0.5) / fps
    total = np.zeros((frames, len(VISEME_CHANNELS)))
    weight = np.full(frames, 0.05)
    for shape, start, end in _segments(phones):
        strength = DOMINANCE.get(shape, DEFAULT_DOMINANCE)
        if shape == "rest" and end - start < SHORT_PAUSE:
            strength = 0.7
        first = max(0, int((start - REACH) * fps))
        last = min(frames, int((end + REACH) * fps) + 1)
        middle, width = (start + end) / 2 - LEAD, 0.55 * max(end - start, 0.05) + 0.02
        k = strength * np.exp(-0.8 * np.abs((times[first:last] - middle) / width) ** 2.4)
        total[first:last] += k[:, None] * np.array(SHAPES[shape])
        weight[first:last] += k
    return (total / weight[:, None]).astype(np.float32)
