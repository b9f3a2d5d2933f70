"""The demo's page: its parts, its functions as the browser and the API call them, its messages."""

from __future__ import annotations

import os
import time
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

gr = pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")

import app  # noqa: E402
from iasa.keypoints import load_keypoints  # noqa: E402
from iasa.reference import speaker_names  # noqa: E402
from iasa.speech import read_audio  # noqa: E402
from iasa.video import read_metadata, read_video  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # gradio's own, of numpy and pandas

CLIP = app.HERE / "examples" / "speech" / "tea.mp3"
RATE = 16_000


class Steps:
    """Stands for gr.Progress: remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, share: float, desc: str) -> None:
        assert 0 <= share <= 1
        self.said.append(desc)


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> str:
    """0.6 s of an example clip."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    audio, _ = read_audio(CLIP)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((audio[: int(0.6 * RATE)] * 32767).astype("<i2").tobytes())
    return str(path)


@pytest.fixture(autouse=True)
def own_outputs(tmp_path, monkeypatch):
    """Every test has its own folder of made files."""
    (tmp_path / "made").mkdir()
    monkeypatch.setattr(app, "output_folder", lambda: tmp_path / "made")


def speak(
    audio, kind=app.EXAMPLE, example=None, number=None, photo=None, consent=False, progress=None, **changed
):
    given = {"model": "student", "steps": 1, "seed": 3} | changed
    example = example or (speaker_names() or [None])[0]
    request = SimpleNamespace(session_hash="../../visitor")
    return app.speak(
        audio,
        kind,
        example,
        number,
        photo,
        consent,
        *given.values(),
        request=request,
        progress=progress or Steps(),
    )


@pytest.fixture(scope="module")
def page() -> gr.Blocks:
    return app.make_app()


def public(page: gr.Blocks) -> dict[str, dict]:
    return page.get_api_info()["named_endpoints"]


def test_the_public_endpoints(page):
    """Two, with names and descriptions; the page's own small events are not among them."""
    assert set(public(page)) == {"/speak", "/mask"}
    for name, about in public(page).items():
        assert len(about["description"]) > 60, name
    names = [p["parameter_name"] for p in public(page)["/speak"]["parameters"]]
    assert names == ["audio", "kind", "example", "number", "photo", "consent", "model", "steps", "seed"]


def test_no_field_takes_a_path_or_an_address(page):
    """Text typed into the page could name a file or a server; only uploads are taken."""
    typed = [block for block in page.blocks.values() if isinstance(block, gr.Textbox)]
    assert not typed


def test_what_the_page_says(page):
    text = " ".join(
        block.value for block in page.blocks.values() if isinstance(block, gr.Markdown) and block.value
    )
    for word in ("not photo-real", "AI-generated", "Responsible use", "agreed"):
        assert word in text, word
    assert "weights" not in " ".join(app.missing_parts())


def test_missing_parts_are_named_and_the_page_still_stands(monkeypatch, tmp_path):
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(app, "WEIGHTS", tmp_path / "weights")
    lacking = "\n".join(app.missing_parts())
    for part in ("mediapipe==0.10.21", "pip install skia-python", "pocketsphinx", "weights of the student"):
        assert part in lacking
    blocks = app.make_app().blocks.values()
    assert any(isinstance(block, gr.Markdown) and "skia-python" in (block.value or "") for block in blocks)


def test_speaking(speech):
    """From speech to a video, its figures, its poses, and the plan's picture in the other tab."""
    progress = Steps()
    video, figures, poses, made = speak(speech, progress=progress)
    frames, fps = read_video(video)
    assert frames.shape == (15, 256, 256, 3) and fps == 25
    assert read_metadata(video)["seed"] == 3 and read_metadata(video)["ai_generated"] is True
    for part in ("15 frames", "motion", "denoise", "decode", "write", "student, 1 steps, seed 3", "density"):
        assert part in figures, part
    assert app.STAGES["denoise"] in progress.said
    assert len(load_keypoints(poses)) == 15
    assert len(made) == 17  # the reference, a latent frame long, comes first
    picture, text = app.mask(None, 4, "mls", 64, made)
    assert picture.dtype == np.uint8 and picture.ndim == 3
    assert '"token_density"' in text and '"frames": 9' in text


def test_cancelling_leaves_no_video(speech):
    class Stopping(Steps):
        def __call__(self, share: float, desc: str) -> None:
            super().__call__(share, desc)
            if desc == app.STAGES["denoise"]:
                assert app.request_stop(SimpleNamespace(session_hash="../../visitor")) == "Stopped."

    assert speak(speech, progress=Stopping()) == (None, "Stopped.", None, None)
    assert [path.suffix for path in app.output_folder().iterdir()] == [".stop"]
    assert not app.stop_flag(SimpleNamespace(session_hash="another")).exists()
    video, *_ = speak(speech)  # a later run is not stopped by it
    assert Path(video).exists()


