"""The Speak tab: what is said, who says it and how on one side, the player with what can be done with a clip on the other."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from iasa.avatar.speaker import speaker_names
from iasa.config import DEFAULT_MOTION, DEFAULT_STEPS, MAX_STEPS, MODELS, MOTION_MODELS
from iasa.demo.clip_actions import FORMATS, POSES, SETTINGS, hand_out, made_before, play_stored, show_still
from iasa.demo.given_speech import MAX_TEXT, begin_run, estimate, read_what_is_typed, take_sound
from iasa.demo.microphone import MAX_LIVE_SECONDS, finish_listening, listen, stop_listening
from iasa.demo.player import PLAYER, PLAYER_SCRIPT, PLAYER_STYLE
from iasa.demo.run_settings import restore_settings
from iasa.demo.service import stop_run
from iasa.demo.speak import preview_poses, speak, speak_live
from iasa.demo.speaker_choice import (
    BACKDROPS,
    COLOR,
    DRAWN,
    EXAMPLE,
    MAX_SEED,
    OWN,
    PHOTO,
    PICTURE,
    PUPPET,
)
from iasa.demo.words import words
from iasa.demo.zerogpu import LENT
from iasa.paths import SPEAKERS, SPEECH
from iasa.speech.language import LANGUAGES
from iasa.training.speech_data.synthesis import VOICES

QUIET: dict[str, Any] = {"api_visibility": "private", "queue": False}
SAVE = """(file) => {
  const link = Object.assign(document.createElement("a"), { href: file.url, download: file.orig_name ?? "" });
  link.click();
}"""


class Movement(NamedTuple):
    """Controls of the movement, and what shows it alone."""

    wishes: list[gr.components.Component]  # driving, amount, blink, height, lock, motion
    preview: gr.Button
    shown: list[gr.components.Component]  # the skeletons, their file


class Settings(NamedTuple):
    """Controls of the networks, and the video that sets them."""

    model: gr.Radio
    steps: gr.Slider
    seed: gr.Number
    restore: gr.File
    missing: gr.Markdown


class ClipButtons(NamedTuple):
    """One row: files of the clip made last, and its way into the other tabs."""

    files: dict[str, gr.Button]  # by the file's ending
    explore: gr.Button
    compare: gr.Button


def speak_tab(made: gr.State) -> ClipButtons:
    """Returns what leads out of the tab."""
    with gr.Row(elem_id="speak-columns"):
        with gr.Column(min_width=280, elem_id="inputs"):
            audio = gr.Audio(sources=["upload", "microphone"], type="filepath", label=words("audio"))
            expected = gr.Markdown(elem_id="expected")
            example_speech(audio)
            other = gr.UploadButton(words("other_sound"), size="sm", type="filepath", elem_id="other-sound")
            hand_over_unopened(other).upload(take_sound, other, audio, **QUIET)
            typed = type_speech(audio)
            speaker, behind = choose_speaker_controls()
            movement = movement_controls()
            settings = settings_controls()
        with gr.Column(min_width=280, elem_id="play"):
            with gr.Row(elem_id="actions"):
                go = gr.Button(words("generate"), variant="primary", elem_id="generate")
                cancel = gr.Button(words("cancel"), elem_id="cancel")
            player = make_player(speaker_names()[0] if speaker_names() else None)
            buttons = clip_buttons()
            stored = stored_examples()
        with gr.Column(min_width=280, elem_id="more"):
            if not LENT:
                live_microphone([*speaker, settings.seed], player)
            figures = gr.Markdown(elem_id="figures", label="Figures")
    inputs = [audio, *speaker, *settings[:3], *movement.wishes, *behind]
    run_on_click(go, cancel, typed, inputs, [player, figures, made])
    for_programs(inputs)
    for name, button in stored:
        outputs = [player, audio, *speaker[:2], settings.seed]
        button.click(answer(play_stored, name), None, outputs, **QUIET)
    save_on_click(buttons, made)
    speaker[1].change(show_still, speaker[1], player, show_progress="hidden", **QUIET)
    connect_controls(audio, speaker, behind, movement, settings, expected)
    return buttons


def run_on_click(
    go: gr.Button, cancel: gr.Button, typed: list[Any], inputs: list[Any], outputs: list[gr.components.Component]
) -> None:
    """Generate takes the run's turn at once, then waits in the line of the heavy jobs; Cancel ends it in either."""
    player, audio = outputs[0], inputs[0]
    turn, read_last = gr.State(), typed[-1] if typed else gr.State("")
    asked: dict[str, Any] = {"api_visibility": "private", "show_progress_on": player, "show_progress": "minimal"}
    # not in the queue, where Cancel would overtake it
    pressed = go.click(
        begin_run, typed, [audio, read_last, turn, player], trigger_mode="multiple", queue=False, **asked
    )
    pressed.success(speak_live, [*inputs, turn], outputs, concurrency_id="heavy", trigger_mode="multiple", **asked)
    cancel.click(stop_run, turn, player, show_progress="hidden", **QUIET)


