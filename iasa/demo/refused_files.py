"""Files that an upload box refuses in the browser, said in plain words: gradio lists MIME types, in English."""

from __future__ import annotations

import json
from importlib.resources import files

from iasa.demo.translations import LANGUAGES, translate

ACCEPTED = {  # a word in gradio's list: what the box accepts
    "audio": "sound files such as mp3, wav, m4a or flac; a button under Speak also takes the sound of a video such as mp4",
    "image": "pictures such as PNG, JPEG or WebP",
    "video": "pose files (npz) and videos such as mp4, mov or webm",
}


def refused_script() -> str:
    """What rewrites gradio's messages as soon as they are there, in the page's language."""
    said = {
        language: {
            "title": translate("Error", language),
            "kind": translate("{name} cannot be used here; accepted are {kinds}", language),
            "size": translate("{name} is too large; at most {most} MB are accepted", language),
            "accepted": {word: translate(text, language) for word, text in ACCEPTED.items()},
        }
        for language in LANGUAGES
    }
    script = (files("iasa.demo") / "refused_files.js").read_text(encoding="utf-8")
    return script.replace("SAID", json.dumps(said), 1)
