"""Reading of hostile and honest media, and the exactness of what is written."""

import io
import os
import resource
import signal
import struct
import time
import wave
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from iasa.config import InputError
from iasa.media import container as guarded
from iasa.media import reader as video
from iasa.media.reader import open_video, read_audio_track, read_image, read_metadata, read_video
from iasa.media.writer import VideoWriter, write_video

RATE = 16_000


def make_tone(seconds=1.0, rate=RATE, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def make_frames(count=10, height=48, width=64):
    """A dot that moves right by 4 pixels a frame on a still background."""
    frames = np.full((count, height, width, 3), (30, 60, 90), np.uint8)
    for i in range(count):
        frames[i, 20:28, 4 * i : 4 * i + 8] = (230, 200, 40)
    return frames


def write_wav(path, samples, rate=RATE, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels), file.setsampwidth(2), file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def encode_sound(path, container, codec, rate, samples, sample_format=None):
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        if sample_format:
            stream.codec_context.format = sample_format
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.rate, frame.pts = rate, 0
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        for part in resampler.resample(frame):
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return path


def loudest_hertz(samples, rate):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * rate / len(samples)


# reading sound


@pytest.mark.parametrize(
    ("name", "container", "codec", "rate", "sample_format"),
    [
        ("a.wav", "wav", "pcm_s16le", 16000, None),
        ("b.wav", "wav", "pcm_u8", 8000, None),
        ("c.wav", "wav", "pcm_s24le", 44100, None),
        ("d.wav", "wav", "pcm_f32le", 22050, None),
        ("e.mp3", "mp3", "libmp3lame", 44100, None),
        ("f.flac", "flac", "flac", 48000, "s16"),
        ("g.ogg", "ogg", "libopus", 48000, "s16"),
        ("h.m4a", "ipod", "aac", 44100, None),
        ("i.webm", "webm", "libopus", 48000, "s16"),
        ("j.mkv", "matroska", "pcm_s16le", 16000, None),
        ("k.mov", "mov", "aac", 32000, None),
        ("l.avi", "avi", "pcm_s16le", 16000, None),
    ],
)
def test_every_accepted_sound_is_read_whatever_its_name(tmp_path, name, container, codec, rate, sample_format):
    path = encode_sound(tmp_path / name, container, codec, rate, make_tone(1.2, rate), sample_format)
    path = path.rename(path.with_suffix(".bin"))
    samples, read_rate = read_audio_track(path)
    assert samples.dtype == np.float32 and samples.ndim == 1 and read_rate == rate
    assert len(samples) / rate == pytest.approx(1.2, abs=0.06)
    assert loudest_hertz(samples, rate) == pytest.approx(440, abs=4)
    assert np.abs(samples[rate // 4 : rate // 2]).max() == pytest.approx(0.5, abs=0.06)


def test_fast_sound_is_brought_down(tmp_path):
    samples, rate = read_audio_track(write_wav(tmp_path / "fast.wav", make_tone(0.5, 96_000), 96_000))
    assert rate == 48_000 and len(samples) == pytest.approx(24_000, abs=32)


def test_not_a_number_in_a_float_recording_becomes_silence(tmp_path):
    tone = make_tone(0.5)
    tone[100:200] = np.nan
    samples, _ = read_audio_track(encode_sound(tmp_path / "nan.wav", "wav", "pcm_f32le", RATE, tone))
    assert np.isfinite(samples).all() and not samples[100:200].any()


def test_a_header_that_claims_two_hours_is_not_believed(tmp_path):
    path = write_wav(tmp_path / "lie.wav", make_tone(1.0))
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 2 * 3600 * RATE * 2)
    data[4:8] = struct.pack("<I", 2 * 3600 * RATE * 2 + 36)
    path.write_bytes(data)
    samples, rate = read_audio_track(path, max_seconds=5)
    assert len(samples) == rate


def test_a_header_that_hides_length_is_not_believed_either(tmp_path):
    path = write_wav(tmp_path / "long.wav", np.zeros(30 * RATE))
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)  # what a streaming recorder writes
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"at most 5 s"):
        read_audio_track(path, max_seconds=5)


