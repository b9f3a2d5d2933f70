"""Speech features against known phones, constructed sound, bad input, and the speech corpus."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from iasa.config import AUDIO_RATE, VIDEO_FPS, InputError
from iasa.paths import SPEECH
from iasa.speech import (
    VISEME_CHANNELS,
    SpeechFeatures,
    analyse,
    check_audio,
    make_prosody,
    make_visemes,
    read_audio,
)
from iasa.speech import recognizer as recognizer
from iasa.training.speech_data import corpus, sentences

OPEN, WIDE, PRESS, TUCK, TEETH = range(5)
CLIPS = ("fishermen", "library", "sky", "tea", "welcome", "windows")


@pytest.fixture(scope="module")
def heldout() -> dict[str, corpus.Utterance]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "REAL_HELDOUT", ())  # the real clip takes a recognizer seconds to read
        return {u.name: u for u in corpus.make_corpus("heldout")}


def make_tone(seconds: float, hertz: float = 140.0, level: float = 0.2) -> np.ndarray:
    """A buzzing voice: harmonics of `hertz` that fall off like a vowel's."""
    time = np.arange(int(seconds * AUDIO_RATE)) / AUDIO_RATE
    wave = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 20))
    ramp = np.minimum(1, np.minimum(time, seconds - time) / 0.03)
    return (level * ramp * wave / 2).astype(np.float32)


def make_syllables(starts, stressed, seconds: float, pitch: float = 1.0, level: float = 1.0) -> np.ndarray:
    """Syllables of 0.16 s; the stressed ones are higher by `pitch` and louder by `level`."""
    audio = 1e-4 * np.random.default_rng(0).normal(size=int(seconds * AUDIO_RATE)).astype(np.float32)
    for start in starts:
        strong = start in stressed
        tone = make_tone(0.16, 140 * (pitch if strong else 1), 0.1 * (level if strong else 1))
        first = int(start * AUDIO_RATE)
        audio[first : first + len(tone)] += tone
    return audio


# ---------------------------------------------------------------- mouth shapes


def test_mouth_shapes_of_known_phones():
    phones = [
        ("SIL", 0, 0.4),
        ("M", 0.4, 0.5),
        ("AA", 0.5, 0.8),
        ("F", 0.8, 0.92),
        ("UW", 0.92, 1.2),
        ("SIL", 1.2, 2),
    ]
    visemes = make_visemes(phones, 50)

    def at(seconds: float) -> np.ndarray:
        return visemes[int(seconds * VIDEO_FPS)]

    assert visemes.shape == (50, len(VISEME_CHANNELS)) and visemes.dtype == np.float32
    assert at(0.45)[PRESS] > 0.6 and at(0.45)[OPEN] < 0.12  # lips meet for m
    assert at(0.65)[OPEN] > 0.5 and at(0.65)[PRESS] < 0.1
    assert at(0.86)[TUCK] > 0.6
    assert at(1.04)[WIDE] < -0.6
    assert np.abs(visemes[:5]).max() < 0.05 and np.abs(visemes[-10:]).max() < 0.01


def test_diphthongs_move_through_two_shapes():
    visemes = make_visemes([("AW", 0.0, 0.4)], 10)
    assert visemes[2, OPEN] > 0.5 and visemes[2, WIDE] > -0.2
    assert visemes[8, OPEN] < 0.35 and visemes[8, WIDE] < -0.6


def test_co_articulation_keeps_lip_closures_between_vowels():
    phones = [("AA", 0.0, 0.2), ("B", 0.2, 0.26), ("AA", 0.26, 0.5)]
    visemes = make_visemes(phones, 12)
    assert visemes[5, PRESS] > 0.45 and visemes[5, OPEN] < 0.3 < visemes[2, OPEN]


# ---------------------------------------------------------------- against known phones


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def score(heldout, method: str, clips=CLIPS) -> np.ndarray:
    """Mean correlation of each channel with the mouth shapes of the true phones: [5]."""
    rows = []
    for name in clips:
        truth = heldout[name].features.visemes
        found = analyse(heldout[name].audio, method=method)
        assert found.source == ("signal" if method == "signal" else "recognizer")
        rows.append([correlation(found.visemes[:, c], truth[:, c]) for c in range(5)])
    return np.mean(rows, axis=0)


