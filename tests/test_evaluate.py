"""The quality report: rows and their weights, what is kept over an interruption, judges, the many-step sparse sampler."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from iasa import ablation, evaluate
from iasa.ablation import ROWS, animate_sparse, find_weights, mark_of
from iasa.config import InputError, MaskOptions
from iasa.evaluation import make_table, summarise
from iasa.judges import Judges, compare_features
from iasa.keypoints import COUNT, Keypoints
from iasa.metrics import (
    area_under_curve,
    frechet_distance,
    identity_figures,
    lip_shape_correlation,
    mouth_lag,
    sync_margin,
)
from iasa.models.autoencoder import Autoencoder
from iasa.models.face_encoder import FaceEncoder
from iasa.models.part_encoder import PartEncoder
from iasa.models.sync_encoder import SyncEncoder
from iasa.models.transformer import VideoTransformer
from iasa.models.weights import save_weights
from iasa.pipeline import CoSpeechPipeline
from iasa.reference import load_speaker, speaker_names


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of shipped weights, and a run folder, both empty."""
    for module in (ablation, evaluate):
        if hasattr(module, "FOLDER"):
            monkeypatch.setattr(module, "FOLDER", tmp_path / "weights")
    monkeypatch.setattr("iasa.models.weights.FOLDER", tmp_path / "weights")
    return tmp_path / "weights", tmp_path / "run"


def put(folder, **card):
    torch.manual_seed(0)
    save_weights(VideoTransformer(latent_channels=4, width=16, layers=1, heads=1), folder, card)


def test_a_row_finds_its_own_weights_and_no_other_stages(weights):
    shipped, run = weights
    assert find_weights(ROWS["region"], run) is None
    put(shipped / "student", made_by="python -m iasa train distill_region")
    assert find_weights(ROWS["region"]) == find_weights(ROWS["student"]) == shipped / "student"
    assert find_weights(ROWS["regression"]) is None  # what lies there is the distilled student
    put(run / "student" / "export")
    assert find_weights(ROWS["regression"], run) == run / "student" / "export"
    put(shipped / "teacher")  # a card of before the stages had names
    assert find_weights(ROWS["teacher"], run) == shipped / "teacher"


def test_rows_that_are_not_trained_are_refused_by_name_or_listed_with_their_command(weights):
    options = argparse.Namespace(ablation=False, rows=["dmd"], run=None)
    with pytest.raises(InputError, match="row dmd has no weights yet; train them with: python -m iasa train distill$"):
        evaluate.choose_rows(options)
    options.ablation = True
    assert [row.name for row in evaluate.choose_rows(options)] == [
        "truth", "teacher", "finetuned", "global", "local", "regression", "dmd", "region",
    ]  # fmt: skip


def test_other_weights_have_another_mark(tmp_path):
    put(tmp_path / "a")
    put(tmp_path / "b")
    assert mark_of(tmp_path / "a") == mark_of(tmp_path / "b")
    save_weights(VideoTransformer(latent_channels=4, width=16, layers=1, heads=1), tmp_path / "b", {})
    assert mark_of(tmp_path / "a") != mark_of(tmp_path / "b")


def test_an_interrupted_evaluation_goes_on_from_what_it_kept(weights, tmp_path, monkeypatch):
    """Three clips, killed in the second; the first is not measured again, and a torn last line is passed over."""
    shipped, run = weights
    put(shipped / "student")
    torch.manual_seed(0)
    save_weights(Autoencoder(latent_channels=4, widths=(16, 16, 16)), shipped / "autoencoder", {})
    measured, killed_at = [], 3

    def measure(player, clip, judges):
        measured.append((player.row.name, clip.seed))
        if len(measured) == killed_at:
            raise KeyboardInterrupt
        return {"psnr": 20.0 + clip.seed % 10, "fps": 3.0}, None

    class Clip(argparse.Namespace):
        pass

    monkeypatch.setattr(evaluate, "_measure", measure)
    monkeypatch.setattr(evaluate, "make_heldout_clips", lambda count, frames: [Clip(seed=i) for i in range(count)])
    rows, keep = [ROWS["truth"], ROWS["student"], ROWS["dmd"]], tmp_path / "kept.jsonl"
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(rows, 3, 10, {}, run, keep)
    with open(keep, "a") as file:
        file.write('{"key": "torn')
    killed_at = None
    measured.clear()
    text, report = evaluate.evaluate(rows, 3, 10, {}, run, keep)
    assert measured == [("truth", 1), ("student", 1), ("truth", 2), ("student", 2)]
    assert report["rows"]["student"]["psnr"]["mean"] == pytest.approx(21.0)
    assert report["not_trained"] == {"+ DMD": "python -m iasa train distill"}
    assert "+ DMD: not trained; its weights come from `python -m iasa train distill`" in text
    assert {"command", "date", "device", "torch", "clips", "frames", "seed", "identities", "steps"} <= set(report)
    json.dumps(report)


def test_tables_show_the_columns_that_some_row_has():
    rows = [{"model": "a", "psnr": 20.0}, {"model": "a", "psnr": 22.0}, {"model": "b", "ssim": 0.5}]
    table, summary = summarise(rows, {"b": {"fd_parts": {"mean": 0.25, "low": 0.2, "high": 0.3, "clips": 2}}})
    assert "FD parts" in table and "0.250 [0.200, 0.300]" in table
    short = make_table(summary, {"a": 2, "b": 1}, ("psnr", "hkc"))
    assert short.splitlines()[0] == "| model | clips | PSNR dB |" and "| b | 1 | - |" in short