def test_too_long_says_its_length_and_the_limit_and_stops_early(tmp_path):
    path = write_wav(tmp_path / "two_hours.wav", np.zeros(2 * 3600 * 1000), rate=1000)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"two_hours\.wav lasts 7200 s; at most 600 s are accepted"):
        read_audio_track(path)
    assert time.monotonic() - start < 5
    read_audio_track(write_wav(tmp_path / "just.wav", np.zeros(5 * RATE)), max_seconds=5)


# refusals


def test_bad_files_get_one_plain_sentence(tmp_path):
    (tmp_path / "text.wav").write_text("hello, this is no sound at all\n" * 20)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    sound = write_wav(tmp_path / "ok.wav", make_tone())
    (tmp_path / "headeronly.wav").write_bytes(sound.read_bytes()[:44])
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x18ftypisom" + os.urandom(4000))
    (tmp_path / "broken.mkv").write_bytes(b"\x1aE\xdf\xa3" + os.urandom(4000))
    data = bytearray(sound.read_bytes())
    data[20:22] = b"\x34\x12"  # a codec that nobody knows
    (tmp_path / "codec.wav").write_bytes(data)
    write_video(tmp_path / "silent.mp4", make_frames())
    whole = (tmp_path / "silent.mp4").read_bytes()
    (tmp_path / "noindex.mp4").write_bytes(whole.replace(b"moov", b"junk"))
    for name, expected in {
        "missing.wav": "there is no file missing.wav",
        "text.wav": "text.wav is not a media file",
        "empty.wav": "empty.wav is empty",
        "folder.wav": "folder.wav is a folder",
        "pipe.wav": "not a plain file",
        "headeronly.wav": "holds no sound",
        "codec.wav": "cannot be decoded",
        "broken.mp4": "damaged",
        "broken.mkv": "damaged",
        "noindex.mp4": "damaged",
        "silent.mp4": "no sound track",
        "bad\0name.wav": "not a usable file name",
    }.items():
        with pytest.raises(InputError, match=expected) as caught:
            read_audio_track(tmp_path / name)
        sentence = str(caught.value)
        assert "\n" not in sentence and str(tmp_path) not in sentence and len(sentence) < 200
    with pytest.raises(InputError, match="no moving picture"):
        read_video(sound)


def test_the_size_limit_is_checked_before_reading(tmp_path, monkeypatch):
    path = tmp_path / "huge.wav"
    with open(path, "wb") as file:
        file.write(b"RIFF\0\0\0\0WAVE")
        file.truncate(guarded.MAX_UPLOAD_BYTES + 1)  # a sparse file: no disk is used
    with pytest.raises(InputError, match=r"at most 200 MB"):
        read_audio_track(path)


def test_damage_in_the_middle_is_survived_and_ruin_is_refused(tmp_path):
    path = encode_sound(tmp_path / "a.mp3", "mp3", "libmp3lame", 44100, make_tone(4, 44100))
    data = bytearray(path.read_bytes())
    hurt = data.copy()
    hurt[20_000:20_300] = bytes(300)
    path.write_bytes(hurt)
    assert len(read_audio_track(path)[0]) == pytest.approx(4 * 44100, rel=0.05)
    write_video(tmp_path / "v.mp4", np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8))
    ruined = bytearray((tmp_path / "v.mp4").read_bytes())
    start = ruined.index(b"mdat") + 4
    ruined[start:] = np.random.default_rng(1).bytes(len(ruined) - start)
    (tmp_path / "v.mp4").write_bytes(ruined)
    with pytest.raises(InputError, match="v.mp4 (is damaged|holds no picture)"):
        read_video(tmp_path / "v.mp4")


def playlists(canary):
    url = canary.as_uri()
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n".encode(),
        "bom": f"\ufeff#EXTM3U\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n".encode(),
        "ffconcat": f"ffconcat version 1.0\nfile '{canary}'\n".encode(),
        "dash": f"<?xml version='1.0'?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>".encode(),
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        "id3": b"ID3\x03\0\0\0\0\0\0" + f"#EXTM3U\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n".encode(),
        "ftyp": b"\0\0\0\x10ftypisom\0\0\0\0" + f"#EXTM3U\n#EXTINF:5,\n{url}\n".encode(),
        "riff": b"RIFF\xff\0\0\0WAVE" + f"#EXTM3U\n#EXTINF:5,\n{url}\n".encode(),
    }


