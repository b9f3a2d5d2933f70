"""The command line, `iasa COMMAND`: exit status 0, or 2 and one plain sentence on stderr for bad input."""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from iasa import __version__
from iasa.config import InputError

# Each is a module iasa.cli.NAME (dashes as underscores) with add_arguments(parser) and run(arguments), which returns
# the figures of its --json line. Only the one that is asked for is imported, and it imports torch in `run` alone, so
# that a slip is answered at once.
COMMANDS = {
    "generate": "make a talking video from speech and a speaker",
    "motion": "speech to keypoints: the first stage alone",
    "pose": "the keypoints of a real video (needs mediapipe)",
    "mask": "the attention plan of a pose file, its density, its picture",
    "explorer": "the mask explorer of the bundled clips, as a site of plain files",
    "demo": "the demo in a browser (needs gradio)",
    "avatar": "draw the procedural speaker of a seed speaking (needs Skia)",
    "motion-data": "videos of people who talk to clips for `train motion` (needs mediapipe)",
    "backbone-data": "videos of people who talk to shards for `backbone-train` (needs a Wan model's weights)",
    "backbone-train": "distil a Wan model to few steps under the plan, as a LoRA (needs peft)",
    "train": "train one stage, from the data to the distilled student",
    "evaluate": "measure teacher and student on held-out speakers and speech",
    "evaluate-motion": "measure the learned motion model beside the rules and the truth",
    "bench": "measure speed on this machine",
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = list(sys.argv[1:] if words is None else words)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file may have a name that the terminal cannot show
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)  # so that what is half written is taken away
    try:
        arguments = make_parser(words[0] if words else "").parse_args(words)
        with numbers_of(getattr(arguments, "dtype", None)):
            report = arguments.run_command(arguments)
    except InputError as error:
        return _refuse(str(error))
    except ModuleNotFoundError as error:
        return _refuse(f"{error}; install what is missing with: pip install -r requirements.txt")
    except ImportError as error:  # names the install command of an optional library
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        print("iasa: stopped", file=sys.stderr)
        return 130
    if arguments.json:
        print(json.dumps(report), flush=True)
    return 0


@contextmanager
def numbers_of(dtype: str | None) -> Iterator[None]:
    """What the environment says of the number type, for this command and the processes that it starts."""
    before = os.environ.get("IASA_DTYPE")
    if dtype:
        os.environ["IASA_DTYPE"] = dtype
    try:
        yield
    finally:
        if dtype:
            os.environ.pop("IASA_DTYPE", None)
            os.environ.update({} if before is None else {"IASA_DTYPE": before})


def _end(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _refuse(sentence: str) -> int:
    print("iasa:", " ".join(sentence.split()), file=sys.stderr)
    return 2


class Parser(argparse.ArgumentParser):
    """Answers a wrong command line with one sentence instead of the whole usage; options are written out in full."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def make_parser(command: str = "") -> argparse.ArgumentParser:
    """All commands by name; the options of `command` alone are filled in."""
    parser = Parser(prog="iasa", description="Speech and a picture in, a talking speaker out.")
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        sub = subparsers.add_parser(name, help=text, description=text)
        if name == command:
            module = importlib.import_module(f"iasa.cli.{name.replace('-', '_')}")
            module.add_arguments(sub)
            sub.add_argument(
                "--json", action="store_true", help="print the figures as one line of JSON, last on stdout"
            )
            sub.set_defaults(run_command=module.run)
    return parser