def test_stop_flags_stay_in_their_folder():
    for session in ("../../etc/x", "/etc/x", "", None, "a" * 10_000):
        flag = app.stop_flag(SimpleNamespace(session_hash=session))
        assert flag.parent == app.output_folder() and len(flag.name) < 40


def test_bad_input_is_said_in_words(speech, tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    noise = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(noise)
    cut = tmp_path / "cut.png"
    cut.write_bytes(noise.read_bytes()[:500])
    for words, part in (
        (dict(audio=None), "there is no speech"),
        (dict(audio=str(text)), "not a media file"),
        (dict(audio=speech, kind=app.PHOTO, consent=True), "there is no photo"),
        (dict(audio=speech, kind=app.PHOTO, photo=str(noise)), "consent"),
        (dict(audio=speech, kind=app.PHOTO, photo=str(cut), consent=True), "not a readable picture"),
        (dict(audio=speech, kind=app.PHOTO, photo=str(noise), consent=True), "face"),
        (dict(audio=speech, kind=app.DRAWN), "the number is None"),
        (dict(audio=speech, kind=app.DRAWN, number=-1), "0 to"),
        (dict(audio=speech, seed=2.5), "whole number"),
        (dict(audio=speech, seed=None), "whole number"),
        (dict(audio=speech, example="nobody"), "nobody"),
        (dict(audio=speech, model="critic"), "critic"),
        (dict(audio=speech, steps=5), "1 to 4"),
    ):
        with pytest.raises(gr.Error) as raised:
            speak(**words)
        assert part in raised.value.message, words
    assert not list(app.output_folder().glob("*.mp4"))


def test_long_speech_is_refused(tmp_path):
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.full(int(8000 * (app.MAX_SECONDS + 5)), 3000, "<i2").tobytes())
    with pytest.raises(gr.Error) as raised:
        speak(str(path))
    assert f"at most {app.MAX_SECONDS:g} s" in raised.value.message


def test_a_photo_reaches_our_reader_unopened(page, tmp_path):
    """Gradio would open the picture itself first; a hostile one must meet the guarded reader."""
    payload = gr.data_classes.ImageData(path=str(tmp_path / "bomb.svg"), orig_name="bomb.svg")
    uploads = [
        block for block in page.blocks.values() if isinstance(block, gr.Image) and block.interactive is None
    ]
    assert len(uploads) == 1
    assert uploads[0].preprocess(payload) == str(tmp_path / "bomb.svg")
    assert uploads[0].preprocess(None) is None


def test_plans_of_bad_poses(tmp_path):
    (tmp_path / "text.npz").write_text("no poses")
    with pytest.raises(gr.Error, match="not a pose file"):
        app.mask(str(tmp_path / "text.npz"), 4, "mls", 64, None)
    with pytest.raises(gr.Error, match="there are no poses"):
        app.mask(None, 4, "mls", 64, None)


def test_old_videos_are_deleted():
    old, _ = app.new_outputs()
    old.write_text("a video")
    fresh, _ = app.new_outputs()
    fresh.write_text("a video")
    os.utime(old, (time.time() - app.KEPT_SECONDS - 60,) * 2)
    app.new_outputs()
    assert not old.exists() and fresh.exists()


@pytest.fixture
def client(page):
    """A client of the page, served over the network."""
    from gradio_client import Client

    page.queue(default_concurrency_limit=1, max_size=16)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, share=False)
    yield Client(address, verbose=False)
    page.close()


def test_the_served_page(client, speech, tmp_path):
    """What a visitor's browser or program gets: a video, its poses, their plan, and plain sentences."""
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    words = dict(
        kind=app.EXAMPLE, example=speaker_names()[0], number=None, photo=None, consent=False,
        model="student", steps=1, seed=0, api_name="/speak",
    )  # fmt: skip
    video, figures, poses = client.predict(audio=handle_file(speech), **words)
    video = video["video"] if isinstance(video, dict) else video
    assert len(read_video(video)[0]) == len(load_keypoints(poses)) == 15 and "15 frames" in figures
    with pytest.raises(AppError, match="there is no speech"):
        client.predict(audio=None, **words)
    cut = tmp_path / "cut.png"
    cut.write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    words |= dict(kind=app.PHOTO, photo=handle_file(cut), consent=True)
    with pytest.raises(AppError, match="not a readable picture"):
        client.predict(audio=handle_file(speech), **words)

    asked = dict(top_k=2, method="hull", block=16, api_name="/mask")
    picture, text = client.predict(poses=handle_file(poses), **asked)
    with Image.open(picture if isinstance(picture, str) else picture["path"]) as drawn:
        assert drawn.format == "PNG" and min(drawn.size) > 300
    assert '"frames": 8' in (text if isinstance(text, str) else text["value"])
    (tmp_path / "text.npz").write_text("no poses")
    with pytest.raises(AppError, match="not a pose file"):
        client.predict(poses=handle_file(tmp_path / "text.npz"), **asked)
