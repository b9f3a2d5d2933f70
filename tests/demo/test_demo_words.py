"""The demo in German: every sentence a visitor can be told has a translation, and the texts keep to their originals."""

from __future__ import annotations

import ast
import itertools
import pickle
import re
from types import SimpleNamespace

import pytest

gr = pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")

from iasa.avatar import moving_parts  # noqa: E402
from iasa.avatar.framing import NoFaceError  # noqa: E402
from iasa.config import MODELS, InputError, Sentence  # noqa: E402
from iasa.demo import given_speech, service  # noqa: E402
from iasa.demo.learn import about, about_measured, about_notebooks, about_programs, about_weights  # noqa: E402
from iasa.demo.measured import COLUMNS, quality_table, say_device  # noqa: E402
from iasa.demo.refused_files import ACCEPTED  # noqa: E402
from iasa.demo.run_settings import NEEDED  # noqa: E402
from iasa.demo.speak import to_figures  # noqa: E402
from iasa.demo.speak_tab import movement_controls, settings_controls  # noqa: E402
from iasa.demo.tabs import choose_side, list_missing  # noqa: E402
from iasa.demo.translations import catalogue, translate  # noqa: E402
from iasa.demo.words import translations  # noqa: E402
from iasa.evaluation.rows import ROWS  # noqa: E402
from iasa.inference.generation import remarks  # noqa: E402
from iasa.masks.frame_choice import CHOICES  # noqa: E402
from iasa.models.checkpoint import read_card  # noqa: E402
from iasa.paths import CHECKOUT, PEOPLE_WEIGHTS, WEIGHTS  # noqa: E402
from iasa.speech.language import LANGUAGES  # noqa: E402

# Modules, or functions of them, whose errors a visitor of the demo can meet.
REACHED = (
    "config.py", "keypoints.py", "session.py", "avatar/speaker.py", "avatar/photo.py", "avatar/framing.py",
    "avatar/photograph.py", "avatar/drawing.py", "avatar/moving_parts.py", "pose/extract.py",
    "speech/features.py", "speech/streaming.py", "explorer/page.py", "explorer/recorder.py",
    "media/container.py", "media/reader.py", "media/sound.py", "media/picture.py", "media/backdrop.py",
    "media/content_credentials.py", "masks/plan.py:check_options", "attention/patterns/pab.py:check_run",
    "attention/pattern.py:refuse", "attention/pattern.py:check_run",
    "models/checkpoint.py:load_weights", "files.py:atomic_write", "files.py:_unwritable", "media/writer.py:_unwritable",
    *(f"demo/{path.name}" for path in sorted((CHECKOUT / "iasa" / "demo").glob("*.py"))),
)  # fmt: skip
SAID = ("InputError", "NoFaceError", "Sentence", "words", "translate", "to_sentence")  # take a template first
COMPARED = ("teacher", "dense student", "sparse student")
FIELD = re.compile(r"\{\w*(?:![rsa])?(?::[^{}]*)?\}")


def templates(path: str) -> set[str]:
    """What a module, or a function of it, says to users: the literal texts that SAID's functions are called with."""
    file, _, name = path.partition(":")
    tree = ast.parse((CHECKOUT / "iasa" / file).read_text())
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
    assert functions or not name, path
    found = set()
    for node in (node for part in functions or [tree] for node in ast.walk(part)):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in SAID or not node.args:
            continue
        given = node.args[0]
        if isinstance(given, ast.JoinedStr):
            found.add(f"not a template: {ast.unparse(given)}")
        elif isinstance(given, ast.Name) and given.id in constants:
            found.add(constants[given.id])
        elif isinstance(given, ast.Constant):
            found.add(given.value)
    return found


def test_every_sentence_has_german():
    said = {path: templates(path) for path in REACHED}
    assert sum(map(len, said.values())) > 180
    known = set(catalogue("de")) | {"{name}: {reason}"}  # a file's name and the system's own words
    assert not {path: lacking for path, texts in said.items() if (lacking := texts - known)}


