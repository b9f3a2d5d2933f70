"""Speech that training never saw, by which the performers are measured: synthetic, the examples' and real recordings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from iasa.config import InputError
from iasa.speech import SpeechFeatures, analyse, make_prosody, read_audio
from iasa.speech import recognizer as recognizer
from iasa.training.speech_data import corpus, synthesis
from iasa.training.speech_data.performances import HELDOUT_VOICES, Heard, keep_heard, make_synthetic
from iasa.training.speech_data.sentences import HELDOUT, LANGUAGES


@dataclass(frozen=True)
class HeldoutSpeech:
    """What is heard, and what was truly said."""

    name: str
    kind: str  # "synthetic" (with known stress), "examples", "real", or a language
    heard: SpeechFeatures
    true: SpeechFeatures
    worded: bool = True  # False: what was said is not known, so that lips have no truth


def synthetic_clips(count: int, cache: Path, language: str | None = None) -> list[HeldoutSpeech]:
    """Sentences and voices that training never saw, in noise; accents of the truth lie on stressed syllables."""
    if not synthesis.available():
        raise InputError("held-out synthetic speech needs espeakng-loader: pip install espeakng-loader")
    sentences, voices = (LANGUAGES[language], (language,)) if language else (HELDOUT, HELDOUT_VOICES)

    def make(index: int) -> Heard:
        return make_synthetic(index, sentences, voices, "auto", split=1)[1]

    clips = []
    for index in range(count):
        one = keep_heard(cache, f"{language or 'english'}_{index:04d}", partial(make, index))
        clips.append(HeldoutSpeech(one.name, language or "synthetic", one.heard, one.true))
    return clips


def example_clips(cache: Path) -> list[HeldoutSpeech]:
    """The committed clips, of engines and voices that training never saw, and gradio's held-out real one."""
    clips = []
    for utterance in corpus.make_corpus("heldout"):
        real = utterance.name.startswith("real_")

        def make(utterance=utterance, real=real) -> Heard:
            # without its words a real clip is heard by phones, and the words that are recognized make the truth
            heard = analyse(utterance.audio, method="phones" if real else "auto")
            true = analyse(utterance.audio, phones=utterance.features.phones)
            return Heard(utterance.name, heard, true)

        one = keep_heard(cache, utterance.name, make)
        clips.append(HeldoutSpeech(one.name, "real" if real else "examples", one.heard, one.true))
    return clips


def real_clips(folder: Path, cache: Path) -> list[HeldoutSpeech]:
    """Real recordings; those with their words in NAME.txt get them aligned as truth, those without are only heard.

    The latter may be in any language; their lips are compared with the loudness alone.
    """
    clips = []
    for path in sorted(p for p in folder.glob("*") if p.suffix in (".wav", ".ogg", ".mp3", ".flac")):
        words = path.with_suffix(".txt")
        text = words.read_text() if words.exists() else None
        one = keep_heard(cache, path.stem, partial(_hear_real, path, text))
        clips.append(
            HeldoutSpeech(one.name, "real" if text else "real, words unknown", one.heard, one.true, text is not None)
        )
    if not clips:
        raise InputError(f"there are no recordings in {folder.name}; wav, ogg, mp3 or flac files are needed")
    return clips


def _hear_real(path: Path, text: str | None) -> Heard:
    audio, _ = read_audio(path)
    heard = analyse(audio)
    if text is None:
        return Heard(path.stem, heard, heard)
    phones = recognizer.find_phones(audio, make_prosody(audio), text)
    return Heard(path.stem, heard, analyse(audio, phones=phones))
