"""Every training stage for a few steps on noise: runs, saves, and changes what it should change and nothing else."""

import numpy as np
import pytest
import torch

from iasa.config import PRESETS
from iasa.keypoints import COUNT
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.training.data import encode_shards
from iasa.training.loop import Schedule
from iasa.training.train_autoencoder import train_autoencoder
from iasa.training.train_decoder import train_decoder
from iasa.training.train_teacher import train_student, train_teacher

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
    assert (tmp_path / "sheet.png").exists() and "held-out PSNR" in (tmp_path / "log.txt").read_text()
    assert (tmp_path / "checkpoint" / "state.json").exists()


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
        images = torch.from_numpy(np.load(data / "train_0.frames.npy")[:, 1:3].copy()).movedim(-1, 2).float() / 127.5 - 1
        assert 0.5 < model.encode(images).std() < 2.0
