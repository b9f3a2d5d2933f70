"""What the demo's tabs share: the networks, kept files, stop flags, checks of what a visitor gives, answers in words."""

from __future__ import annotations

import atexit
import contextvars
import functools
import hashlib
import html
import importlib.util
import json
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import gradio as gr
import numpy as np

from iasa.avatar.speaker import Reference
from iasa.config import MODELS, InputError, Sentence
from iasa.demo.motion_edits import MotionEdits, perform_speech, read_poses
from iasa.demo.speaker_choice import forget_photographs
from iasa.demo.translations import ADDRESS_NAMES, LANGUAGES, to_sentence, translate
from iasa.keypoints import Keypoints
from iasa.media.reader import Sound, read_sound
from iasa.paths import WEIGHTS
from iasa.pipeline import CoSpeechPipeline
from iasa.speech import to_speech
from iasa.speech.features import count_frames

MAX_SECONDS = 60.0  # of speech; the command line takes ten minutes
KEPT_SECONDS = float(os.environ.get("IASA_KEPT_SECONDS", 3600))  # a made video is deleted after an hour
STAGES = {
    "motion": "Listening: phones, stress, gestures",
    "plan": "Planning the attention",
    "denoise": "Making frames",
}
GENERATE, CANCEL = "generate", "cancel"  # what a stop flag holds: which of the two was pressed last
OPTIONAL = {
    "mediapipe": ("photos as speakers and videos of people are off ({how})", "pip install mediapipe==0.10.21"),
    "skia": (
        "drawn speakers and photos are off ({how})",
        "pip install skia-python; on Debian apt-get install libgl1 libegl1",
    ),
    "pocketsphinx": ("the mouth follows loudness instead of phones ({how})", "pip install pocketsphinx"),
}


T = TypeVar("T")
_one_at_a_time = threading.Lock()  # a run that was stopped may need a moment to notice


@dataclass(frozen=True, eq=False)  # gradio tells by its hash whether there is another one
class SessionClip:
    """The clip made last: its poses at 25 a second, its file, who speaks, what was said and the poses' file."""

    poses: Keypoints
    video: str
    reference: Reference
    speech: str = ""
    poses_file: str = ""


@functools.cache
def load_pipeline() -> CoSpeechPipeline:
    """The networks that ship with the package."""
    return CoSpeechPipeline.from_pretrained()


def missing_parts() -> list[Sentence]:
    """What this installation lacks, in sentences; what keeps everything from working comes first."""
    lacking = [
        Sentence(
            "The weights of the {name} are not in {folder}/: nothing can be generated.", name=name, folder=WEIGHTS.name
        )
        for name in ("autoencoder", *MODELS)
        if not (WEIGHTS / name / "config.json").exists()
    ]
    lacking += [
        Sentence("{name} is not installed: {effect}.", name=name, effect=Sentence(effect, how=how))
        for name, (effect, how) in OPTIONAL.items()
        if importlib.util.find_spec(name) is None
    ]
    return lacking


def language_of(request: gr.Request | None) -> str:
    """What the page's address asks for, else what the browser asks for first, else "en"; programs ask for nothing."""
    given = getattr(request, "query_params", None) or {}
    for name in ADDRESS_NAMES:
        if given.get(name) in LANGUAGES:
            return given[name]
    first = str((getattr(request, "headers", None) or {}).get("accept-language") or "").lower()[:2]
    return first if first in LANGUAGES else "en"


@contextmanager
def plain_errors(request: gr.Request | None = None) -> Iterator[None]:
    """Bad input, or a library that is missing, as a message in the page, in the visitor's language."""
    try:
        yield
    except (InputError, ImportError) as error:
        text = to_sentence(error.args[0] if error.args else str(error), language_of(request))
        text = html.escape(text, quote=False)  # the page would take a file's name for markup
        title = translate("Error", language_of(request))
        raise gr.Error(text, duration=15, print_exception=False, title=title) from error


@functools.cache
def output_folder() -> Path:
    """Gone with the process that has made it."""
    folder, maker = Path(tempfile.mkdtemp(prefix="iasa-")), os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == maker else None)
    return folder


def delete_old_outputs() -> None:
    for old in output_folder().iterdir():
        with suppress(FileNotFoundError):  # another visitor's call has been quicker
            latest = max((path.stat().st_mtime for path in (*old.glob("*"), old) if path.is_file()), default=None)
            if time.time() - (latest or old.stat().st_mtime) <= KEPT_SECONDS:
                continue
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink()


def delete_old_uploads(page: gr.Blocks) -> None:
    """What visitors sent, and gradio's copies. Gradio's own schedule ends for good when a file comes while it looks."""
    lasting = set().union(*(getattr(block, "keep_in_cache", ()) for block in page.blocks.values()))
    for files in page.temp_file_sets:
        for name in tuple(files):
            with suppress(OSError):
                if name not in lasting and time.time() - os.stat(name).st_ctime > KEPT_SECONDS:
                    os.unlink(name)
                    files.discard(name)


def keep_tidy(page: gr.Blocks, every: float = KEPT_SECONDS / 4) -> threading.Event:
    """Delete old files even if nobody comes any more, until the event is set."""
    stopped = threading.Event()

    def tidy() -> None:
        while not stopped.wait(every):
            delete_old_outputs()
            delete_old_uploads(page)
            forget_photographs()

    threading.Thread(target=tidy, name="tidy", daemon=True).start()
    return stopped


