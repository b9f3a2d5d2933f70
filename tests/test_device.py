"""Which device computes, what is sent to it, and when its time is taken."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from sample_networks import shaken

from iasa import device
from iasa.avatar.speaker import load_speaker, speaker_names
from iasa.config import InputError
from iasa.inference import generation, networks
from iasa.inference.fast_codec import FastCodec
from iasa.inference.generation import Timing
from iasa.inference.graphed import GraphedCodec, has_graphs
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.pipeline import CoSpeechPipeline

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("there", [False, True])
def test_a_device_is_picked_by_name(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device.pick_device() == device.pick_device("auto") == (GPU if there else CPU)
    assert device.pick_device("cpu") == CPU
    with pytest.raises(InputError, match="'tpu'; accepted: auto, cpu, cuda"):
        device.pick_device("tpu")
    if there:
        assert device.pick_device("cuda") == GPU
    else:
        with pytest.raises(InputError, match="the device is cuda, and torch sees no GPU here"):
            device.pick_device("cuda")


def test_a_report_names_the_device_that_was_measured(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: f"card of {place}")
    on_gpu, on_cpu = (device.describe_machine(place) for place in (GPU, CPU))
    assert on_gpu["device"] == device.describe_machine()["device"] == "card of cuda"
    assert on_cpu["device"] == on_cpu["processor"] == on_gpu["processor"] and "card" not in on_cpu["device"]


def test_what_is_sent_to_a_gpu_waits_for_nothing():
    """From pinned memory, else `non_blocking` is no more than a wish."""
    said = []
    pinned = SimpleNamespace(to=lambda *place, **how: said.append(("pinned", *place, how)))
    x = SimpleNamespace(
        device=CPU, pin_memory=lambda: pinned, to=lambda *place, **how: said.append(("plain", *place, how))
    )
    device.upload(x, GPU)
    device.upload(x, CPU)
    x.device = GPU
    device.upload(x, GPU)
    device.upload(x, CPU)
    plain = [("plain", place, {}) for place in (CPU, GPU, CPU)]
    assert said == [("pinned", GPU, {"non_blocking": True}), *plain]


def test_a_stage_ends_when_its_device_has_done_its_work(monkeypatch):
    monkeypatch.setattr(generation, "synchronize", lambda place: time.sleep(0.05 * (place == GPU)))
    timing = Timing()
    for name, place in (("denoise", GPU), ("motion", None)):
        with timing.stage(name, place):
            pass
    assert timing.seconds["denoise"] >= 0.05 > timing.seconds["motion"]
    with pytest.raises(ZeroDivisionError), timing.stage("decode", GPU):
        _ = 1 / 0
    assert timing.seconds["decode"] >= 0.05


@pytest.fixture(scope="module")
def pipeline() -> CoSpeechPipeline:
    small = {"latent_channels": 8, "width": 16, "layers": 2, "heads": 2}
    student, teacher = (shaken(VideoTransformer(**small)) for _ in range(2))
    return CoSpeechPipeline(Autoencoder(8, (8, 8, 16)), student, teacher, dtype=torch.float32, device=CPU)


@pytest.mark.parametrize(
    "options", [{}, {"attention": "dense"}, {"model": "teacher", "num_inference_steps": 1}], ids=str
)
def test_the_stages_that_a_device_computes_wait_for_it(pipeline, monkeypatch, options):
    asked: dict[str, set] = {}
    stage = Timing.stage

    def note(self, name, place=None):
        asked.setdefault(name, set()).add(place)
        return stage(self, name, place)

    monkeypatch.setattr(Timing, "stage", note)
    speaker = load_speaker(speaker_names()[0])
    poses = speaker.keypoints[[0] * 4]
    for _ in pipeline.stream(image=speaker, keypoints=poses, **options).frames:
        pass
    assert asked == {"plan": {None}, "condition": {CPU}, "denoise": {CPU}, "decode": {CPU}}


def test_calls_are_recorded_on_a_gpu_unless_the_environment_forbids_it(pipeline, monkeypatch):
    monkeypatch.delenv("IASA_CUDA_GRAPHS", raising=False)
    assert has_graphs(GPU) and not has_graphs(CPU)
    monkeypatch.setenv("IASA_CUDA_GRAPHS", "0")
    assert not has_graphs(GPU)
    for wanted, kind in ((True, GraphedCodec), (False, FastCodec)):
        monkeypatch.setattr(networks, "has_graphs", lambda place, wanted=wanted: wanted)
        monkeypatch.setattr(pipeline, "_codec", None)
        assert type(pipeline.codec) is kind
