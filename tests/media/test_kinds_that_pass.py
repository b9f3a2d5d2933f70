"""Kinds of sound and video that were always read right: they stay so."""

from __future__ import annotations

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from samples import SOUNDS, write_media

from iasa.media.reader import open_video, read_video
from iasa.media.sound import read_sound
from iasa.media.writer import VideoWriter
from iasa.speech import read_audio

LONG = pytest.mark.skipif(not os.environ.get("IASA_LONG"), reason="minutes of work: set IASA_LONG=1 to run it")
CLICKS = (0.5, 1.25, 2.0)  # seconds


def clicking(rate: int) -> np.ndarray:
    """A hum with three short bursts of a tone."""
    time = np.arange(int(2.6 * rate)) / rate
    sound = 0.01 * np.sin(2 * np.pi * 200 * time)
    for start in CLICKS:
        sound += 0.7 * np.sin(2 * np.pi * 1000 * time) * ((time >= start) & (time < start + 0.02))
    return sound.astype(np.float32)


def heard_at(audio: np.ndarray, rate: int) -> list[float]:
    """When each burst begins: where it first is loud."""
    loud = np.flatnonzero(np.abs(audio) > 0.3) / rate
    return [float(loud[0]), *(float(b) for a, b in zip(loud, loud[1:], strict=False) if b - a > 0.2)]


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000])
def test_no_rate_shifts_the_sound(tmp_path, rate):
    path = write_media(tmp_path / "a.wav", "wav", None, (clicking(rate),), audio_codec="pcm_s16le", rate=rate)
    assert heard_at(*read_audio(path)) == pytest.approx(CLICKS, abs=0.002)


FURTHER = [  # name, container, codec; every family that `find_container` knows, in what else it carries
    *[("a.wav", "wav", f"pcm_{kind}") for kind in ("u8", "s24le", "f32le", "mulaw", "alaw")],
    *[("a.wav", "wav", codec) for codec in ("adpcm_ms", "adpcm_ima_wav", "mp2")],
    *[("a.m4a", "ipod", "alac"), ("a.caf", "caf", "alac"), ("a.aiff", "aiff", "pcm_s24be")],
    *[("a.ogg", "ogg", "flac"), ("a.opus", "opus", "libopus"), ("a.webm", "webm", "libopus")],
    *[("a.mka", "matroska", codec) for codec in ("libopus", "flac", "pcm_s16le", "libmp3lame", "ac3")],
    *[("a.mp4", "mp4", codec) for codec in ("aac", "libmp3lame", "flac")],
    *[("a.mov", "mov", "pcm_s16le"), ("a.3gp", "3gp", "aac"), ("a.avi", "avi", "pcm_s16le")],
]


@pytest.mark.parametrize(("name", "container", "codec"), [(n, *kind) for n, kind in SOUNDS.items()] + FURTHER)
def test_no_container_shifts_the_sound(tmp_path, name, container, codec):
    path = write_media(tmp_path / name, container, None, (clicking(48_000),), audio_codec=codec, rate=48_000)
    tolerance = 0.03 if name in ("a.aac", "a.mp3") else 0.006  # a raw stream says nothing of its encoder's delay
    tolerance = 0.012 if codec == "mp2" else tolerance
    assert heard_at(*read_audio(path)) == pytest.approx(CLICKS, abs=tolerance)


