"""The demo in a browser: `python app.py` (with --mcp also as tools for agents). All the work lies in the package `iasa`."""

from __future__ import annotations

import functools
import hashlib
import html
import importlib.util
import json
import logging
import os
import sys
import tempfile
import time
import uuid
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

try:
    import spaces  # on a ZeroGPU Space it must come before torch; elsewhere it is not needed
except ModuleNotFoundError:
    spaces = None

import gradio as gr
import numpy as np

from iasa.config import (
    AUDIO_RATE,
    DEFAULT_STEPS,
    FRAMES_PER_LATENT,
    MAX_STEPS,
    MODELS,
    VIDEO_FPS,
    InputError,
    MaskOptions,
)
from iasa.credentials import sign_if_asked
from iasa.demo import compare as contest
from iasa.demo.live import PLAYER, PLAYER_SCRIPT, PLAYER_STYLE, LiveVideo
from iasa.demo.movement import MAX_POSES, Wishes, follow_person, perform_speech, read_poses
from iasa.demo.tables import measured_fps, quality_table
from iasa.demo.words import WORDS
from iasa.explorer import explorer_frame, explorer_html, latent_poses, read_bench, record_attention
from iasa.grid import TokenGrid
from iasa.keypoints import (
    Keypoints,
    concat_keypoints,
    fill_latent,
    load_keypoints,
    pool_to_latent,
    save_keypoints,
)
from iasa.masks import make_plan
from iasa.masks.picture import draw_plan
from iasa.models.weights import FOLDER as WEIGHTS
from iasa.models.weights import read_card
from iasa.pipeline import Cancelled, CoSpeechPipeline, Timing, summarise
from iasa.pose import draw_pose
from iasa.reference import SPEAKERS, Reference, draw_speaker, load_speaker, photo_speaker, speaker_names
from iasa.speech import read_audio
from iasa.video import VideoWriter, read_image, read_metadata, read_video

HERE = Path(__file__).resolve().parent
MAX_SECONDS = 60.0  # of speech; the command line takes ten minutes
MAX_COMPARED = 4.0  # seconds of speech in the Compare tab
MAX_TEXT = 300  # letters of typed speech
MAX_FILE = "50mb"
MAX_SEED = 2**32 - 1
KEPT_SECONDS = 3600.0  # a made video is deleted after an hour
GPU_SECONDS = 60  # of a ZeroGPU call
LIVE_FRAMES = 10  # in one piece of the live video
CSS = """.gradio-container {
  width: 100% !important; min-width: 0 !important; max-width: 1480px !important;
  margin: 0 auto !important; box-sizing: border-box;
}"""
EXAMPLE, DRAWN, PHOTO = "Example speaker", "Drawn from a number", "My photo"
STAGES = {
    "motion": "Listening: phones, stress, gestures",
    "plan": "Planning the attention",
    "denoise": "Making frames",
}
OPTIONAL = {
    "mediapipe": "photos as speakers and videos of people are off (pip install mediapipe==0.10.21)",
    "skia": "drawn speakers and photos are off (pip install skia-python; on Debian apt-get install libgl1 libegl1)",
    "pocketsphinx": "the mouth follows loudness instead of phones (pip install pocketsphinx)",
}
# The explorer's frame tells the page its height and its settings, which the address keeps.
EXPLORER_SCRIPT = """
window.addEventListener("message", (event) => {
  const frame = element.querySelector("iframe"), data = event.data;
  if (!frame || event.source !== frame.contentWindow || !data) return;
  const kept = location.hash.startsWith("#iasa?") ? location.hash.slice(6) : "";
  if (data.iasa === "hello") frame.contentWindow.postMessage({ iasa: "host", href: location.href, text: kept }, "*");
  if (data.iasa === "settings") history.replaceState(null, "", "#iasa?" + String(data.text));
  if (data.iasa === "size") frame.style.height = Math.min(6000, Math.max(400, Number(data.height) || 0)) + "px";
});
"""
CLIENT = '''from gradio_client import Client, handle_file

client = Client("{address}")
video, figures, poses = client.predict(
    audio=handle_file("speech.mp3"), kind="Example speaker", example="{name}", model="student", steps=2, seed=0,
    api_name="/speak",
)
client.view_api()  # all endpoints: /speak, /poses, /compare, /explore, /mask'''

