"""The demo in a browser: `python app.py`. One function per tab; all the work lies in the package `iasa`."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import spaces  # on a ZeroGPU Space it must come before torch; elsewhere it is not needed
except ModuleNotFoundError:
    spaces = None

import gradio as gr
import numpy as np

from iasa.config import DEFAULT_STEPS, FRAMES_PER_LATENT, MAX_STEPS, MODELS, InputError, MaskOptions
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
from iasa.pipeline import Cancelled, CoSpeechPipeline, write_take
from iasa.reference import SPEAKERS, Reference, draw_speaker, load_speaker, photo_speaker, speaker_names
from iasa.speech import read_audio
from iasa.video import read_image

HERE = Path(__file__).resolve().parent
MAX_SECONDS = 60.0  # of speech; the command line takes ten minutes
MAX_FILE = "50mb"
MAX_POSES = 3000  # frames of a pose file in the Mask tab
MAX_SEED = 2**32 - 1
KEPT_SECONDS = 3600.0  # a made video is deleted after an hour
GPU_SECONDS = 60  # of a ZeroGPU call
CSS = ".gradio-container {max-width: 1200px !important; margin: 0 auto !important}"
EXAMPLE, DRAWN, PHOTO = "Example speaker", "Drawn from a number", "My photo"
STAGES = {
    "motion": "Listening: phones, stress, gestures",
    "plan": "Planning the attention",
    "denoise": "Making frames",
}
OPTIONAL = {
    "mediapipe": "photos as speakers are off (pip install mediapipe==0.10.21)",
    "skia": "drawn speakers and photos are off (pip install skia-python; on Debian apt-get install libgl1 libegl1)",
    "pocketsphinx": "the mouth follows loudness instead of phones (pip install pocketsphinx)",
}


def hand_over_unopened(upload: gr.Image) -> gr.Image:
    """An image upload that passes the file's path on: gradio would open it before `iasa.video.read_image` can judge."""
    upload.preprocess = lambda payload: None if payload is None else payload.path
    return upload


gpu = spaces.GPU(duration=GPU_SECONDS) if spaces else (lambda function: function)


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
        raise gr.Error(str(error), duration=15, print_exception=False) from error


@functools.cache
def output_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="iasa-"))


def new_outputs() -> tuple[Path, Path]:
    """Names for a video and its poses; files of an hour ago are deleted on the way."""
    for old in output_folder().iterdir():
        if time.time() - old.stat().st_mtime > KEPT_SECONDS:
            old.unlink(missing_ok=True)
    name = uuid.uuid4().hex[:12]
    return output_folder() / f"iasa-{name}.mp4", output_folder() / f"iasa-{name}.npz"


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


@gpu
def speak(
    audio: str | None,
    kind: str,
    example: str | None,
    number: float | None,
    photo: str | None,
    consent: bool,
    model: str,
    steps: float,
    seed: float,
    request: gr.Request = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio finds it by its default)
) -> tuple[str | None, str, str | None, Keypoints | None]:
    """Make a video of a speaker who says the given speech.

    Returns the mp4, a line of figures, and the poses as an npz file. The speech may last 60 seconds. The kind of
    speaker is "Example speaker" (with its name), "Drawn from a number" (with the number) or "My photo" (with the
    photo and the consent of the person in it). The model is "student" (1 to 4 steps) or "teacher" (1 to 100).
    """
    stop = stop_flag(request)
    stop.unlink(missing_ok=True)
    with plain_errors():
        if audio is None:
            raise InputError("there is no speech; record some, upload a file or click on an example")
        progress(0.0, desc="Reading")
        sound, _ = read_audio(audio, MAX_SECONDS)
        reference = choose_speaker(kind, example, number, photo, consent)
        pipeline = load_pipeline()
        video, poses = new_outputs()

        def start():
            return pipeline.speak(
                sound,
                reference,
                model,
                int(steps),
                check_seed(seed),
                progress=show_progress(progress),
                should_stop=stop.exists,
            )

        try:
            take, report = write_take(start, video, sound)
        except Cancelled:
            return None, "Stopped.", None, None
        save_keypoints(poses, take.keypoints)
    still = np.zeros(FRAMES_PER_LATENT, int)
    seen = concat_keypoints(
        reference.keypoints[still], take.keypoints
    )  # as the plan sees it: the reference first
    return str(video), to_figures(report), str(poses), seen


def show_progress(progress: gr.Progress) -> Callable[[str, float], None]:
    return lambda stage, share: progress(share, desc=STAGES.get(stage, stage))


def to_figures(report: dict) -> str:
    """The report of a run in one line."""
    seconds = report["seconds"]
    stages = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    return (
        f"**{report['frames']} frames** in {sum(seconds.values()):.1f} s, {report['fps']:.1f} frames/s "
        f"({stages}) · {report['model']}, {report['steps']} steps, seed {report['seed']} · "
        f"attention density {report['density']:.1%} · {report['device']} {report['dtype']}"
    )


def mask(
    poses: str | None, top_k: float, method: str, block: float, made: Keypoints | None
) -> tuple[np.ndarray, str]:
    """Draw the attention plan of a pose file (npz with xy, confidence and fps), or of the video made last.

    Returns the picture and the plan's figures as JSON: which past frames each frame sees, the regions of the tokens,
    and the share of the attention matrix that is left.
    """
    with plain_errors():
        keypoints = made if poses is None else load_keypoints(poses)
        if keypoints is None:
            raise InputError("there are no poses; make a video in the Speak tab first, or upload a pose file")
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
        gr.Markdown(
            "# Speech in, talking speaker out\nInput-aware sparse attention on an ordinary processor. The speakers are drawn "
            "avatars, not photo-real people; every video is AI-generated and marked so."
        )
        lacking = missing_parts()
        if lacking:
            gr.Markdown("\n".join(f"- ⚠️ {sentence}" for sentence in lacking))
        made = gr.State()
        with gr.Tab("Speak"):
            speak_tab(made)
        with gr.Tab("Mask"):
            mask_tab(made)
        with gr.Tab("Learn"):
            gr.Markdown(about())
            gr.Markdown(about_weights())
    return app


