"""The demo's parts: live playback, the movement's wishes, comparing, tables, the visible mark."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("gradio", reason="the demo is optional: pip install gradio")

from iasa.avatar.rig import rest_motion  # noqa: E402
from iasa.config import AUDIO_RATE, InputError, TransformerConfig  # noqa: E402
from iasa.demo import measured  # noqa: E402
from iasa.demo.compare import ComparisonRow, add_label, attention_cost, dense_options, teacher_pairs, to_table  # noqa: E402
from iasa.demo.measured import measured_fps, quality_table  # noqa: E402
from iasa.demo.motion_edits import MotionEdits, edit_motion, read_poses, shrink  # noqa: E402
from iasa.demo.player import CODECS, LiveVideo  # noqa: E402
from iasa.grid import TokenGrid  # noqa: E402
from iasa.inference.windows import TEACHER_OVERLAP, TEACHER_WINDOW  # noqa: E402
from iasa.keypoints import COUNT, Keypoints, save_keypoints  # noqa: E402
from iasa.masks import make_plan  # noqa: E402
from iasa.media.reader import read_audio_track, read_video  # noqa: E402
from iasa.media.watermark import add_mark  # noqa: E402
from iasa.paths import RESULTS  # noqa: E402


def test_live_pieces_are_a_playable_video(tmp_path):
    """Put together in order they hold every frame and the sound; each can be appended as soon as it is there."""
    rng = np.random.default_rng(0)
    sound = (0.3 * np.sin(np.arange(AUDIO_RATE) * 0.2)).astype(np.float32)
    live, frames = LiveVideo("clip", sound), []
    shade = np.linspace(0, 255, 64, dtype=np.uint8)
    for number in range(3):
        part = np.broadcast_to(shade[:, None, None], (8, 64, 64, 3)) // (number + 2) + rng.integers(0, 9, (8, 1, 1, 3))
        part = part.astype(np.uint8)
        live.add_frames(part)
        frames.append(part)
        message = json.loads(live.message("so far"))
        assert [at for at, _ in message["pieces"]] == list(range(number + 1)) and message["codecs"] == CODECS
        so_far = tmp_path / f"{number}.mp4"
        so_far.write_bytes(b"".join(base64.b64decode(piece) for _, piece in message["pieces"]))
        waiting = 8 * (number + 1) - len(read_video(so_far)[0])
        assert 0 <= waiting <= 7  # for the sound's encoder
    live.finish()
    whole = tmp_path / "whole.mp4"
    whole.write_bytes(live.data())
    made, fps = read_video(whole)
    heard, rate = read_audio_track(whole)
    assert fps == 25 and made.shape == (24, 64, 64, 3) and rate == AUDIO_RATE
    assert abs(len(heard) / rate - 24 / 25) < 0.1 and 0.1 < np.sqrt((heard**2).mean()) < 0.4
    assert np.abs(made.astype(int)[:, :50] - np.concatenate(frames)[:, :50]).mean() < 12
    for _ in range(4):
        live.pieces.append("AAAA")
    assert len(json.loads(live.message("", True))["pieces"]) == 4 and json.loads(live.message("", True))["ended"]


def test_the_mark_is_small_legible_and_only_in_its_corner():
    for shade in (0, 128, 255):
        frames = np.full((2, 256, 256, 3), shade, np.uint8)
        marked = add_mark(frames)
        changed = (marked != frames).any(-1)
        assert (frames == shade).all()
        rows, columns = np.nonzero(changed.any(0))
        assert rows.min() > 225 and columns.min() > 215 and 0 < changed[0].mean() < 0.01
        plate = marked[0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert plate.max() > 200 and plate.min() < 110
    tiny = np.zeros((1, 32, 32, 3), np.uint8)
    assert add_mark(tiny) is tiny


def test_wishes_change_the_movement():
    motion = rest_motion(4)
    motion.head[:] = 0.3
    raised = edit_motion(motion, MotionEdits(hand_height=5))
    np.testing.assert_allclose(raised.hands[:, :, 1], motion.hands[:, :, 1] + 5)
    np.testing.assert_array_equal(raised.hands[:, :, 0], motion.hands[:, :, 0])
    assert not edit_motion(motion, MotionEdits(head_lock=True)).head.any() and raised.head.all()
    for wrong, part in (
        (dict(amount=3), "amount is 3"),
        (dict(blink=-1), "blink is -1"),
        (dict(hand_height=99), "hand height"),
        (dict(amount="x"), "amount is x"),
    ):
        with pytest.raises(InputError, match=part):
            MotionEdits(**wrong)


def test_pose_files_are_checked(tmp_path):
    xy = np.full((4, COUNT, 2), 0.5)
    for name, keypoints, part in (
        ("rate", Keypoints(xy, np.ones((4, COUNT)), 30.0), "30 poses a second"),
        ("none", Keypoints(xy[:0], np.ones((0, COUNT))), "0 poses"),
        ("unseen", Keypoints(xy, np.zeros((4, COUNT))), "missing"),
        ("far", Keypoints(xy + 1e6, np.ones((4, COUNT))), "outside"),
    ):
        save_keypoints(tmp_path / f"{name}.npz", keypoints)
        with pytest.raises(InputError, match=part):
            read_poses(tmp_path / f"{name}.npz")
    save_keypoints(tmp_path / "good.npz", Keypoints(xy, np.ones((4, COUNT))))
    assert len(read_poses(tmp_path / "good.npz")) == 4
    assert shrink(np.zeros((1080, 1920, 3), np.uint8)).shape == (360, 640, 3)


def test_the_teachers_pairs_are_those_of_its_windows():
    for frames in (1, 3, TEACHER_WINDOW, TEACHER_WINDOW + 1, 17):
        pairs = 0
        for start in range(0, max(1, frames - TEACHER_OVERLAP), TEACHER_WINDOW - TEACHER_OVERLAP):
            window = ["reference", *range(start, min(frames, start + TEACHER_WINDOW))]
            pairs += sum(1 for q in window for k in window if q != "reference" or k == "reference")
        assert teacher_pairs(frames, 3) == 9 * pairs


def test_what_attention_costs():
    """Two products of width numbers for each pair, a multiply-add being two, in every layer and step."""
    plan = make_plan(Keypoints(np.random.default_rng(0).random((6, COUNT, 2)), np.ones((6, COUNT))), TokenGrid(6, 4, 4))
    pairs = int(plan.dense().sum())
    density, flop = attention_cost(plan, "student", TransformerConfig(width=64, layers=3), 2)
    assert density == pytest.approx(pairs / 96**2) and flop == pytest.approx(2 * 2 * 64 * pairs * 3 * 2)
    assert attention_cost(plan, "teacher", TransformerConfig(), 1)[0] == pytest.approx(teacher_pairs(5, 16) / 96**2)


def test_the_dense_student_sees_all_of_the_past():
    keypoints = Keypoints(np.random.default_rng(0).random((6, COUNT, 2)), np.ones((6, COUNT)))
    mask = make_plan(keypoints, TokenGrid(6, 2, 2), dense_options(6)).dense().view(6, 4, 6, 4)
    for q in range(6):
        assert mask[q, :, : q + 1].all() and not mask[q, :, q + 1 :].any()


def test_tables(tmp_path):
    rows = [
        ComparisonRow("teacher", 8, 0.5, 2e9, 3.0, 5.0, 30.0, 0.9),
        ComparisonRow("sparse student", 2, 0.1, 1e8, 1.0, 15.0),
    ]
    text = to_table(rows, "a machine")
    assert (
        "| teacher | 8 | 5.0 | 3.0 | 50.0% | 2.0 | 30.00 | 0.900 |" in text
        and "| - | - |" in text
        and "a machine" in text
    )
    report = {
        "command": "make it", "date": "today", "device": "a machine", "clips": 2, "frames": 8,
        "rows": {"student": {"psnr": {"mean": 27.5}, "ssim": {"mean": None}, "fps": {"mean": 7.71}, "steps": 2}},
    }  # fmt: skip
    (tmp_path / "evaluate.json").write_text(json.dumps(report))
    text = quality_table(tmp_path / "evaluate.json")
    assert (
        "| student, steps: 2 | 27.50 | - | - | - | 7.7 |" in text
        and "a machine, today; 2 clips of 8 frames: `make it`" in text
    )
    report["rows"]["student"]["fps_processor"] = report["rows"]["student"].pop("fps")
    (tmp_path / "shared.json").write_text(json.dumps(report))
    assert "side by side" not in text  # of all cores already
    assert "| frames/s of one core |" in (text := quality_table(tmp_path / "shared.json")) and "| - | 7.7 |" in text
    assert re.search(r"makes \d+( / \d+)* frames/s of \d+( / \d+)* s of speech on \d+ cores of .* side by side", text)
    (fps,) = re.findall(r"makes (?:\d+ / )*(\d+) frames/s", text)
    assert f"a drawn speaker {fps}" in (Path(__file__).parents[2] / "README.md").read_text(), (
        "the page and the README say the same"
    )
    assert "No evaluation" in quality_table(tmp_path / "none.json")
    labelled = add_label(np.zeros((2, 10, 100, 3), np.uint8), "a name")
    assert labelled.shape == (2, 32, 100, 3) and labelled[:, 10:].max() > 100 and not labelled[:, :10].any()


def test_the_expected_speed_is_of_the_cores_that_are_used(monkeypatch):
    """As measured from speech to the file, not as if one core did it all; of one core where there is one."""
    monkeypatch.setattr(measured, "usable_cores", lambda: 2)
    report = json.loads((RESULTS / measured.BOTH).read_text())
    fps = {row["row"]: row["fps"] for row in report["rows"]}
    assert report["threads"] == 2 and measured_fps("nobody", 1) is None
    assert measured_fps("student", 1) == pytest.approx(fps["student"]) and fps["student"] > 25
    assert measured_fps("teacher", 20) == pytest.approx(fps["teacher"])
    assert 3 < measured_fps("teacher", 6) < 20 / 6 * fps["teacher"]  # what is beside its steps stays
    assert fps["student"] / 4 < measured_fps("student", 4) < fps["student"]
    monkeypatch.setattr(measured, "usable_cores", lambda: 64)
    assert measured_fps("student", 1) == pytest.approx(fps["student"]), "no more than was measured"
    monkeypatch.setattr(measured, "usable_cores", lambda: 1)
    assert measured_fps("student", 1) == pytest.approx(fps["student"] / 2)


def test_sound_and_picture_of_the_live_player_are_in_step():
    """By the fragments' own stamps: a browser that appends them has no edit list to skip the sound encoder's run-up."""
    sound = np.zeros(4 * AUDIO_RATE, np.float32)
    for second in (1, 2, 3):
        sound[second * AUDIO_RATE : second * AUDIO_RATE + 64] = 0.9
    live = LiveVideo("clip", sound)
    for first in range(0, 100, 10):
        frames = np.zeros((10, 64, 64, 3), np.uint8)
        frames[[i for i in range(10) if first + i in (25, 50, 75)]] = 255
        live.add_frames(frames)
    live.finish()
    with av.open(io.BytesIO(live.data()), options={"ignore_editlist": "1"}) as file:
        white = [f.time for f in file.decode(video=0) if f.to_ndarray(format="gray")[32:].mean() > 128]
    clicks = []
    with av.open(io.BytesIO(live.data()), options={"ignore_editlist": "1"}) as file:
        for frame in file.decode(audio=0):
            for at in np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.3):
                time = frame.time + at / frame.rate
                if not clicks or time - clicks[-1] > 0.5:
                    clicks.append(time)
    np.testing.assert_allclose(white, [1, 2, 3], atol=0.005)
    np.testing.assert_allclose(clicks, [1, 2, 3], atol=0.005)
