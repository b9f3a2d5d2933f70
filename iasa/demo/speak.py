"""The Speak tab's work: speech to a video, playing while it is made; its poses alone; its settings back from a file."""

from __future__ import annotations

import html
import time
import wave
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from iasa.avatar.speaker import speaker_names
from iasa.config import (
    AUDIO_RATE,
    DEFAULT_MOTION,
    LAYERS,
    MAX_STEPS,
    MODELS,
    MOTION_MODELS,
    VIDEO_FPS,
    InputError,
    check_steps,
)
from iasa.demo.compare import attention_cost
from iasa.demo.measured import measured_fps
from iasa.demo.motion_edits import MotionEdits, edit_motion, wish_style
from iasa.demo.player import LiveVideo
from iasa.demo.service import (
    DRAWN,
    EXAMPLE,
    MAX_SEED,
    PHOTO,
    SessionClip,
    check_seed,
    choose_poses,
    choose_speaker,
    language_of,
    load_pipeline,
    new_output,
    plain_errors,
    read_driver,
    read_recording,
    read_speech,
    show_progress,
    take_turn,
    until_stopped,
    watch_stop,
)
from iasa.demo.translations import translate
from iasa.demo.zerogpu import gpu
from iasa.inference.generation import Cancelled, remarks, summarise, write
from iasa.keypoints import save_keypoints
from iasa.media.content_credentials import sign_if_asked
from iasa.media.reader import read_metadata
from iasa.media.writer import VideoWriter
from iasa.pose import draw_pose
from iasa.speech import to_speech
from iasa.speech.language import LANGUAGES, detect_language

MAX_TEXT = 300  # letters of typed speech
WISHES = (("amount", 1.0), ("blink", 1.0), ("hand_height", 0.0), ("head_lock", False))  # in the settings of a file
NEEDED = {"speech": "the speech", "photo": "the photo", "driving": "the movement"}
LIVE_FRAMES = 10  # in one piece of the live video
REMEMBERED_SPEED: dict[tuple[str, int], float] = {}  # frames a second of this machine's last runs


def speak_steps(
    audio, kind, example, number, photo, consent, model, steps, seed, driving, wishes, request, progress, stopped
) -> Iterator[tuple]:
    """Messages for the live player with a line of figures; last (video, figures, poses file, SessionClip) or "Stopped."."""
    language = language_of(request)
    started = time.perf_counter()
    progress(0.0, desc=translate("Reading", language))
    recording = read_recording(audio)
    sound = to_speech(recording)
    reference, seed = choose_speaker(kind, example, number, photo, consent), check_seed(seed)
    pipeline = load_pipeline()
    if model not in MODELS:
        raise InputError(f"the model is {model!r}; accepted: {' or '.join(MODELS)}")
    name = f"{reference.name}-seed{seed}"
    video, watch = new_output(".mp4", name), show_progress(progress, language)
    try:
        if stopped():
            raise Cancelled("cancelled while the speaker was made")
        with VideoWriter(video, VIDEO_FPS, recording, mark=True) as writer:
            given: dict[str, Any] = {"keypoints": read_driver(driving, sound)} if driving else {
                "style": wish_style(seed, wishes), "edit": partial(edit_motion, wishes=wishes), "motion": wishes.motion,
            }  # fmt: skip
            if reference.photo is None:  # a photograph moves in layers
                given |= {"model": model, "num_inference_steps": None if steps is None else int(steps)}
            generation = pipeline.stream(sound, reference, seed=seed, progress=watch, should_stop=stopped, **given)
            generation.settings |= name_settings(wishes, audio, photo, driving)
            live, waiting, first, done = LiveVideo(video.parent.name, sound), [], None, 0
            for frames in write(generation, writer):
                first = first or time.perf_counter() - started
                waiting.append(frames)
                done += len(frames)
                if sum(map(len, waiting)) >= LIVE_FRAMES:
                    live.add_frames(np.concatenate(waiting))
                    waiting = []
                    speed = done / max(1e-6, time.perf_counter() - started - first)
                    note = f"First frame after {first:.1f} s, {speed:.1f} frames/s so far"
                    yield live.message(translate(note, language)), ""
            if waiting:
                live.add_frames(np.concatenate(waiting))
            live.finish()
            report = summarise(generation, started)
    except Cancelled:
        video.parent.rmdir()
        yield None, translate("Stopped.", language), None, None
        return
    sign_if_asked(video)
    file = new_output(".npz", f"{name}-poses")
    save_keypoints(file, generation.keypoints)
    model, steps = report["model"], report["steps"]
    REMEMBERED_SPEED[model, steps] = report["fps"]
    note = translate(f"First frame after {first:.1f} s, {report['fps']:.1f} frames/s in all", language)
    yield live.message(note, ended=True), note
    if model in pipeline.models:
        report["flop"] = attention_cost(generation.plan, model, pipeline.models[model].config, steps)[1]
    lines = [translate(to_figures(report), language)]
    lines += [translate(sentence, language) for sentence in remarks(report)]
    lines += [translate(sentence, language) for sentence in reference.describe()]
    yield str(video), "\n\n".join(lines), str(file), SessionClip(generation.keypoints, str(video), reference)


