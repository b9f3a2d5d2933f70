"""Sound where its time stamps put it, the channel that speaks, the default track; and the input's own sound in the result."""

from __future__ import annotations

import wave

import av
import numpy as np
import pytest
from samples import RATE, make_tone, write_media

from iasa.config import InputError
from iasa.media.reader import Sound, read_audio_track, read_sound, read_video
from iasa.media.writer import VideoWriter, write_video

SEED = np.random.default_rng(3)


def make_noise(seconds: float, rate: int = 48_000, channels: int = 1) -> np.ndarray:
    """Smooth noise [channels, n]: no moment of it is like another, so that a lag shows to the sample."""
    rng = np.random.default_rng(channels)
    noise = rng.standard_normal((channels, int(seconds * rate)))
    smooth = np.stack([np.convolve(channel, np.ones(24) / 24, "same") for channel in noise])
    return smooth.astype(np.float32)


def make_voice(seconds: float = 3.0, rate: int = 48_000) -> np.ndarray:
    """A tone that comes and goes three times a second, as syllables do."""
    t = np.arange(int(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * 220 * t) * (np.sin(2 * np.pi * 3 * t) > 0.3)).astype(np.float32)


def find_lag(found: np.ndarray, true: np.ndarray) -> int:
    """Samples by which `found` is behind `true`."""
    size = 2 * max(len(found), len(true))
    match = np.fft.irfft(np.fft.rfft(found, size) * np.conj(np.fft.rfft(true, size)), size)
    lag = int(match.argmax())
    return lag if lag < size // 2 else lag - size


def make_frames(count: int = 75) -> np.ndarray:
    return np.full((count, 32, 32, 3), 80, np.uint8)


# time stamps


@pytest.mark.parametrize("kind", ["matroska", "webm", "mp4", "mov"])
@pytest.mark.parametrize("start", [0.0, 0.6])
def test_sound_that_begins_late_is_heard_late(tmp_path, kind, start):
    """A recorder that opens its microphone after its camera; by counting samples the lips came 15 frames early."""
    video, audio, rate = ("libvpx", "libopus", 48_000) if kind == "webm" else ("libx264", "aac", 48_000)
    noise = make_noise(2.0, rate)
    path = write_media(tmp_path / "late", kind, make_frames(), (noise,), video, audio, rate, sound_start=start)
    found, found_rate = read_audio_track(path)
    assert found_rate == rate
    assert abs(find_lag(found, noise[0]) / rate - start) < 0.005
    assert not np.abs(found[: int(max(0.0, start - 0.03) * rate)]).max(initial=0.0) > 0.01


@pytest.mark.parametrize(("kind", "audio"), [("webm", "libopus"), ("matroska", "libopus"), ("matroska", "pcm_s16le")])
def test_a_gap_in_the_sound_is_silence_as_long_as_it(tmp_path, kind, audio):
    """A browser that was busy leaves packets out; what follows must not move forward."""
    noise = make_noise(3.0)
    path = write_media(tmp_path / "gap", kind, make_frames(), (noise,), "libvpx", audio, 48_000, gap=(1.0, 1.8))
    found, rate = read_audio_track(path)
    second = found[int(2.0 * rate) :]
    assert abs(find_lag(second, noise[0, int(2.0 * rate) :])) < 0.005 * rate
    assert not np.abs(found[int(1.05 * rate) : int(1.75 * rate)]).max() > 0.02
    assert len(found) / rate == pytest.approx(3.0, abs=0.05)


def test_video_that_begins_late_shows_its_first_picture_before(tmp_path):
    shades = np.full((25, 32, 32, 3), 60, np.uint8)
    shades[10:] = 200
    path = write_media(tmp_path / "v.mkv", "matroska", shades, (make_noise(2.0),), rate=48_000, video_start=0.6)
    pictures, _ = read_video(path, fps=25)
    assert len(pictures) == 40  # 0.6 s of the first one, then its 25
    assert (pictures[:25].mean((1, 2, 3)) < 90).all() and (pictures[25:].mean((1, 2, 3)) > 170).all()


def test_stamps_that_claim_hours_cost_no_memory(tmp_path):
    path = write_media(tmp_path / "a.mkv", "matroska", make_frames(), (make_tone(1.0),), sound_start=7000.0)
    with pytest.raises(InputError, match="at most 600 s"):
        read_audio_track(path)


# channels and tracks


def test_opposite_channels_are_one_voice_and_not_silence(tmp_path):
    voice = make_voice()
    path = write_media(tmp_path / "a.flac", "flac", None, (np.stack([voice, -voice]),), audio_codec="flac", rate=48_000)
    found, _ = read_audio_track(path)
    assert abs(np.corrcoef(found, voice)[0, 1]) >= 0.99


