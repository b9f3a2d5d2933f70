"""Files out of public bug reports of programs of this kind, made here; docs/results/reports.md names each report."""

from __future__ import annotations

import io
import struct
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from samples import RATE, SOUNDS, make_tone, write_media

from iasa.config import AUDIO_RATE, VIDEO_FPS, InputError
from iasa.media.reader import read_image, read_sound, read_video
from iasa.media.writer import write_video
from iasa.speech import to_speech
from iasa.speech.features import count_frames

NAMES = (
    "two words.mp4", "视频 'x' \"y\".mp4", "-y.mp4", "100%d of %s.mp4", "a:b.mp4", "#part?x=1&y.mp4", "new\nline.mp4",
    "naïve 🎬.mp4", "concat|x.mp4", "$(x) `y`.mp4",
)  # fmt: skip


def make_frames(count=6, height=32, width=32):
    """Not two alike, or an animation would hold them as one."""
    return np.repeat(np.arange(count, dtype=np.uint8) + 90, height * width * 3).reshape(count, height, width, 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name_and_nothing_else(tmp_path, name):
    write_video(tmp_path / name, make_frames(), make_tone(0.24), RATE)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(read_video(tmp_path / name)[0]) == 6
    assert read_sound(tmp_path / name).seconds == pytest.approx(0.24, abs=0.03)


def test_endings_in_capitals(tmp_path):
    """Cameras and phones write them."""
    write_video(tmp_path / "V.MP4", make_frames(), make_tone(0.24), RATE)
    write_video(tmp_path / "A.GIF", make_frames())
    assert len(read_video(tmp_path / "V.MP4")[0]) == len(read_video(tmp_path / "A.GIF")[0]) == 6
    Image.new("RGB", (8, 8), "red").save(tmp_path / "P.JPG")
    assert read_image(tmp_path / "P.JPG")[0, 0, 0] > 250


def test_poses_with_an_ending_in_capitals(tmp_path):
    pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")
    from iasa.avatar.identity import make_identity
    from iasa.avatar.rig import make_keypoints, rest_motion
    from iasa.demo.motion_edits import read_poses
    from iasa.keypoints import save_keypoints

    save_keypoints(tmp_path / "p.npz", make_keypoints(make_identity(1), rest_motion(4)))
    (tmp_path / "p.npz").rename(tmp_path / "P.NPZ")
    assert len(read_poses(tmp_path / "P.NPZ")) == 4


def test_a_recording_of_a_browser_states_no_duration(tmp_path):
    """MediaRecorder's WebM: nobody knew the length when the header was written."""
    path, tone = tmp_path / "recorded.webm", make_tone(1.5, 48_000)
    with av.open(str(path), "w", format="webm", options={"live": "1"}) as output:
        track = output.add_stream("libopus", rate=48_000, layout="mono")
        for first in range(0, len(tone), 960):
            frame = av.AudioFrame.from_ndarray(tone[None, first : first + 960], format="flt", layout="mono")
            frame.rate, frame.pts, frame.time_base = 48_000, first, Fraction(1, 48_000)
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    with av.open(str(path)) as container:
        assert not container.duration
    assert read_sound(path).seconds == pytest.approx(1.5, abs=0.03)


@pytest.mark.parametrize("claim", [0xFFFFFFFF, 0x7FFFFFFF, 2_000_000_000, 0])
def test_streamed_wav_whose_header_claims_any_length(tmp_path, claim):
    """As text-to-speech servers and pipes write it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 24_000, 0, "NONE", ""))
        writer.writeframes((make_tone(1.2, 24_000) * 32767).astype("<i2").tobytes())
    data = bytearray(file.getvalue())
    data[4:8] = data[40:44] = struct.pack("<I", claim)
    (tmp_path / "streamed.wav").write_bytes(data)
    assert read_sound(tmp_path / "streamed.wav").seconds == pytest.approx(1.2, abs=0.01)


@pytest.mark.parametrize("named", [None, "x.mp4", "x"])
@pytest.mark.parametrize("kind", ["aac", "aiff", "caf", "amr"])
def test_sound_of_phones_and_macs_by_its_content(tmp_path, kind, named):
    rate = 8000 if kind == "amr" else 48_000
    container, codec = {**{name[2:]: how for name, how in SOUNDS.items()}, "amr": ("amr", "libopencore_amrnb")}[kind]
    tone = make_tone(1.0, rate, 300.0)
    with av.open(str(tmp_path / f"x.{kind}"), "w", format=container) as output:
        track = output.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(track.format, "mono", rate, track.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        frame.rate = rate
        for converted in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(track.encode(converted))
        output.mux(track.encode(None))
    path = (tmp_path / f"x.{kind}").rename(tmp_path / (named or f"x.{kind}"))
    sound = read_sound(path)
    assert sound.rate == rate and sound.seconds == pytest.approx(1.0, abs=0.06)
    middle = sound.voice()[rate // 4 : 3 * rate // 4]
    assert np.abs(np.fft.rfft(middle)).argmax() / (len(middle) / rate) == pytest.approx(300, abs=4)


def add_cover(path, container, codec, frames=None):
    """Sound, and where `frames` are given a film, behind the picture of an album."""
    with av.open(str(path), "w", format=container) as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 64
        cover.pix_fmt, cover.disposition = "yuvj420p", av.stream.Disposition.attached_pic
        film = None
        if frames is not None:
            film = output.add_stream("libx264", rate=25)
            film.height, film.width = frames.shape[1:3]
            film.pix_fmt = "yuv420p"
        track = output.add_stream(codec, rate=48_000, layout="mono")
        picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 200, np.uint8), format="rgb24")
        picture.pts, picture.time_base = 0, Fraction(1, 1)
        for packet in [*cover.encode(picture), *cover.encode(None)]:
            output.mux(packet)
        for index, frame in enumerate([] if frames is None else frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            output.mux(film.encode(picture))
        if film:
            output.mux(film.encode(None))
        tone = make_tone(1.0, 48_000)
        size = track.codec_context.frame_size or 1152
        for first in range(0, len(tone), size):
            frame = av.AudioFrame.from_ndarray(tone[None, first : first + size], format="fltp", layout="mono")
            frame.rate, frame.pts, frame.time_base = 48_000, first, Fraction(1, 48_000)
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return path


def test_a_song_s_cover_is_no_film(tmp_path):
    song = add_cover(tmp_path / "song.mp3", "mp3", "libmp3lame")
    assert read_sound(song).seconds == pytest.approx(1.0, abs=0.06)
    with pytest.raises(InputError, match="has no moving picture"):
        read_video(song)


def test_a_film_behind_a_cover_is_the_film(tmp_path):
    film = add_cover(tmp_path / "film.mkv", "matroska", "aac", make_frames(10, 48, 80))
    pictures, _ = read_video(film)
    assert pictures.shape == (10, 48, 80, 3) and abs(int(pictures.mean()) - 94) < 4


def test_the_centre_channel_speaks(tmp_path):
    """Films and broadcasts: music with a beat all round, speech in the middle and softer."""
    t = np.arange(2 * 48_000) / 48_000
    voice = 0.15 * np.sin(2 * np.pi * 220 * t) * (np.sin(2 * np.pi * 3 * t) > 0.2)
    music = 0.7 * np.sin(2 * np.pi * 80 * t) * (np.sin(2 * np.pi * 2 * t) > 0)
    sound = np.stack([music, 0.9 * music, voice, music, 0.5 * music, 0.5 * music]).astype(np.float32)
    path = write_media(tmp_path / "film.flac", "flac", None, (sound,), audio_codec="flac", rate=48_000, layout="5.1")
    heard = read_sound(path).voice()
    assert np.corrcoef(heard[: len(voice)], voice[: len(heard)])[0, 1] > 0.99
    quiet = sound.copy()
    quiet[2] = 0  # stereo in a container of six channels: nobody is in the middle
    path = write_media(tmp_path / "two.flac", "flac", None, (quiet,), audio_codec="flac", rate=48_000, layout="5.1")
    assert np.corrcoef(read_sound(path).voice()[: len(music)], music)[0, 1] > 0.99


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("seconds", [0.5, 1.04, 9.56])
def test_a_video_is_as_long_as_its_sound_at_any_rate(tmp_path, rate, seconds):
    """Neither doubled at 44.1 kHz, nor cut to whole pieces of the model's."""
    from iasa.avatar.speaker import load_speaker
    from iasa.pipeline import CoSpeechPipeline

    with wave.open(str(tmp_path / "a.wav"), "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", ""))
        writer.writeframes((make_tone(seconds, rate) * 32767).astype("<i2").tobytes())
    speech = to_speech(read_sound(tmp_path / "a.wav"))
    assert abs(len(speech) / AUDIO_RATE - seconds) < 0.002
    assert count_frames(speech) == round(seconds * VIDEO_FPS)
    pipeline = CoSpeechPipeline.from_pretrained(student=None, teacher=None, motion=None)
    generation = pipeline.stream(speech, load_speaker("alba"), model="layers")
    assert generation.count == round(seconds * VIDEO_FPS)


