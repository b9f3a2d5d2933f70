"""The memory bed: its patterns against each other, every stage for two steps, its report, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iasa.attention.frame_patterns import make_teacher_forced
from iasa.avatar.details import DETAILS
from iasa.cli.main import main
from iasa.config import InputError
from iasa.evaluation.memory_report import evaluate_memory, later_showings
from iasa.grid import TokenGrid
from iasa.inference.remembered import RememberedFrames
from iasa.keypoints import COUNT
from iasa.masks import AttentionPlan
from iasa.masks.frame_choice import EVERYTHING, random_table
from iasa.models.transformer import VideoTransformer
from iasa.training import memory_data, memory_stages
from iasa.training.memory_data import RATE, SIDE, MemoryClips, MemorySampler, make_memory_clips, make_window
from iasa.training.memory_stages import chosen_plans, load_codec, make_condition, predict_forced, random_plans
from iasa.training.options import TrainOptions
from iasa.training.self_forcing import roll_out
from iasa.training.stages import run_stage

FRAMES = 6


def write_clips(folder: Path, clips: int, split: str) -> None:
    """Noise whose details are coloured squares: the first shows in frames 1, 2 and 5, the second in 3 and 5."""
    rng = np.random.default_rng(len(split))
    frames = rng.integers(0, 256, (clips, 1 + FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    masks = np.zeros((clips, 1 + FRAMES, len(DETAILS), SIDE, SIDE), bool)
    for t, detail in ((1, 0), (2, 0), (5, 0), (3, 1), (5, 1)):
        masks[:, t, detail, 40 + 20 * detail : 52 + 20 * detail, 30 + t : 42 + t] = True
    frames[masks.any(2)] = 200
    still = rng.uniform(0.3, 0.7, (clips, 1, COUNT, 2))
    xy = (still + 0.05 * rng.normal(size=(clips, 1 + FRAMES, COUNT, 2))).astype(np.float32)
    np.save(folder / f"{split}_0.warped.npy", np.repeat(frames[:, :1], 1 + FRAMES, 1))
    np.save(folder / f"{split}_0.masks.npy", np.packbits(masks.reshape(*masks.shape[:3], -1), axis=-1))
    np.save(folder / f"{split}_0.xy.npy", xy)
    np.save(folder / f"{split}_0.confidence.npy", np.ones(xy.shape[:3], np.float16))
    np.save(folder / f"{split}_0.frames.npy", frames)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "memory").mkdir()
    kind = {"details": list(DETAILS), "side": SIDE, "rate": RATE, "frames": FRAMES}
    (folder / "memory" / "clips.json").write_text(json.dumps(kind))
    for split in ("train", "heldout"):
        write_clips(folder / "memory", 3, split)
    return folder


@pytest.fixture(scope="module")
def window(run):
    clips = MemoryClips(run / "memory", "train")
    return make_window(clips.clips[:2], np.tile(np.arange(1, 1 + FRAMES), (2, 1)), load_codec(run, clips), prior=True)


@pytest.fixture(scope="module")
def network(window) -> VideoTransformer:
    torch.manual_seed(0)
    model = VideoTransformer(window.latents.shape[2], 8, 8, width=32, layers=2, heads=2, frames=1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval()


def test_teacher_forcing_is_attention_under_the_mask_that_it_stands_for(window):
    """Against one masked softmax over the whole sequence [reference, clean, noisy]."""
    plans = chosen_plans(window, "pose", 2, 4, "mls")
    n, f = 64, FRAMES
    q, k, v = torch.randn(3, 2, 2, 1 + 2 * f, n, 8)
    found = make_teacher_forced(plans)(0, q, k, v)
    for clip, plan in enumerate(plans):
        seen = torch.zeros(1 + 2 * f, n, 1 + 2 * f, n, dtype=torch.bool)
        for t in range(1 + 2 * f):
            seen[t, :, t] = seen[t, :, 0] = True
        whole = plan.dense().view(1 + f, n, 1 + f, n)
        for t in range(1, 1 + f):
            for s in range(1, t):
                seen[f + t, :, s] = whole[t, :, s]  # of the clean frames
        expected = torch.nn.functional.scaled_dot_product_attention(
            *(x[clip].flatten(1, 2) for x in (q, k, v)), seen.view(n * (1 + 2 * f), -1)
        )
        torch.testing.assert_close(found[clip].flatten(1, 2), expected, atol=1e-5, rtol=1e-4)


def test_frames_read_once_are_the_memory_that_training_knows(window, network):
    plans = chosen_plans(window, "random", 2, 4)
    clean, level = window.latents[:, 1:], torch.full((2, FRAMES), 0.7)
    noisy = torch.randn_like(clean)
    with torch.no_grad():
        condition = make_condition(network, window)
        whole = predict_forced(network, condition, clean, noisy, level, plans)
    one = replace(condition, **{name: part[:1] for name, part in vars(condition).items()})
    memory, targets = RememberedFrames(network, one, clean[:1]), [2, 5, 6]
    rows = [t - 1 for t in targets]
    found = memory.predict(noisy[:1, rows], level[:1, rows], targets, plans[0])
    torch.testing.assert_close(found, whole[:1, rows], atol=1e-4, rtol=1e-4)


def test_a_roll_out_on_clean_keys_sees_what_training_showed(window, network):
    """One step of every frame is the forced prediction from the same noise, given the run's own frames."""
    plans = chosen_plans(window, "pose", 2, 4)
    noise = torch.randn_like(window.latents[:, 1:])
    with torch.no_grad():
        condition = make_condition(network, window)
        made = roll_out(network, condition, plans, noise, 1, clean_keys=True)
        forced = predict_forced(network, condition, made, noise, torch.ones(2, FRAMES), plans)
        stale = roll_out(network, condition, plans, noise, 1)
    torch.testing.assert_close(made, forced, atol=1e-4, rtol=1e-4)
    assert (made - stale).abs().max() > 1e-3  # keys of noise are other keys


