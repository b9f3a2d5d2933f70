"""The whole chain within a given time: shares of it, what is left over, cooled-down ends, data that stop in time."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from iasa.config import PRESETS, InputError
from iasa.paths import SPEECH
from iasa.training import datasets, stages, train_motion, whole_chain
from iasa.training.options import TrainOptions
from iasa.training.speech_data.corpus import Committed, analyse
from iasa.training.trainer import Schedule, Trainer, lr_factor


@pytest.fixture
def run_all(monkeypatch):
    """Runs the chain by a clock of its own; a stage takes as much of its time as `used` says, 1 else."""

    def run(options, used=()):
        now, calls = [100.0], []
        monkeypatch.setattr(whole_chain, "time", SimpleNamespace(monotonic=lambda: now[0]))

        def run_stage(options):
            calls.append(options)
            now[0] += 60 * options.minutes * dict(used).get(options.stage, 1)
            return {"stage": options.stage}

        report = whole_chain.train_all(options, run_stage)
        assert [stage["stage"] for stage in report["stages"]] == [call.stage for call in calls]
        return calls, (now[0] - 100) / 60

    return run


def test_stages_share_the_time_in_the_order_of_the_method(run_all, tmp_path):
    calls, spent = run_all(TrainOptions("all", tmp_path, minutes=10))
    assert [call.stage for call in calls] == ["data", "teacher", "student", "distill_region"]
    assert [round(call.minutes, 6) for call in calls] == [2, 3, 2.5, 2.5] and spent == pytest.approx(10)


def test_what_a_stage_leaves_goes_to_the_ones_after_it_and_what_it_overruns_comes_from_them(run_all, tmp_path):
    calls, spent = run_all(TrainOptions("all", tmp_path, minutes=10), {"data": 0, "teacher": 2}.items())
    assert spent == pytest.approx(10)
    minutes = {call.stage: call.minutes for call in calls}
    assert minutes["teacher"] == pytest.approx(3.75) and minutes["student"] == pytest.approx(2.5 / 2)


def test_from_scratch_and_with_photographs_there_is_more_to_do(run_all, tmp_path):
    (tmp_path / "data" / "pairs").mkdir(parents=True)
    (tmp_path / "data" / "pairs" / "restore_photo_a_000.npz").touch()
    calls, _ = run_all(TrainOptions("all", tmp_path, minutes=1, from_scratch=True))
    assert [call.stage for call in calls] == [
        "data", "autoencoder", "encoders", "teacher", "finetune_local", "student", "distill_region", "restore",
    ]  # fmt: skip


def test_it_resumes_what_had_begun(run_all, tmp_path):
    for folder in ("teacher", "face_encoder"):
        (tmp_path / folder / "checkpoint").mkdir(parents=True)
        (tmp_path / folder / "checkpoint" / "state.json").touch()
    calls, _ = run_all(TrainOptions("all", tmp_path, minutes=1, resume=True, from_scratch=True))
    assert [call.stage for call in calls if call.resume] == ["encoders", "teacher"]


def test_a_stage_that_leaves_no_time_ends_the_chain_instead_of_exporting_what_has_not_learnt(run_all, tmp_path):
    with pytest.raises(InputError, match="no time is left for student, distill_region; more --minutes"):
        run_all(TrainOptions("all", tmp_path, minutes=1), {"teacher": 9}.items())


def test_a_time_is_needed_and_only_where_it_means_something(tmp_path):
    with pytest.raises(InputError, match="--minutes N"):
        stages.run_stage(TrainOptions("all", tmp_path))
    for change in ({"steps": 3}, {"stop_after": 9}):
        with pytest.raises(InputError, match="for one stage"):
            stages.run_stage(TrainOptions("all", tmp_path, minutes=1, **change))
    for options in (
        TrainOptions("data", tmp_path, pairs=True, minutes=1),
        TrainOptions("memory_data", tmp_path, minutes=1),
    ):
        with pytest.raises(InputError, match="--minutes is for"):
            stages.run_stage(options)


def test_a_run_ends_cooled_down_when_its_time_is_over(tmp_path):
    assert lr_factor(500, 1000, 10, spent=0.75) == lr_factor(750, 1000, 10) == 0.5
    assert lr_factor(900, 1000, 10, spent=0.1) == pytest.approx(0.2), "whichever ends first"
    schedule = Schedule(steps=10**6, warmup=1, lr=1e-2, muon_lr=0.02, seconds=0.4)
    trainer = Trainer(torch.nn.Linear(3, 3), tmp_path, schedule)
    rates = []

    def loss_of(network, rng):
        rates.append(trainer.learner.optimizers[0].param_groups[0]["lr"])
        time.sleep(0.01)
        return network(torch.ones(1, 3)).square().mean()

    trainer.fit(loss_of)
    assert 5 < trainer.step < 60 and trainer.seconds < 1.5
    assert rates[-1] < 0.15 * max(rates), "the rate has fallen"
    again = Trainer(torch.nn.Linear(3, 3), tmp_path, schedule)
    again.resume()
    again.fit(loss_of)
    assert again.step == trainer.step, "the time counts from where the run began"
    assert again.done == 1 and trainer.step / schedule.steps < 1e-3, "what a stage does in turn goes by time, too"


@pytest.mark.parametrize(("seconds", "goes_on"), [(30.0, True), (5.0, False)])
def test_motion_goes_on_after_codebooks_that_ran_out_of_time_not_after_stopped_ones(
    seconds, goes_on, monkeypatch, tmp_path
):
    ended = SimpleNamespace(step=3, seconds=seconds, averaged=lambda: SimpleNamespace(model="codes"))
    begun = []
    monkeypatch.setattr(train_motion, "make_bank", lambda run: None)
    monkeypatch.setattr(train_motion, "train_codebooks", lambda run, schedule, **_: ended)
    monkeypatch.setattr(train_motion, "train_generator", lambda run, schedule, **_: begun.append(schedule) or ended)
    train_motion.train_motion(
        tmp_path, Schedule(steps=1000, seconds=60.0), PRESETS["motion"], None, resume=False, stop_after=1e9
    )
    assert len(begun) == goes_on and all(0 < later.seconds < 60 for later in begun)


def test_rendering_stops_in_time_but_leaves_something_to_learn_from(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(datasets, "make_corpus", lambda *_: [])

    def make_shard(folder, name, seeds, corpus):
        made.append((name, len(seeds)))
        np.save(folder / f"{name}.frames.npy", np.zeros((len(seeds), 1), np.uint8))

    monkeypatch.setattr(datasets, "make_shard", make_shard)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    for _ in range(2):
        datasets.make_shards(tmp_path, 30, until=time.monotonic() - 1)
        assert made == [("train_000000", 12)]
    datasets.make_shards(tmp_path, 30)
    assert made == [("train_000000", 12), ("train_000012", 12), ("train_000024", 6)]
    assert datasets.count_clips(tmp_path) == 30


def test_clips_that_a_larger_shard_holds_are_not_rendered_again(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(datasets, "make_corpus", lambda *_: [])
    monkeypatch.setattr(datasets, "make_shard", lambda folder, name, seeds, corpus: made.append((name, list(seeds))))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    np.save(tmp_path / "train_000000.frames.npy", np.zeros((50, 1), np.uint8))
    datasets.make_shards(tmp_path, 55)
    assert made == [("train_000050", [50, 51, 52, 53, 54])]


@pytest.mark.slow
def test_several_processes_render_what_one_does(monkeypatch, tmp_path):
    audio, phones = Committed(sorted(SPEECH.glob("*.json"))[0])()
    corpus = [datasets.Utterance(audio, analyse(audio, phones=phones), "one")]
    monkeypatch.setattr(datasets, "make_corpus", lambda *_: corpus)
    monkeypatch.setattr(datasets, "CLIPS", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    datasets.make_shards(tmp_path, 2)
    alone = datasets.make_clip(1, corpus[0])
    for part, expected in zip(("frames", "xy", "confidence"), alone, strict=True):
        made = np.load(tmp_path / f"train_000001.{part}.npy")
        assert np.array_equal(made[0], expected.astype(made.dtype))
