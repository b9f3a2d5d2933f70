"""Clips of motion from videos: one file a video whatever its name, and none across a cut or a change of person."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest

from iasa.config import InputError
from iasa.motion.rig_regions import REGIONS
from iasa.training import motion_clips
from iasa.training.motion_clips import clip_name, make_clips, read_clips, split_run
from iasa.training.train_motion import load_pieces


def test_two_videos_of_one_stem_give_two_files(tmp_path, monkeypatch):
    names = ["talk.mp4", "talk.mkv", "x" * 251 + ".mp4", os.fsdecode(b"bytes\xff.webm"), "damaged.mov"]
    for name in names:
        (tmp_path / name).write_bytes(b"video")
    read = []

    def read_one(path):
        read.append(path.name)
        if path.name == "damaged.mov":
            raise InputError("damaged.mov is damaged")
        return [path.name], 100, 60

    monkeypatch.setattr(motion_clips, "read_clips", read_one)
    monkeypatch.setattr(motion_clips, "save_pieces", lambda target, pieces: target.write_text(repr(pieces)))
    (tmp_path / "clips").mkdir()
    report = make_clips(tmp_path, tmp_path / "clips")
    assert sorted(read) == sorted(names) and report["clips"] == 4 and report["videos"] == 5
    assert {path.read_text() for path in (tmp_path / "clips").iterdir()} == {repr([name]) for name in names[:4]}
    read.clear()
    make_clips(tmp_path, tmp_path / "clips")
    assert read == ["damaged.mov"]  # the others are there already


def test_names_of_clips_are_short_and_their_own(tmp_path):
    names = ["a.mp4", "a.mkv", "a.mp4.mkv", *(("ü" * 123 + tail + ".mp4") for tail in "xyz")]
    made = [clip_name(tmp_path / name) for name in names]
    assert len(set(made)) == len(names) and all(len(name.encode()) <= 255 and name.endswith(".npz") for name in made)


@pytest.mark.parametrize("length", [50, 299, 300, 301, 549, 550, 1000])
def test_a_run_is_split_without_loss_or_a_short_rest(length):
    parts = split_run(7, 7 + length)
    assert parts[0][0] == 7 and parts[-1][1] == 7 + length
    assert all(before[1] == after[0] for before, after in zip(parts, parts[1:], strict=False))
    assert all(50 <= stop - start < 300 for start, stop in parts)


def test_a_hard_cut_between_two_speakers_ends_a_clip(tmp_path, monkeypatch):
    """60 frames of one drawn speaker, 60 of another; detector and fit are replaced by the truth, which is known here."""
    pytest.importorskip("skia", reason="drawn speakers are optional: pip install skia-python")
    from iasa.avatar.identity import make_identity
    from iasa.avatar.renderer import Renderer
    from iasa.avatar.rig import make_keypoints
    from iasa.keypoints import concat_keypoints
    from iasa.media.writer import write_video
    from iasa.motion import speech_to_motion
    from iasa.speech import analyse

    rng = np.random.default_rng(0)
    sound = (0.2 * rng.standard_normal(16_000 * 24 // 5) * (np.arange(76_800) // 4000 % 2)).astype(np.float32)
    motion = speech_to_motion(analyse(sound, method="signal"), 0)
    people = [(make_identity(seed), motion[60 * i : 60 * (i + 1)]) for i, seed in enumerate((5, 12))]
    frames = np.concatenate([Renderer(who, 256).render(moves) for who, moves in people])
    write_video(tmp_path / "v.mp4", frames, sound, 16_000)
    poses = concat_keypoints(*(make_keypoints(who, moves) for who, moves in people))
    fitted = []

    def extract(pictures, fps, cuts):
        assert sum(1 for _ in pictures) == 120 and cuts == [60]
        return poses

    def fit(keypoints):
        fitted.append(keypoints.xy)
        known = np.ones((len(keypoints), len(REGIONS)), bool)
        return SimpleNamespace(motion=people[len(fitted) - 1][1], known=known)

    monkeypatch.setattr(motion_clips, "extract_keypoints", extract)
    monkeypatch.setattr(motion_clips, "fit_motion", fit)
    pieces, seen, passed = read_clips(tmp_path / "v.mp4")
    assert seen == 120 and len(pieces) == 2 and passed == 120
    np.testing.assert_array_equal(np.stack(fitted), poses.xy.reshape(2, 60, -1, 2))
    motion_clips.save_pieces(tmp_path / "clips" / "v.npz", pieces)
    assert len(load_pieces(tmp_path / "clips" / "v.npz")) == 2
