"""What can be done with the clip made last: taken along as a file, explored, compared; and the clips that were made before."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from iasa.avatar.speaker import speaker_names
from iasa.config import InputError
from iasa.demo.service import SessionClip, language_of, plain_errors
from iasa.demo.speaker_choice import EXAMPLE, PHOTO
from iasa.demo.translations import translate
from iasa.files import atomic_write
from iasa.media.reader import read_metadata, read_sound, read_video
from iasa.media.writer import WITH_SOUND, VideoWriter
from iasa.paths import EXAMPLES, PEOPLE, SPEAKERS, SPEECH

FORMATS = (".mp4", ".webm", ".gif")
POSES, SETTINGS = ".npz", ".json"


def hand_out(suffix: str, made: SessionClip | None, request: gr.Request | None = None) -> str:
    """The file of the clip made last that has this ending: its video in one of FORMATS, its POSES, or its SETTINGS."""
    with plain_errors(request):
        video = check_kept(made)
        if suffix == POSES and made is not None:
            return made.poses_file
        if suffix == video.suffix:
            return str(video)
        if video.suffix == ".webm" and suffix == ".mp4":
            raise InputError("an mp4 cannot be transparent; take the WebM")
        target = video.with_suffix(suffix)  # beside it, and kept as long
        if not target.exists():
            if suffix == SETTINGS:
                with atomic_write(target) as partial:
                    partial.write_text(json.dumps(read_metadata(video), indent=1) + "\n", encoding="utf-8")
            else:
                convert(video, target)
        return str(target)


def check_kept(made: SessionClip | None) -> Path:
    """The clip's video. Raises InputError where there is none, or no longer."""
    if made is None:
        raise InputError("there is no clip yet; generate one first")
    if not Path(made.video).exists():
        raise InputError("the video made last is no longer kept; make another one")
    return Path(made.video)


def convert(video: Path, target: Path) -> None:
    """The same frames and sound, and what the file says of itself, in another format."""
    frames, fps = read_video(video)
    sound = read_sound(video) if target.suffix in WITH_SOUND else None
    with VideoWriter(target, fps, sound, metadata=read_metadata(video)) as writer:
        writer.add_frames(frames)


def to_comparison(made: SessionClip | None, request: gr.Request | None = None) -> tuple[str, str, int]:
    """The clip's speech, speaker and seed, for the Compare tab."""
    with plain_errors(request):
        video = check_kept(made)
        name = made.reference.name if made else ""
        if name not in speaker_names():
            raise InputError("only example speakers are compared: {names}", names=", ".join(speaker_names()))
        if made is None or not Path(made.speech).exists():
            raise InputError("the speech is no longer kept; give it again")
        return made.speech, name, int(read_metadata(video)["seed"])


def made_before() -> list[str]:
    """Names of the stored videos, SPEAKER_SPEECH."""
    return sorted(path.stem for path in (EXAMPLES / "results").glob("*.mp4"))


def play_stored(name: str, request: gr.Request | None = None) -> tuple[str, str, str, str | dict, str | dict, int]:
    """A stored video for the player, and what makes it anew: the speech, the kind of speaker, its name or its photograph,
    the seed."""
    video = EXAMPLES / "results" / f"{name}.mp4"
    speaker, speech = name.split("_")
    note = translate("Ready-made; Generate makes it anew on this machine", language_of(request))
    message = {"name": f"stored-{name}", "note": note, "ended": True, "file": str(video)}
    seed = int(read_metadata(video).get("seed", 0))
    if speaker in speaker_names():
        kind, example, photo = EXAMPLE, speaker, gr.skip()
    else:
        kind, example, photo = PHOTO, gr.skip(), str(PEOPLE / f"{speaker}.jpg")
    return json.dumps(message), str(SPEECH / f"{speech}.mp3"), kind, example, photo, seed


def show_still(name: str | None, kind: str = EXAMPLE) -> str | dict:
    """The example speaker for the player, which shows it where nothing else is shown."""
    path = SPEAKERS / f"{name}.png"
    return json.dumps({"still": str(path)}) if kind == EXAMPLE and name in speaker_names() else gr.skip()


def show_picture(file: str | None) -> str | dict:
    """A photograph or a drawn person for the player, as `show_still`."""
    return json.dumps({"still": file}) if file else gr.skip()
