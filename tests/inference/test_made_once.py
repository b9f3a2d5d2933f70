"""What depends on a photograph alone is made once: its layers, by whichever generation or thread comes first."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from forked import exit_code
from sample_photographs import avatar_photograph

from iasa import keypoints as kp
from iasa.avatar.identity import make_identity
from iasa.avatar.photograph import Photograph
from iasa.avatar.retarget import BODY_SEED
from iasa.avatar.speaker import Reference
from iasa.config import LAYERS, InputError
from iasa.inference.conditioning import make_warp
from iasa.inference.made_once import MadeOnce
from iasa.keypoints import Keypoints
from iasa.pipeline import CoSpeechPipeline
from iasa.warp import layered_warp
from iasa.warp.layered_warp import LayeredWarp

pytest.importorskip(
    "cv2", reason="layers are cut by OpenCV, which comes with mediapipe: pip install mediapipe==0.10.21"
)


def layers_of(speaker: Reference) -> LayeredWarp:
    """What a generation of the speaker draws with."""
    layers = make_warp(speaker, torch.device("cpu"))
    assert isinstance(layers, LayeredWarp)
    return layers


def photograph() -> Photograph:
    """One of its own, a person in the middle of it."""
    person = np.zeros((512, 512), np.float32)
    person[64:, 128:384] = 1
    return replace(avatar_photograph(), person=person)


def speaker_of(photo: Photograph, **changes) -> Reference:
    small = np.ascontiguousarray(photo.image[::2, ::2])
    return replace(Reference(small, photo.keypoints, make_identity(BODY_SEED), "photograph", photo, 128), **changes)


@pytest.fixture
def cuts(monkeypatch) -> list[weakref.ref[Photograph]]:
    """The photographs that were cut, as often as they were; each cut takes a moment."""
    made, cut_layers = [], layered_warp.cut_layers

    def cut(photo, moving):
        made.append(weakref.ref(photo))
        time.sleep(0.05)
        return cut_layers(photo, moving)

    monkeypatch.setattr(layered_warp, "cut_layers", cut)
    return made


@pytest.fixture(scope="module")
def pipeline() -> CoSpeechPipeline:
    return CoSpeechPipeline.from_pretrained(student=None, teacher=None, restorer=None)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def check_in_a_child(holds: Callable[[], bool]) -> None:
    """That something holds in a forked process, which ends."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if holds() else 2
        finally:
            os._exit(code)
    assert exit_code(child, 60) == 0


def test_the_second_generation_of_a_photograph_does_not_cut_again(pipeline, cuts):
    speaker, made = speaker_of(photograph()), []
    for _ in range(2):
        still = speaker.keypoints[np.zeros(4, int)]
        frames = pipeline.stream(image=speaker, keypoints=still, model=LAYERS).frames
        made.append(np.concatenate(list(frames)))
    assert len(cuts) == 1
    assert made[0].shape == (4, 128, 128, 3) and np.array_equal(*made)


def moving(speaker: Reference, step: float) -> Keypoints:
    poses = speaker.keypoints[np.zeros(6, int)]
    poses.xy[:, kp.FACE] += np.linspace(0, step, 6, dtype=np.float32)[:, None, None]
    return poses


def frames_of(pipeline: CoSpeechPipeline, speaker: Reference, step: float) -> np.ndarray:
    return np.concatenate(list(pipeline.stream(image=speaker, keypoints=moving(speaker, step), model=LAYERS).frames))


def test_streams_of_one_photograph_at_once_make_the_frames_of_each_alone(pipeline):
    """They draw with the same layers; one that is cancelled in the middle leaves them as they were."""
    speaker = speaker_of(photograph())
    alone = [frames_of(pipeline, speaker_of(photograph()), step) for step in (0.0, 0.05)]
    cancelled = pipeline.stream(image=speaker, keypoints=moving(speaker, 0.1), model=LAYERS).frames
    next(cancelled)
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(frames_of, pipeline, speaker, step) for step in (0.0, 0.05)]
        cancelled.close()
        for one, truth in zip(asked, alone, strict=True):
            np.testing.assert_array_equal(one.result(60), truth)
    assert (alone[0] != alone[1]).any()


