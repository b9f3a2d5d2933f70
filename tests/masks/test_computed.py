"""Which tokens are computed: the sets, their rim, and how softly they set in."""

from __future__ import annotations

import torch

from iasa.keypoints import REGIONS
from iasa.masks.computed import FEATHER, MOVED, MULTIPLE, ComputedTokens, name_moving, name_regions, token_change

FACE, BODY = 1 << REGIONS.index("face"), 1 << REGIONS.index("body")


def test_face_and_hands_are_named_and_what_has_moved():
    """The body only where it moves; what is alone in a row or column takes its neighbours along."""
    bits, change = torch.zeros(16, 16, dtype=torch.uint8), torch.zeros(16, 16)
    bits[2:4, 2:4], bits[8:12, 4:8] = FACE, BODY
    change[9:11, 4:6] = 2 * MOVED
    named = name_moving(bits.flatten(), change).named
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[2:4, 2:4] = expected[9:11, 4:6] = True
    assert torch.equal(named, expected)
    change[5:8, 12] = MOVED  # a column, as of a window's frame behind the head
    expected[5:8, 11:14] = True
    assert torch.equal(name_moving(bits.flatten(), change).named, expected)
    assert name_moving(torch.zeros(256, dtype=torch.uint8), torch.zeros(16, 16)).named.any()  # never none


def test_regions_come_with_a_rim():
    bits = torch.zeros(16, 16, dtype=torch.uint8)
    bits[5, 5], bits[12, 12] = FACE, BODY
    named = name_regions(bits.flatten(), ("face",), 16, 16).named
    assert named.sum() == 9 and named[4:7, 4:7].all()


def test_runs_and_tokens_are_the_named_ones():
    torch.manual_seed(0)
    computed = ComputedTokens(torch.rand(7, 9) > 0.5)
    again = torch.zeros(7, 9, dtype=torch.bool)
    for row, first, end in computed.runs:
        assert end > first and not again[row, first:end].any()
        again[row, first:end] = True
    assert torch.equal(again, computed.named)
    assert computed.tokens.tolist() == computed.named.flatten().nonzero()[:, 0].tolist()
    assert computed.share == computed.named.float().mean()


def test_the_transformer_sees_a_rim_in_multiples():
    named = torch.zeros(16, 16, dtype=torch.bool)
    named[4:7, 4:9] = True
    near = torch.nn.functional.conv2d(
        named[None, None].float(), torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0]])[None, None].float(), padding=1
    )[0, 0].flatten()
    context = ComputedTokens(named).context
    assert len(context) % MULTIPLE == 0 and len(context) - int((near > 0).sum()) < MULTIPLE
    assert set(near.nonzero()[:, 0].tolist()) <= set(context.tolist()) and len(set(context.tolist())) == len(context)
    assert ComputedTokens(torch.ones(16, 16, dtype=torch.bool)).context.tolist() == list(range(256))


def test_the_feather_sets_in_inside_of_the_named_tokens():
    named = torch.zeros(4, 4, dtype=torch.bool)
    named[1:3, 1:] = True
    share = ComputedTokens(named).feather(16)
    inside = named.repeat_interleave(16, 0).repeat_interleave(16, 1)
    assert (share[~inside] == 0).all() and (share[20:44, 20:] == 1).all()  # the picture's own edge is none
    assert 0 < share[16, 40] < 0.3 and (share[16 : 16 + FEATHER, 40].diff() > 0).all()
    assert (ComputedTokens(torch.ones(4, 4, dtype=torch.bool)).feather(16) == 1).all()


def test_change_is_the_root_mean_square_in_grey_levels():
    still = torch.rand(3, 32, 32) * 2 - 1
    pictures = still.repeat(4, 1, 1, 1)
    pictures[2:, :, :16, 16:] += 10 / 127.5  # the second latent frame's upper right token
    change = token_change(pictures, still, 2, 2, 2)
    torch.testing.assert_close(change, torch.tensor([[[0, 0], [0, 0]], [[0, 10.0], [0, 0]]]), atol=1e-3, rtol=1e-3)
