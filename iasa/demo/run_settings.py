"""What a video's file says of the run that made it, and the controls set again from such a file."""

from __future__ import annotations

import html
import json
from typing import Any

import gradio as gr

from iasa.avatar.speaker import speaker_names
from iasa.config import LAYERS, MAX_STEPS, MODELS, MOTION_MODELS, InputError
from iasa.demo.motion_edits import MotionEdits
from iasa.demo.service import language_of, plain_errors
from iasa.demo.speaker_choice import (
    BACKDROPS,
    COLOR,
    DRAWN,
    EXAMPLE,
    MAX_SEED,
    OWN,
    PHOTO,
    PUPPET,
    Backdrop,
    Crop,
    to_hex,
)
from iasa.demo.translations import translate
from iasa.media.reader import read_metadata

WISHES = (("amount", 1.0), ("blink", 1.0), ("hand_height", 0.0), ("head_lock", False))
NEEDED = {
    "speech": "the speech",
    "photo": "the photo",
    "driving": "the movement",
    "backdrop": "the picture behind the person",
}


def name_settings(
    wishes: MotionEdits, audio: str, kind: str, photo: str | None, driving: str | None, backdrop: Backdrop, crop: Crop
) -> dict[str, Any]:
    """What the video's file says of the wishes, and of the files that the same run needs again."""
    files = {"speech": audio, "photo": photo, "driving": driving, "backdrop": backdrop.file if photo else None}
    return {
        "amount": wishes.amount, "blink": wishes.blink, "hand_height": wishes.hand_height, "head_lock": wishes.head_lock,
        **({"backdrop": backdrop.kind, "puppet": kind == PUPPET} if photo else {}),
        **({"color": to_hex(backdrop.color)} if photo and backdrop.kind == COLOR else {}),
        **({"crop": crop.box} if photo and not crop.is_whole else {}),
        "files": [kind for kind, path in files.items() if path],  # no names: a video is shown to others
    }  # fmt: skip


def restore_settings(video: str | None, request: gr.Request | None = None) -> tuple:
    """The settings that a video made here holds, for the controls: kind, example, number, model, steps, seed, motion,
    amount, blink, height, lock, driving (emptied), backdrop, its color, the photo's crop, and a line about what the same run
    needs besides."""
    if video is None:
        return (*(gr.skip(),) * 15, "")
    with plain_errors(request):
        given = read_metadata(video)
        model, steps, seed = given.get("model"), given.get("steps"), given.get("seed")
        layers = model == LAYERS  # no denoising steps
        if (
            model not in (*MODELS, LAYERS)
            or not (layers or isinstance(steps, int) and 1 <= steps <= MAX_STEPS[model])
            or not (isinstance(seed, int) and 0 <= seed <= MAX_SEED)
        ):
            raise InputError("the video holds no settings; one that was made here is needed")
    name = str(given.get("reference", ""))
    kind, example, number = gr.skip(), gr.skip(), gr.skip()
    if name in speaker_names():
        kind, example = EXAMPLE, name
    elif name.startswith("avatar ") and name[7:].isdigit() and int(name[7:]) <= MAX_SEED:
        kind, number = DRAWN, int(name[7:])
    elif layers or name == "photo":
        kind = PUPPET if given.get("puppet", not layers) else PHOTO  # files of version 0.1 do not say
    motion = given.get("motion") if given.get("motion") in MOTION_MODELS else gr.skip()
    known = restore_wishes(given)
    backdrop = given.get("backdrop") if given.get("backdrop") in BACKDROPS else OWN
    pick = (model, gr.skip() if layers else gr.update(maximum=MAX_STEPS[model], value=steps))
    color = to_hex(str(given["color"])) if "color" in given else gr.skip()
    missing = name_missing(given, language_of(request))
    return kind, example, number, *pick, seed, motion, *known, None, backdrop, color, restore_crop(given), missing


def restore_crop(given: dict) -> str:
    """The message for the handles; where no photograph is there yet, it is the next one's."""
    try:
        box = Crop.read(json.dumps({"box": given.get("crop")})).box
    except InputError:  # another program's
        box = Crop().box
    return json.dumps({"box": box, "restored": True})


def restore_wishes(given: dict) -> tuple:
    """Amount, blinking, height and lock, as they would be by themselves where the file does not say."""
    try:
        wishes = MotionEdits(*(given.get(name, usual) for name, usual in WISHES))
    except InputError:  # another program's, or an older one's
        wishes = MotionEdits()
    return wishes.amount, wishes.blink, wishes.hand_height, bool(wishes.head_lock)


def name_missing(given: dict, language: str) -> str:
    """A sentence about the files that the same run needs again."""
    files = given.get("files")
    files = files if isinstance(files, list | dict) else ["speech"]
    needed = [translate(called, language) for kind, called in NEEDED.items() if kind in files]
    text = translate("For the same run, give again: {what}", language, what=", ".join(needed))
    return html.escape(text, quote=False)
