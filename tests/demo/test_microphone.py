"""The live microphone: pieces of sound in, a playing video out; one visitor at a time, bounded, stoppable."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import wave
from concurrent.futures import wait
from types import SimpleNamespace

import numpy as np
import pytest

gr = pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")

from iasa.avatar.speaker import speaker_names  # noqa: E402
from iasa.config import InputError  # noqa: E402
from iasa.demo import microphone as live  # noqa: E402
from iasa.demo.microphone import MicrophoneSession, finish_listening, listen, read_chunk, stop_listening  # noqa: E402
from iasa.demo.speaker_choice import EXAMPLE, PHOTO  # noqa: E402
from iasa.media.reader import read_audio_track, read_video  # noqa: E402
from iasa.paths import SPEECH  # noqa: E402
from iasa.speech import read_audio  # noqa: E402
from iasa.speech.features import to_rate  # noqa: E402

RATE = 48_000  # as browsers record


def make_wav(sound: np.ndarray, rate: int = RATE, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((channels, 2, rate, 0, "NONE", ""))
        writer.writeframes((sound * 32767).astype("<i2").repeat(channels).tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def chunks() -> list[bytes]:
    """1.5 s of speech as a browser streams it: every piece with the first one's header, whose sizes are wrong."""
    sound = to_rate(read_audio(SPEECH / "tea.mp3")[0][: int(1.5 * 16_000)], 16_000)
    sound = np.interp(np.arange(int(1.5 * RATE)) / 3, np.arange(len(sound)), sound)
    data = make_wav(sound)
    header, body = data[:4] + b"\xff\xff\xff\xff" + data[8:40] + b"\0\0\0\0", data[44:]
    step = RATE // 2 * 2
    return [header + body[at : at + step] for at in range(0, len(body), step)]


