"""The restorer adds nothing before it has learnt, and then sees layers, photograph and both poses."""

from __future__ import annotations

import torch

from iasa.keypoints import COUNT
from iasa.models.restorer import Restorer


def inputs(seed=0):
    torch.manual_seed(seed)
    return [torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32), torch.rand(2, 2, COUNT, 2), torch.ones(2, 2, COUNT)]


def test_it_adds_nothing_at_first():
    assert Restorer(32, (8, 16))(*inputs()).abs().max() == 0


def test_every_input_counts_and_crops_do_not_mix():
    network = Restorer(32, (8, 16))
    torch.nn.init.normal_(network.head.weight, std=0.1)
    torch.nn.init.normal_(network.poses.weight, std=0.1)
    given = inputs()
    before = network(*given)
    assert before.shape == (2, 3, 32, 32)
    for place in range(4):
        other = [part.clone() for part in given]
        other[place][0] = torch.rand_like(other[place][0]) * 0.5
        after = network(*other)
        assert (after[0] - before[0]).abs().max() > 1e-4
        torch.testing.assert_close(after[1], before[1])
