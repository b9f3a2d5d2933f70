"""The rule-based motion model: rest, rhythm, smoothness and reach of the hands, lips that follow the speech."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation, Slerp

from iasa.avatar.identity import make_identity
from iasa.avatar.rig import gaze_of, rest_hands
from iasa.config import VIDEO_FPS
from iasa.keypoints import FACE, LEFT_HAND, MOUTH, RIGHT_HAND, mouth_opening
from iasa.motion import speech_to_keypoints, speech_to_motion
from iasa.motion.rules import GestureStyle, generate_gestures, make_style
from iasa.motion.strokes import GESTURES, Key, _move_seconds, follow, phrases, plan_strokes
from iasa.speech import SpeechFeatures, analyse
from iasa.training.speech_data import corpus

CHIN = FACE.start + 8


def make_speech(spans, accents, seconds: float) -> SpeechFeatures:
    """Features of a speaker who talks in `spans` (start, end) and stresses `accents` (time, strength)."""
    frames = int(seconds * VIDEO_FPS)
    times = (np.arange(frames) + 0.5) / VIDEO_FPS
    speaking = np.zeros(frames, np.float32)
    for start, end in spans:
        speaking[(times >= start) & (times < end)] = 1
    visemes = np.zeros((frames, 5), np.float32)
    visemes[:, 0] = 0.3 * speaking * (1 + np.sin(2 * np.pi * 4 * times))
    zero = np.zeros(frames, np.float32)
    return SpeechFeatures(
        fps=VIDEO_FPS, phones=[], visemes=visemes, energy=speaking, pitch=zero, voiced=speaking,
        speaking=speaking, onset=zero, accents=list(accents), source="given",
    )  # fmt: skip


@pytest.fixture(scope="module")
def talk() -> SpeechFeatures:
    """Eight seconds of steady talk with an accent every 0.9 s, then six seconds of silence."""
    return make_speech([(0.2, 8.0)], [(0.8 + 0.9 * i, 2.0) for i in range(8)], 14.0)


@pytest.fixture(scope="module")
def heldout():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "REAL_HELDOUT", ())
        return {u.name: u for u in corpus.make_corpus("heldout")}


def wrists(motion) -> np.ndarray:
    return motion.hands[:, :, :3].astype(np.float64)


def test_silence_gives_a_closed_mouth_and_resting_hands():
    motion = generate_gestures(analyse(np.zeros(16_000 * 4, np.float32)), seed=3, style=GestureStyle(rest=0))
    assert len(motion) == 100
    assert motion.face[:, :5].max() == 0
    assert np.abs(wrists(motion) - rest_hands(0)[:, :3]).max() < 1.5
    assert np.abs(np.diff(wrists(motion), axis=0)).max() < 0.3
    assert np.ptp(motion.breath) > 0.2  # the speaker still lives
    assert motion.face[:, 6].max() > 0.9  # and blinks


@pytest.mark.parametrize("seed", range(4))
def test_hands_return_to_rest_when_the_speech_rests(talk, seed):
    style = make_style(seed)
    motion = generate_gestures(talk, seed, style)
    away = np.linalg.norm(wrists(motion) - rest_hands(style.rest)[:, :3], axis=-1)
    assert away[25:200].max() > 5  # gestures during the talk
    assert away[275:].max() < 1.5  # rest three seconds after it


def test_strokes_end_on_accents(talk):
    style = GestureStyle(habits=("chop",))
    strokes = plan_strokes(talk, style, np.random.default_rng(0))
    accents = np.array([t for t, _ in talk.accents])
    assert len(strokes) >= 5
    assert all(np.abs(accents - s.time).min() < 1e-6 for s in strokes)
    motion = generate_gestures(talk, 0, style)
    speed = np.linalg.norm(np.diff(wrists(motion), axis=0), axis=-1).max(1) * VIDEO_FPS
    ratios = []
    for time, _ in talk.accents[1:]:
        apex = int(time * VIDEO_FPS)
        ratios.append(speed[apex - 7 : apex - 1].max() / max(speed[apex : apex + 3].min(), 1.0))
    assert np.median(ratios) > 2  # quick before the accent, still on it


def test_nods_follow_accents():
    accents = [(1.0 + 1.5 * i, 2.5) for i in range(8)]
    speech = make_speech([(0.2, 13)], accents, 13)
    style = GestureStyle(sway=0, nod=1.4)
    at = np.array([int((t + 0.04) * VIDEO_FPS) for t, _ in accents])
    pitch = np.mean([generate_gestures(speech, seed, style).head[:, 1] for seed in range(4)], axis=0)
    assert pitch[at].mean() > pitch[at - 12].mean() + 0.04  # positive is down


@pytest.mark.parametrize("seed", range(6))
def test_motion_is_smooth(heldout, seed):
    speech = heldout["welcome"].features
    motion = generate_gestures(speech, seed)
    step = np.diff(wrists(motion), axis=0)
    assert np.linalg.norm(step, axis=-1).max() < 4.0  # cm a frame: a metre a second
    assert np.linalg.norm(np.diff(step, axis=0), axis=-1).max() < 2.0
    for axis in (slice(3, 6), slice(6, 9)):
        unit = motion.hands[:, :, axis] / np.linalg.norm(motion.hands[:, :, axis], axis=-1, keepdims=True)
        turn = np.degrees(np.arccos(np.clip((unit[1:] * unit[:-1]).sum(-1), -1, 1)))
        assert turn.max() < 40
    assert np.abs(np.diff(motion.head, axis=0)).max() < 0.06


@pytest.mark.parametrize("seed", range(6))
def test_hands_stay_in_the_picture_and_off_the_face(heldout, seed):
    speech = heldout["library"].features
    motion, keypoints = speech_to_keypoints(speech, make_identity(seed), seed)
    reach = np.abs(wrists(motion)[..., 0])
    assert reach.min() > 3 and reach.max() < 23
    for hand in (LEFT_HAND, RIGHT_HAND):
        xy = keypoints.xy[:, hand]
        inside = ((xy > 0) & (xy < 1)).all(-1).all(-1)
        assert inside.mean() > 0.9
        mouth = keypoints.xy[:, MOUTH].mean(1, keepdims=True)
        assert np.linalg.norm(xy - mouth, axis=-1).min() > 0.06
        assert (xy[..., 1].min(1) > keypoints.xy[:, CHIN, 1]).mean() > 0.97


def test_performance_is_a_function_of_its_seed(talk):
    a, b, c = generate_gestures(talk, 5), generate_gestures(talk, 5), generate_gestures(talk, 6)
    for name in ("head", "face", "hands", "lean", "breath", "gaze"):
        assert np.array_equal(getattr(a, name), getattr(b, name))
    assert not np.allclose(a.hands, c.hands)
    assert np.allclose(a.gaze, gaze_of(a.head), atol=1e-6)  # determined by the head


def test_amount_scales_the_gestures(talk):
    def travel(amount: float) -> float:
        motions = [generate_gestures(talk, seed, GestureStyle(amount=amount)) for seed in range(4)]
        return float(np.mean([np.abs(np.diff(wrists(m), axis=0)).sum() for m in motions]))

    still, small, large = travel(0.0), travel(0.5), travel(1.4)
    assert still < 0.35 * small < 0.35 * large


def test_handedness_chooses_the_hand(talk):
    def used(handedness: float) -> np.ndarray:
        style = GestureStyle(handedness=handedness, habits=("point",))
        moved = [np.ptp(wrists(generate_gestures(talk, seed, style)), axis=0).max(-1) for seed in range(6)]
        return np.mean(moved, axis=0)

    right, left = used(1.0)
    assert right > left
    right, left = used(0.0)
    assert left > right


def test_every_gesture_can_be_a_habit(talk):
    for name in GESTURES:
        assert np.isfinite(generate_gestures(talk, 1, GestureStyle(habits=(name,))).hands).all()
    with pytest.raises(ValueError, match="no gesture named 'wave'"):
        generate_gestures(talk, 1, GestureStyle(habits=("wave",)))


def test_lips_of_the_keypoints_follow_the_speech(heldout):
    speech = heldout["sky"].features
    motion, keypoints = speech_to_keypoints(speech, make_identity(1), 1)
    assert len(motion) == len(keypoints.xy) == speech.frames
    opening = mouth_opening(keypoints)
    assert np.corrcoef(opening, speech.visemes[:, 0])[0, 1] > 0.85


def test_phrases_are_cut_at_pauses_only(talk):
    speech = make_speech([(0.5, 2.0), (2.2, 4.0), (5.0, 6.0)], [], 8)
    assert np.allclose(phrases(speech), [(0.5, 4.0), (5.0, 6.0)], atol=0.05)
    assert phrases(make_speech([], [], 2)) == []


def test_very_short_speech_still_performs():
    short = make_speech([(0, 0.3)], [(0.1, 3.0)], 0.3)
    assert len(speech_to_motion(short, 1)) == 7
    one = replace(short[0:1], accents=[])
    assert len(speech_to_motion(one, 1)) == 1


def test_hands_turn_the_shortest_way_from_key_to_key():
    """As scipy interpolates rotations, at a minimum-jerk pace."""
    rng = np.random.default_rng(0)
    keys = [Key(t, *rng.normal(size=(3, 3)), rng.random(11)) for t in (0.0, 0.6, 0.9, 1.7)]
    times = np.linspace(0, 2, 60)
    u = np.clip([np.interp(times, [a.time, b.time], [0, 1]) for a, b in zip(keys, keys[1:], strict=False)], 0, 1)
    along = (u**3 * (10 - 15 * u + 6 * u * u)).sum(0)  # 1.5: halfway from the second key to the third
    y = np.stack([key.direction / np.linalg.norm(key.direction) for key in keys])
    x = np.cross(y, [key.normal for key in keys])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    frames = Rotation.from_matrix(np.stack([x, y, np.cross(x, y)], -1))
    axes = Slerp(range(4), frames)(along).as_matrix()
    truth = gaussian_filter1d(np.concatenate([axes[:, :, 2], axes[:, :, 1]], 1), 0.7, axis=0, mode="nearest")
    assert np.allclose(follow(keys, times)[:, 3:9], truth, atol=1e-6)


def test_a_larger_turn_takes_longer():
    here = Key(0.0, np.zeros(3), np.array([0.0, 0, 1]), np.array([0.0, 1, 0]), np.zeros(11))
    turn = Rotation.from_rotvec([0.0, 2.0, 0.0])
    there = replace(here, normal=turn.apply(here.normal), direction=turn.apply(here.direction))
    assert _move_seconds(here, there) == pytest.approx(0.22 + 0.22 * 2.0, abs=1e-9)
    assert _move_seconds(here, here) == 0.26
