"""8-bit products: levels, layers and whole networks against full precision; when they and bfloat16 are chosen."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from iasa import device
from iasa.avatar.speaker import load_speaker
from iasa.config import InputError
from iasa.device import BYTES, Precision, pick_precision
from iasa.inference import int8
from iasa.inference.int8 import int8_conv, int8_linear, to_levels
from iasa.metrics.video_quality import psnr
from iasa.motion import speech_to_keypoints
from iasa.pipeline import CoSpeechPipeline
from iasa.speech import analyse

HAS_BYTES = device.CPUINFO.exists() and bool(BYTES & set(device.CPUINFO.read_text().split()))
needs_bytes = pytest.mark.skipif(not HAS_BYTES, reason="this processor's vector units do not multiply bytes")


@pytest.mark.parametrize("highest", [127, 255])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("span", [(-1, 1), (-0.3, 9), (0.5, 2), (-3, -1), (0, 0), (1e-20, 1e-19)])
def test_levels_are_the_nearest_and_zero_is_one_of_them(dtype, span, highest, monkeypatch):
    monkeypatch.setattr(int8, "highest_level", lambda: highest)
    torch.manual_seed(0)
    x = (torch.rand(1000) * (span[1] - span[0]) + span[0]).to(dtype)
    x[0], x[1] = span
    levels, scale, zero = to_levels(x)
    assert levels.dtype == torch.uint8 and 0 <= zero <= highest and levels.max() <= highest
    back = scale * (levels.float() - zero)
    assert (back - x.float()).abs().max() <= 0.501 * scale
    assert scale <= max(span[1] - min(span[0], 0), -span[0], 1e-5) / (0.98 * highest)


def test_levels_do_not_depend_on_how_many_are_made_at_once(monkeypatch):
    """And lie as the picture does, channels last."""
    x = torch.randn(2, 5, 7, 3).bfloat16().to(memory_format=torch.channels_last)
    levels, scale, zero = to_levels(x)
    assert levels.shape == x.shape and levels.is_contiguous(memory_format=torch.channels_last)
    assert (scale * (levels.float() - zero) - x.float()).abs().max() <= 0.501 * scale
    monkeypatch.setattr(int8, "AT_ONCE", 100)
    again, *same = to_levels(x)
    assert torch.equal(again, levels) and same == [scale, zero]


def close(found: torch.Tensor, wanted: torch.Tensor, share: float) -> bool:
    return bool((found.float() - wanted.float()).norm() <= share * wanted.float().norm())


@needs_bytes
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_in_eight_bits(dtype, bias):
    torch.manual_seed(0)
    layer, x = nn.Linear(64, 48, bias=bias).to(dtype), torch.randn(10, 64).to(dtype)
    with torch.inference_mode():
        assert close(int8_linear(layer, 10)(x), layer(x), 0.02)
        gelu = nn.functional.gelu(layer(x).float(), approximate="tanh")
        found = int8_linear(layer, 10, "gelu")(x)
        assert found.dtype == dtype and close(found, gelu, 0.03)


@needs_bytes
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (4, 2), (1, 1)])
def test_a_convolution_in_eight_bits(dtype, kernel, stride):
    """Of input far from zero too: what pads the picture must be zero, not the least level."""
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 24, kernel, stride, padding=kernel // 3).to(dtype)
    x = (torch.randn(2, 16, 12, 12) + 4).to(dtype).to(memory_format=torch.channels_last)
    run = int8_conv(layer.weight, layer.bias, x.shape, layer.stride, layer.padding)
    silu = int8_conv(layer.weight, layer.bias, x.shape, layer.stride, layer.padding, "silu")
    with torch.inference_mode():
        wanted = layer(x)
        assert run(x).shape == wanted.shape and close(run(x), wanted, 0.02)
        assert close(silu(x), nn.functional.silu(wanted), 0.03)


WITHOUT_VNNI = """
import torch
from iasa.inference import int8
x, codes = torch.linspace(-1, 3, 256 * 64).view(256, 64), torch.full((32, 64), 127, dtype=torch.int8)
plane, kernel = x.view(1, 64, 16, 16).contiguous(memory_format=torch.channels_last), codes[:, :, None, None]
scales = torch.full((32,), 0.01)
with torch.inference_mode():
    pairs = (
        (int8._packed_linear, int8._public_linear, x, (256, "none")),
        (int8._packed_conv, int8._public_conv, plane, (plane.shape, (1, 1), (0, 0), "none")),
    )
    for packed, public, given, how in pairs:
        found, truth = (make(codes if given is x else kernel, scales, None, *how)(given) for make in (packed, public))
        print(float((found - truth).abs().max() / truth.abs().max()) < 1e-4, end=" ")
