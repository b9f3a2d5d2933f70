"""Clips of people: the reference is another moment than the truth, the layers come along, and every sampler hands them on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sample_photographs import astronaut_photograph

pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")
pytest.importorskip("skia", reason="speakers are drawn with Skia: pip install skia-python")

from iasa import keypoints as kp  # noqa: E402
from iasa.avatar.identity import make_identity  # noqa: E402
from iasa.avatar.moving_parts import find_parts  # noqa: E402
from iasa.avatar.renderer import Renderer  # noqa: E402
from iasa.avatar.rig import make_keypoints, rest_motion  # noqa: E402
from iasa.config import InputError  # noqa: E402
from iasa.media.writer import write_video  # noqa: E402
from iasa.models.autoencoder import Autoencoder  # noqa: E402
from iasa.training import photo_clips, stages  # noqa: E402
from iasa.training.datasets import (  # noqa: E402
    CropSampler,
    WindowSampler,
    count_clips,
    draw_clip,
    encode_shards,
    find_shards,
    read_window,
)
from iasa.training.encoders import cut_faces, cut_parts  # noqa: E402
from iasa.training.options import TrainOptions  # noqa: E402
from iasa.training.photo_clips import LENGTH, SEGMENT, PhotoClip, choose_frames, save_shard  # noqa: E402
from iasa.training.restore_data import draw_photograph, read_photos  # noqa: E402
from iasa.training.speech_data import corpus  # noqa: E402
from iasa.warp.layered_warp import LayeredWarp  # noqa: E402
from iasa.warp.reference_warp import warp_reference  # noqa: E402


def decibel(a, b):
    return 10 * np.log10(255**2 / max(1e-9, ((a.astype(float) - b) ** 2).mean()))


def turning(frames, reach=0.1):
    """A head that turns from one side to the other."""
    motion = rest_motion(frames, rest=1)
    head = np.zeros_like(motion.head)
    head[:, 0] = np.linspace(-reach, reach, frames)
    return replace(motion, head=head)


def test_frames_are_runs_of_neighbours():
    chosen = choose_frames(200, np.random.default_rng(0)).reshape(-1, SEGMENT)
    assert chosen.size == LENGTH and (np.diff(chosen, axis=1) == 1).all() and len(set(chosen[:, 0])) > 1
    assert choose_frames(3, np.random.default_rng(0)).max() == 2


def test_a_moving_photograph_is_seen_from_another_moment():
    photo = astronaut_photograph()
    parts = find_parts(photo)
    warp = LayeredWarp(photo, photo.image.shape[0], parts.moving)
    clip = photo_clips.photograph_clip(photo, warp, parts, turning(60, 0.2), np.random.default_rng(3))
    assert clip.frames.shape == (1 + LENGTH, 256, 256, 3) and clip.warped.shape == (LENGTH, 256, 256, 3)
    made, still = decibel(clip.warped, clip.frames[1:]), decibel(clip.frames[:1].repeat(LENGTH, 0), clip.frames[1:])
    assert made > still + 1 and made > 23, "the layers reach what the photograph does not show"
    assert made < 45, "they are warped twice, the truth once"
    nose = clip.xy[:, kp.NOSE, 0]
    assert np.ptp(nose[1:]) > 0.01 and (np.abs(nose[1:] - nose[0]) > 1e-3).any()
    assert decibel(clip.frames[0], photo.image[::2, ::2]) < 30, "the reference is no picture at rest"


def test_other_light_keeps_the_picture_and_its_size():
    picture = astronaut_photograph().image
    made = [photo_clips.photographed(picture, np.random.default_rng(seed)) for seed in range(12)]
    assert all(one.shape == picture.shape and one.dtype == np.uint8 for one in made)
    brightness = np.array([one.mean() for one in made])
    assert np.ptp(brightness) > 20 and brightness.min() > 15
    alike = [
        max(np.corrcoef(one[..., 1].ravel(), side[..., 1].ravel())[0, 1] for side in (picture, picture[:, ::-1]))
        for one in made
    ]
    assert min(alike) > 0.9 and any(
        np.corrcoef(one[..., 1].ravel(), picture[..., 1].ravel())[0, 1] < 0.5 for one in made
    )


def coded_clip(seed, size=32):
    """Layers of frame i have the level 5 i, so that they tell which they are."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (1 + LENGTH, size, size, 3), dtype=np.uint8)
    warped = np.broadcast_to(5 * np.arange(1, 1 + LENGTH, dtype=np.uint8)[:, None, None, None], frames[1:].shape)
    xy = rng.uniform(0.2, 0.8, (1 + LENGTH, kp.COUNT, 2)).astype(np.float32)
    return PhotoClip(frames, xy, np.ones((1 + LENGTH, kp.COUNT), np.float32), warped)