translations = gr.I18n(**{code: {f"iasa_{key}": text for key, text in entries.items()} for code, entries in WORDS.items()})
gpu = spaces.GPU(duration=GPU_SECONDS) if spaces else (lambda function: function)


def words(key: str) -> gr.i18n.I18nData:
    """A text of the page, in the language of the browser; gradio has keys of its own, so ours are marked."""
    return translations(f"iasa_{key}")


@dataclass(frozen=True)
class Made:
    """The clip made last: its poses at 25 a second, its file, and who speaks."""

    poses: Keypoints
    video: str
    reference: Reference


def hand_over_unopened(upload: gr.Image) -> gr.Image:
    """An image upload that passes the file's path on: gradio would open it before `iasa.video.read_image` can judge."""
    upload.preprocess = lambda payload: None if payload is None else payload.path
    return upload


@functools.cache
def load_pipeline() -> CoSpeechPipeline:
    """The networks that ship with the package."""
    return CoSpeechPipeline.from_pretrained()


def missing_parts() -> list[str]:
    """What this installation lacks, in sentences."""
    lacking = [
        f"{name} is not installed: {effect}."
        for name, effect in OPTIONAL.items()
        if importlib.util.find_spec(name) is None
    ]
    for name in ("autoencoder", *MODELS):
        if not (WEIGHTS / name / "config.json").exists():
            lacking.insert(
                0, f"The weights of the {name} are not in {WEIGHTS.name}/: nothing can be generated."
            )
    return lacking


@contextmanager
def plain_errors() -> Iterator[None]:
    """Bad input, or a library that is missing, as a message in the page."""
    try:
        yield
    except (InputError, ImportError) as error:
        text = html.escape(str(error), quote=False)  # the page would take a file's name for markup
        raise gr.Error(text, duration=15, print_exception=False) from error


@functools.cache
def output_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="iasa-"))


def new_output(suffix: str) -> Path:
    """A new name; files of an hour ago are deleted on the way."""
    for old in output_folder().iterdir():
        if time.time() - old.stat().st_mtime > KEPT_SECONDS:
            old.unlink(missing_ok=True)
    return output_folder() / f"iasa-{uuid.uuid4().hex[:12]}{suffix}"


def stop_flag(request: gr.Request | None) -> Path:
    """The file whose presence stops this visitor's run; a file, since on ZeroGPU the run is another process."""
    session = (request.session_hash if request else None) or "nobody"
    return output_folder() / f"{hashlib.sha256(session.encode()).hexdigest()[:16]}.stop"


def request_stop(request: gr.Request) -> str:
    stop_flag(request).touch()
    return "Stopped."


def choose_speaker(
    kind: str, example: str | None, number: float | None, photo: str | None, consent: bool
) -> Reference:
    if kind == DRAWN:
        return draw_speaker(check_seed(number))
    if kind == PHOTO:
        if photo is None:
            raise InputError("there is no photo; upload a portrait that shows one face from the front")
        if not consent:
            raise InputError(
                "a photo may be used only with the consent of the person in it; tick the box to confirm that"
            )
        return photo_speaker(read_image(photo))
    return load_speaker(example or "")


def check_seed(number: float | None) -> int:
    if number is None or number != int(number) or not 0 <= number <= MAX_SEED:
        raise InputError(f"the number is {number}; a whole number from 0 to {MAX_SEED} is needed")
    return int(number)


def read_speech(audio: str | None, seconds: float = MAX_SECONDS) -> np.ndarray:
    if audio is None:
        raise InputError("there is no speech; record some, upload a file or click on an example")
    return read_audio(audio, seconds)[0]


def choose_poses(
    sound: np.ndarray, reference: Reference, seed: int, driving: str | None, wishes: Wishes
) -> Keypoints:
    """Poses as long as the sound: from the given file, or from the sound itself."""
    if driving is None:
        return perform_speech(sound, reference, seed, wishes)
    return read_poses(driving)[: max(1, int(np.ceil(len(sound) / AUDIO_RATE * VIDEO_FPS)))]