def new_output(suffix: str, name: str = "iasa") -> Path:
    """A file of that name in a folder of its own, which nobody can guess; files of an hour ago are deleted on the way."""
    delete_old_outputs()
    folder = output_folder() / uuid.uuid4().hex
    folder.mkdir()
    return folder / (re.sub(r"[^\w-]+", "-", name) + suffix)


def session_name(request: gr.Request | None) -> str:
    """A visitor's session as a short name of safe letters."""
    session = (getattr(request, "session_hash", None) if request else None) or "nobody"
    return hashlib.sha256(session.encode()).hexdigest()[:16]


def stop_flag(request: gr.Request | None) -> Path:
    """The file whose presence stops this visitor's run; a file, since on ZeroGPU the run is another process."""
    return output_folder() / f"{session_name(request)}.stop"


def pressed_at(request: gr.Request | None) -> int:
    """When this visitor last pressed Cancel or Generate, 0 for never."""
    with suppress(FileNotFoundError):
        return stop_flag(request).stat().st_mtime_ns
    return 0


def take_turn(request: gr.Request | None) -> int:
    """A new run of this visitor, which takes the place of the one before: the time from which Cancel stops it, be it still
    waiting in the line."""
    stop_flag(request).write_text(GENERATE)
    return pressed_at(request)


def run_name(turn: int | None) -> str:
    """What the page calls a run."""
    return f"run-{turn or uuid.uuid4().hex}"


def watch_stop(request: gr.Request | None, since: int | None = None) -> Callable[[], bool]:
    """Tells whether this visitor has pressed Cancel since then, or since now: a later run is not stopped by it, and an
    earlier one, which has not noticed yet, still is."""
    before = pressed_at(request) if since is None else since
    return lambda: pressed_at(request) > before


def until_stopped(
    make: Callable[[Callable[[], bool], Callable[[T], None]], Iterator[T]], stopped: Callable[[], bool]
) -> Iterator[T]:
    """What `make` yields, made in a thread; ends as soon as it is to stop, though what is being made goes on until it notices.
    `make` is told when, by `stopped` or because nobody takes any more, and may tell of more in between."""
    made: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    gone = threading.Event()

    def tell(update: T) -> None:
        made.put(("update", update))

    def work() -> None:
        try:
            with _one_at_a_time:
                for update in make(lambda: gone.is_set() or stopped(), tell):
                    tell(update)
            made.put(("end", None))
        except BaseException as error:  # noqa: BLE001 (raised again by whoever waits)
            made.put(("error", error))

    threading.Thread(target=contextvars.copy_context().run, args=(work,), name="run", daemon=True).start()
    try:
        while not stopped():
            try:
                kind, value = made.get(timeout=0.1)
            except Empty:
                continue
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        gone.set()


def request_stop(request: gr.Request) -> str:
    stop_flag(request).write_text(CANCEL)
    return translate("Stopped.", language_of(request))


def stop_run(turn: int | None, request: gr.Request) -> str | dict:
    """Cancel: the run of that turn ends, or one that has begun so lately that the page does not know its turn yet; the player
    says so at once."""
    flag = stop_flag(request)
    if flag.exists() and flag.read_text() == GENERATE:
        turn = pressed_at(request)
    said = request_stop(request)
    return json.dumps({"name": run_name(turn), "note": said, "ended": True}) if turn else gr.skip()


def read_recording(audio: str | None, seconds: float = MAX_SECONDS) -> Sound:
    """The sound of an uploaded or recorded file, as it is. Raises InputError."""
    if audio is None:
        raise InputError("there is no speech; record some, upload a file or click on an example")
    return read_sound(audio, seconds)


def read_speech(audio: str | None, seconds: float = MAX_SECONDS) -> np.ndarray:
    """float32 [n], mono, 16 kHz, of an uploaded or recorded file. Raises InputError."""
    return to_speech(read_recording(audio, seconds), seconds)


def choose_poses(
    sound: np.ndarray, reference: Reference, seed: int, driving: str | None, wishes: MotionEdits
) -> Keypoints:
    """The speaker's poses, as long as the sound at most: from the given file, or from the sound itself."""
    if driving is None:
        return perform_speech(sound, reference, seed, wishes)
    return reference.carry(read_driver(driving, sound))


def read_driver(driving: str, sound: np.ndarray) -> Keypoints:
    """The poses of a file or of a video of a person, those beyond the end of the sound left out."""
    return read_poses(driving)[: count_frames(sound)]


def show_progress(progress: gr.Progress, language: str = "en") -> Callable[[str, float], None]:
    """A callback that names the stage and how long the rest will take."""
    started = time.perf_counter()

    def show(stage: str, share: float) -> None:
        left = (time.perf_counter() - started) * (1 - share) / share if share > 0.05 else 0
        said = Sentence(STAGES.get(stage, stage))
        if left >= 1:
            said = Sentence("{stage}, about {seconds:.0f} s left", stage=said, seconds=left)
        progress(min(1.0, share), desc=translate(said, language))

    return show