def test_no_german_is_left_over():
    """Each key stands in the program, letter for letter; values that are words of their own are listed by their places."""
    literals = {
        node.value
        for path in (CHECKOUT / "iasa").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    cards = [*(WEIGHTS / name for name in MODELS), PEOPLE_WEIGHTS / "autoencoder", PEOPLE_WEIGHTS / "student"]
    read = {read_card(folder)["data"] for folder in cards}
    assert not set(catalogue("de")) - literals - read - {"hand height"}


def test_sentences_keep_their_values():
    for english, german in catalogue("de").items():
        assert sorted(FIELD.findall(english)) == sorted(FIELD.findall(german)), english
        assert "{" not in FIELD.sub("", english + german)
    said = Sentence(
        "{name} lasts {seconds:.1f} s; at most {most:g} s is accepted.", name="a.wav", seconds=75, most=60.0
    )
    assert said == "a.wav lasts 75.0 s; at most 60 s is accepted." == translate(said, "en")
    assert translate(said, "de") == "a.wav dauert 75.0 s; erlaubt sind höchstens 60 s."
    assert translate(str(said), "de") == said and translate("nothing of ours", "de") == "nothing of ours"
    empty = "{name} is empty (0 bytes)"  # a name is never a place, nor a word of ours
    assert translate(Sentence(empty, name="{name}"), "de") == "{name} ist leer (0 Byte)"
    assert translate(Sentence(empty, name="left"), "de") == "left ist leer (0 Byte)"
    assert translate(Sentence("{a}; {b}", a=Sentence("left"), b="left"), "de") == "linke; left"
    assert translate("Place {place} of {all} in the line", "de") == "Platz {place} von {all} in der Reihe"
    report = dict(frames=15, fps=22.0, seconds={"motion": 0.1}, model="student", steps=1, seed=3, density=0.05)
    report |= {"flop": 2e9, "device": "cpu", "dtype": "b"}
    figures = translate(to_figures(report), "de")
    assert "Schritte: 1," in figures and "Stufen nebeneinander" in figures
    assert "15 Bilder" in figures and "Startzahl 3" in figures and "5.0%, 2.0 GFLOP · cpu b" in figures
    report.pop("flop")  # a photograph, in layers
    assert translate(to_figures(report), "de").endswith("Schritte: 1, Startzahl 3 · cpu b")
    report = {"held_seconds": 1.25, "silent_seconds": 0.5, "fitted": True, "lips_from_poses": True}
    assert all(translate(said, "de") != said for said in remarks(report)) and len(remarks(report)) == 4
    for text in (
        *service.STAGES.values(),
        *given_speech.PLACE_IN_LINE,
        *NEEDED.values(),
        *ACCEPTED.values(),
        *LANGUAGES.values(),
        *COMPARED,
    ):
        assert text in catalogue("de"), text


def test_an_error_is_an_english_sentence_everywhere():
    """As it is written it reads; another process gets it whole, with what it takes to translate it."""
    error = InputError("{name} has {channels} channels; at most {most} are accepted", name="a {b}", channels=9, most=8)
    assert str(error) == "a {b} has 9 channels; at most 8 are accepted"
    assert str(InputError("{this} is no template without values")) == "{this} is no template without values"
    for one in (error, NoFaceError("no face"), InputError(error.args[0])):
        again = pickle.loads(pickle.dumps(one))
        assert type(again) is type(one) and str(again) == str(one)
        assert translate(again.args[0], "de") == translate(one.args[0], "de")
    assert translate(error.args[0], "de") == "a {b} hat 9 Kanäle; erlaubt sind höchstens 8"


def test_what_is_missing_is_said_in_german(monkeypatch, tmp_path):
    monkeypatch.setattr(service.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(service, "WEIGHTS", tmp_path)
    said = list_missing("de")
    assert "Die Gewichte von student liegen nicht in" in said
    assert "skia ist nicht installiert: gezeichnete Sprecher und Fotos gehen nicht (pip install skia-python;" in said


def test_the_language_is_the_browsers():
    def ask(header: str | None) -> str:
        return service.language_of(SimpleNamespace(headers={} if header is None else {"accept-language": header}))

    assert ask("de-DE,de;q=0.9,en;q=0.8") == ask("DE") == "de"
    assert {ask(header) for header in ("en-US,en;q=0.9,de;q=0.8", "fr", "", None)} == {"en"}
    assert service.language_of(None) == service.language_of(SimpleNamespace(session_hash="x")) == "en"
    chosen = SimpleNamespace(headers={"accept-language": "de-DE"}, query_params={"lang": "en"})
    assert service.language_of(chosen) == "en"  # in the page's address
    german = SimpleNamespace(headers={"accept-language": "en"}, query_params={"lang": "de"})
    assert service.language_of(german) == "de"
    gradios = SimpleNamespace(headers={"accept-language": "en"}, query_params={"__lang": "de"})
    assert service.language_of(gradios) == "de"
    gradios.query_params["lang"] = "en"  # what the page's own links say comes first
    assert service.language_of(gradios) == "en"
    other = SimpleNamespace(headers={"accept-language": "de"}, query_params={"lang": "<script>"})
    assert service.language_of(other) == "de"
    with pytest.raises(gr.Error) as raised, service.plain_errors(german):
        raise InputError("{name} is empty (0 bytes)", name="<b>.wav")
    assert raised.value.message == "&lt;b&gt;.wav ist leer (0 Byte)" and raised.value.title == "Fehler"


def test_learn_in_german_follows_the_english():
    english, german = about("en"), about("de")
    for marks in (r"^#+ ", r"^\d\. ", r"^- "):
        assert len(re.findall(marks, english, re.M)) == len(re.findall(marks, german, re.M)), marks
    codes = [{" ".join(code.split()) for code in re.findall(r"`[^`]+`", text)} for text in (english, german)]
    assert codes[0] == codes[1]
    assert not set("{}<>") & set(english + german)  # gradio's translations would take them for places
    assert "ground truth" not in about_measured("de") and "Gemessen" in about_measured("de")
    for report in (about_measured("de"), about_weights("de")):
        assert not re.search(r"\bthreads?\b|\b(student|teacher|autoencoder)\b", re.sub(r"`[^`]*`", "", report)), report
    assert "**Schüler**" in about_weights("de") and "**student**" in about_weights("en")
    assert about_notebooks("de") and "MCP-Werkzeuge" in about_programs("de")


def test_what_computed_is_said_in_words():
    two = "cpu (x86_64, 2 processes of one thread, int8)"
    assert say_device(two) == two and say_device(two, "de") == "cpu (x86_64, 2 Prozesse mit je einem Kern, int8)"
    assert [say_device(f"cpu ({count} threads)") for count in (1, 2, 11)] == [
        "cpu (1 thread)",
        "cpu (2 threads)",
        "cpu (11 threads)",
    ]
    assert [say_device(f"cpu ({count} threads)", "de") for count in (1, 11)] == ["cpu (1 Kern)", "cpu (11 Kerne)"]


def test_choices_among_names_have_german():
    """What a program sends stays English; what the page shows is a word of its language."""
    with gr.Blocks() as page:
        movement_controls(), settings_controls(), choose_side("First")
    german = {
        "learned": "gelernt",
        "rules": "Regeln",
        "student": "Schüler",
        "teacher": "Lehrer",
        "layers": "Ebenen",
        "auto": "automatisch",
    }
    choices = [choice for block in page.blocks.values() if isinstance(block, gr.Radio) for choice in block.choices]
    assert {value for _, value in choices} == set(german)
    for name, value in choices:
        assert translations.translations["de"][name.key] == german[value]
    for info in ("rules: by", "auto: layers"):
        said = next(german for english, german in catalogue("de").items() if english.startswith(info))
        assert not re.search("rules|learned|student|teacher|layers|auto:", said)


def test_names_in_tables_have_german():
    """Rows and columns of the report that Learn shows, of any that it may show next, and of what the memory compares."""
    english = {name for _, name, _ in COLUMNS} - {"PSNR dB", "SSIM"} | {row.title for row in ROWS.values()} | {*CHOICES}
    table, german = (quality_table(language=language).split("\n\n")[0].splitlines() for language in ("en", "de"))
    assert "frames/s" in table[0] and "frames/s" not in german[0]
    english |= {line.split("|")[1].strip() for line in table[2:]}
    assert not english - set(catalogue("de"))


def test_what_moves_in_a_photograph_is_said_in_german():
    kinds = (moving_parts.MOVES, moving_parts.TOGETHER, moving_parts.HOLDS, moving_parts.HIDDEN, moving_parts.AT_FACE,
             moving_parts.CUT_OFF)  # fmt: skip
    english = {name for name, text in catalogue("de").items() if name != text}
    eyes = (moving_parts.NARROW, moving_parts.DRAWN)
    for *hands, lids in itertools.product(kinds, kinds, eyes):
        for sentence in moving_parts.Parts(tuple(hands), lids).sentences:
            german = translate(sentence, "de")
            assert german != sentence and not any(f" {word} " in german for word in ("hand", "left", "right", "still "))
            assert not any(f"({name})" in german for name in english)
