"""The explorer as a folder of plain files, which any web server, free ones too, can hand out: a page for each bundled clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from iasa.avatar.speaker import load_speaker
from iasa.config import VIDEO_FPS
from iasa.explorer.page import TITLE, explorer_html, read_bench
from iasa.explorer.recorder import record_attention
from iasa.files import atomic_write
from iasa.keypoints import load_keypoints
from iasa.paths import POSES
from iasa.pipeline import CoSpeechPipeline

CLIPS = {"welcome": "dana", "library": "femi"}  # whose poses are bundled, and who performs them
MAX_SECONDS = 10.0  # of a clip: its attention is recorded


def write_site(
    folder: Path, pipeline: CoSpeechPipeline, seconds: float, told: Callable[[str], None] = lambda name: None
) -> list[Path]:
    """Write index.html, of the first clip, and NAME.html of the others, each with everything in it; returns them.

    The student makes each clip's first `seconds`, for its pictures and for what it attends to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {name: "index.html" if number == 0 else f"{name}.html" for number, name in enumerate(CLIPS)}
    bench, written = read_bench(), []
    for name, speaker in CLIPS.items():
        told(name)
        poses = load_keypoints(POSES / f"{name}.npz")[: round(seconds * VIDEO_FPS)]
        run = record_attention(pipeline, poses, load_speaker(speaker))
        page = explorer_html(
            run.plan, run.keypoints, run.thumbnails, run.attention, bench, f"{TITLE}: {speaker}",
            clips={other: "" if other == name else place for other, place in names.items()},
        )  # fmt: skip
        written.append(folder / names[name])
        with atomic_write(written[-1]) as partial:
            partial.write_text(page, encoding="utf-8")
    return written
