"""The demo's page: its header and its four tabs, of which Compare, Explore and Learn are laid out here."""

from __future__ import annotations

from typing import Any, NamedTuple

import gradio as gr

from iasa.avatar.speaker import speaker_names
from iasa.config import IMAGE_SIZE, MAX_STEPS, MODELS, MaskOptions
from iasa.demo.clip_actions import to_comparison
from iasa.demo.compare import LABEL, MAX_COMPARED, NO_PATTERN, PATTERNS, SHORT_TEACHER, compare
from iasa.demo.compare_memory import MOST_FRAMES, compare_memory
from iasa.demo.events import QUIET, hand_over_unopened
from iasa.demo.explore import EXPLORER_SCRIPT, explore, mask
from iasa.demo.learn import about, about_measured, about_notebooks, about_programs, about_weights, client_code, title
from iasa.demo.refused_files import refused_script
from iasa.demo.service import KEPT_SECONDS, missing_parts, request_stop
from iasa.demo.speak_tab import ClipButtons, example_speech, speak_tab
from iasa.demo.speaker_choice import MAX_SEED
from iasa.demo.translations import translate
from iasa.demo.wipe import make_wipe
from iasa.demo.words import language_switch, words
from iasa.masks.frame_choice import CHOICES

CSS = """.gradio-container {
  width: 100% !important; min-width: 0 !important; max-width: 1480px !important;
  margin: 0 auto !important; box-sizing: border-box;
}
#top { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 12px; }
#header h1 { margin: 0 0 2px; }
#language { width: auto; font-size: 14px; }
#language a { margin-left: 10px; color: var(--link-text-color); }
#language a[aria-current] { color: inherit; text-decoration: none; font-weight: 600; }
#header p { margin: 0 0 2px; font-size: 14px; line-height: 1.4; }
#speak-columns { display: grid; grid-template: "inputs play" auto "inputs more" 1fr / minmax(0, 1fr) minmax(0, 1fr); }
#inputs { grid-area: inputs; }
#play { grid-area: play; gap: 8px; }
#more { grid-area: more; }
#player .html-container { opacity: 1 !important; padding: 0; }
#player > [data-testid="status-tracker"] { display: none; }
#clip-actions, #stored { gap: 6px; }
#clip-actions > *, #stored > * { flex: 1 1 auto; width: auto; }
:is(.prose, .md) a { color: var(--link-text-color); }
.dark :is(button[role="tab"].selected, .or) { color: #a5b4fc; }
[id^="about"] { overflow: visible !important; overflow-wrap: anywhere; }
#made-before p { margin: 0; font-size: 14px; }
#speech > .styler { background: var(--block-background-fill); gap: 0; }
#speech .block { border-width: 0 !important; box-shadow: none; }
#speech .audio-container .wrap { min-height: 110px; }
#speech .gallery { padding: 0 8px 4px; gap: 6px; }
#speech .gallery > * { border: 1px solid var(--border-color-primary); border-radius: 6px; }
#speech-ways { align-items: end; gap: 8px; padding: 0 10px 10px; background: none; }
#speech-ways > * { flex: 1 1 auto; width: auto; }
#speech :is(time, .playback span) { color: var(--body-text-color); }
#photo { display: flex; flex-direction: column; }
#photo .image-container { flex: 1; min-height: 0; height: auto; }
#photo:has(img) [data-testid="block-label"] { max-width: calc(100% - 100px); }
:is(#photo, .block:has(> button.upload-container)) > [data-testid="block-label"] { position: static; width: fit-content; }
#about_measured table { font-size: 13px; }
#about_measured :is(th, td) { padding: 4px 6px !important; text-align: left; overflow-wrap: normal; word-break: normal; }
/* Wider than the screen they scroll, with a shadow at each side on which more is hidden: covers move along with the table. */
:is(#about_measured, #compared-table) { --more: rgb(30 27 75 / 55%); }
.dark :is(#about_measured, #compared-table) { --more: rgb(224 231 255 / 65%); }
:is(#about_measured, #compared-table) table {
  display: block; width: fit-content; max-width: 100%; overflow-x: auto; padding: 0; border: 0;
  background: linear-gradient(to right, var(--body-background-fill) 50%, transparent) left / 48px 100% no-repeat local,
    linear-gradient(to left, var(--body-background-fill) 50%, transparent) right / 48px 100% no-repeat local,
    linear-gradient(to right, var(--more), transparent) left / 20px 100% no-repeat scroll,
    linear-gradient(to left, var(--more), transparent) right / 20px 100% no-repeat scroll;
}
#compared-table :is(th, td) { white-space: nowrap; padding-inline: 8px !important; }
#speakers .grid-wrap, #people .grid-wrap { height: auto !important; min-height: 0 !important; max-height: none !important; }
#people .grid-wrap { padding-top: 2.2em; }
#people .grid-container { grid-template-columns: repeat(auto-fill, 5.5em) !important; }
:is(.block-info, label > span, .label-wrap), #figures, #expected, #missing { overflow-wrap: anywhere; }
@media (max-width: 640px) {
  #top { grid-template-columns: minmax(0, 1fr); gap: 0; }
  #language { order: -1; justify-self: end; }
  #framing { flex-direction: column; }
  #header h1 { font-size: 20px; }
  #header p { font-size: 12.5px; }
  #speak-columns { grid-template: "play" auto "inputs" auto "more" auto / minmax(0, 1fr); }
  #actions { position: fixed; inset: auto 0 0; z-index: 1000; padding: 8px 12px; background: var(--body-background-fill); }
  footer { padding-bottom: 64px !important; }
}
@media (max-width: 480px) {
  .tab-container button { padding-inline: 6px !important; font-size: 14px !important; }
}"""
# A link that was copied out of the explorer opens it. Tables scroll where they are wider than the screen, so the keyboard has to
# reach them, whenever their tab is laid out.
ON_LOAD = """() => {
  const tables = ":is(#about_measured, #compared-table) table";
  const reach = () => document.querySelectorAll(tables).forEach((table) => (table.tabIndex = 0));
  new MutationObserver(reach).observe(document.body, { childList: true, subtree: true });
  if (!location.hash.startsWith("#iasa?")) return;
  setTimeout(() => document.getElementById("explore-tab-button")?.click(), 300);
  setTimeout(() => document.querySelector("#explore")?.click(), 1000);
}"""

