"""One guarded picture: upright, in sRGB, on white, and decoded small where a camera made it large."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from functools import cache
from importlib.util import find_spec

import numpy as np
from PIL import ExifTags, Image, ImageCms, features

from iasa.config import MAX_PICTURE_PIXELS, InputError, Sentence
from iasa.files import display_name
from iasa.media.container import check_pixels, open_file

FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "WEBP": "WebP", "TIFF": "TIFF", "BMP": "BMP", "GIF": "GIF"}  # Pillow's: ours
LONGEST_SIDE = 4096  # pixels that come out; larger ones are brought down by a whole number

_PHONE_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_TURNS = {  # EXIF's orientation: what brings it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BROKEN_PICTURE = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, AttributeError,
    OverflowError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip


def read_image(source: str | os.PathLike | bytes, max_pixels: int = MAX_PICTURE_PIXELS) -> np.ndarray:
    """A picture, from a path or its bytes, as uint8 sRGB [H, W, 3], turned upright by its EXIF tag.

    Transparent parts become white; no side is longer than LONGEST_SIDE. Raises InputError for what is none of
    `accepted_images` and for more than `max_pixels` pixels.
    """
    if isinstance(source, bytes):
        name, data = "the picture", source
    else:
        name = display_name(source)
        with open_file(source) as file:
            data = file.read()
    formats = (*FORMATS, *_phone_format(data, name))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
            with Image.open(io.BytesIO(data), formats=formats) as picture:
                check_pixels(name, picture.width, picture.height, max_pixels)
                profile, small = picture.info.get("icc_profile"), _load_small(picture)
                turn = picture.getexif().get(ExifTags.Base.Orientation)  # a TIFF has turned itself by now
                return _to_rgb(small.transpose(_TURNS[turn]) if turn in _TURNS else small, profile)
    except InputError:
        raise
    except (*BROKEN_PICTURE, Image.DecompressionBombError) as error:
        raise InputError(
            "{name} is not a readable picture; accepted are {kinds}", name=name, kinds=accepted_images()
        ) from error


def accepted_images() -> Sentence:
    """The formats that can be read with what is installed."""
    phones = {"AVIF": features.check("avif"), "HEIC": find_spec("pillow_heif") is not None}
    *kinds, last = (*FORMATS.values(), *(name for name, readable in phones.items() if readable))
    return Sentence("{kinds} and {last}", kinds=", ".join(kinds), last=last)


def _phone_format(data: bytes, name: str) -> tuple[str, ...]:
    """Pillow's name for AVIF or HEIC where the first bytes say so. Raises InputError where its decoder is missing."""
    if data[4:8] != b"ftyp":
        return ()
    if data[8:12] in (b"avif", b"avis"):
        if not features.check("avif"):
            raise InputError(
                "{name} is an AVIF picture, which needs a newer Pillow: pip install 'pillow>=11.3'", name=name
            )
        return ("AVIF",)
    if data[8:12] in _PHONE_BRANDS:
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise InputError(
                "{name} is a HEIC picture, which needs pillow-heif: pip install pillow-heif", name=name
            ) from error
        register_heif_opener()
        return ("HEIF",)
    return ()


def _load_small(picture: Image.Image) -> Image.Image:
    """The decoded picture, no side above LONGEST_SIDE."""
    factor = -(-max(picture.size) // LONGEST_SIDE)
    if factor > 1 and picture.format == "JPEG":
        picture.draft(None, (picture.width // factor, picture.height // factor))  # decodes 1/2, 1/4 or 1/8 of it
    picture.load()
    factor = -(-max(picture.size) // LONGEST_SIDE)
    if factor == 1:
        return picture
    if picture.mode.startswith(("I", "F")):  # Pillow reduces no 16 bits
        return Image.fromarray(np.ascontiguousarray(np.asarray(picture)[::factor, ::factor]))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
    elif picture.mode not in ("L", "RGB", "CMYK", "LAB"):
        picture = picture.convert("RGB")
    return picture.reduce(factor)


def _to_rgb(picture: Image.Image, profile: bytes | None) -> np.ndarray:
    """uint8 sRGB [H, W, 3] of a decoded picture with the colour profile `profile`."""
    if picture.mode.startswith("I"):  # 16-bit grey, which convert() would clip
        grey = np.asarray(picture, np.int64).clip(0, 65535) >> 8
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    if picture.mode == "F":  # 0..1 where that is all there is, else as 8 or 16 bits
        shades = np.nan_to_num(np.asarray(picture), posinf=0.0, neginf=0.0)
        most = next((full for full in (1.0, 255.0) if shades.max(initial=0.0) <= full), 65535.0)
        grey = np.rint(255 * (shades / most).clip(0, 1)).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.has_transparency_data:
        coloured = _to_srgb(picture.convert("RGBA"), profile)
        return np.array(Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB"))
    if picture.mode not in ("L", "RGB", "CMYK", "LAB"):
        picture = picture.convert("RGB")
    return np.array(_to_srgb(picture, profile).convert("RGB"))


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture's colours by its own profile; a profile that is broken, or another mode's, counts as none."""
    if not profile:
        return picture
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(picture, own, _srgb(), outputMode=mode) or picture
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture
