"""A small rendered video becomes pairs: one of its frames is the photograph, the others are what layers should show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")
pytest.importorskip("skia", reason="speakers are drawn with Skia: pip install skia-python")

from iasa.avatar.identity import make_identity  # noqa: E402
from iasa.avatar.renderer import Renderer  # noqa: E402
from iasa.avatar.rig import make_keypoints, rest_motion  # noqa: E402
from iasa.config import InputError  # noqa: E402
from iasa.keypoints import FACE, Keypoints  # noqa: E402
from iasa.media.writer import write_video  # noqa: E402
from iasa.training import restore_data, video_data  # noqa: E402
from iasa.training.options import TrainOptions  # noqa: E402
from iasa.training.restore_data import Pairs, draw_photograph  # noqa: E402
from iasa.training.stages import run_stage  # noqa: E402

FRAMES = 4


class Film:
    """A speaker whose head turns, and what a detector and `take_photograph` would say of her."""

    def __init__(self) -> None:
        self.identity = make_identity(2)
        motion = rest_motion(FRAMES, rest=1)
        turns = np.zeros_like(motion.head)
        turns[:, 0] = np.linspace(0.0, 0.25, FRAMES)
        self.motion = replace(motion, head=turns)
        self.renderer = Renderer(self.identity, 512)
        self.frames = self.renderer.render(self.motion)
        self.taken: list[int] = []

    def find_poses(self, pictures, fps: float) -> Keypoints:
        count = sum(1 for _ in pictures)
        poses = make_keypoints(self.identity, self.motion)[:count]
        return replace(poses, fps=fps)

    def take(self, picture: np.ndarray, framing: str):
        assert framing == "whole", "the clip is cut already"
        number = int(np.abs(self.frames.astype(int) - picture).mean((1, 2, 3)).argmin())
        self.taken.append(number)
        return draw_photograph(self.identity, self.motion[number:], self.renderer)


@pytest.fixture(scope="module")
def drawn():
    return Film()


@pytest.fixture
def film(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(video_data, "LENGTH", FRAMES)
    monkeypatch.setattr(video_data, "FRAMES", 2)
    monkeypatch.setattr(restore_data, "JITTER", 0.0)
    drawn.taken.clear()
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a_talk.mp4", drawn.frames, fps=25.0)
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video")
    return drawn


def error_of(a, b):
    return np.abs(a.astype(float) - b).mean()


def test_a_video_becomes_pairs_of_its_layers_and_its_own_frames(film, tmp_path):
    refused = video_data.make_video_shards(tmp_path / "pairs", tmp_path / "videos", film.find_poses, film.take)
    assert len(refused) == 1 and refused[0].startswith("broken.mp4: ")
    (shard,) = (tmp_path / "pairs").glob("*")
    assert shard.name == "restore_video_a_talk_000.npz"
    pairs = Pairs.load(shard)
    assert len(pairs) == 2 and len(film.taken) == 1, "the face in each of two frames; closed hands keep still"
    assert error_of(pairs.layers, pairs.truth) < 0.8 * error_of(pairs.photo, pairs.truth)
    moved = np.abs(pairs.xy[:, 1] - pairs.xy[:, 0])[:, FACE].max((1, 2))
    assert moved.max() > 0.02, "the poses are those of other frames"
    before = shard.stat().st_mtime_ns
    video_data.make_video_shards(tmp_path / "pairs", tmp_path / "videos", film.find_poses, film.take)
    assert shard.stat().st_mtime_ns == before and len(film.taken) == 1


def test_videos_of_nobody_are_refused_by_name(film, tmp_path, monkeypatch):
    def nobody(pictures, fps: float) -> Keypoints:
        poses = film.find_poses(pictures, fps)
        return replace(poses, confidence=np.zeros_like(poses.confidence))

    with pytest.raises(InputError, match="none of the videos .* a_talk.mp4: no 4 frames in a row"):
        video_data.make_video_shards(tmp_path / "pairs", tmp_path / "videos", nobody, film.take)
    monkeypatch.setattr(
        video_data, "make_video_shards", lambda folder, videos: [f"{videos.name} into {folder.relative_to(tmp_path)}"]
    )
    report = run_stage(TrainOptions("data", run=tmp_path, pairs=True, videos=tmp_path / "videos"))
    assert report == {"stage": "data", "shards": 0, "refused": ["videos into data/pairs"]}
    with pytest.raises(InputError, match="there are no videos"):
        video_data.find_videos(tmp_path)
