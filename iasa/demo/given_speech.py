"""The speech of a run: a text that a synthetic voice reads, the sound of any file, and how long the run will take."""

from __future__ import annotations

import html
import json
import wave
from typing import NamedTuple

import gradio as gr

from iasa.config import AUDIO_RATE, LAYERS, MODELS, VIDEO_FPS, InputError, Sentence, check_steps
from iasa.demo.measured import measured_fps
from iasa.demo.service import (
    language_of,
    new_output,
    plain_errors,
    read_recording,
    read_speech,
    run_name,
    take_turn,
)
from iasa.demo.speaker_choice import EXAMPLE, PHOTO
from iasa.demo.translations import to_sentence, translate
from iasa.speech.language import LANGUAGES, detect_language

MAX_TEXT = 300  # letters of typed speech
USUAL_START = 2.0  # seconds until the first frames, where no run has told
PLACE_IN_LINE = ("Place {place} of {all} in the line", ", about {seconds} s")  # the page knows the numbers


class Pace(NamedTuple):
    """How a run went: seconds until its first frames, in which it also loads what it needs, and frames a second after them."""

    start: float
    fps: float


AUTO = "auto"  # the layers of photos, drawn speakers by the student
REMEMBERED: dict[tuple[bool, str, int], Pace] = {}  # this machine's last runs: of a photograph or not, model and steps


def read_text(text: str, language: str = "auto", request: gr.Request | None = None) -> str:
    """A synthetic voice of the text's language, or of a chosen one, reads it into a sound file."""
    from iasa.training.speech_data.synthesis import VOICES, make_speech

    with plain_errors(request):
        spoken = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        if not any(letter.isalpha() for letter in spoken) or len(spoken) > MAX_TEXT:
            raise InputError(
                "the text has {count} letters; some words, up to {most} letters, are needed",
                count=len(spoken),
                most=MAX_TEXT,
            )
        spoken_in = detect_language(spoken) if language == "auto" else language
        if spoken_in not in VOICES:
            known = ", ".join(LANGUAGES[code] for code in VOICES)
            raise InputError(
                "no voice here reads {language}; accepted: {known}",
                language=Sentence(LANGUAGES.get(spoken_in or "", "this script")),
                known=known,
            )
        sound, _ = make_speech(spoken, VOICES[spoken_in])
    path = new_output(".wav", "typed")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, AUDIO_RATE, 0, "NONE", ""))
        file.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return str(path)


def read_what_is_typed(
    text: str, language: str, read_last: str = "", request: gr.Request | None = None
) -> tuple[str | dict, str]:
    """A text that has not been read yet becomes the speech: (speech, the text that was read last)."""
    if not (text or "").strip() or text == read_last:
        return gr.skip(), read_last
    return read_text(text, language, request), text


def begin_run(
    text: str = "", language: str = "auto", read_last: str = "", request: gr.Request | None = None
) -> tuple[str | dict, str, int, str]:
    """When Generate is pressed: the speech, if a text has not been read yet, that text, the run's turn, and for the player
    how the page says its place in the line."""
    turn = take_turn(request)
    waiting = "|".join(translate(part, language_of(request)) for part in PLACE_IN_LINE)
    message = json.dumps({"name": run_name(turn), "waiting": waiting})
    return (*read_what_is_typed(text, language, read_last, request), turn, message)


def take_sound(path: str | None, request: gr.Request | None = None) -> str | dict:
    """The sound of any file that can be read, a video's too, as the speech."""
    if path is None:
        return gr.skip()
    with plain_errors(request):
        read_recording(path)
    return path


def check_model(kind: str, model: str, steps: float | None) -> tuple[str, int]:
    """Who paints a speaker of this kind, and in how many steps. Raises InputError."""
    if model == AUTO:
        model = LAYERS if kind == PHOTO else MODELS[0]
    if kind == PHOTO and model == "teacher":
        raise InputError("the teacher paints drawn speakers; for a photo choose the student or the layers")
    return model, check_steps(model, None if steps is None or model == LAYERS else int(steps))


def remember_pace(photo: bool, model: str, steps: int, first: tuple[int, float], frames: int, elapsed: float) -> None:
    """Of a run whose `first` frames were there after so many seconds, and all `frames` after `elapsed`. One that made all of
    them at once tells no pace."""
    count, start = first
    if frames > count and elapsed > start:
        REMEMBERED[photo, model, steps] = Pace(start, (frames - count) / (elapsed - start))


def estimate(
    audio: str | None, model: str, steps: float, kind: str = EXAMPLE, request: gr.Request | None = None
) -> str:
    """How long the run will take, before it; or why this speech cannot be used."""
    if audio is None:
        return ""
    language = language_of(request)
    try:
        seconds = len(read_speech(audio)) / AUDIO_RATE
        model, steps = check_model(kind, model, steps)
    except InputError as error:
        return "⚠️ " + html.escape(to_sentence(error.args[0], language), quote=False)
    pace, where = REMEMBERED.get((kind == PHOTO, model, steps)), Sentence("by the last run here")
    if pace is None and kind != PHOTO and (fps := measured_fps(model, steps)):
        pace = Pace(USUAL_START, fps)
        where = Sentence("by the machine of the table in Learn; the first run also loads the networks")
    if pace is None:
        return translate("{seconds:.1f} s of speech.", language, seconds=seconds)
    return translate(
        "{seconds:.1f} s of speech: about {work:.0f} s of work ({where}).",
        language,
        seconds=seconds,
        work=pace.start + seconds * VIDEO_FPS / pace.fps,
        where=where,
    )
