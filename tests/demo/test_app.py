"""The demo's page: its parts, its functions as the browser and the API call them, its messages."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import time
import wave
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Queue
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

gr = pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")

import app  # noqa: E402
from iasa.avatar.moving_parts import Parts  # noqa: E402
from iasa.avatar.speaker import load_speaker, speaker_names  # noqa: E402
from iasa.cli.arguments import read_reference  # noqa: E402
from iasa.cli.main import make_parser  # noqa: E402
from iasa.config import InputError  # noqa: E402
from iasa.demo import compare_memory, given_speech, learn, photo_frame, service, speaker_choice  # noqa: E402
from iasa.demo import explore as explore_tab  # noqa: E402
from iasa.demo.clip_actions import hand_out, made_before, play_stored, to_comparison  # noqa: E402
from iasa.demo.compare import compare  # noqa: E402
from iasa.demo.explore import explore, mask  # noqa: E402
from iasa.demo.given_speech import begin_run, estimate, read_text, read_what_is_typed, take_sound  # noqa: E402
from iasa.demo.photo_frame import MOVES, STILL, draw_parts, look_at_photo, offer_crop  # noqa: E402
from iasa.demo.run_settings import restore_settings  # noqa: E402
from iasa.demo.service import STAGES, missing_parts, new_output, stop_flag  # noqa: E402
from iasa.demo.speak import preview_poses, speak_live  # noqa: E402
from iasa.demo.speaker_choice import BACKDROPS, DRAWN, EXAMPLE, PHOTO, PUPPET, Backdrop, Crop, choose_speaker  # noqa: E402
from iasa.demo.tabs import list_missing  # noqa: E402
from iasa.demo.words import translations, words  # noqa: E402
from iasa.inference.conditioning import make_warp  # noqa: E402
from iasa.keypoints import load_keypoints  # noqa: E402
from iasa.media.reader import read_metadata, read_video  # noqa: E402
from iasa.media.writer import write_video  # noqa: E402
from iasa.paths import PEOPLE, SPEECH  # noqa: E402
from iasa.speech import read_audio  # noqa: E402
from iasa.training import memory_data  # noqa: E402
from iasa.warp import layered_warp  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # gradio's own, of numpy and pandas

CLIP = SPEECH / "tea.mp3"
RATE = 16_000


class Steps:
    """Stands for gr.Progress where nobody looks."""

    def __call__(self, share: float, desc: str) -> None:
        assert 0 <= share <= 1


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
    monkeypatch.setattr(service, "output_folder", lambda: tmp_path / "made")


def run(audio, kind=EXAMPLE, example=None, number=None, photo=None, consent=False, **changed):
    """The page's own run, step by step: (message of the player, figures, clip)."""
    given = {"model": "student", "steps": 1, "seed": 3} | changed
    example = example or (speaker_names() or [None])[0]
    given = {"driving": None, "amount": 1.0, "blink": 1.0, "height": 0.0, "lock": False, "motion": "rules"} | given
    request = SimpleNamespace(session_hash="../../visitor")
    return speak_live(audio, kind, example, number, photo, consent, **given, request=request)


def speak(*person, **given):
    """(video, figures, poses, clip) of a whole run; None for what a stopped one lacks."""
    *_, (message, figures, made) = run(*person, **given)
    if isinstance(made, dict):  # left as it was
        return None, json.loads(message)["note"], None, None
    return made.video, figures, made.poses_file, made


@pytest.fixture(scope="module")
def page() -> gr.Blocks:
    return app.make_app()


def public(page: gr.Blocks) -> dict[str, dict]:
    return page.get_api_info()["named_endpoints"]


def test_the_public_endpoints(page):
    """With names and descriptions; the page's own small events are not among them."""
    assert set(public(page)) == {"/speak", "/poses", "/compare", "/compare_memory", "/explore", "/mask"}
    for name, about in public(page).items():
        assert len(about["description"]) > 60, name
    names = [p["parameter_name"] for p in public(page)["/speak"]["parameters"]]
    assert names[:9] == ["audio", "kind", "example", "number", "photo", "consent", "model", "steps", "seed"]
    assert names[9:15] == ["driving", "amount", "blink", "height", "lock", "motion"]
    assert names[15:] == ["backdrop", "color", "picture", "crop"]


def test_heavy_work_waits_in_one_line(page):
    """One long job at a time, whoever asks; short events do not wait behind it."""
    heavy = {fn.concurrency_id for fn in page.fns.values() if fn.api_name in ("speak", "compare", "explore", "poses")}
    assert heavy == {"heavy"}
    live = [fn for fn in page.fns.values() if fn.fn is not None and fn.fn.__name__ == "speak_live"]
    assert [fn.concurrency_id for fn in live] == ["heavy"] and live[0].api_visibility == "private"


def test_no_field_takes_a_path_or_an_address(page):
    """Text typed into the page could name a file or a server; the one text field holds words to be spoken."""
    typed = [block for block in page.blocks.values() if isinstance(block, gr.Textbox)]
    assert [block.elem_id for block in typed] in ([], ["typed"])


def test_both_languages_have_all_words(page):
    """What the browser is given has English and German for every label, and no place that nothing fills."""
    english, german = (translations.translations[code] for code in ("en", "de"))
    assert set(english) == set(german) and len(english) > 60
    assert all(text.strip() and not set("{}") & set(text) for text in (*english.values(), *german.values()))
    alike = {text for key, text in english.items() if german[key] == text}
    assert not alike - {"Hindi", learn.about_notebooks()}, alike  # names
    shown = [
        str(getattr(block, part, "") or "") for block in page.blocks.values() for part in ("label", "value", "info")
    ]
    assert not [
        text for text in shown if "__i18n__" in text and json.loads(text.removeprefix("__i18n__"))["key"] not in english
    ]


def test_what_the_page_says(page):
    english, german = (" ".join(translations.translations[code].values()) for code in ("en", "de"))
    for word in (
        "not a generative video model",
        "AI-generated",
        "Responsible use",
        "agreed",
        "### Measured",
        "What was trained",
    ):
        assert word in english, word
    for word in ("Ein generatives Videomodell", "KI-erzeugt", "Verantwortung", "einverstanden", "### Gemessen"):
        assert word in german, word
    shown = {str(block.value) for block in page.blocks.values() if isinstance(block, gr.Markdown) and block.value}
    assert {
        str(words(part)) for part in (learn.about, learn.about_measured, learn.about_weights, learn.about_programs)
    } <= shown
    assert "weights" not in " ".join(missing_parts())


