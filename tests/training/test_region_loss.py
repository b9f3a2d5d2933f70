"""Region masks, encoders, the region loss and where its gradient goes."""

import numpy as np
import pytest
import torch

from iasa.avatar.speaker import load_speaker, speaker_names
from iasa.keypoints import COUNT, EYE_CORNERS, FACE, LEFT_HAND, MOUTH, RIGHT_HAND, Keypoints, mouth_shape
from iasa.losses import feature_distance, region_loss, region_terms
from iasa.masks.region_masks import SOFT_REGIONS, soft_masks
from iasa.metrics.networks.face_encoder import FaceEncoder, align_faces
from iasa.metrics.networks.part_encoder import PartEncoder
from iasa.metrics.networks.sync_encoder import LONGEST, SyncEncoder, make_sound
from iasa.models.autoencoder import Autoencoder
from iasa.models.checkpoint import load_weights, save_weights
from iasa.training.datasets import WarpedWindow
from iasa.training.encoders import FaceCrops, blur, verify_faces
from iasa.training.region_loss import RegionLoss


@pytest.fixture(scope="module")
def speaker():
    """An example speaker: picture [1, 3, 256, 256], points in pixels [1, 133, 2], confidences [1, 133]."""
    one = load_speaker(speaker_names()[0])
    image = torch.from_numpy(one.image.copy()).movedim(-1, 0)[None].float() / 127.5 - 1
    return image, torch.from_numpy(one.keypoints.xy) * 256, torch.from_numpy(one.keypoints.confidence)


def test_soft_masks_lie_on_their_parts(speaker):
    _, xy, confidence = speaker
    masks = dict(zip(SOFT_REGIONS, soft_masks(xy, confidence, (256, 256))[0], strict=True))

    def at(name, points):
        x, y = points.round().long().clamp(0, 255).unbind(-1)
        return masks[name][y, x]

    assert (at("mouth", xy[0, list(MOUTH)]) > 0.4).all() and (at("face", xy[0, FACE][17:]) > 0.4).all()
    inside = (xy[0, LEFT_HAND] < 254).all(-1)
    assert (at("hands", xy[0, LEFT_HAND][inside]) > 0.9).all()
    assert masks["mouth"].mean() < 0.3 * masks["face"].mean() and masks["face"].mean() < 0.25
    assert at("hands", xy[0, FACE].mean(0, keepdim=True)) == 0
    part = soft_masks(xy - 64.0, confidence, (128, 128))[0, 0]  # a crop is a part of the whole
    torch.testing.assert_close(part, masks["face"][64:192, 64:192])
    unseen = confidence.clone()
    unseen[:, LEFT_HAND] = unseen[:, RIGHT_HAND] = 0
    assert not soft_masks(xy, unseen, (256, 256))[0, SOFT_REGIONS.index("hands")].any()


