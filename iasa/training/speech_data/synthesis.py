"""Synthetic speech with exact phone times by eSpeak NG (espeakng-loader, GPL; only where data are made)."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from functools import lru_cache

import numpy as np

from iasa.speech import Phone, to_rate

SYNCHRONOUS, PHONEME_EVENTS, IPA_EVENTS, NO_EXIT = 2, 1, 2, 0x8000
EVENT_END, EVENT_PHONEME = 0, 7
RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER
UTF8 = 1
MAIN_STRESS = "ˈ"

# Longest names first; every other sign of IPA is a stress, a length or a join.
IPA_TO_ARPABET = {
    "aɪ": "AY", "eɪ": "EY", "ɔɪ": "OY", "aʊ": "AW", "oʊ": "OW", "əʊ": "OW", "tʃ": "CH", "dʒ": "JH",
    "ɑ": "AA", "a": "AA", "ɒ": "AO", "æ": "AE", "ʌ": "AH", "ə": "AH", "ɐ": "AH", "ɛ": "EH",
    "e": "EH", "ɜ": "ER", "ɚ": "ER", "ɝ": "ER", "ɪ": "IH", "ᵻ": "IH", "i": "IY", "ɔ": "AO",
    "o": "OW", "ʊ": "UH", "u": "UW", "b": "B", "m": "M", "p": "P", "f": "F", "v": "V", "θ": "TH",
    "ð": "DH", "t": "T", "d": "D", "n": "N", "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "k": "K",
    "ɡ": "G", "g": "G", "ŋ": "NG", "l": "L", "ɫ": "L", "ɹ": "R", "r": "R", "w": "W", "ʍ": "W",
    "j": "Y", "h": "HH", "ɾ": "D", "x": "K", "ʔ": "SIL", "y": "UW", "ø": "UW", "œ": "ER", "ʁ": "HH", "ç": "HH",
    "ɲ": "N", "ʎ": "L", "β": "V", "ɣ": "G", "ɥ": "W", "ɨ": "IH", "ɯ": "UH", "ɕ": "SH", "ʂ": "SH", "ɤ": "UH",
}  # fmt: skip


# eSpeak NG's voice of each language (ISO 639-1); Japanese it can only spell in kana, which is worse than no voice.
VOICES = {
    "en": "en-us", "de": "de", "fr": "fr", "es": "es", "it": "it", "pt": "pt", "nl": "nl", "pl": "pl", "sv": "sv",
    "tr": "tr", "ru": "ru", "uk": "uk", "el": "el", "ar": "ar", "he": "he", "hi": "hi", "zh": "cmn", "ko": "ko",
}  # fmt: skip


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _Id),
    ]  # fmt: skip


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def available() -> bool:
    return importlib.util.find_spec("espeakng_loader") is not None


def to_arpabet(ipa: str) -> str:
    """The ARPAbet name of one phone in IPA ('SIL' for a pause or an unknown sign)."""
    for start in range(len(ipa)):
        for size in (2, 1):
            name = IPA_TO_ARPABET.get(ipa[start : start + size])
            if name:
                return name
    return "SIL"


class _Synthesiser:
    """The library is one global machine: this holds it with the buffers that its callback fills."""

    def __init__(self) -> None:
        import espeakng_loader

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        folder = os.path.dirname(espeakng_loader.get_data_path())
        self.rate = self.library.espeak_Initialize(
            SYNCHRONOUS, 200, folder.encode(), PHONEME_EVENTS | IPA_EVENTS | NO_EXIT
        )
        if self.rate <= 0:
            raise RuntimeError(f"eSpeak NG did not start (code {self.rate}) with the data in {folder}")
        self.sound: list[np.ndarray] = []
        self.events: list[tuple[float, str]] = []
        self.callback = _CALLBACK(self._receive)
        self.library.espeak_SetSynthCallback(self.callback)

    def _receive(self, samples, count: int, events) -> int:
        if samples and count > 0:
            self.sound.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type != EVENT_END:
            if events[i].type == EVENT_PHONEME:
                name = events[i].id.string.decode("utf8", "ignore")
                self.events.append((events[i].audio_position / 1000, name))
            i += 1
        return 0

    def speak(self, text: str, voice: str, rate: int, pitch: int, pitch_range: int) -> None:
        self.sound.clear()
        self.events.clear()
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {voice!r}")
        for parameter, value in ((RATE, rate), (PITCH, pitch), (RANGE, pitch_range)):
            self.library.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        self.library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 1, 0, UTF8, None, None)
        self.library.espeak_Synchronize()


@lru_cache(maxsize=1)
def _synthesiser() -> _Synthesiser:
    if not available():
        raise RuntimeError("espeakng-loader is not installed (pip install espeakng-loader); it makes training speech")
    return _Synthesiser()


def make_speech(
    text: str,
    voice: str = "en-us",
    rate: int = 165,  # words a minute
    pitch: int = 50,  # 0..99
    pitch_range: int = 55,  # 0..99
    stress: bool = False,
) -> tuple[np.ndarray, list[Phone]]:
    """`text` read aloud: mono float32 [n] at 16 kHz and its ARPAbet phones with start and end in seconds.

    With `stress` the phones of main stress are marked as ARPAbet does it: "EY1".
    """
    machine = _synthesiser()
    machine.speak(text, voice, rate, pitch, pitch_range)
    sound = np.concatenate(machine.sound).astype(np.float32) / 32768
    times = [t for t, _ in machine.events] + [len(sound) / machine.rate]
    names = [to_arpabet(name) + "1" * (stress and MAIN_STRESS in name) for _, name in machine.events]
    phones = [(name, times[i], times[i + 1]) for i, name in enumerate(names)]
    return to_rate(sound, machine.rate), [p for p in phones if p[2] > p[1]]