@pytest.fixture(scope="module")
def speaker():
    return load_speaker(speaker_names()[0])


def test_the_sparse_teacher_is_causal_and_follows_its_mask(speaker):
    torch.manual_seed(0)
    model = VideoTransformer(latent_channels=4, width=32, layers=1, heads=2)
    codec = Autoencoder(latent_channels=4, widths=(16, 16, 16))
    with torch.no_grad():
        for p in (*model.parameters(), *codec.parameters()):
            p.add_(0.05 * torch.randn_like(p))
    rng = np.random.default_rng(0)
    still = speaker.keypoints
    xy = np.repeat(still.xy, 9, 0) + 0.05 * rng.normal(size=(9, 1, 2))
    poses = Keypoints(xy, np.repeat(still.confidence, 9, 0))
    later = Keypoints(np.concatenate([xy[:6], xy[6:] + 0.1]), poses.confidence)

    def make(keypoints, **mask):
        pipeline = CoSpeechPipeline(codec, {"teacher": model}, "cpu", torch.float32, MaskOptions(top_k=1, **mask))
        frames, timing = animate_sparse(pipeline, keypoints, speaker, steps=2)
        assert {"plan", "condition", "denoise", "decode"} <= set(timing.seconds)
        return frames.astype(int)

    frames = make(poses)
    assert frames.shape == (9, 256, 256, 3)
    away = np.abs(make(later) - frames).max((1, 2, 3))
    assert (away[:6] <= 1).all() and (away[6:] > 5).all(), away
    assert (make(poses, local=False) != frames).any()


def test_judges_know_a_face_from_another_and_bear_missing_ones(speaker):
    torch.manual_seed(0)
    judges = Judges(FaceEncoder(width=8).eval().embed, PartEncoder(width=8).eval(), SyncEncoder(width=8).eval())
    frames, poses = np.repeat(speaker.image[None], 60, 0), speaker.keypoints[np.zeros(60, int)]
    audio = np.random.default_rng(0).normal(size=60 * 640).astype(np.float32)
    scores = judges.score(frames, poses, (speaker.image, speaker.keypoints), audio)
    assert scores["identity"] == pytest.approx(1.0, abs=1e-4) and scores["identity_kept"] == pytest.approx(1.0, abs=1e-4)
    fading = frames.copy()
    fading[40:] = fading[40:] // 3
    assert judges.score(fading, poses, (speaker.image, speaker.keypoints))["identity_kept"] < 0.999
    confidence = poses.confidence.copy()
    confidence[10:20] = 0
    holes = judges.score(frames, replace(poses, confidence=confidence), (speaker.image, speaker.keypoints), audio)
    assert holes["identity"] == pytest.approx(1.0, abs=1e-4) and np.isfinite(holes["sync"])
    nobody = judges.score(frames, replace(poses, confidence=confidence * 0), (speaker.image, speaker.keypoints), audio)
    assert np.isnan(nobody["identity"]) and np.isnan(nobody["sync"])
    assert judges.look(frames, poses).shape == (24, 32)


def test_frechet_distance_of_gaussians():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20_000, 2)) * [1.0, 2.0]
    b = rng.normal(size=(20_000, 2)) * [3.0, 2.0] + [1.0, 0.0]
    assert frechet_distance(a, b) == pytest.approx(1 + (3 - 1) ** 2, rel=0.05)
    assert abs(frechet_distance(a, a)) < 1e-6 and np.isnan(frechet_distance(a[:1], b))
    found = compare_features(list(b.reshape(10, -1, 2)), list(a.reshape(10, -1, 2)))
    assert found["low"] < found["mean"] < found["high"] and found["clips"] == 10


def test_area_under_the_curve_counts_pairs():
    positive, negative = np.array([0.9, 0.5, 0.3]), np.array([0.5, 0.1])
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert area_under_curve(positive, negative) == pytest.approx(np.mean(pairs))


def test_identity_is_followed_over_the_clip():
    vectors = np.tile([1.0, 0.0], (10, 1))
    vectors[8:] = [0.6, 0.8]
    vectors[4] = np.nan
    figures = identity_figures(vectors, np.array([1.0, 0.0]), second=2)
    assert figures["identity_kept"] == pytest.approx(0.6) and figures["identity"] == pytest.approx((7 + 1.2) / 9)


def test_sync_margin_is_likeness_in_time_above_the_usual():
    curve = np.zeros(31)
    curve[15], curve[20] = 0.8, 0.9
    assert sync_margin(curve) == pytest.approx(0.8)


def test_lip_shape_is_compared_in_the_faces_own_frame():
    rng = np.random.default_rng(0)
    xy = np.repeat(rng.uniform(0.3, 0.7, (1, COUNT, 2)), 40, 0)
    xy[:, 71:91] += 0.02 * rng.normal(size=(40, 20, 2))
    truth = Keypoints(xy, np.ones((40, COUNT)))
    moved = Keypoints(0.7 * xy + 0.1, np.ones((40, COUNT)))
    assert lip_shape_correlation(moved, truth) == pytest.approx(1.0, abs=1e-3)
    late = moved[np.clip(np.arange(40) - 3, 0, 39)]
    assert lip_shape_correlation(late, truth) < 0.5
    assert mouth_lag(late, truth, likeness=lip_shape_correlation) == 3
