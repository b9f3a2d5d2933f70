"""What several commands ask for in the same words, and how each is read."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from iasa.avatar.framing import FRAMINGS, NoFaceError
from iasa.config import DEVICES, IMAGE_SIZE, PHOTO_SIZE, PRECISIONS, VIDEO_FPS, InputError
from iasa.files import atomic_write, check_output, display_name
from iasa.paths import PEOPLE, SPEECH

if TYPE_CHECKING:
    import numpy as np

    from iasa.avatar.speaker import Reference
    from iasa.keypoints import Keypoints
    from iasa.media.sound import Sound

MAX_SEED = 2**32 - 1
VIDEO_OUT = "V.mp4 or V.webm, with sound; V.gif, V.webp or V.png, without; or a new folder, for PNG frames"
Options = TypeVar("Options")  # a dataclass


def seed_number(text: str) -> int:
    """The type of a seed on the command line."""
    if not text.isascii() or not text.isdigit() or int(text) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed; a whole number from 0 to {MAX_SEED} is needed")
    return int(text)


def count(text: str) -> int:
    """The type of a number of things on the command line."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of things; 1 or more is needed")
    return int(text)


def input_folder(text: str) -> Path:
    """The type of a folder that is read: one that is not there is refused before anything is loaded."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {display_name(text)}")
    return Path(text)


def weights_folder(text: str) -> str:
    """The type of --weights: a folder, or OWNER/NAME of the Hub."""
    owner, _, name = text.partition("/")
    if not (owner.strip(".") and name and "/" not in name):
        input_folder(text)
    return text


def duration(text: str) -> float:
    """The type of a time on the command line."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; a number above 0 is needed")
    return value


def add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=seed_number, default=0, help="random seed for everything (default: 0)")


def add_audio(parser: argparse.ArgumentParser) -> None:
    clips = ", ".join(sorted(path.stem for path in SPEECH.glob("*.mp3")))
    parser.add_argument(
        "--audio", required=True, help=f"speech in any usual sound or video file, or an example clip: {clips}"
    )
    parser.add_argument(
        "--track",
        type=int,
        metavar="N",
        help="which sound track, counted from 1 (default: the one that a player would choose)",
    )


def input_files(arguments: argparse.Namespace, outputs: Sequence[str] = ("out",)) -> list[str | Path]:
    """Whatever may be a path among the arguments, but for the `outputs`: no option has to be listed here to count."""
    found: list[str | Path] = []
    for name, value in vars(arguments).items():
        for given in value if isinstance(value, list | tuple) else [value]:
            if name not in outputs and isinstance(given, str | Path):
                found += [given, *str(given).split("=", 1)[1:]]  # NAME=FILE
    return found


def add_speaker(parser: argparse.ArgumentParser, photograph: bool = False) -> None:
    """Whose body it is: an example speaker, a seed's, or where a `photograph` will do, that person's."""
    speaker = parser.add_mutually_exclusive_group()
    if photograph:
        people = ", ".join(sorted(path.stem for path in PEOPLE.glob("*.jpg")))
        speaker.add_argument(
            "--reference",
            metavar="IMG",
            help=f"a photograph of a person, who speaks, or a rendered example: {people} (needs mediapipe)",
        )
    drawn = "a drawn speaker; each seed gives a new person" + (" (needs Skia)" if photograph else "")
    speaker.add_argument("--avatar", type=seed_number, metavar="N", help=drawn)
    speaker.add_argument("--speaker", metavar="NAME", help="an example speaker (default: the first one)")


def add_photograph(parser: argparse.ArgumentParser) -> None:
    """What goes with --reference."""
    group = parser.add_argument_group("of a photograph")
    group.add_argument("--framing", choices=FRAMINGS, help="which square of it becomes the frame (default: auto)")
    group.add_argument(
        "--face", type=int, metavar="N", help="who speaks, counted from the left (default: the largest face)"
    )
    group.add_argument("--size", type=int, choices=(IMAGE_SIZE, PHOTO_SIZE), help=f"pixels (default: {PHOTO_SIZE})")
    group.add_argument(
        "--background", metavar="IMG|#RRGGBB|transparent", help="what stands behind the person instead of the room"
    )
    group.add_argument(
        "--keep-frame",
        action="store_true",
        help="put what moves back into the whole picture, whose shape the video has",
    )
    group.add_argument(
        "--puppet",
        action="store_true",
        help="a drawn puppet with the picture's face: for drawings, cartoons and bodies that are not seen",
    )


def add_networks(parser: argparse._ActionsContainer) -> None:
    """Whose weights, and with which numbers; `iasa.cli.main` hands the latter on."""
    add_weights(parser)
    add_dtype(parser)


def add_weights(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--weights",
        type=weights_folder,
        metavar="FOLDER",
        help="weights of your own, from `train --export` or a run; networks that it lacks are the shipped ones. iasa/weights: "
        "photographs too by the networks that saw drawn speakers alone",
    )


