"""The demo's page: its four tabs, and what happens when something in them is clicked."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import gradio as gr

from iasa.avatar.speaker import speaker_names
from iasa.config import DEFAULT_MOTION, DEFAULT_STEPS, MAX_STEPS, MODELS, MOTION_MODELS, MaskOptions
from iasa.demo.compare import MAX_COMPARED, PATTERNS, SHORT_TEACHER, compare
from iasa.demo.explore import EXPLORER_SCRIPT, explore, mask
from iasa.demo.learn import client_code
from iasa.demo.microphone import MAX_LIVE_SECONDS, finish_listening, listen, stop_listening
from iasa.demo.player import PLAYER, PLAYER_SCRIPT, PLAYER_STYLE
from iasa.demo.service import DRAWN, EXAMPLE, KEPT_SECONDS, MAX_SEED, PHOTO, PUPPET, missing_parts, request_stop
from iasa.demo.speak import (
    MAX_TEXT,
    estimate,
    preview_poses,
    read_text,
    restore_settings,
    speak,
    speak_live,
)
from iasa.demo.words import words
from iasa.demo.zerogpu import LENT
from iasa.paths import EXAMPLES, SPEAKERS, SPEECH
from iasa.speech.language import LANGUAGES
from iasa.training.speech_data.synthesis import VOICES

CSS = """.gradio-container {
  width: 100% !important; min-width: 0 !important; max-width: 1480px !important;
  margin: 0 auto !important; box-sizing: border-box;
}
#compared-table { overflow-x: auto; }
#compared-table :is(th, td) { white-space: nowrap; padding-inline: 8px !important; }
#speakers .grid-wrap { height: auto !important; min-height: 0 !important; max-height: none !important; }
@media (max-width: 480px) {
  .gradio-container .app { padding: 10px !important; }
  .gradio-container button[role="tab"] { padding-inline: 9px !important; }
}"""
QUIET = {"api_visibility": "private", "queue": False}


def make_page() -> gr.Blocks:
    """The page."""
    kept = int(KEPT_SECONDS) // 4 + 1, int(KEPT_SECONDS)  # seconds between looks, and of a file
    with gr.Blocks(title="IASA: a talking speaker", analytics_enabled=False, delete_cache=kept) as page:
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
    return page


def hand_over_unopened(upload: gr.Image) -> gr.Image:
    """An image upload that passes the file's path on: gradio would open it before `iasa.media.reader.read_image` can judge."""
    upload.preprocess = lambda payload: None if payload is None else payload.path
    return upload


def example_speech(audio: gr.Audio) -> None:
    clips = sorted(str(path) for path in SPEECH.glob("*.mp3"))
    if clips:
        names = [Path(clip).stem for clip in clips]
        gr.Examples([[clip] for clip in clips], [audio], label=words("examples"), example_labels=names)


def speak_tab(made: gr.State) -> None:
    with gr.Row():
        with gr.Column(min_width=280):
            audio = gr.Audio(sources=["upload", "microphone"], type="filepath", label=words("audio"))
            example_speech(audio)
            if importlib.util.find_spec("espeakng_loader"):
                text = gr.Textbox(label=words("typed"), max_length=MAX_TEXT, lines=2)
                read = gr.Button(words("read"), size="sm")
                voices = [(words("voice_auto"), "auto"), *((LANGUAGES[code], code) for code in VOICES)]
                voice = gr.Dropdown(voices, value="auto", label=words("voice"))
                read.click(read_text, [text, voice], audio, api_visibility="private")
            speaker = choose_speaker_controls()
            with gr.Accordion(words("movement"), open=False):
                motion = gr.Radio(
                    list(MOTION_MODELS), value=DEFAULT_MOTION, label=words("motion"), info=words("motion_info")
                )
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
            if not LENT:
                live_microphone([*speaker, seed], live)
            made_before()
    wishes = [driving, amount, blink, height, lock, motion]
    inputs = [audio, *speaker, model, steps, seed, *wishes]
    running = go.click(
        speak_live, inputs, [live, video, figures, poses, made],
        api_visibility="private", concurrency_id="heavy", show_progress_on=video,
    )  # fmt: skip
    plain = gr.Button(visible=False)  # for programs: one mp4 at the end, no playlist of pieces
    plain.click(speak, inputs, [video, figures, poses, made], api_name="speak", concurrency_id="heavy")
    cancel.click(request_stop, None, figures, cancels=[running], **QUIET)
    preview.click(
        preview_poses, [audio, *speaker, seed, *wishes], [skeletons, preview_file],
        api_name="poses", concurrency_id="heavy",
    )  # fmt: skip
    kind, example, number, *_ = speaker
    restore.change(restore_settings, restore, [kind, example, number, model, steps, seed, motion], **QUIET)
    model.input(lambda name: gr.update(maximum=MAX_STEPS[name], value=DEFAULT_STEPS[name]), model, steps, **QUIET)
    for changed in (audio, model, steps):
        changed.change(estimate, [audio, model, steps], expected, show_progress="hidden", **QUIET)


