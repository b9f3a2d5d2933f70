"""The restorer's pairs show what was and what should have been, and training on them runs, saves and learns."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sample_photographs import astronaut_photograph

pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")
pytest.importorskip("skia", reason="speakers are drawn with Skia: pip install skia-python")

from iasa import keypoints as kp  # noqa: E402
from iasa.avatar.identity import make_identity  # noqa: E402
from iasa.avatar.renderer import Renderer  # noqa: E402
from iasa.avatar.rig import rest_motion  # noqa: E402
from iasa.config import InputError  # noqa: E402
from iasa.models.restorer import Restorer  # noqa: E402
from iasa.training import restore_data  # noqa: E402
from iasa.training.options import TrainOptions  # noqa: E402
from iasa.training.restore_data import CROP, Pairs, collect, cut_pairs, draw_photograph, photograph_pairs  # noqa: E402
from iasa.training.stages import run_stage  # noqa: E402
from iasa.training.train_restorer import draw_batch, light_anew, train_restorer  # noqa: E402
from iasa.training.trainer import Schedule  # noqa: E402


def decibel(a, b):
    return 10 * np.log10(255**2 / max(1e-9, ((a.astype(float) - b) ** 2).mean()))


def lively(frames):
    """A head that turns and a face that moves, at random."""
    rng, motion = np.random.default_rng(0), rest_motion(frames)
    head = rng.uniform(-0.12, 0.12, motion.head.shape).astype(np.float32)
    return replace(motion, head=head, face=(0.5 * rng.random(motion.face.shape)).astype(np.float32))


@pytest.fixture(scope="module")
def drawn():
    identity = make_identity(2)
    renderer = Renderer(identity, 512)
    return draw_photograph(identity, rest_motion(1, rest=1), renderer), renderer


def test_a_matte_is_the_speaker_and_not_the_backdrop(drawn):
    photo, renderer = drawn
    nose, hand = (photo.xy * 512).astype(int)[[kp.NOSE, kp.LEFT_HAND.start + 9]]
    assert photo.person[nose[1], nose[0]] > 0.99 and photo.person[hand[1], hand[0]] > 0.99
    assert photo.person[:20, :20].max() == 0 and 0.15 < photo.person.mean() < 0.7
    np.testing.assert_array_equal(renderer.draw(rest_motion(1, rest=1), 0), photo.image)  # the backdrop is back


def test_driven_to_its_own_pose_layers_photograph_and_truth_agree(drawn, monkeypatch):
    monkeypatch.setattr(restore_data, "JITTER", 0.0)
    photo, _ = drawn
    own = photo.xy.astype(np.float64)
    pairs = collect(cut_pairs(photo, (True, True), [own], [photo.image], np.random.default_rng(0)))
    assert pairs.layers.shape == (3, CROP, CROP, 3) and pairs.xy.shape == (3, 2, kp.COUNT, 2)
    assert decibel(pairs.photo, pairs.truth) > 60 and decibel(pairs.layers, pairs.truth) > 25
    np.testing.assert_allclose(pairs.xy[:, 0], pairs.xy[:, 1], atol=1e-5)


def test_a_photograph_there_and_back_does_not_show_the_truth():
    pairs = collect(photograph_pairs(astronaut_photograph(), lively(8), np.random.default_rng(1)))
    assert len(pairs) == restore_data.POSES  # the astronaut's hands are not seen
    spread = pairs.truth.astype(float).std(0).mean()
    assert spread < 12  # every truth is the photograph, its crops apart by the points' jitter alone
    shown, made = (
        np.mean([decibel(a, b) for a, b in zip(part, pairs.truth, strict=True)]) for part in (pairs.photo, pairs.layers)
    )
    assert made > 18 and made > shown + 1 and shown < 30


def noise_pairs(count=12):
    """The truth is the layers, darker where the frame's nose is right of the middle: only the pose tells."""
    rng = np.random.default_rng(0)
    layers = rng.integers(90, 160, (count, 16, 16, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    xy = rng.uniform(0.3, 0.7, (count, 2, kp.COUNT, 2)).astype(np.float32)
    return Pairs(
        layers, layers[::-1].copy(), (layers * 0.7).astype(np.uint8), xy, np.ones((count, 2, kp.COUNT), np.float32)
    )


def test_training_learns_what_is_missing_and_goes_on(tmp_path):
    pairs = noise_pairs()
    pairs.save(tmp_path / "restore_speakers_000000.npz")
    noise_pairs(4).save(tmp_path / "heldout_speakers_000000.npz")
    schedule = Schedule(steps=30, warmup=2, ema=0.5, lr=3e-3, muon_lr=0.02)
    torch.manual_seed(0)
    network, trainer = train_restorer(
        tmp_path, tmp_path / "run", schedule, 4, Restorer(CROP, (8, 16)), False, float("inf")
    )
    layers, photo, truth, xy, confidence, _ = draw_batch(pairs, np.arange(len(pairs)))
    with torch.no_grad():
        after = layers + network.cpu()(layers, photo, xy, confidence)
    assert (after - truth).abs().mean() < 0.5 * (layers - truth).abs().mean()
    assert "layers" in (tmp_path / "run" / "log.txt").read_text() and (tmp_path / "run" / "samples.png").exists()
    _, again = train_restorer(tmp_path, tmp_path / "run", schedule, 4, Restorer(CROP, (8, 16)), True, float("inf"))
    assert again.step == trainer.step == 30
    with pytest.raises(InputError, match="train data --pairs"):
        train_restorer(tmp_path / "run", tmp_path, schedule, 4, None, False, 1.0)


def test_light_is_the_same_for_all_pictures_of_a_pair():
    picture = torch.rand(3, 3, 8, 8) * 2 - 1
    a, b = light_anew(np.random.default_rng(0), picture, picture.clone())
    torch.testing.assert_close(a, b)
    assert (a - picture).abs().mean() > 0.02 and not torch.allclose(a[0] - picture[0], a[1] - picture[1], atol=0.05)


def test_the_command_makes_pairs_and_trains_on_them(tmp_path, monkeypatch):
    monkeypatch.setattr(restore_data, "SPEAKERS", 1)
    monkeypatch.setattr(restore_data, "FRAMES", 2)
    monkeypatch.setattr(restore_data, "generate_gestures", lambda features, seed: lively(40))
    speech = [SimpleNamespace(features=SimpleNamespace(frames=1000))]
    monkeypatch.setattr("iasa.training.speech_data.corpus.make_corpus", lambda *_: speech)
    monkeypatch.setattr("iasa.training.stages.HELDOUT_SPEAKERS", 1)
    made = run_stage(TrainOptions("data", run=tmp_path, pairs=True, clips=1))
    assert made["shards"] == 1
    report = run_stage(
        TrainOptions("restore", run=tmp_path, steps=2, preset="tiny", from_scratch=True, export=tmp_path / "out")
    )
    assert report["steps"] == 2 and "no real people" in report["card"]["data"]
    assert (tmp_path / "out" / "restorer" / "config.json").exists()
    with pytest.raises(InputError, match="holds no photographs"):
        run_stage(TrainOptions("data", run=tmp_path, pairs=True, photos=tmp_path))