# On a phone the explorer is below what the screen shows, where nothing seemed to happen.
SHOW_EXPLORER = """() => setTimeout(() => {
  const found = document.getElementById("explorer-page");
  if (found.getBoundingClientRect().top > 0.7 * innerHeight) found.scrollIntoView();
}, 200)"""


class HeavyWork(NamedTuple):
    """What a tab makes from what, the events that begin it, and the buttons that end it with a word."""

    inputs: list[Any]
    outputs: list[Any]
    runs: list[Any]
    cancels: list[gr.Button]
    said: gr.components.Component


def make_page() -> gr.Blocks:
    """The page."""
    kept = 10**9, int(KEPT_SECONDS)  # gradio deletes at the end alone; `service.keep_tidy` looks in between
    with gr.Blocks(title="IASA: a talking speaker", analytics_enabled=False, delete_cache=kept) as page:
        with gr.Row(elem_id="top"):
            gr.Markdown(words(title), elem_id="header")
            language_switch()
        if missing_parts():
            gr.Markdown(words(list_missing))
        made = gr.State()
        with gr.Tabs() as tabs:
            with gr.Tab(words("Speak"), id="speak"):
                buttons = speak_tab(made)
            with gr.Tab(words("Compare"), id="compare"):
                comparison = compare_tab()
            with gr.Tab(words("Explore"), id="explore", elem_id="explore-tab"):
                exploration = explore_tab(made)
            with gr.Tab(words("Learn"), id="learn"):
                learn_tab()
        lead_on(buttons, made, tabs, exploration, comparison)
        for script in (ON_LOAD, refused_script()):
            page.load(None, None, None, js=script, **QUIET)
    return page


def list_missing(language: str) -> str:
    """What this installation lacks, as a list."""
    return "\n".join(f"- ⚠️ {translate(sentence, language)}" for sentence in missing_parts())