def show_progress(progress: gr.Progress) -> Callable[[str, float], None]:
    """A callback that names the stage and how long the rest will take."""
    started = time.perf_counter()

    def show(stage: str, share: float) -> None:
        left = (time.perf_counter() - started) * (1 - share) / share if share > 0.05 else 0
        progress(min(1.0, share), desc=STAGES.get(stage, stage) + (f", about {left:.0f} s left" if left >= 1 else ""))

    return show


def speak_steps(
    audio, kind, example, number, photo, consent, model, steps, seed, driving, wishes, request, progress
) -> Iterator[tuple]:
    """Messages for the live player with a line of figures; last (video, figures, poses file, Made) or "Stopped."."""
    stop = stop_flag(request)
    stop.unlink(missing_ok=True)
    started = time.perf_counter()
    progress(0.0, desc="Reading")
    sound = read_speech(audio)
    reference, seed = choose_speaker(kind, example, number, photo, consent), check_seed(seed)
    pipeline = load_pipeline()
    if model not in MODELS:
        raise InputError(f"the model is {model!r}; accepted: {' or '.join(MODELS)}")
    progress(0.0, desc=STAGES["motion"])
    video, timing = new_output(".mp4"), Timing()
    try:
        with VideoWriter(video, VIDEO_FPS, sound, AUDIO_RATE, mark=True) as writer:
            with timing.stage("motion"):
                poses = choose_poses(sound, reference, seed, driving, wishes)
            take = pipeline.animate(
                poses, reference, model, int(steps), seed, show_progress(progress), stop.exists, timing
            )
            writer.describe(take.settings)
            live, waiting, first, done = LiveVideo(video.stem, sound), [], None, 0
            for frames in take.frames:
                first = first or time.perf_counter() - started
                with timing.stage("write"):
                    writer.add_frames(frames)
                waiting.append(frames)
                done += len(frames)
                if sum(map(len, waiting)) >= LIVE_FRAMES:
                    live.add_frames(np.concatenate(waiting))
                    waiting = []
                    speed = done / max(1e-6, time.perf_counter() - started - first)
                    yield live.message(f"First frame after {first:.1f} s, {speed:.1f} frames/s so far"), ""
            if waiting:
                live.add_frames(np.concatenate(waiting))
            live.finish()
            report = summarise(take, started)
    except Cancelled:
        yield None, "Stopped.", None, None
        return
    sign_if_asked(video)
    file = new_output(".npz")
    save_keypoints(file, take.keypoints)
    REMEMBERED_SPEED[model, int(steps)] = report["fps"]
    note = f"First frame after {first:.1f} s, {report['fps']:.1f} frames/s in all"
    yield live.message(note, ended=True), note
    yield str(video), to_figures(report), str(file), Made(take.keypoints, str(video), reference)


@gpu
def speak(
    audio: str | None,
    kind: str = EXAMPLE,
    example: str | None = None,
    number: float | None = 7,
    photo: str | None = None,
    consent: bool = False,
    model: str = MODELS[0],
    steps: float = DEFAULT_STEPS[MODELS[0]],
    seed: float = 0,
    driving: str | None = None,
    amount: float = 1.0,
    blink: float = 1.0,
    height: float = 0.0,
    lock: bool = False,
    request: gr.Request = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio finds it by its default)
) -> tuple[str | None, str, str | None, Made | None]:
    """Make a video of a speaker who says the given speech.

    Returns the mp4, a line of figures, and the poses as an npz file. The speech may last 60 seconds. The kind of
    speaker is "Example speaker" (with its name), "Drawn from a number" (with the number) or "My photo" (with the
    photo and the consent of the person in it). The model is "student" (1 to 4 steps) or "teacher" (1 to 100). The
    movement comes from the speech (amount of gestures and blinking 0 to 2, hands raised by -12 to 12 cm, head locked
    or not) or from a pose file (npz) or a video of a person.
    """
    with plain_errors():
        wishes = Wishes(amount, blink, height, bool(lock))
        return list(
            speak_steps(
                audio, kind, example, number, photo, consent, model, steps, seed, driving, wishes, request, progress
            )
        )[-1]


