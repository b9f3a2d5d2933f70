"""`python -m iasa`: the main job and the other commands, and one plain sentence for everything that can be wrong."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import wave
from argparse import Namespace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from iasa.avatar.example_people import find_picture
from iasa.cli.arguments import read_speech
from iasa.cli.main import main, make_parser
from iasa.cli.progress import StageBar
from iasa.config import AUDIO_RATE, MAX_AUDIO_SECONDS, VIDEO_FPS, InputError
from iasa.keypoints import (
    LEFT_HAND,
    MOUTH,
    RIGHT_HAND,
    Keypoints,
    load_keypoints,
    mouth_opening,
    save_keypoints,
)
from iasa.masks.export import load_plan
from iasa.media.reader import read_audio_track, read_metadata, read_video
from iasa.paths import PEOPLE
from iasa.speech import read_audio

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "iasa" / "assets" / "speech" / "welcome.mp3"
SECONDS = 1.0


def write_wav(path: Path, audio: np.ndarray, rate: int = AUDIO_RATE) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    """A second of real speech from an example clip."""
    audio, _ = read_audio(CLIP)
    return write_wav(tmp_path_factory.mktemp("speech") / "speech.wav", audio[: int(SECONDS * AUDIO_RATE)])


@pytest.fixture(scope="module")
def poses(tmp_path_factory, speech) -> Path:
    """Its poses, by the motion command."""
    path = tmp_path_factory.mktemp("poses") / "poses.npz"
    assert main(["motion", "--audio", str(speech), "--avatar", "1000007", "--out", str(path)]) == 0
    return path


def run(words: list) -> int:
    """The exit status of a command line, whether it is returned or raised by argparse."""
    try:
        return main([str(word) for word in words])
    except SystemExit as left:
        return left.code


def refused(words: list, capsys, folder: Path) -> str:
    """The one sentence of a command that must fail; nothing may be left in `folder`."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    shown = [line.rpartition("\r")[2] for line in said.err.split("\n")]  # what a progress bar leaves visible
    lines = [line for line in shown if line.strip()]
    assert len(lines) == 1, said.err
    assert "Traceback" not in said.err and lines[0].startswith("iasa")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return lines[0]


def reported(words: list, capsys) -> dict:
    """The last line of a command that must succeed with --json."""
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def make_bad_sound(folder: Path, kind: str) -> Path:
    path = folder / "speech.wav"
    if kind == "text":
        path.write_text("This is not a sound, whatever its name says.\n" * 20)
    elif kind == "empty":
        path.touch()
    elif kind == "silent":
        write_wav(path, np.zeros(AUDIO_RATE))
    elif kind == "short":
        write_wav(path, np.ones(400))
    elif kind == "playlist":
        path = folder / "speech.mp4"
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n")
    elif kind == "two hours":
        path = folder / "speech.flac"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("flac", rate=8000, layout="mono")
            for start in range(0, 7200, 60):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * 60), np.int16), layout="mono")
                frame.rate, frame.pts = 8000, start * 8000
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    "kind, part",
    [
        ("missing", "there is no file speech.wav"),
        ("text", "not a media file"),
        ("empty", "empty"),
        ("silent", "silent"),
        ("short", "at least 0.2 s"),
        ("playlist", "a playlist, not media"),
        ("two hours", f"at most {MAX_AUDIO_SECONDS:g} s"),
    ],
)
def test_bad_speech(kind, part, tmp_path, capsys):
    path = make_bad_sound(tmp_path, kind)
    for command in ("generate", "motion"):
        out = tmp_path / ("v.mp4" if command == "generate" else "p.npz")
        assert part in refused([command, "--audio", path, "--out", out], capsys, tmp_path)