def lead_on(buttons: ClipButtons, made: gr.State, tabs: gr.Tabs, exploration: HeavyWork, comparison: HeavyWork) -> None:
    """The clip made last goes into the explorer or into a comparison, which begin at once; Cancel ends them however they
    were begun."""
    heavy: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "heavy"}
    clip, *_, example = exploration.inputs
    opened = buttons.explore.click(
        lambda: (gr.Tabs(selected="explore"), None, ""), None, [tabs, clip, example], **QUIET
    )
    exploring = opened.success(
        explore, exploration.inputs, exploration.outputs, show_progress_on=exploration.outputs[0], **heavy
    )
    exploring.success(None, None, None, js=SHOW_EXPLORER, **QUIET)
    audio, speaker, _, _, seed, *_ = comparison.inputs
    filled = buttons.compare.click(to_comparison, made, [audio, speaker, seed], **QUIET)
    opened = filled.success(lambda: gr.Tabs(selected="compare"), None, tabs, **QUIET)
    comparing = opened.success(
        compare, comparison.inputs, comparison.outputs, show_progress_on=comparison.outputs[0], **heavy
    )
    for work, led in ((exploration, exploring), (comparison, comparing)):
        for cancel in work.cancels:
            cancel.click(request_stop, None, work.said, cancels=[*work.runs, led], **QUIET)


def choose_number(choices: list[int], **options: Any) -> gr.Radio:
    """A choice among numbers, which programs are told to give as numbers: gradio says text."""
    radio = gr.Radio(choices, **options)
    radio.api_info = lambda: {"enum": choices, "title": "Radio", "type": "integer"}
    return radio


def compare_tab() -> HeavyWork:
    """Returns the comparison; the memories, which are shown in its place, are ended with it."""
    names = speaker_names()
    gr.Markdown(
        words(
            "One clip, side by side: by the many-step dense teacher, the student with dense attention to all of the past, and "
            "the student with the input-aware mask; or by two patterns of attention; or with two choices of what is remembered."
        )
    )
    with gr.Row():
        with gr.Column(min_width=280, scale=1):
            audio = gr.Audio(sources=["upload", "microphone"], type="filepath", label=words("Speech"))
            example_speech(audio)
            example = gr.Radio(names, value=names[0] if names else None, label=words("Speaker"))
            seconds = gr.Slider(0.4, MAX_COMPARED, 2, step=0.2, label=words("Seconds of the speech"))
            steps = gr.Slider(1, MAX_STEPS["teacher"], SHORT_TEACHER, step=1, label=words("Steps of the teacher"))
            seed = gr.Number(0, label=words("Seed of gestures and noise"), precision=0, minimum=0, maximum=MAX_SEED)
            with gr.Accordion(words("Instead of the three: two patterns of attention"), open=False, elem_id="patterns"):
                sides = [*choose_side("First"), *choose_side("Second")]
            with gr.Row():
                go = gr.Button(words("Compare"), variant="primary", elem_id="compare")
                cancel = gr.Button(words("Cancel"))
            remember, forget, memory = choose_memory()
        with gr.Column(min_width=280, scale=2):
            video = gr.Video(
                label=words("Side by side (AI-generated)"), show_label=False, format=None, elem_id="compared"
            )
            make_wipe(LABEL, IMAGE_SIZE + LABEL)
            table = gr.Markdown(elem_id="compared-table", label="Table")
    inputs, outputs = [audio, example, seconds, steps, seed, *sides], [video, table]
    heavy: dict[str, Any] = {"concurrency_id": "heavy", "show_progress_on": video}
    runs = [
        go.click(compare, inputs, outputs, api_name="compare", **heavy),
        remember.click(compare_memory, memory, outputs, api_name="compare_memory", **heavy),
    ]
    return HeavyWork(inputs, outputs, runs, [cancel, forget], table)


def choose_side(name: str) -> list[gr.components.Component]:
    """A pattern of attention, the model that it serves, and its steps."""
    return [
        gr.Dropdown([("-", NO_PATTERN), *PATTERNS], value=NO_PATTERN, label=words(name)),
        gr.Radio([(words(model), model) for model in MODELS], value="student", label=words("Model")),
        gr.Slider(1, MAX_STEPS["teacher"], 1, step=1, label=words("Denoising steps")),
    ]


