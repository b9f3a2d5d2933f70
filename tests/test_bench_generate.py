"""The speed table's own arithmetic, and a row of it with small networks."""

import numpy as np
import pytest
import torch

from iasa import bench_generate as bench
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.pipeline import CoSpeechPipeline
from iasa.reference import load_speaker, speaker_names


@pytest.fixture(scope="module")
def pipeline() -> CoSpeechPipeline:
    torch.manual_seed(0)
    student = VideoTransformer(8, width=16, layers=2, heads=2)
    return CoSpeechPipeline(Autoencoder(8, (8, 8, 16)), {"student": student}, dtype=torch.float32)


def test_the_cost_ratio_compares_the_end_with_second_ten():
    even = np.arange(1, 501) * 0.01
    assert bench._cost_ratio(even) == pytest.approx(1.0)
    rising = np.cumsum(np.r_[np.full(400, 0.01), np.full(100, 0.03)])
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


def test_a_breakdown_adds_up(pipeline, monkeypatch):
    monkeypatch.setattr(bench, "DENSE_FRAMES", 4)
    parts = bench.breakdown(pipeline, load_speaker(speaker_names()[0]), "student", 1)
    assert parts["attention"] > 0 and parts["linear"] > 0 and parts["norm"] > 0
    assert sum(parts[k] for k in (*bench.KINDS, "other")) == pytest.approx(parts["all"], abs=0.05)
