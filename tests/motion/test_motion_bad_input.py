"""Bad sound through both performers: sensible motion or one plain sentence, a face that lives under speech, flat memory."""

from __future__ import annotations

import os
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import resample_poly

from iasa.avatar.identity import make_identity
from iasa.avatar.rig import RigMotion
from iasa.config import AUDIO_RATE, MOTION_MODELS, VIDEO_FPS, InputError
from iasa.motion import speech_to_keypoints
from iasa.motion.generator_streaming import MotionStream
from iasa.motion.rules_streaming import GestureStream
from iasa.paths import SPEECH
from iasa.speech import analyse, read_audio

REACH = 60.0  # cm that a wrist may be away from the chest
LONG = pytest.mark.skipif(not os.environ.get("IASA_LONG"), reason="minutes of work: set IASA_LONG=1 to run it")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Four seconds of a committed example."""
    return read_audio(SPEECH / "fishermen.mp3")[0][: 4 * AUDIO_RATE]


def make_music(seconds: float) -> np.ndarray:
    """Chords that are struck twice a second."""
    t = np.arange(int(seconds * AUDIO_RATE)) / AUDIO_RATE
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220, 277, 330, 440))
    return (0.2 * chord * np.exp(-4 * (t % 0.5))).astype(np.float32)


TALK = {  # the face must follow these
    "clean": lambda speech: speech,
    "clipped": lambda speech: np.clip(20 * speech, -0.9, 0.9),
    "very fast": lambda speech: resample_poly(speech, 2, 5).astype(np.float32),
    "quiet": lambda speech: 0.01 * speech,
    "in noise": lambda speech: speech + 0.03 * np.random.default_rng(0).normal(size=len(speech)).astype(np.float32),
}
NO_TALK = {
    "silence": lambda speech: np.zeros(2 * AUDIO_RATE, np.float32),
    "music": lambda speech: make_music(3),
    "noise": lambda speech: 0.3 * np.random.default_rng(1).normal(size=2 * AUDIO_RATE).astype(np.float32),
    "0.2 s": lambda speech: speech[AUDIO_RATE : AUDIO_RATE + AUDIO_RATE // 5],
}


def check_sound_motion(motion: RigMotion) -> None:
    """Numbers everywhere, wrists within reach."""
    for field in fields(motion):
        assert np.isfinite(getattr(motion, field.name)).all(), field.name
    assert np.linalg.norm(motion.hands[:, :, :3], axis=-1).max(initial=0) < REACH


def check_alive(motion: RigMotion, speaking: np.ndarray) -> None:
    """In every second that is spoken through the mouth opens and closes; the head is never still."""
    for start in range(0, len(motion) - 24, 25):
        if speaking[start : start + 25].mean() > 0.7:
            assert np.ptp(motion.face[start : start + 25, 0]) > 0.1, f"the mouth stands still at frame {start}"
            assert np.ptp(motion.head[start : start + 25], axis=0).max() > 1e-3, (
                f"the head stands still at frame {start}"
            )


def perform_file(path, model: str) -> tuple[RigMotion, np.ndarray]:
    features = analyse(read_audio(path)[0], method="signal")
    return speech_to_keypoints(features, make_identity(1), 2, model=model)[0], features.speaking


@pytest.mark.parametrize("model", MOTION_MODELS)
@pytest.mark.parametrize("name", [*TALK, *NO_TALK])
def test_awkward_sound_moves_sensibly(name, model, speech):
    features = analyse({**TALK, **NO_TALK}[name](speech), method="signal")
    motion, keypoints = speech_to_keypoints(features, make_identity(1), 2, model=model)
    assert len(motion) == features.frames == len(keypoints)
    check_sound_motion(motion)
    assert np.isfinite(keypoints.xy[keypoints.confidence > 0]).all()
    if name in TALK:
        check_alive(motion, features.speaking)
    if name == "silence":
        assert motion.face[:, :5].max() == 0


@pytest.mark.parametrize("model", MOTION_MODELS)
def test_eight_kilohertz_and_a_dead_channel_lose_little(model, speech, tmp_path):
    soundfile.write(tmp_path / "telephone.wav", resample_poly(speech, 1, 2), AUDIO_RATE // 2)
    soundfile.write(tmp_path / "dead.wav", np.stack([speech, np.zeros_like(speech)], 1), AUDIO_RATE)
    soundfile.write(tmp_path / "clean.wav", speech, AUDIO_RATE)
    clean, speaking = perform_file(tmp_path / "clean.wav", model)
    for name, least in (("telephone.wav", 0.7), ("dead.wav", 0.99)):
        motion, _ = perform_file(tmp_path / name, model)
        check_sound_motion(motion)
        check_alive(motion, speaking)
        assert np.corrcoef(motion.face[:, 0], clean.face[:, 0])[0, 1] > least, name


def test_too_little_sound_is_refused_with_a_sentence(speech, tmp_path):
    soundfile.write(tmp_path / "blip.wav", speech[:1600], AUDIO_RATE)
    with pytest.raises(InputError, match=r"blip\.wav lasts 0\.10 s; give at least 0\.2 s"):
        read_audio(tmp_path / "blip.wav")


# ---------------------------------------------------------------- long streams


def held_bytes(thing: object) -> int:
    """Bytes of the arrays and the number of entries of the lists that a stream holds, but for its network."""
    if isinstance(thing, torch.nn.Module | np.random.Generator):
        return 0
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    if isinstance(thing, torch.Tensor):
        return thing.numel() * thing.element_size()
    if isinstance(thing, dict):
        return sum(map(held_bytes, thing.values()))
    if isinstance(thing, list | tuple):
        return len(thing) + sum(map(held_bytes, thing))
    if is_dataclass(thing):
        return sum(held_bytes(getattr(thing, field.name)) for field in fields(thing))
    return held_bytes(vars(thing)) if hasattr(thing, "__dict__") else 0


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", [MotionStream, GestureStream])
@pytest.mark.parametrize("minutes", [0.6, pytest.param(30, marks=LONG)])
def test_a_long_stream_neither_grows_nor_freezes(kind, minutes, speech):
    features = analyse(speech, method="signal")
    stream, made, sizes, quiet = kind(3), 0, [], 0.0
    for _ in range(round(minutes * 60 / features.seconds)):
        motion = stream.push(features)
        check_sound_motion(motion)
        if made and len(motion) > 24:
            check_alive(motion, np.ones(len(motion)) * features.speaking.mean())
            quiet = 0.0 if motion.face[:, 6].max() > 0.5 else quiet + len(motion) / VIDEO_FPS
            assert quiet < 20, f"no blink for {quiet:.0f} s"
        made += len(motion)
        sizes.append(held_bytes(stream))
    rest = stream.finish()
    assert made + len(rest) == features.frames * len(sizes)
    middle = len(sizes) // 2
    assert max(sizes[middle:]) <= 1.02 * max(sizes[:middle])
