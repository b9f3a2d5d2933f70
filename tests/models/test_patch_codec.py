"""The linear codec: whole with all components, the best of its rank else, and what it refuses."""

import pytest
import torch

from iasa.metrics.video_quality import psnr
from iasa.models.patch_codec import PatchCodec


def pictures() -> torch.Tensor:
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(12, 3, 6, 6), (32, 32), mode="bicubic")
    return (smooth * 2 - 1).clamp(-1, 1)


def test_with_all_components_nothing_is_lost():
    codec = PatchCodec(patch=4, latent_channels=48)
    codec.fit(pictures())
    images = pictures()[None]
    latents = codec.encode(images)
    assert latents.shape == (1, 12, 48, 8, 8)
    torch.testing.assert_close(codec.decode(latents), images, atol=1e-4, rtol=0)


def test_more_components_lose_less_and_latents_are_normal():
    images, quality = pictures()[None], []
    for channels in (2, 8, 20):
        codec = PatchCodec(4, channels)
        codec.fit(images[0])
        latents = codec.encode(images)
        quality.append(psnr(codec.decode(latents), images, peak=2.0))
        torch.testing.assert_close(codec.basis @ codec.basis.T, torch.eye(channels), atol=1e-4, rtol=0)
        assert latents.mean().abs() < 1e-3 and latents.square().mean() == pytest.approx(1.0, abs=0.02)
    assert quality[0] < quality[1] < quality[2]


def test_pixels_that_count_more_are_kept_better():
    torch.manual_seed(1)
    images = pictures()
    images[:, :, :8, :8] = torch.rand(12, 3, 8, 8) * 2 - 1  # noise, which no few components hold
    weight = torch.ones(12, 32, 32)
    weight[:, :8, :8] = 100
    errors = []
    for given in (None, weight):
        codec = PatchCodec(4, 12)
        codec.fit(images, given)
        errors.append((codec.decode(codec.encode(images[None]))[0] - images)[:, :, :8, :8].square().mean())
    assert errors[1] < 0.9 * errors[0]


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="a patch of 4 pixels has 1 to 48"):
        PatchCodec(4, 49)
    with pytest.raises(ValueError, match="not filled by patches of 4"):
        PatchCodec(4, 8).encode(torch.zeros(1, 1, 3, 30, 32))