@pytest.fixture
def shards(tmp_path):
    save_shard(tmp_path, "train_photo_a_000", [coded_clip(0), coded_clip(1)])
    drawn = coded_clip(2)
    for field in ("xy", "confidence", "frames"):
        np.save(tmp_path / f"train_000000.{field}.npy", getattr(drawn, field)[None])
    return tmp_path


def test_windows_of_people_carry_their_own_layers_and_those_of_the_drawn_are_made(shards):
    codec = Autoencoder(latent_channels=4, widths=(16, 16, 16))
    encode_shards(shards, "train", codec)
    drawn, people = find_shards(shards, "train")
    assert drawn.warped is None and people.warped is not None and count_clips(shards) == 3
    sampler = WindowSampler([drawn, people], 2)
    rng = np.random.default_rng(0)
    chosen = [sampler._one(rng, index) for index in range(12)]
    assert {0} == {reference for shard, _, reference, _ in chosen if shard is people} and any(
        reference for shard, _, reference, _ in chosen if shard is drawn
    )
    parts = [next(one for one in chosen if one[0] is shard) for shard in (people, drawn)]
    window = sampler.stack([read_window(*one) for one in parts]).with_base(codec)
    levels = ((window.warped[0].mean((1, 2, 3)) + 1) * 127.5).round()
    first = 1 + 2 * (int(parts[0][3][0]) - 1)
    np.testing.assert_allclose(levels, 5 * np.arange(first, first + 4), atol=0.1)
    pose, points = window.xy[1:, 1:].flatten(1, 2), window.confidence[1:, 1:].flatten(1, 2)
    made = warp_reference(window.image[1:], window.xy[1:, 0, 0], window.confidence[1:, 0, 0], pose, points)
    torch.testing.assert_close(window.warped[1:], made)


def test_every_clip_is_as_likely_however_many_its_shard_holds(shards):
    drawn, people = find_shards(shards, "train")  # one clip, and two
    rng = np.random.default_rng(0)
    drawings = [draw_clip([drawn, people], rng) for _ in range(600)]
    for shard, clip in ((drawn, 0), (people, 0), (people, 1)):
        assert 160 < sum(one is shard and number == clip for one, number in drawings) < 240


def test_clips_that_came_while_a_stage_began_are_told_in_words(shards):
    with pytest.raises(InputError, match="made while the stage began, run it again"):
        _ = find_shards(shards, "train")[0].encoded


def test_crops_show_the_layers_of_their_own_frames(shards):
    people = [shard for shard in find_shards(shards, "train") if shard.warped is not None]
    sampler = CropSampler(people, 16)
    for seed in range(4):
        crops = sampler.sample(np.random.default_rng(seed), 3)
        levels = ((crops.warped.unflatten(1, (2, 3)).mean((2, 3, 4)) + 1) * 127.5).round()
        frame = levels[0, 0] / 5
        assert (levels == levels[0]).all() and levels[0, 1] == levels[0, 0] + 5
        same = [torch.isclose(torch.from_numpy(shard.xy[:, int(frame)]).float(), crops.xy[0, 0]).all((1, 2)).any()
                for shard in people]  # fmt: skip
        assert any(same), "poses and layers are of one frame"