@needs_fork
def test_a_forked_process_draws_with_the_layers_that_were_cut_before(pipeline, cuts):
    speaker = speaker_of(photograph())
    truth = frames_of(pipeline, speaker, 0.05)

    def draws_the_same() -> bool:
        return np.array_equal(frames_of(pipeline, speaker, 0.05), truth) and len(cuts) == 1

    check_in_a_child(draws_the_same)


def test_threads_that_come_at_once_cut_once(cuts):
    speaker, together = speaker_of(photograph()), threading.Barrier(4)

    def ask(_: int):
        together.wait(30)
        return layers_of(speaker).body

    with ThreadPoolExecutor(4) as threads:
        bodies = list(threads.map(ask, range(4)))
    assert len(cuts) == 1 and all(body is bodies[0] for body in bodies)


def test_sizes_rooms_and_photographs_are_not_mixed_up(cuts):
    photo, other = photograph(), photograph()
    green = np.full((128, 128, 3), (0, 255, 0), np.uint8)
    own, before_green, clear, large, of_other = (
        layers_of(speaker_of(*given, **changes)).levels(photo.keypoints)[0]
        for given, changes in (
            ((photo,), {}), ((photo,), {"room": green}), ((photo,), {"room": np.zeros((128, 128, 4), np.uint8)}),
            ((photo,), {"size": 256}), ((replace(other, image=255 - other.image),), {}),
        )
    )  # fmt: skip
    assert len(cuts) == 3  # a room behind the person is no reason to cut the person again
    assert before_green[2, 2].tolist() == [0, 255, 0] and own[2, 2].tolist() != [0, 255, 0]
    assert clear.shape == (128, 128, 4) and clear[2, 2, 3] == 0 and large.shape == (256, 256, 3)
    again = layers_of(speaker_of(photo)).levels(photo.keypoints)[0]
    assert len(cuts) == 3 and np.array_equal(own, again) and not np.array_equal(own, of_other)


def test_layers_go_with_their_photograph():
    speaker = speaker_of(photograph())
    layers = weakref.ref(layers_of(speaker))
    gc.collect()
    assert layers() is not None  # kept by the photograph alone
    del speaker
    gc.collect()
    assert layers() is None


def test_only_the_last_are_kept_and_what_is_gone_is_not():
    kept, made = MadeOnce(most=2), []

    def get(key: str) -> str:
        return kept.get(key, lambda: made.append(key) or key)

    assert [get(key) for key in "abacab"] == list("abacab")
    assert made == ["a", "b", "c", "b"]  # "a" was asked for in between
    kept.forget(lambda key: key == "a")
    assert get("b") == "b" and get("a") == "a" and made == ["a", "b", "c", "b", "a"]


def test_a_failure_reaches_all_who_wait_and_is_not_kept():
    kept, begun, going = MadeOnce(most=2), threading.Event(), threading.Event()

    def fail() -> int:
        begun.set()
        assert going.wait(30)
        raise InputError("no face")

    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(kept.get, "a", fail)]
        assert begun.wait(30)
        asked.append(threads.submit(kept.get, "a", lambda: 1))
        time.sleep(0.05)  # it waits by now
        going.set()
        assert all(isinstance(one.exception(30), InputError) for one in asked)
    assert kept.get("a", lambda: 2) == 2


@needs_fork
def test_a_forked_process_does_not_wait_for_what_its_parent_was_making():
    kept, begun, going = MadeOnce(most=2), threading.Event(), threading.Event()
    assert kept.get("done", lambda: 1) == 1

    def slow() -> int:
        begun.set()
        going.wait(30)
        return 2

    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(kept.get, "under way", slow)
        assert begun.wait(30)
        check_in_a_child(lambda: kept.get("done", lambda: 3) == 1 and kept.get("under way", lambda: 4) == 4)
        going.set()
        assert asked.result(30) == 2 and kept.get("under way", lambda: 5) == 2
