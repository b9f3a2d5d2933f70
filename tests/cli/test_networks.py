"""Options of the commands that compute with networks: whose weights, and in which numbers."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch

from iasa.avatar.speaker import load_speaker
from iasa.cli.main import COMMANDS, main, make_parser
from iasa.keypoints import save_keypoints
from iasa.media.reader import read_metadata
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.paths import SPEECH
from iasa.pipeline import CoSpeechPipeline

BACKBONES = {"backbone-data", "backbone-train"}  # whose weights are another model's
NETWORKS = {"generate", "mask", "train", "evaluate", "explorer", "evaluate-motion", "bench"}
SPOKEN = str(SPEECH / "welcome.mp3")


def run(words: list) -> int:
    try:
        return main([str(word) for word in words])
    except SystemExit as left:
        return left.code


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with small networks."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "mine"
    student = VideoTransformer(8, width=16, layers=1, heads=2)
    CoSpeechPipeline(Autoencoder(8, (8, 8, 16)), student, dtype=torch.float32).save_pretrained(folder)
    return folder


@pytest.fixture
def poses(tmp_path):
    path = tmp_path / "poses.npz"
    save_keypoints(path, load_speaker("alba").keypoints[np.zeros(6, int)])
    return path


def test_every_command_that_computes_with_networks_takes_their_options():
    found = {}
    for name in COMMANDS:
        sub = make_parser(name)._subparsers._group_actions[0].choices[name]
        found[name] = {word for action in sub._actions for word in action.option_strings}
    assert {name for name, words in found.items() if "--dtype" in words} == NETWORKS
    assert {name for name, words in found.items() if "--device" in words} == {"generate", "bench"}
    assert {name for name, words in found.items() if "--weights" in words} == NETWORKS - {"train"} | {
        "motion",
        *BACKBONES,
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_video_by_weights_of_ones_own(weights, poses, tmp_path, capsys, dtype, monkeypatch):
    monkeypatch.setenv("IASA_DTYPE", "auto")
    out = tmp_path / "out.mp4"
    words = ["generate", "--audio", SPOKEN, "--pose", poses, "--weights", weights, "--dtype", dtype, "--out", out]
    words += ["--device", "cpu"]
    assert run([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["dtype"] == read_metadata(out)["dtype"] == dtype
    assert report["device"] == "cpu"
    assert report["frames"] == 6 + round(25 * report["held_seconds"])
    assert os.environ["IASA_DTYPE"] == "auto"  # of this command alone


def test_the_explorer_of_weights_of_ones_own(weights, poses, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert run(["mask", "--pose", poses, "--attention", "--weights", weights, "--out", out, "--json"]) == 0
    assert out.stat().st_size > 10_000


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--audio", SPOKEN, "--out", "x.mp4"],
        ["motion", "--audio", SPOKEN, "--model", "learned", "--out", "x.npz"],
        ["evaluate", "--quick"],
        ["evaluate-motion"],
        ["explorer", "--static", "site"],
        ["bench", "generate", "--quick"],
    ],
    ids=lambda words: words[0],
)
def test_weights_that_are_none(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert run([*words, "--weights", "empty"]) == 2
    assert "there are no weights in empty" in capsys.readouterr().err
    assert run([*words, "--weights", "missing"]) == 2
    assert "there is no folder missing" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="refused where torch sees no GPU, and it sees one here")
@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--audio", SPOKEN, "--reference", "nowhere.png", "--out", "x.mp4"],
        ["bench", "generate", "--reference", "nowhere.png", "--out", "x.json"],
    ],
    ids=lambda words: words[0],
)
def test_a_gpu_that_is_not_there(words, tmp_path, capsys, monkeypatch):
    """Said before a picture is read or a network is loaded."""
    monkeypatch.chdir(tmp_path)
    assert run([*words, "--device", "cuda"]) == 2
    said = capsys.readouterr().err
    assert said == "iasa: the device is cuda, and torch sees no GPU here; cpu is accepted, or auto\n"
    assert not any(tmp_path.iterdir())


def test_numbers_that_are_none(tmp_path, capsys, monkeypatch):
    assert run(["generate", "--audio", SPOKEN, "--out", "x.mp4", "--dtype", "float8"]) == 2
    assert "float8" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IASA_DTYPE", "float8")
    assert run(["generate", "--audio", SPOKEN, "--out", "x.mp4"]) == 2
    assert "'float8'; accepted: float32, bfloat16, int8, auto" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
