"""Who speaks, on the page: an example speaker, one drawn from a number, or a photograph and what stands behind its person."""

from __future__ import annotations

from typing import Any

import gradio as gr

from iasa.avatar.speaker import speaker_names
from iasa.demo.events import QUIET, hand_over_unopened
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
)
from iasa.demo.words import words
from iasa.paths import SPEAKERS


def choose_speaker_controls() -> tuple[list[Any], list[Any]]:
    """Who speaks (kind, example, number, photo, consent), and what is behind a photo's person (kind, color, picture); only
    what the choice needs is shown."""
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
        number = gr.Number(7, label=words("Seed: each gives a new person"), precision=0, minimum=0, maximum=MAX_SEED)
    with gr.Column(visible=False) as photographed:
        photo = hand_over_unopened(
            gr.Image(
                sources=["upload", "webcam"], type="filepath", label=words("A picture of one person, from the front")
            )
        )
        consent = gr.Checkbox(
            label=words("This is me, or the person in the picture agreed to this use"), elem_id="consent"
        )
    with gr.Column(visible=False) as surrounded:
        behind = backdrop_controls()
    photo.change(lambda: False, None, consent, **QUIET)  # given for one picture
    columns, shown_for = [examples, drawn, photographed, surrounded], ((EXAMPLE,), (DRAWN,), (PHOTO, PUPPET), (PHOTO,))
    kind.change(lambda kind: [gr.update(visible=kind in kinds) for kinds in shown_for], kind, columns, **QUIET)
    gallery.select(pick_example, None, example, **QUIET)
    example.change(show_example, example, gallery, **QUIET)
    return [kind, example, number, photo, consent], behind


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


def show_example(name: str) -> dict:
    return gr.update(selected_index=speaker_names().index(name))