@pytest.mark.parametrize("fps", [12, 24, 30, 60])
def test_a_driver_of_another_rate_keeps_its_time(tmp_path, fps):
    """The picture's shade is its second: 30 frames a second read as 25 lag by a fifth."""
    shades = (20 + 100 * np.arange(2 * fps) / fps).astype(np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (2 * fps, 32, 32, 3))
    write_media(tmp_path / "driver.mp4", "mp4", np.ascontiguousarray(frames), fps=fps)
    read, _ = read_video(tmp_path / "driver.mp4", fps=VIDEO_FPS)
    assert abs(len(read) - 2 * VIDEO_FPS) <= VIDEO_FPS / fps
    seconds = (read.mean((1, 2, 3)) - 20) / 100
    assert np.abs(seconds - np.arange(len(read)) / VIDEO_FPS).max() < 1 / fps + 0.06


def test_sides_of_odd_length_are_read(tmp_path):
    with av.open(str(tmp_path / "odd.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 105, 79, "yuv444p"
        frame = av.VideoFrame.from_ndarray(np.full((79, 105, 3), 120, np.uint8), format="rgb24")
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    pictures, _ = read_video(tmp_path / "odd.mkv")
    assert pictures.shape[1:] == (79, 105, 3) and abs(int(pictures.mean()) - 120) < 4


def test_the_result_plays_where_players_are_dumb(tmp_path):
    """QuickTime, Safari and phones take 4:2:0 of limited range in BT.709 alone."""
    write_video(
        tmp_path / "v.mp4", np.random.default_rng(0).integers(0, 256, (5, 33, 31, 3), np.uint8), make_tone(0.2), RATE
    )
    with av.open(str(tmp_path / "v.mp4")) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert video.codec_context.pix_fmt == "yuv420p" and video.codec_context.codec.name.startswith("h264")
        assert video.codec_context.color_range == 1 and video.codec_context.colorspace == 1
        assert video.width % 2 == video.height % 2 == 0 and sound.codec_context.name == "aac"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_picture_is_the_portrait(kind):
    pictures = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    pictures[0].save(
        file,
        kind,
        save_all=True,
        append_images=pictures[1:],
        duration=40,
        **({"lossless": True} if kind == "WEBP" else {}),
    )
    red, _, blue = read_image(file.getvalue())[8, 8]
    assert red > 240 and blue < 15


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_and_floats_keep_their_shades(kind):
    ramp = np.tile(np.linspace(0, 1, 64), (8, 1))
    deep = Image.fromarray((ramp * 65535).astype(np.uint16))
    pictures = {"16 bits": deep} | ({"floats": Image.fromarray(ramp.astype(np.float32))} if kind == "TIFF" else {})
    for name, picture in pictures.items():
        file = io.BytesIO()
        picture.save(file, kind)
        assert np.abs(read_image(file.getvalue())[..., 0] - 255 * ramp).max() <= 1.01, name


def test_palettes_with_transparency_stand_on_white():
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((4, 4), 1)
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=0)
    read = read_image(file.getvalue())
    assert (read[0, 0] == 255).all() and tuple(read[4, 4]) == (200, 100, 50)


def test_an_encoder_that_is_missing_is_named(tmp_path, monkeypatch):
    """Some builds of FFmpeg have no x264: elsewhere the run ends without a file and without a word."""
    import iasa.media.video_encoder as video_encoder

    real = av.container.OutputContainer.add_stream

    class Lacking:
        def __init__(self, container):
            self._container = container

        def __getattr__(self, name):
            return getattr(self._container, name)

        def add_stream(self, codec, *args, **kwargs):
            if codec == "libx264":
                raise av.codec.codec.UnknownCodecError(codec)
            return real(self._container, codec, *args, **kwargs)

    opened = av.open
    monkeypatch.setattr(video_encoder.av, "open", lambda *a, **k: Lacking(opened(*a, **k)))
    with pytest.raises(InputError, match="libx264"):
        write_video(tmp_path / "v.mp4", make_frames())
    assert not list(tmp_path.iterdir())


def test_without_a_network_and_from_any_folder(tmp_path, monkeypatch):
    import socket

    from iasa.pipeline import CoSpeechPipeline

    def refuse(*_):
        raise AssertionError("something is fetched")

    monkeypatch.chdir(tmp_path)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert set(CoSpeechPipeline.from_pretrained(teacher=None).models) == {"student"}
    assert not list(tmp_path.iterdir())
