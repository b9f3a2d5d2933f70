"""The quality report: rows and their weights, what is kept over an interruption, proxy, the many-step sparse sampler."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from iasa.avatar.speaker import load_speaker, speaker_names
from iasa.config import InputError, MaskOptions
from iasa.evaluation import run as evaluate
from iasa.evaluation import worker as examiner_module
from iasa.evaluation.rows import ROWS
from iasa.evaluation.tables import compare_rows, make_table, summarise
from iasa.evaluation.variants import find_variant
from iasa.evaluation.worker import EvaluationJob, EvaluationWorker, ResultCache, evaluate_all, unpack
from iasa.keypoints import COUNT, Keypoints, mouth_shape
from iasa.metrics.networks.face_encoder import FaceEncoder
from iasa.metrics.networks.part_encoder import PartEncoder
from iasa.metrics.networks.sync_encoder import SyncEncoder
from iasa.metrics.proxy import ProxyMetrics, compare_features
from iasa.metrics.video_quality import (
    area_under_curve,
    bootstrap_interval,
    frechet_distance,
    identity_figures,
    lip_shape_correlation,
    mouth_lag,
    sync_margin,
)
from iasa.models.autoencoder import Autoencoder
from iasa.models.checkpoint import mark_of, save_weights
from iasa.models.transformer import VideoTransformer
from iasa.paths import SPEECH
from iasa.pipeline import CoSpeechPipeline
from iasa.speech import analyse
from iasa.training.speech_data.corpus import Committed, Utterance


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of shipped weights, and a run folder, both empty."""
    monkeypatch.setattr("iasa.models.checkpoint.WEIGHTS", tmp_path / "weights")
    return tmp_path / "weights", tmp_path / "run"


def put(folder, **card):
    torch.manual_seed(0)
    save_weights(VideoTransformer(latent_channels=4, width=16, layers=1, heads=1), folder, card)


def test_a_row_finds_its_own_weights_and_no_other_stages(weights):
    shipped, run = weights
    assert find_variant(ROWS["region"], run) is None
    put(shipped / "student", made_by="python -m iasa train distill_region")
    assert find_variant(ROWS["region"]) == find_variant(ROWS["student"]) == shipped / "student"
    assert find_variant(ROWS["regression"]) is None  # what lies there is the distilled student
    put(run / "student" / "export")
    assert find_variant(ROWS["regression"], run) == run / "student" / "export"
    put(shipped / "teacher")  # a card of before the stages had names
    assert find_variant(ROWS["teacher"], run) == shipped / "teacher"


def test_rows_that_are_not_trained_are_refused_by_name_or_listed_with_their_command(weights):
    with pytest.raises(InputError, match="row dmd has no weights yet; train them with: python -m iasa train distill$"):
        evaluate.choose_rows(["dmd"])
    assert [row.name for row in evaluate.choose_rows(None, ablation=True)] == [
        "truth", "autoencoder", "teacher", "finetuned", "global", "local", "regression", "rollout", "dmd", "region",
    ]  # fmt: skip


def test_other_weights_have_another_mark(tmp_path):
    put(tmp_path / "a")
    put(tmp_path / "b")
    assert mark_of(tmp_path / "a") == mark_of(tmp_path / "b")
    save_weights(VideoTransformer(latent_channels=4, width=16, layers=1, heads=1), tmp_path / "b", {})
    assert mark_of(tmp_path / "a") != mark_of(tmp_path / "b")


@dataclass(frozen=True)
class Clip:
    seed: int
    frames: int = 10


def small_weights(folder):
    put(folder / "student")
    torch.manual_seed(0)
    save_weights(Autoencoder(latent_channels=4, widths=(16, 16, 16)), folder / "autoencoder", {})


