"""Frames with alpha: kept by files that can hold it, refused by others, and marked on what shows nothing."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.codec import CodecContext
from PIL import Image

from iasa.config import InputError
from iasa.inference.layered_frames import straighten
from iasa.media.backdrop import read_backdrop
from iasa.media.watermark import add_mark
from iasa.media.writer import VideoWriter, write_video


def person(count=6):
    """A red square, wholly seen, above a green band that is half seen."""
    frames = np.zeros((count, 64, 96, 4), np.uint8)
    frames[:, 8:40, 20:60] = (200, 40, 30, 255)
    frames[:, 44:60] = (20, 180, 40, 128)
    return frames


def check(frame):
    assert frame[2:6, 4:16, 3].max() <= 2  # nothing
    np.testing.assert_allclose(frame[24, 40], (200, 40, 30, 255), atol=14)
    np.testing.assert_allclose(frame[52, 50], (20, 180, 40, 128), atol=14)


@pytest.mark.parametrize("name", ["v.webp", "v.png", "folder"])
def test_pictures_keep_alpha(name, tmp_path):
    write_video(tmp_path / name, person())
    path = tmp_path / name
    check(np.asarray(Image.open(path / "00003.png" if path.is_dir() else path).convert("RGBA")))


def test_a_webm_keeps_alpha_with_sound_and_new_metadata(tmp_path):
    path = tmp_path / "v.webm"
    sound = np.sin(np.arange(3840) * 0.1).astype(np.float32)
    with VideoWriter(path, 25, sound, 16_000) as writer:
        writer.add_frames(person())
        writer.describe({"seed": 4})  # copies the packets
    decoder, shown = CodecContext.create("libvpx-vp9", "r"), []  # FFmpeg's own decoder leaves alpha out
    with av.open(str(path)) as container:
        assert len(container.streams.audio) == 1
        for packet in container.demux(container.streams.video[0]):
            shown += [frame.to_ndarray(format="rgba") for frame in decoder.decode(packet)]
    assert len(shown) == 6
    check(shown[3])


@pytest.mark.parametrize("name", ["v.mp4", "v.gif"])
def test_files_without_alpha_refuse_it(name, tmp_path):
    with pytest.raises(InputError, match=f"{name} cannot be transparent"):
        write_video(tmp_path / name, person())
    assert not list(tmp_path.iterdir())


def test_the_mark_is_seen_where_nothing_else_is():
    marked = add_mark(np.zeros((1, 200, 200, 4), np.uint8))[0]
    shown = marked[..., 3] > 0
    assert 100 < shown.sum() < 2000 and marked[shown].max() > 200
    opaque = np.full((1, 200, 200, 4), 90, np.uint8)
    opaque[..., 3] = 255
    both, plain = add_mark(opaque)[0], add_mark(opaque[..., :3])[0]
    assert both[..., 3].min() == 255 and np.abs(both[..., :3].astype(int) - plain).max() <= 1


def test_colours_are_no_longer_multiplied_by_alpha():
    straight = straighten(np.array([[[[100, 50, 0, 128], [0, 0, 0, 0], [9, 8, 7, 255]]]], np.uint8))
    np.testing.assert_allclose(straight[0, 0], [[199, 100, 0, 128], [0, 0, 0, 0], [9, 8, 7, 255]], atol=1)
    assert read_backdrop("transparent", 8).shape == (8, 8, 4)


@pytest.mark.parametrize("word", ["blue", "#00f", "clear"])
def test_a_word_that_is_no_backdrop_is_told_what_is(word):
    with pytest.raises(InputError, match=f"the background is {word}; a colour as #rrggbb, transparent or a picture"):
        read_backdrop(word, 8)
