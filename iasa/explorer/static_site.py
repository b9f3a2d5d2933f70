"""The explorer as a folder of plain files, which any web server, free ones too, can hand out: a page for each bundled clip,
and one of the memory bed, on which it is known who showed what first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from iasa.avatar.speaker import load_speaker
from iasa.config import VIDEO_FPS
from iasa.explorer.detail_clip import DetailClip, make_detail_clip
from iasa.explorer.page import TITLE, explorer_html, read_bench
from iasa.explorer.recorder import RecordedRun, record_attention
from iasa.files import atomic_write
from iasa.keypoints import load_keypoints
from iasa.paths import POSES
from iasa.pipeline import CoSpeechPipeline
from iasa.training.memory_data import FRAMES, RATE

CLIPS = {"welcome": "dana", "library": "femi"}  # whose poses are bundled, and who performs them
DETAILS = "badge"  # the page of the memory bed
MAX_SECONDS = 10.0  # of a clip: its attention is recorded


def write_site(
    folder: Path,
    pipeline: CoSpeechPipeline,
    seconds: float,
    told: Callable[[str], None] = lambda name: None,
    webcam: bool = False,
) -> list[Path]:
    """Write index.html, of the first clip, and NAME.html of the others, each with everything in it; returns them.

    The student makes each clip's first `seconds`, for its pictures and for what it attends to. With `webcam` a reader may
    ask the pages to load mediapipe from the web.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {name: "index.html" if number == 0 else f"{name}.html" for number, name in enumerate((*CLIPS, DETAILS))}
    bench, written = read_bench(), []

    def write(name: str, title: str, shown: RecordedRun | DetailClip, **more: Any) -> None:
        clips = {other: "" if other == name else place for other, place in names.items()}
        if clips.get(DETAILS):
            clips[DETAILS] += "#v=origin"
        page = explorer_html(
            shown.plan, shown.keypoints, shown.thumbnails, bench=bench, title=f"{TITLE}: {title}", clips=clips,
            webcam=webcam, **more,
        )  # fmt: skip
        written.append(folder / names[name])
        with atomic_write(written[-1]) as partial:
            partial.write_text(page, encoding="utf-8")

    for name, speaker in CLIPS.items():
        told(name)
        poses = load_keypoints(POSES / f"{name}.npz")[: round(seconds * VIDEO_FPS)]
        run = record_attention(pipeline, poses, load_speaker(speaker))
        write(name, speaker, run, attention=run.attention, change=run.change)
    told(DETAILS)
    clip = make_detail_clip(frames=min(FRAMES, round(seconds * RATE)))
    write(DETAILS, "a speaker with a badge", clip, details=clip.details)
    return written