def test_recognised_phones_open_the_mouth_like_the_true_ones(heldout):
    pytest.importorskip("pocketsphinx", reason="word recognition is optional: pip install pocketsphinx")
    r = score(heldout, "phones")
    assert r[OPEN] > 0.8 and r[WIDE] > 0.75 and r[PRESS] > 0.4, r


def test_recognised_words_do_so_better(heldout):
    pytest.importorskip("pocketsphinx", reason="word recognition is optional: pip install pocketsphinx")
    r = score(heldout, "words", ("welcome",))
    assert r[OPEN] > 0.88 and r[WIDE] > 0.85 and r[PRESS] > 0.7, r


def test_misheard_words_are_not_believed(heldout):
    """A voice that the recognizer does not understand: the sound alone opens the mouth, and better than wrong words."""
    pytest.importorskip("pocketsphinx", reason="word recognition is optional: pip install pocketsphinx")
    truth, found = heldout["tea"].features, analyse(heldout["tea"].audio, method="words")
    assert found.source == "signal" and found.phones == []
    assert correlation(found.visemes[:, OPEN], truth.visemes[:, OPEN]) > 0.85
    assert recognizer.find_phones(heldout["tea"].audio, make_prosody(heldout["tea"].audio), method="phones")


def test_soft_ends_of_phrases_keep_their_mouth_shape(heldout):
    """Sounds just too soft to count as speech: the mouth still follows them."""
    truth, found = heldout["windows"].features, analyse(heldout["windows"].audio, method="signal")
    soft = (found.speaking < 0.3) & (truth.visemes[:, OPEN] > 0.15)
    assert soft.sum() > 3 and found.visemes[soft, OPEN].mean() > 0.1


def test_known_text_is_aligned(heldout):
    pytest.importorskip("pocketsphinx", reason="word recognition is optional: pip install pocketsphinx")
    text = json.loads((SPEECH / "sky.json").read_text())["text"]
    truth, found = heldout["sky"].features, analyse(heldout["sky"].audio, text=text)
    starts = {p: [s for n, s, _ in truth.phones if n == p] for p in ("B", "M", "W", "S")}
    errors = [min(abs(s - t) for t in starts[n]) for n, s, _ in found.phones if n in starts]
    assert len(errors) > 8 and np.median(errors) < 0.03


def test_sound_alone_opens_the_mouth(heldout):
    r = score(heldout, "signal")
    assert r[OPEN] > 0.75 and r[WIDE] > 0.7, r


def test_without_pocketsphinx_the_sound_alone_is_used_and_named(heldout, monkeypatch, caplog):
    monkeypatch.setattr(recognizer, "available", lambda: False)
    with caplog.at_level(logging.WARNING):
        features = analyse(heldout["tea"].audio)
    assert features.source == "signal" and features.phones == []
    assert "pip install pocketsphinx" in caplog.text


def test_long_speech_is_cut_at_pauses():
    prosody = make_prosody(make_tone(0.5))
    rng = np.random.default_rng(0)
    speaking = np.ones(9000, bool)
    pauses = np.cumsum(rng.integers(300, 900, 14))
    for p in pauses:
        speaking[p : p + 30] = False
    prosody = replace(prosody, speaking=speaking, loudness=np.where(speaking, -20.0, -70.0))
    chunks = recognizer.make_chunks(prosody)
    assert chunks[0][0] == 0 and chunks[-1][1] == 90
    assert all(a[1] == b[0] for a, b in zip(chunks, chunks[1:], strict=False))
    assert max(b - a for a, b in chunks) <= recognizer.MAX_CHUNK
    assert all(not speaking[int(b * 100)] for _, b in chunks[:-1])


# ---------------------------------------------------------------- prosody and robustness


@pytest.mark.parametrize("pitch, level", [(1.5, 1.0), (1.0, 2.5), (1.35, 1.6)])
def test_accents_land_on_loud_or_high_syllables(pitch, level):
    starts = [0.3 + 0.25 * i for i in range(24)]
    stressed = set(starts[2::4])
    accents = make_prosody(make_syllables(starts, stressed, 6.6, pitch, level)).accents
    strong = sorted(accents, key=lambda a: -a[1])[: len(stressed)]
    hits = [s for s in stressed if any(s - 0.03 < t < s + 0.2 for t, _ in strong)]
    assert len(hits) >= len(stressed) - 1, (accents, stressed)


