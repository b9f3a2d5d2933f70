"""Who speaks, on the page: an example speaker, one drawn from a number, or a photograph and what stands behind its person."""

from __future__ import annotations

import json
import random
from typing import Any

import gradio as gr

from iasa.avatar.example_people import is_example, people_names
from iasa.avatar.speaker import draw_speaker, speaker_names
from iasa.demo.events import QUIET, hand_over_unopened
from iasa.demo.photo_frame import (
    FRAME,
    FRAME_SCRIPT,
    FRAME_STYLE,
    SHOWN,
    SHOWN_STYLE,
    keep_picture,
    look_at_photo,
    offer_crop,
)
from iasa.demo.service import plain_errors
from iasa.demo.speaker_choice import (
    BACKDROPS,
    COLOR,
    DRAWN,
    EXAMPLE,
    MAX_SEED,
    OWN,
    PHOTO,
    PICTURE,
    PUPPET,
    Crop,
    check_seed,
)
from iasa.demo.words import words
from iasa.paths import PEOPLE, SPEAKERS


def choose_speaker_controls() -> tuple[list[Any], list[Any], list[gr.HTML]]:
    """Who speaks (kind, example, number, photo, consent), what is behind a photo's person with the part of it that is used
    (kind, color, picture, crop), and pictures of who is chosen; only what the choice needs is shown."""
    names = speaker_names()
    kinds = [
        (words("Example speaker"), EXAMPLE), (words("Drawn from a number"), DRAWN),
        (words("My photo"), PHOTO), (words("Puppet of my photo"), PUPPET),
    ]  # fmt: skip
    kind = gr.Radio(kinds, value=EXAMPLE if names else DRAWN, label=words("Speaker"))
    with gr.Column(visible=bool(names)) as examples:
        gallery = gr.Gallery(
            [(str(SPEAKERS / f"{name}.png"), name) for name in names], columns=3, elem_id="speakers",
            object_fit="cover", allow_preview=False, interactive=False, show_label=False, buttons=[],
            selected_index=0 if names else None,
        )  # fmt: skip
        example = gr.Radio(names, value=names[0] if names else None, label=words("Click on a picture, or on a name"))
    with gr.Column(visible=not names) as drawn:
        number, portrait = drawn_controls(kind)
    with gr.Column(visible=False) as photographed:
        photo = hand_over_unopened(
            gr.Image(
                sources=["upload", "webcam"],
                type="filepath",
                label=words("A picture of one person, from the front"),
                height=240,
                elem_id="photo",
            )
        )
        example_people(photo)
        crop, seen, said = frame_controls()
        consent = gr.Checkbox(
            label=words("This is me, or the person in the picture agreed to this use"), elem_id="consent"
        )
    with gr.Column(visible=False) as surrounded:
        behind = backdrop_controls()
    photo.change(ask_consent, photo, consent, **QUIET)
    look: dict[str, Any] = {"concurrency_id": "look", "api_visibility": "private", "show_progress_on": seen}
    offered = photo.change(offer_crop, [photo, crop], crop, show_progress="hidden", **QUIET)
    for changed in (offered.then, crop.release, kind.change):
        changed(look_at_photo, [kind, photo, crop], [seen, said], trigger_mode="always_last", **look)
    columns, shown_for = [examples, drawn, photographed, surrounded], ((EXAMPLE,), (DRAWN,), (PHOTO, PUPPET), (PHOTO,))
    kind.change(lambda kind: [gr.update(visible=kind in kinds) for kinds in shown_for], kind, columns, **QUIET)
    gallery.select(pick_example, None, example, **QUIET)
    example.change(show_example, example, gallery, **QUIET)
    return [kind, example, number, photo, consent], [*behind, crop], [seen, portrait]


def example_people(photo: gr.Image) -> None:
    """Pictures to try it with, a click each."""
    names = people_names()
    if names:
        people = gr.Gallery(
            [(str(PEOPLE / f"{name}.jpg"), name) for name in names], columns=4, elem_id="people", height="auto",
            object_fit="cover", allow_preview=False, interactive=False, buttons=[],
            label=words("Or one of these: rendered, not real people"),
        )  # fmt: skip
        people.select(pick_person, None, photo, **QUIET)


def drawn_controls(kind: gr.Radio) -> tuple[gr.Number, gr.HTML]:
    """The seed of a drawn person, who is shown; the die throws another one."""
    with gr.Row(equal_height=True, elem_id="drawn"):
        number = gr.Number(7, label=words("Seed: each gives a new person"), precision=0, minimum=0, maximum=MAX_SEED)
        die = gr.Button(words("Draw another person"), size="sm", min_width=90, elem_id="die")
    portrait = shown_picture("portrait")
    die.click(throw_die, None, number, **QUIET)
    for changed in (kind.change, number.change):
        changed(
            draw_portrait, [kind, number], portrait, concurrency_id="look", trigger_mode="always_last",
            api_visibility="private", show_progress="hidden",
        )  # fmt: skip
    return number, portrait


def frame_controls() -> tuple[gr.HTML, gr.HTML, gr.Markdown]:
    """Handles on the photograph, the frame with what will move, and that in words."""
    with gr.Row(elem_id="framing"):
        crop = gr.HTML(
            json.dumps({"box": Crop().box}), label="Crop", show_label=False, html_template=FRAME, css_template=FRAME_STYLE,
            js_on_load=FRAME_SCRIPT, elem_id="crop", min_height=0,
        )  # fmt: skip
        seen = shown_picture("seen")
    return crop, seen, gr.Markdown(elem_id="said")


def shown_picture(name: str) -> gr.HTML:
    """A picture by its file: gradio's own is a button without a name."""
    return gr.HTML("", show_label=False, html_template=SHOWN, css_template=SHOWN_STYLE, elem_id=name)


def throw_die() -> int:
    return random.randrange(MAX_SEED + 1)


def draw_portrait(kind: str, number: float | None, request: gr.Request | None = None) -> str:
    """The picture's file of the drawn person of a seed."""
    if kind != DRAWN:
        return ""
    with plain_errors(request):
        return keep_picture(draw_speaker(check_seed(number)).image)


def backdrop_controls() -> list[Any]:
    labels = (
        words("Its own room"), words("The whole photo, in its own shape"), words("A color"), words("Another picture"),
        words("Nothing: transparent (WebM)"),
    )  # fmt: skip
    choices = list(zip(labels, BACKDROPS, strict=True))
    backdrop = gr.Radio(choices, value=OWN, label=words("Behind the person"), elem_id="backdrop")
    color = gr.ColorPicker("#3d6b8e", label=words("Color"), visible=False)
    picture = gr.Image(sources=["upload"], type="filepath", label=words("The picture behind the person"), visible=False)
    backdrop.change(
        lambda kind: [gr.update(visible=kind == COLOR), gr.update(visible=kind == PICTURE)], backdrop,
        [color, picture], **QUIET,
    )  # fmt: skip
    return [backdrop, color, hand_over_unopened(picture)]


def pick_example(event: gr.SelectData) -> str:
    return speaker_names()[event.index]


def pick_person(event: gr.SelectData) -> str:
    return str(PEOPLE / f"{people_names()[event.index]}.jpg")


def ask_consent(photo: str | None) -> dict:
    """Consent is given for one picture; a rendered one needs none."""
    return gr.update(value=False, visible=not is_example(photo))


def show_example(name: str) -> dict:
    return gr.update(selected_index=speaker_names().index(name))
