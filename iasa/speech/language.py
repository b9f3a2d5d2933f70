"""The language of a short text, by its script and its commonest words: enough to choose the voice that reads it."""

from __future__ import annotations

import unicodedata
from collections import Counter

# ISO 639-1 code of each language that can be told apart here, with its name.
LANGUAGES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese",
    "nl": "Dutch", "pl": "Polish", "sv": "Swedish", "tr": "Turkish", "ru": "Russian", "uk": "Ukrainian",
    "el": "Greek", "ar": "Arabic", "he": "Hebrew", "hi": "Hindi", "zh": "Chinese", "ja": "Japanese", "ko": "Korean",
}  # fmt: skip

# Beginnings of Unicode's names of letters -> language; of languages that share a script the commonest.
_SCRIPTS = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CJK": "zh", "CYRILLIC": "ru", "GREEK": "el", "ARABIC": "ar",
    "HEBREW": "he", "DEVANAGARI": "hi", "LATIN": "latin",
}  # fmt: skip
_UKRAINIAN = set("ієїґ")
_WORDS = {
    "en": "the and of to is in that it you for with this are was have not what we be good hello my your i",
    "de": "der die das und ist nicht ich ein eine zu mit den von es wir sie auf für guten hallo wie mein dem",
    "fr": "le la les et est de un une des je vous nous pas que pour dans avec bonjour ce qui mon votre du",
    "es": "el la los las y es de un una que no por para con en hola buenos mi su se está como muy del",
    "it": "il lo la gli e è di un una che non per con sono ciao buon buongiorno mi questo della come più",
    "pt": "o a os as e é de um uma que não por para com em olá bom meu seu está como você muito do da",
    "nl": "de het een en is van niet ik je wij met voor dat goede hallo op te zijn mijn deze aan ook",
    "pl": "i w na nie to jest się że do z dzień dobry cześć jak mój dla co ale tak czy po jestem",
    "sv": "och att det är en ett inte jag på som för med hej god mitt den vi har av till var",
    "tr": "ve bir bu da de için ile ne merhaba günaydın ben çok var değil gibi daha iyi olarak",
}
_LETTERS = {
    "de": "äöüß", "fr": "àâçèêëîïôùûœ", "es": "ñ¿¡áíóú", "it": "àèìòù", "pt": "ãõçâê", "pl": "ąćęłńśźż", "sv": "åäö",
    "tr": "ğışçöü",
}  # fmt: skip


def detect_language(text: str) -> str | None:
    """The code of the language, one of LANGUAGES; None for a script that is not known or a text without letters."""
    letters = [letter for letter in text.lower() if letter.isalpha()]
    scripts = Counter(_script_of(letter) for letter in letters)
    if not scripts:
        return None
    if scripts["ja"]:
        return "ja"  # written in Chinese characters too, but kana tells
    script = scripts.most_common(1)[0][0]
    if script == "ru" and _UKRAINIAN & set(letters):
        return "uk"
    return _latin_language(text.lower()) if script == "latin" else script


def _script_of(letter: str) -> str | None:
    name = unicodedata.name(letter, "")
    return next((language for start, language in _SCRIPTS.items() if name.startswith(start)), None)


def _latin_language(text: str) -> str:
    """By common words, and half as much by letters of its own; English where nothing tells."""
    words = "".join(c if c.isalpha() else " " for c in text).split()
    scores = {
        code: sum(word in known.split() for word in words) + 0.5 * sum(c in _LETTERS.get(code, "") for c in text)
        for code, known in _WORDS.items()
    }
    best = max(scores, key=lambda code: (scores[code], code == "en"))
    return best if scores[best] else "en"