@pytest.fixture(autouse=True)
def empty_room(monkeypatch):
    monkeypatch.setattr(live, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(live, "IDLE_SECONDS", 60.0)
    yield
    for run in live._current:
        run.stop()
        wait([run._run], 30)
    live._current.clear()


def say(tmp_path, chunk: bytes, session: str = "a", kind: str = EXAMPLE) -> str:
    path = tmp_path / f"{time.monotonic_ns()}.wav"
    path.write_bytes(chunk)
    answer = listen(
        str(path), kind, speaker_names()[0], None, None, True, 0, request=SimpleNamespace(session_hash=session)
    )
    assert not path.exists()  # nothing is kept
    return answer


def test_speech_comes_back_as_video(tmp_path, chunks):
    messages = [say(tmp_path, chunk) for chunk in chunks]
    rest = list(finish_listening(SimpleNamespace(session_hash="a")))
    again = [number for number, _ in json.loads(rest[0])["pieces"]]
    assert again == list(range(len(again)))  # from the first one on, should the last answer have been lost
    messages += rest
    messages = [json.loads(message) for message in messages]
    assert messages[-1]["ended"] and not messages[0]["ended"]
    assert messages[-1]["note"].startswith("Live: first frame after") and "frames/s" in messages[-1]["note"]
    pieces = dict(piece for message in messages for piece in message["pieces"])
    assert sorted(pieces) == list(range(len(pieces))) and len({message["name"] for message in messages}) == 1
    (tmp_path / "live.mp4").write_bytes(b"".join(base64.b64decode(pieces[n]) for n in sorted(pieces)))
    frames, fps = read_video(tmp_path / "live.mp4")
    assert fps == 25 and abs(len(frames) - 37.5) <= 1
    corner = frames[:, 238:252, 226:252].reshape(len(frames), -1, 3)
    assert (corner.min((1, 2)) < 90).all() and (corner.max((1, 2)) > 190).all()  # the AI mark
    assert frames[:, 60:200].astype(int).std(0).max() > 5  # the speaker moves
    heard, rate = read_audio_track(tmp_path / "live.mp4")
    spoken = np.concatenate([read_chunk_bytes(tmp_path, chunk) for chunk in chunks])[::3]
    size = min(len(heard), len(spoken)) // 320 * 320
    a, b = (np.sqrt((x[:size].reshape(-1, 320) ** 2).mean(1)) for x in (heard, spoken))
    assert rate == 16_000 and max(np.corrcoef(a[lag:], b[: len(b) - lag])[0, 1] for lag in range(6)) > 0.8


def read_chunk_bytes(folder, chunk: bytes) -> np.ndarray:
    (folder / "piece.wav").write_bytes(chunk)
    return read_chunk(folder / "piece.wav")[0]


def test_stopping_drops_the_rest_and_late_pieces(tmp_path, chunks, monkeypatch):
    monkeypatch.setattr(live, "QUIET_SECONDS", 60.0)
    say(tmp_path, chunks[0])
    run = live._current[0]
    assert json.loads(stop_listening(SimpleNamespace(session_hash="a")))["note"] == "Stopped."
    assert stop_listening(SimpleNamespace(session_hash="another")) == gr.skip()
    wait([run._run], 30)
    assert run.ended
    say(tmp_path, chunks[1])  # the microphone is still on: no new start
    assert live._current == [run] and run.heard <= 0.5
    monkeypatch.setattr(live, "QUIET_SECONDS", 0.0)
    say(tmp_path, chunks[1])
    assert live._current != [run]


def test_one_visitor_at_a_time_and_errors_come_back(tmp_path, chunks):
    say(tmp_path, chunks[0])
    with pytest.raises(gr.Error, match="Somebody else is speaking"):
        say(tmp_path, chunks[0], session="b")
    live._current[0].stop()
    wait([live._current[0]._run], 30)
    with pytest.raises(gr.Error, match="There is no photo"):  # at once, or with the next piece
        say(tmp_path, chunks[0], session="b", kind=PHOTO)
        wait([live._current[0]._run], 30)
        say(tmp_path, chunks[0], session="b", kind=PHOTO)
    say(tmp_path, chunks[0], session="b")  # and the next try is a new start


@pytest.mark.parametrize("language", ["en", "de"])
def test_whatever_ends_the_run_reaches_the_visitor_once(tmp_path, chunks, monkeypatch, language, caplog):
    """Not bad input alone: a fault of the program's, in the thread that the visitor does not see."""

    def broken(*arguments, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(live, "LiveSpeaker", broken)
    request = SimpleNamespace(session_hash="a", headers={"accept-language": language})
    path = tmp_path / "a.wav"
    sentence = {"en": "The live run broke off", "de": "Der Live-Lauf ist abgebrochen"}[language]
    with pytest.raises(gr.Error, match=rf"{sentence} \(RuntimeError: out of memory\)"):
        for _ in range(2):
            path.write_bytes(chunks[0])
            listen(str(path), EXAMPLE, speaker_names()[0], None, None, True, 0, request=request)
            wait([live._current[0]._run], 30)
    (run,) = live._current
    deadline = time.monotonic() + 30
    while "Traceback" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.05)  # the visitor may be told before the log is
    assert run.ended and not run.failed and "Traceback" in caplog.text
    last = list(finish_listening(request))
    assert json.loads(last[-1])["ended"]


def test_what_waits_is_bounded(monkeypatch):
    monkeypatch.setattr(live, "MAX_WAITING", 1.0)
    monkeypatch.setattr(live, "MAX_LIVE_SECONDS", 1.9)
    held = threading.Event()

    def wait_then_fail():
        held.wait(20)
        raise InputError("there is no photo; upload a portrait that shows one face from the front")

    run = MicrophoneSession("a", None, wait_then_fail)
    for _ in range(6):
        run.push(np.zeros(8000, np.float32), 16_000)
    assert run.waiting <= 1.0 and run.heard == pytest.approx(1.0) and run.skipped == pytest.approx(2.0)
    assert "2 s skipped" in json.loads(run.message())["note"]
    with run._lock:
        run.waiting = 0.0  # as if the speaker had taken it
    for _ in range(6):
        run.push(np.zeros(8000, np.float32), 16_000)
    assert run.heard == pytest.approx(2.0)  # the time is over: what comes later is dropped
    held.set()
    wait([run._run], 20)
    assert run.ended


def test_pieces_of_sound_are_checked(tmp_path, chunks):
    good, rate = read_chunk_bytes(tmp_path, chunks[0]), RATE
    assert len(good) == rate // 2 and 0.01 < np.abs(good).max() <= 1
    (tmp_path / "stereo.wav").write_bytes(make_wav(np.full(100, 0.5), 44_100, 2))
    stereo, rate = read_chunk(tmp_path / "stereo.wav")
    assert rate == 44_100 and len(stereo) == 100 and np.allclose(stereo, 0.5, atol=1e-3)
    (tmp_path / "long.wav").write_bytes(make_wav(np.zeros(16_000 * 9), 16_000))
    assert len(read_chunk(tmp_path / "long.wav")[0]) == live.MAX_WAITING * 16_000
    bad = bytearray(chunks[0])
    bad[34] = 8  # bits
    for data in (b"", b"RIFF", b"<svg>" * 99, chunks[0][:20], chunks[0][:30] + b"data", bytes(bad), chunks[0][8:]):
        (tmp_path / "bad.wav").write_bytes(data)
        with pytest.raises(InputError, match="not WAV sound"):
            read_chunk(tmp_path / "bad.wav")
    with open(tmp_path / "huge.wav", "wb") as file:
        file.truncate(live.MAX_CHUNK_BYTES + 1)
    with pytest.raises(InputError, match="at most 20 MB"):
        read_chunk(tmp_path / "huge.wav")
