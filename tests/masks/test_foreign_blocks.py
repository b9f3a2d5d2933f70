"""Block masks of other origin: what is read is what was meant, and what cannot be read gets one sentence."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sample_plans import performance
from torch.nn.attention.flex_attention import create_block_mask

from iasa.attention.given_blocks import GivenBlocks
from iasa.attention.pattern import Clip, masked_softmax
from iasa.cli.main import main
from iasa.config import InputError
from iasa.explorer import block_maps
from iasa.grid import TokenGrid
from iasa.keypoints import save_keypoints
from iasa.masks import make_plan
from iasa.masks.foreign_blocks import ForeignBlocks, blocks_from_flex, blocks_from_json, read_blocks
from iasa.masks.plot import draw_blocks

GRID = TokenGrid(3, 6, 5)  # 90 tokens
EXAMPLE = {"tokens": 6, "block": 2, "row_pointer": [0, 1, 3, 4], "columns": [0, 0, 1, 2]}


def random_blocks(tokens: int = GRID.tokens, block: int = 16, seed: int = 0) -> ForeignBlocks:
    """In an order of its own; the last block is smaller, and a row may be empty."""
    generator = torch.Generator().manual_seed(seed)
    blocks = -(-tokens // block)
    kept = torch.rand(blocks, blocks, generator=generator) < 0.4
    return ForeignBlocks(block, kept, torch.randperm(tokens, generator=generator))


def to_json(blocks: ForeignBlocks) -> str:
    rows = [row.nonzero()[:, 0].tolist() for row in blocks.kept]
    pointer = np.cumsum([0, *map(len, rows)]).tolist()
    fields = {"tokens": blocks.tokens, "block": blocks.block, "row_pointer": pointer, "columns": sum(rows, [])}
    return json.dumps({**fields, "order": blocks.order.tolist()})


def allowed_pairs(blocks: ForeignBlocks) -> torch.Tensor:
    """Pair by pair from the definition: bool [tokens, tokens]."""
    block_of = {token: place // blocks.block for place, token in enumerate(blocks.order.tolist())}
    label = [block_of[token] for token in range(blocks.tokens)]
    return torch.tensor([[blocks.kept[a, b] for b in range(len(blocks.kept))] for a in label])[:, label]


def test_the_example_of_the_documentation():
    blocks = blocks_from_json(json.dumps(EXAMPLE))
    assert blocks.kept.tolist() == [[True, False, False], [True, True, False], [False, False, True]]
    assert blocks.label.tolist() == [0, 0, 1, 1, 2, 2] and blocks.density() == pytest.approx(4 / 9)


def test_a_file_comes_back_as_it_was(tmp_path):
    blocks = random_blocks()
    (tmp_path / "mine.json").write_text(to_json(blocks))
    read = read_blocks(tmp_path / "mine.json")
    assert torch.equal(read.kept, blocks.kept) and torch.equal(read.order, blocks.order) and read.block == 16
    assert read.density() == pytest.approx(float(allowed_pairs(blocks).double().mean()))


def test_a_block_mask_of_flex_attention_opens_by_one_call():
    mask = create_block_mask(lambda b, h, i, j: (i >= j) & (i - j < 40 + 64 * h), 1, 2, 300, 300, "cpu", BLOCK_SIZE=32)
    for head in (0, 1):
        blocks, place = blocks_from_flex(mask, head=head), torch.arange(300)
        far = place[:, None] - place
        pairs = torch.nn.functional.pad((far >= 0) & (far < 40 + 64 * head), (0, 20, 0, 20))
        assert torch.equal(blocks.kept, pairs.view(10, 32, 10, 32).any(3).any(1)) and blocks.tokens == 300
    oblong = create_block_mask(lambda b, h, i, j: i >= j, 1, 1, 128, 256, "cpu", BLOCK_SIZE=64)
    with pytest.raises(InputError, match="128 x 256 tokens in blocks of 64 x 64; a square one is needed"):
        blocks_from_flex(oblong)
    with pytest.raises(InputError, match="1 clips of 2 heads; clip 0, head 2 is asked for"):
        blocks_from_flex(mask, head=2)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_network_runs_under_them(causal, seed):
    blocks, n = random_blocks(seed=seed), GRID.tokens_per_frame
    pattern = GivenBlocks(blocks)
    pattern.begin(Clip(GRID, (1.0,), causal=causal, references=0))
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(1, 2, GRID.tokens, 8, generator=generator) for _ in range(3))
    frame = torch.arange(GRID.tokens) // n
    pairs = allowed_pairs(blocks) & ((frame[:, None] >= frame) | torch.tensor(not causal))
    wanted = masked_softmax(q, k, pairs) @ v
    torch.testing.assert_close(pattern.attend(0, q, k, v), wanted)
    torch.testing.assert_close(pattern.map(0, q, k) @ v, wanted)
    if causal:  # and frame by frame
        for t in range(3):
            rows, so_far = slice(t * n, (t + 1) * n), slice(0, (t + 1) * n)
            out = pattern.attend(0, q[:, :, rows], k[:, :, so_far], v[:, :, so_far])
            torch.testing.assert_close(out, wanted[:, :, rows])


def test_a_map_is_the_mean_share_of_every_tile():
    grid = TokenGrid(2, 16, 16)
    plan, blocks = make_plan(performance(2), grid), random_blocks(grid.tokens, 100)
    maps = block_maps(plan, {"mine": blocks, "flex": plan.to_flex(64)})
    assert maps.names == ("input_aware", "mine", "flex") and np.isnan(maps.mass).all()
    pairs = allowed_pairs(blocks).double()
    shares = pairs / pairs.sum(1, keepdim=True).clamp_min(1)
    place = torch.arange(grid.tokens)
    tile = place // 256 * 4 + place % 256 // 128 * 2 + place % 16 // 8
    for i in range(8):
        for j in range(8):
            mean = float(shares[tile == i][:, tile == j].sum(1).mean())
            assert maps.maps[1, 0, 0, i, j] == pytest.approx(mean, abs=1e-6)
    assert maps.density[1] == pytest.approx(float(pairs.mean()))
    with pytest.raises(InputError, match=r"of 90 tokens; 2 latent frames of 16 x 16 have 512"):
        block_maps(plan, {"mine": random_blocks()})


def test_the_picture_shows_pairs_of_frames():
    grid = TokenGrid(2, 8, 8)
    plan = make_plan(performance(2), grid)
    kept = torch.tensor([[1, 0], [0, 0]], dtype=torch.bool)
    picture = draw_blocks(plan, ForeignBlocks(64, kept, torch.arange(128)), "mine").astype(int)
    left = 20 + 416 + 20  # the right panel's corner
    corners = [picture[42 + 100 + 208 * row, left + 100 + 208 * column] for row in (0, 1) for column in (0, 1)]
    assert corners[0].sum() < 300 < 700 < min(corner.sum() for corner in corners[1:])


WRONG = {
    "no JSON": ("{", "no JSON"),
    "a list": ("[1]", "the JSON is no object"),
    "nested too deep": ("[" * 100_000, "no JSON"),
    "no tokens": ({"tokens": None}, "tokens is missing; a whole number"),
    "tokens of another kind": ({"tokens": "<b>6"}, "tokens is '<b>6'; a whole number"),
    "no block": ({"block": 0}, "block is 0; a whole number from 1 on"),
    "a truth for a number": ({"block": True}, "block is True; a whole number"),
    "too many": ({"tokens": 2**30}, "blocks a side; up to 4096 are accepted"),
    "a short pointer": ({"row_pointer": [0, 4]}, "row_pointer has 2 entries; 6 tokens in blocks of 2 need 4"),
    "a pointer that falls": ({"row_pointer": [0, 3, 1, 4]}, "row_pointer must rise from 0 to 4"),
    "a pointer that ends early": ({"row_pointer": [0, 1, 2, 3]}, "row_pointer must rise from 0 to 4"),
    "no columns": ({"columns": "all"}, "columns is 'all'; a list of whole numbers"),
    "a column outside": ({"columns": [0, 0, 1, 3]}, "a column is 3; 0 to 2 are accepted"),
    "a column below": ({"columns": [0, 0, 1, -1]}, "a column is -1; 0 to 2 are accepted"),
    "a half column": ({"columns": [0, 0, 1, 1.5]}, "columns holds 1.5; whole numbers"),
    "a column twice": ({"columns": [0, 1, 1, 2]}, "a row names a column twice"),
    "a short order": ({"order": [0, 1]}, "order must hold each of the 6 tokens once"),
    "an order with a hole": ({"order": [0, 1, 2, 3, 4, 4]}, "order must hold each of the 6 tokens once"),
    "a vast order": ({"order": [0, 1, 2, 3, 4, 2**80]}, "order holds 120892"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_gets_one_sentence(kind, tmp_path):
    change, message = WRONG[kind]
    path = tmp_path / "wrong.json"
    path.write_text(change if isinstance(change, str) else json.dumps(EXAMPLE | change))
    with pytest.raises(InputError, match=message) as caught:
        read_blocks(path)
    assert str(caught.value).startswith("wrong.json: ") and "\n" not in str(caught.value)


def test_the_command_shows_them(tmp_path, capsys):
    poses, mine = tmp_path / "poses.npz", tmp_path / "mine.json"
    save_keypoints(poses, replace(performance(4), fps=25.0))  # two latent frames
    mine.write_text(to_json(random_blocks(2 * 24, 7)))
    words = ["mask", "--pose", str(poses), "--rows", "4", "--cols", "6", "--blocks", str(mine)]
    assert main([*words, "--out", str(tmp_path / "mask.png"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["blocks"] == {"mine.json": pytest.approx(random_blocks(48, 7).density(), abs=1e-4)}
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.format == "PNG" and picture.width > 800
    assert main([*words, "--out", str(tmp_path / "explorer.html")]) == 0
    assert '"names":["input_aware","mine.json"]' in (tmp_path / "explorer.html").read_text()
    capsys.readouterr()
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for more, message in (
        (["--out", str(tmp_path / "plan.npz")], "--blocks are shown and not saved"),
        (["--rows", "5"], "of 48 tokens; 2 latent frames of 5 x 6 have 60"),
        (["--blocks", str(tmp_path / "none.json")], "there is no file none.json"),
        (["--blocks", str(tmp_path / "binary.json")], "binary.json cannot be read as text"),
        (["--attention", "--out", str(tmp_path / "x.html")], "add --patterns, or leave --attention out"),
    ):
        assert main([*words, *more]) == 2
        assert message in capsys.readouterr().err
