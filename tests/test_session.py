"""Live speech: the same features, motion and frames however the sound is cut; what happens when it is bad, late or dropped."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from iasa import session as live
from iasa.avatar.rig import concat_motions
from iasa.avatar.speaker import load_speaker, speaker_names
from iasa.config import AUDIO_RATE, InputError
from iasa.inference import streaming_rollout
from iasa.inference.generation import Cancelled
from iasa.inference.prefetch import Prefetcher
from iasa.inference.stage_threads import StageExecutor
from iasa.models.autoencoder import Autoencoder
from iasa.models.transformer import VideoTransformer
from iasa.motion.rules import generate_gestures
from iasa.motion.rules_streaming import GestureStream
from iasa.paths import SPEECH
from iasa.pipeline import CoSpeechPipeline
from iasa.session import LOOK_AHEAD, LiveSpeaker, stream_speech, write_live
from iasa.speech import analyse, read_audio
from iasa.speech import chunked as pieces
from iasa.speech import recognizer as recognizer
from iasa.speech.features import CONTOURS
from iasa.speech.streaming import SpeechStream, join_features


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return read_audio(sorted(SPEECH.glob("*.mp3"))[0])[0]


@pytest.fixture(scope="module")
def pipeline() -> CoSpeechPipeline:
    """Small networks with weights that do something."""
    torch.manual_seed(0)
    parts = Autoencoder(8, (8, 8, 16)), VideoTransformer(8, width=16, layers=2, heads=2)
    with torch.no_grad():
        for part in parts:
            for p in part.parameters():
                p.add_(0.05 * torch.randn_like(p))
    return CoSpeechPipeline(parts[0], parts[1], dtype=torch.float32)


@pytest.fixture(scope="module")
def speaker():
    return load_speaker(speaker_names()[0])


def hear(sound: np.ndarray, piece: int, rate: int = AUDIO_RATE):
    stream = SpeechStream()
    return join_features(
        [*(stream.push(sound[i : i + piece], rate) for i in range(0, len(sound), piece)), stream.finish()]
    )


def test_live_features_do_not_depend_on_the_cut_and_follow_the_clip(speech):
    """The lips that a whole clip gives, but for the levels that are not known beforehand."""
    sound = speech[: int(5.02 * AUDIO_RATE)]
    whole, mine, other = analyse(sound, method="signal"), hear(sound, 700), hear(sound, 16_000)
    assert mine.frames == whole.frames
    for name in CONTOURS:
        np.testing.assert_array_equal(getattr(mine, name), getattr(other, name))
    np.testing.assert_allclose(mine.accents, other.accents, atol=1e-6)
    assert np.corrcoef(mine.visemes[:, 0], whole.visemes[:, 0])[0, 1] > 0.93
    assert np.corrcoef(mine.speaking, whole.speaking)[0, 1] > 0.85


def test_noise_in_a_long_pause_is_no_speech(speech):
    rng = np.random.default_rng(0)
    pause = 0.004 * np.abs(speech).max() * rng.normal(size=6 * AUDIO_RATE).astype(np.float32)
    heard = hear(np.concatenate([speech[: 3 * AUDIO_RATE], pause]), 4000)
    assert heard.visemes[-75:, 0].max() < 0.1 < heard.visemes[:75, 0].max()


def test_the_rate_may_change_on_the_way(speech):
    """Half a clip at 16 kHz and half at 48 kHz last as long, and say the same."""
    sound = speech[: 3 * AUDIO_RATE]
    half = len(sound) // 2
    fast = np.interp(np.arange(3 * half) / 3, np.arange(half), sound[half:]).astype(np.float32)
    stream = SpeechStream()
    heard = join_features([stream.push(sound[:half]), stream.push(fast, 48_000), stream.finish()])
    whole = hear(sound, 8000)
    assert abs(heard.frames - whole.frames) <= 1
    frames = min(heard.frames, whole.frames)
    assert np.corrcoef(heard.visemes[:frames, 0], whole.visemes[:frames, 0])[0, 1] > 0.9


@pytest.mark.parametrize(
    ("sound", "rate", "words"),
    [
        (np.zeros((2, 5)), 16_000, "shape"),
        (np.array([np.nan]), 16_000, "not numbers"),
        (np.zeros(5), 10, "10 samples a second"),
    ],
)
def test_what_is_no_sound_is_refused(sound, rate, words):
    with pytest.raises(InputError, match=words):
        SpeechStream().push(sound, rate)


def test_more_speech_does_not_change_the_performance_before_it(speech):
    """Up to the end of the phrase that was cut."""
    features = analyse(speech[: 8 * AUDIO_RATE], method="signal")
    whole, part = generate_gestures(features, 3), generate_gestures(features[:150], 3)
    for name in ("head", "face", "twist", "breath"):
        np.testing.assert_allclose(getattr(whole, name)[:110], getattr(part, name)[:110], atol=1e-3)


def test_live_motion_does_not_depend_on_the_cut_and_is_smooth(speech):
    features = join_features([analyse(speech[: 7 * AUDIO_RATE], method="signal")] * 2)

    def move(piece: int):
        stream = GestureStream(3)
        return concat_motions(
            *(stream.push(features[i : min(i + piece, features.frames)]) for i in range(0, features.frames, piece)),
            stream.finish(),
        )

    mine, other, whole = move(5), move(90), generate_gestures(features, 3)
    assert len(mine) == features.frames
    for name in ("head", "face", "hands"):
        np.testing.assert_allclose(getattr(mine, name), getattr(other, name), atol=1e-5)
    assert np.corrcoef(mine.face[:, 0], whole.face[:, 0])[0, 1] > 0.97
    step = np.abs(np.diff(mine.hands[:, :, :3], axis=0)).max()
    assert step < 2.5 * np.abs(np.diff(whole.hands[:, :, :3], axis=0)).max()


def test_frames_do_not_depend_on_the_cut_and_two_speakers_do_not_mix(pipeline, speaker, speech):
    sound = speech[: int(1.53 * AUDIO_RATE)]

    def speak(piece: int, seed: int) -> np.ndarray:
        pieces = (sound[i : i + piece] for i in range(0, len(sound), piece))
        return np.concatenate(list(stream_speech(pipeline, speaker, pieces, steps=2, seed=seed)))

    first = speak(640, 1)
    assert first.shape == (38, 256, 256, 3) and first.dtype == np.uint8
    both: dict[int, np.ndarray] = {}
    threads = [threading.Thread(target=lambda s=s: both.update({s: speak(9000, s)})) for s in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(both[1], first)
    assert (both[2] != first).any()


def test_a_frame_waits_for_its_look_ahead_only(pipeline, speaker, speech):
    with LiveSpeaker(pipeline, speaker, steps=1) as mine:
        mine.push(speech[: int((LOOK_AHEAD - 0.01) * AUDIO_RATE)])
        assert mine.posed == 0
        mine.push(speech[int((LOOK_AHEAD - 0.01) * AUDIO_RATE) : int((LOOK_AHEAD + 0.01) * AUDIO_RATE)])
        assert mine.posed == 6


def test_the_learned_performer_may_listen(pipeline, speaker, speech):
    """It waits longer, and makes as many frames however the sound is cut."""
    sound = speech[: int(2.53 * AUDIO_RATE)]

    def counts(piece: int) -> tuple[int, int]:
        with LiveSpeaker(pipeline, speaker, steps=1, seed=1, motion="learned") as mine:
            mine.push(sound[: int((LOOK_AHEAD + 0.6) * AUDIO_RATE)])
            early = mine.posed
            rest = sound[int((LOOK_AHEAD + 0.6) * AUDIO_RATE) :]
            for i in range(0, len(rest), piece):
                mine.push(rest[i : i + piece])
            mine.finish()
            return mine.made, early

    assert counts(640) == counts(9000) == (63, 0)
    with pytest.raises(InputError, match="dance"):
        LiveSpeaker(pipeline, speaker, motion="dance")


def test_a_slow_maker_holds_up_the_sender(pipeline, speaker, speech, monkeypatch):
    monkeypatch.setattr(live, "BUFFER", 0.4)
    with LiveSpeaker(pipeline, speaker, steps=1) as mine:
        made = len(mine.push(speech[: 2 * AUDIO_RATE]))
        assert mine.made == made >= mine.posed - 10 > 0


def test_dropping_a_speaker_frees_its_threads(pipeline, speaker, speech):
    counts = []
    for _ in range(5):
        mine = LiveSpeaker(pipeline, speaker)
        mine.push(speech[: 2 * AUDIO_RATE])
        mine.close()
        mine.close()
        counts.append(threading.active_count())
    assert counts[-1] <= counts[0] + 4  # the pipeline's threads are used again
    for call in (mine.finish, lambda: mine.push(speech)):
        with pytest.raises(InputError, match="finished"):
            call()


def test_a_cancelled_file_leaves_nothing(pipeline, speaker, speech, tmp_path):
    calls = iter([False] * 12 + [True] * 100)
    with pytest.raises(Cancelled):
        write_live(pipeline, speech, speaker, tmp_path / "out.mp4", steps=1, should_stop=lambda: next(calls))
    assert not list(tmp_path.iterdir())
    report = write_live(pipeline, speech[:AUDIO_RATE], speaker, tmp_path / "out.mp4", steps=1)
    assert report["frames"] == 25 and report["first_frame"] <= report["elapsed"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_sound_that_stops_makes_nothing_and_may_go_on(pipeline, speaker, speech):
    """Whether sound comes late decides when frames come, not which."""
    sound = speech[: int(1.6 * AUDIO_RATE)]
    with LiveSpeaker(pipeline, speaker, steps=1) as mine:
        first = mine.push(sound[:AUDIO_RATE])
        posed = mine.posed
        time.sleep(0.05)
        first = np.concatenate([first, mine.push(sound[:0]), mine.push(sound[:0])])
        assert mine.posed == posed and len(first) <= posed
        late = np.concatenate([first, mine.push(sound[AUDIO_RATE:]), mine.finish()])
    whole = np.concatenate(list(stream_speech(pipeline, speaker, [sound], steps=1)))
    np.testing.assert_array_equal(late, whole)


def test_a_gap_closes_the_mouth_and_time_goes_on(speech):
    """Lost sound that the sender fills with zeros: as many frames, lips at rest, and speech after it as before."""
    gap = np.zeros(2 * AUDIO_RATE, np.float32)
    heard = hear(np.concatenate([speech[: 3 * AUDIO_RATE], gap, speech[3 * AUDIO_RATE : 6 * AUDIO_RATE]]), 3000)
    opening = heard.visemes[:, 0]
    assert heard.frames == 200
    assert opening[85:120].max() < 0.05 and opening[:75].max() > 0.3 and opening[130:].max() > 0.3


def test_a_slow_viewer_holds_up_the_maker(pipeline, speaker):
    """Poses that never end: no more of them are taken than the stages' short queues hold."""
    taken = []

    def poses():
        while True:
            taken.append(1)
            yield speaker.keypoints[np.zeros(2, int)]

    frames = pipeline.stream(image=speaker, keypoints=poses(), num_inference_steps=1).frames
    for _ in range(3):
        next(frames)
    waiting = 0
    for _ in range(60):  # until the queues are full, however busy the machine
        before, waiting = waiting, len(taken)
        if waiting == before:
            break
        time.sleep(1.0)
    frames.close()
    assert 3 <= waiting < 40 and waiting == before


