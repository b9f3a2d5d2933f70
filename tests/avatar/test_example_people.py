"""The example people: small pictures of nobody, in which the product finds all that can move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iasa.avatar.example_people import find_picture, is_example, people_names
from iasa.config import InputError
from iasa.media.reader import read_image
from iasa.paths import PEOPLE


@pytest.mark.parametrize("name", people_names())
def test_pictures_are_small_and_the_card_names_them(name):
    path = PEOPLE / f"{name}.jpg"
    assert path.stat().st_size < 250_000 and f"{name}.jpg" in (PEOPLE / "README.md").read_text()
    picture = read_image(path)
    assert picture.shape[0] == picture.shape[1] >= 512 and picture.std() > 20


def test_a_rendered_person_is_known_under_any_name_and_nobody_else(tmp_path):
    assert len(people_names()) >= 2
    for name in people_names():
        data = (PEOPLE / f"{name}.jpg").read_bytes()
        (tmp_path / "image").write_bytes(data)
        assert is_example(tmp_path / "image")
        (tmp_path / "image").write_bytes(data[:-1] + b"\0")
        assert not is_example(tmp_path / "image")
    assert not is_example(None) and not is_example(tmp_path / "gone")


def test_a_name_is_an_example_unless_a_file_has_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maya").mkdir()
    assert find_picture("maya") == PEOPLE / "maya.jpg", "a folder is no picture"
    (tmp_path / "kofi").write_bytes(b"")
    assert find_picture("kofi") == Path("kofi") and find_picture("me.png") == Path("me.png")
    for name in ("", "nobody", "n" * 300):
        with pytest.raises(InputError, match="no such example person: they are kofi, maya"):
            find_picture(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", people_names())
def test_both_hands_of_an_example_person_move(name):
    pytest.importorskip("mediapipe", reason="finding a person is optional: pip install mediapipe==0.10.21")
    from iasa.avatar.speaker import photograph_speaker

    speaker = photograph_speaker(read_image(PEOPLE / f"{name}.jpg"))
    assert speaker.photo is not None and speaker.photo.faces == 1 and speaker.photo.stands_out
    assert [str(said) for said in speaker.describe()] == ["head, face, shoulders, left hand and right hand move"]
    assert np.isfinite(speaker.keypoints.xy).all()
