"""Make the held-out clips of this folder: sentences that are never trained on, read by synthetic voices.

    python -m examples.make_clips [--flite PATH]

Needs espeakng-loader and soundfile; the flite voices need the program `flite` (Debian, Ubuntu: apt install
flite).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile

import numpy as np
import soundfile

from iasa.config import AUDIO_RATE
from iasa.paths import SPEECH
from iasa.speech import Phone, to_rate
from iasa.training.speech_data.sentences import HELDOUT
from iasa.training.speech_data.synthesis import make_speech

CLIPS = (  # name, engine, voice, numbers of the sentences
    ("welcome", "flite", "slt", (0, 1)),
    ("sky", "flite", "rms", (2, 3)),
    ("windows", "flite", "awb", (4, 6)),
    ("fishermen", "eSpeak NG", "en-us+f4", (5, 7)),
    ("library", "eSpeak NG", "en-us+m5", (8, 9)),
    ("tea", "eSpeak NG", "en-gb-x-gbclan+Andy", (10, 11)),
)
GAP = 0.45  # seconds between the sentences


def read_with_flite(text: str, voice: str, program: str) -> tuple[np.ndarray, list[Phone]]:
    """Sound at 16 kHz and phones (flite prints each with its end)."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "speech.wav")
        command = [program, "-voice", voice, "-psdur", "-t", text, "-o", path]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        sound, rate = soundfile.read(path, dtype="float32")
    phones, start = [], 0.0
    for item in listing.split():
        name, end = item.rsplit(":", 1)
        phones.append(({"pau": "SIL", "ax": "AH"}.get(name, name.upper()), start, float(end)))
        start = float(end)
    return to_rate(sound, rate), phones


def make_clip(engine: str, voice: str, sentences: list[str], program: str) -> tuple[np.ndarray, list[Phone]]:
    parts, phones = [], []
    for sentence in sentences:
        shift = sum(map(len, parts)) / AUDIO_RATE
        if engine == "flite":
            sound, found = read_with_flite(sentence, voice, program)
        else:
            sound, found = make_speech(sentence, voice)
        phones += [(name, start + shift, end + shift) for name, start, end in found]
        parts += [sound, np.zeros(int(GAP * AUDIO_RATE), np.float32)]
    audio = np.concatenate(parts[:-1])
    return 0.7 * audio / np.abs(audio).max(), phones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flite", default="flite", help="the flite program")
    options = parser.parse_args()
    for name, engine, voice, numbers in CLIPS:
        sentences = [HELDOUT[k] for k in numbers]
        audio, phones = make_clip(engine, voice, sentences, options.flite)
        soundfile.write(SPEECH / f"{name}.mp3", audio, AUDIO_RATE)
        data = {
            "audio": f"{name}.mp3",
            "text": " ".join(sentences),
            "voice": f"{engine} {voice}",
            "phones": [[phone, round(start, 3), round(end, 3)] for phone, start, end in phones],
        }
        (SPEECH / f"{name}.json").write_text(json.dumps(data) + "\n")
        print(f"{name}: {len(audio) / AUDIO_RATE:.1f} s, {engine} {voice}")


if __name__ == "__main__":
    main()