def test_missing_parts_are_named_and_the_page_still_stands(monkeypatch, tmp_path):
    monkeypatch.setattr(service.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(service, "WEIGHTS", tmp_path / "weights")
    lacking = "\n".join(missing_parts())
    for part in ("mediapipe==0.10.21", "pip install skia-python", "pocketsphinx", "weights of the student"):
        assert part in lacking
    blocks = app.make_app().blocks.values()
    assert any(isinstance(block, gr.Markdown) and str(block.value) == str(words(list_missing)) for block in blocks)
    assert "skia-python" in translations.translations["en"]["iasa list_missing"]


def test_speaking(speech):
    """From speech to a video, its figures, its poses, and the plan's picture in the other tab."""
    video, figures, poses, made = speak(speech)
    frames, fps = read_video(video)
    assert frames.shape == (15, 256, 256, 3) and fps == 25
    assert read_metadata(video)["seed"] == 3 and read_metadata(video)["ai_generated"] is True
    for part in ("15 frames", "motion", "denoise", "decode", "write", "student, steps: 1, seed 3", "density", "GFLOP"):
        assert part in figures, part
    assert len(load_keypoints(poses)) == 15
    corner = frames[:, 238:252, 226:252].reshape(15, -1, 3)
    assert (corner.min((1, 2)) < 90).all() and (corner.max((1, 2)) > 190).all()  # the AI mark: white on dark
    assert len(made.poses) == 15 and made.video == video and made.reference.name == speaker_names()[0]
    assert restore_settings(video)[3:7] == ("student", gr.update(maximum=4, value=1), 3, "rules")
    assert restore_settings(video)[:2] == (EXAMPLE, speaker_names()[0])
    assert "last run here" in estimate(speech, "student", 1) and "0.6 s of speech" in estimate(speech, "student", 1)
    picture, text = mask(None, 4, "mls", 64, made)
    assert picture.dtype == np.uint8 and picture.ndim == 3
    assert '"token_density"' in text and '"frames": 9' in text


def test_cancelling_leaves_no_video(speech):
    for update in run(speech):
        if STAGES["denoise"] in update[0] and '"share": 0.0,' not in update[0]:
            assert service.request_stop(SimpleNamespace(session_hash="../../visitor")) == "Stopped."
    message = json.loads(update[0])
    assert message["note"] == "Stopped." and message["ended"] and update[2] == gr.skip()
    until = time.monotonic() + 10  # the run notices a moment later
    while len(left := [path.suffix for path in service.output_folder().rglob("*")]) > 1 and time.monotonic() < until:
        time.sleep(0.05)
    assert left == [".stop"]
    assert not stop_flag(SimpleNamespace(session_hash="another")).exists()
    video, *_ = speak(speech)  # a later run is not stopped by it
    assert Path(video).exists()


def test_stop_flags_stay_in_their_folder():
    for session in ("../../etc/x", "/etc/x", "", None, "a" * 10_000):
        flag = stop_flag(SimpleNamespace(session_hash=session))
        assert flag.parent == service.output_folder() and len(flag.name) < 40


def test_bad_input_is_said_in_words(speech, tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    noise = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(noise)
    cut = tmp_path / "cut.png"
    cut.write_bytes(noise.read_bytes()[:500])
    for given, part in (
        (dict(audio=None), "There is no speech"),
        (dict(audio=str(text)), "not a media file"),
        (dict(audio=speech, kind=PHOTO, consent=True), "There is no photo"),
        (dict(audio=speech, kind=PHOTO, photo=str(noise)), "consent"),
        (dict(audio=speech, kind=PHOTO, photo=str(cut), consent=True), "not a readable picture"),
        (dict(audio=speech, kind=PHOTO, photo=str(noise), consent=True), "face"),
        (dict(audio=speech, kind=DRAWN), "The number is None"),
        (dict(audio=speech, kind=DRAWN, number=-1), "0 to"),
        (dict(audio=speech, seed=2.5), "whole number"),
        (dict(audio=speech, seed=None), "whole number"),
        (dict(audio=speech, example="nobody"), "nobody"),
        (dict(audio=speech, model="critic"), "critic"),
        (dict(audio=speech, steps=5), "1 to 4"),
    ):
        with pytest.raises(gr.Error) as raised:
            speak(**given)
        assert part in raised.value.message, given
    assert not list(service.output_folder().rglob("*.mp4"))


def test_long_speech_is_refused(tmp_path):
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.full(int(8000 * (service.MAX_SECONDS + 5)), 3000, "<i2").tobytes())
    with pytest.raises(gr.Error) as raised:
        speak(str(path))
    assert f"at most {service.MAX_SECONDS:g} s" in raised.value.message


def test_a_photo_reaches_our_reader_unopened(page, tmp_path):
    """Gradio would open the picture itself first; a hostile one must meet the guarded reader."""
    payload = gr.data_classes.ImageData(path=str(tmp_path / "bomb.svg"), orig_name="bomb.svg")
    uploads = [block for block in page.blocks.values() if isinstance(block, gr.Image) and block.interactive is None]
    assert len(uploads) == 2  # and the picture behind the person
    assert {upload.preprocess(payload) for upload in uploads} == {str(tmp_path / "bomb.svg")}
    assert {upload.preprocess(None) for upload in uploads} == {None}


def test_plans_of_bad_poses(tmp_path):
    (tmp_path / "text.npz").write_text("no poses")
    with pytest.raises(gr.Error, match="not a pose file"):
        mask(str(tmp_path / "text.npz"), 4, "mls", 64, None)
    with pytest.raises(gr.Error, match="There are no poses"):
        mask(None, 4, "mls", 64, None)


def test_old_videos_are_deleted():
    old = new_output(".mp4")
    old.write_text("a video")
    fresh = new_output(".mp4")
    fresh.write_text("a video")
    os.utime(old, (time.time() - service.KEPT_SECONDS - 60,) * 2)
    new_output(".mp4")
    assert not old.exists() and fresh.exists()


def test_two_runs_of_the_same_settings_keep_two_files(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "output_folder", lambda: tmp_path)
    first = new_output(".mp4", "one-speaker-7")
    first.write_bytes(b"first")
    second = new_output(".mp4", "one-speaker-7")
    second.write_bytes(b"second")
    assert first.name == second.name and first.read_bytes() == b"first"


def test_a_restored_run_is_the_same_run(speech, tmp_path):
    """Frame by frame; what the file cannot hold is named."""
    wishes = {"amount": 1.7, "blink": 0.0, "height": 6.0, "lock": True, "motion": "rules", "seed": 5}
    first, *_ = speak(speech, example="dana", **wishes)
    *settings, _, _, _, missing = restore_settings(first)
    kind, example, _, model, steps, seed, motion, amount, blink, height, lock, driving = settings
    assert (kind, example, model, seed, motion, driving) == (EXAMPLE, "dana", "student", 5, "rules", None)
    assert missing.endswith("again: the speech") and "photo" not in missing and "movement" not in missing
    again, *_ = speak(
        speech, kind, example, model=model, steps=steps["value"], seed=seed, motion=motion, amount=amount, blink=blink,
        height=height, lock=lock, driving=driving,
    )  # fmt: skip
    np.testing.assert_array_equal(read_video(first)[0], read_video(again)[0])
    other, *_ = speak(speech, example="dana", **wishes | {"height": 0.0})
    assert (read_video(first)[0] != read_video(other)[0]).any()
    driven, figures, poses, _ = speak(speech, driving=speak(speech, seed=1)[2])
    assert restore_settings(driven)[-1].endswith("the speech, the movement") and "alba" not in str(
        read_metadata(driven)["files"]
    ), "a file tells nobody what its maker's files are called"
    assert "The lips follow the poses" in figures and "fitted" not in figures
    assert Path(first).name == "dana-seed5.mp4" and Path(poses).name == "alba-seed3-poses.npz"


@pytest.fixture
def photograph(monkeypatch, tmp_path) -> tuple[str, list[np.ndarray]]:
    """A picture's file, and the pictures that were taken as a photograph: an avatar's points stand for what is found."""
    from sample_photographs import avatar_photograph

    from iasa.avatar.identity import make_identity
    from iasa.avatar.retarget import BODY_SEED
    from iasa.avatar.speaker import Reference

    taken: list[np.ndarray] = []

    def take(picture, name, room=None, keep_frame=False):
        taken.append(picture)
        photo = avatar_photograph()
        person = np.zeros(photo.person.shape, np.float32)
        person[64:, 128:384] = 1
        small = np.array(Image.fromarray(picture).resize(photo.image.shape[:2]))
        photo = replace(photo, person=person, image=small, whole=small)
        body, still = make_identity(BODY_SEED), np.array(Image.fromarray(small).resize((256, 256)))
        return Reference(still, photo.keypoints, body, name, photo, 128, room)

    monkeypatch.setattr(speaker_choice, "photograph_speaker", take)
    shades = np.random.default_rng(1).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(np.kron(shades, np.ones((20, 20, 1), np.uint8))).save(tmp_path / "me.png")
    return str(tmp_path / "me.png"), taken


def test_the_crop_is_the_part_of_the_photo_that_is_used(photograph):
    file, taken = photograph
    whole = np.asarray(Image.open(file))
    crop = json.dumps({"box": [0.25, 0.5, 0.75, 1], "picture": "/etc/passwd"})  # the picture is the server's own
    picture, said = look_at_photo(PHOTO, file, crop)
    np.testing.assert_array_equal(taken[-1], whole[120:, 80:240])
    assert Image.open(picture).size == (512, 512) and said.startswith("- Head, face and shoulders move\n- The left")
    assert look_at_photo(PHOTO, file)[1] and (taken[-1] == whole).all()
    assert look_at_photo(EXAMPLE, file) == ("", "")
    german = SimpleNamespace(query_params={"lang": "de"})
    assert look_at_photo(PHOTO, file, None, german)[1].startswith("- Kopf, Gesicht und Schultern")
    for bad in ("[0.5, 0, 0.5, 1]", "[0, 0, 1]", "[0, 0, 1, 1e9]", '"abcd"', "[0, 0, 1, NaN]", "1", "", "[" * 10**5):
        picture, said = look_at_photo(PHOTO, file, f'{{"box": {bad}}}')
        assert picture == "" and said.startswith("⚠️ The crop is ") and "<" not in said
    assert look_at_photo(PHOTO, file, 7)[1].startswith("⚠️ The crop is 7; ")  # programs may send anything
    offered = json.loads(offer_crop(file))
    assert offered["box"] == [0, 0, 1, 1] and Image.open(offered["picture"]).size == (320, 240)
    assert json.loads(offer_crop(None)) == {"picture": None, "box": None}
    assert all(
        json.loads(offer_crop(file, bad))["box"] == [0, 0, 1, 1] for bad in ("[1]", "{", "[" * 10**5, '{"restored": 1}')
    )
    noise = _write(Path(file).with_name("<i>.png"), "no picture")
    assert json.loads(offer_crop(str(noise)))["picture"] is None
    assert look_at_photo(PHOTO, str(noise))[1].startswith("⚠️ &lt;i&gt;.png is not a readable picture")


def test_detectors_are_loaded_while_the_visitor_looks_for_a_picture(monkeypatch):
    """From the moment a photograph is to speak: the first one waited some seconds for them, to be refused maybe."""
    asked = Queue()

    def load():
        asked.put(1)
        raise InputError("mediapipe is missing")  # which the first look says

    monkeypatch.setattr(photo_frame, "load_solutions", load)
    assert look_at_photo(EXAMPLE, None) == ("", "") and asked.empty()
    for kind in (PHOTO, PUPPET):
        assert look_at_photo(kind, None) == ("", "") and asked.get(timeout=10)


def test_a_photograph_that_was_looked_at_is_taken_and_cut_when_it_is_to_speak(photograph, monkeypatch):
    """By the look, in a thread: of the same file and crop, as long as the file is there and as it was."""
    file, taken = photograph
    cut, cut_layers = [], layered_warp.cut_layers
    monkeypatch.setattr(layered_warp, "cut_layers", lambda *given: cut.append(1) or cut_layers(*given))
    look_at_photo(PHOTO, file)
    speaker = choose_speaker(PHOTO, None, None, file, True, Backdrop("Color", "#00ff00"))
    layers = make_warp(speaker, torch.device("cpu"))
    assert isinstance(layers, layered_warp.LayeredWarp) and layers.room[0, 0].tolist() == [0, 255, 0]
    assert len(taken) == len(cut) == 1
    choose_speaker(PHOTO, None, None, file, True, crop=Crop((0, 0, 1, 0.5)))
    assert len(taken) == 2
    os.utime(file, (1, 1))
    assert choose_speaker(PHOTO, None, None, file, True).photo is not speaker.photo and len(taken) == 3
    kept = Path(file).read_bytes()
    Path(file).unlink()
    speaker_choice.forget_photographs()
    Path(file).write_bytes(kept)
    os.utime(file, (1, 1))
    assert choose_speaker(PHOTO, None, None, file, True) and len(taken) == 4


def test_what_keeps_still_is_dashed():
    """The same outline, in another colour, and about half of it."""
    from sample_photographs import avatar_photograph

    photo = replace(avatar_photograph(), image=np.zeros((512, 512, 3), np.uint8))
    moving, still = (draw_parts(photo, Parts((state, state))) for state in ("moves", "cut off"))
    teal, amber = ((picture == color).all(-1).sum() for picture, color in ((moving, MOVES), (still, STILL)))
    assert not (moving == STILL).all(-1).any() and 0 < amber < 0.8 * teal
    assert 0 < (still == MOVES).all(-1).sum() < teal  # face and shoulders move in any photograph


def test_a_restored_run_of_a_photograph_is_the_same_run(photograph, speech, tmp_path):
    """Frame by frame, out of the same file and what the mp4 says: crop, wishes, backdrop and seed among it."""
    file, taken = photograph
    crop = json.dumps({"box": [0.25, 0, 1, 0.75]})
    behind = {"backdrop": "Color", "color": "rgba(61, 107.4, 142, 1)", "crop": crop}
    first, *_ = speak(speech, PHOTO, photo=file, consent=True, seed=11, amount=1.6, lock=True, **behind)
    restored = restore_settings(first)
    kind, _, _, _, _, seed, motion, amount, blink, height, lock, driving, backdrop, color, kept, missing = restored
    assert (kind, seed, motion, amount, lock, driving, backdrop) == (PHOTO, 11, "rules", 1.6, True, None, "Color")
    assert "the speech, the photo" in missing and "me.png" not in missing
    assert json.loads(kept) == {"box": [0.25, 0, 1, 0.75], "restored": True}
    offered = offer_crop(file, kept)  # the photograph comes after the settings
    assert json.loads(offered)["box"] == [0.25, 0, 1, 0.75] and "restored" not in json.loads(offered)
    assert json.loads(offer_crop(file, offered))["box"] == [0, 0, 1, 1]  # and another one after it
    given = dict(seed=seed, motion=motion, amount=amount, blink=blink, height=height, lock=lock, backdrop=backdrop)
    uploaded = Path(file).with_name("again.png")
    uploaded.write_bytes(Path(file).read_bytes())
    again, *_ = speak(
        speech, kind, photo=str(uploaded), consent=True, driving=driving, color=color, crop=offered, **given
    )
    np.testing.assert_array_equal(read_video(first)[0], read_video(again)[0])
    np.testing.assert_array_equal(taken[0], taken[1])
    assert taken[0].shape == (180, 240, 3)


def test_a_puppet_comes_back_as_a_puppet(monkeypatch, speech, photograph):
    monkeypatch.setattr(speaker_choice, "photo_speaker", lambda picture: replace(load_speaker("alba"), name="photo"))
    made, *_ = speak(speech, PUPPET, photo=photograph[0], consent=True)
    restored = restore_settings(made)
    assert restored[0] == PUPPET and "the photo" in restored[-1]


def test_an_upload_that_cannot_be_used_is_told_where_it_is(speech, tmp_path):
    """In the line under the upload, not by an error of the server's."""
    for seconds, level, said in ((75, 3000, "at most 60 s"), (0.1, 3000, "at least"), (2, 0, "silent")):
        path = tmp_path / "speech.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes((level * np.sin(np.arange(int(8000 * seconds)) / 5)).astype("<i2").tobytes())
        assert said in estimate(str(path), "student", 1) and "⚠️" in estimate(str(path), "student", 1)
    (tmp_path / "<b>.wav").write_text("no sound")
    assert "&lt;b&gt;.wav is not a media file" in estimate(str(tmp_path / "<b>.wav"), "student", 1)
    few, many = (float(re.search(r"about (\d+) s", estimate(speech, "teacher", steps))[1]) for steps in (2, 100))
    assert many > 5 * few
    assert "1 to 4" in estimate(speech, "student", 50)
    assert "The teacher paints drawn speakers; for a photo choose" in estimate(speech, "teacher", 50, PHOTO)
    given_speech.REMEMBERED.pop((True, "layers", 0), None)
    assert estimate(speech, "layers", 50, PHOTO) == "0.6 s of speech."
    given_speech.REMEMBERED[True, "layers", 0] = given_speech.Pace(2.0, 5.0)
    assert "about 5 s of work (by the last run here)" in estimate(speech, "layers", 50, PHOTO)
    assert "about 5 s" in estimate(speech, "auto", 50, PHOTO) and "1 to 4" in estimate(speech, "auto", 50)
    given_speech.REMEMBERED.pop((True, "student", 1), None)
    assert estimate(speech, "student", 1, PHOTO) == "0.6 s of speech."  # drawn ones are smaller, and tell nothing of it


def test_a_short_first_run_does_not_lengthen_the_next(monkeypatch, speech, tmp_path):
    """0.6 s of speech took 36 s, of which 34 were spent until the first frames: 5 s take as long to begin, and then their own."""
    monkeypatch.setattr(given_speech, "REMEMBERED", {})
    monkeypatch.setattr(given_speech, "read_speech", lambda audio: np.zeros(5 * RATE, np.float32))
    given_speech.remember_pace(False, "student", 1, (15, 34.0), 15, 34.5)  # all at once: no pace
    assert "the table in Learn" in estimate("a", "student", 1)
    given_speech.remember_pace(False, "student", 1, (5, 34.0), 15, 36.0)
    assert "5.0 s of speech: about 59 s of work (by the last run here)" in estimate("a", "student", 1)


def test_a_rendered_person_needs_nobodys_consent_and_anybody_else_does(monkeypatch, tmp_path):
    monkeypatch.setattr("iasa.demo.speaker_choice.take_speaker", lambda kind, photo, *_: (kind, photo))
    maya = str(PEOPLE / "maya.jpg")
    assert choose_speaker(PHOTO, None, None, maya, consent=False) == (PHOTO, maya)
    other = tmp_path / "maya.jpg"
    other.write_bytes(Path(maya).read_bytes() + b"0")
    with pytest.raises(InputError, match="consent"):
        choose_speaker(PHOTO, None, None, str(other), consent=False)


def test_another_picture_needs_another_consent(page):
    photo = next(block for block in page.blocks.values() if isinstance(block, gr.Image) and block.type == "filepath")
    named = {block.elem_id: block._id for block in page.blocks.values() if getattr(block, "elem_id", None)}
    changed = [fn for fn in page.fns.values() if (photo._id, "change") in fn.targets]
    emptied, offered = sorted(changed, key=lambda fn: fn.fn.__name__)
    assert ([out._id for out in emptied.outputs], emptied.fn.__name__) == ([named["consent"]], "ask_consent")
    asked = [emptied.fn(picture) for picture in (None, __file__, str(PEOPLE / "maya.jpg"))]
    assert [(one["value"], one["visible"]) for one in asked] == [(False, True), (False, True), (False, False)]
    assert ([out._id for out in offered.outputs], offered.fn.__name__) == ([named["crop"]], "offer_crop")


def test_cancel_stops_what_runs_and_nothing_that_comes_later():
    """An earlier run that has not noticed yet still stops when another one has begun."""
    visitor = SimpleNamespace(session_hash="visitor")
    service.request_stop(visitor)
    time.sleep(0.02)
    first = service.watch_stop(visitor)
    assert not first()
    service.request_stop(visitor)
    second = service.watch_stop(visitor)
    assert first() and not second()
    assert not service.watch_stop(SimpleNamespace(session_hash="another"))()


def test_cancel_names_the_run_that_it_stops():
    """Also one of which the page does not know the turn yet; pressed again it still means the same."""
    visitor = SimpleNamespace(session_hash="hasty")
    assert service.stop_run(None, visitor) == gr.skip()
    old = service.take_turn(visitor)
    for known in (old, None):
        new = service.take_turn(visitor)
        said = json.loads(service.stop_run(known, visitor))
        assert (said["name"], said["note"], said["ended"]) == (service.run_name(new), "Stopped.", True)
        assert json.loads(service.stop_run(new, visitor))["name"] == service.run_name(new)


def test_cancel_ends_all_that_is_shown_in_its_place(page):
    """However it was begun: by its button, by the memory's, or by a clip that is led on from Speak."""
    works = {"compare": "compare", "compare_memory": "compare", "explore": "explore"}
    started, ended = {}, {}
    for number, fn in page.fns.items():
        if (name := getattr(fn.fn, "__name__", "")) in works:
            started.setdefault(works[name], set()).add(number)
    cancelling = [set(fn.cancels) for fn in page.fns.values() if fn.cancels]
    for name, numbers in started.items():
        ended[name] = [cancelled for cancelled in cancelling if cancelled & numbers]
        assert all(cancelled == numbers for cancelled in ended[name]), name
    assert {name: len(numbers) for name, numbers in started.items()} == {"compare": 3, "explore": 2}
    assert {name: len(buttons) for name, buttons in ended.items()} == {"compare": 2, "explore": 1}


def test_memories_and_the_explorer_stop_when_asked(monkeypatch, speech):
    visitor, taken = SimpleNamespace(session_hash="impatient"), []

    class Stopping:
        """Stands for gr.Progress; Cancel is pressed when the first stage is told."""

        def __call__(self, share: float, desc: str) -> None:
            taken.append(time.monotonic())
            service.request_stop(visitor)

    monkeypatch.setattr(memory_data, "make_clip", partial(memory_data.make_clip, frames=4))
    assert compare_memory.compare_memory(request=visitor, progress=Stopping()) == (None, "Stopped.")
    assert time.monotonic() - taken[0] < 1 and len(taken) == 1
    monkeypatch.setattr(explore_tab, "load_pipeline", lambda: None)
    assert explore(None, True, None, request=visitor, progress=Stopping()) == ("Stopped.", None)
    assert [path.suffix for path in service.output_folder().iterdir()] == [".stop"]


def test_a_run_that_was_cancelled_in_the_line_ends_when_its_turn_comes(speech):
    visitor = SimpleNamespace(session_hash="waiting")
    speech_of, _, turn, message = begin_run(request=visitor)
    assert speech_of == gr.skip() and json.loads(message)["waiting"].startswith("Place {place} of {all}")
    inputs = [speech, EXAMPLE, "alba", None, None, False, "student", 1, 3, None, 1.0, 1.0, 0.0, False, "rules"]
    service.request_stop(visitor)
    started = time.monotonic()
    behind = ["Own room", None, None, None]

    def last_of(turn: int) -> tuple:
        return list(speak_live(*inputs, *behind, turn, request=visitor))[-1]

    stopped = json.loads(last_of(turn)[0])
    assert (
        stopped["note"] == "Stopped."
        and stopped["name"] == json.loads(message)["name"]
        and time.monotonic() - started < 1
    )
    turns = [begin_run(request=visitor)[2] for _ in range(2)]  # the second press takes the place of the first
    assert json.loads(last_of(turns[0])[0])["note"] == "Stopped."
    assert "15 frames" in last_of(turns[1])[1]


def test_what_is_slow_to_notice_holds_nobody_up():
    """Cancel answers at once; the next run waits until the one before has noticed, and errors come through."""
    noticed, stop = [], []

    def slow(stopped, tell):
        yield "first"
        time.sleep(0.6)
        noticed.append(stopped())

    def quick(stopped, tell):
        tell("in between")
        yield len(noticed)

    updates = service.until_stopped(slow, lambda: bool(stop))
    assert next(updates) == "first"
    stop.append(True)
    started = time.monotonic()
    assert list(updates) == [] and time.monotonic() - started < 0.4
    assert list(service.until_stopped(quick, lambda: False)) == ["in between", 1] and noticed == [True]

    def broken(stopped, tell):
        yield 1
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        list(service.until_stopped(broken, lambda: False))
    left = service.until_stopped(slow, lambda: False)
    next(left)
    left.close()  # the page was closed
    time.sleep(0.9)
    assert noticed == [True, True]


def test_the_largest_of_several_faces_is_said():
    from dataclasses import replace

    from sample_photographs import avatar_photograph

    from iasa.avatar.speaker import Reference, load_speaker

    photo = avatar_photograph()
    photo = replace(photo, faces=3, person=np.ones_like(photo.person))
    speaker = Reference(np.zeros((256, 256, 3), np.uint8), photo.keypoints, load_speaker("alba").identity, "p", photo)
    assert speaker.describe()[0].startswith("The picture shows 3 faces")
    assert len(replace(speaker, chosen=True).describe()) == 1 and load_speaker("alba").describe() == []


def test_a_drawing_is_sent_to_the_puppet(monkeypatch, tmp_path):
    """Where its lines are no person to the camera's eye, and where no face is found but the puppet would find one."""
    from dataclasses import replace

    from sample_photographs import avatar_photograph

    from iasa.avatar.framing import NO_FACE, NoFaceError
    from iasa.avatar.speaker import Reference, load_speaker

    drawing = avatar_photograph()  # in which nothing is a person
    lines = Reference(np.zeros((256, 256, 3), np.uint8), drawing.keypoints, load_speaker("alba").identity, "p", drawing)
    person = replace(lines, photo=replace(drawing, person=np.ones_like(drawing.person)))
    assert len(person.describe()) == 1
    assert "a puppet of it moves better" in lines.describe()[0]

    def find_nobody(*picture, **options):
        raise NoFaceError(NO_FACE)

    Image.fromarray(np.full((80, 80, 3), 200, np.uint8)).save(tmp_path / "drawing.png")
    monkeypatch.setattr(speaker_choice, "photograph_speaker", find_nobody)
    monkeypatch.setattr("iasa.avatar.speaker.photograph_speaker", find_nobody)
    options = [
        "generate",
        "--audio",
        "tea",
        "--reference",
        str(tmp_path / "drawing.png"),
        "--out",
        str(tmp_path / "v.mp4"),
    ]
    for would_do in (True, False):
        monkeypatch.setattr(speaker_choice, "puppet_would_do", lambda picture, answer=would_do: answer)
        monkeypatch.setattr("iasa.avatar.speaker.puppet_would_do", lambda picture, answer=would_do: answer)
        with pytest.raises(InputError) as raised:
            choose_speaker(PHOTO, None, None, str(tmp_path / "drawing.png"), True)
        assert str(raised.value).startswith(NO_FACE)
        assert ("choose Puppet of my photo" in str(raised.value)) == would_do
        with pytest.raises(InputError) as raised:
            read_reference(make_parser("generate").parse_args(options))
        assert ("add --puppet" in str(raised.value)) == would_do


def test_what_is_behind_a_photographs_person(photograph, tmp_path):
    """Each choice reaches the photograph as what it is; no text is ever taken for a file's name."""
    photo, taken = photograph
    Image.fromarray(np.full((40, 60, 3), (10, 200, 30), np.uint8)).save(tmp_path / "wall.png")
    wall, corners = str(tmp_path / "wall.png"), {}
    for kind in BACKDROPS:
        speaker = choose_speaker(PHOTO, None, None, photo, True, Backdrop(kind, "rgba(61, 107.4, 142, 1)", wall))
        corner = None if speaker.room is None else speaker.room[0, 0].tolist()
        corners[kind] = (corner, speaker.around is not None)
    assert corners == {
        "Own room": (None, False), "Whole photo": (None, True), "Color": ([61, 107, 142], False),
        "Another picture": ([10, 200, 30], False), "Transparent": ([0, 0, 0, 0], False),
    }  # fmt: skip
    assert len(taken) == 1  # it is the same photograph before each
    assert [Backdrop(kind, "#fff000", wall).suffix for kind in BACKDROPS] == [".mp4"] * 4 + [".webm"]
    for wrong, said in (
        (("Sky",), "the backdrop is Sky"),
        (("Another picture",), "there is no picture"),
        (("Color", wall), "a colour as #rrggbb"),
        (("Color", None), "a colour as #rrggbb"),
        (("Color", "rgb(x)"), "a colour as #rrggbb"),
    ):
        with pytest.raises(InputError, match=said):
            choose_speaker(PHOTO, None, None, photo, True, Backdrop(*wrong))


def test_typed_text_becomes_the_speech_when_generate_is_pressed(page):
    pytest.importorskip("espeakng_loader", reason="a voice is optional: pip install espeakng-loader")
    path, last = read_what_is_typed("Good morning, this is a test.", "auto", "")
    assert last == "Good morning, this is a test." and len(read_audio(path)[0]) > 16_000
    assert read_what_is_typed(last, "auto", last) == (gr.skip(), last)  # read already: another upload would be lost
    assert read_what_is_typed("  ", "auto", last)[0] == gr.skip()
    for bad in ("x" * 10_000, "\x00\x1b[31", "12 34"):
        with pytest.raises(gr.Error, match="some words"):
            read_what_is_typed(bad, "auto", "")
    go = next(block for block in page.blocks.values() if getattr(block, "elem_id", None) == "generate")
    (pressed,) = [fn for fn in page.fns.values() if (go._id, "click") in fn.targets]
    assert pressed.fn.__name__ == "begin_run"


def test_any_file_with_sound_is_speech(speech, tmp_path):
    write_video(tmp_path / "film.mp4", np.full((25, 32, 32, 3), 90, np.uint8), read_audio(speech)[0], RATE)
    assert take_sound(str(tmp_path / "film.mp4")) == str(tmp_path / "film.mp4")
    (tmp_path / "x.caf").write_text("caff and nothing more")
    with pytest.raises(gr.Error, match="x.caf"):
        take_sound(str(tmp_path / "x.caf"))


def test_results_have_names(page):
    for name, about in public(page).items():
        names = [(p.get("label") or "", p["parameter_name"]) for p in about["parameters"]]
        assert not [pair for pair in names if "value_" in " ".join(map(str, pair))], name
        assert not [out["label"] for out in about["returns"] if str(out["label"]).startswith("value_")], name


def test_playing_while_it_is_made(speech):
    """A still of the speaker, the progress in one line, pieces of a live video, and the file that takes their place."""
    updates = list(run(speech))
    messages = [json.loads(update[0]) for update in updates]
    assert len({message["name"] for message in messages}) == 1
    first = next(number for number, message in enumerate(messages) if message["pieces"])
    assert any(message.get("poster", "").startswith("data:image/jpeg") for message in messages[:first])
    shares = [message["share"] for message in messages[:-1]]
    assert shares == sorted(shares) and shares[0] == 0 and 0.5 < shares[-1] <= 1 and messages[-1]["share"] is None
    assert any(re.fullmatch(r"\d+% · Making frames.*", message["note"]) for message in messages)
    assert re.match(r"First frame after [\d.]+ s, [\d.]+ frames/s in all", messages[-1]["note"])
    assert (
        messages[-1]["ended"]
        and not messages[0]["ended"]
        and [m.get("file") for m in messages[:-1]] == [None] * (len(messages) - 1)
    )
    assert sum(bool(message["pieces"]) for message in messages) >= 2
    pieces = dict(piece for message in messages for piece in message["pieces"])
    assert sorted(pieces) == list(range(len(pieces)))
    _, figures, made = updates[-1]
    assert messages[-1]["file"] == made.video and Path(made.video).exists()
    assert "15 frames" in figures and len(made.poses) == 15


def test_what_goes_wrong_stays_under_the_player(tmp_path):
    """The message in the corner goes away, the line does not."""
    messages = []
    with pytest.raises(gr.Error, match="There is no speech"):
        for message, *_ in run(None):
            messages.append(json.loads(message))
    assert messages[-1]["note"].startswith("⚠️ There is no speech") and messages[-1]["ended"]


def test_the_clip_made_last_is_handed_out(speech):
    """In every format, with its poses and its settings; nothing of what has gone, or was never there."""
    *_, made = speak(speech)
    for suffix in (".mp4", ".webm", ".gif"):
        file = Path(hand_out(suffix, made))
        assert file.suffix == suffix and file.stem == "alba-seed3" and len(read_video(file)[0]) == 15
    assert read_metadata(hand_out(".webm", made))["seed"] == 3 and len(read_audio(hand_out(".webm", made))[0]) > 8000
    assert json.loads(Path(hand_out(".json", made)).read_text())["reference"] == "alba"
    assert len(load_keypoints(hand_out(".npz", made))) == 15
    assert to_comparison(made) == (speech, "alba", 3)
    Path(made.video).unlink()
    for gone, said in ((None, "no clip yet"), (made, "no longer kept")):
        with pytest.raises(gr.Error, match=said):
            hand_out(".gif", gone)
        with pytest.raises(gr.Error, match=said):
            to_comparison(gone)


def test_stored_examples_say_what_makes_them_anew():
    assert len(made_before()) >= 3
    for name in made_before():
        message, sound, kind, speaker, photo, seed = play_stored(name)
        made = read_metadata(json.loads(message)["file"])
        who = speaker if kind == EXAMPLE else Path(photo).stem
        assert (who, seed) == (made["reference"], made["seed"]) and Path(sound).exists()
        assert kind == (EXAMPLE if who in speaker_names() else PHOTO)
        assert "Generate makes it anew" in json.loads(message)["note"]


def test_the_movement_alone_and_given_back(speech):
    """Poses to look at, wishes that change them, and the file that drives a video."""
    given = [speech, EXAMPLE, speaker_names()[0], None, None, False, 3]
    video, file = preview_poses(*given)
    _, raised = preview_poses(*given, None, 1.0, 1.0, 6.0, True)
    plain, high = load_keypoints(file), load_keypoints(raised)
    assert len(read_video(video)[0]) == len(plain) == 15
    assert (high.xy[:, 9:11, 1] < plain.xy[:, 9:11, 1]).all()
    assert np.ptp(high.xy[:, 0], axis=0).max() < 1e-3
    _, again = preview_poses(*given, driving=raised)
    np.testing.assert_array_equal(load_keypoints(again).xy, high.xy)
    *_, made = speak(speech, driving=raised)
    np.testing.assert_allclose(made.poses.xy, high.xy[:15])


def test_who_makes_the_gestures(speech):
    """The learned motion model moves otherwise than the rules, in the preview as in the video, which says so."""
    given = [speech, EXAMPLE, speaker_names()[0], None, None, False, 3]
    _, rules = preview_poses(*given)
    _, learned = preview_poses(*given, motion="learned")
    ruled, performed = load_keypoints(rules), load_keypoints(learned)
    assert len(performed) == 15 and np.abs(performed.xy - ruled.xy).max() > 0.01
    video, *_, made = speak(speech, motion="learned")
    np.testing.assert_array_equal(made.poses.xy, performed.xy)
    assert restore_settings(video)[6] == "learned"
    with pytest.raises(gr.Error, match="The motion model is 'nobody'; accepted: learned or rules"):
        speak(speech, motion="nobody")


def test_settings_come_back_only_from_videos_made_here(tmp_path):
    for settings in (
        {},
        {"model": "x"},
        {"model": "student", "steps": 99, "seed": 1},
        {"model": "student", "steps": 1},
    ):
        path = tmp_path / "other.mp4"
        write_video(path, np.zeros((2, 64, 64, 3), np.uint8), metadata=settings)
        with pytest.raises(gr.Error, match="holds no settings"):
            restore_settings(str(path))


def test_comparing(speech):
    video, table = compare(speech, speaker_names()[0], 0.4, 1, 0, None, SimpleNamespace(session_hash="c"), Steps())
    frames, _ = read_video(video)
    assert frames.shape == (10, 256 + 22, 3 * 256, 3)
    lines = [line for line in table.splitlines() if line.startswith(("| teacher", "| dense", "| sparse"))]
    assert len(lines) == 3
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    density = [float(row[4].rstrip("%")) for row in cells]
    assert density[2] < density[1] < density[0] + 60
    assert all(float(row[6]) > 15 for row in cells) or all(row[6] == "-" for row in cells)
    with pytest.raises(gr.Error, match="0.4 to 4"):
        compare(speech, speaker_names()[0], 100, 1, 0, None, SimpleNamespace(session_hash="c"), Steps())


def test_comparing_two_patterns(speech):
    given, request = ["monarch", "svg2"], SimpleNamespace(session_hash="c")
    shared = (speech, speaker_names()[0], 0.4, 1, 0)
    video, table = compare(*shared, "monarch", "student", 1, "svg2", "student", 2, request, Steps())
    frames, _ = read_video(video)
    assert frames.shape == (10, 256 + 22, 2 * 256, 3)
    left, right = frames[:, :256, :256].astype(int), frames[:, :256, 256:].astype(int)
    assert 0 < np.abs(left - right).mean() < 10  # the same clip, and not the same pictures
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:4]] == given
    for wrong, said in (
        ("", "two of dense, input_aware"),
        ("spiral", "two of dense"),
        ("pab", "and this one is made frame by frame"),
    ):
        with pytest.raises(gr.Error, match=said):
            compare(*shared, "svg2", "student", 2, wrong, "student", 2, request, Steps())