class Listening:
    """A recognizer that finds nothing, and waits at its second piece until it is let go."""

    def __init__(self) -> None:
        self.calls, self.go = 0, threading.Event()

    def read(self, samples):
        self.calls += 1
        assert self.calls != 2 or self.go.wait(100)
        return [], 0.0


@pytest.fixture
def listening(monkeypatch) -> Listening:
    listener = Listening()
    monkeypatch.setattr(pieces, "shared_recognizer", lambda: listener)
    monkeypatch.setattr(recognizer, "available", lambda: True)
    return listener


def test_the_first_frame_of_a_clip_does_not_wait_for_its_last_word(pipeline, speaker, speech, listening):
    """And the frames are those of the same poses given at once, but for rounding."""
    sound = speech[: int(4.22 * AUDIO_RATE)]
    generation = pipeline.stream(sound, speaker, num_inference_steps=1, seed=2)
    frames = [next(generation.frames)]
    assert len(frames[0]) == 2 and listening.calls <= 2 and len(generation.keypoints) < generation.count
    listening.go.set()
    made = np.concatenate([*frames, *generation.frames])
    assert len(made) == generation.count == len(generation.keypoints) == 106  # 105.5 frames of sound
    again = pipeline.stream(image=speaker, keypoints=generation.keypoints, num_inference_steps=1, seed=2)
    again = np.concatenate(list(again.frames))
    assert np.abs(made.astype(int) - again).max() <= 2


