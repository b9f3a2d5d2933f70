"""Timed phones of speech, offline, by pocketsphinx: words first, then forced alignment of their phones."""

from __future__ import annotations

import importlib.util
import logging
import re
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from iasa.config import AUDIO_RATE
from iasa.speech.prosody import HOP_RATE, Prosody
from iasa.speech.visemes import Phone

if TYPE_CHECKING:
    from pocketsphinx import Decoder

logger = logging.getLogger(__name__)

MAX_CHUNK = 20.0  # seconds handed to the recognizer at once
MIN_PAUSE = 0.15  # seconds; a cut falls into a pause of this length where there is one
MARGIN = 0.2  # seconds of surrounding sound around each chunk
WORDS_LIMIT = 60.0  # seconds; longer clips are read as phones without words, several times faster
MISHEARD = -18.0  # score of aligned words below which they are not believed (read well: -8 to -12, misread: -26 to -34)
KNOWN_SHARE = 0.9  # of a text's words must be in the dictionary for it to be aligned
_lock = threading.Lock()  # decoders keep state


def available() -> bool:
    return importlib.util.find_spec("pocketsphinx") is not None


def check_available() -> bool:
    """`available`, with a warning where it is not."""
    if not available():
        logger.warning("pocketsphinx is not installed: the mouth follows the sound alone (pip install pocketsphinx)")
        return False
    return True


@lru_cache(maxsize=2)
def _decoder(kind: str) -> Decoder:
    from pocketsphinx import Decoder, get_model_path

    if kind == "words":
        # narrower than the defaults, without their second pass, and faster; wider than this the lips follow no better
        return Decoder(samprate=AUDIO_RATE, loglevel="FATAL", fwdflat=False, bestpath=True, maxhmmpf=2000, maxwpf=10)
    model = get_model_path("en-us/en-us-phone.lm.bin")
    return Decoder(samprate=AUDIO_RATE, loglevel="FATAL", allphone=model, lw=2.0, beam=1e-20, pbeam=1e-20)


