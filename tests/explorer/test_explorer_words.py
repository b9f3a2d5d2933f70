"""The explorer's texts in English and German: complete, used, and with the same values in them."""

from __future__ import annotations

import json
import re

from iasa.explorer.constants import drawing, mask_rule
from iasa.paths import PACKAGE

FOLDER = PACKAGE / "explorer"
KEY_NAMES = {"End", "Esc", "Escape", "Home"}  # of a keyboard, as browsers call them
STRING = r'"((?:[^"\\]|\\.)*)"'


def german() -> dict[str, str]:
    return json.loads((FOLDER / "german.json").read_text(encoding="utf-8"))


def scripts() -> str:
    texts = [path.read_text(encoding="utf-8") for path in sorted((FOLDER / "js").glob("*.js"))]
    return re.sub(r"^import .*?;$", "", "".join(texts), flags=re.MULTILINE | re.DOTALL)


def static_texts() -> set[str]:
    """What the template itself says."""
    body = (FOLDER / "template.html").read_text(encoding="utf-8").partition("<body>")[2]
    shown = re.findall(r">([A-Z][^<>{}]+)</(?:h2|p|button)>", body)
    return {*shown, *re.findall(r'(?:aria-label|title)="([^"{]+)"', body)} - {"PNG", "JSON"}


def said() -> set[str]:
    """Every text that a reader may meet: what `say` is given, and whatever else is written like a text."""
    script = scripts()
    given = set(re.findall(rf"\bsay\(\s*{STRING}", script))
    written = {text for text in re.findall(STRING, script) if re.match(r"[A-Z][a-z]+|In \{", text)} - KEY_NAMES
    names = {handle["name"] for handle in drawing()["handles"]} | set(mask_rule()["regions"])
    return given | written | names | static_texts()


def test_every_text_has_its_german():
    texts = said()
    assert len(texts) > 150
    assert not texts - set(german())


def test_no_german_is_left_over():
    source = scripts() + (FOLDER / "page.py").read_text(encoding="utf-8")
    assert not [text for text in german() if text not in source and text not in said()]


def test_both_languages_hold_the_same_values_and_begin_alike():
    for english, text in german().items():
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", text)), english
        assert text[0].isupper() or not english[0].isupper() or text[0] == "{", english
        assert english.endswith(".") == text.endswith("."), english
