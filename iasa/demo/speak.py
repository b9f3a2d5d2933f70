"""The Speak tab's work: speech to a video, playing while it is made, and its poses alone."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr
import numpy as np

from iasa.config import DEFAULT_MOTION, VIDEO_FPS, Sentence
from iasa.demo.compare import attention_cost
from iasa.demo.given_speech import AUTO, check_model, remember_pace
from iasa.demo.motion_edits import MotionEdits, edit_motion, wish_style
from iasa.demo.player import LiveVideo, on_grey, still
from iasa.demo.run_settings import name_settings
from iasa.demo.service import (
    SessionClip,
    choose_poses,
    language_of,
    load_pipeline,
    new_output,
    plain_errors,
    read_driver,
    read_recording,
    run_name,
    show_progress,
    until_stopped,
    watch_stop,
)
from iasa.demo.speaker_choice import EXAMPLE, OWN, PHOTO, PUPPET, Backdrop, Crop, check_seed, choose_speaker
from iasa.demo.translations import to_sentence, translate
from iasa.demo.zerogpu import gpu
from iasa.inference.generation import Cancelled, remarks, summarise, write
from iasa.keypoints import save_keypoints
from iasa.media.content_credentials import sign_if_asked
from iasa.media.writer import VideoWriter
from iasa.pose import draw_pose
from iasa.speech import to_speech

LIVE_FRAMES = 10  # in one piece of the live video
TOLD_EVERY = 0.4  # seconds between two words about the progress


def speak_steps(
    audio, kind, example, number, photo, consent, model, steps, seed, driving, wishes, backdrop, crop, request, progress,
    stopped, live: LiveVideo,
) -> Iterator[tuple]:  # fmt: skip
    """Messages for the player, (message,); last (message, figures, SessionClip), or (message,) if it was stopped."""
    language = language_of(request)
    started = time.perf_counter()
    progress(0.0, desc=translate("Reading", language))
    recording = read_recording(audio)
    sound = to_speech(recording)
    crop, seed = Crop.read(crop), check_seed(seed)
    reference = choose_speaker(kind, example, number, photo, consent, backdrop, crop)
    live.hear(sound)
    live.poster = still(reference.image)
    progress(0.0, desc=translate("Reading", language))
    pipeline = load_pipeline()
    model, steps = check_model(kind, model, steps)
    name = f"{reference.name}-seed{seed}"
    video, watch = new_output(backdrop.suffix if reference.photo else ".mp4", name), show_progress(progress, language)
    try:
        if stopped():
            raise Cancelled("cancelled while the speaker was made")
        with VideoWriter(video, VIDEO_FPS, recording, mark=True) as writer:
            given: dict[str, Any] = {"keypoints": read_driver(driving, sound)} if driving else {
                "style": wish_style(seed, wishes), "edit": partial(edit_motion, wishes=wishes), "motion": wishes.motion,
            }  # fmt: skip
            generation = pipeline.stream(
                sound, reference, seed=seed, progress=watch, should_stop=stopped, model=model,
                num_inference_steps=steps or None, **given,
            )  # fmt: skip
            used = photo if kind in (PHOTO, PUPPET) else None
            generation.settings |= name_settings(wishes, audio, kind, used, driving, backdrop, crop)
            waiting, first = [], (0, 0.0)  # the first frames, and when they were there
            for frames in write(generation, writer):
                first = first if first[0] else (len(frames), time.perf_counter() - started)
                waiting.append(frames)
                if sum(map(len, waiting)) >= LIVE_FRAMES:
                    live.add_frames(on_grey(np.concatenate(waiting)))
                    waiting = []
                    progress(live.frames / (generation.count or live.frames), desc="")
            if waiting:
                live.add_frames(on_grey(np.concatenate(waiting)))
            live.finish()
            report = summarise(generation, started)
    except Cancelled:
        video.parent.rmdir()
        yield (live.message(translate("Stopped.", language), ended=True),)
        return
    sign_if_asked(video)
    file = new_output(".npz", f"{name}-poses")
    save_keypoints(file, generation.keypoints)
    model, steps = report["model"], report["steps"]
    remember_pace(reference.photo is not None, model, steps, first, report["frames"], report["elapsed"])
    if model in pipeline.models:
        report["flop"] = attention_cost(generation.plan, model, pipeline.models[model].config, steps)[1]
    lines = [to_figures(report), *remarks(report), *reference.describe()]
    clip = SessionClip(generation.keypoints, str(video), reference, audio, str(file))
    note = translate(
        "First frame after {first:.1f} s, {speed:.1f} frames/s in all", language, first=first[1], speed=report["fps"]
    )
    figures = "\n\n".join(to_sentence(line, language) for line in lines)
    yield live.message(note, ended=True, file=video), figures, clip


@gpu(60)
def speak(
    audio: str | None,
    kind: str = EXAMPLE,
    example: str | None = None,
    number: float | None = 7,
    photo: str | None = None,
    consent: bool = False,
    model: str = AUTO,
    steps: float | None = None,
    seed: float = 0,
    driving: str | None = None,
    amount: float = 1.0,
    blink: float = 1.0,
    height: float = 0.0,
    lock: bool = False,
    motion: str = DEFAULT_MOTION,
    backdrop: str = OWN,
    color: str | None = None,
    picture: str | None = None,
    crop: str | None = None,
    request: gr.Request | None = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio finds it by its default)
) -> tuple[str | None, str, str | None]:
    """Make a video of a speaker who says the given speech.

    Returns the mp4, a line of figures, and the poses as an npz file. The speech may last 60 seconds. The kind of
    speaker is "Example speaker" (with its name), "Drawn from a number" (with the number), "My photo" or "Puppet of
    my photo" (with the photo and the consent of the person in it). The
    model is "student" (1 to 4 steps), "teacher" (1 to 100, not of photos), "layers", the warped picture alone, or
    "auto", layers of a photo and else the student; without steps it takes its usual number. The movement
    comes from the speech (performed by "rules", or by "learned", which begins later; amount of gestures and blinking
    0 to 2, hands raised by -12 to 12 cm, head locked or not) or from a pose file (npz) or a video of a person. Behind
    the person of a photo stands its "Own room", the "Whole photo" around what moves, a "Color" (#rrggbb), "Another
    picture", or nothing ("Transparent", a webm). Of the photo the part between left, top, right and bottom is used,
    shares of its width and height: {"box": [0.2, 0, 0.8, 0.9]}.
    """
    with plain_errors(request):
        wishes, behind = MotionEdits(amount, blink, height, bool(lock), motion), Backdrop(backdrop, color, picture)
        asked = (
            audio, kind, example, number, photo, consent, model, steps, seed, driving, wishes, behind, crop, request,
        )  # fmt: skip
        *_, last = speak_steps(*asked, progress, watch_stop(request), LiveVideo("program"))
        if len(last) == 1:
            return None, translate("Stopped.", language_of(request)), None
        _, figures, clip = last
        return clip.video, figures, clip.poses_file


@gpu(60)
def speak_live(
    audio, kind, example, number, photo, consent, model, steps, seed, driving, amount, blink, height, lock, motion,
    backdrop=OWN, color=None, picture=None, crop=None,
    turn: int | None = None,  # of `begin_run`
    request: gr.Request | None = None,
) -> Iterator[tuple]:  # fmt: skip
    """`speak`, playing while it is made: (message of the player, figures, SessionClip). Cancel ends it at once."""
    keep, language, live, last = gr.skip(), language_of(request), LiveVideo(run_name(turn)), ("",)
    stopped = watch_stop(request, turn)
    try:
        with plain_errors(request):
            wishes, behind = MotionEdits(amount, blink, height, bool(lock), motion), Backdrop(backdrop, color, picture)
            asked = (
                audio, kind, example, number, photo, consent, model, steps, seed, driving, wishes, behind, crop, request,
            )  # fmt: skip
            yield live.message("", share=0.0), "", keep
            for last in until_stopped(
                lambda stop, tell: speak_steps(*asked, tell_page(live, tell), stop, live), stopped
            ):
                yield last if len(last) == 3 else (*last, keep, keep)
    except gr.Error as error:
        yield live.message(f"⚠️ {html.unescape(str(error.message))}", ended=True), "", keep
        raise
    if len(last) != 3:
        yield live.message(translate("Stopped.", language), ended=True), "", keep


def tell_page(live: LiveVideo, tell: Callable[[tuple], None]) -> Callable[..., None]:
    """Stands for gr.Progress: the share that is done, which never falls, the stage and the seconds left go to the player's
    line, not too often; the speaker's still and pieces of the video go along at once."""
    last: dict[str, Any] = {"when": 0.0, "stage": "", "shown": (), "share": 0.0}

    def show(share: float, desc: str) -> None:
        stage, now, shown = desc or last["stage"], time.perf_counter(), (bool(live.poster), len(live.pieces))
        share = max(share, last["share"])
        if shown == last["shown"] and now - last["when"] < TOLD_EVERY:
            last.update(stage=stage, share=share)
            return
        last.update(when=now, stage=stage, shown=shown, share=share)
        tell((live.message(f"{share:.0%} · {stage}", share=share),))

    return show


def to_figures(report: dict) -> Sentence:
    """The report of a run in one line."""
    cost = f"{report['device']} {report['dtype']}"
    if "flop" in report:
        attention = "attention density {density:.1%}, {gflop:.1f} GFLOP · {machine}"
        cost = Sentence(attention, density=report["density"], gflop=report["flop"] / 1e9, machine=cost)
    return Sentence(
        "**{frames} frames**, {fps:.1f} frames/s (stages side by side: {stages}) · {model}, steps: {steps}, seed {seed} · "
        "{cost}",
        stages=", ".join(f"{name} {value:.1f} s" for name, value in report["seconds"].items()),
        cost=cost,
        model=Sentence(report["model"]),
        **{name: report[name] for name in ("frames", "fps", "steps", "seed")},
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
    crop: str | None = None,
    request: gr.Request | None = None,
) -> tuple[str, str]:
    """The movement alone, before any picture is made: an mp4 of skeletons with the speech, and the poses as npz.

    Takes the same speech, speaker, seed and wishes as `speak`; the file can be edited and given back as `driving`.
    """
    with plain_errors(request):
        recording = read_recording(audio)
        reference = choose_speaker(kind, example, number, photo, consent, crop=Crop.read(crop))
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
