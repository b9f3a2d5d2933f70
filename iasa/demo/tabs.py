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
    begin_run,
    estimate,
    preview_poses,
    read_what_is_typed,
    restore_settings,
    speak,
    speak_live,
    take_sound,
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
:is(.block-info, label > span, .label-wrap), #figures, #expected, #missing { overflow-wrap: anywhere; }
@media (max-width: 640px) {
  #actions { position: fixed; inset: auto 0 0; z-index: 1000; padding: 8px 12px; background: var(--body-background-fill); }
  footer { padding-bottom: 64px !important; }
}
@media (max-width: 480px) {
  .tab-container button { padding-inline: 8px !important; }
}"""
OPEN_LINK = """() => {
  if (!location.hash.startsWith("#iasa?")) return;
  setTimeout(() => document.getElementById("explore-tab-button")?.click(), 300);
  setTimeout(() => document.querySelector("#explore")?.click(), 1000);
}"""
QUIET = {"api_visibility": "private", "queue": False}


def make_page() -> gr.Blocks:
    """The page."""
    kept = 10**9, int(KEPT_SECONDS)  # gradio deletes at the end alone; `service.keep_tidy` looks in between
    with gr.Blocks(title="IASA: a talking speaker", analytics_enabled=False, delete_cache=kept) as page:
        gr.Markdown(words("title"))
        lacking = missing_parts()
        if lacking:
            gr.Markdown("\n".join(f"- ⚠️ {sentence}" for sentence in lacking))
        made = gr.State()
        with gr.Tabs():
            with gr.Tab(words("speak"), id="speak"):
                speak_tab(made)
            with gr.Tab(words("compare"), id="compare"):
                compare_tab()
            with gr.Tab(words("explore"), id="explore", elem_id="explore-tab"):
                explore_tab(made)
            with gr.Tab(words("learn"), id="learn"):
                learn_tab()
        open_links(page)
    return page


def open_links(page: gr.Blocks) -> None:
    """A link that was copied out of the explorer opens it."""
    page.load(None, None, None, js=OPEN_LINK, **QUIET)


def hand_over_unopened(upload: Any) -> Any:
    """An upload that passes the file's path on: gradio would open a picture before `iasa.media.reader.read_image` can judge
    it, and refuse files by their names, which programs that send data have none for."""
    upload.preprocess = lambda payload: None if payload is None else payload.path
    return upload


def choose_number(choices: list[int], **options: Any) -> gr.Radio:
    """A choice among numbers, which programs are told to give as numbers: gradio says text."""
    radio = gr.Radio(choices, **options)
    radio.api_info = lambda: {"enum": choices, "title": "Radio", "type": "integer"}
    return radio


def name_tool(function: Any, name: str) -> Any:
    """The name of an endpoint for the tool that agents see, which gradio calls by the function's."""
    function.__name__ = name
    return function


def example_speech(audio: gr.Audio) -> None:
    clips = sorted(str(path) for path in SPEECH.glob("*.mp3"))
    if clips:
        names = [Path(clip).stem for clip in clips]
        gr.Examples([[clip] for clip in clips], [audio], label=words("examples"), example_labels=names)


def speak_tab(made: gr.State) -> None:
    with gr.Row():
        with gr.Column(min_width=280):
            audio = gr.Audio(sources=["upload", "microphone"], type="filepath", label=words("audio"))
            expected = gr.Markdown(elem_id="expected")
            example_speech(audio)
            other = gr.UploadButton(words("other_sound"), size="sm", type="filepath", elem_id="other-sound")
            hand_over_unopened(other).upload(take_sound, other, audio, **QUIET)
            typed = type_speech(audio)
            speaker = choose_speaker_controls()
            with gr.Accordion(words("movement"), open=False):
                motion = gr.Radio(
                    list(MOTION_MODELS), value=DEFAULT_MOTION, label=words("motion"), info=words("motion_info")
                )
                amount = gr.Slider(0, 2, 1, step=0.1, label=words("amount"))
                blink = gr.Slider(0, 2, 1, step=0.1, label=words("blink"))
                height = gr.Slider(-12, 12, 0, step=1, label=words("height"))
                lock = gr.Checkbox(label=words("lock"))
                driving = hand_over_unopened(
                    gr.File(label=words("driving"), file_types=[".npz", "video"], type="filepath")
                )
                preview = gr.Button(words("preview"))
                skeletons = gr.Video(label=words("poses"), format=None, height=260)
                preview_file = gr.DownloadButton(words("poses_file"), size="sm")
            with gr.Accordion(words("settings"), open=False):
                model = gr.Radio(list(MODELS), value=MODELS[0], label=words("model"), info=words("model_info"))
                steps = gr.Slider(
                    1, MAX_STEPS[MODELS[0]], DEFAULT_STEPS[MODELS[0]], step=1, label=words("steps"), elem_id="steps"
                )
                seed = gr.Number(0, label=words("seed"), precision=0, minimum=0, maximum=MAX_SEED)
                restore = hand_over_unopened(gr.File(label=words("restore"), file_types=[".mp4"], type="filepath"))
                missing = gr.Markdown(elem_id="missing")
        with gr.Column(min_width=280):
            with gr.Row(elem_id="actions"):
                go = gr.Button(words("generate"), variant="primary", elem_id="generate")
                cancel = gr.Button(words("cancel"), elem_id="cancel")
            live = make_player("live")
            video = gr.Video(label=words("video"), show_label=False, format=None, height=420, elem_id="result")
            figures = gr.Markdown(elem_id="figures", label="Figures")
            poses = gr.DownloadButton(words("poses_file"), size="sm")
            if not LENT:
                live_microphone([*speaker, seed], live)
            made_before()
    wishes = [driving, amount, blink, height, lock, motion]
    inputs = [audio, *speaker, model, steps, seed, *wishes]
    asked: dict[str, Any] = {"api_visibility": "private", "show_progress_on": video}
    turn, read_last = gr.State(), typed[-1] if typed else gr.State("")
    pressed = go.click(begin_run, typed, [audio, read_last, turn], trigger_mode="multiple", **asked)
    results = [live, video, figures, poses, made]
    pressed.success(speak_live, [*inputs, turn], results, concurrency_id="heavy", trigger_mode="multiple", **asked)
    for_programs(inputs, [video, figures, poses])
    cancel.click(request_stop, None, figures, **QUIET)
    preview.click(
        name_tool(preview_poses, "poses"), [audio, *speaker, seed, *wishes], [skeletons, preview_file],
        api_name="poses", concurrency_id="heavy",
    )  # fmt: skip
    kind, example, number, *_ = speaker
    restored = [kind, example, number, model, steps, seed, motion, amount, blink, height, lock, driving, missing]
    restore.change(restore_settings, restore, restored, **QUIET)
    model.input(lambda name: gr.update(maximum=MAX_STEPS[name], value=DEFAULT_STEPS[name]), model, steps, **QUIET)
    for changed in (audio, model, steps):
        changed.change(estimate, [audio, model, steps], expected, show_progress="hidden", **QUIET)