def test_exploring(speech, tmp_path):
    """The clip made last, with its pictures and its learned attention; a pose file; what is refused."""
    *_, poses, made = speak(speech)
    frame, file = explore(None, True, made, progress=Steps())
    page = Path(file).read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["plan"]["grid"]["frames"] == 9 == len(data["thumbnails"]) and data["attention"]["layers"] > 0
    assert frame.startswith("<iframe srcdoc=") and 'sandbox="allow-scripts allow-downloads"' in frame
    _, file = explore(poses, False, None, progress=Steps())
    assert '"frames":8' in Path(file).read_text().replace(" ", "")
    with pytest.raises(gr.Error, match="made here"):
        explore(poses, True, None, progress=Steps())
    Path(made.video).unlink()
    with pytest.raises(gr.Error, match="no longer kept"):
        explore(None, False, made, progress=Steps())


@pytest.mark.skipif(not importlib.util.find_spec("espeakng_loader"), reason="the optional voice is not installed")
def test_typed_text_is_read_aloud():
    sound, _ = read_audio(read_text("Good morning, <b>everyone</b>."))
    assert 0.8 < len(sound) / RATE < 5 and np.abs(sound).max() > 0.05
    german, english = (read_audio(read_text("Guten Morgen, wie geht es dir?", code))[0] for code in ("auto", "en"))
    assert len(german) != len(english)
    with pytest.raises(gr.Error, match="No voice here reads Japanese; accepted: English, German"):
        read_text("おはようございます")
    for text in ("", "...", "word " * 100):
        with pytest.raises(gr.Error, match="some words"):
            read_text(text)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def client(page):
    """A client of the page, served over the network."""
    from gradio_client import Client

    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, share=False)
    yield Client(address, verbose=False)
    page.close()


