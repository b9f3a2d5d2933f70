"""The Explore tab's work: the mask explorer of a clip, an example or a person's video, and the plan as a picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gradio as gr
import numpy as np

from iasa.avatar.speaker import Reference, load_speaker, speaker_names
from iasa.config import AUDIO_RATE, FRAMES_PER_LATENT, InputError, MaskOptions
from iasa.demo.motion_edits import MAX_POSES, MotionEdits, follow_person, is_pose_file, perform_speech, read_poses
from iasa.demo.service import SessionClip, language_of, load_pipeline, new_output, plain_errors, watch_stop
from iasa.demo.translations import translate
from iasa.demo.zerogpu import gpu
from iasa.explorer import explorer_frame, explorer_html, latent_poses, read_bench, record_attention
from iasa.grid import TokenGrid
from iasa.inference.generation import Cancelled
from iasa.keypoints import Keypoints, concat_keypoints, fill_latent, load_keypoints, pool_to_latent
from iasa.masks import make_plan
from iasa.masks.plot import draw_plan
from iasa.media.reader import read_video
from iasa.paths import SPEECH
from iasa.speech import read_audio

# The explorer's frame tells the page its height and its settings, which the address keeps; the page tells the frame whether it
# is dark. A frame that was there before this listener has said hello to nobody, so it is greeted, and each is once it is there.
# Gradio may draw the frame anew, at the height it began with: it gets the height that was told last.
EXPLORER_SCRIPT = """
let height = 0;
const greet = (frame) => {
  const text = location.hash.startsWith("#iasa?") ? location.hash.slice(6) : "";
  const theme = document.body.classList.contains("dark") ? "dark" : "light";
  frame.contentWindow.postMessage({ iasa: "host", href: location.href, text, theme }, "*");
};
const greetAll = () => element.querySelectorAll("iframe").forEach(greet);
const fit = () => {
  const frame = element.querySelector("iframe");
  if (frame && height && frame.style.height !== `${height}px`) frame.style.height = `${height}px`;
};
window.addEventListener("message", (event) => {
  const frame = element.querySelector("iframe"), data = event.data;
  if (!frame || event.source !== frame.contentWindow || !data) return;
  if (data.iasa === "hello") greet(frame);
  if (data.iasa === "settings") history.replaceState(null, "", "#iasa?" + String(data.text));
  if (data.iasa === "size") {
    height = Math.min(6000, Math.max(400, Number(data.height) || 0));
    fit();
  }
});
element.addEventListener("load", (event) => event.target.matches("iframe") && greet(event.target), true);
new MutationObserver(fit).observe(element, { attributeFilter: ["style"], childList: true, subtree: true });
new MutationObserver(greetAll).observe(document.body, { attributeFilter: ["class"] });
greetAll();
"""


@gpu(60)
def explore(
    clip: str | None = None,
    record: bool = False,
    made: SessionClip | None = None,
    example: str | None = None,
    request: gr.Request | None = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> tuple[str, str | None]:
    """The mask explorer of a clip: an interactive page about which patches may attend to which.

    The clip is a pose file (npz) or a video of a person (up to 30 seconds); without one, that of an example speaker by
    name, the video made last, or else an example. `record` also shows what the student attends to, for clips of up to
    10 seconds. Returns the page in a frame, and as a file of its own.
    """
    stopped, language = watch_stop(request), language_of(request)

    def watch(share: float, stage: str) -> None:
        if stopped():
            raise Cancelled("the explorer was stopped")
        progress(share, desc=translate(stage, language))

    with plain_errors(request):
        try:
            page = explored_page(clip, record, made, example, language, watch)
        except Cancelled:
            return translate("Stopped.", language), None
    file = new_output(".html", "explorer")
    file.write_text(page, encoding="utf-8")
    return explorer_frame(page), str(file)


def explored_page(
    clip: str | None,
    record: bool,
    made: SessionClip | None,
    example: str | None,
    language: str,
    watch: Callable[[float, str], None],  # told the share and the stage, again and again; what it raises ends the work
) -> str:
    """What `explore` shows."""
    thumbnails = attention = change = None
    title = translate("Input-aware sparse attention", language)
    if clip is None:
        watch(0.1, "Reading the clip")
        poses, reference, thumbnails = example_clip(example) if made is None or example else made_clip(made)
        latent = latent_poses(poses, reference)
        title += f": {reference.name}"
    else:
        look = partial(watch, 0.1, "Finding the person")
        look()
        if is_pose_file(clip):
            poses = read_poses(clip)
        else:
            poses, thumbnails = follow_person(clip, watch=look)
        latent, reference = pool_to_latent(fill_latent(poses)), None
        title += ": " + translate("your clip", language)
    pipeline = load_pipeline()
    if record:
        if reference is None:
            raise InputError("what the student attends to is recorded on a clip made here; make one in Speak first")
        look = partial(watch, 0.3, "Making the clip again, looking on")
        look()
        run = record_attention(pipeline, poses, reference, watch=look)
        plan, latent, thumbnails = run.plan, run.keypoints, run.thumbnails
        attention, change = run.attention, run.change
    else:
        plan = make_plan(latent, TokenGrid(len(latent)), pipeline.mask)
    return explorer_html(plan, latent, thumbnails, attention, read_bench(), title, language=language, change=change)


def made_clip(made: SessionClip) -> tuple[Keypoints, Reference, list[np.ndarray]]:
    """Poses, speaker, and a picture for each latent frame, the reference first."""
    if not Path(made.video).exists():
        raise InputError("the video made last is no longer kept; make another one")
    frames, _ = read_video(made.video)
    return made.poses, made.reference, [made.reference.image, *frames[::FRAMES_PER_LATENT]]


def example_clip(name: str | None = None) -> tuple[Keypoints, Reference, None]:
    """Some seconds of an example speaker, the first one without a name, on an example speech."""
    reference = load_speaker(name or speaker_names()[0])
    sound, _ = read_audio(sorted(SPEECH.glob("*.mp3"))[0])
    return perform_speech(sound[: int(3.2 * AUDIO_RATE)], reference, 0, MotionEdits()), reference, None


def mask(
    poses: str | None = None,
    top_k: float = MaskOptions.top_k,
    method: str = MaskOptions.method,
    block: float = MaskOptions.block,
    made: SessionClip | None = None,
    request: gr.Request | None = None,
) -> tuple[np.ndarray, str]:
    """Draw the attention plan of a pose file (npz with xy, confidence and fps), or of the video made last.

    Returns the picture and the plan's figures as JSON: which past frames each frame sees, the regions of the tokens,
    and the share of the attention matrix that is left.
    """
    with plain_errors(request):
        if poses is not None:
            keypoints = load_keypoints(poses)
        elif made is not None:
            still = np.zeros(FRAMES_PER_LATENT, int)  # as the plan sees it: the reference first
            keypoints = concat_keypoints(made.reference.keypoints[still], made.poses)
        else:
            raise InputError("there are no poses; make a video in the Speak tab first, or upload a pose file")
        if not 1 <= len(keypoints) <= MAX_POSES:
            raise InputError("there are {count} poses; 1 to {most} are accepted", count=len(keypoints), most=MAX_POSES)
        latent = pool_to_latent(fill_latent(keypoints))
        options = MaskOptions(top_k=int(top_k), method=method, block=int(block))
        plan = make_plan(latent, TokenGrid(len(latent)), options)
        return draw_plan(plan), json.dumps(plan.report(), indent=1)