def connect_controls(audio, speaker, behind, movement: Movement, settings: Settings, expected: gr.Markdown) -> None:
    """What changes with what: the preview, the settings of a file, the steps of a model, the time that is expected."""
    model, steps, seed, restore, missing = settings
    movement.preview.click(
        name_tool(preview_poses, "poses"), [audio, *speaker, seed, *movement.wishes], movement.shown,
        api_name="poses", concurrency_id="heavy",
    )  # fmt: skip
    kind, example, number, *_ = speaker
    driving, amount, blink, height, lock, motion = movement.wishes
    restored = [
        kind,
        example,
        number,
        model,
        steps,
        seed,
        motion,
        amount,
        blink,
        height,
        lock,
        driving,
        *behind[:2],
        missing,
    ]
    restore.change(restore_settings, restore, restored, **QUIET)
    model.input(lambda name: gr.update(maximum=MAX_STEPS[name], value=DEFAULT_STEPS[name]), model, steps, **QUIET)
    for changed in (audio, model, steps):
        changed.change(estimate, [audio, model, steps], expected, show_progress="hidden", **QUIET)


def movement_controls() -> Movement:
    with gr.Accordion(words("movement"), open=False):
        motion = gr.Radio(list(MOTION_MODELS), value=DEFAULT_MOTION, label=words("motion"), info=words("motion_info"))
        amount = gr.Slider(0, 2, 1, step=0.1, label=words("amount"))
        blink = gr.Slider(0, 2, 1, step=0.1, label=words("blink"))
        height = gr.Slider(-12, 12, 0, step=1, label=words("height"))
        lock = gr.Checkbox(label=words("lock"))
        driving = hand_over_unopened(gr.File(label=words("driving"), file_types=[".npz", "video"], type="filepath"))
        preview = gr.Button(words("preview"))
        skeletons = gr.Video(label=words("poses"), format=None, height=260)
        file = gr.DownloadButton(words("poses_file"), size="sm")
    return Movement([driving, amount, blink, height, lock, motion], preview, [skeletons, file])


def settings_controls() -> Settings:
    with gr.Accordion(words("settings"), open=False):
        model = gr.Radio(list(MODELS), value=MODELS[0], label=words("model"), info=words("model_info"))
        usual = DEFAULT_STEPS[MODELS[0]]
        steps = gr.Slider(1, MAX_STEPS[MODELS[0]], usual, step=1, label=words("steps"), elem_id="steps")
        seed = gr.Number(0, label=words("seed"), precision=0, minimum=0, maximum=MAX_SEED)
        restore = hand_over_unopened(gr.File(label=words("restore"), file_types=[".mp4", ".webm"], type="filepath"))
        missing = gr.Markdown(elem_id="missing")
    return Settings(model, steps, seed, restore, missing)


def clip_buttons() -> ClipButtons:
    with gr.Row(elem_id="clip-actions"):
        labels = dict(zip(FORMATS, ("MP4", "WebM", "GIF"), strict=True))
        labels |= {POSES: words("take_poses"), SETTINGS: words("take_settings")}
        small: dict[str, Any] = {"size": "sm", "min_width": 60, "interactive": False}
        files = {ending: gr.Button(label, elem_id=f"take{ending}", **small) for ending, label in labels.items()}
        explore = gr.Button(words("explore_this"), elem_id="explore-this", **small)
        compare = gr.Button(words("compare_this"), elem_id="compare-this", **small)
    return ClipButtons(files, explore, compare)


def save_on_click(buttons: ClipButtons, made: gr.State) -> None:
    """Each button makes its file, if it is not there yet, and the browser saves it; they work once there is a clip."""
    file = gr.File(visible="hidden", label="File", elem_id="handed")
    for ending, button in buttons.files.items():
        handed = button.click(
            answer(hand_out, ending, True), made, file, api_visibility="private", concurrency_id="heavy",
        )  # fmt: skip
        handed.success(None, file, None, js=SAVE, **QUIET)
    everything = [*buttons.files.values(), buttons.explore, buttons.compare]
    made.change(
        lambda clip: [gr.update(interactive=clip is not None)] * len(everything), made, everything,
        show_progress="hidden", **QUIET,
    )  # fmt: skip


def answer(function: Callable, choice: str, of_clip: bool = False) -> Callable:
    """An event of a button that stands for one choice: gradio names it by its function and hands over the request."""

    def choose(request: gr.Request) -> Any:
        return function(choice, request)

    def choose_of_clip(made: Any, request: gr.Request) -> Any:
        return function(choice, made, request)

    return choose_of_clip if of_clip else choose


