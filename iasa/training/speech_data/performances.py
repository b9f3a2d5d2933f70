"""What the motion stage learns from: speech as a recognizer hears it, beside a performance of what was truly said.

The motion model (iasa.motion.rules) is given what sound does not show plainly: the true phones, and accents on the
syllables that the voice truly stressed. The networks are given what `iasa.speech.analyse` hears in the noisy sound.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from iasa.avatar.rig import RigMotion
from iasa.config import VIDEO_FPS
from iasa.motion.rules import GestureStyle, generate_gestures, make_style
from iasa.speech import Phone, SpeechFeatures, analyse
from iasa.speech.prosody import ACCENT_SPACING, HOP_RATE, make_prosody, prominence
from iasa.training.speech_data import corpus, synthesis
from iasa.training.speech_data.sentences import TRAIN

logger = logging.getLogger(__name__)

UTTERANCES = 160
HELDOUT_VOICES = ("en-us+f4", "en-us+m5", "en-gb-x-gbclan+Andy", "en+f4", "en-us+m8", "en-us+Gene")
METHODS = ("words", "phones", "phones", "signal")  # of hearing the training speech
STRESS_REACH = 0.12  # seconds around a stressed vowel in which its prominence is looked for
SILENCE = (0.3, 6.0)  # seconds of silence between two utterances of a programme
PROGRAMME = 3  # utterances one after another


@dataclass(frozen=True)
class Heard:
    """One utterance: the features that the networks see, and those that the true motion model sees."""

    name: str
    heard: SpeechFeatures
    true: SpeechFeatures


def stressed_accents(audio: np.ndarray, phones: Sequence[Phone]) -> list[tuple[float, float]]:
    """Accents (seconds, strength 0..3) of clean speech: the most prominent of the stressed vowels, well apart.

    audio float32 [n] at 16 kHz; phones carry their stress ("EY1").
    """
    prosody = make_prosody(audio)
    if not prosody.speaking.any():
        return []
    score = prominence(prosody.loudness, prosody.pitch, prosody.onset, prosody.speaking)
    found = []
    for name, start, end in phones:
        if name.endswith("1"):
            first, last = int((start - 0.03) * HOP_RATE), int(min(end, start + STRESS_REACH) * HOP_RATE) + 1
            first = max(0, first)
            if first < min(last, len(score)):
                peak = first + int(score[first:last].argmax())
                found.append(((peak + 0.5) / HOP_RATE, float(np.clip(score[peak] + 0.4, 0, 3))))
    kept: list[tuple[float, float]] = []
    for accent in sorted(found, key=lambda a: -a[1]):
        if accent[1] > 0.4 and all(abs(accent[0] - other[0]) >= ACCENT_SPACING for other in kept):
            kept.append(accent)
    return sorted(kept)


def make_synthetic(
    index: int,
    sentences: Sequence[str] = TRAIN,
    voices: Sequence[str] = corpus.TRAIN_VOICES,
    method: str | None = None,
    split: int = 0,
) -> tuple[np.ndarray, Heard]:
    """One synthetic utterance: its noisy sound float32 [n] at 16 kHz, and both its features.

    `method` of hearing it (iasa.speech.analyse); by default it changes with the index. Another `split` is another draw.
    """
    rng = np.random.default_rng([index, 6 + split])
    voice = voices[index % len(voices)]
    number = min(int(rng.integers(2, 5)), len(sentences))
    chosen = [sentences[int(i)] for i in rng.choice(len(sentences), number, replace=False)]
    rate, pitch, spread = (int(rng.integers(*span)) for span in ((135, 195), (30, 75), (40, 90)))
    clean, phones = corpus.read_sentences(chosen, voice, rate, pitch, spread, rng, stress=True)
    noisy, phones = corpus.augment(clean, phones, rng)
    percent = round(100 * len(clean) / len(noisy))  # augmentation also changed the speed
    clean = resample_poly(clean, 100, percent).astype(np.float32)[: len(noisy)] if percent != 100 else clean
    true = replace(analyse(clean, phones=phones), accents=stressed_accents(clean, phones))
    return noisy, Heard(f"{voice}_{index:04d}", analyse(noisy, method=method or METHODS[index % len(METHODS)]), true)


def keep_heard(cache: Path | None, name: str, make: Callable[[], Heard]) -> Heard:
    """`make`'s utterance, kept in the folder `cache` and read back from there."""
    if cache is None:
        return make()
    paths = [cache / f"{name}.{kind}.npz" for kind in ("heard", "true")]
    if not all(path.exists() for path in paths):
        one = make()
        cache.mkdir(parents=True, exist_ok=True)
        for features, path in zip((one.heard, one.true), paths, strict=True):
            features.to_npz(path)
    return Heard(name, *(SpeechFeatures.from_npz(path) for path in paths))


def make_utterances(cache: Path, count: int = UTTERANCES) -> list[Heard]:
    """Training speech: `count` synthetic utterances and the real clips that gradio brings; kept in `cache`."""
    if not synthesis.available():
        logger.warning("espeakng-loader is not installed: training speech is the real clips alone")
        count = 0
    found = [keep_heard(cache, f"{i:04d}", lambda i=i: make_synthetic(i)[1]) for i in range(count)]
    for name in corpus.REAL_TRAIN:
        path = corpus.real_clip(name)
        if path:
            features = analyse(corpus.read_audio(path)[0])
            found.append(Heard(Path(name).stem, features, features))
    return found


def pause_features(seconds: float) -> SpeechFeatures:
    """Silence."""
    return analyse(np.zeros(max(640, int(seconds * 16_000)), np.float32))


def join_features(parts: Sequence[SpeechFeatures]) -> SpeechFeatures:
    """Features of one piece of speech after another."""
    starts = np.cumsum([0, *(p.frames for p in parts)]) / VIDEO_FPS
    contours = ("visemes", "energy", "pitch", "voiced", "speaking", "onset")
    return replace(
        parts[0],
        phones=[(n, s + t, e + t) for p, t in zip(parts, starts, strict=False) for n, s, e in p.phones],
        accents=[(a + t, s) for p, t in zip(parts, starts, strict=False) for a, s in p.accents],
        **{name: np.concatenate([getattr(p, name) for p in parts]) for name in contours},
    )


@dataclass(frozen=True)
class Performance:
    """A speaker of a style performs a programme."""

    heard: SpeechFeatures
    motion: RigMotion
    style: GestureStyle


def make_performances(utterances: Sequence[Heard], count: int, seed: int) -> Iterator[Performance]:
    """`count` performances of programmes: some utterances one after another, with silences of up to seconds."""
    for index in range(count):
        rng = np.random.default_rng([seed, index, 8])
        heard, true = [], []
        for k in rng.choice(len(utterances), min(PROGRAMME, len(utterances)), replace=False):
            if heard and rng.random() < 0.7:
                pause = pause_features(rng.uniform(*SILENCE))
                heard.append(pause)
                true.append(pause)
            frames = min(utterances[k].heard.frames, utterances[k].true.frames)
            heard.append(utterances[k].heard[:frames])
            true.append(utterances[k].true[:frames])
        who = int(rng.integers(2**31))
        style = make_style(who)
        yield Performance(join_features(heard), generate_gestures(join_features(true), who, style), style)
