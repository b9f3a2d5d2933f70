"""Stages in the threads of a pipeline's executor: each on one core, torch's own numbers untouched, the same frames always."""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
import time

import numpy as np
import pytest
import torch

from iasa.avatar.speaker import load_speaker, speaker_names
from iasa.config import InputError
from iasa.inference.prefetch import Prefetcher
from iasa.inference.stage_threads import StageExecutor
from iasa.keypoints import Keypoints
from iasa.pipeline import CoSpeechPipeline


@pytest.fixture(scope="module")
def pipeline() -> CoSpeechPipeline:
    return CoSpeechPipeline.from_pretrained(dtype=torch.float32)  # whose products MKL makes


@pytest.fixture(scope="module")
def speaker():
    return load_speaker(speaker_names()[0])


@pytest.fixture(scope="module")
def poses(speaker) -> Keypoints:
    moving = speaker.keypoints[np.zeros(8, int)]
    moving.xy[:, 9:11] += np.linspace(0, 0.1, 8, dtype=np.float32)[:, None, None]
    return moving


@pytest.fixture(params=[2, 3])
def threads(request):
    """What the caller has set."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def numbers() -> tuple[int, int]:
    """How many threads OpenMP and MKL (where it is there) give to the calling thread."""
    said = torch.__config__.parallel_info()
    mkl = re.search(r"mkl_get_max_threads\(\) : (\d+)", said)
    return int(re.search(r"omp_get_max_threads\(\) : (\d+)", said)[1]), int(mkl[1]) if mkl else torch.get_num_threads()


def frames_of(frames) -> np.ndarray:
    return np.concatenate(list(frames))


def in_a_new_thread(call):
    made = []
    thread = threading.Thread(target=lambda: made.append(call()))
    thread.start()
    thread.join()
    return made[0]


def test_stages_compute_alone_and_nobody_else_notices(pipeline, speaker, poses, threads):
    """While frames are made, after they are, and if they are dropped: the caller's numbers, and a new thread's, stay."""
    met = []

    def pieces():
        for i in range(0, len(poses), 2):
            met.append(numbers())
            yield poses[i : i + 2]

    frames = pipeline.stream(image=speaker, keypoints=pieces(), num_inference_steps=1).frames
    next(frames)
    assert numbers() == (threads, threads)
    assert in_a_new_thread(numbers) == (threads, threads)
    frames_of(frames)
    assert numbers() == in_a_new_thread(numbers) == (threads, threads)
    dropped = pipeline.stream(image=speaker, keypoints=pieces(), num_inference_steps=1).frames
    next(dropped)
    dropped.close()
    assert numbers() == in_a_new_thread(numbers) == (threads, threads)
    assert len(met) > 4 and set(met) == {(1, 1)}


def test_the_callers_number_of_threads_changes_no_frame_of_the_student(pipeline, speaker, poses):
    before, made = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            frames = pipeline.stream(image=speaker, keypoints=poses, num_inference_steps=1, seed=4).frames
            first = next(frames)
            torch.set_num_threads(4 - count)  # in the middle too
            made.append(np.concatenate([first, *frames]))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*made)


def test_two_streams_at_once_make_the_frames_of_each_alone(pipeline, speaker, poses):
    alone = [
        frames_of(pipeline.stream(image=speaker, keypoints=poses, num_inference_steps=steps, seed=1).frames)
        for steps in (1, 2)
    ]
    first, second = (
        pipeline.stream(image=speaker, keypoints=poses, num_inference_steps=steps, seed=1).frames for steps in (1, 2)
    )
    together: list[list[np.ndarray]] = [[], []]
    for a, b in zip(first, second, strict=True):
        together[0].append(a)
        together[1].append(b)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, np.concatenate(other))


def test_streams_that_stall_hold_up_no_other_and_threads_are_used_again(pipeline, speaker, poses):
    few = poses[:4]
    frames_of(pipeline.stream(image=speaker, keypoints=few, num_inference_steps=1).frames)
    before = threading.active_count()
    stalled = [
        pipeline.stream(image=speaker, keypoints=pieces_of(few), num_inference_steps=1).frames for _ in range(3)
    ]  # nobody takes their frames
    made = frames_of(pipeline.stream(image=speaker, keypoints=few, num_inference_steps=1).frames)
    for stream in stalled:
        assert len(frames_of(stream)) == len(made)
    for _ in range(3):
        frames_of(pipeline.stream(image=speaker, keypoints=few, num_inference_steps=1).frames)
    assert threading.active_count() <= before + 3 * 5


def pieces_of(poses: Keypoints):
    yield poses


def test_a_stalled_consumer_holds_no_thread():
    executor, made = StageExecutor(), []

    def count():
        for i in range(100):
            made.append(i)
            yield i

    ahead = Prefetcher(count(), 3, executor)
    executor.submit(time.sleep, 0).result()
    deadline = time.monotonic() + 30
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [0, 1, 2] and ahead._filler.result(30) is None
    ahead.close()


def test_items_finished_at_once_come_in_order():
    """The first is finished last."""
    late, seen = threading.Event(), []

    def finish(i: int) -> int:
        if i == 0:
            assert late.wait(30)
        seen.append(i)
        if i == 2:
            late.set()
        return 10 * i

    ahead = Prefetcher((i for i in range(5)), 3, StageExecutor(), finish)
    assert list(ahead) == [0, 10, 20, 30, 40]
    assert seen.index(0) > seen.index(2)


@pytest.mark.parametrize("where", ["source", "finish"])
def test_a_failure_comes_in_its_place_and_ends_the_rest(where):
    closed = []

    def source():
        try:
            yield 1
            yield 2
            if where == "source":
                raise InputError("broken")
            yield 3
            yield 4
        finally:
            closed.append(True)

    def finish(i: int) -> int:
        if i == 3:
            raise InputError("broken")
        return i

    ahead = Prefetcher(source(), 4, StageExecutor(), finish)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(InputError, match="broken"):
        next(ahead)
    assert closed and list(ahead) == []


def test_a_pipeline_that_is_dropped_ends_its_threads(speaker, poses):
    before = set(threading.enumerate())
    pipeline = CoSpeechPipeline.from_pretrained(teacher=None, dtype=torch.float32)
    frames_of(pipeline.stream(image=speaker, keypoints=poses[:2], num_inference_steps=1).frames)
    mine = set(threading.enumerate()) - before
    assert mine
    del pipeline
    gc.collect()
    for thread in mine:
        thread.join(30)
    assert not any(thread.is_alive() for thread in mine)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def check_in_a_child(pipeline, speaker, poses: Keypoints, cores: int | None = None, stop: float = 0.0) -> None:
    """A forked process makes the frames that this one makes, on so many cores, stopped for `stop` of every 0.1 s."""
    truth = frames_of(pipeline.stream(image=speaker, keypoints=poses, num_inference_steps=1, seed=3).frames)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if cores is not None:
                os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])  # of the threads to come too
            made = frames_of(pipeline.stream(image=speaker, keypoints=poses, num_inference_steps=1, seed=3).frames)
            code = 0 if np.array_equal(made, truth) else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + 100
    ended, status = 0, 0
    while not ended and time.monotonic() < deadline:
        if stop:
            os.kill(child, signal.SIGSTOP)
            time.sleep(stop)
            os.kill(child, signal.SIGCONT)
        time.sleep(0.1 - stop)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended and os.waitstatus_to_exitcode(status) == 0


@needs_fork
def test_a_forked_process_has_stages_of_its_own(pipeline, speaker, poses):
    """The frames of the student too: they need none of the threads that computed before the fork."""
    check_in_a_child(pipeline, speaker, poses)


@needs_fork
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_half_a_core_makes_the_same_frames(pipeline, speaker, poses):
    """One core, and no time on it for half of every 0.1 s, as a cgroup's quota has it."""
    check_in_a_child(pipeline, speaker, poses[:4], cores=1, stop=0.05)