def test_bad_reference_pictures(tmp_path, capsys, speech):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "noise.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "noise.png").read_bytes()[:900])
    (tmp_path / "drawing.png").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    for name, part in (
        ("missing.png", "no file"),
        ("cut.png", "not a readable picture"),
        ("drawing.png", "not a readable picture"),
        ("noise.png", "face"),
    ):
        words = ["generate", "--audio", speech, "--reference", tmp_path / name, "--out", tmp_path / "v.mp4"]
        assert part in refused(words, capsys, tmp_path)


@pytest.mark.parametrize(
    "out, part",
    [
        ("v.avi", "must end in .mp4"),
        ("v.", "must end in .mp4"),
        ("file", "a new or empty folder is needed"),
        ("nowhere/v.mp4", "No such file or directory"),
        ("file.txt/v.mp4", "Not a directory"),
        ("folder.mp4", "it is a folder"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "avatar"])
def test_bad_outputs_are_refused_before_the_speech_is_read(command, out, part, tmp_path, capsys):
    (tmp_path / "folder.mp4").mkdir()
    for name in ("file.txt", "file"):
        (tmp_path / name).write_text("a file")
    words = [command, "--audio", tmp_path / "missing.wav", "--out", tmp_path / out]
    assert part in refused(words, capsys, tmp_path)


@pytest.mark.parametrize(
    "words, part",
    [
        (["generate", "--seed", "-1"], "whole number"),
        (["generate", "--seed", "1.5"], "whole number"),
        (["generate", "--seed", str(2**32)], "whole number"),
        (["generate", "--steps", "5"], "1 to 4"),
        (["generate", "--steps", "0"], "1 to 4"),
        (["generate", "--model", "teacher", "--steps", "101"], "1 to 100"),
        (["generate", "--model", "critic"], "critic"),
        (["generate", "--avatar", "x"], "whole number"),
        (["generate", "--avatar", "1", "--speaker", "x"], "not allowed"),
        (["generate", "--speaker", "nobody"], "nobody"),
        (["generate", "--pose", "nowhere.npz"], "there is no file nowhere.npz"),
        (["generate", "--pose", "nowhere/p.npz"], "there is no file p.npz, for there is no folder nowhere"),
        (
            ["generate", "--stream", "--reference", "p.png", "--model", "teacher"],
            "--stream works with the student, or layers alone",
        ),
        (["generate", "--stream", "--pose", "p.npz"], "--stream makes its own poses; leave --pose out"),
        (["generate", "--reference", "p.png", "--model", "restored"], "no restorer ships"),
        (["generate", "--model", "layers", "--steps", "2"], "without denoising steps"),
        (["generate", "--background", "#00ff00"], "--background is for a photograph"),
        (["generate", "--face", "2"], "--face is for a photograph"),
        (["generate", "--puppet"], "--puppet is for a photograph"),
        (["generate", "--keep-frame"], "--keep-frame is for a photograph"),
        (["generate", "--reference", "p.png", "--keep-frame", "--background", "#00ff00"], "leave --background out"),
        (["generate", "--reference", "p.png", "--background", "transparent"], "v.mp4 cannot be transparent"),
        (
            [
                "generate",
                "--reference",
                "p.png",
                "--background",
                "transparent",
                "--model",
                "student",
                "--out",
                "v.webm",
            ],
            "the student paints no alpha",
        ),
        (["generate", "--model", "restored"], "the restorer repairs photographs"),
        (["generate", "--framing", "closeup"], "closeup"),
        (["generate", "--attention", "spiral"], "spiral"),
        (["generate", "--attention", "causal"], "--attention causal belongs to --backbone"),
        (["generate", "--attention", "pab"], "pab uses outputs of earlier denoising steps again, and there is 1 step"),
        (["generate", "--attention", "svg2", "--model", "layers"], "the layers are warped without attention"),
        (["generate", "--attention", "svg2", "--stream"], "--stream rolls out under input_aware"),
        (["generate", "--compute", "some"], "some"),
        (["generate", "--compute", "moving", "--model", "teacher"], "only the student under its own attention"),
        (["generate", "--compute", "moving", "--attention", "svg2"], "only the student under its own attention"),
        (["avatar", "--size", "300"], "300"),
    ],
)
def test_bad_arguments(words, part, tmp_path, capsys, speech):
    out = [] if "--out" in words else ["--out", tmp_path / "v.mp4"]
    assert part in refused([*words, "--audio", speech, *out], capsys, tmp_path)


@pytest.mark.parametrize("words", [[], ["nonsense"], ["generate"], ["mask"], ["train"], ["train", "nothing"]])
def test_bad_commands(words, tmp_path, capsys):
    refused(words, capsys, tmp_path)


def test_bad_poses(tmp_path, capsys, poses):
    read = load_keypoints(poses)
    save_keypoints(tmp_path / "fast.npz", Keypoints(read.xy, read.confidence, 30.0))
    save_keypoints(tmp_path / "none.npz", read[:0])
    np.savez(tmp_path / "pickled.npz", xy=np.array([{}], object), confidence=np.zeros((1, 133)))
    (tmp_path / "text.npz").write_text("no poses")
    for name, part in (
        ("fast.npz", "30 poses a second"),
        ("none.npz", "no poses"),
        ("pickled.npz", "not a pose file"),
        ("text.npz", "not a pose file"),
    ):
        assert part in refused(["mask", "--pose", tmp_path / name], capsys, tmp_path)
    for words, part in (
        (["--rows", "0"], "--rows is 0"),
        (["--cols", "1000"], "--cols is 1000"),
        (["--top-k", "-1"], "top_k is -1"),
        (["--block", "0"], "block is 0"),
        (["--out", tmp_path / "plan.txt"], "must end in .npz, .json, .png or .html"),
        (["--attention", "--out", tmp_path / "plan.npz"], "--attention is for the explorer"),
        (
            ["--patterns", "--out", tmp_path / "e.html"],
            "--patterns are recorded in a run of the student; add --attention",
        ),
        (["--attention", "--rows", "4", "--out", tmp_path / "e.html"], "whose grid is 16 x 16"),
        (["--video", tmp_path / "no.mp4", "--out", tmp_path / "e.html"], "there is no file no.mp4"),
    ):
        assert part in refused(["mask", "--pose", poses, *words], capsys, tmp_path)


def test_a_video_without_a_person(tmp_path, capsys):
    from iasa.media.writer import write_video

    write_video(tmp_path / "noise.mp4", np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8))
    words = ["pose", "--video", tmp_path / "noise.mp4", "--out", tmp_path / "p.npz"]
    assert "no person" in refused(words, capsys, tmp_path)
    (tmp_path / "text.mp4").write_text("not a video")
    words[2] = tmp_path / "text.mp4"
    assert "not a media file" in refused(words, capsys, tmp_path)