def type_speech(audio: gr.Audio) -> list[Any]:
    """Where a voice is installed, a text that it reads: [text, voice, the text that was read last], else []."""
    if not importlib.util.find_spec("espeakng_loader"):
        gr.Markdown(words("no_voice"))
        return []
    text = gr.Textbox(label=words("typed"), max_length=MAX_TEXT, lines=2, elem_id="typed")
    read = gr.Button(words("read"), size="sm")
    voices = [(words("voice_auto"), "auto"), *((LANGUAGES[code], code) for code in VOICES)]
    voice, last = gr.Dropdown(voices, value="auto", label=words("voice")), gr.State("")
    read.click(read_what_is_typed, [text, voice], [audio, last], api_visibility="private")
    return [text, voice, last]


def for_programs(inputs: list[Any], outputs: list[Any]) -> None:
    """`speak` by itself: one mp4 at the end, no playlist of pieces; any number of steps, which the model judges."""
    plain = gr.Button(visible=False)
    steps = gr.Number(None, label="Steps", precision=0, visible=False)
    inputs = [steps if isinstance(one, gr.Slider) and one.elem_id == "steps" else one for one in inputs]
    plain.click(speak, inputs, outputs, api_name="speak", concurrency_id="heavy")


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
        consent = gr.Checkbox(label=words("consent"), elem_id="consent")
    photo.change(lambda: False, None, consent, **QUIET)  # given for one picture
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


def make_player(name: str) -> gr.HTML:
    """A live player, which takes no room before its first picture."""
    return gr.HTML("", html_template=PLAYER, css_template=PLAYER_STYLE, js_on_load=PLAYER_SCRIPT, elem_id=name)


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
                with gr.Column(min_width=90):
                    gr.Video(path, label=Path(path).stem, show_label=False, format=None, height=200, interactive=False)
                    gr.Markdown(Path(path).stem.replace("_", ": "))


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
            video = gr.Video(label=words("three"), show_label=False, format=None, elem_id="compared")
            table = gr.Markdown(elem_id="compared-table", label="Table")
    running = go.click(
        compare, [audio, example, seconds, steps, seed, patterns], [video, table],
        api_name="compare", concurrency_id="heavy", show_progress_on=video,
    )  # fmt: skip
    cancel.click(request_stop, None, table, cancels=[running], **QUIET)


def explore_tab(made: gr.State) -> None:
    default = MaskOptions()
    gr.Markdown(words("explore_intro"))
    with gr.Row():
        clip = hand_over_unopened(
            gr.File(label=words("clip"), file_types=[".npz", "video"], type="filepath", height=110, scale=2)
        )
        with gr.Column(scale=1, min_width=240):
            sources = [(words("made_last"), ""), *((name, name) for name in speaker_names())]
            example = gr.Dropdown(sources, value="", label=words("or_example"), elem_id="explore-example")
            record = gr.Checkbox(label=words("record"))
            go = gr.Button(words("open"), variant="primary", elem_id="explore")
            file = gr.DownloadButton(words("page_file"), size="sm")
    page = gr.HTML(label="Explorer", show_label=False, js_on_load=EXPLORER_SCRIPT, elem_id="explorer-page")
    go.click(
        explore, [clip, record, made, example], [page, file],
        api_name="explore", concurrency_id="heavy", show_progress_on=page,
    )  # fmt: skip
    with gr.Accordion(words("picture"), open=False), gr.Row():
        with gr.Column(min_width=280, scale=1):
            poses = hand_over_unopened(gr.File(label=words("poses"), file_types=[".npz"], type="filepath"))
            top_k = gr.Slider(0, 16, default.top_k, step=1, label=words("top_k"))
            method = gr.Radio(["mls", "hull"], value=default.method, label=words("regions"))
            block = choose_number([16, 32, 64, 128], value=default.block, label=words("block"))
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