def add_dtype(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--dtype",
        choices=PRECISIONS,
        help="number type of the networks (default: what IASA_DTYPE says, else auto, the fastest on this machine)",
    )


def add_device(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="what computes the networks (default: a GPU where there is one)",
    )


def read_speech(arguments: argparse.Namespace) -> tuple[np.ndarray, Sound]:
    """What the options of `add_audio` name: float32 [n], mono, 16 kHz, to listen to; and the sound as it is.

    A name that is no file is that of an example clip.
    """
    from iasa.media.sound import read_sound
    from iasa.speech import to_speech

    name = arguments.audio
    clip = SPEECH / f"{name}.mp3"
    if not (Path(name).suffix or "/" in name or clip.is_file() or Path(name).exists()):
        clips = ", ".join(sorted(path.stem for path in SPEECH.glob("*.mp3")))
        raise InputError(f"there is no file {display_name(name)}, and no such example clip: they are {clips}")
    sound = read_sound(
        clip if "/" not in name and clip.is_file() and not Path(name).exists() else name, track=arguments.track
    )
    return to_speech(sound), sound


def read_poses(path: str) -> Keypoints:
    """At least one frame of them, at the video's rate, short gaps bridged. Raises InputError."""
    from iasa.keypoints import load_keypoints
    from iasa.pose.gaps import bridge_gaps

    poses = load_keypoints(path)
    if not len(poses):
        raise InputError(f"{display_name(path)} holds no poses; at least one frame is needed")
    if abs(poses.fps - VIDEO_FPS) > 0.01:
        raise InputError(f"{display_name(path)} holds {poses.fps:g} poses a second; {VIDEO_FPS:g} are needed")
    return bridge_gaps(poses)


def read_reference(arguments: argparse.Namespace) -> Reference:
    """The picture and body that the options of `add_speaker` name."""
    from iasa.avatar.example_people import find_picture
    from iasa.avatar.speaker import (
        draw_speaker,
        load_speaker,
        photo_speaker,
        photograph_speaker,
        puppet_would_do,
    )
    from iasa.media.backdrop import read_backdrop

    if arguments.reference is not None:
        from iasa.media.reader import read_image

        if arguments.keep_frame and (arguments.background is not None or arguments.puppet):
            other = "puppet" if arguments.puppet else "background"
            raise InputError(f"--keep-frame shows the picture's own room; leave --{other} out")
        picture = read_image(find_picture(arguments.reference))
        if arguments.puppet:
            return photo_speaker(picture, "puppet")
        size = arguments.size or PHOTO_SIZE
        room = None if arguments.background is None else read_backdrop(arguments.background, size)
        try:
            return photograph_speaker(
                picture,
                framing=arguments.framing or "auto",
                face=arguments.face,
                size=size,
                room=room,
                keep_frame=arguments.keep_frame,
            )
        except NoFaceError as error:
            if puppet_would_do(picture):
                raise InputError(f"{error}; a drawing or a cartoon can be carried as a puppet: add --puppet") from error
            raise
    asked = [
        name for name in ("background", "face", "framing", "keep_frame", "puppet", "size") if getattr(arguments, name)
    ]
    if asked:
        raise InputError(f"--{asked[0].replace('_', '-')} is for a photograph; give one with --reference IMG")
    if arguments.avatar is not None:
        return draw_speaker(arguments.avatar)
    return load_speaker(arguments.speaker or first_speaker())


def first_speaker() -> str:
    from iasa.avatar.speaker import speaker_names

    names = speaker_names()
    if not names:
        raise InputError("the example speakers are not there; name another with --avatar N or --reference IMG")
    return names[0]


def plural(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def tell(arguments: argparse.Namespace, sentence: str) -> None:
    """Print the result for reading, unless --json asks for figures instead."""
    if not arguments.json:
        print(sentence, flush=True)


def gather(kind: type[Options], arguments: argparse.Namespace) -> Options:
    """The options of a part of the package, each from the argument of its name."""
    return kind(**{field.name: getattr(arguments, field.name) for field in fields(kind)})  # type: ignore[arg-type]


def check_report(arguments: argparse.Namespace, page: bool = False) -> None:
    """Raise InputError unless `write_report` can write to --out, if that is given."""
    if arguments.out:
        check_output(arguments.out, (".json",), input_files(arguments))
        if page:
            check_output(Path(arguments.out).with_suffix(".md"), (".md",), input_files(arguments))


def write_report(path: str | Path | None, report: dict, page: str = "") -> None:
    """A report as JSON at `path`, if that is given, and its `page` beside it as .md."""
    if path is None:
        return
    texts = {Path(path): json.dumps(report, indent=1)}
    if page:
        texts[Path(path).with_suffix(".md")] = page
    for place, text in texts.items():
        with atomic_write(place) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
