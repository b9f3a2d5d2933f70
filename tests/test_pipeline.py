"""The whole path with the shipped weights, on a few frames."""

import copy
import json
import platform
import resource
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from iasa import keypoints as kp
from iasa.avatar.speaker import load_speaker, speaker_names
from iasa.config import MOTION_MODELS, InputError, MaskOptions
from iasa.device import Precision, release_memory
from iasa.inference.conditioning import make_warp, to_tensors
from iasa.inference.generation import Cancelled
from iasa.inference.output import to_levels
from iasa.keypoints import Keypoints
from iasa.media.reader import read_audio_track, read_metadata, read_video
from iasa.metrics.video_quality import psnr
from iasa.models.autoencoder import Autoencoder
from iasa.models.checkpoint import load_weights, save_weights
from iasa.models.transformer import VideoTransformer
from iasa.motion import speech_to_keypoints
from iasa.motion.generator import MotionGenerator
from iasa.paths import SPEECH, WEIGHTS
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


def test_poses_may_come_from_any_iterator(pipeline, speaker, poses):
    """A list's iterator cannot be closed as a generator can."""
    even = poses[: len(poses) // 2 * 2]
    whole, pieces = (
        frames_of(pipeline.stream(image=speaker, keypoints=given, num_inference_steps=1, seed=5))
        for given in (even, iter([even[:2], even[2:]]))
    )
    assert np.array_equal(whole, pieces)


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


def test_the_warp_does_not_depend_on_which_thread_writes_last(speaker, poses):
    """Pieces of an arm share joints, beyond which they are equally near: one of them must count there, always."""
    warp, threads = make_warp(speaker, torch.device("cpu")), torch.get_num_threads()
    xy, confidence = to_tensors(poses[:8], torch.device("cpu"))
    torch.set_num_threads(4)
    try:
        first, *others = (warp(xy[None], confidence[None]) for _ in range(25))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, other) for other in others)


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
    assert len(given_back) == -(-len(poses) // 2) // 2 + 1

    given_back.clear()
    monkeypatch.setattr("iasa.inference.conditioning.RELEASE_EVERY", 1000)
    frames_of(pipeline.stream(image=speaker, keypoints=poses))
    assert given_back == [True], "short clips hand it back at their end"


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


def of_poses(pipeline, speaker, poses, **options):
    return frames_of(pipeline.stream(image=speaker, keypoints=poses, num_inference_steps=1, **options))


@pytest.fixture(scope="module")
def small() -> CoSpeechPipeline:
    """Small networks with weights that do something."""
    torch.manual_seed(0)
    networks = {name: VideoTransformer(8, width=16, layers=2, heads=2) for name in ("student", "teacher")}
    parts = {"autoencoder": Autoencoder(8, (8, 8, 16)), **networks}
    with torch.no_grad():
        for part in parts.values():
            for p in part.parameters():
                p.add_(0.05 * torch.randn_like(p))
    return CoSpeechPipeline(**parts, mask=MaskOptions(top_k=2), dtype=torch.float32)


def test_what_is_saved_makes_the_same_frames(small, speaker, poses, tmp_path):
    """In diffusers' layout, with the mask; a network alone is read by diffusers itself."""
    small.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == "CoSpeechPipeline" and index["motion"] == [None, None]
    assert index["student"] == ["iasa.models.transformer", "VideoTransformer"] and index["mask"]["top_k"] == 2
    again = CoSpeechPipeline.from_pretrained(tmp_path, motion=None, torch_dtype=torch.float32)
    assert again.mask == small.mask and set(again.components) == {
        "autoencoder", "student", "teacher", "motion", "restorer",
    }  # fmt: skip
    for model in ("student", "teacher"):
        np.testing.assert_array_equal(*(of_poses(p, speaker, poses, model=model) for p in (small, again)))
    alone = VideoTransformer.from_pretrained(tmp_path / "student")
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), small.student.parameters(), strict=True))


def test_a_runs_weights_are_taken_and_the_shipped_ones_for_the_rest(tmp_path):
    """Of the last stage that made a network; a folder that holds none is refused, as one that is not there."""
    torch.manual_seed(0)
    for stage in ("student", "distill_region", "finetune"):
        save_weights(VideoTransformer(width=16, layers=1, heads=2), tmp_path / "run" / stage / "export", {})
    kept = load_weights(VideoTransformer, tmp_path / "run" / "distill_region" / "export")
    pipeline = CoSpeechPipeline.from_pretrained(tmp_path / "run", motion=None, dtype=torch.float32)
    assert torch.equal(pipeline.student.patch_in.weight, kept.patch_in.weight)
    assert pipeline.teacher.config.width == load_weights(VideoTransformer, WEIGHTS / "teacher").config.width == 320
    (tmp_path / "empty").mkdir()
    for name, words in (("empty", "there are no weights in empty"), ("missing", "there is no folder missing")):
        with pytest.raises(InputError, match=words):
            CoSpeechPipeline.from_pretrained(tmp_path / name)


