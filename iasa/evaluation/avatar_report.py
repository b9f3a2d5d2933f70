"""Measures the speaker (python -m iasa.evaluation.avatar_report): drawing speed, and how often a detector finds it."""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from iasa.avatar.hands import HAND_SHAPES, hand_shape
from iasa.avatar.identity import make_identity
from iasa.avatar.renderer import Renderer
from iasa.avatar.rig import RigMotion, concat_motions, make_keypoints, rest_motion
from iasa.config import AUDIO_RATE, HELDOUT_IDENTITY
from iasa.keypoints import FACE, LEFT_HAND, LEFT_SHOULDER, RIGHT_HAND, RIGHT_SHOULDER


def random_motion(frames: int, seed: int) -> RigMotion:
    """Unrelated poses, one a frame: faces that speak and hands anywhere before the chest, in any shape."""
    r = np.random.default_rng(seed)
    rest = rest_motion(frames)
    head = r.normal(size=(frames, 3)) * [0.15, 0.07, 0.06]
    face = np.zeros((frames, 9))
    face[:, 0] = np.maximum(0, r.normal(size=frames) * 0.3)
    face[:, 1] = r.uniform(-0.8, 0.8, frames)
    face[:, 5] = r.uniform(0, 0.6, frames)
    face[:, 6] = r.random(frames) < 0.06
    face[:, 7:] = r.uniform(-0.3, 0.6, frames)[:, None]
    hands = rest.hands.copy()
    for i in range(frames):
        for side, sign in enumerate((-1, 1)):
            if r.random() < 0.3:
                continue
            up = r.random()
            hands[i, side, :3] = sign * r.uniform(5, 20), -32 + 22 * up + r.normal() * 2, r.uniform(15, 26)
            hands[i, side, 3:6] = -sign * r.uniform(-0.3, 1), r.uniform(-0.2, 0.8), r.uniform(-1, 1)
            hands[i, side, 6:9] = (
                -sign * r.uniform(-0.2, 0.9),
                r.uniform(-0.2, 1) + up * 0.6,
                r.uniform(0, 0.6),
            )
            hands[i, side, 9:] = hand_shape(str(r.choice(list(HAND_SHAPES)))) * (0.6 + 0.4 * r.random())
    return RigMotion(head, r.normal(size=frames) * 1.2, rest.breath, rest.twist, rest.shrug, rest.gaze, face, hands)


def measure_speed(size: int, frames: int = 160, identities: int = 8) -> float:
    """Frames a second of processor time on one core."""
    each = frames // identities
    jobs = [(Renderer(make_identity(i), size), random_motion(each, i)) for i in range(identities)]
    jobs[0][0].draw(jobs[0][1], 0)
    start = time.process_time()
    for renderer, motion in jobs:
        renderer.render(motion)
    return each * identities / (time.process_time() - start)


def measure_detection(frames: int, size: int, seed: int = 5, performed: bool = False) -> dict[str, float]:
    """How well mediapipe Holistic sees unrelated stills, one held-out identity each.

    pose, face, hands: the shares found; face_error, hand_error: the median distance of what is found from the true
    keypoints, in shoulder widths. The poses are those of `random_motion`, or of performances (`performed`).
    """
    from iasa.pose.extract import extract_keypoints

    motion = performed_motion(frames, seed) if performed else random_motion(frames, seed)
    identities = [make_identity(HELDOUT_IDENTITY + i) for i in range(frames)]
    pictures = (Renderer(identity, size).draw(motion, i) for i, identity in enumerate(identities))
    found = extract_keypoints(pictures, static=True)
    true = np.stack([make_keypoints(identity, motion[[i]]).xy[0] for i, identity in enumerate(identities)])
    width = np.linalg.norm(true[:, LEFT_SHOULDER] - true[:, RIGHT_SHOULDER], axis=-1)
    error = np.linalg.norm(found.xy - true, axis=-1) / width[:, None]
    seen = found.confidence > 0
    hands = np.stack([seen[:, LEFT_HAND.start], seen[:, RIGHT_HAND.start]])
    hand_error = np.stack([error[:, LEFT_HAND].mean(1), error[:, RIGHT_HAND].mean(1)])
    return {
        "pose": float(seen[:, LEFT_SHOULDER].mean()),
        "face": float(seen[:, FACE.start].mean()),
        "hands": float(hands.mean()),
        "face_error": float(np.median(error[:, FACE][seen[:, FACE.start]])),
        "hand_error": float(np.median(hand_error[hands])),
    }


def performed_motion(frames: int, seed: int, apart: int = 12) -> RigMotion:
    """Every `apart`-th frame of gesture performances to a made-up signal with the rhythm of speech."""
    from iasa.motion.rules import generate_gestures
    from iasa.speech import analyse

    r = np.random.default_rng(seed)
    parts: list[RigMotion] = []
    while sum(len(part) for part in parts) < frames:
        t = np.arange(10 * AUDIO_RATE) / AUDIO_RATE
        syllables = np.clip(np.sin(2 * np.pi * 2.2 * t + r.uniform(0, 6)) + 0.2 * np.sin(2 * np.pi * 0.4 * t), 0, 1)
        voice = sum(np.sin(2 * np.pi * k * 140 * t) / k for k in range(1, 12))
        audio = (0.1 * syllables * voice + 0.002 * r.normal(size=len(t))).astype(np.float32)
        parts.append(generate_gestures(analyse(audio), seed=seed + len(parts))[::apart])
    return concat_motions(*parts)[:frames]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200, help="stills for the detector; 0 skips it")
    parser.add_argument("--size", type=int, default=256, help="their size, pixels")
    options = parser.parse_args()
    report: dict = {f"frames_per_second_{size}": round(measure_speed(size), 1) for size in (256, 512)}
    motion = random_motion(500, 0)
    start = time.process_time()
    make_keypoints(make_identity(0), motion)
    report["keypoint_frames_per_second"] = round(500 / (time.process_time() - start))
    if options.frames:
        for name, performed in (("random_poses", False), ("performances", True)):
            found = measure_detection(options.frames, options.size, performed=performed)
            found = {key: round(value, 4) for key, value in found.items()}
            report[name] = {"frames": options.frames, "size": options.size} | found
    print(json.dumps(report))


if __name__ == "__main__":
    main()
