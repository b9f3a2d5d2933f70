"""The speed table's own arithmetic, and a row of it with small networks."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from sample_photographs import avatar_photograph

from iasa.avatar.identity import make_identity
from iasa.avatar.speaker import Reference, load_speaker, speaker_names
from iasa.benchmarks import GenerateOptions
from iasa.benchmarks import bench_generate as bench
from iasa.cli.main import main
from iasa.config import InputError
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.pipeline import CoSpeechPipeline


@pytest.fixture(scope="module")
def pipeline() -> CoSpeechPipeline:
    torch.manual_seed(0)
    student = VideoTransformer(8, width=16, layers=2, heads=2)
    return CoSpeechPipeline(Autoencoder(8, (8, 8, 16)), student, dtype=torch.float32)


def test_the_cost_ratio_compares_the_end_with_second_ten():
    even = np.arange(1, 501) * 0.01
    assert bench._cost_ratio(even) == pytest.approx(1.0)
    rising = np.cumsum(np.r_[np.full(300, 0.01), np.full(125, 0.03), np.zeros(75)])  # the last frames wait for nothing
    assert bench._cost_ratio(rising) == pytest.approx(3.0)
    assert bench._cost_ratio(even[:280]) is None


def test_a_row_holds_every_stage(pipeline):
    speaker = load_speaker(speaker_names()[0])
    row = bench.measure(pipeline, speaker, "student", bench.example_speech(1.0), 1)
    assert set(row["ms_processor"]) == {"motion", "plan", "condition", "denoise", "decode"}
    assert 0 < row["first_frame"] < 25 / row["fps"] + 1e-3 and row["density"] > 0
    live = bench.measure(pipeline, speaker, "student live", bench.example_speech(1.2), 1)
    assert live["first_frame"] >= bench.HEARD * 17 - 1e-3  # it cannot come before its look-ahead was heard
    table = bench.to_table([row, live], ("row", "fps", "end_over_start"))
    assert table.splitlines()[2].endswith("| - |") and len(table.splitlines()) == 4


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"drift": 1}, "rows student and layers"), ({"soak": 2}, "rows student and layers"),
        ({"rows": ["student live"]}, "rows student and layers"), ({"steps": 2}, "leave --steps out"),
    ],
)  # fmt: skip
def test_what_is_not_measured_of_a_photograph_is_refused_before_it_is_read(asked, said):
    with pytest.raises(InputError, match=said):
        bench.run(GenerateOptions(reference="nowhere.png", **asked))


def test_a_photograph_is_measured_painted_and_by_its_layers_at_the_size_asked_for(monkeypatch, pipeline, tmp_path):
    pytest.importorskip("cv2", reason="OpenCV comes with mediapipe: pip install mediapipe==0.10.21")
    asked, photo = [], avatar_photograph()

    def take(picture, size):
        asked.append((picture, size))
        return Reference(photo.image[::2, ::2], photo.keypoints, make_identity(3), "photograph", photo, size)

    monkeypatch.setattr(bench, "photograph_speaker", take)
    monkeypatch.setattr(bench, "read_image", lambda path: f"picture of {path}")
    monkeypatch.setattr(bench.CoSpeechPipeline, "from_pretrained", lambda *_, **__: pipeline)
    _, figures = bench.run(GenerateOptions(seconds=[1.0], reference="me.png", size=256, breakdown=True))
    painted, row = figures["rows"]
    assert painted["row"] == "student" and {"condition", "denoise", "decode"} < set(painted["ms_processor"])
    assert asked == [("picture of me.png", 256)] and figures["size"] == 256
    assert row["row"] == "layers" and set(row["ms_processor"]) == {"motion", "plan", "warp"}
    assert row["ms_processor"]["warp"] > 0 and row["steps"] == 0


def test_a_size_without_a_photograph_is_refused(capsys):
    assert main(["bench", "generate", "--size", "256"]) == 2
    assert "--reference IMG" in capsys.readouterr().err


def test_ratios_compare_rows_of_the_same_length():
    measured = ("student", 4.0, 30.0), ("student", 8.0, 32.0), ("teacher", 8.0, 0.8)
    rows = [{"row": row, "seconds": seconds, "fps": fps} for row, seconds, fps in measured]
    parts = [{"row": "student", "attention": 20.0}, {"row": "student dense", "attention": 300.0}]
    assert bench.ratios(rows, parts) == {"student_over_teacher": {"8 s": 40.0}, "attention_dense_over_sparse": 15.0}
    assert bench.ratios(rows[:2], parts[:1]) == {}


def test_memory_counts_the_processes_that_were_started():
    alone = bench.resident_mb()
    code = "x = b'x' * 60_000_000; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert bench.resident_mb() > alone + 55
        child.communicate(b"\n")


def test_weights_and_number_type_are_those_of_all_rows(monkeypatch, pipeline):
    asked = []

    def load(weights, **options):
        asked.append((weights, options.get("dtype"), options["device"]))
        return pipeline

    monkeypatch.setattr(bench.CoSpeechPipeline, "from_pretrained", load)
    options = GenerateOptions(
        rows=["student", "student dense"], seconds=[0.4], steps=1, weights="mine", device="cpu"
    )  # fmt: skip
    _, figures = bench.run(options)
    place = torch.device("cpu")
    assert asked == [("mine", None, place), ("mine", pipeline.precision, place)]
    assert figures["dtype"] == "float32" and not figures["cuda_graphs"]
    assert [row["row"] for row in figures["rows"]] == ["student", "student dense"]


def test_a_gpu_has_a_column_of_its_memory_and_no_breakdown_of_processor_time(monkeypatch):
    gpu, reset = torch.device("cuda"), []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda place: 2_345_600_000 * (place == gpu))
    for place in (torch.device("cpu"), gpu):
        bench.reset_device_peak(place)
    assert reset == [gpu] and bench.device_peak(gpu) == {"device_peak_mb": 2346}
    assert bench.device_peak(torch.device("cpu")) == {}
    monkeypatch.setattr(bench, "pick_device", lambda asked: gpu)
    with pytest.raises(InputError, match="--breakdown counts processor time; leave it out on a GPU"):
        bench.run(GenerateOptions(breakdown=True))


def test_a_breakdown_adds_up(pipeline, monkeypatch):
    monkeypatch.setattr(bench, "DENSE_FRAMES", 4)
    parts = bench.breakdown(pipeline, load_speaker(speaker_names()[0]), "student", 1)
    assert parts["attention"] > 0 and parts["linear"] > 0 and parts["norm"] > 0
    assert sum(parts[k] for k in (*bench.KINDS, "other")) == pytest.approx(parts["all"], abs=0.05)
