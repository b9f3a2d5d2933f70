"""A clip heard piece by piece: as the whole clip is, sooner; and a recognizer in another process that may fail."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from forked import exit_code

from iasa.config import AUDIO_RATE
from iasa.motion import generate_clip_motion, speech_to_motion
from iasa.paths import CHECKOUT, SPEECH
from iasa.speech import analyse, make_visemes, read_audio, recognizer, recognizer_process
from iasa.speech import chunked as chunked_speech
from iasa.speech.chunked import PIECES, ChunkedSpeech
from iasa.speech.features import CONTOURS
from iasa.speech.recognizer_process import RecognizerProcess, shared_recognizer
from iasa.speech.streaming import join_features

needs_words = pytest.mark.skipif(
    not recognizer.available(), reason="word recognition is optional: pip install pocketsphinx"
)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return read_audio(SPEECH / "sky.mp3")[0]


class Deaf:
    """A recognizer that finds nothing, and notes the seconds it was given."""

    def __init__(self) -> None:
        self.given: list[float] = []

    def read(self, samples: np.ndarray) -> tuple[list, float]:
        self.given.append(len(samples) / AUDIO_RATE)
        return [], 0.25


@pytest.fixture
def deaf(monkeypatch) -> Deaf:
    deaf = Deaf()
    monkeypatch.setattr(chunked_speech, "shared_recognizer", lambda: deaf)
    monkeypatch.setattr(recognizer, "available", lambda: True)
    return deaf


@needs_words
def test_pieces_move_the_lips_as_the_whole_clip_does(speech):
    """Opening, width and closed lips: within 0.03 of the correlation with the true phones, and nearly the same curves."""
    chunked = ChunkedSpeech(speech)
    parts = list(chunked)
    found, whole = join_features(parts), analyse(speech, method="words")
    said = json.loads((SPEECH / "sky.json").read_text())["phones"]
    truth = make_visemes([tuple(phone) for phone in said], whole.frames)
    assert found.frames == whole.frames == chunked.frames and len(parts) >= 3 and chunked.spent > 0
    assert chunked.source == "recognizer" and len(found.phones) > 0.8 * len(whole.phones)
    for channel in range(3):
        mine, theirs, true = (x[:, channel] for x in (found.visemes, whole.visemes, truth))
        assert np.corrcoef(mine, theirs)[0, 1] > 0.93
        assert np.corrcoef(mine, true)[0, 1] > np.corrcoef(theirs, true)[0, 1] - 0.03
    starts = [start for _, start, _ in found.phones]
    assert starts == sorted(starts)


def test_a_short_clip_is_heard_as_the_whole_but_for_its_words(deaf, speech):
    """Where all sound lies within the levels' span, contours and accents are those of `analyse`."""
    clip = speech[: int(7.3 * AUDIO_RATE)]
    found, whole = join_features(list(ChunkedSpeech(clip))), analyse(clip, method="signal")
    for name in CONTOURS:
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), atol=0.02, err_msg=name)
    assert [round(t, 2) for t, _ in found.accents] == [round(t, 2) for t, _ in whole.accents]


def test_the_first_piece_is_short_and_each_waits_for_little(deaf, speech):
    clip = np.tile(speech, 3)
    lengths = [part.frames / 25 for part in ChunkedSpeech(clip)]
    assert PIECES[0][0] <= lengths[0] <= PIECES[0][1] and max(lengths) <= PIECES[-1][1] + chunked_speech.OVERLAP
    assert sum(lengths) == pytest.approx(len(clip) / AUDIO_RATE, abs=0.03)
    heard = chunked_speech.OVERLAP + recognizer.MARGIN
    assert all(given <= length + heard + 0.01 for given, length in zip(deaf.given, lengths, strict=True))


def test_silence_is_not_given_to_the_recogniser(deaf, speech):
    clip = np.concatenate([speech[: 2 * AUDIO_RATE], np.zeros(30 * AUDIO_RATE, np.float32)])
    found = join_features(list(ChunkedSpeech(clip)))
    assert found.frames == 800 and found.visemes[-500:].max() == 0
    assert sum(deaf.given) < 10