def test_windows_hold_what_the_clips_hold(run, window):
    clips = MemoryClips(run / "memory", "train")
    codec = load_codec(run)
    sampler = MemorySampler(clips, 4, codec, prior=False)
    a, b = (sampler.sample(np.random.default_rng(5), 3) for _ in range(2))
    assert torch.equal(a.latents, b.latents) and torch.equal(a.areas, b.areas)
    assert (a.base[:, 1:] == 0).all() and torch.equal(a.base[:, 0], a.latents[:, 0])
    assert (window.base[:, 1:] != 0).any()
    assert window.areas[0].tolist() == clips.clips[0].masks.sum((2, 3)).tolist()
    covered = clips.clips[0].masks[1, 0].reshape(8, 16, 8, 16).mean((1, 3)).reshape(-1)
    np.testing.assert_allclose(window.weight[0, 0], covered, atol=1e-6)
    for plan in random_plans(window, np.random.default_rng(0)):
        assert all(0 < k < t for t, past in enumerate(plan.past) for k in past)


def test_later_showings_are_what_a_memory_is_asked_for(run):
    assert later_showings(MemoryClips(run / "memory", "heldout").clips[0]) == [5]


def test_every_stage_trains_and_the_report_tells_of_all(run, monkeypatch):
    small = replace(memory_stages.MemoryOptions(), width=32, layers=1, heads=2)
    network = memory_stages.make_network
    monkeypatch.setattr(memory_stages, "make_network", lambda codec, side: network(codec, side, small))
    monkeypatch.setattr(memory_stages, "MEMORY_DISTILL", replace(memory_stages.MEMORY_DISTILL, critic_warmup=1))
    options = TrainOptions("memory_teacher", run, preset="tiny", steps=2)
    assert run_stage(options)["steps"] == 2
    for stage in memory_stages.BEFORE:
        with pytest.raises(InputError, match=f"no weights of {memory_stages.BEFORE[stage]}_pose .*--pose-only"):
            run_stage(replace(options, stage=stage, pose_only=True))
    before = None
    for stage in ("memory_teacher", *memory_stages.BEFORE):
        report = run_stage(replace(options, stage=stage, pose_only=True))
        assert report == {**report, "stage": f"{stage}_pose", "steps": 2}
        card = json.loads((run / f"{stage}_pose" / "export" / "card.json").read_text())
        assert card["clips"] == 3 and card["made_by"].endswith(stage)
        model = memory_stages.load_memory(run, stage, True)
        weights = torch.cat([p.flatten() for p in model.parameters()])
        assert before is None or not torch.equal(weights, before)
        before = weights
    text, report = evaluate_memory(run, 2, ("frames", "tokens", "distillation"), top_k=4)
    rows = report["tables"]["frames"]["rows"]
    assert (
        rows["pose, K = 4, 10 s"]["fidelity"]["clips"] == 2 and rows["pose, K = 4, 10 s"]["consistency"]["clips"] == 2
    )
    assert rows["all, 10 s"]["density"]["mean"] > rows["pose, K = 1, 10 s"]["density"]["mean"]
    assert rows["truth through the codec"]["fidelity"]["mean"] > rows["oracle, K = 8, 10 s"]["fidelity"]["mean"]
    assert {"truth through the codec", "DMD, 1 step", "DMD + region loss, 4 steps"} <= set(
        report["tables"]["distillation"]["rows"]
    )
    assert "DMD + region loss, 1 step against DMD, 1 step" in report["tables"]["distillation"]["differences"]
    assert "| pose, K = 4, 10 s |" in text and "## Distillation" in text