def test_a_name_of_the_hub_is_downloaded_and_nothing_else_is(small, tmp_path, monkeypatch):
    """The download itself is diffusers'; here it is another folder, or fails as it does without a network."""
    small.save_pretrained(tmp_path)
    asked = []

    def download(name, **options):
        asked.append((name, options))
        if name == "someone/speakers":
            return tmp_path
        raise OSError("offline")

    monkeypatch.setattr(CoSpeechPipeline, "download", download)
    pipeline = CoSpeechPipeline.from_pretrained("someone/speakers", revision="main", motion=None)
    assert asked == [("someone/speakers", {"revision": "main"})] and pipeline.mask.top_k == 2
    with pytest.raises(
        InputError, match="someone/else is no folder, and no pipeline of the Hub that can be reached: off"
    ):
        CoSpeechPipeline.from_pretrained("someone/else")
    for place in ("./runs", "/nowhere/at/all", "runs"):
        with pytest.raises(InputError, match="there is no folder"):
            CoSpeechPipeline.from_pretrained(place)
    assert len(asked) == 2


def test_a_call_gives_what_the_stream_gives_in_diffusers_forms(small, speaker, poses, tmp_path):
    whole = small.stream(image=speaker, keypoints=poses, seed=3)
    levels = frames_of(whole)
    made = {kind: small(image=speaker, keypoints=poses, seed=3, output_type=kind) for kind in ("pil", "np", "pt")}
    assert all(isinstance(frame, Image.Image) for frame in made["pil"].frames)
    assert made["np"].frames.dtype == np.float32 and made["np"].frames.max() <= 1
    assert made["pt"].frames.shape == (len(poses), 3, 256, 256)
    for output in made.values():
        np.testing.assert_array_equal(to_levels(output.frames), levels)
        np.testing.assert_array_equal(output.keypoints.xy, poses.xy)
    assert torch.equal(made["np"].plan.frame_table, whole.plan.frame_table) and made["np"].audio is None
    assert made["np"].settings["seed"] == 3 and made["np"].settings["dtype"] == "float32"
    frames, audio, keypoints, plan = small(image=speaker, keypoints=poses, output_type="np", return_dict=False)
    assert audio is None and len(keypoints) == len(poses) and plan.grid.frames == 7
    with pytest.raises(InputError, match="'latent'; accepted: pil, np, pt"):
        small(image=speaker, keypoints=poses, output_type="latent")
    made["pil"].save(tmp_path / "poses.mp4")
    written = read_video(tmp_path / "poses.mp4")[0]
    assert written.shape == levels.shape
    np.testing.assert_allclose(written[:, 64:].mean((1, 2)), levels[:, 64:].mean((1, 2)), atol=3)  # below the mark
    assert read_metadata(tmp_path / "poses.mp4")["seed"] == 3


@pytest.mark.parametrize("model", ["student", "teacher"])
def test_a_generator_is_the_noise(small, speaker, poses, model):
    def make(**options):
        return of_poses(small, speaker, poses, model=model, **options)

    generator = torch.Generator().manual_seed(4)
    first = make(generator=generator)
    np.testing.assert_array_equal(first, make(seed=4))
    assert (first != make(generator=generator)).any()  # which has gone on
    assert small.stream(image=speaker, keypoints=poses, generator=generator).settings["seed"] == 4


@pytest.mark.parametrize(("model", "steps", "calls"), [("student", 2, 12), ("teacher", 3, 3)])
def test_a_callback_sees_every_step_and_can_change_it(small, speaker, poses, model, steps, calls):
    seen = []

    def look(pipe, step, timestep, given):
        assert pipe is small and list(given) == ["latents"]
        seen.append((step, timestep, tuple(given["latents"].shape)))

    options = {"image": speaker, "keypoints": poses, "model": model, "num_inference_steps": steps}
    plain = frames_of(small.stream(**options))
    np.testing.assert_array_equal(frames_of(small.stream(**options, callback_on_step_end=look)), plain)
    assert [step for step, *_ in seen] == list(range(calls)) and seen[0][1] == 1000 and 0 < seen[1][1] < 1000
    assert {shape for *_, shape in seen} == {(1, 1 if model == "student" else 6, 8, 16, 16)}
    grey = frames_of(
        small.stream(**options, callback_on_step_end=lambda p, s, t, given: {"latents": 0 * given["latents"]})
    )
    assert (grey != plain).any()

    def fail(pipe, step, timestep, given):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        frames_of(small.stream(**options, callback_on_step_end=fail))