def speak_tab(made: gr.State) -> None:
    names = speaker_names()
    with gr.Row():
        with gr.Column(min_width=280):
            audio = gr.Audio(
                sources=["upload", "microphone"], type="filepath", label=f"Speech, up to {MAX_SECONDS:.0f} s"
            )
            clips = sorted(str(path) for path in (HERE / "examples" / "speech").glob("*.mp3"))
            if clips:
                gr.Examples(
                    [[clip] for clip in clips],
                    [audio],
                    label="Or one of these",
                    example_labels=[Path(c).stem for c in clips],
                )
            kind = gr.Radio([EXAMPLE, DRAWN, PHOTO], value=EXAMPLE if names else DRAWN, label="Speaker")
            with gr.Column(visible=bool(names)) as examples:
                gallery = gr.Gallery(
                    [(str(SPEAKERS / f"{name}.png"), name) for name in names], columns=3, height=400,
                    object_fit="cover", allow_preview=False, interactive=False, show_label=False, buttons=[],
                    selected_index=0 if names else None,
                )  # fmt: skip
                example = gr.Radio(
                    names, value=names[0] if names else None, label="Click on a picture, or on a name"
                )
            with gr.Column(visible=not names) as drawn:
                number = gr.Number(
                    7, label="Number: each is another person", precision=0, minimum=0, maximum=MAX_SEED
                )
            with gr.Column(visible=False) as photographed:
                photo = hand_over_unopened(
                    gr.Image(sources=["upload", "webcam"], type="filepath", label="A portrait from the front")
                )
                consent = gr.Checkbox(label="This is me, or the person in the photo agreed to this use")
            with gr.Accordion("Settings", open=False):
                model = gr.Radio(
                    list(MODELS),
                    value=MODELS[0],
                    label="Model",
                    info="student: few steps, sparse; teacher: slow, dense",
                )
                steps = gr.Slider(
                    1, MAX_STEPS[MODELS[0]], DEFAULT_STEPS[MODELS[0]], step=1, label="Denoising steps"
                )
                seed = gr.Number(
                    0, label="Seed of gestures and noise", precision=0, minimum=0, maximum=MAX_SEED
                )
            with gr.Row():
                go = gr.Button("Generate", variant="primary")
                cancel = gr.Button("Cancel")
        with gr.Column(min_width=280):
            video = gr.Video(label="The speaker (AI-generated)", autoplay=True, format=None, height=420)
            figures = gr.Markdown()
            poses = gr.DownloadButton("Download the poses (npz, for the Mask tab or --pose)", size="sm")
    running = go.click(
        speak, [audio, kind, example, number, photo, consent, model, steps, seed], [video, figures, poses, made],
        api_name="speak", concurrency_id="heavy", show_progress_on=video,
    )  # fmt: skip
    cancel.click(request_stop, None, figures, cancels=[running], queue=False, api_visibility="private")
    kind.change(
        lambda kind: [gr.update(visible=kind == name) for name in (EXAMPLE, DRAWN, PHOTO)],
        kind, [examples, drawn, photographed], api_visibility="private", queue=False,
    )  # fmt: skip
    gallery.select(pick_example, None, example, api_visibility="private", queue=False)
    example.change(show_example, example, gallery, api_visibility="private", queue=False)
    model.change(
        lambda name: gr.update(maximum=MAX_STEPS[name], value=DEFAULT_STEPS[name]),
        model, steps, api_visibility="private", queue=False,
    )  # fmt: skip


def pick_example(event: gr.SelectData) -> str:
    return speaker_names()[event.index]


def show_example(name: str) -> dict:
    return gr.update(selected_index=speaker_names().index(name))


def mask_tab(made: gr.State) -> None:
    default = MaskOptions()
    with gr.Row():
        with gr.Column(min_width=280, scale=1):
            gr.Markdown(
                "Which frames and which parts of them may attend to each other, from the poses alone."
            )
            poses = gr.File(
                label="Poses (npz); empty: the video made last", file_types=[".npz"], type="filepath"
            )
            top_k = gr.Slider(0, 16, default.top_k, step=1, label="K: past frames chosen by pose")
            method = gr.Radio(
                ["mls", "hull"],
                value=default.method,
                label="Regions",
                info="mls: the paper's text; hull: polygons",
            )
            block = gr.Radio([16, 32, 64, 128], value=default.block, label="Block of the attention matrix")
            draw = gr.Button("Draw the plan", variant="primary")
        with gr.Column(min_width=280, scale=2):
            picture = gr.Image(
                label="The plan", interactive=False, format="png", buttons=["download", "fullscreen"]
            )
            figures = gr.Code(label="Figures", language="json", interactive=False)
    draw.click(mask, [poses, top_k, method, block, made], [picture, figures], api_name="mask")


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    output_folder()  # before ZeroGPU forks, so that a stop flag is seen on both sides
    app = make_app()
    if not any("weights" in sentence for sentence in missing_parts()):
        load_pipeline()
    app.queue(default_concurrency_limit=1, max_size=16)
    theme = gr.themes.Soft(font=["system-ui", "sans-serif"])
    app.launch(theme=theme, css=CSS, max_file_size=MAX_FILE, ssr_mode=False, run_history=False)


if __name__ == "__main__":
    main()
