"""What the past is for: a speaker with a badge that the reference hides, under two choices of the frames that are remembered."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import gradio as gr
import numpy as np

from iasa.config import HELDOUT_IDENTITY, InputError
from iasa.demo.compare import add_label
from iasa.demo.service import language_of, new_output, plain_errors, show_progress, watch_stop
from iasa.demo.speaker_choice import check_seed
from iasa.demo.translations import translate
from iasa.demo.zerogpu import gpu
from iasa.inference.generation import Cancelled
from iasa.masks.frame_choice import CHOICES
from iasa.media.content_credentials import sign_if_asked
from iasa.models.checkpoint import find_weights, load_weights
from iasa.models.patch_codec import PatchCodec
from iasa.models.transformer import VideoTransformer

MOST_FRAMES = 8  # remembered
REACH = 25  # frames, 10 s


@gpu(60)
def compare_memory(
    number: float = 1,
    choice: str = "pose",
    other: str = "last",
    frames: float = 1,
    request: gr.Request | None = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008
) -> tuple[str | None, str]:
    """A held-out drawn speaker with a badge that the reference picture hides: the truth and two memories, side by side.

    A small teacher draws every frame and remembers 1 to 8 true frames of the last 10 seconds, chosen by pose, pose without
    alignment, the hands alone, the last ones, at random, the least alike ones, or by an oracle that sees the badge; or all
    of them. Returns an mp4 and a table: quality inside what the past decides, for the speaker of this number.
    """
    stopped, language = watch_stop(request), language_of(request)
    with plain_errors(request):
        for name in (choice, other):
            if name not in CHOICES:
                raise InputError(
                    "the choice of frames is {name!r}; {names} are accepted", name=name, names=", ".join(CHOICES)
                )
        if frames != int(frames) or not 1 <= frames <= MOST_FRAMES:
            raise InputError(
                "{frames:g} remembered frames are asked for; 1 to {most} are accepted", frames=frames, most=MOST_FRAMES
            )
        seed = check_seed(number)
        video = new_output(".mp4", f"memory-{choice}-{other}-{seed}")
        watch = show_progress(progress, language)
        try:
            table = draw_memories(video, seed, (choice, other), int(frames), watch, language, stopped)
        except Cancelled:
            video.parent.rmdir()
            return None, translate("Stopped.", language)
        sign_if_asked(video)
    return str(video), table


@lru_cache(maxsize=1)
def load_memory_bed() -> tuple[VideoTransformer, PatchCodec]:
    """The teacher and its codec."""
    teacher = load_weights(VideoTransformer, find_weights(None, "memory_teacher"))
    codec = load_weights(PatchCodec, find_weights(None, "memory_codec"))
    return teacher.requires_grad_(False), codec.requires_grad_(False)


def draw_memories(
    out: Path,
    seed: int,
    choices: tuple[str, ...],
    top_k: int,
    progress: Callable[[str, float], None] | None = None,
    language: str = "en",
    should_stop: Callable[[], bool] = lambda: False,
) -> str:
    """Write the truth and the teacher's frames under each choice side by side; returns their figures as Markdown.
    Raises `Cancelled`, before anything is written."""
    from iasa.evaluation.memory_report import draw_targets, enlarge, later_showings, whole_window
    from iasa.inference.remembered import RememberedFrames
    from iasa.media.writer import VideoWriter
    from iasa.metrics.memory_quality import decided_by_past, psnr_inside
    from iasa.training.memory_data import RATE, MemoryClip, make_clip
    from iasa.training.memory_stages import chosen_plans, make_condition

    def check() -> None:
        if should_stop():
            raise Cancelled("the memories were stopped")

    pictures, warped, masks, *pose = make_clip(HELDOUT_IDENTITY + seed)
    check()
    clip = MemoryClip(pictures, warped, np.packbits(masks.reshape(*masks.shape[:2], -1), axis=-1), *pose)
    teacher, codec = load_memory_bed()
    window, shown, decided = whole_window(clip, codec, prior=True), later_showings(clip), decided_by_past(masks)
    memory = RememberedFrames(teacher, make_condition(teacher, window), window.latents[:, 1:])
    every = range(1, len(pictures))
    columns = [add_label(enlarge(pictures[1:]), "truth")]
    names = ("remembered frames", "PSNR dB")
    lines = [f"| | {' | '.join(translate(name, language) for name in names)} |", "|---|---|---|"]
    lines.append(f"| {translate('truth', language)} | | {translate('exact', language)} |")
    for number, choice in enumerate(choices):
        if progress:
            progress(choice, (1 + number) / (1 + len(choices)))
        plan = chosen_plans(window, choice, top_k, REACH, seed=seed)[0]
        made = draw_targets(memory, codec, window, plan, every, seed, watch=check)
        inside = psnr_inside(made[[t - 1 for t in shown]], pictures[shown], decided[shown]) if shown else float("nan")
        columns.append(add_label(enlarge(made), choice))
        lines.append(f"| {translate(choice, language)} | {top_k} | {inside:.2f} |")
    with VideoWriter(out, RATE, mark=True) as writer:
        writer.describe({"memory": list(choices), "remembered": top_k, "number": seed})
        writer.add_frames(np.concatenate(columns, axis=2))
    said = translate(
        "PSNR inside the details that an earlier frame showed, in the {count} frames that show most of them again. The "
        "teacher is small and was trained on drawn speakers; {rate:g} frames a second.",
        language,
        count=len(shown),
        rate=RATE,
    )
    return "\n".join([*lines, f"\n{said}"])