def test_features_do_not_depend_on_the_recording_level(heldout):
    loud = analyse(heldout["sky"].audio, method="signal")
    quiet = analyse(0.03 * heldout["sky"].audio, method="signal")
    assert len(loud.accents) == len(quiet.accents) > 4
    assert correlation(loud.visemes[:, OPEN], quiet.visemes[:, OPEN]) > 0.99
    assert np.abs(loud.energy - quiet.energy).max() < 0.1


def test_pitch_is_found():
    audio = np.concatenate([make_tone(1.0, 110), make_tone(1.0, 165)])
    features = analyse(audio, method="signal")
    step = features.pitch[35:45].mean() - features.pitch[8:18].mean()
    assert abs(step - np.log2(1.5)) < 0.05
    assert features.voiced[5:20].min() > 0.8


AWKWARD = {
    "silence": np.zeros(AUDIO_RATE, np.float32),
    "a click": np.eye(1, AUDIO_RATE, 5000, dtype=np.float32)[0],
    "0.3 s": make_tone(0.3),
    "one sample": np.full(1, 0.5, np.float32),
    "noise": 0.3 * np.random.default_rng(0).normal(size=2 * AUDIO_RATE).astype(np.float32),
    "music": make_tone(2, 220) + make_tone(2, 330) + make_tone(2, 440),
    "clipped": np.sign(make_tone(1.0)).astype(np.float32),
    "constant": np.full(AUDIO_RATE, 0.4, np.float32),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_sound_gives_finite_features(name):
    features = analyse(AWKWARD[name], method="phones" if name in ("0.3 s", "noise") else "signal")
    assert features.frames == max(1, round(len(AWKWARD[name]) / 640)) == len(features.visemes)
    for contour in ("visemes", "energy", "pitch", "voiced", "speaking", "onset"):
        assert np.isfinite(getattr(features, contour)).all()
    assert features.visemes.min() >= -1 and features.visemes.max() <= 1
    assert 0 <= features.energy.min() and features.energy.max() <= 1


def test_silence_closes_the_mouth_and_has_no_accents():
    features = analyse(AWKWARD["silence"])
    assert features.visemes.max() == 0 and features.accents == [] and features.source == "signal"
    speech = np.concatenate([make_tone(1.0), np.zeros(2 * AUDIO_RATE, np.float32)])
    assert np.abs(analyse(speech, method="signal").visemes[35:, OPEN]).max() < 0.02


def test_given_phones_are_kept_and_windows_and_files_agree(heldout, tmp_path):
    features = heldout["tea"].features
    assert features.source == "given" and len(features.phones) > 50
    part = features[50:100]
    assert part.frames == 50 and np.array_equal(part.visemes, features.visemes[50:100])
    assert all(0 <= s < e <= 2.0 + 1e-6 for _, s, e in part.phones)
    assert [round(t + 2.0, 6) for t, _ in part.accents] == [round(t, 6) for t, _ in features.accents if 2.0 <= t < 4.0]
    features.to_npz(tmp_path / "f.npz")
    again = SpeechFeatures.from_npz(tmp_path / "f.npz")
    assert again.source == "given" and [p[0] for p in again.phones] == [p[0] for p in features.phones]
    assert np.array_equal(again.visemes, features.visemes)
    assert np.allclose(again.accents, features.accents)


# ---------------------------------------------------------------- files and bad input


def test_read_audio_brings_any_rate_to_sixteen_kilohertz(tmp_path):
    stereo = np.stack([np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)] * 2, 1)
    soundfile.write(tmp_path / "a.wav", 0.5 * stereo, 44_100)
    audio, rate = read_audio(tmp_path / "a.wav")
    assert rate == AUDIO_RATE and abs(len(audio) - AUDIO_RATE) < 50 and audio.dtype == np.float32
    peak = np.abs(np.fft.rfft(audio[:AUDIO_RATE])).argmax()
    assert abs(peak - 440) <= 2


@pytest.mark.parametrize(
    "audio, sentence",
    [
        (np.zeros(0), "holds no sound"),
        (np.ones(1600), r"lasts 0\.10 s; give at least 0\.2 s"),
        (np.zeros(16_000), r"is silent \(peak 0\.00000 .* at least 0\.001"),
        (np.ones(48_000), r"lasts 3\.0 s; at most 2 s"),
        (np.full(16_000, np.nan), "not numbers"),
    ],
)
def test_unusable_audio_is_refused_with_a_sentence(audio, sentence):
    with pytest.raises(InputError, match=sentence):
        check_audio(audio.astype(np.float32), "a.wav", max_seconds=2)


