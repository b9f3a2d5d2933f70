"""Small media files of every kind that is read, made here, and what is done to them before they are read again."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageCms

RATE = 16_000

SOUNDS = {  # name: container, codec
    "a.wav": ("wav", "pcm_s16le"),
    "a.mp3": ("mp3", "libmp3lame"),
    "a.flac": ("flac", "flac"),
    "a.ogg": ("ogg", "libopus"),
    "a.m4a": ("ipod", "aac"),
    "a.aac": ("adts", "aac"),
    "a.aiff": ("aiff", "pcm_s16be"),
    "a.caf": ("caf", "pcm_s16be"),
}
VIDEOS = {  # name: container, video codec, audio codec
    "v.mp4": ("mp4", "libx264", "aac"),
    "v.mov": ("mov", "mpeg4", "pcm_s16le"),
    "v.webm": ("webm", "libvpx", "libopus"),
    "v.mkv": ("matroska", "libx264", "aac"),
    "v.avi": ("avi", "mpeg4", "libmp3lame"),
}
PICTURES = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF")


def make_tone(seconds: float = 1.0, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def write_media(
    path: Path,
    container: str,
    frames: np.ndarray | None = None,  # uint8 [f, H, W, 3]
    sounds: tuple[np.ndarray, ...] = (),  # each float32 [n] or [channels, n]: a track
    video_codec: str = "libx264",
    audio_codec: str = "aac",
    rate: int = RATE,
    fps: int = 25,
    video_start: float = 0.0,  # seconds
    sound_start: float = 0.0,
    gap: tuple[float, float] = (
        0.0,
        0.0,
    ),  # seconds of the sound that are left out, as a recorder that was starved would
    aspect: Fraction | None = None,
    default_track: int = 0,
    layout: str | None = None,
) -> Path:
    """A file whose streams are stamped as asked for."""
    with av.open(str(path), "w", format=container) as output:
        video = None
        if frames is not None:
            video = output.add_stream(video_codec, rate=fps)
            video.height, video.width = frames.shape[1:3]
            video.pix_fmt = "yuv420p"
            if aspect:
                video.codec_context.sample_aspect_ratio = aspect
        tracks = []
        for number, sound in enumerate(sounds):
            name = layout or {1: "mono", 2: "stereo"}[np.atleast_2d(sound).shape[0]]
            track = output.add_stream(audio_codec, rate=rate, layout=name)
            if len(sounds) > 1:
                track.disposition = av.stream.Disposition.default if number == default_track else 0
            tracks.append((track, np.atleast_2d(sound), name))
        for index, frame in enumerate([] if frames is None else frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = index + round(video_start * fps), Fraction(1, fps)
            output.mux(video.encode(picture))
        if video:
            output.mux(video.encode(None))
        for track, sound, name in tracks:
            _write_sound(output, track, sound, name, rate, sound_start, gap)
    return path


def _write_sound(output, track, sound, layout, rate, start, gap) -> None:
    resampler = av.AudioResampler(track.codec_context.format, layout, track.codec_context.sample_rate, 960)
    leave_out = range(round(gap[0] * rate), round(gap[1] * rate))
    for first in range(0, sound.shape[1], 960):
        if first in leave_out:
            continue
        part = np.ascontiguousarray(sound[:, first : first + 960])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.rate, frame.pts, frame.time_base = rate, first + round(start * rate), Fraction(1, rate)
        for converted in resampler.resample(frame) if track.codec_context.name != "aac" else [frame]:
            output.mux(track.encode(converted))
    output.mux(track.encode(None))


def make_picture(kind: str, size: tuple[int, int] = (48, 40)) -> bytes:
    shades = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}
    if kind != "BMP":
        options["exif"] = exif.tobytes()
    file = io.BytesIO()
    Image.fromarray(shades).save(file, kind, **(options if kind != "BMP" else {}))
    return file.getvalue()


def make_seeds(folder: Path) -> dict[str, bytes]:
    """One sound file of each container of sound, one video of each of video, one picture of each kind."""
    frames = np.random.default_rng(1).integers(0, 255, (6, 32, 48, 3), np.uint8)
    tone, seeds = make_tone(0.3, 48_000), {}
    for name, (container, codec) in SOUNDS.items():
        seeds[name] = write_media(folder / name, container, None, (tone,), audio_codec=codec, rate=48_000).read_bytes()
    for name, (container, video, audio) in VIDEOS.items():
        path = write_media(folder / name, container, frames, (tone,), video, audio, rate=48_000)
        seeds[name] = path.read_bytes()
    for kind in PICTURES:
        seeds[f"p.{kind.lower()}"] = make_picture(kind)
    for kind in ("GIF", "WEBP", "PNG"):
        file = io.BytesIO()
        pictures = [Image.fromarray(frame) for frame in frames]
        pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=40)
        seeds[f"m.{kind.lower()}"] = file.getvalue()
    return seeds


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage of one of seven kinds: a byte, a bit, a huge claim, a part cut out, doubled, zeroed, or an early end."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at, kind = int(rng.integers(len(out))), int(rng.integers(7))
        length = int(rng.integers(1, 1 + max(1, len(out) // 8)))
        if kind == 0:
            out[at] = int(rng.integers(256))
        elif kind == 1:
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:  # the header holds the claims
            at = int(rng.integers(min(len(out), 400)))
            out[at : at + 4] = struct.pack(
                ">I" if rng.random() < 0.5 else "<I", int(rng.choice([0x7FFFFFFF, 0xFFFFFFFF, 65535, 0]))
            )
        elif kind == 3:
            del out[at : at + length]
        elif kind == 4:
            out[at:at] = out[at : at + length]
        elif kind == 5:
            out[at : at + length] = bytes(len(out[at : at + length]))
        else:
            del out[max(16, at) :]
        if len(out) < 16:
            break
    return bytes(out)
