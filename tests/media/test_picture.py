"""Photographs as cameras and phones make them: large ones, other formats, colour profiles, all ways of holding the camera."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from iasa.config import InputError
from iasa.demo.translations import translate
from iasa.media import picture
from iasa.media.picture import LONGEST_SIDE, read_image


def encode(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def make_shades(width: int = 64, height: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns * 255 // width, rows * 255 // height, (rows + columns) % 200], -1).astype(np.uint8)


def swap_primaries(profile: bytes) -> bytes:
    """An RGB profile whose red and blue primaries are exchanged."""
    assert profile.count(b"rXYZ") == profile.count(b"bXYZ") == 1
    return profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    "kind, transparent",
    [("JPEG", False), *((kind, transparent) for kind in ("PNG", "TIFF", "WEBP") for transparent in (False, True))],
)
def test_a_profile_s_colours_become_srgb(kind, transparent):
    image = Image.fromarray(make_shades())
    if transparent:
        image.putalpha(255)
    lossless = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    profile = swap_primaries(srgb())
    data = encode(image, kind, icc_profile=profile, **lossless)
    stored = Image.open(io.BytesIO(data)).convert("RGB")
    true = ImageCms.profileToProfile(
        stored, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    found = read_image(data).astype(int)
    assert np.abs(found - np.asarray(true)).max() <= 1
    assert np.abs(found - np.asarray(stored)).max() > 100  # the profile does say something


def test_grey_and_cmyk_pictures_and_useless_profiles_still_read():
    grey = Image.fromarray(make_shades()[..., 0])
    for profile in (srgb(), b"no profile at all", srgb()[:200]):
        np.testing.assert_array_equal(read_image(encode(grey, "PNG", icc_profile=profile))[..., 0], np.asarray(grey))
        same = read_image(encode(Image.fromarray(make_shades()), "PNG", icc_profile=profile))
        assert np.abs(same.astype(int) - make_shades()).max() <= 1
        assert read_image(encode(grey.convert("CMYK"), "JPEG", icc_profile=profile)).shape == (48, 64, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("large", [False, True])
def test_every_orientation_comes_out_upright(kind, orientation, large, monkeypatch):
    """As stored; then the picture that is right for a tag of that number, by its definition."""
    if large:
        monkeypatch.setattr(picture, "LONGEST_SIDE", 32)
    stored = np.zeros((40, 64, 3), np.uint8)
    stored[:20, :32], stored[:20, 32:], stored[20:, :32] = 250, 170, 90
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_image(encode(Image.fromarray(stored), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {})))
    right = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.swapaxes(0, 1),
        6: np.rot90(stored, -1), 7: stored[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(stored),
    }[orientation]  # fmt: skip
    step = 2 if large else 1
    assert found.shape == right[::step, ::step].shape
    rows, columns = (np.array(found.shape[:2]) * [[0.25], [0.75]]).astype(int).T
    for row in rows:
        for column in columns:
            assert abs(int(found[row, column, 0]) - int(right[row * step, column * step, 0])) < 12


@pytest.mark.parametrize(("kind", "megapixels"), [("JPEG", 24), ("PNG", 24), ("TIFF", 48), ("JPEG", 100), ("PNG", 100)])
def test_a_camera_s_pictures_are_decoded_small(kind, megapixels):
    """Four corners of four shades; only one byte a pixel, to be quick."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    height = int(megapixels * 1e6 / width)
    corners = Image.fromarray(np.array([[10, 80], [160, 240]], np.uint8))
    options = {"compression": "tiff_deflate"} if kind == "TIFF" else {}
    data = encode(corners.resize((width, height), Image.Resampling.NEAREST), kind, **options)
    found = read_image(data)
    assert LONGEST_SIDE // 3 < max(found.shape) <= LONGEST_SIDE
    assert found.shape[1] / found.shape[0] == pytest.approx(width / height, rel=0.01)
    quarter = found[found.shape[0] // 4 :: found.shape[0] // 2, found.shape[1] // 4 :: found.shape[1] // 2, 0]
    np.testing.assert_allclose(quarter[:2, :2], [[10, 80], [160, 240]], atol=3)


def test_what_no_camera_makes_is_still_refused():
    bomb = encode(Image.new("1", (12_000, 9_100)), "PNG")
    with pytest.raises(InputError, match="12000 x 9100 pixels; at most 108.0 million"):
        read_image(bomb)


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "PNG"])
def test_lossless_formats_are_read_to_the_bit(kind):
    np.testing.assert_array_equal(read_image(encode(Image.fromarray(make_shades()), kind)), make_shades())


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_avif_is_read():
    found = read_image(encode(Image.fromarray(make_shades()), "AVIF", quality=95))
    assert np.abs(found.astype(int) - make_shades()).mean() < 6


def test_heic_is_read_or_named(monkeypatch):
    heif = pytest.importorskip("pillow_heif", reason="HEIC is optional: pip install pillow-heif")
    heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(make_shades()), "HEIF", quality=95, exif=exif.tobytes())
    found = read_image(data)
    assert found.shape == (64, 48, 3)
    assert np.abs(found.astype(int) - np.rot90(make_shades(), -1)).mean() < 6
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(InputError, match="needs pillow-heif: pip install pillow-heif"):
        read_image(data)


def test_only_formats_that_can_be_read_are_named(monkeypatch):
    """With and without the decoders of what phones take; in German as well."""
    for heif, avif, named in (
        (1, 1, "GIF, AVIF and HEIC"),
        (1, 0, "GIF and HEIC"),
        (0, 1, "GIF and AVIF"),
        (0, 0, "BMP and GIF"),
    ):
        monkeypatch.setattr(picture, "find_spec", lambda name, heif=heif: heif or None)
        monkeypatch.setattr(picture.features, "check", lambda name, avif=avif: bool(avif))
        with pytest.raises(InputError) as refused:
            read_image(b"no picture")
        assert str(refused.value).endswith(f", {named}"), named
        assert translate(refused.value.args[0], "de").endswith(named.replace(" and ", " und "))


def test_a_large_jpeg_is_decoded_small(tmp_path):
    """51 megapixels take the memory of 13: decoding them whole and reducing them then needs four times as much."""
    Image.new("RGB", (8200, 6200), (200, 100, 50)).save(tmp_path / "large.jpg", quality=30)
    code = (
        "import resource, sys; from iasa.media.picture import read_image; peak = resource.RUSAGE_SELF\n"
        "before = resource.getrusage(peak).ru_maxrss; picture = read_image(sys.argv[1])\n"
        "print((resource.getrusage(peak).ru_maxrss - before) // 1024, *picture.shape, *picture[99, 99])"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "large.jpg")]
    megabytes, *picture = map(int, subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())
    assert max(picture[:2]) <= 4096 and picture[0] > 1500
    assert np.abs(np.subtract(picture[3:], (200, 100, 50))).max() <= 2
    assert megabytes < 180, megabytes