def choose_memory() -> tuple[gr.Button, gr.Button, list[gr.components.Component]]:
    """What the past is for: a button with its inputs, and one that ends what it began."""
    with gr.Accordion(words("What the past is for: a badge that the reference hides"), open=False, elem_id="memory"):
        gr.Markdown(
            words(
                "A small teacher draws a held-out speaker and remembers few true frames of the last ten seconds. Watch the "
                "badge, the palm and the watch: whose frames hold them?"
            )
        )
        number = gr.Number(1, label=words("Speaker"), precision=0, minimum=0, maximum=MAX_SEED)
        frames = gr.Slider(1, MOST_FRAMES, 1, step=1, label=words("Frames in memory"))
        choices = [(words(choice), choice) for choice in CHOICES]
        sides = [
            gr.Dropdown(choices, value=value, label=words(name))
            for name, value in (("First", "pose"), ("Second", "last"))
        ]
        with gr.Row():
            remember = gr.Button(words("Remember"), elem_id="remember")
            cancel = gr.Button(words("Cancel"), elem_id="forget")
    return remember, cancel, [number, *sides, frames]


def explore_tab(made: gr.State) -> HeavyWork:
    """Returns the explorer."""
    default = MaskOptions()
    gr.Markdown(
        words(
            "Which patches may attend to which, from the poses alone. Point, drag, switch: everything is recomputed in your "
            "browser."
        )
    )
    with gr.Row():
        clip = hand_over_unopened(
            gr.File(
                label=words("Your own pose file or video"),
                file_types=[".npz", "video"],
                type="filepath",
                height=140,
                scale=2,
            )
        )
        with gr.Column(scale=1, min_width=240):
            sources = [(words("The video made last, else an example"), ""), *((name, name) for name in speaker_names())]
            example = gr.Dropdown(sources, value="", label=words("Or"), elem_id="explore-example")
            record = gr.Checkbox(label=words("Also record what the student attends to (makes the clip again)"))
            with gr.Row():
                go = gr.Button(words("Explore"), variant="primary", elem_id="explore", min_width=90)
                cancel = gr.Button(words("Cancel"), min_width=90)
            file = gr.DownloadButton(words("Download the explorer as a standalone page"), size="sm")
    page = gr.HTML(label="Explorer", show_label=False, js_on_load=EXPLORER_SCRIPT, elem_id="explorer-page")
    inputs, outputs = [clip, record, made, example], [page, file]
    runs = [go.click(explore, inputs, outputs, api_name="explore", concurrency_id="heavy", show_progress_on=page)]
    runs[0].success(None, None, None, js=SHOW_EXPLORER, **QUIET)
    with gr.Accordion(words("The plan as a picture"), open=False), gr.Row():
        with gr.Column(min_width=280, scale=1):
            poses = hand_over_unopened(gr.File(label=words("The poses"), file_types=[".npz"], type="filepath"))
            top_k = gr.Slider(0, 16, default.top_k, step=1, label=words("K: past frames chosen by pose"))
            method = gr.Radio(["mls", "hull", "body"], value=default.method, label=words("Regions"))
            block = choose_number([16, 32, 64, 128], value=default.block, label=words("Block of the attention matrix"))
            draw = gr.Button(words("Draw the plan"))
        with gr.Column(min_width=280, scale=2):
            picture = gr.Image(
                label=words("The plan as a picture"),
                interactive=False,
                format="png",
                buttons=["download", "fullscreen"],
            )
            figures = gr.Code(label=words("Figures"), language="json", interactive=False)
    draw.click(mask, [poses, top_k, method, block, made], [picture, figures], api_name="mask")
    return HeavyWork(inputs, outputs, runs, [cancel], page)


def learn_tab() -> None:
    for part in (about, about_measured, about_weights, about_notebooks, about_programs):
        gr.Markdown(words(part), elem_id=part.__name__)
    gr.Code(client_code(), language="python", interactive=False, show_label=False, wrap_lines=True)
