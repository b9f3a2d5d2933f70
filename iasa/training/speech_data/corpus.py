"""Speech to learn from: synthetic voices with known phones, real clips that gradio brings; a held-out set.

`python -m iasa.training.speech_data.corpus --out DIR --split train` writes one utterance a file; `make_corpus(cache=DIR)`
reads them back.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from iasa.config import AUDIO_RATE
from iasa.files import write_npz
from iasa.paths import SPEECH
from iasa.speech import Phone, SpeechFeatures, analyse, read_audio
from iasa.training.speech_data import synthesis
from iasa.training.speech_data.sentences import TRAIN

logger = logging.getLogger(__name__)

TRAIN_UTTERANCES = 192
TRAIN_VOICES = (
    "en-us", "en-us+f1", "en-us+f3", "en-us+f5", "en-us+m1", "en-us+m3", "en-us+m7", "en-us+klatt", "en+f2",
    "en+m2", "en-gb-scotland+m4", "en-029+f1", "en-gb-x-rp+f5", "en-us+Annie", "en-us+steph", "en-us+Michael",
    "en+Alicia", "en-us+adam", "en-us-nyc+m6",
)  # fmt: skip
REAL_TRAIN = ("cate_blanch.mp3", "cate_blanch_2.mp3", "recording1.wav")  # of gradio's media_assets/audio
REAL_HELDOUT = ("heath_ledger.mp3",)
SPLITS = ("train", "heldout")


@dataclass(frozen=True)
class Utterance:
    """A piece of speech of some seconds."""

    audio: np.ndarray  # float32 [n] mono at 16 kHz
    features: SpeechFeatures
    name: str


def make_corpus(split: str, cache: str | Path | None = None, count: int = TRAIN_UTTERANCES) -> list[Utterance]:
    """All utterances of "train" (`count` synthetic ones, and real clips) or "heldout" (the committed ones).

    Held-out speech shares no sentence, voice or recording with training. With `cache`, a folder, analysed
    utterances are kept there and read back.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; accepted: {', '.join(SPLITS)}")
    if split == "train" and not synthesis.available():
        logger.warning("espeakng-loader is not installed: training speech is the real clips alone")
    folder = Path(cache) / split if cache else None
    utterances = []
    for name, make in _recipes(split, count):
        path = folder / f"{name}.npz" if folder else None
        if path and path.exists():
            utterances.append(load_utterance(path))
            continue
        audio, phones = make()
        utterance = Utterance(audio, analyse(audio, phones=phones), name)
        if path:
            save_utterance(path, utterance)
        utterances.append(utterance)
    return utterances


def _recipes(split: str, count: int) -> Iterator[tuple[str, Recipe]]:
    if split == "heldout":
        for path in sorted(SPEECH.glob("*.json")):
            yield path.stem, Committed(path)
        for name in REAL_HELDOUT:
            if real_clip(name):
                yield f"real_{Path(name).stem}", Real(name, None)
        return
    if synthesis.available():
        for index in range(count):
            yield f"synthetic_{index:04d}", Synthetic(index)
    for name in REAL_TRAIN:
        if real_clip(name):
            for seed in (None, 1, 2):
                yield f"real_{Path(name).stem}_{seed or 0}", Real(name, seed)


class Recipe:
    """How to make one utterance; called only when it is not in the cache."""

    def __call__(self) -> tuple[np.ndarray, Sequence[Phone] | None]:
        raise NotImplementedError


@dataclass(frozen=True)
class Committed(Recipe):
    """A clip of examples/speech with its phones in a JSON file beside it."""

    path: Path

    def __call__(self) -> tuple[np.ndarray, list[Phone]]:
        data = json.loads(self.path.read_text())
        audio, _ = read_audio(self.path.with_name(data["audio"]))
        return audio, [(name, start, end) for name, start, end in data["phones"]]


@dataclass(frozen=True)
class Real(Recipe):
    """A real clip; `seed` augments it."""

    name: str
    seed: int | None

    def __call__(self) -> tuple[np.ndarray, list[Phone] | None]:
        path = real_clip(self.name)
        assert path is not None  # only clips that are there have a recipe
        audio, _ = read_audio(path)
        if self.seed is None:
            return audio, None
        clean = analyse(audio)
        return augment(audio, clean.phones, np.random.default_rng([self.seed, 3]))