def test_a_take_is_its_first_picture_driven_by_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_clips, "JITTER", 0.0)
    identity, motion = make_identity(2), turning(1 + LENGTH)
    renderer = Renderer(identity, 512)
    pictures = renderer.render(motion)
    for name, count in (("0000", 1 + LENGTH), ("0001", 3)):
        (tmp_path / "takes" / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(pictures[number]).save(tmp_path / "takes" / name / f"{number:02d}.png")
    poses, taken, asked = make_keypoints(identity, motion), [], []

    def find_poses(seen, fps):
        asked.append(seen)
        return replace(poses[1:], fps=fps)

    def take(picture, framing):
        assert framing == "whole"
        if (picture != pictures[0]).any():  # of the other turns one is of no use
            taken.append(picture)
            if len(taken) == 2:
                raise InputError("nobody")
        return draw_photograph(identity, motion, renderer)

    refused = photo_clips.make_take_clips(tmp_path / "data", tmp_path / "takes", find_poses, take)
    assert refused == [f"0001: 3 PNG files; a take has {1 + LENGTH}"]
    assert (asked[0] == pictures[1:]).all() and (asked[1] != pictures[1:]).any()
    (shard,) = find_shards(tmp_path / "data", "train")
    assert shard.warped is not None
    frames, warped = shard.frames[0], shard.warped[0]
    assert len(shard.frames) == 2 and decibel(shard.frames[1, 1:], frames[1:]) < 40, "another light"
    np.testing.assert_allclose(shard.xy[0, 1:, kp.FACE], poses.xy[1:, kp.FACE], atol=1e-4)
    assert decibel(frames[-1], pictures[-1].reshape(256, 2, 256, 2, 3).mean((1, 3))) > 40
    assert decibel(warped[-1], frames[-1]) > decibel(frames[0], frames[-1]) + 1
    (tmp_path / "takes" / "0000").rename(tmp_path / "0000")
    with pytest.raises(InputError, match="none of the takes .* 3 PNG files"):
        photo_clips.make_take_clips(tmp_path / "other", tmp_path / "takes", find_poses, take)


def test_a_video_gives_clips_of_its_best_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_clips, "VIDEO_LENGTH", 10)
    identity, motion = make_identity(2), turning(10)
    renderer = Renderer(identity, 512)
    pictures, poses, taken = renderer.render(motion), make_keypoints(identity, motion), []
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "talk.mp4", pictures, fps=25.0)

    def find_poses(seen, fps):
        return replace(poses[: sum(1 for _ in seen)], fps=fps)

    def take(picture, framing):
        number = int(np.abs(pictures.astype(int) - picture).mean((1, 2, 3)).argmin())
        taken.append(number)
        return draw_photograph(identity, motion[number:], renderer)

    assert photo_clips.make_video_clips(tmp_path / "data", tmp_path / "videos", find_poses, take) == []
    (shard,) = find_shards(tmp_path / "data", "train")
    assert len(taken) == 1 and shard.frames.shape[1] == 1 + LENGTH and shard.warped is not None
    (name,) = (path.name for path in (tmp_path / "data").glob("*.frames.npy"))
    assert name == "train_video_talk_000.frames.npy"


def test_takes_that_are_none_are_refused_by_name(tmp_path):
    takes = tmp_path / "takes"
    (takes / ".cache").mkdir(parents=True)
    with pytest.raises(InputError, match="^takes holds no takes; a take is a folder of 25 PNG files$"):
        photo_clips.make_take_clips(tmp_path / "data", takes)
    for name, odd in (("wide", (40, 32)), ("mixed", (32, 32))):
        (takes / name).mkdir()
        for number in range(1 + LENGTH):
            size = odd if name == "wide" or number else (48, 48)
            Image.new("RGB", size).save(takes / name / f"{number:02d}.png")
    with pytest.raises(InputError) as raised:
        photo_clips.make_take_clips(tmp_path / "data", takes)
    for said in ("mixed: 01.png is 32 x 32 pixels; a take's pictures are square", "wide: 00.png is 40 x 32 pixels"):
        assert said in str(raised.value)
    assert not any((tmp_path / "data").iterdir())


@pytest.fixture
def quick(monkeypatch):
    """Clips of photographs without their pixels; what is black shows nobody. Returns the pictures that were taken."""
    taken = []

    def take(picture, framing):
        taken.append(picture)
        if not picture.any():
            raise InputError("nobody")

    monkeypatch.setattr(photo_clips, "take_photograph", take)
    monkeypatch.setattr(photo_clips, "photographed", lambda picture, rng: picture)
    monkeypatch.setattr(photo_clips, "find_parts", lambda photo: SimpleNamespace(moving=(False, False)))
    monkeypatch.setattr(photo_clips, "LayeredWarp", lambda *given: None)
    monkeypatch.setattr(photo_clips, "generate_gestures", lambda features, seed: None)
    monkeypatch.setattr(photo_clips, "photograph_clip", lambda *given: coded_clip(0, 8))
    return taken