def test_a_dropped_clip_frees_its_threads_and_gives_its_memory_back(pipeline, speaker, speech, listening, monkeypatch):
    listening.go.set()
    caches = []
    keep = streaming_rollout.KVCachePool.__init__
    monkeypatch.setattr(
        streaming_rollout.KVCachePool,
        "__init__",
        lambda self, *given: caches.append(weakref.ref(self)) or keep(self, *given),
    )
    counts = []
    for _ in range(4):
        caches.clear()
        stop = iter([False] * 3 + [True] * 100)
        generation = pipeline.stream(speech[: 5 * AUDIO_RATE], speaker, should_stop=lambda: next(stop))  # noqa: B023
        with pytest.raises(Cancelled):
            for _ in generation.frames:
                pass
        counts.append(threading.active_count())
    assert counts[-1] <= counts[0] + 4  # the pipeline's threads are used again
    del generation
    gc.collect()
    assert len(caches) == 1 and caches[0]() is None


def test_run_ahead_keeps_order_stays_near_and_closes():
    made, closed = [], []

    def count():
        try:
            for i in range(100):
                made.append(i)
                yield i
        finally:
            closed.append(True)

    executor = StageExecutor()
    ahead = Prefetcher(count(), 3, executor)
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(made) <= 5 + 3 + 1
    ahead.close()
    assert closed

    def fail():
        yield 1
        raise InputError("broken")

    ahead = Prefetcher(fail(), 2, executor)
    assert next(ahead) == 1
    with pytest.raises(InputError, match="broken"):
        next(ahead)


def test_no_features_join_to_none():
    empty = join_features([])
    assert empty.frames == 0 and replace(empty).visemes.shape == (0, 5)