@pytest.mark.parametrize("kind", list(playlists(Path("/x"))))
def test_a_playlist_named_mp4_is_refused_and_its_target_never_opened(tmp_path, kind):
    canary = write_wav(tmp_path / "canary.wav", make_tone(1.0))
    trap = tmp_path / "holiday.mp4"
    trap.write_bytes(playlists(canary)[kind])
    old = canary.stat().st_mtime - 7 * 86400
    os.utime(canary, (old, canary.stat().st_mtime))  # any reading would now move the access time (relatime)
    for read in (read_audio_track, read_video, read_metadata):
        with pytest.raises(InputError):
            read(trap)
    assert canary.stat().st_atime == old
    assert len(read_audio_track(canary)[0]) == RATE  # the bait was good


def test_even_a_demuxer_that_follows_references_can_open_nothing(tmp_path, monkeypatch):
    canary = write_wav(tmp_path / "canary.wav", make_tone(1.0))
    trap = tmp_path / "trap.mp4"
    trap.write_bytes(f"ffconcat version 1.0\nfile '{canary.name}'\n".encode())
    monkeypatch.setattr(guarded, "find_container", lambda file: "concat")
    monkeypatch.chdir(tmp_path)
    with av.open(str(trap), format="concat", options={"safe": "0"}) as container:
        assert container.streams.audio  # unguarded, the bait is taken
    with pytest.raises(InputError):
        read_audio_track(trap)


def test_time_spent_decoding_is_limited_but_not_the_callers(tmp_path, monkeypatch):
    write_video(tmp_path / "v.mp4", make_frames(8))
    monkeypatch.setattr(guarded, "MAX_DECODE_SECONDS", 1.0)
    with open_video(tmp_path / "v.mp4") as (pictures, _):
        assert sum(1 for _ in pictures if time.sleep(0.2) is None) == 8
    monkeypatch.setattr(guarded, "MAX_DECODE_SECONDS", 0.0)
    with pytest.raises(InputError, match="to decode"):
        read_video(tmp_path / "v.mp4")


# pictures


