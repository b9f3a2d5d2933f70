"""Content credentials: a certificate made here signs a video, a reader finds the statement, a changed file is noticed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from iasa.config import InputError
from iasa.media import content_credentials as credentials
from iasa.media.metadata import AI_SOURCE
from iasa.media.reader import read_metadata, read_video
from iasa.media.writer import write_video

c2pa = pytest.importorskip("c2pa", reason=f"content credentials are optional: {credentials.INSTALL}")


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, np.full((5, 64, 64, 3), 90, np.uint8))
    return path


def read_manifest(path) -> dict:
    with open(path, "rb") as file:
        return json.loads(c2pa.Reader("video/mp4", file).json())


def test_a_signed_video_says_that_a_program_made_it(video, pems, monkeypatch):
    before = read_video(video)[0]
    monkeypatch.setenv(credentials.CERTIFICATE, str(pems[0]))
    monkeypatch.setenv(credentials.KEY, str(pems[1]))
    assert credentials.sign_if_asked(video)
    found = read_manifest(video)
    assert AI_SOURCE in json.dumps(found) and found["validation_state"] in ("Valid", "Trusted")
    np.testing.assert_array_equal(read_video(video)[0], before)
    assert [path.name for path in video.parent.iterdir()] == ["video.mp4"]
    data = bytearray(video.read_bytes())
    data[-30] ^= 0xFF
    video.write_bytes(data)
    assert read_manifest(video)["validation_state"] == "Invalid"


def test_nothing_is_signed_unasked_and_slips_are_named(video, pems, monkeypatch, tmp_path):
    for name in (credentials.CERTIFICATE, credentials.KEY):
        monkeypatch.delenv(name, raising=False)
    data = video.read_bytes()
    assert not credentials.sign_if_asked(video) and video.read_bytes() == data
    monkeypatch.setenv(credentials.KEY, str(pems[1]))
    with pytest.raises(InputError, match="need both"):
        credentials.sign_if_asked(video)
    with pytest.raises(InputError, match="No such file"):
        credentials.sign_video(video, tmp_path / "none.pem", pems[1])
    with pytest.raises(InputError, match="cannot be signed"):
        credentials.sign_video(video, pems[1], pems[0])
    assert video.read_bytes() == data and [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


@pytest.mark.parametrize("name", ["v.gif", "v.webp", "v.png", "v.webm", "frames"])
def test_animations_are_signed_and_what_c2pa_does_not_know_is_left_alone(tmp_path, pems, monkeypatch, name):
    monkeypatch.setenv(credentials.CERTIFICATE, str(pems[0]))
    monkeypatch.setenv(credentials.KEY, str(pems[1]))
    write_video(tmp_path / name, np.full((3, 64, 64, 3), np.reshape([40, 90, 200], (3, 1, 1, 1)), np.uint8))
    signed = credentials.sign_if_asked(tmp_path / name)
    assert signed == (name in ("v.gif", "v.webp", "v.png"))
    if signed:
        with open(tmp_path / name, "rb") as file:
            found = json.loads(c2pa.Reader(credentials.FORMATS[(tmp_path / name).suffix], file).json())
        assert AI_SOURCE in json.dumps(found) and found["validation_state"] in ("Valid", "Trusted")
        assert len(read_video(tmp_path / name)[0]) == 3 and read_metadata(tmp_path / name)["ai_generated"]
