"""What a pipeline returns keeps the sound of the file that it was given."""

from __future__ import annotations

import wave
from types import SimpleNamespace

import numpy as np

from iasa.keypoints import COUNT, Keypoints
from iasa.media.reader import read_sound
from iasa.pipeline import CoSpeechPipeline


def test_a_saved_output_has_the_file_s_own_sound(tmp_path):
    """44.1 kHz and both channels, although 16 kHz of one is what was listened to."""
    rng = np.random.default_rng(0)
    both = rng.normal(0, 0.2, (44_100, 2)).clip(-1, 1)
    with wave.open(str(tmp_path / "talk.wav"), "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", ""))
        file.writeframes((both * 32767).astype("<i2").tobytes())
    poses = Keypoints(np.zeros((25, COUNT, 2), np.float32), np.ones((25, COUNT), np.float32))
    listened = []

    def stream(audio, image, **options):
        listened.append(audio)
        frames = iter([np.full((25, 32, 32, 3), 90, np.uint8)])
        return SimpleNamespace(frames=frames, keypoints=poses, plan=None, settings={"seed": 3})

    output = CoSpeechPipeline.__call__(SimpleNamespace(stream=stream), tmp_path / "talk.wav", None, output_type="np")
    assert listened[0].shape == output.audio.shape == (16_000,)
    output.save(tmp_path / "v.mp4")
    made = read_sound(tmp_path / "v.mp4")
    assert made.samples.shape == (2, 44_100) and made.rate == 44_100
    high = np.abs(np.fft.rfft(made.samples))[:, 9000:14_000].mean(1)
    assert (high > 5).all()  # hertz that no recogniser's sound holds
