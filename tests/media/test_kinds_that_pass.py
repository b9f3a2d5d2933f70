"""Kinds of sound and video that were always read right: they stay so."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from samples import SOUNDS, write_media

from iasa.media.reader import read_video
from iasa.speech import read_audio

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


@pytest.mark.parametrize("name", SOUNDS)
def test_no_container_shifts_the_sound(tmp_path, name):
    container, codec = SOUNDS[name]
    path = write_media(tmp_path / name, container, None, (clicking(48_000),), audio_codec=codec, rate=48_000)
    tolerance = 0.03 if name in ("a.aac", "a.mp3") else 0.006  # a raw stream says nothing of its encoder's delay
    assert heard_at(*read_audio(path)) == pytest.approx(CLICKS, abs=tolerance)


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