@gpu
def speak_live(
    audio, kind, example, number, photo, consent, model, steps, seed, driving, amount, blink, height, lock,
    request: gr.Request = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> Iterator[tuple]:  # fmt: skip
    """`speak`, playing while it is made: (live message, video, figures, poses file, Made)."""
    keep = gr.skip()
    with plain_errors():
        wishes = Wishes(amount, blink, height, bool(lock))
        yield "", None, "", None, keep
        for update in speak_steps(
            audio, kind, example, number, photo, consent, model, steps, seed, driving, wishes, request, progress
        ):
            if len(update) == 2:
                yield update[0], keep, update[1], keep, keep
            else:
                yield keep, *update


REMEMBERED_SPEED: dict[tuple[str, int], float] = {}  # frames a second of this machine's last runs


def estimate(audio: str | None, model: str, steps: float) -> str:
    """How long the run will take, before it."""
    if audio is None:
        return ""
    with plain_errors():
        seconds = len(read_speech(audio)) / AUDIO_RATE
    speed, where = REMEMBERED_SPEED.get((model, int(steps))), "by the last run here"
    if speed is None:
        speed, where = measured_fps(model), "by the machine of the table in Learn; the first run also loads the networks"
    if not speed:
        return f"{seconds:.1f} s of speech."
    return f"{seconds:.1f} s of speech: about {2 + seconds * VIDEO_FPS / speed:.0f} s of work ({where})."


def to_figures(report: dict) -> str:
    """The report of a run in one line."""
    stages = ", ".join(f"{name} {value:.1f} s" for name, value in report["seconds"].items())
    return (
        f"**{report['frames']} frames**, {report['fps']:.1f} frames/s "
        f"({stages}) · {report['model']}, {report['steps']} steps, seed {report['seed']} · "
        f"attention density {report['density']:.1%} · {report['device']} {report['dtype']}"
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
) -> tuple[str, str]:
    """The movement alone, before any picture is made: an mp4 of skeletons with the speech, and the poses as npz.

    Takes the same speech, speaker, seed and wishes as `speak`; the file can be edited and given back as `driving`.
    """
    with plain_errors():
        sound, reference = read_speech(audio), choose_speaker(kind, example, number, photo, consent)
        poses = choose_poses(sound, reference, check_seed(seed), driving, Wishes(amount, blink, height, bool(lock)))
        video, file = new_output(".mp4"), new_output(".npz")
        with VideoWriter(video, VIDEO_FPS, sound, AUDIO_RATE) as writer:
            for start in range(0, len(poses), 50):
                writer.add_frames(draw_pose(poses[start : start + 50]))
        save_keypoints(file, poses)
        return str(video), str(file)


def restore_settings(video: str | None) -> tuple:
    """The settings that a video made here holds, for the controls: kind, example, number, model, steps, seed."""
    if video is None:
        return (gr.skip(),) * 6
    with plain_errors():
        given = read_metadata(video)
        model, steps, seed = given.get("model"), given.get("steps"), given.get("seed")
        whole = isinstance(steps, int) and isinstance(seed, int) and 0 <= seed <= MAX_SEED
        if model not in MODELS or not whole or not 1 <= steps <= MAX_STEPS[model]:
            raise InputError("the video holds no settings; one that was made here is needed")
    name = str(given.get("reference", ""))
    kind, example, number = gr.skip(), gr.skip(), gr.skip()
    if name in speaker_names():
        kind, example = EXAMPLE, name
    elif name.startswith("avatar ") and name[7:].isdigit() and int(name[7:]) <= MAX_SEED:
        kind, number = DRAWN, int(name[7:])
    return kind, example, number, model, gr.update(maximum=MAX_STEPS[model], value=steps), seed


def read_text(text: str) -> str:
    """A synthetic voice reads the text into a sound file."""
    from iasa.training.synthesis import make_speech

    with plain_errors():
        spoken = " ".join(text.split())
        if not any(letter.isalpha() for letter in spoken) or len(spoken) > MAX_TEXT:
            raise InputError(f"the text has {len(spoken)} letters; some words, up to {MAX_TEXT} letters, are needed")
        sound, _ = make_speech(spoken)
    path = new_output(".wav")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, AUDIO_RATE, 0, "NONE", ""))
        file.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return str(path)