print(int8.has_int8_layers(), int8.highest_level())
"""


@needs_bytes
def test_no_sum_of_two_products_overflows_without_vnni():
    """In a process whose oneDNN uses AVX2 alone: the largest weights by the highest levels."""
    asked = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    said = subprocess.run([sys.executable, "-c", WITHOUT_VNNI], env=asked, capture_output=True, text=True, timeout=100)
    assert said.stdout.split() == ["True", "True", "True", "127"], said.stderr


@needs_bytes
@pytest.mark.slow
def test_the_video_is_the_same_to_the_eye():
    """Student and codec in 8 bits against float32, same seed: differences far below those from the truth (30 dB)."""
    rng = np.random.default_rng(0)
    reference = load_speaker("alba")
    sound = (0.1 * rng.normal(size=16_000) * np.repeat(rng.random(10), 1600)).astype(np.float32)
    poses = speech_to_keypoints(analyse(sound, method="signal"), reference.identity)[1][:12]
    videos = []
    for precision in (Precision(torch.float32), Precision(torch.float32, int8=True)):
        pipeline = CoSpeechPipeline.from_pretrained(teacher=None, dtype=precision)
        generation = pipeline.stream(keypoints=poses, image=reference)
        videos.append(np.concatenate(list(generation.frames)))
    assert generation.settings["dtype"] == "int8, float32"
    assert psnr(videos[1], videos[0]) > 45


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Says which flags a processor has and what each number type costs there, and forgets what was found before."""
    flags, seconds = tmp_path / "cpuinfo", {}
    monkeypatch.setattr(device, "CPUINFO", flags)
    monkeypatch.setattr(device, "_layer_seconds", lambda ways: {way: seconds[way] for way in ways})
    monkeypatch.delenv("IASA_DTYPE", raising=False)

    def be(words: str, **costs: float) -> None:
        flags.write_text(f"flags : {words}")
        seconds.clear()
        seconds.update(costs)
        device._fastest.cache_clear()

    yield be
    device._fastest.cache_clear()


def picked(asked=None) -> str:
    return str(pick_precision(asked, "cpu"))


def test_the_fastest_numbers_are_taken_of_those_that_are_there(machine):
    machine("sse4_2 neon")
    assert picked() == picked("auto") == "float32"  # nothing to choose, nothing is measured
    machine("avx512_bf16", float32=1.0, bfloat16=0.3)
    assert picked() == "bfloat16" and device.is_bf16_faster()
    machine("avx512_bf16", float32=1.0, bfloat16=1.9)  # Intel's Xeons with the products but without AMX
    assert picked() == "float32" and not device.is_bf16_faster()
    machine("avx512_vnni", float32=3.0, int8=1.0)
    assert picked() == "int8, float32"
    machine("avx512_vnni", float32=1.1, int8=1.0)
    assert picked() == "float32"
    machine("avx2", float32=1.5, int8=1.0)
    assert picked() == "int8, float32"
    machine("avx512_vnni avx512_bf16", float32=3.0, bfloat16=1.0, int8=0.9)  # faster, but hardly
    assert picked() == "bfloat16"
    machine("avx512_vnni avx512_bf16", float32=3.0, bfloat16=1.0, int8=0.5)
    assert picked() == "int8, bfloat16"


def test_what_is_asked_for_is_taken_and_the_environment_is_asked_next(machine, monkeypatch):
    machine("avx512_vnni avx512_bf16", float32=3.0, bfloat16=1.0, int8=2.0)
    assert picked("float32") == "float32" and picked("int8") == "int8, bfloat16"
    monkeypatch.setenv("IASA_DTYPE", "float32")
    assert picked() == "float32" and picked("auto") == "bfloat16"
    assert picked(torch.float16) == "float16" and picked(Precision(torch.float32, True)) == "int8, float32"
    monkeypatch.setenv("IASA_DTYPE", "half")
    with pytest.raises(InputError, match="'half'; accepted: float32, bfloat16, int8, auto"):
        picked()
    machine("sse4_2")
    with pytest.raises(InputError, match="AVX2"):
        picked("int8")


def take_turns_on(monkeypatch, costs: dict[str, float], slower) -> dict[str, float]:
    """What turns on a machine with this clock find, which is `slower(call)` times as slow at its n-th call."""
    clock, calls = [0.0], iter(range(10**6))
    monkeypatch.setattr(device.time, "thread_time", lambda: clock[0])

    def layer(cost):
        def run():
            clock[0] += cost * slower(next(calls))

        return run

    return device._take_turns({way: layer(cost) for way, cost in costs.items()}, device.CALM)


@pytest.mark.parametrize("seed", range(20))
def test_a_busy_machine_does_not_change_what_is_taken(monkeypatch, machine, seed):
    """Three calls of four are slowed to up to five times as long, and the first 20 turns all are."""
    chance, costs = np.random.default_rng(seed), {"float32": 2e-3, "bfloat16": 1e-3, "int8": 7e-4}

    def slower(call):
        return 1 + 4 * chance.random() if call < 60 or chance.random() < 0.75 else 1 + 0.02 * chance.random()

    found = take_turns_on(monkeypatch, costs, slower)
    machine("avx512_vnni avx512_bf16", **found)
    assert picked() == "int8, bfloat16"


def test_a_calm_machine_is_measured_no_longer_than_it_takes(monkeypatch):
    calls = []
    take_turns_on(
        monkeypatch, {"float32": 2e-3, "int8": 1e-3}, lambda call: calls.append(call) or 1 + 1e-3 * (call % 7)
    )
    assert len(calls) == 2 * (device.CALM + 1)
    calls.clear()
    take_turns_on(monkeypatch, {"float32": 1.0}, lambda call: calls.append(call) or 0.9**call)  # faster with each turn
    assert len(calls) == device.MOST_TURNS


def test_layers_are_measured_on_one_core_whatever_the_caller_computes_with(monkeypatch):
    found, before = [], torch.get_num_threads()
    monkeypatch.setattr(device, "_plain_layers", lambda dtype: lambda: found.append(torch.__config__.parallel_info()))
    torch.set_num_threads(2)
    try:
        device._layer_seconds(["float32"], 2)
        assert found and all("omp_get_max_threads() : 1\n" in said for said in found)
        assert torch.get_num_threads() == 2 and "omp_get_max_threads() : 2\n" in torch.__config__.parallel_info()
    finally:
        torch.set_num_threads(before)


def test_every_number_type_can_be_measured():
    found = device._layer_seconds(["float32", "bfloat16", *["int8"] * HAS_BYTES], 2)
    assert len(found) == 2 + HAS_BYTES and all(0 < s < 1 for s in found.values())