def test_motion_of_pieces_is_that_of_the_whole_but_for_their_seams(deaf, speech):
    features = analyse(speech[: 8 * AUDIO_RATE], method="signal")
    parts = [features[:35], features[35:100], features[100:]]
    motions = list(generate_clip_motion(parts, 3))
    whole, lengths = speech_to_motion(features, 3), [len(motion) for motion in motions]
    assert sum(lengths) == len(whole) and 0 < lengths[0] < 35
    joined = np.concatenate([motion.face[:, 0] for motion in motions])
    np.testing.assert_allclose(joined, whole.face[:, 0], atol=0.15)
    assert np.corrcoef(joined, whole.face[:, 0])[0, 1] > 0.99
    hands = np.concatenate([motion.hands[..., :3] for motion in motions])
    assert np.abs(np.diff(hands, axis=0)).max() < 2.0 * np.abs(np.diff(whole.hands[..., :3], axis=0)).max()


@needs_words
def test_a_recogniser_that_dies_costs_its_words_only(speech, caplog):
    process_of_words = RecognizerProcess()
    samples = recognizer.to_samples(speech[: 3 * AUDIO_RATE // 2])
    try:
        process_of_words.start()
        process_of_words._process.kill()
        process_of_words._process.wait()
        with caplog.at_level(logging.WARNING):
            assert process_of_words.read(samples) == (None, 0.0)
        assert "follows the sound alone for 1.5 s" in caplog.text
        phones, seconds = process_of_words.read(samples)
        assert phones == recognizer.read_words(samples) and len(phones) > 3 and seconds > 0
    finally:
        process = process_of_words._process
        process_of_words.close()
    assert process.poll() is not None and process_of_words._process is None


@needs_words
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped on this system")
def test_a_recogniser_that_hangs_is_given_up_and_started_again(speech, caplog, monkeypatch):
    """A stretch waits for a time in proportion to its length, also where the pipe is full; what is reported says so."""
    process = RecognizerProcess()
    monkeypatch.setattr(chunked_speech, "shared_recognizer", lambda: process)
    try:
        chunked = ChunkedSpeech(speech[: 6 * AUDIO_RATE])
        features = iter(chunked)
        parts = [next(features)]
        assert chunked.source == "recognizer"
        hung = process._process
        os.kill(hung.pid, signal.SIGSTOP)
        monkeypatch.setattr(recognizer_process, "START_LIMIT", 0.2)
        monkeypatch.setattr(recognizer_process, "REAL_TIME_LIMIT", 0.1)
        began = time.monotonic()
        with caplog.at_level(logging.WARNING):
            parts.append(next(features))
        assert 0.3 < time.monotonic() - began < 20 and hung.poll() is not None
        assert "no answer within" in caplog.text and "follows the sound alone" in caplog.text
        monkeypatch.undo()
        monkeypatch.setattr(chunked_speech, "shared_recognizer", lambda: process)
        parts += features
        lost = re.fullmatch(r"recognizer, signal for (\d\.\d) s", chunked.source)
        assert 1.5 < float(lost[1]) < 5 and process._process is not hung and len(parts[-1].phones) > 3
        assert parts[1].visemes[:, 0].max() > 0.2  # the mouth follows the sound
    finally:
        process.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_a_recogniser_of_its_own_and_lets_its_parents_live(monkeypatch):
    """Also where the parent's is asked something just then, which nobody in the forked process will ever finish."""
    mine, waiting = shared_recognizer(), [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        monkeypatch.setattr(mine, "_process", process)
        with mine._lock:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    other = shared_recognizer()
                    own = other is not mine and other._process is None and not other._lock.locked()
                    mine.close()  # as at the end of a process
                    code = 0 if own else 2
                finally:
                    os._exit(code)
            code = exit_code(child, 20)
        assert code == 0
        assert process.poll() is None and shared_recognizer() is mine
        process.stdin.close()


def test_without_pocketsphinx_the_sound_alone_is_used(speech, monkeypatch, caplog):
    monkeypatch.setattr(recognizer, "available", lambda: False)
    with caplog.at_level(logging.WARNING):
        chunked = ChunkedSpeech(speech[: 4 * AUDIO_RATE])
        found = join_features(list(chunked))
    assert chunked.source == "signal" and found.phones == [] and chunked.spent == 0
    assert found.visemes[:, 0].max() > 0.3 and "pip install pocketsphinx" in caplog.text


@needs_words
def test_the_recogniser_s_process_ends_quietly_when_whoever_asked_is_gone():
    command, root = [sys.executable, "-m", "iasa.speech.recognizer_process"], CHECKOUT
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root
    ) as process:
        process.stdout.close()
        samples = np.zeros(AUDIO_RATE, np.int16)
        process.stdin.write(struct.pack("<Q", samples.nbytes) + samples.tobytes())
        process.stdin.close()
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read().decode()