@gpu
def compare(
    audio: str | None,
    example: str | None = None,
    seconds: float = 2.0,
    teacher_steps: float = contest.SHORT_TEACHER,
    seed: float = 0,
    request: gr.Request = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> tuple[str | None, str]:
    """The same clip by the dense teacher, the dense student and the sparse student, side by side.

    Returns one mp4 with all three and a table: frames a second, density, FLOP of the attention, and quality against
    the rendered truth. Takes the first 0.4 to 4 seconds of the speech, an example speaker's name, and 1 to 100 steps
    of the teacher.
    """
    stop = stop_flag(request)
    stop.unlink(missing_ok=True)
    with plain_errors():
        if not isinstance(seconds, int | float) or not 0.4 <= seconds <= MAX_COMPARED:
            raise InputError(f"{seconds} seconds are asked for; 0.4 to {MAX_COMPARED:g} are accepted")
        sound = read_speech(audio)[: int(seconds * AUDIO_RATE)]
        reference, pipeline = load_speaker(example or ""), load_pipeline()
        video = new_output(".mp4")
        try:
            rows = contest.compare(
                pipeline, sound, reference, video, check_seed(seed), int(teacher_steps), show_progress(progress), stop.exists
            )
        except Cancelled:
            return None, "Stopped."
        sign_if_asked(video)
    return str(video), contest.to_table(rows, f"{pipeline.device.type}, {pipeline.dtype}".replace("torch.", ""))


@gpu
def explore(
    clip: str | None,
    record: bool = False,
    made: Made | None = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> tuple[str, str]:
    """The mask explorer of a clip: an interactive page about which patches may attend to which.

    The clip is a pose file (npz) or a video of a person (up to 30 seconds); without one, the video made last or else an
    example. `record` also shows what the student attends to, for clips of up to 5 seconds. Returns the page in a
    frame, and as a file of its own.
    """
    with plain_errors():
        thumbnails = attention = None
        if clip is None:
            progress(0.1, desc="Reading the clip")
            poses, reference, thumbnails = example_clip() if made is None else made_clip(made)
            latent = latent_poses(poses, reference)
            title = f"Input-aware sparse attention: {reference.name}"
        else:
            progress(0.1, desc="Finding the person")
            if Path(clip).suffix.lower() == ".npz":
                poses = read_poses(clip)
            else:
                poses, thumbnails = follow_person(clip)
            latent, reference = pool_to_latent(fill_latent(poses)), None
            title = "Input-aware sparse attention: your clip"
        pipeline = load_pipeline()
        if record:
            if reference is None:
                raise InputError("what the student attends to is recorded on a clip made here; make one in Speak first")
            progress(0.3, desc="Making the clip again, looking on")
            run = record_attention(pipeline, poses, reference)
            plan, latent, thumbnails, attention = run.plan, run.keypoints, run.thumbnails, run.attention
        else:
            plan = make_plan(latent, TokenGrid(len(latent)), pipeline.mask)
        page = explorer_html(plan, latent, thumbnails, attention, read_bench(), title)
    file = new_output(".html")
    file.write_text(page, encoding="utf-8")
    return explorer_frame(page), str(file)


def made_clip(made: Made) -> tuple[Keypoints, Reference, list[np.ndarray]]:
    """Poses, speaker, and a picture for each latent frame, the reference first."""
    if not Path(made.video).exists():
        raise InputError("the video made last is no longer kept; make another one")
    frames, _ = read_video(made.video)
    return made.poses, made.reference, [made.reference.image, *frames[::FRAMES_PER_LATENT]]


def example_clip() -> tuple[Keypoints, Reference, None]:
    """Some seconds of an example speaker on an example speech."""
    reference = load_speaker(speaker_names()[0])
    sound, _ = read_audio(sorted((HERE / "examples" / "speech").glob("*.mp3"))[0])
    return perform_speech(sound[: int(3.2 * AUDIO_RATE)], reference, 0, Wishes()), reference, None


def mask(
    poses: str | None, top_k: float, method: str, block: float, made: Made | None = None
) -> tuple[np.ndarray, str]:
    """Draw the attention plan of a pose file (npz with xy, confidence and fps), or of the video made last.

    Returns the picture and the plan's figures as JSON: which past frames each frame sees, the regions of the tokens,
    and the share of the attention matrix that is left.
    """
    with plain_errors():
        if poses is None and made is None:
            raise InputError("there are no poses; make a video in the Speak tab first, or upload a pose file")
        if poses is None:
            still = np.zeros(FRAMES_PER_LATENT, int)  # as the plan sees it: the reference first
            keypoints = concat_keypoints(made.reference.keypoints[still], made.poses)
        else:
            keypoints = load_keypoints(poses)
        if not 1 <= len(keypoints) <= MAX_POSES:
            raise InputError(f"there are {len(keypoints)} poses; 1 to {MAX_POSES} are accepted")
        latent = pool_to_latent(fill_latent(keypoints))
        options = MaskOptions(top_k=int(top_k), method=method, block=int(block))
        plan = make_plan(latent, TokenGrid(len(latent)), options)
        return draw_plan(plan), json.dumps(plan.report(), indent=1)


def about() -> str:
    """The README's part on what this is, how it works and what it must not be used for."""
    text = (HERE / "README.md").read_text()
    return text.partition("<!-- learn -->")[2].partition("<!-- /learn -->")[0]


def about_notebooks() -> str:
    """The course's notebooks, linked where this runs as a Space."""
    space = os.environ.get("SPACE_ID")
    names = sorted(path.name for path in (HERE / "notebooks").glob("*.ipynb"))
    where = f"https://huggingface.co/spaces/{space}/blob/main/notebooks/" if space else None
    lines = [f"- [{name}]({where}{name})" if where else f"- `notebooks/{name}`" for name in names]
    return "### Notebooks\n" + "\n".join(lines) if lines else ""


def about_weights() -> str:
    """What the shipped networks were trained on, from their cards."""
    lines = []
    for name in ("autoencoder", *reversed(MODELS)):
        if (WEIGHTS / name / "card.json").exists():
            card = read_card(name)
            hours = card["seconds"] / 3600
            lines.append(
                f"- **{name}**: {card['steps']} steps in {hours:.1f} h on {card['device']}; data: {card['data']}"
            )
    return "### What was trained\n" + "\n".join(lines) if lines else ""


def make_app() -> gr.Blocks:
    """The page."""
    with gr.Blocks(
        title="IASA: a talking speaker", analytics_enabled=False, delete_cache=(3600, 3600)
    ) as app:
        gr.Markdown(words("title"))
        lacking = missing_parts()
        if lacking:
            gr.Markdown("\n".join(f"- ⚠️ {sentence}" for sentence in lacking))
        made = gr.State()
        with gr.Tab(words("speak"), id="speak"):
            speak_tab(made)
        with gr.Tab(words("compare"), id="compare"):
            compare_tab()
        with gr.Tab(words("explore"), id="explore"):
            explore_tab(made)
        with gr.Tab(words("learn"), id="learn"):
            learn_tab()
    return app


def example_speech(audio: gr.Audio) -> None:
    clips = sorted(str(path) for path in (HERE / "examples" / "speech").glob("*.mp3"))
    if clips:
        names = [Path(clip).stem for clip in clips]
        gr.Examples([[clip] for clip in clips], [audio], label=words("examples"), example_labels=names)


def speak_tab(made: gr.State) -> None:
    names = speaker_names()
    quiet = {"api_visibility": "private", "queue": False}
    with gr.Row():
        with gr.Column(min_width=280):
            audio = gr.Audio(sources=["upload", "microphone"], type="filepath", label=words("audio"))
            example_speech(audio)
            if importlib.util.find_spec("espeakng_loader"):
                text = gr.Textbox(label=words("typed"), max_length=MAX_TEXT, lines=2)
                read = gr.Button(words("read"), size="sm")
                read.click(read_text, text, audio, api_visibility="private")
            kind = gr.Radio([EXAMPLE, DRAWN, PHOTO], value=EXAMPLE if names else DRAWN, label=words("speaker"))
            with gr.Column(visible=bool(names)) as examples:
                gallery = gr.Gallery(
                    [(str(SPEAKERS / f"{name}.png"), name) for name in names], columns=3, height=400,
                    object_fit="cover", allow_preview=False, interactive=False, show_label=False, buttons=[],
                    selected_index=0 if names else None,
                )  # fmt: skip
                example = gr.Radio(names, value=names[0] if names else None, label=words("pick"))
            with gr.Column(visible=not names) as drawn:
                number = gr.Number(7, label=words("number"), precision=0, minimum=0, maximum=MAX_SEED)
            with gr.Column(visible=False) as photographed:
                photo = hand_over_unopened(
                    gr.Image(sources=["upload", "webcam"], type="filepath", label=words("photo"))
                )
                consent = gr.Checkbox(label=words("consent"))
            with gr.Accordion(words("movement"), open=False):
                amount = gr.Slider(0, 2, 1, step=0.1, label=words("amount"))
                blink = gr.Slider(0, 2, 1, step=0.1, label=words("blink"))
                height = gr.Slider(-12, 12, 0, step=1, label=words("height"))
                lock = gr.Checkbox(label=words("lock"))
                driving = gr.File(label=words("driving"), file_types=[".npz", "video"], type="filepath")
                preview = gr.Button(words("preview"))
                skeletons = gr.Video(label=words("poses"), format=None, height=260)
                preview_file = gr.DownloadButton(words("poses_file"), size="sm")
            with gr.Accordion(words("settings"), open=False):
                model = gr.Radio(list(MODELS), value=MODELS[0], label=words("model"), info=words("model_info"))
                steps = gr.Slider(1, MAX_STEPS[MODELS[0]], DEFAULT_STEPS[MODELS[0]], step=1, label=words("steps"))
                seed = gr.Number(0, label=words("seed"), precision=0, minimum=0, maximum=MAX_SEED)
                restore = gr.File(label=words("restore"), file_types=[".mp4"], type="filepath")
        with gr.Column(min_width=280):
            with gr.Row():
                go = gr.Button(words("generate"), variant="primary", elem_id="generate")
                cancel = gr.Button(words("cancel"), elem_id="cancel")
            expected = gr.Markdown()
            live = gr.HTML(
                "", html_template=PLAYER, css_template=PLAYER_STYLE, js_on_load=PLAYER_SCRIPT, elem_id="live"
            )
            video = gr.Video(label=words("video"), format=None, height=420, elem_id="result")
            figures = gr.Markdown(elem_id="figures")
            poses = gr.DownloadButton(words("poses_file"), size="sm")
            results = sorted(str(path) for path in (HERE / "examples" / "results").glob("*.mp4"))
            if results:
                gr.Markdown(words("made_before"))
                with gr.Row():
                    for path in results:
                        gr.Video(path, label=Path(path).stem, format=None, height=200, interactive=False)
    speaker, wishes = [kind, example, number, photo, consent], [driving, amount, blink, height, lock]
    inputs = [audio, *speaker, model, steps, seed, *wishes]
    running = go.click(
        speak_live, inputs, [live, video, figures, poses, made],
        api_visibility="private", concurrency_id="heavy", show_progress_on=video,
    )  # fmt: skip
    plain = gr.Button(visible=False)  # for programs: one mp4 at the end, no playlist of pieces
    plain.click(speak, inputs, [video, figures, poses, made], api_name="speak", concurrency_id="heavy")
    cancel.click(request_stop, None, figures, cancels=[running], **quiet)
    preview.click(
        preview_poses, [audio, *speaker, seed, *wishes], [skeletons, preview_file],
        api_name="poses", concurrency_id="heavy",
    )  # fmt: skip
    restore.change(restore_settings, restore, [kind, example, number, model, steps, seed], **quiet)
    kind.change(
        lambda kind: [gr.update(visible=kind == name) for name in (EXAMPLE, DRAWN, PHOTO)],
        kind, [examples, drawn, photographed], **quiet,
    )  # fmt: skip
    gallery.select(pick_example, None, example, **quiet)
    example.change(show_example, example, gallery, **quiet)
    model.input(
        lambda name: gr.update(maximum=MAX_STEPS[name], value=DEFAULT_STEPS[name]), model, steps, **quiet
    )
    for changed in (audio, model, steps):
        changed.change(estimate, [audio, model, steps], expected, show_progress="hidden", **quiet)


def pick_example(event: gr.SelectData) -> str:
    return speaker_names()[event.index]


def show_example(name: str) -> dict:
    return gr.update(selected_index=speaker_names().index(name))


def compare_tab() -> None:
    names = speaker_names()
    gr.Markdown(words("compare_intro"))
    with gr.Row():
        with gr.Column(min_width=280, scale=1):
            audio = gr.Audio(sources=["upload", "microphone"], type="filepath", label=words("audio"))
            example_speech(audio)
            example = gr.Radio(names, value=names[0] if names else None, label=words("speaker"))
            seconds = gr.Slider(0.4, MAX_COMPARED, 2, step=0.2, label=words("seconds"))
            steps = gr.Slider(1, MAX_STEPS["teacher"], contest.SHORT_TEACHER, step=1, label=words("teacher_steps"))
            seed = gr.Number(0, label=words("seed"), precision=0, minimum=0, maximum=MAX_SEED)
            with gr.Row():
                go = gr.Button(words("run"), variant="primary")
                cancel = gr.Button(words("cancel"))
        with gr.Column(min_width=280, scale=2):
            video = gr.Video(label=words("three"), format=None)
            table = gr.Markdown()
    running = go.click(
        compare, [audio, example, seconds, steps, seed], [video, table],
        api_name="compare", concurrency_id="heavy", show_progress_on=video,
    )  # fmt: skip
    cancel.click(request_stop, None, table, cancels=[running], queue=False, api_visibility="private")


def explore_tab(made: gr.State) -> None:
    default = MaskOptions()
    gr.Markdown(words("explore_intro"))
    with gr.Row():
        clip = gr.File(label=words("clip"), file_types=[".npz", "video"], type="filepath", height=110, scale=2)
        with gr.Column(scale=1, min_width=240):
            record = gr.Checkbox(label=words("record"))
            go = gr.Button(words("open"), variant="primary", elem_id="explore")
            file = gr.DownloadButton(words("page_file"), size="sm")
    page = gr.HTML(js_on_load=EXPLORER_SCRIPT, elem_id="explorer-page")
    go.click(
        explore, [clip, record, made], [page, file],
        api_name="explore", concurrency_id="heavy", show_progress_on=page,
    )  # fmt: skip
    with gr.Accordion(words("picture"), open=False), gr.Row():
        with gr.Column(min_width=280, scale=1):
            poses = gr.File(label=words("poses"), file_types=[".npz"], type="filepath")
            top_k = gr.Slider(0, 16, default.top_k, step=1, label=words("top_k"))
            method = gr.Radio(["mls", "hull"], value=default.method, label=words("regions"))
            block = gr.Radio([16, 32, 64, 128], value=default.block, label=words("block"))
            draw = gr.Button(words("draw"))
        with gr.Column(min_width=280, scale=2):
            picture = gr.Image(
                label=words("picture"), interactive=False, format="png", buttons=["download", "fullscreen"]
            )
            figures = gr.Code(label=words("figures"), language="json", interactive=False)
    draw.click(mask, [poses, top_k, method, block, made], [picture, figures], api_name="mask")


def learn_tab() -> None:
    gr.Markdown(about())
    gr.Markdown(f"### Measured\n{quality_table()}")
    gr.Markdown(about_weights())
    gr.Markdown(about_notebooks())
    address = os.environ.get("SPACE_ID") or "http://127.0.0.1:7860"
    name = (speaker_names() or ["alba"])[0]
    gr.Markdown("### From a program\n`pip install gradio_client`; started with `python app.py --mcp`, the same are MCP tools.")
    gr.Code(CLIENT.format(address=address, name=name), language="python", interactive=False, show_label=False)


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    output_folder()  # before ZeroGPU forks, so that a stop flag is seen on both sides
    for sentence in missing_parts():
        print(sentence, file=sys.stderr)
    app = make_app()
    if not any("weights" in sentence for sentence in missing_parts()):
        load_pipeline()
    app.queue(default_concurrency_limit=1, max_size=16)
    theme = gr.themes.Soft(font=["system-ui", "sans-serif"])
    tools = "--mcp" in sys.argv
    if tools and importlib.util.find_spec("mcp") is None:
        print('MCP tools are off: pip install "gradio[mcp]"', file=sys.stderr)
        tools = False
    app.launch(
        theme=theme, css=CSS, max_file_size=MAX_FILE, ssr_mode=False, run_history=False, i18n=translations, mcp_server=tools
    )


if __name__ == "__main__":
    main()
