"""The whole path with the shipped weights, on a few frames."""

import platform
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from iasa import keypoints as kp
from iasa.avatar.speaker import load_speaker, speaker_names
from iasa.config import MOTION_MODELS, InputError
from iasa.device import release_memory
from iasa.inference.generation import Cancelled
from iasa.keypoints import Keypoints
from iasa.media.reader import read_audio_track, read_metadata, read_video
from iasa.metrics.video_quality import psnr
from iasa.motion import speech_to_keypoints
from iasa.paths import SPEECH
from iasa.pipeline import CoSpeechPipeline, generate
from iasa.speech import analyse, read_audio


@pytest.fixture(scope="module")
def pipeline() -> CoSpeechPipeline:
    return CoSpeechPipeline.from_pretrained()


@pytest.fixture(scope="module")
def speaker():
    return load_speaker(speaker_names()[0])


@pytest.fixture(scope="module")
def poses(speaker) -> Keypoints:
    audio, _ = read_audio(sorted(SPEECH.glob("*.mp3"))[0])
    features = analyse(audio, method="signal")
    return speech_to_keypoints(features, speaker.identity, seed=1)[1][30:41]


def frames_of(generation) -> np.ndarray:
    return np.concatenate(list(generation.frames))


def test_the_autoencoder_ships_trained(pipeline, speaker):
    image = torch.from_numpy(speaker.image.copy()).movedim(-1, 0).float() / 127.5 - 1
    latents = pipeline.autoencoder.encode(image.expand(1, 2, 3, 256, 256).to(pipeline.dtype))
    frames = pipeline.decode(latents, speaker.keypoints[np.zeros(2, int)], speaker)
    assert psnr(frames, np.stack([speaker.image] * 2)) > 30


@pytest.mark.parametrize(("model", "steps"), [("student", 1), ("teacher", 2)])
def test_frames_follow_the_poses(pipeline, speaker, poses, model, steps):
    """An odd number of frames comes out, close to the speaker, moving, and the same for the same seed."""
    frames = frames_of(pipeline.stream(image=speaker, keypoints=poses, model=model, num_inference_steps=steps, seed=5))
    assert frames.shape == (len(poses), 256, 256, 3) and frames.dtype == np.uint8
    again = frames_of(pipeline.stream(image=speaker, keypoints=poses, model=model, num_inference_steps=steps, seed=5))
    np.testing.assert_array_equal(frames, again)
    still = psnr(frames, np.repeat(speaker.image[None], len(frames), 0))
    assert 17 < still < 40  # the same person and room, another pose
    assert np.abs(frames[-1].astype(int) - frames[0]).max() > 30


def test_the_future_does_not_reach_the_student(pipeline, speaker, poses):
    """But for the rounding of what is prepared together: levels of 255."""
    changed = Keypoints(poses.xy.copy(), poses.confidence, poses.fps)
    changed.xy[8:] += 0.05
    a, b = (
        frames_of(pipeline.stream(image=speaker, keypoints=p, num_inference_steps=1, seed=2)) for p in (poses, changed)
    )
    assert np.abs(a[:8].astype(int) - b[:8]).max() <= 4 and np.abs(a[:8].astype(int) - b[:8]).mean() < 0.05
    assert np.abs(a[8:].astype(int) - b[8:]).max() > 20


def test_freed_memory_is_handed_back_again_and_again(pipeline, speaker, poses, monkeypatch):
    given_back = []
    monkeypatch.setattr("iasa.inference.conditioning.RELEASE_EVERY", 2)
    monkeypatch.setattr("iasa.inference.conditioning.release_memory", lambda: given_back.append(True))
    frames_of(pipeline.stream(image=speaker, keypoints=poses))
    assert len(given_back) == -(-len(poses) // 2) // 2


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library keeps freed memory by rules of its own"
)
def test_release_memory_hands_back_what_lies_between_the_living():
    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

    release_memory()
    blocks = [np.ones(40_000, np.uint8) for _ in range(5_000)]  # 200 MB in pieces too small for maps of their own
    living = blocks[::100]
    del blocks
    before = resident()
    release_memory()
    assert len(living) == 50 and before - resident() > 100


def test_cancel_stops_between_frames(pipeline, speaker, poses):
    asked = []

    def should_stop():
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Cancelled):
        frames_of(pipeline.stream(image=speaker, keypoints=poses, should_stop=should_stop))
    assert len(asked) == 3


def test_generate_writes_sound_and_picture_of_equal_length(pipeline, speaker, tmp_path):
    time = np.arange(int(0.52 * 16000)) / 16000
    audio = (0.4 * np.sin(2 * np.pi * 150 * time) * np.sin(2 * np.pi * 3 * time) ** 2).astype(np.float32)
    report = generate(pipeline, audio, speaker, tmp_path / "out.mp4", num_inference_steps=1, seed=9)
    frames, fps = read_video(tmp_path / "out.mp4")
    sound, rate = read_audio_track(tmp_path / "out.mp4")
    assert fps == 25 and len(frames) == report["frames"]
    assert len(sound) / rate == pytest.approx(len(frames) / fps, abs=1 / fps)
    said = read_metadata(tmp_path / "out.mp4")
    assert said["seed"] == 9 and said["model"] == "student" and said["ai_generated"] is True
    assert set(report["seconds"]) == {"motion", "plan", "condition", "denoise", "decode", "write"}
    assert 0 < report["density"] < 1


def test_either_performer_can_make_the_poses(pipeline, speaker):
    """The learned one hears 1.2 s ahead and still gives every frame of the clip, as it does of the whole at once."""
    time = np.arange(int(2.4 * 16000)) / 16000
    audio = (0.4 * np.sin(2 * np.pi * 150 * time) * np.sin(2 * np.pi * 2 * time) ** 2).astype(np.float32)
    made = {}
    for motion in MOTION_MODELS:
        generation = pipeline.stream(audio, speaker, num_inference_steps=1, seed=3, motion=motion)
        assert len(frames_of(generation)) == generation.count == len(generation.keypoints) == 60
        assert generation.settings["motion"] == motion
        made[motion] = generation.keypoints.xy
    moved = np.abs(made["learned"] - made["rules"]).max((0, 2))
    assert moved[kp.LEFT_WRIST] > 0.01 and moved[kp.RIGHT_WRIST] > 0.01


def test_wrong_choices_are_refused(pipeline, speaker, poses):
    with pytest.raises(InputError, match="dance"):
        pipeline.stream(np.zeros(16000, np.float32), speaker, motion="dance")
    with pytest.raises(InputError, match="critic"):
        pipeline.stream(image=speaker, keypoints=poses, model="critic")
    with pytest.raises(InputError, match="0 steps"):
        pipeline.stream(image=speaker, keypoints=poses, num_inference_steps=0)
