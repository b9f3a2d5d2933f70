"""The demo's languages: English stands in the code, another language's words for it in the file of its name, de.json."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from iasa.config import Sentence

LANGUAGES = {"en": "English", "de": "Deutsch"}
# What the page's address may call the language: ours, which comes first, and gradio's.
ADDRESS_NAMES = ("lang", "__lang")


@functools.cache
def catalogue(language: str) -> dict[str, str]:
    """English templates, and what they are in the language; empty for English."""
    file = Path(__file__).parent / f"{language}.json"
    return json.loads(file.read_text(encoding="utf-8")) if language != "en" else {}


def translate(template: str, language: str, **values: Any) -> str:
    """The template in the language, or in English where the catalogue lacks it, with its values; those that are a `Sentence`
    are translated as well. A `Sentence` brings its own."""
    if isinstance(template, Sentence):
        template, values = template.template, template.values
    text = catalogue(language).get(template, template)
    said = {
        name: translate(value, language) if isinstance(value, Sentence) else value for name, value in values.items()
    }
    return text.format(**said) if said else text


def to_sentence(template: str, language: str, **values: Any) -> str:
    """`translate`, beginning with a capital; a file's name at the beginning stays as it is."""
    text = translate(template, language, **values)
    return text[0].upper() + text[1:] if re.match(r"[^\W\d_]+[ ,;]", text) else text
