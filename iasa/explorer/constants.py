"""What the explorer's JavaScript takes from the package as JSON, so that no constant is typed a second time there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import numpy as np

from iasa import keypoints
from iasa.config import MaskOptions
from iasa.inference import layered_frames
from iasa.keypoints import LEFT_HAND, RIGHT_HAND
from iasa.masks import computed, plan, plot, regions, similarity
from iasa.pose import skeleton

HOLISTIC = (478, 33, 21, 21)  # landmarks of mediapipe's face, pose and hands
# Where mediapipe for JavaScript and its model are, loaded when a visitor asks for the camera.
CAMERA = {
    "library": "https://cdn.jsdelivr.net/npm/@mediapipe/tasks-vision@0.10.21",
    "model": "https://storage.googleapis.com/mediapipe-models/holistic_landmarker/holistic_landmarker/float16/1/"
    "holistic_landmarker.task",
}
BLOCKS = (1, 16, 32, 64, 128)  # tiles of the attention matrix that the page offers
OWN, WINDOW, WHOLE = (
    "#0072b2",
    "#d55e00",
    "#882255",
)  # a frame's own tokens, the window's, a chosen frame without regions
CHANGE_LEVELS = 32  # steps of a grey level in which a token's change is kept, up to 255 of them
FINGER_BONES = 3  # from a knuckle to the tip
FINGERS = ("thumb", "index finger", "middle finger", "ring finger", "little finger")


def mask_rule() -> dict:
    """Every constant of the mask's rule (`iasa.masks`), as iasa/explorer/js reads it."""
    return {
        "points": keypoints.COUNT,
        "upper_body": list(keypoints.UPPER_BODY),
        "joints": {
            "left_shoulder": keypoints.LEFT_SHOULDER,
            "right_shoulder": keypoints.RIGHT_SHOULDER,
            "left_hip": keypoints.LEFT_HIP,
            "right_hip": keypoints.RIGHT_HIP,
        },
        "regions": list(keypoints.REGIONS),
        "parts": _number_regions(regions.PARTS),
        "body_parts": _number_regions(regions.BODY_PARTS),
        "tie": similarity.TIE,
        "torso": regions.TORSO,
        "usual_shoulders": regions.USUAL_SHOULDERS,
        "narrowest_shoulders": regions.NARROWEST_SHOULDERS,
        "directions": regions.DIRECTIONS,
        "exponent": regions.EXPONENT,
        "softening": regions.SOFTENING,
        "options": asdict(MaskOptions()),
        "methods": list(regions.METHODS),
        "modes": list(plan.MODES),
        "blocks": list(BLOCKS),
        "holistic": _holistic_points(),
        "computed": {
            "always": _to_bits(computed.ALWAYS),
            "moved": computed.MOVED,
            "levels": CHANGE_LEVELS,
            "repaired": _to_bits(layered_frames.REPAIRED),
        },
    }


def _number_regions(parts: Iterable[regions.Part]) -> list[dict]:
    return [asdict(part) | {"region": keypoints.REGIONS.index(part.region)} for part in parts]


def _holistic_points() -> list[list[int]]:
    """For each of the 133 points mediapipe's part (face, pose, left hand, right hand) and the landmark's number in it."""
    face, pose, left, right = (
        np.stack([np.arange(count), np.full(count, part)], 1)[None] for part, count in enumerate(HOLISTIC)
    )
    found = keypoints.from_holistic(face, pose, left, right).xy[0].astype(int)  # each stands at (its number, its part)
    return found[:, ::-1].tolist()


def drawing() -> dict:
    """Colours, lines of a skeleton as pairs of points, the keypoints that can be dragged, and the arms."""
    body, fingers = (
        [bone for bone in keypoints.BONES if (bone[0] >= LEFT_HAND.start) is hand] for hand in (False, True)
    )
    colours = {
        "regions": [_to_hex(colour) for colour in plot.REGION_COLOURS],
        "own": OWN,
        "window": WINDOW,
        "whole": WHOLE,
    }
    return {
        "colours": colours,
        "body_bones": body,
        "finger_bones": fingers,
        "face_lines": list(skeleton.FACE_LINES),
        "handles": _handles(),
        "arms": [
            {"shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": list(range(hand.start, hand.stop))}
            for shoulder, elbow, wrist, hand in (
                (keypoints.LEFT_SHOULDER, keypoints.LEFT_ELBOW, keypoints.LEFT_WRIST, LEFT_HAND),
                (keypoints.RIGHT_SHOULDER, keypoints.RIGHT_ELBOW, keypoints.RIGHT_WRIST, RIGHT_HAND),
            )
        ],
    }


def _handles() -> list[dict]:
    """Joints and fingertips: a name, and the points that go along (the face with the head, a hand with its wrist).

    A fingertip has a `chain` of points, whose bones keep their length.
    """
    head = [*range(keypoints.LEFT_SHOULDER), *range(keypoints.FACE.start, keypoints.FACE.stop)]
    joints = [
        (keypoints.NOSE, "Head", head),
        (keypoints.LEFT_SHOULDER, "Left shoulder", []),
        (keypoints.RIGHT_SHOULDER, "Right shoulder", []),
        (keypoints.LEFT_ELBOW, "Left elbow", []),
        (keypoints.RIGHT_ELBOW, "Right elbow", []),
        (keypoints.LEFT_WRIST, "Left hand", range(LEFT_HAND.start, LEFT_HAND.stop)),
        (keypoints.RIGHT_WRIST, "Right hand", range(RIGHT_HAND.start, RIGHT_HAND.stop)),
    ]
    handles = [{"point": p, "name": name, "followers": sorted({p, *more}), "joint": True} for p, name, more in joints]
    for tip, finger in zip(keypoints.FINGERTIPS, FINGERS, strict=True):
        for side, hand in (("Left", LEFT_HAND), ("Right", RIGHT_HAND)):
            point = hand.start + tip
            chain = list(range(point - FINGER_BONES, point + 1))  # from the knuckle, which stays
            handles.append(
                {"point": point, "name": f"{side} {finger}", "followers": chain, "joint": False, "chain": chain}
            )
    return handles


def _to_bits(names: Sequence[str]) -> int:
    return sum(1 << keypoints.REGIONS.index(name) for name in names)


def _to_hex(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