def name_settings(wishes: MotionEdits, audio: str, photo: str | None, driving: str | None) -> dict[str, Any]:
    """What the video's file says of the wishes, and of the files that the same run needs again."""
    files = {"speech": audio, "photo": photo, "driving": driving}
    return {
        "amount": wishes.amount, "blink": wishes.blink, "hand_height": wishes.hand_height, "head_lock": wishes.head_lock,
        "files": {name: Path(path).name for name, path in files.items() if path},
    }  # fmt: skip


@gpu(60)
def speak(
    audio: str | None,
    kind: str = EXAMPLE,
    example: str | None = None,
    number: float | None = 7,
    photo: str | None = None,
    consent: bool = False,
    model: str = MODELS[0],
    steps: float | None = None,
    seed: float = 0,
    driving: str | None = None,
    amount: float = 1.0,
    blink: float = 1.0,
    height: float = 0.0,
    lock: bool = False,
    motion: str = DEFAULT_MOTION,
    request: gr.Request | None = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio finds it by its default)
) -> tuple[str | None, str, str | None]:
    """Make a video of a speaker who says the given speech.

    Returns the mp4, a line of figures, and the poses as an npz file. The speech may last 60 seconds. The kind of
    speaker is "Example speaker" (with its name), "Drawn from a number" (with the number), "My photo" or "Puppet of
    my photo" (with the photo and the consent of the person in it). A photo moves in layers, whatever the model. The
    model is "student" (1 to 4 steps) or "teacher" (1 to 100); without steps it takes its usual number. The movement
    comes from the speech (performed by "rules", or by "learned", which begins later; amount of gestures and blinking
    0 to 2, hands raised by -12 to 12 cm, head locked or not) or from a pose file (npz) or a video of a person.
    """
    with plain_errors(request):
        wishes = MotionEdits(amount, blink, height, bool(lock), motion)
        return list(
            speak_steps(
                audio,
                kind,
                example,
                number,
                photo,
                consent,
                model,
                steps,
                seed,
                driving,
                wishes,
                request,
                progress,
                watch_stop(request),
            )
        )[-1][:3]