def test_an_interrupted_evaluation_goes_on_from_what_it_kept(weights, tmp_path, monkeypatch):
    """Three clips, killed in the second; the first is not measured again, and a torn last line is passed over."""
    shipped, run = weights
    small_weights(shipped)
    measured, killed_at = [], 3

    def measure(worker, runner, clip):
        measured.append((runner.row.name, clip.seed))
        if len(measured) == killed_at:
            raise KeyboardInterrupt
        return {"psnr": 20.0 + clip.seed + (runner.row.name == "student"), "fps": 3.0}, {
            "parts": np.full((4, 2), clip.seed)
        }

    monkeypatch.setattr(EvaluationWorker, "measure", measure)
    monkeypatch.setattr(evaluate, "make_heldout_clips", lambda count, frames: [Clip(i) for i in range(count)])
    monkeypatch.setattr(evaluate, "PAIRS", (("student", "truth"), ("dmd", "student")))
    rows, keep = [ROWS["truth"], ROWS["student"], ROWS["dmd"]], tmp_path / "kept.jsonl"
    with pytest.raises(KeyboardInterrupt):
        evaluate.evaluate(rows, 3, 10, {}, run, keep)
    with open(keep, "a") as file:
        file.write('{"key": "torn')
    killed_at = None
    measured.clear()
    text, report = evaluate.evaluate(rows, 3, 10, {}, run, keep)
    assert measured == [("truth", 1), ("student", 1), ("truth", 2), ("student", 2)]
    assert report["rows"]["student"]["psnr"]["mean"] == pytest.approx(22.0)
    assert report["rows"]["student"]["fd_parts"]["mean"] == pytest.approx(0.0, abs=1e-6)
    one = {"mean": 1.0, "low": 1.0, "high": 1.0, "clips": 3}
    assert report["differences"] == {"student against ground truth": {"psnr": one}}
    assert "| student against ground truth | 3 | +1.00 [+1.00, +1.00] |" in text
    assert report["not_trained"] == {"+ DMD": "python -m iasa train distill"}
    assert "+ DMD: not trained; its weights come from `python -m iasa train distill`" in text
    assert {"command", "date", "device", "torch", "clips", "frames", "seed", "identities", "steps"} <= set(report)
    json.dumps(report)
    measured.clear()
    evaluate.evaluate(rows, 3, 10, {"student": 2}, run, keep)  # the torn line took no whole one with it
    assert measured == [("student", 0), ("student", 1), ("student", 2)]


def test_figures_kept_for_other_weights_or_metrics_are_not_taken(weights, tmp_path, monkeypatch):
    shipped, run = weights
    small_weights(shipped)
    measured = []

    def measure(worker, runner, clip):
        measured.append(runner.row.name)
        return {"psnr": 20.0}, {}

    monkeypatch.setattr(EvaluationWorker, "measure", measure)
    monkeypatch.setattr(examiner_module, "NAMES", ("student",))  # stands where the proxy' folders do

    def names():
        measured.clear()
        worker = EvaluationWorker(
            EvaluationJob((ROWS["truth"], ROWS["autoencoder"], ROWS["student"]), {}, run, tmp_path / "kept.jsonl")
        )
        worker.evaluate_clip(Clip(0))
        return list(measured)

    monkeypatch.setattr(ProxyMetrics, "load", classmethod(lambda cls, run: None))
    assert names() == ["truth", "autoencoder", "student"] and names() == []
    torch.manual_seed(1)
    save_weights(VideoTransformer(latent_channels=4, width=16, layers=1, heads=1), shipped / "student", {})
    assert names() == ["student"]
    save_weights(Autoencoder(latent_channels=4, widths=(16, 16, 16)), shipped / "autoencoder", {})
    assert names() == ["autoencoder", "student"]
    monkeypatch.setattr(ProxyMetrics, "load", classmethod(lambda cls, run: object()))
    assert names() == ["truth", "autoencoder", "student"]


def _write_many(path, writer):
    cache = ResultCache(path)
    for i in range(20):
        cache.put(f"{writer} {i}", {"psnr": float(i)}, {"parts": np.full((13, 500), writer)})


