"""Metadata that are known only once a file is written."""

from __future__ import annotations

import av
import numpy as np

from iasa.media.reader import read_audio_track, read_metadata, read_video
from iasa.media.writer import VideoWriter


def write(path, late: dict | None) -> None:
    rng = np.random.default_rng(0)
    frames, sound = rng.integers(0, 256, (30, 64, 64, 3), np.uint8), 0.2 * rng.normal(size=16000 * 6 // 5)
    with VideoWriter(path, 25, sound, 16_000, {"seed": 7, "phones_from": "recognizer"}) as writer:
        writer.add_frames(frames)
        if late:
            writer.describe(late)


def test_pictures_and_sound_stay_as_they_are(tmp_path):
    """Bit by bit, at the same times, and still with the index first, for players that begin before the end."""
    early, late = tmp_path / "early.mp4", tmp_path / "late.mp4"
    write(early, None)
    write(late, {"seed": 7, "phones_from": "signal"})
    assert read_metadata(early)["phones_from"] == "recognizer" and read_metadata(late)["phones_from"] == "signal"
    assert read_metadata(late)["ai_generated"] is True
    np.testing.assert_array_equal(read_video(late)[0], read_video(early)[0])
    np.testing.assert_array_equal(read_audio_track(late)[0], read_audio_track(early)[0])

    def times(path):
        with av.open(str(path)) as file:
            return [(p.stream.type, p.pts, p.dts, p.size) for p in file.demux() if p.dts is not None]

    assert times(late) == times(early)
    data = late.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["early.mp4", "late.mp4"]


def test_the_same_words_again_cost_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("iasa.media.video_encoder.replace_metadata", lambda *given: 1 / 0)
    write(tmp_path / "same.mp4", {"seed": 7, "phones_from": "recognizer"})
    assert read_metadata(tmp_path / "same.mp4")["seed"] == 7