@gpu(60)
def speak_live(
    audio, kind, example, number, photo, consent, model, steps, seed, driving, amount, blink, height, lock, motion,
    turn: int | None = None,  # of `begin_run`
    request: gr.Request | None = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> Iterator[tuple]:  # fmt: skip
    """`speak`, playing while it is made: (live message, video, figures, poses file, SessionClip). Cancel ends it at once."""
    keep, ended = gr.skip(), False
    stopped = watch_stop(request, turn)
    with plain_errors(request):
        wishes = MotionEdits(amount, blink, height, bool(lock), motion)
        asked = (audio, kind, example, number, photo, consent, model, steps, seed, driving, wishes, request, progress)
        yield "", None, "", None, keep
        for update in until_stopped(lambda stop: speak_steps(*asked, stop), stopped):
            ended = len(update) != 2
            yield (keep, *update) if ended else (update[0], keep, update[1], keep, keep)
        if not ended:
            yield keep, None, translate("Stopped.", language_of(request)), None, None


def estimate(audio: str | None, model: str, steps: float, request: gr.Request | None = None) -> str:
    """How long the run will take, before it; or why this speech cannot be used."""
    if audio is None:
        return ""
    language = language_of(request)
    try:
        seconds = len(read_speech(audio)) / AUDIO_RATE
        steps = check_steps(model, int(steps))
    except InputError as error:
        return "⚠️ " + html.escape(translate(str(error), language), quote=False)
    speed, where = REMEMBERED_SPEED.get((model, steps)), "by the last run here"
    if speed is None:
        speed, where = (
            measured_fps(model, steps),
            "by the machine of the table in Learn; the first run also loads the networks",
        )
    text = f"{seconds:.1f} s of speech."
    if speed:
        text = f"{seconds:.1f} s of speech: about {2 + seconds * VIDEO_FPS / speed:.0f} s of work ({where})."
    return translate(text, language)


def to_figures(report: dict) -> str:
    """The report of a run in one line."""
    stages = ", ".join(f"{name} {value:.1f} s" for name, value in report["seconds"].items())
    return (
        f"**{report['frames']} frames**, {report['fps']:.1f} frames/s "
        f"(stages side by side: {stages}) · {report['model']}, steps: {report['steps']}, seed {report['seed']} · "
        + (
            f"attention density {report['density']:.1%}, {report['flop'] / 1e9:.1f} GFLOP · "
            if "flop" in report
            else ""
        )
        + f"{report['device']} {report['dtype']}"
    )


def preview_poses(
    audio: str | None,
    kind: str = EXAMPLE,
    example: str | None = None,
    number: float | None = 7,
    photo: str | None = None,
    consent: bool = False,
    seed: float = 0,
    driving: str | None = None,
    amount: float = 1.0,
    blink: float = 1.0,
    height: float = 0.0,
    lock: bool = False,
    motion: str = DEFAULT_MOTION,
    request: gr.Request | None = None,
) -> tuple[str, str]:
    """The movement alone, before any picture is made: an mp4 of skeletons with the speech, and the poses as npz.

    Takes the same speech, speaker, seed and wishes as `speak`; the file can be edited and given back as `driving`.
    """
    with plain_errors(request):
        recording, reference = read_recording(audio), choose_speaker(kind, example, number, photo, consent)
        poses = choose_poses(
            to_speech(recording),
            reference,
            check_seed(seed),
            driving,
            MotionEdits(amount, blink, height, bool(lock), motion),
        )
        name = f"{reference.name}-poses"
        video, file = new_output(".mp4", name), new_output(".npz", name)
        with VideoWriter(video, VIDEO_FPS, recording) as writer:
            for start in range(0, len(poses), 50):
                writer.add_frames(draw_pose(poses[start : start + 50]))
        save_keypoints(file, poses)
        return str(video), str(file)


def restore_settings(video: str | None, request: gr.Request | None = None) -> tuple:
    """The settings that a video made here holds, for the controls: kind, example, number, model, steps, seed, motion,
    amount, blink, height, lock, driving (emptied), and a line about what the same run needs besides."""
    if video is None:
        return (*(gr.skip(),) * 12, "")
    with plain_errors(request):
        given = read_metadata(video)
        model, steps, seed = given.get("model"), given.get("steps"), given.get("seed")
        layers = model == LAYERS  # a photograph, which moves without a network
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
    elif layers:
        kind = PHOTO
    motion = given.get("motion") if given.get("motion") in MOTION_MODELS else gr.skip()
    known = restore_wishes(given)
    pick = (gr.skip(), gr.skip()) if layers else (model, gr.update(maximum=MAX_STEPS[model], value=steps))
    return kind, example, number, *pick, seed, motion, *known, None, name_missing(given, language_of(request))


def restore_wishes(given: dict) -> tuple:
    """Amount, blinking, height and lock, as they would be by themselves where the file does not say."""
    try:
        wishes = MotionEdits(*(given.get(name, usual) for name, usual in WISHES))
    except InputError:  # another program's, or an older one's
        wishes = MotionEdits()
    return wishes.amount, wishes.blink, wishes.hand_height, bool(wishes.head_lock)


def name_missing(given: dict, language: str) -> str:
    """A sentence about the files that the same run needs again, as the settings name them."""
    files = given.get("files")
    files = files if isinstance(files, dict) else {"speech": "?"}
    needed = [f"{translate(NEEDED[name], language)} ({files[name]})" for name in NEEDED if name in files]
    text = translate("For the same run, give again: {what}", language).replace("{what}", ", ".join(needed))
    return html.escape(text, quote=False)


def read_text(text: str, language: str = "auto", request: gr.Request | None = None) -> str:
    """A synthetic voice of the text's language, or of a chosen one, reads it into a sound file."""
    from iasa.training.speech_data.synthesis import VOICES, make_speech

    with plain_errors(request):
        spoken = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        if not any(letter.isalpha() for letter in spoken) or len(spoken) > MAX_TEXT:
            raise InputError(f"the text has {len(spoken)} letters; some words, up to {MAX_TEXT} letters, are needed")
        spoken_in = detect_language(spoken) if language == "auto" else language
        if spoken_in not in VOICES:
            known = ", ".join(LANGUAGES[code] for code in VOICES)
            raise InputError(f"no voice here reads {LANGUAGES.get(spoken_in or '', 'this script')}; accepted: {known}")
        sound, _ = make_speech(spoken, VOICES[spoken_in])
    path = new_output(".wav", "typed")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, AUDIO_RATE, 0, "NONE", ""))
        file.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return str(path)


def begin_run(
    text: str = "", language: str = "auto", read_last: str = "", request: gr.Request | None = None
) -> tuple[str | dict, str, int]:
    """When Generate is pressed: the speech, if a text has not been read yet, that text, and the run's turn."""
    turn = take_turn(request)
    return (*read_what_is_typed(text, language, read_last, request), turn)


def read_what_is_typed(
    text: str, language: str, read_last: str = "", request: gr.Request | None = None
) -> tuple[str | dict, str]:
    """A text that has not been read yet becomes the speech: (speech, the text that was read last)."""
    if not (text or "").strip() or text == read_last:
        return gr.skip(), read_last
    return read_text(text, language, request), text


def take_sound(path: str | None, request: gr.Request | None = None) -> str | dict:
    """The sound of any file that can be read, a video's too, as the speech."""
    if path is None:
        return gr.skip()
    with plain_errors(request):
        read_recording(path)
    return path