def test_pictures_of_nobody_take_no_one_elses_place(tmp_path, quick):
    nobody, somebody = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 90, np.uint8)
    photos = [("a.wall", nobody), ("b.2024", somebody), ("c", somebody)]
    speech: list = [SimpleNamespace(features=None)]
    clips = photo_clips.CLIPS
    with pytest.raises(InputError, match="a.wall: nobody; d: nobody"):
        photo_clips.make_photo_clips(tmp_path, [photos[0], ("d", nobody)], speech, 1)
    for wanted, made in ((1, 1), (3 * clips, 3), (3 * clips, 3)):
        assert photo_clips.make_photo_clips(tmp_path, photos, speech, wanted) == ["a.wall: nobody"]
        assert count_clips(tmp_path) == made * clips
    names = ("b.2024_000", "b.2024_001", "c_000")
    assert [path.name for path in sorted(tmp_path.glob("*.frames.npy"))] == [
        f"train_photo_{n}.frames.npy" for n in names
    ]
    assert stages.describe_data(tmp_path) == "2 photographs moved by their layers (b.2024, c)"
    late = tmp_path / "late"  # one is made all the same
    photo_clips.make_photo_clips(late, photos, speech, 3 * clips, until=0.0)
    assert count_clips(late) == clips


def test_pictures_of_one_stem_are_two_people(tmp_path):
    for name in ("ann.png", "ann.jpg", "bob.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert [name for name, _ in read_photos(tmp_path)] == ["ann-jpg", "ann-png", "bob"]


def test_encoders_learn_from_drawn_speakers_alone(shards):
    """A person's clips are of one face, and what a picture does not show has no place in it."""
    assert len(cut_faces(shards, "train", 9).faces) == 1 and count_clips(shards, "[0-9]") == 1
    for path in shards.glob("train_000000.*"):
        path.unlink()
    for cut in (cut_faces, cut_parts):
        with pytest.raises(InputError, match="the encoders learn from drawn speakers"):
            cut(shards, "train", 9)


def test_people_are_for_stage_data_and_held_out_clips_are_drawn(shards, tmp_path):
    for stage in ("teacher", "all", "restore"):
        with pytest.raises(InputError, match=f"--takes is for stage data; run that first, and then {stage} without it"):
            stages.run_stage(TrainOptions(stage, run=tmp_path, takes=tmp_path, minutes=1))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "data").symlink_to(shards)
    with pytest.raises(InputError, match="no held-out clips of drawn speakers .* python -m iasa train data"):
        stages.run_stage(TrainOptions("teacher", run=tmp_path / "run"))


def test_the_command_makes_clips_and_the_card_names_who_was_seen(tmp_path, monkeypatch):
    from sample_photographs import astronaut

    (tmp_path / "photos").mkdir()
    Image.fromarray(astronaut()).save(tmp_path / "photos" / "eileen.png")
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "photos" / "blank.png")
    monkeypatch.setattr(photo_clips, "CLIPS", 1)
    monkeypatch.setattr(corpus, "make_corpus", lambda *of: [SimpleNamespace(features=None)])
    monkeypatch.setattr(photo_clips, "generate_gestures", lambda features, seed: turning(30))
    monkeypatch.setattr(stages, "PHOTO_CLIPS", 2)
    alone = stages.run_stage(TrainOptions("data", run=tmp_path / "alone", photos=tmp_path / "photos"))
    assert alone["clips"] == 4  # twice the pictures
    report = stages.run_stage(TrainOptions("data", run=tmp_path, photos=tmp_path / "photos", clips=1))
    assert report["clips"] == 1 and len(report["refused"]) == 1 and report["refused"][0].startswith("blank: ")
    people = "1 photographs moved by their layers (eileen)"
    assert stages.describe_data(tmp_path / "data") == people
    (tmp_path / "data" / "train_000000.frames.npy").touch()
    assert stages.describe_data(tmp_path / "data") == f"{stages.DRAWN}; {people}"
    for number in (3, 4, 600, 625):
        (tmp_path / "data" / f"train_take_{number:04}_000.frames.npy").touch()
    assert stages.describe_data(tmp_path / "data").endswith("(eileen); 4 rendered or filmed takes (0003 to 0625)")
    assert stages.describe_data(tmp_path / "nowhere") == f"{stages.DRAWN}; no real people"
    with pytest.raises(InputError, match="--takes makes clips"):
        stages.run_stage(TrainOptions("data", run=tmp_path, pairs=True, takes=tmp_path))