def choose_speaker_controls() -> list[gr.components.Component]:
    """Who speaks: kind, example, number, photo, consent; only what the kind needs is shown."""
    names = speaker_names()
    kinds = [
        (words("kind_example"), EXAMPLE), (words("kind_drawn"), DRAWN),
        (words("kind_photo"), PHOTO), (words("kind_puppet"), PUPPET),
    ]  # fmt: skip
    kind = gr.Radio(kinds, value=EXAMPLE if names else DRAWN, label=words("speaker"))
    with gr.Column(visible=bool(names)) as examples:
        gallery = gr.Gallery(
            [(str(SPEAKERS / f"{name}.png"), name) for name in names], columns=3, elem_id="speakers",
            object_fit="cover", allow_preview=False, interactive=False, show_label=False, buttons=[],
            selected_index=0 if names else None,
        )  # fmt: skip
        example = gr.Radio(names, value=names[0] if names else None, label=words("pick"))
    with gr.Column(visible=not names) as drawn:
        number = gr.Number(7, label=words("number"), precision=0, minimum=0, maximum=MAX_SEED)
    with gr.Column(visible=False) as photographed:
        photo = hand_over_unopened(gr.Image(sources=["upload", "webcam"], type="filepath", label=words("photo")))
        consent = gr.Checkbox(label=words("consent"))
    kind.change(
        lambda kind: [gr.update(visible=kind in shown) for shown in ((EXAMPLE,), (DRAWN,), (PHOTO, PUPPET))],
        kind, [examples, drawn, photographed], **QUIET,
    )  # fmt: skip
    gallery.select(pick_example, None, example, **QUIET)
    example.change(show_example, example, gallery, **QUIET)
    return [kind, example, number, photo, consent]


def pick_example(event: gr.SelectData) -> str:
    return speaker_names()[event.index]


def show_example(name: str) -> dict:
    return gr.update(selected_index=speaker_names().index(name))


def live_microphone(inputs: list[gr.components.Component], live: gr.HTML) -> None:
    """Sound streams in, the live player shows what comes out. It takes its turn among the heavy jobs."""
    with gr.Accordion(words("live"), open=False, elem_id="live-microphone"):
        gr.Markdown(words("live_intro"))
        microphone = gr.Audio(sources=["microphone"], streaming=True, type="filepath", label=words("live_mic"))
        drop = gr.Button(words("live_cancel"), size="sm", elem_id="live-cancel")
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    streaming = microphone.stream(
        listen, [microphone, *inputs], live, stream_every=0.5, time_limit=int(MAX_LIVE_SECONDS) + 5,
        concurrency_id="heavy", **hidden,
    )  # fmt: skip
    microphone.stop_recording(finish_listening, None, live, concurrency_limit=None, **hidden)
    drop.click(stop_listening, None, live, cancels=[streaming], queue=False, **hidden)


def made_before() -> None:
    """Videos of the examples, to watch at once."""
    results = sorted(str(path) for path in (EXAMPLES / "results").glob("*.mp4"))
    if results:
        gr.Markdown(words("made_before"))
        with gr.Row():
            for path in results:
                gr.Video(path, label=Path(path).stem, format=None, height=200, interactive=False)


def compare_tab() -> None:
    names = speaker_names()
    gr.Markdown(words("compare_intro"))
    with gr.Row():
        with gr.Column(min_width=280, scale=1):
            audio = gr.Audio(sources=["upload", "microphone"], type="filepath", label=words("audio"))
            example_speech(audio)
            example = gr.Radio(names, value=names[0] if names else None, label=words("speaker"))
            seconds = gr.Slider(0.4, MAX_COMPARED, 2, step=0.2, label=words("seconds"))
            steps = gr.Slider(1, MAX_STEPS["teacher"], SHORT_TEACHER, step=1, label=words("teacher_steps"))
            seed = gr.Number(0, label=words("seed"), precision=0, minimum=0, maximum=MAX_SEED)
            patterns = gr.Dropdown(PATTERNS, multiselect=True, max_choices=2, label=words("two_patterns"))
            with gr.Row():
                go = gr.Button(words("run"), variant="primary", elem_id="compare")
                cancel = gr.Button(words("cancel"))
        with gr.Column(min_width=280, scale=2):
            video = gr.Video(label=words("three"), format=None, elem_id="compared")
            table = gr.Markdown(elem_id="compared-table")
    running = go.click(
        compare, [audio, example, seconds, steps, seed, patterns], [video, table],
        api_name="compare", concurrency_id="heavy", show_progress_on=video,
    )  # fmt: skip
    cancel.click(request_stop, None, table, cancels=[running], **QUIET)


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
    for part in ("about", "about_measured", "about_weights", "about_notebooks", "about_programs"):
        gr.Markdown(words(part), elem_id=part)
    gr.Code(client_code(), language="python", interactive=False, show_label=False)
