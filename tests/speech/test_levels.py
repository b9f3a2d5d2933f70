"""Levels have a floor: a room's noise is no speech, and a short word is, however long the silence around it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from iasa.avatar.identity import make_identity
from iasa.config import AUDIO_RATE
from iasa.keypoints import LEFT_WRIST, RIGHT_WRIST
from iasa.motion import speech_to_keypoints
from iasa.paths import SPEECH
from iasa.speech import SpeechFeatures, analyse, read_audio
from iasa.speech.chunked import ChunkedSpeech
from iasa.speech.streaming import SpeechStream, join_features

HOP = AUDIO_RATE // 25  # samples of a video frame


def hear_whole(audio: np.ndarray) -> SpeechFeatures:
    return analyse(audio, method="signal")


def hear_chunks(audio: np.ndarray) -> SpeechFeatures:
    return join_features(list(ChunkedSpeech(audio)))


def hear_stream(audio: np.ndarray) -> SpeechFeatures:
    stream = SpeechStream()
    return join_features([stream.push(audio), stream.finish()])


every_way = pytest.mark.parametrize("hear", [hear_whole, hear_chunks, hear_stream])


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return read_audio(SPEECH / "tea.mp3")[0]


def room_noise(seconds: float, level: float = -45.0) -> np.ndarray:
    """Steady noise with more of the low notes, as fans and streets make it; `level` in dB of full scale."""
    noise = np.random.default_rng(0).normal(size=round(seconds * AUDIO_RATE))
    noise += 4 * gaussian_filter1d(noise, 8)
    return (10 ** (level / 20) * noise / noise.std()).astype(np.float32)


@every_way
def test_noise_stays_rest(hear, speech):
    frames = 10 * 25
    features = hear(np.concatenate([room_noise(10), speech[: 3 * AUDIO_RATE]]))
    assert features.visemes[: frames - 5, 0].max() < 0.02 and features.speaking[: frames - 5].max() < 0.1
    assert features.speaking[frames + 25 :].mean() > 0.5 and features.visemes[frames:, 0].max() > 0.3
    _, keypoints = speech_to_keypoints(features, make_identity(3))
    wrists = keypoints.xy[: frames - 5, [LEFT_WRIST, RIGHT_WRIST]]
    assert np.abs(np.diff(wrists, axis=0)).sum(0).max() <= 0.3  # frame widths, breathing and swaying


@every_way
@pytest.mark.parametrize("second", [0.4, 10.0, 18.0])
def test_a_short_word_in_a_long_silence_moves_the_mouth(hear, second, speech):
    word, start = speech[8000 : 8000 + round(0.4 * AUDIO_RATE)], round(second * AUDIO_RATE)
    audio = room_noise(20, -80)
    audio[start : start + len(word)] += word
    opening, frame = hear(audio).visemes[:, 0], start // HOP
    assert opening[frame : frame + 12].max() > 0.2
    assert np.delete(opening, slice(max(0, frame - 4), frame + 16)).max() < 0.02


def test_a_steady_voice_is_heard_although_its_level_never_falls():
    time = np.arange(2 * AUDIO_RATE) / AUDIO_RATE
    hum = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 8)).astype(np.float32) * 0.1
    assert analyse(hum, method="signal").speaking[5:-5].min() > 0.9
