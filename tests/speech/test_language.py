"""The language of a text, and a voice that reads it."""

from __future__ import annotations

import importlib.util

import pytest

from iasa.speech.language import LANGUAGES, detect_language

TEXTS = {
    "en": "Good morning, my name is Anna.", "de": "Guten Morgen, wie geht es dir?", "fr": "Bonjour, je suis très contente.",
    "es": "Hola, ¿cómo está usted?", "it": "Buongiorno, questo non è un problema.", "pt": "Olá, você não está em casa.",
    "nl": "Goede morgen, dit is niet van mij.", "pl": "Dzień dobry, jak się masz?", "sv": "Hej, jag är inte här.",
    "tr": "Merhaba, bu çok iyi.", "ru": "Доброе утро, меня зовут Анна.", "uk": "Доброго ранку, мене звати Ганна, її брат тут.",
    "el": "Καλημέρα σας", "ar": "صباح الخير", "he": "בוקר טוב", "hi": "सुप्रभात", "zh": "早上好，我叫安娜。",
    "ja": "おはようございます、東京です。", "ko": "좋은 아침입니다",
}  # fmt: skip


@pytest.mark.parametrize("code", LANGUAGES)
def test_it_is_told_by_script_and_words(code):
    assert detect_language(TEXTS[code]) == code


def test_what_cannot_be_told():
    assert detect_language("12 + 3 = 15!") is None and detect_language("") is None
    assert detect_language("ሰላም") is None  # Ethiopic
    assert detect_language("Xyzzy plugh") == "en"


@pytest.mark.skipif(not importlib.util.find_spec("espeakng_loader"), reason="the optional voice is not installed")
def test_every_voice_says_something_of_its_own():
    from iasa.training.speech_data.synthesis import VOICES, make_speech

    for code, voice in VOICES.items():
        sound, phones = make_speech(TEXTS[code], voice)
        assert 8_000 < len(sound) < 80_000, code
        assert sum(name != "SIL" for name, _, _ in phones) >= 4, code
    native, english = (make_speech(TEXTS["zh"], voice)[0] for voice in ("cmn", "en-us"))
    assert len(native) < len(english) / 2  # which says "Chinese letter" for every sign