def make_chunks(prosody: Prosody) -> list[tuple[float, float]]:
    """Stretches of speech of at most `MAX_CHUNK` seconds, cut in the longest pause at hand."""
    speaking = prosody.speaking
    if not speaking.any():
        return []
    active = np.flatnonzero(speaking)
    first, end = int(active[0]), int(active[-1]) + 1
    longest = int(MAX_CHUNK * HOP_RATE)
    chunks = []
    while end - first > longest:
        window = speaking[first + longest // 2 : first + longest]
        cut = first + longest // 2 + quietest(window, prosody.loudness[first + longest // 2 : first + longest])
        chunks.append((first / HOP_RATE, cut / HOP_RATE))
        first = cut
    return [*chunks, (first / HOP_RATE, end / HOP_RATE)]


def quietest(speaking: np.ndarray, loudness: np.ndarray) -> int:
    """The middle of the longest pause, or the softest hop where nobody pauses."""
    edges = np.flatnonzero(np.diff(np.r_[False, ~speaking, False].astype(int)))
    starts, ends = edges[::2], edges[1::2]
    if len(starts) and (ends - starts).max() >= MIN_PAUSE * HOP_RATE:
        k = int((ends - starts).argmax())
        return int(starts[k] + ends[k]) // 2
    return int(loudness.argmin())


def to_samples(audio: np.ndarray) -> np.ndarray:
    """int16 [n] as the recognizer hears it, of float32 [n] of any level."""
    gain = 0.7 / (np.abs(audio).max(initial=0) + 1e-9)
    return np.clip(audio * gain * 32767, -32768, 32767).astype(np.int16)


def find_phones(
    audio: np.ndarray,  # float32 [n] at 16 kHz
    prosody: Prosody,
    text: str | None = None,
    method: str = "auto",
) -> list[Phone]:
    """Timed ARPAbet phones; empty when nothing could be read, without those of words that do not fit the sound.

    With `text` they are aligned to it if that fits the sound. "words" recognizes English words and aligns
    their phones, at 0.1 to 0.4 times real time; "phones" needs no words, 0.05 times; "auto" takes "words" for
    clips of up to a minute.
    """
    samples = to_samples(audio)
    with _lock:
        known = _align(samples, text)[0] if text else []
        if known:
            return known
        if method == "auto":
            method = "words" if len(audio) <= WORDS_LIMIT * AUDIO_RATE else "phones"
        phones: list[Phone] = []
        chunks = make_chunks(prosody)
        for i, (start, end) in enumerate(chunks):
            first = max(0, int((start - MARGIN) * AUDIO_RATE))
            piece = samples[first : int((end + MARGIN) * AUDIO_RATE)]
            found = _read_words(piece) if method == "words" else _phones_only(piece)
            shift = first / AUDIO_RATE
            low = start if i > 0 else 0.0  # neighbours overlap by the margin; outside the speech it is kept
            high = end if i + 1 < len(chunks) else len(audio) / AUDIO_RATE
            phones += [(name, max(a + shift, low), min(b + shift, high)) for name, a, b in found]
    return [p for p in phones if p[2] > p[1]]


def read_words(samples: np.ndarray) -> list[Phone]:
    """Timed phones of the words in a short stretch of speech int16 [n]; where no words are found, phones alone."""
    with _lock:
        return _read_words(samples)


def prepare() -> None:
    """Load what `read_words` needs."""
    for kind in ("words", "phones"):
        _decoder(kind)


def _read_words(samples: np.ndarray) -> list[Phone]:
    """Phones of the recognized words; none if these were misheard, phones alone where there are no words."""
    words = _recognise(samples)
    if not words:
        return _phones_only(samples)
    phones, score = _align(samples, words)
    if phones and score >= MISHEARD:
        return phones
    logger.info("the words do not fit the sound (%.0f a hop): the mouth follows the sound alone there", score)
    return []


def _decode(decoder: Decoder, samples: np.ndarray) -> None:
    decoder.start_stream()  # what was learnt of the noise in other sound is forgotten: the same sound gives the same words
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()


def _recognise(samples: np.ndarray) -> str:
    decoder = _decoder("words")
    decoder.activate_search("_default")
    _decode(decoder, samples)
    best = decoder.hyp()
    return best.hypstr if best else ""


def _align(samples: np.ndarray, text: str) -> tuple[list[Phone], float]:
    """Forced alignment of known words: words, then their phones, none where the sound does not fit.

    The score is how much worse a hop fits than if the best of all sounds had been read there, 0 at best: the median phone's.
    """
    decoder = _decoder("words")
    said = re.findall(r"[a-z']+|\d+", text.lower())
    words = [w for w in said if decoder.lookup_word(w)]
    if len(words) < KNOWN_SHARE * len(said) or not words:
        logger.info("%d of %d words are in the dictionary: the text is left aside", len(words), len(said))
        return [], 0.0
    try:
        decoder.set_align_text(" ".join(words))
        _decode(decoder, samples)
        decoder.set_alignment()
        _decode(decoder, samples)
        found = decoder.get_alignment()
    except RuntimeError as error:
        logger.info("the words could not be aligned (%s)", error)
        return [], 0.0
    finally:
        decoder.activate_search("_default")
    if found is None:
        return [], 0.0
    entries = [p for word in found for p in word]
    scores = [p.score / max(1, p.duration) for p in entries if p.name != "SIL"]
    score = float(np.median(scores)) if scores else 0.0
    return [(p.name, p.start / 100, (p.start + p.duration) / 100) for p in entries], score


def _phones_only(samples: np.ndarray) -> list[Phone]:
    decoder = _decoder("phones")
    _decode(decoder, samples)
    return [
        (s.word.strip("+<>"), s.start_frame / 100, (s.end_frame + 1) / 100)
        for s in decoder.seg()
        if not s.word.startswith("(")
    ]