@pytest.mark.parametrize("fps", [2, pytest.param(30000 / 1001, marks=LONG)])
def test_flash_and_click_stay_together_for_ten_minutes(tmp_path, fps):
    """What the writer is given together the reader finds together, at the end as at the beginning."""
    rate, seconds = 16_000, 600
    flashes = [round(second * fps) for second in (1, 60, 299, 300, 599)]
    tone = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(rate // 25) / rate)
    sound, dark = np.zeros(seconds * rate, np.float32), np.zeros((1, 32, 32, 3), np.uint8)
    for flash in flashes:
        start = round(flash / fps * rate)
        sound[start : start + len(tone)] = tone
    with VideoWriter(tmp_path / "v.mp4", fps, sound, rate) as writer:
        for index in range(round(seconds * fps)):
            writer.add_frames(dark + 255 if index in flashes else dark)
    with open_video(tmp_path / "v.mp4", seconds + 1) as (pictures, read_rate):
        seen = [index / read_rate for index, picture in enumerate(pictures) if picture.mean() > 128]
    track = read_sound(tmp_path / "v.mp4", seconds + 1)
    assert seen == pytest.approx([flash / fps for flash in flashes], abs=0.001)
    assert heard_at(track.voice(), track.rate) == pytest.approx(seen, abs=0.001)


def halves(frames: int = 12, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    """Red beside blue, and a white bar that moves down."""
    out = np.zeros((frames, *size, 3), np.uint8)
    out[:, :, : size[1] // 2, 0] = 200
    out[:, :, size[1] // 2 :, 2] = 200
    for index, picture in enumerate(out):
        picture[4 * index : 4 * index + 4] = 255
    return out


@pytest.mark.parametrize("kind", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gray"])
def test_pixels_of_every_depth_and_sampling(tmp_path, kind):
    frames = halves()
    with av.open(str(tmp_path / "v.mkv"), "w") as output:
        stream = output.add_stream("libx264" if kind != "gray" else "ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, kind
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=kind)))
        output.mux(stream.encode(None))
    seen, rate = read_video(tmp_path / "v.mkv")
    assert seen.shape == frames.shape and seen.dtype == np.uint8 and rate == 25
    truth = frames.astype(int)
    if kind == "gray":
        assert np.ptp(seen.astype(int), axis=-1).max() <= 3 and np.abs(seen[:, :4][0].mean() - 255) < 20
    else:
        assert np.abs(seen[:, 60:, 8:40].astype(int) - truth[:, 60:, 8:40]).mean() < 8
        assert np.abs(seen[:, 60:, 56:88].astype(int) - truth[:, 60:, 56:88]).mean() < 8


@pytest.mark.parametrize(
    ("matrix", "transfer", "primaries"), [(1, 1, 1), (5, 6, 6), (9, 16, 9), (9, 18, 9)], ids=["709", "601", "pq", "hlg"]
)
def test_the_colour_matrix_of_a_file_is_honoured(tmp_path, matrix, transfer, primaries):
    """Of standard, old and high-dynamic-range video; the last is not tone-mapped, hues and edges stay."""
    frames = halves()
    with av.open(str(tmp_path / "v.mkv"), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_trc, context.color_primaries = matrix, transfer, primaries
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            output.mux(stream.encode(picture.reformat(format="yuv420p10le", dst_colorspace=matrix)))
        output.mux(stream.encode(None))
    seen, _ = read_video(tmp_path / "v.mkv")
    assert np.abs(seen[:, 60:, 8:40].mean((0, 1, 2)) - (200, 0, 0)).max() < 4
    assert np.abs(seen[:, 60:, 56:88].mean((0, 1, 2)) - (0, 0, 200)).max() < 4


def test_interlaced_video_is_read(tmp_path):
    frames = halves()
    with av.open(str(tmp_path / "v.mkv"), "w") as output:
        stream = output.add_stream("mpeg2video", rate=25, options={"flags": "+ildct+ilme", "top": "1"})
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = 64, 96, "yuv420p", 4_000_000
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode(None))
    seen, _ = read_video(tmp_path / "v.mkv")
    assert seen.shape == frames.shape
    assert np.abs(seen[:, 60:, 8:40].astype(int) - frames[:, 60:, 8:40]).mean() < 12


def test_an_uneven_rate_is_read_by_its_time_stamps(tmp_path):
    """Pictures at 0, 40, 80 ms, then a phone that stutters: 400, 800 and 840 ms."""
    times, frames = (0, 40, 80, 400, 800, 840), halves(6)
    with av.open(str(tmp_path / "v.mkv"), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time, frame in zip(times, frames, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 1000)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    seen, rate = read_video(tmp_path / "v.mkv", fps=25)
    assert rate == 25 and len(seen) in (21, 22)
    bars = [int(np.argmax(picture[:, 4:40].mean((1, 2)) > 200)) // 4 for picture in seen]
    expected = [max(i for i, time in enumerate(times) if time <= 40 * k + 20) for k in range(len(seen))]
    assert sum(abs(a - b) for a, b in zip(bars, expected, strict=True)) <= 2