def test_poses_are_given_or_performed(tmp_path, capsys):
    words = ["generate", "--audio", tmp_path / "a.wav", "--pose", tmp_path / "p.npz", "--motion", "learned"]
    assert "leave one out" in refused([*words, "--out", tmp_path / "v.mp4"], capsys, tmp_path)


def test_training_without_clips(tmp_path, capsys):
    assert "train data" in refused(["train", "teacher", "--run", tmp_path / "runs"], capsys, tmp_path)


def test_a_missing_library_is_named(tmp_path, capsys, speech, monkeypatch):
    from iasa.avatar.drawing import load_skia

    load_skia.cache_clear()
    monkeypatch.setitem(sys.modules, "skia", None)
    words = ["generate", "--audio", speech, "--avatar", "3", "--out", tmp_path / "v.mp4"]
    assert "pip install skia-python" in refused(words, capsys, tmp_path)


def test_interruption(monkeypatch, tmp_path, capsys, speech):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("iasa.cli.generate.run", interrupt)
    assert run(["generate", "--audio", speech, "--out", tmp_path / "v.mp4"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_process_that_is_ended_leaves_nothing_half_written(tmp_path):
    """By `kill`, as a job's time limit does."""
    code = (
        "import os, signal, iasa.cli.generate as g\nfrom iasa.cli.main import main\nfrom iasa.files import atomic_write\n"
        "def run(arguments):\n with atomic_write('v.mp4') as partial:\n  partial.write_text('half')\n"
        "  os.kill(os.getpid(), signal.SIGTERM)\ng.run = run\nmain(['generate', '--audio', 'tea', '--out', 'v.mp4'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 143, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_plainly(monkeypatch, tmp_path, capsys, poses):
    def fill(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fill)
    words = ["mask", "--pose", poses, "--out", tmp_path / "plan.npz"]
    assert "No space left on device" in refused(words, capsys, tmp_path)


def test_the_main_job(tmp_path, speech):
    """As a user runs it: with the shipped weights, into a folder that then holds the video alone."""
    out = tmp_path / "talking.mp4"
    words = ["generate", "--audio", speech, "--seed", "5", "--steps", "1", "--json", "--out", out]
    done = subprocess.run([sys.executable, "-m", "iasa", *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["frames"] == round(25 * SECONDS)
    assert set(report["seconds"]) >= {"motion", "plan", "denoise", "decode", "write"}
    assert {"fps", "density", "steps", "device", "dtype"} <= set(report)
    assert 0 < report["density"] < 0.5 and report["steps"] == 1
    assert "denoise" not in done.stderr  # no progress bar in a log

    frames, fps = read_video(out)
    assert frames.shape == (report["frames"], 256, 256, 3) and fps == 25
    sound, rate = read_audio_track(out)
    assert abs(len(sound) / rate - len(frames) / fps) < 1 / fps
    spoken, _ = read_audio(speech)
    part = min(len(sound), len(spoken))
    assert np.corrcoef(sound[:part], spoken[:part])[0, 1] > 0.9
    settings = read_metadata(out)
    assert settings["ai_generated"] is True
    assert (settings["seed"], settings["model"], settings["steps"]) == (5, "student", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["talking.mp4"]


def test_a_photograph_speaks(tmp_path, capsys, speech):
    """The picture itself moves, before a colour; what keeps still is said. The puppet is there when asked for."""
    from sample_photographs import astronaut

    pytest.importorskip("mediapipe", reason="the pose detector is optional: pip install mediapipe==0.10.21")
    Image.fromarray(astronaut()).save(tmp_path / "person.png")
    for name in ("#00ff0", "missing.png"):
        words = ["generate", "--audio", speech, "--reference", tmp_path / "person.png", "--background", name]
        assert name in refused([*words, "--out", tmp_path / "v.mp4"], capsys, tmp_path)
    words = ["generate", "--audio", speech, "--reference", tmp_path / "person.png", "--background", "#00ff00"]
    report = reported([*words, "--size", 256, "--out", tmp_path / "v.mp4"], capsys)
    assert report["model"] == "layers" and report["steps"] == 0
    assert "head, face and shoulders move" in report["parts"]
    frames = read_video(tmp_path / "v.mp4")[0].astype(int)
    assert frames.shape[1:] == (256, 256, 3)
    corner = frames[:, :24, :24]  # behind the person, away from the visible mark
    assert np.abs(corner - (0, 255, 0)).mean() < 8
    assert np.abs(frames[0] - frames[len(frames) // 2])[60:140].mean() > 0.5, "somebody moves"
    words = ["generate", "--audio", speech, "--reference", tmp_path / "person.png", "--background", "transparent"]
    reported([*words, "--size", 256, "--out", tmp_path / "cut"], capsys)
    one = np.asarray(Image.open(sorted((tmp_path / "cut").iterdir())[0]))
    assert one.shape == (256, 256, 4) and one[:24, :24, 3].max() == 0
    face = one[62:78, 107:121]
    assert face[..., 3].min() == 255 and np.abs(face[..., :3] - frames[0, 62:78, 107:121]).mean() < 8
    wide = np.pad(astronaut(), ((0, 0), (100, 140), (0, 0)), mode="reflect")
    Image.fromarray(wide).save(tmp_path / "wide.png")
    words = ["generate", "--audio", speech, "--reference", tmp_path / "wide.png", "--keep-frame", "--size", 256]
    reported([*words, "--out", tmp_path / "wide.mp4"], capsys)
    frames = read_video(tmp_path / "wide.mp4")[0].astype(int)
    assert frames.shape[1:] == (256, 376, 3)
    still = np.asarray(Image.fromarray(wide).resize((376, 256), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(frames[:, :, :20] - still[:, :20]).mean() < 6 and np.abs(frames[0] - still).mean() < 16


def test_poses_and_reference_are_followed(tmp_path, capsys, speech, poses, monkeypatch):
    """By both models: lips move with the poses, the background stays the reference's; a seed repeats itself."""
    from iasa.avatar.speaker import draw_speaker
    from iasa.pipeline import CoSpeechPipeline

    pipeline = CoSpeechPipeline.from_pretrained()
    monkeypatch.setattr(CoSpeechPipeline, "from_pretrained", lambda *_, **__: pipeline)
    opening = mouth_opening(load_keypoints(poses))
    start = int(np.clip(opening.argmax() - 6, 0, len(opening) - 12))
    driving = load_keypoints(poses)[start : start + 12]
    save_keypoints(tmp_path / "part.npz", driving)
    made = []
    for model, seed in (("student", 0), ("student", 0), ("student", 1), ("teacher", 0)):
        out = tmp_path / f"{len(made)}.mp4"
        words = ["generate", "--audio", speech, "--avatar", 1000007, "--pose", tmp_path / "part.npz"]
        report = reported([*words, "--model", model, "--steps", 2, "--seed", seed, "--out", out], capsys)
        frames = round(report["held_seconds"] * VIDEO_FPS) + 12  # the last pose stays as long as the speech
        assert report["model"] == model and report["frames"] == frames > 12
        whole = read_video(out)[0].astype(float)
        assert len(whole) == frames and np.abs(whole[12:] - whole[11]).mean() < 2
        made.append(whole[:12])
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).any()

    reference = draw_speaker(1000007).image.astype(float)
    open_, shut = mouth_opening(driving).argmax(), mouth_opening(driving).argmin()
    middle = (driving.xy[:, MOUTH].mean(1) * 256).round().astype(int)  # [f, 2]
    corner = slice(0, 40)
    for frames in made:
        assert np.abs(frames[:, corner, corner] - reference[corner, corner]).mean() < 12
        mouths = [frames[t, y - 10 : y + 14, x - 14 : x + 14] for t, (x, y) in enumerate(middle)]
        assert np.abs(mouths[open_] - mouths[shut]).mean() > 3


def test_motion(tmp_path, capsys, speech, poses):
    out = tmp_path / "p.npz"
    words = ["motion", "--audio", speech, "--avatar", "1000007", "--out", out]
    report = reported([*words, "--seed", 3], capsys)
    first, other = load_keypoints(poses), load_keypoints(out)
    assert report["frames"] == len(other) == len(first) == round(25 * SECONDS) and other.fps == 25
    assert mouth_opening(first).std() > 0.01
    np.testing.assert_allclose(mouth_opening(first), mouth_opening(other), atol=0.15)  # the same words
    assert np.abs(first.xy - other.xy).max() > 1e-3  # another performance
    assert run([*words, "--seed", 0]) == 0
    np.testing.assert_array_equal(load_keypoints(out).xy, first.xy)


def test_an_example_clip_by_its_name(tmp_path, monkeypatch):
    """But a file of that name comes first, and a path is a path."""
    monkeypatch.chdir(tmp_path)

    def heard(name: str) -> np.ndarray:
        return read_speech(Namespace(audio=name, track=None))[0]

    np.testing.assert_array_equal(heard("welcome"), read_audio(CLIP)[0])
    with pytest.raises(InputError, match="there is no file welcome"):
        heard("./welcome")
    with pytest.raises(InputError, match="no file welcom, and no such example clip: they are .*tea, welcome, windows"):
        heard("welcom")
    with pytest.raises(InputError, match="no file welcome.mp3, for there is no folder nowhere"):
        heard("nowhere/welcome.mp3")
    write_wav(tmp_path / "welcome", np.sin(np.arange(AUDIO_RATE) / 20) / 2)
    assert len(heard("welcome")) == AUDIO_RATE


def test_an_example_person_by_name(tmp_path, monkeypatch):
    """But a file of that name comes first, and a path is a path."""
    monkeypatch.chdir(tmp_path)
    assert find_picture("maya") == PEOPLE / "maya.jpg"
    assert find_picture("./maya") == Path("./maya") and find_picture("maya.png") == Path("maya.png")
    with pytest.raises(InputError, match="no file may, and no such example person: they are .*maya"):
        find_picture("may")
    (tmp_path / "maya").write_bytes(b"a picture of somebody else")
    assert find_picture("maya") == Path("maya")


def test_plans_as_files_and_pictures(tmp_path, capsys, poses):
    words = ["mask", "--pose", poses, "--rows", 4, "--cols", 6, "--top-k", 2, "--block", 8]
    report = reported([*words, "--out", tmp_path / "plan.npz"], capsys)
    plan = load_plan(tmp_path / "plan.npz")
    assert (plan.grid.rows, plan.grid.cols, plan.options.top_k) == (4, 6, 2)
    assert report["frames"] == plan.grid.frames == 13  # 25 poses, the last one repeated
    assert report["token_density"] == pytest.approx(float(plan.dense().double().mean()))
    assert run([*words, "--out", tmp_path / "plan.json"]) == 0
    same = load_plan(tmp_path / "plan.json")
    assert (same.frame_table == plan.frame_table).all() and (same.region_bits == plan.region_bits).all()
    assert run([*words, "--out", tmp_path / "mask.png"]) == 0
    with Image.open(tmp_path / "mask.png") as picture:
        assert min(picture.size) > 300 and len(picture.convert("RGB").getcolors(2**16)) > 8
    denser = reported([*words, "--top-k", 8], capsys)
    assert denser["token_density"] > report["token_density"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.png", "plan.json", "plan.npz"]


def test_the_explorer_as_a_page(tmp_path, poses):
    """With skeletons, with the video's pictures, and with what the student attends to."""
    from iasa.media.writer import write_video

    out, video = tmp_path / "explorer.html", tmp_path / "video.mp4"
    words = ["mask", "--pose", poses, "--top-k", 2, "--out", out]

    def data() -> dict:
        return json.loads(out.read_text().partition('id="data">')[2].partition("</script>")[0])

    assert run(words) == 0
    assert data()["plan"]["options"]["top_k"] == 2 and data()["thumbnails"] is None
    write_video(video, np.random.default_rng(0).integers(0, 255, (25, 64, 64, 3), np.uint8))
    assert run([*words, "--video", video]) == 0
    assert len(data()["thumbnails"]) == data()["plan"]["grid"]["frames"] == 13
    write_video(video, np.zeros((8, 64, 64, 3), np.uint8))
    assert run([*words, "--video", video]) == 2
    assert run([*words, "--attention"]) == 0
    made = data()
    assert made["plan"]["grid"]["frames"] == 14 == len(made["thumbnails"])  # the reference comes first
    assert made["attention"]["layers"] > 1 and "student" in made["attention"]["source"]


def test_the_avatar_is_found_by_the_pose_detector(tmp_path, capsys, speech):
    video, found = tmp_path / "truth.mp4", tmp_path / "found.npz"
    drawn = reported(["avatar", "--seed", 1000007, "--audio", speech, "--out", video], capsys)
    assert drawn["frames"] == 25 and read_metadata(video)["seed"] == 1000007
    report = reported(["pose", "--video", video, "--out", found], capsys)
    assert report["frames"] == 25
    assert report["found"]["pose"] == report["found"]["face"] == 1
    keypoints = load_keypoints(found)
    assert keypoints.confidence[:, [LEFT_HAND.start, RIGHT_HAND.start]].max() > 0.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.npz", "truth.mp4"]


def test_stream_makes_a_video_as_if_the_sound_came_live(tmp_path, capsys, speech):
    report = reported(["generate", "--audio", speech, "--stream", "--out", tmp_path / "live.mp4"], capsys)
    frames, rate = read_video(tmp_path / "live.mp4")
    assert len(frames) == report["frames"] > 10 and rate == pytest.approx(25)


@pytest.mark.parametrize("words", [
    ["generate", "--audio", "welcome", "--aud", "welcome"], ["generate", "--audio", "welcome", "--ref", "a.png"],
    ["evaluate", "--clips", "0"], ["evaluate-motion", "--clips", "0"], ["evaluate", "--frames", "-3"],
    ["bench", "generate", "--seconds", "-3"], ["bench", "generate", "--seconds", "nan"], ["bench", "generate", "--soak", "0"],
    ["train", "data", "--clips", "0"], ["backbone-train", "--data", "x", "--run", "y", "--batch", "0"],
])  # fmt: skip
def test_slips_of_the_keyboard_are_answered_at_once(words):
    """Options are not guessed from their beginnings, and no number of things is 0."""
    with pytest.raises(SystemExit, match="2"):
        make_parser(words[0]).parse_args([*words, *(["--out", "x.mp4"] if words[0] == "generate" else [])])


@pytest.mark.parametrize("given", [["--size", "512"], ["--framing", "half"], ["--keep-frame"], ["--face", "1"]])
def test_what_is_for_a_photograph_is_not_ignored_without_one(tmp_path, capsys, speech, given):
    said = refused(["generate", "--audio", speech, *given, "--out", tmp_path / "v.mp4"], capsys, tmp_path)
    assert f"{given[0]} is for a photograph" in said


def test_folders_have_names_in_sentences(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "there is no folder nowhere" in refused(["motion-data", "--videos", "nowhere"], capsys, tmp_path)
    assert ". " in refused(["generate", "--audio", ".", "--out", tmp_path / "v.mp4"], capsys, tmp_path)


def test_a_library_that_is_missing_is_named_with_what_installs_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "iasa.media.container", raising=False)
    monkeypatch.delitem(sys.modules, "iasa.media.sound", raising=False)
    said = refused(["generate", "--audio", "welcome", "--out", tmp_path / "v.mp4"], capsys, tmp_path)
    assert "pip install -r requirements.txt" in said


def test_a_terminal_sees_a_progress_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = StageBar()
    bar("denoise", 0.5)
    bar.close()
    assert "denoise" in terminal.getvalue()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generate", "--audio", "a.wav", "--out", "x.mp4", "--weights", "nowhere"], "there is no folder nowhere"),
        (["evaluate", "--real", "nowhere"], "there is no folder nowhere"),
        (["evaluate", "--real", "."], ". holds neither clips/ nor halfbody/ nor portraits/"),
        (["train", "data", "--photos", "nowhere"], "there is no folder nowhere"),
        (["train", "data", "--videos", "nowhere"], "there is no folder nowhere"),
        (["bench", "patterns", "--real", "nowhere"], "there is no folder nowhere"),
        (["backbone-data", "--videos", "nowhere", "--weights", "w", "--out", "o"], "there is no folder nowhere"),
    ],
)
def test_a_wrong_folder_is_answered_before_anything_is_loaded(words, said, tmp_path):
    code = (
        "import sys\n"
        "from iasa.cli.main import main\n"
        "try: status = main(sys.argv[1:])\n"
        "except SystemExit as error: status = error.code\n"
        "assert not {'torch', 'diffusers', 'mediapipe'} & set(sys.modules), 'loaded first'\n"
        "sys.exit(status)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and said in done.stderr, done.stderr