def test_the_served_page(client, speech, tmp_path):
    """What a visitor's browser or program gets: a video, its poses, their plan, and plain sentences."""
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    given = dict(
        kind=EXAMPLE, example=speaker_names()[0], number=None, photo=None, consent=False,
        model="student", steps=1, seed=0, api_name="/speak",
    )  # fmt: skip
    video, figures, poses = client.predict(audio=handle_file(speech), **given)
    video = video["video"] if isinstance(video, dict) else video
    assert len(read_video(video)[0]) == len(load_keypoints(poses)) == 15 and "15 frames" in figures
    with pytest.raises(AppError, match="There is no speech"):
        client.predict(audio=None, **given)
    skeletons, file = client.predict(
        audio=handle_file(speech), **{k: given[k] for k in ("kind", "example", "number", "photo", "consent", "seed")},
        api_name="/poses",
    )  # fmt: skip
    assert len(load_keypoints(file)) == 15
    both, table = client.predict(
        audio=handle_file(speech), example=given["example"], seconds=0.4, teacher_steps=1, seed=0, api_name="/compare"
    )
    assert "sparse student" in table and Path(both["video"] if isinstance(both, dict) else both).exists()
    frame, file = client.predict(clip=handle_file(poses), record=False, api_name="/explore")
    assert "iframe" in frame and "iasaExplorer" in Path(file).read_text()
    with pytest.raises(AppError, match="not a pose file"):
        client.predict(clip=handle_file(_write(tmp_path / "no.npz", "no poses")), record=False, api_name="/explore")

    cut = tmp_path / "cut.png"
    cut.write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    given |= dict(kind=PHOTO, photo=handle_file(cut), consent=True)
    with pytest.raises(AppError, match="not a readable picture"):
        client.predict(audio=handle_file(speech), **given)

    asked = dict(top_k=2, method="hull", block=16, api_name="/mask")
    picture, text = client.predict(poses=handle_file(poses), **asked)
    with Image.open(picture if isinstance(picture, str) else picture["path"]) as drawn:
        assert drawn.format == "PNG" and min(drawn.size) > 300
    assert '"frames": 8' in (text if isinstance(text, str) else text["value"])
    (tmp_path / "text.npz").write_text("no poses")
    with pytest.raises(AppError, match="not a pose file"):
        client.predict(poses=handle_file(tmp_path / "text.npz"), **asked)


