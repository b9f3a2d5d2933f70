"""torch's private operators: where they are absent, fail or compute something else, public ones take their place."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from iasa.attention import gathered
from iasa.inference import fused, int8

PROBES = (fused.has_fused_layers, int8.has_int8_layers, gathered._has_softmax_backward)


def absent(name):
    return SimpleNamespace()


def broken(name):
    def fail(*arguments):
        raise RuntimeError("could not create a primitive")

    return Everything(fail)


def with_other_arguments(name):
    return Everything(lambda: None)


def wrong(name):
    """What once was right and computes something else now."""
    return Everything(lambda *arguments: torch.zeros(16, 16).bfloat16())


class Everything:
    """A namespace in which every operator is `call`."""

    def __init__(self, call) -> None:
        self.call = call

    def __getattr__(self, name: str):
        return self if name.endswith("pointwise_") else self.call


@pytest.fixture(params=[absent, broken, with_other_arguments, wrong])
def other_torch(request, monkeypatch):
    """A torch whose private operators are not what they were."""
    for probe in PROBES:
        probe.cache_clear()
    for name in ("mkldnn", "onednn", "aten"):
        monkeypatch.setattr(torch.ops, name, request.param(name))
    yield
    monkeypatch.undo()
    for probe in PROBES:
        probe.cache_clear()


def test_no_probe_takes_them(other_torch):
    assert [probe() for probe in PROBES] == [False, False, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_are_computed_by_public_operators(other_torch, dtype):
    torch.manual_seed(0)
    linear, conv = nn.Linear(32, 24).to(dtype), nn.Conv2d(16, 16, 3, padding=1).to(dtype)
    x, plane = torch.randn(8, 32).to(dtype), torch.randn(1, 16, 8, 8).to(dtype)
    plane = plane.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        wanted = F.gelu(linear(x), approximate="tanh")
        torch.testing.assert_close(fused.linear_gelu(linear, 8)(x), wanted)
        given = (conv.weight, conv.bias, plane.shape)
        for bits, share in ((False, 0.0), (True, 0.03)):
            silu = fused.conv_silu(*given, (1, 1), (1, 1), True, bits)(plane)
            onto = fused.conv_onto(*given, (1, 1), bits)(plane, plane.clone())
            for found, truth in ((silu, F.silu(conv(plane))), (onto, plane + conv(plane))):
                assert found.dtype == dtype
                assert (found - truth).float().norm() <= share * truth.float().norm()
        found = int8.int8_linear(linear, 8, "gelu")(x)
        assert found.dtype == dtype and (found - wanted).float().norm() < 0.03 * wanted.float().norm()


def test_bytes_are_multiplied_as_by_torchs_own_layers():
    """The same levels and weights, so the same but for rounding; where torch has the layers."""
    if not int8.has_int8_layers():
        pytest.skip("this torch, or this processor, has no exact layers of bytes")
    torch.manual_seed(0)
    layer, x = nn.Linear(64, 48), torch.randn(10, 64)
    codes, scale = int8.quantise(layer.weight.detach())
    with torch.inference_mode():
        made = [
            make(codes, scale.float(), layer.bias.detach(), 10, "gelu")(x)
            for make in (int8._packed_linear, int8._public_linear)
        ]
    torch.testing.assert_close(*made, rtol=1e-4, atol=1e-4)


def test_gathered_attention_learns_without_them(other_torch):
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 12, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    groups = (gathered.QueryGroup(0, 5, ((0, 12),)), gathered.QueryGroup(5, 12, ((3, 12),)))
    plan = gathered.GatherPlan(None, groups, 12)
    mask = torch.ones(12, 12, dtype=torch.bool)
    mask[5:, :3] = False
    found = torch.autograd.grad(gathered.gathered_attention(q, k, v, plan).sin().sum(), (q, k, v))
    logits = (q @ k.transpose(2, 3) / 8**0.5).masked_fill(~mask, -torch.inf)
    truth = torch.autograd.grad((logits.softmax(-1) @ v).sin().sum(), (q, k, v))
    for a, b in zip(found, truth, strict=True):
        torch.testing.assert_close(a, b)