def test_bad_input_is_answered_by_a_sentence(run, tmp_path, monkeypatch, capsys):
    with pytest.raises(InputError, match="no memory clips in"):
        run_stage(TrainOptions("memory_teacher", tmp_path))
    with pytest.raises(InputError, match="--pose-only belongs to the memory stages; teacher"):
        run_stage(TrainOptions("teacher", run, pose_only=True))
    other = tmp_path / "other" / "memory"
    other.mkdir(parents=True)
    (other / "clips.json").write_text(json.dumps({"details": ["scar"], "side": SIDE, "frames": FRAMES}))
    with pytest.raises(InputError, match="the clips show the details scar; badge, palm"):
        MemoryClips(other, "train")
    (other / "clips.json").write_text("{}")
    with pytest.raises(InputError, match="does not describe memory clips"):
        MemoryClips(other, "train")
    (other / "clips.json").write_text((run / "memory" / "clips.json").read_text())
    with pytest.raises(InputError, match="there are no train clips"):
        MemoryClips(other, "train")
    write_clips(other, 1, "train")
    (other / "train_0.masks.npy").unlink()
    with pytest.raises(InputError, match="lacks train_0.masks.npy; make the clips anew"):
        MemoryClips(other, "train")
    with pytest.raises(InputError, match="have 6 frames; 4 were asked for"):
        make_memory_clips(other, 1, 1, frames=4)
    with pytest.raises(InputError, match="no weights of memory_teacher in"):
        evaluate_memory(_bare(run, tmp_path), 1, ("frames",))
    with pytest.raises(InputError, match="0 clips asked for"):
        evaluate_memory(run, 0, ("frames",))
    assert main(["evaluate", "--memory", str(run), "--memory-frames", "0"]) == 2
    assert "a memory of 0 frames is asked for; 1 or more are accepted" in capsys.readouterr().err
    assert main(["evaluate", "--memory", str(tmp_path / "nowhere")]) == 2
    assert "there is no folder nowhere with a run" in capsys.readouterr().err


def _bare(run: Path, folder: Path) -> Path:
    """A run with clips and without networks."""
    bare = folder / "bare"
    bare.mkdir()
    (bare / "memory").symlink_to(run / "memory")
    return bare


def test_drawn_clips_are_read_back_as_they_were_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(memory_data, "CLIPS", 1)
    make_memory_clips(tmp_path, 1, 1, frames=3)
    drawn = memory_data.make_clip(0, 3)
    (clip,) = MemoryClips(tmp_path, "train")
    for found, part in zip((clip.frames, clip.warped, clip.masks, clip.xy), drawn, strict=False):
        np.testing.assert_array_equal(found, part)
    assert not clip.masks[0].any() and clip.masks.any()
    (other,) = MemoryClips(tmp_path, "heldout")
    assert not np.array_equal(other.frames[0], clip.frames[0])
    made = (tmp_path / "train_000000.frames.npy").stat().st_mtime_ns
    make_memory_clips(tmp_path, 1, 1, frames=3)  # what is there is kept
    assert (tmp_path / "train_000000.frames.npy").stat().st_mtime_ns == made


def test_the_pattern_lets_a_network_learn_what_only_the_past_shows():
    """Every clip's frames show one random picture that its reference does not: whoever remembers draws it, others cannot."""
    torch.manual_seed(0)
    clips, f, channels, cells = 16, 4, 4, 4
    model = VideoTransformer(channels, cells, cells, width=32, layers=2, heads=2, frames=1)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    grid, rng = TokenGrid(1 + f, cells, cells), np.random.default_rng(0)
    bits = torch.full((1 + f, cells * cells), EVERYTHING, dtype=torch.uint8)
    pose, seen = torch.full((clips, 1 + f, 1, COUNT, 2), 0.5), torch.zeros(clips, 1 + f, 1, COUNT)
    image = torch.zeros(clips, 3, 64, 64)

    def loss_of(table: torch.Tensor) -> torch.Tensor:
        clean = torch.randn(clips, 1, channels, cells, cells).expand(-1, f, -1, -1, -1)
        base = torch.zeros(clips, 1 + f, channels, cells, cells)
        plans = [AttentionPlan(grid, table, bits, None, memory_stages.MemoryOptions().mask(3))] * clips
        condition = model.condition(base, image, pose, seen)
        output = predict_forced(model, condition, clean, torch.randn_like(clean), torch.ones(clips, f), plans)
        return (output - clean)[:, 1:].square().mean()  # the first frame has no past

    for _ in range(200):
        loss = loss_of(random_table(1 + f, rng))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    one_before = torch.full((1 + f, 3), -1)
    one_before[2:, 0] = torch.arange(1, f)
    with torch.no_grad():
        assert float(loss_of(one_before)) < 0.3
        assert float(loss_of(torch.full((1 + f, 3), -1))) > 0.8  # the variance of what nobody told it