def png_header_bomb(width, height):
    """A PNG of a few bytes that claims width x height pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", body) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_images_round_trip_from_path_and_bytes(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (31, 47, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    np.testing.assert_array_equal(read_image((tmp_path / "a.png").read_bytes()), picture)
    smooth = np.full((40, 40, 3), (200, 100, 50), np.uint8)
    for kind in ("JPEG", "WEBP"):
        buffer = io.BytesIO()
        Image.fromarray(smooth).save(buffer, kind)
        np.testing.assert_allclose(read_image(buffer.getvalue()), smooth, atol=4)


def test_odd_picture_modes_become_rgb(tmp_path):
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    assert (read_image(tmp_path / "deep.png") == 40_000 >> 8).all()
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 255).all()
    Image.new("CMYK", (8, 8)).save(tmp_path / "cmyk.jpg")
    assert read_image(tmp_path / "cmyk.jpg").shape == (8, 8, 3)


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste("white", (0, 0, 10, 20))  # white at the left as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise: left becomes top
    picture.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    read = read_image(tmp_path / "phone.jpg")
    assert read.shape == (40, 20, 3) and read[:8].min() > 200 and read[14:].max() < 60


def test_bad_pictures_are_refused(tmp_path):
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///x"/></svg>'
    good = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(good, "PNG")
    for data in (
        svg,
        b"",
        b"\x89PNG\r\n\x1a\n",
        good.getvalue()[:2000],
        b"GIF89a" + bytes(20),
        b"\xff\xd8\xff" * 50,
    ):
        with pytest.raises(InputError, match="accepted are PNG, JPEG, WebP, TIFF, BMP"):
            read_image(data)
    (tmp_path / "face.png").write_bytes(svg)
    with pytest.raises(InputError, match=r"face\.png is not a readable picture"):
        read_image(tmp_path / "face.png")
    with pytest.raises(InputError, match="no file"):
        read_image(tmp_path / "none.png")


def test_decompression_bombs_are_refused_unopened():
    for side in (5000, 60_000, 2**31 - 1):
        with pytest.raises(InputError, match=f"{side} x {side} pixels|not a readable"):
            read_image(png_header_bomb(side, side))
    real = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(real, "PNG")
    assert len(real.getvalue()) < 100_000
    with pytest.raises(InputError, match="12000 x 12000"):
        read_image(real.getvalue())


# video


def test_written_video_reads_back(tmp_path):
    frames = make_frames(12)
    write_video(tmp_path / "v.mp4", frames, make_tone(0.48), RATE, crf=8)
    read, fps = read_video(tmp_path / "v.mp4")
    assert fps == 25 and read.shape == frames.shape and read.dtype == np.uint8
    assert np.abs(read.astype(int) - frames).mean() < 3
    np.testing.assert_allclose(read[5, 5, 5], (30, 60, 90), atol=3)  # the colour matrix is the one that is named
    samples, rate = read_audio_track(tmp_path / "v.mp4")
    assert rate == RATE
    lag = np.correlate(samples, make_tone(0.48), "full").argmax() - (len(samples) - 1)
    assert abs(lag) <= 2  # no encoder delay is left in


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 37800, 44100, 48000, 96000])
@pytest.mark.parametrize("seconds", [0.0, 0.2, 1.0, 2.5])
def test_sound_and_picture_are_equally_long(tmp_path, rate, seconds):
    frames = make_frames(23, 16, 128)
    write_video(tmp_path / "v.mp4", frames, make_tone(seconds, rate), rate)
    with av.open(str(tmp_path / "v.mp4")) as container:
        lengths = [stream.duration * stream.time_base for stream in container.streams]
        assert lengths == [Fraction(23, 25)] * 2
    samples, read_rate = read_audio_track(tmp_path / "v.mp4")
    assert len(samples) == round(23 / 25 * read_rate)
    assert len(read_video(tmp_path / "v.mp4")[0]) == 23
    heard = int(min(seconds, 0.92) * read_rate)
    if seconds:
        assert loudest_hertz(samples[:heard], read_rate) == pytest.approx(440, abs=12)
    assert not np.abs(samples[heard + 2048 :]).max(initial=0.0) > 0.02  # silence, where the sound had ended


@pytest.mark.parametrize(("height", "width"), [(33, 65), (64, 31), (1, 1), (2, 2), (17, 16)])
def test_odd_sizes_are_padded_by_their_edge(tmp_path, height, width):
    frames = np.full((3, height, width, 3), 120, np.uint8)
    frames[:, :, -1] = 220
    write_video(tmp_path / "v.mp4", frames, crf=4)
    read, _ = read_video(tmp_path / "v.mp4")
    assert read.shape == (3, height + height % 2, width + width % 2, 3)
    assert np.abs(read[:, :, -1].astype(int) - 220).max() < 25


def test_chunks_give_the_same_video_as_one_call(tmp_path):
    frames, tone = make_frames(30, 32, 160), make_tone(1.1)
    write_video(tmp_path / "one.mp4", frames, tone, RATE)
    with VideoWriter(tmp_path / "many.mp4", audio=tone, rate=RATE) as writer:
        for part in (frames[:1], frames[1:1], frames[1:14], frames[14:]):
            writer.add_frames(part)
    np.testing.assert_array_equal(read_video(tmp_path / "one.mp4")[0], read_video(tmp_path / "many.mp4")[0])
    np.testing.assert_allclose(
        read_audio_track(tmp_path / "one.mp4")[0], read_audio_track(tmp_path / "many.mp4")[0], atol=1e-2
    )


def test_metadata_and_the_ai_mark_are_in_the_file(tmp_path):
    settings = {"seed": np.int64(7), "text": "Grüße, 'quotes' \"and\" \\ = ; #", "steps": [1, 2.5], "x": None}
    write_video(tmp_path / "v.mp4", make_frames(2), metadata=settings)
    read = read_metadata(tmp_path / "v.mp4")
    assert {key: read[key] for key in settings} == {**settings, "seed": 7}
    assert read["ai_generated"] is True and read["digital_source_type"].endswith("trainedAlgorithmicMedia")
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert container.metadata["title"] == "AI-generated video"
        assert "AI-generated" in container.metadata["description"]
    assert read_metadata(write_wav(tmp_path / "a.wav", make_tone())) == {}


def test_the_index_comes_first_so_that_a_browser_can_start(tmp_path):
    write_video(tmp_path / "v.mp4", make_frames(3), make_tone(), RATE)
    data = (tmp_path / "v.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_an_uneven_recording_is_read_at_a_constant_rate(tmp_path):
    path = tmp_path / "uneven.mkv"
    shades = {0: 40, 100: 90, 120: 140, 500: 200}  # milliseconds: grey
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for milliseconds, shade in shades.items():
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade, np.uint8), format="rgb24")
            frame.pts, frame.time_base = milliseconds, Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    pictures, fps = read_video(path, fps=10)
    assert fps == 10
    np.testing.assert_allclose(pictures[:, 16, 16, 0], [40, 90, 140, 140, 140, 200], atol=4)
    assert len(read_video(path)[0]) == 4


def test_a_turned_phone_video_is_read_upright(tmp_path):
    path = tmp_path / "phone.mp4"
    frames = np.zeros((3, 32, 64, 3), np.uint8)
    frames[:, :, :16] = 255  # white at the left as stored
    write_video(path, frames, crf=4)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # the display matrix of a version 0 header
    assert struct.unpack(">i", data[at : at + 4]) == (65536,)
    data[at : at + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)  # 90 degrees clockwise
    path.write_bytes(data)
    read, _ = read_video(path)
    assert read.shape == (3, 64, 32, 3)
    assert read[0, :12].min() > 200 and read[0, 20:].max() < 60


def test_video_limits_on_seconds_pixels_and_memory(tmp_path, monkeypatch):
    write_video(tmp_path / "v.mp4", make_frames(60, 16, 256))
    with pytest.raises(InputError, match="at most 1 s"):
        read_video(tmp_path / "v.mp4", max_seconds=1)
    with pytest.raises(InputError, match="256 x 16 pixels; at most 0.0 million"):
        read_video(tmp_path / "v.mp4", max_pixels=4000)
    monkeypatch.setattr(video, "MAX_VIDEO_BYTES", 100_000)
    with pytest.raises(InputError, match="shorter or smaller"):
        read_video(tmp_path / "v.mp4")
    with open_video(tmp_path / "v.mp4") as (pictures, fps):  # one by one there is no such limit
        assert sum(1 for _ in pictures) == 60 and fps == 25


# atomicity


def test_a_crash_in_the_middle_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="crash"):
        with VideoWriter(tmp_path / "v.mp4", audio=make_tone(), rate=RATE) as writer:
            writer.add_frames(make_frames(10))
            raise RuntimeError("crash")
    assert list(tmp_path.iterdir()) == []


def test_a_crash_keeps_the_older_file_and_success_replaces_it(tmp_path):
    path = tmp_path / "v.mp4"
    write_video(path, make_frames(4))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        with VideoWriter(path) as writer:
            writer.add_frames(make_frames(10))
            assert path.read_bytes() == before
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before
    write_video(path, make_frames(9))
    assert len(read_video(path)[0]) == 9 and list(tmp_path.iterdir()) == [path]


def test_wrong_frames_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="first were"):
        with VideoWriter(tmp_path / "v.mp4") as writer:
            writer.add_frames(make_frames(2, 16, 16))
            writer.add_frames(make_frames(2, 16, 32))
    with pytest.raises(ValueError, match="uint8"):
        write_video(tmp_path / "v.mp4", np.zeros((2, 16, 16, 3), np.float32))
    with pytest.raises(InputError, match="no frames"):
        write_video(tmp_path / "v.mp4", np.zeros((0, 16, 16, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_unwritable_targets_are_told_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    for target, reason in {
        tmp_path / "absent" / "v.mp4": "No such file or directory",
        tmp_path / "file" / "v.mp4": "Not a directory",
        tmp_path / "folder.mp4": "is a folder",
        tmp_path / "v.avi": r"must end in \.mp4, \.webm, \.gif",
        "/proc/v.mp4": "cannot be written",
    }.items():
        with pytest.raises(InputError, match=reason):
            with VideoWriter(target):
                pytest.fail("the writer opened")


def test_a_full_disk_is_a_plain_sentence(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(InputError, match=r"v\.mp4 cannot be written"):
            write_video(tmp_path / "v.mp4", frames)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_a_colon_in_the_name_is_not_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video("tcp:v.mp4", make_frames(2))
    assert len(read_video("tcp:v.mp4")[0]) == 2


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_video(tmp_path / "v.mp4", make_frames(2))
    finally:
        os.umask(old)
    assert (tmp_path / "v.mp4").stat().st_mode & 0o777 == 0o640