def test_unusable_files_are_refused(tmp_path):
    soundfile.write(tmp_path / "quiet.wav", np.zeros(16_000), 16_000)
    with pytest.raises(InputError, match="quiet.wav is silent"):
        read_audio(tmp_path / "quiet.wav")
    soundfile.write(tmp_path / "short.wav", 0.5 * np.ones(1000), 16_000)
    with pytest.raises(InputError, match="short.wav"):
        read_audio(tmp_path / "short.wav")
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(InputError):
        read_audio(tmp_path / "text.wav")


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="method is 'magic'; accepted: auto, words"):
        analyse(make_tone(1), method="magic")
    with pytest.raises(ValueError, match=r"shape \(2, 100\)"):
        analyse(np.zeros((2, 100), np.float32))


# ---------------------------------------------------------------- corpus


def test_heldout_speech_is_never_trained_on(heldout):
    assert not set(sentences.TRAIN) & set(sentences.HELDOUT)
    assert set(CLIPS) == set(heldout)
    assert not set(corpus.REAL_TRAIN) & set(corpus.REAL_HELDOUT)
    for name in CLIPS:
        data = json.loads((SPEECH / f"{name}.json").read_text())
        engine, voice = data["voice"].rsplit(" ", 1)
        assert engine == "flite" or voice not in corpus.TRAIN_VOICES
        assert not any(sentence in data["text"] for sentence in sentences.TRAIN)
        assert 4 <= heldout[name].features.seconds <= 10


def test_augmentation_keeps_phones_in_step(heldout):
    utterance = heldout["library"]
    for seed in range(3):
        audio, phones = corpus.augment(utterance.audio, utterance.features.phones, np.random.default_rng(seed))
        again, _ = corpus.augment(utterance.audio, utterance.features.phones, np.random.default_rng(seed))
        assert np.array_equal(audio, again) and np.abs(audio).max() <= 1
        ratio = len(audio) / len(utterance.audio)
        assert phones[-1][2] == pytest.approx(utterance.features.phones[-1][2] * ratio, abs=0.01)
        features = analyse(audio, phones=phones)
        heard = analyse(audio, method="signal")
        assert correlation(features.visemes[:, OPEN], heard.visemes[:, OPEN]) > 0.6
    assert not np.allclose(audio[:1000], utterance.audio[:1000])


def test_corpus_is_cached(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "REAL_HELDOUT", ())
    first = corpus.make_corpus("heldout", tmp_path)
    monkeypatch.setattr(corpus, "analyse", lambda *a, **k: pytest.fail("analysed again"))
    second = corpus.make_corpus("heldout", tmp_path)
    assert [u.name for u in first] == [u.name for u in second]
    for a, b in zip(first, second, strict=True):
        assert np.abs(a.audio - b.audio).max() < 1e-4
        assert np.array_equal(a.features.visemes, b.features.visemes)


def test_synthetic_speech_has_known_phones():
    pytest.importorskip("espeakng_loader", reason="the GPL voice is optional: pip install espeakng-loader")
    (name, recipe), *_ = corpus._recipes("train", 1)
    audio, phones = recipe()
    assert name == "synthetic_0000" and 3 < len(audio) / AUDIO_RATE < 30
    assert len({p[0] for p in phones}) > 20 and phones == sorted(phones, key=lambda p: p[1])
    features = analyse(audio, phones=phones)
    speaking = features.visemes[:, OPEN] > 0.2
    assert features.energy[speaking].mean() > features.energy[~speaking].mean() + 0.2


def test_unknown_split_is_named():
    with pytest.raises(ValueError, match="split is 'test'; accepted: train, heldout"):
        corpus.make_corpus("test")


def test_what_was_heard_before_changes_nothing(heldout):
    """The recognizer estimates the noise as it goes; a second reading starts afresh, like the first."""
    sound = recognizer.to_samples(
        (heldout["welcome"].audio[:AUDIO_RATE] * 32767).astype(np.int16).astype(np.float32) / 32768
    )
    recognizer._decoder.cache_clear()
    first = recognizer.read_words(sound)
    assert recognizer.read_words(sound) == first
    recognizer.read_words(recognizer.to_samples(heldout["tea"].audio[: 2 * AUDIO_RATE]))
    assert recognizer.read_words(sound) == first
