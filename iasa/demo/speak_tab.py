"""The Speak tab: what is said, who says it and how on one side, the player with what can be done with a clip on the other."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from iasa.avatar.speaker import speaker_names
from iasa.config import DEFAULT_MOTION, DEFAULT_STEPS, LAYERS, MAX_STEPS, MODELS, MOTION_MODELS
from iasa.demo.clip_actions import (
    FORMATS,
    POSES,
    SETTINGS,
    hand_out,
    made_before,
    play_stored,
    show_picture,
    show_still,
)
from iasa.demo.events import QUIET, answer, hand_over_unopened, name_tool
from iasa.demo.given_speech import AUTO, MAX_TEXT, begin_run, estimate, read_what_is_typed, take_sound
from iasa.demo.microphone import MAX_LIVE_SECONDS, finish_listening, listen, stop_listening
from iasa.demo.player import PLAYER, PLAYER_SCRIPT, PLAYER_STYLE
from iasa.demo.run_settings import restore_settings
from iasa.demo.service import stop_run
from iasa.demo.speak import preview_poses, speak, speak_live
from iasa.demo.speaker_choice import (
    MAX_SEED,
)
from iasa.demo.speaker_panel import choose_speaker_controls
from iasa.demo.words import words
from iasa.demo.zerogpu import LENT
from iasa.paths import SPEECH
from iasa.speech.language import LANGUAGES
from iasa.training.speech_data.synthesis import VOICES

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
            audio, typed, expected = speech_box()
            speaker, behind, pictures = choose_speaker_controls()
            movement = movement_controls()
            settings = settings_controls()
        with gr.Column(min_width=280, elem_id="play"):
            with gr.Row(elem_id="actions"):
                go = gr.Button(words("Generate"), variant="primary", elem_id="generate")
                cancel = gr.Button(words("Cancel"), elem_id="cancel")
            player = make_player(speaker_names()[0] if speaker_names() else None)
            buttons = clip_buttons()
            stored = stored_examples()
        with gr.Column(min_width=280, elem_id="more"):
            if not LENT:
                live_microphone([*speaker, settings.seed, behind[-1]], player)
            figures = gr.Markdown(elem_id="figures", label="Figures")
    inputs = [audio, *speaker, *settings[:3], *movement.wishes, *behind]
    run_on_click(go, cancel, typed, inputs, [player, figures, made])
    for_programs(inputs)
    for name, button in stored:
        outputs = [player, audio, *speaker[:2], speaker[3], settings.seed]
        button.click(answer(play_stored, name), None, outputs, **QUIET)
    save_on_click(buttons, made)
    for changed in speaker[:2]:
        changed.change(show_still, [speaker[1], speaker[0]], player, show_progress="hidden", **QUIET)
    for picture in pictures:
        picture.change(show_picture, picture, player, show_progress="hidden", **QUIET)
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
        name_tool(preview_poses, "poses"), [audio, *speaker, seed, *movement.wishes, behind[-1]], movement.shown,
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
        behind[-1],
        missing,
    ]
    restore.change(restore_settings, restore, restored, **QUIET)
    model.input(steps_of, model, steps, **QUIET)
    for changed in (audio, model, steps, kind):
        changed.change(estimate, [audio, model, steps, kind], expected, show_progress="hidden", **QUIET)


def movement_controls() -> Movement:
    with gr.Accordion(words("Movement"), open=False):
        motion = gr.Radio(
            [(words(name), name) for name in MOTION_MODELS],
            value=DEFAULT_MOTION,
            label=words("Gesture model"),
            info=words("rules: by syllables and pauses; learned: trained, begins somewhat later"),
        )
        amount = gr.Slider(0, 2, 1, step=0.1, label=words("Amount of gestures"))
        blink = gr.Slider(0, 2, 1, step=0.1, label=words("Blinking"))
        height = gr.Slider(-12, 12, 0, step=1, label=words("Raise hands (cm)"))
        lock = gr.Checkbox(label=words("Keep head and torso still"))
        driving = hand_over_unopened(
            gr.File(
                label=words("Use another movement: poses (npz) or a video of one person"),
                file_types=[".npz", "video"],
                type="filepath",
            )
        )
        preview = gr.Button(words("Show the poses"))
        skeletons = gr.Video(label=words("The poses"), format=None, height=260)
        file = gr.DownloadButton(words("Download the poses (npz)"), size="sm")
    return Movement([driving, amount, blink, height, lock, motion], preview, [skeletons, file])


def steps_of(model: str) -> dict:
    """The slider of the steps, for a model that was chosen."""
    if model == LAYERS:
        return gr.update(interactive=False)
    model = MODELS[0] if model == AUTO else model
    return gr.update(maximum=MAX_STEPS[model], value=DEFAULT_STEPS[model], interactive=True)


def settings_controls() -> Settings:
    with gr.Accordion(words("Model, steps and seed"), open=False):
        model = gr.Radio(
            [(words(name), name) for name in (AUTO, *MODELS, LAYERS)],
            value=AUTO,
            label=words("Model"),
            info=words(
                "auto: layers of a photo, else the student; student: few steps, sparse; teacher: slow, dense; "
                "layers: the warped picture alone, quickest"
            ),
        )
        usual = DEFAULT_STEPS[MODELS[0]]
        steps = gr.Slider(1, MAX_STEPS[MODELS[0]], usual, step=1, label=words("Denoising steps"), elem_id="steps")
        seed = gr.Number(0, label=words("Seed of gestures and noise"), precision=0, minimum=0, maximum=MAX_SEED)
        restore = hand_over_unopened(
            gr.File(
                label=words("Restore the settings of a video that was made here"),
                file_types=[".mp4", ".webm"],
                type="filepath",
            )
        )
        missing = gr.Markdown(elem_id="missing")
    return Settings(model, steps, seed, restore, missing)


def clip_buttons() -> ClipButtons:
    with gr.Row(elem_id="clip-actions"):
        labels = dict(zip(FORMATS, ("MP4", "WebM", "GIF"), strict=True))
        labels |= {POSES: words("Poses"), SETTINGS: words("Settings (JSON)")}
        small: dict[str, Any] = {"size": "sm", "min_width": 60, "interactive": False}
        files = {ending: gr.Button(label, elem_id=f"take{ending}", **small) for ending, label in labels.items()}
        explore = gr.Button(words("Explore this clip"), elem_id="explore-this", **small)
        compare = gr.Button(words("Compare this clip"), elem_id="compare-this", **small)
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


def stored_examples() -> list[tuple[str, gr.Button]]:
    """Buttons with names of videos that were made before, which play at once."""
    names = made_before()
    if not names:
        return []
    gr.Markdown(words("**Ready-made examples**: play at once, nothing is computed"), elem_id="made-before")
    with gr.Row(elem_id="stored"):
        return [(name, gr.Button(name.replace("_", " · "), size="sm", min_width=90)) for name in names]


def example_speech(audio: gr.Audio) -> None:
    clips = sorted(str(path) for path in SPEECH.glob("*.mp3"))
    if clips:
        names = [Path(clip).stem for clip in clips]
        gr.Examples([[clip] for clip in clips], [audio], label=words("Or one of these"), example_labels=names)


def speech_box() -> tuple[gr.Audio, list[Any], gr.Markdown]:
    """All ways to give the speech: a file, the microphone, an example, any file with sound, a text that a voice reads.
    Returns the speech, the text with its voice and what was read last where there are voices, and the line about it."""
    with gr.Group(elem_id="speech"):
        audio = gr.Audio(sources=["upload", "microphone"], type="filepath", label=words("Speech"))
        example_speech(audio)
        text = type_speech()
        with gr.Row(elem_id="speech-ways"):
            typed = [text, *choose_voice(text, audio)] if text else []
            other = gr.UploadButton(
                words("Another file, or a video's sound"), size="sm", type="filepath", elem_id="other-sound"
            )
        hand_over_unopened(other).upload(take_sound, other, audio, **QUIET)
    return audio, typed, gr.Markdown(elem_id="expected")


def type_speech() -> gr.Textbox | None:
    """A text to be read aloud, where a voice is installed; else a line that says how to have one."""
    if not importlib.util.find_spec("espeakng_loader"):
        gr.Markdown(words("Typed text needs a voice: `pip install espeakng-loader` (eSpeak NG, GPL)."), padding=True)
        return None
    label = words("Or type what is to be said (a synthetic voice reads it)")
    return gr.Textbox(label=label, max_length=MAX_TEXT, lines=1, max_lines=4, elem_id="typed")


def choose_voice(text: gr.Textbox, audio: gr.Audio) -> list[Any]:
    """[voice, the text that was read last]."""
    voices = [(words("The language of the text"), "auto"), *((words(LANGUAGES[code]), code) for code in VOICES)]
    voice, last = gr.Dropdown(voices, value="auto", label=words("Voice"), min_width=150), gr.State("")
    read = gr.Button(words("Read it aloud"), size="sm", min_width=90)
    read.click(read_what_is_typed, [text, voice], [audio, last], api_visibility="private")
    return [voice, last]


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
    with gr.Accordion(words("Live: speak into the microphone"), open=False, elem_id="live-microphone"):
        gr.Markdown(
            words(
                "The chosen speaker says it with you, about a second later, for up to a minute. Press record; nothing is "
                "kept."
            )
        )
        microphone = gr.Audio(sources=["microphone"], streaming=True, type="filepath", label=words("Microphone"))
        drop = gr.Button(words("Stop and discard"), size="sm", elem_id="live-cancel")
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    streaming = microphone.stream(
        listen, [microphone, *inputs], player, stream_every=0.5, time_limit=int(MAX_LIVE_SECONDS) + 5,
        concurrency_id="heavy", **hidden,
    )  # fmt: skip
    microphone.stop_recording(finish_listening, None, player, concurrency_limit=None, **hidden)
    drop.click(stop_listening, None, player, cancels=[streaming], queue=False, **hidden)