def stored_examples() -> list[tuple[str, gr.Button]]:
    """Buttons with names of videos that were made before, which play at once."""
    names = made_before()
    if not names:
        return []
    gr.Markdown(words("made_before"), elem_id="made-before")
    with gr.Row(elem_id="stored"):
        return [(name, gr.Button(name.replace("_", " · "), size="sm", min_width=90)) for name in names]


def hand_over_unopened(upload: Any) -> Any:
    """An upload that passes the file's path on: gradio would open a picture before `iasa.media.reader.read_image` can judge
    it, and refuse files by their names, which programs that send data have none for."""
    upload.preprocess = lambda payload: None if payload is None else payload.path
    return upload


def name_tool(function: Callable, name: str) -> Callable:
    """The name of an endpoint for the tool that agents see, which gradio calls by the function's."""
    function.__name__ = name
    return function


def example_speech(audio: gr.Audio) -> None:
    clips = sorted(str(path) for path in SPEECH.glob("*.mp3"))
    if clips:
        names = [Path(clip).stem for clip in clips]
        gr.Examples([[clip] for clip in clips], [audio], label=words("examples"), example_labels=names)


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


def for_programs(inputs: list[Any]) -> None:
    """`speak` by itself: one file at the end, no playlist of pieces; any number of steps, which the model judges."""
    plain = gr.Button(visible=False)
    steps = gr.Number(None, label="Steps", precision=0, visible=False)
    inputs = [steps if isinstance(one, gr.Slider) and one.elem_id == "steps" else one for one in inputs]
    outputs = [
        gr.Video(label="Video", format=None, visible=False),
        gr.Markdown(label="Figures", visible=False),
        gr.DownloadButton("Poses", visible=False),
    ]
    plain.click(speak, inputs, outputs, api_name="speak", concurrency_id="heavy")


def choose_speaker_controls() -> tuple[list[Any], list[Any]]:
    """Who speaks (kind, example, number, photo, consent), and what is behind a photo's person (kind, color, picture); only
    what the choice needs is shown."""
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
    with gr.Column(visible=False) as surrounded:
        behind = backdrop_controls()
    photo.change(lambda: False, None, consent, **QUIET)  # given for one picture
    columns, shown_for = [examples, drawn, photographed, surrounded], ((EXAMPLE,), (DRAWN,), (PHOTO, PUPPET), (PHOTO,))
    kind.change(lambda kind: [gr.update(visible=kind in kinds) for kinds in shown_for], kind, columns, **QUIET)
    gallery.select(pick_example, None, example, **QUIET)
    example.change(show_example, example, gallery, **QUIET)
    return [kind, example, number, photo, consent], behind


def backdrop_controls() -> list[Any]:
    labels = (
        words("backdrop_own"), words("backdrop_whole"), words("backdrop_color"), words("backdrop_picture"),
        words("backdrop_clear"),
    )  # fmt: skip
    choices = list(zip(labels, BACKDROPS, strict=True))
    backdrop = gr.Radio(choices, value=OWN, label=words("backdrop"), elem_id="backdrop")
    color = gr.ColorPicker("#3d6b8e", label=words("color"), visible=False)
    picture = gr.Image(sources=["upload"], type="filepath", label=words("backdrop_file"), visible=False)
    backdrop.change(
        lambda kind: [gr.update(visible=kind == COLOR), gr.update(visible=kind == PICTURE)], backdrop,
        [color, picture], **QUIET,
    )  # fmt: skip
    return [backdrop, color, hand_over_unopened(picture)]


def pick_example(event: gr.SelectData) -> str:
    return speaker_names()[event.index]


def show_example(name: str) -> dict:
    return gr.update(selected_index=speaker_names().index(name))


def make_player(speaker: str | None) -> gr.HTML:
    """The one player, which keeps its room whatever it shows; at first the example speaker."""
    first = show_still(speaker) if speaker else ""
    return gr.HTML(
        first,
        label="Player",
        html_template=PLAYER,
        css_template=PLAYER_STYLE,
        js_on_load=PLAYER_SCRIPT,
        elem_id="player",
    )


def live_microphone(inputs: list[gr.components.Component], player: gr.HTML) -> None:
    """Sound streams in, the player shows what comes out. It takes its turn among the heavy jobs."""
    with gr.Accordion(words("live"), open=False, elem_id="live-microphone"):
        gr.Markdown(words("live_intro"))
        microphone = gr.Audio(sources=["microphone"], streaming=True, type="filepath", label=words("live_mic"))
        drop = gr.Button(words("live_cancel"), size="sm", elem_id="live-cancel")
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    streaming = microphone.stream(
        listen, [microphone, *inputs], player, stream_every=0.5, time_limit=int(MAX_LIVE_SECONDS) + 5,
        concurrency_id="heavy", **hidden,
    )  # fmt: skip
    microphone.stop_recording(finish_listening, None, player, concurrency_limit=None, **hidden)
    drop.click(stop_listening, None, player, cancels=[streaming], queue=False, **hidden)