def test_a_video_of_a_person_drives_and_is_explored(client, speech, tmp_path):
    """A real photograph, moved about: its movement becomes poses, drives the speaker, and opens in the explorer."""
    data = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image")
    pytest.importorskip("mediapipe", reason="finding a person is optional: pip install mediapipe==0.10.21")
    from gradio_client import handle_file

    photograph = data.astronaut()
    write_video(tmp_path / "person.mp4", np.stack([np.roll(photograph, 5 * i, 1) for i in range(10)]))
    person, name = handle_file(tmp_path / "person.mp4"), speaker_names()[0]
    _, file = client.predict(audio=handle_file(speech), example=name, driving=person, api_name="/poses")
    poses = load_keypoints(file)
    nose = poses.xy[poses.confidence[:, 0] > 0.3, 0, 0]
    assert len(poses) == 10 and np.diff(nose).min() > 0  # as the picture was moved
    video, figures, _ = client.predict(
        audio=handle_file(speech), example=name, driving=handle_file(file), api_name="/speak"
    )
    assert len(read_video(video["video"] if isinstance(video, dict) else video)[0]) == 15 and "15 frames" in figures
    _, file = client.predict(clip=person, api_name="/explore")
    page = json.loads(Path(file).read_text().partition('id="data">')[2].partition("</script>")[0])
    assert page["plan"]["grid"]["frames"] == 5 == len(page["thumbnails"])