def test_several_processes_keep_their_figures_in_one_file(tmp_path):
    path = tmp_path / "kept.jsonl"
    path.write_text('{"key": "torn')
    context = get_context("fork")
    writers = [context.Process(target=_write_many, args=(path, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    known = ResultCache(path).known
    assert set(known) == {f"{number} {i}" for number in range(4) for i in range(20)}
    one = known["3 7"]
    assert one["scores"] == {"psnr": 7.0} and np.array_equal(unpack(one["features"]["parts"]), np.full((13, 500), 3.0))


def test_a_full_disk_is_told_and_what_was_kept_stays(tmp_path):
    import resource

    cache = ResultCache(tmp_path / "kept.jsonl")
    cache.put("a", {"psnr": 1.0}, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(InputError, match="kept.jsonl cannot take the figures: File too large"):
            cache.put("b", {"psnr": 2.0}, {"parts": np.zeros((100, 10))})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    again = ResultCache(tmp_path / "kept.jsonl")
    assert set(again.known) == {"a"}
    again.put("c", {"psnr": 3.0}, {})
    assert set(ResultCache(tmp_path / "kept.jsonl").known) == {"a", "c"}


@pytest.mark.slow
def test_two_workers_find_what_one_finds(tmp_path, monkeypatch):
    """The real thing on the row that costs least: two clips of eight frames of the truth."""
    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    pytest.importorskip("skia", reason="drawing is optional: pip install skia-python")
    audio, phones = Committed(sorted(SPEECH.glob("*.json"))[0])()
    speech = [Utterance(audio, analyse(audio, phones=phones), "one")]
    monkeypatch.setattr(examiner_module, "make_corpus", lambda split: speech)
    keep = tmp_path / "kept.jsonl"
    _, two = evaluate.evaluate([ROWS["truth"]], 2, 8, {}, None, keep, workers=2)
    assert len(keep.read_text().splitlines()) == 2 and "2 processes of one thread" in two["device"]
    clip = evaluate.make_heldout_clips(2, 8)[1]
    (one,) = EvaluationWorker(EvaluationJob((ROWS["truth"],), {})).evaluate_clip(clip)
    kept = {key.split()[1]: record for key, record in ResultCache(keep).known.items()}[str(clip.seed)]
    assert kept["scores"].keys() == one["scores"].keys()
    for name, value in one["scores"].items():
        assert kept["scores"][name] == pytest.approx(value, rel=1e-3, nan_ok=True), name
    assert not clip.__dict__.keys() & {"truth", "masks"}  # pictures of finished clips are let go


PROGRAM = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import torch
from iasa.evaluation import worker

class Slow:
    def __init__(self, work):
        self.folder = work.keep

    def evaluate_clip(self, clip):
        with ThreadPoolExecutor(1) as pool:  # as the stages of a roll-out are
            threads = pool.submit(torch.get_num_threads).result()
        (self.folder / f"{os.getpid()}.partial").write_text(str(threads))
        (self.folder / f"{os.getpid()}.partial").rename(self.folder / str(os.getpid()))
        if clip:
            time.sleep(600)

worker.EvaluationWorker = Slow
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for _ in worker.evaluate_all(worker.EvaluationJob((), {}, keep=folder), [0, 1, 2], 2):
        (folder / "environment.partial").write_text(os.environ["OMP_NUM_THREADS"])
        (folder / "environment.partial").rename(folder / "environment")
"""


@pytest.mark.slow
def test_workers_compute_with_one_thread_each_and_end_with_a_killed_evaluation(tmp_path):
    """Threads that a worker starts compute with one thread too, the environment is given back once the workers run, and
    they end when the evaluation is killed, though nobody tells them to."""
    begun = tmp_path / "begun"
    begun.mkdir()
    script = tmp_path / "killed.py"
    script.write_text(PROGRAM)
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "2"}
    run = subprocess.Popen([sys.executable, str(script), str(begun)], env=environment)
    try:
        assert wait_for(lambda: len([p for p in begun.iterdir() if not p.suffix]) == 3, 200), "two workers should begin"
        workers = [int(path.name) for path in begun.iterdir() if path.name.isdigit()]
        assert len(workers) == 2 and all(is_running(worker) for worker in workers)
        assert [(begun / str(worker)).read_text() for worker in workers] == ["1", "1"]
        assert (begun / "environment").read_text() == "2"
    finally:
        run.kill()
        run.wait()
    assert wait_for(lambda: not any(is_running(worker) for worker in workers))


def wait_for(happens, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not happens() and time.monotonic() < end:
        time.sleep(0.1)
    return happens()


def is_running(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "zombie" not in status.read_text()


def test_a_worker_that_dies_is_told(monkeypatch):
    class Dead:
        def __init__(self, *arguments):
            pass

        def __enter__(self):
            raise BrokenProcessPool("killed")

        def __exit__(self, *error):
            return False

    monkeypatch.setattr(examiner_module, "ProcessPoolExecutor", Dead)
    with pytest.raises(InputError, match="a process of the evaluation ended by itself"):
        list(evaluate_all(EvaluationJob((), {}), [], 2))


def test_differences_are_paired_by_clip():
    """Clips differ by 10 dB, the models by 0.3: only the pairing can see it. Order and holes do not matter."""
    rng = np.random.default_rng(0)
    hard, noise = rng.normal(25, 10, 12), rng.normal(0.3, 0.05, 12)
    a = [{"model": "a", "clip": i, "psnr": hard[i] + noise[i], "hands": 0.5} for i in range(12)]
    b = [{"model": "b", "clip": i, "psnr": hard[i], "sync": 1.0} for i in range(12)]
    b[3]["psnr"] = float("nan")
    found = compare_rows([*a[:11], *rng.permutation(b)], [("a", "b"), ("b", "c")])
    assert list(found) == ["a against b"] and list(found["a against b"]) == ["psnr"]
    kept = [i for i in range(11) if i != 3]
    figure = found["a against b"]["psnr"]
    assert figure["clips"] == 10 and figure["mean"] == pytest.approx(noise[kept].mean())
    assert (figure["low"], figure["high"]) == pytest.approx(bootstrap_interval(noise[kept]))
    assert 0.2 < figure["low"] < figure["high"] < 0.4


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
        options = MaskOptions(top_k=1, **mask)
        pipeline = CoSpeechPipeline(codec, teacher=model, device="cpu", dtype=torch.float32, mask=options)
        made = pipeline.stream(
            image=speaker, keypoints=keypoints, model="teacher", num_inference_steps=2, attention="input_aware"
        )
        frames = np.concatenate(list(made.frames))
        assert {"plan", "condition", "denoise", "decode"} <= set(made.timing.seconds) and made.density < 1
        return frames.astype(int)

    frames = make(poses)
    assert frames.shape == (9, 256, 256, 3)
    away = np.abs(make(later) - frames).max((1, 2, 3))
    assert (away[:6] <= 1).all() and (away[6:] > 5).all(), away
    assert (make(poses, local=False) != frames).any()


def test_proxy_metrics_know_a_face_from_another_and_bear_missing_ones(speaker):
    torch.manual_seed(0)
    proxy = ProxyMetrics(FaceEncoder(width=8).eval().embed, PartEncoder(width=8).eval(), SyncEncoder(width=8).eval())
    frames, poses = np.repeat(speaker.image[None], 60, 0), speaker.keypoints[np.zeros(60, int)]
    audio = np.random.default_rng(0).normal(size=60 * 640).astype(np.float32)
    scores = proxy.score(frames, poses, (speaker.image, speaker.keypoints), audio)
    assert scores["identity"] == pytest.approx(1.0, abs=1e-4) and scores["identity_kept"] == pytest.approx(
        1.0, abs=1e-4
    )
    fading = frames.copy()
    fading[40:] = fading[40:] // 3
    assert proxy.score(fading, poses, (speaker.image, speaker.keypoints))["identity_kept"] < 0.999
    confidence = poses.confidence.copy()
    confidence[10:20] = 0
    holes = proxy.score(frames, replace(poses, confidence=confidence), (speaker.image, speaker.keypoints), audio)
    assert holes["identity"] == pytest.approx(1.0, abs=1e-4) and np.isfinite(holes["sync"])
    nobody = proxy.score(frames, replace(poses, confidence=confidence * 0), (speaker.image, speaker.keypoints), audio)
    assert np.isnan(nobody["identity"]) and np.isnan(nobody["sync"])
    assert proxy.extract_features(frames, poses).shape == (24, 32)


def test_frechet_distance_of_gaussians():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20_000, 2)) * [1.0, 2.0]
    b = rng.normal(size=(20_000, 2)) * [3.0, 2.0] + [1.0, 0.0]
    assert frechet_distance(a, b) == pytest.approx(1 + (3 - 1) ** 2, rel=0.05)
    assert abs(frechet_distance(a, a)) < 1e-6 and np.isnan(frechet_distance(a[:1], b))
    found = compare_features(list(b.reshape(10, -1, 2)), list(a.reshape(10, -1, 2)))
    assert found["low"] < found["mean"] < found["high"] and found["clips"] == 10


@pytest.mark.parametrize("samples", [40, 7], ids=["many", "fewer than features"])
def test_frechet_distance_by_the_root_of_a_matrix(samples):
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    a = rng.normal(size=(samples, 9)) @ rng.normal(size=(9, 9))
    b = rng.normal(size=(samples + 3, 9)) @ rng.normal(size=(9, 9)) + 0.5
    first, second = np.cov(a.T), np.cov(b.T)
    gap = ((a.mean(0) - b.mean(0)) ** 2).sum()
    root = sqrtm(first @ second).real  # of a product that is singular for few samples: good to some digits
    assert frechet_distance(a, b) == pytest.approx(gap + np.trace(first + second - 2 * root), rel=1e-3)


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


def test_identity_kept_is_the_last_seconds_share_of_the_firsts():
    """By hand on 8 seconds, with holes at both ends: a second is that many faces that were found."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(1, 0.3, (200, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    reference = np.ones(6) / np.sqrt(6)
    vectors[[0, 3, 190, 199]] = np.nan
    found = [i for i in range(200) if i not in (0, 3, 190, 199)]
    likeness = [sum(vectors[i, j] * reference[j] for j in range(6)) for i in found]
    figures = identity_figures(vectors, reference, 25)
    assert figures["identity"] == pytest.approx(sum(likeness) / 196)
    assert figures["identity_kept"] == pytest.approx(sum(likeness[-25:]) / sum(likeness[:25]))
    assert np.isnan(identity_figures(vectors[:49], reference, 25)["identity_kept"])


def test_the_sync_curve_by_hand():
    """Window by window: the mean product of the sound's vector with that of the mouth `shift` frames later."""
    torch.manual_seed(0)
    encoder, rng = SyncEncoder(width=8).eval(), np.random.default_rng(0)
    sound, mouth = (rng.normal(size=(50, width)).astype(np.float32) for width in (128, 40))
    curve = encoder.curve(sound, mouth)
    with torch.no_grad():
        for shift in (-15, -2, 0, 7, 15):
            products = []
            for start in range(15, 21):  # windows of 15 frames whose neighbours at all shifts lie in the clip
                heard = encoder.embed_sound(torch.from_numpy(sound[None, start : start + 15]))
                seen = encoder.embed_mouth(torch.from_numpy(mouth[None, start + shift : start + shift + 15]))
                products.append(float((heard * seen).sum()))
            assert curve[15 + shift] == pytest.approx(np.mean(products), abs=1e-5)


def test_sync_margin_is_likeness_in_time_above_the_usual():
    curve = np.zeros(31)
    curve[15], curve[20] = 0.8, 0.9
    assert sync_margin(curve) == pytest.approx(0.8)


def test_lip_shape_correlation_by_hand():
    """Pearson's r of all coordinates in the frame of the eyes, about each coordinate's mean."""
    rng = np.random.default_rng(0)
    poses = [Keypoints(rng.uniform(0.3, 0.7, (12, COUNT, 2)), np.ones((12, COUNT))) for _ in range(2)]
    moved = []
    for pose in poses:
        shape = mouth_shape(pose)
        assert shape.shape == (12, 20, 2)
        moved.append([shape[t, p, c] - np.mean(shape[:, p, c]) for t in range(12) for p in range(20) for c in range(2)])
    expected = np.dot(*moved) / np.sqrt(np.dot(moved[0], moved[0]) * np.dot(moved[1], moved[1]))
    assert lip_shape_correlation(*poses) == pytest.approx(expected, abs=1e-5)


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