@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("other", ["silence", "hum", "hiss", "a delayed copy"])
def test_the_voice_of_one_channel_is_heard_as_it_is(tmp_path, where, other):
    voice = make_voice()
    t = np.arange(len(voice)) / 48_000
    second = {
        "silence": np.zeros_like(voice),
        "hum": 0.6 * np.sin(2 * np.pi * 50 * t),
        "hiss": 0.3 * np.random.default_rng(0).standard_normal(len(voice)),
        "a delayed copy": 0.6 * np.roll(voice, 109),
    }[other].astype(np.float32)
    both = np.stack([voice, second] if where == 0 else [second, voice])
    path = write_media(tmp_path / "a.wav", "wav", None, (both,), audio_codec="pcm_s16le", rate=48_000)
    assert np.corrcoef(read_audio_track(path)[0], voice)[0, 1] >= 0.99


def test_the_default_track_is_heard_and_another_on_request(tmp_path):
    tones = make_tone(1.0, 48_000, 440), make_tone(1.0, 48_000, 880)
    path = write_media(tmp_path / "a.mp4", "mp4", None, tones, rate=48_000, default_track=1)

    def hertz(track: int | None) -> float:
        found, rate = read_audio_track(path, track=track)
        return np.abs(np.fft.rfft(found[: rate // 2])).argmax() * 2

    assert (hertz(None), hertz(1), hertz(2)) == (880, 440, 880)
    for track in (0, 3, -1):
        with pytest.raises(InputError, match=rf"a\.mp4 has no sound track {track}; it holds 2, numbered from 1"):
            read_audio_track(path, track=track)


def test_more_channels_than_a_person_can_hear_are_refused(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((16, 2, 48_000, 0, "NONE", ""))
        file.writeframes(bytes(16 * 2 * 4800))
    with pytest.raises(InputError, match="16 channels; at most 8"):
        read_sound(tmp_path / "a.wav")


# the result's sound


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_result_has_the_rate_and_channels_of_the_input(tmp_path, suffix, rate, channels):
    noise = make_noise(2.0, rate, channels)
    source = write_media(tmp_path / "a.wav", "wav", None, (noise,), audio_codec="pcm_s16le", rate=rate)
    write_video(tmp_path / f"v{suffix}", make_frames(50), read_sound(source))
    made = read_sound(tmp_path / f"v{suffix}")
    assert made.samples.shape[0] == channels and made.rate == (48_000 if suffix == ".webm" else rate)
    for channel, true in zip(made.samples, noise, strict=True):
        assert abs(find_lag(channel[:: made.rate // rate] if made.rate % rate == 0 else channel, true)) <= (
            2 if made.rate % rate == 0 else made.rate
        )
        high = np.abs(np.fft.rfft(channel))[int(len(channel) * 7000 / made.rate) :]
        assert rate <= 16_000 or high.max() > 1.0  # more than a voice recogniser's 8 kHz is left


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".webm", "libopus")])
def test_sound_that_the_container_takes_is_copied(tmp_path, suffix, codec):
    noise = make_noise(3.0, 48_000, 2)
    kind = {".mp4": "mp4", ".webm": "webm"}[suffix]
    source = write_media(tmp_path / f"a{suffix}", kind, None, (noise,), audio_codec=codec, rate=48_000)
    sound = read_sound(source)
    write_video(tmp_path / f"v{suffix}", make_frames(50), sound)
    made = read_sound(tmp_path / f"v{suffix}")
    assert made.seconds == pytest.approx(2.0, abs=0.03)
    count = made.samples.shape[1] - 1024
    np.testing.assert_array_equal(made.samples[:, :count], sound.samples[:, :count])  # not decoded, not encoded

    def packets(path) -> list[bytes]:
        with av.open(str(path)) as file:
            return [bytes(packet) for packet in file.demux(audio=0) if packet.size]

    assert packets(tmp_path / f"v{suffix}") == packets(source)[: len(packets(tmp_path / f"v{suffix}"))]


def test_sound_that_begins_late_is_not_copied_but_stays_in_step(tmp_path):
    noise = make_noise(2.0)
    source = write_media(tmp_path / "a.mkv", "matroska", make_frames(), (noise,), rate=48_000, sound_start=0.4)
    write_video(tmp_path / "v.mp4", make_frames(60), read_sound(source))
    found, rate = read_audio_track(tmp_path / "v.mp4")
    assert abs(find_lag(found, noise[0]) / rate - 0.4) < 0.005


def test_the_source_of_the_sound_is_never_the_target(tmp_path):
    source = write_media(tmp_path / "v.mp4", "mp4", make_frames(), (make_tone(),))
    before = source.read_bytes()
    with pytest.raises(InputError, match="also the input"):
        with VideoWriter(source, audio=read_sound(source)):
            pytest.fail("the writer opened")
    assert source.read_bytes() == before


def test_an_array_is_mono_sound():
    sound = Sound(np.stack([np.zeros(8, np.float32)]), RATE, "mono")
    assert sound.seconds == 8 / RATE and sound.voice().shape == (8,)
