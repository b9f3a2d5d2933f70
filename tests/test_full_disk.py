"""A disk that fills up while something is written: one plain sentence, nothing left behind, and no second complaint."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from iasa.avatar.rig import rest_motion
from iasa.cli.main import main
from iasa.config import InputError
from iasa.files import write_npz
from iasa.grid import TokenGrid
from iasa.keypoints import load_keypoints, pool_to_latent, save_keypoints
from iasa.masks import make_plan
from iasa.masks.export import save_plan
from iasa.models.checkpoint import save_weights
from iasa.models.transformer import VideoTransformer
from iasa.paths import POSES, SPEECH
from iasa.speech import analyse
from iasa.training.speech_data.corpus import Utterance, save_utterance
from iasa.training.speech_data.performances import Heard, keep_heard
from iasa.training.train_motion import Piece, save_pieces

resource = pytest.importorskip("resource", reason="this system cannot limit the size of files")
ROOM = 1000  # bytes that a file may have: a write fails half-way, as on a full disk


@contextmanager
def full_disk() -> Iterator[None]:
    """Files end at ROOM; nothing may be said where nobody catches it. Ended before pytest itself writes to a log."""
    said = []
    hook, limits = sys.unraisablehook, resource.getrlimit(resource.RLIMIT_FSIZE)
    sys.unraisablehook = said.append
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        gc.collect()
        sys.unraisablehook = hook
    assert said == []


@pytest.fixture(scope="module")
def things():
    """Name -> what writes it to a path; made before the disk is full."""
    poses = load_keypoints(POSES / "welcome.npz")
    features = analyse(np.random.default_rng(0).normal(size=16_000).astype(np.float32), method="signal")
    plan = make_plan(pool_to_latent(poses[:60]), TokenGrid(30, 8, 8))
    noise = np.random.default_rng(0).normal(size=(100, 57)).astype(np.float16)
    piece = Piece(noise[:, :12], noise, np.ones((25, 5), bool), np.zeros(20, np.float32))
    network = VideoTransformer(latent_channels=4, width=32, layers=1, heads=2)
    return {
        "poses": lambda path: save_keypoints(path, poses),
        "plan": lambda path: save_plan(path, plan),
        "pieces": lambda path: save_pieces(path, [piece]),
        "utterance": lambda path: save_utterance(path, Utterance(np.zeros(16_000, np.float32), features, "one")),
        "speech": lambda path: keep_heard(path.parent / "heard", "one", lambda: Heard("one", features, features)),
        "weights": lambda path: save_weights(network, path.parent / "weights", {}),
    }


@pytest.mark.parametrize("name", ["poses", "plan", "pieces", "utterance", "speech", "weights"])
def test_what_is_saved_is_told_in_one_sentence(things, name, tmp_path):
    with full_disk(), pytest.raises(InputError, match=r"(cannot write|cannot be written to) "):
        things[name](tmp_path / "out.npz")
    assert not [path for path in tmp_path.rglob("*.npz")]


def test_arrays_and_motions_fail_once(tmp_path):
    with full_disk(), pytest.raises(InputError, match="cannot write a.npz"):
        write_npz(tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=1000))
    with full_disk(), pytest.raises(InputError, match="cannot write b.npz"):
        rest_motion(400, rest=1).concat(rest_motion(400)).to_npz(tmp_path / "b.npz")
    assert list(tmp_path.iterdir()) == []


def test_the_command_motion_says_it_in_one_sentence(tmp_path, capsys):
    out = tmp_path / "poses.npz"
    command = ["motion", "--audio", str(SPEECH / "tea.mp3"), "--model", "rules", "--out", str(out)]
    with full_disk():
        assert main(command) == 2
    said = capsys.readouterr().err
    assert "cannot write poses.npz" in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_arrays_come_back_as_they_were(tmp_path):
    write_npz(tmp_path / "a.npz", x=np.arange(5), name="n", scale=2.5)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as data:
        assert data["x"].tolist() == [0, 1, 2, 3, 4] and str(data["name"]) == "n" and float(data["scale"]) == 2.5
