"""Published metrics by a user's own weights, with random networks of the same form: what is computed, and wrong files."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from iasa.avatar.speaker import load_speaker, speaker_names
from iasa.cli.evaluate import read_metric_files
from iasa.config import InputError
from iasa.keypoints import COUNT, Keypoints
from iasa.losses import region_terms
from iasa.metrics import published as published
from iasa.metrics.mfcc import make_cepstra
from iasa.metrics.networks.part_encoder import PartEncoder
from iasa.metrics.networks.syncnet import SyncNet, sync_distances
from iasa.metrics.proxy import compare_features
from iasa.metrics.published import (
    ARC_POINTS,
    ARC_SIDE,
    FIVE,
    PublishedMetrics,
    align_five,
    lpips_layers,
    read_arcface,
    read_syncnet,
    score_sync,
)

CHANNELS = (3, 64, 192, 384, 256, 256)  # of AlexNet


def alexnet(name: str = "alexnet", pretrained: bool = False) -> nn.Sequential:
    """The layers of AlexNet as torchvision has them, with random weights."""
    layers = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for a, b in zip(CHANNELS[2:], CHANNELS[3:], strict=False):
        layers += [nn.Conv2d(a, b, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(3, 2))


@pytest.fixture(scope="module")
def speaker():
    return load_speaker(speaker_names()[0])


class TestLpips:
    @pytest.fixture
    def backbone(self, monkeypatch):
        monkeypatch.setattr("torchmetrics.functional.image.lpips._get_tv_model_features", alexnet)
        torch.manual_seed(0)
        return alexnet()

    def test_it_is_torchmetrics_lpips_with_the_users_weights(self, backbone, tmp_path):
        published = {f"features.{name}": tensor for name, tensor in backbone.state_dict().items()}
        torch.save({**published, "classifier.1.weight": torch.zeros(2, 2)}, tmp_path / "alexnet.pth")
        save_file(published, tmp_path / "alexnet.safetensors")
        a, b = np.random.default_rng(0).integers(0, 256, (2, 9, 64, 64, 3), dtype=np.uint8)
        found = [PublishedMetrics.load({"lpips": tmp_path / f"alexnet.{kind}"}) for kind in ("pth", "safetensors")]
        scores = [one.score(a, b, None, None, None)["lpips"] for one in found]
        assert scores[0] == scores[1] == pytest.approx(self.by_hand(backbone, a, b), rel=1e-4)
        assert found[0].score(a, a, None, None, None) == {"lpips": 0.0}
        maps = lpips_layers(found[0].lpips, torch.zeros(1, 3, 64, 64))
        assert [m.shape[1] for m in maps] == list(CHANNELS[1:])

    @staticmethod
    def by_hand(backbone, a, b):
        """Zhang et al. 2018, equation 1, with the linear layers that torchmetrics brings."""
        import torchmetrics

        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        folder = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models"
        linear = torch.load(folder / "alex.pth", map_location="cpu", weights_only=True)
        x, y = ((torch.from_numpy(part) / 127.5 - 1 - shift) / scale for part in (a, b))
        x, y, total, level = x.movedim(-1, 1), y.movedim(-1, 1), 0.0, 0
        with torch.no_grad():
            for layer in list(backbone)[:12]:
                x, y = layer(x), layer(y)
                if isinstance(layer, nn.ReLU):
                    gap = (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square()
                    total += (gap * linear[f"lin{level}.model.1.weight"]).sum(1).mean((1, 2))
                    level += 1
        return float(total.mean())

    def test_other_networks_are_refused(self, backbone, tmp_path):
        state = {f"features.{name}": tensor for name, tensor in backbone.state_dict().items()}
        torch.save({k: v for k, v in state.items() if k != "features.3.bias"}, tmp_path / "short.pth")
        torch.save({**state, "features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "vgg.pth")
        with pytest.raises(InputError, match="short.pth is no AlexNet: it lacks features.3.bias"):
            PublishedMetrics.load({"lpips": tmp_path / "short.pth"})
        with pytest.raises(InputError, match=r"has shape \[64, 3, 3, 3\]; \[64, 3, 11, 11\] is needed"):
            PublishedMetrics.load({"lpips": tmp_path / "vgg.pth"})

    def test_what_is_missing_is_named(self, tmp_path, monkeypatch):
        def absent(name, pretrained=False):
            raise ModuleNotFoundError("torchvision")

        monkeypatch.setattr("torchmetrics.functional.image.lpips._get_tv_model_features", absent)
        torch.save({}, tmp_path / "a.pth")
        with pytest.raises(InputError, match="pip install torchvision"):
            PublishedMetrics.load({"lpips": tmp_path / "a.pth"})


class Pictures(nn.Module):
    """Stands where the Inception network does: means of the colours in 3 bands, a little mixed."""

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        assert return_features and images.dtype == torch.uint8
        return F.adaptive_avg_pool2d(images.float(), (3, 1)).flatten(1) / 64.0


class Pieces(nn.Module):
    """Stands where I3D does: mean colour, and how it changes over the piece."""

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        assert rescale and resize and return_features and x.shape[2] == 16
        mean = x.mean([3, 4])
        return torch.cat([mean.mean(2), mean[:, :, -1] - mean[:, :, 0]], 1)


class Faces(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3 * 49, 8)

    def forward(self, faces: Tensor) -> Tensor:
        return self.out(F.adaptive_avg_pool2d(faces, (7, 7)).flatten(1))


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    torch.manual_seed(0)
    for name, network in (("inception", Pictures()), ("i3d", Pieces()), ("arcface", Faces())):
        torch.jit.script(network).save(str(folder / f"{name}.pt"))
    return folder


def test_fid_is_torchmetrics_on_the_given_encoder(scripts):
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Encoder(Pictures):
        num_features = 9

        def forward(self, images):
            return super().forward(images, True)

    metric = PublishedMetrics.load({"inception": scripts / "inception.pt"})
    rng = np.random.default_rng(0)
    made, truth = (rng.integers(low, 256, (6, 17, 12, 12, 3), dtype=np.uint8) for low in (0, 60))
    looks = [[metric.extract_features(clip)["fid"] for clip in clips] for clips in (made, truth)]
    assert looks[0][0].shape == (3, 9)  # pictures 0, 8 and 16
    reference = FrechetInceptionDistance(feature=Encoder())
    for clips, real in ((made, False), (truth, True)):
        reference.update(torch.from_numpy(clips[:, ::8]).flatten(0, 1).movedim(-1, 1), real)
    assert compare_features(*looks)["mean"] == pytest.approx(float(reference.compute()), rel=1e-3)


def test_fvd_looks_at_whole_pieces_of_sixteen_frames(scripts):
    metric = PublishedMetrics.load({"i3d": scripts / "i3d.pt"})
    frames = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    (features,) = metric.extract_features(frames).values()
    colour = frames.astype(np.float64).mean((1, 2))
    expected = [np.concatenate([colour[a : a + 16].mean(0), colour[a + 15] - colour[a]]) for a in (0, 16)]
    np.testing.assert_allclose(features, expected, atol=1e-3)
    assert metric.extract_features(frames[:15]) == {}


class TestArcFace:
    def test_five_points_come_to_lie_where_they_should(self):
        """A picture whose colours are its places, and points that are a turned, scaled and moved copy of the template."""
        side = 160
        step = torch.arange(side) + 0.5
        y, x = torch.meshgrid(step, step, indexing="ij")
        picture = torch.stack([x, y, x * 0])[None]
        template = torch.tensor(ARC_POINTS) + 0.5
        angle = torch.tensor(0.3)
        turn = 0.7 * torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
        points = template @ turn.T + torch.tensor([50.0, 20.0])
        xy = torch.zeros(1, COUNT, 2)
        for part, point in zip(FIVE, points, strict=True):
            xy[:, part] = point
        crop = align_five(picture, xy)[0, :2]
        rows, columns = torch.meshgrid(torch.arange(ARC_SIDE) + 0.5, torch.arange(ARC_SIDE) + 0.5, indexing="ij")
        expected = (torch.stack([columns, rows], -1) @ turn.T + torch.tensor([50.0, 20.0])).movedim(-1, 0)
        inside = ((expected > 1) & (expected < side - 1)).all(0)
        assert inside.float().mean() > 0.9
        torch.testing.assert_close(crop[:, inside], expected[:, inside], atol=0.02, rtol=0)

    def test_the_fit_is_the_least_squares_one(self):
        rng = np.random.default_rng(0)
        xy = torch.zeros(1, COUNT, 2)
        noisy = np.array(ARC_POINTS) + rng.normal(0, 4, (5, 2))
        for part, point in zip(FIVE, noisy, strict=True):
            xy[:, part] = torch.tensor(point, dtype=torch.float32)
        system, wanted = [], []  # template = [[a, -b], [b, a]] point + shift
        for (px, py), (tx, ty) in zip(noisy, np.array(ARC_POINTS) + 0.5, strict=True):
            system += [[px, -py, 1, 0], [py, px, 0, 1]]
            wanted += [tx, ty]
        a, b, right, down = np.linalg.lstsq(np.array(system), np.array(wanted), rcond=None)[0]
        place = np.linalg.solve(
            [[a, -b], [b, a]], np.array([30.5, 60.5]) - [right, down]
        )  # of the crop's pixel (30, 60)
        step = torch.arange(140) + 0.5
        picture = torch.stack([*torch.meshgrid(step, step, indexing="xy"), torch.zeros(140, 140)])[None]
        np.testing.assert_allclose(align_five(picture, xy)[0, :2, 60, 30].numpy(), place, atol=0.02)

    def test_it_judges_faces_and_serves_the_region_loss(self, scripts, speaker):
        metric = PublishedMetrics.load({"arcface": scripts / "arcface.pt"})
        frames, poses = np.repeat(speaker.image[None], 50, 0), speaker.keypoints[np.zeros(50, int)]
        scores = metric.score(frames, frames, poses, (speaker.image, speaker.keypoints), np.zeros(32000, np.float32))
        assert set(scores) == {"arcface", "arcface_kept"}
        assert scores["arcface"] == pytest.approx(1, abs=1e-4) == scores["arcface_kept"]
        image = torch.from_numpy(speaker.image.copy()).movedim(-1, 0)[None].float() / 127.5 - 1
        xy, sure = torch.from_numpy(speaker.keypoints.xy) * 256, torch.from_numpy(speaker.keypoints.confidence)
        output = (image + 0.3 * torch.randn_like(image)).requires_grad_()
        face = read_arcface(scripts / "arcface.pt")
        terms = region_terms(output, image, xy, sure, face, PartEncoder(width=8).requires_grad_(False), ("face",))
        terms["face"].backward()
        assert float(terms["face"].detach()) > 0 and output.grad.abs().sum() > 0


class TestSyncNet:
    @pytest.fixture(scope="class")
    def network(self, tmp_path_factory):
        torch.manual_seed(0)
        network = SyncNet(narrower=32)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                module.running_mean.normal_(0, 0.1)
        path = tmp_path_factory.mktemp("sync") / "syncnet_v2.model"
        torch.save(network.state_dict(), path)
        return read_syncnet(path, narrower=32)

    def test_figures_are_those_of_the_definition(self, network, speaker):
        """Window by window and shift by shift, zeros beyond the ends, as the published code has it."""
        rng = np.random.default_rng(0)
        frames = np.repeat(speaker.image[None], 11, 0)
        frames = (frames * rng.uniform(0.3, 1, (11, 1, 1, 1))).astype(np.uint8)
        poses = speaker.keypoints[np.zeros(11, int)]
        audio = rng.normal(0, 0.1, 11 * 640).astype(np.float32)
        scores = score_sync(network, frames, poses, audio)
        faces, columns = published.cut_faces(frames, poses), torch.from_numpy(make_cepstra(audio))
        with torch.no_grad():
            seen = [network.embed_faces(faces[i : i + 5].movedim(0, 1)[None])[0] for i in range(6)]
            heard = [network.embed_sound(columns[None, None, :, 4 * i : 4 * i + 20])[0] for i in range(6)]
        means = []
        for shift in range(-15, 16):
            each = [(seen[i] - (heard[i + shift] if 0 <= i + shift < 6 else 0)).norm() for i in range(6)]
            means.append(float(sum(each) / 6))
        assert scores["sync_d"] == pytest.approx(min(means), rel=1e-4)
        assert scores["sync_c"] == pytest.approx(np.median(means) - min(means), rel=1e-3, abs=1e-5)
        assert np.isnan(score_sync(network, frames[:5], poses[:5], audio)["sync_c"])
        unseen = Keypoints(poses.xy, poses.confidence * 0)
        assert np.isnan(score_sync(network, frames, unseen, audio)["sync_d"])

    def test_the_least_distance_is_at_the_shift_of_the_lips(self):
        torch.manual_seed(0)
        sound = torch.randn(40, 8)
        late = torch.cat([torch.randn(3, 8), sound[:-3]])
        assert int(sync_distances(late, sound).argmin()) - 15 == -3

    def test_the_published_layout(self):
        """Shapes of the first and last tensors of syncnet_v2.model; 5 faces and 20 columns of cepstra become one vector each."""
        with torch.device("meta"):
            network = SyncNet()
            shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
            assert network.eval().embed_faces(torch.zeros(2, 3, 5, 224, 224)).shape == (2, 1024)
            assert network.embed_sound(torch.zeros(2, 1, 13, 20)).shape == (2, 1024)
        assert shapes["netcnnaud.0.weight"] == [64, 1, 3, 3] and shapes["netcnnaud.18.weight"] == [512, 256, 5, 4]
        assert shapes["netcnnlip.18.weight"] == [512, 256, 1, 6, 6] and shapes["netfcaud.3.weight"] == [1024, 512]

    def test_another_network_is_refused(self, tmp_path):
        torch.save(SyncNet(narrower=64).state_dict(), tmp_path / "small.model")
        with pytest.raises(InputError, match="small.model is no SyncNet: netcnnaud.0.weight has shape"):
            read_syncnet(tmp_path / "small.model", narrower=32)

    def test_faces_are_cut_the_same_wherever_they_are(self, speaker):
        poses = speaker.keypoints
        crop = published.cut_faces(speaker.image[None], poses)[0]
        moved = np.roll(speaker.image, (12, -20), (0, 1))[None]
        again = published.cut_faces(moved, Keypoints(poses.xy + np.array([-20, 12]) / 256, poses.confidence))[0]
        assert crop.shape == (3, 224, 224)
        assert (crop - again)[:, 40:180, 40:180].abs().mean() < 1.0
        eyes = (poses.xy[0, 23 + 36 : 23 + 48].mean(0) * 256).astype(int)
        blue = speaker.image.copy()
        blue[eyes[1] - 2 : eyes[1] + 3, eyes[0] - 2 : eyes[0] + 3] = (0, 0, 255)
        change = (published.cut_faces(blue[None], poses)[0] - crop).clamp_min(0).sum((1, 2))
        assert change[0] > 10 * change[2]  # blue comes first


def test_cepstra_by_hand():
    """One column, sum by sum: weight_scale, power, triangles in mel, logarithm, cosines, lifter; the energy in front."""
    rng = np.random.default_rng(0)
    audio = (rng.normal(0, 0.1, 1000)).astype(np.float32)
    found = make_cepstra(audio)
    assert found.shape == (13, 5)  # 1 + ceil((1000 - 400) / 160)
    x = np.round(audio.astype(np.float64) * 32768)
    x[1:] -= 0.97 * np.round(audio.astype(np.float64) * 32768)[:-1]
    power = np.abs(np.fft.fft(x[320:720], 512)[:257]) ** 2 / 512
    mel = [2595 * np.log10(1 + 8000 / 700) * i / 27 for i in range(28)]
    edge = [int(513 * (700 * (10 ** (m / 2595) - 1)) / 16000) for m in mel]
    bands = []
    for j in range(26):
        total = sum(power[i] * (i - edge[j]) / (edge[j + 1] - edge[j]) for i in range(edge[j], edge[j + 1]))
        total += sum(
            power[i] * (edge[j + 2] - i) / (edge[j + 2] - edge[j + 1]) for i in range(edge[j + 1], edge[j + 2])
        )
        bands.append(np.log(total))
    expected = [np.log(power.sum())]
    for n in range(1, 13):
        cosine = sum(b * np.cos(np.pi * n * (2 * j + 1) / 52) for j, b in enumerate(bands)) * np.sqrt(2 / 26)
        expected.append(cosine * (1 + 11 * np.sin(np.pi * n / 22)))
    np.testing.assert_allclose(found[:, 2], expected, rtol=1e-4, atol=1e-4)


class TestWrongFiles:
    @pytest.mark.parametrize("name", published.PUBLISHED_METRICS)
    def test_no_network_at_all(self, name, tmp_path):
        (tmp_path / "notes.txt").write_text("not a network")
        with pytest.raises(
            InputError, match="notes.txt (is no TorchScript file|holds no tensors that can be read safely)"
        ):
            PublishedMetrics.load({name: tmp_path / "notes.txt"})

    def test_code_in_a_pickle_is_not_run(self, tmp_path):
        class Harm:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "harm"),)

        torch.save({"netcnnaud.0.weight": Harm()}, tmp_path / "harmful.model")
        with pytest.raises(InputError, match="harmful.model holds no tensors that can be read safely"):
            PublishedMetrics.load({"syncnet": tmp_path / "harmful.model"})
        assert not (tmp_path / "harm").exists()

    @pytest.mark.parametrize("name, other", [("inception", "arcface"), ("i3d", "inception"), ("arcface", "i3d")])
    def test_a_network_of_another_form(self, name, other, scripts):
        with pytest.raises(InputError, match=f"{other}.pt is no .* of the form needed"):
            PublishedMetrics.load({name: scripts / f"{other}.pt"})

    def test_what_the_command_line_takes(self, tmp_path):
        (tmp_path / "a.pt").write_bytes(b"")
        assert (
            read_metric_files([f"lpips={tmp_path / 'a.pt'}"]) == {"lpips": tmp_path / "a.pt"}
            and read_metric_files(None) == {}
        )
        for wrong in ("lpips", f"vgg={tmp_path / 'a.pt'}"):
            with pytest.raises(
                InputError, match="NAME=FILE is accepted, NAME one of lpips, syncnet, inception, i3d, arcface"
            ):
                read_metric_files([wrong])
        with pytest.raises(InputError, match="there is no file b.pt for the metric lpips"):
            read_metric_files([f"lpips={tmp_path / 'b.pt'}"])


def test_without_files_no_published_name_is_shown():
    nothing = PublishedMetrics()
    frames = np.zeros((20, 8, 8, 3), np.uint8)
    assert nothing.score(frames, frames, None, None, None) == {} and nothing.extract_features(frames) == {}