@dataclass(frozen=True)
class Synthetic(Recipe):
    """Two to four training sentences by one voice, with pauses between them, augmented."""

    index: int

    def __call__(self) -> tuple[np.ndarray, list[Phone]]:
        rng = np.random.default_rng([self.index, 4])
        voice = TRAIN_VOICES[self.index % len(TRAIN_VOICES)]
        order = np.random.default_rng([self.index * 3 // len(TRAIN), 5]).permutation(len(TRAIN))
        chosen = [TRAIN[order[(3 * self.index + k) % len(TRAIN)]] for k in range(int(rng.integers(2, 5)))]
        rate, pitch, spread = (
            int(rng.integers(135, 195)),
            int(rng.integers(30, 75)),
            int(rng.integers(40, 90)),
        )
        audio, phones = read_sentences(chosen, voice, rate, pitch, spread, rng)
        return augment(audio, phones, rng)


def read_sentences(
    sentences: Sequence[str],
    voice: str,
    rate: int,
    pitch: int,
    pitch_range: int,
    rng: np.random.Generator,
    stress: bool = False,
) -> tuple[np.ndarray, list[Phone]]:
    """Sentences one after another with pauses of 0.1 to 1.1 s: sound [n] and phones, with their stress or not."""
    parts, phones = [np.zeros(int(rng.uniform(0.05, 0.4) * AUDIO_RATE), np.float32)], []
    for sentence in sentences:
        shift = sum(map(len, parts)) / AUDIO_RATE
        sound, found = synthesis.make_speech(sentence, voice, rate, pitch, pitch_range, stress)
        phones += [(name, start + shift, end + shift) for name, start, end in found]
        parts += [sound, np.zeros(int(rng.uniform(0.1, 1.1) * AUDIO_RATE), np.float32)]
    audio = np.concatenate(parts)
    return 0.7 * audio / (np.abs(audio).max() + 1e-9), phones


def augment(
    audio: np.ndarray,  # float32 [n] at 16 kHz
    phones: Sequence[Phone],
    rng: np.random.Generator,
) -> tuple[np.ndarray, list[Phone]]:
    """Another speaker, microphone and room: speed with pitch, equaliser, reverberation, noise, gain.

    Returns the sound and the phones at their new times.
    """
    percent = int(rng.integers(90, 111))
    out = resample_poly(audio, 100, percent).astype(np.float32) if percent != 100 else audio.copy()
    phones = [(name, start * 100 / percent, end * 100 / percent) for name, start, end in phones]
    low, high = np.sort(rng.uniform(np.log(100), np.log(6000), 2))
    band = butter(1, [np.exp(low), min(np.exp(high) * 1.3, 7500)], "bandpass", fs=AUDIO_RATE, output="sos")
    out = out + rng.uniform(-0.6, 1.2) * np.asarray(sosfilt(band, out))
    if rng.random() < 0.5:
        seconds = rng.uniform(0.08, 0.35)
        time = np.arange(int(seconds * AUDIO_RATE)) / AUDIO_RATE
        room = rng.normal(size=len(time)) * np.exp(-6.9 * time / seconds)
        room *= rng.uniform(0.1, 0.5) / np.sqrt((room**2).sum())
        room[0] = 1.0
        out = fftconvolve(out, room)[: len(out)]
    level = np.sqrt(np.mean(out**2)) * 10 ** (-rng.uniform(20, 50) / 20)
    noise = np.cumsum(rng.normal(size=len(out))) if rng.random() < 0.3 else rng.normal(size=len(out))
    noise = np.asarray(sosfilt(butter(1, 60, "highpass", fs=AUDIO_RATE, output="sos"), noise))
    out = out + noise * level / (noise.std() + 1e-9)
    out = out / (np.abs(out).max() + 1e-9) * rng.uniform(0.15, 0.98)
    return out.astype(np.float32), phones


def real_clip(name: str) -> Path | None:
    """The path of one of gradio's sound samples, None without gradio."""
    package = importlib.util.find_spec("gradio")
    if package is None or not package.origin:
        return None
    path = Path(package.origin).parent / "media_assets" / "audio" / name
    return path if path.exists() else None


def save_utterance(path: Path, utterance: Utterance) -> None:
    """Sound as int16 and features, in `path` and `<stem>.features.npz` beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    utterance.features.to_npz(path.with_suffix(".features.npz"))
    # Last: where it is, both are.
    write_npz(path, audio=np.round(utterance.audio * 32767).clip(-32768, 32767).astype(np.int16))


def load_utterance(path: Path) -> Utterance:
    with np.load(path, allow_pickle=False) as z:
        audio = z["audio"].astype(np.float32) / 32767
    return Utterance(audio, SpeechFeatures.from_npz(path.with_suffix(".features.npz")), path.stem)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the analysed utterances")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--count", type=int, default=TRAIN_UTTERANCES, help="synthetic utterances for training")
    options = parser.parse_args()
    corpus = make_corpus(options.split, options.out, options.count)
    seconds = sum(u.features.seconds for u in corpus)
    print(f"{len(corpus)} utterances, {seconds / 60:.1f} minutes, in {options.out / options.split}")


if __name__ == "__main__":
    main()