def test_the_networks_move_together_and_the_motion_model_stays(small, speaker, poses):
    motion = load_weights(MotionGenerator, WEIGHTS / "motion")
    parts = {name: copy.deepcopy(part) for name, part in small.components.items() if part is not None}
    pipeline = CoSpeechPipeline(**parts | {"motion": motion}, dtype=Precision(torch.float32, int8=False))
    before = of_poses(pipeline, speaker, poses)
    assert pipeline.to("cpu", torch.bfloat16) is pipeline
    assert pipeline.dtype == pipeline.student.dtype == pipeline.teacher.dtype == torch.bfloat16
    assert pipeline.motion.dtype == torch.float32 and str(pipeline.precision) == "bfloat16"
    moved = of_poses(pipeline, speaker, poses)
    assert (moved != before).any() and psnr(moved, before) > 25
    assert pipeline.to(dtype=torch.float32).dtype == torch.float32


def test_a_picture_in_any_form_is_a_speaker(small, poses, monkeypatch, tmp_path):
    portrait = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    Image.fromarray(portrait).save(tmp_path / "portrait.png")
    seen = []
    monkeypatch.setattr(
        "iasa.avatar.speaker.photograph_speaker", lambda picture: seen.append(picture) or load_speaker("dana")
    )
    for image in (portrait, Image.fromarray(portrait), tmp_path / "portrait.png", str(tmp_path / "portrait.png")):
        assert small.stream(image=image, keypoints=poses).settings["reference"] == "dana"
        np.testing.assert_array_equal(seen[-1], portrait)
    with pytest.raises(InputError, match=r"float64 \[3, 4\]; uint8"):
        small.stream(image=np.zeros((3, 4)), keypoints=poses)
    with pytest.raises(InputError, match="no speaker"):
        small.stream(keypoints=poses)
    with pytest.raises(InputError, match="no speech"):
        small.stream(image=load_speaker("dana"))


def test_metadata_say_where_the_phones_came_from_not_where_they_should_have(small, speaker, tmp_path, monkeypatch):
    """A recognizer that is there and finds nothing, as one that has died."""
    sound = (0.3 * np.sin(np.arange(16000) / 20)).astype(np.float32)
    monkeypatch.setattr("iasa.speech.recognizer.available", lambda: True)
    monkeypatch.setattr(
        "iasa.speech.chunked.shared_recognizer", lambda: SimpleNamespace(read=lambda samples: ([], 0.0))
    )
    generate(small, sound, speaker, tmp_path / "dead.mp4", seed=1)
    assert read_metadata(tmp_path / "dead.mp4")["phones_from"] == "signal"
    found = [("AA", 0.1, 0.5)]
    monkeypatch.setattr("iasa.speech.chunked.shared_recognizer", lambda: SimpleNamespace(read=lambda s: (found, 0.0)))
    generate(small, sound, speaker, tmp_path / "alive.mp4", seed=1)
    assert read_metadata(tmp_path / "alive.mp4")["phones_from"] == "recognizer"
    dead, alive = (read_video(tmp_path / f"{name}.mp4")[0] for name in ("dead", "alive"))
    assert len(dead) == len(alive) == 25 and [path.suffix for path in tmp_path.iterdir()] == [".mp4"] * 2


def test_another_persons_poses_are_fitted_and_the_speakers_own_are_not(small, speaker, poses):
    """A close-up of somebody: the drawn speaker keeps the face that the reference has."""
    closeup = Keypoints(2.5 * poses.xy - (0.75, 0.6), poses.confidence)
    made = small.stream(image=speaker, keypoints=closeup)
    frames_of(made)
    assert np.abs(kp.face_scale(made.keypoints) / kp.face_scale(speaker.keypoints) - 1).max() < 0.15
    assert made.settings["fitted"] is True
    own = small.stream(image=speaker, keypoints=poses)
    frames_of(own)
    np.testing.assert_array_equal(own.keypoints.xy, poses.xy)
    assert own.settings["fitted"] is False
    given = small.stream(image=speaker, keypoints=closeup, fit_poses=False)
    frames_of(given)
    np.testing.assert_array_equal(given.keypoints.xy, closeup.xy)
