"""Every training stage for a few steps on noise: runs, saves, and changes what it should change and nothing else."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from iasa.config import HELDOUT_IDENTITY, PRESETS, STUDENT_LAYERS, DistillOptions, InputError, MaskOptions
from iasa.keypoints import COUNT
from iasa.models.autoencoder import Autoencoder
from iasa.models.checkpoint import find_weights, load_weights, save_weights, shipped_weights, weight_files
from iasa.models.transformer import VideoTransformer
from iasa.training import stages
from iasa.training.datasets import HELDOUT_CLIPS, encode_shards
from iasa.training.distill import distill
from iasa.training.finetune_sparse import finetune_sparse
from iasa.training.options import STAGES, TrainOptions
from iasa.training.train_autoencoder import train_autoencoder
from iasa.training.train_decoder import train_decoder
from iasa.training.train_student import train_student
from iasa.training.train_teacher import train_teacher
from iasa.training.trainer import Schedule, Trainer, wants_resume

SCHEDULE = Schedule(steps=2, warmup=1, ema=0.5, lr=1e-3, muon_lr=0.01)
FOREVER = {"resume": False, "stop_after": float("inf")}


@pytest.fixture(scope="module")
def codec() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(latent_channels=4, widths=(16, 16, 16)).eval()


@pytest.fixture(scope="module")
def data(tmp_path_factory, codec):
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, clips in (("train", 2), ("heldout", 6)):
        np.save(folder / f"{split}_0.frames.npy", rng.integers(0, 256, (clips, 17, 256, 256, 3), dtype=np.uint8))
        np.save(folder / f"{split}_0.xy.npy", rng.uniform(0.1, 0.9, (clips, 17, COUNT, 2)).astype(np.float32))
        np.save(folder / f"{split}_0.confidence.npy", np.ones((clips, 17, COUNT), np.float16))
        encode_shards(folder, split, codec)
    return folder


def network() -> VideoTransformer:
    torch.manual_seed(1)
    return VideoTransformer(latent_channels=4, width=32, layers=1, heads=2)


def copy_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model, before) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value.cpu(), before[name])}


@pytest.mark.parametrize("train", [train_teacher, train_student])
def test_transformer_stages(train, data, codec, tmp_path):
    start = network()
    before = copy_of(start)
    model, trainer = train(data, tmp_path, SCHEDULE, PRESETS["tiny"], codec, start, **FOREVER)
    assert trainer.step == 2 and {"patch_out.weight", "pose.token_in.weight"} <= changed(model, before)
    assert (tmp_path / "samples.png").exists() and "held-out PSNR" in (tmp_path / "log.txt").read_text()
    assert (tmp_path / "checkpoint" / "state.json").exists()


def test_the_student_keeps_some_of_the_teachers_layers(data, codec, tmp_path):
    """And the weights of those, as a run shows in which nothing is learnt."""
    torch.manual_seed(2)
    teacher = VideoTransformer(latent_channels=4, width=32, layers=8, heads=2)
    given = [block.qkv.weight.clone() for block in teacher.blocks]
    still = Schedule(steps=1, warmup=1, lr=0.0, muon_lr=0.0)
    student, _ = train_student(data, tmp_path, still, PRESETS["tiny"], codec, teacher, **FOREVER)
    assert student.config.layers == len(student.blocks) == len(STUDENT_LAYERS) < 8
    for block, layer in zip(student.blocks, STUDENT_LAYERS, strict=True):
        assert torch.equal(block.qkv.weight, given[layer])
    save_weights(student, tmp_path / "student", {})
    assert len(load_weights(VideoTransformer, tmp_path / "student").blocks) == len(STUDENT_LAYERS)
    again, _ = train_student(data, tmp_path / "again", still, PRESETS["tiny"], codec, student, **FOREVER)
    assert len(again.blocks) == len(STUDENT_LAYERS)  # a student that goes on keeps what it has


@pytest.mark.parametrize("mask", [None, MaskOptions(local=False), MaskOptions()], ids=["dense", "global", "local"])
def test_fine_tuning_with_each_mask(mask, data, codec, tmp_path):
    start = network()
    before = copy_of(start)
    model, trainer = finetune_sparse(data, tmp_path, SCHEDULE, PRESETS["tiny"], codec, start, **FOREVER, mask=mask)
    assert trainer.step == 2 and "blocks.0.qkv.weight" in changed(model, before)
    assert "held-out PSNR" in (tmp_path / "log.txt").read_text()


def test_distillation_changes_student_and_critic_and_continues_after_a_kill(data, codec, tmp_path):
    """A run that is killed between two saves ends where an undisturbed one does, critic and averages included."""
    teacher = network()
    schedule = Schedule(steps=3, warmup=1, ema=0.5, lr=1e-3, muon_lr=0.01)
    options = DistillOptions(steps=(1, 2), critic_updates=1)

    def run(folder, resume, killed_at=None, saved_at=None):
        def term(x0, window, truth, rng):  # stands where the region loss does, and sees the step go by
            step = len(steps)
            steps.append(step)
            if killed_at is not None and step == killed_at:
                raise KeyboardInterrupt
            return x0.square().mean()

        steps = []
        run_schedule = Schedule(**{**vars(schedule), "save_every": 0.0 if saved_at is not None else 1e9})
        student = network()
        arguments = (
            data,
            tmp_path / folder,
            run_schedule,
            PRESETS["tiny"],
            codec,
            student,
            teacher,
            resume,
            float("inf"),
        )
        return distill(*arguments, DistillOptions(**{**vars(options), "region": 0.1}), term)[1]

    before = copy_of(teacher)
    whole = run("whole", resume=False)
    with pytest.raises(KeyboardInterrupt):
        run("part", resume=False, killed_at=2, saved_at=2)
    rest = run("part", resume=True)
    assert rest.step == whole.step == 3
    assert not changed(teacher, before)
    for a, b in (
        (whole.learner, rest.learner),
        *zip(whole.auxiliary_models.values(), rest.auxiliary_models.values(), strict=True),
    ):
        assert "blocks.0.qkv.weight" in changed(a.bare, before)
        assert not changed(b.bare, {name: value for name, value in a.bare.state_dict().items()})
    log = (tmp_path / "whole" / "log.txt").read_text()
    assert all(word in log for word in ("critic", "dmd", "regression", "region"))


def test_the_own_roll_out_without_distribution_matching_has_no_critic(data, codec, tmp_path):
    """The control of the tables: the same roll-out and steps, true latents alone."""
    start = network()
    before = copy_of(start)
    arguments = (data, tmp_path, SCHEDULE, PRESETS["tiny"], codec, start, network())
    model, trainer = distill(*arguments, **FOREVER, options=DistillOptions(steps=(1,), dmd=0.0))
    assert trainer.step == 2 and "blocks.0.qkv.weight" in changed(model, before)
    assert not trainer.auxiliary_models and set(trainer.smooth) == {"regression", "loss"}
    assert not list(tmp_path.rglob("critic*"))


def test_the_decoder_stage_leaves_the_encoder_alone(data, codec, tmp_path):
    start = Autoencoder(latent_channels=4, widths=(16, 16, 16))
    start.load_state_dict(codec.state_dict())
    before = copy_of(start)
    model, _ = train_decoder(data, tmp_path, SCHEDULE, network(), start, **FOREVER)
    names = changed(model, before)
    assert {"heads.0.weight", "heads.1.weight", "pose.weight", "poses.weight"} <= names
    assert not [name for name in names if name.startswith("encoder.") or name in ("mean", "std")]


def test_the_autoencoder_stage_measures_its_latents(data, tmp_path):
    start = Autoencoder(latent_channels=4, widths=(16, 16, 16))
    model, _ = train_autoencoder(data, tmp_path, SCHEDULE, 2, start, **FOREVER)
    assert (model.std != 1).all() and model.mean.abs().max() > 0
    with torch.no_grad():
        images = (
            torch.from_numpy(np.load(data / "train_0.frames.npy")[:, 1:3].copy()).movedim(-1, 2).float() / 127.5 - 1
        )
        assert 0.5 < model.encode(images).std() < 2.0


def test_a_broken_loss_is_told_as_bad_input(tmp_path, monkeypatch):
    """The command names the step and the checkpoint that is left, and what to do."""

    def broken(*arguments):
        raise FloatingPointError(
            "the loss of the critic is nan at step 7; the checkpoint is that of step 5 (in distill)"
        )

    (tmp_path / "data").mkdir()
    for split in ("train", "heldout"):
        (tmp_path / "data" / f"{split}_0.frames.npy").touch()
    monkeypatch.setattr(stages, "_train", broken)
    with pytest.raises(InputError, match="critic is nan at step 7; .*that of step 5.*go on from there with --resume"):
        stages.run_stage(TrainOptions("distill", tmp_path))


OWN_DATA = [stage for stage in STAGES if stage == "restore" or stage.startswith("memory_") and stage != "memory_data"]
RESUMED = [stage for stage in STAGES if stage not in ("all", "data", "memory_data", "motion", "encoders", *OWN_DATA)]


@pytest.mark.parametrize("stage", RESUMED)
def test_every_stage_refuses_to_resume_from_nothing(stage, data, tmp_path, monkeypatch):
    """Before anything is learnt; with --from-scratch it begins anew, without that word it does not."""
    (tmp_path / "data").symlink_to(data)
    monkeypatch.setattr(Trainer, "fit", lambda *arguments: pytest.fail("it began"))
    options = TrainOptions(stage, tmp_path, preset="tiny", resume=True)
    with pytest.raises(InputError, match=f"the checkpoint to resume in .*{stage} is not there"):
        stages.run_stage(options)
    assert wants_resume(options, tmp_path / stage)
    scratch = replace(options, from_scratch=True)
    assert not wants_resume(scratch, tmp_path / stage)
    Trainer(torch.nn.Linear(2, 2), tmp_path / stage, SCHEDULE).save()
    assert wants_resume(scratch, tmp_path / stage)
    (tmp_path / stage / "checkpoint" / "state.json").unlink()
    assert not wants_resume(scratch, tmp_path / stage)


@pytest.mark.parametrize("stage", OWN_DATA)
def test_a_stage_without_its_data_names_the_command_that_makes_them(stage, data, tmp_path):
    """The clips of `train data` are of another kind."""
    (tmp_path / "data").symlink_to(data)
    with pytest.raises(InputError, match="make them with: python -m iasa train (data --pairs|memory_data)"):
        stages.run_stage(TrainOptions(stage, tmp_path, preset="tiny", resume=True))


@pytest.mark.parametrize(("from_scratch", "part"), [(False, "generator"), (True, "codebooks")])
def test_motion_refuses_to_resume_from_nothing(from_scratch, part, tmp_path, monkeypatch):
    """Unless it is told to begin anew; and the generator begins where a run ended with its codebooks."""
    asked = []

    def train(run, schedule, preset, start, resume, stop_after):
        asked.append(resume)
        raise FloatingPointError("stop here")

    monkeypatch.setattr("iasa.training.train_motion.train_motion", train)
    options = TrainOptions("motion", tmp_path, resume=True, from_scratch=from_scratch)
    with pytest.raises(InputError, match="stop here"):
        stages.run_stage(options)
    assert asked == [not from_scratch]  # where there is nothing to resume `Trainer.resume` refuses
    Trainer(torch.nn.Linear(2, 2), tmp_path / "motion" / part, SCHEDULE).save()
    with pytest.raises(InputError, match="stop here"):
        stages.run_stage(options)
    assert asked[1]


@pytest.mark.parametrize("left", [(), ("face_encoder",)])
def test_the_encoders_resume_where_the_run_ended(left, data, tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(data)
    for name in left:
        Trainer(torch.nn.Linear(2, 2), tmp_path / name, SCHEDULE).save()
    asked = []

    def train(source, run, schedule, resume, stop_after):
        asked.append(resume)
        if resume:
            Trainer(torch.nn.Linear(2, 2), run, schedule).resume()
        trainer = Trainer(network(), run, schedule)
        return trainer.bare, trainer, {}

    for name in ("encoders.train_face_encoder", "encoders.train_part_encoder", "train_sync.train_sync_encoder"):
        monkeypatch.setattr(f"iasa.training.{name}", train)
    options = TrainOptions("encoders", tmp_path, resume=True)
    if left:
        stages.run_stage(options)
        assert asked == [True, False, False]
    else:
        with pytest.raises(InputError, match="face_encoder is not there"):
            stages.run_stage(options)


def test_training_clips_are_never_those_that_are_held_out(tmp_path, monkeypatch):
    """`train data --first`: other numbers, other speakers, below the held-out ones."""
    made = []
    monkeypatch.setattr(
        "iasa.training.datasets.make_shards", lambda folder, clips, corpus, **how: made.append((clips, how))
    )
    options = TrainOptions("data", tmp_path, clips=100)
    stages.run_stage(replace(options, first=2000))
    assert [clips for clips, how in made if how.get("heldout")] == [HELDOUT_CLIPS]
    assert [(clips, how["first"]) for clips, how in made if "first" in how] == [(100, 2000)]
    assert all(how["until"] == math.inf for _, how in made)
    for first in (-1, HELDOUT_IDENTITY - 99):
        with pytest.raises(InputError, match="held out"):
            stages.run_stage(replace(options, first=first))
    assert len(made) == 2


def test_exported_weights_with_a_hole_are_refused_by_name(tmp_path):
    save_weights(network(), tmp_path, {})
    (part,) = weight_files(tmp_path)
    tensors = load_file(part)
    save_file({name: tensor for name, tensor in tensors.items() if not name.startswith("blocks.0.out.bias")}, part)
    with pytest.raises(InputError, match="lack blocks.0.out.bias"):
        load_weights(VideoTransformer, tmp_path)


def test_a_given_arcface_takes_the_place_of_our_face_encoder(tmp_path):
    class Brightness(torch.nn.Module):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            return torch.stack([faces.mean((1, 2, 3)), torch.ones(len(faces))], 1)

    torch.jit.script(Brightness()).save(str(tmp_path / "arcface.pt"))
    images, xy = torch.rand(2, 3, 64, 64), torch.rand(2, 133, 2) * 64
    assert stages.choose_face(tmp_path, tmp_path / "arcface.pt")(images, xy).shape == (2, 2)
    assert stages.choose_face(tmp_path, None)(images, xy).shape[1] > 2
    with pytest.raises(InputError):
        stages.choose_face(tmp_path, tmp_path / "missing.pt")


def test_a_stage_starts_where_the_run_left_off_and_its_card_adds_up(tmp_path):
    def leave(stage, name, steps):
        folder = tmp_path / stage / "export"
        card = {"name": name, "made_by": f"python -m iasa train {stage}", "steps": steps, "seconds": 10 * steps}
        save_weights(network(), folder, card)
        return folder

    assert stages.find_start("teacher", tmp_path, False) == shipped_weights("teacher")
    assert stages.find_start("teacher", tmp_path, True) is None
    assert stages.find_start("student", tmp_path, True) == shipped_weights("teacher")
    finetuned = leave("finetune", "finetune", 20)
    assert (
        stages.find_start("student", tmp_path, True)
        == stages.find_start("finetune_local", tmp_path, False)
        == finetuned
    )
    student = leave("student", "student", 30)
    assert stages.find_start("distill_region", tmp_path, False) == student
    with pytest.raises(InputError, match="train one of these first: nothing"):
        find_weights(tmp_path, "nothing")

    trainer = Trainer(network(), tmp_path / "x", SCHEDULE)
    trainer.step, trainer.seconds = 5, 60.0
    card = stages.make_card("distill_region", trainer, tmp_path, "distill_region", stages.read_card(student))
    assert (card["name"], card["steps"], card["seconds"]) == ("student", 35, 360)
    card = stages.make_card("student", trainer, tmp_path, "student", stages.read_card(finetuned))
    assert (card["steps"], card["seconds"]) == (5, 60) and card["began_at"].startswith("finetune, 20 steps")
    assert stages.make_card("teacher", trainer, tmp_path, "teacher")["began_at"] == "noise"


def test_an_export_is_a_folder_of_networks_in_either_form(tmp_path):
    """By the network's name, for from_pretrained and --weights; compact where the repository is to keep it."""
    student, card = network(), {"name": "student", "steps": 3}
    for compact in (False, True):
        mine = tmp_path / f"mine_{compact}"
        options = TrainOptions("distill_region", tmp_path, export=mine, compact=compact)
        stages.export(student, tmp_path / "distill_region", options, card)
        assert find_weights(mine, "distill_region", "student") == mine / "student"
        (file,) = weight_files(mine / "student")
        assert file.name == ("part_00.safetensors" if compact else "diffusion_pytorch_model.safetensors")
        loaded = load_weights(VideoTransformer, mine / "student").state_dict()
        away = max(float((loaded[name] - tensor).abs().max()) for name, tensor in student.state_dict().items())
        assert (0 < away < 0.02) if compact else away == 0
        assert stages.read_card(mine / "student") == card
    assert find_weights(tmp_path, "distill_region", "student") == tmp_path / "distill_region" / "export"
