"""A visitor's photograph before a run: the part of it that is used, and a picture of what in it will move."""

from __future__ import annotations

import html
import json
from contextlib import suppress
from importlib.resources import files
from threading import Thread

import gradio as gr
import numpy as np
import torch
from PIL import Image, ImageDraw

from iasa.avatar.mesh import OVAL
from iasa.avatar.moving_parts import Parts
from iasa.avatar.photo import load_solutions
from iasa.avatar.photograph import ELBOWS, HANDS, SHOULDERS, WRISTS, Photograph
from iasa.config import InputError
from iasa.demo.service import language_of, new_output
from iasa.demo.speaker_choice import PHOTO, PUPPET, Crop, is_restored, take_speaker
from iasa.demo.translations import to_sentence, translate
from iasa.inference.conditioning import make_warp
from iasa.media.reader import read_image

SHOWN_SIDE = 640  # pixels of the picture that the handles lie on
MOVES, STILL = (20, 184, 166), (245, 158, 11)  # outlines, told apart by being dashed too
DASH = 9  # pixels
FINGERS = [[0, *range(first, first + 4)] for first in (1, 5, 9, 13, 17)]  # points of a hand

FRAME_SCRIPT = (files("iasa.demo") / "photo_frame.js").read_text(encoding="utf-8")
FRAME = """<div class="frame" hidden><img alt=""><div class="box" tabindex="0" role="group">
<i data-at="0 1"></i><i data-at="2 1"></i><i data-at="0 3"></i><i data-at="2 3"></i></div></div>"""
SHOWN = """${value ? '<img alt="" src="gradio_api/file=' + encodeURI(value) + '">' : ""}"""
SHOWN_STYLE = "img { display: block; max-width: 100%; max-height: 320px; margin: 0 auto; border-radius: 4px; }"
FRAME_STYLE = """
.frame { position: relative; width: fit-content; margin: 0 auto; overflow: hidden; touch-action: none; }
.frame[hidden] { display: none; }
.frame img { display: block; max-width: 100%; max-height: 320px; margin: 0; user-select: none; pointer-events: none; }
.box { position: absolute; cursor: move; box-shadow: 0 0 0 2000px rgb(0 0 0 / 55%); outline: 2px solid white; }
.box { outline-offset: -2px; }
.box:focus-visible { outline: 3px solid var(--color-accent); }
.box i { position: absolute; width: 32px; height: 32px; cursor: nwse-resize; }
.box i::after { content: ""; position: absolute; inset: 0 16px 16px 0; background: white; border: 2px solid #334155; }
.box i:is([data-at="2 1"], [data-at="0 3"]) { cursor: nesw-resize; }
.box i[data-at^="2"]::after { left: 16px; right: 0; }
.box i[data-at$="3"]::after { top: 16px; bottom: 0; }
"""


def offer_crop(photo: str | None, crop: str | None = None, request: gr.Request | None = None) -> str:
    """The message for the handles: the picture they lie on, and the box, which is the whole picture unless a restored run
    has brought its own."""
    if photo is None:
        return json.dumps({"picture": None, "box": None})
    kept = Crop.read(crop) if is_restored(crop) else Crop()
    try:
        picture = Image.fromarray(read_image(photo))
    except InputError:
        return json.dumps({"picture": None, "box": None})
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    file = new_output(".jpg", "photo")
    picture.save(file, quality=85)
    label = translate(
        "The part of the photo that is used: arrow keys move it, plus and minus change its size", language_of(request)
    )
    return json.dumps({"picture": str(file), "label": label, "box": kept.box})


def look_at_photo(
    kind: str, photo: str | None, crop: str | None = None, request: gr.Request | None = None
) -> tuple[str, str]:
    """What will move, before Generate: a picture's file, the frame with outlines, and a sentence for each part; or why the
    photograph cannot be used."""
    language = language_of(request)
    if kind not in (PHOTO, PUPPET):
        return "", ""
    if photo is None:
        Thread(target=load_ahead, name="detectors", daemon=True).start()  # while the visitor looks for a picture
        return "", ""
    try:
        reference = take_speaker(kind, photo, crop=Crop.read(crop))
    except (InputError, ImportError) as error:
        said = to_sentence(error.args[0] if error.args else str(error), language)
        return "", "⚠️ " + html.escape(said, quote=False)
    if reference.photo is None or reference.parts is None:
        return keep_picture(reference.image), ""
    Thread(
        target=make_warp, args=(reference, torch.device("cpu")), name="layers", daemon=True
    ).start()  # for the first run
    said = [to_sentence(one, language) for one in (*reference.describe()[:-1], *reference.parts.sentences)]
    drawn = draw_parts(reference.photo, reference.parts)
    return keep_picture(drawn), "\n".join(f"- {sentence}" for sentence in said)


def load_ahead() -> None:
    """Import mediapipe, which takes most of the first look's time; where it is missing that look says so."""
    with suppress(InputError):
        load_solutions()


def keep_picture(picture: np.ndarray) -> str:  # uint8 [H, W, 3]
    """A file that the page shows."""
    file = new_output(".jpg", "still")
    Image.fromarray(picture).save(file, quality=90)
    return str(file)


def draw_parts(photo: Photograph, parts: Parts) -> np.ndarray:  # uint8 [SIDE, SIDE, 3]
    """The frame with outlines of face, shoulders, arms and hands: lines where they move, dashes where they keep still."""
    picture = Image.fromarray(photo.image)
    pen, size = ImageDraw.Draw(picture), len(photo.image)
    _outline(pen, photo.face[[*OVAL, OVAL[0]], :2] * size, True)
    if photo.seen[[*SHOULDERS]].all():
        _outline(pen, photo.xy[[*SHOULDERS]] * size, True)
    for side, moves in enumerate(parts.moving):
        arm = [point for point in (SHOULDERS[side], ELBOWS[side], WRISTS[side]) if photo.seen[point]]
        if len(arm) > 1:
            _outline(pen, photo.xy[arm] * size, moves)
        if photo.seen[HANDS[side]].all():
            for finger in FINGERS:
                _outline(pen, photo.xy[HANDS[side]][finger] * size, moves)
    return np.asarray(picture)


def _outline(pen: ImageDraw.ImageDraw, points: np.ndarray, moves: bool) -> None:  # [n, 2] pixels
    """One line through the points, dark under light, so that it shows on every ground."""
    for start, end in zip(points[:-1], points[1:], strict=True):
        count = 1 if moves else max(1, round(float(np.linalg.norm(end - start)) / DASH / 2))
        for dash in range(count):
            ends = [start + (end - start) * (dash + part) / count for part in (0.0, 1.0 if moves else 0.5)]
            line = [tuple(map(float, point)) for point in ends]
            pen.line(line, fill=(15, 23, 42), width=5)
            pen.line(line, fill=MOVES if moves else STILL, width=3)
