"""The demo in German: every sentence a visitor can be told has a translation, and the texts keep to their originals."""

from __future__ import annotations

import ast
import itertools
import re
from types import SimpleNamespace

import pytest

gr = pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")

from iasa.avatar import moving_parts  # noqa: E402
from iasa.config import InputError  # noqa: E402
from iasa.demo import given_speech, service, words  # noqa: E402
from iasa.demo.learn import about, about_measured, about_notebooks, about_programs  # noqa: E402
from iasa.demo.measured import translate_table  # noqa: E402
from iasa.demo.speak import to_figures  # noqa: E402
from iasa.demo.translations import GERMAN, translate  # noqa: E402
from iasa.paths import CHECKOUT  # noqa: E402

# Modules whose InputErrors a visitor of the demo can meet.
REACHED = (
    "config.py", "media/reader.py", "keypoints.py", "avatar/speaker.py", "session.py", "media/content_credentials.py",
    "pose/extract.py", "speech/features.py", "speech/streaming.py", "avatar/photo.py", "avatar/framing.py",
    "media/sound.py", "media/picture.py", "explorer/page.py", "explorer/recorder.py",
    *(f"demo/{path.name}" for path in sorted((CHECKOUT / "iasa" / "demo").glob("*.py"))),
)  # fmt: skip
OUTPUTS = (
    "cannot be named",
    "cannot be written",
    "cannot write",
    "no frames to write",
)  # our own files, not a visitor's


def raised_texts(path: str) -> list[str]:
    """What `raise InputError(...)` says in a module, with 7 where values stand; names of constants are looked up."""
    tree = ast.parse((CHECKOUT / "iasa" / path).read_text())
    constants = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    texts = []
    for node in ast.walk(tree):
        call = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputError" and node.args
        if not call:
            continue
        given = node.args[0]
        if isinstance(given, ast.JoinedStr):
            texts.append("".join(str(p.value) if isinstance(p, ast.Constant) else "7" for p in given.values))
        elif isinstance(given, ast.Constant):
            texts.append(given.value)
        elif isinstance(given, ast.Name) and given.id in constants:
            texts.append(constants[given.id])
        elif ast.unparse(given) != "str(error)":
            texts.append(f"unknown: {ast.unparse(given)}")
    return texts


def test_every_error_has_german():
    texts = [(path, text) for path in REACHED for text in raised_texts(path)]
    assert len(texts) > 60
    lacking = [  # "7: 7" is a file's name and the system's own words
        (path, text)
        for path, text in texts
        if translate(text, "de") == text and text != "7: 7" and not any(part in text for part in OUTPUTS)
    ]
    assert not lacking


def test_sentences_keep_their_values():
    for english, german in GERMAN.items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", german)), english
    said = "a.wav lasts 75.0 s; at most 60 s is accepted."
    assert translate(said, "de") == "a.wav dauert 75.0 s; erlaubt sind höchstens 60 s."
    assert translate(said, "en") == said and translate("nothing of ours", "de") == "nothing of ours"
    playlist = translate("x.mp4 is a playlist, not media that can be read; accepted are wav", "de")
    assert playlist == "x.mp4 ist eine Abspielliste, keine Mediendatei; erlaubt sind wav"
    assert translate("Making frames, about 12 s left", "de") == "Bilder entstehen, noch etwa 12 s"
    assert translate("x {name} is empty (0 bytes)", "de") == "x {name} ist leer (0 Byte)"  # a name is never a place
    report = dict(frames=15, fps=22.0, seconds={"motion": 0.1}, model="student", steps=1, seed=3, density=0.05)
    report |= {"flop": 2e9, "device": "cpu", "dtype": "b"}
    figures = translate(to_figures(report), "de")
    assert "Schritte: 1," in figures and "Stufen nebeneinander" in figures
    assert "15 Bilder" in figures and "Startzahl 3" in figures and "5.0%, 2.0 GFLOP · cpu b" in figures
    skia = "skia is not installed: drawn speakers and photos are off (pip install skia-python)."
    assert translate(skia, "de").startswith(
        "skia ist nicht installiert: gezeichnete Sprecher und Fotos gehen nicht (pip"
    )
    for text in (
        *service.STAGES.values(),
        *given_speech.PLACE_IN_LINE,
        "Stopped.",
        "Reading",
        "Reading the clip",
        "Finding the person",
    ):
        assert translate(text, "de") != text


def test_the_language_is_the_browsers():
    def ask(header: str | None) -> str:
        return service.language_of(SimpleNamespace(headers={} if header is None else {"accept-language": header}))

    assert ask("de-DE,de;q=0.9,en;q=0.8") == ask("DE") == "de"
    assert {ask(header) for header in ("en-US,en;q=0.9,de;q=0.8", "fr", "", None)} == {"en"}
    assert service.language_of(None) == service.language_of(SimpleNamespace(session_hash="x")) == "en"
    german = SimpleNamespace(headers={"accept-language": "de"})
    with pytest.raises(gr.Error) as raised, service.plain_errors(german):
        raise InputError("<b>.wav is empty (0 bytes)")
    assert raised.value.message == "&lt;b&gt;.wav ist leer (0 Byte)" and raised.value.title == "Fehler"


def test_learn_in_german_follows_the_english():
    english, german = about("en"), about("de")
    for marks in (r"^#+ ", r"^\d\. ", r"^- "):
        assert len(re.findall(marks, english, re.M)) == len(re.findall(marks, german, re.M)), marks
    codes = [{" ".join(code.split()) for code in re.findall(r"`[^`]+`", text)} for text in (english, german)]
    assert codes[0] == codes[1]
    assert not set("{}<>") & set(english + german)  # gradio's translations would take them for places
    assert "ground truth" not in about_measured("de") and "Gemessen" in about_measured("de")
    assert about_notebooks("de") and "MCP-Werkzeuge" in about_programs("de")
    table = "| | steps | density |\n|---|---|---|\n| teacher | 8 | 1% |\nMore."
    lines = ["|  | Schritte | Dichte |", "| --- | --- | --- |", "| Lehrer | 8 | 1% |", "More."]
    assert translate_table(table, "de").splitlines() == lines
    assert set(words.translations.translations["en"]) == set(words.translations.translations["de"])


def test_what_moves_in_a_photograph_is_said_in_german():
    kinds = (moving_parts.MOVES, moving_parts.TOGETHER, moving_parts.HOLDS, moving_parts.HIDDEN, moving_parts.AT_FACE,
             moving_parts.CUT_OFF)  # fmt: skip
    english = {name for name, text in GERMAN.items() if name != text}
    for hands in itertools.product(kinds, kinds):
        for sentence in moving_parts.Parts(hands, eyes_open=False).sentences:
            german = translate(sentence, "de")
            assert german != sentence and not any(f" {word} " in german for word in ("hand", "left", "right", "still "))
            assert not any(f"({name})" in german for name in english)