def test_faces_are_aligned_whatever_their_place_size_and_tilt():
    """A picture that is a smooth function of the place is known after alignment."""
    y, x = torch.meshgrid(torch.arange(128) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    xy = torch.zeros(1, COUNT, 2)
    a, b = torch.tensor([40.0, 60.0]), torch.tensor([60.0, 75.0])  # tilted eyes, 25 pixels apart
    xy[0, EYE_CORNERS[0]], xy[0, EYE_CORNERS[1]] = a, b
    crop = align_faces(torch.stack([x, y, x * 0])[None] / 128, xy, 64)[0] * 128
    middle = crop[:2, 31:33, 31:33].mean((1, 2))
    down = torch.tensor([-15.0, 20.0])
    torch.testing.assert_close(middle, (a + b) / 2 + 0.3 * down, atol=0.1, rtol=0)
    right_edge = crop[:2, 31:33, 63].mean(1)
    torch.testing.assert_close(right_edge, middle + (b - a) * 1.1 * (63 / 64), atol=0.1, rtol=0)


def test_feature_distance_looks_where_the_weight_is():
    a, b = torch.randn(2, 1, 8, 6, 6)
    weight = torch.zeros(1, 1, 12, 12)
    weight[..., :6] = 1.0
    b[..., :3] = 2.5 * a[..., :3]  # the same directions on the left
    assert feature_distance(a, b, weight).abs() < 1e-6
    assert feature_distance(a, b, weight.flip(-1)) > 0.5


class TestRegionLoss:
    @staticmethod
    def encoders():
        torch.manual_seed(0)
        return FaceEncoder(width=8).eval().requires_grad_(False), PartEncoder(width=8).eval().requires_grad_(False)

    def test_equal_pictures_cost_nothing_and_damage_is_charged_to_its_region(self, speaker):
        image, xy, confidence = speaker
        face, parts = self.encoders()
        clean = region_terms(image, image, xy, confidence, face.embed, parts)
        assert set(clean) == set(SOFT_REGIONS) and all(value < 1e-6 for value in clean.values())
        mask = soft_masks(xy, confidence, (256, 256))
        hurt = image * (1 - mask[:, 2:3]) + mask[:, 2:3] * torch.randn_like(image)
        terms = region_terms(hurt, image, xy, confidence, face.embed, parts)
        assert terms["hands"] > 20 * terms["mouth"] and terms["face"] < 1e-6
        assert region_loss(terms, {"face": 1.0, "mouth": 1.0, "hands": 2.0, "arms": 0.0}) == pytest.approx(
            float(2 * terms["hands"] + terms["mouth"] + terms["face"])
        )

    def test_gradient_reaches_the_student_and_nothing_else(self, speaker):
        image, xy, confidence = speaker
        face, parts = self.encoders()
        torch.manual_seed(0)
        codec = Autoencoder(latent_channels=4, widths=(16, 16, 16)).eval().requires_grad_(False)
        student = torch.nn.Parameter(torch.randn(1, 3, 4, 16, 16))
        poses = (xy / 256)[:, None, None].expand(1, 4, 2, -1, -1), confidence[:, None, None].expand(1, 4, 2, -1)
        warped = image[:, None].expand(-1, 6, -1, -1, -1)
        latents = torch.zeros(1, 4, 4, 16, 16)
        window = WarpedWindow(latents, image, *poses, latents, warped)
        truth = np.random.default_rng(0).integers(0, 256, (1, 6, 256, 256, 3), dtype=np.uint8)
        term = RegionLoss(codec, face.embed, parts, frames=2)
        term(student, window, truth, np.random.default_rng(0)).backward()
        touched = student.grad.abs().sum((2, 3, 4))[0] > 0
        assert touched.sum() == 2  # the two latent frames that were drawn
        where = student.grad.abs().sum((0, 1, 2)) > 0
        assert 36 <= where.sum() <= 2 * 36  # one crop of 6 x 6 tokens on the face, one on a hand
        hands = RegionLoss(codec, face.embed, parts, {"hands": 1.0}, frames=2)
        (only_hands,) = torch.autograd.grad(hands(student, window, truth, np.random.default_rng(0)), student)
        assert (only_hands.abs().sum((0, 1, 2)) > 0).sum() == 36
        for network in (codec, face, parts):
            assert all(p.grad is None for p in network.parameters())


def test_a_blur_is_that_of_its_picture():
    dot = torch.zeros(2, 3, 33, 33)
    dot[..., 16, 16] = 1.0
    soft = blur(dot, torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(soft[0], dot[0])
    place = torch.arange(33) - 16.0
    assert float((soft[1, 0].sum(0) * place**2).sum()) == pytest.approx(4.0, rel=0.05)


def test_verification_is_perfect_for_one_colour_a_person_and_blind_for_equal_faces():
    torch.manual_seed(0)
    encoder = FaceEncoder(width=8).eval()
    colours = np.random.default_rng(0).integers(0, 256, (10, 1, 1, 1, 3))
    faces = np.broadcast_to(colours, (10, 4, 64, 64, 3)).astype(np.uint8)
    assert verify_faces(encoder, FaceCrops(faces))["auc"] == 1.0
    assert verify_faces(encoder, FaceCrops(np.full((10, 4, 64, 64, 3), 90, np.uint8)))["auc"] == pytest.approx(0.5)


def test_encoders_survive_their_shipped_format(tmp_path):
    torch.manual_seed(0)
    for model, given in ((FaceEncoder(), torch.rand(2, 3, 64, 64)), (PartEncoder(), torch.rand(2, 3, 64, 64))):
        save_weights(model.eval(), tmp_path / "x", compact=True)
        loaded = load_weights(type(model), tmp_path / "x")
        assert sum(f.stat().st_size for f in (tmp_path / "x").glob("*.safetensors")) < 2**20
        a, b = (m(given) for m in (model, loaded))
        a, b = (v[-1] if isinstance(v, list) else v for v in (a, b))
        assert (a - b).abs().max() < 0.1 * a.abs().max()


def test_the_sync_curve_peaks_at_the_shift_of_the_lips():
    """With branches that read one shared signal the curve must find its delay; the sign says that the lips are late."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=120).astype(np.float32)
    sound, mouth = np.zeros((100, 128), np.float32), np.zeros((100, 40), np.float32)
    sound[:, 0], mouth[:, 0], mouth[:, 1] = signal[10:110], signal[6:106], 1.0
    encoder = SyncEncoder()
    encoder.embed_sound = lambda w: torch.nn.functional.normalize(w[:, :, 0] - w[:, :, 0].mean(1, keepdim=True), dim=-1)
    encoder.embed_mouth = encoder.embed_sound
    curve = encoder.curve(sound, mouth)
    assert curve.argmax() - LONGEST == 4 and curve.max() == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(ValueError, match="45 are needed"):
        encoder.curve(sound[:44], mouth[:44])


def test_only_the_lips_movement_reaches_the_sync_encoder():
    torch.manual_seed(0)
    encoder, windows = SyncEncoder().eval(), torch.randn(3, 15, 40)
    torch.testing.assert_close(
        encoder.embed_mouth(windows), encoder.embed_mouth(0.5 * windows + 0.2), atol=1e-4, rtol=1e-4
    )


def test_sound_is_cut_by_video_frame():
    audio = np.zeros(16_000, np.float32)
    audio[8_000:] = np.random.default_rng(0).normal(size=8_000)
    sound = make_sound(audio, 25)
    assert sound.shape == (25, 128)
    level = sound.mean(1)
    assert level[14:].min() > level[:11].max()


def test_mouth_shape_does_not_mind_place_size_and_tilt():
    rng = np.random.default_rng(0)
    xy = rng.uniform(0.3, 0.7, (2, COUNT, 2))
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    a, b = (mouth_shape(Keypoints(points, np.ones((2, COUNT)))) for points in (xy, 0.5 * xy @ turn.T + 0.1))
    np.testing.assert_allclose(a, b, atol=1e-4)
    assert a.shape == (2, 20, 2)
